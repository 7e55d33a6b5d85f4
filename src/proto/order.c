/*
 * Orders to instances. See order.h.
 */
#include "proto/order.h"

#include "proto/convert.h"

Trimtab__V1__RecordOrder *order_to_proto(const struct order_request *q, struct arena *a)
{
    Trimtab__V1__RecordOrder *p = ARENA_NEW(a, Trimtab__V1__RecordOrder);

    if (!p)
        return NULL;
    trimtab__v1__record_order__init(p);
    p->kind = (Trimtab__V1__OrderKind)q->kind;
    p->instances = texts_to_proto(q->instances, q->n_instances, a);
    p->n_instances = q->n_instances;
    p->resources = texts_to_proto(q->resources, q->n_resources, a);
    p->n_resources = q->n_resources;
    p->reason = arena_c(a, q->reason);
    return arena_failed(a) ? NULL : p;
}

int order_from_proto(const Trimtab__V1__RecordOrder *p, struct arena *a,
                     struct order_request *ret, struct err *err)
{
    int r;

    if ((int)p->kind < 0 || (int)p->kind >= ORDER_KINDS)
        return err_set(err, ERR_CORRUPT, "an order in the log is of no kind");
    *ret =
        (struct order_request){.kind = (enum order_kind)p->kind,
                               .instances = texts_from_proto(p->instances, p->n_instances, a),
                               .n_instances = p->n_instances,
                               .resources = texts_from_proto(p->resources, p->n_resources, a),
                               .n_resources = p->n_resources,
                               .reason = str_c(p->reason)};
    if (arena_failed(a))
        return ERR_NOMEM;
    r = order_check(ret, err);
    return r ? err_set(err, ERR_CORRUPT, "an order in the log cannot be read") : 0;
}
