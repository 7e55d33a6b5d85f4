/*
 * Closures: random graphs, layers, selectors and rollouts, step by step, against a plain model that looks at everything
 * anew; and whoever comes back with what a view was is brought to what it is by the news alone. Some may not read every
 * namespace: what refers there, itself or through others, is withheld from them.
 */
#include "base/clock.h"
#include "model/closure.h"
#include "model/lines.h"
#include "unit/commits.h"

enum { SPACES = 3, KINDS = 2, NAMES = 5, NODES = SPACES * KINDS * NAMES, LINKS_MAX = 3 };
enum { SUBJECTS = 4, WISHES = 8, SCOPES_OF_A_WISH = 3, COMMITS_AT_ONCE = 4 };

static const char *const spaces[SPACES] = {"a", "b", "c"};
static const char *const kinds[KINDS] = {"item", "file"};
static struct subject subjects[SUBJECTS] = {
    {.id = {"s0", 2}}, {.id = {"s1", 2}}, {.id = {"s2", 2}}, {.id = {"s3", 2}}};

static size_t put_key(int node, char out[24])
{
    int space = node / (KINDS * NAMES), kind = node / NAMES % KINDS;
    size_t len =
        (size_t)snprintf(out, 24, "%s/%s/n%d", spaces[space], kinds[kind], node % NAMES);

    out[1] = '\0';
    out[6] = '\0';
    return len;
}

static void put_id(int node, char out[24])
{
    (void)put_key(node, out);
    out[1] = out[6] = '/';
}

static int node_of(struct str key)
{
    struct name n = key_name(key);

    return (n.space.data[0] - 'a') * KINDS * NAMES + (str_eq(n.kind, STR("file")) ? NAMES : 0) +
           (n.name.data[1] - '0');
}

/* ---- what is asked for ---- */

struct wish {
    struct scope scopes[SCOPES_OF_A_WISH];
    const struct scope *list[SCOPES_OF_A_WISH];
    size_t n;
    struct selector selectors[SCOPES_OF_A_WISH];
    struct str layers[SCOPES_OF_A_WISH][SPACES], kinds[SCOPES_OF_A_WISH],
        names[SCOPES_OF_A_WISH][2];
    char texts[SCOPES_OF_A_WISH][24];
    struct readable *readable;
};

/* May be read: all layers, and perhaps more; or everything. */
static void draw_readable(struct wish *w, struct rng *rng)
{
    struct principal p = {.subject = STR("token:a")};
    struct rights *r = NULL;

    for (int i = 0; i < SPACES; i++) {
        struct line l = {spaces[i], "token:a", "subscribe", spaces[i]};
        bool is_layer = rng_below(rng, 3) == 0;
        size_t ignored;

        for (size_t k = 0; k < w->n; k++)
            is_layer |= scope_has_layer(&w->scopes[k], str_c(spaces[i]), &ignored);
        if (is_layer)
            CHECK_I64(step_grant(&r, NULL, &l, 1), 0);
    }
    CHECK_I64(readable_make(r, &p, &w->readable), 0);
    (void)rights_unref(r);
}

static void wish_make(struct wish *w, struct rng *rng)
{
    *w = (struct wish){.n = 1 + rng_below(rng, SCOPES_OF_A_WISH)};
    for (size_t i = 0; i < w->n; i++) {
        struct scope *s = &w->scopes[i];
        size_t first = rng_below(rng, SPACES);

        (void)snprintf(w->texts[i], sizeof(w->texts[i]), "s%zu", i);
        *s = (struct scope){.name = str_c(w->texts[i]), .layers = w->layers[i]};
        s->n_layers = 1 + rng_below(rng, SPACES);
        for (size_t l = 0; l < s->n_layers; l++)
            w->layers[i][l] = str_c(spaces[(first + l) % SPACES]);
        if (rng_below(rng, 3)) {
            w->kinds[i] = str_c(kinds[rng_below(rng, KINDS)]);
            w->names[i][0] = STR("n0");
            w->names[i][1] = STR("*1");
            w->selectors[i].kinds = &w->kinds[i];
            w->selectors[i].n_kinds = rng_below(rng, 2);
            w->selectors[i].names = w->names[i];
            w->selectors[i].n_names = rng_below(rng, 3);
            s->selectors = &w->selectors[i];
            s->n_selectors = 1;
        }
        w->list[i] = s;
    }
    if (rng_below(rng, 3))
        draw_readable(w, rng);
}

