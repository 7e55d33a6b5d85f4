/*
 * Closure. See closure.h.
 */
#include "model/closure.h"

#include "base/alloc.h"
#include "base/map.h"
#include "model/gauge.h"

struct closure closure_ref(const struct closure *c)
{
    struct closure copy = *c;

    (void)tree_ref(c->entries);
    (void)tree_ref(c->withheld);
    return copy;
}

void closure_deinit(struct closure *c)
{
    (void)tree_unref(c->entries);
    (void)tree_unref(c->withheld);
    *c = CLOSURE_NULL;
}

void closure_delta_deinit(struct closure_delta *d)
{
    for (size_t i = 0; i < d->changes.n; i++)
        (void)version_unref(d->changes.at[i].before);
    VEC_DEINIT(&d->changes);
    d->n_left = 0;
}

/* ---- entries ---- */

static void referred_release(struct tree_item *item)
{
    struct referred *r = referred_of(item);

    (void)version_unref(r->version);
    (void)mem_free(r);
}

static struct referred *referred_new(struct str key, uint64_t n, struct version *version,
                                     uint64_t revision)
{
    struct referred *r = mem_alloc(size_add(sizeof(*r), key.len));

    if (!r)
        return NULL;
    memcpy(r->text, key.data, key.len);
    atomic_init(&r->node.refs, 1);
    r->node.release = referred_release;
    r->node.revision = revision;
    r->node.key = str_of(r->text, key.len);
    r->n = n;
    r->version = version_ref(version);
    return r;
}

const struct referred *closure_find(const struct closure *c, struct str key)
{
    return c->entries ? referred_of(tree_find(c->entries, key)) : NULL;
}

struct referred *closure_next(const struct closure *c, struct str key, bool is_inclusive)
{
    struct tree_walk walk;
    struct referred *r;

    tree_walk_from(&walk, c->entries, key, 0);
    while ((r = referred_of(tree_walk_next(&walk))))
        if (r->version && (is_inclusive || !str_eq(r->node.key, key)))
            return r;
    return NULL;
}

/* ---- what a view has ---- */

/* Whether a scope binds this very resource: selected, there, and not hidden by a stronger layer. */
static bool is_bound(const struct closure_view *v, struct str key)
{
    struct name n = key_name(key);

    for (size_t i = 0; i < v->n_scopes; i++) {
        struct viewing viewing = {v->scopes[i], v->state, v->subject};
        const struct version *found;
        size_t layer;

        if (!scope_has_layer(v->scopes[i], n.space, &layer) ||
            !scope_selects(v->scopes[i], n.kind, n.name))
            continue;
        found = scope_find(&viewing, n.kind, n.name);
        if (found && str_eq(found->key, key))
            return true;
    }
    return false;
}

/* What a referred resource is as a member; NULL: it is none. */
static struct version *member_of(const struct closure_view *v, struct str key)
{
    return is_bound(v, key) ? NULL : state_effective(v->state, key, v->subject);
}

/* ---- what is withheld ---- */

int closure_look(const struct closure_view *view, const struct version *v,
                 struct str *ret_cause)
{
    struct gauge g = {.view = view};
    bool blocked = gauge_blocks(&g, v);

    if (blocked && ret_cause)
        *ret_cause = g.cause;
    gauge_deinit(&g);
    return g.failed ? ERR_NOMEM : blocked ? WITHHELD : 0;
}

enum { SCOPE_NUMBER_BYTES = 2, WITHHELD_KEY_BYTES_MAX = SCOPE_NUMBER_BYTES + ID_BYTES_MAX };

static struct str withheld_key(char out[WITHHELD_KEY_BYTES_MAX], size_t scope, struct str key)
{
    char *at = out + SCOPE_NUMBER_BYTES;

    out[0] = (char)(scope >> 8);
    out[1] = (char)scope;
    (void)str_keep(&at, key);
    return str_of(out, SCOPE_NUMBER_BYTES + key.len);
}

bool withheld_has(const struct tree *withheld, size_t scope, struct str key)
{
    char bytes[WITHHELD_KEY_BYTES_MAX];

    return withheld && tree_find(withheld, withheld_key(bytes, scope, key));
}

