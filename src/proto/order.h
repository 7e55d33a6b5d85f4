/*
 * Orders to instances between the model and the wire.
 */
#ifndef TRIMTAB_PROTO_ORDER_H
#define TRIMTAB_PROTO_ORDER_H

#include "base/arena.h"
#include "model/order.h"

#include <trimtab/v1/record.pb-c.h>

/* What is asked for, on the arena; NULL when that failed. */
Trimtab__V1__RecordOrder *order_to_proto(const struct order_request *q, struct arena *a);

/* Borrows texts from the message, with lists on the arena. ERR_CORRUPT when it makes no sense, ERR_NOMEM. */
must_use int order_from_proto(const Trimtab__V1__RecordOrder *p, struct arena *a,
                              struct order_request *ret, struct err *err);

#endif
