/*
 * The graph of references. See graph.h.
 */
#include "model/graph.h"

#include "base/alloc.h"
#include "base/map.h"
#include "base/vec.h"

/* One version that refers: stable, or the candidate of a live rollout. */
struct source {
    const struct version *version;
    const struct rollout *rollout; /* NULL: stable */
};

static void put_id(struct str key, char id[ID_BYTES_MAX + 1])
{
    owned(buf) struct buf b = BUF_NULL(ID_BYTES_MAX);

    key_put_id(key, &b);
    (void)snprintf(id, ID_BYTES_MAX + 1, "%.*s", STR_ARG(buf_str(&b)));
}

/* ---- R1 and R2 ---- */

enum verdict { RESOLVES, IS_MISSING, IS_LEAVING };

static enum verdict resolve(const struct state *s, const struct source *from, struct str target,
                            const struct rollout **ret_leaving)
{
    struct version *candidate = NULL;
    const struct rollout *carrier = state_carrier(s, target, &candidate);

    if (carrier && carrier == from->rollout)
        return candidate->deleted ? IS_MISSING : RESOLVES;
    if (!state_find(s, target))
        return IS_MISSING;
    if (!carrier || !candidate->deleted)
        return RESOLVES;
    if (!from->rollout && rollout_candidate(carrier, from->version->key))
        return RESOLVES;
    *ret_leaving = carrier;
    return IS_LEAVING;
}

static int refuse_missing(const struct source *from, struct str target, struct err *err)
{
    char source[ID_BYTES_MAX + 1], missing[ID_BYTES_MAX + 1];

    put_id(from->version->key, source);
    put_id(target, missing);
    (void)err_set(err, ERR_INVALID, "refers to %s, which does not exist", missing);
    err_hint(err, "publish %s first, or in the same commit", missing);
    err_place(err, "%s", source);
    return ERR_INVALID;
}

static int refuse_leaving(const struct source *from, struct str target,
                          const struct rollout *leaving, struct err *err)
{
    char source[ID_BYTES_MAX + 1], id[ID_BYTES_MAX + 1];

    put_id(from->version->key, source);
    put_id(target, id);
    (void)err_set(err, ERR_CONFLICT, "refers to %s, which rollout %llu deletes", id,
                  (unsigned long long)leaving->id);
    err_hint(err, "end that rollout first, or carry both resources in it");
    err_place(err, "%s", source);
    return ERR_CONFLICT;
}

static int check_source(const struct state *s, const struct source *from, struct err *err)
{
    const struct references *refs = from->version->references;

    for (size_t i = 0; refs && i < refs->n; i++) {
        const struct rollout *leaving = NULL;
        enum verdict v = resolve(s, from, refs->at[i], &leaving);

        if (v == IS_MISSING)
            return refuse_missing(from, refs->at[i], err);
        if (v == IS_LEAVING)
            return refuse_leaving(from, refs->at[i], leaving, err);
    }
    return 0;
}

/* ---- what goes away, and who needs it ---- */

static struct source source_of(const struct state *s, const struct use *u)
{
    struct version *candidate = NULL;
    struct source from = {state_find(s, u->source), NULL};

    if (u->by_candidate) {
        from.rollout = state_carrier(s, u->source, &candidate);
        from.version = candidate;
    }
    return from;
}

static int check_unused(const struct state *s, struct str target, struct err *err)
{
    struct tree_walk walk;
    const struct use *u;

    state_uses_from(s, target, &walk);
    while ((u = state_uses_next(&walk, target))) {
        struct source from = source_of(s, u);
        const struct rollout *leaving;
        char id[ID_BYTES_MAX + 1], user[ID_BYTES_MAX + 1];

        if (!from.version || resolve(s, &from, target, &leaving) == RESOLVES)
            continue;
        put_id(target, id);
        put_id(u->source, user);
        (void)err_set(err, ERR_CONFLICT, "%s refers to it%s", user,
                      u->by_candidate ? " in a rollout" : "");
        err_hint(err, "change or delete what refers to it in the same commit%s",
                 u->by_candidate ? ", or end that rollout" : "");
        err_place(err, "%s", id);
        return ERR_CONFLICT;
    }
    return 0;
}

/* ---- R3 ---- */

