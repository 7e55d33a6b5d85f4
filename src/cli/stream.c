/*
 * Commands that stream: one call of the server that goes on until somebody ends it, and may be made again when the
 * server was away. See cmd.h.
 */
#include "cli/cmd.h"
#include "net/grpc_client.h"
#include "proto/convert.h"

struct cli_stream {
    struct loop loop;
    struct channel *channel;
    struct rpc *rpc;
    struct timer again;
    struct cli *cli;
    const struct stream_opts *opts;
    struct outage outage;
    bool has_heard;  /* anything, ever: a server that was never there is not waited for */
    bool is_stopped; /* what comes from then on is of no interest */
    struct err err;
};

void stream_send(struct cli_stream *s, const ProtobufCMessage *message)
{
    struct shared *packed = proto_pack(message, 0);
    struct segment segment = segment_shared(packed);

    if (packed)
        (void)rpc_send(s->rpc, &segment, 1); /* on_close tells */
    else
        rpc_cancel(s->rpc);
    (void)shared_unref(packed);
}

void stream_stop(struct cli_stream *s)
{
    s->is_stopped = true;
    loop_stop(&s->loop);
}

static void on_message(struct rpc *rpc, void *ctx, struct str message)
{
    struct cli_stream *s = ctx;

    (void)rpc;
    if (s->is_stopped)
        return;
    s->has_heard = true;
    outage_over(&s->outage, s->cli);
    s->opts->on_message(s, s->opts->ctx, message);
}

static void on_close(struct rpc *rpc, void *ctx, int status, const struct err *err)
{
    struct cli_stream *s = ctx;

    (void)rpc;
    (void)status;
    s->rpc = NULL;
    if (s->is_stopped)
        return;
    s->err = ERR_NULL;
    if (err)
        s->err = *err;
    else
        (void)err_set(&s->err, ERR_UNAVAILABLE, "the server ended the stream");
    if (s->opts->comes_back && s->has_heard && outage_may_pass(s->err.code))
        timer_start(&s->again, &s->loop, outage_wait_ms(&s->outage, s->cli, &s->err), 0);
    else
        loop_stop(&s->loop);
}

static const struct rpc_ops ops = {.on_message = on_message, .on_close = on_close};

static int begin(struct cli_stream *s)
{
    struct rpc_opts rpc = {.method = s->opts->method};

    channel_kick(s->channel);
    if (channel_stream(s->channel, &rpc, &ops, s, &s->rpc))
        return err_set(&s->err, ERR_NOMEM, "out of memory");
    s->opts->on_begin(s, s->opts->ctx);
    return 0;
}

static void on_again(struct timer *t, void *ctx)
{
    struct cli_stream *s = ctx;

    (void)t;
    if (begin(s))
        loop_stop(&s->loop);
}

int stream_run(struct cli *cli, const struct stream_opts *stream, struct err *err)
{
    static struct cli_stream s; /* its loop must not move */
    struct channel_opts opts;
    struct tls *tls = NULL;
    int r = channel_of(cli, &opts, &tls, err);

    s.opts = stream;
    s.cli = cli;
    s.again = (struct timer){.fn = on_again, .ctx = &s};
    if (!r)
        r = loop_open(&s.loop, err);
    if (r)
        return r;
    r = channel_open(&s.loop, &opts, &s.channel, err);
    if (!r) {
        if (begin(&s) == 0)
            loop_run(&s.loop);
        if (!s.is_stopped)
            *err = s.err;
        r = s.is_stopped ? 0 : s.err.code;
        channel_close(s.channel, NULL, NULL);
    }
    loop_close(&s.loop);
    tls_close(tls);
    return r;
}
