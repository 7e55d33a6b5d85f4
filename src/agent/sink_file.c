/*
 * The engine of sinks for files. See sink_file.h.
 */
#include "agent/sink_file.h"

#include "agent/child.h"
#include "agent/files.h"
#include "agent/ledger.h"
#include "agent/pid_file.h"
#include "base/log.h"

enum {
    MESSAGE_MAX = CHILD_OUTPUT_MAX + 256,
    RESTORES_MAX = 3, /* of one file within this time: then it is only told */
    RESTORES_WITHIN_S = 600,
};

/* A file that is there, as far as we know. A path that ends in '/' is a folder that we made. */
struct delivered {
    struct sha256 hash;
    struct place_stamp seen;       /* when it was last found to be as it shall be */
    bool is_kept;                  /* it was taken over, and keeps what it had: */
    struct place_attr kept;
    nsec_t restored[RESTORES_MAX]; /* the newest times, 0: none; oldest first */
    size_t len;
    char path[];
};

struct sink_file {
    struct sink sink;
    struct sink_file_opts opts;
    const char *name; /* for commands */
    struct map delivered;
    bool has_adopted; /* what an agent had delivered that lost its notes */
    bool is_untold; /* by the row of the copy: the program may not know what is there */
    struct arena arena;
};

/* The name of that row; no file has it. */
#define UNTOLD STR("")

struct file_plan {
    struct sink_plan plan;
    struct files_plan files;
    char told[ERR_TEXT_MAX + ERR_HINT_MAX + 2]; /* what failed, and what would help */
    /* The command under way. */
    struct child *child;
    sink_done_fn *done;
    void *ctx;
    const char *failed, *incomplete; /* codes: it says no, it has not come to say anything; */
    const char *what;                /* and what the text of either begins with */
};

static struct sink_file *file_of(const struct sink *s)
{
    return CONTAINER_OF((uintptr_t)s, struct sink_file, sink);
}

static struct file_plan *plan_of(const struct sink_plan *p)
{
    return CONTAINER_OF((uintptr_t)p, struct file_plan, plan);
}

static const struct config_files *config_of(const struct sink_plan *p)
{
    return file_of(p->sink)->opts.files;
}

static bool takes(const struct sink *s, struct str key)
{
    return str_eq(key_scope(key), s->scope) && str_eq(key_kind(key), STR("file")) &&
           !key_is_referred(key);
}

/* ---- planning ---- */

/* Whether a file that others altered is put right: not for ever against another tool that wants it otherwise. */
static bool may_restore(const struct sink_file *s, const struct delivered *d,
                        const struct sink_item *item)
{
    nsec_t now = loop_now(s->opts.loop), within = RESTORES_WITHIN_S * NSEC_PER_S;

    if (item->is_altered || s->opts.files->on_edit == FILES_REPORT)
        return false;
    return !d || !d->restored[0] || now - d->restored[0] > within;
}

/* The annotation trimtab/mode. Empty: there is none. */
static struct str mode_of(const struct version *v)
{
    for (size_t i = 0; v->meta && i < v->meta->n_annotations; i++)
        if (str_eq(v->meta->annotations[i].key, STR("trimtab/mode")))
            return v->meta->annotations[i].value;
    return STR_NULL;
}

static bool read_mode(struct str text, mode_t *ret)
{
    mode_t mode = 0;

    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '7')
            return false;
        mode = mode * 8 + (mode_t)(text.data[i] - '0');
    }
    *ret = mode;
    return text.len >= 3 && text.len <= 5 && mode <= 07777;
}

/* What the publisher asks for, within what this host allows; else what was said here, or what the file had. */
static int fill_attr(const struct sink_file *s, const struct delivered *d, struct files_plan *p,
                     struct file_wanted *f)
{
    const struct config_files *c = s->opts.files;
    struct str asked = mode_of(f->version);

    f->attr = (struct place_attr){c->mode, c->owner, c->group};
    f->may_keep_mode = !asked.len && !c->has_mode;
    if (asked.len && !read_mode(asked, &f->attr.mode)) {
        p->culprit = f->path;
        p->code = "INVALID_MODE";
        return err_set(&p->err, ERR_INVALID, "the annotation trimtab/mode of %s is \"%.*s\"",
                       f->path, STR_ARG(asked));
    }
    if (asked.len)
        f->attr.mode &= c->modes;
    if (d && d->is_kept) {
        f->is_kept = true;
        f->attr.mode = f->may_keep_mode ? d->kept.mode : f->attr.mode;
        f->attr.owner = c->owner == (uid_t)-1 ? d->kept.owner : c->owner;
        f->attr.group = c->group == (gid_t)-1 ? d->kept.group : c->group;
    }
    return 0;
}

