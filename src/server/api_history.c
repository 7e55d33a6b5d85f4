/*
 * Reading what was: versions, commits and differences, from the log on the committer's thread.
 */
#include "server/api.h"

#include "model/diff.h"
#include "proto/record.h"

enum { HISTORY_DEFAULT = 20, HISTORY_MAX = 1000, DIFF_BYTES_MAX = 8 << 20 };

static void not_there(struct api_call *call, const char *id)
{
    call->result = err_set(&call->err, ERR_NOT_FOUND, "there never was such a resource");
    err_place(&call->err, "%s", id);
}

/* ---- history of one resource ---- */

static Trimtab__V1__Resource *history_entry(struct api_call *call, const Trimtab__V1__Record *record,
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

static int history_walk(struct api_call *call, struct store *store, const struct version *newest,
                        Trimtab__V1__HistoryResponse *response, size_t limit)
{
    const Trimtab__V1__HistoryRequest *q = (const Trimtab__V1__HistoryRequest *)call->request;
    uint64_t revision = newest->revision;

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
            response->versions[response->n_versions] = history_entry(call, record, change, revision);
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
    Trimtab__V1__HistoryResponse *response = ARENA_NEW(&call->arena, Trimtab__V1__HistoryResponse);
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
    call->result = response->versions ? history_walk(call, store, newest, response, limit) : ERR_NOMEM;
    call->response = &response->base;
}

void api_history(struct api_call *call)
{
    api_read(call, history_read, api_read_finish);
}

/* ---- commits ---- */

static const char *action_of(const Trimtab__V1__RecordChange *c)
{
    if (c->deleted)
        return "deleted";
    return c->version == 1 ? "created" : "updated";
}

static bool add_changes(struct arena *a, const Trimtab__V1__Record *record, Trimtab__V1__CommitInfo *info)
{
    info->changes = ARENA_ARRAY(a, Trimtab__V1__ChangeResult *, record->n_changes);
    for (size_t i = 0; info->changes && i < record->n_changes; i++) {
        Trimtab__V1__ChangeResult *r = ARENA_NEW(a, Trimtab__V1__ChangeResult);

        if (!r)
            return false;
        trimtab__v1__change_result__init(r);
        r->id = arena_c(a, str_c(record->changes[i]->id));
        r->action = arena_c(a, str_c(action_of(record->changes[i])));
        r->version = record->changes[i]->version;
        r->previous_version = r->version - 1;
        info->changes[info->n_changes++] = r;
    }
    return info->changes != NULL;
}

static Trimtab__V1__CommitInfo *commit_info(struct arena *a, const Trimtab__V1__Record *record,
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
    return add_changes(a, record, info) ? info : NULL;
}

static void commits_read(struct api_call *call, struct store *store)
{
    const Trimtab__V1__CommitsRequest *q = (const Trimtab__V1__CommitsRequest *)call->request;
    size_t limit = q->revision ? 1 : MIN(q->limit ? q->limit : HISTORY_DEFAULT, (size_t)HISTORY_MAX);
    uint64_t revision = q->revision ? q->revision : call->state->revision;
    Trimtab__V1__CommitsResponse *response = ARENA_NEW(&call->arena, Trimtab__V1__CommitsResponse);

    if (!response)
        return;
    trimtab__v1__commits_response__init(response);
    response->commits = ARENA_ARRAY(&call->arena, Trimtab__V1__CommitInfo *, limit);
    if (!q->revision && q->before)
        revision = MIN(revision, q->before - 1);
    for (; response->commits && revision && response->n_commits < limit; revision--) {
        const Trimtab__V1__Record *record;
        Trimtab__V1__CommitInfo *info;
        int r = api_record(call, store, revision, &record);

        if (r == ERR_COMPACTED && !q->revision)
            break;
        call->result = r;
        if (r)
            return;
        info = commit_info(&call->arena, record, revision);
        if (!info)
            return;
        response->commits[response->n_commits++] = info;
        api_record_drop(call);
    }
    call->response = response->commits ? &response->base : NULL;
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

static int diff_commit(struct api_call *call, struct store *store, uint64_t revision, struct buf *out)
{
    const Trimtab__V1__Record *record, *before;
    int r = api_record(call, store, revision, &record);

    for (size_t i = 0; !r && i < record->n_changes; i++) {
        const Trimtab__V1__RecordChange *c = record->changes[i];
        struct side old, new;

        before = NULL;
        if (c->previous_revision)
            r = api_record(call, store, c->previous_revision, &before);
        if (r)
            break;
        side_of(&old, c->id, before ? record_change(before, c->id) : NULL);
        side_of(&new, c->id, c);
        r = put_diff(&old, &new, out);
    }
    return r;
}

static int side_read(struct api_call *call, struct store *store, const struct version *newest,
                     uint64_t version, struct side *s)
{
    const Trimtab__V1__DiffRequest *q = (const Trimtab__V1__DiffRequest *)call->request;
    const Trimtab__V1__Record *record;
    uint64_t revision;
    int r;

    side_of(s, q->id, NULL);
    if (version == 0)
        return 0;
    r = api_record_of_version(call, store, newest, q->id, version, &record, &revision);
    if (!r)
        side_of(s, q->id, record_change(record, q->id));
    return r;
}

static int diff_versions(struct api_call *call, struct store *store, struct buf *out)
{
    const Trimtab__V1__DiffRequest *q = (const Trimtab__V1__DiffRequest *)call->request;
    struct side before, after;
    const struct version *newest;
    struct str key;
    uint64_t to, from;
    int r = api_key(call, q->id, &key, &call->err);

    if (r)
        return r;
    newest = state_newest(call->state, key);
    if (!newest) {
        not_there(call, q->id);
        return call->result;
    }
    to = q->to ? q->to : newest->number;
    from = q->from ? q->from : to - 1;
    r = side_read(call, store, newest, from, &before);
    if (!r)
        r = side_read(call, store, newest, to, &after);
    return r ? r : put_diff(&before, &after, out);
}

static void diff_read(struct api_call *call, struct store *store)
{
    const Trimtab__V1__DiffRequest *q = (const Trimtab__V1__DiffRequest *)call->request;
    owned(buf) struct buf out = BUF_NULL(DIFF_BYTES_MAX);
    Trimtab__V1__DiffResponse *response = ARENA_NEW(&call->arena, Trimtab__V1__DiffResponse);

    if (!response)
        return;
    call->result = q->revision ? diff_commit(call, store, q->revision, &out)
                               : diff_versions(call, store, &out);
    if (!call->result && buf_status(&out) == ERR_LIMIT)
        call->result = err_set(&call->err, ERR_LIMIT, "the difference is larger than %d bytes",
                               DIFF_BYTES_MAX);
    if (call->result)
        return;
    trimtab__v1__diff_response__init(response);
    response->diff = arena_c(&call->arena, buf_str(&out));
    response->differs = out.len > 0;
    call->response = &response->base;
}

void api_diff(struct api_call *call)
{
    const Trimtab__V1__DiffRequest *q = (const Trimtab__V1__DiffRequest *)call->request;
    struct err err = ERR_NULL;

    if (!*q->id == !q->revision) {
        (void)err_set(&err, ERR_INVALID, "give either the id of a resource or the revision of a commit");
        api_fail(call, &err);
        return;
    }
    api_read(call, diff_read, api_read_finish);
}
