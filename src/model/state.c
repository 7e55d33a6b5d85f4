/*
 * The fold of the log. See state.h.
 */
#include "model/state.h"

#include "base/alloc.h"
#include "model/rights_commit.h"

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
        (void)tree_unref(s->rollouts);
        (void)tree_unref(s->candidates);
        (void)tree_unref(s->uses);
        (void)tree_unref(s->orders);
        (void)rights_unref(s->rights);
        (void)mem_free(s);
    }
    return NULL;
}

/* ---- asking ---- */

struct version *state_newest(const struct state *s, struct str key)
{
    return version_of(tree_find(s->versions, key));
}

struct version *state_find(const struct state *s, struct str key)
{
    struct version *v = state_newest(s, key);

    return version_is_live(v) ? v : NULL;
}

uint64_t state_number(const struct state *s, struct str key)
{
    const struct version *v = state_newest(s, key);
    const struct candidate *c = candidate_of(tree_find(s->candidates, key));

    return MAX(v ? v->number : 0, c ? c->number : 0);
}

struct rollout *state_rollout(const struct state *s, uint64_t id)
{
    unsigned char key[ROLLOUT_KEY_BYTES];

    rollout_put_key(id, key);
    return rollout_of(tree_find(s->rollouts, str_of(key, ROLLOUT_KEY_BYTES)));
}

struct rollout *state_carrier(const struct state *s, struct str key,
                              struct version **ret_candidate)
{
    const struct candidate *c = s->n_live ? candidate_of(tree_find(s->candidates, key)) : NULL;

    if (!c || !c->version)
        return NULL;
    if (ret_candidate)
        *ret_candidate = c->version;
    return state_rollout(s, c->rollout);
}

struct version *state_effective(const struct state *s, struct str key,
                                const struct subject *subject)
{
    struct version *candidate;
    const struct rollout *r = subject ? state_carrier(s, key, &candidate) : NULL;

    if (r && rollout_takes(r, subject))
        return version_is_live(candidate) ? candidate : NULL;
    return state_find(s, key);
}

/* ---- who refers to what ---- */

static void use_release(struct tree_item *item)
{
    (void)mem_free(use_of(item));
}

static void put_use_key(struct buf *out, struct str target, struct str source,
                        bool by_candidate)
{
    buf_put_str(out, target);
    buf_put(out, "\0\0", 2);
    buf_put_str(out, source);
    buf_put(out, by_candidate ? "\0c" : "\0s", 2);
}

enum { USE_KEY_BYTES_MAX = 2 * ID_BYTES_MAX + 4 };

static struct use *use_new(struct str target, struct str source, bool by_candidate,
                           uint64_t revision)
{
    owned(buf) struct buf key = BUF_NULL(USE_KEY_BYTES_MAX);
    struct use *u;

    put_use_key(&key, target, source, by_candidate);
    u = buf_status(&key) ? NULL : mem_alloc(sizeof(*u) + key.len);
    if (!u)
        return NULL;
    memcpy(u->text, key.data, key.len);
    atomic_init(&u->node.refs, 1);
    u->node.release = use_release;
    u->node.revision = revision;
    u->node.key = str_of(u->text, key.len);
    u->target = str_part(u->node.key, 0, target.len);
    u->source = str_part(u->node.key, target.len + 2, target.len + 2 + source.len);
    u->by_candidate = by_candidate;
    return u;
}

static bool add_uses(struct state *s, const struct version *v, bool by_candidate)
{
    for (size_t i = 0; v && v->references && i < v->references->n; i++) {
        struct use *u = use_new(v->references->at[i], v->key, by_candidate, v->revision);
        bool ok;

        if (!u)
            return false;
        ok = tree_put(&s->uses, &u->node);
        tree_item_unref(&u->node);
        if (!ok)
            return false;
    }
    return true;
}

static bool remove_uses(struct state *s, const struct version *v, bool by_candidate)
{
    for (size_t i = 0; v && v->references && i < v->references->n; i++) {
        owned(buf) struct buf key = BUF_NULL(USE_KEY_BYTES_MAX);

        put_use_key(&key, v->references->at[i], v->key, by_candidate);
        if (buf_status(&key) || !tree_remove(&s->uses, buf_str(&key)))
            return false;
    }
    return true;
}

void state_uses_from(const struct state *s, struct str target, struct tree_walk *w)
{
    char from[ID_BYTES_MAX + 2];

    memcpy(from, target.data, target.len);
    from[target.len] = from[target.len + 1] = '\0';
    tree_walk_from(w, s->uses, str_of(from, target.len + 2), 0);
}

struct use *state_uses_next(struct tree_walk *w, struct str target)
{
    struct use *u = use_of(tree_walk_next(w));

    return u && str_eq(u->target, target) ? u : NULL;
}

