/*
 * Answers: the owner's half of an exchange's life. See http.h.
 */
#include "base/alloc.h"
#include "base/clock.h"
#include "net/exchange.h"
#include "net/http1_head.h"

#include <time.h>

/* ---- texts of errors ---- */

static void put_json_text(struct buf *out, struct str text)
{
    buf_put_byte(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];

        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c < ' ')
            buf_printf(out, "\\u%04x", c);
        else
            buf_put_byte(out, c);
    }
    buf_put_byte(out, '"');
}

/* Only the well-formed part of a text: it may have been cut inside a character. */
static void put_json_field(struct buf *out, const char *name, const char *text)
{
    struct str s = str_c(text);

    buf_printf(out, "%c\"%s\":", out->len ? ',' : '{', name);
    put_json_text(out, str_part(s, 0, str_utf8_prefix(s)));
}

void error_body(struct buf *out, const struct error_texts *texts)
{
    put_json_field(out, "code", texts->code);
    put_json_field(out, "message", texts->message);
    if (texts->place && texts->place[0])
        put_json_field(out, "place", texts->place);
    if (texts->hint && texts->hint[0])
        put_json_field(out, "hint", texts->hint);
    buf_put_c(out, "}\n");
}

/* ---- heads and trailers ---- */

static bool is_lower_token(struct str name)
{
    for (size_t i = 0; i < name.len; i++)
        if (name.data[i] >= 'A' && name.data[i] <= 'Z')
            return false;
    return http_is_token(name);
}

static bool are_valid(const struct http_header *headers, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!is_lower_token(headers[i].name) || !http_is_value(headers[i].value))
            return false;
    return true;
}

/* One allocation: the array, then all texts. NULL: no memory. */
static struct http_header *copy_headers(const struct http_header *headers, size_t n)
{
    size_t size = n * sizeof(*headers);
    struct http_header *copy;
    char *text;

    for (size_t i = 0; i < n; i++)
        size = size_add(size, size_add(headers[i].name.len, headers[i].value.len));
    copy = mem_alloc(size);
    if (!copy)
        return NULL;
    text = (char *)&copy[n];
    for (size_t i = 0; i < n; i++) {
        memcpy(text, headers[i].name.data, headers[i].name.len);
        copy[i].name = str_of(text, headers[i].name.len);
        text += headers[i].name.len;
        if (headers[i].value.len)
            memcpy(text, headers[i].value.data, headers[i].value.len);
        copy[i].value = str_of(text, headers[i].value.len);
        text += headers[i].value.len;
    }
    return copy;
}

static bool has_no_body(int status)
{
    return status == 204 || status == 304 || status < 200;
}

/* Breaks off for a reason of ours; the owner has yet to answer (in vain) unless it is told by on_close. */
static void exchange_fail(struct exchange *x, int reason)
{
    if (!x->is_live)
        return;
    if (x->body_mode == BODY_READ)
        x->body_mode = BODY_DISCARD;
    x->hc->protocol->reset(x);
    exchange_detach(x, reason);
}

struct http_header http_date(struct http_server *server)
{
    static const char form[] = "%a, %d %b %Y %H:%M:%S GMT"; /* the locale is that of C */
    time_t now = (time_t)(clock_wall_ms() / 1000);
    struct tm parts;

    if (now != server->date_s && gmtime_r(&now, &parts)) {
        (void)strftime(server->date, sizeof(server->date), form, &parts);
        server->date_s = now;
    }
    return (struct http_header){STR("date"), str_c(server->date)};
}

enum { RESPOND_HEADERS = 32, SMALL_ANSWER = 4096 };

