/*
 * Subscriptions by gRPC. See subscribe.h.
 *
 * The stream pulls: frames are taken from the session only while fewer than QUEUE_HIGH bytes wait for the kernel, so
 * a subscriber that reads slowly holds up nothing but itself, and what it is owed merges meanwhile.
 */
#include "server/subscribe.h"

#include "base/log.h"
#include "proto/inbound.h"

enum {
    QUEUE_HIGH = 1 << 20,
    PULLS_PER_ROUND = 32,
    RESTLESS_FEW = 64, /* whose standing is taken at once; */
    RESTLESS_MS = 10,  /* of more, after that long: most have answered what was published by then */
};

/* ---- what all transports share ---- */

/* What is pulled here is written at the end of this round of deferred work, before the next few are pulled. */
static void pump(struct defer *d, void *ctx)
{
    struct app *app = ctx;

    for (int i = 0; i < PULLS_PER_ROUND && !link_is_alone(&app->ready); i++) {
        struct subscriber *s = LINK_OF(app->ready.next, struct subscriber, ready);

        link_remove(&s->ready);
        s->pull(s);
    }
    if (!link_is_alone(&app->ready))
        loop_defer(&app->loop, d);
}

static void become_restless(struct subscriber *s)
{
    if (!link_is_alone(&s->restless))
        return;
    link_before(&s->app->restless, &s->restless);
    s->app->n_restless++;
}

static void become_quiet(struct subscriber *s)
{
    if (link_is_alone(&s->restless))
        return;
    link_remove(&s->restless);
    s->app->n_restless--;
}

/* Tells the roster how those stand whose standing has changed. What memory fails for is tried again at a tick. */
static void bring_up_roster(struct app *app)
{
    struct moment at = app_moment(app);
    int r = 0;

    timer_stop(&app->presence_late);
    while (!r && !link_is_alone(&app->restless)) {
        struct subscriber *s = LINK_OF(app->restless.next, struct subscriber, restless);
        struct standing standing;

        become_quiet(s);
        if (!s->instance) /* subscribes without being listed */
            continue;
        standing = feed_session_standing(s->session);
        r = roster_stand(&app->roster, s->instance, &standing, s->has_spoken, &at);
        s->has_spoken = s->has_spoken && r;
        if (r)
            become_restless(s);
    }
    if (!r)
        app->roster.complete = feed_state(app->feed)->revision;
    app_changed(app);
}

static void presence_late(struct timer *t, void *ctx)
{
    (void)t;
    bring_up_roster(ctx);
}

/* A record that is replaced twice, for what was published and for the answer, costs twice: with many it waits for both. */
static void presence_soon(struct defer *d, void *ctx)
{
    struct app *app = ctx;

    (void)d;
    if (app->n_restless <= RESTLESS_FEW)
        bring_up_roster(app);
    else if (!timer_is_running(&app->presence_late))
        timer_start(&app->presence_late, &app->loop, RESTLESS_MS, 0);
}

void subscribe_init(struct app *app)
{
    link_init(&app->ready);
    link_init(&app->restless);
    app->pump = (struct defer){.fn = pump, .ctx = app};
    app->presence = (struct defer){.fn = presence_soon, .ctx = app};
    app->presence_late = (struct timer){.fn = presence_late, .ctx = app};
}

void subscribe_changed(void *ctx)
{
    struct subscriber *s = ctx;

    become_restless(s);
    loop_defer(&s->app->loop, &s->app->presence);
}

void subscribe_ready(void *ctx)
{
    struct subscriber *s = ctx;

    if (link_is_alone(&s->ready))
        link_before(&s->app->ready, &s->ready);
    loop_defer(&s->app->loop, &s->app->pump);
}

void subscribe_lost(void *ctx, uint64_t revision)
{
    struct app *app = ((struct subscriber *)ctx)->app;

    app->n_lost++;
    if (revision <= app->lost_revision)
        return; /* a fleet says it all at once */
    app->lost_revision = revision;
    LOG(ERROR, "records_lost", LOG_U64("head", app->state->revision),
        LOG_U64("cursor", revision));
}

