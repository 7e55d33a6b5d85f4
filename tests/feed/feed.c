/*
 * The feed through its header: real states, and a subscriber that keeps what it is sent and computes its own digest.
 */
#include "base/buf.h"
#include "feed/feed.h"
#include "proto/convert.h"
#include "tap.h"

enum { HELD_MAX = 700, BIG = ITEM_INLINE_MAX * 2 + 77 };

static char big[BIG];

/* ---- a server ---- */

struct world {
    struct feed *feed;
    struct state *state;
    nsec_t now;
};

struct peer {
    struct world *w;
    struct feed_session *session;
    int n_ready;
    /* what it has */
    struct {
        char key[64]; /* scope, blank, kind/name */
        struct sha256 hash;
    } held[HELD_MAX];
    size_t n_held;
    /* what came since peer_forget */
    int puts, drops, parts, bookmarks, asks, ends, welcomes;
    size_t part_bytes;
    struct shared *framed; /* the last shared frame, borrowed */
    Trimtab__V1__Mode mode;
    uint64_t revision, uncaused;
    struct digest announced;
    bool is_broken; /* an end whose digest or count is not that of what it has */
};

static void on_ready(void *ctx)
{
    ((struct peer *)ctx)->n_ready++;
}

static bool world_open(struct world *w)
{
    struct feed_opts opts = {
        .store_id = "0123456789abcde", .bookmark_every = 100, .ready = on_ready};

    *w = (struct world){.now = 1000, .state = state_new()};
    w->feed = feed_new(&opts, w->state);
    return w->feed != NULL;
}

static void world_close(struct world *w)
{
    w->feed = feed_free(w->feed);
    w->state = state_unref(w->state);
}

struct edit {
    const char *id;
    const char *text; /* NULL: deleted */
    size_t len;       /* of it; 0: up to its NUL */
};

/* The version that an edit gives; its key is of an id of three parts. */
static struct version *version_made_by(struct world *w, const struct edit *e)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    struct version *old, *v;
    struct name name;

    if (name_parse(str_c(e->id), &name, NULL))
        return NULL;
    name_put_key(name, &key);
    old = state_newest(w->state, buf_str(&key));
    v = version_with_wire(&(struct version_opts){
        .key = buf_str(&key),
        .content_type = STR("application/octet-stream"),
        .content = e->text ? str_of(e->text, e->len ? e->len : strlen(e->text)) : STR_NULL,
        .deleted = !e->text,
        .number = old ? old->number + 1 : 1,
        .revision = w->state->revision + 1,
    });
    return v;
}

/* One commit; fail_after: which allocation of the publication fails, UINT64_MAX for none. */
static void publish_failing(struct world *w, const struct edit *edits, size_t n,
                            uint64_t fail_after)
{
    struct version *versions[64];
    struct state *next;

    for (size_t i = 0; i < n; i++)
        versions[i] = version_made_by(w, &edits[i]);
    next = state_apply(w->state, &(struct effect){.versions = versions, .n_versions = n}, w->state->revision + 1);
    (void)state_unref(w->state);
    w->state = next;
    (void)mem_fail_after(fail_after);
    feed_publish(w->feed, next, versions, n);
    (void)mem_fail_after(UINT64_MAX);
    for (size_t i = 0; i < n; i++)
        (void)version_unref(versions[i]);
}

#define PUBLISH(w, ...)                                                                        \
    publish_failing((w), (struct edit[]){__VA_ARGS__},                                         \
                    sizeof((struct edit[]){__VA_ARGS__}) / sizeof(struct edit), UINT64_MAX)

/* ---- a subscriber ---- */

static struct digest peer_digest(const struct peer *p)
{
    struct digest sum = DIGEST_NULL;

    for (size_t i = 0; i < p->n_held; i++)
        sum = digest_add(sum, binding_digest(str_part(str_c(p->held[i].key), 0,
                                                      str_index(str_c(p->held[i].key), ' ')),
                                             &p->held[i].hash));
    return sum;
}

static size_t peer_find(const struct peer *p, const char *key)
{
    for (size_t i = 0; i < p->n_held; i++)
        if (strcmp(p->held[i].key, key) == 0)
            return i;
    return p->n_held;
}

