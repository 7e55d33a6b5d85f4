/*
 * What commits need: each sort of change, move and order, before and after the check, and the refusal.
 */
#include "model/lines.h"
#include "unit/commits.h"

#include "model/needs.h"

static struct target canary = {.everyone = true};
static struct step step = {.targets = &canary, .n_targets = 1};
static struct rollout_plan plan = {.steps = &step, .n_steps = 1};

static int put(struct state **s, const char *id, const char *content)
{
    struct change c = {.id = str_c(id), .content = str_c(content)};
    struct err err;
    int r = commit_to(s,
                      &(struct commit){.changes = &c,
                                       .n = 1,
                                       .author = STR("ann"),
                                       .has_local_admin = true,
                                       .override = STR("a test")},
                      &err);

    if (r)
        tap_note("%s: %s", id, err.text);
    return r;
}

static void put_needs(const struct needs *n, struct buf *out)
{
    for (size_t i = 0; i < n->list.n; i++)
        buf_printf(out, "%.*s %.*s; ", STR_ARG(role_for(n->list.at[i].right)->name),
                   STR_ARG(space_text(n->list.at[i].space)));
}

/* Of a commit that was checked; want_before NULL: the same as after. */
static void check_needs(const struct state *s, struct commit *c, enum needs_purpose purpose,
                        const char *want, const char *want_before)
{
    owned(buf) struct buf got = BUF_NULL(MIB), early = BUF_NULL(MIB);
    owned(arena) struct arena a = ARENA_NULL;
    struct change_plan plans[CHANGES_MAX] = {0};
    struct needs n;
    struct err err = ERR_NULL;

    CHECK_I64(needs_make(s, c, NULL, purpose, &n), 0);
    put_needs(&n, &early);
    needs_deinit(&n);
    c->has_local_admin = true;
    if (!CHECK_I64(commit_check(s, c, plans, &a, &err), 0)) {
        tap_note("%s: %s", err.place, err.text);
        return;
    }
    CHECK_I64(needs_make(s, c, plans, purpose, &n), 0);
    put_needs(&n, &got);
    needs_deinit(&n);
    CHECK_STR(buf_str(&got), str_c(want));
    CHECK_STR(buf_str(&early), str_c(want_before ? want_before : want));
}

static struct commit commit_of(struct change *changes, size_t n)
{
    return (struct commit){.changes = changes, .n = n, .author = STR("ann")};
}

TEST("a change needs publish in its namespace, once for each; a dry run edit")
{
    struct state *s = state_new();
    struct change changes[] = {{.id = STR("shop/prod/item/x"), .content = STR("1")},
                               {.id = STR("shop/item/x"), .content = STR("1")},
                               {.id = STR("shop/prod/item/y"), .content = STR("1")}};
    struct commit c = commit_of(changes, 3);

    check_needs(s, &c, NEEDS_COMMIT, "publish shop/prod; publish shop; ", NULL);
    check_needs(s, &c, NEEDS_DRY_RUN, "edit shop/prod; edit shop; ", NULL);
    CHECK_I64(put(&s, "shop/item/x", "1"), 0);
    changes[0] = (struct change){.id = STR("shop/item/x"), .delete = true};
    changes[1] = (struct change){.id = STR("bank/item/x"), .content = STR("1")};
    c = commit_of(changes, 2);
    check_needs(s, &c, NEEDS_COMMIT, "publish shop; publish bank; ", NULL);
    changes[0] = (struct change){.id = STR("shop/item/x"), .content = STR("1")};
    c = commit_of(changes,
                  1); /* nothing changes: that must not be a way to find contents out */
    check_needs(s, &c, NEEDS_COMMIT, "publish shop; ", NULL);
    (void)state_unref(s);
}

static struct change referring(const char *id, struct str *to, size_t n)
{
    return (struct change){
        .id = str_c(id), .content = STR("1"), .meta = {.depends_on = to, .n_depends_on = n}};
}

