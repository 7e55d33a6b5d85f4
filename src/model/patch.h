/*
 * Patches of metadata: changes that name only what they change, so that setting a label wipes no owner.
 *
 * A patch is made to the newest version when its commit is checked. So two patches of different labels at the same time
 * both come to be.
 */
#ifndef TRIMTAB_MODEL_PATCH_H
#define TRIMTAB_MODEL_PATCH_H

#include "base/arena.h"
#include "model/version.h"

enum { META_CLEAR_MAX = 64 };

struct meta_patch {
    /* Pairs replace those of the same key, references are added; the rest is set where it is not empty. */
    struct meta set;
    /* What is taken away before that: "labels", "labels/KEY", "annotations", "annotations/KEY", "depends_on",
       "depends_on/ID", "description", "owner", "protected", "exclusive". */
    const struct str *clear;
    size_t n_clear;
};

/* ERR_INVALID for a name in clear that is none, with the names as hint; else as meta_check. */
must_use int meta_patch_check(const struct meta_patch *p, struct err *err);

/* What old (NULL: none) comes to by a patch that was checked; it borrows from both, with lists on the arena. ERR_NOMEM. */
must_use int meta_patched(const struct meta *old, const struct meta_patch *p, struct arena *a,
                          struct meta *ret);

#endif
