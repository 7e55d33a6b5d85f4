/*
 * The engine of sinks for segments. See sink_shm.h.
 *
 * Nothing is noted of what is there: every plan walks the segment, as readers have it, and compares all of it with what
 * shall be there, before the switch and behind it. Nobody has to be told either, since the switch wakes who waits.
 */
#include "agent/sink_shm.h"

#include "agent/ledger.h"
#include "agent/place.h"
#include "base/log.h"
#include "shm/writer.h"

#include <sys/stat.h>
#include <unistd.h>

struct sink_shm {
    struct sink sink;
    struct sink_shm_opts opts;
    const char *folder; /* that the file lies in */
    struct arena arena;
    /* Of the worker. */
    int fd; /* of that folder; -1: not open */
    struct shm_writer *writer;
    struct err story; /* what was wrong with the file that it found */
    bool is_known;    /* a file was proved to be there since it started */
};

/* A value that shall be there. */
struct value {
    struct str name;
    struct version *version;
    bool is_served; /* it was served before */
    bool is_there;  /* as the walk has found */
};

typedef VEC(struct shm_item) shm_items;

struct shm_plan {
    struct sink_plan plan;
    struct arena arena;
    VEC(struct value) values;
    struct map by_name; /* name -> struct value */
    uint64_t revision, revision_before;
    bool is_proved;    /* what was there is what somebody wrote: */
    shm_items before;  /* all of it, */
    shm_items changes; /* and what becomes of it */
    shm_items all;     /* else all is written */
    size_t n_seen;
    struct err err;
    char told[ERR_TEXT_MAX + ERR_HINT_MAX + 2];
};

static struct sink_shm *shm_of(const struct sink *s)
{
    return CONTAINER_OF((uintptr_t)s, struct sink_shm, sink);
}

static struct shm_plan *plan_of(const struct sink_plan *p)
{
    return CONTAINER_OF((uintptr_t)p, struct shm_plan, plan);
}

/* The values of programs, as libtrimtab has them from a server. */
static bool takes(const struct sink *s, struct str key)
{
    return str_eq(key_scope(key), s->scope) && str_eq(key_kind(key), STR("item")) &&
           !key_is_referred(key);
}

/* ---- failing ---- */

/* Only what does not fit, and a place that is not safe, are not over by themselves. */
static int fail(struct shm_plan *p, int r, const char *code)
{
    bool is_lasting = strcmp(code, "SEGMENT_FULL") == 0 || strcmp(code, "UNSAFE_PATH") == 0;

    if (!p->err.code)
        (void)err_set(&p->err, r, "out of memory");
    (void)err_describe(&p->err, p->told, sizeof(p->told));
    p->plan.fault =
        (struct sink_fault){.code = code, .is_passing = !is_lasting, .text = str_c(p->told)};
    return r;
}

static int fail_writer(struct shm_plan *p, int r)
{
    return fail(p, r,
                r == ERR_LIMIT    ? "SEGMENT_FULL"
                : r == ERR_NOMEM  ? "NO_MEMORY"
                : r == ERR_LOCKED ? "LOCKED"
                                  : "IO");
}

static int fail_place(struct shm_plan *p, int r)
{
    return fail(p, r,
                r == ERR_DENIED  ? "UNSAFE_PATH"
                : r == ERR_NOMEM ? "NO_MEMORY"
                : r == ERR_LIMIT ? "NO_SPACE"
                                 : "IO");
}

/* ---- planning ---- */

static struct sink_plan *finish(struct sink_plan *base)
{
    struct shm_plan *p = plan_of(base);

    for (size_t i = 0; i < p->values.n; i++)
        (void)version_unref(p->values.at[i].version);
    VEC_DEINIT(&p->values);
    VEC_DEINIT(&p->before);
    VEC_DEINIT(&p->changes);
    VEC_DEINIT(&p->all);
    map_deinit(&p->by_name);
    arena_deinit(&p->arena);
    (void)mem_free(p);
    return NULL;
}

static int plan_values(struct shm_plan *p, const struct sink_item *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct value v = {.name = arena_str(&p->arena, key_path(items[i].key)),
                          .is_served = items[i].is_served};

        if (items[i].is_waiting)
            continue;
        v.version = version_ref(items[i].version);
        if (arena_failed(&p->arena) || !VEC_PUSH(&p->values, v)) {
            (void)version_unref(v.version);
            return ERR_NOMEM;
        }
    }
    for (size_t i = 0; i < p->values.n; i++)
        if (!map_put(&p->by_name, p->values.at[i].name, &p->values.at[i], NULL))
            return ERR_NOMEM;
    return 0;
}

static int make_plan(struct sink *base, const struct sink_item *items, size_t n,
                     enum sink_look look, struct sink_plan **ret_plan)
{
    struct sink_shm *s = shm_of(base);
    struct shm_plan *p = NEW(struct shm_plan);

