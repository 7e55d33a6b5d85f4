/*
 * Exchanges: what their owners may do, and who is told what. See http.h for the rules, exchange.h for the shape.
 */
#include "net/exchange.h"

#include "base/alloc.h"
#include "net/http1_head.h"

/* ---- life ---- */

struct exchange *exchange_new(struct http_conn *hc)
{
    struct exchange *x = NEW(struct exchange);

    if (!x)
        return NULL;
    x->hc = hc;
    hc->refs++;
    x->is_live = true;
    x->started = loop_now(hc->server->loop);
    link_init(&x->in_conn);
    link_init(&x->due);
    link_before(&hc->exchanges, &x->in_conn);
    hc->server->stats.exchanges++;
    return x;
}

static void exchange_free(struct exchange *x)
{
    struct http_conn *hc = x->hc;

    link_remove(&x->in_conn);
    defer_cancel(&x->start);
    segq_deinit(&x->out);
    buf_deinit(&x->body);
    budget_return(&x->held);
    (void)mem_free(x->trailers);
    (void)mem_free(x->headers);
    (void)mem_free(x->block);
    (void)mem_free(x);
    hc->server->stats.exchanges--;
    http_conn_unref(hc);
}

void exchange_owns(struct exchange *x, size_t bytes)
{
    struct http_server *server = x->hc->server;

    bytes = MIN(bytes, x->out.bytes);
    x->hc->unsent += bytes - x->owned;
    server->stats.unsent += bytes - x->owned;
    x->owned = bytes;
    if (server->stats.unsent > server->limits.unsent_all)
        loop_defer(server->loop, &server->shed);
}

static void set_coming(struct exchange *x, size_t bytes)
{
    x->hc->coming += bytes - x->coming;
    x->coming = bytes;
}

bool exchange_hold(struct exchange *x, struct budget_share *share, size_t bytes)
{
    struct http_server *server = x->hc->server;

    if (!budget_hold(share, server->requests, bytes)) {
        loop_defer(server->loop, &server->shed_requests);
        return false;
    }
    if (x->is_live && !x->has_ended)
        set_coming(x, bytes);
    return true;
}

bool exchange_is_overdrawn(const struct exchange *x)
{
    return x->hc->unsent > x->hc->server->limits.unsent;
}

void exchange_has_sent(struct exchange *x, size_t n)
{
    x->was_taken = true;
    pace_take(&x->pace, n);
    exchange_owns(x, x->owned);
}

void exchange_detach(struct exchange *x, int reason)
{
    struct http_server *server = x->hc->server;

    if (!x->is_live)
        return;
    x->is_live = false;
    x->reason = reason;
    if (!x->is_dispatched)
        x->has_finished = true; /* it never had an owner */
    segq_deinit(&x->out);
    exchange_owns(x, 0);
    set_coming(x, 0);
    link_remove(&x->due);
    link_remove(&x->in_conn);
    link_before(&server->settling, &x->in_conn);
    loop_defer(server->loop, &server->settle);
}

/*
 * Tells the owner of a detached exchange, and frees it as soon as nobody may use it any more: it was told the end,
 * or it has answered. An owner that has neither is left alone until it answers.
 */
static void exchange_settle(struct exchange *x)
{
    exchange_body_fn *done = x->body_mode == BODY_READ ? x->body_done : NULL;

    link_remove(&x->in_conn);
    if (done) {
        x->body_mode = BODY_DISCARD;
        x->in_callback = true;
        x->has_finished = true;
        done(x, x->body_ctx, x->reason ? x->reason : ERR_CANCELLED, STR_NULL);
    }
    if (x->ops && x->ops->on_close) {
        x->in_callback = true;
        x->ops->on_close(x, x->ctx, x->reason);
        exchange_free(x);
        return;
    }
    x->is_settled = true;
    if (x->has_finished)
        exchange_free(x);
}

void exchanges_settle(struct defer *d, void *ctx)
{
    struct http_server *server = ctx;

    (void)d;
    while (!link_is_alone(&server->settling))
        exchange_settle(LINK_OF(server->settling.next, struct exchange, in_conn));
}

/* The owner has answered (or reset). One that is detached and told may go: nobody has it any more. */
void exchange_owner_is_done(struct exchange *x)
{
    x->has_finished = true;
    if (!x->is_live && x->is_settled && !x->in_callback)
        exchange_free(x);
}

