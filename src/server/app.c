/*
 * The server as a whole: start, run, drain, stop. See app.h.
 */
#include "server/app.h"

#include "base/file.h"
#include "base/log.h"
#include "server/rest.h"
#include "server/rpc.h"
#include "server/subscribe.h"
#include "server/upkeep.h"

enum { TICK_MS = 100 };

/* ---- authorisation ---- */

/* The digits of an address in 127.0.0.0/8: a name that only begins so leads anywhere. */
static bool is_loopback_number(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] != '.' && (s.data[i] < '0' || s.data[i] > '9'))
            return false;
    return str_starts(s, STR("127."));
}

/* Whether the authority of a request, host or host:port, is this machine's own. */
static bool is_this_machine(struct str authority)
{
    size_t bracket = str_index(authority, ']');
    size_t end = bracket < authority.len ? bracket + 1 : str_index(authority, ':');
    struct str host = str_part(authority, 0, end), port = str_from(authority, end);

    if (port.len && port.data[0] != ':')
        return false;
    return str_eq_nocase(host, STR("localhost")) || str_eq(host, STR("[::1]")) ||
           str_eq(host, STR("unix")) || is_loopback_number(host);
}

static struct str without_port(struct str authority)
{
    size_t bracket = str_index(authority, ']');
    size_t start = bracket < authority.len ? bracket + 1 : 0;

    return str_part(authority, 0, start + str_index(str_from(authority, start), ':'));
}

/* Whether a setting allows this host. */
static bool is_allowed(const struct app *app, struct str authority)
{
    struct str rest = str_c(app->config.allowed_hosts), word;

    while (rest.len && str_next(&rest, ',', &word)) {
        word = str_trim(word);
        if (str_eq(word, STR("*")) || str_eq_nocase(word, authority) ||
            str_eq_nocase(word, without_port(authority)))
            return true;
    }
    return false;
}

/* Whether a page is of the host that it asks; a proxy may have taken TLS off. */
static bool is_same_origin(const struct app *app, const struct exchange *x, struct str origin)
{
    struct str host = exchange_authority(x);
    bool is_proxied = is_allowed(app, host) && str_starts(origin, STR("https://"));
    struct str scheme = exchange_is_tls(x) || is_proxied ? STR("https://") : STR("http://");

    return str_starts(origin, scheme) && str_eq(str_from(origin, scheme.len), host);
}

/* A page in a browser may reach a loopback port: what it sends names itself by Origin, and the host by a name of its own. */
static int check_browser(const struct app *app, const struct exchange *x, struct err *err)
{
    struct str origin = exchange_header(x, "origin"), host = exchange_authority(x);

    if (origin.data && !is_same_origin(app, x, origin))
        return err_set(err, ERR_DENIED, "requests from the page %.*s are not taken",
                       STR_ARG(str_part(origin, 0, 100)));
    if (!app->tls && config_is_loopback(app->config.listen) && host.len &&
        !is_this_machine(host) && !is_allowed(app, host)) {
        (void)err_set(err, ERR_DENIED, "the host %.*s is not this machine",
                      STR_ARG(str_part(host, 0, 100)));
        err_hint(err, "behind a proxy: the setting allowed_hosts of trimtabd names it");
        return ERR_DENIED;
    }
    return 0;
}

int app_authorize(struct app *app, const struct exchange *x, enum right right,
                  struct identity *ret_identity, struct err *err)
{
    struct credentials c = {.authorization = exchange_header(x, "authorization"),
                            .tls_name = exchange_tls_name(x)};
    int r = check_browser(app, x, err);

    if (!r)
        r = auth_check(app->auth, &c, right, ret_identity, err);
    app->n_denied += r != 0;
    return r;
}

/* ---- changes ---- */

static void run_waiters(struct defer *d, void *ctx)
{
    struct app *app = ctx;

    (void)d;
    LIST_EACH (&app->waiters, l)
        (void)LINK_OF(l, struct waiter, link)->check(LINK_OF(l, struct waiter, link));
}

void app_changed(struct app *app)
{
    if (!link_is_alone(&app->waiters))
        loop_defer(&app->loop, &app->changed);
    driver_changed(&app->driver);
    events_changed(&app->events);
}

struct moment app_moment(const struct app *app)
{
    return (struct moment){.now = clock_now(),
                           .now_ms = clock_wall_ms(),
                           .complete = app->roster.complete,
                           .ack_late = app->config.ack_late,
                           .paused = state_is_paused(app->state) ? app->state->fleet : 0,
                           .lost_after = (int64_t)(app->config.lost_after / NSEC_PER_MS)};
}

void app_wait(struct app *app, struct waiter *w)
{
    link_before(&app->waiters, &w->link);
    if (app->is_draining)
        app_changed(app);
}

static void on_publish(void *ctx, struct state *state, struct version *const *versions,
                       size_t n)
{
    struct app *app = ctx;

    events_publish(&app->events, app->state, state, versions, n);
    (void)state_unref(app->state);
    app->state = state_ref(state);
    feed_publish(app->feed, state, versions, n);
    loop_defer(&app->loop, &app->presence); /* who is not concerned is complete, too */
    LOG(DEBUG, "published", LOG_U64("revision", state->revision), LOG_U64("changes", n));
    app_changed(app);
}

