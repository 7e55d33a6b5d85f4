/*
 * The client side of the benchmarks: many connections, one thread, one epoll. A peer is a protocol, written by hand so
 * that the client costs as little as it can; for every system the same machinery connects, receives and counts.
 *
 * A value begins with its sequence number in 16 hexadecimal digits, so it is at least that long.
 */
#ifndef TRIMTAB_BENCH_PEER_H
#define TRIMTAB_BENCH_PEER_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

#include <openssl/ssl.h>

enum { SEQUENCE_DIGITS = 16 };

struct peer_conn {
    int fd; /* -1: not connected */
    SSL *ssl;
    int index;
    bool is_writer, is_ready, is_gone;
    struct buf in;  /* what is not a whole message yet */
    struct buf out; /* what the window or the socket did not take yet: a writer's */
    /* HTTP/2 */
    struct buf message; /* bytes of DATA that are not a whole gRPC message yet */
    uint32_t stream;    /* the newest of a writer */
    int64_t window,
        stream_window;    /* of the connection and the newest stream, for what we send */
    int64_t first_window; /* of a stream */
    uint64_t answers;     /* frames with DATA that came */
    /* what is counted */
    nsec_t done;            /* when the newest value came */
    uint64_t has;           /* its sequence number */
    uint64_t seen;          /* the highest one so far */
    uint64_t bytes;         /* that came by the socket, of any sort */
    uint64_t revision;      /* of Trimtab: of the newest batch */
    uint64_t put, answered; /* a writer's */
};

struct peer {
    const char *name;
    /* Asks for the value and its changes; conn_ready follows when the first state is here. */
    void (*watch)(struct peer_conn *c);
    /* Makes a connection fit for put; conn_ready follows, or is called at once. */
    void (*write)(struct peer_conn *c);
    /* Key 0 is the one that is watched. conn_answered follows when it is durable. */
    void (*put)(struct peer_conn *c, uint64_t key, struct str value);
    /* Takes what came; returns how much of it. */
    size_t (*receive)(struct peer_conn *c, struct str in);
    /* Asks a connection for puts for a key; conn_answered follows. NULL: that is not measured. */
    void (*get)(struct peer_conn *c, uint64_t key);
};

extern const struct peer peer_trimtab, peer_etcd, peer_redis, peer_zookeeper, peer_raw;

/* What a run needs; set by main. */
struct bench {
    const struct peer *peer;
    const char *host;
    uint16_t port;
    const char *socket; /* a unix socket instead; NULL: none */
    const char *token;  /* of Trimtab */
    SSL_CTX *tls;       /* NULL: plain */
    bool is_watched;    /* somebody watches key 0: Redis publishes */
    bool creates;       /* what is put is not there yet: ZooKeeper must know */
    size_t n;           /* watchers */
    struct peer_conn *conns;
    size_t size;            /* of a value */
    uint64_t ready, values; /* watchers that have their first state; values received */
    uint64_t answered;      /* puts */
    bool may_end;           /* a connection may: its server is being restarted */
    bool counts_ends;       /* a watcher that is ended is counted, and stays away */
    uint64_t ended;         /* of these */
    struct buf
        cursor; /* of Trimtab: where the watchers of one view stand, for a reconnection */
    void (*on_value)(struct peer_conn *c, uint64_t before);
    char *expected; /* when set, each value must be exactly this */
    const char *(*group_of)(
        size_t index);  /* of Trimtab: a watcher's label; NULL: it has none */
    bool asks_rollouts; /* of Trimtab: a writer does nothing else from now on */
    uint64_t rollout;   /* the one of its newest answer */
};

extern struct bench bench;

_Noreturn void die(const char *what);

/* Connects (false when refused) and says its first words. */
bool conn_dial(struct peer_conn *c, bool is_writer);
void conn_hang_up(struct peer_conn *c);
/* Sends all; waits for the socket if it must. */
void conn_send(struct peer_conn *c, const void *bytes, size_t len);

/* The peers tell what they received. */
void conn_ready(struct peer_conn *c);
void conn_value(struct peer_conn *c, struct str value);
void conn_answered(struct peer_conn *c);
void conn_gone(struct peer_conn *c);

/* Waits for events at most so many milliseconds (-1: for ever) and takes them. */
void bench_turn(int wait_ms);
void bench_connect_watchers(void);

/* Integers, most significant byte first. */
void put_u32(struct buf *b, uint32_t v);
uint32_t get_u32(const char *at);

#endif
