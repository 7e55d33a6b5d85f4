/*
 * Moves of rollouts within a commit: which may come together, what they lock, and what protection asks for.
 */
#ifndef TRIMTAB_MODEL_MOVES_H
#define TRIMTAB_MODEL_MOVES_H

#include "model/commit.h"

/*
 * The moves of a commit by themselves, and against the rollouts of s; signs them with the commit's author and time, and
 * compiles targets onto the arena. ERR_NOT_FOUND, ERR_CONFLICT, ERR_INVALID, ERR_LIMIT, ERR_LOCKED, ERR_NOMEM.
 */
must_use int moves_check(const struct state *s, struct commit *c, struct arena *a,
                         struct err *err);

/* Whether the changes are candidates, or those of a rollout that becomes stable. */
bool moves_start(const struct commit *c);
const struct rollout *moves_confirm(const struct state *s, const struct commit *c);

/*
 * Whether this resource may be changed now: not while a rollout carries it that this commit does not end, and not
 * directly when it is protected. ERR_LOCKED with what to do.
 */
must_use int moves_check_change(const struct state *s, const struct commit *c,
                                const struct change *change, struct err *err);

#endif
