/*
 * What every instance really runs, and what became of a commit among them.
 */
#include "server/api.h"

#include "proto/convert.h"

enum { WAITING_SHOWN_MAX = 100, WAIT_MAX_MS = 60000 };

/* ---- instances ---- */

/* resource: parsed, when the request has one. */
static bool is_asked_for(const Trimtab__V1__InstancesRequest *q, const struct name *resource,
                         const struct instance *i)
{
    struct str prefix = str_c(q->prefix);

    if ((q->connected_only || resource) && !i->session)
        return false;
    if (resource && !feed_session_wants(i->session, *resource))
        return false;
    return str_starts(str_c(i->id), prefix) ||
           str_starts(str_c(i->hello->instance->host), prefix);
}

static int by_id(const void *a, const void *b)
{
    const Trimtab__V1__InstanceInfo *const *ia = a, *const *ib = b;

    return strcmp((*ia)->instance->id, (*ib)->instance->id);
}

void api_instances(struct api_call *call)
{
    const Trimtab__V1__InstancesRequest *q =
        (const Trimtab__V1__InstancesRequest *)call->request;
    struct registry *registry = &call->app->registry;
    struct arena *a = &call->arena;
    Trimtab__V1__InstancesResponse *response = ARENA_NEW(a, Trimtab__V1__InstancesResponse);
    nsec_t now = clock_now();
    struct map_slot *slot;
    struct name resource;
    struct err err = ERR_NULL;
    size_t at = 0;

    if (!response) {
        api_fail_code(call, ERR_NOMEM);
        return;
    }
    if (*q->resource && name_parse(str_c(q->resource), &resource, &err)) {
        api_fail(call, &err);
        return;
    }
    trimtab__v1__instances_response__init(response);
    response->revision = call->app->state->revision;
    response->instances = ARENA_ARRAY(a, Trimtab__V1__InstanceInfo *, registry->instances.n);
    while (response->instances && (slot = map_each(&registry->instances, &at)))
        if (is_asked_for(q, *q->resource ? &resource : NULL, slot->value))
            response->instances[response->n_instances++] = instance_info(slot->value, now, a);
    if (!arena_failed(a))
        qsort(response->instances, response->n_instances, sizeof(*response->instances), by_id);
    api_answer(call, &response->base);
}

/* ---- status of a commit ---- */

/* What a waiting call has learned of its commit: the names that it changed. */
struct status_wait {
    uint64_t revision;
    struct name *names;
    size_t n_names;
    uint64_t stamp; /* of the registry when it was last looked at */
};

static bool is_concerned(const struct status_wait *w, const struct instance *i)
{
    for (size_t n = 0; n < w->n_names; n++)
        if (feed_session_wants(i->session, w->names[n]))
            return true;
    return false;
}

/* A refusal that it said of an older batch says nothing of this revision yet. */
static bool has_refused(const struct instance *i, uint64_t revision)
{
    return i->report && i->report->n_refused && i->report->revision >= revision;
}

static void count(struct api_call *call, const struct status_wait *w,
                  Trimtab__V1__StatusResponse *response, nsec_t now)
{
    struct registry *registry = &call->app->registry;
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&registry->instances, &at))) {
        struct instance *i = slot->value;

        if (!i->session || !is_concerned(w, i))
            continue;
        response->concerned++;
        if (instance_has_applied(i, w->revision)) {
            response->applied++;
            continue;
        }
        if (has_refused(i, w->revision))
            response->refused++;
        else
            response->pending++;
        if (response->n_waiting < WAITING_SHOWN_MAX && response->waiting)
            response->waiting[response->n_waiting++] = instance_info(i, now, &call->arena);
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
    response->stamp = call->app->registry.stamp;
    response->waiting =
        ARENA_ARRAY(&call->arena, Trimtab__V1__InstanceInfo *, WAITING_SHOWN_MAX);
    count(call, w, response, clock_now());
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
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&call->app->registry.instances, &at))) {
        struct instance *i = slot->value;

        if (i->session && is_concerned(w, i) && !instance_has_applied(i, w->revision) &&
            !has_refused(i, w->revision))
            return true;
    }
    return false;
}

static bool status_check(struct waiter *waiter)
{
    struct api_call *call = CONTAINER_OF(waiter, struct api_call, waiter);
    uint64_t known = status_request(call)->known;
    bool must_end = call->app->is_draining;

    if (!must_end && call->app->state->revision < call->status->revision)
        return false;
    if (!must_end && is_open(call) && (!known || known == call->app->registry.stamp))
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

    if (w->revision == 0)
        return;
    call->result = api_record(call, store, w->revision, &record);
    if (call->result)
        return;
    w->names = ARENA_ARRAY(&call->arena, struct name, record->n_changes);
    for (size_t i = 0; w->names && i < record->n_changes; i++)
        if (!name_parse(str_c(record->changes[i]->id), &w->names[w->n_names], NULL))
            w->n_names++;
}

static void status_finish(struct api_call *call)
{
    uint32_t wait_ms = MIN(status_request(call)->wait_ms, (uint32_t)WAIT_MAX_MS);

    if (call->result) {
        api_read_finish(call);
        return;
    }
    if (!wait_ms || !is_open(call)) {
        status_answer(call);
        return;
    }
    call->waiter.check = status_check;
    app_wait(call->app, &call->waiter);
    call->timer.fn = status_late;
    call->timer.ctx = call;
    timer_start(&call->timer, &call->app->loop, wait_ms, 0);
}

void api_status(struct api_call *call)
{
    struct status_wait *w = ARENA_NEW(&call->arena, struct status_wait);

    if (!w) {
        api_fail_code(call, ERR_NOMEM);
        return;
    }
    w->revision = status_request(call)->revision;
    if (!w->revision)
        w->revision = call->app->state->revision;
    call->status = w;
    api_read(call, status_read, status_finish);
}
