/*
 * What has changed in the configuration file since the agent read it: it is read once, at the start, but for tokens and
 * certificates; so somebody has to be told what waits for a restart.
 */
#ifndef TRIMTAB_AGENT_CONFIG_DIFF_H
#define TRIMTAB_AGENT_CONFIG_DIFF_H

#include "base/buf.h"
#include "base/err.h"

/*
 * Appends the names of settings that differ between the text from before and the file, never their values:
 * servers, [files "nginx"] reload. ERR_INVALID, ERR_NOT_FOUND: the file as it is now makes no sense. ERR_NOMEM, ERR_IO.
 */
must_use int config_diff(const char *path, struct str before, struct buf *names,
                         struct err *err);

#endif
