/*
 * Causes, plainly. See causes.h.
 */
#include "causes.h"

static const struct history *history_of(const struct oracle *o, int node)
{
    return &o->names[node / KEYS][node / NAMES % KINDS][node % NAMES];
}

static bool carries(const struct trial *t, int node)
{
    for (int i = 0; i < t->n_carried; i++)
        if (node_of(t->carried[i].space, t->carried[i].kind, t->carried[i].name) == node)
            return true;
    return false;
}

/* Published, or tried, in the log as it is now. */
static bool is_known(const struct oracle *o, int node, uint64_t content, uint64_t revision)
{
    const struct history *h = history_of(o, node);

    for (size_t i = 0; i < h->n; i++)
        if (h->events[i].content == content && h->events[i].revision <= revision)
            return true;
    for (size_t i = 0; i < o->n_trials; i++)
        for (int c = 0; c < o->trials[i].n_carried; c++)
            if (o->trials[i].carried[c].content == content && o->trials[i].id <= revision)
                return true;
    return false;
}

/* Deleted, or taken back, behind a revision. */
static bool is_gone_since(const struct oracle *o, int node, uint64_t since)
{
    const struct history *h = history_of(o, node);

    for (size_t i = 0; i < h->n; i++)
        if (!h->events[i].content && h->events[i].revision > since)
            return true;
    for (size_t i = 0; i < o->n_trials; i++)
        if (carries(&o->trials[i], node) && o->trials[i].ended > since)
            return true;
    return false;
}

/* Something was recorded of the name behind a revision, in a layer of the scope. */
static bool is_touched_since(const struct oracle *o, const struct departure *d, uint64_t since)
{
    for (int i = 0; i < d->who.wish->scopes[d->scope].n_layers; i++) {
        int node = node_of(d->who.wish->scopes[d->scope].layers[i], d->kind, d->name);
        const struct history *h = history_of(o, node);

        if (h->n && h->events[h->n - 1].revision > since)
            return true;
        for (size_t t = 0; t < o->n_trials; t++)
            if (carries(&o->trials[t], node) &&
                (o->trials[t].id > since || o->trials[t].ended > since ||
                 o->trials[t].added[d->who.client] > since))
                return true;
    }
    return false;
}

/* A rollout that came later tries on the client to do without it. */
static bool is_tried_away(const struct oracle *o, const struct departure *d,
                          const struct origin *origin)
{
    for (size_t i = 0; i < o->n_trials; i++) {
        const struct trial *t = &o->trials[i];

        if (carries(t, origin->node) && t->id > origin->revision && t->added[d->who.client])
            return true;
    }
    return false;
}

bool oracle_explains(const struct oracle *o, const struct departure *d)
{
    const struct origin *origin = oracle_origin(o, d->content);

    if (is_known(o, origin->node, d->content, d->revision))
        return true; /* it was there, and is not: check_view holds that against the log */
    if (oracle_withholds(o, &d->who, d->scope, d->kind, d->name, d->revision))
        return true; /* what the log has by this name is not for the client (I11) */
    if (is_touched_since(o, d, d->connected))
        return true; /* it came and went while the batch was on its way */
    if (!d->is_proved)
        return false;
    return is_touched_since(o, d, d->since) ||
           is_gone_since(o, origin->node, origin->revision) || is_tried_away(o, d, origin);
}
