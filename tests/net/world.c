/*
 * A gRPC server and a channel on one loop. See world.h.
 */
#include "world.h"

#include "net/grpc_frame.h"
#include "tap.h"

/* ---- the service ---- */

static void echo(struct grpc_call *call, void *ctx, struct str message)
{
    struct segment segment = segment_copy(message);

    (void)ctx;
    grpc_reply(call, &segment, 1);
}

static void refuse(struct grpc_call *call, void *ctx, struct str message)
{
    struct err err;

    (void)ctx;
    err_set(&err, ERR_LOCKED, "caf\xc3\xa9 is closed: %.*s", STR_ARG(message));
    err_place(&err, "shop/prod");
    err_hint(&err, "end the rollout first");
    grpc_fail_err(call, &err);
}

static void hold(struct grpc_call *call, void *ctx, struct str message)
{
    (void)message;
    ((struct world *)ctx)->held = call;
}

static void whoami(struct grpc_call *call, void *ctx, struct str message)
{
    struct str token = grpc_metadata(call, "authorization"),
               name = exchange_tls_name(grpc_exchange(call));
    struct segment segments[] = {segment_copy(token), segment_copy(STR("|")),
                                 segment_copy(name)};

    (void)ctx;
    (void)message;
    grpc_reply(call, segments, ARRAY_LEN(segments));
}

static void on_message(struct grpc_call *call, void *ctx, struct str message)
{
    struct world *w = ctx;
    struct segment segment = segment_copy(message);

    w->n_server_messages++;
    w->server_bytes += message.len;
    if (grpc_call_method(call)->ctx) /* echoes */
        (void)grpc_send(call, &segment, 1);
}

static void on_half_close(struct grpc_call *call, void *ctx)
{
    ((struct world *)ctx)->n_half_closes++;
    grpc_finish(call, GRPC_OK, NULL);
}

static void push(struct grpc_call *call, void *ctx)
{
    struct world *w = ctx;

    while (w->n_pushed < w->to_push && grpc_queued(call) < 200000) {
        if (grpc_send_framed(call, w->pushed))
            return;
        w->n_pushed++;
    }
}

static void on_close(struct grpc_call *call, void *ctx, int reason)
{
    struct world *w = ctx;

    (void)call;
    w->n_server_closes++;
    w->server_reason = reason;
    w->stream = NULL;
}

static const struct grpc_ops stream_ops = {on_message, on_half_close, push, on_close};

static void open_stream(struct grpc_call *call, void *ctx, struct str message)
{
    (void)message;
    ((struct world *)ctx)->stream = call;
    grpc_set_ops(call, &stream_ops, ctx);
    push(call, ctx);
}

static const struct grpc_method methods[] = {
    {.path = "/test/Echo", .kind = GRPC_UNARY, .on_call = echo, .max_message = 16 * MIB},
    {.path = "/test/Small", .kind = GRPC_UNARY, .on_call = echo, .max_message = 10},
    {.path = "/test/Refuse", .kind = GRPC_UNARY, .on_call = refuse},
    {.path = "/test/Hold", .kind = GRPC_UNARY, .on_call = hold},
    {.path = "/test/WhoAmI", .kind = GRPC_UNARY, .on_call = whoami},
    {.path = "/test/Chat",
     .kind = GRPC_STREAM,
     .on_call = open_stream,
     .ctx = "echo",
     .max_message = 16 * MIB},
    {.path = "/test/Push", .kind = GRPC_STREAM, .on_call = open_stream},
};

const struct grpc_service world_service = {methods, ARRAY_LEN(methods), NULL, 0};

static void on_request(void *ctx, struct exchange *x)
{
    static struct grpc_service service;

    service = world_service;
    service.ctx = ctx;
    if (grpc_wants(&service, x))
        grpc_handle(&service, x);
    else
        (void)exchange_respond_text(x, 200, "text/plain", exchange_path(x));
}

/* ---- the client ---- */

static void on_state(struct channel *ch, void *ctx, enum channel_state state,
                     const struct err *story)
{
    struct world *w = ctx;

    (void)ch;
    w->n_ready += state == CHANNEL_READY;
    w->n_failed += state == CHANNEL_FAILED;
    if (story)
        w->story = *story;
}

void world_done(void *ctx, int status, const struct err *err, struct str response)
{
    struct world *w = ctx;

    w->n_done++;
    w->status = status;
    if (err)
        w->err = *err;
    buf_clear(&w->response);
    buf_put_str(&w->response, response);
}

static void got(struct rpc *rpc, void *ctx, struct str message)
{
    struct world *w = ctx;
    size_t n = MIN(message.len, sizeof(w->last_text));

    (void)rpc;
    w->n_messages++;
    w->message_bytes += message.len;
    if (n)
        memcpy(w->last_text, message.data, n);
    w->last = str_of(w->last_text, n);
}

static void closed(struct rpc *rpc, void *ctx, int status, const struct err *err)
{
    struct world *w = ctx;

    (void)rpc;
    w->n_closes++;
    w->status = status;
    if (err)
        w->err = *err;
}

const struct rpc_ops world_rpc_ops = {.on_message = got, .on_close = closed};

int world_call(struct world *w, const struct rpc_opts *opts, struct str request)
{
    int before = w->n_done;

    if (channel_unary(w->channel, opts, request, world_done, w, NULL))
        return -1;
    WHILE(w, w->n_done == before);
    return w->status;
}

/* ---- life ---- */

bool world_open(struct world *w, struct http_server_opts server, struct channel_opts client)
{
    const char *address;
    struct err err = ERR_NULL;

    memset(w, 0, sizeof(*w));
    w->response = BUF_NULL(64 * MIB);
    if (!server.address)
        server.address = "127.0.0.1:0";
    server.on_request = on_request;
    server.ctx = w;
    if (loop_open(&w->loop, &err) || http_server_open(&w->loop, &server, &w->server, &err)) {
        tap_note("%s", err.text);
        return false;
    }
    address = http_server_address(w->server);
    if (!client.addresses) {
        client.addresses = &address;
        client.n_addresses = 1;
    }
    client.on_state = on_state;
    client.ctx = w;
    if (channel_open(&w->loop, &client, &w->channel, &err)) {
        tap_note("%s", err.text);
        return false;
    }
    return true;
}

static void set_flag(void *ctx)
{
    *(bool *)ctx = true;
}

void world_close(struct world *w)
{
    if (w->channel) {
        channel_close(w->channel, set_flag, &w->is_channel_closed);
        WHILE(w, !w->is_channel_closed);
    }
    if (w->server) {
        http_server_close(w->server, set_flag, &w->is_server_closed);
        WHILE(w, !w->is_server_closed);
    }
    loop_close(&w->loop);
    w->pushed = shared_unref(w->pushed);
    buf_deinit(&w->response);
}
