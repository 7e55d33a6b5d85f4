/*
 * gRPC over HTTP/2: our server and our client on one loop, and raw HTTP/2 where a client must misbehave.
 */
#include "net/grpc_frame.h"
#include "raw.h"
#include "tap.h"
#include "world.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct world w;

static bool begin(void)
{
    return world_open(&w, (struct http_server_opts){0}, (struct channel_opts){0});
}

static int call(const char *method, struct str request)
{
    return world_call(&w, &(struct rpc_opts){.method = method}, request);
}

TEST("a unary call brings back what the method replied, also nothing")
{
    REQUIRE(begin());
    CHECK_I64(call("/test/Echo", STR("hello")), GRPC_OK);
    CHECK_STR(buf_str(&w.response), STR("hello"));
    CHECK_I64(call("/test/Echo", STR_NULL), GRPC_OK);
    CHECK_U64(w.response.len, 0);
    CHECK_I64(w.n_ready, 1);
    world_close(&w);
}

TEST("eight MiB go both ways")
{
    struct shared *big = shared_new(8 * MIB);

    REQUIRE(begin());
    for (size_t i = 0; i < big->len; i++)
        big->data[i] = (char)(i * 7 + i / 999);
    CHECK_I64(call("/test/Echo", shared_str(big)), GRPC_OK);
    CHECK(str_eq(buf_str(&w.response), shared_str(big)));
    (void)shared_unref(big);
    world_close(&w);
}

TEST("a failure arrives with status, code, text, place and hint")
{
    REQUIRE(begin());
    CHECK_I64(call("/test/Refuse", STR("100%")), GRPC_FAILED_PRECONDITION);
    CHECK_I64(w.err.code, ERR_LOCKED);
    CHECK_STR(str_c(w.err.text), STR("caf\xc3\xa9 is closed: 100%"));
    CHECK_STR(str_c(w.err.place), STR("shop/prod"));
    CHECK_STR(str_c(w.err.hint), STR("end the rollout first"));
    world_close(&w);
}

TEST("unknown methods, other paths and large messages get their statuses")
{
    static char big[20000000];

    REQUIRE(begin());
    CHECK_I64(call("/test/Nothing", STR("x")), GRPC_UNIMPLEMENTED);
    CHECK_I64(call("/test/Small", STR("0123456789")), GRPC_OK);
    CHECK_I64(call("/test/Small", STR("0123456789a")), GRPC_RESOURCE_EXHAUSTED);
    CHECK_I64(call("/test/Echo", str_of(big, sizeof(big))), GRPC_RESOURCE_EXHAUSTED);
    CHECK_I64(call("/test/Echo", STR("and the connection goes on")), GRPC_OK);
    CHECK_I64(w.n_ready, 1);
    CHECK_U64(http_server_stats(w.server).exchanges, 0);
    world_close(&w);
}

TEST("the token and other metadata reach the method")
{
    struct http_header bad = {STR("x y"), STR("z")};

    REQUIRE(
        world_open(&w, (struct http_server_opts){0}, (struct channel_opts){.token = "s3cret"}));
    CHECK_I64(call("/test/WhoAmI", STR_NULL), GRPC_OK);
    CHECK_STR(buf_str(&w.response), STR("Bearer s3cret|"));
    CHECK_I64(channel_set_token(w.channel, "other"), 0);
    CHECK_I64(call("/test/WhoAmI", STR_NULL), GRPC_OK);
    CHECK_STR(buf_str(&w.response), STR("Bearer other|"));
    CHECK_I64(channel_unary(
                  w.channel,
                  &(struct rpc_opts){.method = "/test/Echo", .metadata = &bad, .n_metadata = 1},
                  STR_NULL, world_done, &w, NULL),
              ERR_INVALID);
    world_close(&w);
}

/* A call that the server has, and whose time is over: on a busy machine it may be over before the server has it. */
static void call_late(void)
{
    for (uint32_t timeout_ms = 40; !w.held; timeout_ms *= 2) {
        struct rpc_opts opts = {.method = "/test/Hold", .timeout_ms = timeout_ms};

        CHECK_I64(world_call(&w, &opts, STR("x")), GRPC_DEADLINE_EXCEEDED);
    }
}

