/*
 * Long poll: a session that outlives its requests, and waits for the next poll of its instance for LINGER_MS.
 *
 * Polls of one instance come by any connection, so in any lane; its session is in the lane that its id says. A poll goes there
 * and comes back with its answer.
 */
#include "server/edge/subscribe_http.h"

#include "base/vec.h"
#include "proto/convert.h"
#include "proto/inbound.h"
#include "proto/json.h"
#include "server/edge/answer.h"
#include "server/edge/frame_json.h"
#include "server/edge/hello_query.h"
#include "server/lane/subscribe.h"

enum { WAIT_MS = 30000, WAIT_MAX_MS = 55000 };

/* One request, on the arena of rest. */
struct poll {
    struct rest *rest; /* of the lane of its connection */
    struct front *at;  /* the lane of its session; what follows belongs to it */
    Trimtab__V1__Hello *hello;
    uint32_t wait_ms;
    char peer[64];
    struct waiter waiter;
    struct post post;
    struct shared *text; /* of the answer, a reference */
    struct err err;      /* or this, if it has a code */
};

/* A session between polls, and during one. */
struct poller {
    struct subscriber subscriber;
    struct front *front;
    struct poll *poll;  /* that waits; NULL between two */
    struct timer timer; /* of the wait, or of the lingering */
    struct link link;   /* in front.http_sessions */
    char instance[INSTANCE_ID_MAX + 1];
    VEC(Trimtab__V1__ServerFrame *) frames; /* of the batch that is being collected */
};

static struct poller *poller_of(struct subscriber *s)
{
    return CONTAINER_OF(s, struct poller, subscriber);
}

/* ---- back to the connection ---- */

static void respond(struct post *post, void *ctx)
{
    struct poll *poll = ctx;
    struct rest *r = poll->rest;
    struct shared *text = take(poll->text);

    (void)post;
    if (poll->at != r->front)
        hub_end_flight(r->front->lane->hub);
    if (poll->err.code) {
        rest_fail(r, &poll->err);
        return;
    }
    answer_send(r, &(struct answer){
                       .status = 200, .type = STR("application/json"), .body = segment_shared(text)});
    (void)shared_unref(text);
}

static void poll_return(struct poll *poll)
{
    struct front *home = poll->rest->front;

    if (poll->at == home) {
        respond(&poll->post, poll);
        return;
    }
    poll->post = (struct post){.fn = respond, .ctx = poll};
    loop_post(home->lane->loop, &poll->post);
}

static void poll_fail(struct poll *poll, int rc)
{
    if (!poll->err.code)
        (void)err_set(&poll->err, rc, "out of memory");
    poll_return(poll);
}

/* ---- the session ---- */

static void frames_clear(struct poller *p)
{
    for (size_t i = 0; i < p->frames.n; i++)
        frame_free(p->frames.at[i]);
    VEC_DEINIT(&p->frames);
}

static void poller_free(struct poller *p)
{
    struct map *pollers = &p->front->pollers;

    timer_stop(&p->timer);
    link_remove(&p->link);
    if (*p->instance && map_get(pollers, str_c(p->instance)) == p)
        (void)map_remove(pollers, str_c(p->instance));
    frames_clear(p);
    subscriber_deinit(&p->subscriber);
    (void)mem_free(p);
}

/* The one timer of a poller: for its wait, or for its lingering. */
static void timer_set(struct poller *p, void (*fn)(struct timer *t, void *ctx), uint32_t ms)
{
    timer_stop(&p->timer);
    p->timer = (struct timer){.fn = fn, .ctx = p};
    timer_start(&p->timer, p->subscriber.lane->loop, ms, 0);
}

static void linger_over(struct timer *t, void *ctx)
{
    (void)t;
    poller_free(ctx);
}

/* Answers the poll that waits. A poller to which nobody can come back is gone afterwards. */
static void poller_answer(struct poller *p)
{
    Trimtab__V1__PollResponse response = TRIMTAB__V1__POLL_RESPONSE__INIT;
    owned(buf) struct buf text = BUF_NULL(512 * MIB);
    struct poll *poll = take(p->poll);

    response.frames = p->frames.at;
    response.n_frames = p->frames.n;
    if (!proto_to_json_text(&response.base, PROTO_JSON_SPARSE, &text))
        poll->text = shared_copy(buf_str(&text));
    frames_clear(p);
    if (poll->text)
        poll_return(poll);
    else
        poll_fail(poll, ERR_NOMEM);
    if (p->subscriber.seat)
        timer_set(p, linger_over, LINGER_MS);
    else
        poller_free(p); /* nobody can come back to it */
}

