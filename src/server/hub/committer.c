/*
 * The committer: group commit on a thread of its own. See committer.h.
 */
#include "server/hub/committer.h"

#include "base/log.h"
#include "base/vec.h"
#include "model/graph.h"
#include "model/moves.h"
#include "model/needs.h"
#include "server/hub/marks.h"
#include "server/hub/snapshotter.h"
#include "store/highwater.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    GROUP_RECORDS_MAX = 256,
    GROUP_BYTES_MAX = 16 << 20,
    SNAPSHOT_LOG_MIN = 40 << 20, /* about 20,000 small records */
    RESOURCE_BYTES = 256,        /* of a snapshot, for each besides its content */
    RECORD_BYTES = 2048, /* of a snapshot, read in the time that folding a record takes */
    RETRIES_MAX = 8,
    TICK_MS = 200,
    BACKUP_STEP_BYTES = 1 << 20,
    SCRUB_STEP_BYTES = 1 << 20, /* every TICK_MS at most: 5 MiB/s */
    SCRUB_PAUSE_S = 24 * 3600,  /* between two rounds */
};

struct committer {
    struct committer_opts opts;
    struct store *store;
    struct store_watch *watch;
    struct store_identity identity;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards what follows, up to the next comment */
    pthread_cond_t wake;
    struct commit_job *commits, **commits_end;
    struct read_jobs reads;
    struct backup_job *backup_wanted; /* NULL: none waits */
    bool must_stop;
    struct committer_stats stats;
    struct store_head head;
    /* the thread's own */
    struct state *state;            /* the fold of everything that the watch gave */
    struct publication *publishing; /* NULL: nothing was folded since the last one */
    struct commit_job **group;      /* what is being appended, for the watch to recognise */
    size_t n_group;
    uint64_t group_base;
    struct snapshotter snapshotter;
    uint64_t log_records, log_bytes; /* behind the newest snapshot */
    struct backup_job *backup_job;   /* that is being made; NULL: none */
    struct store_backup *backup;
    struct highwater *highwater; /* NULL: none is kept */
    nsec_t highwater_due;        /* when it is synced next */
    _Atomic bool is_untidy;      /* snapshots have left something behind */
    struct marks marks;          /* shared with the next */
    struct history *history;     /* NULL: not open yet */
    /* of the thread that reads history */
    uint64_t scrub_next;    /* the revision that is looked at next */
    uint64_t scrub_damaged; /* in this round */
    nsec_t scrub_due;
};

/* ---- folding what the watch gives ---- */

static struct publication *publication_get(struct committer *c)
{
    if (!c->publishing) {
        c->publishing = mem_zalloc(sizeof(struct publication) +
                                   c->opts.n_ways * sizeof(struct publication_way));
        if (c->publishing) {
            atomic_init(&c->publishing->refs, 1);
            c->publishing->on_publish = c->opts.on_publish;
            c->publishing->ctx = c->opts.ctx;
        }
    }
    return c->publishing;
}

/* New stable versions. */
static int publication_add(struct committer *c, struct version *const *versions, size_t n)
{
    struct publication *p = publication_get(c);

    for (size_t i = 0; p && i < n; i++) {
        marks_note(&c->marks, versions[i]);
        if (!VEC_ROOM(&p->versions))
            return ERR_NOMEM;
        (void)VEC_PUSH(&p->versions, version_ref(versions[i])); /* there is room */
    }
    return p ? 0 : ERR_NOMEM;
}

struct publication *publication_ref(struct publication *p)
{
    (void)atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

struct publication *publication_unref(struct publication *p)
{
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) > 1)
        return NULL;
    for (size_t i = 0; i < p->versions.n; i++)
        (void)version_unref(p->versions.at[i]);
    VEC_DEINIT(&p->versions);
    (void)state_unref(p->state);
    return mem_free(p);
}

static void publish_on_loop(struct post *post, void *ctx)
{
    struct publication *p = ctx;

    (void)post;
    p->on_publish(p->ctx, p);
    (void)publication_unref(p);
}

static void publish(struct committer *c)
{
    struct publication *p = take(c->publishing);

    if (!p)
        return;
    p->state = state_ref(c->state);
    p->post = (struct post){.fn = publish_on_loop, .ctx = p};
    loop_post(c->opts.loop, &p->post);
}

