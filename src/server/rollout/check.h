/*
 * What is asked of the fleet before a move of a rollout is made: whether it is for anybody, and whether its targets speak
 * against it. What only the log knows is checked with the commit (model/moves.h). Belongs to the hub's thread.
 */
#ifndef TRIMTAB_SERVER_ROLLOUT_CHECK_H
#define TRIMTAB_SERVER_ROLLOUT_CHECK_H

#include "server/rollout/driver.h"
#include "server/rollout/view.h"

/* Who is chosen is decided before the rollout has the id that would be its salt: a random one, on the arena. */
struct str rollout_salt(struct arena *a);

/* A step that is to begin. Borrowed. */
struct beginning {
    const Trimtab__V1__Step *asked;
    struct step *step; /* made of it; the check compiles its targets */
    struct str salt;
    const struct interest *interest;
    bool is_automatic;
};

/*
 * A step that no known instance matches is most often a typo in a selector, and locks its resources for nobody: refused
 * unless the request allows it, or says nothing of it and a person will look after the rollout. ERR_INVALID with the place
 * "step N", ERR_NOMEM, and what step_check answers.
 */
must_use int rollout_check_matches(const struct roster *roster, const struct beginning *b,
                                   size_t number, struct arena *a, struct err *err);

/*
 * A confirmation of r: notes in m whether the newest step meets its criteria now. When targets refuse, fail, are away or
 * lost it needs a reason `force`, which is then kept with the move. ERR_REFUSED, ERR_NOMEM.
 */
must_use int rollout_check_confirm(struct driver *d, const struct rollout *r, const char *force,
                                   struct rollout_move *m, struct err *err);

/* How many of the connected instances that the newest step of r takes fail already with what they run now. */
must_use int rollout_count_failing(const struct roster *roster, const struct rollout *r,
                                   uint64_t *ret);

#endif
