/*
 * The hub: what exists once in a server, whatever the number of its lanes (lane/lane.h): the log and who may write to it,
 * the newest state, what is known of every instance, and who waits for any of that to change.
 *
 * The driver of rollouts and the events stand on it and watch it; it knows neither them nor any protocol. Belongs to one
 * thread.
 */
#ifndef TRIMTAB_SERVER_HUB_HUB_H
#define TRIMTAB_SERVER_HUB_HUB_H

#include "base/list.h"
#include "net/loop.h"
#include "presence/roster.h"
#include "server/hub/auth.h"
#include "server/hub/committer.h"
#include "server/hub/config.h"
#include "server/hub/cursor.h"

struct hub {
    struct config config;
    struct loop *loop;
    struct auth *auth;
    struct committer *committer;
    struct cursor_key cursor_key; /* of this start: marks what HTTP subscribers were sent */
    struct state *state;          /* newest publication */
    struct roster roster;         /* what is known of every instance */
    struct link waiters;          /* struct waiter */
    struct link watchers;         /* struct hub_watcher */
    struct defer changed;         /* re-examines who waits, once per turn */
    bool is_draining;
    int64_t started_ms;
    uint64_t n_lost, lost_revision; /* cursors that proved lost records, and the highest of them */
};

/* Somebody who waits for the state or for acknowledgements. */
struct waiter {
    struct link link;
    /*
     * Looked at after every change, is_draining among them, at which it must be over; returns true when it is over, and must
     * then have removed itself.
     */
    bool (*check)(struct waiter *w);
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

/* A subscriber has proved that it was sent this revision, which the log does not reach. */
void hub_note_lost(struct hub *hub, uint64_t revision);

#endif
