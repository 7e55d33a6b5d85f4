/*
 * The feed through its header: real states, and subscribers that keep what they are sent.
 */
#include "feed/peer.h"

#include "base/clock.h"

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
    CHECK(peer_is_true(&p));
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
    p.session = feed_session_new(w.feed, FEED_CLIENT_ANSWERS, &p);
    peer_forget(&p);
    CHECK_I64(peer_hello(&p,
                         &(struct greeting){.scopes = "a", .has_cursor = true, .revision = 1},
                         NULL),
              0);
    CHECK(peer_pull(&p));
    CHECK(p.puts == 1 && p.drops == 1 && p.ends == 1 && !p.is_broken);
    CHECK_I64(p.mode, TRIMTAB__V1__MODE__RESUME);
    CHECK(peer_is_true(&p));
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
    p.session = feed_session_new(w.feed, FEED_CLIENT_ANSWERS, &p);
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
    CHECK_U64(p.uncaused, 2); /* of another store nothing is known to be newer */
    CHECK(peer_is_true(&p));
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
    CHECK(peer_is_true(&p));
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
    CHECK(peer_is_true(&p) && peer_is_true(&q) && !p.is_broken && !q.is_broken);
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
    CHECK(peer_pull(&p) && p.ends == 2 && p.puts == 3 && !p.is_broken && peer_is_true(&p));
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
    CHECK(peer_settle(&p) && peer_is_true(&p));
    PUBLISH(&w, {"a/item/x", "2"});
    CHECK(peer_pull(&p));
    p.held[0].hash.bytes[0] ^= 1; /* its disk forgot */
    CHECK_I64(peer_ack(&p, TRIMTAB__V1__STAGE__STORED), 0);
    CHECK(peer_pull(&p) && p.asks == 1 && !peer_is_true(&p));
    CHECK(peer_settle(&p) && peer_is_true(&p));
    CHECK_U64(feed_session_status(p.session).repairs, 2);
    peer_close(&p);
    world_close(&w);
}

/* The newest batch that it is known to have. */
static uint64_t received(struct peer *p)
{
    struct standing s = feed_session_standing(p->session);
    uint64_t revision = s.received;

    standing_deinit(&s);
    return revision;
}

/* A word that a batch is stored, with these bits of its digest turned. */
static void forge_stored(struct peer *p, uint64_t revision, unsigned char turn)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Ack ack = TRIMTAB__V1__ACK__INIT;
    unsigned char digest[DIGEST_BYTES];

    digest_put(peer_digest(p), digest);
    digest[0] ^= turn;
    ack.stage = TRIMTAB__V1__STAGE__STORED;
    ack.revision = revision;
    ack.received_digest = (ProtobufCBinaryData){DIGEST_BYTES, digest};
    frame.ack = &ack;
    CHECK_I64(feed_session_frame(p->session, &frame, p->w->now, NULL), 0);
}

TEST("only the batch in flight is taken to be stored, and not by a wrong digest")
{
    struct world w;
    struct peer p;

    REQUIRE(world_open(&w) && peer_open(&p, &w));
    PUBLISH(&w, {"a/item/x", "1"});
    PUBLISH(&w, {"a/item/y", "1"});
    CHECK_I64(peer_hello(&p, &(struct greeting){.scopes = "a"}, NULL), 0);
    forge_stored(&p, 2, 0); /* before it was sent */
    CHECK_U64(received(&p), 0);
    CHECK(peer_pull(&p));
    forge_stored(&p, 1, 0);
    forge_stored(&p, 3, 0);
    CHECK_U64(received(&p), 0);
    forge_stored(&p, 2, 1);
    CHECK_U64(received(&p), 0);
    CHECK(peer_pull(&p));
    CHECK_I64(p.asks, 1);
    CHECK(peer_settle(&p));
    CHECK_U64(received(&p), 2);
    PUBLISH(&w, {"b/item/z", "1"});
    forge_stored(&p, 3, 0); /* nothing is in flight */
    CHECK_U64(received(&p), 2);
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
    CHECK(p.ends == 1 && p.puts == 600 && !p.is_broken && peer_is_true(&p));
    CHECK(feed_session_status(p.session).frames_sent > 2);
    peer_close(&p);
    world_close(&w);
}

/* ---- slow subscribers ---- */

