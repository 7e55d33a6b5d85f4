/*
 * One request over HTTP/1.1: against our own server, and against one that says what the test wants.
 */
#include "net/fetch.h"
#include "net/http.h"
#include "tap.h"

#include <stdio.h>

static struct {
    struct loop loop;
    struct http_server *server;
    uv_tcp_t listener, peer; /* of the canned server */
    uv_write_t write;
    const char *canned; /* NULL: it says nothing */
    char url[128], body[256], text[ERR_TEXT_MAX], heard[256];
    int n_done, status, code;
    bool is_closed, has_peer;
} w;

static void got_body(struct exchange *x, void *ctx, int r, struct str body)
{
    struct str token = exchange_header(x, "authorization");

    (void)ctx;
    if (r)
        return;
    (void)snprintf(w.heard, sizeof(w.heard), "%.*s %.*s?%.*s %.*s %.*s",
                   STR_ARG(exchange_method(x)), STR_ARG(exchange_path(x)),
                   STR_ARG(exchange_query(x)), STR_ARG(token), STR_ARG(body));
    (void)exchange_respond_text(x, str_eq(exchange_path(x), STR("/bad")) ? 503 : 200,
                                "text/plain", STR("hello"));
}

static void on_request(void *ctx, struct exchange *x)
{
    (void)ctx;
    exchange_read_body(x, 1000, got_body, NULL);
}

static void open_world(void)
{
    struct http_server_opts opts = {.address = "127.0.0.1:0", .on_request = on_request};
    struct err err = ERR_NULL;

    memset(&w, 0, sizeof(w));
    if (!CHECK(!loop_open(&w.loop, &err)) ||
        !CHECK(!http_server_open(&w.loop, &opts, &w.server, &err)))
        tap_note("%s", err.text);
}

static void set_true(void *ctx)
{
    *(bool *)ctx = true;
}

static void close_world(void)
{
    http_server_close(w.server, set_true, &w.is_closed);
    while (!w.is_closed)
        loop_turn(&w.loop, LOOP_WAIT);
    loop_close(&w.loop);
}

static void on_done(void *ctx, const struct fetch_result *r)
{
    (void)ctx;
    w.n_done++;
    w.status = r->status;
    w.code = r->err ? r->err->code : 0;
    (void)snprintf(w.body, sizeof(w.body), "%.*s", STR_ARG(r->body));
    (void)snprintf(w.text, sizeof(w.text), "%s", r->err ? r->err->text : "");
}

static const char *url_of(const char *host, uint16_t port, const char *path)
{
    (void)snprintf(w.url, sizeof(w.url), "http://%s:%u%s", host, port, path);
    return w.url;
}

/* To its end. */
static void fetch(struct fetch_opts o)
{
    struct fetch *f;
    int before = w.n_done;

    o.loop = &w.loop;
    o.done = on_done;
    o.timeout_ms = o.timeout_ms ? o.timeout_ms : 20000;
    w.n_done = before;
    if (!CHECK(!fetch_start(&o, &f, NULL)))
        return;
    while (w.n_done == before)
        loop_turn(&w.loop, LOOP_WAIT);
}

static void fetch_path(const char *path)
{
    fetch((struct fetch_opts){.url = url_of("127.0.0.1", http_server_port(w.server), path),
                              .body_max = 100});
}

TEST("an answer comes with its status and body")
{
    open_world();
    fetch_path("/fine?a=1");
    CHECK_I64(w.code, 0);
    CHECK_I64(w.status, 200);
    CHECK_STR(str_c(w.body), STR("hello"));
    CHECK_STR(str_c(w.heard), STR("GET /fine?a=1  "));
    fetch_path("/bad");
    CHECK_I64(w.status, 503);
    fetch_path("");
    CHECK_STR(str_c(w.heard), STR("GET /?  "));
    fetch_path("?x");
    CHECK_STR(str_c(w.heard), STR("GET /?x  "));
    close_world();
}

