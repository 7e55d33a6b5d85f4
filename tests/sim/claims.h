/*
 * What the simulated server claims: its roster of instances, the standing of their sessions, and the driver of automatic
 * rollouts, put together as the server does it (server/subscribe.c, server/driver.c); and each claim held against the model
 * of judgement.
 */
#ifndef TRIMTAB_TESTS_SIM_CLAIMS_H
#define TRIMTAB_TESTS_SIM_CLAIMS_H

#include "judge.h"

#include "feed/feed.h"
#include "model/drive.h"
#include "presence/headcount.h"
#include "presence/roster.h"

enum { DRIVES_MAX = 64, CLAIMS_WHY_MAX = 256 };

/* A live rollout as the driver knows it. */
struct driving {
    uint64_t id;
    struct soak soak;
    struct headcount heads;
};

struct claims {
    struct roster roster;
    struct oracle *oracle;
    struct truth *truths; /* by client */
    int n;
    nsec_t now, opened;  /* the second: when the server started */
    uint64_t started_at; /* revision at which it started */
    uint64_t complete;   /* revision up to which the standing of all sessions was taken */
    struct driving drives[DRIVES_MAX];
    int n_drives;
    uint64_t n_checked, n_well, n_hidden,
        n_went_on;                  /* how often there was something to judge */
    char violation[CLAIMS_WHY_MAX]; /* the first; "" for none */
};

void claims_init(struct claims *c, struct oracle *oracle, struct truth *truths, int n);
void claims_deinit(struct claims *c);
/* The server starts; forgets: its store knows nothing of instances and targets that were there. */
void claims_start(struct claims *c, bool forgets, nsec_t now);

/* A session took this hello. False without memory: the stream must end. */
bool claims_hello(struct claims *c, const Trimtab__V1__Hello *hello, void *stream);
void claims_leave(struct claims *c, const char *id, const void *stream);
/* False without memory: to be tried again. */
bool claims_stand(struct claims *c, const char *id, struct feed_session *session);
bool claims_health(struct claims *c, const char *id, const Trimtab__V1__Health *health);

/* Holds all claims about instances and targets against the model; everybody's standing has been taken. */
void claims_check(struct claims *c, struct state *state, uint64_t revision);

/* What the driver decides for one of its rollouts, which is then held against the model; false: nothing to be done. */
bool claims_drive(struct claims *c, struct state *state, uint64_t *ret_id,
                  struct decision *ret);

/* The client whose id this is. */
int client_number(const char *id);

enum presence_state claims_state(const struct claims *c, const char *id);

#endif
