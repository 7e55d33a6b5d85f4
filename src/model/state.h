/*
 * State: everything that the log of commits has produced up to one revision. Immutable, counted, and shared
 * structure between revisions: whoever reads pins what it reads (state_ref), on any thread.
 *
 * State is a fold: state_apply(state, commit) is the only way to a new one. Deletions stay in it as deleted
 * versions, so that numbering goes on when a resource comes back.
 */
#ifndef TRIMTAB_MODEL_STATE_H
#define TRIMTAB_MODEL_STATE_H

#include "model/version.h"

/* The rules by which state is computed from the log. A server that meets a higher number refuses to serve. */
enum { STATE_SEMANTICS = 1 };

struct state {
    _Atomic uint32_t refs;
    uint64_t revision;      /* 0: nothing was ever committed */
    struct tree *versions;  /* newest version of every resource, deleted ones too */
    uint64_t n_resources;   /* not deleted */
    uint64_t content_bytes; /* of those */
};

must_use struct state *state_new(void); /* empty, revision 0; NULL without memory */
struct state *state_ref(struct state *s);
struct state *state_unref(struct state *s); /* always NULL; takes NULL */
OWNED_BY(state_unref, struct state *, state_unref);

/* The newest version of key, deleted or not; NULL when there never was one. Borrowed. */
struct version *state_newest(const struct state *s, struct str key);
/* The same, NULL when it is deleted. */
struct version *state_find(const struct state *s, struct str key);

/*
 * The state after a commit that gave these versions, at revision (more than s's). Versions are referenced.
 * NULL without memory; s is unchanged in every case.
 *
 * state_apply_more does the same to *s in place of a new state: for a caller that holds the only reference,
 * which copies nothing twice when many commits are folded at once. On failure *s is dropped and NULL.
 */
must_use struct state *state_apply(const struct state *s, struct version *const *versions,
                                   size_t n, uint64_t revision);
must_use int state_apply_more(struct state **s, struct version *const *versions, size_t n,
                              uint64_t revision);

/* Takes over one version of a snapshot taken at revision, into *s, which only the caller holds. Else the same. */
must_use int state_load(struct state **s, struct version *v, uint64_t revision);

#endif
