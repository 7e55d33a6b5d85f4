/*
 * The server as a whole: start, run, drain, stop. See server.h.
 */
#include "server/server.h"

#include "base/file.h"
#include "base/log.h"
#include "server/hub/upkeep.h"
#include "server/lane/subscribe.h"

enum { TICK_MS = 100 };

/* ---- changes ---- */

static void on_publish(void *ctx, struct state *state, struct version *const *versions,
                       size_t n)
{
    struct server *server = ctx;
    struct hub *hub = &server->hub;

    events_publish(&server->events, hub->state, state, versions, n);
    hub_set_state(hub, state);
    lane_publish(&server->lane, state, versions, n);
    LOG(DEBUG, "published", LOG_U64("revision", state->revision), LOG_U64("changes", n));
    hub_changed(hub);
}

static void on_look(void *ctx)
{
    events_changed(ctx);
}

static void on_tick(struct timer *t, void *ctx)
{
    struct server *server = ctx;
    struct hub *hub = &server->hub;

    (void)t;
    lane_tick(&server->lane);
    driver_tick(&server->driver);
    events_tick(&server->events);
    keeper_tick(&server->keeper, loop_now(&server->loop));
    roster_expire(&hub->roster, clock_wall_ms(),
                  (int64_t)(hub->config.instance_keep / NSEC_PER_MS));
}

/* ---- starting ---- */

static int open_tls(struct server *server, struct err *err)
{
    const struct config *c = &server->hub.config;
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
    return tls_server_open(&opts, &server->tls, err);
}

/* A server serves nothing before its state is loaded. */
static int open_state(struct server *server, struct err *err)
{
    char highwater[4096];
    struct hub *hub = &server->hub;
    struct committer_opts opts = {.store_url = hub->config.store,
                                  .loop = &server->loop,
                                  .on_publish = on_publish,
                                  .ctx = server,
                                  .snapshot_records = hub->config.snapshot_records,
                                  .highwater = upkeep_highwater(&hub->config, highwater)};
    int r = upkeep_may_open(&hub->config, err);

    if (!r)
        r = committer_open(&opts, &hub->committer, &hub->state, err);
    if (r)
        return r;
    hub->roster.complete = hub->state->revision;
    return lane_init(&server->lane, hub, &server->loop, server->tls, err);
}

static int open_http(struct server *server, struct err *err)
{
    const struct config *config = &server->hub.config;
    int r = lane_listen(&server->lane, front_on_request, &server->front, err);

    if (!r && *config->address_file)
        r = file_replace(config->address_file, str_c(http_server_address(server->lane.http)),
                         0644, err);
    return r;
}

static void drain(struct server *server);

static void on_stop_signal(struct signal_watch *s, void *ctx)
{
    LOG(INFO, "stopping", LOG_U64("signal", (uint64_t)s->number));
    drain(ctx);
}

static void on_reload_signal(struct signal_watch *s, void *ctx)
{
    struct server *server = ctx;
    struct err err = ERR_NULL, tls_err = ERR_NULL;
    int r = auth_reload(server->hub.auth, &err);

    (void)s;
    if (!r) { /* I11: open streams too */
        subscribe_review(&server->lane);
        events_review(&server->events);
    } else {
        LOG(ERROR, "reload_failed", LOG_C("what", "tokens"), LOG_C("error", err.text),
            LOG_C("place", err.place), LOG_U64("line", err.line));
    }
    if (server->tls && tls_reload(server->tls, &tls_err))
        LOG(ERROR, "reload_failed", LOG_C("what", "certificate"), LOG_C("error", tls_err.text),
            LOG_C("place", tls_err.place));
    else if (!r)
        LOG(INFO, "reloaded");
}

static int watch_signals(struct server *server, struct err *err)
{
    struct loop *loop = &server->loop;

    server->on_term =
        (struct signal_watch){.fn = on_stop_signal, .ctx = server, .number = SIGTERM};
    server->on_int =
        (struct signal_watch){.fn = on_stop_signal, .ctx = server, .number = SIGINT};
    server->on_hup =
        (struct signal_watch){.fn = on_reload_signal, .ctx = server, .number = SIGHUP};
    if (loop_watch_signal(loop, &server->on_term, err) ||
        loop_watch_signal(loop, &server->on_int, err))
        return ERR_IO;
    return loop_watch_signal(loop, &server->on_hup, err);
}

static int open_auth(struct hub *hub, struct err *err)
{
    bool made;
    int r =
        auth_open(hub->config.data_dir, hub->config.tls_client_role, &hub->auth, &made, err);

    if (!r && made)
        LOG(INFO, "first_token", LOG_C("folder", hub->config.data_dir),
            LOG_C("file", "admin.token"));
    return r;
}

