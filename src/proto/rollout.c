/*
 * Rollouts between the model and the wire. See rollout.h.
 */
#include "proto/rollout.h"

#include "proto/convert.h"

#include <math.h>

_Static_assert((int)MOVE_START == (int)TRIMTAB__V1__MOVE__START &&
                   (int)MOVE_OVERRIDE == (int)TRIMTAB__V1__MOVE__OVERRIDE,
               "moves have the numbers that the log keeps");
_Static_assert((int)ROLLOUT_RUNNING == (int)TRIMTAB__V1__PHASE__RUNNING &&
                   (int)ROLLOUT_OVERRIDDEN == (int)TRIMTAB__V1__PHASE__OVERRIDDEN,
               "phases have the numbers that snapshots keep");

/* ---- reading ---- */

static struct target target_from_proto(const Trimtab__V1__Target *p, struct arena *a)
{
    bool is_number = p->percent > 0 && p->percent <= UINT32_MAX / 100.0;

    return (struct target){
        .ids = texts_from_proto(p->ids, p->n_ids, a),
        .n_ids = p->n_ids,
        .fingerprints = texts_from_proto(p->fingerprints, p->n_fingerprints, a),
        .n_fingerprints = p->n_fingerprints,
        .hosts = texts_from_proto(p->hosts, p->n_hosts, a),
        .n_hosts = p->n_hosts,
        .networks = texts_from_proto(p->networks, p->n_networks, a),
        .n_networks = p->n_networks,
        .labels = str_c(p->labels),
        .has_percent = p->percent != 0, /* NaN too: more than 100, so that it is refused */
        .percent = is_number         ? (uint32_t)lround(p->percent * 100)
                   : p->percent == 0 ? 0
                                     : UINT32_MAX,
        .everyone = p->everyone,
    };
}

static struct criteria criteria_from_proto(const Trimtab__V1__Criteria *p)
{
    struct criteria c = {.max_refused = p->max_refused,
                         .max_failing = p->max_failing,
                         .max_silent = p->max_silent,
                         .min_applied = p->min_applied,
                         .has_max_lost = p->lost_case == TRIMTAB__V1__CRITERIA__LOST_MAX_LOST};

    if (c.has_max_lost)
        c.max_lost = p->max_lost;
    return c;
}

struct step step_from_proto(const Trimtab__V1__Step *p, struct arena *a)
{
    struct step s = {.has_soak = p->soak_case == TRIMTAB__V1__STEP__SOAK_SOAK_MS,
                     .revision = p->revision,
                     .began_ms = p->began_ms,
                     .is_satisfied = p->satisfied};

    if (s.has_soak)
        s.soak_ms = p->soak_ms;
    if (p->criteria)
        s.criteria = criteria_from_proto(p->criteria);
    s.targets = ARENA_ARRAY(a, struct target, p->n_targets);
    for (; s.targets && s.n_targets < p->n_targets; s.n_targets++)
        s.targets[s.n_targets] = target_from_proto(p->targets[s.n_targets], a);
    return s;
}

struct rollout_plan *rollout_plan_from_proto(const Trimtab__V1__RolloutPlan *p, struct arena *a)
{
    struct rollout_plan *plan = ARENA_NEW(a, struct rollout_plan);

    if (!plan)
        return NULL;
    *plan = (struct rollout_plan){
        .name = str_c(p->name),
        .salt = str_c(p->salt),
        .steps = ARENA_ARRAY(a, struct step, p->n_steps),
        .is_automatic = p->automatic,
        .auto_confirm = p->auto_confirm,
        .is_declared = p->declared,
        .expires_ms = p->expires_ms,
    };
    for (; plan->steps && plan->n_steps < p->n_steps; plan->n_steps++)
        plan->steps[plan->n_steps] = step_from_proto(p->steps[plan->n_steps], a);
    return plan;
}

int rollout_move_from_proto(const Trimtab__V1__RolloutMove *p, struct arena *a,
                            struct rollout_move *ret, struct err *err)
{
    struct step *step = p->step ? ARENA_NEW(a, struct step) : NULL;

    if ((int)p->kind < 0 || (int)p->kind >= ROLLOUT_MOVES)
        return err_set(err, ERR_INVALID, "a move of a rollout that is not known here");
    *ret = (struct rollout_move){
        .kind = (enum rollout_move_kind)p->kind,
        .id = p->rollout,
        .expected = p->expected,
        .reason = str_c(p->reason),
        .force = str_c(p->force),
        .picture = proto_str(p->picture),
        .plan = p->plan ? rollout_plan_from_proto(p->plan, a) : NULL,
        .step = step,
    };
    if (step)
        *step = step_from_proto(p->step, a);
    if (!arena_failed(a) && (ret->kind == MOVE_START) != (ret->plan != NULL))
        return err_set(err, ERR_INVALID, "a start, and nothing else, has a plan");
    if (!arena_failed(a) && (ret->kind == MOVE_EXTEND) != (step != NULL))
        return err_set(err, ERR_INVALID, "an extension, and nothing else, has a step");
    return arena_failed(a) ? ERR_NOMEM : 0;
}

