/*
 * Publishing and rolling back: requests become commits, commits become answers.
 */
#include "server/api.h"

#include "model/below.h"
#include "model/diff.h"
#include "proto/record.h"
#include "server/canary.h"
#include "server/order_view.h"
#include "server/rollout_picture.h"

enum { PRUNE_MAX = 100, AGAIN_MAX = 8, PRUNE_FEW = 10 };

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

/* A pruned namespace: how much it holds, and how much of that goes. */
struct pruning {
    size_t held, deleted;
};

/*
 * An empty folder, the wrong one or a checkout that failed looks like a wish to delete everything. Whoever prunes that
 * much says that it is meant.
 */
static int check_pruning(struct api_call *call, const char *ns, const struct pruning *p)
{
    const Trimtab__V1__CommitRequest *q = (const Trimtab__V1__CommitRequest *)call->request;
    bool is_all = p->deleted && p->deleted == p->held;
    bool is_most = p->held > PRUNE_FEW && p->deleted > p->held / 2;

    if (q->prune_confirmed || q->dry_run || (!is_all && !is_most))
        return 0;
    (void)err_set(&call->err, ERR_REFUSED, "prune would delete %zu of %zu resources of %s",
                  p->deleted, p->held, ns);
    err_place(&call->err, "prune");
    err_hint(&call->err, "look at it with a dry run; if it is meant, confirm it: publish --yes, "
                         "or prune_confirmed");
    return ERR_REFUSED;
}

static bool is_named(const struct change *changes, size_t n, struct str id)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(changes[i].id, id))
            return true;
    return false;
}

/* Deletes what lies in a namespace that is to be pruned and is not named by any change. */
static int prune(struct api_call *call, const char *ns, struct change *changes, size_t *n,
                 size_t room)
{
    struct below_walk walk;
    struct version *v;
    struct pruning p = {0, 0};
    size_t given =
        *n; /* what a former prune added counts: a namespace named twice is pruned once */

    below_walk_init(&walk, call->state,
                    &(struct below_opts){.space = str_c(ns), .depth = BELOW_SELF});
    while ((v = below_walk_next(&walk))) {
        owned(buf) struct buf id = BUF_NULL(ID_BYTES_MAX);

        if (v->deleted)
            continue;
        p.held++;
        key_put_id(v->key, &id);
        if (is_named(changes, given, buf_str(&id)))
            continue;
        if (*n >= room)
            return err_set(&call->err, ERR_LIMIT, "more than %d changes", COMMIT_CHANGES_MAX);
        changes[(*n)++] =
            (struct change){.id = arena_str(&call->arena, buf_str(&id)), .delete = true};
        p.deleted++;
    }
    return arena_failed(&call->arena) ? ERR_NOMEM : check_pruning(call, ns, &p);
}

void api_describe(struct api_call *call, const char *message, const char *request_id,
                  const char *action)
{
    struct commit *c = &call->commit.commit;

    c->author = str_c(call->who.name);
    c->message = str_c(message);
    c->request_id = str_c(request_id);
    c->origin = str_c(call->origin);
    c->action = str_c(action);
    c->time_ms = clock_wall_ms();
}

/* ---- to the response ---- */

static int put_diff(struct api_call *call, Trimtab__V1__ChangeResult *r, const struct change *c,
                    const struct change_plan *p)
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
    r->diff = arena_c(&call->arena,
                      buf_status(&diff) ? STR("(too large to show)\n") : buf_str(&diff));
    return 0;
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
    if (call->commit.is_dry_run && put_diff(call, r, c, p))
        return NULL;
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

/* What annotations made of it. */
static void put_move(const struct commit_job *job, Trimtab__V1__CommitResponse *m)
{
    const struct rollout_move *move = job->commit.moves;

    if (!job->commit.n_moves)
        return;
    m->rollout = move->kind != MOVE_START ? move->id : job->is_dry_run ? 0 : job->revision;
    m->move = (char *)(uintptr_t)rollout_move_name(move->kind); /* protobuf-c has no const */
}

static void publish_answer(struct api_call *call)
{
    struct commit_job *job = &call->commit;
    Trimtab__V1__CommitResponse *response =
        ARENA_NEW(&call->arena, Trimtab__V1__CommitResponse);

    if (response) {
        trimtab__v1__commit_response__init(response);
        response->revision = job->is_dry_run ? 0 : job->revision;
        response->dry_run = job->is_dry_run;
        if (!job->commit.override.len)
            put_move(job, response);
        if (job->commit.order)
            response->retried = job->commit.order->n_instances;
        if (api_results(call, &response->changes, &response->n_changes))
            response = NULL;
    }
    api_answer(call, (ProtobufCMessage *)response);
}

