/*
 * How many instances a move of a rollout reaches: those that have a candidate after it and had none before, or the other
 * way round. See rollout_view.h.
 */
#include "server/rollout/view.h"

struct looking {
    const struct rollout *before, *after;
    struct interest interest;
    struct reach reach;
};

/* Once it is confirmed, everybody has what it carried. */
static bool has(const struct rollout *r, const struct subject *s)
{
    return r && (r->phase == ROLLOUT_CONFIRMED || rollout_takes(r, s));
}

static bool look_at(void *ctx, struct instance *i, const struct subject *s)
{
    struct looking *l = ctx;

    if (!interest_met(&l->interest, i) || has(l->before, s) == has(l->after, s))
        return true;
    l->reach.instances++;
    l->reach.offline += !i->presence->is_connected;
    return true;
}

int rollout_reach(const struct roster *roster, const struct rollout *before,
                  const struct rollout *after, struct reach *ret)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct looking l = {.before = before, .after = after};
    int r = interest_of_rollout(after, &a, &l.interest);

    if (r)
        return r;
    subjects_each(roster, look_at, &l);
    *ret = l.reach;
    return 0;
}
