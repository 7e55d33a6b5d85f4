/*
 * The driver of rollouts: looks at what their targets report, and makes the moves that nobody needs to make by hand.
 *
 * A look tallies all instances for all live rollouts in one pass; it follows reports at once, but never takes more than a
 * tenth of the loop's time. What is done then is decided in model/drive.h. Belongs to the loop's thread.
 */
#ifndef TRIMTAB_SERVER_DRIVER_H
#define TRIMTAB_SERVER_DRIVER_H

#include "model/drive.h"
#include "presence/headcount.h"
#include "server/committer.h"
#include "server/driver_lease.h"

struct app;

/* One live rollout. */
struct drive {
    uint64_t id;
    struct soak soak;
    struct headcount heads; /* what its targets have come to */
    struct decision decision;
    bool is_old; /* it lives since before this server started */
    uint64_t
        awaited;  /* how many of its targets were connected then; UINT64_MAX: nobody knows */
    nsec_t saved; /* when its soak was kept last; 0: never */
    nsec_t not_before; /* after a move that was refused */
    char trouble[512]; /* why it was */
};

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
    struct app *app;
    bool is_open;
    VEC(struct drive) drives;
    struct driver_lease lease;
    struct driver_move move;
    struct drive_records ended; /* to be forgotten by the store */
    struct defer soon;
    nsec_t opened, looked, next_look, next_visit, visited;
    nsec_t due;               /* when a soak is over; UINT64_MAX: none runs */
    uint64_t revision, stamp; /* of state and roster, when it looked */
    uint64_t started_at;      /* revision at which this server started */
};

/* Begins to drive the rollouts of app->state. Fails as driver_lease_open does. */
must_use int driver_open(struct driver *d, struct app *app, struct err *err);
/* Keeps what must be kept; before the committer is closed. */
void driver_leave(struct driver *d);
/* After the committer was closed and the loop has run what it posted. */
void driver_close(struct driver *d);

/* The state or the roster has changed. */
void driver_changed(struct driver *d);
/* Looks now, whenever it looked last: for who decides something on what driver_find says. ERR_NOMEM: it says nothing. */
must_use int driver_look(struct driver *d);
/* Time passes: a few times a second. */
void driver_tick(struct driver *d);

/* An instance will not be back, as people say: no rollout misses it. */
void driver_forget_instance(struct driver *d, struct str id);

/* How a live rollout stands, as the last look found it; NULL: it was not looked at yet. */
const struct drive *driver_find(const struct driver *d, uint64_t id);

#endif
