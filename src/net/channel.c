/*
 * The channel: keeps a connection to one of several addresses. See grpc_client.h for the states.
 */
#include "net/channel.h"

#include "base/alloc.h"

enum { STEADY_MS = 10000, BACKOFF_DOUBLINGS = 16 };

static void start_round(struct channel *ch);

/* ---- states ---- */

static void set_state(struct channel *ch, enum channel_state state, const struct err *story)
{
    ch->state = state;
    if (!ch->is_closing && ch->opts.on_state)
        ch->opts.on_state(ch, ch->opts.ctx, state, story);
}

/* Full jitter: anything up to the ceiling, so that ten thousand clients of a restarted server do not come at once. */
static uint64_t backoff_ms(struct channel *ch)
{
    uint64_t ceiling = (uint64_t)ch->opts.backoff_min_ms
                       << MIN(ch->n_rounds, (uint32_t)BACKOFF_DOUBLINGS);

    return rng_below(&ch->rng, MIN(ceiling, ch->opts.backoff_max_ms) + 1);
}

static void on_wait_over(struct timer *t, void *ctx)
{
    struct channel *ch = ctx;

    (void)t;
    if (ch->state == CHANNEL_FAILED)
        set_state(ch, CHANNEL_CONNECTING, NULL);
    if (!ch->is_closing)
        start_round(ch);
}

static void drop_current(struct channel *ch, const struct err *story)
{
    struct peer *peer = take(ch->current);

    channel_dial_cancel(ch);
    timer_stop(&ch->limit);
    if (peer)
        peer_close(peer, story);
}

static void try_address(struct channel *ch)
{
    timer_start(&ch->limit, ch->loop, ch->opts.connect_timeout_ms, 0);
    channel_dial(ch);
}

static void start_round(struct channel *ch)
{
    ch->n_tried = 0;
    try_address(ch);
}

static void fail_waiting(struct channel *ch)
{
    LIST_EACH (&ch->waiting, l) {
        struct rpc *rpc = LINK_OF(l, struct rpc, link);

        if (!rpc->wait_for_ready)
            rpc_end(rpc, GRPC_UNAVAILABLE, &ch->story);
    }
}

void channel_dial_failed(struct channel *ch, const struct err *why)
{
    timer_stop(&ch->limit);
    ch->story = *why;
    err_place(&ch->story, "%s", ch->names[ch->at]);
    ch->at = (ch->at + 1) % ch->n_addresses;
    if (++ch->n_tried < ch->n_addresses) {
        try_address(ch);
        return;
    }
    timer_start(&ch->wait, ch->loop, backoff_ms(ch), 0);
    ch->n_rounds++;
    fail_waiting(ch);
    set_state(ch, CHANNEL_FAILED, &ch->story);
}

static void on_limit(struct timer *t, void *ctx)
{
    struct channel *ch = ctx;
    struct err why;

    (void)t;
    err_set(&why, ERR_UNAVAILABLE, "no answer within %u ms", ch->opts.connect_timeout_ms);
    drop_current(ch, &why);
    channel_dial_failed(ch, &why);
}

/* ---- news of connections ---- */

static void send_waiting(struct channel *ch)
{
    while (ch->current && !link_is_alone(&ch->waiting))
        channel_admit(ch, LINK_OF(ch->waiting.next, struct rpc, link));
}

void channel_peer_ready(struct channel *ch, struct peer *peer)
{
    if (peer != ch->current)
        return;
    timer_stop(&ch->limit);
    channel_dial_cancel(ch);
    set_state(ch, CHANNEL_READY, NULL);
    send_waiting(ch);
}

/* The current connection is of no more use for new calls: another one, after a jittered moment. */
static void reconnect(struct channel *ch, bool was_steady, const struct err *story)
{
    if (was_steady)
        ch->n_rounds = 0;
    ch->at = (ch->at + 1) % ch->n_addresses;
    timer_start(&ch->wait, ch->loop, backoff_ms(ch), 0);
    ch->n_rounds++;
    ch->story = *story;
    set_state(ch, CHANNEL_CONNECTING, &ch->story);
}

static bool was_steady(const struct channel *ch, const struct peer *peer)
{
    return peer->ready_since &&
           loop_now(ch->loop) - peer->ready_since >= STEADY_MS * NSEC_PER_MS;
}

