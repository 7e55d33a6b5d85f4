/*
 * Streams of live events. See events_stream.h.
 */
#include "server/edge/events_stream.h"

#include "proto/convert.h"
#include "proto/inbound.h"
#include "server/edge/denial.h"
#include "server/edge/sse.h"
#include "server/use/listeners.h"

/* ---- server-sent events ---- */

struct page {
    struct listener listener;
    struct sse sse;
};

static void page_send(struct listener *l, struct event *e)
{
    struct page *p = CONTAINER_OF(l, struct page, listener);
    struct shared *text = event_text(e);
    struct segment segment;

    if (!text)
        return;
    segment = segment_shared(text);
    sse_put(&p->sse, &segment);
}

static size_t page_queued(struct listener *l)
{
    return exchange_queued(CONTAINER_OF(l, struct page, listener)->sse.x);
}

static void page_leave(struct listener *l, const char *reason)
{
    sse_end(&CONTAINER_OF(l, struct page, listener)->sse, reason);
}

static void page_writable(struct exchange *x, void *ctx)
{
    struct page *p = ctx;

    (void)x;
    if (!p->sse.is_ended)
        listener_writable(&p->listener);
}

static void page_close(struct exchange *x, void *ctx, int reason)
{
    struct page *p = ctx;

    (void)x;
    (void)reason;
    sse_closed(&p->sse);
    listener_close(&p->listener);
    (void)mem_free(p);
}

static const struct exchange_ops page_ops = {.on_writable = page_writable,
                                             .on_close = page_close};

/* Over a packed copy, so that a listener owns what it wants, whichever way it came. */
static Trimtab__V1__EventsRequest *copy_request(const Trimtab__V1__EventsRequest *q)
{
    struct shared *packed = proto_pack(&q->base, 0);
    Trimtab__V1__EventsRequest *copy =
        packed ? trimtab__v1__events_request__unpack(&proto_allocator, packed->len,
                                                     (const uint8_t *)packed->data)
               : NULL;

    (void)shared_unref(packed);
    return copy;
}

static int read_query(struct rest *r, Trimtab__V1__EventsRequest **ret, struct err *err)
{
    Trimtab__V1__EventsRequest q = TRIMTAB__V1__EVENTS_REQUEST__INIT;
    struct str types = rest_query(r, "types"), rollout = rest_query(r, "rollout"), word;
    int rc;

    q.types = ARENA_ARRAY(&r->arena, char *, types.len + 1);
    while (q.types && types.len && str_next(&types, ',', &word))
        q.types[q.n_types++] = arena_c(&r->arena, word);
    q.prefix = arena_c(&r->arena, rest_query(r, "prefix"));
    if (rollout.data && !str_u64(rollout, &q.rollout))
        return err_set(err, ERR_INVALID, "rollout is a number");
    rc = arena_failed(&r->arena) ? ERR_NOMEM : inbound_check(&q.base, &r->arena, err);
    if (rc)
        return rc;
    *ret = copy_request(&q);
    return *ret ? 0 : ERR_NOMEM;
}

void events_http(struct rest *r)
{
    struct page *p = NEW(struct page);
    Trimtab__V1__EventsRequest *wants = NULL;
    struct err err = ERR_NULL;
    int rc = p ? read_query(r, &wants, &err) : ERR_NOMEM;

    if (!rc) {
        p->listener.send = page_send;
        p->listener.queued = page_queued;
        p->listener.leave = page_leave;
        rc = listener_check(&r->front->listeners, wants, &err);
    }
    if (rc) {
        if (wants)
            trimtab__v1__events_request__free_unpacked(wants, &proto_allocator);
        (void)mem_free(p);
        if (!err.code)
            (void)err_set(&err, rc, "out of memory");
        rest_fail(r, &err);
        return;
    }
    exchange_set_ops(r->x, &page_ops, p);
    sse_begin(&p->sse, r);
    if (listener_open(&p->listener, &r->front->listeners, &r->who, wants))
        sse_end(&p->sse, "out of memory");
    rest_free(r);
}

/* ---- gRPC ---- */

struct stream {
    struct listener listener;
    struct front *front;
    struct identity who;
    struct grpc_call *call;
    bool is_listening, is_ended;
};

static void stream_send(struct listener *l, struct event *e)
{
    struct stream *st = CONTAINER_OF(l, struct stream, listener);

    if (!st->is_ended)
        (void)grpc_send_framed(st->call, e->framed); /* on_close tells */
}

static size_t stream_queued(struct listener *l)
{
    return grpc_queued(CONTAINER_OF(l, struct stream, listener)->call);
}

static void stream_leave(struct listener *l, const char *reason)
{
    struct stream *st = CONTAINER_OF(l, struct stream, listener);

    if (st->is_ended)
        return;
    st->is_ended = true;
    grpc_finish(st->call, GRPC_UNAVAILABLE, reason);
}

static void stream_fail(struct stream *st, int code, struct err *err)
{
    if (!err->code)
        (void)err_set(err, code, "out of memory");
    st->is_ended = true;
    denial_fail_call(st->front->lane, st->call, err);
}

/* The one message that a client sends: what it wants. */
static void on_request(struct grpc_call *call, void *ctx, struct str message)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct stream *st = ctx;
    Trimtab__V1__EventsRequest *wants = NULL;
    ProtobufCMessage *request;
    struct err err = ERR_NULL;
    int r;

    (void)call;
    if (st->is_ended || st->is_listening)
        return;
    r = inbound_unpack(&trimtab__v1__events_request__descriptor, message, &a, &request, &err);
    if (!r) {
        wants = copy_request((Trimtab__V1__EventsRequest *)request);
        r = wants ? listener_check(&st->front->listeners, wants, &err) : ERR_NOMEM;
    }
    if (r) {
        if (wants)
            trimtab__v1__events_request__free_unpacked(wants, &proto_allocator);
        stream_fail(st, r, &err);
        return;
    }
    st->is_listening = true;
    r = listener_open(&st->listener, &st->front->listeners, &st->who, wants);
    if (r)
        stream_fail(st, r, &err);
}

static void on_writable(struct grpc_call *call, void *ctx)
{
    struct stream *st = ctx;

    (void)call;
    if (!st->is_ended && st->is_listening)
        listener_writable(&st->listener);
}

static void on_close(struct grpc_call *call, void *ctx, int reason)
{
    struct stream *st = ctx;

    (void)call;
    (void)reason;
    listener_close(&st->listener);
    (void)mem_free(st);
}

static const struct grpc_ops ops = {
    .on_message = on_request, .on_writable = on_writable, .on_close = on_close};

void events_on_call(struct grpc_call *call, void *service_ctx, struct str message)
{
    struct front *front = service_ctx;
    struct stream *st = NEW(struct stream);
    struct err err = ERR_NULL;
    int r = st ? lane_authorize(front->lane, grpc_exchange(call), RIGHT_TO_VIEW, &st->who, &err)
               : ERR_NOMEM;

    (void)message;
    if (r) {
        if (!err.code)
            (void)err_set(&err, r, "out of memory");
        (void)mem_free(st);
        denial_fail_call(front->lane, call, &err);
        return;
    }
    st->front = front;
    st->call = call;
    st->listener.send = stream_send;
    st->listener.queued = stream_queued;
    st->listener.leave = stream_leave;
    link_init(&st->listener.link);
    grpc_set_ops(call, &ops, st);
}