TEST("a deadline ends the call on both sides, and the late reply is dropped")
{
    struct segment late = segment_copy(STR("late"));

    REQUIRE(begin());
    call_late();
    CHECK_I64(w.err.code, ERR_TIMEOUT);
    WHILE(&w, grpc_is_live(w.held));
    grpc_reply(w.held, &late, 1);
    CHECK_I64(call("/test/Echo", STR("x")), GRPC_OK);
    CHECK_U64(http_server_stats(w.server).exchanges, 0);
    world_close(&w);
}

TEST("a reply may come later, out of order")
{
    struct segment reply = segment_copy(STR("at last"));

    REQUIRE(begin());
    REQUIRE(channel_unary(w.channel, &(struct rpc_opts){.method = "/test/Hold"}, STR("x"),
                          world_done, &w, NULL) == 0);
    WHILE(&w, !w.held);
    CHECK_I64(call("/test/Echo", STR("first")), GRPC_OK);
    grpc_reply(w.held, &reply, 1);
    WHILE(&w, w.n_done < 2);
    CHECK_STR(buf_str(&w.response), STR("at last"));
    world_close(&w);
}

TEST("a cancelled call ends with CANCELLED here and is told there")
{
    struct rpc *rpc;

    REQUIRE(begin());
    REQUIRE(channel_stream(w.channel, &(struct rpc_opts){.method = "/test/Chat"},
                           &world_rpc_ops, &w, &rpc) == 0);
    WHILE(&w, !w.stream);
    rpc_cancel(rpc);
    CHECK_I64(w.n_closes, 0); /* not inside the call */
    WHILE(&w, !w.n_closes || !w.n_server_closes);
    CHECK_I64(w.status, GRPC_CANCELLED);
    CHECK_I64(w.server_reason, ERR_CANCELLED);
    REQUIRE(channel_stream(w.channel, &(struct rpc_opts){.method = "/test/Chat"},
                           &world_rpc_ops, &w, &rpc) == 0);
    WHILE(&w, !w.stream);
    rpc_detach(rpc);
    WHILE(&w, w.n_server_closes < 2);
    CHECK_I64(w.n_closes, 1);
    world_close(&w);
}

TEST("a conversation: messages both ways, half-close, and a clean end")
{
    struct rpc *rpc;

    REQUIRE(begin());
    REQUIRE(channel_stream(w.channel, &(struct rpc_opts){.method = "/test/Chat"},
                           &world_rpc_ops, &w, &rpc) == 0);
    for (int i = 0; i < 1000; i++) {
        char text[32];
        struct segment segments[] = {
            segment_copy(STR("message ")),
            segment_copy(str_of(text, (size_t)snprintf(text, sizeof(text), "%d", i)))};

        CHECK_I64(rpc_send(rpc, segments, 2), 0);
    }
    WHILE(&w, w.n_messages < 1000);
    CHECK_STR(w.last, STR("message 999"));
    rpc_half_close(rpc);
    WHILE(&w, !w.n_closes || !w.n_server_closes);
    CHECK_I64(w.status, GRPC_OK);
    CHECK_I64(w.server_reason, 0);
    CHECK_I64(w.n_half_closes, 1);
    world_close(&w);
}

TEST(
    "one shared message goes to a stream many times, without waiting for half of it to be read")
{
    enum { TIMES = 3000, BYTES = 5000 };
    struct rpc *rpc;

    REQUIRE(begin());
    w.pushed = shared_new(GRPC_PREFIX_BYTES + BYTES);
    memset(w.pushed->data, 'x', w.pushed->len);
    grpc_prefix_put((unsigned char *)w.pushed->data, BYTES);
    w.to_push = TIMES;
    REQUIRE(channel_stream(w.channel, &(struct rpc_opts){.method = "/test/Push"},
                           &world_rpc_ops, &w, &rpc) == 0);
    WHILE(&w, w.n_messages < TIMES);
    CHECK_U64(w.message_bytes, (uint64_t)TIMES * BYTES);
    rpc_half_close(rpc);
    WHILE(&w, !w.n_closes);
    world_close(&w);
}