/* The state that an outcome gives. Versions and rollouts are put into the next publication. */
static int fold_outcome(struct committer *c, const struct outcome *o, uint64_t revision,
                        struct err *err)
{
    struct rollout **rollouts = NEW_ARRAY(struct rollout *, MAX(o->n_moves, (size_t)1));
    struct effect effect = {.n_rollouts = 0};
    struct state *next = NULL;
    int r = rollouts ? outcome_effect(c->state, o, rollouts, &effect, err) : ERR_NOMEM;

    if (!r) {
        next = state_apply(c->state, &effect, revision);
        r = next ? publication_add(c, effect.versions, effect.n_versions) : ERR_NOMEM;
    }
    effect_deinit(&effect, rollouts);
    (void)mem_free(rollouts);
    if (r) {
        (void)state_unref(next);
        return r;
    }
    (void)state_unref(c->state);
    c->state = next;
    return 0;
}

/* A record that somebody else appended, or an old one at the start. */
static int fold_record(struct committer *c, const struct store_entry *entry)
{
    struct record record;
    struct err err = ERR_NULL;
    int r = record_decode(log_parts(entry), entry->revision, &record, &err);

    if (!r) {
        r = fold_outcome(c, &record.outcome, entry->revision, &err);
        record_deinit(&record);
    }
    if (r)
        LOG(ERROR, "record_unreadable", LOG_U64("revision", entry->revision),
            LOG_C("error", err.text));
    return r;
}

static int on_record(void *ctx, const struct store_entry *entry)
{
    struct committer *c = ctx;
    uint64_t at = entry->revision - c->group_base - 1;

    c->log_records++;
    c->log_bytes += RECORD_BYTES + entry->bytes.len;
    for (size_t i = 0; i < entry->n_contents; i++)
        c->log_bytes += entry->contents[i].bytes.len;
    if (!c->group || entry->revision <= c->group_base || at >= c->n_group ||
        !str_eq(entry->bytes, shared_str(c->group[at]->record.envelope)))
        return fold_record(c, entry);
    (void)state_unref(c->state);
    c->state = state_ref(c->group[at]->after);
    /* the candidates of a start are nobody's stable versions */
    return publication_add(c, c->group[at]->versions,
                           moves_start(&c->group[at]->commit) ? 0 : c->group[at]->n_versions);
}

/* ---- one job against the running state ---- */

static int make_versions(struct commit_job *job, uint64_t revision)
{
    struct commit *c = &job->commit;

    job->versions = NEW_ARRAY(struct version *, c->n);
    if (!job->versions)
        return ERR_NOMEM;
    for (size_t i = 0; i < c->n; i++) {
        const struct change_plan *p = &job->plans[i];
        struct version *v;

        if (p->action == CHANGE_UNCHANGED)
            continue;
        v = version_with_wire(&(struct version_opts){
            .key = c->changes[i].key,
            .content_type = p->content_type,
            .meta = &p->meta,
            .references = p->references,
            .content = c->changes[i].content,
            .deleted = c->changes[i].delete,
            .number = p->number,
            .revision = revision,
            .previous_revision = p->old ? p->old->revision : 0,
            .time_ms = c->time_ms,
        });
        if (!v)
            return ERR_NOMEM;
        job->versions[job->n_versions++] = v;
    }
    return 0;
}

static void job_reset(struct commit_job *job)
{
    for (size_t i = 0; i < job->n_versions; i++)
        (void)version_unref(job->versions[i]);
    job->versions = mem_free(job->versions);
    job->n_versions = 0;
    record_encoded_deinit(&job->record);
    job->after = state_unref(job->after);
    job->state = state_unref(job->state);
    job->plans = mem_free(job->plans);
    arena_deinit(&job->arena);
}

void commit_job_deinit(struct commit_job *job)
{
    job_reset(job);
}

enum { JOB_DONE = 1 }; /* nothing is to be appended */

