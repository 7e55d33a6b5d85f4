/*
 * The contract of sinks (agent/sink.h, K1 to K4), over every engine: what each promises at each step, with faults of the
 * system at each call that it makes.
 */
#include "tap.h"

#include "agent/ledger.h"
#include "agent/sink_file.h"
#include "agent/sink_shm.h"
#include "base/file.h"
#include "base/log.h"
#include "faults.h"
#include "model/name.h"
#include "shm/reader.h"
#include "sink_mem.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

/* An engine with a receiver whose content can be looked at. */
struct subject {
    const char *engine;
    struct sink *sink;
    struct loop loop;
    struct config config;
    struct config_files files;
    struct config_segment segment;
    char folder[200], target[256];
    const struct engine *of;
};

struct wish {
    const char *name, *content;
};

struct engine {
    const char *name;
    const struct wish *after;
    uint64_t n_calls; /* that can fail on the way there, at least */
    uint64_t n_space; /* and those of them for want of space */
    bool is_told;     /* the switch itself tells the receiver */
    enum files_layout layout;
    bool (*open)(struct subject *s);
    /* The content under a name; false: it is not there. */
    bool (*read)(struct subject *s, const char *name, struct buf *out);
    size_t (*count)(struct subject *s);
    bool (*is_clean)(struct subject *s); /* nothing but the content is left */
};

/* ---- files ---- */

static bool open_file(struct subject *s)
{
    struct sink_file_opts opts = {.loop = &s->loop, .config = &s->config, .files = &s->files};

    (void)snprintf(s->folder, sizeof(s->folder), "%s", tap_tmpdir());
    (void)snprintf(s->target, sizeof(s->target), "%s/target", s->folder);
    s->config = (struct config){.check_timeout = NSEC_PER_S, .reload_timeout = NSEC_PER_S};
    s->files = (struct config_files){.name = STR("s"),
                                     .scope = STR("s"),
                                     .target = s->target,
                                     .mode = 0644,
                                     .folder_mode = 0755,
                                     .owner = (uid_t)-1,
                                     .group = (gid_t)-1,
                                     .layout = s->of->layout,
                                     .reload = "true"};
    s->sink = sink_file_open(&opts);
    return s->sink != NULL;
}

static bool read_file(struct subject *s, const char *name, struct buf *out)
{
    char path[600];

    (void)snprintf(path, sizeof(path), "%s/%s", s->target, name);
    return file_read(path, out, NULL) == 0;
}

static size_t n_found, n_leftovers;

static int count_file(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)path;
    (void)st;
    (void)at;
    n_found += type == FTW_F;
    return 0;
}

/* The tree that is served in the layout with links is no leftover. */
static int count_leftover(const char *path, const struct stat *st, int type, struct FTW *at)
{
    static const char *const ours[] = {".trimtab-", "..data_", "..kept_"};
    char data[600], to[256] = "";

    (void)st;
    (void)type;
    (void)snprintf(data, sizeof(data), "%.*s..data", at->base, path);
    (void)!readlink(data, to, sizeof(to) - 1); /* "" where there is none */
    if (*to && strcmp(path + at->base, to) == 0)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        n_leftovers += strstr(path + at->base, ours[i]) != NULL;
    return 0;
}

static size_t count_files(struct subject *s)
{
    char path[600];

    (void)snprintf(path, sizeof(path), "%s%s", s->target,
                   s->of->layout == FILES_SYMLINK ? "/..data/." : "");
    n_found = 0;
    (void)nftw(path, count_file, 16, FTW_PHYS);
    return n_found;
}

static bool is_clean(struct subject *s)
{
    n_leftovers = 0;
    (void)nftw(s->folder, count_leftover, 16, FTW_PHYS);
    return n_leftovers == 0;
}

/* ---- memory ---- */

static bool open_mem(struct subject *s)
{
    struct sink_mem *m = sink_mem_open(&s->loop, "s");

    s->sink = m ? &m->sink : NULL;
    return m != NULL;
}