/* ---- the request ---- */

struct str exchange_method(const struct exchange *x)
{
    return x->method;
}

struct str exchange_path(const struct exchange *x)
{
    return x->path;
}

struct str exchange_query(const struct exchange *x)
{
    return x->query;
}

struct str exchange_authority(const struct exchange *x)
{
    return x->authority;
}

struct str exchange_header(const struct exchange *x, const char *name)
{
    struct str wanted = str_c(name);

    for (size_t i = 0; i < x->n_headers; i++)
        if (str_eq(x->headers[i].name, wanted))
            return x->headers[i].value;
    return STR_NULL;
}

size_t exchange_header_count(const struct exchange *x)
{
    return x->n_headers;
}

struct http_header exchange_header_at(const struct exchange *x, size_t i)
{
    return i < x->n_headers ? x->headers[i] : (struct http_header){STR_NULL, STR_NULL};
}

int exchange_http_version(const struct exchange *x)
{
    return x->version;
}

struct str exchange_peer(const struct exchange *x)
{
    return str_c(x->hc->peer);
}

struct str exchange_tls_name(const struct exchange *x)
{
    return str_c(x->hc->tls_name);
}

bool exchange_is_tls(const struct exchange *x)
{
    return x->hc->server->tls != NULL;
}

struct loop *exchange_loop(const struct exchange *x)
{
    return x->hc->server->loop;
}

nsec_t exchange_started(const struct exchange *x)
{
    return x->started;
}

void exchange_set_user(struct exchange *x, void *user)
{
    x->user = user;
}

void *exchange_user(const struct exchange *x)
{
    return x->user;
}

bool exchange_is_live(const struct exchange *x)
{
    return x->is_live;
}

void exchange_dispatch(struct exchange *x)
{
    struct http_server *server = x->hc->server;

    x->is_dispatched = true;
    x->is_head = str_eq(x->method, STR("HEAD"));
    server->stats.requests++;
    if (exchange_is_overdrawn(x))
        exchange_respond_overdrawn(x);
    else
        server->on_request(server->ctx, x);
}

/* ---- the body ---- */

/* The reading of a body has failed: answers in the owner's place, then tells it. */
static void fail_body(struct exchange *x, int r, const char *message)
{
    exchange_body_fn *done = x->body_done;
    struct err err;

    x->body_mode = BODY_DISCARD;
    buf_deinit(&x->body);
    budget_return(&x->held);
    set_coming(x, 0);
    err_set(&err, r, "%s", message);
    if (r == ERR_TIMEOUT)
        (void)exchange_respond_text(
            x, 408, "application/json",
            STR("{\"code\":\"TIMEOUT\",\"message\":\"the body came too slowly\"}"));
    else
        (void)exchange_respond_err(x, &err); /* without memory it is reset */
    done(x, x->body_ctx, r, STR_NULL);
}

static void read_more(struct exchange *x, struct str bytes)
{
    if (!exchange_hold(x, &x->held, x->body.len + bytes.len)) {
        fail_body(x, ERR_UNAVAILABLE, "the server holds as many large requests as it can");
        return;
    }
    buf_put_str(&x->body, bytes);
    switch (buf_status(&x->body)) {
    case 0: x->hc->protocol->consume(x, bytes.len); break;
    case ERR_LIMIT:
        fail_body(x, ERR_LIMIT, "the body is larger than this request may have");
        break;
    default: fail_body(x, ERR_NOMEM, "no memory for the body"); break;
    }
}

void exchange_got_data(struct exchange *x, struct str bytes)
{
    x->received += bytes.len;
    x->outstanding += bytes.len;
    if (x->body_mode == BODY_READ) {
        x->outstanding -= bytes.len;
        read_more(x, bytes);
        return;
    }
    if (x->body_mode == BODY_STREAM && !x->is_starting && x->ops && x->ops->on_data) {
        x->ops->on_data(x, x->ctx, bytes);
        return;
    }
    if (x->is_starting || (x->body_mode == BODY_UNASKED && !x->has_finished)) {
        /* The owner may yet ask for it; until then it waits, no more than the window. */
        x->body.ceiling = SIZE_MAX;
        buf_put_str(&x->body, bytes);
        if (buf_status(&x->body) == 0)
            return;
    }
    exchange_consume(x, bytes.len);
}