bool closure_withholds(const struct closure *c, size_t scope, struct str key)
{
    return withheld_has(c->withheld, scope, key);
}

static void withheld_release(struct tree_item *item)
{
    struct withheld *w = withheld_of(item);

    (void)version_unref(w->version);
    (void)mem_free(w);
}

static struct withheld *withheld_new(size_t scope, struct version *v, uint64_t revision)
{
    char bytes[WITHHELD_KEY_BYTES_MAX];
    struct str key = withheld_key(bytes, scope, v->key);
    struct withheld *w = mem_alloc(sizeof(*w) + key.len);

    if (!w)
        return NULL;
    memcpy(w->text, key.data, key.len);
    atomic_init(&w->node.refs, 1);
    w->node.release = withheld_release;
    w->node.revision = revision;
    w->node.key = str_of(w->text, key.len);
    w->version = version_ref(v);
    return w;
}

/* ---- stepping ---- */

/* An entry on its way from one view to the other. Versions and the key are borrowed from the states. */
struct work {
    struct str key;
    uint64_t n, n_before, revision;
    struct version *version, *before;
};

struct stepping {
    struct closure *closure;
    const struct closure_view *from, *to; /* from NULL: nothing at all */
    struct arena arena;
    struct map works; /* key -> struct work */
    VEC(const struct references *)
    gained, lost;               /* of items that came, and of those that went */
    VEC(struct work *) leaving; /* members that are none any more, though referred to */
    struct gauge gauge_from, gauge_to; /* of the two views; unused where all may be read */
    struct str *more;                  /* keys besides those that were touched; NULL: none */
    bool has_flipped;
    bool failed;
};

/* only_known: NULL when there is no such entry yet. */
static struct work *work_get(struct stepping *q, struct str key, bool only_known)
{
    struct work *w = map_get(&q->works, key);
    const struct referred *r;

    if (w)
        return w;
    r = closure_find(q->closure, key);
    if (!r && only_known)
        return NULL;
    w = ARENA_NEW(&q->arena, struct work);
    if (!w || !map_put(&q->works, key, w, NULL)) {
        q->failed = true;
        return NULL;
    }
    w->key = key;
    if (r) {
        w->n = w->n_before = r->n;
        w->revision = r->node.revision;
        w->version = w->before = r->version;
    }
    return w;
}

static void gain(struct stepping *q, const struct version *v)
{
    if (v && v->references && !VEC_PUSH(&q->gained, v->references))
        q->failed = true;
}

static void lose(struct stepping *q, const struct version *v)
{
    if (v && v->references && !VEC_PUSH(&q->lost, v->references))
        q->failed = true;
}

/* Gives an entry the item of the new view. One that is to go waits until all that is new is counted. */
static void examine(struct stepping *q, struct work *w)
{
    struct version *member = w && w->n ? member_of(q->to, w->key) : NULL;

    if (!w || member == w->version)
        return;
    if (!member) {
        if (!VEC_PUSH(&q->leaving, w))
            q->failed = true;
        return;
    }
    gain(q, member);
    lose(q, w->version);
    w->version = member;
}

static void count_gained(struct stepping *q)
{
    while (q->gained.n && !q->failed) {
        const struct references *refs = q->gained.at[--q->gained.n];

        for (size_t i = 0; i < refs->n && !q->failed; i++) {
            struct work *w = work_get(q, refs->at[i], false);

            if (w && w->n++ == 0)
                examine(q, w);
        }
    }
}

static void leave(struct stepping *q, struct work *w)
{
    lose(q, w->version);
    w->version = NULL;
}

static void take_back_lost(struct stepping *q)
{
    while (q->leaving.n && !q->failed) {
        struct work *w = q->leaving.at[--q->leaving.n];

        if (!w->n || !member_of(q->to, w->key))
            leave(q, w);
    }
    while (q->lost.n && !q->failed) {
        const struct references *refs = q->lost.at[--q->lost.n];

        for (size_t i = 0; i < refs->n && !q->failed; i++) {
            struct work *w = work_get(q, refs->at[i], false);

            if (!w)
                return;
            ASSERT(w->n > 0);
            if (--w->n == 0 && w->version)
                leave(q, w);
        }
    }
}

/* ---- writing down ---- */

