/*
 * What a commit of grants and tokens comes to, as people see it. Belongs to the loop's thread.
 */
#ifndef TRIMTAB_SERVER_USE_RIGHTS_VIEW_H
#define TRIMTAB_SERVER_USE_RIGHTS_VIEW_H

#include "server/use/api.h"

/*
 * Puts into the answer who loses and wins which rights by call->commit, which was checked: a dry run or done. Nothing when it
 * touches neither grants nor tokens, or when a repeated request was answered. ERR_NOMEM.
 */
must_use int rights_view_put(struct api_call *call, Trimtab__V1__CommitResponse *m);

#endif
