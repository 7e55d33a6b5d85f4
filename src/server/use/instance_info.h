/*
 * An instance as people see it, from its presence. REST, gRPC and events share it.
 */
#ifndef TRIMTAB_SERVER_USE_INSTANCE_INFO_H
#define TRIMTAB_SERVER_USE_INSTANCE_INFO_H

#include "base/arena.h"
#include "presence/presence.h"

#include <trimtab/v1/admin.pb-c.h>

/* A message on the arena, which borrows texts of p; NULL without memory. */
Trimtab__V1__InstanceInfo *instance_info(const struct presence *p, const struct moment *at,
                                         struct arena *a);

#endif
