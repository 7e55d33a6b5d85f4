/*
 * What every instance really runs, and what became of a commit among them.
 */
#include "server/use/api.h"
#include "server/use/methods.h"

#include "base/log.h"
#include "proto/convert.h"
#include "server/hub/keeper.h"
#include "server/use/instance_info.h"
#include "server/use/instance_page.h"

enum {
    WAITING_SHOWN_MAX = 100,
    WAIT_MAX_MS = 60000,
    INSTANCES_DEFAULT = 1000,
    INSTANCES_MAX = 5000,
    INSTANCES_HERE = 100,     /* pages of more are made beside the loops */
    PAGE_BYTES_MAX = 4 << 20, /* packed: what instances say of themselves may be long */
};

/* ---- instances ---- */

static const Trimtab__V1__InstancesRequest *instances_request(const struct api_call *call)
{
    return (const Trimtab__V1__InstancesRequest *)call->request;
}

/* What a caller asks for, of what he may see. */
struct filter {
    const Trimtab__V1__InstancesRequest *q;
    struct sight sight;
    struct name resource; /* parsed, when the request has one */
};

static bool is_asked_for(void *ctx, const struct presence *p)
{
    const struct filter *f = ctx;
    const Trimtab__V1__InstancesRequest *q = f->q;
    struct str prefix = str_c(q->prefix);

    if ((q->connected_only || *q->resource) && !p->is_connected)
        return false;
    if (!sight_has_instance(&f->sight, p) || (*q->resource && !presence_wants(p, f->resource)))
        return false;
    return str_starts(str_c(presence_id(p)), prefix) ||
           str_starts(str_c(p->introduction->hello->instance->host), prefix);
}

/* False when the page has no more room for it; there is always room for one. */
static bool add_instance(Trimtab__V1__InstancesResponse *m, Trimtab__V1__InstanceInfo *info,
                         size_t *bytes)
{
    *bytes = size_add(*bytes, protobuf_c_message_get_packed_size(&info->base));
    if (m->n_instances && *bytes > PAGE_BYTES_MAX) {
        m->next = m->instances[m->n_instances - 1]->instance->id;
        return false;
    }
    m->instances[m->n_instances++] = info;
    return true;
}

/* Of the page that was found; on any thread. */
static void make_instances(struct api_call *call, struct store *store)
{
    const struct instance_page *page = call->page;
    struct arena *a = &call->arena;
    Trimtab__V1__InstancesResponse *m = ARENA_NEW(a, Trimtab__V1__InstancesResponse);
    struct sight sight = api_sight(call);
    size_t bytes = 0;

    (void)store; /* the records have it */
    call->result = ERR_NOMEM;
    if (!m)
        return;
    trimtab__v1__instances_response__init(m);
    m->revision = call->state->revision;
    m->next = page->next;
    m->instances = ARENA_ARRAY(a, Trimtab__V1__InstanceInfo *, page->n);
    for (size_t i = 0; m->instances && i < page->n; i++) {
        Trimtab__V1__InstanceInfo *info = instance_info(page->at[i], &page->moment, a);

        if (!info)
            return;
        sight_trim(&sight, page->at[i], info);
        if (!add_instance(m, info, &bytes))
            break;
    }
    call->result = arena_failed(a) ? ERR_NOMEM : 0;
    call->response = &m->base;
}

void api_instances(struct api_call *call)
{
    const Trimtab__V1__InstancesRequest *q = instances_request(call);
    struct filter filter = {.q = q};
    struct instance_page_opts opts = {
        .after = q->after,
        .limit = MIN(q->limit ? q->limit : INSTANCES_DEFAULT, (size_t)INSTANCES_MAX),
        .is_wanted = is_asked_for,
        .ctx = &filter};
    int r = *q->resource ? name_parse(str_c(q->resource), &filter.resource, &call->err) : 0;

    call->state = state_ref(call->hub->state);
    filter.sight = api_sight(call);
    if (!r)
        r = instance_page_find(call, &opts);
    if (r) {
        api_fail_here(call, r);
        return;
    }
    if (call->page->n > INSTANCES_HERE) {
        api_read(call, make_instances, api_read_finish);
        return;
    }
    make_instances(call, NULL);
    api_read_finish(call);
}

/* ---- identity ---- */

/* Whoever is told that an id is free must not meet its old owner again after a crash. */
static void forget_stored(struct api_call *call, struct store *store)
{
    const Trimtab__V1__ForgetInstanceRequest *q =
        (const Trimtab__V1__ForgetInstanceRequest *)call->request;

    call->result = keeper_forget(store, str_c(q->id), &call->err);
    if (call->result)
        err_hint(&call->err,
                 "it is forgotten until a restart; its stored record is tried again");
}

/* In all namespaces that the instance wanted; on everything when that is not known. */
static int may_forget(struct api_call *call, const char *id)
{
    const struct instance *i = roster_find(&call->hub->roster, str_c(id));
    const struct introduction *in = i ? i->presence->introduction : NULL;
    int r = in && in->n_scopes ? 0 : api_require(call, RIGHT_TO_FORGET, SPACE_EVERYTHING);

    for (size_t s = 0; in && s < in->n_scopes; s++)
        for (size_t l = 0; l < in->scopes[s]->n_layers && !r; l++)
            r = api_require(call, RIGHT_TO_FORGET, in->scopes[s]->layers[l]);
    return r;
}

