/*
 * Reading what was: versions, commits and differences, from the log, beside the commits.
 */
#include "server/use/api.h"
#include "server/use/committing.h"
#include "server/use/methods.h"

#include "model/diff.h"
#include "model/rollout.h"
#include "proto/record.h"

enum {
    HISTORY_DEFAULT = 20,
    HISTORY_MAX = 1000,
    DIFF_ANSWER_MAX = 8 << 20,
    DIFF_DEFAULT = 1000, /* resources of a commit */
    DIFF_MAX = 10000,
    DIFF_PART_BYTES =
        1 << 20, /* of a commit's difference: a part ends behind the change that reaches it */
    SCAN_RECORDS_MAX = 2000, /* looked at by one request */
    SCAN_BYTES_MAX = 32 << 20,
    CLOCKS_APART_MS = 3600 * 1000, /* how much the clocks of servers may differ */
};

static void not_there(struct api_call *call, const char *id)
{
    call->result = err_set(&call->err, ERR_NOT_FOUND, "there never was such a resource");
    err_place(&call->err, "%s", id);
}

/* ---- history of one resource ---- */

static Trimtab__V1__Resource *history_entry(struct api_call *call,
                                            const Trimtab__V1__Record *record,
                                            const Trimtab__V1__RecordChange *change,
                                            uint64_t revision)
{
    struct arena *a = &call->arena;
    struct version *v = version_from_record(change, revision, record->time_ms);
    Trimtab__V1__Resource *r = v ? resource_message(v, false, a) : NULL;

    if (r) {
        r->author = arena_c(a, str_c(record->author));
        r->message = arena_c(a, str_c(record->message));
    }
    (void)version_unref(v);
    return r;
}

static int history_walk(struct api_call *call, struct store *store,
                        const struct version *newest, Trimtab__V1__HistoryResponse *response,
                        size_t limit)
{
    const Trimtab__V1__HistoryRequest *q = (const Trimtab__V1__HistoryRequest *)call->request;
    uint64_t revision = q->before ? api_version_from(call, store, newest, q->id, q->before - 1)
                                  : newest->revision;

    while (revision && response->n_versions < limit) {
        const Trimtab__V1__Record *record;
        const Trimtab__V1__RecordChange *change;
        int r = api_record(call, store, revision, &record);

        if (r == ERR_COMPACTED) /* the rest of the chain is gone: that is its end */
            return 0;
        if (r)
            return r;
        change = record_change(record, q->id);
        if (!change)
            return ERR_CORRUPT;
        if (!q->before || change->version < q->before) {
            response->versions[response->n_versions] =
                history_entry(call, record, change, revision);
            if (!response->versions[response->n_versions++])
                return ERR_NOMEM;
        }
        revision = change->previous_revision;
        api_record_drop(call);
    }
    return 0;
}

static void history_read(struct api_call *call, struct store *store)
{
    const Trimtab__V1__HistoryRequest *q = (const Trimtab__V1__HistoryRequest *)call->request;
    size_t limit = MIN(q->limit ? q->limit : HISTORY_DEFAULT, (size_t)HISTORY_MAX);
    Trimtab__V1__HistoryResponse *response =
        ARENA_NEW(&call->arena, Trimtab__V1__HistoryResponse);
    const struct version *newest;
    struct str key;

    call->result = api_key(call, q->id, &key, &call->err);
    if (call->result || !response)
        return;
    trimtab__v1__history_response__init(response);
    response->versions = ARENA_ARRAY(&call->arena, Trimtab__V1__Resource *, limit);
    newest = state_newest(call->state, key);
    if (!newest) {
        not_there(call, q->id);
        return;
    }
    call->result =
        response->versions ? history_walk(call, store, newest, response, limit) : ERR_NOMEM;
    call->response = &response->base;
}

void api_history(struct api_call *call)
{
    const Trimtab__V1__HistoryRequest *q = (const Trimtab__V1__HistoryRequest *)call->request;
    int r = api_require_sight(call, q->id);

    if (r) {
        api_fail_here(call, r);
        return;
    }
    api_read(call, history_read, api_read_finish);
}

/* ---- commits ---- */

static const char *action_of(const Trimtab__V1__RecordChange *c)
{
    if (c->deleted)
        return "deleted";
    return c->previous_revision ? "updated" : "created";
}

