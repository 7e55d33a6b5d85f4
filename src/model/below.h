/*
 * A walk over the newest versions of one namespace, or of it and those below it, in the order of their keys.
 *
 * A key begins with its namespace and NUL. So `shop` and what is below `shop/` are two stretches of the tree, with
 * namespaces such as `shop-eu` between them: the walk seeks to each and stops behind it. Within them it passes other
 * kinds than the wanted one by seeking too, where many of them lie together.
 */
#ifndef TRIMTAB_MODEL_BELOW_H
#define TRIMTAB_MODEL_BELOW_H

#include "model/state.h"

enum below_depth { BELOW_ALL, BELOW_SELF };

struct below_opts {
    struct str space; /* "": BELOW_ALL is every namespace, BELOW_SELF none */
    enum below_depth depth;
    struct str kind;  /* "": every kind */
    struct str after; /* a key: begins behind it; "": at the beginning */
    size_t most;      /* versions to look at, those of other kinds included; 0: no limit */
};

/* Borrows the state and the texts of its options meanwhile. */
struct below_walk {
    const struct tree *versions;
    struct below_opts opts;
    struct tree_walk walk;
    enum { BELOW_IN_SELF, BELOW_IN_REST, BELOW_ENDED } at;
    size_t n_seen;
    size_t n_passed;                    /* of other kinds, in a row */
    struct str last_seen;               /* a key, in the state; "": none yet */
    char head[NAMESPACE_BYTES_MAX + 1]; /* that keys of this stretch begin with */
    size_t head_len;
};

void below_walk_init(struct below_walk *w, const struct state *s,
                     const struct below_opts *opts);

/* The next version, deleted ones too; borrowed. NULL at the end, or when it has looked at `most`. */
struct version *below_walk_next(struct below_walk *w);

/* After NULL: there may be more behind last_seen. */
static inline bool below_walk_has_more(const struct below_walk *w)
{
    return w->at != BELOW_ENDED;
}

#endif
