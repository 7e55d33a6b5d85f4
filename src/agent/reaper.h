/*
 * The reaper: in a container the agent may be the process that gets the orphans of all others, and whoever does not wait
 * for them has them as zombies for ever. Waits for whatever is not a command of the agent's own.
 */
#ifndef TRIMTAB_AGENT_REAPER_H
#define TRIMTAB_AGENT_REAPER_H

#include "net/loop.h"

struct reaper {
    struct signal_watch on_child;
    struct defer reap;
    struct loop *loop;
};

/* Does nothing in a process that gets no orphans. Its memory must stay until the loop is closed. */
must_use int reaper_open(struct reaper *r, struct loop *loop, struct err *err);
void reaper_close(struct reaper *r);

#endif
