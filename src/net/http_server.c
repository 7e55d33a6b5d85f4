/*
 * The HTTP server: listening, accepting, time, drain and close. See http.h.
 *
 * All time-outs are kept by one tick that walks the connections: nothing is armed or disarmed on the way of a request,
 * and ten thousand idle connections cost one walk per second.
 */
#include "net/http_server.h"

#include "base/alloc.h"
#include "net/address.h"

#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    REST_MS = 100,
    TICK_MAX_MS = 1000,
    TICK_MIN_MS = 10,
    ROOM_LOOKS = 256,        /* connections that are looked at for an idle one */
    SPARE_DESCRIPTORS = 64,
};

/* ---- limits ---- */

static void set_default(uint32_t *limit, uint32_t value)
{
    if (*limit == 0)
        *limit = value;
}

static void set_defaults(struct http_limits *l, bool is_tls)
{
    set_default(&l->request_line, 8 * 1024);
    set_default(&l->header_list, 16 * 1024);
    set_default(&l->header_count, 100);
    set_default(&l->discard_body, 64 * 1024);
    set_default(&l->header_timeout_ms, 10000);
    set_default(&l->idle_timeout_ms, 75000);
    set_default(&l->body_min_rate, 1024);
    set_default(&l->body_grace_ms, 10000);
    set_default(&l->half_closed_ms, 10000);
    set_default(&l->write_stall_ms, 60000);
    set_default(&l->write_least, 64 * 1024);
    set_default(&l->unsent, 32 * 1024 * 1024);
    set_default(&l->unsent_all, 512 * 1024 * 1024);
    set_default(&l->requests_all, 256 * 1024 * 1024);
    set_default(&l->write_low, 64 * 1024);
    set_default(&l->max_streams, 100);
    set_default(&l->max_resets, 200);
    set_default(&l->max_controls, 200);
    set_default(&l->stream_window, 1024 * 1024);
    set_default(&l->connection_window, 4 * 1024 * 1024);
    set_default(&l->ping_interval_ms, 30000);
    set_default(&l->ping_timeout_ms, 20000);
    set_default(&l->max_connections, 50000);
    set_default(&l->accept_budget, is_tls ? 16 : 64);
}

/* The one that has most of what field says. NULL: none has any. */
static struct http_conn *most_of(struct http_server *server,
                                 size_t (*field)(const struct http_conn *))
{
    struct http_conn *most = NULL;

    LIST_EACH (&server->conns, l) {
        struct http_conn *hc = LINK_OF(l, struct http_conn, in_server);

        if (field(hc) > (most ? field(most) : 0))
            most = hc;
    }
    return most;
}

static size_t unsent_of(const struct http_conn *hc)
{
    return hc->unsent;
}

static size_t coming_of(const struct http_conn *hc)
{
    return hc->coming;
}

static void break_shed(struct http_server *server, struct http_conn *hc)
{
    server->stats.shed++;
    http_conn_break(hc, ERR_LIMIT);
}

/* The connection that holds most goes, until there is room. */
static void shed(struct defer *d, void *ctx)
{
    struct http_server *server = ctx;

    (void)d;
    while (server->stats.unsent > server->limits.unsent_all) {
        struct http_conn *most = most_of(server, unsent_of);

        ASSERT(most);
        break_shed(server, most);
    }
}

/* What is complete is being answered, and makes room by itself. */
static void shed_requests(struct defer *d, void *ctx)
{
    struct http_server *server = ctx;
    struct http_conn *most = most_of(server, coming_of);

    (void)d;
    if (most && most->coming > BUDGET_FREE)
        break_shed(server, most);
}

/* A quarter of the shortest time-out, so that each is late by no more than that. */
static uint32_t tick_ms(const struct http_limits *l)
{
    uint32_t least = MIN(MIN(MIN(l->header_timeout_ms, l->idle_timeout_ms),
                             MIN(l->body_grace_ms, l->write_stall_ms)),
                         MIN(MIN(l->ping_interval_ms, l->ping_timeout_ms), l->half_closed_ms));

    return MAX((uint32_t)TICK_MIN_MS, MIN(least / 4, (uint32_t)TICK_MAX_MS));
}

/* ---- accepting ---- */

static void on_listener(uv_poll_t *poll, int status, int events);

