/*
 * Subscribers. See subscribe.h.
 */
#include "server/lane/subscribe.h"

#include "base/log.h"

enum {
    PULLS_PER_ROUND = 32,
    PULLS_NS = 2000000,
    RESTLESS_FEW = 64, /* whose standing is taken at once; */
    RESTLESS_MS =
        10, /* of more, after that long: most have answered what was published by then */
};

/* ---- what is to be sent ---- */

/*
 * What is pulled here is written at the end of this round of deferred work, before the next few are pulled: fewer, where they
 * take long.
 */
static void pump(struct defer *d, void *ctx)
{
    struct lane *lane = ctx;
    nsec_t end = clock_now() + PULLS_NS;

    for (int i = 0; i < PULLS_PER_ROUND && !link_is_alone(&lane->ready) && clock_now() < end;
         i++) {
        struct subscriber *s = LINK_OF(lane->ready.next, struct subscriber, ready);

        link_remove(&s->ready);
        if (s->is_taken) /* else it is woken when it is */
            s->ops->pull(s);
    }
    if (!link_is_alone(&lane->ready))
        loop_defer(lane->loop, d);
}

void subscriber_wake(struct subscriber *s)
{
    if (link_is_alone(&s->ready))
        link_before(&s->lane->ready, &s->ready);
    loop_defer(s->lane->loop, &s->lane->pump);
}

static void on_ready(void *ctx)
{
    subscriber_wake(ctx);
}

/* ---- how they stand ---- */

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

static void take_standing(struct subscriber *s, struct standings *all)
{
    become_quiet(s);
    if (!s->seat) /* subscribes without being listed */
        return;
    all->words[all->n++] = (struct standing_word){.seat = s->seat,
                                                  .standing = feed_session_standing(s->session),
                                                  .is_word = s->has_spoken};
    s->has_spoken = false;
}

