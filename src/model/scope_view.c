/*
 * What a scope comes to in a state. See scope_view.h.
 */
#include "model/scope_view.h"

/* A key fits on the stack: its parts have been checked. */
static struct str make_key(struct name n, char *out)
{
    size_t at = 0;

    memcpy(out, n.space.data, n.space.len);
    at += n.space.len;
    out[at++] = '\0';
    if (n.kind.len)
        memcpy(out + at, n.kind.data, n.kind.len);
    at += n.kind.len;
    if (n.name.data) {
        out[at++] = '\0';
        memcpy(out + at, n.name.data, n.name.len);
        at += n.name.len;
    }
    return str_of(out, at);
}

struct version *scope_find(const struct viewing *v, struct str kind, struct str name)
{
    char key[ID_BYTES_MAX];

    for (size_t i = 0; i < v->scope->n_layers; i++) {
        struct version *found = state_effective(
            v->state, make_key((struct name){v->scope->layers[i], kind, name}, key),
            v->subject);

        if (found)
            return found;
    }
    return NULL;
}

/* ---- walking ---- */

size_t scope_walk_size(const struct scope *s)
{
    return sizeof(struct scope_walk) +
           s->n_layers * sizeof(((struct scope_walk *)NULL)->layers[0]);
}

void scope_walk_seek(struct scope_walk *w, struct str tail)
{
    const struct state *s = w->viewing.state;
    char key[ID_BYTES_MAX];

    for (size_t i = 0; i < w->viewing.scope->n_layers; i++) {
        struct str ns = w->viewing.scope->layers[i], from = str_of(key, ns.len + 1 + tail.len);

        memcpy(key, ns.data, ns.len);
        key[ns.len] = '\0';
        if (tail.len)
            memcpy(key + ns.len + 1, tail.data, tail.len);
        tree_walk_from(&w->layers[i].versions, s->versions, from, w->since);
        tree_walk_from(&w->layers[i].candidates, w->is_gray ? s->candidates : NULL, from,
                       w->since);
    }
}

void scope_walk_init(struct scope_walk *w, const struct viewing *v, uint64_t since)
{
    w->viewing = *v;
    w->since = since;
    w->is_gray = v->subject && v->state->candidates;
    w->is_thorough = false;
    scope_walk_seek(w, STR(""));
}

static bool took(const struct scope_walk *w, const struct rollout *r)
{
    return w->since && rollout_took(r, w->viewing.subject, w->since);
}

/* The same of one that has ended since; thoroughly: had it at any time before its end. */
static bool had(const struct scope_walk *w, const struct rollout *r)
{
    return took(w, r) ||
           (w->is_thorough && rollout_took(r, w->viewing.subject, r->node.revision - 1));
}

/* A version that the subject had as a candidate before it became stable is no news to it. */
static bool is_news(const struct scope_walk *w, const struct version *v)
{
    const struct candidate *c;
    const struct rollout *r;

    if (!w->is_gray || !w->since)
        return true;
    c = candidate_of(tree_find(w->viewing.state->candidates, v->key));
    if (!c || c->number != v->number)
        return true;
    r = state_rollout(w->viewing.state, c->rollout);
    return !r || r->phase != ROLLOUT_CONFIRMED || !took(w, r);
}

/* Whether the subject had the candidate of a rollout that has ended meanwhile. */
static bool had_another(const struct scope_walk *w, struct str key)
{
    struct tree_walk walk;
    const struct rollout *r;

    tree_walk_from(&walk, w->viewing.state->rollouts, STR(""), w->since);
    while ((r = rollout_of(tree_walk_next(&walk))))
        if (!rollout_is_live(r) && rollout_candidate(r, key) && had(w, r))
            return true;
    return false;
}

