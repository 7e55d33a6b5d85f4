/*
 * Gauge. See gauge.h.
 */
#include "model/gauge.h"

enum { IS_FREE = 1, IS_BLOCKED = 2 };

void gauge_deinit(struct gauge *g)
{
    map_deinit(&g->known);
    VEC_DEINIT(&g->path);
}

static void gauge_know(struct gauge *g, struct str key, uintptr_t what)
{
    g->failed |= !map_put(&g->known, key, (void *)what, NULL);
}

/* Each item on the path refers to the next, and the last one to what may not be read. */
static bool gauge_block(struct gauge *g)
{
    while (g->path.n)
        gauge_know(g, g->path.at[--g->path.n].version->key, IS_BLOCKED);
    return true;
}

/* Looks at one more reference of the last item of the path. True: all of the path is blocked. */
static bool gauge_next(struct gauge *g)
{
    struct look *l = &g->path.at[g->path.n - 1];
    const struct references *refs = l->version->references;
    const struct version *v;
    struct str target;
    uintptr_t known;

    if (!refs || l->next == refs->n) {
        gauge_know(g, l->version->key, IS_FREE);
        g->path.n--;
        return false;
    }
    target = refs->at[l->next++];
    if (!readable_has(g->view->readable, key_name(target).space)) {
        g->cause = target;
        return gauge_block(g);
    }
    known = (uintptr_t)map_get(&g->known, target);
    if (known)
        return known == IS_BLOCKED && gauge_block(g);
    v = state_effective(g->view->state, target, g->view->subject);
    if (v && v->references)
        g->failed |= !VEC_PUSH(&g->path, (struct look){v, 0});
    return false;
}

/* Depth first, with a path of its own: a chain of references may be as long as GRAPH_PATH_MAX. */
bool gauge_blocks(struct gauge *g, const struct version *v)
{
    uintptr_t known;

    if (!g->view->readable || !v || !v->references)
        return false;
    known = (uintptr_t)map_get(&g->known, v->key);
    if (known)
        return known == IS_BLOCKED;
    g->failed |= !VEC_PUSH(&g->path, (struct look){v, 0});
    while (g->path.n && !g->failed)
        if (gauge_next(g))
            return true;
    return false;
}