TEST("a reference needs refer in the namespace of its target, when it is new and elsewhere")
{
    struct state *s = state_new();
    struct str to[] = {STR("shop/prod/item/own"), STR("shop/item/up"), STR("bank/item/x"),
                       STR("bank/item/y")};
    struct change change = referring("shop/prod/item/a", to, 3);
    struct commit c = commit_of(&change, 1);
    struct err err;

    CHECK_I64(put(&s, "shop/prod/item/own", "1"), 0);
    CHECK_I64(put(&s, "shop/item/up", "1"), 0);
    CHECK_I64(put(&s, "bank/item/x", "1"), 0);
    CHECK_I64(put(&s, "bank/item/y", "1"), 0);
    check_needs(s, &c, NEEDS_COMMIT, "publish shop/prod; refer bank; refer shop; ",
                "publish shop/prod; ");
    check_needs(s, &c, NEEDS_DRY_RUN, "edit shop/prod; refer bank; refer shop; ",
                "edit shop/prod; ");
    CHECK_I64(commit_to(&s, &c, &err), 0);
    change = referring("shop/prod/item/a", to, 2);
    change.content = STR("2");
    check_needs(s, &c, NEEDS_COMMIT, "publish shop/prod; ", NULL);
    change = referring("shop/prod/item/a", to, 4);
    check_needs(s, &c, NEEDS_COMMIT, "publish shop/prod; refer bank; ", "publish shop/prod; ");
    change = (struct change){.id = STR("shop/prod/item/a"), .delete = true};
    check_needs(s, &c, NEEDS_COMMIT, "publish shop/prod; ", NULL);
    (void)state_unref(s);
}

#define GRANT(spaces)                                                                          \
    "{\"subject\": \"token:ci\", \"role\": \"view\", \"namespaces\": " spaces "}"

static void check_one(const struct state *s, const char *id, const char *content,
                      const char *want)
{
    struct change change = {
        .id = str_c(id), .content = content ? str_c(content) : STR_NULL, .delete = !content};
    struct commit c = commit_of(&change, 1);

    check_needs(s, &c, NEEDS_COMMIT, want, NULL);
    check_needs(s, &c, NEEDS_DRY_RUN, want, NULL);
}

TEST("what Trimtab itself is told needs admin of what it concerns, before and after")
{
    static const char *const token =
        "{\"hash\": "
        "\"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"}";
    struct state *s = state_new();

    check_one(s, "trimtab/kind/page", "{}", "admin *; ");
    check_one(s, "trimtab/token/ci", token, "admin *; ");
    check_one(s, "trimtab/grant/ci", GRANT("[\"shop/prod\", \"bank\"]"),
              "admin shop/prod; admin bank; ");
    check_one(s, "trimtab/grant/ci", GRANT("[\"*\"]"), "admin *; ");
    check_one(s, "trimtab/protection/p", "{\"namespaces\": [\"shop/prod\"]}",
              "admin shop/prod; ");
    check_one(s, "trimtab/protection/p", "{\"labels\": \"tier=core\"}", "admin *; ");
    CHECK_I64(put(&s, "trimtab/grant/ci", GRANT("[\"shop/prod\", \"bank\"]")), 0);
    check_one(s, "trimtab/grant/ci", GRANT("[\"mill\", \"bank\"]"),
              "admin shop/prod; admin bank; admin mill; ");
    check_one(s, "trimtab/grant/ci", NULL, "admin shop/prod; admin bank; ");
    CHECK_I64(put(&s, "trimtab/protection/p", "{\"namespaces\": [\"shop/prod\"]}"), 0);
    check_one(s, "trimtab/protection/p", "{\"namespaces\": [\"mill\"]}",
              "admin shop/prod; admin mill; ");
    check_one(s, "trimtab/protection/p", NULL, "admin shop/prod; ");
    CHECK_I64(
        put(&s, "trimtab/guess/g", "{\"namespaces\": [\"shop/prod\"], \"policy\": \"strict\"}"),
        0);
    check_one(s, "trimtab/guess/g",
              "{\"namespaces\": [\"mill/*\", \"*\"], \"policy\": \"lenient\"}",
              "admin shop/prod; admin mill; admin *; ");
    check_one(s, "trimtab/guess/g", NULL, "admin shop/prod; ");
    (void)state_unref(s);
}

TEST("a grant in YAML needs the same, and one that cannot be read admin on everything")
{
    struct state *s = state_new();
    struct change change = {.id = STR("trimtab/grant/ci"),
                            .content_type = STR("application/yaml"),
                            .content =
                                STR("subject: token:ci\nrole: view\nnamespaces: [shop]\n")};
    struct commit c = commit_of(&change, 1);
    struct needs n;

    check_needs(s, &c, NEEDS_COMMIT, "admin shop; ", NULL);
    change.content = STR("subject: [");
    CHECK_I64(needs_make(s, &c, NULL, NEEDS_COMMIT, &n), 0);
    CHECK(n.list.n == 1 && n.list.at[0].right == RIGHT_TO_ADMIN && !n.list.at[0].space.len);
    needs_deinit(&n);
    (void)state_unref(s);
}

