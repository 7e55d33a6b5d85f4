/*
 * Letting go, for the whole fleet, of what instances have from the history before a restore. Deletions of it are held (I13)
 * until a person says that the backup was right.
 */
#include "server/use/api.h"
#include "server/use/committing.h"
#include "server/use/methods.h"

static uint64_t count_holding(const struct hub *hub)
{
    struct map_slot *slot;
    uint64_t n = 0;
    size_t at = 0;

    while ((slot = map_each(&hub->roster.instances, &at))) {
        const struct presence *p = ((struct instance *)slot->value)->presence;
        bool holds = false;
        size_t n_exceptions;
        Trimtab__V1__Refusal **list = presence_exceptions(p, &n_exceptions);

        for (size_t i = 0; i < n_exceptions && !holds; i++)
            holds = exception_kind(list[i]) == EXCEPTION_HELD;
        n += holds;
    }
    return n;
}

static void released(struct api_call *call)
{
    const struct commit_job *job = &call->commit;
    Trimtab__V1__ReleaseRestoreResponse *m =
        ARENA_NEW(&call->arena, Trimtab__V1__ReleaseRestoreResponse);

    if (m) {
        trimtab__v1__release_restore_response__init(m);
        m->revision = job->is_dry_run ? 0 : job->revision;
        m->dry_run = job->is_dry_run;
        m->restored_revision = job->commit.restored->revision;
        m->from_revision = job->commit.restored->from_revision;
        m->holding = count_holding(call->hub);
    }
    api_answer(call, (ProtobufCMessage *)m);
}

/* Checks the request against what is known of the restore; *ret is on the arena. */
static int make_release(struct api_call *call, const Trimtab__V1__ReleaseRestoreRequest *q,
                        const struct restored **ret)
{
    struct restored *r = ARENA_NEW(&call->arena, struct restored);

    if (!r)
        return ERR_NOMEM;
    *r = call->hub->state->restored;
    if (!r->revision) {
        (void)err_set(&call->err, ERR_NOT_FOUND, "this log was never restored");
        err_hint(&call->err, "what an instance holds for another reason goes with: trimtab "
                             "instances release ID");
        return ERR_NOT_FOUND;
    }
    if (!*q->reason) {
        (void)err_set(&call->err, ERR_INVALID,
                      "a release of what a restore left needs a reason");
        err_place(&call->err, "reason");
        err_hint(&call->err, "say why the restored log is right; it stands in the history");
        return ERR_INVALID;
    }
    r->deletes_newer = true;
    *ret = r;
    return 0;
}

void api_release_restore(struct api_call *call)
{
    const Trimtab__V1__ReleaseRestoreRequest *q =
        (const Trimtab__V1__ReleaseRestoreRequest *)call->request;
    int r = api_require(call, RIGHT_TO_ADMIN, SPACE_EVERYTHING);

    if (!r)
        r = make_release(call, q, &call->commit.commit.restored);

    if (r) {
        api_fail_here(call, r);
        return;
    }
    call->commit.is_dry_run = q->dry_run;
    api_describe(call, q->reason, q->request_id, "release-restore");
    api_submit(call, released);
}