void channel_peer_lost(struct channel *ch, struct peer *peer, const struct err *told)
{
    struct err story = *told; /* it may be the channel's own */
    bool steady = was_steady(ch, peer), was_ready = peer->ready_since != 0;

    err_place(&story, "%s", ch->names[ch->at]);
    if (peer != ch->current) {
        peer_close(peer, &story);
        return;
    }
    ch->current = NULL;
    peer_close(peer, &story);
    if (ch->is_closing)
        return;
    if (was_ready)
        reconnect(ch, steady, &story);
    else
        channel_dial_next(ch, &story);
}

void channel_peer_draining(struct channel *ch, struct peer *peer)
{
    struct err story;

    if (peer != ch->current)
        return;
    ch->current = NULL;
    err_set(&story, ERR_UNAVAILABLE, "the server is shutting down");
    err_place(&story, "%s", ch->names[ch->at]);
    reconnect(ch, was_steady(ch, peer), &story);
}

static void on_ping(struct timer *t, void *ctx)
{
    struct channel *ch = ctx;
    nsec_t now = loop_now(ch->loop);

    (void)t;
    LIST_EACH (&ch->peers, l) {
        struct peer *peer = LINK_OF(l, struct peer, in_channel);

        if (peer->ready_since)
            peer_check_ping(peer, now);
    }
}

/* ---- calls ---- */

struct str channel_authority(const struct channel *ch)
{
    if (ch->authority)
        return str_c(ch->authority);
    return ch->addresses[ch->at].path[0] ? STR("localhost") : str_c(ch->names[ch->at]);
}

void channel_admit(struct channel *ch, struct rpc *rpc)
{
    if (ch->state == CHANNEL_READY && ch->current) {
        link_remove(&rpc->link);
        link_before(&ch->active, &rpc->link);
        peer_start(ch->current, rpc);
    } else if (ch->state == CHANNEL_FAILED && !rpc->wait_for_ready) {
        rpc_end(rpc, GRPC_UNAVAILABLE, &ch->story);
    }
}

/* ---- life ---- */

static void on_unused(struct defer *d, void *ctx)
{
    struct channel *ch = ctx;
    void (*closed)(void *) = ch->closed;
    void *closed_ctx = ch->closed_ctx;

    (void)d;
    for (size_t i = 0; ch->names && i < ch->n_addresses; i++)
        (void)mem_free(ch->names[i]);
    (void)mem_free(ch->names);
    (void)mem_free(ch->addresses);
    (void)mem_free(ch->authority);
    (void)mem_free(ch->authorization);
    (void)mem_free(ch->user_agent);
    (void)mem_free(ch);
    if (closed)
        closed(closed_ctx);
}

void channel_unref(struct channel *ch)
{
    if (--ch->refs)
        return;
    ch->again.fn = on_unused;
    loop_defer(ch->loop, &ch->again);
}

static void close_now(struct channel *ch)
{
    struct err story;

    err_set(&story, ERR_CANCELLED, "the channel was closed");
    timer_stop(&ch->wait);
    timer_stop(&ch->ping);
    while (!link_is_alone(&ch->active))
        rpc_end(LINK_OF(ch->active.next, struct rpc, link), GRPC_CANCELLED, &story);
    while (!link_is_alone(&ch->waiting))
        rpc_end(LINK_OF(ch->waiting.next, struct rpc, link), GRPC_CANCELLED, &story);
    drop_current(ch, &story);
    while (!link_is_alone(&ch->peers))
        peer_close(LINK_OF(ch->peers.next, struct peer, in_channel), &story);
    channel_unref(ch);
}

static void on_again(struct defer *d, void *ctx)
{
    struct channel *ch = ctx;
    struct err story;

    (void)d;
    if (ch->is_closing) {
        close_now(ch);
        return;
    }
    if (!ch->must_reconnect)
        return;
    ch->must_reconnect = false;
    err_set(&story, ERR_UNAVAILABLE, "reconnecting");
    drop_current(ch, &story);
    reconnect(ch, true, &story);
}

static void set_default(uint32_t *value, uint32_t by_default)
{
    if (!*value)
        *value = by_default;
}

static void set_defaults(struct channel_opts *o)
{
    set_default(&o->connect_timeout_ms, 5000);
    set_default(&o->backoff_min_ms, 100);
    set_default(&o->backoff_max_ms, 10000);
    set_default(&o->ping_interval_ms, 10000);
    set_default(&o->ping_timeout_ms, 5000);
    set_default(&o->stream_window, 4 * 1024 * 1024);
    set_default(&o->connection_window, 16 * 1024 * 1024);
    set_default(&o->max_frame, 1024 * 1024);
    set_default(&o->write_low, 64 * 1024);
    if (!o->max_message)
        o->max_message = 16 * MIB;
    if (!o->user_agent)
        o->user_agent = "trimtab/" TRIMTAB_VERSION;
}

