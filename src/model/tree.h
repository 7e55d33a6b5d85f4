/*
 * An immutable ordered set of counted items with structure shared between revisions.
 *
 * The set is a treap: a search tree by key that is a heap by a hash of the key, so its shape depends only on
 * its content and its depth is logarithmic with overwhelming probability. A change copies the path to the root
 * and shares everything else; nodes that only the caller holds are changed in place, so that folding many
 * commits at once copies each path once. Nodes are counted atomically: any thread may drop a tree.
 *
 * What is kept in a tree begins with a struct tree_item: versions, candidates, rollouts, references.
 */
#ifndef TRIMTAB_MODEL_TREE_H
#define TRIMTAB_MODEL_TREE_H

#include "base/attr.h"
#include "base/str.h"

#include <stdatomic.h>
#include <stdint.h>

struct tree_item {
    _Atomic uint32_t refs;
    void (*release)(struct tree_item *item); /* frees it, when nobody holds it any more */
    uint64_t revision;                       /* of the commit that made it */
    struct str key;                          /* inside the item, unique in its tree */
};

static inline void tree_item_ref(struct tree_item *item)
{
    atomic_fetch_add_explicit(&item->refs, 1, memory_order_relaxed);
}

static inline void tree_item_unref(struct tree_item *item)
{
    if (atomic_fetch_sub_explicit(&item->refs, 1, memory_order_acq_rel) == 1)
        item->release(item);
}

struct tree; /* NULL is the empty set */

struct tree *tree_ref(struct tree *t);
struct tree *tree_unref(struct tree *t); /* always NULL; takes NULL */

struct tree_item *tree_find(const struct tree *t, struct str key); /* borrowed, or NULL */

/*
 * The set with item in it (replacing the one of that key). Consumes the caller's reference to t in every case;
 * takes a reference of its own to the item. False without memory: *t is then NULL.
 */
must_use bool tree_put(struct tree **t, struct tree_item *item);
/* The set without the item of that key, if there is one. Consumes and fails likewise. */
must_use bool tree_remove(struct tree **t, struct str key);

enum { TREE_DEPTH_MAX = 192 };

/*
 * A walk in key order over the items made after a revision (0: all). Every node knows the newest revision
 * below it, so the cost is that of what is found, not of what is there. Borrows the tree meanwhile.
 */
struct tree_walk {
    const struct tree *path[TREE_DEPTH_MAX];
    int depth;
    uint64_t since;
};

/* Positions before the first key >= from. */
void tree_walk_from(struct tree_walk *w, const struct tree *t, struct str from, uint64_t since);
struct tree_item *tree_walk_next(struct tree_walk *w);       /* borrowed; NULL at the end */
struct tree_item *tree_walk_peek(const struct tree_walk *w); /* the same without moving */

#endif