static bool is_same(const struct version *a, const struct version *b)
{
    return a == b || (a && b && sha256_eq(&a->item_hash, &b->item_hash));
}

static void recount(struct closure *c, const struct version *before,
                    const struct version *after)
{
    if (before) {
        c->digest = digest_sub(c->digest, binding_digest(SCOPE_REFERRED, &before->item_hash));
        c->count--;
    }
    if (after) {
        c->digest = digest_add(c->digest, binding_digest(SCOPE_REFERRED, &after->item_hash));
        c->count++;
    }
}

static bool note_change(struct closure_delta *d, const struct work *w)
{
    if (!VEC_PUSH(&d->changes, (struct closure_change){w->before, w->version}))
        return false;
    (void)version_ref(w->before);
    d->n_left += !w->version;
    return true;
}

static bool write_entry(struct stepping *q, const struct work *w)
{
    struct closure *c = q->closure;
    bool same = is_same(w->before, w->version);
    struct referred *r;
    bool ok;

    if (w->n == 0)
        return tree_remove(&c->entries, w->key);
    r = referred_new(w->key, w->n, w->version, same ? w->revision : q->to->state->revision);
    if (!r)
        return false;
    ok = tree_put(&c->entries, &r->node);
    tree_item_unref(&r->node);
    return ok;
}

/* Changes are noted first: they keep what is replaced. */
static void write_back(struct stepping *q, struct closure_delta *d)
{
    struct map_slot *slot;
    size_t at = 0;

    while (d && !q->failed && (slot = map_each(&q->works, &at))) {
        const struct work *w = slot->value;

        q->failed = !is_same(w->before, w->version) && !note_change(d, w);
    }
    at = 0;
    while (!q->failed && (slot = map_each(&q->works, &at))) {
        const struct work *w = slot->value;

        if (!is_same(w->before, w->version))
            recount(q->closure, w->before, w->version);
        if (w->n != w->n_before || w->version != w->before)
            q->failed = !write_entry(q, w);
    }
}

static int finish(struct stepping *q, struct closure_delta *d)
{
    int r = 0;

    q->failed |= q->gauge_from.failed || q->gauge_to.failed;
    count_gained(q);
    take_back_lost(q);
    write_back(q, d);
    if (q->failed || arena_failed(&q->arena)) {
        closure_deinit(q->closure);
        if (d)
            closure_delta_deinit(d);
        r = ERR_NOMEM;
    } else if (d) {
        d->has_flipped = q->has_flipped;
    }
    gauge_deinit(&q->gauge_from);
    gauge_deinit(&q->gauge_to);
    q->more = mem_free(q->more);
    map_deinit(&q->works);
    VEC_DEINIT(&q->gained);
    VEC_DEINIT(&q->lost);
    VEC_DEINIT(&q->leaving);
    arena_deinit(&q->arena);
    return r;
}

/* ---- bindings that are withheld ---- */

/* One more name that is withheld, or one less; item is what the scope binds by it. */
static void recount_withheld(struct stepping *q, size_t scope, const struct version *item,
                             struct str key, bool is_more)
{
    struct digest binding = binding_digest(q->to->scopes[scope]->name, &item->item_hash);
    struct sha256 hash = sha256_of(key);
    struct digest name = digest_from_sha256(&hash);
    struct closure *c = q->closure;

    c->digest = is_more ? digest_sub(c->digest, binding) : digest_add(c->digest, binding);
    c->withheld_names =
        is_more ? digest_add(c->withheld_names, name) : digest_sub(c->withheld_names, name);
    c->n_withheld += is_more ? 1 : UINT64_MAX;
}

static void withhold(struct stepping *q, size_t scope, struct version *v)
{
    struct withheld *w = withheld_new(scope, v, q->to->state->revision);

    if (!w) {
        q->failed = true;
        return;
    }
    q->failed |= !tree_put(&q->closure->withheld, &w->node);
    recount_withheld(q, scope, v, w->node.key, true);
    tree_item_unref(&w->node);
}

static void give_back(struct stepping *q, size_t scope, const struct version *v)
{
    char bytes[WITHHELD_KEY_BYTES_MAX];
    struct str key = withheld_key(bytes, scope, v->key);

    if (q->failed)
        return;
    ASSERT(closure_withholds(q->closure, scope, v->key));
    q->failed |= !tree_remove(&q->closure->withheld, key);
    recount_withheld(q, scope, v, key, false);
}