static struct closure_view view_of(const struct wish *w, const struct state *s,
                                   const struct subject *who)
{
    return (struct closure_view){w->list, w->n, s, who, w->readable};
}

/* ---- the plain model: everything is looked at anew ---- */

struct plain {
    struct version *has[NODES];
    bool blocked[NODES]; /* it refers to what may not be read, itself or through others */
    bool bound[NODES], member[NODES];
    bool binds[SCOPES_OF_A_WISH][NODES], withheld[SCOPES_OF_A_WISH][NODES];
    struct str names[SCOPES_OF_A_WISH]; /* of the scopes */
};

static bool plain_blocked(const struct plain *p, const struct closure_view *v, int node)
{
    const struct references *refs = p->has[node] ? p->has[node]->references : NULL;

    for (size_t i = 0; refs && i < refs->n; i++)
        if (!readable_has(v->readable, key_name(refs->at[i]).space) ||
            plain_blocked(p, v, node_of(refs->at[i])))
            return true;
    return false;
}

static void plain_scope(struct plain *p, const struct scope *s, size_t number)
{
    for (int kind = 0; kind < KINDS; kind++)
        for (int name = 0; name < NAMES; name++) {
            char text[24];

            (void)snprintf(text, sizeof(text), "n%d", name);
            if (!scope_selects(s, str_c(kinds[kind]), str_c(text)))
                continue;
            for (size_t l = 0; l < s->n_layers; l++) {
                int node = (s->layers[l].data[0] - 'a') * KINDS * NAMES + kind * NAMES + name;

                if (!p->has[node])
                    continue;
                p->bound[node] = true;
                p->binds[number][node] = true;
                p->withheld[number][node] = p->blocked[node];
                break;
            }
        }
}

/* Follows what a node refers to; whether everything resolved. */
static bool plain_follow(struct plain *p, int node)
{
    const struct references *refs = p->has[node]->references;
    bool whole = true;

    for (size_t i = 0; refs && i < refs->n; i++) {
        int to = node_of(refs->at[i]);

        if (!p->has[to] || p->blocked[to]) {
            whole = false;
            continue;
        }
        if (p->bound[to] || p->member[to])
            continue;
        p->member[to] = true;
        whole &= plain_follow(p, to);
    }
    return whole;
}

/* I6: every reference in the view resolves in the view. */
static bool plain_view(const struct closure_view *v, struct plain *p)
{
    bool whole = true;

    *p = (struct plain){0};
    for (int i = 0; i < NODES; i++) {
        char key[24];
        size_t len = put_key(i, key);

        p->has[i] = state_effective(v->state, str_of(key, len), v->subject);
    }
    for (int i = 0; i < NODES; i++)
        p->blocked[i] = plain_blocked(p, v, i);
    for (size_t i = 0; i < v->n_scopes; i++) {
        p->names[i] = v->scopes[i]->name;
        plain_scope(p, v->scopes[i], i);
    }
    for (int i = 0; i < NODES; i++)
        if (p->bound[i] && !p->blocked[i])
            whole &= plain_follow(p, i);
    return whole;
}

/* What is withheld is taken off the digest of what the scopes bind. */
static bool withholds(const struct closure *c, const struct plain *p, struct digest *sum)
{
    uint64_t n = 0;

    for (size_t scope = 0; scope < SCOPES_OF_A_WISH; scope++)
        for (int i = 0; i < NODES; i++) {
            char key[24];
            bool is = closure_withholds(c, scope, str_of(key, put_key(i, key)));

            if (is != p->withheld[scope][i]) {
                put_id(i, key);
                tap_note("%s: %s withheld", key, is ? "should not be" : "should be");
                return false;
            }
            if (!is)
                continue;
            n++;
            *sum = digest_sub(*sum, binding_digest(p->names[scope], &p->has[i]->item_hash));
        }
    return c->n_withheld == n;
}

