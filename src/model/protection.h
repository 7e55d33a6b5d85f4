/*
 * Protection: what may only be changed by a gray release.
 *
 * A resource is protected by its own metadata, or by a rule trimtab/protection/NAME:
 *
 *   {"namespaces": ["shop/prod", "bank*"], "labels": "tier=core", "reason": "ask the team first", "approval": true}
 *
 * Namespaces are patterns with *; labels is a selector over those of the resource; all that is given must fit. With approval,
 * who confirms a rollout of what is protected, or overrides the protection, needs the right to approve there.
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
/* Whether one of the rules that protect key asks for approval: 0, PROTECTED or ERR_NOMEM. */
must_use int protection_asks(const struct state *s, struct str key);

/*
 * Calls fn for the namespaces that a rule is about, until it returns something else than 0, which is returned. A pattern is given
 * as the namespace above all that it fits; no namespaces, or a text that is no rule, as SPACE_EVERYTHING. ERR_NOMEM.
 */
typedef int protection_space_fn(void *ctx, struct str space);
must_use int protection_spaces(struct str content, protection_space_fn *fn, void *ctx);

#endif