static bool pull_one(struct peer *p)
{
    struct feed_frame frame;
    int r = feed_session_pull(p->session, p->w->now, &frame);

    if (r == FEED_FRAME)
        peer_take(p, &frame);
    return r == FEED_FRAME;
}

/* Changes something before and behind wherever a walk may stand: puts, drops, names that come back and new ones. */
static void churn(struct world *w, struct rng *rng, int round)
{
    for (int i = 0; i < 6; i++) {
        char id[32], text[16];
        bool deletes = rng_below(rng, 3) == 0;

        (void)snprintf(id, sizeof(id), "%s/item/n%03d", rng_below(rng, 2) ? "a" : "b",
                       (int)rng_below(rng, 300));
        (void)snprintf(text, sizeof(text), "%d", round);
        PUBLISH(w, {id, deletes ? NULL : text});
    }
}

static void fill_spaces(struct world *w)
{
    for (int k = 0; k < 300; k++) {
        char a[32], b[32];

        (void)snprintf(a, sizeof(a), "a/item/n%03d", k);
        (void)snprintf(b, sizeof(b), "b/item/n%03d", k);
        PUBLISH(w, {a, "1"}, {b, "1"});
    }
}

/* How the batch begins that is read slowly: 0 all at first, 1 resumed, 2 with an inventory. */
static void read_slowly(int how, uint64_t seed)
{
    struct rng rng = {seed};
    struct world w;
    struct peer p;

    if (!CHECK(world_open_pinning(&w, 600) && peer_open(&p, &w)))
        return;
    fill_spaces(&w);
    if (how) {
        CHECK_I64(peer_hello(&p, &(struct greeting){.scopes = "ab"}, NULL), 0);
        CHECK(peer_settle(&p));
        peer_close(&p);
        p.session = feed_session_new(w.feed, FEED_CLIENT_ANSWERS, &p);
        fill_spaces(&w);
        for (int i = 0; i < 20; i++)
            churn(&w, &rng, 500 + i);
    }
    CHECK_I64(peer_hello(&p,
                         &(struct greeting){.scopes = "ab",
                                            .has_cursor = how > 0,
                                            .is_foreign = how == 2,
                                            .revision = 300},
                         NULL),
              0);
    if (how == 2) {
        CHECK(peer_pull(&p) && p.asks);
        CHECK_I64(peer_inventory(&p), 0);
    }
    peer_forget(&p);
    for (int round = 1; p.ends == 0 && round < 200; round++) {
        CHECK(pull_one(&p));
        if (round < 12)
            churn(&w, &rng, round);
    }
    CHECK(p.ends == 1 && !p.is_broken);
    CHECK(feed_session_status(p.session).renewals > 2);
    CHECK(peer_settle(&p) && peer_is_true(&p) && p.asks == 0);
    peer_close(&p);
    world_close(&w);
}

TEST("a batch that is read slowly goes on from newer states, and is whole and true at its end")
{
    for (int how = 0; how < 3; how++)
        for (uint64_t seed = 1; seed <= 20 && !tap_failed(); seed++) {
            read_slowly(how, seed);
            if (tap_failed())
                tap_note("way %d, seed %d", how, (int)seed);
        }
}

TEST("a subscriber that never reads on does not keep what was superseded")
{
    struct world w;
    struct peer p;
    struct version *old;

    REQUIRE(world_open_pinning(&w, 600) && peer_open(&p, &w));
    fill_spaces(&w);
    old = version_ref(state_newest(w.state, STR("a\0item\0n000")));
    CHECK_I64(peer_hello(&p, &(struct greeting){.scopes = "ab"}, NULL), 0);
    CHECK(pull_one(&p) && pull_one(&p));
    fill_spaces(&w);
    CHECK_U64(atomic_load(&old->refs), 1);
    (void)version_unref(old);
    CHECK(peer_settle(&p) && peer_is_true(&p));
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
    CHECK(peer_is_true(&p) && peer_is_true(&q));
    PUBLISH(&w, {"a/item/x", "3"}, {"b/item/z", "2"});
    CHECK(peer_settle(&p) && peer_settle(&q) && peer_is_true(&p) && peer_is_true(&q));
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
    CHECK(peer_settle(&p) && peer_is_true(&p) && p.welcomes == 1);
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
        CHECK(peer_settle(&p) && peer_is_true(&p));
        peer_close(&p);
    }
    CHECK(done);
    world_close(&w);
}
