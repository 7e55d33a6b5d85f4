/*
 * Commits for tests of the model, folded as a server does it, without wire forms and without a log.
 */
#ifndef TRIMTAB_TESTS_UNIT_COMMITS_H
#define TRIMTAB_TESTS_UNIT_COMMITS_H

#include "model/commit.h"
#include "model/graph.h"
#include "model/moves.h"

#include "tap.h"

enum { CHANGES_MAX = 64 };

static inline struct version *version_made(const struct change *c, const struct change_plan *p,
                                           uint64_t revision)
{
    struct shared *wire = c->delete ? NULL : shared_copy(c->content);
    struct version *v = version_new(&(struct version_opts){
        .key = c->key,
        .content_type = p->content_type,
        .type_against = p->type_against,
        .type_origin = p->type_origin,
        .meta = &p->meta,
        .references = p->references,
        .wire = wire,
        .content = wire ? shared_str(wire) : STR_NULL,
        .deleted = c->delete,
        .number = p->number,
        .revision = revision,
    });

    (void)shared_unref(wire);
    return v;
}

/* Folds what was made into *s when the graph stays whole. */
static inline int commit_fold(struct state **s, const struct outcome *o, uint64_t revision,
                              struct err *err)
{
    struct rollout *rollouts[CHANGES_MAX];
    struct effect e = {.n_rollouts = 0};
    struct state *after = NULL;
    int r = outcome_effect(*s, o, rollouts, &e, err);

    if (!r) {
        after = state_apply(*s, &e, revision);
        r = after ? graph_check(after, &e, err) : ERR_NOMEM;
    }
    effect_deinit(&e, rollouts);
    if (r) {
        (void)state_unref(after);
        return r;
    }
    (void)state_unref(*s);
    *s = after;
    return 0;
}

/* Commits to *s, or leaves it as it is and tells why. The revision is the next one. */
static inline int commit_to(struct state **s, struct commit *c, struct err *err)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct change_plan plans[CHANGES_MAX] = {0};
    struct version *versions[CHANGES_MAX];
    struct outcome o = {
        .versions = versions, .moves = c->moves, .n_moves = c->n_moves, .order = c->order};
    uint64_t revision = (*s)->revision + 1;
    int r;

    *err = ERR_NULL;
    r = commit_check(*s, c, plans, &a, err);
    for (size_t i = 0; i < c->n && !r; i++)
        if (plans[i].action != CHANGE_UNCHANGED) {
            versions[o.n_versions] = version_made(&c->changes[i], &plans[i], revision);
            r = versions[o.n_versions] ? 0 : ERR_NOMEM;
            o.n_versions += !r;
        }
    for (size_t i = 0; i < c->n_moves; i++)
        c->moves[i].revision = revision;
    if (c->order)
        c->order->revision = revision;
    if (!r)
        r = commit_fold(s, &o, revision, err);
    for (size_t i = 0; i < o.n_versions; i++)
        (void)version_unref(versions[i]);
    return r;
}

static inline int commit_changes(struct state **s, struct change *changes, size_t n,
                                 struct err *err)
{
    return commit_to(s, &(struct commit){.changes = changes, .n = n, .author = STR("ann")},
                     err);
}

#endif
