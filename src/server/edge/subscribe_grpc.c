/*
 * Subscriptions by gRPC: the method Subscribe of the service Sync.
 *
 * The stream pulls: frames are taken from the session only while fewer than QUEUE_HIGH bytes wait for the kernel, so
 * a subscriber that reads slowly holds up nothing but itself, and what it is owed merges meanwhile.
 */
#include "server/edge/subscribe_grpc.h"

#include "base/log.h"
#include "proto/inbound.h"
#include "server/edge/denial.h"
#include "server/lane/subscribe.h"

enum {
    QUEUE_HIGH = 1 << 20,
    HELD_MESSAGES = 64,   /* that may come behind a hello that waits; */
    HELD_BYTES = 4 << 20, /* none is larger than one that a stream may send anyway */
};

struct stream {
    struct subscriber subscriber;
    struct grpc_call *call;
    struct holding *holding; /* NULL: nothing has to wait */
    bool is_ended;           /* nothing more is sent */
};

/* What the client says while its hello waits until the lane serves the revision that it shows. */
struct holding {
    struct stream *stream;
    struct waiter waiter;
    struct held {
        struct held *next;
        size_t len;
        char bytes[];
    } * first, **end;
    size_t n, bytes;
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
    denial_fail_call(st->subscriber.lane, st->call, err);
}

static void stream_pull(struct subscriber *s)
{
    struct stream *st = stream_of(s);

    while (s->is_taken && !st->is_ended && grpc_queued(st->call) < QUEUE_HIGH) {
        struct feed_frame frame;
        int r = feed_session_pull(s->session, loop_now(s->lane->loop), &frame);

        if (r == FEED_NOTHING)
            return;
        if (r < 0) {
            struct err err = ERR_NULL;

            (void)err_set(&err, r, "out of memory");
            stream_fail(st, &err);
            return;
        }
        send_frame(st, &frame);
        if (grpc_queued(st->call) > SUBSCRIBER_PULL_BYTES) { /* the others first */
            subscriber_wake(s);
            return;
        }
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

static void stream_refused(struct subscriber *s, const struct err *err)
{
    stream_fail(stream_of(s), err);
}

static const struct subscriber_ops subscriber_ops = {
    .transport = "grpc", .pull = stream_pull, .refused = stream_refused, .leave = stream_leave};

/* ---- taking ---- */

static void fail_with(struct stream *st, int r, struct err *err)
{
    if (!err->code)
        (void)err_set(err, r, "out of memory");
    stream_fail(st, err);
}

static bool go_on(struct waiter *w);

static struct holding *holding_of(struct stream *st)
{
    struct holding *h = st->holding;

    if (h)
        return h;
    h = st->holding = NEW(struct holding);
    if (!h)
        return NULL;
    h->stream = st;
    h->end = &h->first;
    h->waiter.check = go_on;
    link_init(&h->waiter.link);
    lane_wait(st->subscriber.lane, &h->waiter);
    return h;
}

static int hold(struct stream *st, struct str message, struct err *err)
{
    struct holding *h = holding_of(st);
    struct held *held;

    if (!h)
        return ERR_NOMEM;
    if (h->n == HELD_MESSAGES || h->bytes + message.len > HELD_BYTES)
        return err_set(err, ERR_LIMIT, "too much at once: this server is behind the hello");
    held = mem_alloc(size_add(sizeof(*held), message.len));
    if (!held)
        return ERR_NOMEM;
    held->next = NULL;
    held->len = message.len;
    memcpy(held->bytes, message.data, message.len);
    *h->end = held;
    h->end = &held->next;
    h->n++;
    h->bytes += message.len;
    return 0;
}

static void drop_held(struct stream *st)
{
    struct holding *h = take(st->holding);

    if (!h)
        return;
    while (h->first) {
        struct held *held = h->first;

        h->first = held->next;
        (void)mem_free(held);
    }
    link_remove(&h->waiter.link);
    (void)mem_free(h);
}

/* False: it shows more than is served here, and has to wait. */
static bool take_message(struct stream *st, struct str message)
{
    struct arena *a = &st->subscriber.lane->scratch;
    struct err err = ERR_NULL;
    ProtobufCMessage *m;
    int r = inbound_unpack(&trimtab__v1__client_frame__descriptor, message, a, &m, &err);
    const Trimtab__V1__ClientFrame *frame = (Trimtab__V1__ClientFrame *)m;
    bool must_wait =
        !r && frame->hello && subscriber_must_wait(st->subscriber.lane, frame->hello);

    if (!r && !must_wait)
        r = subscriber_frame(&st->subscriber, frame, &err);
    arena_reset(a);
    if (r)
        fail_with(st, r, &err);
    return !must_wait;
}

static bool go_on(struct waiter *w)
{
    struct holding *h = CONTAINER_OF(w, struct holding, waiter);
    struct stream *st = h->stream;

    while (h->first && !st->is_ended) {
        struct held *held = h->first;

        if (!take_message(st, str_of(held->bytes, held->len)))
            return false;
        h->first = held->next;
        (void)mem_free(held);
    }
    drop_held(st);
    return true;
}

static void on_message(struct grpc_call *call, void *ctx, struct str message)
{
    struct stream *st = ctx;
    struct err err;
    int r;

    (void)call;
    if (st->is_ended || (!st->holding && take_message(st, message)))
        return;
    err_clear(&err);
    r = hold(st, message, &err);
    if (r)
        fail_with(st, r, &err);
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
    subscriber_wake(&st->subscriber); /* many may be writable in one turn */
}

static void on_close(struct grpc_call *call, void *ctx, int reason)
{
    struct stream *st = ctx;

    (void)call;
    (void)reason;
    drop_held(st);
    subscriber_deinit(&st->subscriber);
    (void)mem_free(st);
}

static const struct grpc_ops ops = {on_message, on_half_close, on_writable, on_close};

void subscribe_grpc(struct grpc_call *call, void *service_ctx, struct str message)
{
    struct front *front = service_ctx;
    struct identity who;
    struct err err = ERR_NULL;
    struct stream *st = NULL;
    int r = lane_authorize(front->lane, grpc_exchange(call), RIGHT_TO_SUBSCRIBE, &who, &err);

    (void)message;
    if (!r) {
        st = NEW(struct stream);
        r = st ? subscriber_init(&st->subscriber, front->lane, &subscriber_ops,
                                 exchange_peer(grpc_exchange(call)), &who, FEED_CLIENT_ANSWERS,
                                 &err)
               : ERR_NOMEM;
    }
    if (r) {
        if (!err.code)
            (void)err_set(&err, r, "out of memory");
        (void)mem_free(st);
        denial_fail_call(front->lane, call, &err);
        return;
    }
    st->call = call;
    grpc_set_ops(call, &ops, st);
}
