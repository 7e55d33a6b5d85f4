/*
 * Subscriptions by gRPC.
 */
#ifndef TRIMTAB_SERVER_EDGE_SUBSCRIBE_GRPC_H
#define TRIMTAB_SERVER_EDGE_SUBSCRIBE_GRPC_H

#include "server/edge/front.h"

/* The method Subscribe of the service Sync. */
grpc_call_fn subscribe_grpc;

#endif
