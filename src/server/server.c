/*
 * The server as a whole: start, run, drain, stop. See server.h.
 */
#include "server/server.h"

#include "base/file.h"
#include "base/log.h"
#include "server/hub/upkeep.h"
#include "server/lane/subscribe.h"

#include <sched.h>
#include <signal.h>

enum { TICK_MS = 100 };

/* ---- rights ---- */

/* I11: what is open is looked at again, too. */
static void on_review(struct post *post, void *ctx)
{
    struct lane_home *h = ctx;

    (void)post;
    atomic_store(&h->is_to_review, false);
    subscribers_review(&h->lane);
    front_review(&h->front);
    hub_end_flight(&h->server->hub);
}

static void review(struct server *server)
{
    for (size_t i = 0; i < server->hub.n_lanes; i++) {
        struct lane_home *h = &server->homes[i];

        if (atomic_exchange(&h->is_to_review, true))
            continue; /* it has not begun yet */
        hub_begin_flight(&server->hub);
        h->review = (struct post){.fn = on_review, .ctx = h};
        loop_post(h->loop, &h->review);
    }
}

/* The time of the newest version that the log holds, by halving the revisions in which it can be. */
static int64_t newest_ms(const struct state *state)
{
    uint64_t found = 0, none_after = state->revision;
    int64_t ms = 0;

    while (found < none_after) {
        uint64_t middle = found + (none_after - found) / 2;
        struct tree_walk walk;
        struct tree_item *item;

        tree_walk_from(&walk, state->versions, STR(""), middle);
        item = tree_walk_next(&walk);
        if (item) {
            found = item->revision;
            ms = CONTAINER_OF(item, struct version, node)->time_ms;
        } else {
            none_after = middle;
        }
    }
    return ms;
}

/* Published grants and tokens hold from here on. A wall clock that is behind the log is not believed (model/expiry.h). */
static int take_rights(struct hub *hub)
{
    return auth_take(hub->auth, hub->state->rights, clock_now(),
                     MAX(clock_wall_ms(), newest_ms(hub->state)));
}

/* I11: whoever came in by what has changed is looked at again. Without memory the next tick tries again. */
static void renew_rights(struct server *server)
{
    owned(auth_record_unref) struct auth_record *before = auth_current(server->hub.auth);

    if (auth_rights(before) != server->hub.state->rights && take_rights(&server->hub) == 0)
        review(server);
}

/* ---- changes ---- */

static void publish_to(struct lane_home *h, struct publication *p)
{
    lane_publish(&h->lane, p->state, p->versions.at, p->versions.n);
}

static void on_arrival(struct post *post, void *ctx)
{
    struct publication_way *way = ctx;
    struct lane_home *h = way->to;

    (void)post;
    publish_to(h, way->publication);
    (void)publication_unref(way->publication);
    hub_end_flight(&h->server->hub);
}

/* The lanes have it before anything that the hub posts to them from here on, answers among it. */
static void send_to(struct lane_home *h, struct publication *p)
{
    struct publication_way *way = &p->ways[h->lane.number];

    if (h->loop == &h->server->loop) {
        publish_to(h, p);
        return;
    }
    hub_begin_flight(&h->server->hub);
    *way = (struct publication_way){.publication = publication_ref(p), .to = h};
    way->post = (struct post){.fn = on_arrival, .ctx = way};
    loop_post(h->loop, &way->post);
}

static void on_publish(void *ctx, struct publication *p)
{
    struct server *server = ctx;
    struct hub *hub = &server->hub;

    events_publish(&server->events, hub->state, p->state, p->versions.at, p->versions.n);
    hub_set_state(hub, p->state);
    renew_rights(server);
    for (size_t i = 0; i < hub->n_lanes; i++)
        send_to(&server->homes[i], p);
    LOG(DEBUG, "published", LOG_U64("revision", p->state->revision),
        LOG_U64("changes", p->versions.n));
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
    renew_rights(server);
    driver_tick(&server->driver);
    events_tick(&server->events);
    keeper_tick(&server->keeper, loop_now(&server->loop));
    roster_expire(&hub->roster, clock_wall_ms(),
                  (int64_t)(hub->config.instance_keep / NSEC_PER_MS));
}

static void on_lane_tick(struct timer *t, void *ctx)
{
    struct lane_home *h = ctx;

    (void)t;
    lane_tick(&h->lane);
    front_tick(&h->front);
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
                                  .n_ways = hub->n_lanes,
                                  .snapshot_records = hub->config.snapshot_records,
                                  .highwater = upkeep_highwater(&hub->config, highwater)};
    struct state *state;
    int r = upkeep_may_open(&hub->config, err);

    if (!r)
        r = committer_open(&opts, &hub->committer, &state, err);
    if (r)
        return r;
    hub->identity = committer_identity(hub->committer);
    hub_set_state(hub, state);
    hub->roster.complete = state->revision;
    (void)state_unref(state);
    return take_rights(hub);
}

