/*
 * Rights in the feed: what refers to what a subscriber may not read is withheld from it, told so, and given back; what it may
 * read changes between two streams, and nothing of it is taken for a deletion without a cause.
 */
#include "feed/observer.h"

/* Whether a name of the scope is bound, and what it refers to is there by its id. */
static bool binds(const struct observer *o, const char *name)
{
    return sync_find(o->sync, STR("s0"), STR("item"), str_c(name)) != NULL;
}

/* secret lies in c; b/item/mid leads there, and a/item/top to mid. */
static void publish_chain(struct world *w)
{
    PUBLISH(w, {"c/item/secret", NULL}, {"b/item/plain", NULL});
    PUBLISH(w, {"b/item/mid", "c/item/secret"});
    PUBLISH(w, {"a/item/top", "b/item/mid"}, {"a/item/free", "b/item/plain"});
}

TEST("what leads to what may not be read is withheld, from who may not read it alone")
{
    struct world w;
    struct observer all, some;

    REQUIRE(world_open(&w) && observer_open(&all, &w, 1, "a", NULL) &&
            observer_open(&some, &w, 2, "a", NULL));
    observer_may_read(&some, "a b");
    link_observer(&all);
    link_observer(&some);
    settle(&all);
    settle(&some);
    forget(&some);
    publish_chain(&w);
    settle(&all);
    settle(&some);
    CHECK(binds(&all, "top") && has(&all, "b/item/mid") && has(&all, "c/item/secret"));
    CHECK(binds(&some, "free") && has(&some, "b/item/plain"));
    CHECK(!binds(&some, "top") && !has(&some, "b/item/mid") && !has(&some, "c/item/secret"));
    CHECK(some.n_puts == 2 && some.n_withheld == 1 && some.n_uncaused == 0);
    observer_close(&all);
    observer_close(&some);
    world_close(&w);
}

TEST("a change far below takes an item away and gives it back, without comparing what there is")
{
    struct world w;
    struct observer o;

    REQUIRE(world_open(&w) && observer_open(&o, &w, 1, "a", NULL));
    observer_may_read(&o, "a b");
    publish_chain(&w);
    link_observer(&o);
    settle(&o);
    CHECK(!binds(&o, "top"));
    forget(&o);
    PUBLISH(&w, {"b/item/mid", "b/item/plain"}); /* top stays as it is */
    settle(&o);
    CHECK(binds(&o, "top") && has(&o, "b/item/mid"));
    CHECK(o.n_puts == 2 && o.n_drops == 0 && o.n_withheld == 0);
    forget(&o);
    PUBLISH(&w, {"b/item/plain", "c/item/secret"});
    settle(&o);
    CHECK(!binds(&o, "top") && !binds(&o, "free") && !has(&o, "b/item/mid"));
    CHECK(o.n_puts == 0 && o.n_withheld == 2 && o.n_uncaused == 0);
    CHECK_U64(feed_session_status(o.session).repairs, 0);
    observer_close(&o);
    world_close(&w);
}

TEST("nothing takes the place of what is withheld, not even in a weaker layer")
{
    struct world w;
    struct observer o;

    REQUIRE(world_open(&w) && observer_open(&o, &w, 1, "ab", NULL));
    observer_may_read(&o, "a b");
    PUBLISH(&w, {"c/item/secret", NULL}, {"b/item/x", NULL});
    link_observer(&o);
    settle(&o);
    CHECK(binds(&o, "x"));
    PUBLISH(&w, {"a/item/x", "c/item/secret"});
    settle(&o);
    CHECK(!binds(&o, "x"));
    CHECK(o.n_withheld == 1 && o.n_uncaused == 0);
    PUBLISH(&w, {"a/item/x", "-"});
    settle(&o);
    CHECK(binds(&o, "x"));
    observer_close(&o);
    world_close(&w);
}

TEST("rights that changed between two streams are found by the mark, and what goes has a cause")
{
    static const char *const rights[] = {"a b", NULL, "a b c", "a", NULL, "a b"};
    static const bool has_top[] = {false, true, true, false, true, false};
    struct world w;
    struct observer o;

    REQUIRE(world_open(&w) && observer_open(&o, &w, 1, "a", NULL));
    publish_chain(&w);
    for (size_t i = 0; i < ARRAY_LEN(rights); i++) {
        unlink_observer(&o);
        observer_may_read(&o, rights[i]);
        forget(&o);
        link_observer(&o);
        settle(&o);
        CHECK(binds(&o, "top") == has_top[i]);
        CHECK(i == 0 || feed_session_status(o.session).mode == TRIMTAB__V1__MODE__INVENTORY);
        CHECK_I64(o.n_uncaused, 0);
    }
    observer_close(&o);
    world_close(&w);
}

