/*
 * The end of a rollout leaves everybody with exactly what he would have had without it (I5), or confirmed with the same as
 * everybody: for every combination of two resources that are changed, created, deleted or left alone, of references
 * between them, and of instances that are there, away, restarted from their copy, or new.
 */
#include "base/vec.h"
#include "feed/observer.h"

enum fate { CHANGED, CREATED, DELETED, LEFT, FATES };
static const char *const fate_names[] = {"changed", "created", "deleted", "left"};

/* What is tried: of A, of B, whether A refers to B in stable and in the candidate, and where B is. */
struct combination {
    enum fate a, b;
    bool stable_refers, candidate_refers, is_outside;
    enum rollout_move_kind end;
};

static bool was_there(enum fate f)
{
    return f != CREATED;
}
static bool is_there(enum fate f) /* for a target */
{
    return f != DELETED;
}

/* Whether there is such a thing at all: one cannot refer from or to what is not there. */
static bool is_possible(const struct combination *c)
{
    bool has_candidate = c->a == CHANGED || c->a == CREATED;

    return (c->a != LEFT || c->b != LEFT) &&
           (!c->stable_refers || (was_there(c->a) && was_there(c->b))) &&
           (!c->candidate_refers || has_candidate);
}

/* The rule for references across rollouts (docs/rollouts.md, docs/kinds.md), for this case. */
static bool is_legal(const struct combination *c)
{
    if (c->candidate_refers && !is_there(c->b))
        return false;
    return !(c->stable_refers && c->b == DELETED && c->a == LEFT);
}

/* ---- what is committed ---- */

static const char *id_of_b(const struct combination *c)
{
    return c->is_outside ? "b/item/y" : "a/item/y";
}

static struct change change_of(const char *id, const char *text, struct str *to, bool refers)
{
    return (struct change){.id = str_c(id),
                           .content = str_c(text),
                           .meta = {.depends_on = to, .n_depends_on = refers}};
}

static void set_up(struct world *w, const struct combination *c)
{
    struct str to = str_c(id_of_b(c));
    struct change changes[3] = {change_of("a/item/other", "1", NULL, false)};
    size_t n = 1;
    struct err err;

    if (was_there(c->b))
        changes[n++] = change_of(id_of_b(c), "1", NULL, false);
    if (was_there(c->a))
        changes[n++] = change_of("a/item/x", "1", &to, c->stable_refers);
    CHECK_I64(commit(w, &(struct commit){.changes = changes, .n = n}, &err), 0);
}

/* To all whose ids begin with t. */
static int begin(struct world *w, const struct combination *c)
{
    struct str to = str_c(id_of_b(c)),
               ids[] = {STR("t0"), STR("t1"), STR("t2"), STR("t3"), STR("t4")};
    struct target target = {.ids = ids, .n_ids = ARRAY_LEN(ids)};
    struct step step = {.targets = &target, .n_targets = 1};
    struct rollout_plan plan = {.steps = &step, .n_steps = 1};
    struct rollout_move m = {.kind = MOVE_START, .plan = &plan};
    struct change changes[2];
    size_t n = 0;
    struct err err;

    if (c->a != LEFT) {
        changes[n] = change_of("a/item/x", "2", &to, c->candidate_refers);
        changes[n++].delete = c->a == DELETED;
    }
    if (c->b != LEFT) {
        changes[n] = change_of(id_of_b(c), "2", NULL, false);
        changes[n++].delete = c->b == DELETED;
    }
    for (size_t i = 0; i < n; i++)
        if (changes[i].delete)
            changes[i] = (struct change){.id = changes[i].id, .delete = true};
    return commit(w, &(struct commit){.changes = changes, .n = n, .moves = &m, .n_moves = 1},
                  &err);
}

static void end(struct world *w, const struct combination *c, uint64_t id)
{
    struct rollout *r = state_rollout(w->state, id);
    struct str refs[2] = {str_c(id_of_b(c))};
    struct change changes[2];
    struct rollout_move m = {
        .kind = c->end, .id = id, .expected = r->n_moves, .reason = STR("why")};
    struct commit commit_ = {.moves = &m, .n_moves = 1};
    char ids[2][ID_ROOM];
    struct err err;

    for (size_t i = 0; c->end == MOVE_CONFIRM && i < r->n_candidates; i++) {
        const struct version *v = r->candidates[i];
        owned(buf) struct buf text = BUF_NULL(ID_ROOM);

        key_put_id(v->key, &text);
        (void)snprintf(ids[i], ID_ROOM, "%.*s", (int)text.len, text.data);
        changes[i] = v->deleted ? (struct change){.delete = true}
                                : change_of("", "2", refs, v->references != NULL);
        changes[i].id = str_c(ids[i]);
        commit_.changes = changes;
        commit_.n++;
    }
    CHECK_I64(commit(w, &commit_, &err), 0);
    if (err.code)
        tap_note("%s %s", err.place, err.text);
}

/* ---- who looks on ---- */

enum { STAYS, AWAY_BEFORE, AWAY_WITHIN, RESTARTS, JOINS, OUTSIDE, OBSERVERS };

struct copy {
    VEC(struct sync_change) bindings;
    struct sync_cursor cursor;
};

