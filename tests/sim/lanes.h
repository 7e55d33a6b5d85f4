/*
 * The simulated server inside: a hub and several lanes, with a feed in each and messages between them. What the server's lanes and
 * hub do with a message is done here by the same functions (feed, presence/attendance.h); in place of the threads' loops there
 * are two queues for each lane, one in each direction.
 *
 *   (L1) What the hub and one lane say to each other arrives in the order in which it was said (server/hub/seat.h).
 *   (L2) What is said to one lane, or by one, says nothing of when the words of another arrive: every interleaving may come.
 *   (L3) The hub has a publication before its lanes; the first lane is on the hub's own loop and has it at once.
 *   (L4) A lane tells the hub in one message how all its streams stand, and up to which revision that is all.
 *   (L5) A stream whose client is gone stays until the lane notices, with what was on its way to it; meanwhile its client may
 *        have another one in another lane.
 */
#ifndef TRIMTAB_TESTS_SIM_LANES_H
#define TRIMTAB_TESTS_SIM_LANES_H

#include "claims.h"
#include "wire.h"

enum { LANES_MAX_SIM = 4 };

struct lanes;

/* A stream's place at the hub: what crosses between it and its lane. */
struct seat {
    struct link link; /* in lanes.seats, from arrival to departure */
    uint64_t number;
    int refs; /* the stream's, the hub's from arrival to departure, and those of letters */
    struct attendee attendee;
    struct introduction *who;
    struct stream *stream; /* the lane's; NULL: it has departed */
    int client;
    uint64_t boot;
    bool is_leaving; /* it was told to */
};

/* One stream, in its lane. */
struct stream {
    struct link link; /* in lane.streams */
    struct lane *lane;
    struct feed_session *session;
    struct seat *seat; /* NULL: it has not said hello */
    struct queue to_server, to_client;
    int client;
    uint64_t boot;      /* of the client's program */
    bool is_taken;      /* the hub has let it in */
    bool is_restless;   /* the hub does not know how it stands */
    bool has_spoken;    /* since then */
    nsec_t alone_since; /* its client is gone and the lane does not know; 0: it is there */
    bool is_dead;       /* then: without a word, so that only a ping tells */
    struct saying said; /* with the last report that was taken */
    struct told told;   /* what was so of its host when the hub was told last */
    struct told left;   /* when its client left */
};

enum letter_kind {
    LETTER_PUBLISHED, /* to a lane */
    LETTER_TAKEN,
    LETTER_REFUSED,
    LETTER_LEAVE,
    LETTER_AGAIN,
    LETTER_ARRIVAL, /* to the hub */
    LETTER_DEPARTURE,
    LETTER_HEALTH,
    LETTER_STANDINGS,
};

struct letter;

struct letters {
    struct letter *first, **last;
    size_t n;
};

struct lane {
    struct lanes *all;
    size_t number;
    struct feed *feed;
    struct link streams;
    struct letters to_lane, to_hub;
};

/* Memory may fail in what follows. */
enum lanes_memory { MEMORY_FINE, MEMORY_OF_PUBLICATIONS, MEMORY_OF_REPORTS };

struct lanes_ops {
    /* What is so of the host of a stream now. */
    void (*look)(void *ctx, const struct stream *s, struct told *ret);
    /* A stream has ended, and is freed behind this call. */
    void (*ended)(void *ctx, struct stream *s);
    void (*memory)(void *ctx, enum lanes_memory m);
};

struct lanes {
    const struct lanes_ops *ops;
    void *ctx;
    struct claims *claims; /* the hub's */
    struct state *newest;  /* the hub's, borrowed */
    struct link seats;     /* those that have arrived */
    uint64_t last_seat;
    bool misses; /* a planted defect: the last lane misses some publications */
    size_t n;    /* 0: the server is down */
    struct lane at[LANES_MAX_SIM];
    uint64_t n_letters, n_waited, n_late, n_replaced, n_behind,
        n_owing; /* how often there was anything to it */
};

/* Lanes that serve this state. False without memory. ctx of every session is its stream. */
bool lanes_open(struct lanes *l, size_t n, const struct feed_opts *opts, struct state *state);
/* The server ends at once: nothing that is on its way arrives. */
void lanes_close(struct lanes *l);

/* The hub has a newer state, which it hands on to the lanes. */
void lanes_publish(struct lanes *l, struct state *state, struct version *const *versions,
                   size_t n);

/* A stream to this lane. */
struct stream *stream_new(struct lane *lane, int client, uint64_t boot);
/* The lane notices that it is over, or ends it. */
void stream_end(struct stream *s);
/* A hello that is not to be taken yet (feed_must_wait). */
bool stream_must_wait(struct stream *s, const Trimtab__V1__Hello *hello);
/* The feed has taken the hello, or words of a health: on to the hub. False without memory. */
bool stream_arrive(struct stream *s, const Trimtab__V1__Hello *hello);
bool stream_say_health(struct stream *s, const Trimtab__V1__Health *health);

/* A lane tells the hub how its streams stand (L4). */
void lane_speak(struct lane *lane);
/* One letter arrives; false: there is none. */
bool lane_receive(struct lane *lane);
bool hub_receive(struct lane *lane);
/* Whatever is on its way arrives, and what follows from that. */
void lanes_drain(struct lanes *l);
bool lanes_are_quiet(const struct lanes *l);

#endif
