/*
 * Orders to instances, from the state of a server over its feed to the real core of a subscriber and back: who gets which,
 * what is acknowledged, and that nothing is carried out twice or forged.
 */
#include "feed/feed.h"

#include "model/commit.h"
#include "proto/convert.h"
#include "sync/sync.h"
#include "tap.h"

enum { LOG_MAX = 200 };

struct server {
    struct feed *feed;
    struct state *state;
    unsigned char store_id[FEED_STORE_ID_BYTES];
};

struct client {
    struct server *server;
    struct feed_session *session;
    struct sync *sync;
    Trimtab__V1__Instance instance;
    Trimtab__V1__Scope scope, *scopes[1];
    char *namespaces[1];
    bool is_slow;      /* carries out, and says so when it is told to */
    int n_histories;   /* the first is no other one */
    char log[LOG_MAX]; /* revisions of the orders that came; "-": another history */
};

/* ---- a server ---- */

static void ready(void *ctx)
{
    (void)ctx;
}

static void serve(struct server *s)
{
    struct feed_opts opts = {.bookmark_every = NSEC_PER_S, .ready = ready};

    memcpy(opts.store_id, s->store_id, FEED_STORE_ID_BYTES);
    s->feed = feed_new(&opts, s->state);
}

static void server_open(struct server *s, unsigned char id)
{
    *s = (struct server){.state = state_new()};
    memset(s->store_id, id, FEED_STORE_ID_BYTES);
    serve(s);
}

static void server_close(struct server *s)
{
    s->feed = feed_free(s->feed);
    s->state = state_unref(s->state);
}

/* A commit with this order, at the next revision; returns that. */
static uint64_t order(struct server *s, enum order_kind kind, const char *instance,
                      const char *resource)
{
    struct str who = str_c(instance), what = str_c(resource);
    struct order_request q = {.kind = kind,
                              .instances = &who,
                              .n_instances = instance != NULL,
                              .resources = &what,
                              .n_resources = resource != NULL,
                              .reason = STR("a test"),
                              .revision = s->state->revision + 1};
    struct effect e;
    struct state *next;

    CHECK_I64(order_check(&q, NULL), 0);
    CHECK_I64(outcome_effect(s->state, &(struct outcome){.order = &q}, NULL, &e, NULL), 0);
    next = state_apply(s->state, &e, q.revision);
    effect_deinit(&e, NULL);
    s->state = state_unref(s->state);
    s->state = next;
    if (s->feed)
        feed_publish(s->feed, next, NULL, 0);
    return q.revision;
}

/* ---- a subscriber ---- */

static void op_send(void *ctx, const Trimtab__V1__ClientFrame *frame)
{
    struct client *c = ctx;
    struct err err = ERR_NULL;

    if (c->session)
        CHECK_I64(feed_session_frame(c->session, frame, 1, &err), 0);
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
    struct client *c = ctx;

    CHECK_I64(sync_applied(c->sync, batch->cursor.revision, batch->cursor.digest, NULL, 0), 0);
}

static void op_reconnect(void *ctx, uint32_t after_ms, const char *reason)
{
    (void)ctx;
    (void)after_ms;
    (void)reason;
}

static void op_order(void *ctx, const struct sync_order *o)
{
    struct client *c = ctx;
    size_t n = strlen(c->log);

    if (!o && c->n_histories++ == 0)
        return;
    (void)snprintf(c->log + n, LOG_MAX - n, "%s%llu", o ? " " : " -",
                   o ? (unsigned long long)o->revision : 0ull);
    if (o && !c->is_slow)
        sync_order_done(c->sync, o->revision);
}

static const struct sync_ops takes = {.send = op_send,
                                      .store = op_store,
                                      .apply = op_apply,
                                      .order = op_order,
                                      .reconnect = op_reconnect};
static const struct sync_ops takes_none = {
    .send = op_send, .store = op_store, .apply = op_apply, .reconnect = op_reconnect};

static void client_open(struct client *c, const char *id, const char *space,
                        const struct sync_ops *ops)
{
    struct sync_opts opts = {
        .instance = &c->instance, .scopes = c->scopes, .n_scopes = 1, .ops = ops, .ctx = c};

    *c = (struct client){.log = ""};
    trimtab__v1__instance__init(&c->instance);
    trimtab__v1__scope__init(&c->scope);
    c->instance.id = (char *)(uintptr_t)id;
    c->namespaces[0] = (char *)(uintptr_t)space;
    c->scope.namespaces = c->namespaces;
    c->scope.n_namespaces = 1;
    c->scopes[0] = &c->scope;
    c->sync = sync_new(&opts);
}

