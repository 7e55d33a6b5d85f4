/*
 * HTTP/2 on a server's connection, by nghttp2.
 *
 * nghttp2 is never entered from inside one of its callbacks but to submit; it is pumped in on_bytes and fill only, and
 * the connection is closed after those. Payload never passes through its buffers: its data source only says how many
 * bytes there are (NO_COPY), and send_data puts the frame's 9 bytes and the queue's slices into the gather.
 *
 * Inbound windows open as owners consume. Floods (resets, pings, settings, empty frames) are counted per period.
 */
#include "base/alloc.h"
#include "net/exchange.h"
#include "net/http2_session.h"

enum { FLOOD_PERIOD_MS = 10000, HEADERS_MAX = 64, REFUSED_TIMES = 4, SHARE_NS = 2000000 };

/* ---- the request's headers: "name length, value length, name, value" in x->body until they are complete ---- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct http_conn *hc = ctx;
    struct exchange *x;

    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    hc->h2.n_streams++;
    x = exchange_new(hc);
    if (!x)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    x->stream_id = frame->hd.stream_id;
    x->version = 20;
    x->body = BUF_NULL(hc->server->limits.header_list +
                       (size_t)hc->server->limits.header_count * 8 + 64);
    return nghttp2_session_set_stream_user_data(session, x->stream_id, x);
}

/*
 * A little too much is answered; much more is no honest client, and decoding it is all work that it makes us do: references
 * of a byte each may stand for kilobytes (CVE-2016-6581).
 */
static int refuse_header(struct http_conn *hc, struct exchange *x, size_t len)
{
    x->was_refused = true;
    x->refused_bytes += len;
    if (x->refused_bytes <= (size_t)REFUSED_TIMES * hc->server->limits.header_list)
        return 0;
    hc->server->stats.protocol_errors++;
    return NGHTTP2_ERR_CALLBACK_FAILURE; /* the connection ends */
}

/* NOLINTNEXTLINE(readability-function-size): the library gives that many parameters */
static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *ctx)
{
    struct exchange *x = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    struct http_conn *hc = ctx;
    uint32_t sizes[2] = {(uint32_t)name_len, (uint32_t)value_len};

    (void)flags;
    if (!x || !x->is_live || x->method.data) /* trailers are of no interest */
        return 0;
    if (str_eq(str_of(name, name_len), STR("content-type")))
        x->is_grpc = str_starts(str_of(value, value_len), STR("application/grpc"));
    if (x->n_headers >= hc->server->limits.header_count + 4 || x->was_refused)
        return refuse_header(hc, x, name_len + value_len);
    x->n_headers++;
    buf_put(&x->body, sizes, sizeof(sizes));
    buf_put(&x->body, name, name_len);
    buf_put(&x->body, value, value_len);
    if (buf_status(&x->body) == ERR_LIMIT)
        x->was_refused = true;
    return buf_status(&x->body) == ERR_NOMEM ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : 0;
}

static void take_target(struct exchange *x, struct str target)
{
    size_t mark = str_index(target, '?');

    x->path = str_part(target, 0, mark);
    x->query = str_from(target, mark + 1);
}

static void take_header(struct exchange *x, struct http_header header)
{
    if (str_eq(header.name, STR(":method")))
        x->method = header.value;
    else if (str_eq(header.name, STR(":path")))
        take_target(x, header.value);
    else if (str_eq(header.name, STR(":authority")))
        x->authority = header.value;
    else if (!str_starts(header.name, STR(":")))
        x->headers[x->n_headers++] = header;
    if (str_eq(header.name, STR("host")) && !x->authority.data)
        x->authority = header.value;
}

/* The block gets its final place and size; then the table is made over it. ERR_NOMEM. */
static int index_headers(struct exchange *x)
{
    size_t n = x->n_headers, len = x->body.len;
    char *at;

    x->block = mem_dup(x->body.data, len);
    buf_deinit(&x->body);
    x->headers = mem_alloc_array(MAX(n, 1), sizeof(*x->headers));
    x->n_headers = 0;
    if (!x->block || !x->headers)
        return ERR_NOMEM;
    at = x->block;
    for (size_t i = 0; i < n; i++) {
        uint32_t sizes[2];
        struct http_header header;

        memcpy(sizes, at, sizeof(sizes));
        header.name = str_of(at + sizeof(sizes), sizes[0]);
        header.value = str_of(header.name.data + sizes[0], sizes[1]);
        at += sizeof(sizes) + sizes[0] + sizes[1];
        take_header(x, header);
    }
    return 0;
}

