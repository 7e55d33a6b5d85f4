/*
 * The table of the use cases. See methods.h.
 */
#include "server/use/methods.h"

#define METHOD(method, use, right)                                                             \
    {                                                                                          \
#method, &trimtab__v1__##use##_request__descriptor, right, api_##use                   \
    }

const struct api_method api_methods[] = {
    METHOD(Commit, commit, RIGHT_TO_EDIT),
    METHOD(Get, get, RIGHT_TO_VIEW),
    METHOD(List, list, RIGHT_TO_VIEW),
    METHOD(History, history, RIGHT_TO_VIEW),
    METHOD(Commits, commits, RIGHT_TO_VIEW),
    METHOD(Diff, diff, RIGHT_TO_VIEW),
    METHOD(Rollback, rollback, RIGHT_TO_EDIT),
    METHOD(Instances, instances, RIGHT_TO_VIEW),
    METHOD(ForgetInstance, forget_instance, RIGHT_TO_FORGET),
    METHOD(Status, status, RIGHT_TO_VIEW),
    METHOD(Running, running, RIGHT_TO_VIEW),
    METHOD(Info, info, RIGHT_TO_VIEW),
    METHOD(StartRollout, start_rollout, RIGHT_TO_EDIT),
    METHOD(PreviewRollout, preview_rollout, RIGHT_TO_VIEW),
    METHOD(MoveRollout, move_rollout, RIGHT_TO_VIEW),
    METHOD(GetRollout, get_rollout, RIGHT_TO_VIEW),
    METHOD(ListRollouts, list_rollouts, RIGHT_TO_VIEW),
    METHOD(Order, order, RIGHT_TO_VIEW),
    METHOD(Orders, orders, RIGHT_TO_VIEW),
    METHOD(ReleaseRestore, release_restore, RIGHT_TO_ADMIN),
    METHOD(WhoCan, who_can, RIGHT_TO_VIEW),
    METHOD(Grants, grants, RIGHT_TO_VIEW),
    METHOD(Tokens, tokens, RIGHT_TO_ADMIN),
};
const size_t api_methods_n = ARRAY_LEN(api_methods);
