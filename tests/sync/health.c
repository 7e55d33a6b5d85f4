/*
 * What the subscriber's core says of its health, and when: against a server that is a list of frames.
 */
#include "proto/convert.h"
#include "sync/sync.h"
#include "tap.h"

struct world {
    struct sync *sync;
    Trimtab__V1__Instance instance;
    Trimtab__V1__Health *said; /* the last one */
    int n_said, n_frames, n_said_before_welcome;
    bool has_welcomed;
};

static void forget(struct world *w)
{
    if (w->said)
        trimtab__v1__health__free_unpacked(w->said, NULL);
    w->said = NULL;
}

static void op_send(void *ctx, const Trimtab__V1__ClientFrame *frame)
{
    struct world *w = ctx;
    uint8_t bytes[4096];
    size_t len;

    w->n_frames++;
    if (!frame->health)
        return;
    len = trimtab__v1__health__get_packed_size(frame->health);
    if (!CHECK(len <= sizeof(bytes)))
        return;
    (void)trimtab__v1__health__pack(frame->health, bytes);
    forget(w);
    w->said = trimtab__v1__health__unpack(NULL, len, bytes);
    w->n_said++;
    w->n_said_before_welcome += !w->has_welcomed;
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

    CHECK_I64(sync_applied(w->sync, batch->cursor.revision, batch->cursor.digest, NULL, 0), 0);
}

static void op_reconnect(void *ctx, uint32_t after_ms, const char *reason)
{
    (void)ctx;
    (void)after_ms;
    (void)reason;
}

static const struct sync_ops ops = {
    .send = op_send, .store = op_store, .apply = op_apply, .reconnect = op_reconnect};

static void init(struct world *w)
{
    struct sync_opts opts = {.instance = &w->instance, .ops = &ops, .ctx = w};

    *w = (struct world){.n_said = 0};
    trimtab__v1__instance__init(&w->instance);
    w->sync = sync_new(&opts);
}

static void deinit(struct world *w)
{
    forget(w);
    w->sync = sync_free(w->sync);
}

/* The link is up, and the server of this store says welcome and sends a batch of nothing. */
static void connect_to(struct world *w, unsigned char store, uint64_t revision)
{
    Trimtab__V1__ServerFrame frame = TRIMTAB__V1__SERVER_FRAME__INIT;
    Trimtab__V1__Welcome welcome = TRIMTAB__V1__WELCOME__INIT;
    Trimtab__V1__End end = TRIMTAB__V1__END__INIT;
    unsigned char id[SYNC_STORE_ID_BYTES] = {store}, digest[DIGEST_BYTES] = {0};

    sync_link_down(w->sync);
    w->has_welcomed = false;
    sync_link_up(w->sync, 1);
    w->has_welcomed = true;
    welcome.store_id = proto_bytes(str_of(id, sizeof(id)));
    end.mode = TRIMTAB__V1__MODE__FULL;
    end.revision = revision;
    end.digest = proto_bytes(str_of(digest, sizeof(digest)));
    frame.welcome = &welcome;
    frame.end = &end;
    CHECK_I64(sync_frame(w->sync, &frame, 1, NULL), 0);
}

static int judge(struct world *w, bool failing, uint64_t revision, const char *reason)
{
    return sync_health(w->sync, &(struct sync_judgement){failing, revision, reason, "probe"});
}

TEST("who has no judge says nothing of its health")
{
    struct world w;

    init(&w);
    connect_to(&w, 1, 7);
    connect_to(&w, 1, 8);
    CHECK_I64(w.n_said, 0);
    CHECK(w.n_frames > 0);
    deinit(&w);
}

TEST("a judgement is said at once, and anew after each hello")
{
    struct world w;

    init(&w);
    connect_to(&w, 1, 7);
    CHECK_I64(judge(&w, true, 7, "no answer"), 0);
    CHECK_I64(w.n_said, 1);
    connect_to(&w, 1, 8);
    CHECK_I64(w.n_said, 2);
    REQUIRE(w.said);
    CHECK(w.said->failing);
    CHECK_U64(w.said->revision, 7);
    CHECK_STR(str_c(w.said->reason), STR("no answer"));
    CHECK_STR(str_c(w.said->source), STR("probe"));
    CHECK_I64(judge(&w, false, 8, ""), 0);
    REQUIRE(w.n_said == 3);
    CHECK(!w.said->failing);
    deinit(&w);
}

TEST("what is found without a server is said after the welcome, not before")
{
    struct world w;

    init(&w);
    CHECK_I64(judge(&w, true, 3, "early"), 0);
    CHECK_I64(w.n_said, 0);
    connect_to(&w, 1, 7);
    CHECK_I64(w.n_said, 1);
    CHECK_I64(w.n_said_before_welcome, 0);
    deinit(&w);
}

TEST("a judgement on what another store served has no revision any more")
{
    struct world w;

    init(&w);
    connect_to(&w, 1, 500);
    CHECK_I64(judge(&w, true, 500, "old"), 0);
    connect_to(&w, 2, 3);
    REQUIRE(w.said && w.n_said == 2);
    CHECK(w.said->failing);
    CHECK_U64(w.said->revision, 0);
    deinit(&w);
}

TEST("a long reason is cut where a character ends, and what is no text ends it")
{
    char reason[3 * SYNC_REASON_MAX + 1];
    struct world w;

    for (size_t at = 0; at < sizeof(reason) - 1; at += 3)
        memcpy(reason + at, "\xe2\x82\xac", 3);
    reason[sizeof(reason) - 1] = '\0';
    init(&w);
    connect_to(&w, 1, 7);
    CHECK_I64(judge(&w, true, 7, reason), 0);
    REQUIRE(w.said);
    CHECK_U64(strlen(w.said->reason), SYNC_REASON_MAX / 3 * 3);
    CHECK_I64(judge(&w, true, 7, "good\xff bad"), 0);
    REQUIRE(w.said);
    CHECK_STR(str_c(w.said->reason), STR("good"));
    deinit(&w);
}

TEST("without memory what was said before stands")
{
    struct world w;

    init(&w);
    CHECK_I64(judge(&w, true, 7, "first"), 0);
    (void)mem_fail_after(0);
    CHECK_I64(judge(&w, false, 8, "second"), ERR_NOMEM);
    (void)mem_fail_after(UINT64_MAX);
    connect_to(&w, 1, 8);
    REQUIRE(w.said);
    CHECK_STR(str_c(w.said->reason), STR("first"));
    deinit(&w);
}
