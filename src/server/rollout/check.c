/*
 * What is asked of the fleet before a move. See rollout_check.h.
 */
#include "server/rollout/check.h"

#include "base/hash.h"

enum { SALT_BYTES = 8 };

struct str rollout_salt(struct arena *a)
{
    unsigned char bytes[SALT_BYTES];
    char hex[2 * SALT_BYTES + 1];

    if (random_bytes(bytes, sizeof(bytes)))
        return STR("trimtab");
    hex_encode(bytes, sizeof(bytes), hex);
    return arena_str(a, str_c(hex));
}

/* ---- whether it is for anybody ---- */

struct matching {
    const struct beginning *beginning;
    bool has_found;
};

static bool match(void *ctx, struct instance *i, const struct subject *s)
{
    struct matching *m = ctx;
    const struct beginning *b = m->beginning;

    m->has_found = interest_met(b->interest, i) && steps_taking(b->step, 1, b->salt, s) != 0;
    return !m->has_found;
}

static bool allows_empty(const struct beginning *b)
{
    return b->asked->empty_case == TRIMTAB__V1__STEP__EMPTY_ALLOW_EMPTY ? b->asked->allow_empty
                                                                        : !b->is_automatic;
}

int rollout_check_matches(const struct roster *roster, const struct beginning *b, size_t number,
                          struct arena *a, struct err *err)
{
    struct matching m = {.beginning = b};
    size_t known = roster->instances.n;
    int r = step_check(b->step, a, err);

    if (r || allows_empty(b))
        return r;
    subjects_each(roster, match, &m);
    if (m.has_found)
        return 0;
    (void)err_set(
        err, ERR_INVALID,
        "no instance matches: none of %zu that the server knows is one of its targets "
        "and wants one of its resources",
        known);
    err_place(err, "step %zu", number);
    err_hint(err,
             "look at trimtab rollout preview and trimtab instances; --allow-empty, or "
             "allow_empty in a step, begins it for nobody");
    return ERR_INVALID;
}

/* ---- whether its targets speak against it ---- */

int rollout_check_confirm(struct driver *d, const struct rollout *r, const char *force,
                          struct rollout_move *m, struct err *err)
{
    char text[DRIVE_TEXT_MAX];
    const struct drive *v;
    struct tally t;

    if (!rollout_is_live(r))
        return 0;
    if (driver_look(d) || !(v = drives_find(&d->drives, r->id)))
        return ERR_NOMEM; /* what was not counted speaks for nothing */
    t = headcount_tally(&v->heads);
    m->holds = !v->is_old && drive_meets(r, &t);
    if (!drive_objects(r, &t, text))
        return 0;
    if (*force) {
        m->force = str_c(force);
        return 0;
    }
    (void)err_set(err, ERR_REFUSED, "%s: confirming would give it to everybody", text);
    err_place(err, "rollout %llu", (unsigned long long)r->id);
    err_hint(err,
             "look at trimtab rollout status %llu; confirm it all the same with --force REASON "
             "(force in a request), which the history keeps",
             (unsigned long long)r->id);
    return ERR_REFUSED;
}

/* ---- who fails already ---- */

struct failing {
    const struct rollout *rollout;
    struct interest interest;
    uint64_t n;
};

static bool count_failing(void *ctx, struct instance *i, const struct subject *s)
{
    struct failing *f = ctx;
    const struct rollout *r = f->rollout;

    f->n += presence_is_failing(i->presence) && interest_met(&f->interest, i) &&
            steps_taking(r->steps, r->n_begun, r->salt, s) == r->n_begun;
    return true;
}

int rollout_count_failing(const struct roster *roster, const struct rollout *r, uint64_t *ret)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct failing f = {.rollout = r};
    int rc = interest_of_rollout(r, &a, &f.interest);

    if (!rc)
        subjects_each(roster, count_failing, &f);
    *ret = f.n;
    return rc;
}
