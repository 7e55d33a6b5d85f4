/*
 * The roster: who may be which instance, what is kept of one, and for how long.
 */
#include "presence/roster.h"

#include "tap.h"

static struct instance *connect(struct roster *r, const char *id, const char *start,
                                const char *owner, void *stream)
{
    char id_text[32], boot[16];
    Trimtab__V1__Instance who = TRIMTAB__V1__INSTANCE__INIT;
    Trimtab__V1__Hello hello = TRIMTAB__V1__HELLO__INIT;
    char *spaces[] = {boot};
    Trimtab__V1__Scope scope = TRIMTAB__V1__SCOPE__INIT, *scopes[] = {&scope};
    struct introduction *in;
    struct instance *i;

    (void)snprintf(id_text, sizeof(id_text), "%s", id);
    (void)snprintf(boot, sizeof(boot), "%s", start);
    who.id = id_text;
    who.boot_id = (ProtobufCBinaryData){strlen(boot), (uint8_t *)boot};
    scope.namespaces = spaces;
    scope.n_namespaces = 1;
    hello.instance = &who;
    hello.scopes = scopes;
    hello.n_scopes = 1;
    if (introduction_new(&(struct introduction_opts){&hello, owner, "peer", "grpc"}, &in, NULL))
        return NULL;
    i = roster_admit(r, in, 1, NULL) ? NULL : roster_connect(r, in, stream, 1, 1);
    (void)introduction_unref(in);
    return i;
}

/* The same with another id, of a credential; false: it was not admitted. */
static bool come_and_go(struct roster *r, const char *id, const char *owner, int64_t now_ms)
{
    int stream;
    struct instance *i = connect(r, id, "one", owner, &stream);

    if (i)
        roster_leave(r, i, &stream, 1, now_ms);
    return i;
}

static int say_health(struct roster *r, struct instance *i, char *reason)
{
    Trimtab__V1__Health health = TRIMTAB__V1__HEALTH__INIT;
    struct verdict *v;
    int rc;

    health.failing = true;
    health.reason = reason;
    health.revision = 7;
    v = verdict_new(&health);
    rc = v ? roster_health(r, i, v, 5) : ERR_NOMEM;
    (void)verdict_unref(v);
    return rc;
}

static int streams[5];

TEST("a health is kept over a reconnect, and forgotten when the program starts anew")
{
    char reason[] = "no answer";
    struct roster r;
    struct instance *i;

    roster_init(&r);
    i = connect(&r, "a", "one", "web", &streams[0]);
    REQUIRE(i && !say_health(&r, i, reason));
    REQUIRE(connect(&r, "a", "one", "web", &streams[1]) == i && i->presence->health);
    CHECK_STR(str_c(i->presence->health->health->reason), str_c(reason));
    CHECK_U64(i->presence->health->health->revision, 7);
    REQUIRE(connect(&r, "a", "two", "web", &streams[2]) == i);
    CHECK(!i->presence->health);
    roster_deinit(&r);
}

TEST("what is said anew takes the place of what was said, and who waits sees it")
{
    char first[] = "first", second[] = "second";
    struct roster r;
    struct instance *i;
    uint64_t stamp;

    roster_init(&r);
    i = connect(&r, "a", "one", "web", &streams[0]);
    REQUIRE(i && !say_health(&r, i, first));
    stamp = r.stamp;
    REQUIRE(!say_health(&r, i, second));
    CHECK_STR(str_c(i->presence->health->health->reason), STR("second"));
    CHECK_I64(i->presence->seen_ms, 5);
    CHECK(r.stamp > stamp);
    roster_deinit(&r);
}

TEST("who holds a record sees one moment, whatever comes after it")
{
    char first[] = "first", second[] = "second";
    struct roster r;
    struct instance *i;
    struct presence *held;

    roster_init(&r);
    i = connect(&r, "a", "one", "web", &streams[0]);
    REQUIRE(i && !say_health(&r, i, first));
    held = presence_ref(i->presence);
    REQUIRE(!say_health(&r, i, second));
    roster_leave(&r, i, &streams[0], 1, 9);
    CHECK_STR(str_c(held->health->health->reason), STR("first"));
    CHECK(held->is_connected);
    CHECK(!i->presence->is_connected);
    CHECK_I64(i->presence->seen_ms, 9);
    roster_deinit(&r);
    CHECK_STR(str_c(presence_id(held)), STR("a"));
    (void)presence_unref(held);
}

