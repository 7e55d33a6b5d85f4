/*
 * One connection: a socket, perhaps with TLS on it, on a loop. Internal to net.
 *
 * Reading goes through the loop's one buffer. Writing is pulled: whoever has something to send asks for a flush,
 * which runs once at the end of the turn and asks the protocol to fill a gather, an array of slices that live just
 * for this flush and leave in one writev (or are copied together for one SSL_write). Only what the kernel does not
 * take is kept, as the backlog, and the protocol is not asked again until that is gone. So nothing is allocated for
 * a write that succeeds, and an idle connection holds no buffer.
 *
 *   CONNECTING ---> HANDSHAKE ---> OPEN ---> CLOSED (from every state, by conn_close only)
 */
#ifndef TRIMTAB_NET_CONN_H
#define TRIMTAB_NET_CONN_H

#include "net/pace.h"
#include "base/shared.h"
#include "net/loop.h"
#include "net/tls.h"

#include <sys/uio.h>

/* ---- what is being sent in one flush ---- */

enum {
    GATHER_SLICES = 512,
    GATHER_PER_FRAME = 40, /* slices that one frame of FRAME_BYTES may need */
    GATHER_COPY_MAX = 512, /* up to this size copying is cheaper than a slice of its own */
    GATHER_BYTES = 256 * 1024,
    FRAME_BYTES = 16 * 1024,
};

struct gather {
    struct iovec slices[GATHER_SLICES];
    struct shared *owners[GATHER_SLICES]; /* NULL for scratch */
    size_t n, bytes;
    char *scratch;
    size_t scratch_len;
    bool is_flat; /* TLS: everything goes to scratch, in order */
};

/* Whether another frame (its head and FRAME_BYTES in slices) fits. */
bool gather_has_room(const struct gather *g);
/* Copies; len is at most FRAME_BYTES and room was checked. */
void gather_copy(struct gather *g, const void *bytes, size_t len);
/* Takes over one reference to owner, which keeps the bytes; with NULL they are static. */
void gather_put(struct gather *g, struct shared *owner, struct str bytes);

/* ---- the connection ---- */

struct conn;
struct backlog;

struct conn_ops {
    /* Connected, and the handshake is done. */
    void (*on_open)(struct conn *c, void *ctx);
    /* All bytes must be taken. */
    void (*on_bytes)(struct conn *c, void *ctx, struct str bytes);
    /* Puts what is to be sent next; nothing put means that nothing is left. */
    void (*fill)(struct conn *c, void *ctx, struct gather *g);
    /* A flush ended; everything put so far is with the kernel unless conn_backlog is not 0. */
    void (*on_flushed)(struct conn *c, void *ctx);
    /* The peer closed its side (reason 0) or the connection failed (reason < 0, story); the owner calls conn_close. */
    void (*on_gone)(struct conn *c, void *ctx, int reason, const struct err *story);
    /* After conn_close, from the loop: the memory may go. */
    void (*on_closed)(struct conn *c, void *ctx);
};

enum conn_state { CONN_CONNECTING, CONN_HANDSHAKE, CONN_OPEN, CONN_CLOSED };

struct conn {
    const struct conn_ops *ops;
    void *ctx;
    struct loop *loop;
    SSL *ssl;
    struct backlog *backlog;
    size_t backlog_bytes;
    struct defer flush;
    struct defer reread;          /* after a pause, for bytes that the TLS session holds */
    nsec_t last_read; /* when bytes last came in */
    struct pace pace; /* at which the kernel takes what goes out */
    uint32_t read_max;            /* bytes per read */
    int fd;
    enum conn_state state;
    int interest;    /* UV_READABLE | UV_WRITABLE as set */
    bool is_paused;  /* do not read */
    bool is_blocked; /* the socket took no more: wait until writable */
    bool has_eof;
    uv_poll_t poll;
};

/*
 * Takes over the socket and the session (ssl may be NULL), also when it fails. is_connecting: connect(2) is under way.
 * on_open comes from the loop. ERR_NOMEM, ERR_IO.
 */
struct conn_opts {
    struct loop *loop;
    int fd;
    SSL *ssl;
    bool is_connecting;
    const struct conn_ops *ops;
    void *ctx;
};
must_use int conn_open(struct conn *c, const struct conn_opts *opts);

/* Closes the socket now; no other callback than on_closed follows. Twice is fine. */
void conn_close(struct conn *c);

/* fill is called at the end of this turn (again, if the socket was blocked, when it is writable). */
void conn_flush_soon(struct conn *c);

/* Sends our end of stream, once everything is out; reading goes on. */
void conn_shutdown_write(struct conn *c);

void conn_pause(struct conn *c);
void conn_resume(struct conn *c);

static inline size_t conn_backlog(const struct conn *c)
{
    return c->backlog_bytes;
}

/* True when ALPN chose HTTP/2. */
bool conn_is_h2(const struct conn *c);

#endif