static struct sink_mem *mem_of(struct subject *s)
{
    return CONTAINER_OF(s->sink, struct sink_mem, sink);
}

static bool read_mem(struct subject *s, const char *name, struct buf *out)
{
    const char *content = sink_mem_content(&mem_of(s)->now, name);

    if (content)
        buf_put_c(out, content);
    return content != NULL;
}

static size_t count_mem(struct subject *s)
{
    return mem_of(s)->now.n;
}

static bool is_mem_clean(struct subject *s)
{
    return mem_of(s)->n_plans == 0;
}

/* ---- segments ---- */

static bool open_shm(struct subject *s)
{
    struct sink_shm_opts opts = {.segment = &s->segment};

    (void)snprintf(s->folder, sizeof(s->folder), "%s", tap_tmpdir());
    (void)snprintf(s->target, sizeof(s->target), "%s/target/shop.segment", s->folder);
    s->segment = (struct config_segment){.name = STR("s"),
                                         .scope = STR("s"),
                                         .file = s->target,
                                         .mode = 0640,
                                         .owner = (uid_t)-1,
                                         .group = (gid_t)-1,
                                         .max_bytes = 64 * MIB};
    s->sink = sink_shm_open(&opts);
    return s->sink != NULL;
}

static void take_text(void *ctx, const struct shm_record *r)
{
    struct buf *out = ctx;

    buf_clear(out);
    buf_put_str(out, str_of(r->value.json, r->json_len));
}

static bool read_shm(struct subject *s, const char *name, struct buf *out)
{
    struct shm_map *m = NULL;
    struct err err = ERR_NULL;
    bool is_there = shm_map_open(s->target, &m, &err) == 0 &&
                    shm_map_read(m, str_c(name), take_text, out, NULL) == 1;

    if (m)
        (void)shm_map_close(m);
    return is_there;
}

static size_t count_shm(struct subject *s)
{
    struct shm_map *m = NULL;
    struct err err = ERR_NULL;
    struct shm_facts facts = {.count = 0};

    if (shm_map_open(s->target, &m, &err))
        return SIZE_MAX;
    if (shm_map_facts(m, &facts))
        facts.count = SIZE_MAX;
    (void)shm_map_close(m);
    return facts.count;
}

static bool is_shm_clean(struct subject *s)
{
    char draft[600];

    (void)snprintf(draft, sizeof(draft), "%s/target/.shop.segment.new", s->folder);
    return access(draft, F_OK) != 0;
}

static const struct wish before[] = {
    {"main.conf", "main 1"}, {"conf.d/a", "a 1"}, {"gone/x", "x"}, {NULL, NULL}};
static const struct wish after[] = {
    {"main.conf", "main 2"}, {"conf.d/a", "a 1"}, {"new/deep/y", "y"}, {NULL, NULL}};
/* No segment that was made for those before has room for this. */
static char large[20000];
static const struct wish larger[] = {
    {"main.conf", large}, {"conf.d/a", "a 1"}, {"new/deep/y", "y"}, {NULL, NULL}};

static const struct engine engines[] = {
    {"file, plain", after, 3, 3, false, FILES_PLAIN, open_file, read_file, count_files,
     is_clean},
    {"file, symlink", after, 3, 3, false, FILES_SYMLINK, open_file, read_file, count_files,
     is_clean},
    {"mem", after, 3, 3, false, FILES_PLAIN, open_mem, read_mem, count_mem, is_mem_clean},
    {"shm, in place", after, 0, 0, true, FILES_PLAIN, open_shm, read_shm, count_shm,
     is_shm_clean},
    {"shm, a larger file", larger, 4, 2, true, FILES_PLAIN, open_shm, read_shm, count_shm,
     is_shm_clean},
};

/* ---- what is wanted ---- */

enum { ITEMS_MAX = 8 };

