/*
 * Errands: work that a lane wants done on the hub's thread, and whose result it takes on its own.
 *
 *   lane                       hub
 *   errand_send ------------>  run(errand)
 *   done(errand) <-----------  errand_return, in run or later
 *
 * Errands of one lane reach the hub in the order in which they were sent, behind everything that the lane posted before; what
 * the hub posts to the lane before errand_return arrives there before it. An errand whose home is the hub's own loop is run at
 * once. The memory is the sender's until done.
 */
#ifndef TRIMTAB_SERVER_HUB_ERRAND_H
#define TRIMTAB_SERVER_HUB_ERRAND_H

#include "server/hub/hub.h"

struct errand {
    void (*run)(struct errand *e);  /* on the hub's thread */
    void (*done)(struct errand *e); /* on the home loop */
    struct hub *hub;
    struct loop *home;
    struct post post;
    bool is_away; /* on another loop than its home's */
};

/* From the home loop's thread; run and done are set. */
void errand_send(struct errand *e, struct hub *hub, struct loop *home);
/* The hub's thread hands it on to another lane, which runs fn(post, errand) and returns it. */
void errand_go_on(struct errand *e, struct loop *loop, void (*fn)(struct post *post, void *e));
/* On whichever thread has it, once. */
void errand_return(struct errand *e);

#endif