static int plan_file(const struct sink_file *s, struct files_plan *p,
                     const struct sink_item *item)
{
    const struct delivered *d = map_get(&s->delivered, key_path(item->key));
    bool is_noted = d && sha256_eq(&d->hash, &item->version->content_hash);
    struct file_wanted f = {.path = arena_c(&p->arena, key_path(item->key)),
                            .version = version_ref(item->version),
                            .is_served = item->is_served || item->is_altered,
                            .is_altered = item->is_altered,
                            .may_restore = may_restore(s, d, item),
                            .key = arena_str(&p->arena, item->key),
                            .was_delivered = d != NULL,
                            .is_noted = is_noted,
                            .is_changed = !is_noted};

    int r = fill_attr(s, d, p, &f);

    if (d && is_noted)
        f.seen = d->seen;
    if (r) {
        (void)version_unref(f.version);
        return r;
    }

    if (!arena_failed(&p->arena) && VEC_PUSH(&p->files, f))
        return 0;
    (void)version_unref(f.version);
    return ERR_NOMEM;
}

static int plan_waiting(struct files_plan *p, const struct sink_item *item)
{
    const char *path = arena_c(&p->arena, key_path(item->key));

    return !arena_failed(&p->arena) && VEC_PUSH(&p->waiting, path) ? 0 : ERR_NOMEM;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct file_wanted *)a)->path, ((const struct file_wanted *)b)->path);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* What is to go: delivered, and not among the files. */
static int plan_removals(const struct sink_file *s, struct files_plan *p,
                         const struct map *paths)
{
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&s->delivered, &at))) {
        const char *path;
        bool is_folder = slot->key.data[slot->key.len - 1] == '/';

        if (!is_folder && map_get(paths, slot->key))
            continue;
        path = arena_c(&p->arena,
                       is_folder ? str_part(slot->key, 0, slot->key.len - 1) : slot->key);
        if (is_folder ? !VEC_PUSH(&p->old_folders, path) : !VEC_PUSH(&p->removals, path))
            return ERR_NOMEM;
    }
    if (p->old_folders.n)
        qsort(p->old_folders.at, p->old_folders.n, sizeof(*p->old_folders.at), by_text);
    return arena_failed(&p->arena) ? ERR_NOMEM : 0;
}

/* A name cannot be a file and a folder; the one below is named. */
static int check_nesting(struct files_plan *p, const struct map *paths)
{
    for (size_t i = 0; i < p->files.n; i++) {
        const char *path = p->files.at[i].path;

        for (size_t len = 1; path[len]; len++)
            if (path[len] == '/' && map_get(paths, str_of(path, len))) {
                p->culprit = path;
                p->code = "INVALID_PATH";
                return err_set(&p->err, ERR_INVALID, "%.*s is a file, and %s would be below it",
                               (int)len, path, path);
            }
    }
    return 0;
}

static int fill_plan(const struct sink_file *s, const struct sink_item *items, size_t n,
                     struct files_plan *p)
{
    struct map paths = MAP_NULL;
    int r = 0;

    for (size_t i = 0; i < n && !r; i++)
        r = items[i].is_waiting ? plan_waiting(p, &items[i]) : plan_file(s, p, &items[i]);
    if (p->files.n)
        qsort(p->files.at, p->files.n, sizeof(*p->files.at), by_path);
    for (size_t i = 0; i < p->files.n && !r; i++)
        if (!map_put(&paths, str_c(p->files.at[i].path), &p->files.at[i], NULL))
            r = ERR_NOMEM;
    if (!r)
        r = check_nesting(p, &paths);
    if (!r)
        r = plan_removals(s, p, &paths);
    map_deinit(&paths);
    return r;
}

/* Whether a step that failed so says nothing of the content. */
static bool is_passing(const char *code)
{
    static const char *const passing[] = {
        "NO_SPACE",         "NO_MEMORY",     "IO",
        "CHECK_INCOMPLETE", "RELOAD_FAILED", "RELOAD_INCOMPLETE"};

    for (size_t i = 0; i < ARRAY_LEN(passing); i++)
        if (strcmp(code, passing[i]) == 0)
            return true;
    return false;
}

