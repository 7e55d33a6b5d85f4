/*
 * Answers of REST on a server of their own: which are compressed, where, and what becomes of them when memory or the client is gone.
 */
#include "server/edge/answer.h"

#include "../net/raw.h"
#include "base/err.h"
#include "net/gzip.h"
#include "tap.h"

/* A front end that answers every request with the same text. */
static struct {
    struct loop loop;
    struct http_server *server;
    struct lane lane;
    struct front front;
    struct shared *text;
    uint64_t fails_after; /* allocations inside answer_send; UINT64_MAX: none fails */
    bool fails_once;
    int has_failed;
    int n_requests;
    bool is_closed;
} w;

static void on_request(void *ctx, struct exchange *x)
{
    struct rest *r = NEW(struct rest);
    struct http_header header = {STR("trimtab-version"), STR("7")};
    struct answer answer = {.status = 200,
                            .type = STR("text/plain"),
                            .etag = STR("\"tag\""),
                            .headers = &header,
                            .n_headers = 1,
                            .body = segment_copy(shared_str(w.text))};

    (void)ctx;
    w.n_requests++;
    r->front = &w.front;
    r->x = x;
    (void)(w.fails_once ? mem_fail_once(w.fails_after) : mem_fail_after(w.fails_after));
    answer_send(r, &answer);
    w.has_failed = mem_fail_after(UINT64_MAX);
}

static bool begin(size_t len)
{
    struct http_server_opts opts = {.address = "127.0.0.1:0", .on_request = on_request};

    memset(&w, 0, sizeof(w));
    w.fails_after = UINT64_MAX;
    w.text = shared_new(len);
    memset(w.text->data, 'x', len);
    w.lane.loop = &w.loop;
    w.front.lane = &w.lane;
    return loop_open(&w.loop, NULL) == 0 &&
           http_server_open(&w.loop, &opts, &w.server, NULL) == 0;
}

static void closed(void *ctx)
{
    (void)ctx;
    w.is_closed = true;
}

/* Until nobody has anything of it. */
static void close_server(void)
{
    http_server_close(w.server, closed, NULL);
    while (!w.is_closed)
        loop_turn(&w.loop, LOOP_WAIT);
    CHECK_U64(w.front.packing, 0);
}

static void end(void)
{
    if (!w.is_closed)
        close_server();
    loop_close(&w.loop);
    w.text = shared_unref(w.text);
}

/* A request of its own connection, with the answer to its end. */
static struct str ask(struct raw *raw, const char *more)
{
    char request[500];
    int n = snprintf(request, sizeof(request),
                     "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n", more);

    raw_open(raw, &w.loop, http_server_port(w.server));
    CHECK(raw_send(raw, str_of(request, (size_t)n)));
    raw_wait_close(raw);
    return buf_str(&raw->got);
}

static size_t find(struct str s, const char *text)
{
    const char *at = s.len ? memmem(s.data, s.len, text, strlen(text)) : NULL;

    return at ? (size_t)(at - s.data) : s.len;
}

static bool has(struct str answer, const char *text)
{
    return find(answer, text) < find(answer, "\r\n\r\n");
}

/* Whether the body is the text, packed or not. */
static bool is_good(struct str answer)
{
    struct buf plain = BUF_NULL(answer.len ? w.text->len : 0);
    struct str body = str_from(answer, MIN(find(answer, "\r\n\r\n") + 4, answer.len));
    bool good =
        has(answer, "content-encoding: gzip")
            ? gzip_unpack(body, &plain) == 0 && str_eq(buf_str(&plain), shared_str(w.text))
            : str_eq(body, shared_str(w.text));

    buf_deinit(&plain);
    return good;
}

static const size_t on_both_sides[] = {ANSWER_PACK_MIN, ANSWER_PACK_ON_LOOP,
                                       ANSWER_PACK_ON_LOOP + 1};