struct wanted {
    struct sink_item items[ITEMS_MAX];
    char keys[ITEMS_MAX][64];
    size_t n;
};

static struct version *make(const char *name, struct str content)
{
    owned(buf) struct buf key = BUF_NULL(4096);
    struct shared *bytes = shared_copy(content);
    struct version_opts o = {
        .content_type = STR("text/plain"), .wire = bytes, .number = 1, .revision = 1};
    struct version *v;

    name_put_key((struct name){STR("n"), STR("file"), str_c(name)}, &key);
    o.key = buf_str(&key);
    o.content = shared_str(bytes);
    v = version_new(&o);
    (void)shared_unref(bytes);
    return v;
}

static void want(struct wanted *w, const struct wish *wishes)
{
    w->n = 0;
    for (; wishes->name; wishes++) {
        int len =
            snprintf(w->keys[w->n], sizeof(w->keys[0]), "s%cfile%c%s", 0, 0, wishes->name);

        w->items[w->n] = (struct sink_item){str_of(w->keys[w->n], (size_t)len),
                                            make(wishes->name, str_c(wishes->content))};
        w->n++;
    }
}

static void want_nothing(struct wanted *w)
{
    for (size_t i = 0; i < w->n; i++)
        (void)version_unref(w->items[i].version);
    w->n = 0;
}

/* Whether the receiver's content is exactly this. */
static bool holds(struct subject *s, const struct wish *wishes)
{
    size_t n = 0;

    for (; wishes->name; wishes++, n++) {
        owned(buf) struct buf content = BUF_NULL(65536);

        if (!s->of->read(s, wishes->name, &content) ||
            !str_eq(buf_str(&content), str_c(wishes->content))) {
            tap_note("%s: %s is \"%.*s\"", s->of->name, wishes->name,
                     STR_ARG(buf_str(&content)));
            return false;
        }
    }
    if (s->of->count(s) != n)
        tap_note("%s: there are %zu items", s->of->name, s->of->count(s));
    return s->of->count(s) == n;
}

/* ---- the steps ---- */

static struct sink_plan *plan(struct subject *s, const struct wish *wishes, enum sink_look how)
{
    struct wanted w;
    struct sink_plan *p = NULL;

    want(&w, wishes);
    CHECK_I64(s->sink->ops->plan(s->sink, w.items, w.n, how, &p), 0);
    want_nothing(&w);
    return p;
}

static void note(struct subject *s, const struct sink_plan *p, enum sink_rows_of which)
{
    struct sink_rows rows = {.rows = {0}};

    CHECK_I64(s->sink->ops->rows(p, which, &rows), 0);
    for (size_t i = 0; i < rows.rows.n; i++)
        CHECK_I64(s->sink->ops->note(s->sink, &rows.rows.at[i]), 0);
    sink_rows_deinit(&rows);
}

static bool deliver(struct subject *s, const struct wish *wishes, enum sink_look how)
{
    struct sink_plan *p = plan(s, wishes, how);
    bool ok = CHECK_I64(s->sink->ops->stage(p), 0);

    note(s, p, SINK_INTENT);
    ok = ok && (!p->is_changed || CHECK_I64(s->sink->ops->switch_over(p), 0));
    note(s, p, SINK_FINAL);
    (void)s->sink->ops->finish(p);
    return ok;
}

static bool begin(struct subject *s, const struct engine *e)
{
    struct err err = ERR_NULL;

    memset(s, 0, sizeof(*s));
    s->of = e;
    return CHECK(loop_open(&s->loop, &err) == 0) && CHECK(e->open(s)) &&
           deliver(s, before, SINK_LOOK_FOR_CHANGES) && CHECK(holds(s, before));
}

static void end(struct subject *s)
{
    s->sink = s->sink->ops->close(s->sink);
    loop_close(&s->loop);
}

