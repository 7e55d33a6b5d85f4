/*
 * Readable namespaces of one subscriber.
 *
 * A subscription needs the right to subscribe in each of its layers; without one of them it is refused whole. Its items bring
 * along the resources that they refer to, also from other namespaces: there the subscriber must hold the right to view or to
 * subscribe. `readable` lists the namespaces in which it holds one of the two, so that all subscribers with equal lists share
 * one closure (model/closure.h, feed/classes.c).
 *
 * NULL is everything; most subscribers have that.
 */
#ifndef TRIMTAB_MODEL_READABLE_H
#define TRIMTAB_MODEL_READABLE_H

#include "base/buf.h"
#include "model/rights.h"
#include "model/scope.h"

struct readable {
    _Atomic uint32_t refs;
    struct sha256 identity; /* equal for equal lists */
    size_t n;
    struct str at
        []; /* namespaces, none of them below another, in the order of str_cmp; their text follows */
};

struct readable *readable_ref(struct readable *r);   /* takes NULL */
struct readable *readable_unref(struct readable *r); /* always NULL; takes NULL */
OWNED_BY(readable_unref, struct readable *, readable_unref);

/* That of a principal. *ret NULL: everything. ERR_NOMEM. */
must_use int readable_make(const struct rights *r, const struct principal *p,
                           struct readable **ret);

/* Whether a namespace is in it. */
bool readable_has(const struct readable *r, struct str space);
/* Whether two lists are the same. A stream goes on as long as its subscriber's list stays the same. */
bool readable_eq(const struct readable *a, const struct readable *b);
/* Equal for equal lists and no others; empty for everything. Borrowed. */
struct str readable_identity(const struct readable *r);

/*
 * Whether a principal may subscribe to all layers of all scopes (their labels filled in). ERR_DENIED for the first that it may
 * not, with the scope as the place.
 */
must_use int scopes_authorize(const struct rights *r, const struct principal *p,
                              const struct scope *scopes, size_t n, struct err *err);

#endif
