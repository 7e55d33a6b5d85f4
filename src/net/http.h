/*
 * The HTTP server: one port for HTTP/1.1 and HTTP/2 (ALPN under TLS, the client's preface in plain text), one
 * kind of exchange for both.
 *
 * An http_server belongs to one loop and is used on its thread only. Several I/O threads have a server each, of which one
 * listens and hands out what it accepts (struct http_crowd).
 *
 * Life of an exchange. on_request hands it over when the request's headers are complete. From then on its owner
 * answers, now or later, in one of these ways, exactly once:
 *
 *   exchange_respond                                   the whole answer
 *   exchange_begin, exchange_write ..., exchange_finish    a stream
 *   exchange_reset                                     no answer; the peer sees a broken stream
 *
 *   - Without ops, or with ops that have no on_close: it stays valid until the owner has answered, whether the peer
 *     is still there or not (calls on a dead one do nothing). After the answer the owner must not touch it.
 *   - With on_close: on_close is called exactly once, always; after it returns the exchange is gone. It may be used
 *     until then, also after the answer. on_close never runs inside a call of the owner into this header.
 *
 * Body. Either exchange_read_body, or ops with on_data. With neither the body is discarded, up to the limit.
 * With on_data the owner gives every byte back by exchange_consume when it is done with it; no more than the
 * window of bytes (limits.stream_window) is ever outstanding, the peer is held back instead.
 *
 * Pulling. exchange_write never refuses and never blocks; a producer looks at exchange_queued before it makes more,
 * and goes on in on_writable, which is called when the queue falls below limits.write_low. What a producer may
 * have queued is its own bound; a peer that takes less than limits.write_least in limits.write_stall_ms is disconnected.
 *
 * What answers keep in memory until their peers take it is bounded for each connection and for all: a connection that holds more than
 * limits.unsent has its further requests refused until it has read; when all together hold more than limits.unsent_all, the
 * connection that holds most goes. What is shared, a frame that goes to many, is not counted until its stream has ended.
 *
 * What requests bring is bounded for all together (limits.requests_all): one of more than 64 KiB for which there is no room is refused,
 * and the connection goes whose requests hold most and are not complete.
 */
#ifndef TRIMTAB_NET_HTTP_H
#define TRIMTAB_NET_HTTP_H

#include "base/err.h"
#include "base/str.h"
#include "net/budget.h"
#include "net/loop.h"
#include "base/segment.h"
#include "net/tls.h"

struct exchange;
struct http_server;

struct http_header {
    struct str name; /* lower case */
    struct str value;
};

/* A limit of 0 means the default, given here. */
struct http_limits {
    uint32_t request_line; /* 8 KiB: over it 414 */
    uint32_t header_list;  /* 16 KiB, all names and values: over it 431 */
    uint32_t header_count; /* 100: over it 431 */
    uint32_t
        discard_body; /* 64 KiB of a body nobody asked for are read, then the connection closes */
    uint32_t
        header_timeout_ms; /* 10 s from the first byte (or the accept) to complete headers: 408 */
    uint32_t idle_timeout_ms; /* 75 s without a request on a kept connection */
    uint32_t
        body_min_rate; /* 1 KiB/s after a grace of body_grace_ms, else 408; exchange_read_body only */
    uint32_t body_grace_ms;  /* 10 s */
    uint32_t half_closed_ms; /* 10 s that an answer may take to begin once the client has closed its half */
    uint32_t write_stall_ms; /* 60 s with bytes waiting and less taken than */
    uint32_t write_least;    /* 64 KiB, or all that waited */
    uint32_t unsent;         /* 32 MiB of a connection, besides one answer that may be larger */
    uint32_t unsent_all;     /* 512 MiB of all connections of the server */
    uint32_t requests_all;   /* 256 MiB of requests that are not answered yet */
    uint32_t write_low;      /* 64 KiB: on_writable when the queue falls below */
    uint32_t max_streams;    /* 100 concurrent per HTTP/2 connection */
    uint32_t
        max_resets; /* 200 streams per 10 s that are cancelled before any answer has gone out, then GOAWAY */
    uint32_t max_controls; /* 200 inbound PING, SETTINGS, PRIORITY and empty DATA frames per 10 s, besides one
                              for each DATA frame that was sent; then GOAWAY */
    uint32_t stream_window;     /* 1 MiB inbound per stream */
    uint32_t connection_window; /* 4 MiB inbound per connection */
    uint32_t
        ping_interval_ms; /* 30 s without inbound bytes on HTTP/2: PING; UINT32_MAX: never */
    uint32_t ping_timeout_ms; /* 20 s for the answer, then the peer counts as dead */
    uint32_t max_connections; /* 50,000 per server, and fewer than there are descriptors: over it an idle one
                                 makes room, or the new one is closed at once */
    uint32_t accept_budget;   /* 64 per turn, 16 with TLS */
};