/*
 * A complete request waits for its turn: one read may bring a thousand, and each may cost milliseconds. Connections take turns,
 * and together they have a share of each turn of the loop, so that neither they nor others wait behind one that asks for much.
 * One that is cancelled before its turn costs nothing.
 */
static void make_due(struct http_conn *hc, struct exchange *x)
{
    struct http_server *server = hc->server;

    link_before(&hc->h2.due, &x->due);
    if (link_is_alone(&hc->h2.in_due))
        link_before(&server->due, &hc->h2.in_due);
    loop_defer(server->loop, &server->serve);
}

static void serve_one(struct http_server *server)
{
    struct http_conn *hc = LINK_OF(server->due.next, struct http_conn, h2.in_due);
    struct exchange *x;

    link_remove(&hc->h2.in_due);
    if (link_is_alone(&hc->h2.due) || hc->h2.is_dying)
        return;
    x = LINK_OF(hc->h2.due.next, struct exchange, due);
    link_remove(&x->due);
    if (!link_is_alone(&hc->h2.due))
        link_before(&server->due, &hc->h2.in_due);
    if (x->is_dispatched)
        exchange_got_end(x);
    else
        exchange_dispatch(x);
}

void http2_serve(struct defer *d, void *ctx)
{
    struct http_server *server = ctx;
    nsec_t begin = clock_now();

    if (server->served != server->loop->n_turns) {
        server->served = server->loop->n_turns;
        while (!link_is_alone(&server->due) && clock_now() - begin < SHARE_NS)
            serve_one(server);
    }
    if (!link_is_alone(&server->due))
        loop_defer(server->loop, d);
}

static void start_exchange(struct http_conn *hc, struct exchange *x)
{
    bool was_refused = x->was_refused;

    if (was_refused) {
        buf_clear(&x->body);
        x->n_headers = 0;
    }
    if (index_headers(x)) {
        x->hc->protocol->reset(x);
        x->has_finished = true;
        exchange_detach(x, ERR_NOMEM);
        return;
    }
    if (was_refused && x->is_grpc) {
        static const struct http_header headers[] = {
            {STR("content-type"), STR("application/grpc")},
            {STR("grpc-status"), STR("8")}, /* RESOURCE_EXHAUSTED */
            {STR("grpc-message"), STR("the metadata is too long")}};

        hc->server->stats.protocol_errors++;
        (void)exchange_respond(x, 200, headers, ARRAY_LEN(headers), NULL, 0);
        return;
    }
    if (was_refused) {
        hc->server->stats.protocol_errors++;
        (void)exchange_respond_text(
            x, 431, "application/json",
            STR("{\"code\":\"LIMIT\",\"message\":\"the headers are too long\"}"));
        return;
    }
    if (x->has_ended)
        make_due(hc, x);
    else
        exchange_dispatch(x); /* its body is wanted, or not */
}

/* ---- what comes in ---- */

static void die(struct http_conn *hc, uint32_t code)
{
    struct h2 *h2 = &hc->h2;

    if (h2->is_dying)
        return;
    h2->is_dying = true;
    hc->server->stats.protocol_errors++;
    if (nghttp2_session_terminate_session(h2->session, code))
        h2->must_break = true; /* not even a GOAWAY */
    conn_flush_soon(&hc->conn);
}

static void count_flood(struct http_conn *hc, uint32_t *counter, uint32_t limit)
{
    nsec_t now = loop_now(hc->server->loop);

    if (has_passed(hc->h2.period, FLOOD_PERIOD_MS, now)) {
        hc->h2.period = now;
        hc->h2.n_resets = hc->h2.n_controls = hc->h2.n_data = 0;
    }
    if (++*counter > limit)
        die(hc, NGHTTP2_ENHANCE_YOUR_CALM);
}

/*
 * A client that measures its bandwidth (as gRPC for Go does) sends a PING for each round trip that brings data, so what we
 * send allows as many.
 */
static void count_control(struct http_conn *hc)
{
    count_flood(hc, &hc->h2.n_controls, hc->server->limits.max_controls + hc->h2.n_data);
}

/*
 * A call that is cancelled after its answer has gone out cost its client a round trip: a habit. Those that are started and
 * cancelled at once are what a flood is made of (CVE-2023-44487).
 */