/* Whether a candidate came to the subject, or left it; in a full walk, whether it has it. */
static bool is_touched(const struct scope_walk *w, const struct candidate *c)
{
    const struct rollout *r = state_rollout(w->viewing.state, c->rollout);
    bool takes;

    if (!r) /* too long ago to be known: looked at for the sake of safety */
        return w->since > 0;
    takes = rollout_takes(r, w->viewing.subject);
    if (!w->since || (takes && !took(w, r)))
        return takes;
    if (takes ||
        r->phase == ROLLOUT_CONFIRMED) /* it has it; or its stable version is looked at */
        return false;
    return had_another(w, c->node.key);
}

bool scope_walk_touched(const struct scope_walk *w, struct str key)
{
    const struct version *v = state_newest(w->viewing.state, key);
    const struct candidate *c;

    if (v && v->revision > w->since && is_news(w, v))
        return true;
    c = w->is_gray ? candidate_of(tree_find(w->viewing.state->candidates, key)) : NULL;
    return c && c->node.revision > w->since && is_touched(w, c);
}

static bool is_in_layer(const struct scope_walk *w, size_t layer, struct str key)
{
    struct str ns = w->viewing.scope->layers[layer];

    return key.len > ns.len && key.data[ns.len] == '\0' && str_starts(key, ns);
}

/*
 * The layer's next version, or NULL when the walk has left the layer's namespace. Deletions count only in a walk
 * over what was touched.
 */
static const struct tree_item *version_peek(struct scope_walk *w, size_t layer)
{
    struct tree_walk *walk = &w->layers[layer].versions;
    struct version *v;

    while ((v = version_of(tree_walk_peek(walk)))) {
        if (!is_in_layer(w, layer, v->key))
            return NULL;
        if (w->since ? is_news(w, v) : !v->deleted)
            return &v->node;
        (void)tree_walk_next(walk);
    }
    return NULL;
}

static const struct tree_item *candidate_peek(struct scope_walk *w, size_t layer)
{
    struct tree_walk *walk = &w->layers[layer].candidates;
    struct candidate *c;

    while ((c = candidate_of(tree_walk_peek(walk)))) {
        if (!is_in_layer(w, layer, c->node.key))
            return NULL;
        if (is_touched(w, c))
            return &c->node;
        (void)tree_walk_next(walk);
    }
    return NULL;
}

/* Takes item for the smallest name so far, when its name (kind NUL name) is smaller. */
static bool take_smaller(const struct scope_walk *w, size_t layer, const struct tree_item *item,
                         bool found, struct str *tail)
{
    struct str own;

    if (!item)
        return false;
    own = str_from(item->key, w->viewing.scope->layers[layer].len + 1);
    if (found && str_cmp(own, *tail) >= 0)
        return false;
    *tail = own;
    return true;
}

/* The smallest name that any layer stands at, and the strongest layer that stands there. */
static bool smallest(struct scope_walk *w, struct str *ret_tail, size_t *ret_layer)
{
    bool found = false;

    for (size_t i = 0; i < w->viewing.scope->n_layers; i++) {
        bool smaller = take_smaller(w, i, version_peek(w, i), found, ret_tail);

        smaller |= take_smaller(w, i, candidate_peek(w, i), found || smaller, ret_tail);
        if (smaller)
            *ret_layer = i;
        found |= smaller;
    }
    return found;
}

static void step_over_one(const struct scope_walk *w, size_t layer,
                          const struct tree_item *item, struct tree_walk *walk, struct str tail)
{
    if (item && str_eq(str_from(item->key, w->viewing.scope->layers[layer].len + 1), tail))
        (void)tree_walk_next(walk);
}

/* All layers step over the name. */
static void step_over(struct scope_walk *w, struct str tail)
{
    for (size_t i = 0; i < w->viewing.scope->n_layers; i++) {
        step_over_one(w, i, version_peek(w, i), &w->layers[i].versions, tail);
        step_over_one(w, i, candidate_peek(w, i), &w->layers[i].candidates, tail);
    }
}

/*
 * Whether a touch in `layer`, the strongest that was touched, can have changed what the name comes to: not when a
 * stronger layer has held it all the time.
 */
static bool is_changed(const struct scope_walk *w, const struct version *item, size_t layer)
{
    for (size_t i = 0; item && i < layer; i++)
        if (is_in_layer(w, i, item->key))
            return false;
    return true;
}