static void peer_put(struct peer *p, const char *scope, const Trimtab__V1__Item *item)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct version_opts o;
    struct sha256 content;
    struct name name;
    char key[64];
    size_t at;

    p->puts++;
    if (!CHECK(name_parse(str_c(item->id), &name, NULL) == 0 && p->n_held < HELD_MAX))
        return;
    memcpy(content.bytes, item->content_hash.data, SHA256_BYTES);
    (void)snprintf(key, sizeof(key), "%s %.*s/%.*s", scope, STR_ARG(name.kind),
                   STR_ARG(name.name));
    at = peer_find(p, key);
    p->n_held += at == p->n_held;
    memcpy(p->held[at].key, key, sizeof(key));
    CHECK_I64(item_from_proto(item, str_of(big, item->size), &a, &o, NULL), 0);
    CHECK_I64(item_hash(&o, &content, &p->held[at].hash), 0);
}

static void peer_drop(struct peer *p, const char *scope, const char *tail)
{
    char key[64];
    size_t at;

    p->drops++;
    (void)snprintf(key, sizeof(key), "%s %s", scope, tail);
    at = peer_find(p, key);
    if (at < p->n_held)
        p->held[at] = p->held[--p->n_held];
}

static void peer_end(struct peer *p, const Trimtab__V1__End *end)
{
    p->ends++;
    p->mode = end->mode;
    p->revision = end->revision;
    p->uncaused = end->uncaused_drops;
    CHECK(digest_get(proto_str(end->digest), &p->announced));
    p->is_broken = !digest_eq(p->announced, peer_digest(p)) || end->count != p->n_held;
}

static void peer_take(struct peer *p, struct feed_frame *frame)
{
    owned(buf) struct buf bytes = BUF_NULL(16 * MIB);
    Trimtab__V1__ServerFrame *m;
    struct str packed;

    p->framed = frame->is_framed ? frame->segments[0].owner : NULL;
    for (size_t i = 0; i < frame->n; i++)
        buf_put_str(&bytes, frame->segments[i].bytes);
    packed = str_from(buf_str(&bytes), frame->is_framed ? 5 : 0);
    feed_frame_deinit(frame);
    m = trimtab__v1__server_frame__unpack(NULL, packed.len, (const uint8_t *)packed.data);
    if (!CHECK(m != NULL))
        return;
    p->welcomes += m->welcome != NULL;
    p->parts += m->part != NULL;
    p->part_bytes += m->part ? m->part->data.len : 0;
    p->bookmarks += m->bookmark != NULL;
    p->asks += m->ask_inventory != NULL;
    for (size_t c = 0; c < m->n_changes; c++) {
        for (size_t i = 0; i < m->changes[c]->n_put; i++)
            peer_put(p, m->changes[c]->scope, m->changes[c]->put[i]);
        for (size_t i = 0; i < m->changes[c]->n_drop; i++)
            peer_drop(p, m->changes[c]->scope, m->changes[c]->drop[i]);
    }
    if (m->end)
        peer_end(p, m->end);
    trimtab__v1__server_frame__free_unpacked(m, NULL);
}

/* Everything that is to be had; false when memory failed. */
static bool peer_pull(struct peer *p)
{
    struct feed_frame frame;
    int r;

    while ((r = feed_session_pull(p->session, p->w->now, &frame)) == FEED_FRAME)
        peer_take(p, &frame);
    return r == FEED_NOTHING;
}

static void peer_forget(struct peer *p)
{
    p->puts = p->drops = p->parts = p->bookmarks = p->asks = p->ends = p->welcomes = 0;
    p->part_bytes = 0;
}

static int peer_ack(struct peer *p, Trimtab__V1__Stage stage)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Ack ack = TRIMTAB__V1__ACK__INIT;
    unsigned char digest[DIGEST_BYTES];

    digest_put(peer_digest(p), digest);
    ack.stage = stage;
    ack.revision = p->revision;
    ack.received_digest = (ProtobufCBinaryData){DIGEST_BYTES, digest};
    ack.serving_digest = ack.received_digest;
    frame.ack = &ack;
    return feed_session_frame(p->session, &frame, p->w->now, NULL);
}

struct greeting {
    const char *scopes; /* one letter each: its name and its namespace */
    bool has_cursor, is_foreign;
    uint64_t revision;
    uint32_t protocol;
};

