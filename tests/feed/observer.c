/*
 * Observers of a feed. See observer.h.
 */
#include "feed/observer.h"

#include "model/graph.h"
#include "model/lines.h"
#include "proto/subject.h"

/* ---- a server ---- */

static void on_ready(void *ctx)
{
    (void)ctx; /* everybody is looked at after each commit */
}

bool feed_open(struct world *w)
{
    struct feed_opts opts = {.store_id = "0123456789abcde",
                             .bookmark_every = 100,
                             .pinned_max = w->pinned_max,
                             .ready = on_ready};

    w->feed = feed_new(&opts, w->state);
    return w->feed != NULL;
}

bool world_open(struct world *w)
{
    *w = (struct world){.now = 1000, .state = state_new()};
    return feed_open(w);
}

void world_close(struct world *w)
{
    w->feed = feed_free(w->feed);
    w->state = state_unref(w->state);
}

static struct version *version_of_change(const struct change *c, const struct change_plan *p,
                                         uint64_t revision)
{
    return version_with_wire(&(struct version_opts){
        .key = c->key,
        .content_type = p->content_type,
        .meta = &p->meta,
        .references = p->references,
        .content = c->content,
        .deleted = c->delete,
        .number = p->number,
        .revision = revision,
    });
}

/* Folds what was made, when the graph stays whole, and publishes it; fail_after allocations memory fails. */
static int fold(struct world *w, const struct outcome *o, uint64_t fail_after, struct err *err)
{
    struct rollout *rollouts[1];
    struct effect e = {.n_rollouts = 0};
    struct state *after = NULL;
    int r = outcome_effect(w->state, o, rollouts, &e, err);

    if (!r) {
        after = state_apply(w->state, &e, w->state->revision + 1);
        r = after ? graph_check(after, &e, err) : ERR_NOMEM;
    }
    if (!r) {
        (void)state_unref(w->state);
        w->state = after;
        (void)mem_fail_after(fail_after);
        feed_publish(w->feed, after, e.versions, e.n_versions);
        (void)mem_fail_after(UINT64_MAX);
    } else {
        (void)state_unref(after);
    }
    for (size_t i = 0; i < e.n_rollouts; i++)
        (void)rollout_unref(rollouts[i]);
    return r;
}

int commit_failing(struct world *w, struct commit *c, uint64_t fail_after, struct err *err)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct change_plan plans[CHANGES_MAX] = {0};
    struct version *versions[CHANGES_MAX];
    struct outcome o = {.versions = versions, .moves = c->moves, .n_moves = c->n_moves};
    int r;

    *err = ERR_NULL;
    r = commit_check(w->state, c, plans, &a, err);
    for (size_t i = 0; i < c->n && !r; i++)
        if (plans[i].action != CHANGE_UNCHANGED)
            versions[o.n_versions++] =
                version_of_change(&c->changes[i], &plans[i], w->state->revision + 1);
    for (size_t i = 0; i < c->n_moves; i++)
        c->moves[i].revision = w->state->revision + 1;
    if (!r)
        r = fold(w, &o, fail_after, err);
    for (size_t i = 0; i < o.n_versions; i++)
        (void)version_unref(versions[i]);
    return r;
}

int commit(struct world *w, struct commit *c, struct err *err)
{
    return commit_failing(w, c, UINT64_MAX, err);
}

/* ---- a subscriber: the real core ---- */

static void op_send(void *ctx, const Trimtab__V1__ClientFrame *frame)
{
    struct observer *o = ctx;

    CHECK_I64(feed_session_frame(o->session, frame, o->w->now, NULL), 0);
}

static int op_store(void *ctx, const struct sync_batch *batch, struct err *err)
{
    (void)ctx;
    (void)batch;
    (void)err;
    return 0;
}

struct looking {
    struct map there; /* key -> itself */
    const char *missing;
};

static int note_there(void *ctx, const struct sync_change *b)
{
    struct looking *l = ctx;

    return map_put(&l->there, b->item->key, b->item, NULL) ? 0 : ERR_NOMEM;
}

static int note_missing(void *ctx, const struct sync_change *b)
{
    struct looking *l = ctx;
    const struct references *refs = b->item->references;

    for (size_t i = 0; refs && i < refs->n; i++)
        if (!map_get(&l->there, refs->at[i])) {
            tap_note("%s/... refers to %s/..., which is not held", b->item->key.data,
                     refs->at[i].data);
            l->missing = b->item->key.data;
        }
    return 0;
}

/* I6: whatever is held refers to what is held. */
bool is_whole(const struct observer *o)
{
    struct looking l = {.missing = NULL};

    CHECK_I64(sync_each(o->sync, note_there, &l), 0);
    CHECK_I64(sync_each(o->sync, note_missing, &l), 0);
    map_deinit(&l.there);
    return !l.missing;
}

static void op_apply(void *ctx, const struct sync_batch *batch)
{
    struct observer *o = ctx;

    ASSERT(!sync_applied(o->sync, batch->cursor.revision, batch->cursor.digest, NULL, 0));
}

