/*
 * Fates of commits. See fate.h.
 */
#include "presence/fate.h"

/* Whether one of the resources acts in the view, and the first exception about it. */
static bool acts_on(const struct commit_look *l, const struct presence *p,
                    const struct state *state, const Trimtab__V1__Refusal **ret_exception)
{
    struct binding_at at[BINDINGS_MAX];
    bool acts = false;

    *ret_exception = NULL;
    for (size_t i = 0; i < l->n_keys && !*ret_exception; i++) {
        size_t n = presence_bindings(p, state, l->keys[i], at);

        for (size_t b = 0; b < n && !*ret_exception; b++) {
            acts |= at[b].is == BINDING_ACTS;
            if (at[b].is == BINDING_ACTS && p->standing.report)
                *ret_exception = presence_exception_at(p, l->keys[i], &at[b]);
        }
        if (acts && !p->standing.report)
            break;
    }
    return acts;
}

/* The start of a rollout is for its targets only. */
static bool is_for(const struct commit_look *l, const struct presence *p,
                   const struct state *state)
{
    const struct rollout *r = l->is_start ? state_rollout(state, l->revision) : NULL;

    return !r ||
           (p->introduction->takes_rollouts && rollout_takes(r, p->introduction->subject));
}

enum fate fate_of(const struct commit_look *l, const struct presence *p,
                  const struct state *state, const struct moment *at)
{
    const struct order *order = state_order(state, l->revision);
    bool is_ordered = order && p->is_connected && presence_has_order(p, order);
    const Trimtab__V1__Refusal *exception;
    size_t n;

    if (is_ordered && presence_owes_order(p, order))
        return FATE_PENDING; /* whatever it refuses until then: it is to look again */
    if (!p->is_connected || !is_for(l, p, state) ||
        (!acts_on(l, p, state, &exception) && !is_ordered))
        return FATE_UNCONCERNED;
    if (is_ordered && !l->n_keys && presence_exceptions(p, &n))
        exception = n ? presence_exceptions(p, &n)[0] : NULL;
    if (exception) /* E3 */
        return exception_kind(exception) == EXCEPTION_PAUSED ? FATE_PENDING : FATE_REFUSED;
    if (presence_has_reached(p, l->revision, at))
        return FATE_APPLIED;
    return *proof_story(p->standing.proof) ? FATE_UNPROVEN : FATE_PENDING;
}

bool fates_are_open(const struct commit_look *l, const struct roster *r,
                    const struct state *state, const struct moment *at)
{
    struct map_slot *slot;
    size_t next = 0;

    if (at->complete < l->revision)
        return true;
    while ((slot = map_each(&r->instances, &next))) {
        const struct presence *p = ((struct instance *)slot->value)->presence;
        enum fate fate = fate_of(l, p, state, at);

        if (fate == FATE_PENDING || fate == FATE_UNPROVEN)
            return true;
    }
    return false;
}