/* Whose an id is must be known before anybody can say hello with it. */
static void know_instances(struct server *server)
{
    keeper_open(&server->keeper, &server->hub.roster, server->hub.committer);
    while (!server->keeper.has_loaded)
        loop_turn(&server->loop, LOOP_WAIT);
}

static void init(struct server *server, const struct config *config)
{
    *server = (struct server){.exit_status = 0};
    hub_init(&server->hub, config, &server->loop);
    driver_init(&server->driver, &server->hub, on_look, &server->events);
    events_init(&server->events, &server->hub, &server->driver.drives);
    server->desk = (struct desk){&server->hub, &server->driver, &server->events};
    front_init(&server->front, &server->lane, &server->desk, &server->keeper);
    server->tick = (struct timer){.fn = on_tick, .ctx = server};
}

int server_open(struct server *server, const struct config *config, struct err *err)
{
    struct hub *hub = &server->hub;
    int r;

    init(server, config);
    (void)signal(SIGPIPE, SIG_IGN);
    r = loop_open(&server->loop, err);
    if (r)
        return r;
    server->has_loop = true;
    r = random_bytes(hub->cursor_key.bytes, CURSOR_KEY_BYTES)
            ? err_set(err, ERR_IO, "the system has no random bytes")
            : file_make_dirs(config->data_dir, 0700, err);
    if (!r)
        r = open_auth(hub, err);
    if (!r)
        r = open_tls(server, err);
    if (!r)
        r = open_state(server, err);
    if (!r)
        r = driver_open(&server->driver, err);
    if (!r)
        know_instances(server);
    if (!r)
        r = watch_signals(server, err); /* until now a signal simply ends the process */
    if (!r)
        r = open_http(server, err);
    if (r)
        return r;
    timer_start(&server->tick, &server->loop, TICK_MS, TICK_MS);
    LOG(INFO, "serving", LOG_C("address", http_server_address(server->lane.http)),
        LOG_C("tls", server->tls ? "yes" : "no"), LOG_U64("revision", hub->state->revision),
        LOG_U64("resources", hub->state->n_resources), LOG_C("version", TRIMTAB_VERSION));
    return 0;
}

/* ---- stopping ---- */

static void stop_loop(void *ctx)
{
    struct server *server = ctx;

    timer_stop(&server->drain_limit);
    loop_stop(&server->loop);
}

static void drain_late(struct timer *t, void *ctx)
{
    (void)t;
    LOG(WARN, "drain_timeout");
    stop_loop(ctx);
}

/* No new work, streams are told to go elsewhere, then the loop stops. */
static void drain(struct server *server)
{
    struct hub *hub = &server->hub;

    if (hub->is_draining) { /* asked twice: at once */
        stop_loop(server);
        return;
    }
    hub->is_draining = true;
    lane_drain(&server->lane, stop_loop, server);
    events_drain(&server->events, "the server is shutting down");
    hub_changed(hub);
    server->drain_limit = (struct timer){.fn = drain_late, .ctx = server};
    timer_start(&server->drain_limit, &server->loop, hub->config.drain_timeout / NSEC_PER_MS,
                0);
}

int server_run(struct server *server)
{
    loop_run(&server->loop);
    return server->exit_status;
}

static void close_committer(struct server *server)
{
    struct committer *committer = take(server->hub.committer);
    struct err err = ERR_NULL;

    if (committer && committer_close(committer, &err)) {
        LOG(ERROR, "close_failed", LOG_C("error", err.text));
        server->exit_status = 1;
    }
}

static void http_closed(void *ctx)
{
    *(bool *)ctx = true;
}

/* The committer ends first, so that what it still owes is answered or dropped while the loop lives. */
void server_close(struct server *server)
{
    if (!server->has_loop)
        return;
    timer_stop(&server->tick);
    timer_stop(&server->drain_limit);
    driver_leave(&server->driver);
    keeper_leave(&server->keeper);
    close_committer(server);
    if (server->lane.http) {
        bool closed = false;

        http_server_close(server->lane.http, http_closed, &closed);
        while (!closed)
            loop_turn(&server->loop, LOOP_WAIT);
    }
    loop_turn(&server->loop, LOOP_POLL);
    if (server->lane.hub) /* what lingers between two polls has no connection that could end it */
        subscribe_drain(&server->lane);
    driver_close(&server->driver);
    keeper_close(&server->keeper);
    events_deinit(&server->events);
    front_deinit(&server->front);
    lane_deinit(&server->lane);
    hub_deinit(&server->hub);
    loop_close(&server->loop);
    tls_close(server->tls);
    server->has_loop = false;
}
