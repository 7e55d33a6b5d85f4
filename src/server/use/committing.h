/*
 * What the use cases share that end in a commit: changes from a request, who does what and why, overriding, and the answer.
 */
#ifndef TRIMTAB_SERVER_USE_COMMITTING_H
#define TRIMTAB_SERVER_USE_COMMITTING_H

#include "server/use/api.h"

enum { DIFF_BYTES_MAX = 4 << 20, DIFFS_BYTES_MAX = 16 << 20 }; /* of one change, of all */

/* The changes of a request, with `more` free places behind them. ERR_INVALID, ERR_LIMIT, ERR_NOMEM. */
must_use int api_changes(struct api_call *call, Trimtab__V1__Change *const *list, size_t n,
                         size_t more);
/* Who does what and why; time and origin are those of the call. */
void api_describe(struct api_call *call, const char *message, const char *request_id,
                  const char *action);
/*
 * The commit ends the rollouts that carry its changes, and protection does not hold: for this reason, "" for none.
 * ERR_NOMEM.
 */
must_use int api_override(struct api_call *call, const char *reason);
/* Commits call->commit, and calls `committed` when it is done. */
void api_submit(struct api_call *call, void (*committed)(struct api_call *call));
/* What became of the changes, on the arena; none when a repeated request was answered. ERR_NOMEM. */
must_use int api_results(struct api_call *call, Trimtab__V1__ChangeResult ***ret,
                         size_t *ret_n);

#endif
