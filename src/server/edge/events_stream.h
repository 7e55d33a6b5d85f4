/*
 * Live events on their way out: as server-sent events, and as a stream of gRPC.
 */
#ifndef TRIMTAB_SERVER_EDGE_EVENTS_STREAM_H
#define TRIMTAB_SERVER_EDGE_EVENTS_STREAM_H

#include "server/edge/rest.h"

/* GET /v1/events?types=commit,rollout&prefix=shop/&rollout=42 */
void events_http(struct rest *r);

/* The method Events of the service Admin. */
grpc_call_fn events_on_call;

#endif