/* ---- on the way ---- */

/* Of the rollouts that the commit ends. */
static int take_pictures(struct api_call *call)
{
    struct commit *c = &call->commit.commit;
    int r = 0;

    for (size_t i = 0; i < c->n_moves && !call->commit.is_dry_run && !r; i++)
        r = picture_take(call->app, &c->moves[i], &call->arena);
    return r;
}

static void commit_done(struct commit_job *job)
{
    struct api_call *call = CONTAINER_OF(job, struct api_call, commit);

    if (job->result == ERR_CONFLICT && call->again && call->n_again++ < AGAIN_MAX &&
        call->again(call) && take_pictures(call) == 0)
        committer_commit(call->app->committer, job);
    else if (job->result)
        api_fail(call, &job->err);
    else
        call->committed(call);
}

void api_submit(struct api_call *call, void (*committed)(struct api_call *call))
{
    struct err err = ERR_NULL;

    if (call->app->is_draining) {
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
    call->commit.done = commit_done;
    committer_commit(call->app->committer, &call->commit);
}

void api_fail_here(struct api_call *call, int r)
{
    if (!call->err.code)
        (void)err_set(&call->err, r, "%s",
                      r == ERR_NOMEM ? "out of memory" : "the request failed");
    api_fail(call, &call->err);
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
        any = differs(call->app->state, &commit->changes[i], &r);
    for (size_t i = 0; i < commit->n; i++)
        if ((differs(call->app->state, &commit->changes[i], &r) || !any) && r)
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

/* ---- publishing ---- */

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

static int make_changes(struct api_call *call, const Trimtab__V1__CommitRequest *q)
{
    struct commit *commit = &call->commit.commit;
    size_t room = q->n_prune ? (size_t)COMMIT_CHANGES_MAX : q->n_changes;
    int r;

    if (q->n_prune > PRUNE_MAX)
        return err_set(&call->err, ERR_LIMIT, "more than %d namespaces to prune", PRUNE_MAX);
    r = api_changes(call, q->changes, q->n_changes,
                    room > q->n_changes ? room - q->n_changes : 0);
    call->state = state_ref(call->app->state);
    for (size_t i = 0; !r && i < q->n_prune; i++)
        r = prune(call, q->prune[i], commit->changes, &commit->n, room);
    return r;
}

/* The rollout carries just this already. */
static void answer_same(struct api_call *call, const struct rollout *r)
{
    Trimtab__V1__CommitResponse *m = ARENA_NEW(&call->arena, Trimtab__V1__CommitResponse);

    if (m) {
        trimtab__v1__commit_response__init(m);
        m->dry_run = ((const Trimtab__V1__CommitRequest *)call->request)->dry_run;
        m->revision = m->dry_run ? 0 : call->app->state->revision;
        m->rollout = r->id;
    }
    api_answer(call, (ProtobufCMessage *)m);
}

/* An override is what no rollout stands in the way of. */
static int make_commit(struct api_call *call, const struct rollout **ret_same)
{
    const Trimtab__V1__CommitRequest *q = (const Trimtab__V1__CommitRequest *)call->request;
    const struct rollout *r;
    int rc = make_changes(call, q);

    *ret_same = NULL;
    if (!rc && *q->override) {
        canary_strip(&call->commit.commit);
        rc = api_override(call, q->override);
    }
    if (rc || *q->override)
        return rc;
    rc = canary_apply(call, &r);
    if (rc == CANARY_SAME)
        *ret_same = r;
    if (rc == CANARY_NONE)
        return order_again(call);
    return rc == CANARY_NONE || rc == CANARY_MOVES || rc == CANARY_SAME ? 0 : rc;
}

void api_commit(struct api_call *call)
{
    const Trimtab__V1__CommitRequest *q = (const Trimtab__V1__CommitRequest *)call->request;
    const struct rollout *same;
    int r;

    api_describe(call, q->message, q->request_id, "publish");
    r = make_commit(call, &same);
    if (r) {
        api_fail_here(call, r);
        return;
    }
    if (same) {
        answer_same(call, same);
        return;
    }
    call->commit.is_dry_run = q->dry_run;
    if (call->commit.commit.n_moves && !*q->override)
        call->commit.commit.action = STR("rollout");
    api_submit(call, publish_answer);
}

/* ---- rolling back ---- */

/* The change that gives a resource again what it had in a record, which stays until the end of the call. */
static int change_back(struct api_call *call, const Trimtab__V1__RecordChange *old,
                       const char *id, uint64_t based_on, struct change *c)
{
    *c = (struct change){
        .id = str_c(id),
        .delete = !old || old->deleted,
        .based_on = based_on,
    };
    if (!c->delete) {
        c->content_type = str_c(old->content_type);
        c->content = proto_str(old->content);
        c->meta = meta_from_proto(old->metadata, &call->arena);
    }
    return arena_failed(&call->arena) ? ERR_NOMEM : 0;
}

static int back_resource(struct api_call *call, struct store *store,
                         const Trimtab__V1__RollbackRequest *q)
{
    struct change *c = ARENA_NEW(&call->arena, struct change);
    const Trimtab__V1__Record *record;
    struct version *newest;
    uint64_t revision;
    struct str key;
    int r = c ? api_key(call, q->id, &key, &call->err) : ERR_NOMEM;

    if (r)
        return r;
    newest = state_newest(call->state, key);
    if (!newest || (!newest->previous_revision && !q->to_version)) {
        (void)err_set(&call->err, ERR_NOT_FOUND, "there is no earlier version to go back to");
        err_place(&call->err, "%s", q->id);
        return ERR_NOT_FOUND;
    }
    r = api_record_of_version(call, store, newest, q->id, q->to_version, &record, &revision);
    if (r)
        return r;
    call->commit.commit.changes = c;
    call->commit.commit.n = 1;
    return change_back(call, record_change(record, q->id), q->id, newest->number, c);
}

/* What one change of a commit replaced; that version must not have been replaced again since. */
static int back_change(struct api_call *call, struct store *store,
                       const Trimtab__V1__RecordChange *done, struct change *c)
{
    const Trimtab__V1__Record *before = NULL;
    int r =
        done->previous_revision ? api_record(call, store, done->previous_revision, &before) : 0;

    if (r)
        return r;
    return change_back(call, before ? record_change(before, done->id) : NULL, done->id,
                       done->version, c);
}

static int back_commit(struct api_call *call, struct store *store, uint64_t revision)
{
    const Trimtab__V1__Record *record;
    struct commit *commit = &call->commit.commit;
    int r = api_record(call, store, revision, &record);

    if (r)
        return r;
    if (record->n_moves && record->moves[0]->kind == TRIMTAB__V1__MOVE__START) {
        (void)err_set(&call->err, ERR_INVALID, "revision %llu started a rollout",
                      (unsigned long long)revision);
        err_hint(&call->err, "roll that back, or if it was confirmed, the commit that did");
        return ERR_INVALID;
    }
    commit->changes = ARENA_ARRAY(&call->arena, struct change, record->n_changes);
    for (size_t i = 0; commit->changes && i < record->n_changes && !r; i++) {
        r = back_change(call, store, record->changes[i], &commit->changes[i]);
        commit->n++;
    }
    return commit->changes ? r : ERR_NOMEM;
}

static void rollback_read(struct api_call *call, struct store *store)
{
    const Trimtab__V1__RollbackRequest *q = (const Trimtab__V1__RollbackRequest *)call->request;

    call->result =
        q->revision ? back_commit(call, store, q->revision) : back_resource(call, store, q);
}

static void rollback_finish(struct api_call *call)
{
    const Trimtab__V1__RollbackRequest *q = (const Trimtab__V1__RollbackRequest *)call->request;
    int r;

    if (call->result) {
        api_read_finish(call);
        return;
    }
    call->commit.is_dry_run = q->dry_run;
    r = api_override(call, q->override);
    if (r) {
        api_fail_here(call, r);
        return;
    }
    api_describe(call, q->message, q->request_id, "rollback");
    api_submit(call, publish_answer);
}

void api_rollback(struct api_call *call)
{
    const Trimtab__V1__RollbackRequest *q = (const Trimtab__V1__RollbackRequest *)call->request;
    struct err err = ERR_NULL;

    if (!*q->id == !q->revision) {
        (void)err_set(&err, ERR_INVALID,
                      "give either the id of a resource or the revision of a commit");
        api_fail(call, &err);
        return;
    }
    api_read(call, rollback_read, rollback_finish);
}