    (void)look; /* it always looks at every byte */
    *ret_plan = NULL;
    if (!p)
        return ERR_NOMEM;
    p->plan.sink = base;
    p->revision = s->opts.sync ? sync_status(s->opts.sync).cursor.revision : 1;
    if (plan_values(p, items, n)) {
        (void)finish(&p->plan);
        return ERR_NOMEM;
    }
    *ret_plan = &p->plan;
    return 0;
}

/* ---- the file ---- */

static void close_writer(struct sink_shm *s)
{
    s->writer = shm_writer_close(s->writer);
    if (s->fd >= 0)
        (void)close(s->fd);
    s->fd = -1;
}

static bool is_same_folder(int a, int b)
{
    struct stat x, y;

    return a >= 0 && fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev &&
           x.st_ino == y.st_ino;
}

static int open_writer(struct sink_shm *s, struct shm_plan *p)
{
    const struct config_segment *c = s->opts.segment;
    struct shm_writer_opts opts = {.folder = s->fd,
                                   .name = c->file + strlen(s->folder) + 1,
                                   .owner = c->owner,
                                   .group = c->group,
                                   .mode = c->mode,
                                   .max_bytes = c->max_bytes};
    int r;

    if (!*s->folder)
        opts.name = c->file + 1;
    s->story = ERR_NULL;
    r = shm_writer_open(&opts, &s->writer, &s->story, &p->err);
    if (r)
        close_writer(s);
    return r ? fail_writer(p, r) : 0;
}

/* The folder may have gone, and come back as another one: under /run it does with every start of the machine. */
static int find_file(struct sink_shm *s, struct shm_plan *p)
{
    struct place place = PLACE_NULL;
    int r;

    place.folder_mode = 0755;
    place.owner = (uid_t)-1;
    place.group = (gid_t)-1;
    r = place_open(*s->folder ? s->folder : "/", &place, &p->err);
    if (r)
        return fail_place(p, r);
    if (s->writer && is_same_folder(s->fd, place.fd)) {
        place_close(&place);
        return 0;
    }
    close_writer(s);
    s->fd = place.fd;
    if (s->opts.watch)
        watch_folder(s->opts.watch, s->fd);
    return open_writer(s, p);
}

static bool is_value(const struct value *v, const struct shm_record *r)
{
    return v && str_eq(v->version->content, str_of(r->value.json, r->json_len));
}

/* What is in the segment, beside what shall be. */
static int compare(void *ctx, const struct shm_record *r)
{
    struct shm_plan *p = ctx;
    struct value *v = map_get(&p->by_name, r->name);
    struct shm_item was = {.name = v ? v->name : arena_str(&p->arena, r->name)};
    struct shm_item drop = {.name = was.name, .is_drop = true};

    if (is_value(v, r)) {
        v->is_there = true;
        was.json = v->version->content;
    } else {
        was.json = arena_str(&p->arena, str_of(r->value.json, r->json_len));
    }
    if (arena_failed(&p->arena) || !VEC_PUSH(&p->before, was))
        return ERR_NOMEM;
    return v || VEC_PUSH(&p->changes, drop) ? 0 : ERR_NOMEM;
}

static int list_changes(struct shm_plan *p)
{
    for (size_t i = 0; i < p->values.n; i++) {
        const struct value *v = &p->values.at[i];
        struct shm_item item = {.name = v->name, .json = v->version->content};

        if (!VEC_PUSH(&p->all, item) || (!v->is_there && !VEC_PUSH(&p->changes, item)))
            return ERR_NOMEM;
    }
    return 0;
}

/* What stood there, if it was no segment of ours any more, is told once: the next plan finds what this one writes. */
static void tell_altered(struct sink_shm *s, struct shm_plan *p, int r)
{
    bool was_there = s->is_known || s->story.code || r != ERR_NOT_FOUND;
    const char *why = s->story.code ? s->story.text : p->err.text;

    p->plan.n_restored = was_there;
    if (was_there)
        LOG(WARN, "segment_altered", LOG_STR("sink", s->sink.name),
            LOG_C("file", s->opts.segment->file), LOG_C("reason", why));
    p->err = ERR_NULL;
    p->before.n = p->changes.n = 0; /* what was seen of it is nothing to rely on */
    for (size_t i = 0; i < p->values.n; i++)
        p->values.at[i].is_there = false;
}

static int stage(struct sink_plan *base)
{
    struct shm_plan *p = plan_of(base);
    struct sink_shm *s = shm_of(base->sink);
    int r = find_file(s, p);

    if (r)
        return r;
    p->revision_before = shm_writer_revision(s->writer);
    r = shm_writer_prove(s->writer, compare, p, &p->err);
    p->is_proved = r == 0;
    s->is_known |= p->is_proved;
    if (r == ERR_CORRUPT || r == ERR_NOT_FOUND)
        tell_altered(s, p, r);
    else if (r)
        return fail_writer(p, r);
    base->n_removed = p->changes.n;
    if (list_changes(p))
        return fail(p, ERR_NOMEM, "NO_MEMORY");
    base->n_written = p->changes.n - base->n_removed;
    base->is_changed = p->changes.n || !p->is_proved;
    return 0;
}

