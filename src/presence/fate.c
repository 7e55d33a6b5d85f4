/*
 * Fates of commits. See fate.h.
 */
#include "presence/fate.h"

/* What the resources come to in a view. */
struct effects {
    bool acts, is_withheld;                /* one of them is so */
    const Trimtab__V1__Refusal *exception; /* the first about what acts; NULL: none */
};

static struct effects effects_of(const struct commit_look *l, const struct presence *p,
                                 const struct state *state)
{
    struct effects e = {.acts = false};
    struct binding_at at[BINDINGS_MAX];

    for (size_t i = 0; i < l->n_keys && !e.exception; i++) {
        size_t n = presence_bindings(p, state, l->keys[i], at);

        for (size_t b = 0; b < n && !e.exception; b++) {
            e.acts |= at[b].is == BINDING_ACTS;
            e.is_withheld |= at[b].is == BINDING_WITHHELD;
            if (at[b].is == BINDING_ACTS && p->standing.report)
                e.exception = presence_exception_at(p, l->keys[i], &at[b]);
        }
        if (e.acts && !p->standing.report)
            break;
    }
    return e;
}

/* The start of a rollout is for its targets only, until it is confirmed. */
static bool is_for(const struct commit_look *l, const struct presence *p,
                   const struct state *state)
{
    const struct rollout *r = l->is_start ? state_rollout(state, l->revision) : NULL;

    return !r || r->phase == ROLLOUT_CONFIRMED ||
           (p->introduction->takes_rollouts && rollout_takes(r, p->introduction->subject));
}

enum fate fate_of(const struct commit_look *l, const struct presence *p,
                  const struct state *state, const struct moment *at)
{
    const struct order *order = state_order(state, l->revision);
    bool is_ordered = order && p->is_connected && presence_has_order(p, order);
    bool is_due = p->is_connected && is_for(l, p, state);
    struct effects e = {.acts = false};
    size_t n;

    if (p->is_connected && !presence_is_certain(p))
        return FATE_PENDING; /* E2 */
    if (is_ordered && presence_owes_order(p, order))
        return FATE_PENDING; /* whatever it refuses until then: it is to look again */
    if (is_due)
        e = effects_of(l, p, state);
    if (is_due && !e.acts && e.is_withheld && !presence_has_reached(p, l->revision, at))
        return FATE_PENDING; /* it had something there, perhaps, which it is to drop */
    if (!is_due || (!e.acts && !is_ordered))
        return FATE_UNCONCERNED;
    if (is_ordered && !l->n_keys && presence_exceptions(p, &n))
        e.exception = n ? presence_exceptions(p, &n)[0] : NULL;
    if (e.exception) /* E3 */
        return exception_kind(e.exception) == EXCEPTION_PAUSED ? FATE_PENDING : FATE_REFUSED;
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