/* ---- from nothing ---- */

static void gain_scope(struct stepping *q, size_t number)
{
    const struct scope *scope = q->to->scopes[number];
    struct scope_walk *walk = mem_alloc(scope_walk_size(scope));
    struct scope_step step;

    if (!walk) {
        q->failed = true;
        return;
    }
    scope_walk_init(walk, &(struct viewing){scope, q->to->state, q->to->subject}, 0);
    while (!q->failed && scope_walk_next(walk, &step))
        if (gauge_blocks(&q->gauge_to, step.item))
            withhold(q, number, step.item);
        else
            gain(q, step.item);
    (void)mem_free(walk);
}

int closure_make(const struct closure_view *view, struct closure *ret)
{
    struct stepping q = {.closure = ret, .to = view, .gauge_to = {.view = view}};

    *ret = CLOSURE_NULL;
    if (!view->state->uses) /* nothing refers to anything */
        return 0;
    for (size_t i = 0; i < view->n_scopes && !q.failed; i++)
        gain_scope(&q, i);
    return finish(&q, NULL);
}

/* ---- from one view to another ---- */

static struct str tail_of(struct str key)
{
    return str_from(key, str_index(key, '\0') + 1);
}

/* By kind and name, whatever the namespace: what a scope binds under one name stands together. */
static int by_tail(const void *a, const void *b)
{
    const struct str *ka = a, *kb = b;
    int c = str_cmp(tail_of(*ka), tail_of(*kb));

    return c ? c : str_cmp(*ka, *kb);
}

void closure_sort(struct str *keys, size_t n)
{
    if (n > 1)
        qsort(keys, n, sizeof(*keys), by_tail);
}

static bool has_any_layer(const struct scope *s, const struct str *keys, size_t n)
{
    size_t layer;

    for (size_t i = 0; i < n; i++)
        if (scope_has_layer(s, key_name(keys[i]).space, &layer))
            return true;
    return false;
}

/* What a scope binds under a name, before and after. */
static void step_binding(struct stepping *q, size_t scope, struct name name)
{
    struct viewing from = {q->from->scopes[scope], q->from->state, q->from->subject};
    struct viewing to = {q->to->scopes[scope], q->to->state, q->to->subject};
    struct version *before = scope_find(&from, name.kind, name.name);
    struct version *after = scope_find(&to, name.kind, name.name);
    bool was_blocked = gauge_blocks(&q->gauge_from, before);
    bool will_be_blocked = gauge_blocks(&q->gauge_to, after);

    if (before == after && was_blocked == will_be_blocked)
        return;
    q->has_flipped |= before == after;
    if (was_blocked)
        give_back(q, scope, before);
    else
        lose(q, before);
    if (will_be_blocked)
        withhold(q, scope, after);
    else
        gain(q, after);
    if (before)
        examine(q, work_get(q, before->key, true));
    if (after)
        examine(q, work_get(q, after->key, true));
}

/* Resources of one kind and name. */
static void step_name(struct stepping *q, const struct str *keys, size_t n)
{
    struct name name = key_name(keys[0]);

    for (size_t i = 0; i < q->to->n_scopes; i++)
        if (scope_selects(q->to->scopes[i], name.kind, name.name) &&
            has_any_layer(q->to->scopes[i], keys, n))
            step_binding(q, i, name);
    for (size_t i = 0; i < n; i++)
        examine(q, work_get(q, keys[i], true));
}

/* ---- whom a change touches upwards ---- */

/* Resources that were touched, or refer to one that is blocked now and was not, or the other way round. */
struct spread {
    struct stepping *stepping;
    struct map seen;
    VEC(struct str) keys; /* the first ones are those that were touched */
};

static bool changes_sides(struct stepping *q, struct str key)
{
    const struct version *before = state_effective(q->from->state, key, q->from->subject);
    const struct version *after = state_effective(q->to->state, key, q->to->subject);

    return gauge_blocks(&q->gauge_from, before) != gauge_blocks(&q->gauge_to, after);
}