/* What the files' plan tells of a failure, as all sinks do. */
static int tell_fault(struct file_plan *p, int r)
{
    const struct err *err = &p->files.err;

    (void)snprintf(p->told, sizeof(p->told), "%s%s%s", err->text, *err->hint ? "; " : "",
                   err->hint);
    p->plan.fault = (struct sink_fault){.code = p->files.code,
                                        .is_passing = is_passing(p->files.code),
                                        .culprit = str_c(p->files.culprit),
                                        .text = str_c(p->told)};
    return r;
}

static int set_fault(struct file_plan *p, int r, const char *code)
{
    p->files.code = code;
    p->files.culprit = NULL;
    return tell_fault(p, r);
}

static struct sink_plan *finish(struct sink_plan *base)
{
    struct file_plan *p = plan_of(base);

    files_plan_deinit(&p->files);
    (void)mem_free(p);
    return NULL;
}

static int make_plan(struct sink *base, const struct sink_item *items, size_t n,
                     enum sink_look look, struct sink_plan **ret_plan)
{
    struct sink_file *s = file_of(base);
    struct file_plan *p = NEW(struct file_plan);
    int r;

    *ret_plan = NULL;
    if (!p)
        return ERR_NOMEM;
    p->plan.sink = base;
    p->plan.must_tell = p->plan.is_untold = s->is_untold;
    files_plan_init(&p->files, s->opts.files);
    p->files.watch = s->opts.watch;
    p->files.must_adopt = !s->has_adopted && s->delivered.n == 0;
    if (s->opts.sync) {
        struct sync_cursor cursor = sync_status(s->opts.sync).cursor;

        memcpy(p->files.history, cursor.store_id, sizeof(p->files.history));
    }
    p->files.must_read = look == SINK_LOOK_AT_BYTES;
    r = fill_plan(s, items, n, &p->files);
    if (r == ERR_NOMEM) {
        (void)finish(&p->plan);
        return r;
    }
    *ret_plan = &p->plan;
    return r ? tell_fault(p, r) : 0;
}

/* ---- files ---- */

static int stage(struct sink_plan *base)
{
    struct file_plan *p = plan_of(base);
    int r = files_stage(&p->files);

    base->is_changed = !r && p->files.is_changed;
    base->n_restored = p->files.n_restored;
    base->n_removed = p->files.removals.n;
    base->n_written = 0;
    for (size_t i = 0; i < p->files.files.n; i++)
        base->n_written += p->files.files.at[i].is_changed;
    return r ? tell_fault(p, r) : 0;
}

static int switch_over(struct sink_plan *base)
{
    struct file_plan *p = plan_of(base);
    int r = files_switch(&p->files);

    base->is_switched = p->files.is_switched;
    return r ? tell_fault(p, r) : 0;
}

static void undo(struct sink_plan *base)
{
    files_undo(&plan_of(base)->files);
    base->is_switched = false;
}

/* ---- commands ---- */

static void on_command(void *ctx, const struct child_result *result)
{
    struct file_plan *p = ctx;
    owned(buf) struct buf text = BUF_NULL(MESSAGE_MAX);
    struct sink_fault fault = {.code =
                                   result->end == CHILD_REFUSED ? p->failed : p->incomplete};

    p->child = NULL;
    if (result->end == CHILD_PASSED) {
        p->done(p->ctx, NULL);
        return;
    }
    buf_printf(&text, "%s%s", p->what, result->story);
    if (result->output.len)
        buf_printf(&text, ": %.*s", STR_ARG(str_trim(result->output)));
    fault.text = buf_str(&text);
    fault.is_passing = is_passing(fault.code);
    p->done(p->ctx, &fault);
}

/* ERR_NOMEM, ERR_IO: a command that did not start has found nothing wrong with the content, and says so by its code. */
static int start_command(struct file_plan *p, struct child_opts *opts)
{
    struct sink_file *s = file_of(p->plan.sink);
    int r;

    opts->loop = s->opts.loop;
    opts->sink = s->name;
    opts->done = on_command;
    opts->ctx = p;
    p->files.err = ERR_NULL;
    r = child_start(opts, &p->child, &p->files.err);
    if (r)
        return set_fault(p, r, r == ERR_NOMEM ? "NO_MEMORY" : "IO");
    return SINK_ASKED;
}

static int check(struct sink_plan *base, sink_done_fn *done, void *ctx)
{
    struct file_plan *p = plan_of(base);
    const struct config_files *f = config_of(base);
    uint64_t timeout =
        f->check_timeout ? f->check_timeout : file_of(base->sink)->opts.config->check_timeout;
    struct child_opts opts = {
        .command = f->check, .stage = p->files.stage, .timeout_ms = timeout / NSEC_PER_MS};

    if (!f->check)
        return SINK_NOTHING_TO_ASK;
    p->done = done;
    p->ctx = ctx;
    p->failed = "CHECK_FAILED";
    p->incomplete = "CHECK_INCOMPLETE";
    p->what = "";
    return start_command(p, &opts);
}

