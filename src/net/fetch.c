/*
 * One request over HTTP/1.1. See fetch.h. The memory goes when the look-up and the connection have let go of it.
 */
#include "net/fetch.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "net/address.h"
#include "net/conn.h"

#include <errno.h>
#include <llhttp.h>
#include <netdb.h>
#include <unistd.h>

enum { REQUEST_MAX = 128 * 1024 };

/* A URL taken apart; the slices are of its text. */
struct url {
    struct str authority, target;
    struct address address;
};

struct fetch {
    struct fetch_opts opts; /* its texts are not used */
    struct address address;
    struct conn conn;
    uv_getaddrinfo_t lookup;
    struct addrinfo *found, *next; /* what the look-up gave, and what is left to try */
    struct addrinfo local;         /* of a Unix-domain address: found points here */
    struct sockaddr_un path;
    struct timer limit;
    struct defer step; /* tries the next address */
    struct err why;    /* the last failure to connect */
    struct buf request, body;
    size_t sent, heard;
    llhttp_t parser;
    int status;
    bool has_conn, has_lookup; /* hold the memory */
    bool is_complete, is_over; /* over: the owner knows, or does not want to */
};

/* ---- the URL ---- */

static int bad_url(const char *text, struct err *err)
{
    (void)err_set(err, ERR_INVALID, "\"%s\" is not a URL that can be asked", text);
    err_hint(err, "it is http://HOST:PORT/PATH");
    return ERR_INVALID;
}

static bool is_printable(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] <= ' ' || s.data[i] >= 0x7f)
            return false;
    return true;
}

static int parse_url(const char *text, struct url *ret, struct err *err)
{
    struct str s = str_c(text), rest = str_from(s, strlen("http://"));
    char address[sizeof(ret->address.host) + 16];
    size_t end = 0, bracket = str_index(rest, ']');
    bool has_port;

    if (!str_starts(s, STR("http://")) || !is_printable(s) || str_index(s, '#') < s.len)
        return bad_url(text, err);
    while (end < rest.len && rest.data[end] != '/' && rest.data[end] != '?')
        end++;
    ret->authority = str_part(rest, 0, end);
    ret->target = str_from(rest, end);
    if (!end || str_index(ret->authority, '@') < end || end >= sizeof(ret->address.host))
        return bad_url(text, err);
    has_port = str_index(bracket < end ? str_part(rest, bracket, end) : ret->authority, ':') <
               ret->authority.len - (bracket < end ? bracket : 0);
    (void)snprintf(address, sizeof(address), "%.*s%s", STR_ARG(ret->authority),
                   has_port ? "" : ":80");
    if (address_parse(address, &ret->address, NULL) || !ret->address.host[0])
        return bad_url(text, err);
    return 0;
}

int fetch_check(const char *url, struct err *err)
{
    struct url parsed;

    return parse_url(url, &parsed, err);
}

/* ---- the end ---- */

/* Frees what nothing holds any more. */
static void release(struct fetch *f)
{
    if (!f->is_over || f->has_conn || f->has_lookup)
        return;
    if (f->found && f->found != &f->local)
        freeaddrinfo(f->found);
    buf_deinit(&f->request);
    buf_deinit(&f->body);
    (void)mem_free(f);
}

void fetch_cancel(struct fetch *f)
{
    f->is_over = true;
    timer_stop(&f->limit);
    defer_cancel(&f->step);
    if (f->has_conn)
        conn_close(&f->conn);
    if (f->has_lookup)
        (void)uv_cancel((uv_req_t *)&f->lookup); /* one that runs already comes to its end */
    release(f);
}

/* The fetch may be gone afterwards. */
static void finish(struct fetch *f, const struct err *err)
{
    struct fetch_result result = {
        .status = err ? 0 : f->status, .body = buf_str(&f->body), .err = err};

    if (f->is_over)
        return;
    f->is_over = true;
    f->opts.done(f->opts.ctx, &result);
    fetch_cancel(f);
}

static void fail(struct fetch *f, int code, const char *text)
{
    struct err err = ERR_NULL;

    (void)err_set(&err, code, "%s", text);
    finish(f, &err);
}