static void spread_to(struct spread *s, struct str key)
{
    static char there;
    void *old = NULL;

    if (!map_put(&s->seen, key, &there, &old) || (!old && !VEC_PUSH(&s->keys, key)))
        s->stepping->failed = true;
}

static void spread_users(struct spread *s, const struct state *state, struct str key)
{
    struct tree_walk walk;
    const struct use *u;

    state_uses_from(state, key, &walk);
    while (!s->stepping->failed && (u = state_uses_next(&walk, key)))
        spread_to(s, u->source);
}

/*
 * Brings the list of what was touched to all whose own items may be withheld now and were not, or the other way round (X4): a
 * change spreads upwards only through those that change sides.
 */
static void spread(struct stepping *q, const struct str **keys, size_t *n)
{
    struct spread s = {.stepping = q};

    for (size_t i = 0; i < *n && !q->failed; i++)
        spread_to(&s, (*keys)[i]);
    for (size_t i = 0; i < s.keys.n && !q->failed; i++) {
        struct str key = s.keys.at[i];

        if (!changes_sides(q, key))
            continue;
        spread_users(&s, q->from->state, key);
        spread_users(&s, q->to->state, key);
    }
    map_deinit(&s.seen);
    closure_sort(s.keys.at, s.keys.n);
    *keys = q->more = s.keys.at;
    *n = s.keys.n;
}

int closure_step(struct closure *c, const struct closure_move *m,
                 struct closure_delta *ret_delta)
{
    struct stepping q = {.closure = c,
                         .from = &m->from,
                         .to = &m->to,
                         .gauge_from = {.view = &m->from},
                         .gauge_to = {.view = &m->to}};
    const struct str *keys = m->touched;
    size_t n = m->n_touched;

    if (ret_delta)
        *ret_delta = (struct closure_delta){.n_left = 0};
    if (!c->entries && !m->from.state->uses && !m->to.state->uses)
        return 0;
    if (m->to.readable)
        spread(&q, &keys, &n);
    for (size_t i = 0, end; i < n && !q.failed; i = end) {
        for (end = i + 1; end < n && str_eq(tail_of(keys[end]), tail_of(keys[i]));)
            end++;
        step_name(&q, keys + i, end - i);
    }
    return finish(&q, ret_delta);
}

/* ---- the view of a subject ---- */

/* Keys of all that rollouts carry for the subject, sorted. False without memory. */
static bool carried(const struct closure_view *v, struct str **ret, size_t *ret_n)
{
    VEC(struct str) keys = {0};
    struct tree_walk walk;
    const struct rollout *r;
    bool ok = true;

    tree_walk_from(&walk, v->state->rollouts, STR(""), 0);
    while (ok && (r = rollout_of(tree_walk_next(&walk)))) {
        if (!rollout_takes(r, v->subject))
            continue;
        for (size_t i = 0; i < r->n_candidates && ok; i++)
            ok = VEC_PUSH(&keys, r->candidates[i]->key);
    }
    closure_sort(keys.at, keys.n);
    *ret = keys.at;
    *ret_n = keys.n;
    return ok;
}

static bool finds_any(const struct closure *c, const struct str *keys, size_t n)
{
    for (size_t i = 0; i < n && c->entries; i++)
        if (closure_find(c, keys[i]))
            return true;
    return false;
}

int closure_lens(struct closure *c, const struct closure_view *view, bool *ret_is_in)
{
    struct closure_move m = {.from = *view, .to = *view};
    struct closure before; /* kept, so that a changed set has another root */
    struct str *keys;
    int r = 0;

    *ret_is_in = false;
    if (!view->subject || !view->state->n_live || !view->state->uses)
        return 0;
    if (!carried(view, &keys, &m.n_touched)) {
        closure_deinit(c);
        r = ERR_NOMEM;
    }
    m.from.subject = NULL;
    m.touched = keys;
    before = closure_ref(c);
    *ret_is_in = finds_any(c, keys, m.n_touched);
    if (!r && m.n_touched)
        r = closure_step(c, &m, NULL);
    *ret_is_in |= !r && m.n_touched &&
                  (c->entries != before.entries || c->n_withheld || before.n_withheld);
    closure_deinit(&before);
    (void)mem_free(keys);
    return r;
}

/* ---- what is news to whom ---- */

