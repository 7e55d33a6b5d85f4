/*
 * The link. See link.h. Whatever goes wrong inside a call of the core (no memory to send, a server that asks to leave)
 * is put off to the end of the turn, so that the core never sees its link vanish while it speaks.
 */
#include "sync/link.h"

#include "proto/convert.h"

enum {
    BACKOFF_MIN_MS = 200,
    BACKOFF_MAX_MS = 20000,
    BACKOFF_DOUBLINGS = 16,
    TICK_MS = 500,
    LASTED_S = 10,
    SPREAD_MAX_MS = 300000
};

struct sync_link {
    struct sync_link_opts opts;
    struct channel *channel;
    struct rpc *rpc; /* NULL: no stream */
    struct timer tick, wait;
    struct defer broken;
    struct err story;   /* why it is to be broken */
    uint32_t wait_ms;   /* at least this long before the next stream */
    uint32_t spread_ms; /* and a random part of this, as a server that goes away wishes */
    bool leaves;        /* also drops the connection, to start with the next address */
    bool is_told_up;
    nsec_t since;
    uint32_t n_failures;
    uint64_t n_streams;
    struct rng rng;
};

static const char method[] = "/trimtab.v1.Sync/Subscribe";

static void tell(struct sync_link *l, enum sync_link_state state, const struct err *story)
{
    if (l->opts.on_state)
        l->opts.on_state(l->opts.ctx, state, channel_address(l->channel), story);
}

/* ---- going down ---- */

static uint64_t jitter_ms(struct sync_link *l)
{
    uint64_t ceiling = (uint64_t)l->opts.backoff_min_ms
                       << MIN(l->n_failures, (uint32_t)BACKOFF_DOUBLINGS);

    return rng_below(&l->rng, MIN(ceiling, l->opts.backoff_max_ms) + 1);
}

static void wait_then_stream(struct sync_link *l, uint64_t at_least_ms)
{
    timer_start(&l->wait, l->opts.loop, at_least_ms + jitter_ms(l), 0);
}

/* The stream is gone already. */
static void went_down(struct sync_link *l, const struct err *story)
{
    bool lasted = loop_now(l->opts.loop) > l->since + LASTED_S * NSEC_PER_S;

    l->n_failures = lasted ? 0 : l->n_failures + 1;
    sync_link_down(l->opts.sync);
    tell(l, SYNC_LINK_DOWN, story);
    wait_then_stream(l, l->wait_ms + rng_below(&l->rng, (uint64_t)l->spread_ms + 1));
    l->wait_ms = 0;
    l->spread_ms = 0;
    if (l->leaves)
        channel_reconnect(l->channel);
    l->leaves = false;
}

static void run_broken(struct defer *d, void *ctx)
{
    struct sync_link *l = ctx;

    (void)d;
    if (!l->rpc)
        return;
    rpc_detach(take(l->rpc));
    went_down(l, &l->story);
}

/* Breaks the stream at the end of the turn; the first reason is kept. */
static void break_soon(struct sync_link *l, const struct err *story)
{
    if (!l->story.code)
        l->story = *story;
    loop_defer(l->opts.loop, &l->broken);
}

/* ---- the stream ---- */

static void on_message(struct rpc *rpc, void *ctx, struct str message)
{
    struct sync_link *l = ctx;
    struct err err = ERR_NULL;
    Trimtab__V1__ServerFrame *frame;

    (void)rpc;
    if (l->story.code) /* it is to be broken: nothing more is taken */
        return;
    frame = trimtab__v1__server_frame__unpack(&proto_allocator, message.len,
                                              (const uint8_t *)message.data);
    if (frame && frame->go_away)
        l->spread_ms = MIN(frame->go_away->spread_ms, (uint32_t)SPREAD_MAX_MS);
    if (!frame)
        (void)err_set(&err, ERR_INVALID, "the server sent something that is no frame");
    else if (sync_frame(l->opts.sync, frame, loop_now(l->opts.loop), &err) && !err.code)
        (void)err_set(&err, ERR_NOMEM, "out of memory");
    if (frame)
        trimtab__v1__server_frame__free_unpacked(frame, &proto_allocator);
    if (err.code) {
        l->leaves = true;
        break_soon(l, &err);
    }
}

static void on_close(struct rpc *rpc, void *ctx, int status, const struct err *err)
{
    struct sync_link *l = ctx;
    struct err ended = ERR_NULL;

    (void)rpc;
    l->rpc = NULL;
    defer_cancel(&l->broken);
    l->leaves |= l->opts.channel.n_addresses > 1 && channel_state(l->channel) == CHANNEL_READY;
    if (status == GRPC_OK)
        (void)err_set(&ended, ERR_UNAVAILABLE, "the server ended the stream");
    went_down(l, l->story.code ? &l->story : status == GRPC_OK ? &ended : err);
    l->story = ERR_NULL;
}