static bool matches(const struct closure *c, const struct plain *p)
{
    struct digest sum = DIGEST_NULL;
    uint64_t n = 0;

    if (!withholds(c, p, &sum))
        return false;

    for (int i = 0; i < NODES; i++) {
        char key[24];
        const struct referred *r = closure_find(c, str_of(key, put_key(i, key)));
        struct version *member = p->member[i] ? p->has[i] : NULL;

        if ((r ? r->version : NULL) != member) {
            put_id(i, key);
            tap_note("%s: %s a member", key, member ? "should be" : "should not be");
            return false;
        }
        if (!member)
            continue;
        n++;
        sum = digest_add(sum, binding_digest(STR("*"), &member->item_hash));
    }
    return c->count == n && digest_eq(c->digest, sum);
}

/* ---- random commits ---- */

struct history {
    struct rng rng;
    struct state *state;
    int n_done, n_refused, n_rollouts, n_moves, counter;
    uint64_t n_withheld; /* at the ends of histories */
};

struct drawing {
    struct change changes[COMMITS_AT_ONCE];
    struct str links[COMMITS_AT_ONCE][LINKS_MAX];
    char ids[COMMITS_AT_ONCE][24], to[COMMITS_AT_ONCE][LINKS_MAX][24],
        texts[COMMITS_AT_ONCE][16];
};

/* Something to refer to: mostly there, and mostly higher, so that there is no cycle; in any namespace. */
static int some_target(struct history *h, int node)
{
    int to = 0;

    for (int tries = 0; tries < 8; tries++) {
        char key[24];

        to = (int)rng_below(&h->rng, NODES);
        if (to * 7 % NODES > node * 7 % NODES && /* 7: across the namespaces */
            state_find(h->state, str_of(key, put_key(to, key))))
            break;
    }
    return to;
}

static size_t draw(struct history *h, struct drawing *d)
{
    size_t n = 0, want = 1 + rng_below(&h->rng, COMMITS_AT_ONCE);
    uint64_t taken = 0;

    while (want--) {
        int node = (int)rng_below(&h->rng, NODES);
        struct change *c = &d->changes[n];
        char key[24];
        struct str k = str_of(key, put_key(node, key));

        if (taken & 1ULL << node || state_carrier(h->state, k, NULL))
            continue;
        taken |= 1ULL << node;
        put_id(node, d->ids[n]);
        *c = (struct change){.id = str_c(d->ids[n]),
                             .delete = state_find(h->state, k) && rng_below(&h->rng, 5) == 0};
        (void)snprintf(d->texts[n], sizeof(d->texts[n]), "%d", ++h->counter);
        c->content = c->delete ? STR_NULL : str_c(d->texts[n]);
        c->meta.depends_on = d->links[n];
        for (size_t i = 0; i < rng_below(&h->rng, LINKS_MAX + 1) && !c->delete; i++) {
            put_id(some_target(h, node), d->to[n][i]);
            d->links[n][i] = str_c(d->to[n][i]);
            c->meta.n_depends_on = i + 1;
        }
        n++;
    }
    return n;
}

static void count(struct history *h, int r)
{
    h->n_done += r == 0;
    h->n_refused += r != 0;
}

static struct target some_of_them(struct history *h, struct str *ids)
{
    struct target t = {.ids = ids};

    for (int i = 0; i < SUBJECTS; i++)
        if (t.n_ids == 0 || rng_below(&h->rng, 3) == 0)
            ids[t.n_ids++] = subjects[(i + (int)rng_below(&h->rng, 2)) % SUBJECTS].id;
    return t;
}

