/*
 * Attendance. See attendance.h.
 */
#include "presence/attendance.h"

void attendance_init(struct attendance *a, struct roster *roster)
{
    *a = (struct attendance){.roster = roster};
}

/* A2 */
static void become_complete(struct attendance *a)
{
    uint64_t least = UINT64_MAX;

    for (size_t i = 0; i < a->n_lanes; i++)
        least = MIN(least, a->complete[i]);
    a->roster->complete = least;
}

void attendance_deinit(struct attendance *a)
{
    for (size_t i = 0; i < a->n_lanes; i++)
        a->served[i] = state_unref(a->served[i]);
    a->n_lanes = 0;
}

void attendance_add_lane(struct attendance *a, struct state *state)
{
    ASSERT(a->n_lanes < ATTENDANCE_LANES_MAX);
    a->served[a->n_lanes] = state_ref(state);
    a->complete[a->n_lanes++] = state->revision;
    become_complete(a);
}

void attendance_said_all(struct attendance *a, size_t lane, struct state *state)
{
    struct state *before = a->served[lane];

    ASSERT(lane < a->n_lanes && state->revision >= before->revision);
    a->served[lane] = state_ref(state);
    (void)state_unref(before);
    if (a->n_owing[lane])
        return;
    a->complete[lane] = state->revision;
    become_complete(a);
}

struct state *attendance_state(const struct attendance *a, const struct instance *i)
{
    const struct attendee *one = i->stream;

    return one->is_owing ? NULL : a->served[one->lane];
}

/* Its lane is not complete until it has stood again, or is gone. */
static void set_owing(struct attendance *a, struct attendee *one, bool is_owing)
{
    size_t *n = &a->n_owing[one->lane];

    ASSERT(is_owing || !one->is_owing || *n);
    *n += is_owing;
    *n -= one->is_owing;
    one->is_owing = is_owing;
}

int attendance_arrive(struct attendance *a, struct attendee *one, nsec_t now, int64_t now_ms,
                      struct attendee **ret_older, struct err *err)
{
    struct instance *i = roster_find(a->roster, str_c(one->who->hello->instance->id));
    struct attendee *older = i ? i->stream : NULL;
    int r = roster_admit(a->roster, one->who, now, err);

    *ret_older = NULL;
    if (r)
        return r;
    i = roster_connect(a->roster, one->who, one, now, now_ms);
    if (!i)
        return ERR_NOMEM;
    one->instance = i;
    if (older && older != one) {
        older->instance = NULL; /* A1 */
        *ret_older = older;
    }
    return 0;
}

void attendance_depart(struct attendance *a, struct attendee *one, nsec_t now, int64_t now_ms)
{
    struct instance *i = take(one->instance);

    set_owing(a, one, false);
    if (i)
        roster_leave(a->roster, i, one, now, now_ms);
}

int attendance_stand(struct attendance *a, struct attendee *one, struct standing *standing,
                     bool is_word, const struct moment *at)
{
    int r;

    if (!one->instance) {
        standing_deinit(standing);
        return 0;
    }
    one->spoke |= is_word;
    r = roster_stand(a->roster, one->instance, standing, one->spoke, at);
    one->spoke &= r != 0;
    set_owing(a, one, r != 0);
    return r;
}

int attendance_health(struct attendance *a, struct attendee *one, struct verdict *v,
                      int64_t now_ms)
{
    int r = one->instance ? roster_health(a->roster, one->instance, v, now_ms) : 0;

    a->roster->n_unreported += r != 0;
    return r;
}
