/*
 * Orders of the server: tries again what it is told to, and holds everything while the fleet is paused. What was carried
 * out is kept in a file, so that a restart neither forgets a pause nor does an order twice.
 *
 *   (O1) An order is acknowledged after what came of it was told, and after that was written down.
 *   (O2) While a job is under way an order waits: what that job began before the order came is no new try.
 *   (O3) A pause is of one history. When the server has another one, the pause ends with the first word of that history
 *        that does not say it anew.
 */
#ifndef TRIMTAB_AGENT_ORDERS_H
#define TRIMTAB_AGENT_ORDERS_H

#include "sync/sync.h"

struct agent;

enum { ORDER_TEXT_MAX = 1000 };

struct order_waiting;

struct orders {
    const char *path;                            /* on the agent's arena */
    unsigned char store_id[SYNC_STORE_ID_BYTES]; /* whose orders these are */
    uint64_t done, fleet;                        /* newest that were carried out */
    bool is_paused;
    bool is_doubtful;                /* O3: the server has another history */
    char reason[ORDER_TEXT_MAX + 1]; /* of the pause */
    struct order_waiting *first;     /* O2, oldest first */
    uint64_t running;                /* newest that is being carried out; 0: none */
};

/* Reads the file; one that is broken is told and begun anew. Before the first link. ERR_NOMEM. */
must_use int orders_open(struct agent *a, struct err *err);
void orders_close(struct agent *a);

/* An operation of sync: an order came; NULL: the server has another history. */
void orders_take(void *agent, const struct sync_order *order);
/* A batch or a bookmark came. */
void orders_heard(struct agent *a);
/* An operation of the job: nothing is to be applied, and what is served was told. */
void orders_idle(void *agent);

#endif