/* All of the case's folder goes, for the next engine. */
static void clear(struct subject *s)
{
    char command[600];

    (void)snprintf(command, sizeof(command), "rm -rf %s/target %s/.target*", s->folder,
                   s->folder);
    if (*s->folder)
        CHECK(system(command) == 0);
}

typedef void case_fn(struct subject *s);

/* The case over every engine. */
static void over_all(case_fn *fn)
{
    static struct subject s; /* its loop must not move */

    memset(large, 'v', sizeof(large) - 1);
    for (size_t i = 0; i < ARRAY_LEN(engines); i++) {
        if (begin(&s, &engines[i]))
            fn(&s);
        end(&s);
        clear(&s);
    }
}

/* ---- the contract ---- */

static void steps(struct subject *s)
{
    struct sink_plan *p = plan(s, s->of->after, SINK_LOOK_FOR_CHANGES);

    CHECK(holds(s, before));
    CHECK_I64(s->sink->ops->stage(p), 0);
    CHECK(p->is_changed && !p->is_switched);
    note(s, p, SINK_INTENT);
    CHECK(holds(s, before));
    CHECK_I64(s->sink->ops->switch_over(p), 0);
    CHECK(p->is_switched);
    note(s, p, SINK_FINAL);
    (void)s->sink->ops->finish(p);
    CHECK(holds(s, s->of->after));
    CHECK(s->of->is_clean(s));
    CHECK(deliver(s, s->of->after, SINK_LOOK_AT_BYTES));
    CHECK(holds(s, s->of->after));
}

TEST("what is staged is not there yet, and what is switched is there exactly (K1, K3)")
{
    over_all(steps);
}

static void nothing(struct subject *s)
{
    struct sink_plan *p = plan(s, before, SINK_LOOK_AT_BYTES);

    CHECK_I64(s->sink->ops->stage(p), 0);
    CHECK(!p->is_changed);
    (void)s->sink->ops->finish(p);
    CHECK(holds(s, before));
    CHECK(s->of->is_clean(s));
}

TEST("when nothing differs nothing is to be switched")
{
    over_all(nothing);
}

static void undone(struct subject *s)
{
    struct sink_plan *p = plan(s, s->of->after, SINK_LOOK_FOR_CHANGES);

    CHECK_I64(s->sink->ops->stage(p), 0);
    note(s, p, SINK_INTENT);
    CHECK_I64(s->sink->ops->switch_over(p), 0);
    s->sink->ops->undo(p);
    CHECK(!p->is_switched);
    s->sink->ops->undo(p); /* of what is not switched: nothing */
    note(s, p, SINK_VOID);
    (void)s->sink->ops->finish(p);
    CHECK(holds(s, before));
    CHECK(s->of->is_clean(s));
    CHECK(deliver(s, s->of->after, SINK_LOOK_FOR_CHANGES));
    CHECK(holds(s, s->of->after));
}

TEST("an undo brings back what was there, and the next plan begins from that (K1)")
{
    over_all(undone);
}

/* One attempt with a fault at call n: true while there was one. */
static bool attempt(struct subject *s, enum faults sort, uint64_t n)
{
    struct sink_plan *p = plan(s, s->of->after, SINK_LOOK_FOR_CHANGES);
    bool has_failed, did_fail;

    faults_arm(sort, n);
    did_fail = s->sink->ops->stage(p) != 0 || s->sink->ops->switch_over(p) != 0;
    has_failed = faults_disarm();
    if (did_fail) {
        CHECK(has_failed);
        CHECK(p->fault.code && p->fault.text.len);
        CHECK(!p->is_switched);
        (void)s->sink->ops->finish(p);
        if (!CHECK(holds(s, before)) || !CHECK(s->of->is_clean(s)))
            tap_note("%s: fault %d at call %llu", s->of->name, (int)sort,
                     (unsigned long long)n);
        return true;
    }
    if (!CHECK(holds(s, s->of->after)))
        tap_note("%s: fault %d at call %llu is hidden", s->of->name, (int)sort,
                 (unsigned long long)n);
    s->sink->ops->undo(p);
    (void)s->sink->ops->finish(p);
    if (!CHECK(holds(s, before)) || !CHECK(s->of->is_clean(s)))
        tap_note("%s: undone after fault %d at call %llu", s->of->name, (int)sort,
                 (unsigned long long)n);
    return has_failed && !tap_failed();
}

