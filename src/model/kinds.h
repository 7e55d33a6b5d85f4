/*
 * The definitions of kinds that hold in one commit: those of the state, and those that the commit itself gives.
 */
#ifndef TRIMTAB_MODEL_KINDS_H
#define TRIMTAB_MODEL_KINDS_H

#include "base/map.h"
#include "model/commit.h"
#include "model/kind.h"

struct kinds {
    const struct state *state;
    const struct commit *commit;
    const struct map *changes; /* key -> struct change of the commit */
    struct map read;           /* name -> struct kind_entry: each definition is read once */
};

void kinds_init(struct kinds *k, const struct state *s, const struct commit *c,
                const struct map *changes);
void kinds_deinit(struct kinds *k);

/*
 * The definition of a kind; *ret is NULL for one that is built in. ERR_INVALID when nobody has registered it; what
 * kind_read may answer.
 */
must_use int kinds_get(struct kinds *k, struct str kind, const struct kind **ret,
                       struct err *err);

/*
 * A change of the namespace of the system: only kinds, protections, grants and tokens are there, each must be well-formed, and
 * no kind may go while a resource of it is there.
 */
must_use int kinds_check_change(struct kinds *k, const struct change *c, struct err *err);

/*
 * Whether the resources that this commit leaves alone still refer to what they referred to, by the definitions that it
 * gives. ERR_CONFLICT names one that does not.
 */
must_use int kinds_check_others(struct kinds *k, struct err *err);

#endif
