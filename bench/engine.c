/*
 * Connections of the benchmarks: connecting, receiving, counting. See peer.h.
 */
#include "bench/peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    READ_BYTES = 1 << 20,
    EVENTS = 512,
    IN_FLIGHT = 2000,
    DIALS = 32,
    OUT_MAX = 256 * 1024 * 1024
};

struct bench bench;
static int epoll = -1;
static char read_buf[READ_BYTES];

_Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "bench: %s: %s\n", bench.peer ? bench.peer->name : "", what);
    exit(1);
}

void put_u32(struct buf *b, uint32_t v)
{
    uint32_t be = htonl(v);

    buf_put(b, &be, sizeof(be));
}

uint32_t get_u32(const char *at)
{
    uint32_t be;

    memcpy(&be, at, sizeof(be));
    return ntohl(be);
}

/* ---- connecting ---- */

static void start_tls(struct peer_conn *c)
{
    c->ssl = SSL_new(bench.tls);
    if (!c->ssl || !SSL_set_fd(c->ssl, c->fd) || SSL_connect(c->ssl) != 1)
        die("TLS handshake");
}

/* A socket that is connected; -1: refused. */
static int dial(void)
{
    struct sockaddr_in tcp = {.sin_family = AF_INET,
                              .sin_port = htons(bench.port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    bool is_local = bench.socket != NULL;
    int one = 1, fd = socket(is_local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        die("no more sockets: raise the limit of open files");
    if (is_local)
        (void)snprintf(local.sun_path, sizeof(local.sun_path), "%s", bench.socket);
    if (connect(fd, is_local ? (struct sockaddr *)&local : (struct sockaddr *)&tcp,
                is_local ? (socklen_t)sizeof(local) : (socklen_t)sizeof(tcp))) {
        (void)close(fd);
        return -1;
    }
    if (!is_local)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* slower without */
    return fd;
}

bool conn_dial(struct peer_conn *c, bool is_writer)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    int index = c->index;

    memset(c, 0, sizeof(*c));
    c->index = index;
    c->is_writer = is_writer;
    c->in = c->out = c->message = BUF_NULL(OUT_MAX);
    c->fd = dial();
    if (c->fd < 0)
        return false;
    if (bench.tls)
        start_tls(c);
    if (epoll < 0)
        epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e))
        die("epoll_ctl");
    if (is_writer)
        bench.peer->write(c);
    else
        bench.peer->watch(c);
    return true;
}

void conn_hang_up(struct peer_conn *c)
{
    if (c->fd < 0)
        return;
    SSL_free(c->ssl);
    c->ssl = NULL;
    (void)close(c->fd); /* nothing of it is needed any more */
    c->fd = -1;
    buf_deinit(&c->in);
    buf_deinit(&c->out);
    buf_deinit(&c->message);
}

void conn_send(struct peer_conn *c, const void *bytes, size_t len)
{
    const char *at = bytes;

    while (len) {
        ssize_t n =
            c->ssl ? SSL_write(c->ssl, at, (int)len) : send(c->fd, at, len, MSG_NOSIGNAL);

        if (n <= 0 && (bench.may_end || bench.counts_ends))
            return; /* its end is seen where it is read */
        if (n <= 0)
            die("cannot send");
        at += n;
        len -= (size_t)n;
    }
}

/* ---- counting ---- */

void conn_ready(struct peer_conn *c)
{
    if (c->is_ready)
        return;
    c->is_ready = true;
    c->done = clock_now();
    bench.ready += !c->is_writer;
}

void conn_value(struct peer_conn *c, struct str value)
{
    uint64_t before = c->seen;
    char digits[SEQUENCE_DIGITS + 1] = "";

    if (value.len != bench.size ||
        (bench.expected && memcmp(value.data, bench.expected, value.len)))
        die("a value is not the one that was put");
    memcpy(digits, value.data, SEQUENCE_DIGITS);
    c->has = strtoull(digits, NULL, 16);
    c->seen = MAX(c->seen, c->has); /* etcd may take puts out of order */
    c->done = clock_now();
    bench.values++;
    if (bench.on_value)
        bench.on_value(c, before);
}

void conn_answered(struct peer_conn *c)
{
    c->answered++;
    bench.answered++;
}

void conn_gone(struct peer_conn *c)
{
    bench.ended += !c->is_gone;
    c->is_gone = true;
}

/* ---- receiving ---- */

static void take_bytes(struct peer_conn *c, struct str in)
{
    size_t used;

    if (!c->in.len) {
        used = bench.peer->receive(c, in);
        buf_put_str(&c->in, str_from(in, used));
        return;
    }
    buf_put_str(&c->in, in);
    used = bench.peer->receive(c, buf_str(&c->in));
    buf_consume(&c->in, used);
    if (!c->in.len)
        buf_deinit(&c->in);
}

static void dial_again(struct peer_conn *c)
{
    while (!conn_dial(c, false)) {
        if (!bench.may_end)
            die("connection refused");
        (void)usleep(500); /* the server is not there again yet */
    }
}

static void receive(struct peer_conn *c)
{
    do {
        ssize_t n = c->ssl ? SSL_read(c->ssl, read_buf, READ_BYTES)
                           : recv(c->fd, read_buf, READ_BYTES, MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0 && bench.counts_ends) {
            conn_gone(c);
            conn_hang_up(c);
            return;
        }
        if (n <= 0) {
            if (!bench.may_end)
                die("a connection ended");
            conn_hang_up(c); /* it was accepted by a server that does not serve yet */
            dial_again(c);
            return;
        }
        c->bytes += (uint64_t)n;
        take_bytes(c, str_of(read_buf, (size_t)n));
    } while (c->ssl && SSL_pending(c->ssl));
}

void bench_turn(int wait_ms)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll, events, EVENTS, wait_ms);

    for (int i = 0; i < n; i++)
        receive(events[i].data.ptr);
}

void bench_connect_watchers(void)
{
    if (!bench.conns)
        bench.conns = calloc(bench.n, sizeof(*bench.conns));
    if (!bench.conns)
        die("out of memory");
    bench.ready = 0;
    for (size_t i = 0; i < bench.n; i++) {
        bench.conns[i].index = (int)i;
        dial_again(&bench.conns[i]);
        while (bench.ready + IN_FLIGHT < i) /* the listener's queue is finite */
            bench_turn(-1);
        if (i % DIALS == 0)
            bench_turn(0);
    }
    while (bench.ready < bench.n)
        bench_turn(-1);
}
