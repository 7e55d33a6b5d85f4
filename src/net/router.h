/*
 * A table of routes: which methods a path has, what a caller needs, which parameters are known, how much it may send. One
 * table is the only source of that, for answering, for the header Allow, and for what is documented.
 *
 * Pure: paths and methods come in as slices. A table is static and may be read by all threads.
 */
#ifndef TRIMTAB_NET_ROUTER_H
#define TRIMTAB_NET_ROUTER_H

#include "base/err.h"
#include "base/str.h"

struct route {
    const char *method;    /* GET answers HEAD, too */
    const char *path;      /* ends in "**" when the rest of the path is an id */
    const char *operation; /* what documents call it */
    unsigned right;        /* that its caller needs, as the table's owner counts them; 0: none */
    size_t body_max;       /* bytes; 0: it has no body */
    const char *query;     /* the parameters that there are, a blank around each; NULL: others judge them */
    const void *ctx;       /* of the table's owner: how it is answered */
};

struct router {
    const struct route *routes;
    size_t n;
};

enum { ROUTER_METHODS_MAX = 64 };

/*
 * The route of a request; *ret_rest is what its "**" stands for, not decoded. NULL: *ret_status is 404, or 405 when the path
 * has other methods.
 */
const struct route *router_find(const struct router *r, struct str method, struct str path,
                                struct str *ret_rest, int *ret_status);

/* The methods that a path has, for the header Allow (RFC 9110, section 10.2.1). */
void router_methods(const struct router *r, struct str path, char out[ROUTER_METHODS_MAX]);

/* A word of the query that the route does not know is a mistake: ERR_INVALID names it, and what there is. */
must_use int route_check_query(const struct route *route, struct str query, struct err *err);

#endif
