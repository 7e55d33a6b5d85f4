/*
 * The live rollouts with what the driver's last look found of each: what views of rollouts, checks and the driver share.
 * Belongs to the hub's thread.
 */
#ifndef TRIMTAB_SERVER_ROLLOUT_DRIVES_H
#define TRIMTAB_SERVER_ROLLOUT_DRIVES_H

#include "base/vec.h"
#include "model/drive.h"
#include "presence/headcount.h"
#include "server/hub/hub.h"

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

struct drives {
    struct hub *hub;
    VEC(struct drive) list;
};

void drives_deinit(struct drives *d);

/* Whether it was looked at already or not; NULL: it is not among them. */
struct drive *drives_of(const struct drives *d, uint64_t id);

/* How a live rollout stands, as the last look found it; NULL: it was not looked at yet. */
const struct drive *drives_find(const struct drives *d, uint64_t id);

#endif
