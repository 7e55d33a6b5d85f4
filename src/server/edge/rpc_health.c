/*
 * grpc.health.v1.Health. See rpc_health.h. Its two messages have a field each and are laid out by hand:
 * HealthCheckRequest { string service = 1; } and HealthCheckResponse { ServingStatus status = 1; }.
 */
#include "server/edge/rpc_health.h"

#include "base/alloc.h"
#include "proto/wire.h"
#include "server/edge/front.h"

enum serving { SERVING = 1, NOT_SERVING = 2, SERVICE_UNKNOWN = 3 };

/* The service that a request names; false: it is no such message. */
static bool read_service(struct str message, struct str *ret)
{
    *ret = STR("");
    if (!message.len)
        return true;
    if (message.len < 2 || message.data[0] != WIRE_TAG(1) ||
        (size_t)(unsigned char)message.data[1] != message.len - 2)
        return false; /* no name of ours has more than 127 bytes */
    *ret = str_from(message, 2);
    return true;
}

static enum serving serving_of(const struct lane *lane, struct str service)
{
    static const struct str known[] = {STR(""), STR("trimtab.v1.Admin"),
                                       STR("trimtab.v1.Sync")};

    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (str_eq(known[i], service))
            return lane->is_draining ? NOT_SERVING : SERVING;
    return SERVICE_UNKNOWN;
}

static struct segment answer(enum serving status)
{
    static const char bytes[][2] = {[SERVING] = {8, SERVING},
                                    [NOT_SERVING] = {8, NOT_SERVING},
                                    [SERVICE_UNKNOWN] = {8, SERVICE_UNKNOWN}};

    return segment_copy(str_of(bytes[status], 2));
}

void rpc_health_check(struct grpc_call *call, void *service_ctx, struct str message)
{
    const struct front *front = service_ctx;
    struct str service;
    enum serving status;
    struct segment s;

    if (!read_service(message, &service)) {
        grpc_fail(call, GRPC_INVALID_ARGUMENT, "this is no HealthCheckRequest");
        return;
    }
    status = serving_of(front->lane, service);
    if (status == SERVICE_UNKNOWN) {
        grpc_fail(call, GRPC_NOT_FOUND, "there is no such service");
        return;
    }
    s = answer(status);
    grpc_reply(call, &s, 1);
}

/* ---- watching ---- */

struct watch {
    struct waiter waiter; /* among those that are looked at when the server drains */
    struct lane *lane;
    struct grpc_call *call;
    char service[64];
    bool is_asked, is_ended;
    enum serving told;
};

static void tell(struct watch *w)
{
    enum serving status = serving_of(w->lane, str_c(w->service));
    struct segment s = answer(status);

    if (!w->is_asked || w->is_ended || status == w->told)
        return;
    w->told = status;
    (void)grpc_send(w->call, &s, 1); /* on_close tells */
}

/* The server drains: that is said, and the stream ends. */
static bool on_change(struct waiter *waiter)
{
    struct watch *w = CONTAINER_OF(waiter, struct watch, waiter);

    tell(w);
    if (!w->lane->is_draining)
        return false;
    link_remove(&w->waiter.link);
    if (!w->is_ended)
        grpc_finish(w->call, GRPC_UNAVAILABLE, "the server is shutting down");
    w->is_ended = true;
    return true;
}

static void on_message(struct grpc_call *call, void *ctx, struct str message)
{
    struct watch *w = ctx;
    struct str service;

    if (w->is_ended || w->is_asked)
        return;
    if (!read_service(message, &service) || service.len >= sizeof(w->service)) {
        w->is_ended = true;
        grpc_finish(call, GRPC_INVALID_ARGUMENT, "this is no HealthCheckRequest");
        return;
    }
    memcpy(w->service, service.data, service.len);
    w->is_asked = true;
    tell(w);
}

static void on_close(struct grpc_call *call, void *ctx, int reason)
{
    struct watch *w = ctx;

    (void)call;
    (void)reason;
    link_remove(&w->waiter.link);
    (void)mem_free(w);
}

void rpc_health_watch(struct grpc_call *call, void *service_ctx, struct str message)
{
    static const struct grpc_ops ops = {.on_message = on_message, .on_close = on_close};
    const struct front *front = service_ctx;
    struct watch *w = NEW(struct watch);

    (void)message;
    if (!w) {
        grpc_fail(call, GRPC_RESOURCE_EXHAUSTED, "out of memory");
        return;
    }
    w->lane = front->lane;
    w->call = call;
    w->waiter.check = on_change;
    link_init(&w->waiter.link);
    grpc_set_ops(call, &ops, w);
    lane_wait(w->lane, &w->waiter);
}
