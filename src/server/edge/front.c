/*
 * The front end of a lane. See front.h.
 */
#include "server/edge/front.h"

#include "server/edge/denial.h"
#include "server/edge/rest_routes.h"
#include "server/edge/rpc.h"

void front_init(struct front *front, struct lane *lane, const struct desk *desk,
                struct events *events, struct fronts *all)
{
    *front = (struct front){.lane = lane, .desk = desk, .all = all};
    all->at[all->n++] = front;
    listeners_init(&front->listeners, events, lane->hub, lane->loop);
    link_init(&front->http_sessions);
    rpc_init(front);
}

void front_deinit(struct front *front)
{
    front->openapi = shared_unref(front->openapi);
    map_deinit(&front->pollers);
}

void front_tick(struct front *front)
{
    listeners_tick(&front->listeners);
    denial_tick(front->lane);
}

void front_drain(struct front *front)
{
    listeners_drain(&front->listeners, "the server is shutting down");
}

void front_review(struct front *front)
{
    listeners_review(&front->listeners);
}

void front_on_request(void *ctx, struct exchange *x)
{
    struct front *front = ctx;

    if (grpc_wants(&front->service, x))
        grpc_handle(&front->service, x);
    else
        rest_handle(front, x);
}
