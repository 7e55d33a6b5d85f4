/*
 * Applying. See apply.h.
 */
#include "agent/apply.h"

#include "base/log.h"

#include <errno.h>
#include <signal.h>

enum {
    MESSAGE_MAX = CHILD_OUTPUT_MAX + 256,
    AGAIN_MS = 1000, /* after there was no memory to begin, or a result could not be noted */
};

enum apply_state {
    APPLY_IDLE,
    APPLY_STAGING,
    APPLY_CHECKING,
    APPLY_SWITCHING,
    APPLY_RELOADING,
    APPLY_UNDOING,
    APPLY_RELOADING_OLD,
    APPLY_FINISHING
};

/* Groups lo to hi - 1 of the job, to be tried together. */
struct range {
    size_t lo, hi;
};

struct apply {
    struct apply_opts opts;
    struct sink_state *sinks;
    struct apply_stats stats;
    enum apply_state state;
    struct groups groups; /* of the job; those that are not in it are at the end */
    size_t n_groups;
    VEC(struct range) ranges;
    struct range tried;
    bool has_tried; /* a range is being tried; else what was accepted is staged once more */
    uint64_t revision;
    struct sink_plan *plans; /* one for each sink, while there is a stage */
    size_t at;               /* whose check or reload is next */
    struct child *child;
    struct work work;
    size_t failed_sink; /* n: none */
    bool is_void;       /* what the plans say has not come to be */
    bool must_verify, is_verifying, must_tell, is_stopping, is_paused;
    uint64_t kicks, begun; /* how often it was kicked, and the same when the job began */
    void (*stopped)(void *ctx);
    void *stopped_ctx;
    struct defer kick;
    struct timer again; /* after something failed; nothing begins for verifying alone before */
};

static void try_next(struct apply *a);
static void begin_job(struct apply *a);

static size_t n_sinks(const struct apply *a)
{
    return a->opts.config->files.n;
}

static const struct config_files *sink_config(const struct apply *a, size_t i)
{
    return a->sinks[i].config;
}

static bool is_of_sink(const struct config_files *sink, struct str key)
{
    return str_eq(key_scope(key), sink->scope) && str_eq(key_kind(key), STR("file")) &&
           !key_is_referred(key);
}

/* ---- the plans of an attempt ---- */

static bool is_chosen(const struct apply *a, size_t group)
{
    if (a->groups.at[group].verdict == GROUP_ACCEPTED)
        return true;
    return a->has_tried && group >= a->tried.lo && group < a->tried.hi;
}

/* The members of all chosen groups, by key. */
static int choose(const struct apply *a, struct map *chosen)
{
    for (size_t g = 0; g < a->n_groups; g++)
        for (size_t m = 0; is_chosen(a, g) && m < a->groups.at[g].n; m++)
            if (!map_put(chosen, a->groups.at[g].members[m].key, &a->groups.at[g].members[m],
                         NULL))
                return ERR_NOMEM;
    return 0;
}

static int plan_file(const struct apply *a, size_t sink, struct sink_plan *p, struct str key,
                     struct version *v)
{
    const struct delivered *d = map_get(&a->sinks[sink].delivered, key_path(key));
    bool is_noted = d && sha256_eq(&d->hash, &v->content_hash);
    struct sink_file f = {.path = arena_c(&p->arena, key_path(key)),
                          .version = version_ref(v),
                          .was_delivered = d != NULL,
                          .is_noted = is_noted,
                          .is_changed = !is_noted};

    if (!arena_failed(&p->arena) && VEC_PUSH(&p->files, f))
        return 0;
    (void)version_unref(v);
    return ERR_NOMEM;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct sink_file *)a)->path, ((const struct sink_file *)b)->path);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* What is to go: delivered, and not among the files. */
