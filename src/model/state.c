/*
 * State: the fold of the log. See state.h.
 */
#include "model/state.h"

#include "base/alloc.h"

struct state *state_new(void)
{
    struct state *s = NEW(struct state);

    if (s)
        atomic_init(&s->refs, 1);
    return s;
}

struct state *state_ref(struct state *s)
{
    if (s)
        atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

struct state *state_unref(struct state *s)
{
    if (s && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1) {
        (void)tree_unref(s->versions);
        (void)mem_free(s);
    }
    return NULL;
}

struct version *state_newest(const struct state *s, struct str key)
{
    return version_of(tree_find(s->versions, key));
}

struct version *state_find(const struct state *s, struct str key)
{
    struct version *v = state_newest(s, key);

    return version_is_live(v) ? v : NULL;
}

static bool apply_one(struct state *s, struct version *v)
{
    const struct version *old = state_newest(s, v->key);

    if (version_is_live(old)) {
        s->n_resources--;
        s->content_bytes -= old->content.len;
    }
    if (!v->deleted) {
        s->n_resources++;
        s->content_bytes += v->content.len;
    }
    return tree_put(&s->versions, &v->node);
}

int state_apply_more(struct state **s, struct version *const *versions, size_t n,
                     uint64_t revision)
{
    ASSERT(revision > (*s)->revision);
    for (size_t i = 0; i < n; i++)
        if (!apply_one(*s, versions[i])) {
            *s = state_unref(*s);
            return ERR_NOMEM;
        }
    (*s)->revision = revision;
    return 0;
}

struct state *state_apply(const struct state *s, struct version *const *versions, size_t n,
                          uint64_t revision)
{
    struct state *next = state_new();

    if (!next)
        return NULL;
    next->revision = s->revision;
    next->n_resources = s->n_resources;
    next->content_bytes = s->content_bytes;
    next->versions = tree_ref(s->versions);
    if (state_apply_more(&next, versions, n, revision))
        return NULL;
    return next;
}

int state_load(struct state **s, struct version *v, uint64_t revision)
{
    if (!apply_one(*s, v)) {
        *s = state_unref(*s);
        return ERR_NOMEM;
    }
    (*s)->revision = revision;
    return 0;
}
