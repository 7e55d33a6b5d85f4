/*
 * Rollouts within a state: what they lock and what protection asks for, that ending one leaves what was there before,
 * that references resolve for every observer, and two people at once against a plain model.
 */
#include "unit/commits.h"

#include "base/clock.h"

/* ---- saying it shortly ---- */

static struct str canary_ids[] = {{"canary", 6}};
static struct target canary = {.ids = canary_ids, .n_ids = 1};
static struct target everyone = {.everyone = true};
static const struct subject one = {.id = {"canary", 6}}, other = {.id = {"web-2", 5}};

static int put(struct state **s, const char *id, const char *content, struct err *err)
{
    struct change c = {.id = str_c(id), .content = str_c(content)};

    return commit_changes(s, &c, 1, err);
}

static int start_changes(struct state **s, struct change *changes, size_t n, struct err *err)
{
    struct step step = {.targets = &canary, .n_targets = 1};
    struct rollout_plan plan = {.steps = &step, .n_steps = 1};
    struct rollout_move m = {.kind = MOVE_START, .plan = &plan};

    return commit_to(
        s,
        &(struct commit){
            .changes = changes, .n = n, .moves = &m, .n_moves = 1, .author = STR("ann")},
        err);
}

static int start(struct state **s, const char *id, const char *content, struct err *err)
{
    struct change c = {
        .id = str_c(id), .content = str_c(content ? content : ""), .delete = !content};

    return start_changes(s, &c, 1, err);
}

/* A move on what the rollout is now. Confirming brings its candidates along. */
static int move_as(struct state **s, uint64_t id, enum rollout_move_kind kind,
                   struct str override, bool holds, struct err *err)
{
    const struct rollout *r = state_rollout(*s, id);
    struct step step = {.targets = &everyone, .n_targets = 1};
    struct rollout_move m = {.kind = kind,
                             .id = id,
                             .expected = r ? r->n_moves : 1,
                             .reason = STR("why"),
                             .holds = holds,
                             .step = kind == MOVE_EXTEND ? &step : NULL};
    struct change changes[CHANGES_MAX];
    struct buf ids[CHANGES_MAX];
    struct commit c = {.changes = changes,
                       .moves = &m,
                       .n_moves = 1,
                       .author = STR("bob"),
                       .override = override};
    int rc;

    for (size_t i = 0; r && kind == MOVE_CONFIRM && i < r->n_candidates; i++) {
        const struct version *v = r->candidates[i];

        ids[i] = BUF_NULL(ID_BYTES_MAX);
        key_put_id(v->key, &ids[i]);
        changes[c.n++] = (struct change){.id = buf_str(&ids[i]),
                                         .delete = v->deleted,
                                         .content = v->content,
                                         .content_type = v->content_type,
                                         .keep_meta = !v->meta,
                                         .meta = v->meta ? *v->meta : meta_none};
    }
    rc = commit_to(s, &c, err);
    for (size_t i = 0; i < c.n; i++)
        buf_deinit(&ids[i]);
    return rc;
}

static int move_by(struct state **s, uint64_t id, enum rollout_move_kind kind,
                   struct str override, struct err *err)
{
    return move_as(s, id, kind, override, true, err);
}

static int move(struct state **s, uint64_t id, enum rollout_move_kind kind, struct err *err)
{
    return move_by(s, id, kind, STR_NULL, err);
}

static void check_has(const struct state *s, const struct subject *who, const char *id,
                      const char *want)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    struct version *v;
    struct name name;

    REQUIRE(name_parse(str_c(id), &name, NULL) == 0);
    name_put_key(name, &key);
    v = state_effective(s, buf_str(&key), who);
    CHECK_STR(v ? v->content : STR("(nothing)"), str_c(want));
}

/* ---- what everybody has ---- */

