/*
 * The table of the use cases. See methods.h.
 */
#include "server/use/methods.h"

#define METHOD(method, use, right)                                                             \
    {                                                                                          \
#method, &trimtab__v1__##use##_request__descriptor, right, api_##use                   \
    }

const struct api_method api_methods[] = {
    METHOD(Commit, commit, RIGHT_WRITE),
    METHOD(Get, get, RIGHT_READ),
    METHOD(List, list, RIGHT_READ),
    METHOD(History, history, RIGHT_READ),
    METHOD(Commits, commits, RIGHT_READ),
    METHOD(Diff, diff, RIGHT_READ),
    METHOD(Rollback, rollback, RIGHT_WRITE),
    METHOD(Instances, instances, RIGHT_READ),
    METHOD(ForgetInstance, forget_instance, RIGHT_OPERATE),
    METHOD(Status, status, RIGHT_READ),
    METHOD(Running, running, RIGHT_READ),
    METHOD(Info, info, RIGHT_READ),
    METHOD(StartRollout, start_rollout, RIGHT_WRITE),
    METHOD(PreviewRollout, preview_rollout, RIGHT_READ),
    METHOD(MoveRollout, move_rollout, RIGHT_WRITE),
    METHOD(GetRollout, get_rollout, RIGHT_READ),
    METHOD(ListRollouts, list_rollouts, RIGHT_READ),
    METHOD(Order, order, RIGHT_WRITE),
    METHOD(Orders, orders, RIGHT_READ),
    METHOD(ReleaseRestore, release_restore, RIGHT_OPERATE),
    METHOD(WhoCan, who_can, RIGHT_READ),
    METHOD(Grants, grants, RIGHT_READ),
    METHOD(Tokens, tokens, RIGHT_READ),
};
const size_t api_methods_n = ARRAY_LEN(api_methods);
