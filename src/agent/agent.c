/*
 * The agent as a whole: start, run, reload, stop. See agent.h.
 */
#include "agent/agent.h"

#include "agent/config_diff.h"
#include "agent/files.h"
#include "agent/sink_file.h"
#include "agent/sink_shm.h"
#include "base/file.h"
#include "base/log.h"

#include <signal.h>

enum {
    FLUSH_MS = 10000,
    NAMES_MAX = 65536,
    LOOK_MS = 5000,  /* how often files are looked at where changes make no events */
    AGAIN_MS = 1000, /* after there was no memory */
    READ_EVERY = 10, /* every so many verifications all bytes are read */
};

/* ---- what the core asks for ---- */

static void op_send(void *ctx, const Trimtab__V1__ClientFrame *frame)
{
    struct agent *a = ctx;

    if (a->link)
        sync_link_send(a->link, frame);
}

static int op_store(void *ctx, const struct sync_batch *batch, struct err *err)
{
    struct agent *a = ctx;
    int r = copy_store(a->copy, batch, err);

    if (r)
        LOG(ERROR, "store_failed", LOG_U64("revision", batch->cursor.revision),
            LOG_C("error", err->text));
    return r;
}

static void op_moved(void *ctx, const struct sync_cursor *cursor)
{
    struct agent *a = ctx;

    orders_heard(a);
    copy_moved(a->copy, cursor);
    if (!timer_is_running(&a->flush))
        timer_start(&a->flush, &a->loop, FLUSH_MS, 0);
}

/* Compares all that is served with all that was received. Until it is done nothing is told of what is served. */
static void rescan(struct agent *a)
{
    bool was_owed = a->ledger.must_rescan;

    if (ledger_rescan(&a->ledger, sync_status(a->sync).cursor.revision)) {
        LOG(ERROR, "out_of_memory", LOG_C("while", "comparing"));
        timer_start(&a->again, &a->loop, AGAIN_MS, 0);
    } else if (was_owed) {
        job_kick(a->job);
    }
}

/* The name of kind NUL name. */
static struct str key_last(struct str tail)
{
    return str_from(tail, str_index(tail, '\0') + 1);
}

static void op_apply(void *ctx, const struct sync_batch *batch)
{
    struct agent *a = ctx;
    bool must_rescan = a->ledger.must_rescan;

    LOG(INFO, "received", LOG_U64("revision", batch->cursor.revision),
        LOG_U64("changes", batch->n), LOG_U64("items", batch->cursor.count));
    if (batch->n_held)
        LOG(WARN, "held", LOG_U64("items", batch->n_held),
            LOG_STR("first", key_last(batch->held[0].key)),
            LOG_C("reason", "they were dropped, and no recorded change deletes them"),
            LOG_C("action", "they are served on until they come back or are released"));
    for (size_t i = 0; i < batch->n; i++)
        must_rescan |= ledger_note(&a->ledger, &batch->changes[i], batch->cursor.revision) != 0;
    if (must_rescan)
        rescan(a);
    orders_heard(a);
    job_kick(a->job);
}

static void op_reconnect(void *ctx, uint32_t after_ms, const char *reason)
{
    struct agent *a = ctx;

    LOG(INFO, "asked_to_reconnect", LOG_U64("after_ms", after_ms), LOG_C("reason", reason));
    sync_link_reconnect(a->link, after_ms, reason);
}

static const struct sync_ops ops = {.send = op_send,
                                    .store = op_store,
                                    .moved = op_moved,
                                    .apply = op_apply,
                                    .order = orders_take,
                                    .reconnect = op_reconnect};

/* ---- what is served ---- */

static void fill_refusal(const struct agent *a, const struct pending *p,
                         struct sync_refusal *out)
{
    struct str key = str_of(p->key, p->len);
    const struct version *received = ledger_received(&a->ledger, key);
    const struct version *serving = ledger_serving(&a->ledger, key);

    *out = (struct sync_refusal){.scope = key_scope(key),
                                 .key = key_tail(key),
                                 .hash = received ? &received->item_hash : NULL,
                                 .serving = serving,
                                 .code = p->code,
                                 .message = str_c(p->message),
                                 .held_by = str_c(p->held_by)};
}