static int peer_hello(struct peer *p, const struct greeting *g, struct err *err)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Hello hello = TRIMTAB__V1__HELLO__INIT;
    Trimtab__V1__Cursor cursor = TRIMTAB__V1__CURSOR__INIT;
    Trimtab__V1__Scope scopes[200], *list[200];
    char names[200][2], *spaces[200];
    size_t n = strlen(g->scopes);

    for (size_t i = 0; i < n; i++) {
        names[i][0] = g->scopes[i];
        names[i][1] = '\0';
        spaces[i] = names[i];
        trimtab__v1__scope__init(&scopes[i]);
        scopes[i].name = names[i];
        scopes[i].namespaces = &spaces[i];
        scopes[i].n_namespaces = 1;
        list[i] = &scopes[i];
    }
    hello.protocol = g->protocol ? g->protocol : 1;
    hello.scopes = list;
    hello.n_scopes = n;
    cursor.store_id =
        proto_bytes(g->is_foreign ? STR("another store id") : str_of("0123456789abcde", 16));
    cursor.revision = g->revision;
    cursor.count = 1;
    hello.cursor = g->has_cursor ? &cursor : NULL;
    frame.hello = &hello;
    return feed_session_frame(p->session, &frame, p->w->now, err);
}

static bool peer_open(struct peer *p, struct world *w)
{
    *p = (struct peer){.w = w};
    p->session = feed_session_new(w->feed, p);
    return p->session != NULL;
}

static void peer_close(struct peer *p)
{
    p->session = feed_session_free(p->session);
}

static int peer_inventory(struct peer *p)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Inventory inventory = TRIMTAB__V1__INVENTORY__INIT;
    static Trimtab__V1__Inventory__Entry entries[HELD_MAX], *list[HELD_MAX];

    for (size_t i = 0; i < p->n_held; i++) {
        static char scope[2] = "a";

        trimtab__v1__inventory__entry__init(&entries[i]);
        entries[i].scope = scope;
        entries[i].key = p->held[i].key + 2;
        entries[i].hash = (ProtobufCBinaryData){SHA256_BYTES, p->held[i].hash.bytes};
        list[i] = &entries[i];
    }
    inventory.entries = list;
    inventory.n_entries = p->n_held;
    inventory.last = true;
    frame.inventory = &inventory;
    return feed_session_frame(p->session, &frame, p->w->now, NULL);
}

/* Up to date, acknowledged, and nothing is owed. */
static bool peer_settle(struct peer *p)
{
    for (int i = 0; i < 20; i++) {
        uint64_t ends = (uint64_t)p->ends;

        if (!peer_pull(p))
            return false;
        if (p->asks) {
            p->asks = 0;
            if (peer_inventory(p))
                return false;
        } else if ((uint64_t)p->ends == ends && i) {
            break;
        } else if (peer_ack(p, TRIMTAB__V1__STAGE__STORED)) {
            return false;
        }
    }
    return feed_session_status(p->session).phase == FEED_STEADY;
}

static bool is_true(const struct peer *p)
{
    struct feed_status s = feed_session_status(p->session);

    return digest_eq(s.expected, peer_digest(p)) && s.expected_count == p->n_held;
}

/* ---- beginning ---- */

TEST("a first hello gets everything, with the digest that proves it")
{
    struct world w;
    struct peer p;

    REQUIRE(world_open(&w) && peer_open(&p, &w));
    PUBLISH(&w, {"a/item/x", "1"}, {"a/item/y", "2"}, {"b/item/z", "3"});
    PUBLISH(&w, {"a/item/y", NULL});
    CHECK_I64(peer_hello(&p, &(struct greeting){.scopes = "ab"}, NULL), 0);
    CHECK(p.n_ready > 0 && peer_pull(&p));
    CHECK(p.welcomes == 1 && p.puts == 2 && p.drops == 0 && p.ends == 1 && !p.is_broken);
    CHECK_I64(p.mode, TRIMTAB__V1__MODE__FULL);
    CHECK_U64(p.revision, 2);
    CHECK(is_true(&p));
    peer_close(&p);
    world_close(&w);
}

TEST("a resume gets exactly the names that were touched since")
{
    struct world w;
    struct peer p;

    REQUIRE(world_open(&w) && peer_open(&p, &w));
    PUBLISH(&w, {"a/item/x", "1"}, {"a/item/y", "2"}, {"a/item/z", "3"});
    CHECK_I64(peer_hello(&p, &(struct greeting){.scopes = "a"}, NULL), 0);
    CHECK(peer_settle(&p));
    peer_close(&p);
    PUBLISH(&w, {"a/item/y", "20"}, {"b/item/q", "1"});
    PUBLISH(&w, {"a/item/z", NULL});
    p.session = feed_session_new(w.feed, &p);
    peer_forget(&p);
    CHECK_I64(peer_hello(&p,
                         &(struct greeting){.scopes = "a", .has_cursor = true, .revision = 1},
                         NULL),
              0);
    CHECK(peer_pull(&p));
    CHECK(p.puts == 1 && p.drops == 1 && p.ends == 1 && !p.is_broken);
    CHECK_I64(p.mode, TRIMTAB__V1__MODE__RESUME);
    CHECK(is_true(&p));
    peer_close(&p);
    world_close(&w);
}