TEST("targets have the candidates, everybody else and nobody in particular what is stable")
{
    struct state *s = state_new();
    struct err err;

    CHECK_I64(put(&s, "a/item/x", "1", &err), 0);
    CHECK_I64(put(&s, "a/item/gone", "1", &err), 0);
    CHECK_I64(start_changes(&s,
                            (struct change[]){{.id = STR("a/item/x"), .content = STR("2")},
                                              {.id = STR("a/item/new"), .content = STR("3")},
                                              {.id = STR("a/item/gone"), .delete = true}},
                            3, &err),
              0);
    check_has(s, &one, "a/item/x", "2");
    check_has(s, &one, "a/item/new", "3");
    check_has(s, &one, "a/item/gone", "(nothing)");
    for (int i = 0; i < 2; i++) {
        check_has(s, i ? &other : NULL, "a/item/x", "1");
        check_has(s, i ? &other : NULL, "a/item/new", "(nothing)");
        check_has(s, i ? &other : NULL, "a/item/gone", "1");
    }
    CHECK_I64(move(&s, 3, MOVE_EXTEND, &err), 0);
    check_has(s, &other, "a/item/x", "2");
    check_has(s, NULL, "a/item/x", "1");
    (void)state_unref(s);
}

TEST("rolling back restores what was there, for what was changed, created and deleted")
{
    for (int ending = 0; ending < 3; ending++) {
        struct state *s = state_new();
        struct err err;
        bool confirmed = ending == 2;

        CHECK_I64(put(&s, "a/item/x", "1", &err), 0);
        CHECK_I64(put(&s, "a/item/gone", "1", &err), 0);
        CHECK_I64(
            start_changes(&s,
                          (struct change[]){{.id = STR("a/item/x"), .content = STR("2")},
                                            {.id = STR("a/item/new"), .content = STR("3")},
                                            {.id = STR("a/item/gone"), .delete = true}},
                          3, &err),
            0);
        CHECK_I64(move(&s, 3,
                       confirmed ? MOVE_CONFIRM
                       : ending  ? MOVE_EXPIRE
                                 : MOVE_ROLL_BACK,
                       &err),
                  0);
        for (int i = 0; i < 2; i++) {
            check_has(s, i ? &other : &one, "a/item/x", confirmed ? "2" : "1");
            check_has(s, i ? &other : &one, "a/item/new", confirmed ? "3" : "(nothing)");
            check_has(s, i ? &other : &one, "a/item/gone", confirmed ? "(nothing)" : "1");
        }
        CHECK_U64(s->n_live, 0);
        (void)state_unref(s);
    }
}

TEST("a number that a candidate took is never given again")
{
    struct state *s = state_new();
    struct err err;

    CHECK_I64(put(&s, "a/item/x", "1", &err), 0);
    CHECK_I64(start(&s, "a/item/x", "2", &err), 0);
    CHECK_U64(state_number(s, STR("a\0item\0x")), 2);
    CHECK_I64(move(&s, 2, MOVE_ROLL_BACK, &err), 0);
    CHECK_U64(state_number(s, STR("a\0item\0x")), 2);
    CHECK_I64(start(&s, "a/item/x", "3", &err), 0);
    CHECK_I64(move(&s, 4, MOVE_CONFIRM, &err), 0);
    CHECK_U64(state_newest(s, STR("a\0item\0x"))->number, 3);
    CHECK_I64(put(&s, "a/item/x", "4", &err), 0);
    CHECK_U64(state_newest(s, STR("a\0item\0x"))->number, 4);
    CHECK_I64(start(&s, "a/item/n", "1", &err), 0);
    CHECK_I64(move(&s, 7, MOVE_ROLL_BACK, &err), 0);
    CHECK_I64(put(&s, "a/item/n", "1", &err), 0);
    CHECK_U64(state_newest(s, STR("a\0item\0n"))->number, 2);
    (void)state_unref(s);
}