static void op_reconnect(void *ctx, uint32_t after_ms, const char *reason)
{
    (void)ctx;
    (void)after_ms;
    CHECK_STR(str_c(reason), STR("no reason to go"));
}

static const struct sync_ops observer_ops = {
    .send = op_send, .store = op_store, .apply = op_apply, .reconnect = op_reconnect};

bool observer_start(struct observer *o)
{
    o->sync = sync_new(&(struct sync_opts){.instance = &o->instance,
                                           .scopes = o->list,
                                           .n_scopes = o->n_scopes,
                                           .ops = &observer_ops,
                                           .ctx = o});
    return o->sync != NULL;
}

char spaces[3][2] = {"a", "b", "c"};

/* scopes: for each its layers, one letter each, a blank between scopes; pattern: of names in the first, NULL for all. */
bool observer_open(struct observer *o, struct world *w, int number, const char *scopes,
                   const char *pattern)
{
    struct str rest = str_c(scopes), layers;

    *o = (struct observer){.w = w};
    (void)snprintf(o->id, sizeof(o->id), "o%d", number % 1000);
    o->subject.id = str_c(o->id);
    trimtab__v1__instance__init(&o->instance);
    o->instance.id = o->id;
    while (str_next(&rest, ' ', &layers)) {
        Trimtab__V1__Scope *s = &o->scopes[o->n_scopes];

        trimtab__v1__scope__init(s);
        (void)snprintf(o->names[o->n_scopes], sizeof(o->names[0]), "s%zu", o->n_scopes);
        s->name = o->names[o->n_scopes];
        s->namespaces = o->namespaces[o->n_scopes];
        for (size_t i = 0; i < layers.len; i++)
            s->namespaces[s->n_namespaces++] = spaces[layers.data[i] - 'a'];
        o->list[o->n_scopes++] = s;
    }
    if (pattern) {
        trimtab__v1__selector__init(&o->selector);
        o->patterns[0] = (char *)(uintptr_t)pattern;
        o->selector.names = o->patterns;
        o->selector.n_names = 1;
        o->selectors[0] = &o->selector;
        o->scopes[0].selectors = o->selectors;
        o->scopes[0].n_selectors = 1;
    }
    return observer_start(o);
}

void unlink_observer(struct observer *o)
{
    if (o->session)
        sync_link_down(o->sync);
    o->session = feed_session_free(o->session);
}

void link_observer(struct observer *o)
{
    o->session = feed_session_new(o->w->feed, FEED_CLIENT_ANSWERS, o);
    REQUIRE(o->session != NULL);
    feed_session_may_read(o->session, o->readable);
    sync_link_up(o->sync, o->w->now);
}

void observer_close(struct observer *o)
{
    unlink_observer(o);
    o->sync = sync_free(o->sync);
    o->readable = readable_unref(o->readable);
}

void observer_may_read(struct observer *o, const char *namespaces)
{
    struct principal p = {.subject = STR("token:o")};
    struct rights *r = NULL;

    o->readable = readable_unref(o->readable);
    if (!namespaces)
        return;
    CHECK_I64(step_grant(&r, NULL, &(struct line){"g", "token:o", "subscribe", namespaces}, 1), 0);
    CHECK_I64(readable_make(r, &p, &o->readable), 0);
    (void)rights_unref(r);
}

void forget(struct observer *o)
{
    o->n_withheld = o->n_uncaused = 0;
    o->n_frames = o->n_changes = o->n_puts = o->n_drops = o->n_keeps = o->n_completes = 0;
}

static void count_changes(struct observer *o, const Trimtab__V1__ServerFrame *m)
{
    o->n_frames++;
    for (size_t i = 0; i < m->n_changes; i++) {
        o->n_changes++;
        o->n_puts += (int)m->changes[i]->n_put;
        o->n_drops += (int)m->changes[i]->n_drop;
        o->n_keeps += (int)m->changes[i]->n_keep;
        o->n_withheld += (int)m->changes[i]->n_withheld;
        o->n_uncaused += (int)m->changes[i]->n_uncaused;
        o->n_completes += m->changes[i]->complete;
    }
}

/* One frame, and I6 when it ended a batch; false: there was none. */
bool pull(struct observer *o)
{
    owned(buf) struct buf bytes = BUF_NULL(16 * MIB);
    Trimtab__V1__ServerFrame *m;
    struct feed_frame frame;
    struct str packed;

    if (!CHECK(o->session != NULL) ||
        feed_session_pull(o->session, o->w->now, &frame) != FEED_FRAME)
        return false;
    for (size_t i = 0; i < frame.n; i++)
        buf_put_str(&bytes, frame.segments[i].bytes);
    packed = str_from(buf_str(&bytes), frame.is_framed ? 5 : 0);
    feed_frame_deinit(&frame);
    m = trimtab__v1__server_frame__unpack(NULL, packed.len, (const uint8_t *)packed.data);
    if (!CHECK(m != NULL))
        return false;
    count_changes(o, m);
    CHECK_I64(sync_frame(o->sync, m, o->w->now, NULL), 0);
    if (m->end)
        CHECK(is_whole(o));
    trimtab__v1__server_frame__free_unpacked(m, NULL);
    return true;
}

