/*
 * Live events: what changes in commits, rollouts and instances, for consoles and scripts that watch.
 *
 * Events are pictures, not differences. A look compares what is with what was told, so that many changes between two
 * looks are one event, and nothing is kept for who reads slowly: who falls behind is told that he did. Without
 * listeners (listeners.h) nothing is looked at. Belongs to the hub's thread.
 */
#ifndef TRIMTAB_SERVER_USE_EVENTS_H
#define TRIMTAB_SERVER_USE_EVENTS_H

#include "server/rollout/drives.h"

#include <trimtab/v1/admin.pb-c.h>

/*
 * Those of one lane who listen. Events reach it on its own loop, in the order in which they were told.
 */
struct audience {
    struct link link; /* in events.audiences */
    struct hub *hub;
    struct loop *loop;
    /* On the loop. framed: a packed Event behind gRPC's prefix, borrowed. */
    void (*hear)(struct audience *a, struct shared *framed);
    _Atomic bool has_missed; /* there was no memory to tell it something */
    size_t n_listeners;      /* the hub's: how many have joined */
};

struct told_rollout {
    uint64_t id, stamp;
};

struct events {
    struct hub *hub;
    const struct drives *drives;
    struct hub_watcher watcher;
    struct link audiences;
    size_t n_listeners; /* of all */
    struct defer soon;
    nsec_t looked, next_look;
    uint64_t stamp; /* of the roster, when it was looked at */
    VEC(struct told_rollout) rollouts;
};

void events_init(struct events *e, struct hub *hub, const struct drives *drives);
/* All listeners must be gone. */
void events_deinit(struct events *e);

/* Before the loops run. */
void events_add_audience(struct events *e, struct audience *a);
/* One more of an audience listens from now on; returns the newest revision. */
uint64_t events_join(struct events *e, struct audience *a);
void events_quit(struct events *e, struct audience *a);

/* before becomes after; versions are what changed, oldest first. Called ahead of everything else that follows a publication. */
void events_publish(struct events *e, const struct state *before, const struct state *after,
                    struct version *const *versions, size_t n);
/* The registry, or what the driver sees, has changed. */
void events_changed(struct events *e);
void events_tick(struct events *e);

/* Type, time and revision, on the arena. */
void event_init(Trimtab__V1__Event *m, const char *type, uint64_t revision, struct arena *a);

#endif
