/*
 * What one instance says of one rollout that takes it. Belongs to the loop's thread.
 */
#ifndef TRIMTAB_SERVER_ROLLOUT_TARGET_H
#define TRIMTAB_SERVER_ROLLOUT_TARGET_H

#include "model/rollout.h"
#include "server/registry.h"

enum target_state {
    TARGET_APPLIED, /* runs the candidates, and is well */
    TARGET_PENDING, /* may still answer, or is held back by something else */
    TARGET_REFUSED, /* a candidate, by itself */
    TARGET_FAILING, /* runs them, and is not well */
    TARGET_SILENT,  /* owes an answer for too long */
    TARGET_TOO_OLD, /* knows nothing of rollouts, so it has what is stable */
    TARGET_OFFLINE,
};
enum { TARGET_STATES = TARGET_OFFLINE + 1, TARGET_WHY_MAX = 512 };

/* As people see it: gray_ok, pending, gray_error, stale or offline. */
const char *target_state_name(enum target_state s);

/*
 * From its own words only. since is the revision of the step that takes it. why gets the instance's id and what it says,
 * for refusals, failures and what is held back, else "".
 */
enum target_state target_state(const struct instance *i, const struct rollout *r,
                               uint64_t since, nsec_t now, char why[TARGET_WHY_MAX]);

#endif
