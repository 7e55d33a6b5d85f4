/*
 * Live events. See events.h.
 */
#include "server/use/events.h"

#include "proto/convert.h"
#include "proto/json.h"
#include "proto/wire.h"
#include "server/use/instance_info.h"
#include "server/rollout/view.h"

static const nsec_t LOOK_PAUSE = 20 * NSEC_PER_MS;
static const nsec_t LOOK_EVERY = NSEC_PER_S; /* silence changes states, too */

enum {
    LOOK_SHARE = 10, /* a look waits so many times as long as the last one took */
    IDS_SHOWN = 100,
};

/* ---- telling ---- */

void event_init(Trimtab__V1__Event *m, const char *type, uint64_t revision, struct arena *a)
{
    char time[WALL_TEXT_MAX];

    trimtab__v1__event__init(m);
    wall_format(clock_wall_ms(), time);
    m->type = arena_c(a, str_c(type));
    m->time = arena_c(a, str_c(time));
    m->revision = revision;
}

/* A copy of an event on its way to a lane. */
struct telling {
    struct post post;
    struct audience *audience;
    struct shared *framed;
};

static void on_telling(struct post *post, void *ctx)
{
    struct telling *t = ctx;
    struct audience *a = t->audience;

    (void)post;
    a->hear(a, t->framed);
    (void)shared_unref(t->framed);
    (void)mem_free(t);
    hub_end_flight(a->hub);
}

/* framed NULL: there was no memory for it. Then the listeners are told that something is lost. */
static void tell(struct audience *a, struct shared *framed)
{
    struct telling *t = framed && a->loop != a->hub->loop ? NEW(struct telling) : NULL;

    if (framed && a->loop == a->hub->loop) {
        a->hear(a, framed);
        return;
    }
    if (!t) {
        atomic_store_explicit(&a->has_missed, true, memory_order_relaxed);
        return;
    }
    *t = (struct telling){.audience = a, .framed = shared_ref(framed)};
    t->post = (struct post){.fn = on_telling, .ctx = t};
    hub_begin_flight(a->hub);
    loop_post(a->loop, &t->post);
}

static void tell_all(struct events *e, const Trimtab__V1__Event *m)
{
    owned(shared_unref) struct shared *framed = proto_pack_framed(&m->base);

    LIST_EACH (&e->audiences, l) {
        struct audience *a = LINK_OF(l, struct audience, link);

        if (a->n_listeners)
            tell(a, framed);
    }
}

/* ---- commits ---- */

struct telling_commit {
    Trimtab__V1__Event event;
    Trimtab__V1__CommitEvent commit;
    char *ids[IDS_SHOWN];
    uint64_t rollouts[IDS_SHOWN];
};

static char *id_text(struct str key, struct arena *a)
{
    owned(buf) struct buf id = BUF_NULL(ID_BYTES_MAX);

    key_put_id(key, &id);
    return arena_c(a, buf_str(&id));
}

static void add_rollouts(const struct state *before, const struct state *after,
                         uint64_t revision, struct telling_commit *t)
{
    struct tree_walk walk;
    const struct rollout *r;

    tree_walk_from(&walk, after->rollouts, STR_NULL, before->revision);
    while ((r = rollout_of(tree_walk_next(&walk))))
        if (r->node.revision == revision && t->commit.n_rollouts < IDS_SHOWN)
            t->rollouts[t->commit.n_rollouts++] = r->id;
}

/* One commit of a publication, with its versions. */
static void tell_commit(struct events *e, const struct state *before, const struct state *after,
                        struct version *const *versions, size_t n, uint64_t revision)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct telling_commit t;

    event_init(&t.event, "commit", after->revision, &a);
    trimtab__v1__commit_event__init(&t.commit);
    t.event.commit = &t.commit;
    t.commit.revision = revision;
    t.commit.resources = t.ids;
    t.commit.rollouts = t.rollouts;
    t.commit.resource_count = n;
    for (; t.commit.n_resources < MIN(n, (size_t)IDS_SHOWN); t.commit.n_resources++)
        t.ids[t.commit.n_resources] = id_text(versions[t.commit.n_resources]->key, &a);
    add_rollouts(before, after, revision, &t);
    if (!arena_failed(&a))
        tell_all(e, &t.event);
}

void events_publish(struct events *e, const struct state *before, const struct state *after,
                    struct version *const *versions, size_t n)
{
    size_t from = 0, to = 0;

    if (!e->n_listeners)
        return;
    for (uint64_t r = before->revision + 1; r <= after->revision; r++) {
        while (to < n && versions[to]->revision <= r)
            to++;
        tell_commit(e, before, after, versions + from, to - from, r);
        from = to;
    }
    events_changed(e);
}

/* ---- rollouts ---- */

static uint64_t mix(uint64_t hash, uint64_t value)
{
    return (hash ^ value) * 1099511628211u; /* FNV-1a, by words */
}

static const uint64_t MIX_BASIS = 14695981039346656037u;

/* What of a rollout is worth an event, as the driver's last look found it: nothing is counted here. */
static uint64_t sum_up_rollout(const struct drives *d, const struct rollout *r)
{
    const struct drive *v = drives_find(d, r->id);
    uint64_t hash = mix(MIX_BASIS, r->node.revision);

    for (int i = 0; v && i < TARGET_STATES; i++)
        hash = mix(hash, v->heads.counts[i]);
    return mix(hash, v && v->soak.holds);
}

static struct told_rollout *told_of(const struct events *e, uint64_t id)
{
    for (size_t i = 0; i < e->rollouts.n; i++)
        if (e->rollouts.at[i].id == id)
            return &e->rollouts.at[i];
    return NULL;
}