static int plan_removals(const struct apply *a, size_t sink, struct sink_plan *p,
                         const struct map *paths)
{
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&a->sinks[sink].delivered, &at))) {
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
static int check_nesting(struct sink_plan *p, const struct map *paths)
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

static int plan_files(const struct apply *a, size_t sink, const struct map *chosen,
                      struct sink_plan *p)
{
    const struct config_files *config = sink_config(a, sink);
    struct map_slot *slot;
    size_t at = 0;
    int r = 0;

    while (!r && (slot = map_each(&a->opts.ledger->serving, &at)))
        if (is_of_sink(config, slot->key) && !map_get(chosen, slot->key))
            r = plan_file(a, sink, p, slot->key, ledger_serving(a->opts.ledger, slot->key));
    at = 0;
    while (!r && (slot = map_each(chosen, &at))) {
        const struct group_member *m = slot->value;

        if (is_of_sink(config, m->key) && m->want)
            r = plan_file(a, sink, p, m->key, m->want);
    }
    if (p->files.n)
        qsort(p->files.at, p->files.n, sizeof(*p->files.at), by_path);
    return r;
}

static int make_plan(const struct apply *a, size_t sink, const struct map *chosen,
                     struct sink_plan *p)
{
    struct map paths = MAP_NULL;
    int r;

    sink_plan_init(p, sink_config(a, sink));
    p->must_verify = a->is_verifying;
    r = plan_files(a, sink, chosen, p);
    for (size_t i = 0; i < p->files.n && !r; i++)
        if (!map_put(&paths, str_c(p->files.at[i].path), &p->files.at[i], NULL))
            r = ERR_NOMEM;
    if (!r)
        r = check_nesting(p, &paths);
    if (!r)
        r = plan_removals(a, sink, p, &paths);
    map_deinit(&paths);
    if (r && !p->code) {
        p->code = "NO_MEMORY";
        (void)err_set(&p->err, r, "out of memory");
    }
    return r;
}

static void drop_plans(struct apply *a)
{
    for (size_t i = 0; a->plans && i < n_sinks(a); i++)
        sink_plan_deinit(&a->plans[i]);
    a->plans = mem_free(a->plans);
}

/* Plans for all sinks; on failure failed_sink tells which. */
static int make_plans(struct apply *a)
{
    struct map chosen = MAP_NULL;
    int r;

    a->plans = NEW_ARRAY(struct sink_plan, n_sinks(a));
    for (size_t i = 0; a->plans && i < n_sinks(a); i++)
        sink_plan_init(&a->plans[i], sink_config(a, i));
    r = a->plans ? choose(a, &chosen) : ERR_NOMEM;
    for (size_t i = 0; i < n_sinks(a) && !r; i++) {
        r = make_plan(a, i, &chosen, &a->plans[i]);
        a->failed_sink = r ? i : n_sinks(a);
    }
    map_deinit(&chosen);
    return r;
}

/* ---- refusing ---- */

/* Whether the text names the file of this key, alone or at the end of a path. */
static bool is_mentioned(struct str text, struct str key)
{
    struct str path = key_path(key);

    return path.len && text.len && memmem(text.data, text.len, path.data, path.len) != NULL;
}

struct refusing {
    const struct config_files *sink; /* NULL: none in particular */
    const char *code, *culprit;
    struct str text;
};

/* Members by whose own fault it is: the culprit, else those whom the text names, else all of the sink, else all. */
static bool is_own(const struct refusing *r, const struct group_member *m, int strictness)
{
    bool in_sink = r->sink && is_of_sink(r->sink, m->key);

    switch (strictness) {
    case 0: return in_sink && r->culprit && str_eq(key_path(m->key), str_c(r->culprit));
    case 1: return in_sink && is_mentioned(r->text, m->key);
    case 2: return in_sink;
    default: return true;
    }
}

/* "" without memory. */
static const char *text_of(struct buf *b)
{
    const char *text = buf_c(b);

    return text ? text : "";
}

static void refuse_group(struct apply *a, struct group *g, const struct refusing *why)
{
    owned(buf) struct buf held_by = BUF_NULL(ID_BYTES_MAX + 8);
    uint64_t number = ++a->opts.ledger->last_group;
    int strictness = -1;
    size_t n_own = 0;

    while (n_own == 0 && ++strictness <= 3)
        for (size_t m = 0; m < g->n; m++)
            if (is_own(why, &g->members[m], strictness) && n_own++ == 0)
                key_put_text(g->members[m].key, &held_by);
    for (size_t m = 0; m < g->n; m++) {
        bool own = is_own(why, &g->members[m], strictness);
        struct refusal_text text = {own ? why->code : "HELD", own ? why->text : STR(""),
                                    own ? "" : text_of(&held_by)};

        if (ledger_refuse(a->opts.ledger, &g->members[m], number, &text))
            LOG(WARN, "refusal_without_text", LOG_STR("file", key_path(g->members[m].key)));
    }
    g->verdict = GROUP_REFUSED;
    LOG(WARN, "refused", LOG_C("item", text_of(&held_by)), LOG_C("code", why->code),
        LOG_U64("held", g->n - n_own), LOG_STR("sink", why->sink ? why->sink->name : STR("")),
        LOG_STR("reason", why->text));
}

/* ---- ends of a job ---- */

static void idle(struct apply *a)
{
    a->state = APPLY_IDLE;
    a->is_verifying = false;
    groups_deinit(&a->groups);
    a->n_groups = 0;
    a->ranges.n = 0;
    if (a->is_stopping) {
        if (a->stopped)
            a->stopped(a->stopped_ctx);
        return;
    }
    loop_defer(a->opts.loop, &a->kick);
}

/* Rows of the copy for what a plan changes. is_intent: before the switch, so that a crash leaves nothing unknown. */
struct file_rows {
    struct arena arena;
    VEC(struct copy_file) rows;
};

static bool add_row(struct file_rows *f, const struct sink_plan *p, const char *path,
                    const struct sha256 *hash, bool is_folder)
{
    static const struct sha256 none = {{0}};
    owned(buf) struct buf text = BUF_NULL((size_t)2 * PLACE_PATH_MAX);
    struct copy_file row = {
        .sink = p->config->name, .hash = hash ? *hash : none, .is_gone = hash == NULL};

    buf_put_c(&text, path);
    if (is_folder)
        buf_put_byte(&text, '/');
    row.path = arena_str(&f->arena, buf_str(&text));
    return !buf_status(&text) && !arena_failed(&f->arena) && VEC_PUSH(&f->rows, row);
}

static bool intent_rows(struct file_rows *f, const struct sink_plan *p)
{
    for (size_t i = 0; i < p->files.n; i++)
        if (!p->files.at[i].was_delivered &&
            !add_row(f, p, p->files.at[i].path, &p->files.at[i].version->content_hash, false))
            return false;
    return true;
}

/* What an intent announced and did not come to be. */
static bool no_intent_rows(struct file_rows *f, const struct sink_plan *p)
{
    for (size_t i = 0; i < p->files.n; i++)
        if (!p->files.at[i].was_delivered && !add_row(f, p, p->files.at[i].path, NULL, false))
            return false;
    return true;
}

static bool final_rows(struct file_rows *f, const struct sink_plan *p)
{
    static const struct sha256 folder = {{0}};

    for (size_t i = 0; i < p->files.n; i++)
        if (!p->files.at[i].is_noted &&
            !add_row(f, p, p->files.at[i].path, &p->files.at[i].version->content_hash, false))
            return false;
    for (size_t i = 0; i < p->removals.n; i++)
        if (!add_row(f, p, p->removals.at[i], NULL, false))
            return false;
    for (size_t i = 0; i < p->new_folders.n; i++)
        if (!add_row(f, p, p->new_folders.at[i], &folder, true))
            return false;
    for (size_t i = 0; i < p->undo.n; i++)
        if (p->undo.at[i].sort == UNDO_REMOVED_FOLDER &&
            !add_row(f, p, p->undo.at[i].path, NULL, true))
            return false;
    return true;
}

typedef bool rows_fn(struct file_rows *f, const struct sink_plan *p);

static int make_rows(const struct apply *a, rows_fn *fn, struct file_rows *f)
{
    for (size_t i = 0; a->plans && !a->is_void && i < n_sinks(a); i++)
        if (!fn(f, &a->plans[i]))
            return ERR_NOMEM;
    return 0;
}

static void rows_deinit(struct file_rows *f)
{
    VEC_DEINIT(&f->rows);
    arena_deinit(&f->arena);
}

static int write_rows(struct apply *a, rows_fn *fn, struct err *err)
{
    struct file_rows f = {.rows = {0}};
    struct copy_update u = {.has_served = false};
    int r = make_rows(a, fn, &f);

    u.files = f.rows.at;
    u.n_files = f.rows.n;
    if (!r && f.rows.n)
        r = copy_update(a->opts.copy, &u, err);
    else if (r)
        (void)err_set(err, r, "out of memory");
    rows_deinit(&f);
    return r;
}

static int set_delivered(struct sink_state *s, const struct copy_file *f)
{
    struct delivered *d;
    void *old = NULL;

    if (f->is_gone) {
        (void)mem_free(map_remove(&s->delivered, f->path));
        return 0;
    }
    d = mem_zalloc(size_add(sizeof(*d), size_add(f->path.len, 1)));
    if (!d)
        return ERR_NOMEM;
    d->hash = f->hash;
    d->len = f->path.len;
    memcpy(d->path, f->path.data, f->path.len);
    if (!map_put(&s->delivered, str_of(d->path, d->len), d, &old)) {
        (void)mem_free(d);
        return ERR_NOMEM;
    }
    (void)mem_free(old);
    return 0;
}

/* The files that the plans add are not ours: they were not put in place. */
static void drop_intents(struct apply *a)
{
    for (size_t i = 0; i < n_sinks(a); i++)
        for (size_t f = 0; f < a->plans[i].files.n; f++) {
            const struct sink_file *file = &a->plans[i].files.at[f];

            if (!file->was_delivered)
                (void)mem_free(map_remove(&a->sinks[i].delivered, str_c(file->path)));
        }
}

/* The files that the plans add are known as ours before they are there, else nothing would remove them. ERR_NOMEM. */
static int set_intents(struct apply *a)
{
    int r = 0;

    for (size_t i = 0; i < n_sinks(a); i++)
        for (size_t f = 0; f < a->plans[i].files.n && !r; f++) {
            const struct sink_file *file = &a->plans[i].files.at[f];
            struct copy_file row = {.path = str_c(file->path),
                                    .hash = file->version->content_hash};

            r = file->was_delivered ? 0 : set_delivered(&a->sinks[i], &row);
        }
    if (r)
        drop_intents(a);
    return r;
}

static struct sink_state *sink_named(struct apply *a, struct str name)
{
    for (size_t i = 0; i < n_sinks(a); i++)
        if (str_eq(a->sinks[i].config->name, name))
            return &a->sinks[i];
    return NULL;
}

/* Everything that is pending, for the copy. Texts are borrowed from the ledger. */
static struct copy_served *pending_rows(const struct apply *a, size_t *ret_n)
{
    struct copy_served *list = NEW_ARRAY(struct copy_served, a->opts.ledger->pending.n);
    struct map_slot *slot;
    size_t at = 0, n = 0;

    while (list && (slot = map_each(&a->opts.ledger->pending, &at))) {
        const struct pending *p = slot->value;

        list[n++] = (struct copy_served){.scope = key_scope(slot->key),
                                         .key = key_tail(slot->key),
                                         .served = ledger_serving(a->opts.ledger, slot->key),
                                         .batch = p->batch,
                                         .group = p->group,
                                         .code = p->is_refused ? str_c(p->code) : STR(""),
                                         .message = str_c(p->is_refused ? p->message : NULL),
                                         .held_by = str_c(p->is_refused ? p->held_by : NULL)};
    }
    *ret_n = n;
    return list;
}

/* The next job also looks at the files; when there is no other, one begins for that alone. */
static void verify_later(struct apply *a, uint64_t after_ms)
{
    a->must_verify = true;
    timer_start(&a->again, a->opts.loop, after_ms, 0);
}

/* It was to look at the files, and nothing has come of that. */
static void verify_failed(struct apply *a)
{
    verify_later(a, a->opts.config->retry_interval / NSEC_PER_MS);
}

/* Writes down what is served now, and which files. A failure is told, and made good by a job that verifies. */
static void note_result(struct apply *a)
{
    struct file_rows f = {.rows = {0}};
    struct copy_update u = {.has_served = true, .applied = a->revision};
    struct copy_served *served = pending_rows(a, &u.n_served);
    struct err err = ERR_NULL;
    int r = served ? make_rows(a, final_rows, &f) : ERR_NOMEM;

    u.served = served;
    u.files = f.rows.at;
    u.n_files = f.rows.n;
    if (!r)
        r = copy_update(a->opts.copy, &u, &err);
    for (size_t i = 0; i < f.rows.n; i++)
        if (set_delivered(sink_named(a, f.rows.at[i].sink), &f.rows.at[i]))
            r = ERR_NOMEM;
    if (r)
        LOG(ERROR, "copy_failed", LOG_C("error", err.code ? err.text : "out of memory"));
    if (r)
        verify_later(a, AGAIN_MS);
    else if (a->is_verifying && (!a->plans || a->is_void))
        verify_failed(a);
    (void)mem_free(served);
    rows_deinit(&f);
}

static void count_files(struct apply *a, const struct sink_plan *p)
{
    uint64_t written = 0;

    for (size_t i = 0; i < p->files.n; i++)
        written += p->files.at[i].is_changed;
    a->stats.files_written += written;
    a->stats.files_removed += p->removals.n;
    a->stats.files_restored += p->n_restored;
    LOG(INFO, "delivered", LOG_STR("sink", p->config->name), LOG_U64("written", written),
        LOG_U64("removed", p->removals.n), LOG_U64("revision", a->revision));
}

/* Whether content of this group has stopped the program from reloading: it is not put there again for others' sake. */
static bool has_failed_reload(const struct apply *a, uint64_t group)
{
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&a->opts.ledger->pending, &at))) {
        const struct pending *p = slot->value;

        if (p->is_refused && p->group == group && strcmp(p->code, "RELOAD_FAILED") == 0)
            return true;
    }
    return false;
}