static int signal_program(struct file_plan *p, const struct config_files *f)
{
    int r;

    p->files.err = ERR_NULL;
    r = pid_file_signal(f->pid_file, f->program, f->reload_signal, &p->files.err);
    if (r < 0)
        return set_fault(p, r, r == ERR_NOMEM ? "NO_MEMORY" : "RELOAD_FAILED");
    if (r == PID_FILE_NONE)
        LOG(INFO, "nothing_to_signal", LOG_STR("sink", f->name),
            LOG_C("pid_file", f->pid_file));
    return SINK_NOTHING_TO_ASK;
}

static int reload(struct sink_plan *base, sink_done_fn *done, void *ctx)
{
    struct file_plan *p = plan_of(base);
    const struct config_files *f = config_of(base);
    uint64_t timeout = file_of(base->sink)->opts.config->reload_timeout;
    struct child_opts opts = {.command = f->reload, .timeout_ms = timeout / NSEC_PER_MS};

    if (f->reload_signal)
        return signal_program(p, f);
    if (!f->reload)
        return SINK_NOTHING_TO_ASK;
    p->done = done;
    p->ctx = ctx;
    p->failed = "RELOAD_FAILED";
    p->incomplete = "RELOAD_INCOMPLETE";
    p->what = "reload: ";
    return start_command(p, &opts);
}

static void cancel(struct sink_plan *base)
{
    struct file_plan *p = plan_of(base);

    if (p->child)
        child_forget(take(p->child));
}

/* ---- what is known to be there ---- */

static bool add_folder(struct sink_rows *out, const struct sink *s, const char *path,
                       const struct sha256 *hash)
{
    owned(buf) struct buf text = BUF_NULL((size_t)2 * PLACE_PATH_MAX);

    buf_put_c(&text, path);
    buf_put_byte(&text, '/');
    return !buf_status(&text) && sink_rows_add(out, s, buf_str(&text), hash);
}

/* Files that the plan adds: as announced, or taken back. */
static bool add_file(struct sink_rows *out, const struct sink *s, const struct file_wanted *f)
{
    struct copy_file *row;

    if (!sink_rows_add(out, s, str_c(f->path), &f->version->content_hash))
        return false;
    row = &out->rows.at[out->rows.n - 1];
    row->has_attr = f->is_kept;
    row->mode = f->attr.mode;
    row->owner = f->attr.owner;
    row->group = f->attr.group;
    return true;
}

static int new_rows(const struct file_plan *p, bool is_void, struct sink_rows *out)
{
    for (size_t i = 0; i < p->files.files.n; i++) {
        const struct file_wanted *f = &p->files.files.at[i];

        if (!f->was_delivered &&
            !(is_void ? sink_rows_add(out, p->plan.sink, str_c(f->path), NULL)
                      : add_file(out, p->plan.sink, f)))
            return ERR_NOMEM;
    }
    return 0;
}

static int final_rows(const struct file_plan *base, struct sink_rows *out)
{
    static const struct sha256 folder = {{0}};
    const struct files_plan *p = &base->files;
    const struct sink *s = base->plan.sink;
    bool ok = true;

    for (size_t i = 0; i < p->files.n && ok; i++)
        ok = p->files.at[i].is_noted || add_file(out, s, &p->files.at[i]);
    for (size_t i = 0; i < p->removals.n && ok; i++)
        ok = sink_rows_add(out, s, str_c(p->removals.at[i]), NULL);
    for (size_t i = 0; i < p->new_folders.n && ok; i++)
        ok = add_folder(out, s, p->new_folders.at[i], &folder);
    for (size_t i = 0; i < p->undo.n && ok; i++)
        ok = p->undo.at[i].sort != UNDO_REMOVED_FOLDER ||
             add_folder(out, s, p->undo.at[i].path, NULL);
    return ok ? 0 : ERR_NOMEM;
}

/* Whether a program is told of changes. */
static bool has_receiver(const struct sink_plan *p)
{
    return config_of(p)->reload || config_of(p)->reload_signal;
}

/* The row that says that the program may not know what is there: comes before a switch, goes when it was told. */
static bool add_untold(const struct sink_plan *p, enum sink_rows_of which,
                       struct sink_rows *out)
{
    static const struct sha256 none = {{0}};
    bool is_noted = file_of(p->sink)->is_untold;

