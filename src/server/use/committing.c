/*
 * From a request to a commit and its answer. See committing.h.
 */
#include "server/use/committing.h"

#include "model/diff.h"
#include "proto/convert.h"
#include "server/rollout/picture.h"

enum { AGAIN_MAX = 8, LOOKED_AT_BESIDE = 64 << 10 };

/* ---- from the request ---- */

static int patch_from_proto(const Trimtab__V1__MetadataPatch *p, struct meta_patch **ret,
                            struct arena *a, struct err *err)
{
    struct meta_patch *patch = ARENA_NEW(a, struct meta_patch);

    if (!patch)
        return ERR_NOMEM;
    *patch = (struct meta_patch){.set = meta_from_proto(p->set, a),
                                 .clear = texts_from_proto(p->clear, p->n_clear, a),
                                 .n_clear = p->n_clear};
    *ret = patch;
    return arena_failed(a) ? ERR_NOMEM : meta_patch_check(patch, err);
}

static int change_from_proto(const Trimtab__V1__Change *p, struct change *c, struct arena *a,
                             struct err *err)
{
    if (*p->text && p->content.len)
        return err_set(err, ERR_INVALID, "give either text or content, not both");
    if (p->metadata && p->patch)
        return err_set(err, ERR_INVALID, "give either metadata or a patch of it, not both");
    *c = (struct change){
        .id = str_c(p->id),
        .delete = p->delete_,
        .create_only = p->create_only,
        .keep_meta = !p->metadata,
        .based_on = p->based_on,
        .content_type = str_c(p->content_type),
        .content = p->content.len ? proto_str(p->content) : str_c(p->text),
        .meta = meta_from_proto(p->metadata, a),
    };
    if (arena_failed(a))
        return ERR_NOMEM;
    return p->patch ? patch_from_proto(p->patch, &c->patch, a, err) : 0;
}

int api_changes(struct api_call *call, Trimtab__V1__Change *const *list, size_t n, size_t more)
{
    struct commit *commit = &call->commit.commit;
    int r = 0;

    if (n > COMMIT_CHANGES_MAX)
        return err_set(&call->err, ERR_LIMIT, "a commit of %zu changes, more than %d", n,
                       COMMIT_CHANGES_MAX);
    commit->changes = ARENA_ARRAY(&call->arena, struct change, n + more);
    if (!commit->changes)
        return ERR_NOMEM;
    for (; !r && commit->n < n; commit->n++) {
        r = change_from_proto(list[commit->n], &commit->changes[commit->n], &call->arena,
                              &call->err);
        if (r && call->err.code)
            err_place(&call->err, "%.*s", ID_BYTES_MAX, list[commit->n]->id);
    }
    return r;
}

void api_describe(struct api_call *call, const char *message, const char *request_id,
                  const char *action)
{
    owned(auth_record_unref) struct auth_record *auth = auth_current(call->hub->auth);
    struct commit *c = &call->commit.commit;

    c->has_local_admin = auth_has_local_admin(auth);
    c->author = str_c(call->who.name);
    c->message = str_c(message);
    c->request_id = str_c(request_id);
    c->origin = str_c(call->origin);
    c->action = str_c(action);
    c->time_ms = clock_wall_ms();
}

/* ---- to the response ---- */

static int make_diff(struct api_call *call, const struct change *c, const struct change_plan *p,
                     struct str *ret)
{
    owned(buf) struct buf diff =
        BUF_NULL(MIN(DIFF_BYTES_MAX, DIFFS_BYTES_MAX - call->diff_bytes));
    bool had = version_is_live(p->old);
    struct diff_names names = {had ? c->id : STR_NULL, c->delete ? STR_NULL : c->id};
    int rc = diff_unified(had ? p->old->content : STR_NULL, c->delete ? STR_NULL : c->content,
                          &names, &diff);

    if (rc)
        return rc;
    if (!buf_status(&diff))
        call->diff_bytes += diff.len;
    *ret = arena_str(&call->arena,
                     buf_status(&diff) ? STR("(too large to show)\n") : buf_str(&diff));
    return arena_failed(&call->arena) ? ERR_NOMEM : 0;
}