TEST("what a rollout carries is locked, and the story names the rollout and what to do")
{
    struct state *s = state_new();
    struct err err;

    CHECK_I64(put(&s, "a/item/x", "1", &err), 0);
    CHECK_I64(start(&s, "a/item/x", "2", &err), 0);
    CHECK_I64(put(&s, "a/item/x", "3", &err), ERR_LOCKED);
    CHECK_STR(str_c(err.text), STR("is carried by rollout 2, which ann started"));
    CHECK_STR(str_c(err.place), STR("a/item/x"));
    CHECK_STR(str_c(err.hint), STR("confirm it or roll it back first (trimtab rollout status "
                                   "2), or override with a reason"));
    CHECK_I64(start(&s, "a/item/x", "3", &err), ERR_LOCKED);
    CHECK_I64(put(&s, "a/item/y", "1", &err), 0);
    CHECK_I64(move(&s, 2, MOVE_ROLL_BACK, &err), 0);
    CHECK_I64(put(&s, "a/item/x", "3", &err), 0);
    (void)state_unref(s);
}

TEST("what changes nothing is no change: neither locked, nor protected, nor checked anew")
{
    struct change protects = {
        .id = STR("a/item/p"), .content = STR("1"), .meta = {.is_protected = true}};
    struct change both[2] = {{.id = STR("a/item/x"), .content = STR("1"), .keep_meta = true},
                             {.id = STR("a/item/y"), .content = STR("2"), .keep_meta = true}};
    struct change carried = {.id = STR("a/item/x"), .content = STR("2"), .is_carried = true};
    struct state *s = state_new();
    struct err err;
    uint64_t before;

    CHECK_I64(put(&s, "a/item/x", "1", &err), 0);
    CHECK_I64(put(&s, "a/item/y", "1", &err), 0);
    CHECK_I64(commit_changes(&s, &protects, 1, &err), 0);
    CHECK_I64(start(&s, "a/item/x", "2", &err), 0);
    before = s->revision;
    CHECK_I64(put(&s, "a/item/x", "1", &err), 0);
    CHECK_I64(commit_changes(&s, &protects, 1, &err), 0);
    protects.meta.is_protected = false;
    CHECK_I64(commit_changes(&s, &protects, 1, &err), ERR_LOCKED);
    CHECK_I64(commit_changes(&s, both, 2, &err), 0);
    CHECK_STR(state_newest(s, STR("a\0item\0y"))->content, STR("2"));
    CHECK_STR(state_newest(s, STR("a\0item\0x"))->content, STR("1"));
    CHECK(rollout_is_live(state_rollout(s, before)));
    both[0].based_on = 7;
    CHECK_I64(commit_changes(&s, both, 2, &err), ERR_CONFLICT);
    CHECK_I64(commit_changes(&s, &carried, 1, &err), 0);
    carried.content = STR("3");
    CHECK_I64(commit_changes(&s, &carried, 1, &err), ERR_CONFLICT);
    (void)state_unref(s);
}

TEST("an override publishes at once, ends the rollout in the same commit, and needs a reason")
{
    struct state *s = state_new();
    struct rollout_move m = {.kind = MOVE_OVERRIDE, .id = 2, .expected = 1};
    struct change c = {.id = STR("a/item/x"), .content = STR("9")};
    struct commit commit = {
        .changes = &c, .n = 1, .moves = &m, .n_moves = 1, .author = STR("eve")};
    struct err err;

    CHECK_I64(put(&s, "a/item/x", "1", &err), 0);
    CHECK_I64(start(&s, "a/item/x", "2", &err), 0);
    CHECK_I64(commit_to(&s, &commit, &err), ERR_INVALID);
    commit.override = STR("the shop is down");
    CHECK_I64(commit_to(&s, &commit, &err), 0);
    check_has(s, &one, "a/item/x", "9");
    check_has(s, &other, "a/item/x", "9");
    CHECK_I64(state_rollout(s, 2)->phase, ROLLOUT_OVERRIDDEN);
    CHECK_U64(state_newest(s, STR("a\0item\0x"))->number, 3);
    (void)state_unref(s);
}

