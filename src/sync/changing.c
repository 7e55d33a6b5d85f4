/*
 * A change of what is received and held: planned whole, stored in one step, then taken over without a chance to fail. See
 * internal.h; releases are the changes that people order.
 */
#include "sync/internal.h"

#include "base/alloc.h"

/* ---- planning ---- */

static int plan_holds(struct changing *c, uint64_t revision)
{
    static const struct map none = {.n = 0};
    struct sync *s = c->sync;
    struct hold_change change = {.received = &s->bindings,
                                 .staged = c->staged ? c->staged : &none,
                                 .released = c->released ? c->released : &none,
                                 .scopes = s->scope_names,
                                 .n_scopes = s->opts.n_scopes,
                                 .revision = revision};

    if (!s->holds.by_name.n && !c->n_uncaused)
        return 0;
    return holds_plan(&s->holds, &change, &c->next);
}

/* ---- the lists of a batch ---- */

struct listing {
    struct changing *c;
    struct sync_change *changes;
    struct sync_held *held;
};

static struct sync_held held_of(const struct hold *h)
{
    return (struct sync_held){binding_scope(h->binding), binding_tail(h->binding),
                              h->binding->item, h->since, h->is_needed};
}

static void list_change(struct listing *l, const struct binding *name, struct version *item,
                        bool is_held)
{
    l->changes[l->c->batch.n++] =
        (struct sync_change){binding_scope(name), binding_tail(name), item, is_held};
}

/* What was to be served under a name goes on, as the next hold says: the copy has to know that. */
static void list_hold(struct listing *l, const struct hold *next)
{
    struct str key = binding_key(next->binding);
    const struct hold *now = holds_find(&l->c->sync->holds, key);

    if (map_get(&l->c->sync->bindings, key) || (now && now->is_needed != next->is_needed))
        l->held[l->c->batch.n_held++] = held_of(next);
    else if (!now)
        list_change(l, next->binding, next->binding->item, true);
}

/* A drop is none when its name is held after it. */
static void list_all(struct listing *l)
{
    const struct map *staged = l->c->staged;
    struct map_slot *slot;
    size_t at = 0;

    while (staged && (slot = map_each(staged, &at))) {
        const struct binding *word = slot->value;

        if (word->item || !holds_find(&l->c->next, slot->key))
            list_change(l, word, word->item, false);
    }
    at = 0;
    while ((slot = map_each(&l->c->sync->holds.by_name, &at)))
        if (!(staged && map_get(staged, slot->key)) && !holds_find(&l->c->next, slot->key))
            list_change(l, ((const struct hold *)slot->value)->binding, NULL, false);
    at = 0;
    while ((slot = map_each(&l->c->next.by_name, &at)))
        list_hold(l, slot->value);
}

static int make_lists(struct changing *c)
{
    size_t n = (c->staged ? c->staged->n : 0) + c->sync->holds.by_name.n + c->next.by_name.n;
    struct listing l = {.c = c,
                        .changes = NEW_ARRAY(struct sync_change, n),
                        .held = NEW_ARRAY(struct sync_held, c->next.by_name.n)};

    c->batch.changes = l.changes;
    c->batch.held = l.held;
    if (!l.changes || !l.held)
        return ERR_NOMEM;
    list_all(&l);
    return 0;
}

/* ---- taking over ---- */

/* Moves the staged bindings into the set; room was made. Drops stay staged: their names are still to be told. */
static void take_words(struct changing *c)
{
    struct map *bindings = &c->sync->bindings;
    struct map_slot *slot;
    size_t at = 0;

    while (c->staged && (slot = map_each(c->staged, &at))) {
        struct binding *b = slot->value;
        void *old = NULL;
        bool put;

        if (!b->item) {
            (void)binding_free(map_remove(bindings, binding_key(b)));
            continue;
        }
        put = map_put(bindings, binding_key(b), b, &old);
        ASSERT(put);
        (void)binding_free(old);
        slot->value = NULL; /* the stage owns it no more */
    }
}

