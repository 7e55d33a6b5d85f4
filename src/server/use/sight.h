/*
 * Sight: what a caller may see (the right to view), by the rights of one state. What he may not see is left out of lists as if it
 * were not there, and refused where he names it.
 */
#ifndef TRIMTAB_SERVER_USE_SIGHT_H
#define TRIMTAB_SERVER_USE_SIGHT_H

#include "model/rights.h"
#include "presence/presence.h"
#include "server/hub/auth.h"

#include <trimtab/v1/admin.pb-c.h>

struct sight {
    struct rights *rights; /* borrowed; NULL: nothing was granted */
    struct principal who;  /* likewise */
    bool is_all;           /* he sees every namespace */
};

struct sight sight_of(struct rights *rights, const struct identity *who);

bool sight_has_space(const struct sight *s, struct str space);
/* By the key of a resource, or by its id; one that is malformed is not seen. */
bool sight_has_key(const struct sight *s, struct str key);
bool sight_has_id(const struct sight *s, const char *id);
/* All candidates of a rollout. */
bool sight_has_rollout(const struct sight *s, const struct rollout *r);
/* An instance is seen by who sees any of the namespaces that it wants, one without scopes by everybody. */
bool sight_has_instance(const struct sight *s, const struct presence *p);
/* Whether all that an instance wants is seen: else what it says of items is kept back. */
bool sight_has_all_of_instance(const struct sight *s, const struct presence *p);

/* Takes from the message of an instance what is not to be seen of it. */
void sight_trim(const struct sight *s, const struct presence *p, Trimtab__V1__InstanceInfo *m);

#endif
