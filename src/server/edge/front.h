/*
 * The front end of a lane: takes its requests and translates them, as REST or as gRPC, to the use cases and the
 * subscriptions. Belongs to the lane's thread.
 */
#ifndef TRIMTAB_SERVER_EDGE_FRONT_H
#define TRIMTAB_SERVER_EDGE_FRONT_H

#include "base/map.h"
#include "net/grpc.h"
#include "server/hub/keeper.h"
#include "server/lane/lane.h"
#include "server/use/desk.h"

struct front {
    struct lane *lane;
    const struct desk *desk;
    const struct keeper *keeper; /* for metrics */
    struct grpc_service service;
    struct shared *openapi;    /* the document, once it was asked for */
    struct map pollers;        /* instance -> struct poller, of those that have one */
    struct link http_sessions; /* subscriptions over HTTP, struct poller.link */
    struct backup *backup;     /* that is being made or sent; NULL: none */
    uint64_t n_rest, n_rpc;    /* requests, for metrics */
};

void front_init(struct front *front, struct lane *lane, const struct desk *desk,
                const struct keeper *keeper);
void front_deinit(struct front *front);

/* Takes over a request; ctx is the front. */
http_request_fn front_on_request;

#endif
