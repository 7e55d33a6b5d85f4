/*
 * The committer over a store that fails, is unsure, or belongs to somebody else, too: every job is answered once and
 * with what is in the log, what is published is durable (I1) and in order, and a request id is done once.
 */
#include "server/hub/committer.h"
#include "server/hub/marks.h"

#include "store/mem.h"
#include "tap.h"

#include <sched.h>
#include <stdatomic.h>

enum { JOBS_MAX = 32, SERVERS = 2 };

/* One server's committer, and what its loop was given. */
struct server {
    struct world *world;
    struct committer *committer;
    struct state *state; /* newest publication */
    int n_published;
};

struct job {
    struct commit_job job; /* first, for the callback */
    struct server *server;
    struct change change;
    char id[32], content[32], request[32];
    bool is_done;
};

struct world {
    struct loop loop;
    struct store_disk *disk;
    struct server servers[SERVERS];
    struct job jobs[JOBS_MAX];
    size_t n_jobs, n_done;
    uint64_t snapshot_records;
    /* what befalls the appends, or other writes, by their number; on the committers' threads */
    enum store_write fault_write;
    _Atomic int n_writes;
    int fault_at;
    enum store_fault fault;
};

static enum store_fault next_fault(void *ctx, enum store_write write)
{
    struct world *w = ctx;

    if (write != w->fault_write)
        return STORE_FAULT_NONE;
    return atomic_fetch_add(&w->n_writes, 1) == w->fault_at ? w->fault : STORE_FAULT_NONE;
}

static void on_publish(void *ctx, struct publication *p)
{
    struct server *s = ctx;
    uint64_t before = s->state->revision, after = before;

    CHECK(p->state->revision > before);
    for (size_t i = 0; i < p->versions.n; i++) {
        const struct version *v = p->versions.at[i];

        CHECK(v->revision > before && v->revision <= p->state->revision && v->revision >= after);
        after = v->revision;
    }
    (void)state_unref(s->state);
    s->state = state_ref(p->state);
    s->n_published++;
}

static int open_server(struct world *w, int i)
{
    struct server *s = &w->servers[i];
    struct committer_opts opts = {.store_url = "mem:",
                                  .disk = w->disk,
                                  .loop = &w->loop,
                                  .snapshot_records = w->snapshot_records,
                                  .on_publish = on_publish,
                                  .ctx = s};

    *s = (struct server){.world = w};
    return committer_open(&opts, &s->committer, &s->state, NULL);
}

static void close_server(struct world *w, int i)
{
    struct server *s = &w->servers[i];

    if (!s->committer)
        return;
    (void)committer_close(take(s->committer), NULL);
    while (w->n_done < w->n_jobs)
        loop_turn(&w->loop, LOOP_WAIT);
    loop_turn(&w->loop, LOOP_POLL);
    s->state = state_unref(s->state);
}

static void world_open(struct world *w)
{
    memset(w, 0, sizeof(*w));
    w->fault_write = STORE_WRITE_APPEND;
    w->fault_at = -1;
    w->disk = store_disk_new(7);
    REQUIRE(w->disk && loop_open(&w->loop, NULL) == 0);
    REQUIRE(open_server(w, 0) == 0);
    store_disk_faults(w->disk, next_fault, w);
}

static void forget_jobs(struct world *w)
{
    for (size_t i = 0; i < w->n_jobs; i++)
        commit_job_deinit(&w->jobs[i].job);
    w->n_jobs = w->n_done = 0;
}

static void world_close(struct world *w)
{
    for (int i = 0; i < SERVERS; i++)
        close_server(w, i);
    forget_jobs(w);
    loop_close(&w->loop);
    w->disk = store_disk_free(w->disk);
}

static void on_done(struct commit_job *job)
{
    struct job *j = (struct job *)job;

    CHECK(!j->is_done);
    j->is_done = true;
    j->server->world->n_done++;
    if (!job->result && j->server->state) /* whoever published reads what it wrote */
        CHECK(j->server->state->revision >= job->revision);
    CHECK(!job->result || job->err.code);
}

