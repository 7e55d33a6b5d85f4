/*
 * Reading rollouts: lists, and one with its instances, waiting for news of it if asked to.
 */
#include "model/diff.h"
#include "server/rollout/picture.h"
#include "server/use/api.h"
#include "server/use/committing.h"
#include "server/use/methods.h"

enum {
    LIST_DEFAULT = 100,
    LIST_MAX = 1000,
    INSTANCES_DEFAULT = 100,
    INSTANCES_MAX = 1000, /* they are told by the hub */
    WAIT_MAX_MS = 60000,
    WAIT_LOOK_MS = 100, /* how often a wait looks: many acknowledgements are one look */
    WAIT_LOOKS =
        10, /* after so many it looks although nothing was heard: silence changes states too */
};

static int no_rollout(uint64_t id, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "there is no rollout %llu", (unsigned long long)id);
}

int rollout_require_view(struct api_call *call, const struct rollout *r)
{
    int rc = 0;

    for (size_t i = 0; r && i < r->n_candidates && !rc; i++)
        rc = api_require(call, RIGHT_TO_VIEW, key_name(r->candidates[i]->key).space);
    return rc;
}

/* ---- list ---- */

/* live, all or a phase. ERR_INVALID. */
static int wanted_phases(const char *text, unsigned *ret_phases, struct err *err)
{
    *ret_phases = 0;
    for (int p = 0; p < ROLLOUT_PHASES; p++)
        if (strcmp(text, "all") == 0 ||
            strcmp(text, rollout_phase_name((enum rollout_phase)p)) == 0 ||
            ((!*text || strcmp(text, "live") == 0) && phase_is_live((enum rollout_phase)p)))
            *ret_phases |= 1u << p;
    if (*ret_phases)
        return 0;
    (void)err_set(err, ERR_INVALID, "there is no phase \"%.100s\"", text);
    err_place(err, "phase");
    err_hint(err, "live, all, running, paused, confirmed, rolled_back, expired or overridden");
    return ERR_INVALID;
}

struct listing {
    unsigned phases;
    struct str key; /* of the resource that is carried; empty: any */
    size_t limit;
};

static bool is_listed(const struct listing *l, const struct rollout *r)
{
    return (l->phases >> r->phase & 1) && (!l->key.len || rollout_candidate(r, l->key));
}

/* A tree is walked upwards and the newest come first: the last ones below `before` are kept. */
static int put_list(struct api_call *call, const struct listing *l,
                    Trimtab__V1__ListRolloutsResponse *m)
{
    const Trimtab__V1__ListRolloutsRequest *q =
        (const Trimtab__V1__ListRolloutsRequest *)call->request;
    const struct state *state = call->hub->state;
    const struct rollout **ring = ARENA_ARRAY(&call->arena, const struct rollout *, l->limit);
    struct sight sight = api_sight(call);
    const struct rollout *r;
    struct tree_walk walk;
    size_t n = 0;

    m->rollouts = ARENA_ARRAY(&call->arena, Trimtab__V1__Rollout *, l->limit);
    if (!ring || !m->rollouts)
        return ERR_NOMEM;
    tree_walk_from(&walk, state->rollouts, STR_NULL, 0);
    while ((r = rollout_of(tree_walk_next(&walk))) && (!q->before || r->id < q->before))
        if (is_listed(l, r) && sight_has_rollout(&sight, r))
            ring[n++ % l->limit] = r;
    for (size_t i = 0; i < MIN(n, l->limit); i++) {
        m->rollouts[i] =
            rollout_message(state, ring[(n - 1 - i) % l->limit], true, &call->arena);
        if (!m->rollouts[i])
            return ERR_NOMEM;
        m->n_rollouts++;
    }
    if (n > l->limit)
        m->next = ring[n % l->limit]->id;
    return 0;
}

void api_list_rollouts(struct api_call *call)
{
    const Trimtab__V1__ListRolloutsRequest *q =
        (const Trimtab__V1__ListRolloutsRequest *)call->request;
    Trimtab__V1__ListRolloutsResponse *m =
        ARENA_NEW(&call->arena, Trimtab__V1__ListRolloutsResponse);
    struct listing l = {.limit = MIN(q->limit ? q->limit : LIST_DEFAULT, (size_t)LIST_MAX)};
    int r = m ? wanted_phases(q->phase, &l.phases, &call->err) : ERR_NOMEM;

    if (!r && *q->resource)
        r = api_key(call, q->resource, &l.key, &call->err);
    if (!r) {
        trimtab__v1__list_rollouts_response__init(m);
        m->revision = call->hub->state->revision;
        r = put_list(call, &l, m);
    }
    if (r)
        api_fail_here(call, r);
    else
        api_answer(call, &m->base);
}

/* ---- one rollout ---- */

static const Trimtab__V1__GetRolloutRequest *get_request(const struct api_call *call)
{
    return (const Trimtab__V1__GetRolloutRequest *)call->request;
}