TEST("a pattern of a protection stands for the namespace above all that it fits")
{
    static const struct {
        const char *pattern, *want;
    } rows[] = {
        {"shop", "admin shop; "},
        {"shop/prod", "admin shop/prod; "},
        {"shop/*", "admin shop; "},
        {"shop/prod*", "admin shop; "},
        {"shop/prod/*", "admin shop/prod; "},
        {"bank*", "admin *; "},
        {"*", "admin *; "},
        {"*/prod", "admin *; "},
        {"shop/*/eu", "admin shop; "},
        {"shop/p*d/eu", "admin shop; "},
    };
    struct state *s = state_new();

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char content[128];

        (void)snprintf(content, sizeof(content), "{\"namespaces\": [\"%s\"]}", rows[i].pattern);
        check_one(s, "trimtab/protection/p", content, rows[i].want);
    }
    (void)state_unref(s);
}

/* ---- rollouts ---- */

static uint64_t start_two(struct state **s)
{
    struct change changes[] = {{.id = STR("shop/item/x"), .content = STR("2")},
                               {.id = STR("bank/item/x"), .content = STR("2")}};
    struct rollout_move m = {.kind = MOVE_START, .plan = &plan};
    struct commit c = commit_of(changes, 2);
    struct err err;

    c.moves = &m;
    c.n_moves = 1;
    check_needs(*s, &c, NEEDS_COMMIT,
                "publish shop; operate shop; publish bank; operate bank; ", NULL);
    check_needs(*s, &c, NEEDS_DRY_RUN, "edit shop; view shop; edit bank; view bank; ", NULL);
    CHECK_I64(commit_to(s, &c, &err), 0);
    return (*s)->revision;
}

/* A move of a rollout of these two; a confirmation comes with them. */
static void check_move(const struct state *s, uint64_t id, enum rollout_move_kind kind,
                       struct str override, const char *want)
{
    struct change changes[] = {{.id = STR("shop/item/x"), .content = STR("2")},
                               {.id = STR("bank/item/x"), .content = STR("2")}};
    struct rollout_move m = {
        .kind = kind, .id = id, .expected = 1, .reason = STR("why"), .holds = true};
    struct commit c = commit_of(changes, kind == MOVE_CONFIRM || kind == MOVE_OVERRIDE ? 2 : 0);

    c.moves = &m;
    c.n_moves = 1;
    c.override = override;
    check_needs(s, &c, NEEDS_COMMIT, want, NULL);
}

TEST("a rollout is started by who publishes and operates, and moved by who operates")
{
    struct state *s = state_new();
    uint64_t id = start_two(&s);

    check_move(s, id, MOVE_PAUSE, STR_NULL, "operate bank; operate shop; ");
    check_move(s, id, MOVE_ROLL_BACK, STR_NULL, "operate bank; operate shop; ");
    check_move(s, id, MOVE_CONFIRM, STR_NULL, "operate bank; operate shop; ");
    check_move(s, id, MOVE_OVERRIDE, STR("it burns"),
               "publish shop; publish bank; operate bank; operate shop; ");
    (void)state_unref(s);
}

TEST("what is confirmed or overridden needs approve where a protection asks for it")
{
    struct state *s = state_new();
    struct change change = {.id = STR("shop/item/x"), .content = STR("3")};
    struct commit c = commit_of(&change, 1);
    uint64_t id;

    CHECK_I64(put(&s, "trimtab/protection/all", "{\"namespaces\": [\"*\"]}"), 0);
    id = start_two(&s);
    check_move(s, id, MOVE_CONFIRM, STR("a test"), "operate bank; operate shop; ");
    CHECK_I64(
        put(&s, "trimtab/protection/shop", "{\"namespaces\": [\"shop\"], \"approval\": true}"),
        0);
    check_move(s, id, MOVE_CONFIRM, STR("a test"),
               "operate bank; operate shop; approve shop; ");
    check_move(s, id, MOVE_ROLL_BACK, STR_NULL, "operate bank; operate shop; ");
    check_move(s, id, MOVE_OVERRIDE, STR("it burns"),
               "publish shop; approve shop; publish bank; operate bank; operate shop; ");
    change.id = STR("shop/item/y");
    c.override = STR("it burns");
    check_needs(s, &c, NEEDS_COMMIT, "publish shop; approve shop; ", NULL);
    check_needs(s, &c, NEEDS_DRY_RUN, "edit shop; ", NULL);
    CHECK_I64(
        put(&s, "trimtab/protection/shop", "{\"namespaces\": [\"shop\"], \"approval\": false}"),
        0);
    check_needs(s, &c, NEEDS_COMMIT, "publish shop; ", NULL);
    (void)state_unref(s);
}

TEST("a protection's approval is true or false")
{
    struct state *s = state_new();

    CHECK_I64(put(&s, "trimtab/protection/p", "{\"namespaces\": [\"a\"], \"approval\": 1}"),
              ERR_INVALID);
    (void)state_unref(s);
}

/* ---- orders ---- */