/* The state after a job, if the graph of references stays whole in it. */
static int prepare_after(struct commit_job *job, const struct state *state, uint64_t revision)
{
    struct commit *c = &job->commit;
    struct rollout **rollouts = ARENA_ARRAY(&job->arena, struct rollout *, c->n_moves);
    struct outcome outcome = {job->versions, job->n_versions, c->moves,
                              c->n_moves,    c->restored,     c->order};
    struct effect effect = {.n_rollouts = 0};
    int r;

    for (size_t i = 0; i < c->n_moves; i++)
        c->moves[i].revision = revision;
    if (c->order)
        c->order->revision = revision;
    r = rollouts ? outcome_effect(state, &outcome, rollouts, &effect, &job->err) : ERR_NOMEM;
    if (r)
        return r;
    job->after = state_apply(state, &effect, revision);
    r = job->after ? graph_check(job->after, &effect, &job->err) : ERR_NOMEM;
    effect_deinit(&effect, rollouts);
    return r;
}

/* By the rights of the state that it comes on top of. plans NULL: before they are made. */
static int authorize(struct commit_job *job, const struct state *state,
                     const struct change_plan *plans)
{
    return job->principal ? commit_authorize(state, &job->commit, plans,
                                             job->is_dry_run ? NEEDS_DRY_RUN : NEEDS_COMMIT,
                                             job->principal, &job->err)
                          : 0;
}

/* Checks a job and prepares what it appends at revision. 0, JOB_DONE, or a failure. */
static int prepare(struct commit_job *job, struct state *state, uint64_t revision)
{
    int r;

    job_reset(job);
    job->err = ERR_NULL;
    job->state = state_ref(state);
    job->plans = NEW_ARRAY(struct change_plan, MAX(job->commit.n, (size_t)1));
    if (!job->plans)
        return ERR_NOMEM;
    r = authorize(job, state, NULL); /* who may not do it learns nothing else of it */
    if (!r)
        r = commit_check(state, &job->commit, job->plans, &job->arena, &job->err);
    if (!r)
        r = authorize(job, state, job->plans);
    if (!r)
        r = make_versions(job, revision);
    job->revision = state->revision;
    if (r || (job->n_versions + job->commit.n_moves == 0 && !job->commit.restored &&
              !job->commit.order))
        return r ? r : JOB_DONE;
    r = prepare_after(job, state, revision);
    if (r || job->is_dry_run)
        return r ? r : JOB_DONE;
    job->revision = revision;
    return record_encode(&job->commit, job->plans, job->versions, &job->record);
}

static void settle_result(struct commit_job *job, int result)
{
    job->result = result;
    if (result && !job->err.code)
        (void)err_set(&job->err, result, "%s",
                      result == ERR_NOMEM ? "out of memory" : "the commit failed");
}

void commit_job_try(struct commit_job *job, struct state *state)
{
    int r;

    ASSERT(job->is_dry_run);
    r = prepare(job, state, state->revision + 1);
    settle_result(job, r == JOB_DONE ? 0 : r);
}

static void finish_on_loop(struct post *post, void *ctx)
{
    struct commit_job *job = ctx;

    (void)post;
    job->done(job);
}

static void count(struct committer *c, uint64_t *stat, size_t n)
{
    (void)pthread_mutex_lock(&c->mutex);
    *stat += n;
    (void)pthread_mutex_unlock(&c->mutex);
}

static void finish(struct committer *c, struct commit_job *job, int result)
{
    settle_result(job, result);
    if (result)
        count(c, &c->stats.refused, 1);
    job->post = (struct post){.fn = finish_on_loop, .ctx = job};
    loop_post(c->opts.loop, &job->post);
}

/* ---- a group ---- */

struct group {
    struct commit_job *jobs[GROUP_RECORDS_MAX];
    struct store_record records[GROUP_RECORDS_MAX];
    size_t n;
};

static size_t record_bytes(const struct store_record *record)
{
    size_t bytes = record->bytes.len;

    for (size_t i = 0; i < record->n_contents; i++)
        bytes += record->contents[i].bytes.len;
    return bytes;
}

/* A request id is appended once; the second job waits for the group that has the first. */
static bool has_request(const struct group *g, struct str request)
{
    for (size_t i = 0; i < g->n && request.len; i++)
        if (str_eq(g->records[i].request, request))
            return true;
    return false;
}

/*
 * Answers a job of which nothing is to be appended, or that was refused. When its request id is in the log the answer is
 * that of the first time: what it did then is what it now finds done, or in its way.
 */
