/*
 * The link against a server of the test's own, in the same process: what it says when, and that it always comes back.
 */
#include "tap.h"

#include "base/buf.h"
#include "net/grpc.h"
#include "net/http.h"
#include "proto/convert.h"
#include "sync/link.h"

enum { HELLOS_MAX = 16 };

struct world {
    struct loop loop;
    struct http_server *server;
    struct grpc_service service;
    struct grpc_call *call; /* the stream that is open */
    struct sync *sync;
    struct sync_link *link;
    Trimtab__V1__Instance instance;
    int n_hellos, n_stored, n_batches, n_up, n_down;
    bool had_cursor; /* of the last hello */
    bool is_short;   /* allocations may fail */
    bool answers;    /* the server sends welcome and a batch after a hello */
    char last_story[ERR_TEXT_MAX];
};

/* ---- the server's side ---- */

/* The server lacks memory too when a sweep takes it: it ends the stream then, as a server does, and is asked again. */
static void server_send(struct world *w, const Trimtab__V1__ServerFrame *frame)
{
    struct shared *bytes = proto_pack(&frame->base, 0);
    struct segment s = segment_shared(bytes);
    int r = bytes ? grpc_send(w->call, &s, 1) : ERR_NOMEM;

    CHECK(r == 0 || w->is_short);
    if (!bytes)
        grpc_finish(w->call, GRPC_UNAVAILABLE, "no memory");
    (void)shared_unref(bytes);
}

static void server_answer(struct world *w)
{
    Trimtab__V1__ServerFrame frame = TRIMTAB__V1__SERVER_FRAME__INIT;
    Trimtab__V1__Welcome welcome = TRIMTAB__V1__WELCOME__INIT;
    Trimtab__V1__End end = TRIMTAB__V1__END__INIT;
    unsigned char id[SYNC_STORE_ID_BYTES] = {1}, digest[DIGEST_BYTES] = {0};

    welcome.store_id = proto_bytes(str_of(id, sizeof(id)));
    welcome.mode = TRIMTAB__V1__MODE__FULL;
    welcome.bookmark_ms = 5000;
    end.mode = TRIMTAB__V1__MODE__FULL;
    end.revision = 7;
    end.digest = proto_bytes(str_of(digest, sizeof(digest)));
    frame.welcome = &welcome;
    frame.end = &end;
    server_send(w, &frame);
}

static void on_message(struct grpc_call *call, void *ctx, struct str message)
{
    struct world *w = ctx;
    Trimtab__V1__ClientFrame *f = trimtab__v1__client_frame__unpack(
        &proto_allocator, message.len, (const uint8_t *)message.data);

    CHECK(f != NULL || w->is_short);
    if (!f) {
        grpc_finish(call, GRPC_UNAVAILABLE, "no memory");
        return;
    }
    if (f->hello) {
        w->n_hellos++;
        w->had_cursor = f->hello->cursor != NULL;
        if (w->answers)
            server_answer(w);
    }
    if (f->ack && f->ack->stage == TRIMTAB__V1__STAGE__STORED)
        w->n_stored++;
    trimtab__v1__client_frame__free_unpacked(f, &proto_allocator);
}

static void on_call_close(struct grpc_call *call, void *ctx, int reason)
{
    struct world *w = ctx;

    (void)reason;
    if (w->call == call)
        w->call = NULL;
}

static void on_call(struct grpc_call *call, void *ctx, struct str message)
{
    static const struct grpc_ops ops = {.on_message = on_message, .on_close = on_call_close};
    struct world *w = ctx;

    (void)message;
    w->call = call;
    grpc_set_ops(call, &ops, w);
}

static const struct grpc_method methods[] = {
    {.path = "/trimtab.v1.Sync/Subscribe", .kind = GRPC_STREAM, .on_call = on_call}};

static void on_request(void *ctx, struct exchange *x)
{
    struct world *w = ctx;

    grpc_handle(&w->service, x);
}

/* ---- the client's side ---- */

static void op_send(void *ctx, const Trimtab__V1__ClientFrame *frame)
{
    struct world *w = ctx;

    sync_link_send(w->link, frame);
}

static int op_store(void *ctx, const struct sync_batch *batch, struct err *err)
{
    (void)ctx;
    (void)batch;
    (void)err;
    return 0;
}

static void op_apply(void *ctx, const struct sync_batch *batch)
{
    struct world *w = ctx;

    (void)batch;
    w->n_batches++;
}

static void op_reconnect(void *ctx, uint32_t after_ms, const char *reason)
{
    struct world *w = ctx;

    sync_link_reconnect(w->link, after_ms, reason);
}

static const struct sync_ops ops = {
    .send = op_send, .store = op_store, .apply = op_apply, .reconnect = op_reconnect};

static void on_state(void *ctx, enum sync_link_state state, const char *address,
                     const struct err *story)
{
    struct world *w = ctx;

    (void)address;
    w->n_up += state == SYNC_LINK_UP;
    w->n_down += state == SYNC_LINK_DOWN;
    if (story)
        (void)snprintf(w->last_story, sizeof(w->last_story), "%s", story->text);
}

static bool world_open(struct world *w)
{
    static char id[] = "me";
    struct http_server_opts server = {
        .address = "127.0.0.1:0", .on_request = on_request, .ctx = w};
    struct sync_opts opts = {.instance = &w->instance, .ops = &ops, .ctx = w};
    struct sync_link_opts link = {.loop = &w->loop,
                                  .backoff_min_ms = 1,
                                  .backoff_max_ms = 5,
                                  .on_state = on_state,
                                  .ctx = w};
    const char *address;

    *w = (struct world){.answers = true};
    trimtab__v1__instance__init(&w->instance);
    w->instance.id = id;
    w->service = (struct grpc_service){.methods = methods, .n = 1, .ctx = w};
    if (!CHECK(loop_open(&w->loop, NULL) == 0) ||
        !CHECK(http_server_open(&w->loop, &server, &w->server, NULL) == 0))
        return false;
    w->sync = sync_new(&opts);
    address = http_server_address(w->server);
    link.sync = w->sync;
    link.channel = (struct channel_opts){.addresses = &address,
                                         .n_addresses = 1,
                                         .seed = 5,
                                         .backoff_min_ms = 1,
                                         .backoff_max_ms = 5};
    return CHECK(sync_link_open(&link, &w->link, NULL) == 0);
}