static void on_limit(struct timer *t, void *ctx)
{
    struct fetch *f = ctx;
    struct err err = ERR_NULL;

    (void)t;
    (void)err_set(&err, ERR_TIMEOUT, "no answer in %llu ms",
                  (unsigned long long)f->opts.timeout_ms);
    finish(f, &err);
}

/* ---- the answer ---- */

static int on_headers(llhttp_t *parser)
{
    struct fetch *f = parser->data;

    if (parser->status_code / 100 == 1) /* a word in between */
        return 0;
    f->status = parser->status_code;
    f->is_complete = f->opts.body_max == 0;
    return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
    struct fetch *f = parser->data;

    if (!f->is_complete)
        buf_put(&f->body, at, len);
    return 0;
}

static int on_message(llhttp_t *parser)
{
    struct fetch *f = parser->data;

    f->is_complete |= f->status != 0;
    return 0;
}

static const llhttp_settings_t answer_settings = {
    .on_headers_complete = on_headers, .on_body = on_body, .on_message_complete = on_message};

static void init_parser(struct fetch *f)
{
    union {
        const llhttp_settings_t *in;
        llhttp_settings_t *out;
    } cast = {.in = &answer_settings};

    llhttp_init(&f->parser, HTTP_RESPONSE, cast.out); /* reads them only */
    f->parser.data = f;
}

static void look_at_answer(struct fetch *f, llhttp_errno_t why)
{
    if (buf_status(&f->body))
        fail(f, f->body.status, "the answer is too large");
    else if (f->is_complete)
        finish(f, NULL);
    else if (why != HPE_OK)
        fail(f, ERR_INVALID, "the answer is not HTTP");
    else if (f->heard > FETCH_HEAD_MAX + f->opts.body_max)
        fail(f, ERR_LIMIT, "the answer is too large");
}

static void conn_bytes(struct conn *c, void *ctx, struct str bytes)
{
    struct fetch *f = ctx;

    (void)c;
    f->heard += bytes.len;
    look_at_answer(f, llhttp_execute(&f->parser, bytes.data, bytes.len));
}

/* ---- the connection ---- */

static void conn_opened(struct conn *c, void *ctx)
{
    (void)ctx;
    conn_flush_soon(c);
}

static void conn_fill(struct conn *c, void *ctx, struct gather *g)
{
    struct fetch *f = ctx;

    (void)c;
    while (f->sent < f->request.len && gather_has_room(g)) {
        struct str piece = str_part(buf_str(&f->request), f->sent, f->sent + FRAME_BYTES);

        gather_copy(g, piece.data, piece.len);
        f->sent += piece.len;
    }
}

static void conn_flushed(struct conn *c, void *ctx)
{
    (void)c;
    (void)ctx;
}

static void conn_gone(struct conn *c, void *ctx, int reason, const struct err *story)
{
    struct fetch *f = ctx;

    if (reason && !f->sent) { /* the next address, when this one is closed */
        f->why = *story;
        conn_close(c);
        return;
    }
    if (!reason && llhttp_finish(&f->parser) == HPE_OK) /* a body may end so */
        look_at_answer(f, HPE_OK);
    fail(f, ERR_UNAVAILABLE,
         reason ? story->text : "the connection was closed without an answer");
}

static void conn_is_closed(struct conn *c, void *ctx)
{
    struct fetch *f = ctx;

    (void)c;
    f->has_conn = false;
    if (f->is_over)
        release(f);
    else
        loop_defer(f->opts.loop, &f->step);
}

static const struct conn_ops conn_ops = {conn_opened,  conn_bytes, conn_fill,
                                         conn_flushed, conn_gone,  conn_is_closed};

/* ---- the way there ---- */

static int dial(struct fetch *f, const struct addrinfo *to)
{
    struct conn_opts opts = {
        .loop = f->opts.loop, .is_connecting = true, .ops = &conn_ops, .ctx = f};
    int r;

    opts.fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (opts.fd < 0)
        return err_set_errno(&f->why, "cannot make a socket");
    if (connect(opts.fd, to->ai_addr, to->ai_addrlen) && errno != EINPROGRESS) {
        (void)err_set_errno(&f->why, "cannot connect");
        (void)close(opts.fd); /* nothing was written */
        return ERR_IO;
    }
    r = conn_open(&f->conn, &opts);
    if (r)
        return err_set(&f->why, r, "cannot make a connection");
    f->has_conn = true;
    return 0;
}

