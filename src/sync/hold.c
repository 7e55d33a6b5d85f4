/*
 * Holds. See hold.h.
 */
#include "sync/hold.h"

#include "base/alloc.h"

struct hold *hold_new(struct str scope, struct str tail, struct version *item, uint64_t since,
                      bool is_needed)
{
    struct hold *h = NEW(struct hold);

    if (!h)
        return NULL;
    *h = (struct hold){binding_new(scope, tail, item), since, is_needed};
    return h->binding ? h : mem_free(h);
}

void hold_free(struct hold *h)
{
    if (h)
        (void)binding_free(h->binding);
    (void)mem_free(h);
}

void holds_deinit(struct holds *h)
{
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&h->by_name, &at)))
        hold_free(slot->value);
    map_deinit(&h->by_name);
}

struct hold *holds_find(const struct holds *h, struct str key)
{
    return map_get(&h->by_name, key);
}

struct digest holds_digest(const struct holds *h)
{
    struct digest sum = DIGEST_NULL;
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&h->by_name, &at))) {
        const struct binding *b = ((const struct hold *)slot->value)->binding;

        sum = digest_add(sum, binding_digest(binding_scope(b), &b->item->item_hash));
    }
    return sum;
}

/* ---- planning ---- */

struct planning {
    const struct holds *now;
    const struct hold_change *change;
    struct holds next;
    VEC(struct version *) look; /* held items whose references are not looked at yet */
    struct buf key;
};

static int add(struct planning *p, struct str scope, struct str tail, struct version *item,
               const struct hold *like)
{
    struct hold *h = hold_new(scope, tail, item, like->since, like->is_needed);

    if (!h || !map_put(&p->next.by_name, binding_key(h->binding), h, NULL)) {
        hold_free(h);
        return ERR_NOMEM;
    }
    return VEC_PUSH(&p->look, item) ? 0 : ERR_NOMEM;
}

/* H2: the batch's word on the name is a put, or a drop with a cause; or people let it go. */
static bool is_ended(const struct planning *p, struct str key)
{
    const struct binding *word = map_get(p->change->staged, key);

    if (word && (word->item || !word->is_uncaused))
        return true;
    return map_get(p->change->released, key) != NULL;
}

static int keep_held(struct planning *p)
{
    struct map_slot *slot;
    size_t at = 0;
    int r = 0;

    while (!r && (slot = map_each(&p->now->by_name, &at))) {
        const struct hold *h = slot->value;
        const struct binding *b = h->binding;

        if (!h->is_needed && !is_ended(p, slot->key))
            r = add(p, binding_scope(b), binding_tail(b), b->item, h);
    }
    return r;
}

static int hold_dropped(struct planning *p)
{
    struct hold fresh = {.since = p->change->revision};
    struct map_slot *slot;
    size_t at = 0;
    int r = 0;

    while (!r && (slot = map_each(p->change->staged, &at))) {
        const struct binding *word = slot->value, *old;

        if (word->item || !word->is_uncaused || str_eq(binding_scope(word), SCOPE_REFERRED))
            continue;
        old = map_get(p->change->received, slot->key);
        if (old)
            r = add(p, binding_scope(old), binding_tail(old), old->item, &fresh);
    }
    return r;
}

/* ---- what held items refer to ---- */

static struct str name_in(struct planning *p, struct str scope, struct str id)
{
    bool is_referred = str_eq(scope, SCOPE_REFERRED);

    p->key.len = 0;
    buf_put_str(&p->key, scope);
    buf_put_byte(&p->key, '\0');
    buf_put_str(&p->key, is_referred ? id : str_from(id, key_name(id).space.len + 1));
    return buf_str(&p->key);
}

/* What is received under a name after the batch. */
static struct version *received_then(const struct planning *p, struct str key)
{
    const struct binding *word = map_get(p->change->staged, key);
    const struct binding *old = word ? word : map_get(p->change->received, key);

    return old ? old->item : NULL;
}

/* What was served under it before: received or held. */
static struct version *wanted_now(const struct planning *p, struct str key, uint64_t *ret_since)
{
    const struct binding *old = map_get(p->change->received, key);
    const struct hold *held = old ? NULL : holds_find(p->now, key);

    *ret_since = held ? held->since : p->change->revision;
    return old ? old->item : held ? held->binding->item : NULL;
}

static struct str scope_of(const struct planning *p, size_t i)
{
    return i < p->change->n_scopes ? p->change->scopes[i] : SCOPE_REFERRED;
}

static bool is_id(const struct version *v, struct str id)
{
    return v && str_eq(v->key, id);
}

static bool is_there(struct planning *p, struct str id)
{
    for (size_t i = 0; i <= p->change->n_scopes; i++) {
        struct str key = name_in(p, scope_of(p, i), id);
        const struct hold *held = holds_find(&p->next, key);

        if (is_id(received_then(p, key), id) || (held && is_id(held->binding->item, id)))
            return true;
    }
    return false;
}

/* Holds what it had of an id: under its name, or among what is referred to when that has become another's. */
static int need(struct planning *p, struct str id)
{
    for (size_t i = 0; i <= p->change->n_scopes; i++) {
        struct hold like = {.is_needed = true};
        struct str scope = scope_of(p, i), key = name_in(p, scope, id);
        struct version *v = wanted_now(p, key, &like.since);

        if (!is_id(v, id))
            continue;
        if (received_then(p, key) || holds_find(&p->next, key))
            scope = SCOPE_REFERRED;
        key = name_in(p, scope, id);
        return add(p, scope, str_from(key, scope.len + 1), v, &like);
    }
    return 0; /* it was not there before either */
}

static int need_all(struct planning *p)
{
    int r = 0;

    for (size_t at = 0; !r && at < p->look.n; at++) { /* it grows meanwhile */
        const struct references *refs = p->look.at[at]->references;

        for (size_t i = 0; !r && refs && i < refs->n; i++)
            if (!is_there(p, refs->at[i]))
                r = need(p, refs->at[i]);
    }
    return r ? r : buf_status(&p->key);
}

int holds_plan(const struct holds *now, const struct hold_change *change, struct holds *ret)
{
    struct planning p = {
        .now = now, .change = change, .key = BUF_NULL((size_t)2 * ID_BYTES_MAX)};
    int r = keep_held(&p);

    if (!r)
        r = hold_dropped(&p);
    if (!r)
        r = need_all(&p);
    VEC_DEINIT(&p.look);
    buf_deinit(&p.key);
    if (r) {
        holds_deinit(&p.next);
        return r;
    }
    *ret = p.next;
    return 0;
}