TEST("from a kilobyte on answers are compressed for who asks, on the loop or by a worker, with "
     "a weak tag")
{
    for (size_t i = 0; i < ARRAY_LEN(on_both_sides); i++) {
        struct raw raw;
        struct str answer;

        REQUIRE(begin(on_both_sides[i]));
        answer = ask(&raw, "Accept-Encoding: gzip\r\n");
        CHECK(has(answer, "content-encoding: gzip") && has(answer, "etag: W/\"tag\"\r\n"));
        CHECK(has(answer, "vary: accept-encoding") && has(answer, "trimtab-version: 7"));
        CHECK(is_good(answer));
        raw_close(&raw);
        answer = ask(&raw, "Accept-Encoding: gzip;q=0\r\n");
        CHECK(!has(answer, "content-encoding") && has(answer, "etag: \"tag\"\r\n"));
        CHECK(has(answer, "vary: accept-encoding") && is_good(answer));
        raw_close(&raw);
        end();
    }
}

TEST("smaller answers are sent as they are")
{
    struct raw raw;
    struct str answer;

    REQUIRE(begin(ANSWER_PACK_MIN - 1));
    answer = ask(&raw, "Accept-Encoding: gzip\r\n");
    CHECK(!has(answer, "content-encoding") && has(answer, "vary: accept-encoding") &&
          is_good(answer));
    raw_close(&raw);
    end();
}

TEST("a tag that is shown again, weak or strong, answers 304")
{
    static const char *const shown[] = {"\"tag\"", "W/\"tag\"", "\"a\", W/\"tag\"", "*"};
    char more[200];

    REQUIRE(begin(5000));
    for (size_t i = 0; i < ARRAY_LEN(shown); i++) {
        struct raw raw;
        struct str answer;

        (void)snprintf(more, sizeof(more), "Accept-Encoding: gzip\r\nIf-None-Match: %s\r\n",
                       shown[i]);
        answer = ask(&raw, more);
        CHECK(str_starts(answer, STR("HTTP/1.1 304 ")) && has(answer, "etag: W/\"tag\"\r\n"));
        CHECK(has(answer, "vary: accept-encoding") && !has(answer, "content-encoding"));
        raw_close(&raw);
    }
    end();
}

TEST("workers have no more than a share of memory: beyond it answers go as they are")
{
    struct raw raw;
    struct str answer;

    REQUIRE(begin(ANSWER_PACK_ON_LOOP + 1));
    w.front.packing = ANSWER_PACK_MAX - w.text->len + 1;
    answer = ask(&raw, "Accept-Encoding: gzip\r\n");
    CHECK(!has(answer, "content-encoding") && is_good(answer));
    raw_close(&raw);
    w.front.packing--;
    answer = ask(&raw, "Accept-Encoding: gzip\r\n");
    CHECK(has(answer, "content-encoding: gzip") && is_good(answer));
    raw_close(&raw);
    CHECK_U64(w.front.packing, ANSWER_PACK_MAX - w.text->len);
    w.front.packing = 0;
    end();
}

TEST(
    "a client that leaves, and a server that closes, while a worker compresses, are waited for")
{
    for (int closes = 0; closes < 2; closes++) {
        struct raw raw;

        REQUIRE(begin(8 * MIB));
        raw_open(&raw, &w.loop, http_server_port(w.server));
        CHECK(
            raw_send(&raw, STR("GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")));
        while (!w.n_requests)
            loop_turn(&w.loop, LOOP_WAIT);
        CHECK_U64(w.front.packing, w.text->len);
        if (closes)
            close_server();
        raw_close(&raw);
        end();
    }
}

TEST("without memory an answer is sent as it is, or breaks off, and nothing is leaked")
{
    for (size_t i = 0; i < 2 * ARRAY_LEN(on_both_sides); i++) {
        REQUIRE(begin(on_both_sides[i / 2]));
        w.fails_once = i % 2;
        w.fails_after = 0;
        w.has_failed = 1;
        while (w.has_failed) {
            struct raw raw;
            struct str answer = ask(&raw, "Accept-Encoding: gzip\r\n");

            CHECK(!answer.len || is_good(answer));
            raw_close(&raw);
            w.fails_after++;
        }
        CHECK(w.fails_after > 1);
        end();
    }
}