static void on_tick(struct timer *t, void *ctx)
{
    struct app *app = ctx;

    (void)t;
    (void)feed_tick(app->feed, loop_now(&app->loop));
    if (!link_is_alone(&app->restless)) /* memory failed */
        loop_defer(&app->loop, &app->presence);
    driver_tick(&app->driver);
    events_tick(&app->events);
    keeper_tick(&app->keeper, loop_now(&app->loop));
    roster_expire(&app->roster, clock_wall_ms(),
                  (int64_t)(app->config.instance_keep / NSEC_PER_MS));
}

/* ---- requests ---- */

static void on_request(void *ctx, struct exchange *x)
{
    struct app *app = ctx;

    if (grpc_wants(&app->service, x))
        grpc_handle(&app->service, x);
    else
        rest_handle(app, x);
}

/* ---- starting ---- */

static int open_tls(struct app *app, struct err *err)
{
    const struct config *c = &app->config;
    struct tls_server_opts opts = {.cert_file = c->tls_cert,
                                   .key_file = c->tls_key,
                                   .client_ca_file =
                                       *c->tls_client_ca ? c->tls_client_ca : NULL};

    if (!*c->tls_cert)
        return 0;
    if (*c->tls_client_ca)
        opts.client_auth = strcmp(c->tls_client_auth, "required") == 0   ? TLS_CLIENT_REQUIRED
                           : strcmp(c->tls_client_auth, "optional") == 0 ? TLS_CLIENT_OPTIONAL
                                                                         : TLS_CLIENT_NONE;
    return tls_server_open(&opts, &app->tls, err);
}