/* What was refused in a scope whose files have changed may pass now. */
static void retry_neighbours(struct apply *a, struct str scope)
{
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&a->opts.ledger->pending, &at))) {
        struct pending *p = slot->value;
        bool in_job = false;

        for (size_t g = 0; g < a->n_groups && !in_job; g++)
            for (size_t m = 0; m < a->groups.at[g].n && !in_job; m++)
                in_job = str_eq(a->groups.at[g].members[m].key, slot->key);
        if (p->is_refused && !in_job && str_eq(key_scope(slot->key), scope) &&
            !has_failed_reload(a, p->group))
            p->must_retry = true;
    }
}

/* What was accepted is served. False: the ledger has no memory for it, and would tell what is not so. */
static bool serve_accepted(struct apply *a)
{
    bool is_noted = true;

    for (size_t g = 0; g < a->n_groups; g++) {
        struct group *group = &a->groups.at[g];

        for (size_t m = 0; group->verdict == GROUP_ACCEPTED && m < group->n; m++) {
            if (!ledger_serve(a->opts.ledger, group->members[m].key, group->members[m].want))
                continue;
            LOG(ERROR, "out_of_memory", LOG_STR("file", key_path(group->members[m].key)));
            is_noted = false;
        }
    }
    return is_noted;
}