/*
 * Servers on several loops with one listener between them: each new connection goes to the one that has the fewest, so they
 * stay even whoever comes. The limit of connections is that of all together. Filled before the loops run; lives as long
 * as the servers.
 */
enum { HTTP_CROWD_MAX = 64 };
struct http_crowd {
    struct http_server *servers[HTTP_CROWD_MAX];
    size_t n;
};

/* The request is there. Must answer or keep x (see above). */
typedef void http_request_fn(void *ctx, struct exchange *x);

struct http_server_opts {
    const char *address; /* "127.0.0.1:0", "[::1]:8443", "unix:/run/x.sock"; copied. NULL: its crowd listens */
    const struct http_crowd *crowd; /* NULL: it is alone */
    struct tls *tls;     /* NULL: plain text; borrowed, must outlive the server */
    struct http_limits limits;
    http_request_fn *on_request;
    void *ctx;
};

/* Listens, if it has an address. ERR_INVALID (the address), ERR_IO (why it cannot be bound), ERR_NOMEM. */
must_use int http_server_open(struct loop *loop, const struct http_server_opts *opts,
                              struct http_server **ret_server, struct err *err);

/* Where it listens, with the port that the system chose: "127.0.0.1:41234". Valid as long as the server. */
const char *http_server_address(const struct http_server *server);
uint16_t http_server_port(const struct http_server *server); /* 0 for a Unix-domain socket */

/*
 * Takes no new connections or requests: GOAWAY on HTTP/2, "Connection: close" on HTTP/1.1, idle connections close.
 * Calls done (may be NULL) when the last connection is gone. Streams that never end are their owners' to finish.
 */
void http_server_drain(struct http_server *server, void (*done)(void *ctx), void *ctx);

/*
 * Breaks off what is left and frees the server; on_close of all exchanges, then done (may be NULL), come later from
 * the loop. The server must not be used after this call.
 */
void http_server_close(struct http_server *server, void (*done)(void *ctx), void *ctx);

struct http_stats {
    uint64_t connections; /* open now */
    uint64_t exchanges;   /* open now */
    uint64_t accepted;    /* since the start, as are all below */
    uint64_t refused;     /* over max_connections */
    uint64_t evicted;     /* idle ones that made room for a new one */
    uint64_t requests;
    uint64_t protocol_errors; /* malformed requests, floods, failed handshakes */
    uint64_t timeouts;        /* slow headers, slow bodies, stalled readers, dead peers */
    uint64_t unsent;          /* bytes that wait for peers now */
    uint64_t held;            /* bytes of requests that are still coming, or not answered */
    uint64_t unheld;          /* requests for which there was no room */
    uint64_t overdrawn;       /* requests of connections that held too many of them */
    uint64_t shed;            /* connections that went because they held most of too many */
};
struct http_stats http_server_stats(const struct http_server *server);

/*
 * For owners who keep what requests bring: the exchange's message holds this many bytes in all from now on, of the share, which
 * budget_return gives back, and which may outlive the exchange. False: there is no room for them, and the request is to be refused.
 */
must_use bool exchange_hold(struct exchange *x, struct budget_share *share, size_t bytes);

/* ---- the request; slices live as long as the exchange ---- */

struct str exchange_method(const struct exchange *x);
struct str exchange_path(
    const struct exchange *x); /* as sent, without query; not percent-decoded */
struct str exchange_query(const struct exchange *x);     /* after '?', raw; empty when none */
struct str exchange_authority(const struct exchange *x); /* Host or :authority */
/* First header with this lower-case name; data is NULL when it is not there. */
struct str exchange_header(const struct exchange *x, const char *name);
size_t exchange_header_count(const struct exchange *x);
struct http_header exchange_header_at(const struct exchange *x, size_t i);
int exchange_http_version(const struct exchange *x); /* 10, 11 or 20 */
struct str exchange_peer(const struct exchange *x);  /* "10.0.0.7:51234" */
struct str exchange_tls_name(
    const struct exchange *x); /* of the verified client certificate; empty: none */