TEST("a connected instance is not another credential's, and its older stream takes nothing "
     "with it")
{
    struct roster r;
    struct instance *i;

    roster_init(&r);
    i = connect(&r, "a", "one", "web", &streams[0]);
    REQUIRE(i != NULL);
    CHECK(!connect(&r, "a", "one", "other", &streams[1]));
    REQUIRE(connect(&r, "a", "one", "web", &streams[2]) == i);
    CHECK_U64(r.n_connected, 1);
    roster_leave(&r, i, &streams[0], 1, 9); /* the one that was replaced */
    CHECK(i->presence->is_connected);
    CHECK_U64(r.n_connected, 1);
    roster_deinit(&r);
}

TEST("who is away is forgotten after its time, the one that left first before the others")
{
    struct roster r;
    struct instance *a, *b;

    roster_init(&r);
    a = connect(&r, "a", "one", "web", &streams[0]);
    b = connect(&r, "b", "one", "web", &streams[1]);
    REQUIRE(a && b && connect(&r, "c", "one", "web", &streams[2]));
    roster_leave(&r, b, &streams[1], 1, 10);
    roster_leave(&r, a, &streams[0], 1, 20);
    roster_expire(&r, 115, 100);
    CHECK(!roster_find(&r, STR("b")));
    CHECK(roster_find(&r, STR("a")));
    roster_expire(&r, 1000, 100);
    CHECK(!roster_find(&r, STR("a")));
    CHECK(roster_find(&r, STR("c"))); /* connected, so not away */
    roster_deinit(&r);
}

TEST("a reason is cut to a kilobyte where a character ends")
{
    char reason[3 * VERDICT_REASON_MAX + 1];
    struct roster r;
    struct instance *i;

    for (size_t at = 0; at < sizeof(reason) - 1; at += 3)
        memcpy(reason + at, "\xe2\x82\xac", 3);
    reason[sizeof(reason) - 1] = '\0';
    roster_init(&r);
    i = connect(&r, "a", "one", "web", &streams[0]);
    REQUIRE(i && !say_health(&r, i, reason));
    CHECK_U64(strlen(i->presence->health->health->reason), VERDICT_REASON_MAX / 3 * 3);
    roster_deinit(&r);
}

TEST("without memory the older words hold, nothing is half there, and nothing leaks")
{
    char first[] = "first", second[] = "second";

    ALLOC_SWEEP (n) {
        struct roster r;
        struct instance *i;
        struct presence *held;

        roster_init(&r);
        i = connect(&r, "a", "one", "web", &streams[0]);
        CHECK_U64(r.n_connected, i != NULL);
        if (i && !say_health(&r, i, first)) {
            held = presence_ref(i->presence);
            if (say_health(&r, i, second))
                CHECK_STR(str_c(i->presence->health->health->reason), STR("first"));
            (void)presence_unref(held);
        }
        roster_deinit(&r);
    }
}

/* ---- states ---- */

static struct moment moment = {.now = 100, .now_ms = 1000, .complete = 9, .ack_late = 10};

static int stand(struct roster *r, struct instance *i, struct standing *s, int64_t now_ms)
{
    struct moment at = moment;

    at.now_ms = now_ms;
    return roster_stand(r, i, s, true, &at);
}

TEST("a state is only good when it is proved")
{
    struct roster r;
    struct instance *i;
    struct standing s = {.complete = 9, .concerned = 5};

    roster_init(&r);
    i = connect(&r, "a", "one", "web", &streams[0]);
    REQUIRE(i != NULL);
    CHECK_I64(presence_state(i->presence, &moment), PRESENCE_PENDING);
    s.owes_since = 1;
    REQUIRE(!stand(&r, i, &s, 2));
    CHECK_I64(presence_state(i->presence, &moment), PRESENCE_STALE);
    s = (struct standing){.complete = 9, .concerned = 5, .applied = 5, .proof = PROOF_WRONG};
    REQUIRE(!stand(&r, i, &s, 3));
    CHECK_I64(presence_state(i->presence, &moment), PRESENCE_UNPROVEN);
    CHECK(!presence_has_reached(i->presence, 1, &moment));
    s = (struct standing){.complete = 9, .concerned = 5, .proved = 7, .proof = PROOF_HOLDS};
    REQUIRE(!stand(&r, i, &s, 4));
    CHECK_I64(presence_state(i->presence, &moment), PRESENCE_OK);
    CHECK(presence_has_reached(i->presence, 9, &moment));   /* nothing since concerned it */
    CHECK(!presence_has_reached(i->presence, 10, &moment)); /* nobody knows yet */
    CHECK_U64(presence_serving_revision(i->presence), 5);
    s = (struct standing){.complete = 9, .concerned = 8, .proved = 7, .proof = PROOF_HOLDS};
    REQUIRE(!stand(&r, i, &s, 5));
    CHECK_I64(presence_state(i->presence, &moment), PRESENCE_PENDING);
    CHECK(presence_has_reached(i->presence, 7, &moment));
    CHECK(!presence_has_reached(i->presence, 8, &moment));
    roster_deinit(&r);
}