static void body_is_read(struct exchange *x)
{
    x->body_mode = BODY_DISCARD;
    x->body_done(x, x->body_ctx, 0, buf_str(&x->body));
}

void exchange_got_end(struct exchange *x)
{
    x->has_ended = true;
    set_coming(x, 0);
    if (x->body_mode == BODY_READ)
        body_is_read(x);
    else if (x->body_mode == BODY_STREAM && !x->is_starting && x->ops && x->ops->on_end)
        x->ops->on_end(x, x->ctx);
}

/* A detached exchange has news for an owner that asks late. */
static bool settle_again(struct exchange *x)
{
    if (x->is_live)
        return false;
    if (x->is_settled && !x->in_callback) {
        x->is_settled = false;
        link_before(&x->hc->server->settling, &x->in_conn);
        loop_defer(x->hc->server->loop, &x->hc->server->settle);
    }
    return true;
}

/* By its Content-Length; 0: it says none. */
static uint64_t announced(const struct exchange *x)
{
    struct str length = exchange_header(x, "content-length");
    uint64_t n;

    return length.data && str_u64(length, &n) ? n : 0;
}

void exchange_read_body(struct exchange *x, size_t limit, exchange_body_fn *done, void *ctx)
{
    size_t early = x->body.len;

    x->body_mode = BODY_READ;
    x->body_done = done;
    x->body_ctx = ctx;
    x->asked = loop_now(exchange_loop(x));
    x->body.ceiling = limit;
    if (settle_again(x))
        return;
    if (early > limit || announced(x) > limit) { /* before a byte of it is read */
        fail_body(x, ERR_LIMIT, "the body is larger than this request may have");
        return;
    }
    /* A buffer that grows would be copied again and again. What is not written to is no memory yet. */
    if (announced(x) > early && !buf_room(&x->body, announced(x) - early)) {
        fail_body(x, ERR_NOMEM, "no memory for the body");
        return;
    }
    if (early)
        exchange_consume(x, early);
    if (x->has_ended)
        body_is_read(x);
    else
        x->hc->protocol->want_body(x);
}

void exchange_check_body(struct exchange *x, nsec_t now)
{
    const struct http_limits *limits = &x->hc->server->limits;
    uint64_t seconds;

    if (x->body_mode != BODY_READ || x->has_ended ||
        !has_passed(x->asked, limits->body_grace_ms, now))
        return;
    seconds = (now - x->asked) / NSEC_PER_S;
    if (x->received >= MAX(seconds, 1) * limits->body_min_rate)
        return;
    x->hc->server->stats.timeouts++;
    fail_body(x, ERR_TIMEOUT, "the body came too slowly");
}

/* Hands over, from the loop, what came before the owner had set its ops. */
static void on_start(struct defer *d, void *ctx)
{
    struct exchange *x = ctx;
    struct buf early = x->body;

    (void)d;
    x->is_starting = false;
    x->body = BUF_NULL(0);
    if (early.len && x->is_live && x->ops && x->ops->on_data)
        x->ops->on_data(x, x->ctx, buf_str(&early));
    else
        exchange_consume(x, early.len);
    buf_deinit(&early);
    if (x->has_ended && x->is_live && x->ops && x->ops->on_end)
        x->ops->on_end(x, x->ctx);
}

void exchange_set_ops(struct exchange *x, const struct exchange_ops *ops, void *ctx)
{
    x->ops = ops;
    x->ctx = ctx;
    if (settle_again(x) || x->body_mode != BODY_UNASKED || !ops)
        return;
    x->body_mode = BODY_STREAM;
    if (x->body.len || x->has_ended) {
        x->is_starting = true;
        x->start = (struct defer){.fn = on_start, .ctx = x};
        loop_defer(exchange_loop(x), &x->start);
    }
    if (!x->has_ended)
        x->hc->protocol->want_body(x);
}

void exchange_consume(struct exchange *x, size_t n)
{
    if (!x->is_live)
        return;
    n = MIN(n, x->outstanding);
    x->outstanding -= n;
    x->hc->protocol->consume(x, n);
}
