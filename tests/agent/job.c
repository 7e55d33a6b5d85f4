/*
 * The job over sinks in memory: groups stand or fall together over all sinks, whatever step of whichever sink fails, and
 * what is told is what is there.
 */
#include "tap.h"

#include "agent/job.h"
#include "base/log.h"
#include "model/name.h"
#include "sink_mem.h"

#include <fcntl.h>
#include <unistd.h>

enum { SINKS = 3, ITEMS_MAX = 16 };

struct item {
    const char *sink, *name, *content;
    uint64_t revision; /* of its commit: the same for those that stand together */
};

struct world {
    struct loop loop;
    struct sync *sync;
    struct ledger ledger;
    struct copy *copy;
    struct sink_mem *sinks[SINKS];
    struct sink *bases[SINKS];
    struct job *job;
    unsigned n_applied, n_idle;
};

static struct world world; /* its loop must not move */

/* ---- what was received ---- */

static struct version *make(const struct item *item)
{
    owned(buf) struct buf key = BUF_NULL(4096);
    struct shared *bytes = shared_copy(str_c(item->content));
    struct version_opts o = {.content_type = STR("text/plain"),
                             .wire = bytes,
                             .number = item->revision,
                             .revision = item->revision};
    struct version *v;

    name_put_key((struct name){STR("n"), STR("file"), str_c(item->name)}, &key);
    o.key = buf_str(&key);
    o.content = shared_str(bytes);
    v = version_new(&o);
    (void)shared_unref(bytes);
    return v;
}

static const struct sync_ops no_ops = {.send = NULL};

static struct sync *received(const struct item *items)
{
    struct sync_opts opts = {.ops = &no_ops};
    struct sync *s = sync_new(&opts);
    struct sync_change changes[ITEMS_MAX];
    char keys[ITEMS_MAX][64];
    struct sync_cursor cursor = {.revision = 100, .digest = DIGEST_NULL};

    for (; items->sink; items++) {
        size_t n = cursor.count++;
        int len = snprintf(keys[n], sizeof(keys[n]), "file%c%s", 0, items->name);
        struct str scope = str_c(items->sink);

        changes[n] = (struct sync_change){scope, str_of(keys[n], (size_t)len), make(items)};
        cursor.digest =
            digest_add(cursor.digest, binding_digest(scope, &changes[n].item->item_hash));
    }
    CHECK_I64(sync_load(s, changes, cursor.count, &cursor), 0);
    for (size_t i = 0; i < cursor.count; i++)
        (void)version_unref(changes[i].item);
    return s;
}

/* ---- the world ---- */

static void on_applied(void *ctx, uint64_t revision)
{
    struct world *w = ctx;

    (void)revision;
    w->n_applied++;
}

static void on_idle(void *ctx)
{
    ((struct world *)ctx)->n_idle++;
}

static void open_world(struct world *w)
{
    static const char *const names[SINKS] = {"one", "two", "three"};
    struct job_opts opts = {.loop = &w->loop,
                            .ledger = &w->ledger,
                            .sinks = w->bases,
                            .n_sinks = SINKS,
                            .retry_ms = 1000000,
                            .applied = on_applied,
                            .idle = on_idle,
                            .ctx = w};
    struct copy_content content = {.instance = ""};
    char path[300];

    memset(w, 0, sizeof(*w));
    REQUIRE(loop_open(&w->loop, NULL) == 0);
    (void)snprintf(path, sizeof(path), "%s/copy.db", tap_tmpdir());
    REQUIRE(copy_open(path, &w->copy, NULL) == 0 && copy_load(w->copy, &content, NULL) == 0);
    copy_content_deinit(&content);
    w->sync = received((const struct item[]){{NULL}});
    ledger_init(&w->ledger, w->sync);
    for (size_t i = 0; i < SINKS; i++) {
        w->sinks[i] = sink_mem_open(&w->loop, names[i]);
        w->bases[i] = &w->sinks[i]->sink;
    }
    opts.copy = w->copy;
    w->job = job_new(&opts);
}

