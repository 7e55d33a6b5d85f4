/*
 * The hub: what exists once in a server, whatever the number of its lanes (lane/lane.h): the log and who may write to it,
 * the newest state, what is known of every instance, and who waits for any of that to change.
 *
 * The driver of rollouts and the events stand on it and watch it; it knows neither them nor any protocol. Belongs to one
 * thread, but for what says otherwise.
 */
#ifndef TRIMTAB_SERVER_HUB_HUB_H
#define TRIMTAB_SERVER_HUB_HUB_H

#include <pthread.h>
#include <stdatomic.h>
#include "presence/attendance.h"
#include "server/hub/auth.h"
#include "server/hub/committer.h"
#include "server/hub/config.h"
#include "server/hub/cursor.h"
#include "server/hub/waiters.h"

enum { HUB_LANES_MAX = CONFIG_LANES_MAX };

struct hub {
    struct config config;
    struct loop *loop;
    struct auth *auth;
    struct committer *committer;
    struct store_identity identity; /* of its store */
    struct cursor_key cursor_key; /* of this start: marks what HTTP subscribers were sent */
    struct state *state;          /* newest publication */
    struct roster roster;         /* what is known of every instance, */
    struct attendance attendance; /* and by which streams */
    struct waiters waiters;       /* also for is_draining, at which they must be over */
    struct link watchers;         /* struct hub_watcher */
    size_t n_lanes;
    bool is_draining;
    int64_t started_ms;
    uint64_t n_lost, lost_revision; /* cursors that proved lost records, and the highest of them */

    /* For other threads, too. */
    pthread_mutex_t newest_lock;
    struct state *newest;        /* the same as state */
    _Atomic uint64_t in_flight;  /* messages between lanes and hub that have not arrived */
    _Atomic bool is_backing_up;  /* one at a time */
};

/* Somebody who follows the state and the roster for as long as the hub lives. Told at once, so it only takes note. */
struct hub_watcher {
    struct link link;
    void (*changed)(struct hub_watcher *w);
};

/* Nobody waits yet. The rest is filled in by whoever opens it. */
void hub_init(struct hub *hub, const struct config *config, struct loop *loop);
/* What is still there goes: state, roster, credentials. The committer is closed already. */
void hub_deinit(struct hub *hub);

/* Puts a waiter among those that are looked at; while the server drains it is looked at at once, and must end. */
void hub_wait(struct hub *hub, struct waiter *w);
void hub_watch(struct hub *hub, struct hub_watcher *w);

/* Something changed that a waiter may wait for. */
void hub_changed(struct hub *hub);

/* Serves a newer state from now on; takes a reference. */
void hub_set_state(struct hub *hub, struct state *state);

/* Now, with the settings by which silence is judged: for whatever is read from the roster. */
struct moment hub_moment(const struct hub *hub);

/* The state with which the record of an instance is looked at; NULL: nobody knows it just now. Borrowed. */
struct state *hub_state_of(const struct hub *hub, const struct instance *i);

/* So many subscribers have proved that they were sent revisions that the log does not reach, up to this one. */
void hub_note_lost(struct hub *hub, uint64_t n, uint64_t revision);

/* ---- any thread ---- */

/* The newest state, at least as new as that of any lane. A reference. */
struct state *hub_newest(struct hub *hub);

/* A message between threads is on its way; it has arrived. */
static inline void hub_begin_flight(struct hub *hub)
{
    (void)atomic_fetch_add_explicit(&hub->in_flight, 1, memory_order_relaxed);
}
static inline void hub_end_flight(struct hub *hub)
{
    (void)atomic_fetch_sub_explicit(&hub->in_flight, 1, memory_order_release);
}

#endif