/* The first lane is on the main loop. */
static int open_lane(struct server *server, size_t number, struct err *err)
{
    struct lane_home *h = &server->homes[number];
    int r = number ? loop_open(&h->own_loop, err) : 0;

    if (r)
        return r;
    h->server = server;
    h->has_loop = number != 0;
    h->loop = number ? &h->own_loop : &server->loop;
    r = lane_init(&h->lane, number, &server->hub, h->loop, server->tls, err);
    if (!r)
        front_init(&h->front, &h->lane, &server->desk, &server->events, &server->fronts);
    return r;
}

static int open_lanes(struct server *server, struct err *err)
{
    int r = 0;

    for (size_t i = 0; i < server->hub.n_lanes && !r; i++)
        r = open_lane(server, i, err);
    return r;
}

static void *run_lane(void *arg)
{
    struct lane_home *h = arg;
    char name[16];

    (void)snprintf(name, sizeof(name), "lane %zu", h->lane.number);
    (void)pthread_setname_np(pthread_self(), name); /* fails only for longer names, as below */
    loop_run(h->loop);
    return NULL;
}

/* Signals are the main thread's. */
static int start_thread(struct lane_home *h, struct err *err)
{
    sigset_t all, former;
    int r;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all,
                          &former); /* fails only on misuse, as does the next */
    r = pthread_create(&h->thread, NULL, run_lane, h);
    (void)pthread_sigmask(SIG_SETMASK, &former, NULL);
    h->has_thread = r == 0;
    return r ? err_set(err, ERR_NOMEM, "cannot start the thread of a lane") : 0;
}