/* What came while the fleet is paused. */
static void fill_paused(const struct agent *a, const struct pending *p,
                        struct sync_refusal *out)
{
    fill_refusal(a, p, out);
    out->code = "PAUSED";
    out->message = str_c(a->orders.reason);
    out->held_by = STR("the pause of the fleet");
}

/* ---- how it is ---- */

static bool is_applying(void *ctx)
{
    const struct agent *a = ctx;

    return a->job && job_is_busy(a->job);
}

static bool tell_health(void *ctx, const struct sync_judgement *sum)
{
    struct agent *a = ctx;

    return sync_health(a->sync, sum) == 0;
}

/* Nothing to judge anew when a job has changed nothing. */
static void judge_served(struct agent *a, uint64_t revision)
{
    if (a->has_served && a->served_revision == revision &&
        digest_eq(a->served, a->ledger.digest))
        return;
    a->has_served = true;
    a->served_revision = revision;
    a->served = a->ledger.digest;
    prober_applied(a->prober, revision);
}

static int open_prober(struct agent *a, struct err *err)
{
    struct prober_opts opts = {.loop = &a->loop,
                               .config = &a->config,
                               .is_busy = is_applying,
                               .tell = tell_health,
                               .ctx = a};
    owned(buf) struct buf path = BUF_NULL(COPY_PATH_MAX);

    buf_printf(&path, "%s/health", a->config.data_dir);
    opts.file = arena_c(&a->arena, buf_str(&path));
    if (buf_status(&path) || arena_failed(&a->arena))
        return err_set(err, ERR_NOMEM, "out of memory");
    return prober_open(&opts, &a->prober, err);
}

/* What is refused, as a list. NULL: there is no memory. */
static struct sync_refusal *list_refusals(const struct agent *a, size_t *ret_n)
{
    struct sync_refusal *list = NEW_ARRAY(struct sync_refusal, MAX(a->ledger.pending.n, (size_t)1));
    struct map_slot *slot;
    size_t at = 0, n = 0;

    while (list && (slot = map_each(&a->ledger.pending, &at))) {
        const struct pending *p = slot->value;

        if (p->is_refused)
            fill_refusal(a, p, &list[n++]);
        else if (a->orders.is_paused)
            fill_paused(a, p, &list[n++]);
    }
    *ret_n = n;
    return list;
}

/*
 * Tells what is served, and why it is not what was received. Without memory it is told later: an empty list of refusals
 * would say that all is served.
 */
static void tell_applied(void *ctx, uint64_t revision)
{
    struct agent *a = ctx;
    struct sync_refusal *list = NULL;
    size_t n = 0;
    int r = a->ledger.must_rescan ? ERR_NOMEM : 0;

    if (!r)
        list = list_refusals(a, &n);
    if (!r)
        r = list ? sync_applied(a->sync, revision, a->ledger.digest, list, n) : ERR_NOMEM;
    (void)mem_free(list);
    a->knows_nothing = false;
    a->must_tell = r != 0;
    if (!r) {
        judge_served(a, revision);
        return;
    }
    a->untold = revision;
    timer_start(&a->again, &a->loop, AGAIN_MS, 0);
}

/* ---- credentials ---- */

/* Takes the credentials from their files, and connects at once with new ones. Those from before stay after a failure. */
static void refresh(struct agent *a, enum credentials_when when)
{
    struct err err = ERR_NULL;
    int r = credentials_refresh(&a->credentials, when, &err);

    if (r == CREDENTIALS_NEW && sync_link_set_token(a->link, a->credentials.token))
        r = err_set(&err, ERR_NOMEM, "out of memory");
    if (r < 0)
        LOG(ERROR, "credentials_not_read", LOG_C("error", err.text));
    else if (r == CREDENTIALS_NEW)
        LOG(INFO, "credentials_read");
    if (r == CREDENTIALS_NEW)
        sync_link_kick(a->link);
}