static void random_start(struct history *h)
{
    struct drawing d;
    struct str ids[SUBJECTS];
    struct target target = some_of_them(h, ids);
    struct step step = {.targets = &target, .n_targets = 1};
    struct rollout_plan plan = {.steps = &step, .n_steps = 1};
    struct rollout_move m = {.kind = MOVE_START, .plan = &plan};
    struct commit c = {.changes = d.changes, .moves = &m, .n_moves = 1, .author = STR("ann")};
    struct err err;
    int r;

    c.n = draw(h, &d);
    r = commit_to(&h->state, &c, &err);
    count(h, r);
    h->n_rollouts += r == 0;
}

static struct rollout *some_live(struct history *h)
{
    struct tree_walk walk;
    struct rollout *r, *found = NULL;
    uint64_t n = 0;

    tree_walk_from(&walk, h->state->rollouts, STR(""), 0);
    while ((r = rollout_of(tree_walk_next(&walk))))
        if (rollout_is_live(r) && rng_below(&h->rng, ++n) == 0)
            found = r;
    return found;
}

static void random_move(struct history *h)
{
    static const enum rollout_move_kind moves[] = {MOVE_EXTEND, MOVE_CONFIRM, MOVE_ROLL_BACK};
    enum rollout_move_kind kind = moves[rng_below(&h->rng, 3)];
    const struct rollout *r = some_live(h);
    struct str ids[SUBJECTS];
    struct target target = some_of_them(h, ids);
    struct step step = {.targets = &target, .n_targets = 1};
    struct change changes[COMMITS_AT_ONCE];
    char texts[COMMITS_AT_ONCE][24];
    struct rollout_move m = {.kind = kind, .reason = STR("why")};
    struct commit c = {.changes = changes, .moves = &m, .n_moves = 1, .author = STR("bob")};
    struct err err;

    if (!r)
        return;
    m.id = r->id;
    m.expected = r->n_moves;
    m.step = kind == MOVE_EXTEND ? &step : NULL;
    for (size_t i = 0; kind == MOVE_CONFIRM && i < r->n_candidates; i++) {
        const struct version *v = r->candidates[i];

        put_id(node_of(v->key), texts[i]);
        changes[c.n++] = (struct change){.id = str_c(texts[i]),
                                         .delete = v->deleted,
                                         .content = v->content,
                                         .content_type = v->content_type,
                                         .meta = v->meta ? *v->meta : meta_none};
    }
    CHECK_I64(commit_to(&h->state, &c, &err), 0); /* promised: it cannot be refused */
    h->n_moves++;
}

static void random_event(struct history *h)
{
    struct drawing d;
    struct err err;

    switch (rng_below(&h->rng, 8)) {
    case 0: random_start(h); break;
    case 1:
    case 2: random_move(h); break;
    default: count(h, commit_changes(&h->state, d.changes, draw(h, &d), &err));
    }
}

/* ---- step by step ---- */

/* Keys of what is stable otherwise now. */
static size_t touched_between(const struct state *a, const struct state *b,
                              char keys[NODES][24], struct str *out)
{
    size_t n = 0;

    for (int i = 0; i < NODES; i++) {
        struct str key = str_of(keys[n], put_key(i, keys[n]));

        if (state_newest(a, key) != state_newest(b, key))
            out[n++] = key;
    }
    closure_sort(out, n);
    return n;
}

static void check_delta(const struct closure *before, const struct closure *after,
                        const struct closure_delta *d)
{
    size_t n = 0, n_left = 0;

    for (int i = 0; i < NODES; i++) {
        char key[24];
        struct str k = str_of(key, put_key(i, key));
        const struct referred *old = closure_find(before, k), *now = closure_find(after, k);
        const struct version *a = old ? old->version : NULL, *b = now ? now->version : NULL;

        n += a != b && (!a || !b || !sha256_eq(&a->item_hash, &b->item_hash));
        n_left += a && !b;
    }
    CHECK(d->changes.n == n && d->n_left == n_left);
}