static void set_true(void *ctx)
{
    *(bool *)ctx = true;
}

static void world_close(struct world *w)
{
    bool closed = false;

    sync_link_close(w->link, set_true, &closed);
    while (!closed)
        loop_turn(&w->loop, LOOP_WAIT);
    closed = false;
    http_server_close(w->server, set_true, &closed);
    while (!closed)
        loop_turn(&w->loop, LOOP_WAIT);
    loop_turn(&w->loop, LOOP_POLL);
    loop_close(&w->loop);
    w->sync = sync_free(w->sync);
}

#define UNTIL(w, cond)                                                                         \
    while (!(cond))                                                                            \
    loop_turn(&(w)->loop, LOOP_WAIT)

TEST("a link says hello, takes a batch, and says that it is stored")
{
    struct world w;

    REQUIRE(world_open(&w));
    UNTIL(&w, w.n_stored == 1);
    CHECK_I64(w.n_hellos, 1);
    CHECK(!w.had_cursor);
    CHECK_I64(w.n_batches, 1);
    CHECK(sync_link_is_up(w.link));
    CHECK_U64(sync_status(w.sync).cursor.revision, 7);
    world_close(&w);
}

TEST("after a stream that the server ends, it comes back with its cursor")
{
    struct world w;

    REQUIRE(world_open(&w));
    UNTIL(&w, w.n_stored == 1);
    grpc_finish(w.call, GRPC_UNAVAILABLE, "going home");
    UNTIL(&w, w.n_hellos == 2);
    CHECK(w.had_cursor);
    CHECK_STR(str_c(w.last_story), STR("going home"));
    CHECK(w.n_down == 1 && w.n_up == 2);
    world_close(&w);
}

TEST("what is no frame, or makes no sense, ends the stream but not the link")
{
    struct world w;
    Trimtab__V1__ServerFrame frame = TRIMTAB__V1__SERVER_FRAME__INIT;
    Trimtab__V1__Welcome welcome = TRIMTAB__V1__WELCOME__INIT;

    REQUIRE(world_open(&w));
    UNTIL(&w, w.n_stored == 1);
    CHECK(grpc_send(w.call, &(struct segment){NULL, STR("\xff\xff\xff\xff")}, 1) == 0);
    UNTIL(&w, w.n_hellos == 2 && w.n_stored == 2);
    frame.welcome = &welcome; /* a second one, and without a store */
    server_send(&w, &frame);
    UNTIL(&w, w.n_hellos == 3 && w.n_stored == 3);
    CHECK_STR(str_c(w.last_story), STR("a second welcome"));
    world_close(&w);
}

TEST("a server that goes away is left, and found again")
{
    struct world w;
    Trimtab__V1__ServerFrame frame = TRIMTAB__V1__SERVER_FRAME__INIT;
    Trimtab__V1__GoAway away = TRIMTAB__V1__GO_AWAY__INIT;
    static char reason[] = "upgrade";

    REQUIRE(world_open(&w));
    UNTIL(&w, w.n_stored == 1);
    away.reconnect_after_ms = 3;
    away.spread_ms = 5;
    away.reason = reason;
    frame.go_away = &away;
    server_send(&w, &frame);
    UNTIL(&w, w.n_hellos == 2);
    CHECK_STR(str_c(w.last_story), STR("upgrade"));
    CHECK(w.had_cursor);
    world_close(&w);
}

TEST("batches that are rejected one after the other do not become a race")
{
    struct world w;
    Trimtab__V1__ServerFrame frame = TRIMTAB__V1__SERVER_FRAME__INIT;
    Trimtab__V1__End end = TRIMTAB__V1__END__INIT;

    REQUIRE(world_open(&w));
    UNTIL(&w, w.n_stored == 1);
    w.answers = false;
    end.mode = TRIMTAB__V1__MODE__RESUME;
    end.revision = 8; /* and no digest */
    frame.end = &end;
    server_send(&w, &frame);
    server_send(&w, &frame);
    server_send(&w, &frame);
    UNTIL(&w, w.n_down == 1);
    CHECK_U64(sync_status(w.sync).rejected, 3);
    CHECK_STR(str_c(w.last_story), STR("the digest is not the one that was announced"));
    CHECK_U64(sync_status(w.sync).cursor.revision, 7);
    world_close(&w);
}

TEST("a link without memory at any point breaks nothing and comes up when there is some")
{
    struct world w;

    REQUIRE(world_open(&w));
    UNTIL(&w, w.n_stored == 1);
    for (uint64_t n = 0; n < 40; n++) {
        int up = w.n_up;

        grpc_finish(w.call, GRPC_UNAVAILABLE, "again");
        UNTIL(&w, !sync_link_is_up(w.link));
        w.is_short = true;
        mem_fail_after(n);
        for (int turn = 0; turn < 30; turn++)
            loop_turn(&w.loop, LOOP_POLL);
        mem_fail_after(UINT64_MAX);
        w.is_short = false;
        UNTIL(&w, w.n_up > up && sync_link_is_up(w.link) && w.call &&
                      sync_status(w.sync).phase == SYNC_LIVE);
    }
    world_close(&w);
}
