/*
 * The routes of REST.
 */
#ifndef TRIMTAB_SERVER_EDGE_REST_ROUTES_H
#define TRIMTAB_SERVER_EDGE_REST_ROUTES_H

#include "net/router.h"
#include "server/edge/front.h"

/* All of them. `right` counts only where no use case says it. */
extern const struct router rest_router;

/* Takes over a request that is not gRPC. */
void rest_handle(struct front *front, struct exchange *x);

#endif
