/*
 * What of an event may be seen. See event_sight.h.
 */
#include "server/use/event_sight.h"

#include "proto/convert.h"
#include "proto/subject.h"

/* How many are not shown in the event is not told either. */
static bool trim_commit(const struct sight *s, Trimtab__V1__CommitEvent *c)
{
    size_t n = 0;

    for (size_t i = 0; i < c->n_resources; i++)
        if (sight_has_id(s, c->resources[i]))
            c->resources[n++] = c->resources[i];
        else
            proto_allocator.free(NULL, c->resources[i]);
    c->n_resources = n;
    c->resource_count = n;
    return n > 0;
}

/* A list that is cut may hold others. */
static bool sees_rollout(const struct sight *s, const Trimtab__V1__Rollout *r)
{
    for (size_t i = 0; i < r->n_candidates; i++)
        if (!sight_has_id(s, r->candidates[i]->id))
            return false;
    return r->candidate_count == r->n_candidates;
}

static size_t count_seen(const struct sight *s, const struct scope *scopes, size_t n,
                         size_t *ret_all)
{
    size_t seen = 0;

    *ret_all = 0;
    for (size_t i = 0; i < n; i++) {
        for (size_t l = 0; l < scopes[i].n_layers; l++)
            seen += sight_has_space(s, scopes[i].layers[l]);
        *ret_all += scopes[i].n_layers;
    }
    return seen;
}

static void drop_refusals(Trimtab__V1__InstanceInfo *m)
{
    for (size_t i = 0; i < m->n_refused; i++)
        trimtab__v1__refusal__free_unpacked(m->refused[i], &proto_allocator);
    m->n_refused = 0;
}

/* As sight_has_instance and sight_trim say it of a record. */
static bool trim_instance(const struct sight *s, Trimtab__V1__InstanceInfo *m)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct scope *scopes;
    size_t all, seen;

    if (!m->n_scopes)
        return true;
    if (scopes_from_proto(m->scopes, m->n_scopes, m->instance, &a, &scopes, NULL))
        return false;
    seen = count_seen(s, scopes, m->n_scopes, &all);
    if (seen < all)
        drop_refusals(m);
    return seen > 0;
}

bool event_trim(const struct sight *s, Trimtab__V1__Event *m)
{
    if (m->commit)
        return trim_commit(s, m->commit);
    if (m->rollout)
        return sees_rollout(s, m->rollout);
    return !m->instance || trim_instance(s, m->instance);
}