static void run_refresh(struct defer *d, void *ctx)
{
    struct agent *a = ctx;

    (void)d;
    if (a->link && !a->is_stopping)
        refresh(a, CREDENTIALS_WHEN_CHANGED);
}

/* ---- timers ---- */

static void on_verify(struct timer *t, void *ctx)
{
    struct agent *a = ctx;

    (void)t;
    a->n_verified++;
    refresh(a, CREDENTIALS_WHEN_CHANGED);
    if (!sync_verify(a->sync)) {
        a->n_drifted++;
        LOG(ERROR, "drift", LOG_C("action", "the server is asked to mend it"));
    }
    rescan(a);
    job_verify(a->job, a->n_verified % READ_EVERY ? SINK_LOOK_FOR_CHANGES : SINK_LOOK_AT_BYTES);
}

/* Something has changed where files were delivered; perhaps it was the agent itself. */
static void on_changed(void *ctx)
{
    struct agent *a = ctx;

    if (a->job && !a->is_stopping)
        job_verify(a->job, SINK_LOOK_FOR_CHANGES);
}

static void on_look(struct timer *t, void *ctx)
{
    struct agent *a = ctx;

    (void)t;
    if (*watch_blindness(a->watch))
        job_verify(a->job, SINK_LOOK_FOR_CHANGES);
}

/* There was no memory. A job that is under way tells by itself, and newer things. */
static void on_again(struct timer *t, void *ctx)
{
    struct agent *a = ctx;

    (void)t;
    if (a->ledger.must_rescan)
        rescan(a);
    else if (a->must_tell && !job_is_busy(a->job))
        tell_applied(a, a->untold);
}

static void on_flush(struct timer *t, void *ctx)
{
    struct agent *a = ctx;
    struct err err = ERR_NULL;

    (void)t;
    if (copy_flush(a->copy, &err))
        LOG(WARN, "flush_failed", LOG_C("error", err.text));
}

/* ---- the link ---- */

static void on_link(void *ctx, enum sync_link_state state, const char *address,
                    const struct err *story)
{
    struct agent *a = ctx;
    char line[ERR_TEXT_MAX];

    if (state == SYNC_LINK_UP) {
        a->is_connected = true;
        a->connected_ms = clock_wall_ms();
        a->link_story[0] = '\0';
        LOG(INFO, "connected", LOG_C("server", address));
        return;
    }
    (void)err_describe(story, line, sizeof(line));
    if (a->is_connected ||
        strncmp(line, a->link_story, sizeof(a->link_story) - 1) != 0) /* once each */
        LOG(WARN, "disconnected", LOG_C("server", address), LOG_C("reason", line));
    a->is_connected = false;
    loop_defer(&a->loop, &a->refresh); /* they may have been exchanged */
    (void)snprintf(a->link_story, sizeof(a->link_story), "%s", line);
}

static const char *or_null(const char *text)
{
    return *text ? text : NULL;
}

static int open_link(struct agent *a, struct err *err)
{
    struct sync_link_opts opts = {
        .loop = &a->loop, .sync = a->sync, .on_state = on_link, .ctx = a};

    opts.channel = (struct channel_opts){.addresses = a->config.addresses,
                                         .n_addresses = a->config.n_addresses,
                                         .tls = a->credentials.tls,
                                         .token = or_null(a->credentials.token)};
    if (random_bytes(&opts.channel.seed, sizeof(opts.channel.seed)))
        return err_set(err, ERR_IO, "the system has no random bytes");
    return sync_link_open(&opts, &a->link, err);
}

/* ---- the local copy ---- */

/* Reads the copy; one that cannot be trusted is set aside, and the agent starts with nothing. */
static int load_copy(struct agent *a, struct copy_content *content, struct err *err)
{
    char aside[COPY_PATH_MAX];
    int r = copy_load(a->copy, content, err);
    bool is_foreign = !r && *content->instance && *a->config.instance_id &&
                      strcmp(content->instance, a->config.instance_id) != 0;

    if (is_foreign)
        (void)err_set(err, ERR_CORRUPT, "the local copy belongs to instance %s",
                      content->instance);
    if (r != ERR_CORRUPT && !is_foreign)
        return r;
    copy_content_deinit(content);
    LOG(ERROR, "copy_broken", LOG_C("error", err->text),
        LOG_C("action", "set aside, starting without it"));
    r = copy_set_aside(a->copy, aside, err);
    if (r)
        return r;
    LOG(WARN, "copy_set_aside", LOG_C("file", aside));
    *err = ERR_NULL;
    return copy_load(a->copy, content, err);
}