static bool add_changes(struct arena *a, const struct sight *sight,
                        const Trimtab__V1__Record *record, Trimtab__V1__CommitInfo *info)
{
    info->changes = ARENA_ARRAY(a, Trimtab__V1__ChangeResult *, record->n_changes);
    for (size_t i = 0; info->changes && i < record->n_changes; i++) {
        Trimtab__V1__ChangeResult *r;

        if (!sight_has_id(sight, record->changes[i]->id))
            continue;
        r = ARENA_NEW(a, Trimtab__V1__ChangeResult);
        if (!r)
            return false;
        trimtab__v1__change_result__init(r);
        r->id = arena_c(a, str_c(record->changes[i]->id));
        r->action = arena_c(a, str_c(action_of(record->changes[i])));
        r->version = record->changes[i]->version;
        r->previous_version = record->changes[i]->previous_version;
        info->changes[info->n_changes++] = r;
    }
    return info->changes != NULL;
}

static const char *move_name(const Trimtab__V1__RolloutMove *m)
{
    return (int)m->kind >= 0 && (int)m->kind < ROLLOUT_MOVES
               ? rollout_move_name((enum rollout_move_kind)m->kind)
               : "";
}

/* A start is a move of the rollout that its commit gave the name to. */
static uint64_t rollout_of_move(const Trimtab__V1__RolloutMove *m, uint64_t revision)
{
    return m->kind == TRIMTAB__V1__MOVE__START ? revision : m->rollout;
}

static bool add_moves(struct arena *a, const Trimtab__V1__Record *record, uint64_t revision,
                      Trimtab__V1__CommitInfo *info)
{
    info->moves = ARENA_ARRAY(a, Trimtab__V1__MoveInfo *, record->n_moves);
    for (size_t i = 0; info->moves && i < record->n_moves; i++) {
        Trimtab__V1__MoveInfo *m = ARENA_NEW(a, Trimtab__V1__MoveInfo);

        if (!m)
            return false;
        trimtab__v1__move_info__init(m);
        m->rollout = rollout_of_move(record->moves[i], revision);
        m->move = arena_c(a, str_c(move_name(record->moves[i])));
        m->reason = arena_c(a, str_c(record->moves[i]->reason));
        m->force = arena_c(a, str_c(record->moves[i]->force));
        info->moves[info->n_moves++] = m;
    }
    return info->moves != NULL;
}

static Trimtab__V1__CommitInfo *commit_info(struct arena *a, const struct sight *sight,
                                            const Trimtab__V1__Record *record,
                                            uint64_t revision)
{
    Trimtab__V1__CommitInfo *info = ARENA_NEW(a, Trimtab__V1__CommitInfo);
    char time[WALL_TEXT_MAX];

    if (!info)
        return NULL;
    trimtab__v1__commit_info__init(info);
    wall_format(record->time_ms, time);
    info->revision = revision;
    info->author = arena_c(a, str_c(record->author));
    info->time = arena_c(a, str_c(time));
    info->message = arena_c(a, str_c(record->message));
    info->origin = arena_c(a, str_c(record->origin));
    info->action = arena_c(a, str_c(record->action));
    info->request_id = arena_c(a, str_c(record->request_id));
    info->override = arena_c(a, str_c(record->override));
    if (record->order && (int)record->order->kind >= 0 &&
        (int)record->order->kind < ORDER_KINDS) {
        info->order = arena_c(a, str_c(order_kind_name((enum order_kind)record->order->kind)));
        info->order_reason = arena_c(a, str_c(record->order->reason));
    }
    return add_changes(a, sight, record, info) && add_moves(a, record, revision, info) ? info
                                                                                       : NULL;
}

/* ---- which commits are asked for ---- */

static bool has_prefix(const Trimtab__V1__Record *record, struct str prefix,
                       const struct sight *sight)
{
    for (size_t i = 0; i < record->n_changes; i++)
        if (str_starts(str_c(record->changes[i]->id), prefix) &&
            sight_has_id(sight, record->changes[i]->id))
            return true;
    return prefix.len == 0;
}

/* Who sees one of its changes, or all that one of its moves is about, sees the commit, with these changes only. */
static bool is_seen(const struct api_call *call, const struct sight *sight,
                    const Trimtab__V1__Record *record, uint64_t revision)
{
    for (size_t i = 0; i < record->n_changes && !sight->is_all; i++)
        if (sight_has_id(sight, record->changes[i]->id))
            return true;
    for (size_t i = 0; i < record->n_moves && !sight->is_all; i++)
        if (sight_has_rollout(
                sight, state_rollout(call->state, rollout_of_move(record->moves[i], revision))))
            return true;
    return sight->is_all;
}

