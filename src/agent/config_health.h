/*
 * The [health] sections of the agent's settings; for config.c only.
 */
#ifndef TRIMTAB_AGENT_CONFIG_HEALTH_H
#define TRIMTAB_AGENT_CONFIG_HEALTH_H

#include "agent/config.h"

/* A section begins. ERR_INVALID, ERR_LIMIT, ERR_NOMEM. */
must_use int config_health_begin(struct config *c, struct arena *a, struct str label,
                                 struct err *err);
/* A line of the section that began last. ERR_NOT_FOUND, ERR_INVALID, ERR_NOMEM. */
must_use int config_health_line(struct config *c, struct arena *a, struct str key,
                                struct str value, struct err *err);
/* What must hold of all of them. ERR_INVALID with the section as its place. */
must_use int config_health_check(const struct config *c, struct err *err);

#endif
