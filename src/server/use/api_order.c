/*
 * Orders to instances: giving them, and what became of them. Who asks that unchanged content be published again gives one
 * too, to those that refuse it.
 */
#include "server/use/api.h"

#include "model/needs.h"
#include "server/use/committing.h"
#include "server/use/methods.h"

#include "server/use/order_view.h"

enum { ORDERS_DEFAULT = 20, SHOWN_MAX = 100 };

/* ---- what became of one ---- */

static void count(struct hub *hub, const struct order *o, Trimtab__V1__OrderInfo *m)
{
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&hub->roster.instances, &at))) {
        const struct presence *p = ((struct instance *)slot->value)->presence;

        if (!presence_has_order(p, o))
            continue;
        m->targets++;
        if (p->standing.takes_orders && !presence_owes_order(p, o))
            m->done++;
        else if (!p->is_connected)
            m->offline++;
        else if (p->standing.takes_orders)
            m->pending++;
        else
            m->unable++;
    }
}

static Trimtab__V1__OrderInfo *order_info(struct api_call *call, const struct order *o)
{
    const struct order_request *q = &o->what;
    Trimtab__V1__OrderInfo *m = ARENA_NEW(&call->arena, Trimtab__V1__OrderInfo);
    char time[WALL_TEXT_MAX];

    if (!m)
        return NULL;
    trimtab__v1__order_info__init(m);
    wall_format(q->time_ms, time);
    m->revision = o->node.revision;
    m->kind = arena_c(&call->arena, str_c(order_kind_name(q->kind)));
    m->n_instances = MIN(q->n_instances, (size_t)SHOWN_MAX);
    m->instances = texts_to_proto(q->instances, m->n_instances, &call->arena);
    m->n_resources = MIN(q->n_resources, (size_t)SHOWN_MAX);
    m->resources = texts_to_proto(q->resources, m->n_resources, &call->arena);
    m->author = arena_c(&call->arena, q->author);
    m->time = arena_c(&call->arena, str_c(time));
    m->reason = arena_c(&call->arena, q->reason);
    count(call->hub, o, m);
    return arena_failed(&call->arena) ? NULL : m;
}

/* ---- giving one ---- */

static void order_answer(struct api_call *call)
{
    const struct commit_job *job = &call->commit;
    const struct state *state = job->is_dry_run ? job->after : call->hub->state;
    uint64_t revision = job->is_dry_run ? job->commit.order->revision : job->revision;
    const struct order *o = state_order(state, revision);
    Trimtab__V1__OrderResponse *m = ARENA_NEW(&call->arena, Trimtab__V1__OrderResponse);

    if (m) {
        trimtab__v1__order_response__init(m);
        m->revision = job->is_dry_run ? 0 : job->revision;
        m->dry_run = job->is_dry_run;
        m->order = o ? order_info(call, o) : NULL;
        if (o && m->order && job->is_dry_run)
            m->order->revision = 0;
    }
    api_answer(call, m && (!o || m->order) ? &m->base : NULL);
}

static int make_order(struct api_call *call, const Trimtab__V1__OrderRequest *q)
{
    struct order_request *order = ARENA_NEW(&call->arena, struct order_request);

    if (!order)
        return ERR_NOMEM;
    *order = (struct order_request){
        .instances = texts_from_proto(q->instances, q->n_instances, &call->arena),
        .n_instances = q->n_instances,
        .resources = texts_from_proto(q->resources, q->n_resources, &call->arena),
        .n_resources = q->n_resources,
        .reason = str_c(q->reason)};
    if (!order_kind_from_name(str_c(q->kind), &order->kind)) {
        (void)err_set(&call->err, ERR_INVALID, "there is no order \"%.100s\"", q->kind);
        err_place(&call->err, "kind");
        err_hint(&call->err, "retry, release, pause or resume");
        return ERR_INVALID;
    }
    call->commit.commit.order = order;
    return arena_failed(&call->arena) ? ERR_NOMEM : 0;
}

void api_order(struct api_call *call)
{
    const Trimtab__V1__OrderRequest *q = (const Trimtab__V1__OrderRequest *)call->request;
    int r = make_order(call, q);

    if (r) {
        api_fail_here(call, r);
        return;
    }
    call->commit.is_dry_run = q->dry_run;
    api_describe(call, q->reason, q->request_id, "order");
    api_submit(call, order_answer);
}

/* ---- looking ---- */

/* Who sees all resources that it names; one that names none is about everything. */
static bool is_seen(const struct sight *sight, const struct order *o)
{
    for (size_t i = 0; i < o->what.n_resources && !sight->is_all; i++)
        if (!sight_has_id(sight, o->what.resources[i].data))
            return false;
    return sight->is_all || o->what.n_resources;
}

/* Newest first: the revisions of those that are kept, but for the switch of the fleet. */
static const struct order **newest_orders(struct api_call *call, size_t *ret_n)
{
    const struct state *s = call->hub->state;
    const struct order **list = ARENA_ARRAY(&call->arena, const struct order *, s->n_orders);
    struct tree_walk walk;
    struct sight sight = api_sight(call);
    const struct order *o;
    size_t n = 0;

    tree_walk_from(&walk, s->orders, STR(""), 0);
    while (list && (o = order_of(tree_walk_next(&walk))))
        if (!order_is_of_fleet(o->what.kind) && is_seen(&sight, o))
            list[s->n_orders - 1 - n++] = o;
    *ret_n = n;
    return list;
}

