/*
 * Hub and lanes under a seeded scheduler: the real ones, without a network, on loops that take turns as chance says. So the
 * messages between them arrive in every order that threads could give, and each run can be repeated by its seed.
 *
 * Subscribers keep what they are sent and say what they have; some lie, some are another credential's, some come back to another
 * lane with a cursor. What the hub claims of them is compared, after each of its turns, with what they truly said.
 *
 *   TRIMTAB_LANES_SEEDS (how many), TRIMTAB_LANES_FIRST (the first one)
 */
#include "feed/peer.h"
#include "base/log.h"
#include "server/lane/subscribe.h"

#include <unistd.h>

enum {
    LANES = 4,
    IDS = 8,
    CLIENTS = 12,
    NAMES = 6,
    STEPS = 400,
    REVISIONS = STEPS + 2,
    SETTLING = 60, /* rounds */
    SEEDS = 120,
    QUICK_SEEDS = 20,
};

/* One stream. */
struct client {
    struct subscriber subscriber;
    struct peer peer; /* what it has; its session is the subscriber's */
    int id;
    bool is_open, is_thief, is_refused, must_go;
    bool has_waiting_hello;
    bool has_batch, has_lied;
};

/* What is true of an id, whatever the server knows. */
struct truth {
    uint64_t said
        [REVISIONS]; /* revisions whose content one of its streams truly said that it serves */
    size_t n;
};

static struct {
    struct rng rng;
    struct config config;
    struct hub hub;
    struct loop hub_loop, loops[LANES];
    struct lane lanes[LANES];
    size_t n_lanes;
    struct client clients[CLIENTS];
    struct truth truths[IDS];
    uint64_t changed
        [REVISIONS]; /* the newest revision up to that one which changed what everybody wants */
    struct digest digests[REVISIONS];
    int counter;
    uint64_t seed;
    bool fails; /* memory does, now and then */
} world;

/* How often what a run is for has happened, over all of them. */
static struct {
    uint64_t commits, streams, returned, waited, lies, refusals, replaced, owing, judged;
} counts;

static uint64_t below(uint64_t n)
{
    return rng_below(&world.rng, n);
}

static struct client *client_of(struct subscriber *s)
{
    return CONTAINER_OF(s, struct client, subscriber);
}

/* ---- a subscriber ---- */

static void client_close(struct client *c)
{
    if (!c->is_open)
        return;
    subscriber_deinit(&c->subscriber);
    *c = (struct client){.is_open = false};
}

static void pull(struct subscriber *s)
{
    struct client *c = client_of(s);
    struct feed_frame frame;

    CHECK(s->is_taken && !c->is_refused); /* nobody gets a byte before it was let in */
    while (feed_session_pull(s->session, loop_now(s->lane->loop), &frame) == FEED_FRAME) {
        int ends = c->peer.ends;

        peer_take(&c->peer, &frame);
        c->has_batch |= c->peer.ends > ends;
    }
}

static void refused(struct subscriber *s, const struct err *err)
{
    struct client *c = client_of(s);

    CHECK(err->code == ERR_DENIED ||
          err->code == ERR_NOMEM); /* another credential had the id first */
    c->is_refused = c->must_go = true;
    counts.refusals++;
}

static void leave(struct subscriber *s, const char *reason)
{
    (void)reason;
    client_of(s)->must_go = true;
    counts.replaced++;
}

static const struct subscriber_ops ops = {
    .transport = "test", .pull = pull, .refused = refused, .leave = leave};

static void say(struct client *c, const Trimtab__V1__ClientFrame *frame)
{
    struct err err = ERR_NULL;

    if (subscriber_frame(&c->subscriber, frame, &err))
        c->must_go = true;
}

/* What it has proves that it has this revision, if it has what the log says of it. */
static void note_truth(struct client *c, uint64_t revision)
{
    struct truth *t = &world.truths[c->id];

    if (digest_eq(peer_digest(&c->peer), world.digests[revision]) && t->n < REVISIONS)
        t->said[t->n++] = revision;
}

static void acknowledge(struct client *c, bool lies)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Ack ack = TRIMTAB__V1__ACK__INIT;
    unsigned char received[DIGEST_BYTES], serving[DIGEST_BYTES];

    digest_put(peer_digest(&c->peer), received);
    memcpy(serving, received, sizeof(serving));
    serving[3] ^= lies;
    ack.stage = TRIMTAB__V1__STAGE__APPLIED;
    ack.revision = c->peer.revision;
    ack.received_digest = (ProtobufCBinaryData){DIGEST_BYTES, received};
    ack.serving_digest = (ProtobufCBinaryData){DIGEST_BYTES, serving};
    frame.ack = &ack;
    c->has_batch = false;
    c->has_lied = lies;
    counts.lies += lies;
    if (!lies)
        note_truth(c, c->peer.revision);
    say(c, &frame);
}