TEST("who excepts something serves an older revision than it should, and says of which kind it "
     "is")
{
    static const struct {
        char code[16];
        enum presence_state state;
    } kinds[] = {{"CHECK_FAILED", PRESENCE_ERROR},
                 {"HELD_DELETION", PRESENCE_HELD},
                 {"DRIFTED", PRESENCE_DRIFTED}};
    struct roster r;
    struct instance *i;

    roster_init(&r);
    i = connect(&r, "a", "one", "web", &streams[0]);
    REQUIRE(i != NULL);
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        Trimtab__V1__Ack ack = TRIMTAB__V1__ACK__INIT;
        Trimtab__V1__Refusal f = TRIMTAB__V1__REFUSAL__INIT, *list[] = {&f};
        char code[16];
        struct standing s = {.concerned = 5, .proved = 5, .proof = PROOF_HOLDS};

        REQUIRE(!stand(&r, i, &s, 4)); /* once it served all of revision 5 */
        memcpy(code, kinds[k].code, sizeof(code));
        f.code = code;
        ack.refused = list;
        ack.n_refused = 1;
        s = (struct standing){.concerned = 7, .proved = 7, .proof = PROOF_HOLDS};
        s.report = report_new(&ack);
        REQUIRE(s.report && !stand(&r, i, &s, 4));
        CHECK_I64(presence_state(i->presence, &moment), kinds[k].state);
        CHECK_U64(presence_serving_revision(i->presence), 5);
    }
    roster_leave(&r, i, &streams[0], 1, 500);
    CHECK_I64(presence_state(i->presence, &moment), PRESENCE_OFFLINE);
    moment.lost_after = 100;
    CHECK_I64(presence_state(i->presence, &moment), PRESENCE_LOST);
    roster_deinit(&r);
}

/* One exception of this kind, in a report that was judged so. */
static int excepts(struct roster *r, struct instance *i, const char *kind, enum proof proof)
{
    Trimtab__V1__Ack ack = TRIMTAB__V1__ACK__INIT;
    Trimtab__V1__Refusal f = TRIMTAB__V1__REFUSAL__INIT, *list[] = {&f};
    struct standing s = {.complete = 9, .concerned = 7, .applied = 7, .proof = proof};
    char code[16];

    (void)snprintf(code, sizeof(code), "%s", kind);
    f.code = code;
    ack.refused = list;
    ack.n_refused = 1;
    s.proved = proof == PROOF_HOLDS ? 7 : 0;
    s.report = report_new(&ack);
    return s.report ? stand(r, i, &s, 4) : ERR_NOMEM;
}

TEST("held or drifted is only who proves the rest of its view; a refusal is believed, but not "
     "of "
     "what was not to be had")
{
    static const struct {
        const char *code;
        enum proof proof;
        enum presence_state state;
    } words[] = {
        {"HELD_DELETION", PROOF_HOLDS, PRESENCE_HELD},
        {"HELD_DELETION", PROOF_WRONG, PRESENCE_UNPROVEN},
        {"HELD_DELETION", PROOF_FOREIGN, PRESENCE_UNPROVEN},
        {"HELD_DELETION", PROOF_UNANNOUNCED, PRESENCE_UNPROVEN},
        {"HELD_DELETION", PROOF_NO_DIGEST, PRESENCE_UNPROVEN},
        {"HELD_DELETION", PROOF_NO_MEMORY, PRESENCE_UNPROVEN},
        {"HELD_DELETION", PROOF_OVERTAKEN, PRESENCE_PENDING},
        {"DRIFTED", PROOF_HOLDS, PRESENCE_DRIFTED},
        {"DRIFTED", PROOF_WRONG, PRESENCE_UNPROVEN},
        {"PAUSED", PROOF_HOLDS, PRESENCE_HELD},
        {"PAUSED", PROOF_WRONG, PRESENCE_UNPROVEN},
        {"CHECK_FAILED", PROOF_WRONG, PRESENCE_ERROR},
        {"CHECK_FAILED", PROOF_OVERTAKEN, PRESENCE_ERROR},
        {"CHECK_FAILED", PROOF_FOREIGN, PRESENCE_UNPROVEN},
    };
    struct roster r;
    struct instance *i;

    roster_init(&r);
    i = connect(&r, "a", "one", "web", &streams[0]);
    REQUIRE(i != NULL);
    for (size_t n = 0; n < ARRAY_LEN(words); n++) {
        REQUIRE(!excepts(&r, i, words[n].code, words[n].proof));
        if (!CHECK_STR(str_c(presence_state_name(presence_state(i->presence, &moment))),
                       str_c(presence_state_name(words[n].state))))
            tap_note("%s, judged %d", words[n].code, (int)words[n].proof);
    }
    roster_deinit(&r);
}

