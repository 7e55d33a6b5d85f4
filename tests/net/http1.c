/*
 * The HTTP/1.1 server, byte by byte.
 */
#include "net/http.h"

#include "raw.h"
#include "tap.h"

#include <netinet/in.h>
#include <sys/socket.h>

/* ---- a small server: echo, streams, and a handler that answers later ---- */

static struct {
    struct loop loop;
    struct http_server *server;
    struct exchange *held; /* of /hold */
    int closes, last_reason, bodies, last_body;
    size_t streamed, produced, to_produce;
    bool is_closed, is_drained;
    struct str big;
} world;

static void got_body(struct exchange *x, void *ctx, int r, struct str body)
{
    (void)ctx;
    world.bodies++;
    world.last_body = r;
    if (r == 0)
        (void)exchange_respond_text(x, 200, "text/plain", body);
}

static void on_close(struct exchange *x, void *ctx, int reason)
{
    (void)x;
    (void)ctx;
    world.closes++;
    world.last_reason = reason;
    world.held = NULL;
}

static void produce(struct exchange *x, void *ctx)
{
    static const char piece[10000] = "";
    struct segment segment = segment_copy(str_of(piece, sizeof(piece)));

    (void)ctx;
    while (world.produced < world.to_produce && exchange_queued(x) < 100000) {
        if (exchange_write(x, &segment, 1))
            return;
        world.produced += sizeof(piece);
    }
    if (world.produced >= world.to_produce)
        (void)exchange_finish(x, NULL, 0);
}

static void on_data(struct exchange *x, void *ctx, struct str bytes)
{
    (void)ctx;
    world.streamed += bytes.len;
    exchange_consume(x, bytes.len);
}

static void on_end(struct exchange *x, void *ctx)
{
    (void)ctx;
    (void)exchange_respond_text(x, 200, "text/plain", STR("streamed"));
}

static const struct exchange_ops hold_ops = {.on_close = on_close};
static const struct exchange_ops produce_ops = {.on_writable = produce, .on_close = on_close};
static const struct exchange_ops stream_ops = {
    .on_data = on_data, .on_end = on_end, .on_close = on_close};

static void on_request(void *ctx, struct exchange *x)
{
    struct str path = exchange_path(x);

    (void)ctx;
    if (str_eq(path, STR("/echo"))) {
        exchange_read_body(x, 100000, got_body, NULL);
    } else if (str_eq(path, STR("/stream"))) {
        exchange_set_ops(x, &stream_ops, NULL);
    } else if (str_eq(path, STR("/hold"))) {
        world.held = x;
        exchange_set_ops(x, &hold_ops, NULL);
    } else if (str_eq(path, STR("/late"))) {
        world.held = x;
    } else if (str_eq(path, STR("/produce"))) {
        exchange_set_ops(x, &produce_ops, NULL);
        (void)exchange_begin(x, 200, NULL, 0);
        produce(x, NULL);
    } else if (str_eq(path, STR("/big"))) {
        struct segment segments[2];
        struct shared *half = shared_new(5000000);

        memset(half->data, 'b', half->len);
        segments[0] = segments[1] = segment_shared(half);
        (void)exchange_respond(x, 200, NULL, 0, segments, 2);
        (void)shared_unref(half);
    } else if (str_eq(path, STR("/reset"))) {
        exchange_reset(x);
    } else if (str_eq(path, STR("/bad-header"))) {
        struct http_header bad = {STR("x"), STR("a\r\nset-cookie: b")};

        (void)exchange_respond(x, 200, &bad, 1, NULL, 0);
    } else {
        char text[200];
        int n = snprintf(text, sizeof(text), "%.*s %.*s ?%.*s", STR_ARG(exchange_method(x)),
                         STR_ARG(path), STR_ARG(exchange_query(x)));

        (void)exchange_respond_text(x, 200, "text/plain", str_of(text, (size_t)n));
    }
}

static bool start(struct http_limits limits)
{
    struct http_server_opts opts = {
        .address = "127.0.0.1:0", .limits = limits, .on_request = on_request};
    struct err err = ERR_NULL;

    memset(&world, 0, sizeof(world));
    if (loop_open(&world.loop, &err) ||
        http_server_open(&world.loop, &opts, &world.server, &err)) {
        tap_note("%s", err.text);
        return false;
    }
    return true;
}

