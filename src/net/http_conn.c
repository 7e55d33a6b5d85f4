/*
 * A server's connection: its life, and finding out which protocol it speaks.
 */
#include "base/alloc.h"
#include "net/address.h"
#include "net/http_server.h"

#include <unistd.h>

/* ---- life ---- */

void http_conn_unref(struct http_conn *hc)
{
    struct http_server *server = hc->server;

    if (--hc->refs)
        return;
    (void)mem_free(hc->tls_name);
    (void)mem_free(hc->h1);
    (void)mem_free(hc);
    http_server_unref(server);
}

void http_conn_break(struct http_conn *hc, int reason)
{
    if (hc->is_closed)
        return;
    hc->is_closed = true;
    while (!link_is_alone(&hc->exchanges))
        exchange_detach(LINK_OF(hc->exchanges.next, struct exchange, in_conn),
                        reason ? reason : ERR_CANCELLED);
    hc->protocol->deinit(hc);
    link_remove(&hc->in_server);
    conn_close(&hc->conn);
    hc->server->stats.connections--;
    atomic_fetch_sub_explicit(&hc->server->load, 1, memory_order_relaxed);
    http_server_check_drained(hc->server);
}

static void on_closed(struct conn *c, void *ctx)
{
    (void)c;
    http_conn_unref(ctx);
}

/* ---- the connection's callbacks, passed on to the protocol ---- */

static void on_open(struct conn *c, void *ctx)
{
    struct http_conn *hc = ctx;
    char name[TLS_NAME_MAX];
    struct str found;
    int r = 0;

    if (c->ssl) {
        found = tls_peer_name(c->ssl, name);
        if (found.len) {
            hc->tls_name = mem_dup(found.data, found.len);
            r = hc->tls_name ? 0 : ERR_NOMEM;
        }
    }
    if (!r && c->ssl && conn_is_h2(c))
        r = http2_conn_init(hc);
    if (r)
        http_conn_break(hc, r);
}

static void on_bytes(struct conn *c, void *ctx, struct str bytes)
{
    struct http_conn *hc = ctx;

    (void)c;
    hc->protocol->on_bytes(hc, bytes);
}

static void fill(struct conn *c, void *ctx, struct gather *g)
{
    struct http_conn *hc = ctx;

    (void)c;
    hc->protocol->fill(hc, g);
}

static void on_flushed(struct conn *c, void *ctx)
{
    struct http_conn *hc = ctx;

    (void)c;
    hc->protocol->on_flushed(hc);
}

static void on_gone(struct conn *c, void *ctx, int reason, const struct err *story)
{
    struct http_conn *hc = ctx;

    (void)story; /* a client that leaves is not worth a line */
    if (c->state == CONN_HANDSHAKE)
        hc->server->stats.protocol_errors++;
    if (reason == 0)
        hc->protocol->on_eof(hc);
    else
        http_conn_break(hc, reason);
}

static const struct conn_ops conn_ops = {on_open,    on_bytes, fill,
                                         on_flushed, on_gone,  on_closed};

/* ---- before the protocol is known ---- */

static void sniff(struct http_conn *hc, struct str bytes)
{
    static const char preface[4] = "PRI ";
    char first[4];
    size_t n_first, taken = MIN(bytes.len, sizeof(preface) - hc->n_sniffed);
    int r;

    memcpy(hc->sniffed + hc->n_sniffed, bytes.data, taken);
    hc->n_sniffed = (uint8_t)(hc->n_sniffed + taken);
    n_first = hc->n_sniffed;
    if (memcmp(hc->sniffed, preface, n_first) == 0) {
        if (n_first < sizeof(preface))
            return;
        r = http2_conn_init(hc);
    } else {
        r = http1_conn_init(hc);
    }
    if (r) {
        http_conn_break(hc, r);
        return;
    }
    memcpy(first, hc->sniffed, n_first);
    if (n_first > taken) {
        hc->protocol->on_bytes(hc, str_of(first, n_first - taken));
        if (hc->is_closed)
            return;
    }
    hc->protocol->on_bytes(hc, bytes);
}

static void sniff_nothing(struct http_conn *hc, struct gather *g)
{
    (void)hc;
    (void)g;
}

static void sniff_flushed(struct http_conn *hc)
{
    (void)hc;
}

static void sniff_close(struct http_conn *hc)
{
    http_conn_break(hc, 0);
}

static void sniff_tick(struct http_conn *hc, nsec_t now)
{
    if (!has_passed(hc->opened, hc->server->limits.header_timeout_ms, now))
        return;
    hc->server->stats.timeouts += hc->conn.state == CONN_HANDSHAKE;
    http_conn_break(hc, ERR_TIMEOUT);
}

const struct protocol protocol_unknown = {
    .on_bytes = sniff,
    .fill = sniff_nothing,
    .on_flushed = sniff_flushed,
    .on_eof = sniff_close,
    .tick = sniff_tick,
    .drain = sniff_close,
    .deinit = sniff_flushed,
};

/* ---- a new one ---- */

bool http_conn_start(struct http_server *server, int fd, const struct sockaddr *peer)
{
    struct http_conn *hc = NEW(struct http_conn);
    SSL *ssl = NULL;

    if (hc && server->tls)
        ssl = tls_session(server->tls, NULL);
    if (!hc || (server->tls && !ssl)) {
        (void)mem_free(hc);
        (void)close(fd); /* nothing was written */
        return false;
    }
    hc->server = server;
    hc->protocol = &protocol_unknown;
    hc->opened = loop_now(server->loop);
    hc->refs = 1;
    link_init(&hc->exchanges);
    link_init(&hc->in_server);
    address_format(peer, hc->peer, sizeof(hc->peer));
    if (conn_open(
            &hc->conn,
            &(struct conn_opts){
                .loop = server->loop, .fd = fd, .ssl = ssl, .ops = &conn_ops, .ctx = hc})) {
        (void)mem_free(hc);
        return false;
    }
    server->refs++;
    server->stats.connections++;
    server->stats.accepted++;
    link_before(&server->conns, &hc->in_server);
    return true;
}