TEST("a report that proves nothing takes back what is served, whatever it excepts")
{
    struct roster r;
    struct instance *i;
    struct standing s = {.complete = 9, .concerned = 5, .proved = 5, .proof = PROOF_HOLDS};

    roster_init(&r);
    i = connect(&r, "a", "one", "web", &streams[0]);
    REQUIRE(i && !stand(&r, i, &s, 4));
    CHECK_U64(presence_serving_revision(i->presence), 5);
    REQUIRE(!excepts(&r, i, "CHECK_FAILED", PROOF_HOLDS));
    CHECK_U64(presence_serving_revision(i->presence), 5);
    REQUIRE(!excepts(&r, i, "CHECK_FAILED", PROOF_OVERTAKEN));
    CHECK_U64(presence_serving_revision(i->presence), 5);
    REQUIRE(!excepts(&r, i, "CHECK_FAILED", PROOF_WRONG));
    CHECK_U64(presence_serving_revision(i->presence), 0);
    roster_deinit(&r);
}

TEST("who is away is offline, not lost, for all of its time, and never what it was connected")
{
    struct roster r;
    struct instance *i;
    struct moment at = moment;
    struct standing s = {.complete = 9, .concerned = 5, .proved = 5, .proof = PROOF_HOLDS};

    roster_init(&r);
    i = connect(&r, "a", "one", "web", &streams[0]);
    REQUIRE(i && !stand(&r, i, &s, 4));
    roster_leave(&r, i, &streams[0], 1, 500);
    CHECK(!presence_has_reached(i->presence, 5, &at));
    at.lost_after = 0; /* never */
    CHECK_I64(presence_state(i->presence, &at), PRESENCE_OFFLINE);
    at.lost_after = 100;
    at.now_ms = 600;
    CHECK_I64(presence_state(i->presence, &at), PRESENCE_OFFLINE);
    at.now_ms = 601;
    CHECK_I64(presence_state(i->presence, &at), PRESENCE_LOST);
    roster_deinit(&r);
}

TEST("paused is who said so of this pause: not of the one before, nor of a retry, nor without "
     "taking orders")
{
    struct order pause = {.node.revision = 6, .what.kind = ORDER_PAUSE};
    struct moment at = moment;
    static const struct {
        struct standing says;
        bool is_paused;
    } words[] = {
        {{.takes_orders = true, .fleet_done = 6}, true},
        {{.takes_orders = true, .fleet_done = 5}, false},
        {{.takes_orders = true, .orders_done = 9}, false},
        {{.takes_orders = false, .fleet_done = 6}, false},
    };
    struct roster r;
    struct instance *i;

    roster_init(&r);
    i = connect(&r, "a", "one", "web", &streams[0]);
    REQUIRE(i != NULL);
    for (size_t n = 0; n < ARRAY_LEN(words); n++) {
        struct standing s = words[n].says;

        at.paused = 6;
        REQUIRE(!stand(&r, i, &s, 4));
        if (!CHECK(presence_is_paused(i->presence, &at) == words[n].is_paused))
            tap_note("word %zu", n);
        CHECK(presence_owes_order(i->presence, &pause) ==
              (words[n].says.takes_orders && !words[n].is_paused));
        at.paused = 0; /* the fleet is not */
        CHECK(!presence_is_paused(i->presence, &at));
    }
    roster_deinit(&r);
}