/* Tells the hub how those stand whose standing has changed. What memory fails for is tried again at a tick. */
static void bring_up_roster(struct lane *lane)
{
    struct standings *all = standings_new(lane->hub, lane->number, lane->n_restless);

    timer_stop(&lane->presence_late);
    if (!all)
        return;
    while (!link_is_alone(&lane->restless))
        take_standing(LINK_OF(lane->restless.next, struct subscriber, restless), all);
    all->complete = lane_state(lane)->revision;
    all->n_lost = lane->n_lost;
    all->lost_revision = lane->lost_revision;
    lane->n_lost = 0;
    lane->heard = loop_now(lane->loop);
    standings_send(all);
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

static void on_change(void *ctx)
{
    struct subscriber *s = ctx;

    become_restless(s);
    loop_defer(s->lane->loop, &s->lane->presence);
}

static void on_loss(void *ctx, uint64_t revision)
{
    struct lane *lane = ((struct subscriber *)ctx)->lane;

    lane->n_lost++;
    lane->lost_revision = MAX(lane->lost_revision, revision);
    loop_defer(lane->loop, &lane->presence);
}

/* ---- the hub's answers ---- */

static void on_taken(void *stream)
{
    struct subscriber *s = stream;

    s->is_taken = true;
    if (s->ops->taken)
        s->ops->taken(s);
    subscriber_wake(s);
}

static void on_refused(void *stream, const struct err *err)
{
    struct subscriber *s = stream;

    s->ops->refused(s, err);
}

static void on_leave(void *stream, const char *reason)
{
    struct subscriber *s = stream;

    s->ops->leave(s, reason);
}

static void on_stand_again(void *stream)
{
    on_change(stream);
}

static const struct seat_ops seat_ops = {on_taken, on_refused, on_leave, on_stand_again};

/* ---- life ---- */

int subscriber_init(struct subscriber *s, struct lane *lane, const struct subscriber_ops *ops,
                    struct str peer, const struct identity *who, enum feed_client client,
                    struct err *err)
{
    if (lane->is_draining) /* nobody would end it any more */
        return err_set(err, ERR_UNAVAILABLE, "the server is shutting down");
    s->lane = lane;
    s->ops = ops;
    link_init(&s->ready);
    link_init(&s->restless);
    link_init(&s->link);
    s->who = *who;
    (void)snprintf(s->peer, sizeof(s->peer), "%.*s", STR_ARG(peer));
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
    if (s->seat)
        seat_depart(take(s->seat));
    s->session = feed_session_free(s->session);
    s->readable = readable_unref(s->readable);
}

/* ---- frames ---- */

bool subscriber_must_wait(const struct lane *lane, const Trimtab__V1__Hello *hello)
{
    uint64_t shown = hello->cursor ? hello->cursor->revision : 0, here, newest;
    struct state *state;

    if (hello->serving)
        shown = MAX(shown, hello->serving->revision);
    here = lane_state(lane)->revision;
    if (shown <= here)
        return false;
    state = hub_newest(lane->hub);
    newest = state->revision;
    (void)state_unref(state);
    return here < MIN(shown, newest);
}

/* ---- rights ---- */

static bool may_everything(const struct auth_record *r, const struct identity *who)
{
    struct principal p = identity_principal(who);

    return rights_may(auth_rights(r), &p, RIGHT_TO_SUBSCRIBE, SPACE_EVERYTHING);
}

int subscription_rights(const struct auth_record *r, const struct identity *who,
                        const struct scope *scopes, size_t n, struct readable **ret,
                        struct err *err)
{
    struct principal p = identity_principal(who);
    int rc = scopes_authorize(auth_rights(r), &p, scopes, n, err);

    *ret = NULL;
    return rc ? rc : readable_make(auth_rights(r), &p, ret);
}

/* Whole or not at all: without the right to one of its layers it gets nothing (I11). */
static int take_rights(struct subscriber *s, const Trimtab__V1__Hello *hello, struct err *err)
{
    owned(auth_record_unref) struct auth_record *r = auth_current(s->lane->hub->auth);
    owned(arena) struct arena a = ARENA_NULL;
    struct scope *scopes;
    int rc;

    if (may_everything(r, &s->who))
        return 0;
    rc = scopes_from_proto(hello->scopes, hello->n_scopes, hello->instance, &a, &scopes, err);
    if (!rc)
        rc = subscription_rights(r, &s->who, scopes, hello->n_scopes, &s->readable, err);
    if (!rc)
        feed_session_may_read(s->session, s->readable);
    return rc;
}

/* One that is not listed says nothing by which it could be asked again; it comes back. */
static bool still_has_rights(struct subscriber *s, const struct auth_record *r)
{
    const struct introduction *in = s->seat ? s->seat->who : NULL;
    struct readable *now = NULL;
    struct principal p;
    bool same;

    if (!auth_renew(r, &s->who, clock_now()))
        return false;
    p = identity_principal(&s->who); /* as renewed: not before */
    if (may_everything(r, &s->who))
        return !s->readable;
    for (size_t i = 0; in && i < in->n_scopes; i++)
        if (scopes_authorize(auth_rights(r), &p, in->scopes[i], 1, NULL))
            return false;
    same = in && !readable_make(auth_rights(r), &p, &now) && readable_eq(now, s->readable);
    (void)readable_unref(now);
    return same;
}

/* ---- hellos ---- */

/* The feed has taken the hello: the hub is asked for the instance. */
static int take_hello(struct subscriber *s, const Trimtab__V1__Hello *hello, struct err *err)
{
    struct introduction *who;
    int r = introduction_new(&(struct introduction_opts){.hello = hello,
                                                         .owner = s->who.name,
                                                         .peer = s->peer,
                                                         .transport = s->ops->transport},
                             &who, err);

    if (r)
        return r;
    s->seat = seat_new(s->lane->hub, s->lane->number, s->lane->loop, who, &seat_ops, s);
    (void)introduction_unref(who);
    if (!s->seat)
        return ERR_NOMEM;
    seat_arrive(s->seat);
    on_change(s);
    return 0;
}

/* What it says of itself is kept with its instance. */
static int take_words(struct subscriber *s, const Trimtab__V1__ClientFrame *frame)
{
    if (!s->seat)
        return 0;
    s->has_spoken = true;
    on_change(s);
    return frame->health ? seat_say_health(s->seat, frame->health) : 0;
}

int subscriber_frame(struct subscriber *s, const Trimtab__V1__ClientFrame *frame,
                     struct err *err)
{
    const Trimtab__V1__Hello *hello = frame->hello;
    bool has_id = hello && hello->instance && *hello->instance->id;
    int r = has_id ? instance_id_check(str_c(hello->instance->id), err) : 0;

    if (!r && hello &&
        feed_session_status(s->session).phase == FEED_NEW) /* else it is refused */
        r = take_rights(s, hello, err);
    if (!r)
        r = feed_session_frame(s->session, frame, loop_now(s->lane->loop), err);
    if (!r && has_id)
        r = take_hello(s, hello, err);
    else if (!r && hello) /* it sees what all see, and is not listed */
        on_taken(s);
    if (!r)
        r = take_words(s, frame);
    if (r && err && !err->code)
        (void)err_set(err, r, "out of memory");
    return r;
}

bool subscriber_say_stored(struct subscriber *s, uint64_t revision)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Ack ack = TRIMTAB__V1__ACK__INIT;

    ack.stage = TRIMTAB__V1__STAGE__STORED;
    ack.revision = revision;
    frame.ack = &ack;
    return !feed_session_frame(s->session, &frame, loop_now(s->lane->loop), NULL);
}

