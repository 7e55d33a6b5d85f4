/*
 * Who waits for something to change: each is looked at once per turn after a change, until it says that it is over.
 * A list belongs to one loop.
 */
#ifndef TRIMTAB_SERVER_HUB_WAITERS_H
#define TRIMTAB_SERVER_HUB_WAITERS_H

#include "base/list.h"
#include "net/loop.h"

struct waiter {
    struct link link;
    /* Returns true when it is over, and must then have removed itself. */
    bool (*check)(struct waiter *w);
};

struct waiters {
    struct link list; /* struct waiter */
    struct defer soon;
    struct loop *loop;
};

void waiters_init(struct waiters *waiters, struct loop *loop);
void waiters_add(struct waiters *waiters, struct waiter *w);
/* Something changed that they may wait for: they are looked at soon. */
void waiters_changed(struct waiters *waiters);

#endif
