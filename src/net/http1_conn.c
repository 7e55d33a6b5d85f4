/*
 * HTTP/1 on a connection: one exchange at a time, in the order of the requests.
 *
 *   waiting --head--> exchange --answer out, request read--> waiting
 *      |                 |
 *      | refused         | must close
 *      +----> last <-----+      our end is sent, theirs is awaited (lingering), then closed
 *
 * Lingering matters: closing with unread bytes makes the kernel send a reset, which may destroy the answer on its way.
 */
#include "base/alloc.h"
#include "net/exchange.h"

enum {
    READ_BYTES = 64 * 1024,
    PENDING_MAX = 2 * READ_BYTES,
    LINGER_MS = 2000,
    LINGER_BYTES = 1024 * 1024,
};

static void process(struct http_conn *hc, struct str input);

/* ---- our own answers ---- */

static void linger(struct http_conn *hc)
{
    struct h1 *h1 = hc->h1;

    if (h1->is_lingering)
        return;
    h1->is_lingering = true;
    h1->discarded = 0;
    h1->waiting_since = loop_now(hc->server->loop);
    buf_deinit(&h1->pending);
    conn_shutdown_write(&hc->conn);
    conn_resume(&hc->conn);
    if (h1->has_eof)
        http_conn_break(hc, 0);
}

/* Answers in nobody's name, and ends the connection. With an answer under way it just ends. */
static void refuse(struct http_conn *hc, const struct http1_refusal *why)
{
    owned(buf) struct buf body = BUF_NULL(ERROR_BODY_MAX), head = BUF_NULL(ERROR_BODY_MAX);
    struct exchange *x = take(hc->h1->x);
    bool has_begun = x && x->has_begun;
    char length[24];
    struct http_header headers[] = {{STR("content-type"), STR("application/json")},
                                    {STR("content-length"), STR_NULL},
                                    {STR("connection"), STR("close")},
                                    http_date(hc->server)};

    if (x)
        exchange_detach(x, why->status == 408 ? ERR_TIMEOUT : ERR_INVALID);
    error_body(&body, &(struct error_texts){.code = why->code, .message = why->message});
    (void)snprintf(length, sizeof(length), "%zu", body.len); /* fits */
    headers[1].value = str_c(length);
    http1_put_head(&head, why->status, headers, ARRAY_LEN(headers), STR_NULL);
    buf_put_str(&head, buf_str(&body));
    if (!has_begun && !buf_status(&body) && !buf_status(&head))
        hc->h1->last = shared_copy(buf_str(&head));
    if (!hc->h1->last) {
        http_conn_break(hc, ERR_INVALID);
        return;
    }
    hc->h1->must_close = true;
    conn_flush_soon(&hc->conn);
}

static void refuse_late(struct http_conn *hc, const char *message)
{
    hc->server->stats.timeouts++;
    refuse(hc, &(struct http1_refusal){408, "TIMEOUT", message});
}

/* ---- from the connection to the exchange ---- */

static void on_data(void *ctx, struct str bytes)
{
    struct http_conn *hc = ctx;
    struct h1 *h1 = hc->h1;

    if (h1->x) {
        exchange_got_data(h1->x, bytes);
        return;
    }
    /* The exchange has been answered or reset already: the rest of its body is of no interest. */
    h1->discarded += (uint32_t)MIN(bytes.len, (size_t)UINT32_MAX - h1->discarded);
    if (h1->discarded > hc->server->limits.discard_body)
        h1->must_close = true;
}

static int start_exchange(struct http_conn *hc)
{
    struct h1 *h1 = hc->h1;
    struct http1_head head = http1_take_head(&h1->engine);
    struct exchange *x = exchange_new(hc);

    if (!x) {
        http1_head_deinit(&head);
        return ERR_NOMEM;
    }
    x->method = head.method;
    x->path = head.path;
    x->query = head.query;
    x->authority = head.authority;
    x->headers = head.headers.at;
    x->n_headers = head.headers.n;
    x->block = head.block;
    x->version = head.version;
    x->has_ended = !head.is_chunked && head.content_length == 0;
    h1->x = x;
    h1->want_continue = false;
    h1->must_close = !head.keep_alive || hc->server->is_draining;
    h1->expects_continue = head.expects_continue && !x->has_ended;
    h1->is_in_head = h1->end_is_sent = h1->is_chunked = h1->has_length = false;
    h1->discarded = 0;
    h1->had_request = true;
    exchange_dispatch(x);
    return 0;
}

/* ---- taking input ---- */

