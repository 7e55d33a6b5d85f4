/*
 * The driver of rollouts: looks at what their targets report, and makes the moves that nobody needs to make by hand.
 *
 * A look tallies all instances for all live rollouts in one pass; it follows reports at once, but never takes more than a
 * tenth of the loop's time. What is done then is decided in model/drive.h. Belongs to the hub's thread.
 */
#ifndef TRIMTAB_SERVER_ROLLOUT_DRIVER_H
#define TRIMTAB_SERVER_ROLLOUT_DRIVER_H

#include "server/rollout/drives.h"
#include "server/rollout/lease.h"

/* A move on its way into the log. */
struct driver_move {
    bool is_under_way;
    uint64_t id;
    struct commit_job job;
    struct rollout_move move;
    struct state *state; /* whose candidates are borrowed */
    struct arena arena;
    char reason[DRIVE_TEXT_MAX];
};

struct driver {
    struct hub *hub;
    struct hub_watcher watcher;
    void (*on_look)(void *ctx); /* after every look; may be NULL */
    void *ctx;
    bool is_open;
    struct drives drives;
    struct driver_lease lease;
    struct driver_move move;
    struct drive_records ended; /* to be forgotten by the store */
    struct defer soon;
    nsec_t opened, looked, next_look, next_visit, visited;
    nsec_t due;               /* when a soak is over; UINT64_MAX: none runs */
    uint64_t revision, stamp; /* of state and roster, when it looked */
    uint64_t started_at;      /* revision at which this server started */
};

/* Nothing is driven yet. on_look may be NULL. */
void driver_init(struct driver *d, struct hub *hub, void (*on_look)(void *ctx), void *ctx);
/* Begins to drive the rollouts of the newest state. Fails as driver_lease_open does. */
must_use int driver_open(struct driver *d, struct err *err);
/* Keeps what must be kept; before the committer is closed. */
void driver_leave(struct driver *d);
/* After the committer was closed and the loop has run what it posted. */
void driver_close(struct driver *d);

/* Looks now, whenever it looked last: for who decides something on what drives_find says. ERR_NOMEM: it says nothing. */
must_use int driver_look(struct driver *d);
/* Time passes: a few times a second. */
void driver_tick(struct driver *d);

/* An instance will not be back, as people say: no rollout misses it. */
void driver_forget_instance(struct driver *d, struct str id);

#endif
