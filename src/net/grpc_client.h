/*
 * The gRPC client: a channel keeps one HTTP/2 connection to the first of its addresses that answers, and makes a new
 * one when it is lost. Everything belongs to one loop and its thread.
 *
 * Connecting: the addresses are tried in order, round after round; between rounds the channel waits a random time
 * of up to min(backoff_max, backoff_min * 2^n) (full jitter). A connection that stayed up resets n.
 *
 *              +--------------------------------------------------+
 *              v                                                  | after the wait, or channel_kick
 *   open -> CONNECTING ---> READY ---> (lost) ---> CONNECTING     |
 *              +----------> FAILED -------------------------------+
 *
 * Calls: started at any time. While CONNECTING they wait; when a round fails they fail with UNAVAILABLE, unless
 * wait_for_ready. Calls under way when the connection is lost fail with UNAVAILABLE; nothing is retried here.
 */
#ifndef TRIMTAB_NET_GRPC_CLIENT_H
#define TRIMTAB_NET_GRPC_CLIENT_H

#include "base/buf.h"
#include "base/clock.h"
#include "net/grpc.h"

struct channel;
struct rpc;

enum channel_state { CHANNEL_CONNECTING, CHANNEL_READY, CHANNEL_FAILED };

/* A number of 0 means the default, given here. Everything is copied, but for tls. */
struct channel_opts {
    const char *const *addresses; /* "host:port", "[::1]:port", "unix:/path" */
    size_t n_addresses;
    struct tls *tls; /* from tls_client_open; NULL: plain text; must outlive the channel */
    const char *authority;       /* NULL: the address */
    const char *token;           /* sent as "authorization: Bearer ..."; NULL: none */
    const char *user_agent;      /* NULL: "trimtab/<version>" */
    uint64_t seed;               /* of the jitter */
    uint32_t connect_timeout_ms; /* 5 s per address: look-up, TCP, TLS and SETTINGS */
    uint32_t backoff_min_ms;     /* 100 ms */
    uint32_t backoff_max_ms;     /* 10 s */
    uint32_t
        ping_interval_ms; /* 10 s without inbound bytes while calls are open; UINT32_MAX: never */
    uint32_t ping_timeout_ms;   /* 5 s */
    uint32_t stream_window;     /* 4 MiB */
    uint32_t connection_window; /* 16 MiB */
    uint32_t max_frame;         /* 1 MiB */
    uint32_t write_low;         /* 64 KiB */
    size_t max_message;         /* 16 MiB */
    /* story is set with CHANNEL_FAILED (why) and with CHANNEL_CONNECTING after a loss. Never runs inside a call. */
    void (*on_state)(struct channel *ch, void *ctx, enum channel_state state,
                     const struct err *story);
    void *ctx;
};

/* Starts to connect. ERR_INVALID (an address), ERR_NOMEM. */
must_use int channel_open(struct loop *loop, const struct channel_opts *opts,
                          struct channel **ret_channel, struct err *err);

/*
 * Ends all calls (on_close with GRPC_CANCELLED, from the loop), then frees the channel and calls done (may be NULL).
 * The channel must not be used after this call; on_state is not called any more.
 */
void channel_close(struct channel *ch, void (*done)(void *ctx), void *ctx);

enum channel_state channel_state(const struct channel *ch);
/* The address in use or last tried. */
const char *channel_address(const struct channel *ch);
/* For calls from now on. ERR_NOMEM leaves the former one. */
must_use int channel_set_token(struct channel *ch, const char *token);
/* Cuts a back-off short. */
void channel_kick(struct channel *ch);
/* Drops the connection and connects anew, starting with the next address (a server that says it is not the right one). */
void channel_reconnect(struct channel *ch);

/* ---- calls ---- */

struct rpc_opts {
    const char *method;  /* "/trimtab.v1.Admin/Get"; copied */
    uint32_t timeout_ms; /* 0: none; also sent as grpc-timeout */
    bool wait_for_ready;
    bool manual_consume;                /* streams: see rpc_consume */
    const struct http_header *metadata; /* borrowed until return */
    size_t n_metadata;
    size_t max_message; /* 0: the channel's */
};

/*
 * The result of a unary call: status GRPC_OK and the response (borrowed until return), or another status and the story
 * (err->code by err_code_from_grpc, or exactly the server's when it is one of ours).
 */
typedef void rpc_done_fn(void *ctx, int status, const struct err *err, struct str response);

/*
 * Starts a unary call; done is called exactly once, never inside this call. *ret_rpc (may be NULL) serves rpc_cancel
 * and rpc_detach until done. ERR_NOMEM: nothing was started.
 */
must_use int channel_unary(struct channel *ch, const struct rpc_opts *opts, struct str request,
                           rpc_done_fn *done, void *ctx, struct rpc **ret_rpc);

struct rpc_ops {
    void (*on_message)(struct rpc *rpc, void *ctx,
                       struct str message);          /* borrowed until return */
    void (*on_writable)(struct rpc *rpc, void *ctx); /* queue fell below write_low */
    /* Exactly once, never inside a call of the owner; after it the rpc is gone. err is not NULL when status != 0. */
    void (*on_close)(struct rpc *rpc, void *ctx, int status, const struct err *err);
};

/* Starts a bidirectional stream. ops outlives it. ERR_NOMEM: nothing was started. */
must_use int channel_stream(struct channel *ch, const struct rpc_opts *opts,
                            const struct rpc_ops *ops, void *ctx, struct rpc **ret_rpc);

/* One message; the prefix is added. May be used before the channel is ready. ERR_NOMEM, ERR_CANCELLED (it has ended). */
int rpc_send(struct rpc *rpc, const struct segment *segments, size_t n);
void rpc_half_close(struct rpc *rpc); /* nothing more from us */
size_t rpc_queued(const struct rpc *rpc);
/* With manual_consume: that many bytes of messages are dealt with. */
void rpc_consume(struct rpc *rpc, size_t n);
/* on_close or done follows with GRPC_CANCELLED, from the loop. */
void rpc_cancel(struct rpc *rpc);
/* Cancels and forgets: no callback follows, the rpc must not be used any more. */
void rpc_detach(struct rpc *rpc);

/* ---- for command lines ---- */

/*
 * Connects, makes one unary call and disconnects, on a loop of its own; blocks for at most timeout_ms (0: 10 s).
 * *response is appended to (its ceiling holds). opts as for channel_open, on_state is ignored. Returns 0 or the
 * code of err.
 */
must_use int channel_call_blocking(const struct channel_opts *opts, const struct rpc_opts *call,
                                   struct str request, struct buf *response, struct err *err);

#endif