TEST(
    "who comes back with the rights that it had resumes, unless something else is withheld now")
{
    struct world w;
    struct observer o;

    REQUIRE(world_open(&w) && observer_open(&o, &w, 1, "a", NULL));
    observer_may_read(&o, "a b");
    publish_chain(&w);
    link_observer(&o);
    settle(&o);
    unlink_observer(&o);
    PUBLISH(&w, {"a/item/more", NULL});
    link_observer(&o);
    settle(&o);
    CHECK_I64((int)feed_session_status(o.session).mode, TRIMTAB__V1__MODE__RESUME);
    CHECK(binds(&o, "more"));
    unlink_observer(&o);
    PUBLISH(&w, {"b/item/mid", NULL});
    link_observer(&o);
    settle(&o);
    CHECK_I64((int)feed_session_status(o.session).mode, TRIMTAB__V1__MODE__INVENTORY);
    CHECK(binds(&o, "top"));
    CHECK_I64(o.n_uncaused, 0);
    observer_close(&o);
    world_close(&w);
}

TEST("who has nothing but what it holds is compared, and what is withheld ends the hold")
{
    struct world w;
    struct observer o;

    REQUIRE(world_open(&w) && observer_open(&o, &w, 1, "a", NULL));
    observer_may_read(&o, "a");
    PUBLISH(&w, {"a/item/x", NULL}, {"a/item/y", NULL}, {"a/item/z", NULL});
    link_observer(&o);
    settle(&o);
    unlink_observer(&o);
    world_close(&w); /* emptied: explains nothing */
    REQUIRE(world_open(&w));
    link_observer(&o);
    settle(&o);
    CHECK(o.n_uncaused == 3 && sync_n_held(o.sync) == 3);
    unlink_observer(&o);
    PUBLISH(&w, {"c/item/secret", NULL}, {"a/item/y", NULL});
    PUBLISH(&w, {"a/item/x", "c/item/secret"});
    forget(&o);
    link_observer(&o);
    settle(&o);
    CHECK_I64((int)feed_session_status(o.session).mode, TRIMTAB__V1__MODE__INVENTORY);
    CHECK(!binds(&o, "x") && binds(&o, "y") && o.n_withheld == 1 && o.n_uncaused == 0);
    CHECK_U64(sync_n_held(o.sync), 1); /* z */
    observer_close(&o);
    world_close(&w);
}

TEST("a candidate that leads to what may not be read is withheld from its target alone")
{
    struct world w;
    struct observer gray, plain;
    uint64_t id;

    REQUIRE(world_open(&w) && observer_open(&gray, &w, 1, "a", NULL) &&
            observer_open(&plain, &w, 2, "a", NULL));
    observer_may_read(&gray, "a b");
    observer_may_read(&plain, "a b");
    publish_chain(&w);
    link_observer(&gray);
    link_observer(&plain);
    settle(&gray);
    settle(&plain);
    id = START(&w, "o1", {"b/item/plain", "c/item/secret"});
    settle(&gray);
    settle(&plain);
    CHECK(!binds(&gray, "free") && binds(&plain, "free"));
    roll_back(&w, id);
    settle(&gray);
    settle(&plain);
    CHECK(binds(&gray, "free") && binds(&plain, "free"));
    id = START(&w, "o1", {"b/item/mid", "b/item/plain"}); /* gives back, to its target alone */
    settle(&gray);
    settle(&plain);
    CHECK(binds(&gray, "top") && !binds(&plain, "top"));
    roll_back(&w, id);
    settle(&gray);
    CHECK(!binds(&gray, "top"));
    CHECK(gray.n_uncaused == 0 && plain.n_uncaused == 0);
    observer_close(&gray);
    observer_close(&plain);
    world_close(&w);
}

TEST("a target is told of a candidate that is withheld from it though its view stays the same")
{
    struct world w;
    struct observer gray;

    REQUIRE(world_open(&w) && observer_open(&gray, &w, 1, "a", NULL));
    observer_may_read(&gray, "a b");
    publish_chain(&w);
    link_observer(&gray);
    START(&w, "o1", {"b/item/plain", NULL});
    settle(&gray);
    forget(&gray);
    START(&w, "o1", {"a/item/new", "c/item/secret"});
    settle(&gray);
    CHECK(!binds(&gray, "new"));
    CHECK(gray.n_withheld == 1 && gray.n_uncaused == 0 && gray.n_puts == 0);
    observer_close(&gray);
    world_close(&w);
}

TEST("a publication that runs out of memory withholds all the same, and gives back")
{
    for (uint64_t fail = 0; fail < 60 && !tap_failed(); fail++) {
        struct world w;
        struct observer some, all;

        REQUIRE(world_open(&w) && observer_open(&some, &w, 1, "a", NULL) &&
                observer_open(&all, &w, 2, "a", NULL));
        observer_may_read(&some, "a b");
        publish_chain(&w);
        link_observer(&some);
        link_observer(&all);
        settle(&some);
        settle(&all);
        CHECK_I64(
            publish_items(&w, (struct item[]){{"b/item/plain", "c/item/secret"}}, 1, fail), 0);
        settle(&some);
        settle(&all);
        CHECK(!binds(&some, "free") && binds(&all, "free"));
        CHECK_I64(publish_items(&w, (struct item[]){{"b/item/plain", NULL}}, 1, fail), 0);
        settle(&some);
        CHECK(binds(&some, "free") && some.n_uncaused == 0);
        observer_close(&some);
        observer_close(&all);
        world_close(&w);
    }
}
