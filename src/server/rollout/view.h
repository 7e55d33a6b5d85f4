/*
 * Rollouts as people see them, and the instances that they are for. Belongs to the hub's thread.
 */
#ifndef TRIMTAB_SERVER_ROLLOUT_VIEW_H
#define TRIMTAB_SERVER_ROLLOUT_VIEW_H

#include "presence/target.h"
#include "server/rollout/drives.h"
#include "server/rollout/pick.h"

#include <trimtab/v1/admin.pb-c.h>

/* ---- instances as subjects ---- */

/* Called for one instance. False ends the walk. */
typedef bool subject_fn(void *ctx, struct instance *i, const struct subject *s);

/* Every instance, in no order. */
void subjects_each(const struct roster *r, subject_fn *fn, void *ctx);

/* The first of the steps that takes a subject, from 1; 0: none. Their targets are compiled. */
uint32_t steps_taking(const struct step *steps, size_t n, struct str salt,
                      const struct subject *s);

/* What an instance must want to be concerned. No names: it need not want anything. */
struct interest {
    struct name *names;
    size_t n;
};

/* The resources of a rollout, or of these ids, on the arena. ERR_INVALID, ERR_NOMEM. */
must_use int interest_of_rollout(const struct rollout *r, struct arena *a,
                                 struct interest *ret);
must_use int interest_of_ids(char *const *ids, size_t n, struct arena *a, struct interest *ret,
                             struct err *err);
/* By what an instance wants, or wanted when it was connected last. */
bool interest_met(const struct interest *w, const struct instance *i);

/*
 * The candidates become what is committed: fills changes, which borrow from r, with room for none more. ERR_NOMEM.
 */
must_use int rollout_changes(const struct rollout *r, struct arena *a, struct commit *c);

/* ---- looking ---- */

/* Counts the instances that a rollout has, and fills and closes a page of them unless that is NULL. ERR_NOMEM. */
must_use int rollout_look(const struct drives *d, const struct rollout *r,
                          Trimtab__V1__RolloutCounts *counts, struct pick_page *page);

/* Instances whose configuration a move changes. */
struct reach {
    uint64_t instances, offline; /* offline: of them */
};
/* before NULL: a start. after: what the move makes of it. ERR_NOMEM. */
must_use int rollout_reach(const struct roster *roster, const struct rollout *before,
                           const struct rollout *after, struct reach *ret);

/* ---- messages, on the arena; NULL when it failed ---- */

/* summary: as in lists. */
Trimtab__V1__Rollout *rollout_message(const struct state *state, const struct rollout *r,
                                      bool summary, struct arena *a);
/* What a picked instance has come to as a target of r. */
enum target_state pick_state(const struct pick *p, const struct drives *d,
                             const struct rollout *r, const struct moment *at,
                             char why[TARGET_WHY_MAX]);

/* r NULL: a preview. */
Trimtab__V1__RolloutInstance *rollout_instance(const struct pick *p, const struct drives *d,
                                               const struct rollout *r,
                                               const struct moment *at, struct arena *a);
/* How the driver finds it; NULL also when it is over, or was not looked at yet. */
Trimtab__V1__RolloutProgress *rollout_progress(const struct drives *d, const struct rollout *r,
                                               struct arena *a);

/* ---- targets with a count ---- */

/* What they are resolved against. */
struct counting {
    const struct roster *roster;
    const struct rollout *rollout; /* that is extended; NULL: none */
    struct str salt;
    const struct interest *interest;
};

/* Whether a step of a request has a target with a count. */
bool step_counts(const Trimtab__V1__Step *p);

/*
 * Replaces each target with a count by the ids that it comes to: connected instances that all its conditions take, and
 * no step before. Compiles all targets. steps are made of asked, one for one. ERR_INVALID (place "step N"), ERR_LIMIT,
 * ERR_NOMEM.
 */
must_use int counts_resolve(const struct counting *c, Trimtab__V1__Step *const *asked,
                            struct step *steps, size_t n, struct arena *a, struct err *err);

#endif