static void count_reset(struct http_conn *hc, const struct exchange *x)
{
    if (!x || !x->head_is_sent)
        count_flood(hc, &hc->h2.n_resets, hc->server->limits.max_resets);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct http_conn *hc = ctx;
    struct exchange *x;

    switch (frame->hd.type) {
    case NGHTTP2_RST_STREAM:
        count_reset(hc, nghttp2_session_get_stream_user_data(session, frame->hd.stream_id));
        return 0;
    case NGHTTP2_PING:
    case NGHTTP2_SETTINGS:
    case NGHTTP2_PRIORITY:
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
            count_control(hc);
        else if (frame->hd.type == NGHTTP2_PING)
            hc->h2.ping_sent = 0;
        return 0;
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA: break;
    default: return 0;
    }
    if (frame->hd.type == NGHTTP2_DATA && !frame->hd.length &&
        !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        count_control(hc);
    x = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!x || !x->is_live)
        return 0;
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        x->half_closed = true;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        x->has_ended = x->half_closed;
        start_exchange(hc, x);
    } else if (x->half_closed && !x->has_ended) {
        make_due(hc, x);
    }
    return 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream_id,
                         const uint8_t *bytes, size_t len, void *ctx)
{
    struct exchange *x = nghttp2_session_get_stream_user_data(session, stream_id);

    (void)flags;
    (void)ctx;
    if (x && x->is_live)
        exchange_got_data(x, str_of(bytes, len));
    else
        (void)nghttp2_session_consume(session, stream_id,
                                      len); /* without memory the next receive fails */
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                           void *ctx)
{
    struct exchange *x = nghttp2_session_get_stream_user_data(session, stream_id);
    struct http_conn *hc = ctx;

    hc->h2.n_streams -= hc->h2.n_streams > 0;
    hc->h2.idle_since = loop_now(hc->server->loop);
    if (!x)
        return 0;
    (void)nghttp2_session_set_stream_user_data(session, stream_id,
                                               NULL); /* the stream is there still */
    if (x->outstanding)
        (void)nghttp2_session_consume_connection(
            session, x->outstanding); /* without memory the next receive fails */
    exchange_detach(x, x->end_is_sent && error_code == NGHTTP2_NO_ERROR ? 0 : ERR_CANCELLED);
    return 0;
}

/* ---- what goes out ---- */

static ssize_t on_send(nghttp2_session *session, const uint8_t *bytes, size_t len, int flags,
                       void *ctx)
{
    struct http_conn *hc = ctx;

    (void)session;
    (void)flags;
    return http2_gather_frame(hc->h2.gather, bytes, len);
}

/* The end of what there is: trailers follow, or the stream ends with this frame. */
static int mark_end(nghttp2_session *session, struct exchange *x, uint32_t *flags)
{
    nghttp2_nv trailers[HEADERS_MAX];
    size_t n = MIN(x->n_trailers, (size_t)HEADERS_MAX);

    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (!n)
        return 0;
    *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    for (size_t i = 0; i < n; i++)
        trailers[i] = http2_nv(x->trailers[i].name, x->trailers[i].value);
    return nghttp2_submit_trailer(session, x->stream_id, trailers, n);
}

static ssize_t on_source(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t room,
                         uint32_t *flags, nghttp2_data_source *source, void *ctx)
{
    struct exchange *x = nghttp2_session_get_stream_user_data(session, stream_id);
    size_t n;
    int r;

    (void)buf;
    (void)source;
    (void)ctx;
    if (!x || !x->is_live)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (!x->out.bytes && !x->has_finished) {
        x->is_deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    n = MIN(MIN(room, (size_t)FRAME_BYTES), x->out.bytes);
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n == x->out.bytes && x->has_finished) {
        r = mark_end(session, x, flags);
        if (r)
            return r == NGHTTP2_ERR_NOMEM ? NGHTTP2_ERR_CALLBACK_FAILURE
                                          : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    return (ssize_t)n;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                        size_t len, nghttp2_data_source *source, void *ctx)
{
    struct http_conn *hc = ctx;
    struct exchange *x = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    (void)source;
    if (!gather_has_room(hc->h2.gather))
        return NGHTTP2_ERR_WOULDBLOCK;
    if (!x || !x->is_live || x->out.bytes < len)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    gather_copy(hc->h2.gather, head, 9);
    segq_take(&x->out, len, hc->h2.gather);
    exchange_has_sent(x, len);
    hc->h2.n_data++;
    return 0;
}

/*
 * RFC 9113 8.1: an answer that is complete before the request is followed by RST_STREAM(NO_ERROR), else a client that
 * goes on uploading keeps the stream for ever. Not earlier: a reset drops what is queued.
 */
static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct exchange *x;

    (void)ctx;
    if (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    x = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!x || !x->is_live)
        return 0;
    x->head_is_sent = true;
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    x->end_is_sent = true;
    if (x->half_closed)
        return 0;
    return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                     NGHTTP2_NO_ERROR) == NGHTTP2_ERR_NOMEM
               ? NGHTTP2_ERR_CALLBACK_FAILURE
               : 0;
}

