/*
 * The content of a change: which type it has, who says so, and whether it is that.
 */
#ifndef TRIMTAB_MODEL_CONTENT_H
#define TRIMTAB_MODEL_CONTENT_H

#include "model/commit.h"

/*
 * Which type a change has before its content is looked at: what it says; else what was declared of the resource before, also
 * of a file that was deleted since; else what it is; else a guess. Fills in the three of the plan.
 */
void content_settle(const struct change *c, struct version *old, struct change_plan *plan);

/*
 * Finds out what content_check will ask of the content of one change on top of s, and notes it with the change, on the arena, as
 * far as there is memory: parsing takes long, and need not be done where commits wait for each other.
 */
void content_look(const struct state *s, struct change *c, struct arena *a);

/*
 * Checks the content against the settled type. A type that was guessed gives way, unless a rule says otherwise (model/guess.h):
 * to evidence in the content, or to text, when the change is to be taken as it is; plan has the new type, and what was
 * seen. ERR_INVALID and ERR_LIMIT with place and hint, ERR_NOMEM.
 */
must_use int content_check(const struct state *s, const struct change *c, struct arena *a,
                           struct change_plan *plan, struct err *err);

#endif
