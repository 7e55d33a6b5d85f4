/*
 * Causes (I13): which drops of an inventory comparison a recorded change explains, for a server that was emptied, restored by
 * hand, or that is just as it was.
 */
#include "feed/peer.h"

#include "proto/record.h"

/* A subscriber of the namespaces that has settled and left, and whose inventory will be asked for. */
struct visit {
    struct world w;
    struct peer p;
};

static void begin_in(struct visit *v, const char *layers)
{
    CHECK(world_open(&v->w) && peer_open(&v->p, &v->w));
    PUBLISH(&v->w, {"a/item/x", "1"}, {"a/item/y", "2"});
    CHECK_I64(peer_hello(&v->p, &(struct greeting){.scopes = "s", .layers = layers}, NULL), 0);
    CHECK(peer_settle(&v->p));
    peer_close(&v->p);
}

/* It comes back, with a cursor of this store or another one, and its inventory is compared. */
static void come_back(struct visit *v, const char *layers, bool is_foreign, uint64_t revision)
{
    struct greeting g = {.scopes = "s",
                         .layers = layers,
                         .has_cursor = true,
                         .is_foreign = is_foreign,
                         .revision = revision};

    v->p.session = feed_session_new(v->w.feed, FEED_CLIENT_ANSWERS, &v->p);
    peer_forget(&v->p);
    CHECK_I64(peer_hello(&v->p, &g, NULL), 0);
    if (feed_session_status(v->p.session).mode == TRIMTAB__V1__MODE__RESUME)
        feed_session_repair(v->p.session, "a test");
    CHECK(peer_settle(&v->p));
    CHECK_U64(v->p.uncaused, (uint64_t)v->p.uncaused_names);
}

static void end(struct visit *v)
{
    peer_close(&v->p);
    world_close(&v->w);
}

TEST("a drop by a deletion that is newer than what the subscriber has is caused, whatever the "
     "mode")
{
    struct visit v;

    begin_in(&v, "a");
    PUBLISH(&v.w, {"a/item/x", NULL});
    come_back(&v, "a", false, 0); /* as after a change of the subscription */
    CHECK(v.p.drops == 1 && v.p.uncaused_names == 0);
    end(&v);
}

TEST("a drop by a deletion that is older than what the subscriber has is not")
{
    struct visit v;

    begin_in(&v, "a");
    PUBLISH(&v.w, {"a/item/x", NULL});
    v.p.held[peer_find(&v.p, "s item/x")].revision =
        9; /* it came back in a history that is lost */
    come_back(&v, "a", false, 0);
    CHECK(v.p.drops == 1 && v.p.uncaused_names == 1);
    CHECK(peer_is_true(&v.p));
    end(&v);
}

TEST("what an item is newer than the proved view by does not count")
{
    struct visit v;

    begin_in(&v, "a");
    v.p.held[peer_find(&v.p, "s item/x")].revision =
        99; /* of another store, with the same content */
    PUBLISH(&v.w, {"a/item/z", "3"});
    v.p.session = feed_session_new(v.w.feed, FEED_CLIENT_ANSWERS, &v.p);
    peer_forget(&v.p);
    CHECK_I64(peer_hello(&v.p,
                         &(struct greeting){
                             .scopes = "s", .layers = "a", .has_cursor = true, .revision = 1},
                         NULL),
              0);
    CHECK(peer_settle(&v.p)); /* proves revision 2 */
    feed_session_repair(v.p.session, "a test");
    PUBLISH(&v.w, {"a/item/x", NULL});
    CHECK(peer_settle(&v.p));
    CHECK(v.p.drops == 1 && v.p.uncaused_names == 0);
    end(&v);
}

TEST("an emptied store explains nothing, nor does another one by what it once deleted")
{
    struct visit v;
    struct world empty;

    begin_in(&v, "a");
    REQUIRE(world_open(&empty));
    PUBLISH(&empty, {"a/item/x", "0"}, {"a/item/z", "3"});
    PUBLISH(&empty, {"a/item/x", NULL});
    PUBLISH(&empty, {"a/item/z", "4"});
    world_close(&v.w);
    v.w = empty;
    v.p.w = &v.w;
    come_back(&v, "a", true, 1);
    CHECK(v.p.puts == 1 && v.p.drops == 2 && v.p.uncaused_names == 2);
    end(&v);
}

