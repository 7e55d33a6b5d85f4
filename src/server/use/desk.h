/*
 * What the use cases work on. One for the server, on the hub's thread.
 */
#ifndef TRIMTAB_SERVER_USE_DESK_H
#define TRIMTAB_SERVER_USE_DESK_H

#include "server/rollout/driver.h"

struct desk {
    struct hub *hub;
    struct driver *driver;
};

#endif