static void finish_job(struct apply *a)
{
    bool is_noted = serve_accepted(a);

    note_result(a);
    for (size_t i = 0; a->plans && i < n_sinks(a); i++)
        if (a->plans[i].is_switched) {
            count_files(a, &a->plans[i]);
            retry_neighbours(a, a->plans[i].config->scope);
        }
    a->must_tell = !is_noted || a->kicks != a->begun; /* what came during the job */
    if (is_noted)
        a->opts.applied(a->opts.ctx, a->revision);
    else
        verify_later(a, AGAIN_MS); /* the next job finds it in place, and notes it */
}

/* ---- work on files ---- */

static void run_drop(struct work *w, void *ctx)
{
    struct apply *a = ctx;

    (void)w;
    drop_plans(a);
}

static void done_drop(struct work *w, void *ctx)
{
    (void)w;
    idle(ctx);
}

/* The stages go away on a worker, then the job is over. */
static void end_job(struct apply *a)
{
    a->state = APPLY_FINISHING;
    a->work = (struct work){.run = run_drop, .done = done_drop, .ctx = a};
    loop_work(a->opts.loop, &a->work);
}

static void conclude(struct apply *a)
{
    finish_job(a);
    end_job(a);
}

/* Files as before; the groups that touch the failed sink are refused, the others have another try. */
static void run_undo(struct work *w, void *ctx)
{
    struct apply *a = ctx;

    (void)w;
    for (size_t i = n_sinks(a); i > 0; i--)
        sink_undo(&a->plans[i - 1]);
}

static bool touches(const struct apply *a, const struct group *g, size_t sink)
{
    for (size_t m = 0; m < g->n; m++)
        if (is_of_sink(sink_config(a, sink), g->members[m].key))
            return true;
    return false;
}

