/*
 * Subscribers: one stream, one session of the feed, one seat at the roster, whichever protocol the stream speaks.
 */
#ifndef TRIMTAB_SERVER_LANE_SUBSCRIBE_H
#define TRIMTAB_SERVER_LANE_SUBSCRIBE_H

#include "server/hub/seat.h"
#include "server/lane/lane.h"

struct subscriber;

struct subscriber_ops {
    const char *transport; /* static text */
    /*
     * Moves frames from the session to the stream, as many as it takes; runs deferred, a few subscribers at a time, so that the
     * first ones have their frames on the wire before the last ones' are made. Not before the hub has let it in.
     */
    void (*pull)(struct subscriber *s);
    /* The hub has let it in. May be NULL. */
    void (*taken)(struct subscriber *s);
    /* The hub has not let it in: end, with this error. */
    void (*refused)(struct subscriber *s, const struct err *err);
    /* Another stream of the same instance has come, or the server drains: end, with this reason. */
    void (*leave)(struct subscriber *s, const char *reason);
};

struct subscriber {
    struct lane *lane;
    const struct subscriber_ops *ops;
    struct feed_session *session;
    struct seat *seat;    /* NULL before its hello, and of one that is not listed */
    bool is_taken;        /* the hub has let it in, or need not */
    bool has_spoken;      /* since the roster was told */
    struct link ready;    /* in lane.ready while it has something to send */
    struct link restless; /* in lane.restless while the roster does not know how it stands */
    struct link link;     /* in lane.subscriptions */
    struct identity who;
    struct readable *readable; /* what it may read; NULL: everything */
    char peer[64];
};

/* ERR_UNAVAILABLE while the server drains, ERR_NOMEM. */
must_use int subscriber_init(struct subscriber *s, struct lane *lane,
                             const struct subscriber_ops *ops, struct str peer,
                             const struct identity *who, enum feed_client client,
                             struct err *err);
void subscriber_deinit(struct subscriber *s);

/*
 * Hands a client's frame to the feed and the roster. A hello with an id is let in or refused by the hub, later. Of a hello
 * subscriber_must_wait was asked before.
 */
must_use int subscriber_frame(struct subscriber *s, const Trimtab__V1__ClientFrame *frame,
                              struct err *err);

/*
 * Whether a hello shows a revision that this lane does not serve yet, but the hub does: taken now, it would be believed to
 * come from another history. Its owner adds a waiter to the lane and asks again when that is looked at.
 */
bool subscriber_must_wait(const struct lane *lane, const Trimtab__V1__Hello *hello);

/* Whether words in the name of the subscriber's instance, from who came with this credential and secret, are its own. */
bool subscriber_owns(const struct subscriber *s, const struct identity *who, struct str secret);

/*
 * Goes on to the next batch as if this one were stored, for who has nothing to store or cannot say it. Nothing is claimed
 * of an instance by that: what it serves it must prove itself.
 */
bool subscriber_say_stored(struct subscriber *s, uint64_t revision);

/* When so much waits for one of them, its pull ends by waking it, and the others come first. */
enum { SUBSCRIBER_PULL_BYTES = 256 << 10 };

/* It may have something to send. */
void subscriber_wake(struct subscriber *s);

/* ---- all of a lane ---- */

/* Prepares what of a lane is for subscribers. */
void subscribers_init(struct lane *lane);
/* Of feed_opts. ctx of every session is a struct subscriber. */
void subscribers_feed_opts(struct feed_opts *opts);
/* Tells all streams to go to another server, and ends them. */
void subscribers_drain(struct lane *lane);
/*
 * Whether a caller may subscribe to all layers of these scopes, and what he may read of what they refer to: a reference,
 * NULL for everything. ERR_DENIED with the scope as the place, ERR_NOMEM.
 */
must_use int subscription_rights(const struct auth_record *r, const struct identity *who,
                                 const struct scope *scopes, size_t n, struct readable **ret,
                                 struct err *err);

/* Time has passed: ends the streams of those whose token has expired. */
void subscribers_renew(struct lane *lane);
/* Rights have changed: ends the streams of those who may no longer subscribe, or read what they did (I11). */
void subscribers_review(struct lane *lane);

#endif
