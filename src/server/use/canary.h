/*
 * Declared canaries: the annotation trimtab/canary says for whom a change is, so that what is published becomes a
 * rollout, and publishing the same again with another annotation moves it:
 *
 *   content   annotation            comes to
 *   new       for whom              a rollout of all that changes, to those
 *   the same  for whom, another     the rollout is extended to those, too
 *   the same  for whom, as before   nothing
 *   the same  none                  the rollout is confirmed
 *   stable's  none                  the rollout is rolled back
 *
 * The annotation is an instruction and is not kept with the resource. Its value is a step as a text (proto/step_text.h).
 */
#ifndef TRIMTAB_SERVER_USE_CANARY_H
#define TRIMTAB_SERVER_USE_CANARY_H

#include "server/use/api.h"

/*
 * Takes the annotations from the changes of call->commit, and makes the commit into a move of a rollout when they ask for
 * one, or when the changes are those of a declared rollout. CANARY_NONE: it stays what it was; CANARY_MOVES: it is a move
 * now; CANARY_SAME: there is nothing to do, and the rollout is *ret. ERR_INVALID, ERR_NOMEM with the story.
 */
enum canary_outcome { CANARY_NONE, CANARY_MOVES, CANARY_SAME };
must_use int canary_apply(struct api_call *call, const struct rollout **ret);

/* Takes the annotations away where they are not obeyed: from an override, and from a rollout with a plan of its own. */
void canary_strip(struct commit *c);

#endif