void api_forget_instance(struct api_call *call)
{
    const Trimtab__V1__ForgetInstanceRequest *q =
        (const Trimtab__V1__ForgetInstanceRequest *)call->request;
    Trimtab__V1__ForgetInstanceResponse *response =
        ARENA_NEW(&call->arena, Trimtab__V1__ForgetInstanceResponse);
    struct err err = ERR_NULL;
    int r;

    if (!response) {
        api_fail_code(call, ERR_NOMEM);
        return;
    }
    r = may_forget(call, q->id);
    if (r) {
        api_fail_here(call, r);
        return;
    }
    trimtab__v1__forget_instance_response__init(response);
    if (roster_forget(&call->hub->roster, str_c(q->id), &err)) {
        api_fail(call, &err);
        return;
    }
    LOG(INFO, "instance_forgotten", LOG_C("instance", q->id),
        LOG_C("identity", call->who.name));
    hub_changed(call->hub);
    call->response = &response->base;
    api_visit(call, forget_stored, api_read_finish);
}

/* ---- status of a commit ---- */

/* What a waiting call has learned of its commit: the resources that it changed. */
struct status_wait {
    uint64_t revision;
    struct str *keys;
    size_t n_keys;
    bool is_start; /* of the rollout with its number */
};

/* What a commit has come to on one instance. */
enum fate { UNCONCERNED, APPLIED, REFUSED, UNPROVEN, PENDING };

/* Whether one of the resources acts in the view, and the first exception about it. */
static bool acts_on(const struct status_wait *w, const struct presence *p,
                    const struct state *state, const Trimtab__V1__Refusal **ret_exception)
{
    struct binding_at at[BINDINGS_MAX];
    bool acts = false;

    *ret_exception = NULL;
    for (size_t i = 0; i < w->n_keys && !*ret_exception; i++) {
        size_t n = presence_bindings(p, state, w->keys[i], at);

        for (size_t b = 0; b < n && !*ret_exception; b++) {
            acts |= at[b].is == BINDING_ACTS;
            if (at[b].is == BINDING_ACTS && p->standing.report)
                *ret_exception = presence_exception_at(p, w->keys[i], &at[b]);
        }
        if (acts && !p->standing.report)
            break;
    }
    return acts;
}

/* The start of a rollout is for its targets only. */
static bool is_for(const struct status_wait *w, const struct presence *p,
                   const struct state *state)
{
    const struct rollout *r = w->is_start ? state_rollout(state, w->revision) : NULL;

    return !r ||
           (p->introduction->takes_rollouts && rollout_takes(r, p->introduction->subject));
}

static enum fate fate_of(const struct status_wait *w, const struct presence *p,
                         const struct state *state, const struct moment *at)
{
    const struct order *order = state_order(state, w->revision);
    bool is_ordered = order && p->is_connected && presence_has_order(p, order);
    const Trimtab__V1__Refusal *exception;
    size_t n;

    if (is_ordered && presence_owes_order(p, order))
        return PENDING; /* whatever it refuses until then: it is to look again */
    if (!p->is_connected || !is_for(w, p, state) ||
        (!acts_on(w, p, state, &exception) && !is_ordered))
        return UNCONCERNED;
    if (is_ordered && !w->n_keys && presence_exceptions(p, &n))
        exception = n ? presence_exceptions(p, &n)[0] : NULL;
    if (exception) /* E3 */
        return exception_kind(exception) == EXCEPTION_PAUSED ? PENDING : REFUSED;
    if (presence_has_reached(p, w->revision, at))
        return APPLIED;
    return *proof_story(p->standing.proof) ? UNPROVEN : PENDING;
}

static void count(struct api_call *call, const struct status_wait *w,
                  Trimtab__V1__StatusResponse *m)
{
    struct sight sight = api_sight(call);
    struct moment moment = hub_moment(call->hub);
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&call->hub->roster.instances, &at))) {
        const struct presence *p = ((struct instance *)slot->value)->presence;
        enum fate fate = fate_of(w, p, call->hub->state, &moment);

        m->concerned += fate != UNCONCERNED;
        m->applied += fate == APPLIED;
        m->refused += fate == REFUSED;
        m->unproven += fate == UNPROVEN;
        m->pending += fate == PENDING;
        if (fate != UNCONCERNED && fate != APPLIED && m->waiting &&
            m->n_waiting < WAITING_SHOWN_MAX && sight_has_instance(&sight, p)) {
            m->waiting[m->n_waiting] = instance_info(p, &moment, &call->arena);
            sight_trim(&sight, p, m->waiting[m->n_waiting++]);
        }
    }
}

