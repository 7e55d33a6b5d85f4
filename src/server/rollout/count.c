/*
 * Targets with a count: "five of those" becomes the ids of five, once, so that it stays those five. See rollout_view.h.
 */
#include "base/vec.h"
#include "server/rollout/view.h"

enum { COUNTS_MAX = 16 }; /* of one request: each looks at every instance */

bool step_counts(const Trimtab__V1__Step *p)
{
    for (size_t i = 0; i < p->n_targets; i++)
        if (p->targets[i]->count)
            return true;
    return false;
}

/* An instance that may be chosen. Lower places come first, so that a choice does not follow names. */
struct chosen {
    struct str id; /* of the instance */
    uint32_t place;
};

struct choosing {
    const struct counting *counting;
    const struct step *steps; /* those before, and the targets before in the last one */
    size_t n_steps;
    const struct target *target; /* its other conditions */
    VEC(struct chosen) found;
    int result;
};

static bool look(void *ctx, struct instance *i, const struct subject *s)
{
    struct choosing *c = ctx;
    const struct counting *q = c->counting;

    if (!i->presence->is_connected || !interest_met(q->interest, i) || !target_takes(c->target, s, q->salt) ||
        (q->rollout && rollout_takes(q->rollout, s)) ||
        steps_taking(c->steps, c->n_steps, q->salt, s))
        return true;
    if (!VEC_PUSH(&c->found,
                  (struct chosen){str_c(i->id), percent_place(q->salt, str_c(i->id))}))
        c->result = ERR_NOMEM;
    return c->result == 0;
}

static int by_place(const void *a, const void *b)
{
    const struct chosen *ca = a, *cb = b;

    if (ca->place != cb->place)
        return ca->place < cb->place ? -1 : 1;
    return str_cmp(ca->id, cb->id);
}

static int take_ids(const struct choosing *c, uint32_t n, struct arena *a, struct target *ret,
                    struct err *err)
{
    if (n > TARGET_VALUES_MAX)
        return err_set(err, ERR_LIMIT, "a count is at most %d", TARGET_VALUES_MAX);
    if (c->found.n < n) {
        (void)err_set(err, ERR_INVALID,
                      "%u instances are asked for, but %zu are left to choose from", n,
                      c->found.n);
        err_hint(err, "only those count that are connected, that want one of the resources, "
                      "and that no earlier step has");
        return ERR_INVALID;
    }
    qsort(c->found.at, c->found.n, sizeof(*c->found.at), by_place);
    *ret = (struct target){.ids = ARENA_ARRAY(a, struct str, n)};
    for (; ret->ids && ret->n_ids < n; ret->n_ids++)
        ret->ids[ret->n_ids] = arena_str(a, c->found.at[ret->n_ids].id);
    return arena_failed(a) ? ERR_NOMEM : target_compile(ret, a, err);
}

static bool has_condition(const struct target *t)
{
    return t->n_ids || t->n_fingerprints || t->n_hosts || t->n_networks || t->labels.len ||
           t->has_percent;
}

static int resolve(struct choosing *c, uint32_t n, struct target *t, struct arena *a,
                   struct err *err)
{
    struct target other = *t;
    int r;

    other.everyone = other.everyone || !has_condition(&other);
    r = target_compile(&other, a, err);
    c->target = &other;
    if (!r)
        subjects_each(c->counting->roster, look, c);
    if (!r)
        r = c->result ? c->result : take_ids(c, n, a, t, err);
    VEC_DEINIT(&c->found);
    c->target = NULL;
    return r;
}

/* The targets of the step, one after the other; those behind the one that is resolved are hidden meanwhile. */
static int resolve_step(const struct counting *q, const Trimtab__V1__Step *asked,
                        struct step *steps, size_t at, struct arena *a, struct err *err)
{
    struct step *step = &steps[at];
    size_t n = step->n_targets;
    int r = 0;

    for (size_t i = 0; i < n && !r; i++) {
        struct choosing c = {.counting = q, .steps = steps, .n_steps = at + 1};

        step->n_targets = i;
        if (asked->targets[i]->count)
            r = resolve(&c, asked->targets[i]->count, &step->targets[i], a, err);
        else
            r = target_compile(&step->targets[i], a, err);
    }
    step->n_targets = n;
    return r;
}

int counts_resolve(const struct counting *c, Trimtab__V1__Step *const *asked,
                   struct step *steps, size_t n, struct arena *a, struct err *err)
{
    size_t counted = 0;

    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < asked[i]->n_targets; j++)
            counted += asked[i]->targets[j]->count != 0;
    if (counted > COUNTS_MAX)
        return err_set(err, ERR_LIMIT, "at most %d targets with a count", COUNTS_MAX);
    for (size_t i = 0; i < n; i++) {
        int r = resolve_step(c, asked[i], steps, i, a, err);

        if (r) {
            err_place(err, "step %zu", i + 1);
            return r;
        }
    }
    return 0;
}
