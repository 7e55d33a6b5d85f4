/*
 * grpc.reflection.v1.ServerReflection, and v1alpha: which gRPC services there are and what describes them. It tells what the
 * .proto files tell and needs no token.
 */
#ifndef TRIMTAB_SERVER_EDGE_RPC_REFLECTION_H
#define TRIMTAB_SERVER_EDGE_RPC_REFLECTION_H

#include "net/grpc.h"

#define RPC_REFLECTION_V1      "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
#define RPC_REFLECTION_V1ALPHA "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

grpc_call_fn rpc_reflection; /* a stream of questions, each with an answer */

#endif