static int put_orders(struct api_call *call, const Trimtab__V1__OrdersRequest *q,
                      Trimtab__V1__OrdersResponse *m)
{
    size_t limit = q->limit ? q->limit : ORDERS_DEFAULT, n;
    const struct order **list = newest_orders(call, &n);

    m->orders = ARENA_ARRAY(&call->arena, Trimtab__V1__OrderInfo *, MIN(limit, n));
    for (size_t i = 0; list && m->orders && i < n && m->n_orders < limit; i++) {
        if (q->revision && list[i]->node.revision != q->revision)
            continue;
        m->orders[m->n_orders] = order_info(call, list[i]);
        if (!m->orders[m->n_orders++])
            return ERR_NOMEM;
    }
    return arena_failed(&call->arena) ? ERR_NOMEM : 0;
}

void api_orders(struct api_call *call)
{
    const Trimtab__V1__OrdersRequest *q = (const Trimtab__V1__OrdersRequest *)call->request;
    Trimtab__V1__OrdersResponse *m = ARENA_NEW(&call->arena, Trimtab__V1__OrdersResponse);
    const struct order *fleet = state_fleet(call->hub->state);

    if (!m) {
        api_fail_code(call, ERR_NOMEM);
        return;
    }
    trimtab__v1__orders_response__init(m);
    m->paused = state_is_paused(call->hub->state);
    if (fleet)
        m->fleet = order_info(call, fleet);
    api_answer(call, put_orders(call, q, m) ? NULL : &m->base);
}

/* ---- published again ---- */

/* A content as stable has it, by the hash of its item. */
struct again {
    struct map wanted; /* hash of the item -> its change */
    struct str *instances, *resources;
    size_t n_instances, n_resources;
    bool is_too_many; /* instances: the order is for all that have the resources */
};

static int add_wanted(struct api_call *call, struct again *g)
{
    struct commit *c = &call->commit.commit;

    for (size_t i = 0; i < c->n; i++) {
        struct str key;
        const struct version *v;

        if (c->changes[i].delete ||
            api_key(call, (char *)(uintptr_t)arena_c(&call->arena, c->changes[i].id), &key,
                    NULL))
            continue;
        v = state_find(call->hub->state, key);
        if (v && change_gives(&c->changes[i], v) &&
            !map_put(&g->wanted, str_of(v->item_hash.bytes, SHA256_BYTES), &c->changes[i],
                     NULL))
            return ERR_NOMEM;
    }
    return arena_failed(&call->arena) ? ERR_NOMEM : 0;
}

/* Adds what an instance refuses of it. Each resource is named once: its change leaves the map of what is wanted. */
static void look_at(struct again *g, const struct presence *p)
{
    Trimtab__V1__Refusal **list;
    bool any = false;
    size_t n;

    list = presence_exceptions(p, &n);
    for (size_t i = 0; i < n; i++) {
        const struct change *c = map_get(&g->wanted, proto_str(list[i]->hash));

        if (!c)
            continue;
        any = true;
        for (size_t k = 0; c && k < g->n_resources; k++)
            if (str_eq(g->resources[k], c->id))
                c = NULL;
        if (c && g->n_resources < ORDER_RESOURCES_MAX)
            g->resources[g->n_resources++] = c->id;
    }
    if (any && g->n_instances < ORDER_INSTANCES_MAX)
        g->instances[g->n_instances++] = str_c(presence_id(p));
    else
        g->is_too_many |= any;
}

static int make_again(struct api_call *call, const struct again *g)
{
    struct commit *c = &call->commit.commit;
    struct order_request *order = ARENA_NEW(&call->arena, struct order_request);

    if (!order)
        return ERR_NOMEM;
    *order = (struct order_request){.kind = ORDER_RETRY,
                                    .resources = g->resources,
                                    .n_resources = g->n_resources,
                                    .reason = c->message};
    if (!g->is_too_many) {
        order->n_instances = g->n_instances;
        order->instances = g->instances;
    }
    for (size_t i = 0; i < order->n_instances; i++) /* records change while it is committed */
        g->instances[i] = arena_str(&call->arena, g->instances[i]);
    c->order = order;
    return arena_failed(&call->arena) ? ERR_NOMEM : 0;
}

static bool may_retry(const struct api_call *call)
{
    const struct order_request *order = call->commit.commit.order;
    struct needs needs;
    bool may;

    if (!order)
        return true;
    may = !needs_of_order(order, &needs) &&
          !needs_check(&needs, call->hub->state->rights, &call->principal, NULL);
    needs_deinit(&needs);
    return may;
}

int order_again(struct api_call *call)
{
    struct again g = {.wanted = MAP_NULL};
    struct map_slot *slot;
    size_t at = 0;
    int r = add_wanted(call, &g);

    g.instances = ARENA_ARRAY(&call->arena, struct str, ORDER_INSTANCES_MAX);
    g.resources = ARENA_ARRAY(&call->arena, struct str, ORDER_RESOURCES_MAX);
    if (!g.instances || !g.resources)
        r = ERR_NOMEM;
    while (!r && g.wanted.n && (slot = map_each(&call->hub->roster.instances, &at))) {
        const struct presence *p = ((struct instance *)slot->value)->presence;

        if (p->standing.report)
            look_at(&g, p);
    }
    if (!r && g.n_instances)
        r = make_again(call, &g);
    if (!r &&
        !may_retry(call)) /* what he publishes is there already, and that is all he may do */
        call->commit.commit.order = NULL;
    map_deinit(&g.wanted);
    return r;
}
