/*
 * A lane: one event loop with a listener, its connections, and the feed of those who subscribe on them. A connection stays
 * in the lane that accepted it.
 *
 * What a lane says of its subscribers reaches the hub as presence records (lane/subscribe.h); what the hub publishes reaches
 * the lane through lane_publish. Which protocols are spoken is known to who opens it (edge/). Belongs to its loop's thread.
 */
#ifndef TRIMTAB_SERVER_LANE_LANE_H
#define TRIMTAB_SERVER_LANE_LANE_H

#include "feed/feed.h"
#include "net/http.h"
#include "server/hub/hub.h"

/* Denied requests of this second: those that are in the log, and those that are only counted. */
struct denials {
    nsec_t since;
    uint32_t n_written;
    uint64_t n_unwritten;
};

struct lane {
    struct hub *hub;
    size_t number; /* among the hub's lanes, from 0 */
    struct loop *loop;
    struct tls *tls; /* borrowed; NULL: plain text */
    struct feed *feed;
    struct http_server *http;
    struct link subscriptions; /* open streams, struct subscriber.link */
    struct link ready;         /* subscribers with something to send, struct subscriber.ready */
    struct defer pump;         /* pulls from a few of them */
    struct link
        restless; /* subscribers whose standing has changed, struct subscriber.restless */
    uint64_t n_restless;
    struct defer presence;          /* brings the roster up to them, */
    struct timer presence_late;     /* of many a little later */
    nsec_t renewed;                 /* when it was looked last whether tokens have expired */
    nsec_t heard;                   /* when the hub was told last how subscribers stand */
    uint64_t n_lost, lost_revision; /* what the hub is to be told next (struct standings) */
    struct waiters
        waiters; /* for a newer state here; also for is_draining, at which they must be over */
    struct arena scratch; /* of the message that is taken just now */
    bool is_draining;
    uint64_t n_denied; /* requests without a token or a right, for metrics */
    struct denials denials;
};

/* A lane that serves the hub's newest state to nobody yet. ERR_NOMEM. */
must_use int lane_init(struct lane *lane, size_t number, struct hub *hub, struct loop *loop,
                       struct tls *tls, struct err *err);
/* No connection is left. */
void lane_deinit(struct lane *lane);

/*
 * Hands every request to on_request. The first lane listens on the hub's address, and the crowd shares what it accepts. As
 * http_server_open.
 */
must_use int lane_listen(struct lane *lane, struct http_crowd *crowd,
                         http_request_fn *on_request, void *ctx, struct err *err);

/* Serves a newer state from now on. Versions are all that changed since the last one. */
void lane_publish(struct lane *lane, struct state *state, struct version *const *versions,
                  size_t n);
/* Time passes: a few times a second. */
void lane_tick(struct lane *lane);

/* What is newest here. Borrowed. */
static inline struct state *lane_state(const struct lane *lane)
{
    return feed_state(lane->feed);
}

/* Adds a waiter for a newer state, or for the drain, at which it must be over. */
void lane_wait(struct lane *lane, struct waiter *w);

/* No new work, and streams are told to go elsewhere; done comes when the last connection has gone. */
void lane_drain(struct lane *lane, void (*done)(void *ctx), void *ctx);

/*
 * Who a request is from; the one place through which every handler passes. ERR_UNAUTHENTICATED, ERR_DENIED, also for a page of a
 * browser that reaches a port which is not meant for it.
 */
must_use int lane_identify(struct lane *lane, const struct exchange *x,
                           struct identity *ret_identity, struct err *err);
/* The same, and that he has a right somewhere: in which namespaces is asked where these are known. */
must_use int lane_authorize(struct lane *lane, const struct exchange *x, enum right_to right,
                            struct identity *ret_identity, struct err *err);
/* For what everybody may ask: only the part about browsers. */
must_use int lane_admit_browser(struct lane *lane, const struct exchange *x, struct err *err);

#endif
