/*
 * The view of a scope: what one subscriber must have, as a function of a state and its subscription.
 *
 * The effective item of a name is that of the first layer that has it; it is in the scope when a selector takes it. The
 * order of computation is fixed: rollouts come before layers, references after selectors (model/closure.h).
 *
 * A subject is the instance whose view it is: it has the candidates of the rollouts that take it. Without one (NULL)
 * a view is what everybody has who is in no rollout.
 */
#ifndef TRIMTAB_MODEL_SCOPE_VIEW_H
#define TRIMTAB_MODEL_SCOPE_VIEW_H

#include "model/scope.h"
#include "model/state.h"

/* Whose view of what. Borrowed. */
struct viewing {
    const struct scope *scope;
    const struct state *state;
    const struct subject *subject; /* NULL: nobody in particular */
};

/* The effective live version of kind/name, or NULL. Borrowed from the state. Does not ask the selectors. */
struct version *scope_find(const struct viewing *v, struct str kind, struct str name);

/*
 * A walk, in the order of (kind, name), over the selected names of a scope: all that have an item, or those that
 * a commit after `since` touched for the subject in any layer: moves of rollouts that have the subject neither before
 * nor after are passed over, and so is a confirmation of what it had already. Borrows all.
 */
struct scope_walk {
    struct viewing viewing;
    uint64_t since;
    bool is_gray; /* candidates may matter */
    /*
     * Set after scope_walk_init when the subscriber may hold what it had at any revision from `since` on, not only at
     * that one: candidates that came and went meanwhile count then.
     */
    bool is_thorough;
    struct {
        struct tree_walk versions, candidates;
    } layers[]; /* one for each of the scope's */
};

size_t scope_walk_size(
    const struct scope *s); /* bytes of a walk over s, for the caller to allocate */
void scope_walk_init(struct scope_walk *w, const struct viewing *v, uint64_t since);
/* Goes on from this name (kind NUL name), inclusive, instead of from the first. */
void scope_walk_seek(struct scope_walk *w, struct str tail);

/* Whether what the subject has of one resource may be another than before, by the rules of the walk. */
bool scope_walk_touched(const struct scope_walk *w, struct str key);

/*
 * What a name has come to. item is borrowed, NULL when no layer has it any more; key is "kind/name" as kind NUL
 * name. Without since only items come. A touched name whose effective item is the same as before is passed over.
 */
struct scope_step {
    struct version *item;
    struct str key;
};
bool scope_walk_next(struct scope_walk *w, struct scope_step *ret_step); /* false at the end */

/* Digest and number of all items of a scope, by a full walk. ERR_NOMEM. */
must_use int scope_digest(const struct viewing *v, struct digest *ret_digest,
                          uint64_t *ret_count);

/*
 * How much the subject's view of a scope differs from nobody's, because of the live rollouts that take it: what is to
 * be added to digest and count. Costs in proportion to what those rollouts carry. False: they carry nothing that the
 * scope would take, not even in a layer that is hidden now.
 */
bool scope_gray(const struct viewing *v, struct digest *ret_digest, int64_t *ret_count);

#endif