static void finish_unappended(struct committer *c, struct commit_job *job, int r)
{
    uint64_t revision;

    if (job->commit.request_id.len &&
        store_find_request(c->store, job->commit.request_id, &revision, NULL) == 0) {
        job->repeated = revision;
        job->revision = revision;
        job->err = ERR_NULL;
        r = 0;
    }
    publish(c);
    finish(c, job, r == JOB_DONE ? 0 : r);
}

/*
 * Takes the jobs that can be appended together out of the list. Others are finished on the way, but only before the first
 * that can: behind it they were checked against what is not durable yet, and come first in the list that is left.
 */
static struct commit_job *gather(struct committer *c, struct commit_job *list, struct group *g)
{
    struct state *state = c->state;
    struct commit_job *later = NULL, **later_end = &later;
    size_t bytes = 0;

    g->n = 0;
    while (list && g->n < GROUP_RECORDS_MAX && bytes < GROUP_BYTES_MAX) {
        struct commit_job *job = list;
        int r;

        if (has_request(g, job->commit.request_id))
            break;
        r = prepare(job, state, c->state->revision + g->n + 1);
        list = job->next;
        if (r && g->n) {
            *later_end = job;
            later_end = &job->next;
            continue;
        }
        if (r) {
            finish_unappended(c, job, r);
            state = c->state; /* looking at the log may have met records of others */
            continue;
        }
        state = job->after;
        g->records[g->n] = (struct store_record){.request = job->commit.request_id,
                                                 .bytes = shared_str(job->record.envelope),
                                                 .contents = job->record.contents,
                                                 .n_contents = job->record.n_contents};
        bytes += record_bytes(&g->records[g->n]);
        g->jobs[g->n++] = job;
    }
    *later_end = list;
    return later;
}

/* Puts the jobs of a group back in front of the list, to be checked again. */
static struct commit_job *put_back(struct group *g, struct commit_job *list, size_t except)
{
    for (size_t i = g->n; i-- > 0;)
        if (i != except) {
            g->jobs[i]->next = list;
            list = g->jobs[i];
        }
    return list;
}

/* ---- the high-water mark ---- */

static int note_highwater(struct committer *c, struct err *err)
{
    struct highwater_mark mark = {.store = c->identity.id, .head = store_head(c->store)};

    return highwater_note(c->highwater, &mark, err);
}

/* Before anybody is told of what was appended. Without it the commits are as durable, so it is a warning only. */
static void raise_highwater(struct committer *c)
{
    struct err err = ERR_NULL;

    if (c->highwater && note_highwater(c, &err))
        LOG(WARN, "high_water_failed", LOG_C("error", err.text));
}

static void sync_highwater(struct committer *c)
{
    struct err err = ERR_NULL;
    nsec_t now = clock_now();

    if (!c->highwater || now < c->highwater_due)
        return;
    c->highwater_due = now + NSEC_PER_S;
    if (highwater_sync(c->highwater, &err))
        LOG(WARN, "high_water_failed", LOG_C("error", err.text));
}

/* The log must reach what the mark says; then the mark follows it. */
static int open_highwater(struct committer *c, struct err *err)
{
    struct highwater_mark mark;
    int r;

    if (!c->opts.highwater)
        return 0;
    r = highwater_read(c->opts.highwater, &mark, NULL);
    if (r == ERR_CORRUPT)
        LOG(WARN, "high_water_unreadable", LOG_C("file", c->opts.highwater));
    if (r == 0) {
        r = highwater_check(c->store, &mark, err);
        if (r) {
            err_place(err, "%s", c->opts.store_url);
            err_hint(err,
                     "put the right database back, or restore a backup; --accept_loss=REASON"
                     " goes on with this one, as another store (docs/operations.md)");
            return r;
        }
    }
    r = highwater_open(c->opts.highwater, &c->highwater, err);
    return r ? r : note_highwater(c, err);
}

static int append(struct committer *c, struct group *g, struct store_appended *appended,
                  struct err *err)
{
    struct store_append op = {
        .records = g->records, .n = g->n, .expected_head = c->state->revision};
    int r;

    c->group = g->jobs;
    c->n_group = g->n;
    c->group_base = c->state->revision;
    r = store_append(c->store, &op, appended, err);
    c->group = NULL;
    if (!r)
        raise_highwater(c);
    return r;
}