/* What a picture of a rollout is known by: never 0, and exact as a number of JavaScript. */
static uint64_t stamp_of(const struct drives *d, const struct rollout *r,
                         const Trimtab__V1__RolloutCounts *c)
{
    const struct drive *v = drives_find(d, r->id);
    const uint64_t parts[] = {
        r->node.revision, c->targets,  c->ok,    c->pending, c->refused,
        c->failing,       c->too_old,  c->stale, c->offline, c->hidden,
        c->unproven,      c->unjudged, c->away,  c->lost,    v && v->soak.holds};
    uint64_t hash = 14695981039346656037u; /* FNV-1a, by words */

    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        hash = (hash ^ parts[i]) * 1099511628211u;
    return (hash >> 12) | 1;
}

static int put_diff(struct api_call *call, const struct rollout *r, size_t i,
                    Trimtab__V1__ChangeResult *m)
{
    owned(buf) struct buf diff =
        BUF_NULL(MIN(DIFF_BYTES_MAX, DIFFS_BYTES_MAX - call->diff_bytes));
    const struct version *v = r->candidates[i], *old = state_find(call->state, v->key);
    struct diff_names names = {old ? str_c(m->id) : STR_NULL,
                               v->deleted ? STR_NULL : str_c(m->id)};
    int rc = diff_unified(old ? old->content : STR_NULL, v->content, &names, &diff);

    if (rc)
        return rc;
    if (!buf_status(&diff))
        call->diff_bytes += diff.len;
    m->diff = arena_c(&call->arena,
                      buf_status(&diff) ? STR("(too large to show)\n") : buf_str(&diff));
    return 0;
}

static int put_diffs(struct api_call *call, const struct rollout *r, Trimtab__V1__Rollout *m)
{
    int rc = 0;

    for (size_t i = 0; i < m->n_candidates && !rc; i++)
        rc = put_diff(call, r, i, m->candidates[i]);
    return rc;
}

/* Of the pinned state, into the response, which borrows from nothing else. */
static void make_diffs(struct api_call *call, struct store *store)
{
    Trimtab__V1__GetRolloutResponse *m = (Trimtab__V1__GetRolloutResponse *)call->response;

    (void)store; /* the state has it */
    call->result =
        put_diffs(call, state_rollout(call->state, get_request(call)->id), m->rollout);
}

static size_t instances_limit(const Trimtab__V1__GetRolloutRequest *q)
{
    return MIN(q->limit ? q->limit : INSTANCES_DEFAULT, (size_t)INSTANCES_MAX);
}

static int put_instances(struct api_call *call, const struct rollout *r,
                         const struct pick_page *page, Trimtab__V1__GetRolloutResponse *m)
{
    struct moment at = hub_moment(call->hub);

    m->instances = ARENA_ARRAY(&call->arena, Trimtab__V1__RolloutInstance *, page->n);
    if (!m->instances)
        return ERR_NOMEM;
    for (size_t i = 0; i < page->n; i++) {
        m->instances[i] =
            rollout_instance(&page->at[i], &call->driver->drives, r, &at, &call->arena);
        if (!m->instances[i])
            return ERR_NOMEM;
        m->n_instances++;
    }
    if (page->has_more)
        m->next = m->instances[page->n - 1]->id;
    return 0;
}

/* How its targets stood at the end, if that was kept. */
static int put_picture(struct api_call *call, Trimtab__V1__GetRolloutResponse *m)
{
    const Trimtab__V1__GetRolloutRequest *q = get_request(call);
    const Trimtab__V1__RolloutPicture *picture = call->picture;
    size_t n = picture ? picture->n_instances : 0;
    size_t limit = instances_limit(q);

    m->rollout->counts = picture ? picture->counts : NULL;
    m->instances = ARENA_ARRAY(&call->arena, Trimtab__V1__RolloutInstance *, MIN(limit, n));
    for (size_t i = 0; m->instances && i < n; i++) {
        Trimtab__V1__RolloutInstance *one = picture->instances[i];

        if ((*q->after && strcmp(one->id, q->after) <= 0) ||
            (*q->state && strcmp(one->state, q->state) != 0))
            continue;
        if (m->n_instances == limit) {
            m->next = m->instances[limit - 1]->id;
            break;
        }
        m->instances[m->n_instances++] = one;
    }
    return m->instances ? 0 : ERR_NOMEM;
}

static int put_rollout(struct api_call *call, const struct rollout *r, struct pick_page *page,
                       Trimtab__V1__GetRolloutResponse *m)
{
    const struct drives *drives = &call->driver->drives;
    const struct state *state = call->hub->state;
    Trimtab__V1__RolloutCounts *counts = ARENA_NEW(&call->arena, Trimtab__V1__RolloutCounts);
    int rc;

    if (!counts)
        return ERR_NOMEM;
    trimtab__v1__rollout_counts__init(counts);
    rc = rollout_look(drives, r, counts, page);
    if (rc)
        return rc;
    m->rollout = rollout_message(state, r, false, &call->arena);
    if (!m->rollout)
        return ERR_NOMEM;
    m->rollout->counts = counts;
    m->rollout->progress = rollout_progress(drives, r, &call->arena);
    m->stamp = stamp_of(drives, r, counts);
    m->revision = state->revision;
    return rollout_is_live(r) ? put_instances(call, r, page, m) : put_picture(call, m);
}