/* How much of the input the engine may see now: a body's reader is given no more than the window. */
static size_t allowance(const struct http_conn *hc)
{
    const struct exchange *x = hc->h1->x;
    size_t window = hc->server->limits.stream_window;

    if (!x)
        return hc->h1->last || hc->h1->must_close ? 0 : SIZE_MAX;
    if (hc->h1->engine.state == HTTP1_AT_END)
        return 0;
    return x->outstanding >= window ? 0 : window - x->outstanding;
}

/* One step of the engine. False: nothing more can be done with the input now. */
static bool step(struct http_conn *hc, struct str *input)
{
    struct h1 *h1 = hc->h1;
    struct str piece = str_part(*input, 0, allowance(hc));
    size_t before = piece.len;
    int r;

    if (!before && h1->engine.state != HTTP1_IN_BODY)
        return false;
    r = http1_feed(&h1->engine, &piece);
    *input = str_from(*input, before - piece.len);
    if (hc->is_closed)
        return false;
    switch (r) {
    case HTTP1_NEED_MORE: return input->len && allowance(hc);
    case HTTP1_HEAD: r = start_exchange(hc); break;
    case HTTP1_END:
        if (h1->x && !h1->x->has_ended)
            exchange_got_end(h1->x);
        return !hc->is_closed && !h1->x;
    case HTTP1_REFUSED:
        hc->server->stats.protocol_errors++;
        refuse(hc, &h1->engine.refusal);
        return false;
    default: break;
    }
    if (r < 0)
        http_conn_break(hc, r);
    return !hc->is_closed;
}

/* The answer is out and the request is read: the next one may come. */
static void next_request(struct http_conn *hc)
{
    struct h1 *h1 = hc->h1;

    http1_next(&h1->engine);
    h1->is_in_head = false;
    h1->waiting_since = loop_now(hc->server->loop);
}

static void keep(struct http_conn *hc, struct str input)
{
    struct h1 *h1 = hc->h1;

    buf_put_str(&h1->pending, input);
    if (buf_status(&h1->pending))
        http_conn_break(hc, ERR_NOMEM);
    else if (h1->pending.len >= READ_BYTES)
        conn_pause(&hc->conn);
}

static void process(struct http_conn *hc, struct str input)
{
    struct h1 *h1 = hc->h1;

    h1->is_processing = true;
    do {
        if (h1->engine.state == HTTP1_AT_END && !h1->x && !h1->must_close)
            next_request(hc);
    } while (step(hc, &input));
    h1->is_processing = false;
    if (hc->is_closed || h1->is_lingering)
        return;
    if (h1->must_break && !h1->x) {
        http_conn_break(hc, ERR_CANCELLED);
        return;
    }
    if (h1->must_close && !h1->x && !h1->last) {
        linger(hc);
        return;
    }
    if (!h1->is_in_head && !http1_is_idle(&h1->engine) && h1->engine.state == HTTP1_IN_HEAD) {
        h1->is_in_head = true;
        h1->waiting_since = loop_now(hc->server->loop);
    }
    if (input.len && !h1->last)
        keep(hc, input);
}

/* Input that was kept goes first, as one piece with what has come. */
static void process_pending(struct http_conn *hc)
{
    struct buf pending = hc->h1->pending;

    if (hc->h1->is_processing || hc->is_closed || hc->h1->is_lingering)
        return;
    hc->h1->pending = BUF_NULL(PENDING_MAX);
    hc->refs++;
    process(hc, buf_str(&pending));
    buf_deinit(&pending);
    if (!hc->is_closed && hc->h1->pending.len < READ_BYTES)
        conn_resume(&hc->conn);
    http_conn_unref(hc);
}

static void h1_on_bytes(struct http_conn *hc, struct str bytes)
{
    struct h1 *h1 = hc->h1;

    if (h1->is_lingering) {
        h1->discarded += (uint32_t)bytes.len;
        if (h1->discarded > LINGER_BYTES)
            http_conn_break(hc, 0);
        return;
    }
    if (h1->last)
        return;
    if (!h1->pending.len) {
        process(hc, bytes);
        return;
    }
    keep(hc, bytes);
    process_pending(hc);
}

static void on_more(struct defer *d, void *ctx)
{
    (void)d;
    process_pending(ctx);
}

/* Goes on with what was kept, from the loop. */
static void process_soon(struct http_conn *hc)
{
    hc->h1->more.fn = on_more;
    hc->h1->more.ctx = hc;
    loop_defer(hc->server->loop, &hc->h1->more);
}