/* It goes, and the poll that waits, if one does, fails. */
static void poller_fail(struct poller *p, const struct err *err)
{
    struct poll *poll = take(p->poll);

    if (poll) {
        poll->err = *err;
        poll_fail(poll, err->code);
    }
    poller_free(p);
}

static void poller_fail_code(struct poller *p, int code, const char *text)
{
    struct err err = ERR_NULL;

    (void)err_set(&err, code, "%s", text);
    poller_fail(p, &err);
}

/* Whether the batch says anything that a poll was waiting for. */
static bool says_something(const struct poller *p)
{
    for (size_t i = 0; i < p->frames.n; i++) {
        const Trimtab__V1__ServerFrame *f = p->frames.at[i];

        if (f->n_changes || f->part || f->ask_inventory ||
            (f->end && f->end->mode != TRIMTAB__V1__MODE__RESUME))
            return true;
    }
    return false;
}

/* Whether the answer is whole with this frame. A batch that says nothing counts as stored, and the poll waits on. */
static bool is_answer(struct poller *p, const Trimtab__V1__ServerFrame *m)
{
    if (m->ask_inventory)
        return true;
    return m->end &&
           (says_something(p) || !subscriber_say_stored(&p->subscriber, m->end->revision));
}

static void poller_pull(struct subscriber *s)
{
    struct poller *p = poller_of(s);

    while (p->poll) {
        struct feed_frame frame;
        Trimtab__V1__ServerFrame *m;
        int rc = feed_session_pull(s->session, loop_now(s->lane->loop), &frame);

        if (rc == FEED_NOTHING)
            return;
        m = rc == FEED_FRAME ? frame_message(&frame) : NULL;
        if (!m || !VEC_PUSH(&p->frames, m)) {
            if (m)
                frame_free(m);
            poller_fail_code(p, ERR_NOMEM, "out of memory");
            return;
        }
        /* while a poll waits, silence is told at its end */
        if (!m->bookmark && is_answer(p, m)) {
            poller_answer(p);
            return;
        }
    }
}

static void poll_late(struct timer *t, void *ctx)
{
    (void)t;
    poller_answer(ctx);
}

/* Its time begins when the hub has let it in: nothing is answered before. */
static void poller_taken(struct subscriber *s)
{
    struct poller *p = poller_of(s);

    if (p->poll)
        timer_set(p, poll_late, p->poll->wait_ms);
}

static void poller_refused(struct subscriber *s, const struct err *err)
{
    poller_fail(poller_of(s), err);
}

static void poller_leave(struct subscriber *s, const char *reason)
{
    poller_fail_code(poller_of(s), ERR_UNAVAILABLE, reason);
}

static const struct subscriber_ops subscriber_ops = {.transport = "http",
                                                     .pull = poller_pull,
                                                     .taken = poller_taken,
                                                     .refused = poller_refused,
                                                     .leave = poller_leave};

/* ---- a poll ---- */

static void begin_wait(struct poller *p, struct poll *poll)
{
    p->poll = poll;
    timer_stop(&p->timer);
    if (p->subscriber.is_taken)
        poller_taken(&p->subscriber);
    subscriber_wake(&p->subscriber);
}

static struct str instance_of(const Trimtab__V1__Hello *hello)
{
    return hello->instance ? str_c(hello->instance->id) : STR("");
}

/* The next poll of a known session: its cursor says that it has stored the batch before. */
static bool poll_again(struct poll *poll)
{
    const Trimtab__V1__Hello *hello = poll->hello;
    struct str id = instance_of(hello);
    struct poller *p = id.len ? map_get(&poll->at->pollers, id) : NULL;
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Ack ack = TRIMTAB__V1__ACK__INIT;

    if (!p || p->poll || !hello->cursor ||
        !subscriber_owns(&p->subscriber, &poll->rest->who, proto_str(hello->secret)) ||
        feed_session_status(p->subscriber.session).sent != hello->cursor->revision)
        return false;
    ack.stage = TRIMTAB__V1__STAGE__STORED;
    ack.revision = hello->cursor->revision;
    ack.received_digest = hello->cursor->digest;
    frame.ack = &ack;
    if (feed_session_frame(p->subscriber.session, &frame, loop_now(poll->at->lane->loop),
                           NULL))
        return false;
    begin_wait(p, poll);
    return true;
}