bool exchange_is_tls(const struct exchange *x);
struct loop *exchange_loop(const struct exchange *x);
nsec_t exchange_started(const struct exchange *x);

/* ---- the body ---- */

/*
 * Reads the whole body, then calls done once: r = 0 and the body, which stays valid until the answer; or r < 0 and
 * the exchange is answered already (ERR_LIMIT: 413, before reading all of it; ERR_TIMEOUT: 408; ERR_NOMEM: 503) or
 * dead (ERR_CANCELLED, ERR_INVALID), and must not be touched any more. done may run inside this call, when the body
 * is there already.
 */
typedef void exchange_body_fn(struct exchange *x, void *ctx, int r, struct str body);
void exchange_read_body(struct exchange *x, size_t limit, exchange_body_fn *done, void *ctx);

struct exchange_ops {
    void (*on_data)(struct exchange *x, void *ctx,
                    struct str bytes);             /* borrowed until return */
    void (*on_end)(struct exchange *x, void *ctx); /* the body is complete */
    void (*on_writable)(struct exchange *x, void *ctx);
    /*
     * 0: the answer went out whole; else ERR_CANCELLED (peer or server left), ERR_TIMEOUT (slow or dead peer),
     * ERR_IO, ERR_LIMIT, ERR_INVALID (peer broke the protocol), ERR_NOMEM.
     */
    void (*on_close)(struct exchange *x, void *ctx, int reason);
};

/* Streams instead. ops is static or outlives the exchange; members may be NULL. Callbacks start after this call. */
void exchange_set_ops(struct exchange *x, const struct exchange_ops *ops, void *ctx);
/* The owner is done with that many bytes that on_data gave; the peer may send as many more. */
void exchange_consume(struct exchange *x, size_t n);

/* ---- the answer ---- */

/*
 * The whole answer. Headers and segments are borrowed until return (owners get a reference). content-length is
 * added; the body is left out for HEAD, 204 and 304. Names must be lower-case tokens and values free of control
 * bytes, else the peer gets a 500. On ERR_NOMEM the exchange is reset. 0 also when the peer is gone.
 */
int exchange_respond(struct exchange *x, int status, const struct http_header *headers,
                     size_t n_headers, const struct segment *body, size_t n_body);

/* The same for a text that is copied. content_type is a C string. */
int exchange_respond_text(struct exchange *x, int status, const char *content_type,
                          struct str body);

/*
 * {"code":"...","message":"...","place":"...","hint":"..."} with the HTTP status of err->code, or with another one and a
 * header that belongs to it (NULL: none).
 */
int exchange_respond_err(struct exchange *x, const struct err *err);
int exchange_refuse(struct exchange *x, int status, const struct http_header *more,
                    const struct err *err);

/*
 * Whether the answers that wait on this connection already hold more than limits.unsent: an answer of any size is then given up
 * for an error, as exchange_respond does by itself.
 */
bool exchange_is_overdrawn(const struct exchange *x);

/* Opens a streamed answer: chunked on HTTP/1.1 unless the headers have content-length; until close on HTTP/1.0. */
int exchange_begin(struct exchange *x, int status, const struct http_header *headers, size_t n);
/* ERR_NOMEM: the exchange is reset and on_close tells. ERR_CANCELLED: it is dead already. Else 0. */
int exchange_write(struct exchange *x, const struct segment *segments, size_t n);
/* Ends it, with trailers (n may be 0; left out on HTTP/1). */
int exchange_finish(struct exchange *x, const struct http_header *trailers, size_t n);
/* Breaks it off. On HTTP/1 that closes the connection. */
void exchange_reset(struct exchange *x);

/* Bytes not yet handed to the kernel (with those that wait in front of it on its connection). */
size_t exchange_queued(const struct exchange *x);
/* False once the peer is gone: answering would be wasted work. */
bool exchange_is_live(const struct exchange *x);

/* Any value the owner likes, NULL at first; for middle layers such as routers. */
void exchange_set_user(struct exchange *x, void *user);
void *exchange_user(const struct exchange *x);

#endif