static bool has_action(const Trimtab__V1__Record *record, const char *action)
{
    for (size_t i = 0; i < record->n_moves; i++)
        if (strcmp(move_name(record->moves[i]), action) == 0)
            return true;
    return !*action || strcmp(record->action, action) == 0;
}

static int sees_nothing(struct api_call *call)
{
    return err_set(&call->err, ERR_DENIED, "%s may see nothing of what this commit changed",
                   call->who.subject);
}

static bool has_rollout(const Trimtab__V1__Record *record, uint64_t revision, uint64_t rollout)
{
    for (size_t i = 0; i < record->n_moves; i++)
        if (rollout_of_move(record->moves[i], revision) == rollout)
            return true;
    return !rollout;
}

static bool is_asked_for(const Trimtab__V1__CommitsRequest *q,
                         const Trimtab__V1__Record *record, uint64_t revision,
                         const struct sight *sight)
{
    uint64_t time_ms = record->time_ms > 0 ? (uint64_t)record->time_ms : 0;

    return (!*q->author || strcmp(record->author, q->author) == 0) && time_ms >= q->since_ms &&
           (!q->until_ms || time_ms <= q->until_ms) &&
           has_prefix(record, str_c(q->prefix), sight) && has_action(record, q->action) &&
           has_rollout(record, revision, q->rollout);
}

/* Older ones are not asked for either, as far as clocks can be believed. */
static bool is_too_old(const Trimtab__V1__CommitsRequest *q, const Trimtab__V1__Record *record)
{
    return record->time_ms >= 0 &&
           (uint64_t)record->time_ms + (uint64_t)CLOCKS_APART_MS < q->since_ms;
}

static size_t record_bytes(const Trimtab__V1__Record *record)
{
    size_t bytes = 0;

    for (size_t i = 0; i < record->n_changes; i++)
        bytes = size_add(bytes, record->changes[i]->content.len);
    return bytes;
}

/* Looks back from *revision, which it leaves at the first that was not looked at; 0: there are no more. */
static int commits_walk(struct api_call *call, struct store *store, uint64_t *revision,
                        size_t limit, Trimtab__V1__CommitsResponse *response)
{
    const Trimtab__V1__CommitsRequest *q = (const Trimtab__V1__CommitsRequest *)call->request;
    struct sight sight = api_sight(call);
    size_t n = 0, bytes = 0;

    for (; *revision && response->n_commits < limit; (*revision)--) {
        const Trimtab__V1__Record *record;
        int r;

        if (*revision < q->since || n++ == SCAN_RECORDS_MAX || bytes > SCAN_BYTES_MAX)
            break;
        r = api_record(call, store, *revision, &record);
        if (r)
            return r;
        if (is_too_old(q, record)) {
            *revision = 0;
            return 0;
        }
        if (q->revision && !is_seen(call, &sight, record, *revision))
            return sees_nothing(call);
        bytes += record_bytes(record);
        if (is_asked_for(q, record, *revision, &sight) &&
            is_seen(call, &sight, record, *revision)) {
            response->commits[response->n_commits] =
                commit_info(&call->arena, &sight, record, *revision);
            if (!response->commits[response->n_commits++])
                return ERR_NOMEM;
        }
        api_record_drop(call);
        if (q->revision) /* only this one */
            break;
    }
    if (*revision < q->since)
        *revision = 0;
    return 0;
}

static void commits_read(struct api_call *call, struct store *store)
{
    const Trimtab__V1__CommitsRequest *q = (const Trimtab__V1__CommitsRequest *)call->request;
    size_t limit =
        q->revision ? 1 : MIN(q->limit ? q->limit : HISTORY_DEFAULT, (size_t)HISTORY_MAX);
    uint64_t revision = q->revision ? q->revision : call->state->revision;
    Trimtab__V1__CommitsResponse *response =
        ARENA_NEW(&call->arena, Trimtab__V1__CommitsResponse);

    call->result = ERR_NOMEM;
    if (!response)
        return;
    trimtab__v1__commits_response__init(response);
    response->commits = ARENA_ARRAY(&call->arena, Trimtab__V1__CommitInfo *, limit);
    if (!response->commits)
        return;
    if (!q->revision && q->before)
        revision = MIN(revision, q->before - 1);
    call->result = commits_walk(call, store, &revision, limit, response);
    if (call->result == ERR_COMPACTED && !q->revision) /* the rest is gone: that is the end */
    {
        call->result = 0;
        revision = 0;
    }
    response->next = q->revision || !revision ? 0 : revision + 1;
    call->response = &response->base;
}

