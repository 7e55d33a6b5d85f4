/*
 * The keeper over a store that fails: whatever goes wrong, and whenever the power is cut after it was done, a server that
 * starts knows who was there and whose each id is, and does not know who was forgotten.
 */
#include "server/place.h"

static bool has_kept_all(void *ctx)
{
    struct keeper *k = &((struct place *)ctx)->keeper;

    k->next = 0; /* the next second's worth may be written now */
    return !k->is_busy && !k->items.n && !k->gone.n && link_is_alone(&k->roster->due);
}

/* The power is cut; another start on the same disk. */
static bool restart(struct place *p)
{
    store_disk_faults(p->disk, NULL, NULL);
    store_disk_crash(p->disk);
    place_stop(p);
    return CHECK_I64(place_open(p), 0);
}

static bool knows(const struct place *p, const char *id)
{
    const struct instance *i = roster_find(&p->hub.roster, str_c(id));

    return i && i->presence->is_restored && !i->presence->is_connected &&
           strcmp(i->presence->introduction->owner, "web") == 0;
}

static void open_place(struct place *p)
{
    place_init(p);
    REQUIRE(place_open(p) == 0);
    REQUIRE(place_put(p, "a/item/x", "1", NULL) == 0);
}

TEST("who was there is known after a loss of power, with what it had proved, offline or not")
{
    struct instance *a, *b;
    struct place p;

    open_place(&p);
    a = place_connect(&p, "a");
    b = place_connect(&p, "b");
    REQUIRE(a && b && !place_say(&p, a, SAYS_OK));
    place_leave(&p, b);
    place_until(&p, has_kept_all, &p);
    REQUIRE(restart(&p));
    CHECK(knows(&p, "a") && knows(&p, "b"));
    a = roster_find(&p.hub.roster, STR("a"));
    CHECK(a && a->presence->standing.proved == 1 && a->presence->whole == 1);
    place_free(&p);
}

/* Connects, leaves and is forgotten, with these writes failing; what is known after a restart. */
static void keep_with_faults(enum store_write write, int at, int many)
{
    struct instance *a, *b;
    struct place p;

    open_place(&p);
    place_faults(&p, write, STORE_FAULT_FAIL, at, many);
    a = place_connect(&p, "a");
    b = place_connect(&p, "b");
    REQUIRE(a && b && place_connect(&p, "c"));
    place_until(&p, has_kept_all, &p);
    place_leave(&p, a);
    place_leave(&p, b);
    roster_expire(&p.hub.roster, INT64_MAX, 1); /* those that are away are forgotten */
    CHECK(!roster_find(&p.hub.roster, STR("b")));
    REQUIRE(place_connect(&p, "a")); /* and one comes back, behind what is to be forgotten */
    place_until(&p, has_kept_all, &p);
    REQUIRE(restart(&p));
    if (!CHECK(knows(&p, "a") && knows(&p, "c") && !roster_find(&p.hub.roster, STR("b"))))
        tap_note("write %d, failed from %d on, %d times", (int)write, at, many);
    place_free(&p);
}

TEST("whatever write fails, what was due is written by a later one, and what was forgotten "
     "stays "
     "so")
{
    for (int at = 0; at < 5 && !tap_failed(); at++)
        for (int many = 1; many <= 2; many++) {
            keep_with_faults(STORE_WRITE_EPHEMERAL, at, many);
            keep_with_faults(STORE_WRITE_LEASE, at, many);
        }
}

TEST("what an instance proved in another store is not known after a restart, whose the id is "
     "counts")
{
    struct instance *a;
    struct place p;

    open_place(&p);
    p.keeper.store_id[0] ^= 1; /* what it writes was proved in that one */
    a = place_connect(&p, "a");
    REQUIRE(a && !place_say(&p, a, SAYS_OK));
    place_until(&p, has_kept_all, &p);
    REQUIRE(restart(&p));
    CHECK(knows(&p, "a"));
    a = roster_find(&p.hub.roster, STR("a"));
    CHECK(a && a->presence->standing.proved == 0 && a->presence->whole == 0 &&
          !a->presence->standing.has_serving);
    place_free(&p);
}

struct forgetting {
    struct read_job job;
    int result;
    bool is_done;
};

static void forget_in_store(struct read_job *job, struct store *store)
{
    CONTAINER_OF(job, struct forgetting, job)->result = keeper_forget(store, STR("a"), NULL);
}

static void forgot(struct read_job *job)
{
    CONTAINER_OF(job, struct forgetting, job)->is_done = true;
}

static bool is_forgotten(void *ctx)
{
    return ((struct forgetting *)ctx)->is_done;
}

static int forget(struct place *p)
{
    struct forgetting f = {.job = {.run = forget_in_store, .done = forgot}};

    committer_read(p->hub.committer, &f.job);
    place_until(p, is_forgotten, &f);
    return f.result;
}

