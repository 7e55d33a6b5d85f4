/*
 * Connections: reading, and writing what a protocol gathers. See conn.h.
 */
#include "net/conn.h"

#include "base/alloc.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FLUSH_ROUNDS = 8, READ_ROUNDS = 4 };

/* What the kernel did not take of one flush. The scratch part is copied behind the slices. */
struct backlog {
    size_t n, first;
    struct shared **owners;
    struct iovec slices[];
};

/* ---- OpenSSL's way to the socket: as its own, but a broken pipe raises no signal in the host program ---- */

static int socket_write(BIO *bio, const char *bytes, int len)
{
    struct conn *c = BIO_get_data(bio);
    ssize_t n = send(c->fd, bytes, (size_t)len, MSG_NOSIGNAL);

    BIO_clear_retry_flags(bio);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_write(bio);
    return (int)n;
}

static int socket_read(BIO *bio, char *bytes, int len)
{
    struct conn *c = BIO_get_data(bio);
    ssize_t n = recv(c->fd, bytes, (size_t)len, 0);

    BIO_clear_retry_flags(bio);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_read(bio);
    return (int)n;
}

static long socket_ctrl(BIO *bio, int what, long num, void *ptr)
{
    (void)bio;
    (void)num;
    (void)ptr;
    return what == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *socket_method;

static void make_socket_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "trimtab socket");

    if (!m)
        return;
    if (BIO_meth_set_write(m, socket_write) && BIO_meth_set_read(m, socket_read) &&
        BIO_meth_set_ctrl(m, socket_ctrl))
        socket_method = m;
    else
        BIO_meth_free(m);
}

static int attach_session(struct conn *c)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    BIO *bio;

    (void)pthread_once(&once, make_socket_method); /* fails only on misuse */
    bio = socket_method ? BIO_new(socket_method) : NULL;
    if (!bio)
        return ERR_NOMEM;
    BIO_set_data(bio, c);
    BIO_set_init(bio, 1);
    SSL_set_bio(c->ssl, bio, bio);
    return 0;
}

/* ---- waiting ---- */

static void on_poll(uv_poll_t *poll, int status, int events);

static void update_interest(struct conn *c)
{
    int interest = 0;

    if (c->state == CONN_CLOSED)
        return;
    if (c->state == CONN_CONNECTING)
        interest = UV_WRITABLE;
    else if (!c->has_eof && (!c->is_paused || c->state == CONN_HANDSHAKE))
        interest = UV_READABLE;
    if (c->is_blocked)
        interest |= UV_WRITABLE;
    if (interest == c->interest)
        return;
    c->interest = interest;
    if (interest)
        (void)uv_poll_start(&c->poll, interest, on_poll); /* fails only on a closing handle */
    else
        (void)uv_poll_stop(&c->poll); /* always 0 */
}

static void gone(struct conn *c, int reason, const struct err *story)
{
    if (c->state != CONN_CLOSED)
        c->ops->on_gone(c, c->ctx, reason, story);
}

static void gone_errno(struct conn *c, const char *what, int number)
{
    bool is_peer = number == ECONNRESET || number == EPIPE;
    struct err story;

    err_set(&story, is_peer ? ERR_CANCELLED : ERR_IO, "%s: %s", what, strerror(number));
    gone(c, story.code, &story);
}

/* ---- writing ---- */

static void read_some(struct conn *c);

/*
 * The peer has closed. What it said before is often the reason (a TLS alert, GOAWAY, an early answer) and may still be
 * there to be read; only without it the failure to send is the story.
 */
static void send_failed(struct conn *c, const struct err *story)
{
    read_some(c);
    gone(c, story->code, story);
}

static void backlog_free(struct conn *c)
{
    struct backlog *b = c->backlog;

    if (!b)
        return;
    for (size_t i = b->first; i < b->n; i++)
        (void)shared_unref(b->owners[i]);
    c->backlog = mem_free(b);
    c->backlog_bytes = 0;
}

/* Keeps the slices from first on (whose beginning may have been cut). Their owners move. */
static int backlog_keep(struct conn *c, struct gather *g, size_t first)
{
    size_t n = g->n - first, copied = 0, size;
    struct backlog *b;
    char *copies;

    for (size_t i = first; i < g->n; i++)
        copied += g->owners[i] ? 0 : g->slices[i].iov_len;
    size = sizeof(*b) + n * (sizeof(b->slices[0]) + sizeof(b->owners[0])) + copied;
    b = mem_alloc(size);
    if (!b)
        return ERR_NOMEM;
    b->n = n;
    b->first = 0;
    b->owners = (struct shared **)(void *)&b->slices[n];
    copies = (char *)&b->owners[n];
    c->backlog_bytes = 0;
    for (size_t i = 0; i < n; i++) {
        b->slices[i] = g->slices[first + i];
        b->owners[i] = take(g->owners[first + i]);
        c->backlog_bytes += b->slices[i].iov_len;
        if (b->owners[i])
            continue;
        memcpy(copies, b->slices[i].iov_base, b->slices[i].iov_len);
        b->slices[i].iov_base = copies;
        copies += b->slices[i].iov_len;
    }
    c->backlog = b;
    return 0;
}