static bool has_same_names(const struct closure *a, const struct closure *b)
{
    struct tree_walk wa, wb;
    const struct withheld *x, *y;

    tree_walk_from(&wa, a->withheld, STR(""), 0);
    tree_walk_from(&wb, b->withheld, STR(""), 0);
    do {
        x = withheld_of(tree_walk_next(&wa));
        y = withheld_of(tree_walk_next(&wb));
    } while (x && y && str_eq(x->node.key, y->node.key));
    return !x && !y;
}

/* Whether an item that a scope binds as before changed sides. */
static bool flips(const struct wish *w, const struct state *before, const struct state *after)
{
    struct closure_view from = view_of(w, before, NULL), to = view_of(w, after, NULL);
    struct plain a, b;

    CHECK(plain_view(&from, &a) && plain_view(&to, &b));
    for (size_t scope = 0; scope < w->n; scope++)
        for (int i = 0; i < NODES; i++)
            if (a.binds[scope][i] && b.binds[scope][i] && a.has[i] == b.has[i] &&
                a.withheld[scope][i] != b.withheld[scope][i])
                return true;
    return false;
}

static void step_closure(struct closure *c, const struct wish *w, const struct state *before,
                         const struct state *after)
{
    char keys[NODES][24];
    struct str touched[NODES];
    struct closure old = closure_ref(c);
    struct closure_delta delta;
    struct closure_move m = {.from = view_of(w, before, NULL),
                             .to = view_of(w, after, NULL),
                             .touched = touched,
                             .n_touched = touched_between(before, after, keys, touched)};

    CHECK_I64(closure_step(c, &m, &delta), 0);
    check_delta(&old, c, &delta);
    CHECK(delta.has_flipped || !flips(w, before, after));
    CHECK(digest_eq(old.withheld_names, c->withheld_names) == has_same_names(&old, c));
    closure_delta_deinit(&delta);
    closure_deinit(&old);
}

/* The view of one subject, from that of nobody and from nothing, is what the plain model says. */
static void check_subject(const struct closure *nobody, const struct wish *w,
                          const struct state *s, const struct subject *who)
{
    struct closure_view view = view_of(w, s, who);
    struct closure by_lens = closure_ref(nobody), anew;
    struct plain p;
    bool is_in;

    CHECK(plain_view(&view, &p));
    CHECK_I64(closure_lens(&by_lens, &view, &is_in), 0);
    CHECK(matches(&by_lens, &p));
    CHECK(is_in || digest_eq(by_lens.digest, nobody->digest));
    CHECK_I64(closure_make(&view, &anew), 0);
    CHECK(matches(&anew, &p));
    closure_deinit(&by_lens);
    closure_deinit(&anew);
}

/* ---- coming back ---- */

/* Somebody who had a view at a revision: hashes of the members, as they were. */
struct absentee {
    int wish;
    const struct subject *who;
    uint64_t revision, born;
    struct tree *withheld;
    struct version *held[NODES];
};

static void hold(struct absentee *a, const struct closure *c, uint64_t revision)
{
    for (int i = 0; i < NODES; i++) {
        char key[24];
        const struct referred *r = closure_find(c, str_of(key, put_key(i, key)));

        (void)version_unref(a->held[i]);
        a->held[i] = version_ref(r ? r->version : NULL);
    }
    a->revision = revision;
    (void)tree_unref(a->withheld);
    a->withheld = tree_ref(c->withheld);
}

/* What is in one of the sets only. */
static void add_flips(struct tree **flips, struct tree *one, struct tree *other)
{
    struct tree_walk walk;
    struct tree_item *item;

    tree_walk_from(&walk, one, STR(""), 0);
    while ((item = tree_walk_next(&walk)))
        if (!tree_find(other, item->key))
            CHECK(tree_put(flips, item));
}