TEST("who is said to be forgotten is not known after a loss of power; a store that fails does "
     "not say so")
{
    struct instance *a;
    struct place p;

    open_place(&p);
    a = place_connect(&p, "a");
    REQUIRE(a);
    place_until(&p, has_kept_all, &p);
    place_faults(&p, STORE_WRITE_EPHEMERAL, STORE_FAULT_FAIL, 0, 100);
    CHECK(forget(&p) != 0);
    REQUIRE(restart(&p));
    CHECK(knows(&p, "a"));
    place_until(&p, has_kept_all, &p);
    CHECK_I64(forget(&p), 0);
    REQUIRE(restart(&p));
    CHECK(!roster_find(&p.hub.roster, STR("a")));
    place_free(&p);
}

TEST("without memory nothing that is due is lost")
{
    for (uint64_t n = 0, more = 1; more && !tap_failed(); n++) {
        struct place p;

        open_place(&p);
        REQUIRE(place_connect(&p, "a") && place_connect(&p, "b"));
        p.keeper.next = 0;
        (void)mem_fail_after(n);
        keeper_tick(&p.keeper, clock_now());
        more = (uint64_t)mem_fail_after(UINT64_MAX);
        place_until(&p, has_kept_all, &p);
        REQUIRE(restart(&p));
        if (!CHECK(knows(&p, "a") && knows(&p, "b")))
            tap_note("allocation %d", (int)n);
        place_free(&p);
    }
}

static bool is_idle(void *ctx)
{
    return !((struct place *)ctx)->keeper.is_busy;
}

TEST("of a fleet that comes at once no more is written than a second's worth, and the rest waits")
{
    enum { FLEET = 8000 };
    struct place p;
    char id[32];

    place_init(&p);
    REQUIRE(place_open(&p) == 0);
    timer_stop(&p.tick);
    for (int i = 0; i < FLEET; i++) {
        (void)snprintf(id, sizeof(id), "instance-%d", i);
        REQUIRE(place_connect(&p, id));
    }
    p.keeper.next = 0;
    keeper_tick(&p.keeper, clock_now());
    place_until(&p, is_idle, &p);
    CHECK(p.keeper.n_written > 0 && p.keeper.n_written < FLEET);
    CHECK(keeper_lag(&p.keeper, clock_now() + NSEC_PER_S) >= NSEC_PER_S);
    place_free(&p);
}

TEST("of a fleet that came at once everybody is known after a restart")
{
    enum { FLEET = 300 };
    struct place p;
    char id[32];

    place_init(&p);
    REQUIRE(place_open(&p) == 0);
    for (int i = 0; i < FLEET; i++) {
        (void)snprintf(id, sizeof(id), "instance-%d", i);
        REQUIRE(place_connect(&p, id));
    }
    place_stop(&p);
    REQUIRE(place_open(&p) == 0);
    CHECK_U64(p.hub.roster.instances.n, FLEET);
    place_free(&p);
}

TEST("a hello that is too large to be kept is kept without its scopes; whose the id is counts")
{
    enum { NAME = 64, NAMES = KEEPER_HELLO_MAX / NAME + 1 };
    char id[] = "a", space[] = "a", *spaces[] = {space}, texts[NAMES][NAME], *names[NAMES];
    Trimtab__V1__Instance who = TRIMTAB__V1__INSTANCE__INIT;
    Trimtab__V1__Hello hello = TRIMTAB__V1__HELLO__INIT;
    Trimtab__V1__Scope scope = TRIMTAB__V1__SCOPE__INIT, *scopes[] = {&scope};
    Trimtab__V1__Selector selector = TRIMTAB__V1__SELECTOR__INIT, *selectors[] = {&selector};
    struct introduction *in;
    struct attendee one = {.lane = 0}, *older;
    struct place p;

    for (size_t i = 0; i < NAMES; i++) {
        (void)snprintf(texts[i], NAME, "%0*zu", NAME - 1, i);
        names[i] = texts[i];
    }
    who.id = id;
    selector.names = names;
    selector.n_names = NAMES;
    scope.namespaces = spaces;
    scope.n_namespaces = 1;
    scope.selectors = selectors;
    scope.n_selectors = 1;
    hello.instance = &who;
    hello.scopes = scopes;
    hello.n_scopes = 1;
    open_place(&p);
    REQUIRE(!introduction_new(&(struct introduction_opts){&hello, "web", "peer", "grpc"}, &in,
                              NULL));
    one.who = in;
    CHECK(attendance_arrive(&p.hub.attendance, &one, clock_now(), clock_wall_ms(), &older,
                            NULL) == 0);
    (void)introduction_unref(in);
    place_until(&p, has_kept_all, &p);
    REQUIRE(restart(&p));
    CHECK(knows(&p, "a"));
    CHECK_U64(roster_find(&p.hub.roster, STR("a"))->presence->introduction->n_scopes, 0);
    place_free(&p);
}
