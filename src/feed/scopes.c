/*
 * Shared scopes: many subscribers with equal scopes share one digest and one count. An index from namespaces to scopes
 * finds those that a change may concern.
 */
#include "feed/internal.h"

/* A namespace that is a layer of some scope. */
struct feed_layer {
    VEC(struct feed_scope *) scopes;
    size_t len;
    char name[];
};

static struct feed_layer *layer_get(struct feed *f, struct str ns)
{
    struct feed_layer *l = map_get(&f->layers, ns);

    if (l)
        return l;
    l = mem_zalloc(size_add(sizeof(*l), ns.len));
    if (!l)
        return NULL;
    l->len = ns.len;
    memcpy(l->name, ns.data, ns.len);
    if (!map_put(&f->layers, str_of(l->name, l->len), l, NULL))
        return mem_free(l);
    return l;
}

static void layer_leave(struct feed *f, struct str ns, const struct feed_scope *s)
{
    struct feed_layer *l = map_get(&f->layers, ns);

    if (!l)
        return;
    for (size_t i = 0; i < l->scopes.n; i++)
        if (l->scopes.at[i] == s) {
            l->scopes.at[i] = l->scopes.at[--l->scopes.n];
            break;
        }
    if (l->scopes.n == 0) {
        (void)map_remove(&f->layers, ns);
        VEC_DEINIT(&l->scopes);
        (void)mem_free(l);
    }
}

static bool layers_join(struct feed *f, struct feed_scope *s)
{
    for (size_t i = 0; i < s->scope->n_layers; i++) {
        struct feed_layer *l = layer_get(f, s->scope->layers[i]);

        if (!l || !VEC_PUSH(&l->scopes, s))
            return false;
    }
    return true;
}

static struct feed_scope *scope_free(struct feed *f, struct feed_scope *s)
{
    if (s->identity)
        (void)map_remove(&f->scopes, str_of(s->identity, s->identity_len));
    if (s->scope)
        for (size_t i = 0; i < s->scope->n_layers; i++)
            layer_leave(f, s->scope->layers[i], s);
    link_remove(&s->touched);
    (void)mem_free(s->scope);
    (void)mem_free(s->identity);
    return mem_free(s);
}

int feed_scope_refresh(struct feed *f, struct feed_scope *s)
{
    int r;

    if (!s->digest_is_stale)
        return 0;
    r = scope_digest(&(struct viewing){s->scope, f->state, NULL}, &s->digest, &s->count);
    if (!r)
        s->digest_is_stale = false;
    return r;
}

/* The newest revision that touched a name of the scope, for nobody in particular. Passes over what is older than found. */
static uint64_t newest_of(const struct scope *scope, const struct state *state)
{
    uint64_t newest = 0;

    for (size_t i = 0; i < scope->n_layers; i++) {
        struct tree_walk walk;
        struct version *v;

        tree_walk_from(&walk, state->versions, scope->layers[i], newest);
        while ((v = version_of(tree_walk_next(&walk)))) {
            struct name name = key_name(v->key);

            if (!str_eq(name.space, scope->layers[i]))
                break;
            if (scope_selects(scope, name.kind, name.name))
                walk.since = newest = MAX(newest, v->revision);
        }
    }
    return newest;
}

/* Takes over the identity. */
static struct feed_scope *scope_make(struct feed *f, const struct scope *scope,
                                     struct buf *identity)
{
    struct feed_scope *s = NEW(struct feed_scope);

    if (!s)
        return NULL;
    link_init(&s->members);
    link_init(&s->touched);
    s->digest_is_stale = true;
    s->scope = scope_new(scope);
    if (!s->scope || !layers_join(f, s) || feed_scope_refresh(f, s))
        return scope_free(f, s);
    s->newest = newest_of(s->scope, f->state);
    s->identity_len = identity->len;
    s->identity = mem_dup(identity->data, identity->len);
    if (!s->identity || !map_put(&f->scopes, str_of(s->identity, s->identity_len), s, NULL))
        return scope_free(f, s);
    return s;
}

int feed_scope_join(struct feed *f, const struct scope *scope, struct feed_member *m)
{
    owned(buf) struct buf identity = BUF_NULL(1 * MIB);
    struct feed_scope *s;

    scope_put_identity(scope, &identity);
    if (buf_status(&identity))
        return buf_status(&identity);
    s = map_get(&f->scopes, buf_str(&identity));
    if (!s)
        s = scope_make(f, scope, &identity);
    if (!s)
        return ERR_NOMEM;
    m->scope = s;
    link_before(&s->members, &m->in_scope);
    return 0;
}

void feed_scope_leave(struct feed *f, struct feed_member *m)
{
    if (!m->scope)
        return;
    link_remove(&m->in_scope);
    if (link_is_alone(&m->scope->members))
        (void)scope_free(f, m->scope);
    m->scope = NULL;
}

void feed_scopes_touch(struct feed *f, struct name name, struct link *touched)
{
    struct feed_layer *l = map_get(&f->layers, name.space);

    for (size_t i = 0; l && i < l->scopes.n; i++) {
        struct feed_scope *s = l->scopes.at[i];

        if (link_is_alone(&s->touched) && scope_selects(s->scope, name.kind, name.name))
            link_before(touched, &s->touched);
    }
}