/* ---- candidates ---- */

static void candidate_release(struct tree_item *item)
{
    struct candidate *c = candidate_of(item);

    (void)version_unref(c->version);
    (void)mem_free(c);
}

/* version NULL: only the number is kept. */
static bool put_candidate(struct state *s, struct str key, uint64_t rollout, uint64_t number,
                          struct version *version, uint64_t revision)
{
    const struct candidate *before = candidate_of(tree_find(s->candidates, key));
    struct candidate *c = mem_alloc(sizeof(*c) + key.len);
    bool ok;

    if (!c)
        return false;
    memcpy(c->text, key.data, key.len);
    atomic_init(&c->node.refs, 1);
    c->node.release = candidate_release;
    c->node.revision = revision;
    c->node.key = str_of(c->text, key.len);
    c->rollout = rollout;
    c->number = number;
    c->version = version_ref(version);
    c->ended = !version ? revision : before ? before->ended : 0;
    ok = tree_put(&s->candidates, &c->node);
    tree_item_unref(&c->node);
    return ok;
}

/* ---- orders ---- */

const struct order *state_order(const struct state *s, uint64_t revision)
{
    unsigned char key[ORDER_KEY_BYTES];

    order_put_key(revision, key);
    return order_of(tree_find(s->orders, str_of(key, ORDER_KEY_BYTES)));
}

const struct order *state_fleet(const struct state *s)
{
    return s->fleet ? state_order(s, s->fleet) : NULL;
}

bool state_is_paused(const struct state *s)
{
    const struct order *o = state_fleet(s);

    return o && o->what.kind == ORDER_PAUSE;
}

/* The oldest but the switch of the fleet goes. */
static bool forget_order(struct state *s)
{
    struct tree_walk walk;
    const struct order *o;

    tree_walk_from(&walk, s->orders, STR(""), 0);
    while ((o = order_of(tree_walk_next(&walk))))
        if (o->node.revision != s->fleet) {
            unsigned char key[ORDER_KEY_BYTES]; /* it goes away with what it names */

            order_put_key(o->node.revision, key);
            s->n_orders--;
            s->orders_bytes -= o->bytes;
            return tree_remove(&s->orders, str_of(key, ORDER_KEY_BYTES));
        }
    return true;
}

static bool apply_order(struct state *s, struct order *o)
{
    unsigned char key[ORDER_KEY_BYTES];
    bool ok = true;

    if (order_is_of_fleet(o->what.kind)) {
        order_put_key(s->fleet, key);
        if (s->fleet)
            ok = tree_remove(&s->orders, str_of(key, ORDER_KEY_BYTES));
        s->fleet = o->node.revision;
    } else {
        s->n_orders++;
        s->orders_bytes += o->bytes;
    }
    ok = ok && tree_put(&s->orders, &o->node);
    while (ok && (s->n_orders > ORDERS_MAX ||
                  (s->orders_bytes > ORDERS_BYTES_MAX && s->n_orders > 1)))
        ok = forget_order(s);
    return ok;
}

/* ---- applying ---- */

/* old is what v replaces: it is still in the state. */
static bool apply_rights(struct state *s, const struct version *old, const struct version *v)
{
    struct rights_doc before, after;

    if (!rights_concern(v->key))
        return true;
    before = rights_doc_of(v->key, old);
    after = rights_doc_of(v->key, v);
    return rights_step(&s->rights, v->key, &before, &after) == 0;
}

static bool apply_version(struct state *s, struct version *v)
{
    const struct version *old = state_newest(s, v->key);
    const struct candidate *c = candidate_of(tree_find(s->candidates, v->key));

    if (version_is_live(old)) {
        s->n_resources--;
        s->content_bytes -= old->content.len;
    }
    if (!v->deleted) {
        s->n_resources++;
        s->content_bytes += v->content.len;
    }
    if (!remove_uses(s, old, false) || !add_uses(s, v, false) || !apply_rights(s, old, v))
        return false;
    if (c && !c->version && c->number < v->number && !tree_remove(&s->candidates, v->key))
        return false;
    return tree_put(&s->versions, &v->node);
}

/* The candidates of a live rollout are as new as its last move: a walk over what was touched finds them. */
static bool put_candidates(struct state *s, const struct rollout *r)
{
    for (size_t i = 0; i < r->n_candidates; i++) {
        struct version *v = r->candidates[i];

        if (!put_candidate(s, v->key, r->id, v->number, v, r->node.revision))
            return false;
    }
    return true;
}

static bool start_rollout(struct state *s, const struct rollout *r)
{
    s->n_live++;
    for (size_t i = 0; i < r->n_candidates; i++)
        if (!add_uses(s, r->candidates[i], true))
            return false;
    return put_candidates(s, r);
}