/* After ERR_TIMEOUT: the log knows. */
static void settle_unknown(struct committer *c, struct commit_job *job)
{
    uint64_t revision;
    int r = job->commit.request_id.len
                ? store_find_request(c->store, job->commit.request_id, &revision, NULL)
                : ERR_TIMEOUT;

    publish(c); /* looking for it may have met it */
    if (r == 0) {
        job->revision = revision;
        count(c, &c->stats.commits, 1);
        finish(c, job, 0);
    } else {
        (void)err_set(&job->err, ERR_TIMEOUT, "the store did not answer in time");
        err_hint(&job->err,
                 "look in the history whether the commit is there before repeating it");
        finish(c, job, ERR_TIMEOUT);
    }
}

static struct commit_job *run_group(struct committer *c, struct commit_job *list)
{
    struct group g;
    struct store_appended appended = {0};
    struct err err = ERR_NULL;
    int r;

    list = gather(c, list, &g);
    if (g.n == 0)
        return list;
    r = append(c, &g, &appended, &err);
    publish(c);
    if (r == STORE_REPEATED) {
        g.jobs[appended.at]->repeated = appended.repeated_revision;
        g.jobs[appended.at]->revision = appended.repeated_revision;
        finish(c, g.jobs[appended.at], 0);
        return put_back(&g, list, appended.at);
    }
    if (r == STORE_CONFLICT) /* others wrote: the watch has folded it, all is checked again */
        return put_back(&g, list, SIZE_MAX);
    if (r == 0) { /* before anybody is answered, who may look */
        count(c, &c->stats.commits, g.n);
        count(c, &c->stats.groups, 1);
    }
    for (size_t i = 0; i < g.n; i++) {
        if (r == ERR_TIMEOUT) {
            settle_unknown(c, g.jobs[i]);
            continue;
        }
        g.jobs[i]->err = err;
        finish(c, g.jobs[i], r > 0 ? ERR_BUG : r);
    }
    return list;
}

/* ---- snapshots, written beside the groups ---- */

/* A start is to take no longer for the log behind the snapshot than for the snapshot, or it is short anyway. */
static bool snapshot_is_due(const struct committer *c)
{
    uint64_t state = c->state->content_bytes + c->state->n_resources * RESOURCE_BYTES;
    uint64_t every = c->opts.snapshot_records;

    return c->log_bytes >= MAX(state, (uint64_t)SNAPSHOT_LOG_MIN) ||
           (every && c->log_records >= every);
}

static void snapshot_begin(struct committer *c)
{
    struct err err = ERR_NULL;

    c->log_records = c->log_bytes = 0;
    if (snapshotter_begin(&c->snapshotter, c->store, c->state, &err))
        LOG(WARN, "snapshot_failed", LOG_C("error", err.text));
}

static void snapshot_end(struct committer *c)
{
    uint64_t revision = 0;
    struct err err = ERR_NULL;

    if (snapshotter_end(&c->snapshotter, &revision, &err)) {
        LOG(WARN, "snapshot_failed", LOG_C("error", err.text));
        return;
    }
    LOG(INFO, "snapshot", LOG_U64("revision", revision));
    atomic_store(&c->is_untidy, true);
    count(c, &c->stats.snapshots, 1);
}

static void snapshot_step(struct committer *c, bool must_stop)
{
    if (snapshotter_is_done(&c->snapshotter))
        snapshot_end(c);
    else if (!must_stop && !snapshotter_is_busy(&c->snapshotter) && snapshot_is_due(c))
        snapshot_begin(c);
}

/* ---- copies, made piece by piece between groups ---- */

static void backup_done_on_loop(struct post *post, void *ctx)
{
    struct backup_job *job = ctx;

    (void)post;
    job->done(job);
}

static void backup_finish(struct committer *c, int result)
{
    struct backup_job *job = take(c->backup_job);

    c->backup = store_backup_free(c->backup);
    job->result = result;
    job->post = (struct post){.fn = backup_done_on_loop, .ctx = job};
    loop_post(job->home ? job->home : c->opts.loop, &job->post);
}

static void backup_begin(struct committer *c, struct backup_job *job)
{
    int r;

    ASSERT(!c->backup_job);
    c->backup_job = job;
    r = store_backup_new(c->store, job->path, &c->backup, &job->err);
    if (r)
        backup_finish(c, r);
}

