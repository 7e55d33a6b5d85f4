/*
 * Hub and lanes under a seeded scheduler: the real ones, without a network, on loops that take turns as chance says. So the
 * messages between them arrive in every order that threads could give. A seed gives the same run again, unless a busy machine
 * cuts one of its turns in two.
 *
 * Subscribers keep what they are sent and say what they have; some lie, some are another credential's, some come back to another
 * lane with a cursor. What the hub claims of them is compared, after each of its turns, with what they truly said.
 *
 *   TRIMTAB_LANES_SEEDS (how many), TRIMTAB_LANES_FIRST (the first one)
 */
#include "server/lanes.h"

#include "base/log.h"

#include <unistd.h>

enum {
    SETTLING = 60, /* rounds */
    SEEDS = 120,
    QUICK_SEEDS = 20,
};

struct world_of_lanes world;
struct lane_counts counts;

/* ---- what must hold ---- */

bool said_truly(int id, uint64_t revision)
{
    const struct truth *t = &world.truths[id];

    for (size_t i = 0; i < t->n; i++) {
        uint64_t said = t->said[i];

        if (said >= revision || world.changed[said][id] == world.changed[revision][id])
            return true;
    }
    return false;
}

/* The hub claims nothing of an instance that it did not truly say, and nothing beyond what all lanes have said. */
void judge(void)
{
    struct moment at = hub_moment(&world.hub);
    uint64_t head = world.hub.state->revision;

    CHECK(at.complete <= head);
    CHECK_U64(world.hub.n_lost, 0); /* none: a cursor ahead of its lane waits */
    for (size_t i = 0; i < world.n_lanes; i++)
        counts.owing += world.hub.n_owing[i] != 0;
    for (int i = 0; i < IDS; i++) {
        const struct instance *one = instance_of(i);

        for (uint64_t r = world.changed[head][i]; one && r <= at.complete; r++, counts.judged++)
            if (one->presence->is_connected && presence_has_reached(one->presence, r, &at) &&
                !CHECK(said_truly(i, r)))
                tap_note("i%d is said to have reached %llu", i, (unsigned long long)r);
    }
}

/* I11: a lane has done all that the hub sent it, so whoever is open there has the right to be. */
static void judge_rights(const struct lane *lane)
{
    for (size_t i = 0; i < CLIENTS; i++) {
        const struct client *c = &world.clients[i];

        if (!c->is_open || c->must_go || c->is_thief || c->subscriber.lane != lane ||
            token_of(c->id) < 0)
            continue;
        counts.entitled++;
        if (!CHECK(may_now(token_of(c->id)) || c->has_waiting_hello))
            tap_note("i%d is open without the right", c->id);
    }
}

/* ---- chance ---- */

/* All that has come: a slow machine may need more turns of the loop for it. */
static void turn_loop(struct loop *loop, enum loop_wait wait)
{
    loop_turn(loop, wait);
    while (loop->overdue || !link_is_alone(&loop->deferred))
        loop_turn(loop, LOOP_POLL);
}

/* A turn in which somebody reads all records, so that they are copied to be changed, and memory fails for one. */
static void turn_hub_failing(void)
{
    struct presence *read[IDS] = {NULL};

    for (int i = 0; i < IDS; i++) {
        const struct instance *one = instance_of(i);

        read[i] = one ? presence_ref(one->presence) : NULL;
    }
    (void)mem_fail_once(below(4));
    turn_loop(&world.hub_loop, LOOP_POLL);
    (void)mem_fail_once(UINT64_MAX);
    for (int i = 0; i < IDS; i++)
        (void)presence_unref(read[i]);
}

void turn_hub(enum loop_wait wait)
{
    if (wait == LOOP_POLL && below(5) == 0 && world.fails)
        turn_hub_failing();
    else
        turn_loop(&world.hub_loop, wait);
    calls_settle();
    if (wait == LOOP_POLL)
        judge();
}

static void turn(size_t i)
{
    if (i == world.n_lanes) {
        turn_hub(LOOP_POLL);
        return;
    }
    turn_loop(&world.loops[i], LOOP_POLL);
    judge_rights(&world.lanes[i]);
    for (size_t n = 0; n < CLIENTS; n++) {
        struct client *c = &world.clients[n];

        if (c->is_open && c->must_go)
            client_close(c);
        else if (c->is_open && c->has_waiting_hello && c->subscriber.lane == &world.lanes[i])
            client_greet(c);
    }
}