static Trimtab__V1__StatusResponse *make_response(struct api_call *call,
                                                  const struct status_wait *w)
{
    Trimtab__V1__StatusResponse *response =
        ARENA_NEW(&call->arena, Trimtab__V1__StatusResponse);

    if (!response)
        return NULL;
    trimtab__v1__status_response__init(response);
    response->revision = w->revision;
    response->stamp = call->hub->roster.stamp;
    response->waiting =
        ARENA_ARRAY(&call->arena, Trimtab__V1__InstanceInfo *, WAITING_SHOWN_MAX);
    count(call, w, response);
    return response;
}

static const Trimtab__V1__StatusRequest *status_request(const struct api_call *call)
{
    return (const Trimtab__V1__StatusRequest *)call->request;
}

static void status_answer(struct api_call *call)
{
    api_answer(call, (ProtobufCMessage *)make_response(call, call->status));
}

/* Whether somebody is still to be heard of; counts without building an answer. */
static bool is_open(struct api_call *call)
{
    const struct status_wait *w = call->status;
    struct moment moment = hub_moment(call->hub);
    struct map_slot *slot;
    size_t at = 0;

    if (moment.complete < w->revision)
        return true; /* E2: nobody is known to be concerned or not */
    while ((slot = map_each(&call->hub->roster.instances, &at))) {
        const struct presence *p = ((struct instance *)slot->value)->presence;
        enum fate fate = fate_of(w, p, call->hub->state, &moment);

        if (fate == PENDING || fate == UNPROVEN)
            return true;
    }
    return false;
}

static bool status_check(struct waiter *waiter)
{
    struct api_call *call = CONTAINER_OF(waiter, struct api_call, waiter);
    uint64_t known = status_request(call)->known;
    bool must_end = call->hub->is_draining;

    if (!must_end && call->hub->state->revision < call->status->revision)
        return false;
    if (!must_end && is_open(call) && (!known || known == call->hub->roster.stamp))
        return false;
    link_remove(&waiter->link);
    status_answer(call);
    return true;
}

static void status_late(struct timer *t, void *ctx)
{
    (void)t;
    status_answer(ctx);
}

/* Nobody can have applied what is not there. */
static void status_read(struct api_call *call, struct store *store)
{
    struct status_wait *w = call->status;
    const Trimtab__V1__Record *record;

    if (w->revision == 0 || w->n_keys)
        return;
    call->result = api_record(call, store, w->revision, &record);
    if (call->result)
        return;
    w->keys = ARENA_ARRAY(&call->arena, struct str, record->n_changes);
    for (size_t i = 0; w->keys && i < record->n_changes; i++)
        if (!api_key(call, record->changes[i]->id, &w->keys[w->n_keys], NULL))
            w->n_keys++;
    for (size_t i = 0; i < record->n_moves; i++)
        w->is_start |= record->moves[i]->kind == TRIMTAB__V1__MOVE__START;
    if (arena_failed(&call->arena))
        call->result = ERR_NOMEM;
}

/* Of every resource that it is about. */
static int may_see_all(struct api_call *call)
{
    const struct status_wait *w = call->status;
    int r = 0;

    for (size_t i = 0; i < w->n_keys && !r; i++)
        r = api_require(call, RIGHT_TO_VIEW, key_name(w->keys[i]).space);
    return r;
}

static void status_finish(struct api_call *call)
{
    uint32_t wait_ms = MIN(status_request(call)->wait_ms, (uint32_t)WAIT_MAX_MS);

    if (call->result) {
        api_read_finish(call);
        return;
    }
    call->result = may_see_all(call);
    if (call->result) {
        api_fail_here(call, call->result);
        return;
    }
    if (!wait_ms || !is_open(call)) {
        status_answer(call);
        return;
    }
    call->waiter.check = status_check;
    hub_wait(call->hub, &call->waiter);
    call->timer.fn = status_late;
    call->timer.ctx = call;
    timer_start(&call->timer, call->hub->loop, wait_ms, 0);
}

/* The resources of the request, instead of those of a commit. */
static int take_resources(struct api_call *call, struct status_wait *w)
{
    const Trimtab__V1__StatusRequest *q = status_request(call);
    int r = 0;

    if (q->n_resources > COMMIT_CHANGES_MAX)
        return err_set(&call->err, ERR_LIMIT, "more than %d resources", COMMIT_CHANGES_MAX);
    w->keys = ARENA_ARRAY(&call->arena, struct str, q->n_resources);
    for (size_t i = 0; w->keys && i < q->n_resources && !r; i++, w->n_keys += r == 0)
        r = api_key(call, q->resources[i], &w->keys[i], &call->err);
    return w->keys ? r : ERR_NOMEM;
}

void api_status(struct api_call *call)
{
    struct status_wait *w = ARENA_NEW(&call->arena, struct status_wait);
    int r;

    if (!w) {
        api_fail_code(call, ERR_NOMEM);
        return;
    }
    w->revision = status_request(call)->revision;
    if (!w->revision)
        w->revision = call->hub->state->revision;
    r = take_resources(call, w);
    if (r) {
        api_fail_here(call, r);
        return;
    }
    call->status = w;
    api_read(call, status_read, status_finish);
}