static void close_world(struct world *w)
{
    w->job = job_free(w->job);
    for (size_t i = 0; i < SINKS; i++) {
        CHECK_U64(w->sinks[i]->n_plans, 0);
        (void)w->bases[i]->ops->close(w->bases[i]);
    }
    ledger_deinit(&w->ledger);
    w->sync = sync_free(w->sync);
    w->copy = copy_close(w->copy);
    loop_close(&w->loop);
}

/* From now on this is received; the job runs until there is nothing to do. */
static void publish(struct world *w, const struct item *items)
{
    struct sync *old = w->sync;
    unsigned n_idle = w->n_idle;

    w->sync = received(items);
    w->ledger.sync = w->sync;
    (void)sync_free(old);
    CHECK_I64(ledger_rescan(&w->ledger, 100), 0);
    job_kick(w->job);
    while (w->n_idle == n_idle)
        loop_turn(&w->loop, LOOP_WAIT);
}

static const char *content(const struct world *w, size_t sink, const char *name)
{
    const char *text = sink_mem_content(&w->sinks[sink]->now, name);

    return text ? text : "";
}

static const char *told(const struct world *w, size_t sink, const char *name)
{
    const char *text = sink_mem_content(&w->sinks[sink]->told, name);

    return text ? text : "";
}

/* The ledger says of each name what its sink really has. */
static bool is_true(const struct world *w)
{
    struct map_slot *slot;
    size_t at = 0, n = 0;

    while ((slot = map_each(&w->ledger.serving, &at))) {
        const struct version *v = ledger_serving(&w->ledger, slot->key);
        char name[64];
        bool same = false;

        (void)snprintf(name, sizeof(name), "%.*s", STR_ARG(key_path(slot->key)));
        for (size_t i = 0; i < SINKS; i++)
            if (str_eq(w->bases[i]->scope, key_scope(slot->key)))
                same = str_eq(str_c(content(w, i, name)), v->content);
        if (!same)
            tap_note("%s is not what is served", name);
        if (!same)
            return false;
        n++;
    }
    for (size_t i = 0; i < SINKS; i++)
        n -= w->sinks[i]->now.n;
    return n == 0;
}

static const char *code_of(const struct world *w, const char *sink, const char *name)
{
    char key[128];
    int len = snprintf(key, sizeof(key), "%s%cfile%c%s", sink, 0, 0, name);
    const struct pending *p = map_get(&w->ledger.pending, str_of(key, (size_t)len));

    return p && p->is_refused ? p->code : "";
}

#define CHECK_C(got, want) CHECK_STR(str_c(got), str_c(want))

static const struct item first[] = {{"one", "a", "a1", 1},
                                    {"two", "b", "b1", 1},
                                    {"three", "c", "c1", 1},
                                    {"one", "d", "d1", 2},
                                    {NULL}};
/* The commit of revision 3 is bad by its part in the second sink; that of revision 4 is good. */
static const struct item second[] = {{"one", "a", "a2", 3},
                                     {"two", "b", "BAD2", 3},
                                     {"three", "c", "c2", 3},
                                     {"one", "d", "d1", 2},
                                     {"one", "e", "e2", 4},
                                     {"three", "f", "f2", 4},
                                     {NULL}};

TEST("what one commit brings is served in all sinks")
{
    struct world *w = &world;

    open_world(w);
    publish(w, first);
    CHECK_C(content(w, 0, "a"), "a1");
    CHECK_C(content(w, 1, "b"), "b1");
    CHECK_C(told(w, 2, "c"), "c1");
    CHECK(is_true(w));
    CHECK_U64(w->ledger.pending.n, 0);
    close_world(w);
}