TEST("a reader that does not consume stops the sender at the window, and starts it again")
{
    enum { TIMES = 1000, BYTES = 5000, WINDOW = 1000000 };
    struct rpc_opts opts = {.method = "/test/Push", .manual_consume = true};
    struct rpc *rpc;
    size_t before;

    REQUIRE(world_open(&w, (struct http_server_opts){0},
                       (struct channel_opts){.stream_window = WINDOW}));
    w.pushed = shared_new(GRPC_PREFIX_BYTES + BYTES);
    memset(w.pushed->data, 'x', w.pushed->len);
    grpc_prefix_put((unsigned char *)w.pushed->data, BYTES);
    w.to_push = TIMES;
    REQUIRE(channel_stream(w.channel, &opts, &world_rpc_ops, &w, &rpc) == 0);
    do {
        before = w.n_messages;
        for (int i = 0; i < 50; i++)
            loop_turn(&w.loop, LOOP_POLL);
    } while (!before || before != w.n_messages);
    CHECK(w.message_bytes <= WINDOW);
    CHECK(w.message_bytes > WINDOW / 2);
    CHECK(w.n_pushed < TIMES);
    while (w.n_messages < TIMES) {
        before = w.message_bytes;
        rpc_consume(rpc, before);
        w.message_bytes = 0;
        loop_turn(&w.loop, LOOP_WAIT);
        if (!w.message_bytes && w.n_messages < TIMES)
            continue;
    }
    CHECK_U64(w.n_messages, TIMES);
    rpc_cancel(rpc);
    WHILE(&w, !w.n_closes);
    world_close(&w);
}

TEST("an early error on a large upload arrives, and the stream is given back")
{
    static char big[3000000];

    REQUIRE(world_open(&w, (struct http_server_opts){.limits = {.stream_window = 65536}},
                       (struct channel_opts){0}));
    for (int i = 0; i < 200; i++)
        CHECK_I64(call("/test/Small", str_of(big, sizeof(big))), GRPC_RESOURCE_EXHAUSTED);
    CHECK_I64(call("/test/Echo", STR("x")), GRPC_OK);
    CHECK_I64(w.n_ready, 1);
    world_close(&w);
}

/* ---- the channel ---- */

TEST("a server that is not there: calls fail with the reason, unless they wait for it")
{
    static const char *const nobody[] = {"127.0.0.1:1", "unix:/nonexistent/socket"};
    struct channel_opts opts = {.addresses = nobody, .n_addresses = 2, .backoff_max_ms = 5};
    struct rpc_opts waits = {.method = "/test/Echo", .wait_for_ready = true, .timeout_ms = 50};

    REQUIRE(world_open(&w, (struct http_server_opts){0}, opts));
    CHECK_I64(call("/test/Echo", STR("x")), GRPC_UNAVAILABLE);
    CHECK_I64(w.err.code, ERR_UNAVAILABLE);
    CHECK(strstr(w.err.text, "cannot connect"));
    CHECK_I64(world_call(&w, &waits, STR("x")), GRPC_DEADLINE_EXCEEDED);
    CHECK(strstr(w.err.hint, "not connected"));
    WHILE(&w, w.n_failed < 2);
    world_close(&w);
}

TEST("the next address is taken when one does not answer")
{
    const char *addresses[2] = {"127.0.0.1:1", NULL};
    struct channel *second;
    struct channel_opts opts = {.addresses = addresses, .n_addresses = 2};
    struct err err;

    REQUIRE(begin());
    addresses[1] = http_server_address(w.server);
    REQUIRE(channel_open(&w.loop, &opts, &second, &err) == 0);
    WHILE(&w, channel_state(second) != CHANNEL_READY);
    CHECK_STR(str_c(channel_address(second)), str_c(addresses[1]));
    channel_close(second, NULL, NULL);
    world_close(&w);
}