TEST("what is protected changes by a gray release with a satisfied step, or by an override")
{
    static const char rule[] = "{\"namespaces\": [\"shop/*\"], \"labels\": \"tier=core\"}";
    struct pair core = {STR("tier"), STR("core")};
    struct change protects = {.id = STR("shop/prod/item/x"),
                              .content = STR("1"),
                              .meta = {.labels = &core, .n_labels = 1}};
    struct change by_itself = {
        .id = STR("other/item/y"), .content = STR("1"), .meta = {.is_protected = true}};
    struct change quick = {
        .id = STR("shop/prod/item/x"), .content = STR("5"), .keep_meta = true};
    struct change removal = {.id = STR("other/item/y"), .content = STR("1")};
    struct state *s = state_new();
    struct err err;

    CHECK_I64(commit_changes(&s, &protects, 1, &err), 0);
    CHECK_I64(commit_changes(&s, &by_itself, 1, &err), 0);
    if (!CHECK_I64(put(&s, "trimtab/protection/core", rule, &err), 0))
        tap_note("%s: %s", err.place, err.text);
    CHECK_I64(put(&s, "shop/prod/item/x", "2", &err), ERR_LOCKED);
    CHECK_STR(
        str_c(err.text),
        STR("is protected by trimtab/protection/core: it changes by a gray release only"));
    CHECK_I64(commit_changes(&s, &removal, 1, &err), ERR_LOCKED);
    CHECK_STR(str_c(err.text),
              STR("is protected by its metadata: it changes by a gray release only"));
    CHECK_I64(put(&s, "shop/prod/item/free", "2", &err), 0);
    CHECK_I64(start(&s, "shop/prod/item/x", "2", &err), 0);
    CHECK_I64(move(&s, 5, MOVE_CONFIRM, &err), ERR_LOCKED);
    CHECK_STR(str_c(err.text), STR("is protected by trimtab/protection/core, and no step of "
                                   "rollout 5 is satisfied yet"));
    CHECK_I64(move(&s, 5, MOVE_SATISFY, &err), 0);
    /* once is not now */
    CHECK_I64(move_as(&s, 5, MOVE_CONFIRM, STR_NULL, false, &err), ERR_LOCKED);
    CHECK_STR(str_c(err.text), STR("is protected by trimtab/protection/core, and step 1 of "
                                   "rollout 5 does not meet its criteria any more"));
    CHECK_I64(move(&s, 5, MOVE_CONFIRM, &err), 0);
    CHECK_I64(start(&s, "shop/prod/item/x", "3", &err), 0);
    CHECK_I64(move(&s, s->revision, MOVE_SATISFY, &err), 0);
    CHECK_I64(move(&s, s->revision - 1, MOVE_EXTEND, &err), 0);
    CHECK_I64(move(&s, s->revision - 2, MOVE_CONFIRM, &err), ERR_LOCKED);
    CHECK(strstr(err.text, "the newest step of rollout"));
    CHECK_I64(move(&s, s->revision - 2, MOVE_SATISFY, &err), 0);
    CHECK_I64(move(&s, s->revision - 3, MOVE_CONFIRM, &err), 0);
    quick.keep_meta = true;
    CHECK_I64(commit_to(&s,
                        &(struct commit){.changes = &quick, .n = 1, .override = STR("\xff")},
                        &err),
              ERR_INVALID);
    CHECK_I64(commit_to(&s, &(struct commit){.changes = &quick, .n = 1, .override = STR("now")},
                        &err),
              0);
    CHECK_I64(start(&s, "other/item/y", "2", &err), 0);
    CHECK_I64(move_by(&s, s->revision, MOVE_CONFIRM, STR("we know"), &err), 0);
    (void)state_unref(s);
}

TEST("what Trimtab itself reads is no candidate, what is called alike is one")
{
    struct change both[] = {
        {.id = STR("a/item/x"), .content = STR("1")},
        {.id = STR("trimtab/protection/p"), .content = STR("{\"namespaces\": [\"a\"]}")}};
    struct state *s = state_new();
    struct err err;

    CHECK_I64(start_changes(&s, both, 2, &err), ERR_INVALID);
    CHECK(strstr(err.text, "cannot be the candidate of a rollout") && *err.hint);
    CHECK_STR(str_c(err.place), STR("trimtab/protection/p"));
    CHECK_I64(commit_changes(&s, &both[1], 1, &err), 0);
    CHECK_I64(start(&s, "trimtab/protection/p", NULL, &err), ERR_INVALID);
    CHECK_I64(start(&s, "trimtabs/item/x", "1", &err), 0);
    CHECK_I64(start(&s, "a/trimtab/item/x", "1", &err), 0);
    (void)state_unref(s);
}