TEST("what is to be kept waits in the order in which it came, and newer proofs once a minute")
{
    struct roster r;
    struct instance *a, *b;
    struct standing s;

    roster_init(&r);
    a = connect(&r, "a", "one", "web", &streams[0]);
    b = connect(&r, "b", "one", "web", &streams[1]);
    REQUIRE(a && b);
    CHECK(r.due.next == &a->due && a->due.next == &b->due);
    moment.now = 2 * KEPT_EVERY_S * NSEC_PER_S;
    roster_kept(a, moment.now);
    CHECK(r.due.next == &b->due);
    s = (struct standing){.proved = 3, .proof = PROOF_HOLDS};
    REQUIRE(!stand(&r, a, &s, 1));
    CHECK(link_is_alone(&a->due)); /* it was written a moment ago */
    moment.now += KEPT_EVERY_S * NSEC_PER_S;
    s = (struct standing){.proved = 4, .proof = PROOF_HOLDS};
    REQUIRE(!stand(&r, a, &s, 1));
    CHECK(b->due.next == &a->due);
    roster_kept(a, moment.now);
    roster_leave(&r, a, &streams[0], moment.now, 9);
    CHECK(b->due.next == &a->due); /* that it is gone is written whenever it was */
    roster_deinit(&r);
}

TEST("ids that left do not lock a new host out, and stay their owner's")
{
    struct roster r;
    int64_t now_ms = 1;

    roster_init(&r);
    r.max = 8;
    CHECK(come_and_go(&r, "honest", "web", now_ms++));
    for (int i = 0; i < 40; i++) {
        char id[24];

        (void)snprintf(id, sizeof(id), "junk-%d", i);
        CHECK(come_and_go(&r, id, "junk", now_ms++));
        CHECK(r.instances.n <= r.max);
    }
    CHECK(roster_find(&r, STR("honest")) != NULL);
    CHECK(!roster_find(&r, STR("junk-0")));
    CHECK(!come_and_go(&r, "junk-0", "web", now_ms)); /* forgotten, and still not hers */
    CHECK(come_and_go(&r, "new", "web", now_ms++));
    roster_deinit(&r);
}

TEST("an offline instance is its credential's until somebody forgets it")
{
    struct roster r;
    struct instance *i;
    struct err err = ERR_NULL;

    roster_init(&r);
    i = connect(&r, "a", "one", "web", &streams[0]);
    REQUIRE(i != NULL);
    CHECK_I64(roster_forget(&r, STR("a"), &err), ERR_LOCKED);
    roster_leave(&r, i, &streams[0], 1, 5);
    CHECK(!connect(&r, "a", "one", "other", &streams[1]));
    CHECK_I64(roster_forget(&r, STR("a"), &err), 0);
    CHECK_I64(roster_forget(&r, STR("a"), &err), ERR_NOT_FOUND);
    CHECK(connect(&r, "a", "one", "other", &streams[1]) != NULL);
    roster_deinit(&r);
}

TEST("who was not let in for lack of memory has not taken the id")
{
    uint64_t n = 0;
    bool is_in = false;

    for (; !is_in; n++) {
        struct roster r;

        roster_init(&r);
        (void)mem_fail_once(n);
        is_in = connect(&r, "a", "one", "first", &streams[0]) != NULL;
        (void)mem_fail_once(UINT64_MAX);
        if (!CHECK(is_in || connect(&r, "a", "one", "second", &streams[1])))
            tap_note("allocation %llu", (unsigned long long)n);
        roster_deinit(&r);
    }
    CHECK(n > 3);
}

TEST("instances are walked in the order of their ids, those that came and went meanwhile left out")
{
    static const char *const ids[] = {"m", "b", "z", "a", "k"};
    struct roster r;
    struct sorted_walk w;
    struct instance *i;
    char seen[8] = "";

    roster_init(&r);
    for (size_t n = 0; n < ARRAY_LEN(ids); n++)
        REQUIRE(connect(&r, ids[n], "one", "web", &streams[n]) != NULL);
    i = roster_find(&r, STR("k"));
    roster_leave(&r, i, &streams[4], 1, 5);
    CHECK_I64(roster_forget(&r, STR("k"), NULL), 0);
    sorted_walk_after(&w, &r.by_id, STR("a"));
    while ((i = roster_walk_next(&w)))
        (void)strncat(seen, i->id, 1);
    CHECK(strcmp(seen, "bmz") == 0);
    roster_deinit(&r);
    CHECK(r.by_id.root == NULL);
}