/* Bytes that the kernel took; 0: none for now; negative: the connection has failed and gone was called. */
static ssize_t send_plain(struct conn *c, struct iovec *slices, size_t n)
{
    struct msghdr message = {.msg_iov = slices, .msg_iovlen = n};
    struct err story;
    ssize_t sent;

    do
        sent = sendmsg(c->fd, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return sent;
    if (errno == EAGAIN || errno == ENOBUFS)
        return 0;
    err_set_errno(&story, "cannot send");
    if (errno == ECONNRESET || errno == EPIPE)
        story.code = ERR_CANCELLED;
    send_failed(c, &story);
    return -1;
}

static ssize_t send_tls(struct conn *c, const struct iovec *slice)
{
    size_t written = 0;
    struct err story;

    ERR_clear_error();
    if (SSL_write_ex(c->ssl, slice->iov_base, slice->iov_len, &written) == 1)
        return (ssize_t)written;
    switch (SSL_get_error(c->ssl, 0)) {
    case SSL_ERROR_WANT_WRITE:
    case SSL_ERROR_WANT_READ: return 0;
    default: break;
    }
    tls_story(c->ssl, &story);
    story.code = ERR_CANCELLED;
    send_failed(c, &story);
    return -1;
}

/* Sends from slices[*first] on, cutting what went; *first moves on. 1: all went, 0: blocked, negative: failed. */
static int send_slices(struct conn *c, struct iovec *slices, struct shared **owners, size_t n,
                       size_t *first)
{
    while (*first < n) {
        ssize_t sent =
            c->ssl ? send_tls(c, &slices[*first]) : send_plain(c, slices + *first, n - *first);

        if (sent <= 0)
            return (int)sent;
        c->loop->n_writes++;
        c->loop->write_bytes += (size_t)sent;
        pace_take(&c->pace, (size_t)sent);
        while (*first < n && (size_t)sent >= slices[*first].iov_len) {
            sent -= (ssize_t)slices[*first].iov_len;
            owners[*first] = shared_unref(owners[*first]);
            (*first)++;
        }
        if (sent > 0) {
            slices[*first].iov_base = (char *)slices[*first].iov_base + sent;
            slices[*first].iov_len -= (size_t)sent;
        }
    }
    return 1;
}

static int send_backlog(struct conn *c)
{
    struct backlog *b = c->backlog;
    int r = send_slices(c, b->slices, b->owners, b->n, &b->first);

    if (c->state == CONN_CLOSED)
        return -1;
    if (r > 0) {
        backlog_free(c);
        return 1;
    }
    c->backlog_bytes = 0;
    for (size_t i = b->first; i < b->n; i++)
        c->backlog_bytes += b->slices[i].iov_len;
    return r;
}

static void gather_drop(struct gather *g, size_t first)
{
    for (size_t i = first; i < g->n; i++)
        g->owners[i] = shared_unref(g->owners[i]);
}

/* One round: 1 all that the protocol put is sent, 2 it had nothing, 0 blocked, negative: failed or closed. */
static int flush_round(struct conn *c)
{
    struct gather g;
    size_t first = 0;
    int r;

    if (c->backlog)
        return send_backlog(c);
    g.n = g.bytes = g.scratch_len = 0;
    g.scratch = c->loop->scratch;
    g.is_flat = c->ssl != NULL;
    c->ops->fill(c, c->ctx, &g);
    if (c->state == CONN_CLOSED)
        r = -1;
    else
        r = g.n == 0 ? 2 : send_slices(c, g.slices, g.owners, g.n, &first);
    if (r == 0 && backlog_keep(c, &g, first)) {
        struct err story;

        err_set(&story, ERR_NOMEM, "no memory for bytes on their way out");
        gone(c, ERR_NOMEM, &story);
        r = -1;
    }
    gather_drop(&g, first);
    return c->state == CONN_CLOSED ? -1 : r;
}

static void flush(struct conn *c)
{
    int r = 1;

    if (c->state != CONN_OPEN)
        return;
    for (int i = 0; i < FLUSH_ROUNDS && r == 1; i++)
        r = flush_round(c);
    if (r < 0)
        return;
    if (r == 0 && !c->is_blocked)
        pace_wait(&c->pace, loop_now(c->loop), c->backlog_bytes);
    c->is_blocked = r == 0;
    update_interest(c);
    if (r == 1)
        loop_defer(c->loop, &c->flush);
    c->ops->on_flushed(c, c->ctx);
}

static void on_flush(struct defer *d, void *ctx)
{
    (void)d;
    flush(ctx);
}

void conn_flush_soon(struct conn *c)
{
    if (c->state == CONN_OPEN && !c->is_blocked)
        loop_defer(c->loop, &c->flush);
}

/* ---- reading ---- */

static void at_end(struct conn *c)
{
    c->has_eof = true;
    update_interest(c);
    gone(c, 0, NULL);
}

/* Whether to go on reading. */
static bool read_plain(struct conn *c)
{
    ssize_t n;

    do
        n = recv(c->fd, c->loop->read_buf, c->read_max, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        if (errno != EAGAIN)
            gone_errno(c, "cannot receive", errno);
        return false;
    }
    if (n == 0) {
        at_end(c);
        return false;
    }
    c->last_read = loop_now(c->loop);
    c->ops->on_bytes(c, c->ctx, str_of(c->loop->read_buf, (size_t)n));
    return (size_t)n == c->read_max;
}

static void read_tls_failed(struct conn *c, int why)
{
    struct err story;

    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
        return;
    if (why == SSL_ERROR_ZERO_RETURN ||
        (why == SSL_ERROR_SSL &&
         ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING)) {
        ERR_clear_error();
        at_end(c);
        return;
    }
    if (why == SSL_ERROR_SYSCALL && errno) {
        gone_errno(c, "cannot receive", errno);
        return;
    }
    tls_story(c->ssl, &story);
    gone(c, story.code, &story);
}

/* Records are collected into one piece; ends only when the session holds nothing back, as the socket would not wake us. */
static bool read_tls(struct conn *c)
{
    size_t have = 0, n = 0;
    int why = SSL_ERROR_NONE;

    ERR_clear_error();
    errno = 0;
    while (have < c->read_max) {
        if (SSL_read_ex(c->ssl, c->loop->read_buf + have, c->read_max - have, &n) != 1) {
            why = SSL_get_error(c->ssl, 0);
            break;
        }
        have += n;
    }
    if (have) {
        int saved = errno;

        c->last_read = loop_now(c->loop);
        c->ops->on_bytes(c, c->ctx, str_of(c->loop->read_buf, have));
        errno = saved;
    }
    if (c->state == CONN_CLOSED)
        return false;
    if (why != SSL_ERROR_NONE) {
        read_tls_failed(c, why);
        return false;
    }
    return true;
}

static void read_some(struct conn *c)
{
    bool more = true;

    for (int i = 0; more && c->state == CONN_OPEN && !c->is_paused && !c->has_eof; i++) {
        if (i >= READ_ROUNDS && !(c->ssl && SSL_pending(c->ssl) > 0))
            return;
        more = c->ssl ? read_tls(c) : read_plain(c);
    }
}

/* ---- states ---- */

static void opened(struct conn *c)
{
    c->state = CONN_OPEN;
    c->is_blocked = false;
    update_interest(c);
    c->ops->on_open(c, c->ctx);
}

static void handshake(struct conn *c)
{
    struct err story;
    int r;

    ERR_clear_error();
    errno = 0;
    r = SSL_do_handshake(c->ssl);
    if (r == 1) {
        opened(c);
        return;
    }
    switch (SSL_get_error(c->ssl, r)) {
    case SSL_ERROR_WANT_READ: c->is_blocked = false; break;
    case SSL_ERROR_WANT_WRITE: c->is_blocked = true; break;
    case SSL_ERROR_SYSCALL:
        if (errno) {
            gone_errno(c, "TLS failed", errno);
            return;
        }
        /* fall through */
    default:
        tls_story(c->ssl, &story);
        gone(c, story.code, &story);
        return;
    }
    update_interest(c);
}

static void connected(struct conn *c)
{
    int number = 0;
    socklen_t len = sizeof(number);
    struct err story;

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &number, &len))
        number = errno;
    if (number) {
        err_set(&story, ERR_UNAVAILABLE, "cannot connect: %s", strerror(number));
        gone(c, ERR_UNAVAILABLE, &story);
        return;
    }
    if (!c->ssl) {
        opened(c);
        return;
    }
    c->state = CONN_HANDSHAKE;
    handshake(c);
}