static void h1_on_eof(struct http_conn *hc)
{
    struct h1 *h1 = hc->h1;

    h1->has_eof = true;
    /*
     * Who has said all of a request may close its half and wait for the answer. An answer that has begun and has no end yet is
     * a stream: there this end is the usual sign that nobody reads any more.
     */
    if (!h1->is_lingering && (h1->last || (h1->x && (h1->x->has_finished ||
                                                     (h1->x->has_ended && !h1->x->has_begun))))) {
        h1->must_close = true;
        h1->waiting_since = loop_now(hc->server->loop);
        return;
    }
    http_conn_break(hc, h1->x && !h1->x->has_ended ? ERR_INVALID : ERR_CANCELLED);
}

/* ---- from the exchange to the connection ---- */

/* Whether the rest of the request is not worth reading, so that the connection cannot be kept. */
static bool has_too_much_left(const struct http_conn *hc, const struct exchange *x)
{
    const struct http1 *engine = &hc->h1->engine;

    if (x->has_ended)
        return false;
    return hc->h1->expects_continue || (engine->parser.flags & F_CHUNKED) ||
           engine->parser.content_length > hc->server->limits.discard_body;
}

static bool find_length(const struct http_header *headers, size_t n, uint64_t *ret_length)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(headers[i].name, STR("content-length")))
            return str_u64(headers[i].value, ret_length);
    return false;
}

static int h1_begin(struct exchange *x, int status, const struct http_header *headers, size_t n,
                    bool has_body)
{
    struct http_conn *hc = x->hc;
    struct h1 *h1 = hc->h1;
    owned(buf) struct buf head = BUF_NULL(MIB);
    struct str extra = STR_NULL;

    h1->has_length = find_length(headers, n, &h1->length_left);
    h1->is_chunked = has_body && !h1->has_length && x->version == 11 && !x->is_head;
    if (has_too_much_left(hc, x) || (has_body && !h1->has_length && x->version == 10) ||
        hc->server->is_draining)
        h1->must_close = true;
    if (h1->is_chunked)
        extra = h1->must_close ? STR("transfer-encoding: chunked\r\nconnection: close\r\n")
                               : STR("transfer-encoding: chunked\r\n");
    else if (h1->must_close)
        extra = STR("connection: close\r\n");
    else if (x->version == 10)
        extra = STR("connection: keep-alive\r\n");
    http1_put_head(&head, status, headers, n, extra);
    if (buf_status(&head))
        return ERR_NOMEM;
    h1->head = shared_copy(buf_str(&head));
    if (!h1->head)
        return ERR_NOMEM;
    h1->want_continue = h1->expects_continue = false;
    conn_flush_soon(&hc->conn);
    return 0;
}

static void h1_wake(struct exchange *x)
{
    conn_flush_soon(&x->hc->conn);
}

static void h1_reset(struct exchange *x)
{
    struct http_conn *hc = x->hc;

    hc->h1->x = NULL;
    hc->h1->must_close = true;
    hc->h1->must_break = true;
    process_soon(hc);
}

static void h1_want_body(struct exchange *x)
{
    struct h1 *h1 = x->hc->h1;

    if (h1->expects_continue && !x->has_begun) {
        h1->want_continue = true;
        conn_flush_soon(&x->hc->conn);
    }
    h1->expects_continue = false;
}

static void h1_consume(struct exchange *x, size_t n)
{
    (void)n;
    if (x->hc->h1->pending.len && !x->hc->h1->is_processing)
        process_soon(x->hc);
}

/* ---- sending ---- */

static void fill_body(struct h1 *h1, struct exchange *x, struct gather *g)
{
    char line[24];
    size_t n = MIN(x->out.bytes, (size_t)FRAME_BYTES);

    if (h1->has_length)
        n = (size_t)MIN((uint64_t)n, h1->length_left);
    if (!n)
        return;
    if (h1->is_chunked) {
        int len = snprintf(line, sizeof(line), "%zx\r\n", n);

        gather_copy(g, line, (size_t)len);
    }
    segq_take(&x->out, n, g);
    h1->length_left -= h1->has_length ? n : 0;
    exchange_has_sent(x, n);
    if (h1->is_chunked)
        gather_copy(g, "\r\n", 2);
}

/* The owner promised a length and did not keep it: only the end of the connection can tell the client. */
static void check_length(struct http_conn *hc, struct exchange *x)
{
    struct h1 *h1 = hc->h1;

    if (h1->has_length && !x->is_head && (h1->length_left || x->out.bytes))
        h1->must_close = h1->must_break = true;
}