/* ---- writing ---- */

static Trimtab__V1__Target *target_to_proto(const struct target *t, struct arena *a)
{
    Trimtab__V1__Target *p = ARENA_NEW(a, Trimtab__V1__Target);

    if (!p)
        return NULL;
    trimtab__v1__target__init(p);
    p->ids = texts_to_proto(t->ids, t->n_ids, a);
    p->n_ids = t->n_ids;
    p->fingerprints = texts_to_proto(t->fingerprints, t->n_fingerprints, a);
    p->n_fingerprints = t->n_fingerprints;
    p->hosts = texts_to_proto(t->hosts, t->n_hosts, a);
    p->n_hosts = t->n_hosts;
    p->networks = texts_to_proto(t->networks, t->n_networks, a);
    p->n_networks = t->n_networks;
    p->labels = arena_c(a, t->labels);
    p->percent = t->has_percent ? t->percent / 100.0 : 0;
    p->everyone = t->everyone;
    return p;
}

static Trimtab__V1__Criteria *criteria_to_proto(const struct criteria *c, struct arena *a)
{
    Trimtab__V1__Criteria *p = ARENA_NEW(a, Trimtab__V1__Criteria);

    if (!p)
        return NULL;
    trimtab__v1__criteria__init(p);
    p->max_refused = c->max_refused;
    p->max_failing = c->max_failing;
    p->max_silent = c->max_silent;
    p->min_applied = c->min_applied;
    if (c->has_max_lost) {
        p->lost_case = TRIMTAB__V1__CRITERIA__LOST_MAX_LOST;
        p->max_lost = c->max_lost;
    }
    return p;
}

Trimtab__V1__Step *step_to_proto(const struct step *s, struct arena *a)
{
    Trimtab__V1__Step *p = ARENA_NEW(a, Trimtab__V1__Step);

    if (!p)
        return NULL;
    trimtab__v1__step__init(p);
    if (s->has_soak) {
        p->soak_case = TRIMTAB__V1__STEP__SOAK_SOAK_MS;
        p->soak_ms = s->soak_ms;
    }
    p->criteria = criteria_to_proto(&s->criteria, a);
    p->revision = s->revision;
    p->began_ms = s->began_ms;
    p->satisfied = s->is_satisfied;
    p->targets = ARENA_ARRAY(a, Trimtab__V1__Target *, s->n_targets);
    for (size_t i = 0; p->targets && i < s->n_targets; i++) {
        p->targets[i] = target_to_proto(&s->targets[i], a);
        p->n_targets++;
    }
    return arena_failed(a) ? NULL : p;
}

Trimtab__V1__RolloutPlan *rollout_plan_to_proto(const struct rollout_plan *plan,
                                                struct arena *a)
{
    Trimtab__V1__RolloutPlan *p = ARENA_NEW(a, Trimtab__V1__RolloutPlan);

    if (!p)
        return NULL;
    trimtab__v1__rollout_plan__init(p);
    p->name = arena_c(a, plan->name);
    p->salt = arena_c(a, plan->salt);
    p->automatic = plan->is_automatic;
    p->auto_confirm = plan->auto_confirm;
    p->declared = plan->is_declared;
    p->expires_ms = plan->expires_ms;
    p->steps = ARENA_ARRAY(a, Trimtab__V1__Step *, plan->n_steps);
    for (size_t i = 0; p->steps && i < plan->n_steps; i++) {
        p->steps[i] = step_to_proto(&plan->steps[i], a);
        p->n_steps++;
    }
    return arena_failed(a) ? NULL : p;
}

Trimtab__V1__RolloutPlan *rollout_to_plan(const struct rollout *r, struct arena *a)
{
    return rollout_plan_to_proto(&(struct rollout_plan){.name = r->name,
                                                        .salt = r->salt,
                                                        .steps = r->steps,
                                                        .n_steps = r->n_steps,
                                                        .is_automatic = r->is_automatic,
                                                        .auto_confirm = r->auto_confirm,
                                                        .is_declared = r->is_declared,
                                                        .expires_ms = r->expires_ms},
                                 a);
}

Trimtab__V1__RolloutMove *rollout_move_to_proto(const struct rollout_move *m, struct arena *a)
{
    Trimtab__V1__RolloutMove *p = ARENA_NEW(a, Trimtab__V1__RolloutMove);

    if (!p)
        return NULL;
    trimtab__v1__rollout_move__init(p);
    p->kind = (Trimtab__V1__Move)m->kind;
    p->rollout = m->id;
    p->expected = m->expected;
    p->reason = arena_c(a, m->reason);
    p->force = arena_c(a, m->force);
    p->picture = proto_bytes(m->picture);
    p->plan = m->plan ? rollout_plan_to_proto(m->plan, a) : NULL;
    p->step = m->step ? step_to_proto(m->step, a) : NULL;
    return arena_failed(a) ? NULL : p;
}