/* A hello, with a cursor when it has had something; false: it has to wait for its lane. */
static bool greet(struct client *c)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Hello hello = TRIMTAB__V1__HELLO__INIT;
    Trimtab__V1__Scope scope = TRIMTAB__V1__SCOPE__INIT, *scopes[] = {&scope};
    Trimtab__V1__Instance instance = TRIMTAB__V1__INSTANCE__INIT;
    Trimtab__V1__Cursor cursor = TRIMTAB__V1__CURSOR__INIT;
    char id[16], name[] = "a", space[] = "a", *spaces[] = {space}, boot[] = "b";
    unsigned char digest[DIGEST_BYTES];

    (void)snprintf(id, sizeof(id), "i%d", c->id);
    instance.id = id;
    instance.boot_id = (ProtobufCBinaryData){1, (uint8_t *)boot};
    scope.name = name;
    scope.namespaces = spaces;
    scope.n_namespaces = 1;
    hello.protocol = 1;
    hello.instance = &instance;
    hello.scopes = scopes;
    hello.n_scopes = 1;
    digest_put(peer_digest(&c->peer), digest);
    cursor.store_id = (ProtobufCBinaryData){STORE_ID_BYTES, world.hub.identity.id.bytes};
    cursor.revision = c->peer.revision;
    cursor.digest = (ProtobufCBinaryData){DIGEST_BYTES, digest};
    cursor.count = 1;
    hello.cursor = c->peer.revision ? &cursor : NULL;
    frame.hello = &hello;
    counts.returned += hello.cursor != NULL;
    if (subscriber_must_wait(c->subscriber.lane, &hello)) {
        counts.waited++;
        return false;
    }
    c->has_waiting_hello = false;
    say(c, &frame);
    return true;
}

/* As the server knows who comes with this certificate, now and when it looks again. */
static void identify(struct str certificate, struct identity *ret_who)
{
    owned(auth_record_unref) struct auth_record *r = auth_current(world.hub.auth);
    struct credentials c = {.tls_name = certificate};

    REQUIRE(auth_identify(r, &c, loop_now(&world.hub_loop), ret_who, NULL) == 0);
}

/* Another stream of an id, which may have one; it knows what `before` had. */
static void come(struct client *c, int id, const struct peer *before)
{
    struct lane *lane = &world.lanes[below(world.n_lanes)];
    struct identity who;

    *c = (struct client){.id = id, .is_thief = below(12) == 0};
    if (before && !c->is_thief) {
        memcpy(c->peer.held, before->held, sizeof(before->held));
        c->peer.n_held = before->n_held;
        c->peer.revision = before->revision;
    }
    identify(c->is_thief ? STR("thief") : STR("web"), &who);
    if (!CHECK(subscriber_init(&c->subscriber, lane, &ops, STR("peer"), &who,
                               FEED_CLIENT_ANSWERS, NULL) == 0))
        return;
    c->peer.session = c->subscriber.session;
    c->is_open = true;
    counts.streams++;
    c->has_waiting_hello = !greet(c);
}

/* ---- the log ---- */

static struct version *make_version(const char *id, uint64_t revision)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    char content[16];
    struct name name;

    if (name_parse(str_c(id), &name, NULL))
        return NULL;
    name_put_key(name, &key);
    (void)snprintf(content, sizeof(content), "%d", ++world.counter); /* never twice the same */
    return version_with_wire(&(struct version_opts){.key = buf_str(&key),
                                                    .content_type = STR("text/plain"),
                                                    .content = str_c(content),
                                                    .number = revision,
                                                    .revision = revision});
}

static void note_digest(struct state *state)
{
    owned(arena) struct arena a = ARENA_NULL;
    Trimtab__V1__Scope scope = TRIMTAB__V1__SCOPE__INIT, *scopes[] = {&scope};
    Trimtab__V1__Instance instance = TRIMTAB__V1__INSTANCE__INIT;
    char name[] = "a", space[] = "a", *spaces[] = {space};
    struct scope *made;
    struct viewing viewing = {.state = state};
    uint64_t count;

    scope.name = name;
    scope.namespaces = spaces;
    scope.n_namespaces = 1;
    if (!CHECK(scopes_from_proto(scopes, 1, &instance, &a, &made, NULL) == 0))
        return;
    viewing.scope = made;
    CHECK(scope_digest(&viewing, &world.digests[state->revision], &count) == 0);
}

