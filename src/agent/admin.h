/*
 * What the files of the admin listener share: answers, and the word of whoever judges this host.
 */
#ifndef TRIMTAB_AGENT_ADMIN_H
#define TRIMTAB_AGENT_ADMIN_H

#include "agent/agent.h"

#include <jansson.h>

/* Answers with a document, which it takes over; NULL: no memory. */
void admin_answer_json(struct exchange *x, json_t *j);
/* The token is read, or made. ERR_IO, ERR_INVALID, ERR_LIMIT, ERR_NOMEM. */
must_use int admin_open_token(struct agent *a, struct err *err);
/* What the judges say; NULL: no memory. */
json_t *admin_health_json(const struct agent *a);
/* Takes a caller's word, and answers. */
void admin_health_post(struct agent *a, struct exchange *x);

#endif