static int subscribe_copy(struct agent *a, struct copy_content *content, struct err *err)
{
    struct copy_subscription s = {.instance = a->instance->id,
                                  .hash = agent_subscription_hash(a)};
    struct str *scopes = ARENA_ARRAY(&a->arena, struct str, a->config.scopes.n);

    if (!scopes)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < a->config.scopes.n; i++)
        scopes[s.n_scopes++] = a->config.scopes.at[i].name;
    s.scopes = scopes;
    return copy_subscribe(a->copy, &s, content, err);
}

static int open_copy(struct agent *a, struct copy_content *content, struct err *err)
{
    owned(buf) struct buf path = BUF_NULL(COPY_PATH_MAX);
    int r = file_make_dirs(a->config.data_dir, 0700, err);

    buf_printf(&path, "%s/copy.db", a->config.data_dir);
    if (!r && !buf_c(&path))
        r = err_set(err, ERR_NOMEM, "out of memory");
    if (!r)
        r = copy_open(buf_c(&path), &a->copy, err);
    if (!r)
        r = load_copy(a, content, err);
    if (!r)
        r = agent_identify(a, content->instance, err);
    if (!r && *content->instance && strcmp(content->instance, a->instance->id) != 0) {
        char aside[COPY_PATH_MAX];

        LOG(ERROR, "copy_foreign", LOG_C("of", content->instance),
            LOG_C("action", "set aside"));
        copy_content_deinit(content);
        r = copy_set_aside(a->copy, aside, err);
        if (!r)
            r = copy_load(a->copy, content, err);
    }
    if (!r)
        r = agent_make_scopes(a, err);
    return r ? r : subscribe_copy(a, content, err);
}

static struct sink *sink_named(const struct agent *a, struct str name)
{
    for (size_t i = 0; i < a->n_sinks; i++)
        if (str_eq(a->sinks[i]->name, name))
            return a->sinks[i];
    return NULL;
}

static bool add_sink(struct agent *a, struct sink *s)
{
    if (s)
        a->sinks[a->n_sinks++] = s;
    return s != NULL;
}

/* In the order in which a change reaches them. ERR_NOMEM. */
static int make_sinks(struct agent *a)
{
    for (size_t i = 0; i < a->config.files.n; i++) {
        struct sink_file_opts opts = {.loop = &a->loop,
                                      .config = &a->config,
                                      .files = &a->config.files.at[i],
                                      .sync = a->sync,
                                      .watch = a->watch};

        if (!add_sink(a, sink_file_open(&opts)))
            return ERR_NOMEM;
    }
    for (size_t i = 0; i < a->config.segments.n; i++) {
        struct sink_shm_opts opts = {
            .segment = &a->config.segments.at[i], .sync = a->sync, .watch = a->watch};

        if (!add_sink(a, sink_shm_open(&opts)))
            return ERR_NOMEM;
    }
    return 0;
}

/* The sinks, what the copy knows to be in them, and the job that delivers to them. ERR_NOMEM. */
static int open_sinks(struct agent *a, const struct copy_content *content)
{
    struct job_opts job = {.loop = &a->loop,
                           .ledger = &a->ledger,
                           .copy = a->copy,
                           .sinks = a->sinks,
                           .retry_ms = a->config.retry_interval / NSEC_PER_MS,
                           .applied = tell_applied,
                           .idle = orders_idle,
                           .ctx = a};

    a->watch = watch_open(&a->loop, on_changed, a);
    if (!a->watch || make_sinks(a))
        return ERR_NOMEM;
    for (size_t i = 0; i < content->n_files; i++) {
        struct sink *s = sink_named(a, content->files[i].sink);

        if (s && s->ops->note(s, &content->files[i]))
            return ERR_NOMEM;
    }
    job.n_sinks = a->n_sinks;
    a->job = job_new(&job);
    return a->job ? 0 : ERR_NOMEM;
}

