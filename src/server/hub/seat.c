/*
 * Seats. See seat.h.
 */
#include "server/hub/seat.h"

#include "base/log.h"

/* ---- life ---- */

struct seat *seat_new(struct hub *hub, size_t lane, struct loop *home,
                      struct introduction *who, const struct seat_ops *ops, void *stream)
{
    struct seat *seat = NEW(struct seat);

    if (!seat)
        return NULL;
    atomic_init(&seat->refs, 1);
    seat->hub = hub;
    seat->home = home;
    seat->ops = ops;
    seat->who = introduction_ref(who);
    seat->stream = stream;
    seat->attendee = (struct attendee){.who = seat->who, .lane = lane};
    return seat;
}

struct seat *seat_ref(struct seat *seat)
{
    (void)atomic_fetch_add_explicit(&seat->refs, 1, memory_order_relaxed);
    return seat;
}

struct seat *seat_unref(struct seat *seat)
{
    if (!seat || atomic_fetch_sub_explicit(&seat->refs, 1, memory_order_acq_rel) > 1)
        return NULL;
    ASSERT(!seat->attendee.instance && !seat->stream);
    (void)introduction_unref(seat->who);
    (void)mem_free(seat->story);
    return mem_free(seat);
}

/* A message in either direction: the seat stays until it has arrived. */
static void send_seat(struct seat *seat, struct loop *loop, struct post *post,
                 void (*fn)(struct post *post, void *ctx))
{
    hub_begin_flight(seat->hub);
    *post = (struct post){.fn = fn, .ctx = seat_ref(seat)};
    loop_post(loop, post);
}

static void received(struct seat *seat)
{
    hub_end_flight(seat->hub);
    (void)seat_unref(seat);
}

/* ---- to the lane ---- */

static void on_answer(struct post *post, void *ctx)
{
    struct seat *seat = ctx;
    struct err err = ERR_NULL;

    (void)post;
    if (seat->result && !seat->story)
        (void)err_set(&err, seat->result, "out of memory");
    if (seat->stream && seat->result)
        seat->ops->refused(seat->stream, seat->story ? seat->story : &err);
    else if (seat->stream)
        seat->ops->taken(seat->stream);
    received(seat);
}

static void on_leaving(struct post *post, void *ctx)
{
    struct seat *seat = ctx;

    (void)post;
    if (seat->stream)
        seat->ops->leave(seat->stream, seat->reason);
    received(seat);
}

/* Once: a stream that is told to go goes. */
static void tell_to_leave(struct seat *seat, const char *reason)
{
    if (seat->reason)
        return;
    seat->reason = reason;
    send_seat(seat, seat->home, &seat->leaving, on_leaving);
}

static void on_again(struct post *post, void *ctx)
{
    struct seat *seat = ctx;

    (void)post;
    atomic_store_explicit(&seat->is_asked_again, false, memory_order_release);
    if (seat->stream)
        seat->ops->stand_again(seat->stream);
    received(seat);
}

static void ask_again(struct seat *seat)
{
    if (!atomic_exchange_explicit(&seat->is_asked_again, true, memory_order_acq_rel))
        send_seat(seat, seat->home, &seat->again, on_again);
}

/* ---- arriving, on the hub ---- */

/* A newer stream of an instance has taken the place of the older one. */
static void end_older(struct attendee *older, const struct introduction *by)
{
    LOG(INFO, "instance_replaced", LOG_C("instance", by->hello->instance->id),
        LOG_C("peer", by->peer));
    tell_to_leave(CONTAINER_OF(older, struct seat, attendee),
                  "replaced by a newer stream of the same instance");
}

static int take_instance(struct seat *seat, struct err *err)
{
    const struct introduction *who = seat->who;
    const char *id = who->hello->instance->id;
    const struct presence *p;
    struct attendee *older;
    int r = attendance_arrive(&seat->hub->attendance, &seat->attendee, clock_now(),
                              clock_wall_ms(), &older, err);

    if (r == ERR_EXISTS || r == ERR_DENIED)
        LOG(WARN, "instance_contested", LOG_C("instance", id), LOG_C("identity", who->owner),
            LOG_C("peer", who->peer), LOG_C("error", err->text));
    if (r)
        return r;
    p = seat->attendee.instance->presence;
    if (p->taken_ms && p->taken_ms == p->connected_ms)
        LOG(WARN, "instance_taken_over", LOG_C("instance", id), LOG_C("identity", who->owner),
            LOG_C("peer", who->peer),
            LOG_C("by", "a program without the secret of the one before"));
    if (older)
        end_older(older, who);
    return 0;
}

