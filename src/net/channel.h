/*
 * What the files of the gRPC client share: the channel, its connections, its calls.
 *
 *   channel 1---n link_to_server    one is current; others have had GOAWAY and finish their calls
 *   channel 1---n rpc               waiting for a connection, or on one
 *
 * A call that has ended goes to channel.ending, and its owner is told from the loop.
 */
#ifndef TRIMTAB_NET_CHANNEL_H
#define TRIMTAB_NET_CHANNEL_H

#include "base/list.h"
#include "net/address.h"
#include "net/conn.h"
#include "net/grpc_client.h"
#include "net/grpc_frame.h"
#include "net/grpc_text.h"
#include "net/segq.h"

#include <nghttp2/nghttp2.h>

/* One HTTP/2 connection of a channel. */
struct peer {
    struct conn conn;
    struct channel *channel; /* referenced */
    struct link in_channel;
    nghttp2_session *session;
    struct gather *gather; /* during fill */
    nsec_t ping_sent;      /* 0: none under way */
    nsec_t ready_since;    /* 0: SETTINGS have not come */
    size_t n_rpcs;
    bool is_draining; /* GOAWAY has come */
    bool must_break;  /* out of memory where a frame had to be queued */
    bool is_closed;
};

/* A look-up that is under way; outlives a channel that is closed meanwhile. */
struct lookup {
    uv_getaddrinfo_t request;
    struct channel *channel; /* NULL: nobody waits any more */
};

struct channel {
    struct loop *loop;
    struct tls *tls;
    struct channel_opts opts; /* with defaults; its pointers are not used */
    struct address *addresses;
    char **names; /* as given */
    size_t n_addresses;
    char *authority, *authorization, *user_agent;
    struct rng rng;

    enum channel_state state;
    size_t at;         /* the address in use or tried */
    size_t n_tried;    /* in this round */
    uint32_t n_rounds; /* failed in a row */
    struct err story;  /* of the last failure */
    struct lookup *lookup;
    struct addrinfo *found, *next; /* what the look-up gave, and what is left to try */
    struct peer *current;          /* NULL between connections */
    struct link peers;
    struct timer wait;  /* until the next round */
    struct timer limit; /* of one address */
    struct timer ping;
    struct defer again; /* channel_reconnect, channel_close */
    bool must_reconnect, is_closing;

    struct link waiting, active, ending; /* of struct rpc */
    struct defer settle;
    uint32_t refs;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

struct rpc {
    struct link link; /* in one of the channel's three */
    struct channel *channel;
    struct peer *peer; /* NULL while waiting and after the end */
    int32_t stream_id;
    const struct rpc_ops *ops; /* NULL: unary */
    rpc_done_fn *done;
    void *ctx;
    struct http_header *metadata; /* one allocation: method first, then what was given */
    size_t n_metadata;
    struct segq out;
    struct grpc_deframer deframer;
    struct buf message; /* unary: the response */
    int64_t credit;
    size_t outstanding;
    struct timer deadline;
    int status;         /* of the end */
    int trailer_status; /* grpc-status; -1 until it has come */
    int http_status;    /* 0 until it has come */
    struct err err;
    char code[32];
    bool has_content_type, has_message;
    bool wait_for_ready, is_manual, is_deferred, is_half_closed;
    bool was_taken, is_over, is_detached;
};

/* ---- channel.c ---- */
void channel_unref(struct channel *ch);
/* What :authority says. */
struct str channel_authority(const struct channel *ch);
/* Sends a waiting call on its way, or fails it, or leaves it waiting, as the state has it. */
void channel_admit(struct channel *ch, struct rpc *rpc);
/* The connection failed before it was ready, or was lost. */
void channel_peer_lost(struct channel *ch, struct peer *peer, const struct err *story);
void channel_peer_ready(struct channel *ch, struct peer *peer);
void channel_peer_draining(struct channel *ch, struct peer *peer);

/* ---- channel_dial.c ---- */
/* Tries addresses[at], and the rest of what it resolves to; ends in channel_peer_ready or channel_dial_failed. */
void channel_dial(struct channel *ch);
void channel_dial_next(struct channel *ch, const struct err *why);
void channel_dial_cancel(struct channel *ch);
void channel_dial_failed(struct channel *ch, const struct err *why); /* in channel.c */

/* ---- channel_peer.c ---- */
/* Makes a connection of a socket whose connect is under way; takes the socket over. ERR_NOMEM, ERR_IO. */
must_use int peer_open(struct channel *ch, int fd, const char *host);
/* Ends its calls with this story and closes it, without telling the channel. */
void peer_close(struct peer *peer, const struct err *story);
/* Sends the call's head; its messages follow. */
void peer_start(struct peer *peer, struct rpc *rpc);
void peer_wake(struct peer *peer, struct rpc *rpc);
void peer_reset(struct peer *peer, struct rpc *rpc);
void peer_consume(struct peer *peer, struct rpc *rpc, size_t n);
void peer_check_ping(struct peer *peer, nsec_t now);

/* ---- rpc.c ---- */
/* Ends a call, unless it has ended: err is kept, its owner is told from the loop. */
void rpc_end(struct rpc *rpc, int status, const struct err *err);
void rpc_end_text(struct rpc *rpc, int status, const char *text);
void rpc_got_header(struct rpc *rpc, struct str name, struct str value);
void rpc_got_data(struct rpc *rpc, struct str bytes);
/* The stream has closed with this HTTP/2 error code. */
void rpc_stream_closed(struct rpc *rpc, uint32_t h2_code);
/* What the call's head says. False: no time-out. */
bool rpc_timeout_text(struct rpc *rpc, char out[GRPC_TIMEOUT_MAX]);
void rpcs_settle(struct defer *d, void *ctx);

#endif