/* Everything that is to be had. */
static void pump(struct client *c)
{
    struct feed_frame frame;

    while (feed_session_pull(c->session, 1, &frame) == FEED_FRAME) {
        owned(buf) struct buf bytes = BUF_NULL(1 << 20);
        Trimtab__V1__ServerFrame *message;
        struct err err = ERR_NULL;
        size_t skip = frame.is_framed ? 5 : 0;

        for (size_t i = 0; i < frame.n; i++)
            buf_put_str(&bytes, frame.segments[i].bytes);
        feed_frame_deinit(&frame);
        message = trimtab__v1__server_frame__unpack(&proto_allocator, bytes.len - skip,
                                                    (const uint8_t *)bytes.data + skip);
        if (!CHECK(message != NULL))
            return;
        CHECK_I64(sync_frame(c->sync, message, 1, &err), 0);
        trimtab__v1__server_frame__free_unpacked(message, &proto_allocator);
    }
}

static void connect_to(struct client *c, struct server *s)
{
    c->server = s;
    c->session = feed_session_new(s->feed, FEED_CLIENT_ANSWERS, c);
    sync_link_up(c->sync, 1);
    pump(c);
}

static void disconnect(struct client *c)
{
    sync_link_down(c->sync);
    c->session = feed_session_free(c->session);
}

static void client_close(struct client *c)
{
    if (c->session)
        disconnect(c);
    c->sync = sync_free(c->sync);
}

static void check_log(struct client *c, const char *want)
{
    CHECK_STR(str_c(c->log), str_c(want));
    c->log[0] = '\0';
}

static uint64_t done_of(const struct client *c)
{
    struct standing s = feed_session_standing(c->session);
    uint64_t done = s.orders_done;

    standing_deinit(&s);
    return done;
}

static uint64_t fleet_done_of(const struct client *c)
{
    struct standing s = feed_session_standing(c->session);
    uint64_t done = s.fleet_done;

    standing_deinit(&s);
    return done;
}

/* ---- the tests ---- */

TEST("an order reaches whom it names, or whose view has the resource, once; who takes none "
     "gets none")
{
    struct server s;
    struct client a, b, old;

    server_open(&s, 1);
    client_open(&a, "a", "x", &takes);
    client_open(&b, "b", "y", &takes);
    client_open(&old, "old", "x", &takes_none);
    connect_to(&a, &s);
    connect_to(&b, &s);
    connect_to(&old, &s);
    CHECK_U64(order(&s, ORDER_RETRY, "b", NULL), 1);
    CHECK_U64(order(&s, ORDER_RETRY, NULL, "x/item/n"), 2);
    CHECK_U64(order(&s, ORDER_PAUSE, NULL, NULL), 3);
    for (int i = 0; i < 2; i++) {
        pump(&a);
        pump(&b);
        pump(&old);
        check_log(&a, i ? "" : " 3 2");
        check_log(&b, i ? "" : " 3 1");
        check_log(&old, "");
    }
    CHECK_U64(done_of(&a), 2);
    CHECK_U64(done_of(&b), 1);
    CHECK_U64(fleet_done_of(&b), 3);
    CHECK_U64(fleet_done_of(&old), 0);
    client_close(&a);
    client_close(&b);
    client_close(&old);
    server_close(&s);
}

TEST("what was not acknowledged comes again, to who was offline too; what was is never sent "
     "again")
{
    struct server s;
    struct client a;

    server_open(&s, 1);
    client_open(&a, "a", "x", &takes);
    connect_to(&a, &s);
    disconnect(&a);
    (void)order(&s, ORDER_RETRY, "a", NULL);
    (void)order(&s, ORDER_RETRY, "other", NULL);
    (void)order(&s, ORDER_RETRY, "a", NULL);
    a.is_slow = true;
    connect_to(&a, &s);
    check_log(&a, " 1 3");
    CHECK_U64(done_of(&a), 0);
    disconnect(&a);
    connect_to(&a, &s); /* on its way already: it is not begun twice */
    check_log(&a, "");
    sync_order_done(a.sync, 1);
    CHECK_U64(done_of(&a), 1);
    disconnect(&a);
    sync_order_done(a.sync, 3); /* while there is no link: the next hello says it */
    s.feed = feed_free(s.feed);
    serve(&s); /* a server that was started again */
    connect_to(&a, &s);
    check_log(&a, "");
    CHECK_U64(done_of(&a), 3);
    client_close(&a);
    server_close(&s);
}