/* Marks the head as begun, and passes it on, with its date. */
static int begin(struct exchange *x, int status, const struct http_header *headers, size_t n,
                 bool has_body)
{
    struct http_header all[RESPOND_HEADERS + 2];
    int r;

    ASSERT(!x->has_begun && n < ARRAY_LEN(all));
    x->has_begun = true;
    all[0] = http_date(x->hc->server);
    for (size_t i = 0; i < n; i++)
        all[i + 1] = headers[i];
    r = x->hc->protocol->begin(x, status, all, n + 1, has_body);
    if (r)
        exchange_fail(x, r);
    return r;
}

/* ---- the owner's calls ---- */

static int begin_checked(struct exchange *x, int status, const struct http_header *headers,
                         size_t n, bool has_body)
{
    if (!x->is_live)
        return ERR_CANCELLED;
    if (n > RESPOND_HEADERS || !are_valid(headers, n)) {
        exchange_fail(x, ERR_INVALID);
        return ERR_INVALID;
    }
    return begin(x, status, headers, n, has_body);
}

int exchange_begin(struct exchange *x, int status, const struct http_header *headers, size_t n)
{
    return begin_checked(x, status, headers, n, !has_no_body(status));
}

int exchange_begin_last(struct exchange *x, int status, const struct http_header *headers,
                        size_t n)
{
    return begin_checked(x, status, headers, n, false);
}

int exchange_write(struct exchange *x, const struct segment *segments, size_t n)
{
    return exchange_write_prefixed(x, STR_NULL, segments, n);
}

/* What the queue has a copy of, for nobody else. */
static size_t copied_bytes(const struct segment *segments, size_t n)
{
    size_t bytes = 0;

    for (size_t i = 0; i < n; i++)
        bytes += segments[i].owner ? 0 : segments[i].bytes.len;
    return bytes;
}

int exchange_write_prefixed(struct exchange *x, struct str prefix,
                            const struct segment *segments, size_t n)
{
    if (!x->is_live || x->has_finished)
        return ERR_CANCELLED;
    ASSERT(x->has_begun);
    if (x->is_head)
        return 0;
    if (segq_put(&x->out, prefix, segments, n)) {
        exchange_fail(x, ERR_NOMEM);
        return ERR_NOMEM;
    }
    pace_wait(&x->pace, loop_now(exchange_loop(x)), x->out.bytes);
    exchange_owns(x, x->owned + copied_bytes(segments, n));
    x->hc->protocol->wake(x);
    return 0;
}

int exchange_finish(struct exchange *x, const struct http_header *trailers, size_t n)
{
    if (x->has_finished)
        return ERR_CANCELLED;
    if (!x->is_live) {
        exchange_owner_is_done(x);
        return ERR_CANCELLED;
    }
    if (n) {
        x->trailers = are_valid(trailers, n) ? copy_headers(trailers, n) : NULL;
        if (!x->trailers) {
            exchange_fail(x, ERR_NOMEM);
            exchange_owner_is_done(x);
            return ERR_NOMEM;
        }
        x->n_trailers = n;
    }
    if (x->body_mode == BODY_READ)
        x->body_mode = BODY_DISCARD; /* the owner did not wait for it */
    x->has_finished = true;
    exchange_owns(x, x->out.bytes); /* whole, and most often nobody else's */
    x->hc->protocol->wake(x);
    return 0;
}

void exchange_reset(struct exchange *x)
{
    exchange_fail(x, ERR_CANCELLED);
    exchange_owner_is_done(x);
}

static size_t total_bytes(const struct segment *segments, size_t n)
{
    size_t total = 0;

    for (size_t i = 0; i < n; i++)
        total = size_add(total, segments[i].bytes.len);
    return total;
}

/* An answer whose headers are good and few. */
static int respond(struct exchange *x, int status, struct http_header *headers,
                   size_t n_headers, const struct segment *body, size_t n_body)
{
    size_t length = total_bytes(body, n_body);
    char digits[24];
    bool has_body = length && !x->is_head && !has_no_body(status);
    int r;

    if (!has_no_body(status)) {
        (void)snprintf(digits, sizeof(digits), "%zu", length); /* fits */
        headers[n_headers++] = (struct http_header){STR("content-length"), str_c(digits)};
    }
    r = begin(x, status, headers, n_headers, has_body);
    if (!r && has_body)
        r = exchange_write(x, body, n_body);
    (void)exchange_finish(x, NULL, 0); /* also after a failure: the owner is done */
    return r;
}