static void listen_again(struct http_server *server)
{
    if (server->is_listening)
        (void)uv_poll_start(&server->poll, UV_READABLE,
                            on_listener); /* fails only on a closing handle */
}

static void on_rest_over(struct timer *t, void *ctx)
{
    (void)t;
    listen_again(ctx);
}

/* Of the oldest connections, one that asks nothing and is owed nothing, goes. False: there is none among them. */
static bool make_room(struct http_server *server)
{
    unsigned looked = 0;

    LIST_EACH (&server->conns, l) {
        struct http_conn *hc = LINK_OF(l, struct http_conn, in_server);

        if (looked++ == ROOM_LOOKS)
            return false;
        if (!link_is_alone(&hc->exchanges) || conn_backlog(&hc->conn))
            continue;
        server->stats.evicted++;
        http_conn_break(hc, 0);
        return true;
    }
    return false;
}

/* Files, the store and the log need descriptors, too, when clients use all that they may. */
static void spare_descriptors(struct http_limits *limits)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) || files.rlim_cur == RLIM_INFINITY)
        return;
    if (files.rlim_cur < (rlim_t)2 * SPARE_DESCRIPTORS)
        limits->max_connections = MIN(limits->max_connections, (uint32_t)files.rlim_cur / 2);
    else if (files.rlim_cur - SPARE_DESCRIPTORS < limits->max_connections)
        limits->max_connections = (uint32_t)(files.rlim_cur - SPARE_DESCRIPTORS);
}

union peer {
    struct sockaddr sa;
    struct sockaddr_storage room;
};

static uint32_t load_of(const struct http_server *server)
{
    return atomic_load_explicit(&server->load, memory_order_relaxed);
}

/* Of all that share the limit. */
static uint32_t load_of_all(const struct http_server *server)
{
    const struct http_crowd *crowd = server->crowd;
    uint32_t n = 0;

    for (size_t i = 0; crowd && i < crowd->n; i++)
        n += load_of(crowd->servers[i]);
    return crowd ? n : load_of(server);
}

/* A connection that is counted already. */
static void take_connection(struct http_server *server, int fd, const struct sockaddr *peer)
{
    bool is_over = load_of_all(server) > server->limits.max_connections;
    bool is_taken = false;

    if (server->is_draining || (is_over && !make_room(server))) {
        server->stats.refused += is_over;
        (void)close(fd); /* nothing was written */
    } else {
        is_taken = http_conn_start(server, fd, peer);
    }
    if (!is_taken)
        atomic_fetch_sub_explicit(&server->load, 1, memory_order_relaxed);
}

/* A connection on its way to another loop. */
struct handover {
    struct post post;
    struct http_server *server;
    int fd;
    union peer peer;
};

static void on_handover(struct post *post, void *ctx)
{
    struct handover *h = ctx;

    (void)post;
    take_connection(h->server, h->fd, &h->peer.sa);
    (void)mem_free(h);
}

static struct http_server *least_loaded(struct http_server *listener)
{
    const struct http_crowd *crowd = listener->crowd;
    struct http_server *least = listener;

    for (size_t i = 0; crowd && i < crowd->n; i++)
        if (load_of(crowd->servers[i]) < load_of(least))
            least = crowd->servers[i];
    return least;
}

static void hand_out(struct http_server *listener, int fd, const union peer *peer)
{
    struct http_server *server = least_loaded(listener);
    struct handover *h = server == listener ? NULL : NEW(struct handover);

    if (!h) /* without memory for the way it stays here */
        server = listener;
    atomic_fetch_add_explicit(&server->load, 1, memory_order_relaxed);
    if (!h) {
        take_connection(server, fd, &peer->sa);
        return;
    }
    *h = (struct handover){.server = server, .fd = fd, .peer = *peer};
    h->post = (struct post){.fn = on_handover, .ctx = h};
    loop_post(server->loop, &h->post);
}