static bool end_rollout(struct state *s, const struct rollout *before, const struct rollout *r)
{
    s->n_live--;
    s->n_ended++;
    for (size_t i = 0; i < before->n_candidates; i++) {
        struct version *v = before->candidates[i];
        const struct version *stable = state_newest(s, v->key);
        bool is_overtaken = stable && stable->number > v->number;

        if (!remove_uses(s, v, true))
            return false;
        if (is_overtaken ? !tree_remove(&s->candidates, v->key)
                         : !put_candidate(s, v->key, r->id, v->number, NULL, r->node.revision))
            return false;
    }
    return true;
}

/* The oldest of those that have ended is forgotten when there are too many. */
static bool forget_ended(struct state *s)
{
    struct tree_walk walk;
    struct rollout *r;

    if (s->n_ended <= ROLLOUTS_ENDED_MAX)
        return true;
    s->n_ended--;
    tree_walk_from(&walk, s->rollouts, STR(""), 0);
    while ((r = rollout_of(tree_walk_next(&walk))))
        if (!rollout_is_live(r)) {
            unsigned char key[ROLLOUT_KEY_BYTES]; /* it goes away with what it names */

            rollout_put_key(r->id, key);
            return tree_remove(&s->rollouts, str_of(key, ROLLOUT_KEY_BYTES));
        }
    return true;
}

static bool apply_rollout(struct state *s, struct rollout *r)
{
    struct rollout *before = rollout_ref(state_rollout(s, r->id));
    bool ok = true;

    if (!rollout_is_live(before) && rollout_is_live(r))
        ok = start_rollout(s, r);
    else if (rollout_is_live(before) && !rollout_is_live(r))
        ok = end_rollout(s, before, r);
    else if (rollout_is_live(r))
        ok = put_candidates(s, r);
    else if (!before) /* of a snapshot */
        s->n_ended++;
    (void)rollout_unref(before);
    return ok && tree_put(&s->rollouts, &r->node) && forget_ended(s);
}

/* Stable versions first: a rollout that is confirmed ends when its candidates are stable. */
static bool apply(struct state *s, const struct effect *e)
{
    for (size_t i = 0; i < e->n_versions; i++)
        if (!apply_version(s, e->versions[i]))
            return false;
    for (size_t i = 0; i < e->n_rollouts; i++)
        if (!apply_rollout(s, e->rollouts[i]))
            return false;
    return !e->order || apply_order(s, e->order);
}

bool state_deletes_newer(const struct state *s, struct str store_id)
{
    return s->restored.revision && s->restored.deletes_newer &&
           str_eq(store_id, str_of(s->restored.from, STATE_STORE_ID_BYTES));
}

int state_load(struct state **s, const struct effect *e, uint64_t revision)
{
    if (!apply(*s, e)) {
        *s = state_unref(*s);
        return ERR_NOMEM;
    }
    (*s)->revision = revision;
    if (e->restored) {
        (*s)->restored = *e->restored;
        if (!e->restored->revision)
            (*s)->restored.revision = revision;
    }
    (*s)->referring = revision; /* a snapshot does not tell what was before it */
    return 0;
}

int state_load_number(struct state **s, struct str key, const struct spent *spent)
{
    uint64_t revision = spent->revision ? spent->revision : (*s)->revision;

    if (put_candidate(*s, key, spent->rollout, spent->number, NULL, revision))
        return 0;
    *s = state_unref(*s);
    return ERR_NOMEM;
}

int state_apply_more(struct state **s, const struct effect *e, uint64_t revision)
{
    bool did_refer = (*s)->uses != NULL;
    uint64_t referring = (*s)->referring;
    int r;

    ASSERT(revision > (*s)->revision);
    r = state_load(s, e, revision);
    if (!r && !did_refer && !(*s)->uses)
        (*s)->referring = referring;
    return r;
}

struct state *state_apply(const struct state *s, const struct effect *e, uint64_t revision)
{
    struct state *next = state_new();

    if (!next)
        return NULL;
    next->revision = s->revision;
    next->n_resources = s->n_resources;
    next->content_bytes = s->content_bytes;
    next->n_live = s->n_live;
    next->n_ended = s->n_ended;
    next->referring = s->referring;
    next->restored = s->restored;
    next->versions = tree_ref(s->versions);
    next->rollouts = tree_ref(s->rollouts);
    next->candidates = tree_ref(s->candidates);
    next->uses = tree_ref(s->uses);
    next->orders = tree_ref(s->orders);
    next->rights = rights_ref(s->rights);
    next->n_orders = s->n_orders;
    next->orders_bytes = s->orders_bytes;
    next->fleet = s->fleet;
    if (state_apply_more(&next, e, revision))
        return NULL;
    return next;
}
