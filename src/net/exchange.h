/*
 * What is behind an exchange, a server and its connections; for the files of the HTTP server only.
 *
 *   http_server 1---n http_conn 1---n exchange
 *
 * A protocol (http1_conn.c, http2_conn.c) makes exchanges on its connection and learns by struct protocol what their
 * owners want. It lets go of one by exchange_detach, when the answer is out or when either side broke off; what the
 * owner must be told is then told from the loop (settle), never inside a call of the owner. An exchange whose owner
 * has not answered yet stays, detached, until it does.
 */
#ifndef TRIMTAB_NET_EXCHANGE_H
#define TRIMTAB_NET_EXCHANGE_H

#include "base/buf.h"
#include "base/list.h"
#include "base/vec.h"
#include "net/conn.h"
#include "net/http.h"
#include "net/http1.h"
#include "net/segq.h"

#include <nghttp2/nghttp2.h>

struct http_conn;

enum { HTTP_DATE_BYTES = 32 };

/* What the owner of an exchange asks of its connection. x is attached in all of them. */
struct protocol {
    /* The answer's head; has_body is false when nothing can follow. ERR_NOMEM. */
    int (*begin)(struct exchange *x, int status, const struct http_header *headers, size_t n,
                 bool has_body);
    /* Bytes were queued, or the end was marked. */
    void (*wake)(struct exchange *x);
    void (*reset)(struct exchange *x);
    /* The owner wants the body (100-continue), or gave n bytes back. */
    void (*want_body)(struct exchange *x);
    void (*consume)(struct exchange *x, size_t n);
    /* The connection's own affairs, by the server. */
    void (*on_open)(struct http_conn *hc);
    void (*on_bytes)(struct http_conn *hc, struct str bytes);
    void (*fill)(struct http_conn *hc, struct gather *g);
    void (*on_flushed)(struct http_conn *hc);
    void (*on_eof)(struct http_conn *hc);
    void (*tick)(struct http_conn *hc, nsec_t now);
    void (*drain)(struct http_conn *hc);
    /* Frees what the protocol holds; exchanges are detached already. */
    void (*deinit)(struct http_conn *hc);
};

extern const struct protocol protocol_http1, protocol_http2, protocol_unknown;

enum body_mode { BODY_UNASKED, BODY_READ, BODY_STREAM, BODY_DISCARD };

struct exchange {
    struct link in_conn;  /* http_conn.exchanges, or http_server.settling */
    struct link due;      /* HTTP/2: in h2.due, while its request waits for its turn */
    struct http_conn *hc; /* referenced */
    const struct exchange_ops *ops;
    void *ctx, *user;

    struct str method, path, query, authority;
    struct http_header *headers;
    size_t n_headers;
    char *block; /* of all the above */
    nsec_t started;

    enum body_mode body_mode;
    struct buf body;
    struct budget_share held; /* for body */
    size_t coming;            /* of what the request holds while it is not complete */
    exchange_body_fn *body_done;
    void *body_ctx;
    uint64_t received;  /* bytes of body */
    struct defer start; /* body that came before the ops */
    size_t outstanding; /* given to on_data, not given back */
    nsec_t asked;       /* when the body was asked for */

    struct segq out;
    struct http_header *trailers; /* one allocation with its texts */
    size_t n_trailers;
    struct pace pace;     /* at which its peer takes what is in out */
    size_t owned;         /* bytes of out that are in memory for this exchange alone */
    int reason;

    int32_t stream_id;
    int32_t version;
    bool is_starting;   /* start is due: what comes now waits behind it */
    bool is_dispatched; /* on_request has it */
    bool is_live;       /* attached to its connection */
    bool is_head;       /* method HEAD */
    bool has_ended;     /* the request is complete */
    bool has_begun;     /* the answer's head went to the protocol */
    bool has_finished;  /* the owner has nothing more to say */
    bool is_settled;    /* the owner knows, or there is nothing to tell */
    bool in_callback;   /* settle is talking to the owner */
    bool was_taken;     /* since on_flushed: on_writable is due */
    bool is_deferred;   /* HTTP/2: the data source waits for resume */
    bool was_refused;   /* HTTP/2: header list over the limit */
    bool is_grpc;       /* HTTP/2: so says its content type */
    size_t refused_bytes; /* HTTP/2: of headers beyond the limit */
    bool half_closed;   /* HTTP/2: END_STREAM has come */
    bool head_is_sent;  /* HTTP/2: the head of the answer has gone */
    bool end_is_sent;   /* HTTP/2: END_STREAM has gone */
};

/* HTTP/1.1's part of a connection. */
struct h1 {
    struct http1 engine;
    struct buf pending;   /* input that waits for its turn */
    struct exchange *x;   /* the one in progress */
    struct shared *head;  /* of the answer, until sent */
    struct shared *last;  /* an answer of our own, then the end */
    uint64_t length_left; /* of a body with content-length that we answer with */
    nsec_t waiting_since; /* for the next request, its head, or the peer's end */
    uint32_t discarded;
    bool is_in_head; /* bytes of a head have come: header timeout, not idle timeout */
    bool is_chunked, has_length;
    struct defer more; /* pending input can go on */
    bool must_close;   /* after this answer */
    bool must_break;   /* the answer cannot be completed: no clean end */
    bool expects_continue, want_continue;
    bool had_request;
    bool last_is_sent;
    bool end_is_sent;
    bool is_lingering; /* our end is sent, theirs is awaited */
    bool has_eof;
    bool is_processing;
};