static int open_core(struct agent *a, const struct copy_content *content, struct err *err)
{
    struct sync_opts opts = {.instance = a->instance,
                             .scopes = a->scopes,
                             .n_scopes = a->config.scopes.n,
                             .secret = a->secret,
                             .ops = &ops,
                             .ctx = a,
                             .is_judged = a->config.health.n > 0};
    int r;

    a->sync = sync_new(&opts);
    r = a->sync ? 0 : ERR_NOMEM;
    if (!r && *content->instance)
        r = sync_load(a->sync, content->items, content->n_items, &content->cursor);
    if (!r)
        r = sync_load_held(a->sync, content->held, content->n_held);
    if (r)
        return err_set(err, r, "the local copy cannot be taken over");
    ledger_init(&a->ledger, a->sync);
    a->has_ledger = true;
    r = open_prober(a, err);
    if (r)
        return r;
    r = ledger_load(&a->ledger, content);
    if (!r)
        r = open_sinks(a, content);
    if (r)
        return err_set(err, r, "out of memory");
    r = orders_open(a, err);
    if (r)
        return r;
    a->knows_nothing = content->applied == 0;
    if (content->applied)
        tell_applied(a, content->applied);
    LOG(INFO, "copy_loaded", LOG_U64("items", content->n_items),
        LOG_U64("revision", content->cursor.revision), LOG_U64("not_served", content->n_served),
        LOG_U64("held", content->n_held), LOG_C("instance", a->instance->id));
    return 0;
}

/* ---- signals ---- */

static void on_stop_signal(struct signal_watch *s, void *ctx)
{
    LOG(INFO, "stopping", LOG_U64("signal", (uint64_t)s->number));
    agent_stop(ctx);
}

/* The rest of the configuration is read at the start: says what of it waits for that. */
static void tell_waiting(const struct agent *a)
{
    owned(buf) struct buf names = BUF_NULL(NAMES_MAX);
    struct err err = ERR_NULL;

    if (!a->config.read_from)
        return;
    if (config_diff(a->config.read_from, a->config.text, &names, &err))
        LOG(ERROR, "configuration_unusable", LOG_C("file", a->config.read_from),
            LOG_C("error", err.code ? err.text : "out of memory"),
            LOG_C("action", "the agent goes on with what it read when it started"));
    else if (names.len)
        LOG(WARN, "restart_needed", LOG_STR("settings", buf_str(&names)));
}

static void on_reload_signal(struct signal_watch *s, void *ctx)
{
    struct agent *a = ctx;

    (void)s;
    LOG(INFO, "reloaded");
    tell_waiting(a);
    refresh(a, CREDENTIALS_ALWAYS);
    sync_link_kick(a->link);
    job_retry(a->job, JOB_RETRY_ORDERED);
    job_verify(a->job, SINK_LOOK_AT_BYTES);
}

static int watch_signals(struct agent *a, struct err *err)
{
    a->on_term = (struct signal_watch){.fn = on_stop_signal, .ctx = a, .number = SIGTERM};
    a->on_int = (struct signal_watch){.fn = on_stop_signal, .ctx = a, .number = SIGINT};
    a->on_hup = (struct signal_watch){.fn = on_reload_signal, .ctx = a, .number = SIGHUP};
    if (loop_watch_signal(&a->loop, &a->on_term, err) ||
        loop_watch_signal(&a->loop, &a->on_int, err))
        return ERR_IO;
    if (loop_watch_signal(&a->loop, &a->on_hup, err))
        return ERR_IO;
    return reaper_open(&a->reaper, &a->loop, err);
}

/* ---- life ---- */

static int open_parts(struct agent *a, struct err *err)
{
    struct copy_content content = {.instance = ""};
    int r = credentials_open(&a->credentials, &a->config, err);

    if (!r)
        r = open_copy(a, &content, err);
    if (!r)
        r = open_core(a, &content, err);
    copy_content_deinit(&content);
    if (!r)
        r = watch_signals(a, err);
    if (!r && *a->config.admin_listen)
        r = admin_open(a, err);
    return r ? r : open_link(a, err);
}