/* ---- from the exchange ---- */

static int h2_begin(struct exchange *x, int status, const struct http_header *headers, size_t n,
                    bool has_body)
{
    struct http_conn *hc = x->hc;
    nghttp2_data_provider provider = {.read_callback = on_source};
    nghttp2_nv nv[HEADERS_MAX];
    char digits[16];
    size_t at = 1;
    int r;

    if (n >= HEADERS_MAX)
        return ERR_LIMIT;
    (void)snprintf(digits, sizeof(digits), "%d", status); /* fits */
    nv[0] = http2_nv(STR(":status"), str_c(digits));
    for (size_t i = 0; i < n; i++)
        nv[at++] = http2_nv(headers[i].name, headers[i].value);
    r = nghttp2_submit_response(hc->h2.session, x->stream_id, nv, at,
                                has_body ? &provider : NULL);
    conn_flush_soon(&hc->conn);
    return r ? http2_err(r) : 0;
}

static void h2_wake(struct exchange *x)
{
    struct http_conn *hc = x->hc;

    if (x->is_deferred) {
        x->is_deferred = false;
        if (nghttp2_session_resume_data(hc->h2.session, x->stream_id) == NGHTTP2_ERR_NOMEM)
            die(hc, NGHTTP2_INTERNAL_ERROR);
    }
    conn_flush_soon(&hc->conn);
}

static void h2_reset(struct exchange *x)
{
    struct http_conn *hc = x->hc;

    if (x->outstanding)
        (void)nghttp2_session_consume_connection(hc->h2.session, x->outstanding); /* as above */
    /* The stream may outlive the exchange by some frames. */
    (void)nghttp2_session_set_stream_user_data(hc->h2.session, x->stream_id,
                                               NULL); /* none: it is closed */
    if (nghttp2_submit_rst_stream(hc->h2.session, NGHTTP2_FLAG_NONE, x->stream_id,
                                  x->has_begun ? NGHTTP2_CANCEL : NGHTTP2_INTERNAL_ERROR))
        die(hc, NGHTTP2_INTERNAL_ERROR);
    conn_flush_soon(&hc->conn);
}

static void h2_want_body(struct exchange *x)
{
    (void)
        x; /* HTTP/2 clients that wait for 100 (Continue) are so rare that the window alone speaks */
}

static void h2_consume(struct exchange *x, size_t n)
{
    struct http_conn *hc = x->hc;

    if (n && nghttp2_session_consume(hc->h2.session, x->stream_id, n) == NGHTTP2_ERR_NOMEM)
        die(hc, NGHTTP2_INTERNAL_ERROR);
    conn_flush_soon(&hc->conn);
}

/* ---- the connection ---- */

static void close_if_done(struct http_conn *hc)
{
    nghttp2_session *session = hc->h2.session;

    if (!nghttp2_session_want_read(session) && !nghttp2_session_want_write(session) &&
        !conn_backlog(&hc->conn))
        http_conn_break(hc, hc->h2.is_dying ? ERR_INVALID : 0);
}

static void h2_on_bytes(struct http_conn *hc, struct str bytes)
{
    ssize_t n =
        nghttp2_session_mem_recv(hc->h2.session, (const uint8_t *)bytes.data, bytes.len);

    if (n < 0) {
        hc->server->stats.protocol_errors++;
        http_conn_break(hc, http2_err(n));
        return;
    }
    conn_flush_soon(&hc->conn);
}

static void h2_fill(struct http_conn *hc, struct gather *g)
{
    int r;

    if (hc->h2.must_break) {
        http_conn_break(hc, ERR_NOMEM);
        return;
    }
    hc->h2.gather = g;
    r = nghttp2_session_send(hc->h2.session);
    hc->h2.gather = NULL;
    if (r)
        http_conn_break(hc, http2_err(r));
}

static void h2_on_flushed(struct http_conn *hc)
{
    exchanges_tell_writable(hc);
    if (!hc->is_closed)
        close_if_done(hc);
}

static void h2_on_eof(struct http_conn *hc)
{
    http_conn_break(hc, ERR_CANCELLED);
}

