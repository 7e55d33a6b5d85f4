/*
 * Live events: what changes in commits, rollouts and instances, for consoles and scripts that watch.
 *
 * Events are pictures, not differences. A look compares what is with what was told, so that many changes between two
 * looks are one event, and nothing is kept for who reads slowly: who falls behind is told that he did. Without
 * listeners nothing is looked at. Belongs to the hub's thread.
 */
#ifndef TRIMTAB_SERVER_USE_EVENTS_H
#define TRIMTAB_SERVER_USE_EVENTS_H

#include "server/rollout/drives.h"

#include <trimtab/v1/admin.pb-c.h>

enum {
    EVENT_QUEUE_MAX = 1 << 20
}; /* bytes that wait for a listener; beyond them it has lost something */

/* An event with its encodings, each made when the first listener needs it. */
struct event {
    const Trimtab__V1__Event *message;
    struct shared *framed; /* for gRPC, with its prefix */
    struct shared *text;   /* as a server-sent event */
};

struct events;

struct listener {
    struct events *events;
    struct link link; /* in events.listeners */
    struct identity who;
    Trimtab__V1__EventsRequest *wants; /* owned */
    bool has_lost; /* events, because it reads slowly; it is told when it reads again */
    /* Sends; nothing is done about failures, a stream that breaks tells by itself. */
    void (*send)(struct listener *l, struct event *e);
    size_t (*queued)(struct listener *l); /* bytes */
    void (*leave)(struct listener *l, const char *reason);
};

struct told_rollout {
    uint64_t id, stamp;
};

struct events {
    struct hub *hub;
    const struct drives *drives;
    struct hub_watcher watcher;
    struct link listeners;
    struct defer soon;
    nsec_t looked, next_look;
    uint64_t stamp; /* of the roster, when it was looked at */
    VEC(struct told_rollout) rollouts;
};

void events_init(struct events *e, struct hub *hub, const struct drives *drives);
/* All listeners must be gone. */
void events_deinit(struct events *e);

/* Whether this can be listened to now. ERR_INVALID: a type that is none. ERR_UNAVAILABLE while the server drains. */
must_use int listener_check(const struct events *e, const Trimtab__V1__EventsRequest *wants,
                            struct err *err);
/* Begins to listen; the first event, hello, is sent inside. Takes over wants. send, queued and leave are filled in. */
void listener_open(struct listener *l, struct events *e, const struct identity *who,
                   Trimtab__V1__EventsRequest *wants);
void listener_close(struct listener *l);
/* The queue has room again. */
void listener_writable(struct listener *l);

/* before becomes after; versions are what changed, oldest first. Called ahead of everything else that follows a publication. */
void events_publish(struct events *e, const struct state *before, const struct state *after,
                    struct version *const *versions, size_t n);
/* The registry, or what the driver sees, has changed. */
void events_changed(struct events *e);
void events_tick(struct events *e);
void events_drain(struct events *e, const char *reason);
/* Rights have changed (I11). */
void events_review(struct events *e);

/* The encodings; NULL without memory. Borrowed from the event. */
struct shared *event_framed(struct event *e);
struct shared *event_text(struct event *e);

#endif