int agent_open(struct agent *a, const struct config *config, struct err *err)
{
    uint64_t verify_ms = config->verify_interval / NSEC_PER_MS;
    int r;

    *a = (struct agent){.config = *config, .started_ms = clock_wall_ms()};
    a->verify = (struct timer){.fn = on_verify, .ctx = a};
    a->look = (struct timer){.fn = on_look, .ctx = a};
    a->flush = (struct timer){.fn = on_flush, .ctx = a};
    a->again = (struct timer){.fn = on_again, .ctx = a};
    a->refresh = (struct defer){.fn = run_refresh, .ctx = a};
    (void)snprintf(a->link_story, sizeof(a->link_story), "connecting");
    if (*config->mass_drop_min)
        LOG(WARN, "setting_without_effect", LOG_C("setting", "mass_drop_min"),
            LOG_C("instead", "nothing is deleted without a cause, however little"));
    (void)signal(SIGPIPE, SIG_IGN);
    r = loop_open(&a->loop, err);
    if (r)
        return r;
    a->has_loop = true;
    r = open_parts(a, err);
    if (r)
        return r;
    for (size_t i = 0; i < config->files.n; i++)
        files_sweep(&config->files.at[i]);
    timer_start(&a->verify, &a->loop, verify_ms, verify_ms);
    timer_start(&a->look, &a->loop, LOOK_MS, LOOK_MS);
    job_retry(a->job, JOB_RETRY_START); /* whatever it was refused for: much may have changed */
    if (!a->knows_nothing) /* what was served is served again, whoever can be reached */
        job_verify(a->job, SINK_LOOK_AT_BYTES);
    if (!a->knows_nothing || a->ledger.pending.n)
        job_kick(a->job); /* and told, as of no revision yet: verdicts from before are of another view, perhaps */
    return 0;
}

void agent_run(struct agent *a)
{
    loop_run(&a->loop);
}

static void stop_loop(void *ctx)
{
    struct agent *a = ctx;

    loop_stop(&a->loop);
}

void agent_stop(struct agent *a)
{
    if (a->is_stopping) { /* asked twice: at once */
        loop_stop(&a->loop);
        return;
    }
    a->is_stopping = true;
    job_stop(a->job, stop_loop, a);
}

static void set_true(void *ctx)
{
    *(bool *)ctx = true;
}

static void close_net(struct agent *a)
{
    bool closed = a->link == NULL;

    if (a->link)
        sync_link_close(take(a->link), set_true, &closed);
    while (!closed)
        loop_turn(&a->loop, LOOP_WAIT);
    closed = a->admin == NULL;
    if (a->admin)
        http_server_close(take(a->admin), set_true, &closed);
    while (!closed)
        loop_turn(&a->loop, LOOP_WAIT);
}

static void close_sinks(struct agent *a)
{
    for (size_t i = 0; i < a->n_sinks; i++)
        a->sinks[i] = a->sinks[i]->ops->close(a->sinks[i]);
    a->n_sinks = 0;
}

void agent_close(struct agent *a)
{
    if (!a->has_loop)
        return;
    timer_stop(&a->verify);
    timer_stop(&a->look);
    timer_stop(&a->flush);
    timer_stop(&a->again);
    close_net(a);
    while (
        a->job &&
        job_is_busy(a->job)) /* asked twice to stop: what is under way on a worker must end */
        loop_turn(&a->loop, LOOP_WAIT);
    a->job = job_free(a->job);
    close_sinks(a);
    a->watch = watch_close(a->watch);
    orders_close(a);
    a->prober = prober_close(a->prober);
    reaper_close(&a->reaper);
    loop_close(&a->loop);
    if (a->has_ledger)
        ledger_deinit(&a->ledger);
    a->sync = sync_free(a->sync);
    a->copy = copy_close(a->copy);
    credentials_close(&a->credentials);
    arena_deinit(&a->arena);
    a->has_loop = false;
}