static int copy_addresses(struct channel *ch, const struct channel_opts *opts, struct err *err)
{
    int r = 0;

    if (!opts->n_addresses)
        return err_set(err, ERR_INVALID, "a channel needs at least one address");
    ch->n_addresses = opts->n_addresses;
    ch->addresses = NEW_ARRAY(struct address, opts->n_addresses);
    ch->names = NEW_ARRAY(char *, opts->n_addresses); /* all NULL */
    if (!ch->addresses || !ch->names)
        return ERR_NOMEM;
    for (size_t i = 0; !r && i < opts->n_addresses; i++) {
        ch->names[i] = mem_dup(opts->addresses[i], strlen(opts->addresses[i]));
        r = ch->names[i] ? address_parse(opts->addresses[i], &ch->addresses[i], err)
                         : ERR_NOMEM;
    }
    return r;
}

static int copy_opts(struct channel *ch, const struct channel_opts *opts, struct err *err)
{
    int r;

    ch->opts = *opts;
    set_defaults(&ch->opts);
    r = copy_addresses(ch, opts, err);
    if (r)
        return r;
    ch->user_agent = mem_dup(ch->opts.user_agent, strlen(ch->opts.user_agent));
    if (opts->authority)
        ch->authority = mem_dup(opts->authority, strlen(opts->authority));
    if (!ch->user_agent || (opts->authority && !ch->authority))
        return ERR_NOMEM;
    return channel_set_token(ch, opts->token);
}

static void init_members(struct channel *ch, struct loop *loop, const struct channel_opts *opts)
{
    ch->loop = loop;
    ch->tls = opts->tls;
    ch->rng = (struct rng){opts->seed};
    ch->refs = 1;
    link_init(&ch->peers);
    link_init(&ch->waiting);
    link_init(&ch->active);
    link_init(&ch->ending);
    ch->wait = (struct timer){.fn = on_wait_over, .ctx = ch};
    ch->limit = (struct timer){.fn = on_limit, .ctx = ch};
    ch->ping = (struct timer){.fn = on_ping, .ctx = ch};
    ch->again = (struct defer){.fn = on_again, .ctx = ch};
    ch->settle = (struct defer){.fn = rpcs_settle, .ctx = ch};
}

int channel_open(struct loop *loop, const struct channel_opts *opts,
                 struct channel **ret_channel, struct err *err)
{
    struct channel *ch = NEW(struct channel);
    uint32_t ping_ms;
    int r;

    if (!ch)
        return err_set(err, ERR_NOMEM, "no memory for a channel");
    init_members(ch, loop, opts);
    r = copy_opts(ch, opts, err);
    if (r) {
        if (r == ERR_NOMEM)
            err_set(err, r, "no memory for a channel");
        on_unused(NULL, ch);
        return r;
    }
    if (ch->opts.ping_interval_ms != UINT32_MAX) {
        ping_ms =
            MAX(MIN(ch->opts.ping_interval_ms, ch->opts.ping_timeout_ms) / 2, (uint32_t)10);
        timer_start(&ch->ping, loop, ping_ms, ping_ms);
    }
    timer_start(&ch->wait, loop, 0, 0);
    *ret_channel = ch;
    return 0;
}

void channel_close(struct channel *ch, void (*done)(void *ctx), void *ctx)
{
    ch->closed = done;
    ch->closed_ctx = ctx;
    ch->is_closing = true;
    loop_defer(ch->loop, &ch->again);
}

enum channel_state channel_state(const struct channel *ch)
{
    return ch->state;
}

const char *channel_address(const struct channel *ch)
{
    return ch->names[ch->at];
}

int channel_set_token(struct channel *ch, const char *token)
{
    static const char scheme[] = "Bearer ";
    size_t len = token ? strlen(token) : 0;
    char *value = NULL;

    if (token) {
        value = mem_alloc(size_add(len, sizeof(scheme)));
        if (!value)
            return ERR_NOMEM;
        memcpy(value, scheme, sizeof(scheme) - 1);
        memcpy(value + sizeof(scheme) - 1, token, len + 1);
    }
    (void)mem_free(ch->authorization);
    ch->authorization = value;
    return 0;
}

void channel_kick(struct channel *ch)
{
    if (timer_is_running(&ch->wait))
        timer_start(&ch->wait, ch->loop, 0, 0);
}

void channel_reconnect(struct channel *ch)
{
    ch->must_reconnect = true;
    loop_defer(ch->loop, &ch->again);
}