static void tell_rollout(struct events *e, const struct rollout *r)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct hub *hub = e->hub;
    Trimtab__V1__RolloutCounts counts = TRIMTAB__V1__ROLLOUT_COUNTS__INIT;
    Trimtab__V1__Event m;

    event_init(&m, "rollout", hub->state->revision, &a);
    m.rollout = rollout_message(hub->state, r, true, &a);
    if (!m.rollout || rollout_look(e->drives, r, &counts, NULL))
        return;
    m.rollout->counts = &counts;
    m.rollout->progress = rollout_progress(e->drives, r, &a);
    if (!arena_failed(&a))
        tell_all(e, &m);
}

/* Whether a rollout is another picture than was told; takes note of it. Ended ones are told once. */
static bool is_news(struct events *e, const struct rollout *r)
{
    struct told_rollout *told = told_of(e, r->id);
    uint64_t stamp = sum_up_rollout(e->drives, r);

    if (!rollout_is_live(r)) {
        if (told)
            *told = e->rollouts.at[--e->rollouts.n];
        return told != NULL;
    }
    if (!told)
        return VEC_PUSH(&e->rollouts, (struct told_rollout){r->id, stamp});
    if (told->stamp == stamp)
        return false;
    told->stamp = stamp;
    return true;
}

/* silently: takes note only. */
static void look_at_rollouts(struct events *e, bool silently)
{
    struct tree_walk walk;
    const struct rollout *r;

    tree_walk_from(&walk, e->hub->state->rollouts, STR_NULL, 0);
    while ((r = rollout_of(tree_walk_next(&walk))))
        if (is_news(e, r) && !silently)
            tell_rollout(e, r);
}

/* ---- instances ---- */

/* What of an instance is worth an event: never 0. */
static uint64_t sum_up_instance(const struct presence *p, const struct moment *at)
{
    const struct verdict *v = p->health;
    uint64_t hash = mix(MIX_BASIS, (uint64_t)presence_state(p, at));
    size_t n_exceptions;
    Trimtab__V1__Refusal **exceptions = presence_exceptions(p, &n_exceptions);

    hash = mix(hash, v ? 1 + (uint64_t)v->health->failing : 0);
    hash = mix(hash, (uint64_t)p->connected_ms);
    hash = mix(hash, (uint64_t)p->taken_ms);
    for (size_t n = 0; n < n_exceptions; n++) {
        const Trimtab__V1__Refusal *f = exceptions[n];

        for (size_t b = 0; b < f->hash.len; b++)
            hash = mix(hash, f->hash.data[b]);
        hash = mix(hash, strlen(f->message));
    }
    return hash | 1;
}

static void tell_instance(struct events *e, const struct presence *p,
                          const struct moment *at)
{
    owned(arena) struct arena a = ARENA_NULL;
    Trimtab__V1__Event m;

    event_init(&m, "instance", e->hub->state->revision, &a);
    m.instance = instance_info(p, at, &a);
    if (m.instance && !arena_failed(&a))
        tell_all(e, &m);
}

static void look_at_instances(struct events *e, bool silently)
{
    struct map_slot *slot;
    struct moment moment = hub_moment(e->hub);
    size_t at = 0;

    while ((slot = map_each(&e->hub->roster.instances, &at))) {
        struct instance *i = slot->value;
        uint64_t sum = sum_up_instance(i->presence, &moment);

        if (i->told == sum)
            continue;
        i->told = sum;
        if (!silently)
            tell_instance(e, i->presence, &moment);
    }
}

/* ---- looks ---- */

static void look(struct events *e, bool silently)
{
    nsec_t now = clock_now();

    e->looked = now;
    e->stamp = e->hub->roster.stamp;
    look_at_instances(e, silently);
    look_at_rollouts(e, silently);
    e->next_look = clock_now() + MAX(LOOK_PAUSE, LOOK_SHARE * (clock_now() - now));
}

static void look_soon(struct defer *soon, void *ctx)
{
    struct events *e = ctx;

    (void)soon;
    if (e->n_listeners && clock_now() >= e->next_look)
        look(e, false); /* else at a tick */
}

void events_changed(struct events *e)
{
    if (e->n_listeners)
        loop_defer(e->hub->loop, &e->soon);
}

void events_tick(struct events *e)
{
    nsec_t now = clock_now();

    if (!e->n_listeners || now < e->next_look)
        return;
    if (e->stamp != e->hub->roster.stamp || e->hub->state->n_live ||
        now >= e->looked + LOOK_EVERY)
        look(e, false);
}

/* ---- audiences ---- */

void events_add_audience(struct events *e, struct audience *a)
{
    link_before(&e->audiences, &a->link);
}

uint64_t events_join(struct events *e, struct audience *a)
{
    if (!e->n_listeners)
        look(e, true); /* what is so already is no news */
    e->n_listeners++;
    a->n_listeners++;
    return e->hub->state->revision;
}

void events_quit(struct events *e, struct audience *a)
{
    ASSERT(e->n_listeners && a->n_listeners);
    e->n_listeners--;
    a->n_listeners--;
}

/* ---- life ---- */

static void on_change(struct hub_watcher *w)
{
    events_changed(CONTAINER_OF(w, struct events, watcher));
}

void events_init(struct events *e, struct hub *hub, const struct drives *drives)
{
    *e = (struct events){.hub = hub,
                         .drives = drives,
                         .watcher = {.changed = on_change},
                         .soon = {.fn = look_soon, .ctx = e}};
    link_init(&e->audiences);
    hub_watch(hub, &e->watcher);
}

void events_deinit(struct events *e)
{
    defer_cancel(&e->soon);
    VEC_DEINIT(&e->rollouts);
}
