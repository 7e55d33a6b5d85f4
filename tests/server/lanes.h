/*
 * The world of the scheduler of hub and lanes: the real ones, on loops that take turns as chance says (lanes.c), the
 * subscribers on them (lanes_client.c), and what is published, with a small model of what each of them is to have and may
 * see (lanes_log.c).
 *
 * The committer is the real one, too, with its own threads; but whoever asks it for something waits for the answer in
 * turns of the hub, so that nothing depends on how fast it is.
 */
#ifndef TRIMTAB_TESTS_SERVER_LANES_H
#define TRIMTAB_TESTS_SERVER_LANES_H

#include "feed/peer.h"
#include "server/lane/subscribe.h"
#include "server/use/desk.h"

enum {
    LANES = 4,
    IDS = 8,
    CLIENTS = 12,
    NAMES = 6,
    TOKENS = 2,
    TRIALS = 2,
    ASKS = 8, /* calls at one time */
    STEPS = 400,
    REVISIONS = STEPS + 32,
};

/* One stream. */
struct client {
    struct subscriber subscriber;
    struct peer peer; /* what it has; its session is the subscriber's */
    int id;
    uint64_t serial; /* among all streams */
    bool is_open, is_thief, is_refused, must_go;
    bool has_waiting_hello;
    bool has_batch, has_lied;
};

/* What is true of an id, whatever the server knows. */
struct truth {
    uint64_t said
        [REVISIONS]; /* revisions whose content one of its streams truly said that it serves */
    size_t n;
};

/* A live rollout of one name, in two steps of which the second takes more. */
struct trial {
    uint64_t id; /* 0: none */
    int name;
    bool deletes;
    struct sha256 hash; /* of the candidate */
    bool is_advanced;
    bool takes[2][IDS]; /* by step */
};

/* What is done by one commit, for the model. */
struct deed {
    void (*note)(const struct deed *d, const struct state *state); /* NULL: nothing to note */
    int name, token;
    bool gives;
    struct trial *trial;
    struct trial start;
};

/* By the test's own books, from what it commits. */
struct model {
    struct sha256 stable[NAMES]; /* hash of the item */
    bool has[NAMES];
    bool has_token[TOKENS], has_grant[TOKENS];
    struct trial trials[TRIALS];
    int n_deletions[NAMES]; /* trials of it that delete it */
};

struct world_of_lanes {
    struct rng rng;  /* of the schedule, */
    struct rng plan; /* and of what is published: the same with any number of lanes */
    struct config config;
    struct hub hub;
    struct driver driver;
    struct desk desk;
    struct loop hub_loop, loops[LANES];
    struct lane lanes[LANES];
    size_t n_lanes;
    struct {
        struct post post;
        bool is_under_way;
    } reviews[LANES];
    struct client clients[CLIENTS];
    struct truth truths[IDS];
    struct model model;
    struct deed deed;
    /* of each revision: what an id is to have, the newest one up to it that changed that, and who might see it */
    struct digest digests[REVISIONS][IDS];
    uint64_t changed[REVISIONS][IDS];
    bool may[REVISIONS][TOKENS];
    uint64_t newest[IDS]; /* the newest stream with an id, let in or not */
    uint64_t n_streams;
    bool is_thiefs[IDS]; /* whose an id is, as far as one was refused */
    int counter;
    uint64_t seed;
    bool fails; /* memory does, now and then */
};
extern struct world_of_lanes world;

/* How often what a run is for has happened, over all of them. */
struct lane_counts {
    uint64_t commits, streams, returned, waited, lies, refusals, replaced, owing, judged;
    uint64_t reviews, ended, barred, entitled, inventories;
    uint64_t statuses, fulfilled, rollouts, gray, published;
    uint64_t starts, advances, confirmations, roll_backs;
};
extern struct lane_counts counts;

static inline uint64_t below(uint64_t n)
{
    return rng_below(&world.rng, n);
}

static inline uint64_t planned(uint64_t n)
{
    return rng_below(&world.plan, n);
}

/* ---- lanes_client.c ---- */

/* Another stream of an id, which may have one; it knows what `before` had (NULL: nothing). */
void client_come(struct client *c, int id, bool is_thief, const struct peer *before);
void client_close(struct client *c);
/* Says hello if its lane serves what it shows; else it waits further. */
void client_greet(struct client *c);
void client_acknowledge(struct client *c, bool lies);
/* Says all that it has, if it was asked. */
void client_answer(struct client *c);
/* Whether it can speak. */
bool client_is_up(const struct client *c);
const struct instance *instance_of(int id);

/* ---- lanes_log.c ---- */

void log_open(void);
void log_close(void);
/* Some commit, by the plan. */
void log_act(void);
/* Rights that were taken away are given back, and rollouts reach their last step. */
void log_finish(void);
/* The trial's candidate is what an id is to have. */
bool trial_takes(const struct trial *t, int id);
/* Knows rollouts: one id does not. */
bool takes_rollouts(int id);
/* The token that an id comes with; -1: it comes with a certificate, which may see everything. */
int token_of(int id);
bool may_now(int token);

/* ---- lanes_calls.c ---- */

enum concern {
    CONCERNS_ALL,
    CONCERNS_TARGETS,
    CONCERNS_NOBODY,
};
/* From some lane: what becomes of a commit of this name, and of a rollout. The answer is judged when it comes. */
void calls_ask_status(uint64_t revision, enum concern concern, int name);
void calls_ask_rollout(uint64_t id);
/* Publishes from some lane; it is done when this returns, but for the answer. */
void calls_publish(const char *id, const char *content);
/* After a turn of the hub: what reads the log has read it. */
void calls_settle(void);
/* For one of those that wait. */
void calls_pass_time(void);
/* Those that wait for what becomes of a commit. */
size_t calls_waiting(void);
/* The server goes: nobody waits any more. */
void calls_end(void);

/* ---- lanes.c ---- */

/* Whether somebody of this id has truly said a content that was that of this revision or a newer one. */
bool said_truly(int id, uint64_t revision);

/* A turn of the hub. One that waits until something has come is not judged: how many it takes depends on other threads. */
void turn_hub(enum loop_wait wait);
/* What must hold after whole turns. */
void judge(void);

#endif
