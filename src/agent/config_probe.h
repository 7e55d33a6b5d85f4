/*
 * What --check_config proves beyond the text of the settings: that commands, folders and labels they name are there.
 */
#ifndef TRIMTAB_AGENT_CONFIG_PROBE_H
#define TRIMTAB_AGENT_CONFIG_PROBE_H

#include "agent/config.h"

/* ERR_NOT_FOUND, ERR_INVALID with the place and what would help; the first that is found. Runs the shell, not the commands. */
must_use int config_probe(const struct config *config, struct err *err);

#endif
