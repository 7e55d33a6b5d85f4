/*
 * The graph of references: every reference resolves, for everybody, whatever is confirmed or taken back.
 *
 * For each stable or candidate version of A that refers to B:
 *   (R1) if the rollout that carries this version of A also carries B, B must exist there;
 *   (R2) else B must exist in stable, and no live rollout may delete it, except, for a stable version of A, one that
 *        also carries A.
 *   (R3) The edges of all stable and candidate versions together have no cycle.
 *
 * So whatever an instance has, by whichever rollouts take it, refers to what it has too; and since the rule holds for
 * candidates beside the stable versions, confirming or taking back a rollout can never break it.
 */
#ifndef TRIMTAB_MODEL_GRAPH_H
#define TRIMTAB_MODEL_GRAPH_H

#include "model/state.h"

enum { GRAPH_PATH_MAX = 10000 };

/*
 * Whether the rule holds in `after`, the state that this effect gave, when it held before. ERR_INVALID: a reference
 * to what is not there, or a cycle, named in full; ERR_CONFLICT: what goes is in use, named by whom; ERR_LIMIT: a
 * chain of more than GRAPH_PATH_MAX references; ERR_NOMEM. The place is the id of the resource.
 */
must_use int graph_check(const struct state *after, const struct effect *e, struct err *err);

#endif