/* What it held and is still a member stays, the news come: that must be the closure. */
static void check_return(struct absentee *a, const struct closure *c, const struct tree *news)
{
    for (int i = 0; i < NODES; i++) {
        char key[24];
        struct str k = str_of(key, put_key(i, key));
        const struct referred *r = closure_find(c, k);

        if (!r || !r->version || tree_find(news, k))
            continue;
        CHECK(a->held[i] && sha256_eq(&a->held[i]->item_hash, &r->version->item_hash));
    }
}

static void come_back(struct absentee *a, const struct wish *w, const struct closure *nobody,
                      const struct state *s)
{
    struct closure_view view = view_of(w, s, a->who);
    struct closure own = closure_ref(nobody);
    struct closure_past past = {.since = a->revision};
    struct tree *news;
    bool is_in;

    CHECK_I64(closure_lens(&own, &view, &is_in), 0);
    add_flips(&past.flips, own.withheld, a->withheld);
    add_flips(&past.flips, a->withheld, own.withheld);
    if (a->revision) {
        CHECK_I64(closure_news(&own, &view, &past, &news), 0);
        check_return(a, &own, news);
        (void)tree_unref(news);
    }
    if (a->revision && !a->who && a->revision >= a->born) {
        CHECK_I64(closure_changed(&own, a->revision, &news), 0);
        check_return(a, &own, news);
        (void)tree_unref(news);
    }
    hold(a, &own, s->revision);
    (void)tree_unref(past.flips);
    closure_deinit(&own);
}

enum { ABSENTEES = 12 };

static void run_history(uint64_t seed, int events, struct history *h)
{
    struct wish wishes[WISHES];
    struct closure closures[WISHES] = {0};
    struct absentee absentees[ABSENTEES] = {0};

    h->rng.state = seed;
    h->state = state_new();
    for (int i = 0; i < WISHES; i++)
        wish_make(&wishes[i], &h->rng);
    for (int i = 0; i < ABSENTEES; i++)
        absentees[i] = (struct absentee){.wish = (int)rng_below(&h->rng, WISHES),
                                         .who = i % 3 ? &subjects[i % SUBJECTS] : NULL};
    for (int e = 0; e < events && !tap_failed(); e++) {
        struct state *before = state_ref(h->state);
        struct absentee *a = &absentees[rng_below(&h->rng, ABSENTEES)];

        random_event(h);
        for (int i = 0; i < WISHES; i++) {
            step_closure(&closures[i], &wishes[i], before, h->state);
            for (int who = -1; who < SUBJECTS; who++)
                check_subject(&closures[i], &wishes[i], h->state,
                              who < 0 ? NULL : &subjects[who]);
        }
        come_back(a, &wishes[a->wish], &closures[a->wish], h->state);
        (void)state_unref(before);
    }
    for (int i = 0; i < WISHES; i++) {
        h->n_withheld += closures[i].n_withheld;
        closure_deinit(&closures[i]);
        wishes[i].readable = readable_unref(wishes[i].readable);
    }
    for (int i = 0; i < ABSENTEES; i++) {
        (void)tree_unref(absentees[i].withheld);
        for (int n = 0; n < NODES; n++)
            (void)version_unref(absentees[i].held[n]);
    }
    h->state = state_unref(h->state);
}

#ifdef TRIMTAB_SANITIZED
enum { HISTORIES = 25, EVENTS = 120 };
#else
enum { HISTORIES = 100, EVENTS = 200 };
#endif

TEST_WITHIN(600,
            "step by step, for every subject, a closure is what a plain look at everything "
            "says, and every reference in a view resolves in it")
{
    struct history h = {.n_done = 0};

    for (uint64_t seed = 1; seed <= HISTORIES && !tap_failed(); seed++) {
        run_history(seed, EVENTS, &h);
        if (tap_failed())
            tap_note("seed %d", (int)seed);
    }
    tap_note("%d commits, %d refused, %d rollouts, %d moves, %llu withheld", h.n_done,
             h.n_refused, h.n_rollouts, h.n_moves, (unsigned long long)h.n_withheld);
    CHECK(h.n_withheld > HISTORIES);
    CHECK(h.n_done > h.n_refused / 4 && h.n_rollouts > HISTORIES && h.n_moves > HISTORIES);
}