    if (which == SINK_INTENT && p->is_changed && has_receiver(p) && !is_noted)
        return sink_rows_add(out, p->sink, UNTOLD, &none);
    if ((which == SINK_FINAL || which == SINK_TOLD) && is_noted && !p->is_untold)
        return sink_rows_add(out, p->sink, UNTOLD, NULL);
    return true;
}

static int rows(const struct sink_plan *base, enum sink_rows_of which, struct sink_rows *out)
{
    const struct file_plan *p = plan_of(base);

    if (!add_untold(base, which, out))
        return ERR_NOMEM;
    switch (which) {
    case SINK_INTENT: return new_rows(p, false, out);
    case SINK_VOID: return new_rows(p, true, out);
    case SINK_FINAL: return final_rows(p, out);
    case SINK_TOLD: break;
    }
    return 0;
}

static void note_attr(struct delivered *d, const struct copy_file *row)
{
    d->is_kept = row->has_attr;
    d->kept = (struct place_attr){row->mode, row->owner, row->group};
}

static int note(struct sink *base, const struct copy_file *row)
{
    struct sink_file *s = file_of(base);
    struct delivered *d;
    void *old = NULL;

    if (str_eq(row->path, UNTOLD)) {
        s->is_untold = !row->is_gone;
        return 0;
    }
    if (row->is_gone) {
        (void)mem_free(map_remove(&s->delivered, row->path));
        return 0;
    }
    d = map_get(&s->delivered, row->path);
    if (d) { /* what was seen of it was of what it was before */
        d->hash = row->hash;
        d->seen = (struct place_stamp){.inode = 0};
        note_attr(d, row);
        return 0;
    }
    d = mem_zalloc(size_add(sizeof(*d), size_add(row->path.len, 1)));
    if (!d)
        return ERR_NOMEM;
    d->hash = row->hash;
    note_attr(d, row);
    d->len = row->path.len;
    memcpy(d->path, row->path.data, row->path.len);
    if (!map_put(&s->delivered, str_of(d->path, d->len), d, &old)) {
        (void)mem_free(d);
        return ERR_NOMEM;
    }
    (void)mem_free(old);
    return 0;
}

/* ---- what was found ---- */

static bool drift(const struct sink_plan *base, size_t *at, struct sink_drift *ret)
{
    const struct files_plan *p = &plan_of(base)->files;

    while (*at < p->files.n) {
        const struct file_wanted *f = &p->files.at[(*at)++];

        if (!f->is_served || !f->was_delivered)
            continue;
        *ret = (struct sink_drift){f->key, f->is_altered};
        return true;
    }
    return false;
}

static void settle(struct sink_plan *base)
{
    struct sink_file *s = file_of(base->sink);
    const struct files_plan *p = &plan_of(base)->files;

    s->has_adopted |= p->has_adopted;
    for (size_t i = 0; i < p->files.n; i++) {
        const struct file_wanted *f = &p->files.at[i];
        struct delivered *d = map_get(&s->delivered, str_c(f->path));

        if (!d)
            continue;
        d->seen = f->is_changed ? (struct place_stamp){.inode = 0} : f->seen;
        if (f->was_restored) {
            memmove(d->restored, d->restored + 1, (RESTORES_MAX - 1) * sizeof(*d->restored));
            d->restored[RESTORES_MAX - 1] = loop_now(s->opts.loop);
        }
    }
}

/* ---- life ---- */

static struct sink *close_file(struct sink *base)
{
    struct sink_file *s = file_of(base);
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&s->delivered, &at)))
        (void)mem_free(slot->value);
    map_deinit(&s->delivered);
    arena_deinit(&s->arena);
    (void)mem_free(s);
    return NULL;
}

static const struct sink_ops ops = {.engine = "file",
                                    .takes = takes,
                                    .plan = make_plan,
                                    .stage = stage,
                                    .check = check,
                                    .switch_over = switch_over,
                                    .reload = reload,
                                    .cancel = cancel,
                                    .undo = undo,
                                    .finish = finish,
                                    .rows = rows,
                                    .drift = drift,
                                    .settle = settle,
                                    .note = note,
                                    .close = close_file};

struct sink *sink_file_open(const struct sink_file_opts *opts)
{
    struct sink_file *s = NEW(struct sink_file);

    if (!s)
        return NULL;
    s->opts = *opts;
    s->sink = (struct sink){&ops, opts->files->name, opts->files->scope};
    s->name = arena_c(&s->arena, opts->files->name);
    if (arena_failed(&s->arena))
        return close_file(&s->sink);
    return &s->sink;
}
