/*
 * Closure: what a view refers to outside its scopes.
 *
 * A subscriber gets what its scopes bind and, transitively, everything that this refers to (I6). The closure of a view
 * is the set of resources that something in the view refers to, that no scope of the subscription binds (selected, and
 * not hidden by a stronger layer), and that exist for the subject.
 *
 *   (X1) An entry counts how many items of the view refer to it: bindings of scopes, and other members of the closure.
 *        The references of one state have no cycle, so the counts alone tell what belongs to it.
 *   (X2) What changes from one view to the next is found from the names that were touched: a step costs what it touches,
 *        and shares everything else with the closure before it. First everything new is counted, then everything old
 *        is taken back, so each entry comes and goes at most once.
 *   (X3) The view of a subject is a step away from that of nobody: the candidates of the rollouts that take it.
 *   (X4) An item that refers, itself or through others, to something that the subscriber may not read is withheld: it is not of
 *        the view, though a scope binds its name, and nothing takes its place. Its references count for nothing. So no member
 *        of the closure is ever withheld, and in what is left each reference resolves (I6, I11).
 */
#ifndef TRIMTAB_MODEL_CLOSURE_H
#define TRIMTAB_MODEL_CLOSURE_H

#include "base/vec.h"
#include "model/readable.h"
#include "model/scope_view.h"

/* Something that a view refers to. Its key is that of the resource. */
struct referred {
    struct tree_item node; /* its revision: of the step that gave it this item */
    uint64_t n;            /* references to it (X1) */
    struct version
        *version; /* the member; NULL: a scope binds it, or it is not there. Referenced */
    char text[];
};

static inline struct referred *referred_of(struct tree_item *item)
{
    return item ? CONTAINER_OF(item, struct referred, node) : NULL;
}

/* A name that a scope binds and that is withheld (X4). Its key: the number of the scope, two bytes, then that of the resource. */
struct withheld {
    struct tree_item node; /* its revision: of the step that withheld it */
    struct version *version; /* referenced */
    char text[];
};

static inline struct withheld *withheld_of(struct tree_item *item)
{
    return item ? CONTAINER_OF(item, struct withheld, node) : NULL;
}

struct closure {
    struct tree *entries;
    struct digest digest;   /* of the members, bound in SCOPE_REFERRED, less that of what is withheld */
    uint64_t count;         /* of members */
    struct tree *withheld;  /* struct withheld */
    uint64_t n_withheld;
    struct digest withheld_names; /* of their keys: equal for equal sets of names */
};
#define CLOSURE_NULL ((struct closure){NULL, {0, 0}, 0, NULL, 0, {0, 0}})

/* How much it adds to the count of what the scopes bind. */
static inline int64_t closure_adds(const struct closure *c)
{
    return (int64_t)c->count - (int64_t)c->n_withheld;
}

/* Whose view of what. Borrowed. */
struct closure_view {
    const struct scope *const *scopes;
    size_t n_scopes;
    const struct state *state;
    const struct subject *subject; /* NULL: nobody in particular */
    const struct readable *readable;  /* NULL: everything */
};

/* What a step changed among the members. */
struct closure_change {
    struct version *before; /* referenced; NULL: it came */
    struct version *after;  /* borrowed from the closure; NULL: it left */
};
struct closure_delta {
    VEC(struct closure_change)
    changes; /* of those whose item is another than before, in no order */
    uint64_t n_left;
    bool has_flipped; /* an item that is bound as before is withheld now and was not, or the other way round */
};
void closure_delta_deinit(struct closure_delta *d);

struct closure closure_ref(const struct closure *c); /* another reference to the same set */
void closure_deinit(struct closure *c);              /* leaves an empty one */

/* The entry of a resource, member or not; NULL: nothing refers to it. Borrowed. */
const struct referred *closure_find(const struct closure *c, struct str key);
/* The next member behind a key (or at it, if is_inclusive); NULL at the end. Borrowed. */
struct referred *closure_next(const struct closure *c, struct str key, bool is_inclusive);

/* Whether the item that a scope (by its number in the view) binds by this key is in a set of withheld ones, or in c's. */
bool withheld_has(const struct tree *withheld, size_t scope, struct str key);
bool closure_withholds(const struct closure *c, size_t scope, struct str key);

/*
 * Whether an item, by its key, would be withheld from a subscriber of that view. 0, WITHHELD or ERR_NOMEM; *ret_cause, if given,
 * is then the first resource that was found which it may not read, borrowed from the state.
 */
enum { WITHHELD = 1 };
must_use int closure_look(const struct closure_view *view, const struct version *v,
                          struct str *ret_cause);

/* The closure of a view, by a walk over all of it. ERR_NOMEM. */
must_use int closure_make(const struct closure_view *view, struct closure *ret);

/* A step from one view to another. Both states live until it returns. */
struct closure_move {
    struct closure_view from, to; /* of the same scopes and what may be read */
    /* Keys of all resources that are something else for the one than for the other; sorted by closure_sort. */
    const struct str *touched;
    size_t n_touched;
};
void closure_sort(struct str *keys, size_t n);

/* Brings c, the closure of `from`, to `to`. delta may be NULL. ERR_NOMEM: c is empty then, and to be made anew. */
must_use int closure_step(struct closure *c, const struct closure_move *m,
                          struct closure_delta *ret_delta);

/*
 * Brings c, the closure of what nobody in particular has, to that of view->subject (X3). *ret_is_in: a rollout that takes
 * the subject carries something that the view refers to, or that lets it refer to something else; or it carries anything, and
 * something is withheld, since nobody follows what that refers to. ERR_NOMEM likewise.
 */
must_use int closure_lens(struct closure *c, const struct closure_view *view, bool *ret_is_in);

/* Whose view, as it was. */
struct closure_past {
    uint64_t since;     /* a revision; 0: nothing existed */
    bool is_thorough;   /* what it was at any revision from then on, not only at that one */
    struct tree *flips; /* struct withheld: names that were withheld then and are not now, or the other way round */
};

/*
 * For who has what the view was in the past: the members that it may not have as they are, as a tree of their entries.
 * ERR_NOMEM.
 */
must_use int closure_news(const struct closure *c, const struct closure_view *view,
                          const struct closure_past *past, struct tree **ret_news);
/* The same when all steps of c since then were of this view alone: those whose item changed in them. ERR_NOMEM. */
must_use int closure_changed(const struct closure *c, uint64_t since,
                             struct tree **ret_changed);

#endif