static void refuse_accepted(struct apply *a, const struct refusing *why)
{
    bool any = false;

    for (size_t g = 0; g < a->n_groups; g++)
        any |= a->groups.at[g].verdict == GROUP_ACCEPTED &&
               touches(a, &a->groups.at[g], a->failed_sink);
    for (size_t g = 0; g < a->n_groups; g++) {
        struct group *group = &a->groups.at[g];

        if (group->verdict != GROUP_ACCEPTED)
            continue;
        if (!any || touches(a, group, a->failed_sink))
            refuse_group(a, group, why);
        else
            group->verdict = GROUP_WAITING; /* still not tried: the next job takes it */
    }
}

/* ---- commands ---- */

/* Fills in what check and reload of the sink a->at have in common. ERR_NOMEM, ERR_IO. */
static int start_command(struct apply *a, struct child_opts *opts, struct err *err)
{
    struct arena *arena = &a->plans[a->at].arena;

    opts->loop = a->opts.loop;
    opts->sink = arena_c(arena, sink_config(a, a->at)->name);
    opts->ctx = a;
    return arena_failed(arena) ? err_set(err, ERR_NOMEM, "out of memory")
                               : child_start(opts, &a->child, err);
}

/* A command that did not start has found nothing wrong with the content: it is tried again. */
static const char *code_unstarted(int r)
{
    return r == ERR_NOMEM ? "NO_MEMORY" : "IO";
}

/* ---- reloads ---- */

/* What a file of a process id says; 0 when there is none that a signal may go to. */
static pid_t pid_of(const char *path)
{
    FILE *file = fopen(path, "re");
    char line[32] = "";
    long pid = 0;

    if (file && fgets(line, sizeof(line), file))
        pid = strtol(line, NULL, 10);
    if (file)
        (void)fclose(file); /* only read */
    return pid > 1 && pid <= INT32_MAX ? (pid_t)pid : 0;
}

static void signal_program(struct apply *a, const struct config_files *f, struct err *err)
{
    pid_t pid = pid_of(f->pid_file);

    if (!pid) {
        LOG(INFO, "nothing_to_signal", LOG_STR("sink", f->name),
            LOG_C("pid_file", f->pid_file));
    } else if (kill(pid, f->reload_signal) && errno != ESRCH) {
        /* nobody there: it will read them when it starts */
        (void)err_set_errno(err, "cannot send signal %d to %ld", f->reload_signal, (long)pid);
    }
    a->stats.reloads++;
}

static void reload_next(struct apply *a);

static void after_undo_reload(struct apply *a)
{
    a->at++;
    reload_next(a);
}

static void undo_done(struct work *w, void *ctx)
{
    struct apply *a = ctx;
    struct err err = ERR_NULL;

    (void)w;
    drop_intents(a);
    if (write_rows(a, no_intent_rows, &err))
        LOG(ERROR, "copy_failed", LOG_C("error", err.text));
    a->is_void = true;
    a->state = APPLY_RELOADING_OLD;
    a->at = 0;
    reload_next(a);
}

static bool has_accepted(const struct apply *a)
{
    for (size_t g = 0; g < a->n_groups; g++)
        if (a->groups.at[g].verdict == GROUP_ACCEPTED)
            return true;
    return false;
}

static void reload_failed(struct apply *a, const char *code, struct str text)
{
    const struct config_files *f = sink_config(a, a->at);
    struct refusing why = {.sink = f, .code = code, .text = text};

    a->stats.reloads_failed++;
    if (a->state == APPLY_RELOADING_OLD) {
        LOG(ERROR, "reload_failed", LOG_STR("sink", f->name), LOG_C("files", "as before"),
            LOG_STR("reason", text));
        after_undo_reload(a);
        return;
    }
    if (!has_accepted(
            a)) { /* only local edits were put right: there is nothing to go back to */
        LOG(ERROR, "reload_failed", LOG_STR("sink", f->name), LOG_C("files", "restored"),
            LOG_STR("reason", text));
        a->at++;
        reload_next(a);
        return;
    }
    a->failed_sink = a->at;
    refuse_accepted(a, &why);
    a->state = APPLY_UNDOING;
    a->work = (struct work){.run = run_undo, .done = undo_done, .ctx = a};
    loop_work(a->opts.loop, &a->work);
}

static void on_reload(void *ctx, const struct child_result *result)
{
    struct apply *a = ctx;
    owned(buf) struct buf text = BUF_NULL(MESSAGE_MAX);

    a->child = NULL;
    if (result->has_passed) {
        a->at++;
        reload_next(a);
        return;
    }
    buf_printf(&text, "reload: %s", result->story);
    if (result->output.len)
        buf_printf(&text, ": %.*s", STR_ARG(str_trim(result->output)));
    reload_failed(a, "RELOAD_FAILED", buf_str(&text));
}

static void start_reload(struct apply *a, const struct config_files *f)
{
    struct child_opts opts = {.command = f->reload,
                              .timeout_ms = a->opts.config->reload_timeout / NSEC_PER_MS,
                              .done = on_reload};
    struct err err = ERR_NULL;
    int r;

    a->stats.reloads++;
    r = start_command(a, &opts, &err);
    if (r)
        reload_failed(a, code_unstarted(r), str_c(err.text));
}