TEST("an old client is told so too: of another store nothing is explained, of its own any "
     "trace of the name")
{
    struct visit v;

    begin_in(&v, "a");
    v.p.tells = false;
    PUBLISH(&v.w, {"a/item/x", NULL});
    come_back(&v, "a", true, 1);
    CHECK(v.p.drops == 1 && v.p.uncaused_names == 1);
    end(&v);
    begin_in(&v, "a");
    v.p.tells = false;
    PUBLISH(&v.w, {"a/item/x", NULL});
    come_back(&v, "a", false, 0);
    CHECK(v.p.drops == 1 && v.p.uncaused_names == 0);
    end(&v);
}

TEST("what the subscription does not ask for any more goes because of that")
{
    struct visit v;

    begin_in(&v, "ab");
    come_back(&v, "b", false, 0);
    CHECK(v.p.drops == 2 && v.p.uncaused_names == 0);
    end(&v);
    begin_in(&v, "a");
    come_back(&v, "b", true, 1); /* of another store, too */
    CHECK(v.p.drops == 2 && v.p.uncaused_names == 0);
    end(&v);
}

TEST("a name of one layer is not explained by what another deleted")
{
    struct visit v;

    begin_in(&v, "ab");
    PUBLISH(&v.w, {"b/item/x", "1"});
    PUBLISH(&v.w, {"b/item/x", NULL}, {"a/item/y", NULL});
    v.p.held[peer_find(&v.p, "s item/y")].revision = 77;
    memcpy(v.p.held[peer_find(&v.p, "s item/x")].key, "s item/q", sizeof("s item/q"));
    come_back(&v, "ab", false, 0); /* q was never there, y was never at 77 */
    CHECK(v.p.puts == 1 && v.p.drops == 2 && v.p.uncaused_names == 2);
    end(&v);
}

TEST("of what is held an inventory drops only what has a cause by now, and puts what is there")
{
    struct visit v;

    begin_in(&v, "a");
    PUBLISH(&v.w, {"a/item/x", NULL});
    for (size_t i = 0; i < v.p.n_held; i++)
        v.p.held[i].is_held = true;
    memcpy(v.p.held[v.p.n_held].key, "s item/never", sizeof("s item/never"));
    memcpy(v.p.held[v.p.n_held].space, "a", 2);
    v.p.held[v.p.n_held].revision = 1;
    v.p.held[v.p.n_held++].is_held = true;
    come_back(&v, "a", false, 0);
    CHECK(v.p.puts == 1 && v.p.drops == 1 && v.p.uncaused_names == 0);
    CHECK_U64(feed_session_status(v.p.session).expected_count, 1);
    end(&v);
}

TEST("snapshots keep what was deleted, when, and when the number of a candidate was spent")
{
    struct world w;
    struct snapshot_walk walk;
    struct state *loaded = state_new();
    struct str key = STR("a\0item\0x"), spent = STR("a\0item\0s");
    struct shared *part;
    bool failed;

    REQUIRE(world_open(&w) && loaded);
    PUBLISH(&w, {"a/item/x", "1"});
    PUBLISH(&w, {"a/item/x", NULL});
    CHECK_I64(state_load_number(&w.state, spent, &(struct spent){1, 4, 2}), 0);
    PUBLISH(&w, {"a/item/y", "1"});
    snapshot_walk_init(&walk, w.state);
    while ((part = snapshot_part(&walk, 100, &failed))) {
        CHECK_I64(snapshot_apply(shared_str(part), &loaded, NULL), 0);
        (void)shared_unref(part);
    }
    REQUIRE(!failed && loaded);
    REQUIRE(state_newest(loaded, key));
    CHECK(state_newest(loaded, key)->deleted && state_newest(loaded, key)->content.len == 0);
    CHECK_U64(state_newest(loaded, key)->revision, 2);
    CHECK_U64(state_newest(loaded, key)->number, 2);
    CHECK_U64(candidate_of(tree_find(loaded->candidates, spent))->node.revision, 2);
    CHECK_U64(state_number(loaded, spent), 4);
    (void)state_unref(loaded);
    world_close(&w);
}