static void check_ping(struct http_conn *hc, nsec_t now)
{
    const struct http_limits *limits = &hc->server->limits;
    struct h2 *h2 = &hc->h2;

    if (h2->ping_sent && hc->conn.last_read > h2->ping_sent)
        h2->ping_sent = 0; /* anything that comes shows that the peer lives */
    if (h2->ping_sent) {
        if (has_passed(h2->ping_sent, limits->ping_timeout_ms, now)) {
            hc->server->stats.timeouts++;
            http_conn_break(hc, ERR_TIMEOUT);
        }
        return;
    }
    if (!has_passed(hc->conn.last_read, limits->ping_interval_ms, now))
        return;
    if (nghttp2_submit_ping(h2->session, NGHTTP2_FLAG_NONE, NULL) == 0)
        h2->ping_sent = now;
    conn_flush_soon(&hc->conn);
}

static void check_streams(struct http_conn *hc, nsec_t now)
{
    const struct http_limits *limits = &hc->server->limits;

    LIST_EACH (&hc->exchanges, l) {
        struct exchange *x = LINK_OF(l, struct exchange, in_conn);

        if (pace_is_too_slow(&x->pace, now, limits->write_stall_ms, limits->write_least,
                             x->out.bytes)) {
            hc->server->stats.timeouts++;
            h2_reset(x);
            exchange_detach(x, ERR_TIMEOUT);
        }
    }
}

/* One at a time, as an owner that is told may let go of others. */
static void check_bodies(struct http_conn *hc, nsec_t now)
{
    LIST_EACH (&hc->exchanges, l) {
        struct exchange *x = LINK_OF(l, struct exchange, in_conn);
        enum body_mode before = x->body_mode;

        exchange_check_body(x, now);
        if (x->body_mode != before)
            return;
    }
}

static void h2_tick(struct http_conn *hc, nsec_t now)
{
    const struct http_limits *limits = &hc->server->limits;
    struct h2 *h2 = &hc->h2;

    check_streams(hc, now);
    check_bodies(hc, now);
    check_ping(hc, now);
    if (hc->is_closed || h2->n_streams)
        return;
    if (has_passed(h2->idle_since,
                   h2->is_dying ? limits->header_timeout_ms : limits->idle_timeout_ms, now))
        http_conn_break(hc, 0);
}

static void h2_drain(struct http_conn *hc)
{
    struct h2 *h2 = &hc->h2;
    int32_t last = nghttp2_session_get_last_proc_stream_id(h2->session);

    if (nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL, 0))
        http_conn_break(hc, ERR_NOMEM);
    else
        conn_flush_soon(&hc->conn);
}

static void h2_deinit(struct http_conn *hc)
{
    link_remove(&hc->h2.in_due);
    nghttp2_session_del(
        hc->h2.session); /* does not tell of the streams: they were detached before */
    hc->h2.session = NULL;
}

/* ---- making sessions ---- */

static nghttp2_session_callbacks *callbacks;
static nghttp2_option *options;

static void make_globals(void)
{
    if (nghttp2_session_callbacks_new(&callbacks) || nghttp2_option_new(&options)) {
        callbacks =
            NULL; /* the next session is refused, for ever: a process that starts without memory */
        return;
    }
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_send_callback(callbacks, on_send);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    nghttp2_option_set_no_auto_window_update(options, 1);
    nghttp2_option_set_no_closed_streams(options, 1);
    nghttp2_option_set_max_deflate_dynamic_table_size(options, 0);
    nghttp2_option_set_max_outbound_ack(options, 1000);
}

int http2_conn_init(struct http_conn *hc)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const struct http_limits *limits = &hc->server->limits;
    struct http2_windows windows = {.stream = limits->stream_window,
                                    .connection = limits->connection_window,
                                    .max_streams = limits->max_streams,
                                    .header_list = limits->header_list};
    struct h2 *h2 = &hc->h2;
    int r;

    (void)pthread_once(&once, make_globals); /* fails only on misuse */
    memset(h2, 0, sizeof(*h2));
    link_init(&h2->due);
    link_init(&h2->in_due);
    h2->period = h2->idle_since = loop_now(hc->server->loop);
    if (!callbacks ||
        nghttp2_session_server_new3(&h2->session, callbacks, hc, options, http2_memory()))
        return ERR_NOMEM;
    hc->protocol = &protocol_http2;
    hc->conn.read_max = LOOP_READ_BYTES;
    r = http2_announce(h2->session, &windows);
    conn_flush_soon(&hc->conn);
    return r;
}

const struct protocol protocol_http2 = {
    .begin = h2_begin,
    .wake = h2_wake,
    .reset = h2_reset,
    .want_body = h2_want_body,
    .consume = h2_consume,
    .on_bytes = h2_on_bytes,
    .fill = h2_fill,
    .on_flushed = h2_on_flushed,
    .on_eof = h2_on_eof,
    .tick = h2_tick,
    .drain = h2_drain,
    .deinit = h2_deinit,
};