enum { ON_PATH = 1, DONE = 2 };

struct visit {
    struct str key;
    const struct version *sides[2]; /* stable and candidate */
    int side;
    size_t next;
};

struct search {
    const struct state *state;
    struct map marks; /* key -> ON_PATH or DONE as a pointer */
    VEC(struct visit) path;
};

static bool mark(struct search *q, struct str key, uintptr_t value)
{
    return map_put(&q->marks, key, (void *)value, NULL);
}

static bool enter(struct search *q, struct str key)
{
    struct version *candidate = NULL;
    struct visit v = {.key = key, .sides = {state_find(q->state, key), NULL}};

    if (state_carrier(q->state, key, &candidate))
        v.sides[1] = candidate;
    return mark(q, key, ON_PATH) && VEC_PUSH(&q->path, v);
}

/* The next target of the version at the end of the path; false: there is none left. */
static bool next_target(struct visit *v, struct str *ret)
{
    for (; v->side < 2; v->side++, v->next = 0) {
        const struct references *refs =
            v->sides[v->side] ? v->sides[v->side]->references : NULL;

        if (refs && v->next < refs->n) {
            *ret = refs->at[v->next++];
            return true;
        }
    }
    return false;
}

static int refuse_cycle(const struct search *q, struct str back_to, struct err *err)
{
    owned(buf) struct buf path = BUF_NULL((size_t)GRAPH_PATH_MAX * (ID_BYTES_MAX + 4));
    size_t from = 0;
    char id[ID_BYTES_MAX + 1];

    while (!str_eq(q->path.at[from].key, back_to))
        from++;
    for (size_t i = from; i < q->path.n; i++) {
        key_put_id(q->path.at[i].key, &path);
        buf_put_c(&path, " -> ");
    }
    key_put_id(back_to, &path);
    put_id(back_to, id);
    (void)err_set(err, ERR_INVALID, "a cycle of references: %.*s", STR_ARG(buf_str(&path)));
    err_place(err, "%s", id);
    return ERR_INVALID;
}

/* Depth first from one resource, with a path of its own instead of the stack. */
static int search_from(struct search *q, struct str key, struct err *err)
{
    if (map_get(&q->marks, key))
        return 0;
    if (!enter(q, key))
        return ERR_NOMEM;
    while (q->path.n) {
        struct visit *v = &q->path.at[q->path.n - 1];
        struct str target;
        uintptr_t state;

        if (!next_target(v, &target)) {
            if (!mark(q, v->key, DONE))
                return ERR_NOMEM;
            q->path.n--;
            continue;
        }
        state = (uintptr_t)map_get(&q->marks, target);
        if (state == ON_PATH)
            return refuse_cycle(q, target, err);
        if (state == 0 && q->path.n >= GRAPH_PATH_MAX)
            return err_set(err, ERR_LIMIT, "a chain of more than %d references",
                           GRAPH_PATH_MAX);
        if (state == 0 && !enter(q, target))
            return ERR_NOMEM;
    }
    return 0;
}

/* ---- the check ---- */

static int check_version(const struct state *s, const struct version *v,
                         const struct rollout *r, struct search *q, struct err *err)
{
    struct source from = {v, r};
    int rc;

    if (v->deleted)
        return check_unused(s, v->key, err);
    rc = check_source(s, &from, err);
    return rc || !v->references ? rc : search_from(q, v->key, err);
}

static int check_rollout(const struct state *s, const struct rollout *r, struct search *q,
                         struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < r->n_candidates && !rc; i++) {
        const struct version *v = r->candidates[i];

        if (rollout_is_live(r))
            rc = check_version(s, v, r, q, err);
        else if (!state_find(s, v->key)) /* what it created, or was about to delete */
            rc = check_unused(s, v->key, err);
    }
    return rc;
}

int graph_check(const struct state *after, const struct effect *e, struct err *err)
{
    struct search q = {.state = after};
    int r = 0;

    for (size_t i = 0; i < e->n_versions && !r; i++)
        r = check_version(after, e->versions[i], NULL, &q, err);
    for (size_t i = 0; i < e->n_rollouts && !r; i++)
        r = check_rollout(after, e->rollouts[i], &q, err);
    map_deinit(&q.marks);
    VEC_DEINIT(&q.path);
    return r;
}
