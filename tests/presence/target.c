/*
 * What an instance has come to as a target of a rollout: candidates that stronger layers hide, refusals blamed by resource
 * and hash, refused deletions, health from before the apply. Each case says what the instance says, and what is true.
 */
#include "presence/target.h"

#include "model/lines.h"
#include "proto/convert.h"
#include "proto/subject.h"
#include "unit/commits.h"

/* The instance "web-1" has the scopes "one" (a, then b) and "two" (c). */
static char id[] = "web-1", one[] = "one", two[] = "two", a[] = "a", b[] = "b", c[] = "c";
static char feature[] = FEATURE_ROLLOUTS, judged[] = FEATURE_HEALTH;

static struct presence *presence_make(bool is_old, bool is_judged)
{
    char *spaces_one[] = {a, b}, *spaces_two[] = {c}, *features[] = {feature, judged};
    Trimtab__V1__Instance who = TRIMTAB__V1__INSTANCE__INIT;
    Trimtab__V1__Hello hello = TRIMTAB__V1__HELLO__INIT;
    Trimtab__V1__Scope scopes[] = {TRIMTAB__V1__SCOPE__INIT, TRIMTAB__V1__SCOPE__INIT},
                       *list[] = {&scopes[0], &scopes[1]};
    struct introduction *in;
    struct presence *p;

    scopes[0].name = one;
    scopes[0].namespaces = spaces_one;
    scopes[0].n_namespaces = 2;
    scopes[1].name = two;
    scopes[1].namespaces = spaces_two;
    scopes[1].n_namespaces = 1;
    who.id = id;
    hello.instance = &who;
    hello.scopes = list;
    hello.n_scopes = 2;
    hello.features = features;
    hello.n_features = is_old ? 0 : is_judged ? 2 : 1;
    if (introduction_new(&(struct introduction_opts){&hello, "web", "peer", "grpc"}, &in, NULL))
        return NULL;
    p = presence_new(in);
    (void)introduction_unref(in);
    return p;
}

/* ---- the state ---- */

static struct str ids[] = {{"web-1", 5}};
static struct target target = {.ids = ids, .n_ids = 1};

static int put(struct state **s, const char *resource, const char *content)
{
    struct change change = {.id = str_c(resource), .content = str_c(content)};
    struct err err;

    return commit_changes(s, &change, 1, &err);
}

/* content NULL: a deletion. */
static uint64_t start(struct state **s, const char *resource, const char *content)
{
    struct change change = {
        .id = str_c(resource), .content = str_c(content ? content : ""), .delete = !content};
    struct step step = {.targets = &target, .n_targets = 1};
    struct rollout_plan plan = {.steps = &step, .n_steps = 1};
    struct rollout_move m = {.kind = MOVE_START, .plan = &plan};
    struct commit commit = {
        .changes = &change, .n = 1, .moves = &m, .n_moves = 1, .author = STR("ann")};
    struct err err;

    return commit_to(s, &commit, &err) ? 0 : (*s)->revision;
}

static struct str wanted_hash(const struct state *s, const char *resource)
{
    static const struct subject who = {.id = {"web-1", 5}};
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    const struct version *v;
    struct name name;

    if (name_parse(str_c(resource), &name, NULL))
        return STR("");
    name_put_key(name, &key);
    v = state_effective(s, buf_str(&key), &who);
    return v ? str_of(v->item_hash.bytes, SHA256_BYTES) : STR("");
}

/* ---- what it says ---- */

struct said {
    const char *scope, *key; /* of an exception; NULL: none */
    const char *wanted; /* id of what it refused; NULL: a deletion, or nothing that is there */
    const char *held_by;
    const char *code; /* NULL: CHECK_FAILED */
    bool is_forged;   /* the hash is that of nothing */
    uint64_t proved;  /* 0: nothing */
    uint64_t applied; /* revision of its report; 0: that of what is proved */
    enum proof proof; /* of its report, when it is not proved */
    uint64_t failing; /* revision at which its health was found to fail; 0: it is well */
    uint64_t well;    /* revision at which it was found to be well; 0: nothing was said */
    bool is_old, is_offline, is_judged;
    bool is_late;                     /* it owes a word */
    const struct applied *remembered; /* NULL: nothing is */
};