static void on_step(struct defer *d, void *ctx)
{
    struct fetch *f = ctx;

    (void)d;
    while (f->next) {
        const struct addrinfo *to = f->next;

        f->next = to->ai_next;
        if (!dial(f, to))
            return;
    }
    fail(f, ERR_UNAVAILABLE, f->why.code ? f->why.text : "the host has no address");
}

static void on_found(uv_getaddrinfo_t *lookup, int r, struct addrinfo *found)
{
    struct fetch *f = CONTAINER_OF(lookup, struct fetch, lookup);

    f->has_lookup = false;
    f->found = f->next = r ? NULL : found;
    if (r)
        (void)err_set(&f->why, ERR_UNAVAILABLE, "cannot find the host \"%s\": %s",
                      f->address.host, uv_strerror(r));
    if (f->is_over)
        release(f);
    else
        loop_defer(f->opts.loop, &f->step);
}

static void use_path(struct fetch *f)
{
    f->local = (struct addrinfo){.ai_family = AF_UNIX,
                                 .ai_addrlen = address_unix(&f->address, &f->path),
                                 .ai_addr = (struct sockaddr *)&f->path};
    f->found = f->next = &f->local;
    loop_defer(f->opts.loop, &f->step);
}

static int look_up(struct fetch *f)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                             .ai_socktype = SOCK_STREAM};

    if (f->address.path[0]) {
        use_path(f);
        return 0;
    }
    /* A numeric host needs no thread of the pool. */
    if (getaddrinfo(f->address.host, f->address.port, &hints, &f->found) == 0) {
        f->next = f->found;
        loop_defer(f->opts.loop, &f->step);
        return 0;
    }
    f->found = NULL;
    hints.ai_flags = AI_NUMERICSERV;
    if (uv_getaddrinfo(loop_uv(f->opts.loop), &f->lookup, on_found, f->address.host,
                       f->address.port, &hints))
        return ERR_NOMEM;
    f->has_lookup = true;
    return 0;
}

/* ---- the beginning ---- */

static void put_request(const struct fetch_opts *o, const struct url *url, struct buf *out)
{
    bool is_bare = !url->target.len || url->target.data[0] == '?';

    buf_printf(out, "%s %s%.*s HTTP/1.1\r\nhost: %.*s\r\nconnection: close\r\n",
               o->method ? o->method : "GET", is_bare ? "/" : "", STR_ARG(url->target),
               STR_ARG(url->authority));
    buf_printf(out, "user-agent: trimtab/%s\r\naccept: */*\r\n", TRIMTAB_VERSION);
    if (o->token)
        buf_printf(out, "authorization: Bearer %s\r\n", o->token);
    if (o->json.len)
        buf_printf(out, "content-type: application/json\r\ncontent-length: %zu\r\n",
                   o->json.len);
    buf_put_c(out, "\r\n");
    buf_put_str(out, o->json);
}

int fetch_start(const struct fetch_opts *opts, struct fetch **ret_fetch, struct err *err)
{
    struct fetch *f;
    struct url url;
    int r = parse_url(opts->url, &url, err);

    if (!r && opts->address)
        r = address_parse(opts->address, &url.address, err);
    if (r)
        return r;
    if (!url.address.host[0]) /* a listener on every address also listens here */
        memcpy(url.address.host, "localhost", sizeof("localhost"));
    f = NEW(struct fetch);
    if (!f)
        return err_set(err, ERR_NOMEM, "out of memory");
    f->opts = *opts;
    f->address = url.address;
    f->request = BUF_NULL(REQUEST_MAX);
    f->body = BUF_NULL(opts->body_max);
    f->limit = (struct timer){.fn = on_limit, .ctx = f};
    f->step = (struct defer){.fn = on_step, .ctx = f};
    init_parser(f);
    put_request(opts, &url, &f->request);
    r = buf_status(&f->request);
    if (!r)
        r = look_up(f);
    if (r) {
        fetch_cancel(f);
        return err_set(err, r, "the request cannot be made");
    }
    timer_start(&f->limit, opts->loop, opts->timeout_ms, 0);
    *ret_fetch = f;
    return 0;
}