int subscriber_init(struct subscriber *s, struct app *app, const struct exchange *x,
                    const struct identity *who, enum feed_client client, struct err *err)
{
    if (app->is_draining) /* nobody would end it any more */
        return err_set(err, ERR_UNAVAILABLE, "the server is shutting down");
    s->app = app;
    link_init(&s->ready);
    link_init(&s->restless);
    link_init(&s->link);
    s->who = *who;
    (void)snprintf(s->peer, sizeof(s->peer), "%.*s", STR_ARG(exchange_peer(x)));
    s->session = feed_session_new(app->feed, client, s);
    if (!s->session)
        return err_set(err, ERR_NOMEM, "out of memory");
    link_before(&app->subscriptions, &s->link);
    return 0;
}

void subscriber_deinit(struct subscriber *s)
{
    link_remove(&s->ready);
    become_quiet(s);
    link_remove(&s->link);
    if (s->instance)
        roster_leave(&s->app->roster, s->instance, s, loop_now(&s->app->loop), clock_wall_ms());
    s->session = feed_session_free(s->session);
    s->instance = NULL;
    app_changed(s->app);
}

/* A newer stream of an instance has taken the place of the older one. */
static void end_older(struct subscriber *older, const struct subscriber *s)
{
    if (!older || older == s)
        return;
    older->instance = NULL;
    LOG(INFO, "instance_replaced", LOG_C("instance", s->instance->id), LOG_C("peer", s->peer));
    older->leave(older, "replaced by a newer stream of the same instance");
}

/* Whether this hello may have its instance; nothing changes yet. */
static int admit(struct subscriber *s, const Trimtab__V1__Hello *hello, struct err *err)
{
    int r = roster_admit(&s->app->roster, hello, s->who.name, loop_now(&s->app->loop), err);

    if (r == ERR_EXISTS || r == ERR_DENIED)
        LOG(WARN, "instance_contested", LOG_C("instance", hello->instance->id),
            LOG_C("identity", s->who.name), LOG_C("peer", s->peer), LOG_C("error", err->text));
    return r;
}

/* The feed has taken the hello: the instance is this stream's now. */
static int take_hello(struct subscriber *s, const Trimtab__V1__Hello *hello, struct err *err)
{
    struct roster *roster = &s->app->roster;
    struct instance *i = roster_find(roster, str_c(hello->instance->id));
    struct subscriber *older = i ? i->stream : NULL;
    struct introduction *who;
    int r = introduction_new(&(struct introduction_opts){.hello = hello,
                                                         .owner = s->who.name,
                                                         .peer = s->peer,
                                                         .transport = s->transport},
                             &who, err);

    if (r)
        return r;
    i = roster_connect(roster, who, s, loop_now(&s->app->loop), clock_wall_ms());
    (void)introduction_unref(who);
    if (!i)
        return ERR_NOMEM;
    s->instance = i;
    if (i->presence->taken_ms && i->presence->taken_ms == i->presence->connected_ms)
        LOG(WARN, "instance_taken_over", LOG_C("instance", i->id),
            LOG_C("identity", s->who.name), LOG_C("peer", s->peer),
            LOG_C("by", "a program without the secret of the one before"));
    subscribe_changed(s);
    end_older(older, s);
    return 0;
}

/* What it says of itself is kept with its instance. */
static int take_words(struct subscriber *s, const Trimtab__V1__ClientFrame *frame)
{
    if (!s->instance)
        return 0;
    s->has_spoken = true;
    subscribe_changed(s);
    return frame->health
               ? roster_health(&s->app->roster, s->instance, frame->health, clock_wall_ms())
               : 0;
}

int subscriber_frame(struct subscriber *s, const Trimtab__V1__ClientFrame *frame,
                     struct err *err)
{
    bool has_id = frame->hello && frame->hello->instance && *frame->hello->instance->id;
    int r = has_id ? admit(s, frame->hello, err)
                   : 0; /* without: sees what all see, is not listed */

    if (!r)
        r = feed_session_frame(s->session, frame, loop_now(&s->app->loop), err);
    if (!r &&
        has_id) /* only now: a hello that is refused must not end the stream that serves */
        r = take_hello(s, frame->hello, err);
    if (!r)
        r = take_words(s, frame);
    if (r && err && !err->code)
        (void)err_set(err, r, "out of memory");
    return r;
}

/* ---- gRPC ---- */

struct stream {
    struct subscriber subscriber;
    struct grpc_call *call;
    bool is_ended; /* nothing more is sent */
};

static struct stream *stream_of(struct subscriber *s)
{
    return CONTAINER_OF(s, struct stream, subscriber);
}