void exchange_respond_overdrawn(struct exchange *x)
{
    static const char text[] = "{\"code\":\"UNAVAILABLE\",\"message\":\"answers on this connection "
                               "wait to be read\"}\n";
    struct http_header headers[RESPOND_HEADERS + 1] = {
        {STR("content-type"), STR("application/json")}, {STR("retry-after"), STR("1")}};
    struct segment body = segment_copy(str_of(text, sizeof(text) - 1));

    x->hc->server->stats.overdrawn++;
    (void)respond(x, 503, headers, 2, &body, 1);
}

int exchange_respond(struct exchange *x, int status, const struct http_header *headers,
                     size_t n_headers, const struct segment *body, size_t n_body)
{
    struct http_header all[RESPOND_HEADERS + 1];

    if (x->has_finished)
        return 0;
    if (!x->is_live) {
        exchange_owner_is_done(x);
        return 0;
    }
    if (x->has_begun) {
        exchange_reset(x);
        return ERR_INVALID;
    }
    if (n_headers > RESPOND_HEADERS || !are_valid(headers, n_headers))
        return exchange_respond_text(
            x, 500, "application/json",
            STR("{\"code\":\"INTERNAL\",\"message\":\"bad response headers\"}"));
    if (exchange_is_overdrawn(x) && total_bytes(body, n_body) > SMALL_ANSWER) {
        exchange_respond_overdrawn(x);
        return 0;
    }
    for (size_t i = 0; i < n_headers; i++)
        all[i] = headers[i];
    return respond(x, status, all, n_headers, body, n_body);
}

int exchange_respond_text(struct exchange *x, int status, const char *content_type,
                          struct str body)
{
    struct http_header type = {STR("content-type"), str_c(content_type)};
    struct segment segment = segment_copy(body);

    return exchange_respond(x, status, &type, 1, &segment, 1);
}

int exchange_refuse(struct exchange *x, int status, const struct http_header *more,
                    const struct err *err)
{
    owned(buf) struct buf body = BUF_NULL(ERROR_BODY_MAX);
    struct http_header headers[2] = {{STR("content-type"), STR("application/json")}};
    struct segment segment;

    error_body(&body, &(struct error_texts){err_info(err->code)->name, err->text, err->place,
                                            err->hint});
    if (buf_status(&body)) {
        exchange_reset(x);
        return ERR_NOMEM;
    }
    if (more)
        headers[1] = *more;
    segment = segment_copy(buf_str(&body));
    return exchange_respond(x, status, headers, more ? 2 : 1, &segment, 1);
}

int exchange_respond_err(struct exchange *x, const struct err *err)
{
    return exchange_refuse(x, err_info(err->code)->http, NULL, err);
}

size_t exchange_queued(const struct exchange *x)
{
    return x->is_live ? x->out.bytes + conn_backlog(&x->hc->conn) : 0;
}

static struct exchange *next_writable(struct http_conn *hc)
{
    uint32_t low = hc->server->limits.write_low;

    LIST_EACH (&hc->exchanges, l) {
        struct exchange *x = LINK_OF(l, struct exchange, in_conn);

        if (x->was_taken && exchange_queued(x) < low)
            return x;
    }
    return NULL;
}

void exchanges_tell_writable(struct http_conn *hc)
{
    struct exchange *x;

    hc->refs++; /* a callback may let go of everything, hence also the search from the start each time */
    while ((x = next_writable(hc))) {
        x->was_taken = false;
        if (x->ops && x->ops->on_writable && !x->has_finished)
            x->ops->on_writable(x, x->ctx);
    }
    http_conn_unref(hc);
}
