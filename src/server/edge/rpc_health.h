/*
 * grpc.health.v1.Health, for the probes of Kubernetes, Envoy and HAProxy: the server as a whole ("") and its services by
 * name serve until it drains. It says no more than GET /readyz, and needs no token either.
 */
#ifndef TRIMTAB_SERVER_EDGE_RPC_HEALTH_H
#define TRIMTAB_SERVER_EDGE_RPC_HEALTH_H

#include "net/grpc.h"

#define RPC_HEALTH_CHECK "/grpc.health.v1.Health/Check"
#define RPC_HEALTH_WATCH "/grpc.health.v1.Health/Watch"

grpc_call_fn rpc_health_check; /* unary */
grpc_call_fn rpc_health_watch; /* a stream: now, and when it changes */

#endif