/* ---- by hand ---- */

static void commit_one(struct state **s, const char *id, const char *depends_on)
{
    struct str to = str_c(depends_on);
    struct change c = {.id = str_c(id),
                       .content = STR("1"),
                       .meta = {.depends_on = &to, .n_depends_on = depends_on ? 1 : 0}};
    struct err err;

    CHECK_I64(commit_changes(s, &c, 1, &err), 0);
}

TEST("without memory a closure is empty and made anew, and nothing leaks")
{
    struct str a = STR("a");
    struct scope scope = {.name = STR("s"), .layers = &a, .n_layers = 1};
    const struct scope *list[] = {&scope};
    struct state *s = state_new(), *before;
    struct str touched[] = {STR("a\0item\0n1")};
    bool passed = false;

    commit_one(&s, "c/item/n3", NULL);
    commit_one(&s, "b/item/n2", "c/item/n3");
    before = state_ref(s);
    commit_one(&s, "a/item/n1", "b/item/n2");
    for (uint64_t n = 0; !passed && n < 100; n++) {
        struct closure c = CLOSURE_NULL;
        struct closure_delta d;
        struct closure_move m = {.from = {list, 1, before, NULL},
                                 .to = {list, 1, s, NULL},
                                 .touched = touched,
                                 .n_touched = 1};
        int r;

        (void)mem_fail_after(n);
        r = closure_step(&c, &m, &d);
        passed = !mem_fail_after(UINT64_MAX);
        CHECK_I64(r, passed ? 0 : ERR_NOMEM);
        CHECK(c.count == (passed ? 2 : 0));
        closure_delta_deinit(&d);
        closure_deinit(&c);
    }
    CHECK(passed);
    (void)state_unref(before);
    (void)state_unref(s);
}

TEST("no scope of a subscription has the name that is for what is referred to")
{
    struct str a = STR("a");
    struct scope scope = {.name = STR("*"), .layers = &a, .n_layers = 1};
    struct err err = ERR_NULL;

    CHECK_I64(scopes_check(&scope, 1, &err), ERR_INVALID);
    CHECK_STR(str_c(err.text), STR("the scope name \"*\" is reserved"));
}

TEST("a state knows until when anything can have referred to anything")
{
    struct state *s = state_new();
    struct err err;

    commit_one(&s, "b/item/n2", NULL);
    CHECK_U64(s->referring, 0);
    commit_one(&s, "a/item/n1", "b/item/n2");
    CHECK_U64(s->referring, 2);
    CHECK_I64(
        commit_changes(&s, &(struct change){.id = STR("a/item/n1"), .delete = true}, 1, &err),
        0);
    commit_one(&s, "a/item/n4", NULL);
    CHECK_U64(s->referring, 3);
    (void)state_unref(s);
}

/* ---- what is withheld, by hand ---- */

static struct readable *reading(const char *spaces_of_it)
{
    struct rights *r = RIGHTS_OF({"g", "token:a", "subscribe", spaces_of_it});
    struct principal p = {.subject = STR("token:a")};
    struct readable *readable = NULL;

    CHECK_I64(readable_make(r, &p, &readable), 0);
    (void)rights_unref(r);
    return readable;
}

