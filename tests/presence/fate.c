/*
 * Fates: whom a wait for a commit waits for, and for whom it does not.
 */
#include "presence/fate.h"

#include "proto/subject.h"
#include "unit/commits.h"

struct world {
    struct state *state;
    struct roster roster;
    struct instance *one;
    struct moment at;
    struct str key;
    struct buf room;
    struct commit_look look;
};

static int publish(struct world *w, const char *id, const char *content)
{
    struct change change = {.id = str_c(id), .content = str_c(content)};
    struct err err;

    return commit_changes(&w->state, &change, 1, &err);
}

/* An instance "web-1" that wants the namespace a, as it says hello. */
static bool connect_one(struct world *w)
{
    char id[] = "web-1", name[] = "s", space[] = "a", *spaces[] = {space};
    char feature[] = FEATURE_ROLLOUTS, *features[] = {feature};
    Trimtab__V1__Hello hello = TRIMTAB__V1__HELLO__INIT;
    Trimtab__V1__Instance instance = TRIMTAB__V1__INSTANCE__INIT;
    Trimtab__V1__Scope scope = TRIMTAB__V1__SCOPE__INIT, *scopes[] = {&scope};
    struct introduction *who;

    instance.id = id;
    scope.name = name;
    scope.namespaces = spaces;
    scope.n_namespaces = 1;
    hello.instance = &instance;
    hello.scopes = scopes;
    hello.n_scopes = 1;
    hello.features = features;
    hello.n_features = 1;
    if (introduction_new(&(struct introduction_opts){&hello, "web", "peer", "grpc"}, &who,
                         NULL))
        return false;
    w->one = roster_connect(&w->roster, who, w, 1, 1);
    (void)introduction_unref(who);
    return w->one != NULL;
}

static void look_at(struct world *w, const char *id)
{
    struct name name;

    w->room.len = 0;
    if (!CHECK_I64(name_parse(str_c(id), &name, NULL), 0))
        return;
    name_put_key(name, &w->room);
    w->key = buf_str(&w->room);
    w->look = (struct commit_look){w->state->revision, &w->key, 1, false};
}

/* Its lane says how it stands at the newest state, and all others do. */
static void stand(struct world *w, uint64_t proved)
{
    uint64_t head = w->state->revision;
    struct standing s = {
        .complete = head, .concerned = head, .proved = proved, .proof = PROOF_HOLDS};

    w->at.complete = head;
    CHECK_I64(roster_stand(&w->roster, w->one, &s, true, &w->at), 0);
}

static bool is_open(struct world *w)
{
    return fates_are_open(&w->look, &w->roster, w->state, &w->at);
}

static bool open_world(struct world *w)
{
    *w = (struct world){.state = state_new(), .room = BUF_NULL(ID_BYTES_MAX)};
    roster_init(&w->roster);
    return w->state && connect_one(w);
}

static void close_world(struct world *w)
{
    roster_deinit(&w->roster);
    buf_deinit(&w->room);
    (void)state_unref(w->state);
}

TEST("a wait is open until all lanes have said all, and whom it concerns has proved it")
{
    struct world w;

    REQUIRE(open_world(&w) && !publish(&w, "a/item/x", "1"));
    stand(&w, 1);
    look_at(&w, "a/item/x");
    CHECK(!is_open(&w));
    REQUIRE(!publish(&w, "a/item/x", "2"));
    look_at(&w, "a/item/x");
    CHECK(is_open(&w)); /* though its record has proved all that it knows of */
    stand(&w, 1);
    CHECK(is_open(&w));
    stand(&w, 2);
    CHECK(!is_open(&w));
    REQUIRE(!publish(&w, "b/item/x", "3"));
    look_at(&w, "b/item/x");
    stand(&w, 2);
    CHECK_I64(fate_of(&w.look, w.one->presence, w.state, &w.at), FATE_UNCONCERNED);
    CHECK(!is_open(&w));
    close_world(&w);
}

TEST("of who has just come it is not known whom he refers to: he is waited for until his "
     "stream has "
     "said how it stands")
{
    struct world w;

    REQUIRE(open_world(&w) && !publish(&w, "b/item/x", "1"));
    look_at(&w, "b/item/x");
    w.at.complete = w.state->revision;
    CHECK(is_open(&w));
    stand(&w, 0);
    CHECK(!is_open(&w));
    w.one->presence->standing.is_uncertain = true;
    CHECK(is_open(&w)); /* memory failed for that */
    close_world(&w);
}

static int move(struct world *w, struct commit *c)
{
    struct err err;

    c->author = STR("ann");
    c->n_moves = 1;
    return commit_to(&w->state, c, &err);
}

TEST("the start of a rollout concerns its targets, also when it is confirmed before they have "
     "proved "
     "it")
{
    struct str id = STR("web-1");
    struct target target = {.ids = &id, .n_ids = 1};
    struct step step = {.targets = &target, .n_targets = 1};
    struct rollout_plan plan = {.steps = &step, .n_steps = 1};
    struct rollout_move start = {.kind = MOVE_START, .plan = &plan};
    struct rollout_move confirm = {.kind = MOVE_CONFIRM};
    struct change change = {.id = STR("a/item/x"), .content = STR("2")};
    struct world w;

    REQUIRE(open_world(&w) && !publish(&w, "a/item/x", "1"));
    REQUIRE(!move(&w, &(struct commit){.changes = &change, .n = 1, .moves = &start}));
    look_at(&w, "a/item/x");
    w.look.is_start = true;
    confirm.id = w.look.revision;
    confirm.expected = state_rollout(w.state, confirm.id)->n_moves;
    stand(&w, 1);
    CHECK(is_open(&w));
    REQUIRE(!move(&w, &(struct commit){.changes = &change, .n = 1, .moves = &confirm}));
    stand(&w, 1);
    CHECK(is_open(&w));
    stand(&w, w.state->revision);
    CHECK(!is_open(&w));
    close_world(&w);
}
