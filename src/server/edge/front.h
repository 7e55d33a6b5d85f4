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
#include "server/use/listeners.h"

/* All front ends of the server: for what is counted over all of them. */
struct fronts {
    struct front *at[HUB_LANES_MAX];
    size_t n;
    const struct keeper *keeper; /* on the hub's thread */
};

struct front {
    struct lane *lane;
    const struct desk *desk;
    const struct fronts *all;
    struct listeners listeners; /* to live events */
    struct grpc_service service;
    struct shared *openapi;    /* the document, once it was asked for */
    struct map pollers;        /* instance -> struct poller, of those that have one */
    struct link http_sessions; /* sessions of polls, struct poller.link */
    size_t packing;            /* bytes of answers that workers compress */
    uint64_t n_rest, n_rpc;    /* requests, for metrics */
};

/* Becomes one of all. Before the loops run, as what follows it until front_tick. */
void front_init(struct front *front, struct lane *lane, const struct desk *desk,
                struct events *events, struct fronts *all);
void front_deinit(struct front *front);

/* Time passes: a few times a second. */
void front_tick(struct front *front);
/* No new work, and streams are told to go elsewhere. */
void front_drain(struct front *front);
/* Rights have changed (I11). */
void front_review(struct front *front);

/* Takes over a request; ctx is the front. */
http_request_fn front_on_request;

#endif
