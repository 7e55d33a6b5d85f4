/*
 * The use cases: one function per thing that a person can do, and the table by which REST and gRPC find them.
 */
#ifndef TRIMTAB_SERVER_USE_METHODS_H
#define TRIMTAB_SERVER_USE_METHODS_H

#include "server/use/api.h"

extern const struct api_method api_methods[];
extern const size_t api_methods_n;

/* api_publish.c */
void api_commit(struct api_call *call);
void api_rollback(struct api_call *call);
/* api_rollout.c */
void api_start_rollout(struct api_call *call);
void api_move_rollout(struct api_call *call);
void api_preview_rollout(struct api_call *call);
/* rollout_read.c */
/* Whether the caller sees all candidates of a rollout (NULL: none). ERR_DENIED with the story. */
must_use int rollout_require_view(struct api_call *call, const struct rollout *r);
void api_get_rollout(struct api_call *call);
void api_list_rollouts(struct api_call *call);
/* api_order.c */
void api_order(struct api_call *call);
void api_orders(struct api_call *call);
/* api_restore.c */
void api_release_restore(struct api_call *call);
/* api_read.c */
void api_get(struct api_call *call);
void api_list(struct api_call *call);
void api_info(struct api_call *call);
/* api_history.c */
void api_history(struct api_call *call);
void api_commits(struct api_call *call);
void api_diff(struct api_call *call);
/* api_running.c */
void api_running(struct api_call *call);
/* api_instances.c */
void api_instances(struct api_call *call);
void api_status(struct api_call *call);
void api_forget_instance(struct api_call *call);
/* api_rights.c */
void api_who_can(struct api_call *call);
void api_grants(struct api_call *call);
void api_tokens(struct api_call *call);

#endif
