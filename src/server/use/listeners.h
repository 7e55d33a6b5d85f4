/*
 * Listeners: who of one lane listens to live events, each to what it asked for. Belongs to the lane's thread; the events are
 * made on the hub's (events.h).
 *
 *   listener_open --> asking --(hub: events_join)--> listening, told "hello" --> listener_close
 */
#ifndef TRIMTAB_SERVER_USE_LISTENERS_H
#define TRIMTAB_SERVER_USE_LISTENERS_H

#include "server/hub/errand.h"
#include "server/use/events.h"

enum {
    EVENT_QUEUE_MAX = 1 << 20
}; /* bytes that wait for a listener; beyond them it has lost something */

/* An event with its encodings. */
struct event {
    const Trimtab__V1__Event *message;
    struct shared *framed; /* for gRPC, with its prefix */
    struct shared *text;   /* as a server-sent event, made when the first listener needs it */
};

struct listeners {
    struct audience audience;
    struct events *events; /* on the hub's thread */
    struct link list;      /* struct listener */
    bool is_draining;
};

struct listener {
    struct listeners *of;
    struct link link;       /* in listeners.list */
    struct joining *asking; /* NULL: it was let in, or never asked */
    bool has_joined;
    struct identity who;
    Trimtab__V1__EventsRequest *wants; /* owned */
    bool has_lost; /* events, because it reads slowly; it is told when it reads again */
    /* Sends; nothing is done about failures, a stream that breaks tells by itself. */
    void (*send)(struct listener *l, struct event *e);
    size_t (*queued)(struct listener *l); /* bytes */
    void (*leave)(struct listener *l, const char *reason);
};

void listeners_init(struct listeners *all, struct events *events, struct hub *hub,
                    struct loop *loop);

/* Whether this can be listened to now. ERR_INVALID: a type that is none. ERR_UNAVAILABLE while the server drains. */
must_use int listener_check(const struct listeners *all, const Trimtab__V1__EventsRequest *wants,
                            struct err *err);
/*
 * Begins to listen; the first event, hello, comes when the hub knows of it, and nothing is missed from there on. Takes over
 * wants. send, queued and leave are filled in. ERR_NOMEM: wants is freed.
 */
must_use int listener_open(struct listener *l, struct listeners *all, const struct identity *who,
                           Trimtab__V1__EventsRequest *wants);
/* One that was never opened is all zero, and may be closed, too. */
void listener_close(struct listener *l);
/* The queue has room again. */
void listener_writable(struct listener *l);

/* Time passes: a few times a second. */
void listeners_tick(struct listeners *all);
void listeners_drain(struct listeners *all, const char *reason);
/* Rights have changed (I11). */
void listeners_review(struct listeners *all);

/* The event as text; NULL without memory. Borrowed from it. */
struct shared *event_text(struct event *e);

#endif