/* libuv has stopped the handle; what was received before the failure is still read. */
static void on_poll_error(struct conn *c)
{
    c->interest = 0;
    if (c->state == CONN_CONNECTING) {
        connected(c);
        return;
    }
    c->is_paused = false;
    while (c->state == CONN_OPEN && !c->has_eof) {
        nsec_t before = c->last_read;

        read_some(c);
        if (c->last_read == before)
            break;
    }
    if (c->state != CONN_CLOSED)
        gone_errno(c, "the connection broke", ECONNRESET);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct conn *c = poll->data;

    if (status < 0) {
        on_poll_error(c);
        return;
    }
    if (c->state == CONN_CONNECTING)
        connected(c);
    else if (c->state == CONN_HANDSHAKE)
        handshake(c);
    if (c->state == CONN_OPEN && (events & UV_READABLE))
        read_some(c);
    if (c->state == CONN_OPEN && (events & UV_WRITABLE) && c->is_blocked) {
        c->is_blocked = false;
        loop_defer(c->loop, &c->flush);
    }
}

/* ---- life ---- */

/* The first steps of a socket that needs no waiting run from the loop, so that on_open never runs inside conn_open. */
static void on_start(struct defer *d, void *ctx)
{
    struct conn *c = ctx;

    (void)d;
    c->flush.fn = on_flush;
    if (c->state == CONN_CONNECTING)
        return;
    if (c->ssl)
        handshake(c);
    else
        opened(c);
}

