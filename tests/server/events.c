/*
 * Live events: what is told to whom, once, as a picture; what was so already is no news; who falls behind is told so.
 */
#include "server/place.h"

#include "proto/convert.h"

enum { HEARD_MAX = 64 };

/* Somebody who listens, and keeps what it hears, as text. */
struct ear {
    struct listener listener;
    struct shared *heard[HEARD_MAX];
    size_t n, queued;
    bool was_left;
};

static void hear(struct listener *l, struct event *e)
{
    struct ear *ear = CONTAINER_OF(l, struct ear, listener);
    struct shared *text = event_text(e);

    CHECK(e->framed != NULL);
    if (text && ear->n < HEARD_MAX)
        ear->heard[ear->n++] = shared_ref(text);
}

static size_t queued(struct listener *l)
{
    return CONTAINER_OF(l, struct ear, listener)->queued;
}

static void leave(struct listener *l, const char *reason)
{
    (void)reason;
    CONTAINER_OF(l, struct ear, listener)->was_left = true;
}

struct wanted {
    const char *type, *prefix;
    uint64_t rollout;
};

static Trimtab__V1__EventsRequest *request(const struct wanted *wanted)
{
    char type[16], prefix[32], *types[] = {type};
    Trimtab__V1__EventsRequest q = TRIMTAB__V1__EVENTS_REQUEST__INIT;
    uint8_t bytes[128];

    (void)snprintf(type, sizeof(type), "%s", wanted->type ? wanted->type : "");
    (void)snprintf(prefix, sizeof(prefix), "%s", wanted->prefix ? wanted->prefix : "");
    q.types = types;
    q.n_types = wanted->type ? 1 : 0;
    q.prefix = prefix;
    q.rollout = wanted->rollout;
    return trimtab__v1__events_request__unpack(
        &proto_allocator, trimtab__v1__events_request__pack(&q, bytes), bytes);
}

static void attend(struct ear *ear, struct place *p, struct wanted wanted)
{
    static const struct identity who = {.local = RIGHTS_ALL};

    *ear = (struct ear){.listener = {.send = hear, .queued = queued, .leave = leave}};
    REQUIRE(listener_open(&ear->listener, &p->listeners, &who, request(&wanted)) == 0);
}

static void forget(struct ear *ear)
{
    while (ear->n)
        (void)shared_unref(ear->heard[--ear->n]);
}

static void stop(struct ear *ear)
{
    listener_close(&ear->listener);
    forget(ear);
}

static bool contains(const struct shared *heard, const char *text)
{
    return memmem(heard->data, heard->len, text, strlen(text)) != NULL;
}

/* How many that were heard contain this. */
static int count(const struct ear *ear, const char *text)
{
    int n = 0;

    for (size_t i = 0; i < ear->n; i++)
        n += contains(ear->heard[i], text);
    return n;
}

struct hope {
    const struct ear *ear;
    const char *text;
};

static bool is_heard(void *ctx)
{
    const struct hope *h = ctx;

    return count(h->ear, h->text) > 0;
}

static void wait_for(struct place *p, const struct ear *ear, const char *text)
{
    place_until(p, is_heard, &(struct hope){ear, text});
}

static void open_place(struct place *p)
{
    place_init(p);
    REQUIRE(place_open(p) == 0);
    REQUIRE(place_put(p, "a/item/x", "1", NULL) == 0);
}

TEST("the first event is hello; what was so before is told to nobody, what becomes so to "
     "everybody")
{
    struct ear ear;
    struct place p;

    open_place(&p);
    REQUIRE(place_connect(&p, "one"));
    attend(&ear, &p, (struct wanted){NULL, NULL, 0});
    REQUIRE(ear.n == 1);
    CHECK(str_starts(shared_str(ear.heard[0]), STR("event: hello\ndata: {")));
    REQUIRE(place_connect(&p, "two"));
    wait_for(&p, &ear, "event: instance");
    CHECK_I64(count(&ear, "\"one\""), 0);
    CHECK_I64(count(&ear, "\"two\""), 1);
    REQUIRE(place_put(&p, "a/item/y", "2", NULL) == 0);
    CHECK_I64(count(&ear, "event: commit"), 1);
    CHECK_I64(count(&ear, "a/item/y"), 1);
    stop(&ear);
    place_free(&p);
}

TEST("types, prefixes and rollouts that were asked for are told, and no others; all hear the "
     "same bytes")
{
    struct ear commits, elsewhere, instances, rollout;
    struct place p;

    open_place(&p);
    attend(&commits, &p, (struct wanted){"commit", "a/", 0});
    attend(&elsewhere, &p, (struct wanted){"commit", "b/", 0});
    attend(&instances, &p, (struct wanted){"instance", NULL, 0});
    attend(&rollout, &p, (struct wanted){"rollout", NULL, 99});
    REQUIRE(place_connect(&p, "one"));
    REQUIRE(place_put(&p, "a/item/y", "2", NULL) == 0);
    wait_for(&p, &instances, "event: instance");
    CHECK_I64(count(&commits, "event: commit"), 1);
    CHECK_U64(commits.n, 2);
    CHECK_U64(elsewhere.n, 1);
    CHECK_I64(count(&instances, "event: commit"), 0);
    CHECK_U64(rollout.n, 1);
    stop(&commits);
    stop(&elsewhere);
    stop(&instances);
    stop(&rollout);
    place_free(&p);
}