TEST("a protection that is none is refused")
{
    static const char *const wrong[] = {"[]",
                                        "{}",
                                        "{\"reason\": \"x\"}",
                                        "{\"labels\": \"a=b c\"}",
                                        "{\"namespaces\": \"x\"}",
                                        "{\"namespaces\": [1]}",
                                        "{\"all\": true}"};
    struct state *s = state_new();
    struct err err;

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        CHECK_I64(put(&s, "trimtab/protection/x", wrong[i], &err), ERR_INVALID);
    (void)state_unref(s);
}

TEST("moves that cannot come together, or of what is not there, are refused")
{
    struct state *s = state_new();
    struct change c = {.id = STR("a/item/x"), .content = STR("2")};
    struct rollout_move moves[] = {{.kind = MOVE_PAUSE, .id = 2, .expected = 1},
                                   {.kind = MOVE_CONFIRM, .id = 2, .expected = 1}};
    struct rollout_plan plan = {.n_steps = 0};
    struct rollout_move empty = {.kind = MOVE_START, .plan = &plan};
    struct err err;

    CHECK_I64(put(&s, "a/item/x", "1", &err), 0);
    CHECK_I64(start(&s, "a/item/x", "1", &err), ERR_INVALID); /* it is stable already */
    CHECK_I64(start(&s, "a/item/none", NULL, &err), ERR_NOT_FOUND);
    CHECK_I64(commit_to(&s,
                        &(struct commit){.changes = &c, .n = 1, .moves = &empty, .n_moves = 1},
                        &err),
              ERR_INVALID);
    CHECK_I64(start(&s, "a/item/x", "2", &err), 0);
    CHECK_I64(move(&s, 7, MOVE_PAUSE, &err), ERR_NOT_FOUND);
    CHECK_I64(commit_to(&s, &(struct commit){.moves = moves, .n_moves = 2}, &err), ERR_INVALID);
    CHECK_I64(commit_to(&s,
                        &(struct commit){.moves = moves, .n_moves = 1, .changes = &c, .n = 1},
                        &err),
              ERR_INVALID);
    CHECK_I64(commit_to(&s, &(struct commit){.moves = moves + 1, .n_moves = 1}, &err),
              ERR_INVALID);
    c.content = STR("3"); /* not what it carries */
    CHECK_I64(
        commit_to(&s, &(struct commit){.moves = moves + 1, .n_moves = 1, .changes = &c, .n = 1},
                  &err),
        ERR_CONFLICT);
    (void)state_unref(s);
}

/* ---- references, for every observer ---- */

enum { NODES = 9, GROUPS = 4, ROUNDS = 4000 };

/* Instances are the subsets of four groups; rollout number g mod 4 goes to group g. */
static struct str group_values[GROUPS] = {{"g0", 2}, {"g1", 2}, {"g2", 2}, {"g3", 2}};

static bool view_is_whole(const struct state *s, unsigned groups)
{
    struct pair labels[GROUPS];
    struct subject who = {.labels = labels};

    for (unsigned g = 0; g < GROUPS; g++)
        if (groups & 1U << g)
            labels[who.n_labels++] = (struct pair){group_values[g], STR("yes")};
    for (int i = 0; i < NODES; i++) {
        char key[32];
        int len = snprintf(key, sizeof(key), "a%cnode%cn%d", 0, 0, i);
        const struct version *v = state_effective(s, str_of(key, (size_t)len), &who);

        for (size_t r = 0; v && v->references && r < v->references->n; r++)
            if (!state_effective(s, v->references->at[r], &who))
                return false;
    }
    return true;
}

