/*
 * A server without its network, for tests: a hub with loop, committer, roster, driver and events over the simulated disk,
 * on which writes fail as the test says. Instances are what the test says of them: no session stands behind them.
 *
 * Time is the machine's, but nothing waits for it by sleeping: place_until runs the loop, and ticks as the server does,
 * until something is so. What never comes to be so is found by tests/watch.
 */
#ifndef TRIMTAB_TESTS_SERVER_PLACE_H
#define TRIMTAB_TESTS_SERVER_PLACE_H

#include "server/hub/keeper.h"
#include "server/rollout/driver.h"
#include "server/use/listeners.h"
#include "store/mem.h"
#include "tap.h"

#include <stdatomic.h>

struct place {
    struct loop loop;
    struct hub hub;
    struct driver driver;
    struct events events;
    struct listeners listeners;
    struct keeper keeper;
    struct timer tick;
    struct store_disk *disk;
    VEC(struct attendee *) attendees; /* streams of its only lane, as they come */
    bool is_open;
    /* what goes wrong on the disk: writes of this kind, from the n-th on, so many of them */
    enum store_write fault_write;
    enum store_fault fault;
    int fault_at, fault_many;
    _Atomic int n_writes; /* of that kind */
};

/* On a new, empty disk. */
void place_init(struct place *p);
/* Starts the server; what its disk holds is known then. */
must_use int place_open(struct place *p);
void place_stop(struct place *p); /* in good order */
void place_free(struct place *p);

/* From now on so many writes of a kind go wrong, after the first `at` of them. */
void place_faults(struct place *p, enum store_write write, enum store_fault fault, int at,
                  int many);

/* Runs the loop until this is so. */
typedef bool place_is_so(void *ctx);
void place_until(struct place *p, place_is_so *is_so, void *ctx);
/* Runs what is to be done now. */
void place_turn(struct place *p);

/* A commit, and its result; the revision in *ret unless NULL. */
int place_commit(struct place *p, struct commit *c, uint64_t *ret);
/* Several commits of one change each, queued together. */
void place_commit_all(struct place *p, struct commit_job *jobs, struct change *changes,
                      size_t n);
int place_put(struct place *p, const char *id, const char *content, uint64_t *ret);

/* Connects an instance that wants the namespace "a"; NULL when it was not let in. */
struct instance *place_connect(struct place *p, const char *id);
/* Its stream ends. */
void place_leave(struct place *p, struct instance *i);

/* What an instance says of the newest state. */
enum says {
    SAYS_OK,      /* that it serves it, with proof */
    SAYS_REFUSED, /* that it refuses a/item/x as its view has it */
    SAYS_WRONG,   /* something that proves nothing */
};
must_use int place_say(struct place *p, struct instance *i, enum says says);

#endif