/* False: nobody is waiting, or nobody can be taken for now. */
static bool accept_one(struct http_server *server)
{
    union peer peer;
    socklen_t len = sizeof(peer);
    int fd;

    memset(&peer, 0, sizeof(peer));
    fd = accept4(server->fd, &peer.sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == ECONNABORTED || errno == EINTR)
            return true;
        if (errno == EAGAIN)
            return false;
        /* Out of descriptors or memory: the socket would wake us at once, for nothing. */
        (void)uv_poll_stop(&server->poll); /* always 0 */
        timer_start(&server->rest, server->loop, REST_MS, 0);
        return false;
    }
    hand_out(server, fd, &peer);
    return true;
}

static void on_listener(uv_poll_t *poll, int status, int events)
{
    struct http_server *server = poll->data;

    (void)status; /* a failure of the listener shows in accept */
    (void)events;
    for (uint32_t i = 0; i < server->limits.accept_budget && server->is_listening; i++)
        if (!accept_one(server))
            return;
}

/* ---- life ---- */

static void free_server(struct http_server *server)
{
    void (*closed)(void *) = server->closed;
    void *ctx = server->closed_ctx;

    timer_stop(&server->tick);
    timer_stop(&server->rest);
    defer_cancel(&server->settle);
    defer_cancel(&server->serve);
    defer_cancel(&server->end);
    defer_cancel(&server->shed);
    defer_cancel(&server->shed_requests);
    server->requests = budget_unref(server->requests);
    (void)mem_free(server->address);
    (void)mem_free(server->unix_path);
    (void)mem_free(server);
    if (closed)
        closed(ctx);
}

static void on_last_ref(struct defer *d, void *ctx)
{
    (void)d;
    free_server(ctx);
}

void http_server_unref(struct http_server *server)
{
    if (--server->refs)
        return;
    server->end.fn = on_last_ref;
    loop_defer(server->loop, &server->end);
}

static void on_listener_closed(uv_handle_t *handle)
{
    http_server_unref(handle->data);
}

static void stop_listening(struct http_server *server)
{
    if (!server->is_listening)
        return;
    server->is_listening = false;
    timer_stop(&server->rest);
    uv_close((uv_handle_t *)&server->poll, on_listener_closed);
    (void)close(server->fd); /* nothing was written */
    if (server->unix_path)
        (void)unlink(server->unix_path); /* if it stays, the next start removes it */
}

static void on_tick(struct timer *t, void *ctx)
{
    struct http_server *server = ctx;
    nsec_t now = loop_now(server->loop);
    const struct http_limits *limits = &server->limits;

    (void)t;
    LIST_EACH (&server->conns, l) {
        struct http_conn *hc = LINK_OF(l, struct http_conn, in_server);

        if (pace_is_too_slow(&hc->conn.pace, now, limits->write_stall_ms,
                             limits->write_least, conn_backlog(&hc->conn))) {
            server->stats.timeouts++;
            http_conn_break(hc, ERR_TIMEOUT);
            continue;
        }
        hc->protocol->tick(hc, now);
    }
}

/* What the system made of the address: port 0 is a number now. ERR_NOMEM. */
static int learn_address(struct http_server *server, const struct address *a)
{
    union {
        struct sockaddr sa;
        struct sockaddr_storage room;
    } own;
    socklen_t len = sizeof(own);
    char text[sizeof(a->path) + 16];

    memset(&own, 0, sizeof(own));
    if (a->path[0]) {
        (void)snprintf(text, sizeof(text), "unix:%s", a->path); /* fits */
        server->unix_path = mem_dup(a->path, strlen(a->path));
        if (!server->unix_path)
            return ERR_NOMEM;
    } else {
        (void)getsockname(server->fd, &own.sa, &len); /* a bound socket has a name */
        address_format(&own.sa, text, sizeof(text));
        server->port = address_port(&own.sa);
    }
    server->address = mem_dup(text, strlen(text));
    return server->address ? 0 : ERR_NOMEM;
}

static struct http_server *server_new(struct loop *loop, const struct http_server_opts *opts)
{
    struct http_server *server = NEW(struct http_server);

