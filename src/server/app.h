/*
 * The server as a whole: owns every long-lived object, starts them in order and stops them in reverse. Everything
 * here belongs to the loop's thread.
 */
#ifndef TRIMTAB_SERVER_APP_H
#define TRIMTAB_SERVER_APP_H

#include "feed/feed.h"
#include "net/grpc.h"
#include "net/http.h"
#include "presence/roster.h"
#include "server/auth.h"
#include "server/committer.h"
#include "server/config.h"
#include "server/cursor.h"
#include "server/driver.h"
#include "server/events.h"
#include "server/keeper.h"

struct app {
    struct config config;
    struct loop loop;
    bool has_loop;
    struct tls *tls; /* NULL: plain text */
    struct auth *auth;
    struct committer *committer;
    struct cursor_key cursor_key; /* of this start: marks what HTTP subscribers were sent */
    struct state *state; /* newest publication */
    struct feed *feed;
    struct roster roster; /* what is known of every instance */
    struct keeper keeper; /* of that over a restart */
    struct driver driver; /* of rollouts */
    struct events events; /* for who watches */
    struct backup *backup; /* that is being made or sent; NULL: none */
    struct http_server *http;
    struct shared *openapi; /* the document, once it was asked for */
    struct map pollers;     /* instance -> struct poller, of those that have one */
    struct grpc_service service;
    struct timer tick;
    struct defer changed;      /* re-examines who waits, once per turn */
    struct link waiters;       /* struct waiter */
    struct link ready;         /* subscribers with something to send, struct subscriber.ready */
    struct defer pump;         /* pulls from a few of them */
    struct link restless;      /* subscribers whose standing has changed, struct subscriber.restless */
    uint64_t n_restless;
    struct defer presence;      /* brings the roster up to them, */
    struct timer presence_late; /* of many a little later */
    struct link subscriptions; /* open streams, struct subscription.link */
    struct link http_sessions; /* subscriptions over HTTP, struct http_session.link */
    struct signal_watch on_term, on_int, on_hup;
    struct timer drain_limit;
    struct arena scratch;       /* of the message that is taken just now */
    bool is_draining;
    int64_t started_ms;
    int exit_status;
    uint64_t n_rest, n_rpc, n_denied; /* for metrics */
    uint64_t n_lost, lost_revision; /* cursors that proved lost records, and the highest of them */
};

/* Somebody who waits for the state or for acknowledgements. */
struct waiter {
    struct link link;
    /* Looked at after every change, is_draining among them, at which it must be over; returns true when it is over, and must then have removed itself. */
    bool (*check)(struct waiter *w);
};

must_use int app_open(struct app *app, const struct config *config, struct err *err);
/* Runs until a signal or app_stop; 0 or what went wrong. */
int app_run(struct app *app);
void app_close(struct app *app);

/* Puts a waiter among those that are looked at; while the server drains it is looked at at once, and must end. */
void app_wait(struct app *app, struct waiter *w);

/* Something changed that a waiter may wait for. */
void app_changed(struct app *app);

/* Now, with the settings by which silence is judged: for whatever is read from the roster. */
struct moment app_moment(const struct app *app);

/* Begins to drain: no new work, streams are told to go elsewhere, then the loop stops. */
void app_drain(struct app *app);

/* Who a request is from; the one place through which every handler passes. */
must_use int app_authorize(struct app *app, const struct exchange *x, enum right right,
                           struct identity *ret_identity, struct err *err);

#endif
