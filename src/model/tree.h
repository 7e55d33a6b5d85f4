/*
 * An immutable ordered set of versions with structure shared between revisions.
 *
 * The set is a treap: a search tree by key that is a heap by a hash of the key, so its shape depends only on
 * its content and its depth is logarithmic with overwhelming probability. A change copies the path to the root
 * and shares everything else; nodes that only the caller holds are changed in place, so that folding many
 * commits at once copies each path once. Nodes are counted atomically: any thread may drop a tree.
 */
#ifndef TRIMTAB_MODEL_TREE_H
#define TRIMTAB_MODEL_TREE_H

#include "model/version.h"

struct tree; /* NULL is the empty set */

struct tree *tree_ref(struct tree *t);
struct tree *tree_unref(struct tree *t); /* always NULL; takes NULL */

struct version *tree_find(const struct tree *t, struct str key); /* borrowed, or NULL */

/*
 * The set with v in it (replacing the version of that key). Consumes the caller's reference to t in every case;
 * takes a reference of its own to v. False without memory: *t is then NULL.
 */
must_use bool tree_put(struct tree **t, struct version *v);

enum { TREE_DEPTH_MAX = 192 };

/*
 * A walk in key order over the versions made after a revision (0: all). Every node knows the newest revision
 * below it, so the cost is that of what is found, not of what is there. Borrows the tree meanwhile.
 */
struct tree_walk {
    const struct tree *path[TREE_DEPTH_MAX];
    int depth;
    uint64_t since;
};

/* Positions before the first key >= from. */
void tree_walk_from(struct tree_walk *w, const struct tree *t, struct str from, uint64_t since);
struct version *tree_walk_next(struct tree_walk *w);       /* borrowed; NULL at the end */
struct version *tree_walk_peek(const struct tree_walk *w); /* the same without moving */

#endif
