/*
 * Subscribers: one stream, one session of the feed, one instance of the roster, whichever protocol the stream speaks.
 */
#ifndef TRIMTAB_SERVER_LANE_SUBSCRIBE_H
#define TRIMTAB_SERVER_LANE_SUBSCRIBE_H

#include "server/lane/lane.h"

/* The feed says that this session has something to send; ctx of every session is a struct subscriber. */
void subscribe_ready(void *ctx);
/* The feed says that the standing of this session has changed. */
void subscribe_changed(void *ctx);
/* feed_opts.lost. */
void subscribe_lost(void *ctx, uint64_t revision);

/* Tells all streams to go to another server, and ends them. */
void subscribe_drain(struct lane *lane);

/* Rights have changed: ends the streams of those who may no longer subscribe (I11). */
void subscribe_review(struct lane *lane);

/*
 * A session of the feed with the stream that it feeds, whichever protocol that is. `pull` moves frames from the session
 * to the stream, as many as it takes; it runs deferred, a few subscribers at a time, so that the first ones have their
 * frames on the wire before the last ones' are made.
 */
struct subscriber {
    struct lane *lane;
    struct feed_session *session;
    struct instance *instance; /* NULL before its hello */
    struct link ready; /* in lane.ready while it has something to send */
    struct link restless; /* in lane.restless while the roster does not know how it stands */
    bool has_spoken;      /* since the roster was told */
    void (*pull)(struct subscriber *s);
    /* Another stream of the same instance has come, or the server drains: end, with this reason. */
    void (*leave)(struct subscriber *s, const char *reason);
    struct link link; /* in lane.subscriptions */
    struct identity who;
    char peer[64];
    const char *transport;
};

/* Prepares what of a lane is for subscribers. */
void subscribe_init(struct lane *lane);

/* ERR_UNAVAILABLE while the server drains, ERR_NOMEM. */
must_use int subscriber_init(struct subscriber *s, struct lane *lane, const struct exchange *x,
                             const struct identity *who, enum feed_client client,
                             struct err *err);
void subscriber_deinit(struct subscriber *s);

/* Hands a client's frame to the feed and the roster. */
must_use int subscriber_frame(struct subscriber *s, const Trimtab__V1__ClientFrame *frame,
                              struct err *err);

#endif