static void random_change(struct rng *rng, struct change *c, char *id, char *content)
{
    int n = 0, links = (int)rng_below(rng, 3);

    (void)snprintf(id, 16, "a/node/n%d", (int)rng_below(rng, NODES));
    *c = (struct change){.id = str_c(id), .delete = rng_below(rng, 3) == 0};
    n = snprintf(content, 100, "{\"v\": %d, \"to\": [", (int)rng_below(rng, 1000));
    for (int i = 0; i < links; i++)
        n += snprintf(content + n, 100 - (size_t)n, "%s\"n%d\"", i ? "," : "",
                      (int)rng_below(rng, NODES));
    (void)snprintf(content + n, 100 - (size_t)n, "]}");
    c->content = c->delete ? STR_NULL : str_c(content);
}

static int random_commit(struct state **s, struct rng *rng)
{
    struct change changes[3];
    char ids[3][16], contents[3][100];
    size_t n = 1 + rng_below(rng, 3);
    struct target target = {.labels = group_values[rng_below(rng, GROUPS)]};
    struct step step = {.targets = &target, .n_targets = 1};
    struct rollout_plan plan = {.steps = &step, .n_steps = 1};
    struct rollout_move m = {.kind = MOVE_START, .plan = &plan};
    struct commit c = {.changes = changes, .n = n, .moves = &m, .n_moves = rng_below(rng, 2)};
    struct err err;

    for (size_t i = 0; i < n; i++)
        random_change(rng, &changes[i], ids[i], contents[i]);
    return commit_to(s, &c, &err);
}

/* Ends a live rollout: neither way can ever be refused. */
static bool random_end(struct state **s, struct rng *rng)
{
    struct tree_walk walk;
    struct tree_item *item;
    uint64_t live[64], n = 0;
    struct err err;

    tree_walk_from(&walk, (*s)->rollouts, STR(""), 0);
    while ((item = tree_walk_next(&walk)))
        if (rollout_is_live(rollout_of(item)) && n < ARRAY_LEN(live))
            live[n++] = rollout_of(item)->id;
    if (n == 0)
        return false;
    if (!CHECK_I64(move(s, live[rng_below(rng, n)],
                        rng_below(rng, 2) ? MOVE_CONFIRM : MOVE_ROLL_BACK, &err),
                   0))
        tap_note("%s: %s", err.place, err.text);
    return true;
}

TEST("whatever is started, published, confirmed and taken back, references resolve for every "
     "observer")
{
    struct state *s = state_new();
    struct rng rng = {5};
    struct err err;
    int n_good = 0, n_ended = 0, n_together = 0;

    CHECK_I64(put(&s, "trimtab/kind/node",
                  "{\"references\": [{\"field\": \"/to\", \"kind\": \"node\"}]}", &err),
              0);
    for (int round = 0; round < ROUNDS && !tap_failed(); round++) {
        if (rng_below(&rng, 4) == 0)
            n_ended += random_end(&s, &rng);
        else
            n_good += random_commit(&s, &rng) == 0;
        n_together += s->n_live > 1;
        for (unsigned groups = 0; groups < 1U << GROUPS; groups++)
            CHECK(view_is_whole(s, groups));
    }
    tap_note("%d commits, %d ends, more than one rollout live in %d of %d states", n_good,
             n_ended, n_together, ROUNDS);
    CHECK(n_good > 200 && n_ended > 100 && n_together > 100);
    (void)state_unref(s);
}

/* ---- two people at once, against a plain model ---- */

/*
 * Two resources; operations are starts of one or both, publishing either, and every move of the first two rollouts. All
 * sequences of four are tried, each against a model that knows only who carries what and how it ended.
 */
enum { OPS = 16, LENGTH = 4 };

struct plain {
    int stable[2];    /* content; 0: nothing */
    int carrier[2];   /* rollout that carries it, 1 or 2; 0: none */
    int candidate[2]; /* content that it would get */
    int n_rollouts;   /* that were started */
    bool live[3], paused[3];
};

static bool plain_start(struct plain *p, int mask, int content)
{
    for (int i = 0; i < 2; i++)
        if (mask & 1 << i && p->carrier[i])
            return false;
    if (p->n_rollouts == 2)
        return true; /* not followed any further */
    p->n_rollouts++;
    for (int i = 0; i < 2; i++)
        if (mask & 1 << i) {
            p->carrier[i] = p->n_rollouts;
            p->candidate[i] = content;
        }
    p->live[p->n_rollouts] = true;
    p->paused[p->n_rollouts] = false;
    return true;
}