static int make_diffs(struct api_call *call)
{
    struct commit_job *job = &call->commit;
    int r = 0;

    call->diff_bytes = 0;
    call->diffs = ARENA_ARRAY(&call->arena, struct str, job->commit.n);
    if (!call->diffs)
        return ERR_NOMEM;
    for (size_t i = 0; i < job->commit.n && !r; i++)
        r = make_diff(call, &job->commit.changes[i], &job->plans[i], &call->diffs[i]);
    return r;
}

static Trimtab__V1__ChangeResult *change_result(struct api_call *call, size_t i)
{
    const struct change *c = &call->commit.commit.changes[i];
    const struct change_plan *p = &call->commit.plans[i];
    Trimtab__V1__ChangeResult *r = ARENA_NEW(&call->arena, Trimtab__V1__ChangeResult);

    if (!r)
        return NULL;
    trimtab__v1__change_result__init(r);
    r->id = arena_c(&call->arena, c->id);
    r->action = arena_c(&call->arena, str_c(change_action_name(p->action)));
    r->version = p->number;
    r->previous_version = p->old ? p->old->number : 0;
    if (call->diffs)
        r->diff = arena_c(&call->arena, call->diffs[i]);
    return r;
}

int api_results(struct api_call *call, Trimtab__V1__ChangeResult ***ret, size_t *ret_n)
{
    size_t n = call->commit.repeated ? 0 : call->commit.commit.n;
    Trimtab__V1__ChangeResult **list =
        ARENA_ARRAY(&call->arena, Trimtab__V1__ChangeResult *, n);

    *ret_n = 0;
    *ret = list;
    for (; list && *ret_n < n; (*ret_n)++) {
        list[*ret_n] = change_result(call, *ret_n);
        if (!list[*ret_n])
            return ERR_NOMEM;
    }
    return list ? 0 : ERR_NOMEM;
}

/* ---- on the way ---- */

/* Of the rollouts that the commit ends. */
static int take_pictures(struct api_call *call)
{
    struct commit *c = &call->commit.commit;
    int r = 0;

    for (size_t i = 0; i < c->n_moves && !call->commit.is_dry_run && !r; i++)
        r = picture_take(&call->driver->drives, &c->moves[i], &call->arena);
    return r;
}

static void submit(struct api_call *call);

static void commit_done(struct commit_job *job)
{
    struct api_call *call = CONTAINER_OF(job, struct api_call, commit);

    if (job->result == ERR_CONFLICT && call->again && call->n_again++ < AGAIN_MAX &&
        call->again(call) && take_pictures(call) == 0)
        submit(call);
    else if (job->result)
        api_fail(call, &job->err);
    else
        call->committed(call);
}

/* ---- what is found out beside the loops and the committer ---- */

/* A worker. */
static void try(struct work *w, void *ctx)
{
    struct api_call *call = ctx;
    struct commit_job *job = &call->commit;
    int r;

    (void)w;
    commit_job_try(job, call->looked_at);
    r = job->result ? 0 : make_diffs(call);
    if (r) {
        job->result = r;
        (void)err_set(&job->err, r, "out of memory");
    }
}

static void tried(struct work *w, void *ctx)
{
    struct api_call *call = ctx;

    (void)w;
    call->looked_at = state_unref(call->looked_at);
    call->commit.done(&call->commit);
}

static void look_at_contents(struct work *w, void *ctx)
{
    struct api_call *call = ctx;

    (void)w;
    commit_check_contents(call->looked_at, &call->commit.commit, &call->arena);
}

static void looked(struct work *w, void *ctx)
{
    struct api_call *call = ctx;

    (void)w;
    call->looked_at = state_unref(call->looked_at);
    committer_commit(call->hub->committer, &call->commit);
}

static size_t content_bytes(const struct commit *c)
{
    size_t bytes = 0;

    for (size_t i = 0; i < c->n; i++)
        bytes = size_add(bytes, c->changes[i].content.len);
    return bytes;
}