TEST("a drained server finishes open streams, takes no new ones, and the channel looks "
     "elsewhere")
{
    struct rpc *rpc;
    struct segment hello = segment_copy(STR("hello"));

    REQUIRE(begin());
    REQUIRE(channel_stream(w.channel, &(struct rpc_opts){.method = "/test/Chat"},
                           &world_rpc_ops, &w, &rpc) == 0);
    WHILE(&w, !w.stream);
    http_server_drain(w.server, NULL, NULL);
    WHILE(&w, channel_state(w.channel) == CHANNEL_READY);
    CHECK_I64(rpc_send(rpc, &hello, 1), 0);
    WHILE(&w, w.n_messages < 1);
    CHECK_I64(call("/test/Echo", STR("x")), GRPC_UNAVAILABLE);
    grpc_finish(w.stream, GRPC_UNAVAILABLE, "going away");
    WHILE(&w, !w.n_closes || http_server_stats(w.server).connections);
    CHECK_I64(w.status, GRPC_UNAVAILABLE);
    CHECK_STR(str_c(w.err.text), STR("going away"));
    world_close(&w);
}

TEST("a lost connection fails its calls, and a new one is made")
{
    struct rpc *rpc;

    REQUIRE(begin());
    REQUIRE(channel_stream(w.channel, &(struct rpc_opts){.method = "/test/Chat"},
                           &world_rpc_ops, &w, &rpc) == 0);
    WHILE(&w, !w.stream);
    channel_reconnect(w.channel);
    WHILE(&w, !w.n_closes || w.n_ready < 2);
    CHECK_I64(w.status, GRPC_UNAVAILABLE);
    CHECK_I64(call("/test/Echo", STR("x")), GRPC_OK);
    world_close(&w);
}

TEST("closing a channel ends its calls with CANCELLED, from the loop")
{
    struct rpc *rpc;

    REQUIRE(begin());
    REQUIRE(channel_stream(w.channel, &(struct rpc_opts){.method = "/test/Chat"},
                           &world_rpc_ops, &w, &rpc) == 0);
    REQUIRE(channel_unary(w.channel, &(struct rpc_opts){.method = "/test/Hold"}, STR("x"),
                          world_done, &w, NULL) == 0);
    WHILE(&w, !w.stream || !w.held);
    channel_close(w.channel, NULL, NULL);
    w.channel = NULL;
    CHECK_I64(w.n_closes, 0);
    WHILE(&w, !w.n_closes || !w.n_done || !w.n_server_closes);
    CHECK_I64(w.status, GRPC_CANCELLED);
    WHILE(&w, grpc_is_live(w.held));
    grpc_fail(w.held, GRPC_ABORTED, "nobody hears it");
    world_close(&w);
}

TEST("a Unix-domain socket serves as well")
{
    char address[128];

    (void)snprintf(address, sizeof(address), "unix:%s/s", tap_tmpdir());
    REQUIRE(world_open(&w, (struct http_server_opts){.address = address},
                       (struct channel_opts){0}));
    CHECK_I64(call("/test/Echo", STR("x")), GRPC_OK);
    world_close(&w);
    CHECK(access(address + 5, F_OK) != 0);
}

/* A server that accepts and then is silent: the kernel answers for it. */
TEST("a server that takes the connection and says nothing is given up")
{
    struct sockaddr_storage room;
    socklen_t len = sizeof(room);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    char address[128];
    const char *addresses[] = {address};
    struct channel_opts opts = {
        .addresses = addresses, .n_addresses = 1, .connect_timeout_ms = 40};
    struct sockaddr_un *sa = (struct sockaddr_un *)(void *)&room;

    memset(&room, 0, sizeof(room));
    (void)snprintf(address, sizeof(address), "unix:%s/s", tap_tmpdir());
    sa->sun_family = AF_UNIX;
    memcpy(sa->sun_path, address + 5, strlen(address + 5) + 1);
    len = sizeof(*sa);
    REQUIRE(bind(fd, (struct sockaddr *)&room, len) == 0 && listen(fd, 5) == 0);
    REQUIRE(world_open(&w, (struct http_server_opts){0}, opts));
    CHECK_I64(call("/test/Echo", STR("x")), GRPC_UNAVAILABLE);
    CHECK(strstr(w.err.text, "no answer within 40 ms"));
    (void)close(fd);
    world_close(&w);
}