/* A commit of one resource; request "" for none. */
static struct job *make(struct world *w, int server, const char *id, const char *request)
{
    struct job *j = &w->jobs[w->n_jobs++];

    memset(j, 0, sizeof(*j));
    j->server = &w->servers[server];
    (void)snprintf(j->id, sizeof(j->id), "%s", id);
    (void)snprintf(j->content, sizeof(j->content), "%zu", w->n_jobs);
    (void)snprintf(j->request, sizeof(j->request), "%s", request);
    j->change = (struct change){.id = str_c(j->id), .content = str_c(j->content)};
    j->job.commit = (struct commit){.changes = &j->change,
                                    .n = 1,
                                    .author = STR("ann"),
                                    .request_id = str_c(j->request),
                                    .time_ms = 1};
    j->job.done = on_done;
    return j;
}

static struct job *queue(struct world *w, int server, const char *id, const char *request)
{
    struct job *j = make(w, server, id, request);

    committer_commit(w->servers[server].committer, &j->job);
    return j;
}

static void wait_for_all(struct world *w)
{
    while (w->n_done < w->n_jobs)
        loop_turn(&w->loop, LOOP_WAIT);
}

/* ---- the log, as somebody finds it who starts after a loss of power ---- */

struct log {
    struct str request;
    uint64_t revision;
    int n;
};

static int find(void *ctx, const struct store_entry *entry)
{
    struct log *l = ctx;

    if (str_eq(entry->request, l->request)) {
        l->revision = entry->revision;
        l->n++;
    }
    return 0;
}

/* Each answer against the log. Frees the servers. */
static void check_answers(struct world *w)
{
    struct store_opts opts = {.semantics = STATE_SEMANTICS};
    owned(store_drop) struct store *s = NULL;
    uint64_t published = w->servers[0].state->revision;

    for (int i = 0; i < SERVERS; i++)
        close_server(w, i);
    store_disk_faults(w->disk, NULL, NULL);
    store_disk_crash(w->disk);
    opts.disk = w->disk;
    REQUIRE(store_open("mem:", &opts, &s, NULL) == 0);
    CHECK(store_head(s).revision >= published);
    for (size_t i = 0; i < w->n_jobs; i++) {
        const struct job *j = &w->jobs[i];
        struct log l = {.request = str_c(j->request)};

        CHECK_I64(store_read(s, 1, UINT64_MAX, find, &l, NULL), 0);
        CHECK(l.n <= 1);
        if (!j->job.result) {
            CHECK_U64(l.revision, j->job.revision);
        } else {
            CHECK_I64(l.n, 0);
        }
    }
}

/* ---- */

TEST("jobs that are queued together get revisions of their own, in order, published before "
     "they are answered")
{
    struct world w;

    world_open(&w);
    for (int i = 0; i < 8; i++) {
        char id[32], request[32];

        (void)snprintf(id, sizeof(id), "a/item/n%d", i);
        (void)snprintf(request, sizeof(request), "r%d", i);
        (void)queue(&w, 0, id, request);
    }
    wait_for_all(&w);
    for (size_t i = 0; i < w.n_jobs; i++)
        CHECK_U64(w.jobs[i].job.revision, i + 1);
    CHECK_U64(w.servers[0].state->revision, 8);
    check_answers(&w);
    world_close(&w);
}

/* Six jobs, two at a time, while the append of this number goes wrong in this way. */
static void run_with(enum store_fault fault, int at)
{
    struct world w;
    uint64_t before;

    world_open(&w);
    w.fault = fault;
    w.fault_at = at;
    for (int i = 0; i < 6; i++) {
        char id[32], request[32];

        before = w.servers[0].state->revision;
        (void)snprintf(id, sizeof(id), "a/item/n%d", i);
        (void)snprintf(request, sizeof(request), "r%d", i);
        (void)queue(&w, 0, id, request);
        if (i % 2 == 0)
            continue;
        wait_for_all(&w);
        CHECK(w.servers[0].state->revision >= before);
    }
    for (size_t i = 0; i < w.n_jobs; i++) {
        int r = w.jobs[i].job.result;

        CHECK(r == 0 || (fault == STORE_FAULT_FAIL && r == ERR_IO) ||
              (fault == STORE_FAULT_LOST && r == ERR_TIMEOUT));
        CHECK(r == 0 || i / 2 <= (size_t)at); /* the next ones pass again (D4) */
    }
    check_answers(&w);
    world_close(&w);
}