static void h1_fill(struct http_conn *hc, struct gather *g)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct h1 *h1 = hc->h1;
    struct exchange *x = h1->x;

    if (h1->want_continue)
        gather_copy(g, go_on, sizeof(go_on) - 1);
    h1->want_continue = false;
    if (h1->head) {
        struct shared *head = take(h1->head);

        gather_put(g, head, shared_str(head));
    }
    while (x && x->out.bytes && gather_has_room(g) && (!h1->has_length || h1->length_left))
        fill_body(h1, x, g);
    if (x && x->has_finished && !h1->end_is_sent &&
        (!x->out.bytes || (h1->has_length && !h1->length_left))) {
        check_length(hc, x);
        if (h1->is_chunked)
            gather_copy(g, "0\r\n\r\n", 5);
        h1->end_is_sent = true;
    }
    if (h1->last && gather_has_room(g)) {
        struct shared *last = h1->last;

        gather_put(g, shared_ref(last), shared_str(last));
        h1->last = shared_unref(last);
        h1->last_is_sent = true;
    }
}

static void h1_on_flushed(struct http_conn *hc)
{
    struct h1 *h1 = hc->h1;
    struct exchange *x = h1->x;

    if (conn_backlog(&hc->conn)) {
        exchanges_tell_writable(hc);
        return;
    }
    if (h1->last_is_sent) {
        linger(hc);
        return;
    }
    if (x && h1->end_is_sent && !h1->must_break) {
        h1->x = NULL;
        x->body_mode = x->body_mode == BODY_READ ? BODY_DISCARD : x->body_mode;
        exchange_detach(x, 0);
        process_soon(hc);
        return;
    }
    if (h1->must_break) {
        http_conn_break(hc, ERR_CANCELLED);
        return;
    }
    exchanges_tell_writable(hc);
}

/* ---- time, drain, life ---- */

static void h1_tick(struct http_conn *hc, nsec_t now)
{
    const struct http_limits *limits = &hc->server->limits;
    struct h1 *h1 = hc->h1;

    if (h1->is_lingering) {
        if (has_passed(h1->waiting_since, LINGER_MS, now))
            http_conn_break(hc, 0);
        return;
    }
    if (h1->last)
        return;
    if (h1->x && h1->has_eof && has_passed(h1->waiting_since, limits->half_closed_ms, now)) {
        http_conn_break(hc, ERR_CANCELLED); /* nobody may be there, and this alone would tell */
        return;
    }
    if (h1->x) {
        exchange_check_body(h1->x, now);
        return;
    }
    if (h1->engine.state == HTTP1_IN_BODY) { /* the rest of a body that nobody wants */
        if (has_passed(h1->waiting_since, limits->body_grace_ms, now))
            http_conn_break(hc, ERR_TIMEOUT);
        return;
    }
    if (h1->is_in_head) {
        if (has_passed(h1->waiting_since, limits->header_timeout_ms, now))
            refuse_late(hc, "the head of the request came too slowly");
        return;
    }
    if (has_passed(h1->waiting_since,
                   h1->had_request ? limits->idle_timeout_ms : limits->header_timeout_ms, now))
        http_conn_break(hc, 0);
}

static void h1_drain(struct http_conn *hc)
{
    struct h1 *h1 = hc->h1;

    h1->must_close = true;
    if (!h1->x && !h1->last && http1_is_idle(&h1->engine) && !h1->pending.len)
        process_soon(hc);
}

static void h1_deinit(struct http_conn *hc)
{
    struct h1 *h1 = hc->h1;

    defer_cancel(&h1->more);
    http1_deinit(&h1->engine);
    buf_deinit(&h1->pending);
    h1->head = shared_unref(h1->head);
    h1->last = shared_unref(h1->last);
    h1->x = NULL;
}

int http1_conn_init(struct http_conn *hc)
{
    const struct http_limits *limits = &hc->server->limits;
    struct http1_limits engine = {limits->request_line, limits->header_list,
                                  limits->header_count};
    struct h1 *h1 = NEW(struct h1);

    if (!h1)
        return ERR_NOMEM;
    hc->h1 = h1;
    http1_init(&h1->engine, &engine, on_data, hc);
    h1->pending = BUF_NULL(PENDING_MAX);
    h1->waiting_since = loop_now(hc->server->loop);
    hc->conn.read_max = READ_BYTES;
    hc->protocol = &protocol_http1;
    return 0;
}

const struct protocol protocol_http1 = {
    .begin = h1_begin,
    .wake = h1_wake,
    .reset = h1_reset,
    .want_body = h1_want_body,
    .consume = h1_consume,
    .on_bytes = h1_on_bytes,
    .fill = h1_fill,
    .on_flushed = h1_on_flushed,
    .on_eof = h1_on_eof,
    .tick = h1_tick,
    .drain = h1_drain,
    .deinit = h1_deinit,
};