static bool plain_end(struct plain *p, int rollout, bool confirm)
{
    if (!p->live[rollout])
        return false;
    for (int i = 0; i < 2; i++)
        if (p->carrier[i] == rollout) {
            if (confirm)
                p->stable[i] = p->candidate[i];
            p->carrier[i] = 0;
        }
    p->live[rollout] = false;
    return true;
}

static bool plain_op(struct plain *p, int op, int content)
{
    int rollout = op >= 11 ? 2 : 1;

    switch (op >= 11 ? op - 5 : op) {
    case 0:
    case 1:
    case 2: return plain_start(p, op + 1, content);
    case 3:
    case 4:
        if (p->carrier[op - 3])
            return false;
        p->stable[op - 3] = content;
        return true;
    case 5: return true; /* nothing */
    case 6: return plain_end(p, rollout, true);
    case 7: return plain_end(p, rollout, false);
    case 8:
        if (!p->live[rollout] || p->paused[rollout])
            return false;
        return p->paused[rollout] = true;
    case 9:
        if (!p->live[rollout] || !p->paused[rollout])
            return false;
        p->paused[rollout] = false;
        return true;
    default: return p->live[rollout]; /* extend */
    }
}

static const char *const names[2] = {"a/item/x", "a/item/y"};

static bool real_op(struct state **s, int op, const char *content, uint64_t *ids,
                    int *n_rollouts)
{
    static const enum rollout_move_kind kinds[] = {MOVE_CONFIRM, MOVE_ROLL_BACK, MOVE_PAUSE,
                                                   MOVE_RESUME, MOVE_EXTEND};
    struct change changes[2];
    size_t n = 0;
    struct err err;

    if (op == 5)
        return true;
    if (op >= 6)
        return move(s, ids[op >= 11], kinds[(op - 6) % 5], &err) == 0;
    if (op >= 3)
        return put(s, names[op - 3], content, &err) == 0;
    for (int i = 0; i < 2; i++)
        if ((op + 1) & 1 << i)
            changes[n++] = (struct change){.id = str_c(names[i]), .content = str_c(content)};
    if (start_changes(s, changes, n, &err))
        return false;
    if (*n_rollouts < 2)
        ids[(*n_rollouts)++] = (*s)->revision;
    return true;
}

static bool run_sequence(int sequence)
{
    struct state *s = state_new();
    struct plain p = {.stable = {1, 1}};
    uint64_t ids[2] = {1000, 1001};
    int n_rollouts = 0;
    struct err err;
    bool same = put(&s, names[0], "1", &err) == 0 && put(&s, names[1], "1", &err) == 0;

    for (int i = 0; i < LENGTH && same; i++, sequence /= OPS) {
        int op = sequence % OPS;
        char content[16];

        if (op < 3 && p.n_rollouts == 2)
            break;
        (void)snprintf(content, sizeof(content), "%d", i + 2);
        same = plain_op(&p, op, i + 2) == real_op(&s, op, content, ids, &n_rollouts);
        for (int k = 0; k < 2 && same; k++) {
            const char *keys[2] = {"a\0item\0x", "a\0item\0y"};
            const struct version *stable = state_effective(s, str_of(keys[k], 8), &other);
            const struct version *gray = state_effective(s, str_of(keys[k], 8), &one);
            uint64_t v;

            same = stable && gray && str_u64(gray->content, &v) &&
                   (int)v == (p.carrier[k] ? p.candidate[k] : p.stable[k]) &&
                   (state_carrier(s, str_of(keys[k], 8), NULL) != NULL) == (p.carrier[k] != 0);
            same = same && str_u64(state_find(s, str_of(keys[k], 8))->content, &v) &&
                   (int)v == p.stable[k];
        }
    }
    (void)state_unref(s);
    return same;
}