int changing_store(struct changing *c, const struct sync_cursor *cursor, Trimtab__V1__Mode mode,
                   struct err *err)
{
    struct sync *s = c->sync;
    int r = plan_holds(c, cursor->revision);

    c->batch.cursor = *cursor;
    c->batch.mode = mode;
    if (!r && c->staged && !map_reserve(&s->bindings, c->staged->n))
        r = ERR_NOMEM;
    if (!r)
        r = make_lists(c);
    if (!r)
        r = s->opts.ops->store(s->opts.ctx, &c->batch, err);
    if (r)
        return r;
    for (size_t i = 0; i < c->batch.n; i++) {
        s->status.items += c->batch.changes[i].item != NULL;
        s->status.drops += c->batch.changes[i].item == NULL;
    }
    take_words(c);
    c->before = s->holds;
    s->holds = c->next;
    c->next = (struct holds){.by_name = MAP_NULL};
    s->status.cursor = *cursor;
    return 0;
}

void changing_deinit(struct changing *c)
{
    holds_deinit(&c->next);
    holds_deinit(&c->before);
    (void)mem_free((void *)(uintptr_t)c->batch.changes);
    (void)mem_free((void *)(uintptr_t)c->batch.held);
}

/* ---- what is held ---- */

int sync_load_held(struct sync *s, const struct sync_held *held, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct hold *h = hold_new(held[i].scope, held[i].key, held[i].item, held[i].since,
                                  held[i].is_needed);
        bool is_twice = h && (map_get(&s->bindings, binding_key(h->binding)) ||
                              holds_find(&s->holds, binding_key(h->binding)));

        if (!h || is_twice || !map_put(&s->holds.by_name, binding_key(h->binding), h, NULL)) {
            hold_free(h);
            return is_twice ? ERR_CORRUPT : ERR_NOMEM;
        }
    }
    return 0;
}

struct digest sync_wanted(const struct sync *s)
{
    return digest_add(s->status.cursor.digest, holds_digest(&s->holds));
}

size_t sync_n_held(const struct sync *s)
{
    return s->holds.by_name.n;
}

int sync_each_held(const struct sync *s, sync_each_held_fn *fn, void *ctx)
{
    struct map_slot *slot;
    size_t at = 0;
    int r = 0;

    while (!r && (slot = map_each(&s->holds.by_name, &at))) {
        struct sync_held held = held_of(slot->value);

        r = fn(ctx, &held);
    }
    return r;
}

/* ---- letting go ---- */

/* Those of the names that are held with just these hashes. */
static int find_released(const struct sync *s, const struct sync_release *names, size_t n,
                         struct map *released)
{
    for (size_t i = 0; i < n; i++) {
        owned(buf) struct buf key = BUF_NULL((size_t)2 * ID_BYTES_MAX);
        struct hold *h;

        buf_put_str(&key, names[i].scope);
        buf_put_byte(&key, '\0');
        buf_put_str(&key, names[i].key);
        if (buf_status(&key) == ERR_NOMEM)
            return ERR_NOMEM;
        h = buf_status(&key) ? NULL : holds_find(&s->holds, buf_str(&key));
        if (h && sha256_eq(&h->binding->item->item_hash, &names[i].hash) &&
            !map_put(released, binding_key(h->binding), h, NULL))
            return ERR_NOMEM;
    }
    return 0;
}

int sync_release(struct sync *s, const struct sync_release *names, size_t n, size_t *ret_n,
                 struct err *err)
{
    struct map released = MAP_NULL;
    struct changing c = {.sync = s, .released = &released};
    size_t n_before = s->holds.by_name.n;
    int r = find_released(s, names, n, &released);

    if (!r && released.n) {
        r = changing_store(&c, &s->status.cursor, TRIMTAB__V1__MODE__RESUME, err);
        if (!r)
            s->opts.ops->apply(s->opts.ctx, &c.batch);
    }
    if (!r)
        *ret_n = n_before - s->holds.by_name.n;
    changing_deinit(&c);
    map_deinit(&released);
    return r;
}