/* Its session, which has said hello. */
static int poller_new(struct poll *poll, struct poller **ret, struct err *err)
{
    struct poller *p = NEW(struct poller);
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    const struct rest *r = poll->rest;
    int rc = p ? subscriber_init(&p->subscriber, poll->at->lane, &subscriber_ops,
                                 str_c(poll->peer), &r->who, FEED_CLIENT_LISTENS, err)
               : ERR_NOMEM;

    if (rc) {
        (void)mem_free(p);
        return rc;
    }
    p->front = poll->at;
    link_init(&p->link);
    link_before(&p->front->http_sessions, &p->link);
    hello_distrust(poll->hello);
    frame.hello = poll->hello;
    rc = subscriber_frame(&p->subscriber, &frame, err);
    if (!rc && p->subscriber.seat) {
        (void)snprintf(p->instance, sizeof(p->instance), "%s", poll->hello->instance->id);
        if (!map_put(&p->front->pollers, str_c(p->instance), p, NULL))
            rc = ERR_NOMEM;
    }
    if (rc)
        poller_free(p);
    else
        *ret = p;
    return rc;
}

/* Once the lane serves what the hello shows. */
static bool poll_begin(struct waiter *w)
{
    struct poll *poll = CONTAINER_OF(w, struct poll, waiter);
    struct lane *lane = poll->at->lane;
    struct poller *p = NULL;
    int rc;

    if (!lane->is_draining && subscriber_must_wait(lane, poll->hello))
        return false;
    link_remove(&w->link);
    if (poll_again(poll))
        return true;
    rc = poller_new(poll, &p, &poll->err);
    if (rc)
        poll_fail(poll, rc);
    else
        begin_wait(p, poll);
    return true;
}

static void on_poll(struct post *post, void *ctx)
{
    struct poll *poll = ctx;

    (void)post;
    if (!poll_begin(&poll->waiter))
        lane_wait(poll->at->lane, &poll->waiter);
}

/* Its id says in which lane the session of an instance is; one without is in this. */
static struct front *front_of(struct front *own, struct str id)
{
    const struct fronts *all = own->all;

    return id.len ? all->at[hash_seeded(id) % all->n] : own;
}

static void send_to_session(struct poll *poll)
{
    struct front *own = poll->rest->front;

    poll->waiter.check = poll_begin;
    link_init(&poll->waiter.link);
    poll->at = front_of(own, instance_of(poll->hello));
    if (poll->at == own) {
        on_poll(NULL, poll);
        return;
    }
    hub_begin_flight(own->lane->hub);
    poll->post = (struct post){.fn = on_poll, .ctx = poll};
    loop_post(poll->at->lane->loop, &poll->post);
}

static int read_body(struct rest *r, struct poll *poll, uint64_t *wait_ms, struct err *err)
{
    Trimtab__V1__PollRequest *q;
    int rc = inbound_json(r->body, &trimtab__v1__poll_request__descriptor, &r->arena,
                          (ProtobufCMessage **)&q, err);

    if (rc)
        return rc;
    if (!q->hello)
        return err_set(err, ERR_INVALID, "a poll needs a hello");
    poll->hello = q->hello;
    *wait_ms = q->wait_ms;
    return 0;
}

void subscribe_http_poll(struct rest *r)
{
    struct poll *poll = ARENA_NEW(&r->arena, struct poll);
    struct str wait = rest_query(r, "wait_ms");
    uint64_t wait_ms = WAIT_MS;
    struct err err = ERR_NULL;
    int rc = !poll         ? ERR_NOMEM
             : r->body.len ? read_body(r, poll, &wait_ms, &err)
                           : hello_from_query(r, &poll->hello, &err);

    if (!rc && wait.data && !str_u64(wait, &wait_ms))
        rc = err_set(&err, ERR_INVALID, "wait_ms is a number");
    if (rc) {
        rest_fail_with(r, rc, &err);
        return;
    }
    poll->rest = r;
    (void)snprintf(poll->peer, sizeof(poll->peer), "%.*s", STR_ARG(exchange_peer(r->x)));
    poll->wait_ms = (uint32_t)MIN(wait_ms, (uint64_t)WAIT_MAX_MS);
    send_to_session(poll);
}
