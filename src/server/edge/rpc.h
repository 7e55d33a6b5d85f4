/*
 * The gRPC front end: the service Admin translated to use cases, and the table of all methods.
 */
#ifndef TRIMTAB_SERVER_EDGE_RPC_H
#define TRIMTAB_SERVER_EDGE_RPC_H

#include "server/edge/front.h"

/* Fills front->service. */
void rpc_init(struct front *front);

#endif