TEST("whatever befalls an append, each answer is what the log says, and what follows passes")
{
    static const enum store_fault faults[] = {STORE_FAULT_FAIL, STORE_FAULT_LOST,
                                              STORE_FAULT_DONE, STORE_FAULT_UNSYNCED};

    for (size_t f = 0; f < ARRAY_LEN(faults); f++)
        for (int at = 0; at < 6; at++)
            run_with(faults[f], at);
}

TEST("an unknown outcome without a request id is told as unknown, and nothing is made up")
{
    struct world w;
    struct job *j;

    world_open(&w);
    w.fault = STORE_FAULT_LOST;
    w.fault_at = 0;
    j = queue(&w, 0, "a/item/x", "");
    wait_for_all(&w);
    CHECK_I64(j->job.result, ERR_TIMEOUT);
    CHECK(j->job.err.hint[0] != '\0');
    CHECK_U64(w.servers[0].state->revision, 0);
    CHECK_I64(w.servers[0].n_published, 0);
    world_close(&w);
}

TEST("a request id is done once: in one group, later, and by a server that starts anew")
{
    struct world w;
    struct job *first, *twin, *later;

    world_open(&w);
    first = queue(&w, 0, "a/item/x", "same");
    twin = queue(&w, 0, "a/item/x", "same");
    wait_for_all(&w);
    CHECK(first->job.result == 0 && twin->job.result == 0);
    CHECK_U64(first->job.repeated, 0);
    CHECK_U64(twin->job.repeated, first->job.revision);
    (void)queue(&w, 0, "a/item/y", "other");
    wait_for_all(&w);
    close_server(&w, 0);
    REQUIRE(open_server(&w, 0) == 0);
    CHECK_U64(w.servers[0].state->revision, 2);
    later = queue(&w, 0, "a/item/x", "same");
    wait_for_all(&w);
    CHECK_I64(later->job.result, 0);
    CHECK_U64(later->job.repeated, 1);
    CHECK_U64(w.servers[0].state->revision, 2);
    world_close(&w);
}

TEST("what another server wrote is met, checked again and published, and takes nobody's place")
{
    struct world w;
    struct job *mine, *theirs, *late;

    world_open(&w);
    REQUIRE(open_server(&w, 1) == 0);
    theirs = queue(&w, 1, "a/item/x", "theirs");
    wait_for_all(&w);
    mine = queue(&w, 0, "a/item/y", "mine"); /* at a head that is not the newest */
    wait_for_all(&w);
    CHECK(theirs->job.result == 0 && mine->job.result == 0);
    CHECK_U64(mine->job.revision, 2);
    CHECK_U64(w.servers[0].state->revision, 2);
    late = make(&w, 1, "a/item/y", "late");
    late->change.create_only = true; /* it does not know that y is there */
    committer_commit(w.servers[1].committer, &late->job);
    wait_for_all(&w);
    CHECK_I64(late->job.result, ERR_EXISTS);
    CHECK_U64(w.servers[1].state->revision, 2);
    world_close(&w);
}

TEST("two servers that race get all of their commits into one log")
{
    struct world w;

    world_open(&w);
    REQUIRE(open_server(&w, 1) == 0);
    for (int i = 0; i < 20; i++) {
        char id[32], request[32];

        (void)snprintf(id, sizeof(id), "a/item/n%d", i % 3);
        (void)snprintf(request, sizeof(request), "r%d", i);
        (void)queue(&w, i % 2, id, request);
    }
    wait_for_all(&w);
    for (size_t i = 0; i < w.n_jobs; i++)
        CHECK_I64(w.jobs[i].job.result, 0);
    check_answers(&w);
    world_close(&w);
}