/* Those without a listener first: the first one hands connections to all. */
static int open_http(struct server *server, struct err *err)
{
    const struct config *config = &server->hub.config;
    size_t n = server->hub.n_lanes;
    int r = 0;

    for (size_t i = n; i-- > 0 && !r;) {
        struct lane_home *h = &server->homes[i];

        r = lane_listen(&h->lane, &server->crowd, front_on_request, &h->front, err);
        h->tick = (struct timer){.fn = on_lane_tick, .ctx = h};
        timer_start(&h->tick, h->loop, TICK_MS, TICK_MS);
    }
    for (size_t i = 1; i < n && !r; i++)
        r = start_thread(&server->homes[i], err);
    if (!r && *config->address_file)
        r = file_replace(config->address_file,
                         str_c(http_server_address(server->homes[0].lane.http)), 0644, err);
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
    if (!r) {
        review(server);
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

/* One admin is the way back in; what else the file gives holds in every namespace, as it did before there were grants. */
static void warn_of_roles(struct hub *hub)
{
    owned(auth_record_unref) struct auth_record *rights = auth_current(hub->auth);
    size_t n = auth_n_local(rights);

    if (n > 1)
        LOG(WARN, "roles_on_everything", LOG_U64("tokens", n), LOG_C("file", "tokens"),
            LOG_C("hint", "grants in namespaces can take their place: docs/rights.md"));
}

static int open_auth(struct hub *hub, struct err *err)
{
    bool made;
    int r =
        auth_open(hub->config.data_dir, hub->config.tls_client_role, &hub->auth, &made, err);

    if (!r && made)
        LOG(INFO, "first_token", LOG_C("folder", hub->config.data_dir),
            LOG_C("file", "admin.token"));
    if (!r)
        warn_of_roles(hub);
    return r;
}

/* Whose an id is must be known before anybody can say hello with it. */
static void know_instances(struct server *server)
{
    keeper_open(&server->keeper, &server->hub.roster, server->hub.committer);
    while (!server->keeper.has_loaded)
        loop_turn(&server->loop, LOOP_WAIT);
}

static size_t count_lanes(const struct config *config)
{
    cpu_set_t set;

    if (config->lanes)
        return config->lanes;
    if (sched_getaffinity(0, sizeof(set), &set))
        return 1;
    return MIN(MAX((size_t)CPU_COUNT(&set), (size_t)1), (size_t)HUB_LANES_MAX);
}

static void init(struct server *server, const struct config *config)
{
    *server = (struct server){.exit_status = 0};
    hub_init(&server->hub, config, &server->loop);
    server->hub.n_lanes = count_lanes(config);
    driver_init(&server->driver, &server->hub, on_look, &server->events);
    events_init(&server->events, &server->hub, &server->driver.drives);
    server->desk = (struct desk){&server->hub, &server->driver};
    server->fronts.keeper = &server->keeper;
    server->tick = (struct timer){.fn = on_tick, .ctx = server};
}

int server_open(struct server *server, const struct config *config, struct err *err)
{
    struct hub *hub = &server->hub;
    int r;

    init(server, config);
    (void)signal(SIGPIPE, SIG_IGN);
    loop_workers_yield();
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
        r = open_lanes(server, err);
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
    LOG(INFO, "serving", LOG_C("address", http_server_address(server->homes[0].lane.http)),
        LOG_U64("lanes", hub->n_lanes), LOG_C("tls", server->tls ? "yes" : "no"),
        LOG_U64("revision", hub->state->revision),
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

static void on_drained(struct post *post, void *ctx)
{
    struct lane_home *h = ctx;
    struct server *server = h->server;

    (void)post;
    hub_end_flight(&server->hub);
    if (++server->n_drained == server->hub.n_lanes)
        stop_loop(server);
}

/* On the lane's thread. */
static void lane_is_drained(void *ctx)
{
    struct lane_home *h = ctx;

    hub_begin_flight(&h->server->hub);
    h->drained = (struct post){.fn = on_drained, .ctx = h};
    loop_post(&h->server->loop, &h->drained);
}

static void on_drain(struct post *post, void *ctx)
{
    struct lane_home *h = ctx;

    (void)post;
    lane_drain(&h->lane, lane_is_drained, h);
    front_drain(&h->front);
    hub_end_flight(&h->server->hub);
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
    hub_changed(hub);
    for (size_t i = 0; i < hub->n_lanes; i++) {
        struct lane_home *h = &server->homes[i];

        hub_begin_flight(hub);
        h->drain = (struct post){.fn = on_drain, .ctx = h};
        loop_post(h->loop, &h->drain);
    }
    server->drain_limit = (struct timer){.fn = drain_late, .ctx = server};
    timer_start(&server->drain_limit, &server->loop, hub->config.drain_timeout / NSEC_PER_MS,
                0);
}

int server_run(struct server *server)
{
    loop_run(&server->loop);
    return server->exit_status;
}

/* From here on the loops of all lanes belong to this thread. */
static void join_lanes(struct server *server)
{
    for (size_t i = 0; i < server->hub.n_lanes; i++) {
        struct lane_home *h = &server->homes[i];

        if (h->has_thread) {
            loop_stop(h->loop);
            (void)pthread_join(h->thread, NULL); /* fails only on misuse */
        }
        h->has_thread = false;
        timer_stop(&h->tick);
    }
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

static void turn_all(struct server *server)
{
    loop_turn(&server->loop, LOOP_POLL);
    for (size_t i = 0; i < server->hub.n_lanes; i++)
        if (server->homes[i].has_loop)
            loop_turn(server->homes[i].loop, LOOP_POLL);
}

/* What is on its way between the loops arrives. */
static void settle(struct server *server)
{
    do
        turn_all(server);
    while (atomic_load(&server->hub.in_flight));
}

static void http_closed(void *ctx)
{
    ++*(size_t *)ctx;
}

/* The listener first: what it has accepted is on its way to others. */
static void close_http(struct server *server)
{
    size_t n = 0, closed = 0;

    for (size_t i = 0; i < server->hub.n_lanes; i++) {
        struct lane *lane = &server->homes[i].lane;

        if (!lane->http)
            continue;
        n++;
        http_server_close(lane->http, http_closed, &closed);
        turn_all(server);
    }
    while (closed < n)
        turn_all(server);
}

static void close_lanes(struct server *server)
{
    for (size_t i = 0; i < server->fronts.n; i++)
        front_deinit(server->fronts.at[i]);
    for (size_t i = 0; i < server->hub.n_lanes; i++) {
        struct lane_home *h = &server->homes[i];

        lane_deinit(&h->lane);
        if (h->has_loop)
            loop_close(h->loop);
    }
}

/* What lingers between two polls has no connection that could end it. */
static void end_subscriptions(struct server *server)
{
    for (size_t i = 0; i < server->fronts.n; i++)
        subscribers_drain(&server->homes[i].lane);
}

/* The committer ends first, so that what it still owes is answered or dropped while the loops live. */
void server_close(struct server *server)
{
    if (!server->has_loop)
        return;
    join_lanes(server);
    timer_stop(&server->tick);
    timer_stop(&server->drain_limit);
    driver_leave(&server->driver);
    settle(server); /* what instances said last is kept, too */
    keeper_leave(&server->keeper);
    close_committer(server);
    close_http(server);
    settle(server);
    end_subscriptions(server);
    settle(server);
    driver_close(&server->driver);
    keeper_close(&server->keeper);
    events_deinit(&server->events);
    close_lanes(server);
    hub_deinit(&server->hub);
    loop_close(&server->loop);
    tls_close(server->tls);
    server->has_loop = false;
}