static void faulty(struct subject *s)
{
    for (int sort = FAULT_ONCE; sort <= FAULT_NO_SPACE; sort++) {
        uint64_t n = 0;

        if (sort != FAULT_ONCE) { /* from a receiver that has had nothing else yet */
            const struct engine *e = s->of;

            end(s);
            clear(s);
            if (!begin(s, e))
                return;
        }
        while (attempt(s, (enum faults)sort, n) && n < 1000)
            n++;
        tap_note("%s: %llu calls failed", s->of->name, (unsigned long long)n);
        CHECK(n >= (sort == FAULT_ONCE ? s->of->n_calls : s->of->n_space));
    }
}

TEST("whatever call fails, once or for want of space, what was there stays, or all that is "
     "wanted "
     "is there (K2)")
{
    over_all(faulty);
}

static void undone_without_space(struct subject *s)
{
    struct sink_plan *p = plan(s, s->of->after, SINK_LOOK_FOR_CHANGES);

    CHECK_I64(s->sink->ops->stage(p), 0);
    CHECK_I64(s->sink->ops->switch_over(p), 0);
    faults_arm(FAULT_NO_SPACE, 0);
    s->sink->ops->undo(p);
    (void)faults_disarm();
    (void)s->sink->ops->finish(p);
    CHECK(holds(s, before));
    CHECK(s->of->is_clean(s));
}

TEST("an undo needs no space")
{
    over_all(undone_without_space);
}

/* The process ends after the switch: its plan is not finished, and the next one knows the rows of the intent. */
static void crashed(struct subject *s)
{
    struct sink_plan *p = plan(s, s->of->after, SINK_LOOK_FOR_CHANGES);

    CHECK_I64(s->sink->ops->stage(p), 0);
    note(s, p, SINK_INTENT);
    CHECK_I64(s->sink->ops->switch_over(p), 0);
    CHECK(deliver(s, before, SINK_LOOK_AT_BYTES));
    CHECK(holds(s, before));
    (void)s->sink->ops->finish(p); /* only its memory and its stage */
}

static void crashes(struct subject *s)
{
    if (s->of->layout == FILES_SYMLINK)
        return; /* the stage is the tree there: see files.c of these tests */
    crashed(s);
}

TEST("after a crash behind the switch the rows of the intent are enough to go back (K4)")
{
    over_all(crashes);
}

static void untold(struct subject *s)
{
    struct sink_plan *p;

    if (s->of->is_told)
        return;
    p = plan(s, s->of->after, SINK_LOOK_FOR_CHANGES);
    CHECK(!p->must_tell);
    CHECK_I64(s->sink->ops->stage(p), 0);
    note(s, p, SINK_INTENT);
    (void)s->sink->ops->finish(p); /* the process ends */
    p = plan(s, before, SINK_LOOK_AT_BYTES);
    CHECK(p->must_tell);
    CHECK_I64(s->sink->ops->stage(p), 0);
    note(s, p, SINK_FINAL); /* it could not be told */
    (void)s->sink->ops->finish(p);
    p = plan(s, before, SINK_LOOK_AT_BYTES);
    CHECK(p->must_tell);
    CHECK_I64(s->sink->ops->stage(p), 0);
    p->is_untold = false; /* it was */
    note(s, p, SINK_FINAL);
    (void)s->sink->ops->finish(p);
    p = plan(s, before, SINK_LOOK_AT_BYTES);
    CHECK(!p->must_tell);
    (void)s->sink->ops->finish(p);
}

TEST("from the intent on, until it was told, every plan tells the receiver (K4)")
{
    over_all(untold);
}
