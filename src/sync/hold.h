/*
 * Holds: what a subscriber does not receive any more and serves on, because no recorded change explains that it went
 * (I13). A server that was emptied, restored by hand or led to another store sends drops without a cause; hosts keep what
 * they have until a put or a drop with a cause comes for the same name, or people let it go.
 *
 *   (H1) A name is received, or held, or neither; never both.
 *   (H2) Only a put of the same name, a drop of it with a cause, or its release ends a hold.
 *   (H3) What held items refer to, through others too, is received or held (I6): needed, until the last one that refers
 *        to it goes. The scope SCOPE_REFERRED is there for this alone: nothing in it is held for its own sake.
 *
 * Pure bookkeeping: the next holds are planned beside the present ones, so that a failure changes nothing.
 */
#ifndef TRIMTAB_SYNC_HOLD_H
#define TRIMTAB_SYNC_HOLD_H

#include "sync/stage.h"

struct hold {
    struct binding *binding; /* what is served under the name; owned */
    uint64_t since;          /* revision of the batch that dropped it */
    bool is_needed;          /* only for what refers to it (H3) */
};

/* NULL without memory. */
must_use struct hold *hold_new(struct str scope, struct str tail, struct version *item,
                               uint64_t since, bool is_needed);

void hold_free(struct hold *h); /* takes NULL */

/* key of the binding -> struct hold */
struct holds {
    struct map by_name;
};

void holds_deinit(struct holds *h);
struct hold *holds_find(const struct holds *h, struct str key); /* NULL: not held */
struct digest holds_digest(const struct holds *h);

/* What holds may change by: a batch, or a release. Borrowed. */
struct hold_change {
    const struct map *received; /* struct binding, before it */
    const struct map *staged;   /* struct binding: the last word of the batch on each name */
    const struct map *released; /* keys of those that are let go; values do not matter */
    const struct str *scopes;   /* names of the subscription's scopes */
    size_t n_scopes;
    uint64_t revision; /* of the batch */
};

/* The holds after it. ERR_NOMEM: *ret is not touched. */
must_use int holds_plan(const struct holds *now, const struct hold_change *change,
                        struct holds *ret);

#endif