static struct str hash_said(const struct state *s, const struct said *what)
{
    static const struct sha256 nothing = {{7}};

    if (what->is_forged)
        return str_of(nothing.bytes, SHA256_BYTES);
    return what->wanted ? wanted_hash(s, what->wanted) : STR("");
}

static void except(struct presence *p, const struct state *s, const struct said *what)
{
    Trimtab__V1__Ack ack = TRIMTAB__V1__ACK__INIT;
    Trimtab__V1__Refusal f = TRIMTAB__V1__REFUSAL__INIT, *list[] = {&f};
    char scope[16], key[64], held[64], code[32], message[] = "no";

    (void)snprintf(scope, sizeof(scope), "%s", what->scope);
    (void)snprintf(key, sizeof(key), "%s", what->key);
    (void)snprintf(held, sizeof(held), "%s", what->held_by ? what->held_by : "");
    (void)snprintf(code, sizeof(code), "%s", what->code ? what->code : "CHECK_FAILED");
    f.scope = scope;
    f.key = key;
    f.held_by = held;
    f.code = code;
    f.message = message;
    f.hash = proto_bytes(hash_said(s, what));
    ack.refused = list;
    ack.n_refused = 1;
    p->standing.report = report_new(&ack);
}

static enum target_state judge(const struct state *s, uint64_t rollout, const struct said *what,
                               char why[TARGET_WHY_MAX])
{
    struct presence *p = presence_make(what->is_old, what->is_judged);
    struct moment at = {.now = 100, .complete = s->revision, .ack_late = 10};
    Trimtab__V1__Health health = TRIMTAB__V1__HEALTH__INIT;
    struct target_look look;
    enum target_state state;

    if (!p)
        return TARGET_OFFLINE;
    p->is_connected = !what->is_offline;
    p->has_stood = true;
    p->standing.complete = p->standing.concerned = s->revision;
    p->standing.proved = what->proved;
    p->standing.applied = what->applied ? what->applied : what->proved;
    p->standing.proof = what->proved ? PROOF_HOLDS : what->proof;
    if (what->key)
        except(p, s, what);
    health.failing = what->failing != 0;
    health.revision = what->failing ? what->failing : what->well;
    if (what->is_late)
        p->standing.owes_since = 1;
    if (what->failing || what->well)
        p->health = verdict_new(&health);
    look = (struct target_look){p, s, state_rollout(s, rollout), rollout, &at};
    state = target_state(&look, why);
    if (what->remembered)
        state = target_recall(&look, what->remembered, state, why);
    (void)presence_unref(p);
    return state;
}

static void check_state(const struct state *s, uint64_t rollout, struct said what,
                        enum target_state want)
{
    char why[TARGET_WHY_MAX];
    enum target_state got = judge(s, rollout, &what, why);

    if (got != want)
        tap_note("why: %s", why);
    CHECK_STR(str_c(target_state_name(got)), str_c(target_state_name(want)));
    CHECK_I64(got, want);
}

TEST("a candidate counts when it is proved, and nothing that it says proves it otherwise")
{
    struct state *s = state_new();
    uint64_t r;

    REQUIRE(s && !put(&s, "a/item/x", "1"));
    r = start(&s, "a/item/x", "2");
    REQUIRE(r);
    check_state(s, r, (struct said){.proved = r}, TARGET_APPLIED);
    check_state(s, r, (struct said){.proved = r - 1}, TARGET_PENDING);
    check_state(s, r, (struct said){.proof = PROOF_NONE}, TARGET_PENDING);
    check_state(s, r, (struct said){.proof = PROOF_WRONG}, TARGET_UNPROVEN);
    check_state(s, r, (struct said){.proof = PROOF_UNANNOUNCED}, TARGET_UNPROVEN);
    check_state(s, r, (struct said){.proof = PROOF_NO_MEMORY}, TARGET_UNPROVEN);
    check_state(s, r, (struct said){.proved = r, .is_offline = true}, TARGET_OFFLINE);
    check_state(s, r, (struct said){.proved = r, .is_old = true}, TARGET_TOO_OLD);
    (void)state_unref(s);
}

