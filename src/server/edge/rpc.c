/*
 * The gRPC front end. See rpc.h.
 */
#include "server/edge/rpc.h"

#include "proto/convert.h"
#include "proto/inbound.h"
#include "server/edge/backup.h"
#include "server/edge/denial.h"
#include "server/edge/events_stream.h"
#include "server/edge/rpc_health.h"
#include "server/edge/rpc_reflection.h"
#include "server/edge/subscribe_grpc.h"
#include "server/use/methods.h"

enum { REQUEST_MAX = 72 << 20, METHODS_MAX = 40, PATH_MAX_BYTES = 64 };

static void rpc_done(void *ctx, struct api_call *api)
{
    struct grpc_call *call = ctx;
    struct front *front = grpc_call_service(call);
    struct shared *packed = api->err.code ? NULL : api_packed(api);
    struct segment s;

    if (!packed) {
        if (!api->err.code)
            (void)err_set(&api->err, ERR_NOMEM, "out of memory");
        denial_fail_call(front->lane, call, &api->err);
        return;
    }
    s = segment_shared(packed);
    grpc_reply(call, &s, 1);
}

static int start(struct front *front, struct grpc_call *call, const struct api_method *method,
                 struct str bytes, struct err *err)
{
    struct api_call *api = api_call_new(front->desk, front->lane->loop, method);
    struct exchange *x = grpc_exchange(call);
    ProtobufCMessage *request = NULL;
    int r = api ? lane_authorize(front->lane, x, method->right, &api->who, err) : ERR_NOMEM;

    if (!r)
        r = inbound_unpack(method->request, bytes, &api->arena, &request, err);
    if (r) {
        if (api)
            api_call_free(api);
        return r;
    }
    (void)snprintf(api->origin, sizeof(api->origin), "grpc %.*s", STR_ARG(exchange_peer(x)));
    api->request = request;
    api->done = rpc_done;
    api->ctx = call;
    api_run(api);
    return 0;
}

static void on_call(struct grpc_call *call, void *service_ctx, struct str message)
{
    struct front *front = service_ctx;
    struct err err = ERR_NULL;
    int r;

    front->n_rpc++;
    r = start(front, call, grpc_call_method(call)->ctx, message, &err);
    if (r) {
        if (!err.code)
            (void)err_set(&err, r, "out of memory");
        denial_fail_call(front->lane, call, &err);
    }
}

static int admit(void *ctx, const struct grpc_method *method, const struct exchange *x,
                 struct err *err)
{
    const struct api_method *api = method->ctx;
    struct front *front = ctx;
    struct identity who;

    int r = api ? lane_authorize(front->lane, x, api->right, &who, err) : 0;

    if (r)
        denial_note(front->lane, x, err);
    return r;
}

void rpc_init(struct front *front)
{
    static struct grpc_method methods[METHODS_MAX];
    static char paths[METHODS_MAX][PATH_MAX_BYTES];
    size_t n = 0;

    for (; n < api_methods_n; n++) {
        (void)snprintf(paths[n], PATH_MAX_BYTES, "/trimtab.v1.Admin/%s", api_methods[n].name);
        methods[n] = (struct grpc_method){.path = paths[n],
                                          .kind = GRPC_UNARY,
                                          .on_call = on_call,
                                          .ctx = &api_methods[n],
                                          .max_message = REQUEST_MAX};
    }
    methods[n++] = (struct grpc_method){
        .path = "/trimtab.v1.Sync/Subscribe", .kind = GRPC_STREAM, .on_call = subscribe_grpc};
    methods[n++] = (struct grpc_method){
        .path = "/trimtab.v1.Admin/Events", .kind = GRPC_STREAM, .on_call = events_on_call};
    methods[n++] = (struct grpc_method){
        .path = "/trimtab.v1.Admin/Backup", .kind = GRPC_STREAM, .on_call = backup_on_call};
    methods[n++] = (struct grpc_method){
        .path = RPC_HEALTH_CHECK, .kind = GRPC_UNARY, .on_call = rpc_health_check};
    methods[n++] = (struct grpc_method){
        .path = RPC_HEALTH_WATCH, .kind = GRPC_STREAM, .on_call = rpc_health_watch};
    methods[n++] = (struct grpc_method){
        .path = RPC_REFLECTION_V1, .kind = GRPC_STREAM, .on_call = rpc_reflection};
    methods[n++] = (struct grpc_method){
        .path = RPC_REFLECTION_V1ALPHA, .kind = GRPC_STREAM, .on_call = rpc_reflection};
    ASSERT(n <= METHODS_MAX);
    front->service = (struct grpc_service){.methods = methods, .n = n, .ctx = front, .admit = admit};
}