static void check_order(enum order_kind kind, const struct str *resources, size_t n,
                        const char *want)
{
    struct order_request q = {.kind = kind, .resources = resources, .n_resources = n};
    owned(buf) struct buf got = BUF_NULL(KIB);
    struct needs needs;

    CHECK_I64(needs_of_order(&q, &needs), 0);
    put_needs(&needs, &got);
    CHECK_STR(buf_str(&got), str_c(want));
    needs_deinit(&needs);
}

TEST("an order needs its right where its resources are, on everything when it names none")
{
    static const struct str two[] = {{"shop/prod/item/x", 16}, {"bank/item/y", 11}};
    static const struct str system[] = {{"trimtab/token/x", 15}}, wrong[] = {{"x", 1}};

    check_order(ORDER_RETRY, two, 2, "retry shop/prod; retry bank; ");
    check_order(ORDER_RELEASE, two, 2, "release shop/prod; release bank; ");
    check_order(ORDER_RETRY, NULL, 0, "retry *; ");
    check_order(ORDER_RELEASE, NULL, 0, "release *; ");
    check_order(ORDER_PAUSE, NULL, 0, "stop *; ");
    check_order(ORDER_RESUME, two, 2, "stop *; ");
    check_order(ORDER_RETRY, system, 1, "admin trimtab; ");
    check_order(ORDER_RETRY, wrong, 1, "retry *; ");
}

TEST("the release of a restore needs admin on everything")
{
    struct restored restored = {.revision = 1, .deletes_newer = true};
    struct commit c = {.restored = &restored, .author = STR("ann")};
    struct state *s = state_new();
    struct needs n;

    CHECK_I64(needs_make(s, &c, NULL, NEEDS_COMMIT, &n), 0);
    CHECK(n.list.n == 1 && n.list.at[0].right == RIGHT_TO_ADMIN && !n.list.at[0].space.len);
    needs_deinit(&n);
    (void)state_unref(s);
}

/* ---- the refusal ---- */

TEST("what is missing first is told with the resource, and with all rights nothing is")
{
    struct state *s = state_new();
    struct change changes[] = {{.id = STR("shop/item/x"), .content = STR("1")},
                               {.id = STR("bank/item/x"), .content = STR("1")}};
    struct commit c = commit_of(changes, 2);
    struct principal p = {.subject = STR("token:ci")};
    struct err err = ERR_NULL;

    CHECK_I64(put(&s, "trimtab/grant/ci",
                  "{\"subject\": \"token:ci\", \"role\": \"publish\", \"namespaces\": "
                  "[\"shop\"]}"),
              0);
    CHECK_I64(commit_authorize(s, &c, NULL, NEEDS_COMMIT, &p, &err), ERR_DENIED);
    CHECK_STR(str_c(err.text), STR("token:ci lacks the right \"publish\" in bank"));
    CHECK_STR(str_c(err.place), STR("bank/item/x"));
    CHECK_STR(str_c(err.hint),
              STR("an admin there can grant it: trimtab grant token:ci publish 'bank'"));
    c.n = 1;
    CHECK_I64(commit_authorize(s, &c, NULL, NEEDS_COMMIT, &p, &err), 0);
    c.n = 2;
    p.local = RIGHTS_ALL;
    CHECK_I64(commit_authorize(s, &c, NULL, NEEDS_COMMIT, &p, &err), 0);
    (void)state_unref(s);
}

TEST("ids that are none need nothing, so that the check can refuse them")
{
    struct state *s = state_new();
    struct change changes[] = {{.id = STR("x")}, {.id = STR("")}, {.id = STR("A/B/C")}};
    struct commit c = commit_of(changes, 3);
    struct needs n;

    CHECK_I64(needs_make(s, &c, NULL, NEEDS_COMMIT, &n), 0);
    CHECK_U64(n.list.n, 0);
    needs_deinit(&n);
    (void)state_unref(s);
}

TEST("needs are found whole or not at all when memory runs out")
{
    struct state *s = state_new();
    struct change changes[] = {
        {.id = STR("shop/item/x"), .content = STR("1")},
        {.id = STR("trimtab/grant/ci"), .content = STR(GRANT("[\"shop\", \"bank\"]"))},
        {.id = STR("trimtab/protection/p"), .content = STR("{\"namespaces\": [\"mill\"]}")}};
    struct commit c = commit_of(changes, 3);
    struct needs n;
    int r = ERR_NOMEM;

    ALLOC_SWEEP (fail) {
        r = needs_make(s, &c, NULL, NEEDS_COMMIT, &n);
        CHECK(r == 0 ? n.list.n == 4 : r == ERR_NOMEM && !n.list.at);
        needs_deinit(&n);
    }
    CHECK_I64(r, 0);
    (void)state_unref(s);
}