TEST("a change far below withholds what refers to it through others, and gives it back")
{
    struct readable *readable = reading("a b");
    struct str layer = STR("a"), touched[] = {STR("b\0item\0n2")}, cause;
    struct scope scope = {.name = STR("s"), .layers = &layer, .n_layers = 1};
    const struct scope *list[] = {&scope};
    struct state *s = state_new(), *before;
    struct closure c;
    struct closure_delta d;
    struct str one = STR("a\0item\0n1");

    commit_one(&s, "c/item/n4", NULL);
    commit_one(&s, "b/item/n2", NULL);
    commit_one(&s, "b/item/n3", "b/item/n2");
    commit_one(&s, "a/item/n1", "b/item/n3");
    CHECK_I64(closure_make(&(struct closure_view){list, 1, s, NULL, readable}, &c), 0);
    CHECK(c.count == 2 && c.n_withheld == 0 && closure_adds(&c) == 2);
    before = state_ref(s);
    commit_one(&s, "b/item/n2", "c/item/n4");
    CHECK_I64(closure_step(&c,
                           &(struct closure_move){.from = {list, 1, before, NULL, readable},
                                                  .to = {list, 1, s, NULL, readable},
                                                  .touched = touched,
                                                  .n_touched = 1},
                           &d),
              0);
    CHECK(d.has_flipped && d.n_left == 2 && c.count == 0 && closure_withholds(&c, 0, one));
    CHECK(closure_adds(&c) == -1);
    closure_delta_deinit(&d);
    CHECK_I64(closure_look(&(struct closure_view){list, 1, s, NULL, readable},
                           state_find(s, one), &cause),
              WITHHELD);
    CHECK_STR(cause, STR("c\0item\0n4"));
    CHECK_I64(closure_look(&(struct closure_view){list, 1, s, NULL, NULL}, state_find(s, one),
                           NULL),
              0);
    (void)state_unref(before);
    before = state_ref(s);
    commit_one(&s, "b/item/n2", NULL);
    CHECK_I64(closure_step(&c,
                           &(struct closure_move){.from = {list, 1, before, NULL, readable},
                                                  .to = {list, 1, s, NULL, readable},
                                                  .touched = touched,
                                                  .n_touched = 1},
                           &d),
              0);
    CHECK(d.has_flipped && c.count == 2 && !closure_withholds(&c, 0, one));
    CHECK(digest_eq(c.withheld_names, DIGEST_NULL));
    closure_delta_deinit(&d);
    closure_deinit(&c);
    (void)state_unref(before);
    (void)state_unref(s);
    (void)readable_unref(readable);
}

TEST("without memory nothing is said of what is withheld, and nothing leaks")
{
    struct readable *readable = reading("a b");
    struct str layer = STR("a"), touched[] = {STR("b\0item\0n2")};
    struct scope scope = {.name = STR("s"), .layers = &layer, .n_layers = 1};
    const struct scope *list[] = {&scope};
    struct state *s = state_new(), *before;
    struct closure first;
    int r = ERR_NOMEM;

    commit_one(&s, "c/item/n4", NULL);
    commit_one(&s, "b/item/n2", NULL);
    commit_one(&s, "a/item/n1", "b/item/n2");
    commit_one(&s, "a/item/n5", "c/item/n4");
    CHECK_I64(closure_make(&(struct closure_view){list, 1, s, NULL, readable}, &first), 0);
    before = state_ref(s);
    commit_one(&s, "b/item/n2", "c/item/n4");
    ALLOC_SWEEP (n) {
        struct closure c = closure_ref(&first);
        struct closure_delta d;

        r = closure_step(&c,
                         &(struct closure_move){.from = {list, 1, before, NULL, readable},
                                                .to = {list, 1, s, NULL, readable},
                                                .touched = touched,
                                                .n_touched = 1},
                         &d);
        CHECK(r == 0 ? c.n_withheld == 2 && c.count == 0
                     : r == ERR_NOMEM && !c.withheld && !c.entries);
        closure_delta_deinit(&d);
        closure_deinit(&c);
    }
    CHECK_I64(r, 0);
    ALLOC_SWEEP (n) {
        struct closure c;

        r = closure_make(&(struct closure_view){list, 1, s, NULL, readable}, &c);
        CHECK(r == 0 ? c.n_withheld == 2 : r == ERR_NOMEM && !c.withheld && !c.entries);
        closure_deinit(&c);
    }
    CHECK_I64(r, 0);
    CHECK(first.n_withheld == 1 && first.count == 1);
    closure_deinit(&first);
    (void)state_unref(before);
    (void)state_unref(s);
    (void)readable_unref(readable);
}