/* ---- switching ---- */

static int see_value(void *ctx, const struct shm_record *r)
{
    struct shm_plan *p = ctx;

    p->n_seen++;
    return is_value(map_get(&p->by_name, r->name), r) ? 0 : ERR_CORRUPT;
}

/* That readers have exactly what was wanted. */
static int prove(struct sink_shm *s, struct shm_plan *p)
{
    int r;

    p->n_seen = 0;
    r = shm_writer_prove(s->writer, see_value, p, &p->err);
    if (!r && p->n_seen != p->values.n)
        r = ERR_CORRUPT;
    if (r && !p->err.code)
        (void)err_set(&p->err, r, "%s has not the values that were written to it",
                      s->opts.segment->file);
    return r;
}

static int write_values(struct sink_shm *s, struct shm_plan *p)
{
    int r = ERR_CORRUPT;

    if (p->is_proved)
        r = shm_writer_apply(s->writer, p->changes.at, p->changes.n, p->revision, &p->err);
    if (r != ERR_CORRUPT)
        return r;
    p->err = ERR_NULL; /* altered, or since it was proved: all of it is written */
    return shm_writer_replace(s->writer, p->all.at, p->all.n, p->revision, &p->err);
}

/*
 * What was there again. Where nothing could be believed, what was served of what was wanted: programs do not have to do
 * without it until the next verification brings the rest.
 */
static void put_back(struct sink_shm *s, struct shm_plan *p)
{
    shm_items *to = p->is_proved ? &p->before : &p->all;
    struct err err = ERR_NULL;

    for (size_t i = 0; !p->is_proved && i < p->values.n; i++)
        to->at[i].is_drop = !p->values.at[i].is_served;
    if (shm_writer_put_back(s->writer, to->at, to->n,
                            p->is_proved ? p->revision_before : p->revision, &err))
        LOG(ERROR, "undo_failed", LOG_STR("sink", s->sink.name),
            LOG_C("file", s->opts.segment->file), LOG_C("error", err.text));
}

static int switch_over(struct sink_plan *base)
{
    struct shm_plan *p = plan_of(base);
    struct sink_shm *s = shm_of(base->sink);
    int r = write_values(s, p);

    if (r)
        return fail_writer(p, r);
    s->story = ERR_NULL;
    s->is_known = true;
    r = prove(s, p);
    if (r) {
        put_back(s, p);
        return fail_writer(p, r);
    }
    base->is_switched = true;
    return 0;
}

static void undo(struct sink_plan *base)
{
    if (base->is_switched)
        put_back(shm_of(base->sink), plan_of(base));
    base->is_switched = false;
}

/* ---- what there is nothing to do for ---- */

static int check(struct sink_plan *base, sink_done_fn *done, void *ctx)
{
    (void)base;
    (void)done;
    (void)ctx;
    return SINK_NOTHING_TO_ASK;
}

static void cancel(struct sink_plan *base)
{
    (void)base;
}

static int rows(const struct sink_plan *base, enum sink_rows_of which, struct sink_rows *out)
{
    (void)base;
    (void)which;
    (void)out;
    return 0;
}

static int note(struct sink *base, const struct copy_file *row)
{
    (void)base;
    (void)row;
    return 0;
}

/* ---- life ---- */

static struct sink *close_shm(struct sink *base)
{
    struct sink_shm *s = shm_of(base);

    close_writer(s);
    arena_deinit(&s->arena);
    (void)mem_free(s);
    return NULL;
}

static const struct sink_ops ops = {.engine = "shm",
                                    .takes = takes,
                                    .plan = make_plan,
                                    .stage = stage,
                                    .check = check,
                                    .switch_over = switch_over,
                                    .reload = check,
                                    .cancel = cancel,
                                    .undo = undo,
                                    .finish = finish,
                                    .rows = rows,
                                    .note = note,
                                    .close = close_shm};

struct sink *sink_shm_open(const struct sink_shm_opts *opts)
{
    struct sink_shm *s = NEW(struct sink_shm);
    const char *file = opts->segment->file;

    if (!s)
        return NULL;
    s->opts = *opts;
    s->fd = -1;
    s->sink = (struct sink){&ops, opts->segment->name, opts->segment->scope};
    s->folder = arena_c(&s->arena, str_of(file, (size_t)(strrchr(file, '/') - file)));
    if (arena_failed(&s->arena))
        return close_shm(&s->sink);
    return &s->sink;
}