void api_commits(struct api_call *call)
{
    api_read(call, commits_read, api_read_finish);
}

/* ---- differences ---- */

struct side {
    struct str content;
    char name[ID_BYTES_MAX + 32];
    bool exists;
};

static void side_of(struct side *s, const char *id, const Trimtab__V1__RecordChange *c)
{
    *s = (struct side){.exists = c && !c->deleted};
    if (!s->exists)
        return;
    s->content = proto_str(c->content);
    (void)snprintf(s->name, sizeof(s->name), "%s@%llu", id, (unsigned long long)c->version);
}

static int put_diff(const struct side *before, const struct side *after, struct buf *out)
{
    struct diff_names names = {before->exists ? str_c(before->name) : STR_NULL,
                               after->exists ? str_c(after->name) : STR_NULL};

    return diff_unified(before->content, after->content, &names, out);
}

/* One part of what a commit changed. */
struct part {
    Trimtab__V1__DiffResponse *m;
    struct buf text;
    size_t n;          /* changes in it */
    uint64_t held;     /* revision of the kept record of older versions; 0: none is */
    size_t bytes_read; /* of such records */
};

static bool is_full(const struct part *p, size_t limit)
{
    return p->n == limit ||
           (p->n && (p->text.len >= DIFF_PART_BYTES || p->bytes_read >= SCAN_BYTES_MAX));
}

/* The record of an older version. Most commits change what one commit has published, so the last one is kept. */
static int read_older(struct api_call *call, struct store *store, struct part *p,
                      uint64_t revision, const Trimtab__V1__Record **ret)
{
    bool is_kept = p->held == revision;
    int r;

    if (p->held && !is_kept)
        api_record_drop(call);
    p->held = 0;
    r = api_record(call, store, revision, ret);
    if (r)
        return r;
    p->held = revision;
    p->bytes_read += is_kept ? 0 : record_bytes(*ret);
    return 0;
}

/* One that is too large is named. */
static int put_limited(const struct side *old, const struct side *new, struct buf *out)
{
    owned(buf) struct buf one = BUF_NULL(DIFF_BYTES_MAX);
    int r = put_diff(old, new, &one);

    if (r)
        return r;
    if (buf_status(&one) == ERR_LIMIT)
        buf_printf(out, "--- %s\n+++ %s\n(too large to show)\n",
                   old->exists ? old->name : "/dev/null",
                   new->exists ? new->name : "/dev/null");
    else
        buf_put_str(out, buf_str(&one));
    return buf_status(&one) == ERR_NOMEM ? ERR_NOMEM : 0;
}

static int put_change(struct api_call *call, struct store *store,
                      const Trimtab__V1__RecordChange *c, struct part *p)
{
    const Trimtab__V1__Record *before = NULL;
    struct side old, new;
    int r =
        c->previous_revision ? read_older(call, store, p, c->previous_revision, &before) : 0;

    if (r)
        return r;
    side_of(&old, c->id, before ? record_change(before, c->id) : NULL);
    side_of(&new, c->id, c);
    p->n++;
    return put_limited(&old, &new, &p->text);
}

/* Where a part begins: behind the change of this id. */
static int find_after(struct api_call *call, const Trimtab__V1__Record *record, size_t *ret_at)
{
    const Trimtab__V1__DiffRequest *q = (const Trimtab__V1__DiffRequest *)call->request;

    for (*ret_at = 0; *q->after && *ret_at < record->n_changes; (*ret_at)++)
        if (strcmp(record->changes[*ret_at]->id, q->after) == 0)
            break;
    if (!*q->after || (*ret_at)++ < record->n_changes)
        return 0;
    (void)err_set(&call->err, ERR_INVALID, "after is what an answer gave as next");
    err_place(&call->err, "after");
    return ERR_INVALID;
}