static void backup_step(struct committer *c, bool must_stop)
{
    struct backup_job *job = c->backup_job;
    bool is_over = must_stop || atomic_load(&job->is_cancelled);
    int r = is_over ? err_set(&job->err, ERR_CANCELLED, "the backup was given up")
                    : store_backup_step(c->backup, BACKUP_STEP_BYTES, &job->err);

    if (r == STORE_MORE)
        return;
    job->revision = store_backup_revision(c->backup);
    backup_finish(c, r);
}

/* ---- the scrub, on the thread that reads history ---- */

enum { SCRUB_ENOUGH = 1 };

struct scrub {
    uint64_t last; /* verified up to here */
    uint64_t records;
    size_t bytes;
};

static int scrub_record(void *ctx, const struct store_entry *entry)
{
    struct scrub *s = ctx;

    s->last = entry->revision;
    s->records++;
    s->bytes += entry->bytes.len;
    for (size_t i = 0; i < entry->n_contents; i++)
        s->bytes += entry->contents[i].bytes.len;
    return s->bytes >= SCRUB_STEP_BYTES ? SCRUB_ENOUGH : 0;
}

/* What is damaged is told once a round, and passed over. */
static void scrub_found(struct committer *c, const struct err *err)
{
    LOG(ERROR, "record_damaged", LOG_C("error", err->text));
    (void)pthread_mutex_lock(&c->mutex);
    if (!c->stats.damage[0])
        (void)snprintf(c->stats.damage, sizeof(c->stats.damage), "%.150s", err->text);
    c->scrub_damaged++;
    c->stats.damaged = MAX(c->stats.damaged, c->scrub_damaged);
    (void)pthread_mutex_unlock(&c->mutex);
}

static void scrub_round_ends(struct committer *c)
{
    (void)pthread_mutex_lock(&c->mutex);
    c->stats.scrub_rounds++;
    c->stats.damaged = c->scrub_damaged;
    if (!c->scrub_damaged)
        c->stats.damage[0] = '\0';
    (void)pthread_mutex_unlock(&c->mutex);
    c->scrub_damaged = 0;
    c->scrub_next = 1;
    c->scrub_due = clock_now() + (nsec_t)SCRUB_PAUSE_S * NSEC_PER_S;
}

static void scrub_step(struct committer *c, struct store *reader)
{
    struct scrub s = {.last = MAX(c->scrub_next, (uint64_t)1) - 1};
    struct err err = ERR_NULL;
    nsec_t now = clock_now();
    int r;

    if (now < c->scrub_due)
        return;
    c->scrub_due = now + (nsec_t)TICK_MS * NSEC_PER_MS;
    r = store_read_kept(reader, s.last + 1, UINT64_MAX, scrub_record, &s, &err);
    if (r == ERR_CORRUPT) {
        scrub_found(c, &err);
        s.last++; /* the one behind the last good one */
    }
    c->scrub_next = s.last + 1;
    (void)pthread_mutex_lock(&c->mutex);
    c->stats.scrub_records += s.records;
    (void)pthread_mutex_unlock(&c->mutex);
    if (r == 0 || c->scrub_next > store_head(reader).revision)
        scrub_round_ends(c);
}

/* What cannot be removed now is removed after the next snapshot, or by the next start. */
static void tidy(struct committer *c, struct store *s)
{
    struct err err = ERR_NULL;

    if (atomic_exchange(&c->is_untidy, false) && store_tidy(s, &err))
        LOG(WARN, "snapshot_files_left", LOG_C("error", err.text));
}

static void on_idle(void *ctx, struct store *reader)
{
    struct committer *c = ctx;

    scrub_step(c, reader);
    marks_scan(&c->marks, reader);
    store_reader_release(reader); /* it may see what was before the newest snapshot */
    tidy(c, reader);
}

/* ---- the thread ---- */

struct taken {
    struct commit_job *commits;
    struct read_job *reads;
    struct backup_job *backup;
    bool must_stop;
};

static void note_stats(struct committer *c)
{
    struct store_stats stats = store_stats(c->store);
    struct store_head head = store_head(c->store);

    (void)pthread_mutex_lock(&c->mutex);
    c->stats.store = stats;
    c->head = head;
    (void)pthread_mutex_unlock(&c->mutex);
}