/* HTTP/2's part. */
struct h2 {
    nghttp2_session *session;
    struct link due;       /* of struct exchange: requests that are complete and wait for their turn */
    struct link in_due;    /* http_server.due, while there are any */
    uint32_t n_streams;
    uint32_t n_resets, n_controls; /* in this period */
    uint32_t n_data;               /* frames that we sent in it */
    nsec_t period;                 /* its beginning */
    nsec_t idle_since;
    nsec_t ping_sent;      /* 0: none under way */
    struct gather *gather; /* during fill */
    bool is_dying;         /* flood or protocol error: GOAWAY, then close */
    bool must_break;       /* no memory to say even that */
};

struct http_conn {
    struct conn conn;
    struct link in_server;
    struct link exchanges;
    struct http_server *server;
    const struct protocol *protocol;
    nsec_t opened;
    uint32_t refs; /* the open connection, and each exchange */
    size_t unsent; /* of its exchanges: bytes owned */
    size_t coming; /* of its exchanges: bytes of requests that are not complete */
    bool is_closed;
    uint8_t n_sniffed;
    char sniffed[4]; /* the first bytes, until they tell which protocol it is */
    char peer[56];
    char *tls_name; /* NULL: none */
    struct h1 *
        h1; /* NULL on HTTP/2; freed with the connection, as its functions may be under way when it closes */
    struct h2 h2;
};

struct http_server {
    struct loop *loop;
    struct tls *tls;
    struct http_limits limits;
    const struct http_crowd *crowd; /* NULL: it is alone */
    _Atomic uint32_t load; /* connections that it has, and those on their way to it */
    http_request_fn *on_request;
    void *ctx;
    char *address; /* NULL: it does not listen */
    uint16_t port;
    char *unix_path;
    int fd;
    uv_poll_t poll;
    bool is_listening;
    struct timer tick, rest; /* rest: out of descriptors, accept again later */
    uint32_t refs;           /* the owner until close, and each connection */
    struct link conns;       /* of struct http_conn */
    struct link settling;    /* of struct exchange */
    struct defer settle;
    struct defer end;
    struct defer shed; /* too much is unsent */
    struct budget *requests;
    struct defer shed_requests; /* there is no room for a request */
    struct link due;   /* of struct http_conn, HTTP/2: whose requests wait for their turn */
    struct defer serve;
    uint64_t served; /* the turn of the loop in which the last of them were served */
    bool is_draining, is_closing, drain_is_begun;
    void (*drained)(void *ctx);
    void *drained_ctx;
    void (*closed)(void *ctx);
    void *closed_ctx;
    struct http_stats stats;
    char date[HTTP_DATE_BYTES]; /* of answers, as of date_s */
    int64_t date_s;
};

/* ---- exchanges, for the protocols ---- */

/* The header Date for an answer now (RFC 9110, section 6.6.1); valid until the next one. */
struct http_header http_date(struct http_server *server);

/* A new one, attached; NULL: no memory. */
struct exchange *exchange_new(struct http_conn *hc);
/* The head is complete: counts, checks the drain, tells on_request. x may be detached after it. */
void exchange_dispatch(struct exchange *x);
/* A piece of the request's body, and its end. x may be detached after them. */
void exchange_got_data(struct exchange *x, struct str bytes);
void exchange_got_end(struct exchange *x);
/* So many bytes of out are in memory for it alone. */
void exchange_owns(struct exchange *x, size_t bytes);
/* Answers in place of the owner, who has asked for more than it reads. */
void exchange_respond_overdrawn(struct exchange *x);
/* Bytes of out have left it. */
void exchange_has_sent(struct exchange *x, size_t n);
/* Lets go: x must not be used by the protocol any more. reason as of on_close. */
void exchange_detach(struct exchange *x, int reason);
/* exchange_write with up to SEGQ_SMALL bytes in front, which cost nothing. */
int exchange_write_prefixed(struct exchange *x, struct str prefix,
                            const struct segment *segments, size_t n);
/* exchange_begin for an answer that is nothing but its head. */
int exchange_begin_last(struct exchange *x, int status, const struct http_header *headers,
                        size_t n);
/* The owner has answered or reset: frees one that waited for just that. */
void exchange_owner_is_done(struct exchange *x);
/* The server's defer: tells owners of detached exchanges. */
void exchanges_settle(struct defer *d, void *ctx);
/* After a flush: on_writable for all that had bytes taken. */
void exchanges_tell_writable(struct http_conn *hc);
/* A reader that is too slow: 408 and so on. */
void exchange_check_body(struct exchange *x, nsec_t now);
/* {"code":...,"message":...}, with place and hint if there are any (NULL: none). */
struct error_texts {
    const char *code, *message, *place, *hint;
};
void error_body(struct buf *out, const struct error_texts *texts);
enum { ERROR_BODY_MAX = 16 * 1024 };

/* ---- connections, for the protocols ---- */

/* Closes the connection; all its exchanges are detached with this reason. Twice is fine. */
void http_conn_break(struct http_conn *hc, int reason);
void http_conn_unref(struct http_conn *hc);
/* After SNIFF: the protocol from here on. ERR_NOMEM. */
int http1_conn_init(struct http_conn *hc);
int http2_conn_init(struct http_conn *hc);
/* A server's complete requests of HTTP/2, as many as a turn has time for; a defer. */
void http2_serve(struct defer *d, void *server);

static inline bool has_passed(nsec_t since, uint32_t ms, nsec_t now)
{
    return ms != UINT32_MAX && now > since && now - since >= (nsec_t)ms * NSEC_PER_MS;
}

#endif
