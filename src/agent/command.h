/*
 * Commands of trimtab-agent to the agent that runs on this host.
 */
#ifndef TRIMTAB_AGENT_COMMAND_H
#define TRIMTAB_AGENT_COMMAND_H

#include "agent/config.h"

/* Runs the words of the command line: health ok, health failing -m REASON. Whatever went wrong is in err. */
must_use int command_run(const struct config *config, struct err *err);

#endif