TEST("a request can have a method, a token and a body")
{
    open_world();
    fetch((struct fetch_opts){.url = url_of("127.0.0.1", http_server_port(w.server), "/p"),
                              .method = "POST",
                              .token = "secret",
                              .json = STR("{}")});
    CHECK_I64(w.status, 200);
    CHECK_STR(str_c(w.body), STR(""));
    CHECK_STR(str_c(w.heard), STR("POST /p? Bearer secret {}"));
    close_world();
}

TEST("a host has several addresses: the one that listens answers")
{
    open_world();
    fetch((struct fetch_opts){.url = url_of("localhost", http_server_port(w.server), "/")});
    CHECK_I64(w.status, 200);
    close_world();
}

TEST("a listener can be asked at its address: on every address, or on a path")
{
    struct http_server_opts opts = {.on_request = on_request};
    struct http_server *server;
    char address[300];
    bool is_closed = false;

    open_world();
    (void)snprintf(address, sizeof(address), ":%u", http_server_port(w.server));
    fetch((struct fetch_opts){.url = "http://localhost/", .address = address});
    CHECK_I64(w.status, 200);
    (void)snprintf(address, sizeof(address), "unix:%s/s", tap_tmpdir());
    opts.address = address;
    REQUIRE(!http_server_open(&w.loop, &opts, &server, NULL));
    fetch((struct fetch_opts){.url = "http://localhost/", .address = address, .body_max = 9});
    CHECK_STR(str_c(w.body), STR("hello"));
    http_server_close(server, set_true, &is_closed);
    while (!is_closed)
        loop_turn(&w.loop, LOOP_WAIT);
    fetch((struct fetch_opts){.url = "http://localhost/", .address = "unix:/nonexistent/s"});
    CHECK_I64(w.code, ERR_UNAVAILABLE);
    close_world();
}

TEST("nobody listens: the story says so")
{
    open_world();
    fetch((struct fetch_opts){.url = "http://127.0.0.1:1/"});
    CHECK_I64(w.code, ERR_UNAVAILABLE);
    CHECK(strstr(w.text, "refused") != NULL);
    close_world();
}

TEST("what is no URL of ours is refused before anything is asked")
{
    static const char *const bad[] = {
        "",           "https://a/",    "http://",         "http:///x",       "http://a b/",
        "http://a/ ", "http://u@a/",   "http://a:99999/", "http://a/#x",     "http://:80/",
        "ftp://a/",   "http://[::1/x", "http://a:b/",     "http://\xc3\xa4/"};
    static const char *const good[] = {
        "http://a",     "http://a/",           "http://a?x",
        "http://[::1]", "http://[::1]:8080/x", "http://127.0.0.1:80/a/b?c=d"};
    struct err err = ERR_NULL;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (!CHECK_I64(fetch_check(bad[i], &err), ERR_INVALID))
            tap_note("%s", bad[i]);
    CHECK(strstr(err.hint, "http://") != NULL);
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (!CHECK_I64(fetch_check(good[i], &err), 0))
            tap_note("%s", good[i]);
}

/* ---- answers that our server would not give ---- */

static void on_closed(uv_handle_t *h)
{
    (void)h;
    w.has_peer = false;
}

static void on_written(uv_write_t *req, int r)
{
    (void)req;
    (void)r;
    uv_close((uv_handle_t *)&w.peer, on_closed);
}

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *buf)
{
    static char room[4096];

    (void)h;
    (void)size;
    *buf = uv_buf_init(room, sizeof(room));
}

/* The request has come: bytes that are left unread would break the answer off. */
static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    uv_buf_t bytes = uv_buf_init((char *)(uintptr_t)w.canned, (unsigned)strlen(w.canned));

    (void)buf;
    (void)uv_read_stop(stream);
    if (n > 0)
        CHECK_I64(uv_write(&w.write, stream, &bytes, 1, on_written), 0);
}

static void on_connection(uv_stream_t *listener, int r)
{
    (void)r;
    (void)uv_tcp_init(loop_uv(&w.loop), &w.peer);
    w.has_peer = true;
    CHECK_I64(uv_accept(listener, (uv_stream_t *)&w.peer), 0);
    if (w.canned)
        CHECK_I64(uv_read_start((uv_stream_t *)&w.peer, on_alloc, on_read), 0);
}