TEST("every sequence of four operations by two people ends as a plain model says")
{
    int n = 0, n_same = 0;

    for (int sequence = 0; sequence < OPS * OPS * OPS * OPS; sequence++, n++) {
        n_same += run_sequence(sequence);
        if (n_same != n + 1) {
            tap_note("sequence %d", sequence);
            break;
        }
    }
    CHECK_I64(n_same, OPS * OPS * OPS * OPS);
}

/* ---- orders ---- */

static int give(struct state **s, enum order_kind kind, const char *instance,
                const char *reason, struct err *err)
{
    struct str who = str_c(instance);
    struct order_request q = {.kind = kind,
                              .instances = &who,
                              .n_instances = instance != NULL,
                              .reason = str_c(reason)};

    q.revision = (*s)->revision + 1;
    return commit_to(s, &(struct commit){.order = &q, .author = STR("ann")}, err);
}

TEST("an order needs somebody whom it is for, and a reason; the fleet is paused once")
{
    struct str id = STR("a"), wrong = STR("not an id"), resource = STR("a/item/x"),
               empty = STR("");
    const struct {
        struct order_request q;
        int code;
    } rows[] = {
        {{.kind = ORDER_RETRY}, ERR_INVALID},
        {{.kind = ORDER_RETRY, .instances = &empty, .n_instances = 1}, ERR_INVALID},
        {{.kind = ORDER_RETRY, .resources = &wrong, .n_resources = 1}, ERR_INVALID},
        {{.kind = ORDER_RETRY, .resources = &resource, .n_resources = 1}, 0},
        {{.kind = ORDER_RETRY, .instances = &id, .n_instances = ORDER_INSTANCES_MAX + 1},
         ERR_LIMIT},
        {{.kind = ORDER_RELEASE, .instances = &id, .n_instances = 1, .reason = STR("x")},
         ERR_INVALID},
        {{.kind = ORDER_PAUSE}, ERR_INVALID},
        {{.kind = ORDER_PAUSE, .instances = &id, .n_instances = 1, .reason = STR("x")},
         ERR_INVALID},
        {{.kind = ORDER_PAUSE, .reason = STR("\xff")}, ERR_INVALID},
    };
    struct change change = {.id = STR("a/item/x"), .content = STR("1")};
    struct order_request pause = {.kind = ORDER_PAUSE, .reason = STR("x")};
    struct state *s = state_new();
    struct err err;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        CHECK_I64(order_check(&rows[i].q, &err), rows[i].code);
    CHECK_I64(
        commit_to(&s, &(struct commit){.changes = &change, .n = 1, .order = &pause}, &err),
        ERR_INVALID);
    CHECK_I64(give(&s, ORDER_RESUME, NULL, "x", &err), ERR_CONFLICT);
    CHECK_I64(give(&s, ORDER_PAUSE, NULL, "fire", &err), 0);
    CHECK(state_is_paused(s));
    CHECK_STR(state_fleet(s)->what.reason, STR("fire"));
    CHECK_STR(state_fleet(s)->what.author, STR("ann"));
    CHECK_I64(give(&s, ORDER_PAUSE, NULL, "x", &err), ERR_CONFLICT);
    CHECK_I64(give(&s, ORDER_RESUME, NULL, "x", &err), 0);
    CHECK(!state_is_paused(s));
    (void)state_unref(s);
}

TEST("the oldest orders are forgotten, the switch of the fleet never is")
{
    struct state *s = state_new();
    struct err err;

    CHECK_I64(give(&s, ORDER_PAUSE, NULL, "fire", &err), 0);
    for (int i = 0; i < ORDERS_MAX + 5; i++)
        if (!CHECK_I64(give(&s, ORDER_RETRY, "web-1", "", &err), 0))
            break;
    CHECK_U64(s->n_orders, ORDERS_MAX);
    CHECK(state_is_paused(s));
    CHECK(!state_order(s, 2) && !state_order(s, 6));
    CHECK(state_order(s, 7) && order_names(state_order(s, 7), STR("web-1")));
    CHECK(!order_names(state_order(s, 7), STR("web-2")));
    (void)state_unref(s);
}