TEST("an instance is told when its state changes, and not when nothing of it does")
{
    struct instance *one;
    struct ear ear;
    struct place p;

    open_place(&p);
    one = place_connect(&p, "one");
    REQUIRE(one && !place_say(&p, one, SAYS_OK));
    attend(&ear, &p, (struct wanted){"instance", NULL, 0});
    REQUIRE(!place_say(&p, one, SAYS_OK));              /* the same once more */
    REQUIRE(place_put(&p, "b/item/z", "1", NULL) == 0); /* does not concern it */
    REQUIRE(place_connect(&p, "two"));
    wait_for(&p, &ear, "\"two\"");
    CHECK_I64(count(&ear, "\"one\""), 0);
    forget(&ear);
    REQUIRE(!place_say(&p, one, SAYS_REFUSED));
    wait_for(&p, &ear, "CHECK_FAILED");
    CHECK_I64(count(&ear, "\"state\":\"error\""), 1);
    forget(&ear);
    place_leave(&p, one);
    wait_for(&p, &ear, "\"state\":\"offline\"");
    CHECK_I64(count(&ear, "\"one\""), 1);
    stop(&ear);
    place_free(&p);
}

TEST("who reads slowly loses events, is told so once, and hears what comes after that")
{
    struct ear ear;
    struct place p;

    open_place(&p);
    attend(&ear, &p, (struct wanted){"commit", NULL, 0});
    ear.queued = EVENT_QUEUE_MAX + 1;
    REQUIRE(place_put(&p, "a/item/x", "2", NULL) == 0);
    ear.queued = 0; /* there is room, but the gap was not told yet */
    REQUIRE(place_put(&p, "a/item/x", "3", NULL) == 0);
    CHECK_U64(ear.n, 1);
    listener_writable(&ear.listener);
    listener_writable(&ear.listener);
    CHECK_I64(count(&ear, "event: lost"), 1);
    REQUIRE(place_put(&p, "a/item/x", "4", NULL) == 0);
    CHECK_I64(count(&ear, "event: commit"), 1);
    stop(&ear);
    place_free(&p);
}

TEST("commits of one publication are told one by one, in order, each with its own resources")
{
    struct commit_job jobs[2];
    struct change changes[2] = {{.id = STR("a/item/p"), .content = STR("1")},
                                {.id = STR("a/item/q"), .content = STR("1")}};
    struct ear ear;
    struct place p;

    open_place(&p);
    attend(&ear, &p, (struct wanted){"commit", NULL, 0});
    place_commit_all(&p, jobs, changes, 2);
    REQUIRE(count(&ear, "event: commit") == 2);
    CHECK(contains(ear.heard[1], "a/item/p") && !contains(ear.heard[1], "a/item/q"));
    CHECK(contains(ear.heard[2], "a/item/q") && !contains(ear.heard[2], "a/item/p"));
    stop(&ear);
    place_free(&p);
}

TEST("without memory an event is told whole or not at all")
{
    for (uint64_t n = 0, more = 1; more && !tap_failed(); n++) {
        struct ear ear;
        struct place p;

        open_place(&p);
        REQUIRE(place_connect(&p, "one"));
        attend(&ear, &p, (struct wanted){"instance", NULL, 0});
        REQUIRE(place_connect(&p, "two"));
        p.events.next_look = 0;
        (void)mem_fail_after(n);
        events_tick(&p.events);
        more = (uint64_t)mem_fail_after(UINT64_MAX);
        for (size_t i = 0; i < ear.n; i++)
            CHECK(contains(ear.heard[i], "}\n\n"));
        stop(&ear);
        place_free(&p);
    }
}

TEST("a type that is none is refused, with what would help; so is who comes while the server "
     "ends")
{
    struct wanted wrong = {"commits", NULL, 0}, right = {"commit", NULL, 0};
    Trimtab__V1__EventsRequest *q = request(&wrong);
    struct err err = ERR_NULL;
    struct place p;

    open_place(&p);
    CHECK_I64(listener_check(&p.listeners, q, &err), ERR_INVALID);
    CHECK(strstr(err.hint, "instance") != NULL);
    trimtab__v1__events_request__free_unpacked(q, &proto_allocator);
    q = request(&right);
    CHECK_I64(listener_check(&p.listeners, q, &err), 0);
    listeners_drain(&p.listeners, "the end");
    CHECK_I64(listener_check(&p.listeners, q, &err), ERR_UNAVAILABLE);
    trimtab__v1__events_request__free_unpacked(q, &proto_allocator);
    place_free(&p);
}