TEST("a record that was altered stops the server that meets it: it answers, and publishes "
     "nothing of it")
{
    struct world w;
    struct job *theirs, *mine;

    world_open(&w);
    REQUIRE(open_server(&w, 1) == 0);
    close_server(&w, 0);
    REQUIRE(open_server(&w, 0) == 0);
    theirs = queue(&w, 1, "a/item/x", "theirs");
    wait_for_all(&w);
    CHECK_I64(theirs->job.result, 0);
    close_server(&w, 1);
    if (w.servers[0].state->revision == 0 && store_disk_spoil(w.disk, 1)) {
        mine = queue(&w, 0, "a/item/y", "mine");
        wait_for_all(&w);
        CHECK_I64(mine->job.result, ERR_CORRUPT);
        CHECK_U64(w.servers[0].state->revision, 0);
    }
    close_server(&w, 0);
    CHECK_I64(open_server(&w, 0), ERR_CORRUPT);
    world_close(&w);
}

TEST("what is refused or only tried leaves no trace; what changes nothing needs no store")
{
    struct world w;
    struct job *dry, *bad, *same;

    world_open(&w);
    (void)queue(&w, 0, "a/item/x", "one");
    wait_for_all(&w);
    dry = make(&w, 0, "a/item/y", "dry");
    dry->job.is_dry_run = true;
    commit_job_try(&dry->job, w.servers[0].state);
    dry->is_done = true;
    w.n_done++;
    bad = queue(&w, 0, "no name", "bad");
    same = make(&w, 0, "a/item/x", "");
    same->change.content = STR("1"); /* what the first job wrote */
    committer_commit(w.servers[0].committer, &same->job);
    wait_for_all(&w);
    CHECK_I64(dry->job.result, 0);
    CHECK_I64(bad->job.result, ERR_INVALID);
    CHECK_I64(same->job.result, 0);
    CHECK_U64(same->job.revision, 1);
    CHECK_U64(w.servers[0].state->revision, 1);
    CHECK_I64(atomic_load(&w.n_writes), 1);
    world_close(&w);
}

/* n versions of one resource. Leaves no jobs. */
static void commit_versions(struct world *w, const char *id, int n)
{
    while (n > 0) {
        for (int i = 0; i < JOBS_MAX && n > 0; i++, n--)
            (void)queue(w, 0, id, "");
        wait_for_all(w);
        for (size_t i = 0; i < w->n_jobs; i++)
            CHECK_I64(w->jobs[i].job.result, 0);
        forget_jobs(w);
    }
}

static void check_mark(struct store *s, uint64_t number, uint64_t want)
{
    struct store_mark mark = {.number = 0};
    int r = store_mark_find(s, STR("a/b\0item\0n"), number, &mark, NULL);

    if (want)
        CHECK(r == 0 && mark.number == want && mark.revision == want + 1);
    else
        CHECK_I64(r, ERR_NOT_FOUND);
}

TEST("every 128th version is marked when it is committed, and in a log from before there were "
     "marks")
{
    struct store_opts opts = {.semantics = STATE_SEMANTICS};
    struct store *s = NULL, *reader = NULL;
    struct marks marks = {.due = 0};
    uint64_t upto = 0;
    struct world w;

    world_open(&w);
    commit_versions(&w, "a/b/item/other", 1);
    commit_versions(&w, "a/b/item/n", 300);
    close_server(&w, 0);
    opts.disk = w.disk;
    REQUIRE(store_open("mem:", &opts, &s, NULL) == 0);
    REQUIRE(store_reader_open(s, &reader, NULL) == 0);
    CHECK_I64(store_marked(s, &upto, NULL), 0);
    CHECK_U64(upto, 301);
    check_mark(s, 1, 128);
    check_mark(s, 129, 256);
    check_mark(s, 257, 0);
    REQUIRE(store_mark(s, NULL, 0, 0, NULL) == 0); /* as if nothing was ever marked */
    marks_open(&marks, s, 200);
    marks_scan(&marks, reader);
    CHECK_U64(marks.found.marks.n, 1);
    CHECK_U64(marks.gap, 201);
    marks_write(&marks, s, MARKS_NOW);
    CHECK_I64(store_marked(s, &upto, NULL), 0);
    CHECK_U64(upto, 301); /* what came later is noted by who folds it */
    check_mark(s, 1, 128);
    marks_close(&marks);
    reader = store_drop(reader);
    s = store_drop(s);
    world_close(&w);
}