struct news {
    const struct closure *closure;
    const struct closure_view *view;
    struct tree *found;
    VEC(const struct references *)
    queue; /* of items that are news: what they refer to may be, too */
    bool failed;
};

static void news_add(struct news *n, struct str key)
{
    struct referred *r = referred_of(tree_find(n->closure->entries, key));

    if (!r || !r->version || tree_find(n->found, key))
        return;
    n->failed = !tree_put(&n->found, &r->node) ||
                (r->version->references && !VEC_PUSH(&n->queue, r->version->references));
}

static void news_add_all(struct news *n, const struct references *refs)
{
    for (size_t i = 0; refs && i < refs->n && !n->failed; i++)
        news_add(n, refs->at[i]);
}

/* A name that was touched may have stopped to bind what is referred to now, and its item may refer to it only now. */
static void news_of_name(struct news *n, const struct scope *scope,
                         const struct scope_step *step)
{
    for (size_t i = 0; i < scope->n_layers && !n->failed; i++) {
        owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);

        buf_put_str(&key, scope->layers[i]);
        buf_put_byte(&key, '\0');
        buf_put_str(&key, step->key);
        if (buf_status(&key))
            n->failed = true;
        else
            news_add(n, buf_str(&key));
    }
    if (step->item)
        news_add_all(n, step->item->references);
}

static void news_of_scope(struct news *n, struct scope_walk *walk)
{
    struct scope_step step;

    while (!n->failed && scope_walk_next(walk, &step))
        news_of_name(n, walk->viewing.scope, &step);
}

static void news_of_members(struct news *n, const struct scope_walk *rules)
{
    struct tree_walk walk;
    const struct referred *r;

    tree_walk_from(&walk, n->closure->entries, STR(""), 0);
    while (!n->failed && (r = referred_of(tree_walk_next(&walk))))
        if (r->version && scope_walk_touched(rules, r->node.key))
            news_add(n, r->node.key);
}

static void news_of_view(struct news *n, uint64_t since, bool is_thorough)
{
    for (size_t i = 0; i < n->view->n_scopes && !n->failed; i++) {
        const struct scope *scope = n->view->scopes[i];
        struct scope_walk *walk = mem_alloc(scope_walk_size(scope));

        if (!walk) {
            n->failed = true;
            return;
        }
        scope_walk_init(walk, &(struct viewing){scope, n->view->state, n->view->subject},
                        since);
        walk->is_thorough = is_thorough;
        news_of_scope(n, walk);
        if (i == 0)
            news_of_members(n, walk);
        (void)mem_free(walk);
    }
    while (n->queue.n && !n->failed)
        news_add_all(n, n->queue.at[--n->queue.n]);
}

/* An item that is given back refers to what nobody need have touched. */
static void news_of_flips(struct news *n, struct tree *flips)
{
    struct tree_walk walk;
    const struct withheld *w;

    tree_walk_from(&walk, flips, STR(""), 0);
    while (!n->failed && (w = withheld_of(tree_walk_next(&walk)))) {
        const struct version *item =
            state_effective(n->view->state, w->version->key, n->view->subject);

        if (item)
            news_add_all(n, item->references);
    }
}

int closure_news(const struct closure *c, const struct closure_view *view,
                 const struct closure_past *past, struct tree **ret_news)
{
    struct news n = {.closure = c, .view = view};

    *ret_news = NULL;
    if (!c->count)
        return 0;
    if (!past->since) { /* nothing existed */
        *ret_news = tree_ref(c->entries);
        return 0;
    }
    news_of_flips(&n, past->flips);
    news_of_view(&n, past->since, past->is_thorough);
    VEC_DEINIT(&n.queue);
    if (n.failed)
        n.found = tree_unref(n.found);
    *ret_news = n.found;
    return n.failed ? ERR_NOMEM : 0;
}

int closure_changed(const struct closure *c, uint64_t since, struct tree **ret_changed)
{
    struct tree_walk walk;
    struct referred *r;

    *ret_changed = NULL;
    tree_walk_from(&walk, c->entries, STR(""), since);
    while ((r = referred_of(tree_walk_next(&walk))))
        if (r->version && !tree_put(ret_changed, &r->node)) /* empty then */
            return ERR_NOMEM;
    return 0;
}