TEST("who had proved a candidate when it went is known to have applied it, who had not is not")
{
    struct state *s = state_new();
    struct presence *p = presence_make(false, false);
    struct moment at = {.now = 100, .ack_late = 10};
    uint64_t r;

    REQUIRE(s && p && !put(&s, "a/item/x", "1"));
    r = start(&s, "a/item/x", "2");
    struct target_look look = {
        .presence = p, .state = s, .rollout = state_rollout(s, r), .since = r, .at = &at};
    p->has_stood = true;
    at.complete = p->standing.concerned = s->revision;
    p->standing.proved = r;
    CHECK(target_left_applied(&look));
    p->is_connected = true;
    CHECK(!target_left_applied(&look)); /* it is here */
    p->is_connected = false;
    p->standing.proved = r - 1;
    CHECK(!target_left_applied(&look));
    (void)presence_unref(p);
    (void)state_unref(s);
}

TEST("a failing health counts when it was found with the candidate, not before")
{
    struct state *s = state_new();
    uint64_t r;

    REQUIRE(s && !put(&s, "a/item/x", "1"));
    r = start(&s, "a/item/x", "2");
    check_state(s, r, (struct said){.proved = r, .failing = r}, TARGET_FAILING);
    check_state(s, r, (struct said){.proved = r, .failing = r - 1}, TARGET_APPLIED);
    (void)state_unref(s);
}

TEST("who announced a judge is not applied before that has spoken of it")
{
    struct state *s = state_new();
    uint64_t r;

    REQUIRE(s && !put(&s, "a/item/x", "1"));
    r = start(&s, "a/item/x", "2");
    check_state(s, r, (struct said){.proved = r, .is_judged = true}, TARGET_UNJUDGED);
    check_state(s, r, (struct said){.proved = r, .is_judged = true, .well = r - 1},
                TARGET_UNJUDGED);
    check_state(s, r, (struct said){.proved = r, .is_judged = true, .failing = r - 1},
                TARGET_UNJUDGED);
    check_state(s, r, (struct said){.proved = r, .is_judged = true, .well = r}, TARGET_APPLIED);
    check_state(s, r, (struct said){.proved = r, .is_judged = true, .failing = r},
                TARGET_FAILING);
    check_state(s, r, (struct said){.proved = r, .well = r - 1}, TARGET_APPLIED);
    (void)state_unref(s);
}

TEST("a refusal in a report from before the step is not one of its candidate, though the "
     "content is the same")
{
    struct state *s = state_new();
    struct said refuses = {.scope = "one", .key = "item/x", .wanted = "a/item/x"};
    uint64_t r;

    REQUIRE(s && !put(&s, "a/item/x", "1"));
    r = start(&s, "a/item/x", "2");
    refuses.proof = PROOF_OVERTAKEN;
    refuses.applied = r - 1;
    check_state(s, r, refuses, TARGET_PENDING);
    refuses.applied = r; /* bad news is believed, proved or not */
    check_state(s, r, refuses, TARGET_REFUSED);
    refuses.proof = PROOF_WRONG;
    check_state(s, r, refuses, TARGET_REFUSED);
    (void)state_unref(s);
}

static bool no(void *ctx, struct str whose)
{
    (void)ctx;
    (void)whose;
    return true;
}

static void nobody(void *ctx, struct str whose, enum applied_is is)
{
    (void)ctx;
    (void)whose;
    (void)is;
}

TEST("who had applied it and is offline or silent is away, then lost; who never had is not")
{
    struct state *s = state_new();
    struct applied none = {.look = 0}, had = none;
    struct applied_rest rest = {no, nobody, NULL};
    uint64_t r;

    REQUIRE(s && !put(&s, "a/item/x", "1"));
    r = start(&s, "a/item/x", "2");
    check_state(s, r, (struct said){.is_offline = true, .remembered = &none}, TARGET_OFFLINE);
    check_state(s, r, (struct said){.is_late = true, .remembered = &none}, TARGET_SILENT);
    /* it runs it, and owes a word about something newer */
    check_state(s, r, (struct said){.proved = r, .is_late = true, .remembered = &none},
                TARGET_AWAY);
    applied_begin(&had, NSEC_PER_S, 1000);
    REQUIRE(applied_here(&had, STR("web-1")) == 0);
    applied_end(&had, true, &rest);
    check_state(s, r, (struct said){.is_offline = true, .remembered = &had}, TARGET_AWAY);
    check_state(s, r, (struct said){.is_late = true, .remembered = &had}, TARGET_AWAY);
    check_state(s, r, (struct said){.proved = r, .remembered = &had}, TARGET_APPLIED);
    check_state(s, r, (struct said){.remembered = &had}, TARGET_PENDING);
    check_state(s, r,
                (struct said){.proved = r, .failing = r, .is_late = true, .remembered = &had},
                TARGET_FAILING);
    for (nsec_t now = 2; now <= 3; now++) {
        applied_begin(&had, now * NSEC_PER_S, 1000);
        (void)applied_gone(&had, STR("web-1"));
        applied_end(&had, true, &rest);
    }
    check_state(s, r, (struct said){.is_offline = true, .remembered = &had}, TARGET_LOST);
    applied_deinit(&had);
    (void)state_unref(s);
}

