/*
 * Publishing and rolling back: requests become commits, commits become answers.
 */
#include "server/use/api.h"

#include "model/below.h"
#include "proto/record.h"
#include "server/use/canary.h"
#include "server/use/committing.h"
#include "server/use/methods.h"
#include "server/use/order_view.h"
#include "server/use/rights_view.h"

enum { PRUNE_MAX = 100, PRUNE_FEW = 10 };

/* ---- pruning ---- */

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
    err_hint(&call->err,
             "look at it with a dry run; if it is meant, confirm it: publish --yes, "
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
    int r =
        api_require(call, RIGHT_TO_EDIT, str_c(ns)); /* before it is told how much there is */

    if (r)
        return r;
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
        if (api_results(call, &response->changes, &response->n_changes) ||
            rights_view_put(call, response))
            response = NULL;
    }
    api_answer(call, (ProtobufCMessage *)response);
}

/* Instead of an answer that something was committed. */
static void refused_answer(struct api_call *call)
{
    const struct commit *c = &call->commit.commit;
    struct arena *a = &call->arena;
    Trimtab__V1__CommitResponse *response = ARENA_NEW(a, Trimtab__V1__CommitResponse);

    if (response) {
        trimtab__v1__commit_response__init(response);
        response->dry_run = call->commit.is_dry_run;
        response->refused = ARENA_ARRAY(a, Trimtab__V1__Error *, c->n_refused);
    }
    for (size_t i = 0; response && response->refused && i < c->n_refused; i++) {
        const struct refusal *r = &c->refused[i];
        Trimtab__V1__Error *e = ARENA_NEW(a, Trimtab__V1__Error);

        if (!e)
            break;
        trimtab__v1__error__init(e);
        e->code = arena_c(a, str_c(err_info(r->code)->name));
        e->message = arena_c(a, r->text);
        e->place = arena_c(a, r->id);
        e->line = r->line;
        e->column = r->column;
        e->hint = arena_c(a, r->hint);
        response->refused[response->n_refused++] = e;
    }
    api_answer(call, (ProtobufCMessage *)(arena_failed(a) ? NULL : response));
}

/* ---- publishing ---- */

static int make_changes(struct api_call *call, const Trimtab__V1__CommitRequest *q)
{
    struct commit *commit = &call->commit.commit;
    size_t room = q->n_prune ? (size_t)COMMIT_CHANGES_MAX : q->n_changes;
    int r;

    if (q->n_prune > PRUNE_MAX)
        return err_set(&call->err, ERR_LIMIT, "more than %d namespaces to prune", PRUNE_MAX);
    r = api_changes(call, q->changes, q->n_changes,
                    room > q->n_changes ? room - q->n_changes : 0);
    call->state = state_ref(call->hub->state);
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
        m->revision = m->dry_run ? 0 : call->hub->state->revision;
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
    if (q->list_refused)
        call->refused = refused_answer;
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
        c->type_against = str_c(old->type_against);
        c->is_guess = !old->type_declared;
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