static void on_arrival(struct post *post, void *ctx)
{
    struct seat *seat = ctx;
    struct err err = ERR_NULL;

    (void)post;
    seat->result = take_instance(seat, &err);
    if (seat->result && err.code) {
        seat->story = NEW(struct err);
        if (seat->story)
            *seat->story = err;
    }
    (void)seat_ref(seat); /* the hub's, until it departs */
    send_seat(seat, seat->home, &seat->arrival, on_answer);
    hub_changed(seat->hub);
    received(seat);
}

void seat_arrive(struct seat *seat)
{
    send_seat(seat, seat->hub->loop, &seat->arrival, on_arrival);
}

/* ---- leaving, on the hub ---- */

static void on_departure(struct post *post, void *ctx)
{
    struct seat *seat = ctx;

    (void)post;
    attendance_depart(&seat->hub->attendance, &seat->attendee, clock_now(), clock_wall_ms());
    hub_changed(seat->hub);
    (void)seat_unref(seat); /* the hub's */
    received(seat);
}

void seat_depart(struct seat *seat)
{
    seat->stream = NULL;
    send_seat(seat, seat->hub->loop, &seat->departure, on_departure);
    (void)seat_unref(seat);
}

/* ---- words ---- */

struct health_word {
    struct post post;
    struct seat *seat;
    struct verdict *verdict;
};

static void on_health(struct post *post, void *ctx)
{
    struct health_word *w = ctx;
    struct seat *seat = w->seat;

    (void)post;
    if (attendance_health(&seat->hub->attendance, &seat->attendee, w->verdict, clock_wall_ms()))
        tell_to_leave(seat, "out of memory"); /* it comes again, and says it again */
    (void)verdict_unref(w->verdict);
    (void)mem_free(w);
    hub_changed(seat->hub);
    received(seat);
}

int seat_say_health(struct seat *seat, const Trimtab__V1__Health *health)
{
    struct health_word *w = NEW(struct health_word);
    struct verdict *verdict = w ? verdict_new(health) : NULL;

    if (!verdict) {
        (void)mem_free(w);
        return ERR_NOMEM;
    }
    *w = (struct health_word){.seat = seat_ref(seat), .verdict = verdict};
    w->post = (struct post){.fn = on_health, .ctx = w};
    hub_begin_flight(seat->hub);
    loop_post(seat->hub->loop, &w->post);
    return 0;
}

struct standings *standings_new(struct hub *hub, size_t lane, size_t max)
{
    struct standings *s =
        max < SIZE_MAX / 2 / sizeof(struct standing_word)
            ? mem_zalloc(size_add(sizeof(*s), max * sizeof(struct standing_word)))
            : NULL;

    if (!s)
        return NULL;
    s->hub = hub;
    s->lane = lane;
    return s;
}

static void on_standings(struct post *post, void *ctx)
{
    struct standings *s = ctx;
    struct hub *hub = s->hub;
    struct moment at = hub_moment(hub);

    (void)post;
    for (size_t i = 0; i < s->n; i++) {
        struct standing_word *w = &s->words[i];

        if (attendance_stand(&hub->attendance, &w->seat->attendee, &w->standing, w->is_word,
                             &at))
            ask_again(w->seat);
    }
    if (s->n_lost)
        hub_note_lost(hub, s->n_lost, s->lost_revision);
    attendance_said_all(&hub->attendance, s->lane, s->state);
    (void)state_unref(s->state);
    (void)mem_free(s);
    hub_changed(hub);
    hub_end_flight(hub);
}

void standings_send(struct standings *s)
{
    struct hub *hub = s->hub;

    hub_begin_flight(hub);
    s->post = (struct post){.fn = on_standings, .ctx = s};
    loop_post(hub->loop, &s->post);
}
