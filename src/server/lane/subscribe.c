/*
 * Subscribers. See subscribe.h.
 */
#include "server/lane/subscribe.h"

#include "base/log.h"

enum {
    PULLS_PER_ROUND = 32,
    RESTLESS_FEW = 64, /* whose standing is taken at once; */
    RESTLESS_MS = 10,  /* of more, after that long: most have answered what was published by then */
};

/* What is pulled here is written at the end of this round of deferred work, before the next few are pulled. */
static void pump(struct defer *d, void *ctx)
{
    struct lane *lane = ctx;

    for (int i = 0; i < PULLS_PER_ROUND && !link_is_alone(&lane->ready); i++) {
        struct subscriber *s = LINK_OF(lane->ready.next, struct subscriber, ready);

        link_remove(&s->ready);
        s->pull(s);
    }
    if (!link_is_alone(&lane->ready))
        loop_defer(lane->loop, d);
}

static void become_restless(struct subscriber *s)
{
    if (!link_is_alone(&s->restless))
        return;
    link_before(&s->lane->restless, &s->restless);
    s->lane->n_restless++;
}

static void become_quiet(struct subscriber *s)
{
    if (link_is_alone(&s->restless))
        return;
    link_remove(&s->restless);
    s->lane->n_restless--;
}

/* Tells the roster how those stand whose standing has changed. What memory fails for is tried again at a tick. */
static void bring_up_roster(struct lane *lane)
{
    struct moment at = hub_moment(lane->hub);
    int r = 0;

    timer_stop(&lane->presence_late);
    while (!r && !link_is_alone(&lane->restless)) {
        struct subscriber *s = LINK_OF(lane->restless.next, struct subscriber, restless);
        struct standing standing;

        become_quiet(s);
        if (!s->instance) /* subscribes without being listed */
            continue;
        standing = feed_session_standing(s->session);
        r = roster_stand(&lane->hub->roster, s->instance, &standing, s->has_spoken, &at);
        s->has_spoken = s->has_spoken && r;
        if (r)
            become_restless(s);
    }
    if (!r)
        lane->hub->roster.complete = feed_state(lane->feed)->revision;
    hub_changed(lane->hub);
}

static void presence_late(struct timer *t, void *ctx)
{
    (void)t;
    bring_up_roster(ctx);
}

/* A record that is replaced twice, for what was published and for the answer, costs twice: with many it waits for both. */
static void presence_soon(struct defer *d, void *ctx)
{
    struct lane *lane = ctx;

    (void)d;
    if (lane->n_restless <= RESTLESS_FEW)
        bring_up_roster(lane);
    else if (!timer_is_running(&lane->presence_late))
        timer_start(&lane->presence_late, lane->loop, RESTLESS_MS, 0);
}

void subscribe_init(struct lane *lane)
{
    link_init(&lane->ready);
    link_init(&lane->restless);
    lane->pump = (struct defer){.fn = pump, .ctx = lane};
    lane->presence = (struct defer){.fn = presence_soon, .ctx = lane};
    lane->presence_late = (struct timer){.fn = presence_late, .ctx = lane};
}

void subscribe_changed(void *ctx)
{
    struct subscriber *s = ctx;

    become_restless(s);
    loop_defer(s->lane->loop, &s->lane->presence);
}

void subscribe_ready(void *ctx)
{
    struct subscriber *s = ctx;

    if (link_is_alone(&s->ready))
        link_before(&s->lane->ready, &s->ready);
    loop_defer(s->lane->loop, &s->lane->pump);
}

void subscribe_lost(void *ctx, uint64_t revision)
{
    hub_note_lost(((struct subscriber *)ctx)->lane->hub, revision);
}

int subscriber_init(struct subscriber *s, struct lane *lane, const struct exchange *x,
                    const struct identity *who, enum feed_client client, struct err *err)
{
    if (lane->is_draining) /* nobody would end it any more */
        return err_set(err, ERR_UNAVAILABLE, "the server is shutting down");
    s->lane = lane;
    link_init(&s->ready);
    link_init(&s->restless);
    link_init(&s->link);
    s->who = *who;
    (void)snprintf(s->peer, sizeof(s->peer), "%.*s", STR_ARG(exchange_peer(x)));
    s->session = feed_session_new(lane->feed, client, s);
    if (!s->session)
        return err_set(err, ERR_NOMEM, "out of memory");
    link_before(&lane->subscriptions, &s->link);
    return 0;
}

void subscriber_deinit(struct subscriber *s)
{
    link_remove(&s->ready);
    become_quiet(s);
    link_remove(&s->link);
    if (s->instance)
        roster_leave(&s->lane->hub->roster, s->instance, s, loop_now(s->lane->loop), clock_wall_ms());
    s->session = feed_session_free(s->session);
    s->instance = NULL;
    hub_changed(s->lane->hub);
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
    int r = roster_admit(&s->lane->hub->roster, hello, s->who.name, loop_now(s->lane->loop), err);

    if (r == ERR_EXISTS || r == ERR_DENIED)
        LOG(WARN, "instance_contested", LOG_C("instance", hello->instance->id),
            LOG_C("identity", s->who.name), LOG_C("peer", s->peer), LOG_C("error", err->text));
    return r;
}

/* The feed has taken the hello: the instance is this stream's now. */
static int take_hello(struct subscriber *s, const Trimtab__V1__Hello *hello, struct err *err)
{
    struct roster *roster = &s->lane->hub->roster;
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
    i = roster_connect(roster, who, s, loop_now(s->lane->loop), clock_wall_ms());
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
               ? roster_health(&s->lane->hub->roster, s->instance, frame->health, clock_wall_ms())
               : 0;
}

int subscriber_frame(struct subscriber *s, const Trimtab__V1__ClientFrame *frame,
                     struct err *err)
{
    bool has_id = frame->hello && frame->hello->instance && *frame->hello->instance->id;
    int r = has_id ? admit(s, frame->hello, err)
                   : 0; /* without: sees what all see, is not listed */

    if (!r)
        r = feed_session_frame(s->session, frame, loop_now(s->lane->loop), err);
    if (!r &&
        has_id) /* only now: a hello that is refused must not end the stream that serves */
        r = take_hello(s, frame->hello, err);
    if (!r)
        r = take_words(s, frame);
    if (r && err && !err->code)
        (void)err_set(err, r, "out of memory");
    return r;
}

/* ---- draining ---- */

void subscribe_drain(struct lane *lane)
{
    LIST_EACH (&lane->subscriptions, l) {
        struct subscriber *s = LINK_OF(l, struct subscriber, link);

        s->leave(s, "the server is shutting down");
    }
}

/* ---- rights ---- */

void subscribe_review(struct lane *lane)
{
    LIST_EACH (&lane->subscriptions, l) {
        struct subscriber *s = LINK_OF(l, struct subscriber, link);

        if (auth_holds(lane->hub->auth, &s->who, RIGHT_SUBSCRIBE))
            continue;
        LOG(INFO, "subscription_ended", LOG_C("identity", s->who.name), LOG_C("peer", s->peer));
        s->leave(s, "the right to subscribe was taken away");
    }
}