static int open_state(struct app *app, struct err *err)
{
    char highwater[4096];
    struct committer_opts opts = {.store_url = app->config.store,
                                  .loop = &app->loop,
                                  .on_publish = on_publish,
                                  .ctx = app,
                                  .snapshot_records = app->config.snapshot_records,
                                  .highwater = upkeep_highwater(&app->config, highwater)};
    struct feed_opts feed = {.bookmark_every = app->config.bookmark_interval,
                             .ready = subscribe_ready,
                             .changed = subscribe_changed,
                             .lost = subscribe_lost};
    struct store_identity identity;
    int r = upkeep_may_open(&app->config, err);

    if (!r)
        r = committer_open(&opts, &app->committer, &app->state, err);
    if (r)
        return r;
    identity = committer_identity(app->committer);
    memcpy(feed.store_id, identity.id.bytes, FEED_STORE_ID_BYTES);
    memcpy(feed.key, identity.key, MARK_KEY_BYTES);
    app->feed = feed_new(&feed, app->state);
    app->roster.complete = app->state->revision;
    return app->feed ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

static int open_http(struct app *app, struct err *err)
{
    struct http_server_opts opts = {.address = app->config.listen,
                                    .tls = app->tls,
                                    .limits.max_connections = app->config.max_connections,
                                    .on_request = on_request,
                                    .ctx = app};
    int r = http_server_open(&app->loop, &opts, &app->http, err);

    if (!r && *app->config.address_file)
        r = file_replace(app->config.address_file, str_c(http_server_address(app->http)), 0644,
                         err);
    return r;
}

static void on_stop_signal(struct signal_watch *s, void *ctx)
{
    LOG(INFO, "stopping", LOG_U64("signal", (uint64_t)s->number));
    app_drain(ctx);
}

static void on_reload_signal(struct signal_watch *s, void *ctx)
{
    struct app *app = ctx;
    struct err err = ERR_NULL, tls_err = ERR_NULL;
    int r = auth_reload(app->auth, &err);

    (void)s;
    if (!r) { /* I11: open streams too */
        subscribe_review(app);
        events_review(&app->events);
    } else {
        LOG(ERROR, "reload_failed", LOG_C("what", "tokens"), LOG_C("error", err.text),
            LOG_C("place", err.place), LOG_U64("line", err.line));
    }
    if (app->tls && tls_reload(app->tls, &tls_err))
        LOG(ERROR, "reload_failed", LOG_C("what", "certificate"), LOG_C("error", tls_err.text),
            LOG_C("place", tls_err.place));
    else if (!r)
        LOG(INFO, "reloaded");
}

static int watch_signals(struct app *app, struct err *err)
{
    app->on_term = (struct signal_watch){.fn = on_stop_signal, .ctx = app, .number = SIGTERM};
    app->on_int = (struct signal_watch){.fn = on_stop_signal, .ctx = app, .number = SIGINT};
    app->on_hup = (struct signal_watch){.fn = on_reload_signal, .ctx = app, .number = SIGHUP};
    if (loop_watch_signal(&app->loop, &app->on_term, err) ||
        loop_watch_signal(&app->loop, &app->on_int, err))
        return ERR_IO;
    return loop_watch_signal(&app->loop, &app->on_hup, err);
}

static int open_auth(struct app *app, struct err *err)
{
    bool made;
    int r =
        auth_open(app->config.data_dir, app->config.tls_client_role, &app->auth, &made, err);

    if (!r && made)
        LOG(INFO, "first_token", LOG_C("folder", app->config.data_dir),
            LOG_C("file", "admin.token"));
    return r;
}

/* Whose an id is must be known before anybody can say hello with it. */
static void know_instances(struct app *app)
{
    keeper_open(&app->keeper, &app->roster, app->committer);
    while (!app->keeper.has_loaded)
        loop_turn(&app->loop, LOOP_WAIT);
}

static void app_init(struct app *app, const struct config *config)
{
    *app = (struct app){.config = *config, .started_ms = clock_wall_ms()};
    link_init(&app->waiters);
    link_init(&app->subscriptions);
    link_init(&app->http_sessions);
    subscribe_init(app);
    roster_init(&app->roster);
    app->changed = (struct defer){.fn = run_waiters, .ctx = app};
    app->tick = (struct timer){.fn = on_tick, .ctx = app};
    events_init(&app->events, app);
    rpc_init(app);
}

int app_open(struct app *app, const struct config *config, struct err *err)
{
    int r;

    app_init(app, config);
    (void)signal(SIGPIPE, SIG_IGN);
    r = loop_open(&app->loop, err);
    if (r)
        return r;
    app->has_loop = true;
    r = random_bytes(app->cursor_key.bytes, CURSOR_KEY_BYTES)
            ? err_set(err, ERR_IO, "the system has no random bytes")
            : file_make_dirs(config->data_dir, 0700, err);
    if (!r)
        r = open_auth(app, err);
    if (!r)
        r = open_tls(app, err);
    if (!r)
        r = open_state(app, err); /* a server serves nothing before its state is loaded */
    if (!r)
        r = driver_open(&app->driver, app, err);
    if (!r)
        know_instances(app);
    if (!r)
        r = watch_signals(app, err); /* until now a signal simply ends the process */
    if (!r)
        r = open_http(app, err);
    if (r)
        return r;
    timer_start(&app->tick, &app->loop, TICK_MS, TICK_MS);
    LOG(INFO, "serving", LOG_C("address", http_server_address(app->http)),
        LOG_C("tls", app->tls ? "yes" : "no"), LOG_U64("revision", app->state->revision),
        LOG_U64("resources", app->state->n_resources), LOG_C("version", TRIMTAB_VERSION));
    return 0;
}

/* ---- stopping ---- */

static void stop_loop(void *ctx)
{
    struct app *app = ctx;

    timer_stop(&app->drain_limit);
    loop_stop(&app->loop);
}

static void drain_late(struct timer *t, void *ctx)
{
    (void)t;
    LOG(WARN, "drain_timeout");
    stop_loop(ctx);
}

void app_drain(struct app *app)
{
    if (app->is_draining) { /* asked twice: at once */
        stop_loop(app);
        return;
    }
    app->is_draining = true;
    http_server_drain(app->http, stop_loop, app);
    subscribe_drain(app);
    events_drain(&app->events, "the server is shutting down");
    app_changed(app);
    app->drain_limit = (struct timer){.fn = drain_late, .ctx = app};
    timer_start(&app->drain_limit, &app->loop, app->config.drain_timeout / NSEC_PER_MS, 0);
}

int app_run(struct app *app)
{
    loop_run(&app->loop);
    return app->exit_status;
}

static void close_committer(struct app *app)
{
    struct err err = ERR_NULL;

    if (app->committer && committer_close(app->committer, &err)) {
        LOG(ERROR, "close_failed", LOG_C("error", err.text));
        app->exit_status = 1;
    }
    app->committer = NULL;
}

static void http_closed(void *ctx)
{
    *(bool *)ctx = true;
}

/* The committer ends first, so that what it still owes is answered or dropped while the loop lives. */
void app_close(struct app *app)
{
    if (!app->has_loop)
        return;
    timer_stop(&app->tick);
    timer_stop(&app->presence_late);
    timer_stop(&app->drain_limit);
    driver_leave(&app->driver);
    keeper_leave(&app->keeper);
    close_committer(app);
    if (app->http) {
        bool closed = false;

        http_server_close(app->http, http_closed, &closed);
        while (!closed)
            loop_turn(&app->loop, LOOP_WAIT);
    }
    loop_turn(&app->loop, LOOP_POLL);
    subscribe_drain(
        app); /* what lingers between two polls has no connection that could end it */
    driver_close(&app->driver);
    keeper_close(&app->keeper);
    events_deinit(&app->events);
    app->openapi = shared_unref(app->openapi);
    map_deinit(&app->pollers);
    arena_deinit(&app->scratch);
    app->feed = feed_free(app->feed);
    app->state = state_unref(app->state);
    roster_deinit(&app->roster);
    app->auth = auth_free(app->auth);
    loop_close(&app->loop);
    tls_close(app->tls);
    app->has_loop = false;
}
