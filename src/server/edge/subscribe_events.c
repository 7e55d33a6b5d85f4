/*
 * Subscriptions as server-sent events: a session for as long as the response streams.
 *
 *   asked -> waiting for the revision that it shows -> hello said -> let in by the hub: the response begins
 */
#include "server/edge/subscribe_http.h"

#include "proto/json.h"
#include "server/edge/frame_json.h"
#include "server/edge/hello_query.h"
#include "server/edge/sse.h"
#include "server/lane/subscribe.h"

enum { EVENT_MAX = 64 << 20, QUEUE_HIGH = 1 << 20 };

struct event_stream {
    struct subscriber subscriber;
    struct rest *rest; /* until the response begins; NULL afterwards */
    Trimtab__V1__Hello *hello; /* on its arena */
    struct waiter waiter;
    struct sse sse;
    char store_id[2 * FEED_STORE_ID_BYTES + 1];
    struct sha256 wish; /* what the marks of its events hold for */
};

static struct event_stream *stream_of(struct subscriber *s)
{
    return CONTAINER_OF(s, struct event_stream, subscriber);
}

/* ---- sending ---- */

static int put_event(const struct event_stream *e, const Trimtab__V1__ServerFrame *m,
                     struct buf *out)
{
    uint64_t revision = m->end ? m->end->revision : m->bookmark ? m->bookmark->revision : 0;
    char mark[CURSOR_MARK_HEX + 1];
    int rc;

    cursor_mark(&e->subscriber.lane->hub->cursor_key, &e->wish, revision, mark);
    if (revision)
        buf_printf(out, "id: %s-%llu-%s\n", e->store_id, (unsigned long long)revision, mark);
    buf_put_c(out, "data: ");
    rc = proto_to_json_text(&m->base, PROTO_JSON_SPARSE, out);
    buf_put_c(out, "\n\n");
    return rc ? rc : buf_status(out);
}

/* Sends one frame. False: it has ended. */
static bool send_frame(struct event_stream *e, struct feed_frame *frame)
{
    owned(buf) struct buf text = BUF_NULL(EVENT_MAX);
    struct subscriber *s = &e->subscriber;
    Trimtab__V1__ServerFrame *m = frame_message(frame);
    bool is_end = m && m->end;
    uint64_t revision = is_end ? m->end->revision : 0; /* 0 is one, too: that of an empty log */
    int rc = m ? put_event(e, m, &text) : ERR_NOMEM;
    struct segment segment;

    if (m)
        frame_free(m);
    if (!rc) {
        segment = segment_copy(buf_str(&text));
        sse_put(&e->sse, &segment);
    }
    if (!rc && (!is_end || s->seat || subscriber_say_stored(s, revision)))
        return true;
    sse_end(&e->sse, NULL);
    return false;
}

static void events_pull(struct subscriber *s)
{
    struct event_stream *e = stream_of(s);

    while (!e->rest && !e->sse.is_ended && exchange_queued(e->sse.x) < QUEUE_HIGH) {
        struct feed_frame frame;
        int r = feed_session_pull(s->session, loop_now(s->lane->loop), &frame);

        if (r == FEED_NOTHING)
            return;
        if (r != FEED_FRAME)
            sse_end(&e->sse, NULL);
        else if (!send_frame(e, &frame))
            return;
        if (exchange_queued(e->sse.x) > SUBSCRIBER_PULL_BYTES) { /* the others first */
            subscriber_wake(s);
            return;
        }
    }
}

/* ---- beginning and ending ---- */

static void events_taken(struct subscriber *s)
{
    struct event_stream *e = stream_of(s);
    struct rest *r = take(e->rest);

    if (!r) /* it has been told to leave already */
        return;
    hex_encode(feed_store_id(s->lane->feed), FEED_STORE_ID_BYTES, e->store_id);
    sse_begin(&e->sse, r);
    rest_free(r);
}

static void events_refused(struct subscriber *s, const struct err *err)
{
    struct rest *r = take(stream_of(s)->rest);

    if (r)
        rest_fail(r, err); /* on_close of the exchange follows */
}

static void events_leave(struct subscriber *s, const char *reason)
{
    struct event_stream *e = stream_of(s);
    struct err err = ERR_NULL;

    if (e->rest) {
        (void)err_set(&err, ERR_UNAVAILABLE, "%s", reason);
        events_refused(s, &err);
    } else {
        sse_end(&e->sse, reason);
    }
}

static const struct subscriber_ops subscriber_ops = {.transport = "sse",
                                                     .pull = events_pull,
                                                     .taken = events_taken,
                                                     .refused = events_refused,
                                                     .leave = events_leave};

static void events_writable(struct exchange *x, void *ctx)
{
    struct event_stream *e = ctx;

    (void)x;
    subscriber_wake(&e->subscriber);
}

static void events_close(struct exchange *x, void *ctx, int reason)
{
    struct event_stream *e = ctx;

    (void)x;
    (void)reason;
    if (e->rest)
        rest_free(take(e->rest));
    link_remove(&e->waiter.link);
    sse_closed(&e->sse);
    subscriber_deinit(&e->subscriber);
    (void)mem_free(e);
}

static const struct exchange_ops events_ops = {.on_writable = events_writable,
                                               .on_close = events_close};

/* Once the lane serves what the hello shows. */
static bool say_hello(struct waiter *w)
{
    struct event_stream *e = CONTAINER_OF(w, struct event_stream, waiter);
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    struct err err = ERR_NULL;

    if (e->rest && subscriber_must_wait(e->subscriber.lane, e->hello))
        return false;
    link_remove(&w->link);
    frame.hello = e->hello;
    if (e->rest && subscriber_frame(&e->subscriber, &frame, &err))
        events_refused(&e->subscriber, &err);
    return true;
}

void subscribe_http_events(struct rest *r)
{
    struct event_stream *e = NEW(struct event_stream);
    struct lane *lane = r->front->lane;
    struct err err = ERR_NULL;
    int rc = e ? hello_from_query(r, &e->hello, &err) : ERR_NOMEM;

    if (!rc)
        rc = cursor_wish(e->hello, &e->wish);
    if (!rc)
        rc = subscriber_init(&e->subscriber, lane, &subscriber_ops, exchange_peer(r->x),
                             &r->who, FEED_CLIENT_LISTENS, &err);
    if (rc) {
        (void)mem_free(e);
        rest_fail_with(r, rc, &err);
        return;
    }
    if (rest_query(r, "revision").data) /* no mark: only a digest proves it */
        hello_distrust(e->hello);
    e->rest = r;
    e->waiter.check = say_hello;
    link_init(&e->waiter.link);
    exchange_set_ops(r->x, &events_ops, e);
    if (!say_hello(&e->waiter))
        lane_wait(lane, &e->waiter);
}