static void come(struct client *c, int id, const struct peer *before)
{
    client_come(c, id, below(12) == 0, before);
}

static void act_on(struct client *c)
{
    struct peer before;

    client_answer(c);
    switch (below(6)) {
    case 0:
        before = c->peer;
        if (below(3)) { /* comes back, most often while the older stream is there */
            struct client *free = &world.clients[below(CLIENTS)];

            if (!free->is_open)
                come(free, c->id, &before);
        }
        if (below(2))
            client_close(c);
        break;
    case 1:
        if (c->has_batch)
            client_acknowledge(c, below(5) == 0);
        break;
    default:
        if (c->has_batch)
            client_acknowledge(c, false);
        break;
    }
}

static void step(void)
{
    struct client *c = &world.clients[below(CLIENTS)];

    if (planned(6) == 0)
        log_act();
    calls_pass_time();
    if (!c->is_open && below(3) == 0)
        come(c, (int)below(IDS), NULL);
    else if (client_is_up(c))
        act_on(c);
    turn(below(world.n_lanes + 1));
}

/* Whoever is not there comes, with the credential that has the id. */
static void call_absent(void)
{
    for (int id = 0; id < IDS; id++) {
        struct client *free = NULL;
        bool is_here = false;

        for (size_t i = 0; i < CLIENTS; i++) {
            is_here |= world.clients[i].is_open && world.clients[i].id == id;
            free = world.clients[i].is_open ? free : &world.clients[i];
        }
        if (free && !is_here)
            client_come(free, id, world.is_thiefs[id], NULL);
    }
}

/* Everybody says what it has, everything arrives. Memory fails for some of the last words, too. */
static void settle(void)
{
    log_finish();
    for (int round = 0; round < SETTLING && !tap_failed(); round++) {
        world.fails &= round < SETTLING / 2;
        call_absent();
        for (size_t i = 0; i < CLIENTS; i++) {
            struct client *c = &world.clients[i];

            if (client_is_up(c))
                client_answer(c);
            if (client_is_up(c) && c->subscriber.is_taken && (c->has_batch || c->has_lied))
                client_acknowledge(c, false);
        }
        for (size_t i = 0; i < world.n_lanes; i++) {
            world.lanes[i].heard = 0;
            lane_tick(&world.lanes[i]);
            turn(i);
        }
        turn(world.n_lanes);
    }
}

/* Who is there is known to be there, with the newest content; who is not is not. */
static void check_end(void)
{
    struct moment at = hub_moment(&world.hub);
    uint64_t head = world.hub.state->revision, n = 0;

    CHECK_U64(atomic_load(&world.hub.in_flight), 0);
    CHECK_U64(calls_waiting(), 0);
    CHECK_U64(at.complete, head);
    for (size_t i = 0; i < CLIENTS; i++) {
        const struct client *c = &world.clients[i];
        const struct instance *one = c->is_open ? instance_of(c->id) : NULL;

        if (!c->is_open)
            continue;
        n++;
        if (CHECK(one && one->stream == c->subscriber.seat) &&
            !CHECK(presence_has_reached(one->presence, head, &at)))
            tap_note("i%d: state %s", c->id,
                     presence_state_name(presence_state(one->presence, &at)));
        CHECK(one && strcmp(one->presence->introduction->owner, c->subscriber.who.name) == 0);
        CHECK(digest_eq(peer_digest(&c->peer), world.digests[head][c->id]));
    }
    CHECK_U64(n, IDS);
    CHECK_U64(world.hub.roster.n_connected, n);
}

/* ---- a world ---- */