/* What it must have, computed from nothing. */
bool is_true(const struct observer *o)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct scope *scopes;
    const struct scope *list[SCOPES];
    struct closure_view view = {list, o->n_scopes, o->w->state, &o->subject, o->readable};
    struct sync_cursor cursor = sync_status(o->sync).cursor;
    struct digest sum;
    struct closure c;
    uint64_t count;

    if (!CHECK_I64(scopes_from_proto(o->list, o->n_scopes, &o->instance, &a, &scopes, NULL), 0))
        return false;
    for (size_t i = 0; i < o->n_scopes; i++)
        list[i] = &scopes[i];
    if (!CHECK_I64(closure_make(&view, &c), 0))
        return false;
    sum = c.digest;
    count = (uint64_t)closure_adds(&c);
    for (size_t i = 0; i < o->n_scopes; i++) {
        struct viewing v = {list[i], o->w->state, &o->subject};
        struct digest digest;
        uint64_t n;

        CHECK_I64(scope_digest(&v, &digest, &n), 0);
        sum = digest_add(sum, digest);
        count += n;
    }
    closure_deinit(&c);
    return cursor.count == count && digest_eq(cursor.digest, sum);
}

void settle(struct observer *o)
{
    while (!tap_failed() && pull(o))
        ;
    CHECK_U64(sync_status(o->sync).rejected, 0);
    CHECK_U64(sync_status(o->sync).repairs, 0);
    CHECK_I64(feed_session_status(o->session).phase, FEED_STEADY);
    if (!CHECK(is_true(o)))
        tap_note("observer %s at revision %d has %d items of revision %d", o->id,
                 (int)o->w->state->revision, (int)sync_status(o->sync).cursor.count,
                 (int)sync_status(o->sync).cursor.revision);
}

/* ---- by hand ---- */

int publish_items(struct world *w, const struct item *items, size_t n, uint64_t fail_after)
{
    struct change changes[8];
    struct str links[8][4];
    char texts[8][16];
    struct err err;

    for (size_t i = 0; i < n; i++) {
        struct str rest = str_c(items[i].to), to;
        struct change *c = &changes[i];
        bool is_deleted = items[i].to && items[i].to[0] == '-';

        (void)snprintf(texts[i], sizeof(texts[i]), "%d", ++w->counter);
        *c = (struct change){.id = str_c(items[i].id), .delete = is_deleted};
        c->content = is_deleted ? STR_NULL : str_c(texts[i]);
        c->meta.depends_on = links[i];
        while (items[i].to && !is_deleted && str_next(&rest, ' ', &to))
            links[i][c->meta.n_depends_on++] = to;
    }
    return commit_failing(w, &(struct commit){.changes = changes, .n = n}, fail_after, &err);
}

bool has(const struct observer *o, const char *id)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    struct name name;

    if (name_parse(str_c(id), &name, NULL))
        return false;
    buf_put_str(&key, name.kind);
    buf_put_byte(&key, '\0');
    buf_put_str(&key, name.name);
    return sync_find(o->sync, STR("*"), name.space, buf_str(&key)) != NULL;
}

/* A rollout of these resources to one instance. Returns its id. */
uint64_t start(struct world *w, const struct item *items, size_t n, const char *target)
{
    struct str id = str_c(target), links[4][4];
    struct target t = {.ids = &id, .n_ids = 1};
    struct step step = {.targets = &t, .n_targets = 1};
    struct rollout_plan plan = {.steps = &step, .n_steps = 1};
    struct rollout_move m = {.kind = MOVE_START, .plan = &plan};
    struct change changes[4];
    struct err err;

    for (size_t i = 0; i < n; i++) {
        struct str rest = str_c(items[i].to);
        struct change *c = &changes[i];

        *c = (struct change){.id = str_c(items[i].id), .content = STR("0")};
        c->meta.depends_on = links[i];
        while (items[i].to && str_next(&rest, ' ', &links[i][c->meta.n_depends_on]))
            c->meta.n_depends_on++;
    }
    CHECK_I64(commit(w, &(struct commit){.changes = changes, .n = n, .moves = &m, .n_moves = 1},
                     &err),
              0);
    return w->state->revision;
}

void roll_back(struct world *w, uint64_t id)
{
    struct rollout_move m = {.kind = MOVE_ROLL_BACK,
                             .id = id,
                             .expected = state_rollout(w->state, id)->n_moves,
                             .reason = STR("why")};
    struct err err;

    CHECK_I64(commit(w, &(struct commit){.moves = &m, .n_moves = 1}, &err), 0);
}