TEST("an inventory gets what differs, and counts the drops that no commit explains")
{
    struct world w;
    struct peer p;

    REQUIRE(world_open(&w) && peer_open(&p, &w));
    PUBLISH(&w, {"a/item/same", "1"}, {"a/item/other", "2"}, {"a/item/gone", "3"});
    CHECK_I64(peer_hello(&p, &(struct greeting){.scopes = "a"}, NULL), 0);
    CHECK(peer_settle(&p));
    peer_close(&p);
    PUBLISH(&w, {"a/item/gone", NULL}, {"a/item/other", "20"});
    memcpy(p.held[p.n_held].key, "a item/never", sizeof("a item/never"));
    p.n_held++;
    p.session = feed_session_new(w.feed, &p);
    peer_forget(&p);
    CHECK_I64(
        peer_hello(&p,
                   &(struct greeting){
                       .scopes = "a", .has_cursor = true, .is_foreign = true, .revision = 1},
                   NULL),
        0);
    CHECK(peer_pull(&p));
    CHECK(p.asks == 1 && p.ends == 0);
    CHECK_I64(peer_inventory(&p), 0);
    CHECK(peer_pull(&p));
    CHECK(p.puts == 1 && p.drops == 2 && p.ends == 1 && !p.is_broken);
    CHECK_U64(p.uncaused, 1);
    CHECK(is_true(&p));
    peer_close(&p);
    world_close(&w);
}

TEST("a large content travels in parts, and not at all to who has it")
{
    struct world w;
    struct peer p;

    REQUIRE(world_open(&w) && peer_open(&p, &w));
    memset(big, 'x', sizeof(big));
    PUBLISH(&w, {"a/file/big", big, BIG}, {"a/item/small", "x"});
    CHECK_I64(peer_hello(&p, &(struct greeting){.scopes = "a"}, NULL), 0);
    CHECK(peer_settle(&p));
    CHECK_I64(p.parts, 3);
    CHECK_U64(p.part_bytes, BIG);
    CHECK(is_true(&p));
    peer_forget(&p);
    feed_session_repair(p.session, "for a test");
    CHECK(peer_pull(&p));
    CHECK_I64(p.asks, 1);
    CHECK_I64(peer_inventory(&p), 0);
    CHECK(peer_pull(&p));
    CHECK(p.ends == 1 && p.puts == 0 && !p.is_broken);
    CHECK_I64(p.parts, 0);
    peer_close(&p);
    world_close(&w);
}

TEST("a second hello, another protocol and too many scopes are refused; the session can greet "
     "again")
{
    struct world w;
    struct peer p;
    struct err err = ERR_NULL;
    char many[200];

    REQUIRE(world_open(&w) && peer_open(&p, &w));
    memset(many, 'a', sizeof(many) - 1);
    many[sizeof(many) - 1] = '\0';
    CHECK_I64(peer_hello(&p, &(struct greeting){.scopes = "a", .protocol = 2}, &err),
              ERR_UNSUPPORTED);
    CHECK_I64(peer_hello(&p, &(struct greeting){.scopes = ""}, &err), ERR_INVALID);
    CHECK_I64(peer_hello(&p, &(struct greeting){.scopes = "aa"}, &err), ERR_INVALID);
    CHECK_I64(peer_hello(&p, &(struct greeting){.scopes = many}, &err), ERR_LIMIT);
    CHECK_I64(peer_ack(&p, TRIMTAB__V1__STAGE__STORED), ERR_INVALID);
    CHECK_I64(peer_hello(&p, &(struct greeting){.scopes = "a"}, &err), 0);
    CHECK_I64(peer_hello(&p, &(struct greeting){.scopes = "a"}, &err), ERR_INVALID);
    peer_close(&p);
    world_close(&w);
}

/* ---- going on ---- */

