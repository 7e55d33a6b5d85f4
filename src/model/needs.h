/*
 * What a commit needs: the rights that its author must hold, and where.
 *
 *   a change                publish in its namespace
 *   a new reference         refer in the namespace of its target, if that is another one
 *   a move of a rollout     operate in the namespaces of its candidates. A start needs publish for them, too; a confirmation
 *                           does not, since its candidates are those that the start published
 *   past a protection       approve, where a rule asks for it: a confirmation, or an override
 *   a grant                 admin in each of its namespaces, before and after
 *   a protection            admin in the namespaces that it is about, before and after
 *   other trimtab/...       admin on everything: kinds, tokens
 *   an order                retry or release in the namespaces of its resources, on everything when it names none; stop on
 *                           everything for the switch of the fleet
 *   the release of a restore   admin on everything
 *
 * A dry run needs edit instead of publish, and view instead of operate. A change without effect needs the same rights as any
 * other: else a caller could guess the content of a resource and try.
 */
#ifndef TRIMTAB_MODEL_NEEDS_H
#define TRIMTAB_MODEL_NEEDS_H

#include "model/commit.h"
#include "model/rights.h"

struct need {
    enum right_to right;
    struct str space; /* SPACE_EVERYTHING: on everything */
    struct str id; /* of the change or reference that needs it; no data: a move or an order */
};

struct needs {
    VEC(struct need) list; /* each pair of right and namespace once */
    struct arena arena;    /* of texts that the commit and the state do not have */
};

enum needs_purpose { NEEDS_COMMIT, NEEDS_DRY_RUN };

/*
 * Without plans: the needs that are known before commit_check, so that an author without rights learns nothing from its other
 * refusals. With plans: all of them, references included. Borrows the state, the commit and the plans. Malformed ids are
 * passed over: the check refuses them. ERR_NOMEM.
 */
must_use int needs_make(const struct state *s, const struct commit *c,
                        const struct change_plan *plans, enum needs_purpose purpose,
                        struct needs *ret);
void needs_deinit(struct needs *n);
static inline void needs_cleanup(struct needs *n)
{
    needs_deinit(n);
}

/* 0, or ERR_DENIED for the first that is missing, with the place. */
must_use int needs_check(const struct needs *n, const struct rights *r,
                         const struct principal *p, struct err *err);

/* Both in one, by the rights of the state itself. A committer calls it before commit_check and once more after it. */
must_use int commit_authorize(const struct state *s, const struct commit *c,
                              const struct change_plan *plans, enum needs_purpose purpose,
                              const struct principal *p, struct err *err);

/* The needs of an order by itself. ERR_NOMEM. */
must_use int needs_of_order(const struct order_request *q, struct needs *ret);

#endif
