/*
 * The word of a caller on the health of what is served, in a file: who called does not know that the agent was restarted.
 *
 *   failing 17
 *   no space left
 */
#ifndef TRIMTAB_AGENT_WORD_H
#define TRIMTAB_AGENT_WORD_H

#include "agent/health.h"

/* Nothing said when there is no such file. ERR_INVALID (not ours), ERR_IO, ERR_NOMEM, ERR_LIMIT; then too. */
must_use int word_read(const char *path, struct verdict *ret_verdict, struct err *err);

/* Durable when it returns 0. ERR_IO, ERR_NOMEM. */
must_use int word_write(const char *path, const struct verdict *verdict, struct err *err);

#endif