static void send_frame(struct stream *st, struct feed_frame *frame)
{
    if (frame->is_framed)
        (void)grpc_send_framed(st->call, frame->segments[0].owner); /* on_close tells */
    else
        (void)grpc_send(st->call, frame->segments, frame->n); /* likewise */
    feed_frame_deinit(frame);
}

static void stream_fail(struct stream *st, const struct err *err)
{
    if (st->is_ended)
        return;
    st->is_ended = true;
    LOG(INFO, "subscription_refused", LOG_C("peer", st->subscriber.peer),
        LOG_C("error", err->text));
    grpc_fail_err(st->call, err);
}

static void stream_pull(struct subscriber *s)
{
    struct stream *st = stream_of(s);

    while (!st->is_ended && grpc_queued(st->call) < QUEUE_HIGH) {
        struct feed_frame frame;
        int r = feed_session_pull(s->session, loop_now(&s->app->loop), &frame);

        if (r == FEED_NOTHING)
            return;
        if (r < 0) {
            struct err err = ERR_NULL;

            (void)err_set(&err, r, "out of memory");
            stream_fail(st, &err);
            return;
        }
        send_frame(st, &frame);
    }
}

static void stream_leave(struct subscriber *s, const char *reason)
{
    struct stream *st = stream_of(s);

    if (st->is_ended)
        return;
    st->is_ended = true;
    grpc_finish(st->call, GRPC_UNAVAILABLE, reason);
}

static void on_message(struct grpc_call *call, void *ctx, struct str message)
{
    struct stream *st = ctx;
    struct arena *a = &st->subscriber.app->scratch;
    struct err err;
    ProtobufCMessage *frame;
    int r;

    (void)call;
    if (st->is_ended)
        return;
    err_clear(&err);
    r = inbound_unpack(&trimtab__v1__client_frame__descriptor, message, a, &frame, &err);
    if (!r)
        r = subscriber_frame(&st->subscriber, (Trimtab__V1__ClientFrame *)frame, &err);
    arena_reset(a);
    if (!r)
        return;
    if (!err.code)
        (void)err_set(&err, r, "out of memory");
    stream_fail(st, &err);
}

static void on_half_close(struct grpc_call *call, void *ctx)
{
    struct stream *st = ctx;

    if (!st->is_ended)
        grpc_finish(call, GRPC_OK, NULL);
    st->is_ended = true;
}

static void on_writable(struct grpc_call *call, void *ctx)
{
    struct stream *st = ctx;

    (void)call;
    stream_pull(&st->subscriber);
}

static void on_close(struct grpc_call *call, void *ctx, int reason)
{
    struct stream *st = ctx;

    (void)call;
    (void)reason;
    subscriber_deinit(&st->subscriber);
    (void)mem_free(st);
}

static const struct grpc_ops ops = {on_message, on_half_close, on_writable, on_close};

void subscribe_on_call(struct grpc_call *call, void *service_ctx, struct str message)
{
    struct app *app = service_ctx;
    struct identity who;
    struct err err = ERR_NULL;
    struct stream *st = NULL;
    int r = app_authorize(app, grpc_exchange(call), RIGHT_SUBSCRIBE, &who, &err);

    (void)message;
    if (!r) {
        st = NEW(struct stream);
        r = st ? subscriber_init(&st->subscriber, app, grpc_exchange(call), &who,
                                 FEED_CLIENT_ANSWERS, &err)
               : ERR_NOMEM;
    }
    if (r) {
        if (!err.code)
            (void)err_set(&err, r, "out of memory");
        (void)mem_free(st);
        grpc_fail_err(call, &err);
        return;
    }
    st->call = call;
    st->subscriber.pull = stream_pull;
    st->subscriber.leave = stream_leave;
    st->subscriber.transport = "grpc";
    grpc_set_ops(call, &ops, st);
}

/* ---- draining ---- */

void subscribe_drain(struct app *app)
{
    LIST_EACH (&app->subscriptions, l) {
        struct subscriber *s = LINK_OF(l, struct subscriber, link);

        s->leave(s, "the server is shutting down");
    }
}

/* ---- rights ---- */

void subscribe_review(struct app *app)
{
    LIST_EACH (&app->subscriptions, l) {
        struct subscriber *s = LINK_OF(l, struct subscriber, link);

        if (auth_holds(app->auth, &s->who, RIGHT_SUBSCRIBE))
            continue;
        LOG(INFO, "subscription_ended", LOG_C("identity", s->who.name), LOG_C("peer", s->peer));
        s->leave(s, "the right to subscribe was taken away");
    }
}