static void on_arrival(struct post *post, void *ctx)
{
    struct publication_way *way = ctx;
    struct publication *p = way->publication;

    (void)post;
    lane_publish(way->to, p->state, p->versions.at, p->versions.n);
    (void)publication_unref(p);
    hub_end_flight(&world.hub);
}

/* As the server does it: the hub has it first, then it is on its way to the lanes. */
static void publish(void)
{
    struct publication *p = mem_zalloc(sizeof(*p) + LANES * sizeof(struct publication_way));
    uint64_t revision = world.hub.state->revision + 1;
    bool concerns = below(4) != 0;
    char id[16];
    struct version *v;

    (void)snprintf(id, sizeof(id), "%s/item/n%d", concerns ? "a" : "z", (int)below(NAMES));
    v = make_version(id, revision);
    if (!CHECK(p && v))
        return;
    atomic_init(&p->refs, 1);
    p->state = state_apply(world.hub.state, &(struct effect){.versions = &v, .n_versions = 1},
                           revision);
    if (!CHECK(p->state && VEC_PUSH(&p->versions, v)))
        return;
    note_digest(p->state);
    counts.commits++;
    world.changed[revision] = concerns ? revision : world.changed[revision - 1];
    hub_set_state(&world.hub, p->state);
    for (size_t i = 0; i < world.n_lanes; i++) {
        hub_begin_flight(&world.hub);
        p->ways[i] =
            (struct publication_way){.publication = publication_ref(p), .to = &world.lanes[i]};
        p->ways[i].post = (struct post){.fn = on_arrival, .ctx = &p->ways[i]};
        loop_post(&world.loops[i], &p->ways[i].post);
    }
    (void)publication_unref(p);
}

/* ---- what must hold ---- */

/* Whether somebody of this id has truly said a content that was that of this revision or a newer one. */
static bool is_true(const struct truth *t, uint64_t revision)
{
    for (size_t i = 0; i < t->n; i++) {
        uint64_t said = t->said[i];

        if (said >= revision || world.changed[said] == world.changed[revision])
            return true;
    }
    return false;
}

/* The hub claims nothing of an instance that it did not truly say, and nothing beyond what all lanes have said. */
static void judge(void)
{
    struct moment at = hub_moment(&world.hub);
    uint64_t head = world.hub.state->revision;

    CHECK(at.complete <= head);
    for (size_t i = 0; i < world.n_lanes; i++)
        counts.owing += world.hub.attendance.n_owing[i] != 0;
    for (int i = 0; i < IDS; i++) {
        char id[16];
        const struct instance *one;

        (void)snprintf(id, sizeof(id), "i%d", i);
        one = roster_find(&world.hub.roster, str_c(id));
        for (uint64_t r = world.changed[head]; one && r <= at.complete; r++, counts.judged++)
            if (one->presence->is_connected && presence_has_reached(one->presence, r, &at) &&
                !CHECK(is_true(&world.truths[i], r)))
                tap_note("seed %llu: %s is said to have reached %llu",
                         (unsigned long long)world.seed, id, (unsigned long long)r);
    }
}

/* ---- chance ---- */

/* A turn in which somebody reads all records, so that they are copied to be changed, and memory fails for one. */
static void turn_hub_failing(void)
{
    struct presence *read[IDS] = {NULL};

    for (int i = 0; i < IDS; i++) {
        char id[16];
        const struct instance *one;

        (void)snprintf(id, sizeof(id), "i%d", i);
        one = roster_find(&world.hub.roster, str_c(id));
        read[i] = one ? presence_ref(one->presence) : NULL;
    }
    (void)mem_fail_once(below(4));
    loop_turn(&world.hub_loop, LOOP_POLL);
    (void)mem_fail_once(UINT64_MAX);
    for (int i = 0; i < IDS; i++)
        (void)presence_unref(read[i]);
}