/* Reloads the sinks from a->at on whose files were switched; comes back from the loop for each command. */
static void reload_next(struct apply *a)
{
    for (; a->at < n_sinks(a); a->at++) {
        const struct config_files *f = sink_config(a, a->at);
        struct err err = ERR_NULL;

        if (!a->plans[a->at].is_changed ||
            (a->state == APPLY_RELOADING_OLD && a->at > a->failed_sink))
            continue;
        if (f->reload) {
            start_reload(a, f);
            return;
        }
        if (f->reload_signal)
            signal_program(a, f, &err);
        if (err.code) {
            reload_failed(a, "RELOAD_FAILED", str_c(err.text));
            return;
        }
    }
    conclude(a);
}

/* ---- the switch ---- */

static void run_switch(struct work *w, void *ctx)
{
    struct apply *a = ctx;

    (void)w;
    a->failed_sink = n_sinks(a);
    for (size_t i = 0; i < n_sinks(a) && a->failed_sink == n_sinks(a); i++)
        if (sink_switch(&a->plans[i]))
            a->failed_sink = i;
    for (size_t i = a->failed_sink; i < n_sinks(a) && i > 0; i--)
        sink_undo(&a->plans[i - 1]);
}

static void refuse_switch(struct apply *a)
{
    const struct sink_plan *p = &a->plans[a->failed_sink];
    struct refusing why = {
        .sink = p->config, .code = p->code, .culprit = p->culprit, .text = str_c(p->err.text)};
    struct err err = ERR_NULL;

    refuse_accepted(a, &why);
    drop_intents(a);
    if (write_rows(a, no_intent_rows, &err))
        LOG(ERROR, "copy_failed", LOG_C("error", err.text));
    a->is_void = true;
    conclude(a);
}

static void done_switch(struct work *w, void *ctx)
{
    struct apply *a = ctx;

    (void)w;
    if (a->failed_sink < n_sinks(a)) {
        refuse_switch(a);
        return;
    }
    a->state = APPLY_RELOADING;
    a->at = 0;
    reload_next(a);
}

/* What is to be put in place is written down before. */
static int announce(struct apply *a, struct err *err)
{
    int r = set_intents(a);

    if (r)
        return err_set(err, r, "out of memory");
    r = write_rows(a, intent_rows, err);
    if (r)
        drop_intents(a);
    return r;
}

static void switch_over(struct apply *a)
{
    struct err err = ERR_NULL;

    a->state = APPLY_SWITCHING;
    if (announce(a, &err)) {
        struct refusing why = {.code = "COPY_FAILED", .text = str_c(err.text)};

        for (size_t g = 0; g < a->n_groups; g++)
            if (a->groups.at[g].verdict == GROUP_ACCEPTED)
                refuse_group(a, &a->groups.at[g], &why);
        if (a->is_verifying)
            verify_failed(a);
        a->opts.applied(a->opts.ctx, a->revision);
        end_job(a);
        return;
    }
    a->work = (struct work){.run = run_switch, .done = done_switch, .ctx = a};
    loop_work(a->opts.loop, &a->work);
}

/* ---- attempts ---- */

static void run_discard(struct work *w, void *ctx)
{
    struct apply *a = ctx;

    (void)w;
    drop_plans(a);
}

static void done_discard(struct work *w, void *ctx)
{
    (void)w;
    try_next(ctx);
}

static void discard_and_go_on(struct apply *a)
{
    a->work = (struct work){.run = run_discard, .done = done_discard, .ctx = a};
    loop_work(a->opts.loop, &a->work);
}

static void attempt_failed(struct apply *a, const struct refusing *why)
{
    struct range t = a->tried;

    if (!a->has_tried) { /* what stood before cannot be staged: nothing more can be done now */
        LOG(ERROR, "cannot_stage", LOG_C("code", why->code), LOG_STR("reason", why->text));
        for (size_t g = 0; g < a->n_groups; g++)
            if (a->groups.at[g].verdict == GROUP_ACCEPTED)
                refuse_group(a, &a->groups.at[g], why);
        drop_plans(a);
        conclude(a);
        return;
    }
    if (t.hi - t.lo == 1 || strcmp(why->code, "NO_MEMORY") == 0) {
        /* Lack of memory tells nothing of the groups: halves might be refused that pass together. */
        for (size_t g = t.lo; g < t.hi; g++)
            refuse_group(a, &a->groups.at[g], why);
    } else {
        size_t middle = t.lo + (t.hi - t.lo) / 2;

        a->ranges.at[a->ranges.n++] = (struct range){middle, t.hi}; /* room was made for all */
        a->ranges.at[a->ranges.n++] = (struct range){t.lo, middle};
    }
    discard_and_go_on(a);
}

static void attempt_passed(struct apply *a)
{
    for (size_t g = a->tried.lo; a->has_tried && g < a->tried.hi; g++)
        a->groups.at[g].verdict = GROUP_ACCEPTED;
    if (a->ranges.n)
        discard_and_go_on(a);
    else
        switch_over(a); /* this stage is of all that has passed */
}

static void check_next(struct apply *a);

static void on_check(void *ctx, const struct child_result *result)
{
    struct apply *a = ctx;
    struct refusing why = {.sink = sink_config(a, a->at), .code = "CHECK_FAILED"};
    owned(buf) struct buf text = BUF_NULL(MESSAGE_MAX);

    a->child = NULL;
    if (result->has_passed) {
        a->at++;
        check_next(a);
        return;
    }
    a->stats.checks_failed++;
    buf_printf(&text, "%s", result->story);
    if (result->output.len)
        buf_printf(&text, ": %.*s", STR_ARG(str_trim(result->output)));
    why.text = buf_str(&text);
    attempt_failed(a, &why);
}