static void wait_for_snapshot(struct server *s, uint64_t n)
{
    while (committer_stats(s->committer).snapshots < n)
        (void)sched_yield();
}

TEST("a snapshot with contents larger than the store's pieces is loaded whole")
{
    const size_t sizes[] = {STORE_CHUNK_MAX * 3 + 5, 10, STORE_CHUNK_MAX, 1};
    owned(mem) char *content = mem_zalloc((size_t)STORE_CHUNK_MAX * 4);
    struct world w;

    world_open(&w);
    REQUIRE(content != NULL);
    close_server(&w, 0);
    w.snapshot_records = ARRAY_LEN(sizes);
    REQUIRE(open_server(&w, 0) == 0);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char id[32];
        struct job *j;

        (void)snprintf(id, sizeof(id), "a/b/file/n%zu", i);
        j = make(&w, 0, id, "");
        j->change.content = str_of(content, sizes[i]);
        committer_commit(w.servers[0].committer, &j->job);
    }
    wait_for_all(&w);
    wait_for_snapshot(&w.servers[0], 1);
    close_server(&w, 0);
    forget_jobs(&w);
    REQUIRE(open_server(&w, 0) == 0);
    CHECK_U64(w.servers[0].state->n_resources, ARRAY_LEN(sizes));
    CHECK_U64(w.servers[0].state->content_bytes, (uint64_t)STORE_CHUNK_MAX * 4 + 16);
    world_close(&w);
}

/* A server that writes a snapshot after so many records. */
static bool open_snapshotting(struct world *w, uint64_t records)
{
    world_open(w);
    close_server(w, 0);
    w->snapshot_records = records;
    return CHECK_I64(open_server(w, 0), 0);
}

TEST("a snapshot whose n-th write fails is none, commits go on, and the next one is whole")
{
    enum { WRITES = 3 }; /* its part, its end, its row */

    for (int n = 0; n < WRITES; n++) {
        struct world w;

        REQUIRE(open_snapshotting(&w, 4));
        w.fault = STORE_FAULT_FAIL;
        w.fault_write = STORE_WRITE_SNAPSHOT;
        atomic_store(&w.n_writes, 0);
        w.fault_at = n;
        commit_versions(&w, "a/b/item/n", 4);
        while (atomic_load(&w.n_writes) <= n) /* it has failed */
            (void)sched_yield();
        while (committer_stats(w.servers[0].committer).snapshots == 0)
            commit_versions(&w, "a/b/item/n", 2); /* of two contents in turn */
        close_server(&w, 0);
        REQUIRE(open_server(&w, 0) == 0);
        CHECK(w.servers[0].state->revision >= 8);
        world_close(&w);
    }
}

TEST("who closes while a snapshot is being written waits for its thread, and the log is all "
     "there is")
{
    for (int i = 0; i < 20; i++) {
        struct world w;

        REQUIRE(open_snapshotting(&w, 1));
        commit_versions(&w, "a/b/item/n", 1 + i % 3);
        close_server(&w, 0);
        REQUIRE(open_server(&w, 0) == 0);
        CHECK_U64(w.servers[0].state->revision, 1 + (uint64_t)i % 3);
        world_close(&w);
    }
}

TEST("who closes has everything that is queued done, and answered")
{
    struct world w;

    world_open(&w);
    for (int i = 0; i < 10; i++) {
        char id[32], request[32];

        (void)snprintf(id, sizeof(id), "a/item/n%d", i);
        (void)snprintf(request, sizeof(request), "r%d", i);
        (void)queue(&w, 0, id, request);
    }
    close_server(&w, 0);
    CHECK_U64(w.n_done, 10);
    for (size_t i = 0; i < w.n_jobs; i++)
        CHECK_I64(w.jobs[i].job.result, 0);
    world_close(&w);
}