static void set_flag(void *ctx)
{
    *(bool *)ctx = true;
}

static void stop(void)
{
    http_server_close(world.server, set_flag, &world.is_closed);
    while (!world.is_closed)
        loop_turn(&world.loop, LOOP_WAIT);
    loop_close(&world.loop);
}

static void talk(struct raw *raw, struct str bytes)
{
    raw_open(raw, &world.loop, http_server_port(world.server));
    (void)raw_send(raw, bytes);
}

static int status_of(const struct raw *raw)
{
    uint64_t status = 0;

    if (raw->got.len > 12 && memcmp(raw->got.data, "HTTP/1.1 ", 9) == 0 &&
        str_u64(str_of(raw->got.data + 9, 3), &status))
        return (int)status;
    return 0;
}

/* ---- the table: bytes, and the status that must come back (then the connection closes) ---- */

#define GET  "GET / HTTP/1.1\r\n"
#define HOST "Host: x\r\n"

static const struct {
    const char *what;
    struct str bytes;
    int status;
} malformed[] = {
    {"a request line without version", STR("GET /\r\n\r\n"), 400},
    {"a request line with two spaces", STR("GET  / HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"a request line with a tab", STR("GET\t/\tHTTP/1.1\r\n" HOST "\r\n"), 400},
    {"a lower-case version", STR("GET / http/1.1\r\n" HOST "\r\n"), 400},
    {"HTTP/1.2", STR("GET / HTTP/1.2\r\n" HOST "\r\n"), 505},
    {"HTTP/2.0 by word", STR("GET / HTTP/2.0\r\n" HOST "\r\n"), 505},
    {"HTTP/3", STR("GET / HTTP/3\r\n" HOST "\r\n"), 505},
    {"CONNECT", STR("CONNECT a:1 HTTP/1.1\r\n" HOST "\r\n"), 501},
    {"a target that is no path", STR("GET x HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"a target with a fragment", STR("GET /a#b HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"a target with a byte over 127", STR("GET /\xc3\xa9 HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"an absolute target without host", STR("GET http:///x HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"no Host", STR(GET "\r\n"), 400},
    {"two Hosts", STR(GET HOST HOST "\r\n"), 400},
    {"a Host with a space", STR(GET "Host: a b\r\n\r\n"), 400},
    {"a Host with a path", STR(GET "Host: a/b\r\n\r\n"), 400},
    {"a space before the colon", STR(GET "Host : x\r\n\r\n"), 400},
    {"a tab before the colon", STR(GET HOST "A\t: x\r\n\r\n"), 400},
    {"a folded header line", STR(GET HOST "A: x\r\n y\r\n\r\n"), 400},
    {"a first header line that is folded", STR(GET " Host: x\r\n\r\n"), 400},
    {"a header without colon", STR(GET HOST "abc\r\n\r\n"), 400},
    {"an empty header name", STR(GET HOST ": x\r\n\r\n"), 400},
    {"a header name with a bracket", STR(GET HOST "a(b: x\r\n\r\n"), 400},
    {"a NUL in a header value", STR(GET HOST "A: x\0y\r\n\r\n"), 400},
    {"a control byte in a header value", STR(GET HOST "A: x\x01y\r\n\r\n"), 400},
    {"bare line feeds", STR("GET / HTTP/1.1\nHost: x\n\n"), 400},
    {"a bare CR in a header", STR(GET HOST "A: x\ry\r\n\r\n"), 400},
    {"Content-Length with a plus",
     STR("POST /echo HTTP/1.1\r\n" HOST "Content-Length: +3\r\n\r\nabc"), 400},
    {"Content-Length that is negative",
     STR("POST /echo HTTP/1.1\r\n" HOST "Content-Length: -3\r\n\r\nabc"), 400},
    {"Content-Length over 64 bits",
     STR("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999999\r\n\r\n"),
     400},
    {"two Content-Lengths",
     STR("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
     400},
    {"a Content-Length list",
     STR("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3, 3\r\n\r\nabc"), 400},
    {"Content-Length and Transfer-Encoding",
     STR("POST /echo HTTP/1.1\r\n" HOST
         "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
     400},
    {"Transfer-Encoding and Content-Length",
     STR("POST /echo HTTP/1.1\r\n" HOST
         "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"),
     400},
    {"Transfer-Encoding: gzip",
     STR("POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\n"), 501},
    {"Transfer-Encoding: gzip, chunked",
     STR("POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n"), 501},
    {"Transfer-Encoding with a vertical tab",
     STR("POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: \x0b"
         "chunked\r\n\r\n"),
     400},
    {"Transfer-Encoding in HTTP/1.0",
     STR("POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400},
    {"a chunk size that is no number",
     STR("POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nxyz\r\n"), 400},
    {"a chunk size over 64 bits",
     STR("POST /echo HTTP/1.1\r\n" HOST
         "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"),
     400},
    {"a chunk that is longer than its size",
     STR("POST /echo HTTP/1.1\r\n" HOST
         "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n"),
     400},
    {"an unknown expectation", STR(GET HOST "Expect: tea\r\n\r\n"), 417},
    {"a body over the handler's limit",
     STR("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 100001\r\n\r\n"), 413},
    {"a TLS client", STR("\x16\x03\x01\x02\x00\x01\x00\x01"), 400},
    {"garbage", STR("\x80\x81\x82\r\n\r\n"), 400},
};

TEST("malformed requests get the status that says what is wrong, whole or byte by byte")
{
    REQUIRE(start((struct http_limits){0}));
    for (size_t i = 0; i < ARRAY_LEN(malformed); i++) {
        for (int by_byte = 0; by_byte < 2; by_byte++) {
            struct raw raw;
            struct str bytes = malformed[i].bytes;

            raw_open(&raw, &world.loop, http_server_port(world.server));
            for (size_t k = 0; by_byte && k + 1 < bytes.len; k++)
                (void)raw_send(
                    &raw, str_part(bytes, k, k + 1)); /* it may answer before the last byte */
            (void)raw_send(&raw, by_byte ? str_from(bytes, bytes.len - 1) : bytes);
            (void)raw_wait(&raw, "}");
            if (!tap_check(status_of(&raw) == malformed[i].status, __FILE__, __LINE__,
                           "%s: got %d, want %d", malformed[i].what, status_of(&raw),
                           malformed[i].status))
                tap_note("%.*s", STR_ARG(buf_str(&raw.got)));
            CHECK(raw_wait(&raw, "\"message\":"));
            raw_close(&raw);
        }
    }
    stop();
}

TEST("heads over the limits are refused: 414 for the line, 431 for the headers")
{
    static char line[9000], headers[20000];
    struct buf many = BUF_NULL(MIB);
    struct raw raw;

    memset(line, 'a', sizeof(line));
    memcpy(line, "GET /", 5);
    memset(headers, 'a', sizeof(headers));
    memcpy(headers, GET HOST "A: ", strlen(GET HOST "A: "));
    REQUIRE(start((struct http_limits){0}));
    talk(&raw, str_of(line, sizeof(line)));
    CHECK(raw_wait(&raw, "}\n") && status_of(&raw) == 414);
    raw_close(&raw);
    talk(&raw, str_of(headers, sizeof(headers)));
    CHECK(raw_wait(&raw, "}\n") && status_of(&raw) == 431);
    raw_close(&raw);
    buf_put_c(&many, GET HOST);
    for (int i = 0; i < 100; i++)
        buf_printf(&many, "a%d: b\r\n", i);
    buf_put_c(&many, "\r\n");
    talk(&raw, buf_str(&many));
    CHECK(raw_wait(&raw, "}\n") && status_of(&raw) == 431);
    raw_close(&raw);
    buf_deinit(&many);
    stop();
}

/* ---- what must work ---- */

TEST("a connection is kept, and answers pipelined requests in order")
{
    struct raw raw;

    REQUIRE(start((struct http_limits){0}));
    talk(&raw, STR("GET /a?x=1 HTTP/1.1\r\n" HOST "\r\n"
                   "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello"
                   "\r\nGET /b HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"));
    raw_wait_close(&raw);
    CHECK(raw_wait(&raw, "GET /a ?x=1HTTP/1.1 200 OK"));
    CHECK(raw_wait(&raw, "helloHTTP/1.1 200 OK"));
    CHECK(raw_wait(&raw, "connection: close\r\n\r\nGET /b ?"));
    raw_close(&raw);
    stop();
}

TEST("an absolute target, OPTIONS *, and leading empty lines are understood")
{
    struct raw raw;

    REQUIRE(start((struct http_limits){0}));
    talk(&raw, STR("\r\n\r\nGET http://example.org/p?q HTTP/1.1\r\nHost: other\r\n\r\n"
                   "OPTIONS * HTTP/1.1\r\n" HOST
                   "\r\nGET http://example.org?q HTTP/1.1\r\n" HOST "\r\n"));
    CHECK(raw_wait(&raw, "GET /p ?q"));
    CHECK(raw_wait(&raw, "OPTIONS * ?"));
    CHECK(raw_wait(&raw, "GET / ?q"));
    raw_close(&raw);
    stop();
}

TEST("HTTP/1.0 closes, unless asked to keep")
{
    struct raw raw;

    REQUIRE(start((struct http_limits){0}));
    talk(&raw, STR("GET /a HTTP/1.0\r\n\r\n"));
    raw_wait_close(&raw);
    CHECK(raw_wait(&raw, "connection: close\r\n\r\nGET /a ?"));
    raw_close(&raw);
    talk(&raw, STR("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    CHECK(raw_wait(&raw, "connection: keep-alive\r\n\r\nGET /a ?"));
    CHECK(raw_send(&raw, STR("GET /b HTTP/1.0\r\n\r\n")));
    CHECK(raw_wait(&raw, "GET /b ?"));
    raw_close(&raw);
    stop();
}

TEST("HEAD has the headers of GET and no body")
{
    struct raw raw;

    REQUIRE(start((struct http_limits){0}));
    talk(&raw, STR("HEAD /a HTTP/1.1\r\n" HOST "\r\nGET /b HTTP/1.1\r\n" HOST "\r\n"));
    CHECK(raw_wait(&raw, "content-length: 9\r\n\r\nHTTP/1.1 200"));
    CHECK(raw_wait(&raw, "GET /b ?"));
    raw_close(&raw);
    stop();
}

TEST("chunked bodies arrive whole, with extensions and trailers left out, however they are cut")
{
    static const char wire[] =
        "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n\r\n"
        "3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\nGET /next HTTP/1.1\r\n" HOST
        "\r\n";
    struct raw raw;

    REQUIRE(start((struct http_limits){0}));
    for (size_t cut = 1; cut < 60; cut += 7) {
        talk(&raw, STR_NULL);
        for (size_t at = 0; at < sizeof(wire) - 1; at += cut)
            CHECK(raw_send(&raw, str_of(wire + at, MIN(cut, sizeof(wire) - 1 - at))));
        CHECK(raw_wait(&raw, "content-length: 13\r\n\r\nabc0123456789HTTP"));
        CHECK(raw_wait(&raw, "GET /next ?"));
        raw_close(&raw);
    }
    stop();
}

TEST("100 Continue is sent when the body is asked for, and not when it is refused")
{
    struct raw raw;

    REQUIRE(start((struct http_limits){0}));
    talk(&raw, STR("POST /echo HTTP/1.1\r\n" HOST
                   "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"));
    CHECK(raw_wait(&raw, "HTTP/1.1 100 Continue\r\n\r\n"));
    CHECK(raw_send(&raw, STR("abc")));
    CHECK(raw_wait(&raw, "\r\n\r\nabc"));
    raw_close(&raw);
    talk(&raw, STR("POST /echo HTTP/1.1\r\n" HOST
                   "Expect: 100-continue\r\nContent-Length: 300000\r\n\r\n"));
    raw_wait_close(&raw);
    CHECK_I64(status_of(&raw), 413);
    raw_close(&raw);
    stop();
}

TEST("a chunked body over the limit is refused before it has come")
{
    static char chunk[70000];
    struct raw raw;

    memset(chunk, 'x', sizeof(chunk));
    REQUIRE(start((struct http_limits){0}));
    talk(&raw,
         STR("POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nffffff\r\n"));
    (void)raw_send(&raw, str_of(chunk, sizeof(chunk)));
    (void)raw_send(&raw, str_of(chunk, sizeof(chunk)));
    CHECK(raw_wait(&raw, "}\n"));
    CHECK_I64(status_of(&raw), 413);
    CHECK_I64(world.last_body, ERR_LIMIT);
    raw_close(&raw);
    stop();
}

TEST("a body that the handler streams is held back by the window, and arrives")
{
    static char piece[50000];
    struct raw raw;

    REQUIRE(start((struct http_limits){.stream_window = 10000}));
    talk(&raw, STR("POST /stream HTTP/1.1\r\n" HOST "Content-Length: 1000000\r\n\r\n"));
    for (int i = 0; i < 20; i++)
        CHECK(raw_send(&raw, str_of(piece, sizeof(piece))));
    CHECK(raw_wait(&raw, "streamed"));
    CHECK_U64(world.streamed, 1000000);
    raw_close(&raw);
    stop();
}

TEST("a producer is pulled: it never has much more queued than its bound")
{
    struct raw raw;
    size_t before;

    REQUIRE(start((struct http_limits){0}));
    world.to_produce = 20000000;
    talk(&raw, STR("GET /produce HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"));
    for (int i = 0; i < 200; i++)
        loop_turn(&world.loop, LOOP_POLL);
    before = world.produced;
    CHECK(before <
          world.to_produce); /* nobody has read: the sockets are full, and it stopped */
    raw_wait_close(&raw);
    CHECK_U64(world.produced, world.to_produce);
    CHECK(raw.got.len > 20000000);
    CHECK_STR(str_from(buf_str(&raw.got), raw.got.len - 7), STR("\r\n0\r\n\r\n"));
    CHECK_I64(world.last_reason, 0);
    raw_close(&raw);
    stop();
}

TEST("a large answer of known length comes whole, and the connection is kept")
{
    struct raw raw;

    REQUIRE(start((struct http_limits){0}));
    talk(&raw, STR("GET /big HTTP/1.1\r\n" HOST "\r\nGET /b HTTP/1.1\r\n" HOST "\r\n"));
    CHECK(raw_wait(&raw, "GET /b ?"));
    CHECK(raw.got.len > 10000000 && raw.got.len < 10001000);
    CHECK(raw_wait(&raw, "content-length: 10000000\r\n\r\nb"));
    raw_close(&raw);
    stop();
}

TEST("an answer with a header that would split it is replaced by a 500")
{
    struct raw raw;

    REQUIRE(start((struct http_limits){0}));
    talk(&raw, STR("GET /bad-header HTTP/1.1\r\n" HOST "\r\n"));
    CHECK(raw_wait(&raw, "}"));
    CHECK_I64(status_of(&raw), 500);
    CHECK(!memmem(raw.got.data, raw.got.len, "set-cookie", 10));
    raw_close(&raw);
    stop();
}

TEST("a reset exchange closes the connection without an answer")
{
    struct raw raw;

    REQUIRE(start((struct http_limits){0}));
    talk(&raw, STR("GET /reset HTTP/1.1\r\n" HOST "\r\n"));
    raw_wait_close(&raw);
    CHECK_U64(raw.got.len, 0);
    raw_close(&raw);
    stop();
}

/* ---- ends ---- */

TEST("a client that leaves is told to the owner once, and an owner without on_close may answer "
     "in vain")
{
    struct raw raw;

    REQUIRE(start((struct http_limits){.half_closed_ms = 20}));
    talk(&raw, STR("GET /hold HTTP/1.1\r\n" HOST "\r\n"));
    while (!world.held)
        loop_turn(&world.loop, LOOP_WAIT);
    raw_close(&raw);
    while (!world.closes)
        loop_turn(&world.loop, LOOP_WAIT);
    CHECK_I64(world.last_reason, ERR_CANCELLED);
    talk(&raw, STR("GET /late HTTP/1.1\r\n" HOST "\r\n"));
    while (!world.held)
        loop_turn(&world.loop, LOOP_WAIT);
    raw_close(&raw);
    while (exchange_is_live(world.held))
        loop_turn(&world.loop, LOOP_WAIT);
    CHECK_I64(exchange_respond_text(world.held, 200, "text/plain", STR("too late")), 0);
    loop_turn(&world.loop, LOOP_POLL);
    CHECK_U64(http_server_stats(world.server).exchanges, 0);
    CHECK_I64(world.closes, 1);
    stop();
}

TEST("closing the server tells the owners of open exchanges")
{
    struct raw raw;

    REQUIRE(start((struct http_limits){.half_closed_ms = 20}));
    talk(&raw, STR("GET /hold HTTP/1.1\r\n" HOST "\r\n"));
    while (!world.held)
        loop_turn(&world.loop, LOOP_WAIT);
    http_server_close(world.server, set_flag, &world.is_closed);
    CHECK_I64(world.closes, 0); /* not inside the call */
    while (!world.is_closed)
        loop_turn(&world.loop, LOOP_WAIT);
    CHECK_I64(world.closes, 1);
    raw_close(&raw);
    loop_close(&world.loop);
}

TEST("a drain closes idle connections, lets an answer finish, then tells")
{
    struct raw idle, busy;

    REQUIRE(start((struct http_limits){.half_closed_ms = 20}));
    talk(&idle, STR("GET /a HTTP/1.1\r\n" HOST "\r\n"));
    CHECK(raw_wait(&idle, "GET /a ?"));
    talk(&busy, STR("GET /late HTTP/1.1\r\n" HOST "\r\n"));
    while (!world.held)
        loop_turn(&world.loop, LOOP_WAIT);
    http_server_drain(world.server, set_flag, &world.is_drained);
    raw_wait_close(&idle);
    CHECK(!world.is_drained);
    (void)exchange_respond_text(world.held, 200, "text/plain", STR("done"));
    raw_wait_close(&busy);
    CHECK(raw_wait(&busy, "connection: close\r\n\r\ndone"));
    raw_close(&busy);
    raw_close(&idle);
    while (!world.is_drained)
        loop_turn(&world.loop, LOOP_WAIT);
    stop();
}

TEST("slow heads get 408, slow bodies too, and idle connections are closed")
{
    struct raw raw;

    REQUIRE(start((struct http_limits){.header_timeout_ms = 60}));
    talk(&raw, STR("GET / HTTP/1.1\r\nHo"));
    raw_wait_close(&raw);
    CHECK_I64(status_of(&raw), 408);
    raw_close(&raw);
    talk(&raw, STR_NULL);
    raw_wait_close(&raw);
    raw_close(&raw);
    stop();
    REQUIRE(start((struct http_limits){.body_grace_ms = 60}));
    talk(&raw, STR("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\nabc"));
    raw_wait_close(&raw);
    CHECK_I64(status_of(&raw), 408);
    CHECK_I64(world.last_body, ERR_TIMEOUT);
    raw_close(&raw);
    stop();
    REQUIRE(start((struct http_limits){.idle_timeout_ms = 60}));
    talk(&raw, STR("GET /a HTTP/1.1\r\n" HOST "\r\n"));
    raw_wait_close(&raw);
    CHECK_I64(status_of(&raw), 200);
    raw_close(&raw);
    stop();
}

TEST("a reader that takes nothing is disconnected, and its owner is told the time-out")
{
    struct raw raw;

    REQUIRE(start((struct http_limits){.write_stall_ms = 80}));
    world.to_produce = 50000000;
    talk(&raw, STR("GET /produce HTTP/1.1\r\n" HOST "\r\n"));
    while (!world.closes)
        loop_turn(&world.loop, LOOP_WAIT);
    CHECK_I64(world.last_reason, ERR_TIMEOUT);
    CHECK(world.produced < world.to_produce);
    CHECK_U64(http_server_stats(world.server).unsent, 0);
    raw_close(&raw);
    stop();
}

/* Reads one byte of what has come. */
static void sip(struct raw *raw)
{
    char byte;

    (void)!recv(raw->fd, &byte, 1, MSG_DONTWAIT);
}

TEST("a reader that takes a byte now and then is disconnected, too")
{
    struct raw raw;

    REQUIRE(start((struct http_limits){.write_stall_ms = 80, .write_least = 1 << 20}));
    world.to_produce = 50000000;
    talk(&raw, STR("GET /produce HTTP/1.1\r\n" HOST "\r\n"));
    while (!world.closes) {
        sip(&raw);
        loop_turn(&world.loop, LOOP_WAIT);
    }
    CHECK_I64(world.last_reason, ERR_TIMEOUT);
    raw_close(&raw);
    stop();
}

TEST("when answers that nobody reads hold too much, the connection that holds most goes")
{
    struct raw greedy, modest;

    REQUIRE(start((struct http_limits){.unsent_all = 6000000}));
    talk(&greedy, STR("GET /big HTTP/1.1\r\n" HOST "\r\n")); /* 10 MB */
    while (http_server_stats(world.server).shed == 0)
        loop_turn(&world.loop, LOOP_WAIT);
    CHECK_U64(http_server_stats(world.server).unsent, 0);
    talk(&modest, STR("GET /a HTTP/1.1\r\n" HOST "\r\n"));
    CHECK(raw_wait(&modest, "GET /a ?"));
    raw_close(&modest);
    raw_close(&greedy);
    stop();
}

/* Begins to send a body of a length, and sends so much of it. */
static void begin_body(struct raw *raw, size_t length, size_t sent)
{
    static char bytes[100000];
    char head[200];
    int n = snprintf(head, sizeof(head),
                     "POST /echo HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n", length);

    ASSERT(sent <= sizeof(bytes));
    talk(raw, str_of(head, (size_t)n));
    (void)raw_send(raw, str_of(bytes, sent));
}

TEST("when requests hold all there is, a large one is refused, and what holds most and is not "
     "complete goes")
{
    struct raw greedy, large, small;

    REQUIRE(start((struct http_limits){.requests_all = 150000}));
    begin_body(&greedy, 100000, 99000);
    while (http_server_stats(world.server).held < 99000)
        loop_turn(&world.loop, LOOP_WAIT);
    begin_body(&small, 60000, 60000);
    CHECK(raw_wait(&small, "200 OK"));
    begin_body(&large, 90000, 80000);
    CHECK(raw_wait(&large, "}\n"));
    CHECK_I64(status_of(&large), 503);
    raw_wait_close(&greedy);
    CHECK_U64(http_server_stats(world.server).unheld, 1);
    CHECK_U64(http_server_stats(world.server).shed, 1);
    raw_close(&large);
    begin_body(&large, 90000, 90000);
    CHECK(raw_wait(&large, "200 OK"));
    raw_close(&large);
    raw_close(&small);
    raw_close(&greedy);
    stop();
}

TEST("connections over the limit are closed at once, unless an idle one can make room")
{
    struct raw first, second;

    REQUIRE(start((struct http_limits){.max_connections = 1}));
    talk(&first, STR("GET /hold HTTP/1.1\r\n" HOST "\r\n"));
    while (!world.held)
        loop_turn(&world.loop, LOOP_WAIT);
    raw_open(&second, &world.loop, http_server_port(world.server));
    raw_wait_close(&second);
    CHECK_U64(http_server_stats(world.server).refused, 1);
    raw_close(&second);
    CHECK_I64(exchange_respond_text(world.held, 200, "text/plain", STR("held")), 0);
    CHECK(raw_wait(&first, "held"));
    talk(&second, STR("GET /a HTTP/1.1\r\n" HOST "\r\n"));
    CHECK(raw_wait(&second, "GET /a ?"));
    raw_wait_close(&first);
    CHECK_U64(http_server_stats(world.server).evicted, 1);
    raw_close(&second);
    raw_close(&first);
    stop();
}

TEST("an address that is none, or is taken, is refused with the reason")
{
    struct http_server_opts opts = {.address = "127.0.0.1", .on_request = on_request};
    struct http_server *second;
    struct err err = ERR_NULL;

    REQUIRE(start((struct http_limits){0}));
    CHECK_I64(http_server_open(&world.loop, &opts, &second, &err), ERR_INVALID);
    CHECK(strstr(err.hint, "host:port"));
    opts.address = http_server_address(world.server);
    CHECK_I64(http_server_open(&world.loop, &opts, &second, &err), ERR_IO);
    CHECK(strstr(err.text, "in use"));
    stop();
}