TEST("a retry that is held by a pause does not keep the pause from being acknowledged, nor the "
     "other way round")
{
    struct server s;
    struct client a;

    server_open(&s, 1);
    client_open(&a, "a", "x", &takes);
    a.is_slow = true;
    connect_to(&a, &s);
    (void)order(&s, ORDER_RETRY, "a", NULL);
    pump(&a);
    (void)order(&s, ORDER_PAUSE, NULL, NULL);
    pump(&a);
    check_log(&a, " 1 2");
    sync_order_done(a.sync, 2);
    CHECK_U64(done_of(&a), 0);
    CHECK_U64(fleet_done_of(&a), 2);
    (void)order(&s, ORDER_RESUME, NULL, NULL);
    pump(&a);
    sync_order_done(a.sync, 1);
    sync_order_done(a.sync, 3);
    CHECK_U64(done_of(&a), 1);
    CHECK_U64(fleet_done_of(&a), 3);
    client_close(&a);
    server_close(&s);
}

TEST("orders are of one history: another server is told of none, and says its own")
{
    struct server s, other;
    struct client a;

    server_open(&s, 1);
    server_open(&other, 2);
    client_open(&a, "a", "x", &takes);
    connect_to(&a, &s);
    (void)order(&s, ORDER_RETRY, "a", NULL);
    (void)order(&s, ORDER_PAUSE, NULL, NULL);
    pump(&a);
    a.log[0] = '\0';
    disconnect(&a);
    (void)order(&other, ORDER_RETRY, "a", NULL);
    connect_to(&a, &other);
    check_log(&a, " -0 1");
    CHECK_U64(done_of(&a), 1);
    CHECK_U64(fleet_done_of(&a), 0);
    client_close(&a);
    server_close(&s);
    server_close(&other);
}

TEST("an acknowledgement of an order that was never sent proves nothing")
{
    struct server s;
    struct client a;
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__OrderAck ack = TRIMTAB__V1__ORDER_ACK__INIT;

    server_open(&s, 1);
    client_open(&a, "a", "x", &takes);
    a.is_slow = true;
    connect_to(&a, &s);
    frame.order_ack = &ack;
    for (ack.revision = 0; ack.revision < 9; ack.revision++)
        CHECK_I64(feed_session_frame(a.session, &frame, 1, NULL), 0);
    CHECK_U64(done_of(&a), 0);
    (void)order(&s, ORDER_RETRY, "a", NULL);
    ack.revision = 1; /* it has not been pulled */
    CHECK_I64(feed_session_frame(a.session, &frame, 1, NULL), 0);
    CHECK_U64(done_of(&a), 0);
    pump(&a);
    ack.revision = 2;
    CHECK_I64(feed_session_frame(a.session, &frame, 1, NULL), 0);
    CHECK_U64(done_of(&a), 0);
    ack.revision = 1;
    CHECK_I64(feed_session_frame(a.session, &frame, 1, NULL), 0);
    CHECK_U64(done_of(&a), 1);
    client_close(&a);
    server_close(&s);
}

TEST("a pause that was acknowledged again, or late, is no word about a retry before it")
{
    struct server s;
    struct client a;
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__OrderAck ack = TRIMTAB__V1__ORDER_ACK__INIT;

    server_open(&s, 1);
    client_open(&a, "a", "x", &takes);
    a.is_slow = true;
    connect_to(&a, &s);
    frame.order_ack = &ack;
    (void)order(&s, ORDER_RETRY, "a", NULL);
    (void)order(&s, ORDER_PAUSE, NULL, NULL);
    pump(&a);
    ack.revision = 2;
    for (int i = 0; i < 2; i++)
        CHECK_I64(feed_session_frame(a.session, &frame, 1, NULL), 0);
    CHECK_U64(fleet_done_of(&a), 2);
    CHECK_U64(done_of(&a), 0);
    (void)order(&s, ORDER_RESUME, NULL, NULL); /* is sent, and the word about 2 comes late */
    pump(&a);
    CHECK_I64(feed_session_frame(a.session, &frame, 1, NULL), 0);
    CHECK_U64(fleet_done_of(&a), 2);
    CHECK_U64(done_of(&a), 0);
    sync_order_done(a.sync, 1);
    CHECK_U64(done_of(&a), 1);
    client_close(&a);
    server_close(&s);
}