/* A server that speaks HTTP/2 so far that a call can be sent, and goes down like one that was killed. */
TEST("a connection that is reset under a call is a server that is not available")
{
    static const char settings[] = "\0\0\0\4\0\0\0\0\0";
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct linger reset = {.l_onoff = 1};
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), peer;
    char address[32];
    const char *addresses[] = {address};
    struct channel_opts opts = {.addresses = addresses, .n_addresses = 1};

    REQUIRE(bind(fd, (struct sockaddr *)&sa, len) == 0 && listen(fd, 5) == 0 &&
            getsockname(fd, (struct sockaddr *)&sa, &len) == 0);
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", ntohs(sa.sin_port));
    REQUIRE(world_open(&w, (struct http_server_opts){0}, opts));
    REQUIRE(channel_unary(w.channel, &(struct rpc_opts){.method = "/test/Echo"}, STR("x"),
                          world_done, &w, NULL) == 0);
    WHILE(&w, (peer = accept(fd, NULL, NULL)) < 0);
    CHECK_I64(send(peer, settings, sizeof(settings) - 1, 0), sizeof(settings) - 1);
    WHILE(&w, channel_state(w.channel) != CHANNEL_READY);
    CHECK_I64(setsockopt(peer, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    (void)close(peer);
    (void)close(fd);
    WHILE(&w, w.n_done == 0);
    CHECK_I64(w.status, GRPC_UNAVAILABLE);
    CHECK_I64(w.err.code, ERR_UNAVAILABLE);
    world_close(&w);
}

/* ---- raw HTTP/2 ---- */

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";

static void raw_h2(struct raw *raw)
{
    raw_open(raw, &w.loop, http_server_port(w.server));
    CHECK(raw_send(raw, str_of(preface, sizeof(preface) - 1)));
}

TEST("a client that stops answering is found by PING and disconnected")
{
    struct http_server_opts opts = {.limits = {.ping_interval_ms = 40, .ping_timeout_ms = 40}};
    struct raw raw;

    REQUIRE(world_open(&w, opts, (struct channel_opts){0}));
    raw_h2(&raw);
    raw_wait_close(&raw);
    CHECK(http_server_stats(w.server).timeouts >= 1);
    raw_close(&raw);
    world_close(&w);
}

TEST("a client that is alive but idle is kept by its PING answers, and our channel finds a "
     "dead server likewise")
{
    struct http_server_opts server = {
        .limits = {.ping_interval_ms = 20, .ping_timeout_ms = 600000}};
    struct channel_opts client = {.ping_interval_ms = 20, .ping_timeout_ms = 600000};
    struct rpc *rpc;

    REQUIRE(world_open(&w, server, client));
    REQUIRE(channel_stream(w.channel, &(struct rpc_opts){.method = "/test/Chat"},
                           &world_rpc_ops, &w, &rpc) == 0);
    call_late();
    CHECK_I64(w.n_closes, 0);
    CHECK_I64(w.n_ready, 1);
    WHILE(&w, grpc_is_live(w.held));
    grpc_fail(w.held, GRPC_ABORTED, NULL);
    rpc_cancel(rpc);
    world_close(&w);
}

TEST("floods of PING, SETTINGS and RST_STREAM end in GOAWAY")
{
    static const char ping[] = "\0\0\10\6\0\0\0\0\0abcdefgh", settings[] = "\0\0\0\4\0\0\0\0\0";
    struct buf bytes = BUF_NULL(MIB);
    struct raw raw;

    REQUIRE(begin());
    for (int kind = 0; kind < 2; kind++) {
        buf_clear(&bytes);
        for (int i = 0; i < 300; i++)
            buf_put(&bytes, kind ? settings : ping,
                    kind ? sizeof(settings) - 1 : sizeof(ping) - 1);
        raw_h2(&raw);
        (void)raw_send(&raw, buf_str(&bytes));
        raw_wait_close(&raw);
        raw_close(&raw);
    }
    buf_clear(&bytes);
    for (unsigned i = 0; i < 300; i++) {
        unsigned id = 2 * i + 1;
        /* HEADERS (:method GET, :path /, :scheme http, :authority x; every other without), then RST_STREAM(CANCEL) */
        unsigned char frames[] = "\0\0\6\1\5\0\0\0\0\x82\x84\x86\1\1x"
                                 "\0\0\4\3\0\0\0\0\0\0\0\0\10";

        if (i % 2)
            memcpy(frames + 12, "\x84\x84\x84", 3);
        frames[7] = frames[15 + 7] = (unsigned char)(id >> 8);
        frames[8] = frames[15 + 8] = (unsigned char)id;
        buf_put(&bytes, frames, sizeof(frames) - 1);
    }
    raw_h2(&raw);
    (void)raw_send(&raw, buf_str(&bytes));
    raw_wait_close(&raw);
    raw_close(&raw);
    CHECK(http_server_stats(w.server).protocol_errors >= 3);
    CHECK_I64(call("/test/Echo", STR("others are served")), GRPC_OK);
    buf_deinit(&bytes);
    world_close(&w);
}

TEST("bytes that are no HTTP/2 end the connection, not the server")
{
    struct raw raw;
    struct rng rng = {3};

    REQUIRE(begin());
    for (int i = 0; i < 200; i++) {
        char noise[200];

        for (size_t k = 0; k < sizeof(noise); k++)
            noise[k] = (char)rng_next(&rng);
        noise[0] = noise[1] = 0;
        raw_h2(&raw);
        (void)raw_send(&raw, str_of(noise, sizeof(noise)));
        raw_close(&raw);
    }
    CHECK_I64(call("/test/Echo", STR("x")), GRPC_OK);
    world_close(&w);
}

/* ---- memory ---- */

TEST("a unary call survives every allocation that fails: it fails too, and nothing leaks")
{
    REQUIRE(world_open(&w, (struct http_server_opts){0},
                       (struct channel_opts){.backoff_max_ms = 1}));
    ALLOC_SWEEP (n) {
        struct rpc_opts opts = {
            .method = "/test/Echo", .timeout_ms = 200, .wait_for_ready = true};
        int done = w.n_done;

        if (channel_unary(w.channel, &opts, STR("hello"), world_done, &w, NULL))
            continue;
        WHILE(&w, w.n_done == done);
        if (w.status != GRPC_OK)
            CHECK(w.err.code < 0);
        else if (buf_status(&w.response) ==
                 0) /* the test's own buffer may have been the victim */
            CHECK_STR(buf_str(&w.response), STR("hello"));
    }
    CHECK_I64(call("/test/Echo", STR("hello")), GRPC_OK);
    world_close(&w);
}

/* ---- the blocking helper ---- */

static void *serve(void *arg)
{
    loop_run(&((struct world *)arg)->loop);
    return NULL;
}

TEST("a blocking call connects, calls and goes, and tells why it cannot")
{
    static const char *const nobody[] = {"127.0.0.1:1"};
    struct buf response = BUF_NULL(1000);
    const char *address;
    struct channel_opts opts = {.addresses = &address, .n_addresses = 1};
    struct rpc_opts rpc = {.method = "/test/Echo"};
    pthread_t thread;
    struct err err = ERR_NULL;

    REQUIRE(begin());
    address = http_server_address(w.server);
    REQUIRE(pthread_create(&thread, NULL, serve, &w) == 0);
    CHECK_I64(channel_call_blocking(&opts, &rpc, STR("hello"), &response, &err), 0);
    CHECK_STR(buf_str(&response), STR("hello"));
    rpc.method = "/test/Refuse";
    CHECK_I64(channel_call_blocking(&opts, &rpc, STR("hello"), &response, &err), ERR_LOCKED);
    loop_stop(&w.loop);
    (void)pthread_join(thread, NULL);
    opts.addresses = nobody;
    CHECK_I64(channel_call_blocking(&opts, &rpc, STR("hello"), &response, &err),
              ERR_UNAVAILABLE);
    CHECK_STR(str_c(err.place), STR("127.0.0.1:1"));
    buf_deinit(&response);
    world_close(&w);
}