    if (!server)
        return NULL;
    server->loop = loop;
    server->tls = opts->tls;
    server->limits = opts->limits;
    set_defaults(&server->limits, opts->tls != NULL);
    spare_descriptors(&server->limits);
    server->crowd = opts->crowd;
    server->on_request = opts->on_request;
    server->ctx = opts->ctx;
    server->fd = -1;
    server->requests = budget_new(server->limits.requests_all);
    if (!server->requests)
        return mem_free(server);
    server->refs = 1; /* the owner */
    link_init(&server->conns);
    link_init(&server->settling);
    server->settle = (struct defer){.fn = exchanges_settle, .ctx = server};
    link_init(&server->due);
    server->serve = (struct defer){.fn = http2_serve, .ctx = server};
    server->end.ctx = server;
    server->shed = (struct defer){.fn = shed, .ctx = server};
    server->shed_requests = (struct defer){.fn = shed_requests, .ctx = server};
    server->tick = (struct timer){.fn = on_tick, .ctx = server};
    server->rest = (struct timer){.fn = on_rest_over, .ctx = server};
    return server;
}

/* ERR_INVALID, ERR_IO, ERR_NOMEM; a socket that is there is closed with the server. */
static int listen_at(struct http_server *server, const char *text, struct err *err)
{
    struct address address;
    int r = address_parse(text, &address, err);

    if (!r)
        r = address_listen(&address, &server->fd, err);
    if (r)
        return r;
    if (learn_address(server, &address))
        return err_set(err, ERR_NOMEM, "no memory for a server");
    if (uv_poll_init(&server->loop->uv, &server->poll, server->fd))
        return err_set(err, ERR_IO, "cannot watch the listening socket");
    server->poll.data = server;
    server->refs++; /* the handle */
    server->is_listening = true;
    listen_again(server);
    return 0;
}

int http_server_open(struct loop *loop, const struct http_server_opts *opts,
                     struct http_server **ret_server, struct err *err)
{
    struct http_server *server = server_new(loop, opts);
    int r = !server         ? err_set(err, ERR_NOMEM, "no memory for a server")
            : opts->address ? listen_at(server, opts->address, err)
                            : 0;

    if (r) {
        if (server && server->fd >= 0)
            (void)close(server->fd); /* nothing was written */
        if (server)
            free_server(server);
        return r;
    }
    timer_start(&server->tick, loop, tick_ms(&server->limits), tick_ms(&server->limits));
    *ret_server = server;
    return 0;
}

const char *http_server_address(const struct http_server *server)
{
    return server->address;
}

uint16_t http_server_port(const struct http_server *server)
{
    return server->port;
}

struct http_stats http_server_stats(const struct http_server *server)
{
    struct http_stats stats = server->stats;

    stats.held = server->requests->used;
    stats.unheld = server->requests->refused;
    return stats;
}

/* ---- the end ---- */

static void drained(struct http_server *server)
{
    void (*done)(void *) = server->drained;

    server->drained = NULL;
    if (done)
        done(server->drained_ctx);
}

static void close_all(struct http_server *server)
{
    while (!link_is_alone(&server->conns))
        http_conn_break(LINK_OF(server->conns.next, struct http_conn, in_server),
                        ERR_CANCELLED);
}

static void drain_all(struct http_server *server)
{
    LIST_EACH (&server->conns, l) {
        struct http_conn *hc = LINK_OF(l, struct http_conn, in_server);

        hc->protocol->drain(hc);
    }
}

/* Drain and close do their work here, from the loop, as they may be asked for inside any callback. */
static void on_end(struct defer *d, void *ctx)
{
    struct http_server *server = ctx;

    (void)d;
    if (server->is_closing) {
        close_all(server);
        http_server_unref(server);
        return;
    }
    if (!server->drain_is_begun)
        drain_all(server);
    server->drain_is_begun = true;
    if (!server->stats.connections)
        drained(server);
}

static void end_soon(struct http_server *server)
{
    server->end.fn = on_end;
    loop_defer(server->loop, &server->end);
}

void http_server_check_drained(struct http_server *server)
{
    if (server->is_draining && !server->is_closing && !server->stats.connections)
        end_soon(server);
}

void http_server_drain(struct http_server *server, void (*done)(void *ctx), void *ctx)
{
    server->drained = done;
    server->drained_ctx = ctx;
    server->is_draining = true;
    stop_listening(server);
    end_soon(server);
}

void http_server_close(struct http_server *server, void (*done)(void *ctx), void *ctx)
{
    server->closed = done;
    server->closed_ctx = ctx;
    server->drained = NULL;
    server->is_draining = server->is_closing = true;
    stop_listening(server);
    end_soon(server);
}