TEST("a candidate that a stronger layer hides is no target's, and the layer is named")
{
    struct state *s = state_new();
    char why[TARGET_WHY_MAX];
    uint64_t r;

    REQUIRE(s && !put(&s, "a/item/x", "7") && !put(&s, "b/item/x", "1"));
    r = start(&s, "b/item/x", "2");
    CHECK_I64(judge(s, r, &(struct said){.proved = r}, why), TARGET_HIDDEN);
    CHECK(strstr(why, "the layer a hides b/item/x") != NULL);
    (void)state_unref(s);
}

TEST(
    "a refusal is blamed on the rollout of the resource whose content was refused, by its hash")
{
    struct state *s = state_new();
    uint64_t r, other;

    REQUIRE(s && !put(&s, "a/item/x", "1") && !put(&s, "c/item/x", "1"));
    r = start(&s, "a/item/x", "2");
    other = start(&s, "c/item/x", "2");
    REQUIRE(r && other);
    struct said one_refused = {
        .scope = "one", .key = "item/x", .wanted = "a/item/x", .proved = other};
    struct said two_refused = {
        .scope = "two", .key = "item/x", .wanted = "c/item/x", .proved = other};

    check_state(s, r, one_refused, TARGET_REFUSED);
    check_state(s, other, one_refused, TARGET_APPLIED);
    check_state(s, r, two_refused, TARGET_APPLIED);
    check_state(s, other, two_refused, TARGET_REFUSED);
    one_refused.held_by = "item/other";
    check_state(s, r, one_refused, TARGET_PENDING);
    one_refused.is_forged =
        true; /* of something that is not wanted there: not this candidate */
    check_state(s, r, one_refused, TARGET_APPLIED);
    (void)state_unref(s);
}

TEST("a refused deletion is blamed on the rollout that deletes it in that scope, also when it "
     "uncovers another layer")
{
    struct state *s = state_new();
    uint64_t r, other;

    REQUIRE(s && !put(&s, "a/item/x", "1") && !put(&s, "c/item/x", "1"));
    r = start(&s, "a/item/x", NULL);
    other = start(&s, "c/item/x", NULL);
    REQUIRE(r && other);
    struct said refused = {.scope = "two", .key = "item/x", .proved = other};

    check_state(s, other, refused, TARGET_REFUSED);
    check_state(s, r, refused, TARGET_APPLIED);
    (void)state_unref(s);

    s = state_new();
    REQUIRE(s && !put(&s, "a/item/x", "1") && !put(&s, "b/item/x", "8"));
    r = start(&s, "a/item/x", NULL);
    refused = (struct said){.scope = "one", .key = "item/x", .wanted = "b/item/x", .proved = r};
    check_state(s, r, refused, TARGET_REFUSED);
    check_state(s, r, (struct said){.proved = r}, TARGET_APPLIED);
    (void)state_unref(s);
}

TEST("what is held on the host, or altered there, is no refusal of the candidate: it waits")
{
    struct state *s = state_new();
    uint64_t r;

    REQUIRE(s && !put(&s, "a/item/x", "1"));
    r = start(&s, "a/item/x", NULL);
    REQUIRE(r);
    struct said excepts = {.scope = "one", .key = "item/x", .proved = r};

    check_state(s, r, excepts, TARGET_REFUSED);
    excepts.code = "HELD_DELETION"; /* something that is held refers to it */
    check_state(s, r, excepts, TARGET_PENDING);
    excepts.code = "DRIFTED";
    check_state(s, r, excepts, TARGET_PENDING);
    (void)state_unref(s);
}

