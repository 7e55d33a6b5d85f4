/*
 * Protection: what may only be changed by a gray release.
 *
 * A resource is protected by its own metadata, or by a rule trimtab/protection/NAME:
 *
 *   {"namespaces": ["shop/prod", "bank*"], "labels": "tier=core", "reason": "ask the team first"}
 *
 * Namespaces are patterns with *; labels is a selector over those of the resource; all that is given must fit.
 */
#ifndef TRIMTAB_MODEL_PROTECTION_H
#define TRIMTAB_MODEL_PROTECTION_H

#include "model/state.h"

#define PROTECTION_KIND STR("protection")

/* Whether content is a rule. ERR_INVALID with what is wrong, ERR_LIMIT, ERR_NOMEM. */
must_use int protection_check(struct str content, struct err *err);

/*
 * Who protects the stable version of key: by is "its metadata" or the id of a rule. 0 when nobody does, PROTECTED, or
 * ERR_NOMEM. A resource that is not there has no labels, but its namespace may be protected.
 */
enum { PROTECTED = 1 };
must_use int protection_find(const struct state *s, struct str key, struct buf *by);

#endif
