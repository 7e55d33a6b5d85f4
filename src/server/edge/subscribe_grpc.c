/*
 * Subscriptions by gRPC: the method Subscribe of the service Sync.
 *
 * The stream pulls: frames are taken from the session only while fewer than QUEUE_HIGH bytes wait for the kernel, so
 * a subscriber that reads slowly holds up nothing but itself, and what it is owed merges meanwhile.
 */
#include "server/edge/subscribe_grpc.h"

#include "base/log.h"
#include "proto/inbound.h"
#include "server/lane/subscribe.h"

enum { QUEUE_HIGH = 1 << 20 };

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
    struct arena *a = &st->subscriber.lane->scratch;
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

void subscribe_grpc(struct grpc_call *call, void *service_ctx, struct str message)
{
    struct front *front = service_ctx;
    struct identity who;
    struct err err = ERR_NULL;
    struct stream *st = NULL;
    int r = lane_authorize(front->lane, grpc_exchange(call), RIGHT_SUBSCRIBE, &who, &err);

    (void)message;
    if (!r) {
        st = NEW(struct stream);
        r = st ? subscriber_init(&st->subscriber, front->lane, grpc_exchange(call), &who,
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