bool scope_walk_next(struct scope_walk *w, struct scope_step *ret_step)
{
    struct str tail;
    size_t layer = 0;

    while (smallest(w, &tail, &layer)) {
        size_t nul = str_index(tail, '\0');
        struct str kind = str_part(tail, 0, nul), name = str_from(tail, nul + 1);
        struct version *item;

        /* Without candidates a full walk meets only live versions, the strongest of a name first. */
        item = w->since || w->is_gray ? NULL
                                      : version_of(tree_walk_peek(&w->layers[layer].versions));
        step_over(w, tail);
        if (!scope_selects(w->viewing.scope, kind, name))
            continue;
        if (!item)
            item = scope_find(&w->viewing, kind, name);
        if (w->since ? !is_changed(w, item, layer) : !item)
            continue;
        *ret_step = (struct scope_step){item, tail};
        return true;
    }
    return false;
}

int scope_digest(const struct viewing *v, struct digest *ret_digest, uint64_t *ret_count)
{
    struct scope_walk *walk = mem_alloc(scope_walk_size(v->scope));
    struct scope_step step;

    if (!walk)
        return ERR_NOMEM;
    *ret_digest = DIGEST_NULL;
    *ret_count = 0;
    scope_walk_init(walk, v, 0);
    while (scope_walk_next(walk, &step)) {
        *ret_digest =
            digest_add(*ret_digest, binding_digest(v->scope->name, &step.item->item_hash));
        (*ret_count)++;
    }
    (void)mem_free(walk);
    return 0;
}

/* ---- what rollouts change ---- */

struct gray {
    const struct viewing *viewing;
    struct digest digest;
    int64_t count;
    bool is_in; /* a rollout carries something for this subject in this scope */
};

/* A name is looked at once, by its candidate in the strongest layer that has one for the subject. */
static bool is_strongest(const struct viewing *v, struct name name, size_t layer)
{
    char key[ID_BYTES_MAX];

    for (size_t i = 0; i < layer; i++) {
        const struct rollout *r = state_carrier(
            v->state, make_key((struct name){v->scope->layers[i], name.kind, name.name}, key),
            NULL);

        if (r && rollout_takes(r, v->subject))
            return false;
    }
    return true;
}

static void gray_name(struct gray *g, struct name name)
{
    struct viewing nobody = {g->viewing->scope, g->viewing->state, NULL};
    struct str scope = g->viewing->scope->name;
    const struct version *stable = scope_find(&nobody, name.kind, name.name);
    const struct version *own = scope_find(g->viewing, name.kind, name.name);

    if (stable == own)
        return;
    if (stable) {
        g->digest = digest_sub(g->digest, binding_digest(scope, &stable->item_hash));
        g->count--;
    }
    if (own) {
        g->digest = digest_add(g->digest, binding_digest(scope, &own->item_hash));
        g->count++;
    }
}

static void gray_rollout(struct gray *g, const struct rollout *r)
{
    for (size_t i = 0; i < r->n_candidates; i++) {
        struct name name = key_name(r->candidates[i]->key);
        size_t layer;

        if (!scope_has_layer(g->viewing->scope, name.space, &layer) ||
            !scope_selects(g->viewing->scope, name.kind, name.name))
            continue;
        g->is_in = true;
        if (is_strongest(g->viewing, name, layer))
            gray_name(g, name);
    }
}

bool scope_gray(const struct viewing *v, struct digest *ret_digest, int64_t *ret_count)
{
    struct gray g = {.viewing = v, .digest = DIGEST_NULL};
    struct tree_walk walk;
    const struct rollout *r;

    if (v->subject && v->state->n_live) {
        tree_walk_from(&walk, v->state->rollouts, STR(""), 0);
        while ((r = rollout_of(tree_walk_next(&walk))))
            if (rollout_takes(r, v->subject))
                gray_rollout(&g, r);
    }
    *ret_digest = g.digest;
    *ret_count = g.count;
    return g.is_in;
}
