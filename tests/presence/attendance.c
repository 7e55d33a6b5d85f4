/*
 * Attendance: words of streams in several lanes, in the orders in which they may come.
 */
#include "presence/attendance.h"

#include "tap.h"

enum { LANES = 3 };

struct world {
    struct roster roster;
    struct attendance attendance;
};

/* A lane has said all of a state with this revision. */
static void say_all(struct world *w, size_t lane, uint64_t revision)
{
    struct state *empty = state_new();
    struct state *state = state_apply(empty, &(struct effect){.n_versions = 0}, revision);

    attendance_said_all(&w->attendance, lane, state);
    (void)state_unref(state);
    (void)state_unref(empty);
}

static void open_world(struct world *w)
{
    roster_init(&w->roster);
    attendance_init(&w->attendance, &w->roster);
    for (size_t i = 0; i < LANES; i++) {
        struct state *empty = state_new();

        attendance_add_lane(&w->attendance, empty);
        (void)state_unref(empty);
        say_all(w, i, 5);
    }
}

static void close_world(struct world *w)
{
    attendance_deinit(&w->attendance);
    roster_deinit(&w->roster);
}

static struct introduction *introduce(const char *id)
{
    Trimtab__V1__Hello hello = TRIMTAB__V1__HELLO__INIT;
    Trimtab__V1__Instance instance = TRIMTAB__V1__INSTANCE__INIT;
    Trimtab__V1__Scope scope = TRIMTAB__V1__SCOPE__INIT, *scopes[] = {&scope};
    char name[] = "s", space[] = "a", *spaces[] = {space};
    struct introduction *who = NULL;

    instance.id = (char *)(uintptr_t)id;
    scope.name = name;
    scope.namespaces = spaces;
    scope.n_namespaces = 1;
    hello.protocol = 1;
    hello.instance = &instance;
    hello.scopes = scopes;
    hello.n_scopes = 1;
    CHECK(introduction_new(
              &(struct introduction_opts){
                  .hello = &hello, .owner = "web", .peer = "here", .transport = "grpc"},
              &who, NULL) == 0);
    return who;
}

/* A stream of lane; the older one that has lost the instance. */
static struct attendee *arrive(struct world *w, struct attendee *one, struct introduction *who,
                               size_t lane)
{
    struct attendee *older = NULL;

    *one = (struct attendee){.who = who, .lane = lane};
    CHECK_I64(attendance_arrive(&w->attendance, one, 1, 1, &older, NULL), 0);
    return older;
}

static int stand(struct world *w, struct attendee *one, uint64_t proved)
{
    struct moment at = {.now = 1, .now_ms = 1};
    struct standing standing = {.complete = proved, .proved = proved, .proof = PROOF_HOLDS};

    return attendance_stand(&w->attendance, one, &standing, true, &at);
}

static uint64_t proved(const struct world *w, const char *id)
{
    return roster_find(&w->roster, str_c(id))->presence->standing.proved;
}

TEST("records are complete up to where the slowest lane is")
{
    struct world w;

    open_world(&w);
    CHECK_U64(w.roster.complete, 5);
    say_all(&w, 0, 9);
    say_all(&w, 1, 7);
    CHECK_U64(w.roster.complete, 5);
    say_all(&w, 2, 8);
    CHECK_U64(w.roster.complete, 7);
    close_world(&w);
}

TEST("of an instance the newest stream is heard: what an older one says is too late, its "
     "goodbye "
     "too")
{
    struct world w;
    struct attendee older, newer;
    struct introduction *who = introduce("i");

    open_world(&w);
    CHECK(arrive(&w, &older, who, 0) == NULL);
    CHECK_I64(stand(&w, &older, 5), 0);
    CHECK(arrive(&w, &newer, who, 1) == &older);
    CHECK_I64(stand(&w, &newer, 6), 0);
    say_all(&w, 0, 9);
    say_all(&w, 1, 7);
    CHECK_U64(attendance_state(&w.attendance, newer.instance)->revision, 7);
    CHECK_I64(stand(&w, &older, 4), 0);
    CHECK_U64(proved(&w, "i"), 6);
    attendance_depart(&w.attendance, &older, 2, 2);
    CHECK_U64(w.roster.n_connected, 1);
    CHECK(roster_find(&w.roster, STR("i"))->presence->is_connected);
    attendance_depart(&w.attendance, &newer, 3, 3);
    CHECK_U64(w.roster.n_connected, 0);
    (void)introduction_unref(who);
    close_world(&w);
}

TEST("a lane is not complete while memory has failed for a word of it, until that is said "
     "again or "
     "its stream is gone")
{
    struct world w;
    struct introduction *who = introduce("i");

    open_world(&w);
    for (int departs = 0; departs < 2; departs++) {
        struct attendee one;
        struct presence *read;
        uint64_t head = 10 + (uint64_t)departs;

        (void)arrive(&w, &one, who, 0);
        say_all(&w, 1, head);
        say_all(&w, 2, head);
        read = presence_ref(roster_find(&w.roster, STR("i"))->presence); /* so it is copied */
        (void)mem_fail_once(0);
        CHECK_I64(stand(&w, &one, 9), ERR_NOMEM);
        (void)mem_fail_once(UINT64_MAX);
        say_all(&w, 0, head);
        CHECK(w.roster.complete < head);
        CHECK(attendance_state(&w.attendance, one.instance) == NULL);
        if (departs)
            attendance_depart(&w.attendance, &one, 2, 2);
        else
            CHECK_I64(stand(&w, &one, 9), 0);
        say_all(&w, 0, head);
        CHECK_U64(w.roster.complete, head);
        if (!departs)
            attendance_depart(&w.attendance, &one, 2, 2);
        (void)presence_unref(read);
    }
    (void)introduction_unref(who);
    close_world(&w);
}