static uint16_t listen_canned(void)
{
    struct sockaddr_in address;
    int len = sizeof(address);

    CHECK_I64(uv_ip4_addr("127.0.0.1", 0, &address), 0);
    CHECK_I64(uv_tcp_init(loop_uv(&w.loop), &w.listener), 0);
    CHECK_I64(uv_tcp_bind(&w.listener, (const struct sockaddr *)&address, 0), 0);
    CHECK_I64(uv_listen((uv_stream_t *)&w.listener, 8, on_connection), 0);
    CHECK_I64(uv_tcp_getsockname(&w.listener, (struct sockaddr *)&address, &len), 0);
    return ntohs(address.sin_port);
}

TEST("odd answers are taken apart, and what is no answer is told")
{
    static const struct {
        const char *canned;
        int status, code;
        const char *body;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, 0, "until the end"},
        {"HTTP/1.0 204 No Content\r\n\r\n", 204, 0, ""},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: "
         "0\r\n\r\n",
         302, 0, ""},
        {"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
         200, 0, "abc"},
        {"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc", 0, ERR_UNAVAILABLE, ""},
        {"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n01234567890123456789", 0, ERR_LIMIT, ""},
        {"SSH-2.0-OpenSSH_9.2\r\n", 0, ERR_INVALID, ""},
        {"HTTP/1.1 20x OK\r\n\r\n", 0, ERR_INVALID, ""},
        {"HTTP/1.1 200 OK\r\n", 0, ERR_UNAVAILABLE, ""},
        {"", 0, ERR_UNAVAILABLE, ""},
    };
    uint16_t port;

    open_world();
    port = listen_canned();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        w.canned = rows[i].canned;
        fetch((struct fetch_opts){.url = url_of("127.0.0.1", port, "/"), .body_max = 16});
        if (!CHECK_I64(w.code, rows[i].code) || !CHECK_I64(w.status, rows[i].status))
            tap_note("row %zu: %s", i, w.text);
        if (!w.code)
            CHECK_STR(str_c(w.body), str_c(rows[i].body));
        while (w.has_peer)
            loop_turn(&w.loop, LOOP_WAIT);
    }
    close_world();
}

TEST("the head is enough when no body is wanted")
{
    uint16_t port;

    open_world();
    port = listen_canned();
    w.canned = "HTTP/1.1 500 Oh\r\ncontent-length: 99999\r\n\r\nbegin";
    fetch((struct fetch_opts){.url = url_of("127.0.0.1", port, "/")});
    CHECK_I64(w.status, 500);
    close_world();
}

TEST("a server that says nothing is given up in time, and a fetch can be cancelled")
{
    struct fetch_opts o = {.loop = &w.loop, .done = on_done, .timeout_ms = 60000};
    struct fetch *f;
    uint16_t port;

    open_world();
    port = listen_canned();
    fetch((struct fetch_opts){.url = url_of("127.0.0.1", port, "/"), .timeout_ms = 20});
    CHECK_I64(w.code, ERR_TIMEOUT);
    CHECK_STR(str_c(w.text), STR("no answer in 20 ms"));
    w.n_done = 0;
    o.url = url_of("localhost", port, "/");
    REQUIRE(!fetch_start(&o, &f, NULL));
    fetch_cancel(f); /* during the look-up */
    o.url = url_of("127.0.0.1", port, "/");
    REQUIRE(!fetch_start(&o, &f, NULL));
    loop_turn(&w.loop, LOOP_POLL);
    fetch_cancel(f); /* during the connect */
    loop_turn(&w.loop, LOOP_POLL);
    CHECK_I64(w.n_done, 0);
    close_world();
}

TEST("without memory a fetch fails, and leaves nothing")
{
    open_world();
    ALLOC_SWEEP (n) {
        struct fetch_opts o = {.loop = &w.loop,
                               .url = "http://127.0.0.1:1/",
                               .done = on_done,
                               .timeout_ms = 20000};
        struct fetch *f;
        int before = w.n_done;

        if (fetch_start(&o, &f, NULL) == 0)
            while (w.n_done == before)
                loop_turn(&w.loop, LOOP_WAIT);
    }
    close_world();
}
