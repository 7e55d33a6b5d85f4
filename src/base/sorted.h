/*
 * A set of entries in the order of their keys. Entries are embedded in their owners, so putting and taking them out
 * takes no memory and cannot fail; a key stays as it is while its entry is in the set.
 *
 * It is a treap: a search tree by key that is a heap by a seeded hash of the key (hash_seed), so nobody who chooses keys
 * chooses its shape.
 */
#ifndef TRIMTAB_BASE_SORTED_H
#define TRIMTAB_BASE_SORTED_H

#include "base/str.h"

struct sorted_entry {
    struct sorted_entry *sides[2]; /* lower, higher */
    struct str key;
    uint64_t rank;
};

struct sorted {
    struct sorted_entry *root; /* NULL: empty */
};

/* Its key is not in the set. */
void sorted_put(struct sorted *s, struct sorted_entry *e, struct str key);
/* It is in the set. */
void sorted_remove(struct sorted *s, struct sorted_entry *e);

enum { SORTED_DEPTH_MAX = 192 };

/* A walk in the order of keys; the set does not change meanwhile. */
struct sorted_walk {
    struct sorted_entry *path[SORTED_DEPTH_MAX];
    int depth;
};

/* Positions before the first key that is greater than after. */
void sorted_walk_after(struct sorted_walk *w, const struct sorted *s, struct str after);
struct sorted_entry *sorted_walk_next(struct sorted_walk *w); /* NULL at the end */
static inline bool sorted_walk_has_more(const struct sorted_walk *w)
{
    return w->depth > 0;
}

#endif