static void answer_now(struct api_call *call)
{
    const Trimtab__V1__GetRolloutRequest *q = get_request(call);
    const struct rollout *r = state_rollout(call->hub->state, q->id);
    Trimtab__V1__GetRolloutResponse *m =
        ARENA_NEW(&call->arena, Trimtab__V1__GetRolloutResponse);
    struct pick_page page = {.after = q->after, .state = q->state, .limit = instances_limit(q)};
    int rc = m ? 0 : ERR_NOMEM;

    if (!rc && !r)
        rc = no_rollout(q->id, &call->err);
    if (!rc) {
        trimtab__v1__get_rollout_response__init(m);
        rc = put_rollout(call, r, &page, m);
    }
    pick_page_deinit(&page);
    if (rc) {
        api_fail_here(call, rc);
    } else if (q->diff && rollout_is_live(r)) {
        call->state = state_ref(call->hub->state);
        call->response = &m->base;
        api_read(call, make_diffs, api_read_finish);
    } else {
        api_answer(call, &m->base);
    }
}

/* Without the record, which retention may have removed, there is no picture. */
static void read_picture(struct api_call *call, struct store *store)
{
    const struct rollout *r = state_rollout(call->state, get_request(call)->id);
    const Trimtab__V1__Record *record;

    if (r && api_record(call, store, r->node.revision, &record) == 0)
        call->picture = picture_find(record, r->id);
    call->err = ERR_NULL;
}

static void get_answer(struct api_call *call)
{
    const struct rollout *r = state_rollout(call->hub->state, get_request(call)->id);

    timer_stop(&call->timer);
    if (r && !rollout_is_live(r))
        api_read(call, read_picture, answer_now);
    else
        answer_now(call);
}

/* ---- waiting for news ---- */

struct rollout_wait {
    uint64_t revision, roster; /* when it was last looked at */
    unsigned looks;
    nsec_t end;
};

/* Whether it is still as the caller knows it. */
static bool is_known(struct api_call *call)
{
    const struct rollout *r = state_rollout(call->hub->state, get_request(call)->id);
    Trimtab__V1__RolloutCounts counts = TRIMTAB__V1__ROLLOUT_COUNTS__INIT;

    return r && rollout_look(&call->driver->drives, r, &counts, NULL) == 0 &&
           stamp_of(&call->driver->drives, r, &counts) == get_request(call)->known;
}

static void wait_look(struct timer *t, void *ctx)
{
    struct api_call *call = ctx;
    struct rollout_wait *w = call->rollout;
    const struct hub *hub = call->hub;
    bool has_news = w->revision != hub->state->revision || w->roster != hub->roster.stamp;

    (void)t;
    if (!hub->is_draining && clock_now() < w->end) {
        if (!has_news && ++w->looks % WAIT_LOOKS)
            return;
        w->revision = hub->state->revision;
        w->roster = hub->roster.stamp;
        if (is_known(call))
            return;
    }
    get_answer(call);
}

static int check_state(const char *name, struct err *err)
{
    for (int s = 0; s < TARGET_STATES; s++)
        if (!*name || strcmp(name, target_state_name((enum target_state)s)) == 0)
            return 0;
    (void)err_set(err, ERR_INVALID, "there is no state \"%.100s\"", name);
    err_place(err, "state");
    err_hint(err, "gray_ok, pending, unjudged, gray_error, unproven, hidden, stale, offline, "
                  "away or lost");
    return ERR_INVALID;
}

void api_get_rollout(struct api_call *call)
{
    const Trimtab__V1__GetRolloutRequest *q = get_request(call);
    struct rollout_wait *w = ARENA_NEW(&call->arena, struct rollout_wait);
    uint32_t wait_ms = MIN(q->wait_ms, (uint32_t)WAIT_MAX_MS);
    int r = w ? check_state(q->state, &call->err) : ERR_NOMEM;

    if (!r)
        r = rollout_require_view(call, state_rollout(call->hub->state, q->id));
    if (r) {
        api_fail_here(call, r);
        return;
    }
    if (!wait_ms || !q->known || call->hub->is_draining || !is_known(call)) {
        get_answer(call);
        return;
    }
    *w = (struct rollout_wait){.revision = call->hub->state->revision,
                               .roster = call->hub->roster.stamp,
                               .end = clock_now() + wait_ms * NSEC_PER_MS};
    call->rollout = w;
    call->timer.fn = wait_look;
    call->timer.ctx = call;
    timer_start(&call->timer, call->hub->loop, WAIT_LOOK_MS, WAIT_LOOK_MS);
}