static void turn(size_t i)
{
    if (i == world.n_lanes) {
        if (below(5) == 0 && world.fails)
            turn_hub_failing();
        else
            loop_turn(&world.hub_loop, LOOP_POLL);
        judge();
        return;
    }
    loop_turn(&world.loops[i], LOOP_POLL);
    for (size_t n = 0; n < CLIENTS; n++) {
        struct client *c = &world.clients[n];

        if (c->is_open && c->must_go)
            client_close(c);
        else if (c->is_open && c->has_waiting_hello && c->subscriber.lane == &world.lanes[i])
            (void)greet(c);
    }
}

static void act_on(struct client *c)
{
    struct peer before;

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
            acknowledge(c, below(5) == 0);
        break;
    default:
        if (c->has_batch)
            acknowledge(c, false);
        break;
    }
}

static void step(void)
{
    struct client *c = &world.clients[below(CLIENTS)];

    if (below(6) == 0)
        publish();
    if (!c->is_open && below(3) == 0)
        come(c, (int)below(IDS), NULL);
    else if (c->is_open && !c->must_go && !c->has_waiting_hello)
        act_on(c);
    turn(below(world.n_lanes + 1));
}

/* Everybody says what it has, everything arrives. Memory fails for some of the last words, too. */
static void settle(void)
{
    for (int round = 0; round < SETTLING; round++) {
        world.fails &= round < SETTLING / 2;
        for (size_t i = 0; i < CLIENTS; i++) {
            struct client *c = &world.clients[i];

            if (c->is_open && !c->must_go && !c->has_waiting_hello && c->subscriber.is_taken &&
                (c->has_batch || c->has_lied))
                acknowledge(c, false);
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
    CHECK_U64(at.complete, head);
    for (size_t i = 0; i < CLIENTS; i++) {
        const struct client *c = &world.clients[i];
        char id[16];
        const struct instance *one;

        if (!c->is_open)
            continue;
        (void)snprintf(id, sizeof(id), "i%d", c->id);
        one = roster_find(&world.hub.roster, str_c(id));
        n++;
        if (CHECK(one && seat_of(one) == c->subscriber.seat) &&
            !CHECK(presence_has_reached(one->presence, head, &at)))
            tap_note("%s: state %s", id,
                     presence_state_name(presence_state(one->presence, &at)));
        CHECK(one && strcmp(one->presence->introduction->owner, c->subscriber.who.name) == 0);
        CHECK(digest_eq(peer_digest(&c->peer), world.digests[head]));
    }
    CHECK_U64(world.hub.roster.n_connected, n);
}

/* ---- a world ---- */

static void open_world(uint64_t seed, size_t n_lanes)
{
    static struct auth *auth; /* one for all worlds: it is only asked */
    struct state *empty = state_new();
    bool is_new;

    if (!auth)
        REQUIRE(auth_open(tap_tmpdir(), "admin", &auth, &is_new, NULL) == 0);
    memset(&world, 0, sizeof(world));
    world.seed = seed;
    world.n_lanes = n_lanes;
    world.rng.state = seed;
    world.fails = below(2) == 0;
    world.config = (struct config){.ack_late = 600 * NSEC_PER_S,
                                   .lost_after = 600 * NSEC_PER_S,
                                   .bookmark_interval = 3600 * NSEC_PER_S};
    REQUIRE(empty && loop_open(&world.hub_loop, NULL) == 0);
    hub_init(&world.hub, &world.config, &world.hub_loop);
    world.hub.n_lanes = n_lanes;
    memset(world.hub.identity.id.bytes, 7, STORE_ID_BYTES);
    world.hub.auth = auth;
    hub_set_state(&world.hub, empty);
    (void)state_unref(empty);
    for (size_t i = 0; i < n_lanes; i++) {
        REQUIRE(loop_open(&world.loops[i], NULL) == 0);
        REQUIRE(lane_init(&world.lanes[i], i, &world.hub, &world.loops[i], NULL, NULL) == 0);
    }
}

static void close_world(void)
{
    for (size_t i = 0; i < CLIENTS; i++)
        client_close(&world.clients[i]);
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
    tap_note("%llu seeds, %zu lanes: commits %llu, streams %llu, came back with a cursor %llu, "
             "waited for their lane %llu, "
             "refused %llu, replaced %llu, lies %llu, memory failed for a word %llu, claims "
             "judged %llu",
             (unsigned long long)n, n_lanes, (unsigned long long)counts.commits,
             (unsigned long long)counts.streams, (unsigned long long)counts.returned,
             (unsigned long long)counts.waited, (unsigned long long)counts.refusals,
             (unsigned long long)counts.replaced, (unsigned long long)counts.lies,
             (unsigned long long)counts.owing, (unsigned long long)counts.judged);
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
