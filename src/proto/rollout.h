/*
 * Rollouts between the model and the wire: plans, steps, targets and moves.
 */
#ifndef TRIMTAB_PROTO_ROLLOUT_H
#define TRIMTAB_PROTO_ROLLOUT_H

#include "base/arena.h"
#include "model/rollout.h"

#include <trimtab/v1/rollout.pb-c.h>

/*
 * What is read borrows texts from the message and has its arrays on the arena; it is not checked yet (step_check,
 * rollout_plan_check). Failure of memory is the arena's.
 */
struct step step_from_proto(const Trimtab__V1__Step *p, struct arena *a);
struct rollout_plan *rollout_plan_from_proto(const Trimtab__V1__RolloutPlan *p,
                                             struct arena *a);

/* The texts of a target as one message, on the arena. NULL when that failed. */
Trimtab__V1__Step *step_to_proto(const struct step *s, struct arena *a);
Trimtab__V1__RolloutPlan *rollout_plan_to_proto(const struct rollout_plan *p, struct arena *a);
/* The plan that a rollout has by now, with what became of its steps. */
Trimtab__V1__RolloutPlan *rollout_to_plan(const struct rollout *r, struct arena *a);

/* A move without author, time and revision, which are those of its commit. */
must_use int rollout_move_from_proto(const Trimtab__V1__RolloutMove *p, struct arena *a,
                                     struct rollout_move *ret, struct err *err);
Trimtab__V1__RolloutMove *rollout_move_to_proto(const struct rollout_move *m, struct arena *a);

#endif