static int keep(void *ctx, const struct sync_change *b)
{
    struct copy *copy = ctx;

    (void)version_ref(b->item);
    return VEC_PUSH(&copy->bindings, *b) ? 0 : ERR_NOMEM;
}

/* Ends, and starts again with nothing but what it had written down. */
static void restart(struct observer *o)
{
    struct copy copy = {.cursor = sync_status(o->sync).cursor};
    struct sync *old = o->sync;

    if (o->session)
        unlink_observer(o);
    CHECK_I64(sync_each(old, keep, &copy), 0);
    REQUIRE(observer_start(o));
    CHECK_I64(sync_load(o->sync, copy.bindings.at, copy.bindings.n, &copy.cursor), 0);
    for (size_t i = 0; i < copy.bindings.n; i++)
        (void)version_unref(copy.bindings.at[i].item);
    VEC_DEINIT(&copy.bindings);
    (void)sync_free(old);
}

static void open_observers(struct observer *o, struct world *w)
{
    for (int i = 0; i < OBSERVERS; i++) {
        REQUIRE(observer_open(&o[i], w, i, "a", NULL));
        (void)snprintf(o[i].id, sizeof(o[i].id), "%c%d", i == OUTSIDE ? 'o' : 't', i);
        o[i].subject.id = str_c(o[i].id);
        if (i == JOINS)
            continue;
        link_observer(&o[i]);
        settle(&o[i]);
    }
    unlink_observer(&o[AWAY_BEFORE]);
}

static void look_within(struct observer *o)
{
    for (int i = 0; i < OBSERVERS; i++) {
        forget(&o[i]);
        if (i == JOINS)
            link_observer(&o[i]);
        if (o[i].session)
            settle(&o[i]);
    }
    CHECK_I64(o[OUTSIDE].n_frames, 0); /* I4 */
    unlink_observer(&o[AWAY_WITHIN]);
    restart(&o[RESTARTS]);
    forget(&o[RESTARTS]);
    link_observer(&o[RESTARTS]);
    settle(&o[RESTARTS]);
    CHECK_I64(o[RESTARTS].n_puts + o[RESTARTS].n_drops, 0); /* it has what it had */
    restart(&o[RESTARTS]);                                  /* and is away at the end */
}

static void look_after(struct observer *o, const struct combination *c, struct digest before)
{
    bool is_confirmed = c->end == MOVE_CONFIRM;
    struct digest of_all = DIGEST_NULL;

    forget(&o[OUTSIDE]);
    for (int i = 0; i < OBSERVERS; i++) {
        struct digest mine;

        if (!o[i].session)
            link_observer(&o[i]);
        settle(&o[i]);
        mine = sync_status(o[i].sync).cursor.digest;
        if (i == 0)
            of_all = mine;
        CHECK(digest_eq(mine, of_all));
        if (!is_confirmed)
            CHECK(digest_eq(mine, before)); /* I5 */
    }
    if (!is_confirmed)
        CHECK_I64(o[OUTSIDE].n_frames, 0);
}

static void try(const struct combination *c, int *ret_tried, int *ret_refused)
{
    struct observer o[OBSERVERS];
    struct digest before;
    struct world w;
    int r;

    REQUIRE(world_open(&w));
    set_up(&w, c);
    open_observers(o, &w);
    before = sync_status(o[STAYS].sync).cursor.digest;
    r = begin(&w, c);
    CHECK_I64(r == 0, is_legal(c));
    if (!r) {
        uint64_t id = w.state->revision;

        look_within(o);
        end(&w, c, id);
        look_after(o, c, before);
        ++*ret_tried;
    } else {
        ++*ret_refused;
    }
    for (int i = 0; i < OBSERVERS; i++)
        observer_close(&o[i]);
    world_close(&w);
}

static void say(const struct combination *c)
{
    tap_note("A %s, B %s%s%s%s, %s", fate_names[c->a], fate_names[c->b],
             c->stable_refers ? ", A refers to B in stable" : "",
             c->candidate_refers ? ", in the candidate" : "",
             c->is_outside ? ", B lies outside the scopes" : "", rollout_move_name(c->end));
}

TEST("whatever a rollout changes, creates and deletes, its end leaves no trace, or gives all "
     "the same")
{
    static const enum rollout_move_kind ends[] = {MOVE_ROLL_BACK, MOVE_EXPIRE, MOVE_CONFIRM};
    int tried = 0, refused = 0;

    for (int bits = 0; bits < FATES * FATES * 8 * (int)ARRAY_LEN(ends) && !tap_failed();
         bits++) {
        struct combination c = {.a = (enum fate)(bits % FATES),
                                .b = (enum fate)(bits / FATES % FATES),
                                .stable_refers = bits / (FATES * FATES) & 1,
                                .candidate_refers = bits / (FATES * FATES) & 2,
                                .is_outside = bits / (FATES * FATES) & 4,
                                .end = ends[bits / (FATES * FATES * 8)]};

        if (is_possible(&c))
            try(&c, &tried, &refused);
        if (tap_failed())
            say(&c);
    }
    tap_note("%d combinations, %d more refused", tried, refused);
    CHECK(tried > 100 && refused > 10);
}