static bool acts(const struct presence *p, const struct state *s, const char *resource)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    struct binding_at at[BINDINGS_MAX];
    bool any = false;
    struct name name;

    if (!CHECK(name_parse(str_c(resource), &name, NULL) == 0))
        return false;
    name_put_key(name, &key);
    for (size_t n = presence_bindings(p, s, buf_str(&key), at); n > 0; n--)
        any |= at[n - 1].is == BINDING_ACTS;
    return any;
}

TEST("what is elsewhere, or changes or goes below a stronger layer, concerns nobody")
{
    struct presence *p = presence_make(false, false);
    struct state *s = state_new();

    REQUIRE(p && s && !put(&s, "a/item/x", "1") && !put(&s, "b/item/x", "2") &&
            !put(&s, "d/item/x", "3"));
    CHECK(acts(p, s, "a/item/x"));
    CHECK(acts(p, s, "c/item/x")); /* not there: its deletion did */
    CHECK(!acts(p, s, "b/item/x"));
    CHECK(!acts(p, s, "d/item/x"));
    CHECK(acts(p, s, "b/item/y")); /* nothing is above it */
    (void)presence_unref(p);
    (void)state_unref(s);
}

/* A presence that may read its own layers only, as a feed would tell it. */
static struct presence *presence_limited(const struct state *s)
{
    static const struct subject who = {.id = {"web-1", 5}};
    struct rights *r = RIGHTS_OF({"g", "token:a", "subscribe", "a b c"});
    struct principal principal = {.subject = STR("token:a")};
    struct presence *p = presence_make(false, false);
    struct readable *readable = NULL;
    struct closure closure, stable;
    struct closure_view view = {.state = s, .subject = &who};

    if (!p || !CHECK_I64(readable_make(r, &principal, &readable), 0))
        return NULL;
    view.scopes = (const struct scope *const *)p->introduction->scopes;
    view.n_scopes = p->introduction->n_scopes;
    view.readable = readable;
    CHECK_I64(closure_make(&view, &closure), 0);
    view.subject = NULL;
    CHECK_I64(closure_make(&view, &stable), 0);
    p->is_connected = true;
    p->has_stood = true;
    p->standing.complete = p->standing.proved = s->revision;
    p->standing.proof = PROOF_HOLDS;
    p->standing.referred = tree_ref(closure.entries);
    p->standing.withheld = tree_ref(closure.withheld);
    p->standing.withheld_stable = tree_ref(stable.withheld);
    closure_deinit(&closure);
    closure_deinit(&stable);
    (void)readable_unref(readable);
    (void)rights_unref(r);
    return p;
}

TEST("a candidate that is withheld from a target is nothing that it has applied, however well "
     "it "
     "proved its view")
{
    struct state *s = state_new();
    struct str secret = STR("d/item/secret");
    struct change change = {.id = STR("a/item/x"),
                            .content = STR("2"),
                            .meta = {.depends_on = &secret, .n_depends_on = 1}};
    struct step step = {.targets = &target, .n_targets = 1};
    struct rollout_plan plan = {.steps = &step, .n_steps = 1};
    struct rollout_move m = {.kind = MOVE_START, .plan = &plan};
    struct presence *p;
    struct target_look look = {.state = s};
    char why[TARGET_WHY_MAX];
    struct err err;
    struct moment at = {.complete = 9};

    REQUIRE(s && !put(&s, "d/item/secret", "1") && !put(&s, "a/item/x", "1"));
    CHECK_I64(
        commit_to(
            &s,
            &(struct commit){
                .changes = &change, .n = 1, .moves = &m, .n_moves = 1, .author = STR("ann")},
            &err),
        0);
    p = presence_limited(s);
    REQUIRE(p != NULL);
    CHECK(!acts(p, s, "a/item/x"));
    look = (struct target_look){.presence = p,
                                .rollout = state_rollout(s, s->revision),
                                .state = s,
                                .since = s->revision,
                                .at = &at};
    CHECK_I64(target_state(&look, why), TARGET_HIDDEN);
    CHECK_STR(str_c(why), STR("web-1: rights withhold a/item/x"));
    (void)presence_unref(p);
    (void)state_unref(s);
}

