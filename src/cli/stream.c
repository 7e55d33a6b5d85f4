/*
 * Commands that stream: one call of the server that goes on until somebody ends it. See cmd.h.
 */
#include "cli/cmd.h"
#include "net/grpc_client.h"
#include "proto/convert.h"

struct cli_stream {
    struct loop loop;
    struct rpc *rpc;
    const struct stream_opts *opts;
    bool is_stopped; /* what comes from then on is of no interest */
    struct err err;
};

void stream_send(struct cli_stream *s, const ProtobufCMessage *message)
{
    struct shared *packed = proto_pack(message, 0);
    struct segment segment = segment_shared(packed);

    if (packed)
        (void)rpc_send(s->rpc, &segment, 1); /* on_close tells */
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
    if (!s->is_stopped)
        s->opts->on_message(s, s->opts->ctx, message);
}

static void on_close(struct rpc *rpc, void *ctx, int status, const struct err *err)
{
    struct cli_stream *s = ctx;

    (void)rpc;
    (void)status;
    if (s->is_stopped)
        return;
    if (err)
        s->err = *err;
    else
        (void)err_set(&s->err, ERR_UNAVAILABLE, "the server ended the stream");
    loop_stop(&s->loop);
}

static const struct rpc_ops ops = {.on_message = on_message, .on_close = on_close};

static int begin(struct cli_stream *s, struct channel *ch, struct err *err)
{
    struct rpc_opts rpc = {.method = s->opts->method};

    if (channel_stream(ch, &rpc, &ops, s, &s->rpc))
        return err_set(err, ERR_NOMEM, "out of memory");
    stream_send(s, s->opts->first);
    return 0;
}

int stream_run(struct cli *cli, const struct stream_opts *stream, struct err *err)
{
    static struct cli_stream s; /* its loop must not move */
    struct channel_opts opts;
    struct channel *ch = NULL;
    struct tls *tls = NULL;
    int r = channel_of(cli, &opts, &tls, err);

    s.opts = stream;
    if (!r)
        r = loop_open(&s.loop, err);
    if (r)
        return r;
    r = channel_open(&s.loop, &opts, &ch, err);
    if (!r)
        r = begin(&s, ch, err);
    if (!r)
        loop_run(&s.loop);
    if (ch)
        channel_close(ch, NULL, NULL);
    loop_close(&s.loop);
    tls_close(tls);
    if (!r) {
        *err = s.err;
        r = s.err.code;
    }
    return r;
}
