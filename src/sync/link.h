/*
 * The link: carries the frames of one struct sync over a gRPC channel, and sees to it that there is a stream
 * whenever a server can be reached.
 *
 *               channel ready              on_close, silence, nonsense, go away
 *   IDLE ---------------------> STREAM ------------------------------------------> WAITING
 *     ^                                                                               |
 *     +---------------- after a random time of up to the ceiling ---------------------+
 *
 * The ceiling doubles from backoff_min_ms to backoff_max_ms and falls back when a stream has lasted; every wait is
 * drawn from the whole range below it (full jitter), so that the subscribers of a restarted server come back one by
 * one. Dead peers are found by the channel's pings and by the silence of the server's bookmarks (sync_tick).
 *
 * Never blocks. Belongs to one loop and its thread.
 */
#ifndef TRIMTAB_SYNC_LINK_H
#define TRIMTAB_SYNC_LINK_H

#include "net/grpc_client.h"
#include "net/loop.h"
#include "sync/sync.h"

struct sync_link;

enum sync_link_state { SYNC_LINK_DOWN, SYNC_LINK_UP };

struct sync_link_opts {
    struct loop *loop;
    struct channel_opts
        channel;       /* addresses, tls, token, seed ...; on_state and ctx are the link's */
    struct sync *sync; /* borrowed; outlives the link */
    uint32_t backoff_min_ms; /* 0: 200 ms */
    uint32_t backoff_max_ms; /* 0: 20 s */
    /* Tells changes, for people; story is why it went down, NULL when it is up. Never frees the link. */
    void (*on_state)(void *ctx, enum sync_link_state state, const char *address,
                     const struct err *story);
    void *ctx;
};

/* Begins to connect. ERR_INVALID (an address), ERR_NOMEM. */
must_use int sync_link_open(const struct sync_link_opts *opts, struct sync_link **ret_link,
                            struct err *err);

/* Breaks off; done (may be NULL) is called from the loop when nothing is left. The link is gone after this call. */
void sync_link_close(struct sync_link *l, void (*done)(void *ctx), void *ctx);

/* The two operations of struct sync_ops that are the link's. */
void sync_link_send(struct sync_link *l, const Trimtab__V1__ClientFrame *frame);
void sync_link_reconnect(struct sync_link *l, uint32_t after_ms, const char *reason);

/* For streams from now on; a stream that is up stays. ERR_NOMEM leaves the former one. */
must_use int sync_link_set_token(struct sync_link *l, const char *token);
/* Tries at once (credentials were renewed, somebody asked). */
void sync_link_kick(struct sync_link *l);

bool sync_link_is_up(const struct sync_link *l);
const char *sync_link_address(const struct sync_link *l); /* in use, or last tried */
uint64_t sync_link_streams(const struct sync_link *l);    /* begun so far */

#endif