/* Waits for jobs, but not while a copy is being made, and for at most one tick. */
static struct taken take_jobs(struct committer *c)
{
    struct taken t;
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    (void)pthread_mutex_lock(&c->mutex);
    while (!c->commits && !c->reads.first && !c->must_stop && !c->backup_wanted &&
           !c->backup_job)
        if (pthread_cond_timedwait(&c->wake, &c->mutex, &until))
            break;
    t = (struct taken){c->commits, read_jobs_take(&c->reads), take(c->backup_wanted),
                       c->must_stop};
    c->commits = NULL;
    c->commits_end = &c->commits;
    (void)pthread_mutex_unlock(&c->mutex);
    return t;
}

static void run_reads(struct committer *c, struct read_job *list)
{
    while (list) {
        struct read_job *job = list;

        list = job->next;
        read_job_run(job, c->store, c->opts.loop);
    }
}

static void run_tick(struct committer *c)
{
    struct err err = ERR_NULL;

    if (store_tick(c->store, clock_now(), NULL, &err) || store_poll(c->store, 0, &err))
        LOG(WARN, "store_tick_failed", LOG_C("error", err.text));
    publish(c);
}

static void *run(void *arg)
{
    struct committer *c = arg;

    (void)pthread_setname_np(pthread_self(), "committer");
    for (;;) {
        struct taken t = take_jobs(c);

        if (t.backup)
            backup_begin(c, t.backup);
        if (c->backup_job)
            backup_step(c, t.must_stop);
        if (t.must_stop && !t.commits && !t.reads)
            return NULL;
        while (t.commits)
            t.commits = run_group(c, t.commits);
        run_reads(c, t.reads);
        snapshot_step(c, t.must_stop);
        if (!t.must_stop)
            run_tick(c);
        marks_write(&c->marks, c->store, MARKS_IF_DUE);
        sync_highwater(c);
        note_stats(c);
    }
}

/* ---- opening ---- */

struct loading {
    struct state *state;
    struct buf part; /* the beginning of one that the store gave in pieces */
    struct err *err;
};

static int load_part(struct loading *l)
{
    int r = buf_status(&l->part);

    if (!r && l->part.len)
        r = snapshot_apply(buf_str(&l->part), &l->state, l->err);
    buf_clear(&l->part);
    return r;
}

/*
 * A part that is larger than a piece was cut at STORE_CHUNK_MAX. Two parts that are joined because the first has just
 * that size are one part, too: that is how messages add up.
 */
static int load_piece(void *ctx, struct str bytes)
{
    struct loading *l = ctx;

    buf_put_str(&l->part, bytes);
    return bytes.len == STORE_CHUNK_MAX ? buf_status(&l->part) : load_part(l);
}

static int load_snapshot(struct committer *c, struct err *err)
{
    struct store_snapshot_info info = {0};
    struct loading l = {c->state, BUF_NULL(SIZE_MAX), err};
    int r = store_snapshot_read(c->store, load_piece, &l, &info, err);

    if (!r)
        r = load_part(&l);
    c->state = l.state;
    buf_deinit(&l.part);
    if (r == ERR_NOT_FOUND)
        return 0;
    if (info.passed_over)
        LOG(WARN, "snapshot_damaged", LOG_U64("passed_over", info.passed_over));
    return r;
}

static int load(struct committer *c, struct err *err)
{
    struct store_watcher watcher = {.record = on_record, .ctx = c};
    int r = load_snapshot(c, err);

    marks_open(&c->marks, c->store, c->state ? c->state->revision : 0);
    if (!r)
        r = store_watch_open(c->store, c->state->revision + 1, &watcher, &c->watch, err);
    if (r > 0)
        r = err_set(err, ERR_CORRUPT, "the log begins after its newest snapshot");
    if (!r && c->publishing) { /* nobody listens yet */
        c->publishing = publication_unref(c->publishing);
    }
    return r;
}

static int open_store(struct committer *c, struct err *err)
{
    struct store_opts opts = {.create = STORE_CREATE,
                              .semantics = STATE_SEMANTICS,
                              .now = clock_now(),
                              .disk = c->opts.disk};
    int r = store_open(c->opts.store_url, &opts, &c->store, err);

    if (!r)
        r = store_identity(c->store, &c->identity, err);
    return r;
}