static void start_check(struct apply *a)
{
    const struct config_files *f = sink_config(a, a->at);
    uint64_t timeout = f->check_timeout ? f->check_timeout : a->opts.config->check_timeout;
    struct child_opts opts = {.command = f->check,
                              .stage = a->plans[a->at].stage,
                              .timeout_ms = timeout / NSEC_PER_MS,
                              .done = on_check};
    struct refusing why = {.sink = f};
    struct err err = ERR_NULL;
    int r;

    a->stats.checks++;
    r = start_command(a, &opts, &err);
    if (!r)
        return;
    why.code = code_unstarted(r);
    why.text = str_c(err.text);
    attempt_failed(a, &why);
}

/* The checks of the sinks from a->at on whose files differ. What has passed already is not checked again. */
static void check_next(struct apply *a)
{
    a->state = APPLY_CHECKING;
    if (a->is_stopping) {
        end_job(a);
        return;
    }
    for (; a->at < n_sinks(a); a->at++)
        if (a->has_tried && a->plans[a->at].is_changed && sink_config(a, a->at)->check) {
            start_check(a);
            return;
        }
    attempt_passed(a);
}

static void run_stage(struct work *w, void *ctx)
{
    struct apply *a = ctx;

    (void)w;
    a->failed_sink = n_sinks(a);
    for (size_t i = 0; i < n_sinks(a) && a->failed_sink == n_sinks(a); i++)
        if (sink_stage(&a->plans[i]))
            a->failed_sink = i;
}

static void stage_failed(struct apply *a)
{
    struct refusing why = {.code = "NO_MEMORY", .text = STR("out of memory")};

    if (a->plans && a->failed_sink < n_sinks(a)) {
        const struct sink_plan *p = &a->plans[a->failed_sink];

        why = (struct refusing){.sink = p->config,
                                .code = p->code,
                                .culprit = p->culprit,
                                .text = str_c(p->err.text)};
    }
    attempt_failed(a, &why);
}

static void done_stage(struct work *w, void *ctx)
{
    struct apply *a = ctx;

    (void)w;
    a->at = 0;
    if (a->failed_sink < n_sinks(a))
        stage_failed(a);
    else
        check_next(a);
}

/* The next range on top of what has passed; none left: what has passed, without its checks. */
static void try_next(struct apply *a)
{
    a->has_tried = a->ranges.n > 0;
    a->tried = a->has_tried ? a->ranges.at[--a->ranges.n] : (struct range){0, 0};
    a->state = APPLY_STAGING;
    if (a->is_stopping) {
        end_job(a);
        return;
    }
    if (!a->has_tried && !has_accepted(a) && !a->is_verifying) { /* everything was refused */
        conclude(a);
        return;
    }
    a->failed_sink = n_sinks(a);
    if (make_plans(a)) {
        stage_failed(a);
        return;
    }
    a->work = (struct work){.run = run_stage, .done = done_stage, .ctx = a};
    loop_work(a->opts.loop, &a->work);
}

/* ---- beginning ---- */

/* Keeps those at the front that are to be tried: what is new, else what is to be tried again. */
static size_t pick_groups(struct groups *g)
{
    size_t n = 0;
    bool any_fresh = false;

    for (size_t i = 0; i < g->n; i++)
        any_fresh |= g->at[i].is_fresh;
    for (size_t i = 0; i < g->n; i++)
        if (any_fresh ? g->at[i].is_fresh : g->at[i].must_retry) {
            struct group picked = g->at[i];

            memmove(&g->at[n + 1], &g->at[n], (i - n) * sizeof(*g->at));
            g->at[n++] = picked;
        }
    return n;
}

static bool make_room(struct apply *a)
{
    while (a->ranges.cap < a->n_groups + 2) {
        a->ranges.n = a->ranges.cap;
        if (!VEC_ROOM(&a->ranges))
            return false;
    }
    a->ranges.n = 0;
    return true;
}

/* Nothing is told meanwhile: what was received has not been tried. */
static void begin_later(struct apply *a)
{
    LOG(ERROR, "out_of_memory", LOG_C("while", "beginning to apply"));
    timer_start(&a->again, a->opts.loop, AGAIN_MS, 0);
}

/* Half of a batch is never tried: what pending lacks is found before. ERR_NOMEM. */
static int find_groups(struct apply *a)
{
    struct ledger *l = a->opts.ledger;
    int r = l->must_rescan ? ledger_rescan(l, sync_status(l->sync).cursor.revision) : 0;

    return r ? r : ledger_groups(l, &a->groups);
}

/* There is nothing to do, or nothing that may be done now. */
static void tell_idle(struct apply *a)
{
    if (a->must_tell)
        finish_job(a);
    if (!a->must_tell)
        a->opts.idle(a->opts.ctx);
}