TEST("sessions of one scope that owe nothing share one frame")
{
    struct world w;
    struct peer p, q;

    REQUIRE(world_open(&w) && peer_open(&p, &w) && peer_open(&q, &w));
    PUBLISH(&w, {"a/item/x", "1"});
    CHECK_I64(peer_hello(&p, &(struct greeting){.scopes = "a"}, NULL), 0);
    CHECK_I64(peer_hello(&q, &(struct greeting){.scopes = "a"}, NULL), 0);
    CHECK(peer_settle(&p) && peer_settle(&q));
    PUBLISH(&w, {"a/item/x", "2"}, {"a/item/y", "3"});
    CHECK(peer_pull(&p));
    REQUIRE(p.framed != NULL);
    {
        struct feed_frame frame;

        CHECK_I64(feed_session_pull(q.session, w.now, &frame), FEED_FRAME);
        CHECK(frame.is_framed && frame.segments[0].owner == p.framed);
        peer_take(&q, &frame);
    }
    CHECK(is_true(&p) && is_true(&q) && !p.is_broken && !q.is_broken);
    peer_close(&p);
    peer_close(&q);
    world_close(&w);
}

TEST("what is superseded before it is pulled is never sent")
{
    struct world w;
    struct peer p;

    REQUIRE(world_open(&w) && peer_open(&p, &w));
    CHECK_I64(peer_hello(&p, &(struct greeting){.scopes = "a"}, NULL), 0);
    CHECK(peer_settle(&p));
    peer_forget(&p);
    for (int i = 0; i < 5; i++)
        PUBLISH(&w, {"a/item/x", i % 2 ? "1" : "2"}, {"a/item/y", "3"});
    CHECK(peer_pull(&p));
    CHECK(p.ends == 1 && p.puts == 2 && !p.is_broken);
    CHECK_U64(p.revision, 5);
    PUBLISH(&w, {"a/item/x", "9"}); /* while a batch is in flight: after its acknowledgement */
    PUBLISH(&w, {"a/item/x", "8"});
    CHECK(peer_pull(&p) && p.ends == 1);
    CHECK_I64(peer_ack(&p, TRIMTAB__V1__STAGE__STORED), 0);
    CHECK(peer_pull(&p) && p.ends == 2 && p.puts == 3 && !p.is_broken && is_true(&p));
    peer_close(&p);
    world_close(&w);
}

TEST("a bookmark comes when nothing is owed, and only then")
{
    struct world w;
    struct peer p;

    REQUIRE(world_open(&w) && peer_open(&p, &w));
    CHECK_I64(peer_hello(&p, &(struct greeting){.scopes = "a"}, NULL), 0);
    CHECK(peer_pull(&p));
    w.now += 150; /* in flight */
    (void)feed_tick(w.feed, w.now);
    CHECK(peer_pull(&p) && p.bookmarks == 0);
    CHECK(peer_settle(&p));
    w.now += 150;
    (void)feed_tick(w.feed, w.now);
    PUBLISH(&w, {"a/item/x", "1"}); /* overtakes the bookmark that was due */
    CHECK(peer_pull(&p) && p.bookmarks == 0 && p.ends == 2);
    CHECK(peer_settle(&p));
    PUBLISH(&w, {"b/item/x", "1"}); /* concerns nobody */
    w.now += 150;
    CHECK_U64(feed_tick(w.feed, w.now), w.now + 100);
    CHECK(peer_pull(&p) && p.bookmarks == 1);
    CHECK_U64(feed_session_status(p.session).sent, 2);
    peer_close(&p);
    world_close(&w);
}

TEST("a rejected batch, or one that came out otherwise, leads to an inventory")
{
    struct world w;
    struct peer p;

    REQUIRE(world_open(&w) && peer_open(&p, &w));
    PUBLISH(&w, {"a/item/x", "1"}, {"a/item/y", "1"});
    CHECK_I64(peer_hello(&p, &(struct greeting){.scopes = "a"}, NULL), 0);
    CHECK(peer_pull(&p));
    CHECK_I64(peer_ack(&p, TRIMTAB__V1__STAGE__REJECTED), 0);
    CHECK(peer_pull(&p) && p.asks == 1);
    CHECK(peer_settle(&p) && is_true(&p));
    PUBLISH(&w, {"a/item/x", "2"});
    CHECK(peer_pull(&p));
    p.held[0].hash.bytes[0] ^= 1; /* its disk forgot */
    CHECK_I64(peer_ack(&p, TRIMTAB__V1__STAGE__STORED), 0);
    CHECK(peer_pull(&p) && p.asks == 1 && !is_true(&p));
    CHECK(peer_settle(&p) && is_true(&p));
    CHECK_U64(feed_session_status(p.session).repairs, 2);
    peer_close(&p);
    world_close(&w);
}