int conn_open(struct conn *c, const struct conn_opts *opts)
{
    int one = 1, r;

    memset(c, 0, sizeof(*c));
    c->ops = opts->ops;
    c->ctx = opts->ctx;
    c->loop = opts->loop;
    c->fd = opts->fd;
    c->ssl = opts->ssl;
    c->read_max = LOOP_READ_BYTES;
    c->last_read = loop_now(c->loop);
    c->state = opts->is_connecting ? CONN_CONNECTING : CONN_HANDSHAKE;
    c->flush = (struct defer){.fn = on_start, .ctx = c};
    r = c->ssl ? attach_session(c) : 0;
    if (!r && uv_poll_init(&c->loop->uv, &c->poll, c->fd))
        r = ERR_IO;
    if (r) {
        SSL_free(c->ssl);
        (void)close(c->fd); /* nothing was written */
        c->state = CONN_CLOSED;
        return r;
    }
    c->poll.data = c;
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one,
                     sizeof(one)); /* Unix-domain sockets have none */
    update_interest(c);
    loop_defer(c->loop, &c->flush);
    return 0;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;

    c->ops->on_closed(c, c->ctx);
}

void conn_close(struct conn *c)
{
    if (c->state == CONN_CLOSED)
        return;
    if (c->ssl && c->state == CONN_OPEN && !c->is_blocked) {
        ERR_clear_error();
        (void)SSL_shutdown(c->ssl); /* a courtesy: the peer may be gone */
        ERR_clear_error();
    }
    c->state = CONN_CLOSED;
    defer_cancel(&c->flush);
    defer_cancel(&c->reread);
    backlog_free(c);
    uv_close((uv_handle_t *)&c->poll, on_handle_closed);
    (void)close(c->fd); /* the peer sees what arrived, not what this returns */
    SSL_free(c->ssl);
    c->ssl = NULL;
    c->fd = -1;
}

void conn_shutdown_write(struct conn *c)
{
    if (c->state != CONN_OPEN)
        return;
    if (c->ssl) {
        ERR_clear_error();
        (void)SSL_shutdown(c->ssl); /* the peer may be gone: reading will tell */
        ERR_clear_error();
    }
    (void)shutdown(c->fd, SHUT_WR); /* likewise */
}

void conn_pause(struct conn *c)
{
    c->is_paused = true;
    update_interest(c);
}

static void on_reread(struct defer *d, void *ctx)
{
    (void)d;
    read_some(ctx);
}

void conn_resume(struct conn *c)
{
    if (!c->is_paused)
        return;
    c->is_paused = false;
    update_interest(c);
    /* Bytes that the session has decrypted already would not wake the socket. */
    if (c->ssl && c->state == CONN_OPEN && SSL_pending(c->ssl) > 0) {
        c->reread = (struct defer){.fn = on_reread, .ctx = c, .link = c->reread.link};
        loop_defer(c->loop, &c->reread);
    }
}

bool conn_is_h2(const struct conn *c)
{
    const unsigned char *name = NULL;
    unsigned len = 0;

    if (!c->ssl)
        return false;
    SSL_get0_alpn_selected(c->ssl, &name, &len);
    return str_eq(str_of(name, len), STR("h2"));
}
