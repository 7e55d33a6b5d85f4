/*
 * What the hub of the simulated server claims: its roster of instances, which its lanes tell how their streams stand (lanes.h),
 * the driver of automatic rollouts, put together as the server does it (server/rollout/driver.c), and waits for commits; and each
 * claim held against the model of judgement.
 */
#ifndef TRIMTAB_TESTS_SIM_CLAIMS_H
#define TRIMTAB_TESTS_SIM_CLAIMS_H

#include "judge.h"

#include "feed/feed.h"
#include "proto/record.h"
#include "model/drive.h"
#include "presence/attendance.h"
#include "presence/fate.h"
#include "presence/headcount.h"

enum {
    DRIVES_MAX = 64,
    CLAIMS_WHY_MAX = 256,
    WAITS_MAX = 8,
    WAIT_KEYS_MAX = 8,
    WAIT_KEY_ROOM = 24
};

/* A commit that somebody may wait for. */
struct waiting {
    uint64_t revision; /* 0: none */
    bool is_start;
    struct str keys[WAIT_KEYS_MAX];
    size_t n_keys;
    char rooms[WAIT_KEYS_MAX][WAIT_KEY_ROOM];
};

/* A live rollout as the driver knows it. */
struct driving {
    uint64_t id;
    struct soak soak;
    struct headcount heads;
};

struct claims {
    struct roster roster;
    struct attendance attendance;
    struct oracle *oracle;
    struct truth *truths; /* by client */
    struct {
        uint64_t seat,
            boot; /* which stream has the instance by the order of arrivals; and the start of its program */
    } holders[TARGETS_MAX_SIM];
    int n;
    nsec_t now, opened;              /* the second: when the server started */
    uint64_t started_at;             /* revision at which it started */
    struct waiting waits[WAITS_MAX]; /* the newest, by revision modulo WAITS_MAX */
    struct driving drives[DRIVES_MAX];
    int n_drives;
    uint64_t n_checked, n_well, n_hidden, n_went_on,
        n_waited;                   /* how often there was something to judge */
    char violation[CLAIMS_WHY_MAX]; /* the first; "" for none */
};

void claims_init(struct claims *c, struct oracle *oracle, struct truth *truths, int n);
void claims_deinit(struct claims *c);
/* The server starts; forgets: its store knows nothing of instances and targets that were there. */
void claims_start(struct claims *c, bool forgets, nsec_t now);

/*
 * For the model: this seat was let in and has the instance of the client; whether it has; what was so of its host when its lane
 * said how it stands (told NULL: as the last time); and what was said of its health.
 */
void claims_taken(struct claims *c, int client, uint64_t seat, uint64_t boot);
bool claims_has(const struct claims *c, int client, uint64_t seat);
void claims_told(struct claims *c, int client, uint64_t seat, const struct told *told,
                 uint64_t revision);
void claims_judged(struct claims *c, int client, const Trimtab__V1__Health *health);

struct moment claims_moment(const struct claims *c);
int64_t claims_wall(const struct claims *c);

/* A commit that somebody may wait for. */
void claims_commit(struct claims *c, const struct record *record, uint64_t revision);
/* Whether the wait for it is over, which is held against the model. False: nobody can wait for that one. */
bool claims_wait(struct claims *c, struct state *state, uint64_t revision);

/* Holds all claims about instances and targets against the model. */
void claims_check(struct claims *c, struct state *state, uint64_t revision);

/* What the driver decides for one of its rollouts, which is then held against the model; false: nothing to be done. */
bool claims_drive(struct claims *c, struct state *state, uint64_t *ret_id,
                  struct decision *ret);

/* The client whose id this is. */
int client_number(const char *id);

enum presence_state claims_state(const struct claims *c, const char *id);

#endif