static void begin_job(struct apply *a)
{
    if (a->state != APPLY_IDLE || a->is_stopping)
        return;
    a->begun = a->kicks;
    if (a->is_paused) {
        a->revision = sync_status(a->opts.ledger->sync).cursor.revision;
        tell_idle(a);
        return;
    }
    if (find_groups(a)) {
        begin_later(a);
        return;
    }
    a->n_groups = pick_groups(&a->groups);
    a->revision = sync_status(a->opts.ledger->sync).cursor.revision;
    if (a->n_groups == 0 && (!a->must_verify || timer_is_running(&a->again))) {
        groups_deinit(&a->groups);
        tell_idle(a);
        return;
    }
    if (!make_room(a)) {
        groups_deinit(&a->groups);
        a->n_groups = 0;
        begin_later(a);
        return;
    }
    a->is_verifying = a->must_verify;
    a->is_void = false;
    a->must_verify = false;
    a->stats.jobs++;
    if (a->n_groups)
        a->ranges.at[a->ranges.n++] = (struct range){0, a->n_groups};
    try_next(a);
}

static void run_kick(struct defer *d, void *ctx)
{
    (void)d;
    begin_job(ctx);
}

static void on_again(struct timer *t, void *ctx)
{
    (void)t;
    begin_job(ctx);
}

void apply_kick(struct apply *a)
{
    a->must_tell = true;
    a->kicks++;
    if (a->state == APPLY_IDLE)
        loop_defer(a->opts.loop, &a->kick);
}

void apply_verify(struct apply *a)
{
    a->must_verify = true;
    timer_stop(&a->again);
    apply_kick(a);
}

void apply_retry(struct apply *a, enum apply_retry which)
{
    static const char *const passing[] = {"NO_SPACE", "NO_MEMORY", "IO", "COPY_FAILED"};
    struct map_slot *slot;
    size_t at = 0;
    bool any = false;

    while ((slot = map_each(&a->opts.ledger->pending, &at))) {
        struct pending *p = slot->value;
        bool does_pass = which == APPLY_RETRY_ALL;

        for (size_t i = 0; i < ARRAY_LEN(passing); i++)
            does_pass |= strcmp(p->code, passing[i]) == 0;
        p->must_retry |= p->is_refused && does_pass;
        any |= p->must_retry;
    }
    if (any || a->must_verify)
        apply_kick(a);
}

/* Without memory it counts as named: trying too much does no harm, and saying that it was tried would be untrue. */
static bool is_named(const struct version *v, char *const *ids, size_t n)
{
    owned(buf) struct buf id = BUF_NULL(ID_BYTES_MAX);

    if (!v)
        return false;
    key_put_id(v->key, &id);
    if (buf_status(&id))
        return true;
    for (size_t i = 0; i < n; i++)
        if (str_eq(buf_str(&id), str_c(ids[i])))
            return true;
    return false;
}

void apply_retry_these(struct apply *a, char *const *ids, size_t n)
{
    const struct ledger *l = a->opts.ledger;
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&l->pending, &at))) {
        struct pending *p = slot->value;

        p->must_retry |= p->is_refused && (is_named(ledger_received(l, slot->key), ids, n) ||
                                           is_named(ledger_serving(l, slot->key), ids, n));
    }
    apply_kick(a);
}

bool apply_is_retrying(const struct apply *a)
{
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&a->opts.ledger->pending, &at)))
        if (((const struct pending *)slot->value)->must_retry)
            return true;
    return false;
}

void apply_pause(struct apply *a, bool is_paused)
{
    a->is_paused = is_paused;
    apply_kick(a);
}

/* ---- life ---- */

int apply_new(const struct apply_opts *opts, const struct copy_content *content,
              struct apply **ret_apply)
{
    struct apply *a = NEW(struct apply);

    if (!a)
        return ERR_NOMEM;
    a->opts = *opts;
    a->kick = (struct defer){.fn = run_kick, .ctx = a};
    a->again = (struct timer){.fn = on_again, .ctx = a};
    a->sinks = NEW_ARRAY(struct sink_state, n_sinks(a));
    for (size_t i = 0; a->sinks && i < n_sinks(a); i++)
        a->sinks[i].config = &opts->config->files.at[i];
    for (size_t i = 0; a->sinks && i < content->n_files; i++) {
        struct sink_state *s = sink_named(a, content->files[i].sink);

        if (s && set_delivered(s, &content->files[i])) {
            (void)apply_free(a);
            return ERR_NOMEM;
        }
    }
    if (!a->sinks) {
        (void)mem_free(a);
        return ERR_NOMEM;
    }
    *ret_apply = a;
    return 0;
}

struct apply *apply_free(struct apply *a)
{
    if (!a)
        return NULL;
    defer_cancel(&a->kick);
    timer_stop(&a->again);
    drop_plans(a);
    groups_deinit(&a->groups);
    for (size_t i = 0; i < n_sinks(a); i++) {
        struct map_slot *slot;
        size_t at = 0;

        while ((slot = map_each(&a->sinks[i].delivered, &at)))
            (void)mem_free(slot->value);
        map_deinit(&a->sinks[i].delivered);
    }
    (void)mem_free(a->sinks);
    VEC_DEINIT(&a->ranges);
    return mem_free(a);
}

void apply_stop(struct apply *a, void (*done)(void *ctx), void *ctx)
{
    a->is_stopping = true;
    a->stopped = done;
    a->stopped_ctx = ctx;
    if (a->state == APPLY_IDLE) {
        done(ctx);
        return;
    }
    if (a->state == APPLY_CHECKING && a->child) { /* nothing has changed yet */
        child_forget(take(a->child));
        end_job(a);
    }
}

bool apply_is_busy(const struct apply *a)
{
    return a->state != APPLY_IDLE;
}

struct apply_stats apply_stats(const struct apply *a)
{
    return a->stats;
}