TEST(
    "a target that may not read what a candidate deletes was never given it, and tries nothing")
{
    struct state *s = state_new();
    struct str secret = STR("d/item/secret");
    struct change change = {.id = STR("a/item/x"),
                            .content = STR("2"),
                            .meta = {.depends_on = &secret, .n_depends_on = 1}};
    struct moment at = {.complete = 9};
    struct target_look look = {.at = &at};
    char why[TARGET_WHY_MAX];
    struct presence *p;
    struct err err;

    REQUIRE(s && !put(&s, "d/item/secret", "1") && !commit_changes(&s, &change, 1, &err));
    look.since = start(&s, "a/item/x", NULL);
    p = presence_limited(s);
    REQUIRE(look.since && p);
    CHECK(!acts(p, s, "a/item/x"));
    look.presence = p;
    look.rollout = state_rollout(s, look.since);
    look.state = s;
    CHECK_I64(target_state(&look, why), TARGET_HIDDEN);
    CHECK_STR(str_c(why), STR("web-1: rights withhold a/item/x"));
    (void)tree_unref(p->standing.withheld_stable); /* one that may read it */
    p->standing.withheld_stable = NULL;
    CHECK_I64(target_state(&look, why), TARGET_APPLIED);
    (void)presence_unref(p);
    (void)state_unref(s);
}

/* A connected one that has proved all of this revision. */
static struct presence *presence_at(uint64_t revision)
{
    struct presence *p = presence_make(false, false);

    if (!p)
        return NULL;
    p->is_connected = p->has_stood = true;
    p->standing.complete = p->standing.concerned = p->standing.proved = revision;
    p->standing.applied = revision;
    p->standing.proof = PROOF_HOLDS;
    return p;
}

TEST("a target is looked at with the state that its lane served: what a newer commit uncovers "
     "it has "
     "not proved")
{
    struct state *s = state_new(), *before;
    struct change gone = {.id = STR("a/item/x"), .delete = true};
    struct moment at = {.now = 100, .ack_late = 10};
    char why[TARGET_WHY_MAX];
    struct target_look look = {.at = &at};
    struct presence *p;
    struct err err;

    REQUIRE(s && !put(&s, "a/item/x", "1"));
    look.since = start(&s, "b/item/x", "2");
    p = presence_at(s->revision);
    before = state_ref(s);
    REQUIRE(p && look.since && !commit_changes(&s, &gone, 1, &err));
    look.presence = p;
    look.rollout = state_rollout(s, look.since);
    look.state = before;
    CHECK_I64(target_state(&look, why), TARGET_HIDDEN);
    look.state = NULL; /* memory failed for its last word */
    CHECK_I64(target_state(&look, why), TARGET_PENDING);
    look.state = s; /* it has said how it stands there: that it owes a word */
    p->standing.complete = p->standing.concerned = s->revision;
    CHECK_I64(target_state(&look, why), TARGET_PENDING);
    p->has_stood = false;
    look.state = before;
    CHECK_I64(target_state(&look, why), TARGET_PENDING);
    (void)presence_unref(p);
    (void)state_unref(before);
    (void)state_unref(s);
}

TEST("a refusal counts against its rollout also when that has moved since the state that it is "
     "looked "
     "at with")
{
    struct state *s = state_new(), *before;
    struct said what = {.scope = "one", .key = "item/x", .wanted = "a/item/x"};
    struct rollout_move pause = {.kind = MOVE_PAUSE};
    struct moment at = {.now = 100, .ack_late = 10};
    struct target_look look = {.at = &at};
    char why[TARGET_WHY_MAX];
    struct presence *p;
    struct err err;

    REQUIRE(s && !put(&s, "a/item/x", "1"));
    look.since = start(&s, "a/item/x", "2");
    p = presence_at(s->revision);
    before = state_ref(s);
    pause.id = look.since;
    pause.expected = state_rollout(s, look.since)->n_moves;
    REQUIRE(p && !commit_to(
                     &s, &(struct commit){.moves = &pause, .n_moves = 1, .author = STR("ann")},
                     &err));
    except(p, before, &what);
    look.presence = p;
    look.state = before;
    look.rollout = state_rollout(s, look.since);
    REQUIRE(look.rollout != state_rollout(before, look.since));
    CHECK_I64(target_state(&look, why), TARGET_REFUSED);
    (void)presence_unref(p);
    (void)state_unref(before);
    (void)state_unref(s);
}