static int diff_commit(struct api_call *call, struct store *store, struct part *p)
{
    const Trimtab__V1__DiffRequest *q = (const Trimtab__V1__DiffRequest *)call->request;
    size_t limit = MIN(q->limit ? q->limit : DIFF_DEFAULT, (size_t)DIFF_MAX), at;
    const Trimtab__V1__Record *record;
    const char *last = "";
    struct sight sight = api_sight(call);
    int r = api_record(call, store, q->revision, &record);

    if (!r && !is_seen(call, &sight, record, q->revision))
        r = sees_nothing(call);
    if (!r)
        r = find_after(call, record, &at);
    for (; !r && at < record->n_changes; at++) {
        const Trimtab__V1__RecordChange *c = record->changes[at];

        if (!sight_has_id(&sight, c->id))
            continue;
        if (is_full(p, limit)) {
            p->m->next = arena_c(&call->arena, str_c(last));
            break;
        }
        r = put_change(call, store, c, p);
        last = c->id;
    }
    return r;
}

/* A version as one side of a difference; *ret_before is the revision of the version before it. */
static int side_read(struct api_call *call, struct store *store, const struct version *newest,
                     uint64_t version, struct side *s, uint64_t *ret_before)
{
    const Trimtab__V1__DiffRequest *q = (const Trimtab__V1__DiffRequest *)call->request;
    const Trimtab__V1__RecordChange *change;
    const Trimtab__V1__Record *record;
    uint64_t revision;
    int r = api_record_of_version(call, store, newest, q->id, version, &record, &revision);

    if (r)
        return r;
    change = record_change(record, q->id);
    side_of(s, q->id, change);
    *ret_before = change->previous_revision;
    return 0;
}

/* Numbers of versions have gaps, where a candidate was taken back: the one before is found by its revision. */
static int diff_versions(struct api_call *call, struct store *store, struct buf *out)
{
    const Trimtab__V1__DiffRequest *q = (const Trimtab__V1__DiffRequest *)call->request;
    const Trimtab__V1__Record *record = NULL;
    struct side before, after;
    const struct version *newest;
    uint64_t previous, ignored;
    struct str key;
    int r = api_key(call, q->id, &key, &call->err);

    if (r)
        return r;
    newest = state_newest(call->state, key);
    if (!newest) {
        not_there(call, q->id);
        return call->result;
    }
    r = side_read(call, store, newest, q->to ? q->to : newest->number, &after, &previous);
    if (r)
        return r;
    if (q->from) {
        r = side_read(call, store, newest, q->from, &before, &ignored);
    } else {
        r = previous ? api_record(call, store, previous, &record) : 0;
        side_of(&before, q->id, record ? record_change(record, q->id) : NULL);
    }
    return r ? r : put_diff(&before, &after, out);
}

static void diff_read(struct api_call *call, struct store *store)
{
    const Trimtab__V1__DiffRequest *q = (const Trimtab__V1__DiffRequest *)call->request;
    struct part p = {.m = ARENA_NEW(&call->arena, Trimtab__V1__DiffResponse),
                     .text = BUF_NULL(DIFF_ANSWER_MAX)};

    call->result = ERR_NOMEM;
    if (!p.m)
        return;
    trimtab__v1__diff_response__init(p.m);
    call->result =
        q->revision ? diff_commit(call, store, &p) : diff_versions(call, store, &p.text);
    if (!call->result && buf_status(&p.text) == ERR_LIMIT)
        call->result = err_set(&call->err, ERR_LIMIT, "the difference is larger than %d bytes",
                               DIFF_ANSWER_MAX);
    if (!call->result) {
        p.m->diff = arena_c(&call->arena, buf_str(&p.text));
        p.m->differs = p.text.len > 0;
        call->response = &p.m->base;
    }
    buf_deinit(&p.text);
}

/* ERR_INVALID. */
static int check_diff(const Trimtab__V1__DiffRequest *q, struct err *err)
{
    if (!*q->id == !q->revision)
        return err_set(err, ERR_INVALID,
                       "give either the id of a resource or the revision of a commit");
    if (*q->id && (q->limit || *q->after))
        return err_set(err, ERR_INVALID, "only the difference of a commit comes in parts");
    return 0;
}

void api_diff(struct api_call *call)
{
    const Trimtab__V1__DiffRequest *q = (const Trimtab__V1__DiffRequest *)call->request;
    int r = check_diff(q, &call->err);

    if (!r && *q->id)
        r = api_require_sight(call, q->id);
    if (r) {
        api_fail_here(call, r);
        return;
    }
    api_read(call, diff_read, api_read_finish);
}