/* Others' commits do not wait for a dry run, nor while large contents are parsed. */
static void submit(struct api_call *call)
{
    bool is_dry_run = call->commit.is_dry_run;

    if (!is_dry_run && content_bytes(&call->commit.commit) < LOOKED_AT_BESIDE) {
        committer_commit(call->hub->committer, &call->commit);
        return;
    }
    ASSERT(!call->looked_at);
    call->looked_at = state_ref(call->hub->state);
    call->beside = (struct work)
    {
        .run = is_dry_run ?
        try : look_at_contents,
            .done = is_dry_run ? tried : looked, .ctx = call
    };
    loop_work(call->hub->loop, &call->beside);
}

void api_submit(struct api_call *call, void (*committed)(struct api_call *call))
{
    struct err err = ERR_NULL;

    if (call->hub->is_draining) {
        (void)err_set(&err, ERR_UNAVAILABLE, "the server is shutting down");
        err_hint(&err, "try again, or another server");
        api_fail(call, &err);
        return;
    }
    if (call->commit.commit.request_id.len > STORE_REQUEST_MAX) {
        (void)err_set(&err, ERR_INVALID, "a request id has at most %d bytes",
                      STORE_REQUEST_MAX);
        err_place(&err, "request_id");
        api_fail(call, &err);
        return;
    }
    if (take_pictures(call)) {
        api_fail_code(call, ERR_NOMEM);
        return;
    }
    call->committed = committed;
    call->commit.principal = &call->principal;
    call->commit.done = commit_done;
    submit(call);
}

/* ---- overriding ---- */

/* A rollout is ended once, however many of its resources are published. */
static void end_rollout(struct commit *commit, const struct rollout *r)
{
    for (size_t i = 0; i < commit->n_moves; i++)
        if (commit->moves[i].id == r->id)
            return;
    commit->moves[commit->n_moves++] = (struct rollout_move){
        .kind = MOVE_OVERRIDE, .id = r->id, .expected = r->n_moves, .reason = commit->override};
}

/* Whether a change is another than what is stable, and which rollout carries its resource (NULL: none). */
static bool differs(const struct state *s, const struct change *c,
                    const struct rollout **ret_carrier)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    struct name name;

    *ret_carrier = NULL;
    if (name_parse(c->id, &name, NULL) == 0)
        name_put_key(name, &key);
    if (!key.len || buf_status(&key))
        return true; /* an id that is none is left to the check of the commit */
    *ret_carrier = state_carrier(s, buf_str(&key), NULL);
    return !change_gives(c, state_find(s, buf_str(&key)));
}

/*
 * Ends the rollouts that carry what is changed. When nothing is, the override is about the rollouts themselves: everybody
 * is to have what is stable.
 */
static void end_carriers(struct api_call *call)
{
    struct commit *commit = &call->commit.commit;
    const struct rollout *r;
    bool any = false;

    commit->n_moves = 0;
    for (size_t i = 0; i < commit->n && !any; i++)
        any = differs(call->hub->state, &commit->changes[i], &r);
    for (size_t i = 0; i < commit->n; i++)
        if ((differs(call->hub->state, &commit->changes[i], &r) || !any) && r)
            end_rollout(commit, r);
}

static uint64_t moves_seen(const struct commit *c)
{
    uint64_t n = 0;

    for (size_t i = 0; i < c->n_moves; i++)
        n += c->moves[i].id + c->moves[i].expected;
    return n;
}

/* Who publishes in an emergency does not lose to a step that begins meanwhile. */
static bool override_again(struct api_call *call)
{
    uint64_t before = moves_seen(&call->commit.commit);

    end_carriers(call);
    return moves_seen(&call->commit.commit) != before;
}

int api_override(struct api_call *call, const char *reason)
{
    struct commit *commit = &call->commit.commit;

    if (!*reason)
        return 0;
    commit->override = str_c(reason);
    commit->moves = ARENA_ARRAY(&call->arena, struct rollout_move, commit->n);
    if (!commit->moves)
        return ERR_NOMEM;
    call->again = override_again;
    end_carriers(call);
    return 0;
}