static void open_stream(struct sync_link *l)
{
    static const struct rpc_ops ops = {.on_message = on_message, .on_close = on_close};
    struct rpc_opts opts = {.method = method, .wait_for_ready = true};

    if (l->rpc || channel_state(l->channel) != CHANNEL_READY)
        return;
    l->story = ERR_NULL;
    l->since = loop_now(l->opts.loop);
    if (channel_stream(l->channel, &opts, &ops, l, &l->rpc)) {
        l->rpc = NULL;
        l->n_failures++;
        wait_then_stream(l, 0);
        return;
    }
    l->n_streams++;
    sync_link_up(l->opts.sync, loop_now(l->opts.loop));
    tell(l, SYNC_LINK_UP, NULL);
}

static void on_wait_over(struct timer *t, void *ctx)
{
    (void)t;
    open_stream(ctx);
}

static void on_channel(struct channel *ch, void *ctx, enum channel_state state,
                       const struct err *story)
{
    struct sync_link *l = ctx;

    (void)ch;
    if (state == CHANNEL_READY && !timer_is_running(&l->wait))
        open_stream(l); /* else the wait ends in it */
    else if (state == CHANNEL_FAILED)
        tell(l, SYNC_LINK_DOWN, story);
}

static void on_tick(struct timer *t, void *ctx)
{
    struct sync_link *l = ctx;
    struct err err = ERR_NULL;

    (void)t;
    if (!l->rpc || sync_tick(l->opts.sync, loop_now(l->opts.loop)))
        return;
    (void)err_set(&err, ERR_TIMEOUT, "the server has been silent for too long");
    l->leaves = true;
    break_soon(l, &err);
}

/* ---- what others call ---- */

int sync_link_open(const struct sync_link_opts *opts, struct sync_link **ret_link,
                   struct err *err)
{
    struct sync_link *l = NEW(struct sync_link);
    int r;

    if (!l)
        return err_set(err, ERR_NOMEM, "out of memory");
    l->opts = *opts;
    l->opts.channel.on_state = on_channel;
    l->opts.channel.ctx = l;
    l->opts.backoff_min_ms = opts->backoff_min_ms ? opts->backoff_min_ms : BACKOFF_MIN_MS;
    l->opts.backoff_max_ms = opts->backoff_max_ms ? opts->backoff_max_ms : BACKOFF_MAX_MS;
    l->rng.state = opts->channel.seed ^ UINT64_C(0x6c696e6b);
    l->tick = (struct timer){.fn = on_tick, .ctx = l};
    l->wait = (struct timer){.fn = on_wait_over, .ctx = l};
    l->broken = (struct defer){.fn = run_broken, .ctx = l};
    r = channel_open(opts->loop, &l->opts.channel, &l->channel, err);
    if (r) {
        (void)mem_free(l);
        return r;
    }
    timer_start(&l->tick, opts->loop, TICK_MS, TICK_MS);
    *ret_link = l;
    return 0;
}

void sync_link_close(struct sync_link *l, void (*done)(void *ctx), void *ctx)
{
    timer_stop(&l->tick);
    timer_stop(&l->wait);
    defer_cancel(&l->broken);
    if (l->rpc)
        rpc_detach(take(l->rpc));
    sync_link_down(l->opts.sync);
    channel_close(l->channel, done, ctx);
    (void)mem_free(l);
}

void sync_link_send(struct sync_link *l, const Trimtab__V1__ClientFrame *frame)
{
    struct shared *bytes;
    struct err err = ERR_NULL;
    struct segment segment;

    if (!l->rpc)
        return;
    bytes = proto_pack(&frame->base, 0);
    segment = segment_shared(bytes);
    if (bytes && rpc_send(l->rpc, &segment, 1) != ERR_NOMEM) {
        (void)shared_unref(bytes);
        return; /* a stream that has ended says so by on_close */
    }
    (void)shared_unref(bytes);
    (void)err_set(&err, ERR_NOMEM, "out of memory");
    break_soon(l, &err);
}

void sync_link_reconnect(struct sync_link *l, uint32_t after_ms, const char *reason)
{
    struct err err = ERR_NULL;

    (void)err_set(&err, ERR_UNAVAILABLE, "%s",
                  reason && *reason ? reason : "the link is to be made anew");
    l->wait_ms = MIN(after_ms, (uint32_t)SPREAD_MAX_MS);
    l->leaves = true;
    break_soon(l, &err);
}

int sync_link_set_token(struct sync_link *l, const char *token)
{
    return channel_set_token(l->channel, token);
}

void sync_link_kick(struct sync_link *l)
{
    l->n_failures = 0;
    channel_kick(l->channel);
    if (timer_is_running(&l->wait)) {
        timer_stop(&l->wait);
        open_stream(l);
    }
}

bool sync_link_is_up(const struct sync_link *l)
{
    return l->rpc != NULL;
}

const char *sync_link_address(const struct sync_link *l)
{
    return channel_address(l->channel);
}

uint64_t sync_link_streams(const struct sync_link *l)
{
    return l->n_streams;
}
