/*
 * One call from a command line, on a loop of its own. See grpc_client.h.
 */
#include "net/grpc_client.h"

struct wait {
    struct loop *loop;
    struct buf *response;
    struct err *err;
    int r;
    bool is_done;
};

static void on_done(void *ctx, int status, const struct err *err, struct str response)
{
    struct wait *w = ctx;

    if (status != GRPC_OK) {
        w->r = err->code ? err->code : ERR_BUG;
        if (w->err)
            *w->err = *err;
    } else {
        buf_put_str(w->response, response);
        w->r = buf_status(w->response);
        if (w->r)
            err_set(w->err, w->r, "the response is too large");
    }
    w->is_done = true;
}

static void on_channel_closed(void *ctx)
{
    loop_stop(ctx);
}

static int call_on(struct channel *ch, struct wait *w, const struct rpc_opts *call,
                   struct str request)
{
    struct rpc_opts opts = *call;
    int r;

    if (!opts.timeout_ms)
        opts.timeout_ms = 10000;
    r = channel_unary(ch, &opts, request, on_done, w, NULL);
    if (r)
        return err_set(w->err, r, "cannot make the call");
    while (!w->is_done)
        loop_turn(w->loop, LOOP_WAIT);
    return w->r;
}

int channel_call_blocking(const struct channel_opts *opts, const struct rpc_opts *call,
                          struct str request, struct buf *response, struct err *err)
{
    struct channel_opts quiet = *opts;
    struct channel *ch = NULL;
    struct loop loop;
    struct wait wait = {.loop = &loop, .response = response, .err = err};
    int r = loop_open(&loop, err);

    if (r)
        return r;
    quiet.on_state = NULL;
    r = channel_open(&loop, &quiet, &ch, err);
    if (!r) {
        r = call_on(ch, &wait, call, request);
        channel_close(ch, on_channel_closed, &loop);
        loop_run(&loop);
    }
    loop_close(&loop);
    return r;
}