static void open_world(uint64_t seed, size_t n_lanes)
{
    static struct auth *auth; /* one for all worlds: it is only asked */
    bool is_new;

    if (!auth)
        REQUIRE(auth_open(tap_tmpdir(), "admin", &auth, &is_new, NULL) == 0);
    memset(&world, 0, sizeof(world));
    world.seed = seed;
    world.n_lanes = n_lanes;
    world.rng.state = seed;
    world.plan.state = seed + 1;
    world.fails = below(2) == 0;
    world.config = (struct config){.ack_late = 600 * NSEC_PER_S,
                                   .lost_after = 600 * NSEC_PER_S,
                                   .bookmark_interval = 3600 * NSEC_PER_S};
    REQUIRE(loop_open(&world.hub_loop, NULL) == 0);
    hub_init(&world.hub, &world.config, &world.hub_loop);
    world.hub.n_lanes = n_lanes;
    driver_init(&world.driver, &world.hub, NULL, NULL); /* it drives nothing */
    world.desk = (struct desk){&world.hub, &world.driver};
    world.hub.auth = auth;
    log_open();
    for (size_t i = 0; i < n_lanes; i++) {
        REQUIRE(loop_open(&world.loops[i], NULL) == 0);
        REQUIRE(lane_init(&world.lanes[i], i, &world.hub, &world.loops[i], NULL, NULL) == 0);
    }
}

static void close_world(void)
{
    calls_end();
    for (size_t i = 0; i < CLIENTS; i++)
        client_close(&world.clients[i]);
    log_close();
    while (atomic_load(&world.hub.in_flight))
        for (size_t i = 0; i <= world.n_lanes; i++)
            turn(i);
    for (size_t i = 0; i < world.n_lanes; i++) {
        lane_deinit(&world.lanes[i]);
        loop_close(&world.loops[i]);
    }
    world.hub.auth = NULL; /* it is not the hub's own here */
    hub_deinit(&world.hub);
    loop_close(&world.hub_loop);
}

static void run(uint64_t seed, size_t n_lanes)
{
    open_world(seed, n_lanes);
    for (int i = 0; i < STEPS && !tap_failed(); i++)
        step();
    settle();
    check_end();
    close_world();
    if (tap_failed())
        tap_note("seed %llu, %zu lanes", (unsigned long long)seed, n_lanes);
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    uint64_t value;

    return text && str_u64(str_c(text), &value) ? value : otherwise;
}

static void run_all(size_t n_lanes)
{
    uint64_t first = setting("TRIMTAB_LANES_FIRST", 1);
    uint64_t n = setting("TRIMTAB_LANES_SEEDS", getenv("TRIMTAB_QUICK") ? QUICK_SEEDS : SEEDS);

    memset(&counts, 0, sizeof(counts));
    log_setup(STDERR_FILENO, LOG_ERROR, LOG_TEXT);
    for (uint64_t seed = first; seed < first + n && !tap_failed(); seed++)
        run(seed, n_lanes);
    tap_note(
        "%llu seeds, %zu lanes: commits %llu, streams %llu, came back with a cursor %llu, "
        "waited for their lane %llu, "
        "refused %llu, replaced %llu, lies %llu, memory failed for a word %llu, claims "
        "judged %llu, reviews %llu, ended by them %llu, rights judged %llu, inventories %llu, "
        "calls that publish %llu, waits for a commit %llu, all have it %llu, looks at rollouts "
        "%llu, "
        "gray ones %llu, rollouts %llu, advanced %llu, confirmed %llu, rolled back %llu",
        (unsigned long long)n, n_lanes, (unsigned long long)counts.commits,
        (unsigned long long)counts.streams, (unsigned long long)counts.returned,
        (unsigned long long)counts.waited, (unsigned long long)counts.refusals,
        (unsigned long long)counts.replaced, (unsigned long long)counts.lies,
        (unsigned long long)counts.owing, (unsigned long long)counts.judged,
        (unsigned long long)counts.reviews, (unsigned long long)counts.ended,
        (unsigned long long)counts.entitled, (unsigned long long)counts.inventories,
        (unsigned long long)counts.published, (unsigned long long)counts.statuses,
        (unsigned long long)counts.fulfilled, (unsigned long long)counts.rollouts,
        (unsigned long long)counts.gray, (unsigned long long)counts.starts,
        (unsigned long long)counts.advances, (unsigned long long)counts.confirmations,
        (unsigned long long)counts.roll_backs);
}

TEST("with one lane, whatever the order of messages, nothing is claimed that was not said, and "
     "all is known in the end")
{
    run_all(1);
}

TEST("with four lanes, whatever the order of messages, nothing is claimed that was not said, "
     "and all is known in the end")
{
    run_all(LANES);
}