/* Whichever step of the second sink fails: its commit is refused everywhere, the other one stands. */
static void fail_at(struct world *w, enum sink_mem_step step)
{
    static const char *const codes[SINK_MEM_STEPS] = {
        [SINK_MEM_PLAN] = "INVALID_PATH",  [SINK_MEM_STAGE] = "NO_SPACE",
        [SINK_MEM_CHECK] = "CHECK_FAILED", [SINK_MEM_NO_CHECK] = "IO",
        [SINK_MEM_SWITCH] = "IO",          [SINK_MEM_RELOAD] = "RELOAD_FAILED",
        [SINK_MEM_NO_RELOAD] = "IO"};

    open_world(w);
    publish(w, first);
    w->sinks[1]->fails_at = step;
    publish(w, second);
    CHECK_C(code_of(w, "two", "b"), codes[step]);
    CHECK_C(code_of(w, "one", "a"), "HELD");
    CHECK_C(code_of(w, "three", "c"), "HELD");
    CHECK_C(content(w, 0, "a"), "a1");
    CHECK_C(content(w, 1, "b"), "b1");
    CHECK_C(content(w, 2, "c"), "c1");
    CHECK_C(content(w, 0, "e"), "e2");
    CHECK_C(told(w, 2, "f"), "f2");
    for (size_t i = 0; i < SINKS; i++) /* and every receiver was told of what is there */
        for (size_t n = 0; n < w->sinks[i]->now.n; n++)
            CHECK_C(told(w, i, w->sinks[i]->now.at[n].name), w->sinks[i]->now.at[n].content);
    CHECK(is_true(w));
    if (tap_failed())
        tap_note("step %d", (int)step);
    w->sinks[1]->fails_at = SINK_MEM_NONE;
    job_retry(w->job, JOB_RETRY_ORDERED);
    publish(w, second);
    CHECK_C(content(w, 0, "a"), "a2");
    CHECK_C(told(w, 1, "b"), "BAD2");
    CHECK_U64(w->ledger.pending.n, 0);
    CHECK(is_true(w));
    close_world(w);
}

TEST("whatever step of one sink fails, the commit is refused in all of them, and another one "
     "stands")
{
    for (int step = SINK_MEM_PLAN; step < SINK_MEM_STEPS; step++)
        fail_at(&world, (enum sink_mem_step)step);
}

TEST("a job that is stopped while it waits for a check leaves all as it was")
{
    struct world *w = &world;
    unsigned before;

    open_world(w);
    publish(w, first);
    before = w->n_applied;
    (void)sync_free(w->sync);
    w->sync = received(second);
    w->ledger.sync = w->sync;
    CHECK_I64(ledger_rescan(&w->ledger, 100), 0);
    w->sinks[0]->n_checks = 0;
    w->sinks[0]->is_silent = true;
    job_kick(w->job);
    while (!w->sinks[0]->n_checks)
        loop_turn(&w->loop, LOOP_WAIT);
    w->n_idle = 0;
    job_stop(w->job, on_idle, w);
    while (!w->n_idle)
        loop_turn(&w->loop, LOOP_WAIT);
    CHECK(!job_is_busy(w->job));
    CHECK_C(content(w, 0, "a"), "a1");
    CHECK_U64(w->n_applied, before);
    CHECK(is_true(w));
    close_world(w);
}

TEST("a receiver that takes neither what is new nor what was there before is told again")
{
    struct world *w = &world;
    unsigned n_reloads;

    open_world(w);
    publish(w, first);
    w->sinks[1]->fails_at = SINK_MEM_NO_RELOAD;
    w->sinks[1]->fails_always = true;
    publish(w, second);
    CHECK_C(code_of(w, "two", "b"), "IO");
    CHECK_C(content(w, 1, "b"), "b1");
    CHECK(w->sinks[1]->is_untold);
    n_reloads = w->sinks[1]->n_reloads;
    w->sinks[1]->fails_at = SINK_MEM_NONE;
    while (w->sinks[1]->n_reloads == n_reloads || job_is_busy(w->job))
        loop_turn(&w->loop, LOOP_WAIT); /* by itself, a second later */
    CHECK(!w->sinks[1]->is_untold);
    CHECK_C(told(w, 1, "b"), content(w, 1, "b"));
    CHECK(is_true(w));
    close_world(w);
}