static int open_history(struct committer *c, struct err *err)
{
    return history_open(
        &(struct history_opts){
            .store = c->store, .loop = c->opts.loop, .idle = on_idle, .ctx = c},
        &c->history, err);
}

static void init_sync(struct committer *c)
{
    pthread_condattr_t attributes;

    (void)pthread_mutex_init(&c->mutex, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&c->wake, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    c->commits_end = &c->commits;
    read_jobs_init(&c->reads);
}

static struct committer *committer_free(struct committer *c)
{
    snapshotter_cancel(&c->snapshotter);
    (void)publication_unref(c->publishing);
    (void)history_close(c->history);
    (void)store_watch_close(c->watch);
    (void)highwater_close(c->highwater);
    (void)store_drop(c->store);
    marks_close(&c->marks);
    (void)state_unref(c->state);
    (void)pthread_cond_destroy(&c->wake);
    (void)pthread_mutex_destroy(&c->mutex);
    return mem_free(c);
}

int committer_open(const struct committer_opts *opts, struct committer **ret_committer,
                   struct state **ret_state, struct err *err)
{
    struct committer *c = NEW(struct committer);
    int r;

    if (!c)
        return ERR_NOMEM;
    c->opts = *opts;
    init_sync(c);
    c->state = state_new();
    r = c->state ? open_store(c, err) : ERR_NOMEM;
    if (!r)
        r = load(c, err);
    if (!r)
        r = open_highwater(c, err);
    if (!r)
        r = open_history(c, err);
    if (!r) {
        note_stats(c);
        *ret_state = state_ref(c->state);
        if (pthread_create(&c->thread, NULL, run, c)) {
            *ret_state = state_unref(*ret_state);
            r = err_set(err, ERR_NOMEM, "cannot start the committer's thread");
        }
    }
    if (r)
        c = committer_free(c);
    *ret_committer = c;
    return r;
}

int committer_close(struct committer *c, struct err *err)
{
    int r;

    (void)pthread_mutex_lock(&c->mutex);
    c->must_stop = true;
    (void)pthread_cond_signal(&c->wake);
    (void)pthread_mutex_unlock(&c->mutex);
    (void)pthread_join(c->thread, NULL);
    c->history = history_close(c->history);
    c->watch = store_watch_close(c->watch);
    snapshotter_cancel(&c->snapshotter);
    marks_write(&c->marks, c->store, MARKS_NOW);
    tidy(c, c->store);
    r = store_close(take(c->store), err);
    (void)committer_free(c);
    return r;
}

struct store_identity committer_identity(const struct committer *c)
{
    return c->identity;
}

void committer_commit(struct committer *c, struct commit_job *job)
{
    ASSERT(!job->is_dry_run);
    job->next = NULL;
    (void)pthread_mutex_lock(&c->mutex);
    *c->commits_end = job;
    c->commits_end = &job->next;
    (void)pthread_cond_signal(&c->wake);
    (void)pthread_mutex_unlock(&c->mutex);
}

void committer_history(struct committer *c, struct read_job *job)
{
    history_ask(c->history, job);
}

void committer_read(struct committer *c, struct read_job *job)
{
    (void)pthread_mutex_lock(&c->mutex);
    read_jobs_put(&c->reads, job);
    (void)pthread_cond_signal(&c->wake);
    (void)pthread_mutex_unlock(&c->mutex);
}

void committer_backup(struct committer *c, struct backup_job *job)
{
    (void)pthread_mutex_lock(&c->mutex);
    ASSERT(!c->backup_wanted);
    c->backup_wanted = job;
    (void)pthread_cond_signal(&c->wake);
    (void)pthread_mutex_unlock(&c->mutex);
}

void committer_backup_cancel(struct backup_job *job)
{
    atomic_store(&job->is_cancelled, true);
}

struct committer_stats committer_stats(struct committer *c)
{
    struct committer_stats stats;

    (void)pthread_mutex_lock(&c->mutex);
    stats = c->stats;
    (void)pthread_mutex_unlock(&c->mutex);
    return stats;
}

struct store_head committer_head(struct committer *c)
{
    struct store_head head;

    (void)pthread_mutex_lock(&c->mutex);
    head = c->head;
    (void)pthread_mutex_unlock(&c->mutex);
    return head;
}