TEST("more puts than one frame takes make one batch")
{
    struct world w;
    struct peer p;

    REQUIRE(world_open(&w) && peer_open(&p, &w));
    for (int k = 0; k < 600; k++) {
        char id[32];

        (void)snprintf(id, sizeof(id), "a/item/n%d", k);
        PUBLISH(&w, {id, "1"});
    }
    CHECK_I64(peer_hello(&p, &(struct greeting){.scopes = "a"}, NULL), 0);
    CHECK(peer_pull(&p));
    CHECK(p.ends == 1 && p.puts == 600 && !p.is_broken && is_true(&p));
    CHECK(feed_session_status(p.session).frames_sent > 2);
    peer_close(&p);
    world_close(&w);
}

/* ---- without memory ---- */

/* A publication without memory, then memory again: everybody comes to the new view. */
static void fail_publication(uint64_t n)
{
    struct world w;
    struct peer p, q;

    if (!world_open(&w) || !peer_open(&p, &w) || !peer_open(&q, &w))
        return;
    PUBLISH(&w, {"a/item/x", "1"}, {"a/item/gone", "1"}, {"b/item/z", "1"});
    CHECK_I64(peer_hello(&p, &(struct greeting){.scopes = "a"}, NULL), 0);
    CHECK_I64(peer_hello(&q, &(struct greeting){.scopes = "ab"}, NULL), 0);
    CHECK(peer_settle(&p) && peer_settle(&q));
    publish_failing(&w, (struct edit[]){{"a/item/x", "2", 0}, {"a/item/gone", NULL, 0}}, 2, n);
    CHECK(peer_settle(&p) && peer_settle(&q));
    CHECK(is_true(&p) && is_true(&q));
    PUBLISH(&w, {"a/item/x", "3"}, {"b/item/z", "2"});
    CHECK(peer_settle(&p) && peer_settle(&q) && is_true(&p) && is_true(&q));
    peer_close(&p);
    peer_close(&q);
    world_close(&w);
}

TEST("a publication that runs out of memory leaves sessions that converge")
{
    for (uint64_t n = 0; n < 24 && !tap_failed(); n++)
        fail_publication(n);
}

TEST("a hello that runs out of memory can be said again")
{
    struct world w;
    struct peer p;
    int r = ERR_NOMEM;

    REQUIRE(world_open(&w) && peer_open(&p, &w));
    PUBLISH(&w, {"a/item/x", "1"}, {"b/item/z", "1"});
    for (uint64_t n = 0; r && n < 100; n++) {
        (void)mem_fail_after(n);
        r = peer_hello(&p, &(struct greeting){.scopes = "ab"}, NULL);
        (void)mem_fail_after(UINT64_MAX);
        CHECK(r == 0 || r == ERR_NOMEM);
    }
    CHECK_I64(r, 0);
    CHECK(peer_settle(&p) && is_true(&p) && p.welcomes == 1);
    peer_close(&p);
    world_close(&w);
}

TEST("a pull that runs out of memory ends a session, whose successor converges")
{
    struct world w;
    struct peer p;
    bool done = false;

    REQUIRE(world_open(&w));
    PUBLISH(&w, {"a/item/x", "1"}, {"a/item/y", "1"});
    for (uint64_t n = 0; !done && n < 100 && !tap_failed(); n++) {
        struct feed_frame frame;
        int r;

        REQUIRE(peer_open(&p, &w));
        CHECK_I64(peer_hello(&p, &(struct greeting){.scopes = "a"}, NULL), 0);
        (void)mem_fail_after(n);
        while ((r = feed_session_pull(p.session, w.now, &frame)) == FEED_FRAME)
            feed_frame_deinit(&frame);
        done = !mem_fail_after(UINT64_MAX);
        CHECK(r == FEED_NOTHING || r == ERR_NOMEM);
        peer_close(&p);
        REQUIRE(peer_open(&p, &w));
        CHECK_I64(peer_hello(&p, &(struct greeting){.scopes = "a"}, NULL), 0);
        CHECK(peer_settle(&p) && is_true(&p));
        peer_close(&p);
    }
    CHECK(done);
    world_close(&w);
}