bool subscriber_owns(const struct subscriber *s, const struct identity *who, struct str secret)
{
    const struct introduction *own = s->seat ? s->seat->who : NULL;
    struct claimant other = claimant_with(who->name, secret);

    return own && str_eq(str_c(own->owner), other.credential) &&
           own->has_secret == other.has_secret &&
           (!own->has_secret || sha256_eq(&own->secret, &other.secret));
}

/* ---- all of a lane ---- */

void subscribers_init(struct lane *lane)
{
    link_init(&lane->subscriptions);
    link_init(&lane->ready);
    link_init(&lane->restless);
    lane->pump = (struct defer){.fn = pump, .ctx = lane};
    lane->presence = (struct defer){.fn = presence_soon, .ctx = lane};
    lane->presence_late = (struct timer){.fn = presence_late, .ctx = lane};
}

void subscribers_feed_opts(struct feed_opts *opts)
{
    opts->ready = on_ready;
    opts->changed = on_change;
    opts->lost = on_loss;
}

void subscribers_drain(struct lane *lane)
{
    LIST_EACH (&lane->subscriptions, l) {
        struct subscriber *s = LINK_OF(l, struct subscriber, link);

        s->ops->leave(s, "the server is shutting down");
    }
}

void subscribers_review(struct lane *lane)
{
    owned(auth_record_unref) struct auth_record *rights = auth_current(lane->hub->auth);

    LIST_EACH (&lane->subscriptions, l) {
        struct subscriber *s = LINK_OF(l, struct subscriber, link);

        if (still_has_rights(s, rights))
            continue;
        LOG(INFO, "subscription_ended", LOG_C("identity", s->who.name), LOG_C("peer", s->peer));
        s->ops->leave(s, "the rights to what it subscribes to have changed");
    }
}

void subscribers_renew(struct lane *lane)
{
    owned(auth_record_unref) struct auth_record *rights = auth_current(lane->hub->auth);
    nsec_t now = clock_now();

    LIST_EACH (&lane->subscriptions, l) {
        struct subscriber *s = LINK_OF(l, struct subscriber, link);

        if (!auth_renew(rights, &s->who, now))
            s->ops->leave(s, "the token has expired, or is not known any more");
    }
}
