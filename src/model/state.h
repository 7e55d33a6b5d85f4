/*
 * State: everything that the log of commits has produced up to one revision. Immutable, counted, and shared
 * structure between revisions: whoever reads pins what it reads (state_ref), on any thread.
 *
 * State is a fold: state_apply(state, effect of a commit) is the only way to a new one. Deletions stay in it as
 * deleted versions, with number and revision and without content, so that numbering goes on when a resource comes back,
 * and so that whoever still has the resource can be told why it goes (feed/cause.c). That is about 250 bytes for each id
 * that was ever used, in memory and in snapshots; they are never forgotten.
 */
#ifndef TRIMTAB_MODEL_STATE_H
#define TRIMTAB_MODEL_STATE_H

#include "model/order.h"
#include "model/rollout.h"

struct rights;

/* The rules by which state is computed from the log. A server that meets a higher number refuses to serve. */
enum { STATE_SEMANTICS = 1, ROLLOUTS_ENDED_MAX = 1000 };

/*
 * The newest restore of the log from a copy: what subscribers of the store before may have from later than the copy. It
 * explains older contents; that what was published since is gone it explains only when the operator said so.
 */
enum { STATE_STORE_ID_BYTES = 16 };
struct restored {
    uint64_t revision; /* of the commit that notes it; 0: the log was never restored */
    unsigned char from[STATE_STORE_ID_BYTES]; /* id of the store before */
    uint64_t from_revision;                   /* where the copy ended */
    uint64_t acknowledged; /* how far the log before is known to have come; 0: not known */
    bool deletes_newer;
};

struct state {
    _Atomic uint32_t refs;
    uint64_t revision;     /* 0: nothing was ever committed */
    struct tree *versions; /* newest stable version of every resource, deleted ones too */
    struct tree *rollouts; /* all live ones, and the last ROLLOUTS_ENDED_MAX that ended */
    struct tree
        *candidates;   /* struct candidate: resources that a rollout carries, or carried last */
    struct tree *uses; /* struct use: who refers to what, stable and candidate versions */
    struct tree *orders; /* struct order: the last ones, and the switch of the fleet */
    struct rights *rights; /* model/rights.h: of all grants and tokens; NULL: none was published */
    uint64_t n_orders, orders_bytes; /* but for the switch */
    uint64_t fleet;           /* revision of the newest pause or resume; 0: none yet */
    uint64_t n_resources;     /* not deleted */
    uint64_t content_bytes;   /* of those */
    uint64_t n_live, n_ended; /* rollouts */
    struct restored restored;
    uint64_t referring;       /* newest revision at which anything may have referred to anything */
};

/*
 * The candidate of a resource, as new as the last move of its rollout. It stays when that has ended, without the
 * version, until a stable version has a higher number: numbers are never used again.
 */
struct candidate {
    struct tree_item node;   /* its key is that of the resource */
    uint64_t rollout;        /* id */
    uint64_t number;         /* that the candidate took */
    struct version *version; /* NULL: the rollout has ended */
    uint64_t ended;          /* when the last one that carried it ended; 0: none is known */
    char text[];
};

static inline struct candidate *candidate_of(struct tree_item *item)
{
    return item ? CONTAINER_OF(item, struct candidate, node) : NULL;
}

/* One reference from one version. Keys are target NUL NUL source NUL, and 's' or 'c' for the side. */
struct use {
    struct tree_item node;
    struct str target, source;
    bool by_candidate;
    char text[];
};

static inline struct use *use_of(struct tree_item *item)
{
    return item ? CONTAINER_OF(item, struct use, node) : NULL;
}

/* Whether the log says that what a subscriber has from this store beyond it is to go (I13). */
bool state_deletes_newer(const struct state *s, struct str store_id);

must_use struct state *state_new(void); /* empty, revision 0; NULL without memory */
struct state *state_ref(struct state *s);
struct state *state_unref(struct state *s); /* always NULL; takes NULL */
OWNED_BY(state_unref, struct state *, state_unref);

/* The newest stable version of key, deleted or not; NULL when there never was one. Borrowed. */
struct version *state_newest(const struct state *s, struct str key);
/* The same, NULL when it is deleted. */
struct version *state_find(const struct state *s, struct str key);
/* The number of the newest version that key ever had, candidates included; 0: none. */
uint64_t state_number(const struct state *s, struct str key);

/* A rollout by its id, live or among the ended ones that are kept; NULL: there is none. Borrowed. */
struct rollout *state_rollout(const struct state *s, uint64_t id);
/* The live rollout that carries a resource, and its candidate in *ret (deleted: it would delete it); NULL: none. */
struct rollout *state_carrier(const struct state *s, struct str key,
                              struct version **ret_candidate);

/*
 * What an instance has of a key: the candidate of a live rollout that takes it, else the stable version; NULL when
 * that is deleted or was never there. subject NULL: nobody in particular, who has stable.
 */
struct version *state_effective(const struct state *s, struct str key,
                                const struct subject *subject);

/* A walk over the uses of a target: who refers to it. */
void state_uses_from(const struct state *s, struct str target, struct tree_walk *w);
struct use *state_uses_next(struct tree_walk *w, struct str target); /* NULL at the end */

/* The newest pause or resume of the fleet; NULL: it was never paused. Borrowed. */
const struct order *state_fleet(const struct state *s);
bool state_is_paused(const struct state *s);
/* An order that is kept, by its revision; NULL: none. Borrowed. */
const struct order *state_order(const struct state *s, uint64_t revision);

/* What a commit comes to. Versions and rollouts are referenced by the state. */
struct effect {
    struct version *const *versions; /* new stable versions */
    size_t n_versions;
    struct rollout *const *rollouts; /* started, or moved */
    size_t n_rollouts;
    const struct restored *restored; /* NULL: none; its revision 0: this commit's */
    struct order *order; /* NULL: none */
};

/*
 * The state after a commit, at revision (more than s's). NULL without memory; s is unchanged in every case.
 *
 * state_apply_more does the same to *s in place of a new state: for a caller that holds the only reference,
 * which copies nothing twice when many commits are folded at once. On failure *s is dropped and NULL.
 */
must_use struct state *state_apply(const struct state *s, const struct effect *e,
                                   uint64_t revision);
must_use int state_apply_more(struct state **s, const struct effect *e, uint64_t revision);

/*
 * Takes over parts of a snapshot taken at revision, into *s, which only the caller holds. Else the same. A snapshot
 * also names the numbers that ended candidates took.
 */
must_use int state_load(struct state **s, const struct effect *e, uint64_t revision);
struct spent {
    uint64_t rollout, number;
    uint64_t revision; /* at which the rollout ended; 0: it is not known */
};
must_use int state_load_number(struct state **s, struct str key, const struct spent *spent);

#endif
