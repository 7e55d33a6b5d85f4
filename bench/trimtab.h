/*
 * What only Trimtab has: rollouts, by a writer; and the health that a watcher reports.
 */
#ifndef TRIMTAB_BENCH_TRIMTAB_H
#define TRIMTAB_BENCH_TRIMTAB_H

#include "bench/peer.h"

/*
 * Starts a rollout of the watched value to the watchers of a group. With a soak it is automatic. The answer, as to a put,
 * sets bench.rollout.
 */
void trimtab_start(struct peer_conn *c, struct str value, const char *group, uint64_t soak_ms);
/* Moves bench.rollout; group: of a further step, else NULL. */
void trimtab_move(struct peer_conn *c, const char *move, const char *group);

/* A watcher says how it is, with what it has applied. */
void trimtab_say(struct peer_conn *c, bool is_failing);

#endif
