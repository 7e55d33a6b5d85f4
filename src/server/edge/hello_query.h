/*
 * Who subscribes, and to what, said by the query of a URL: namespaces=a,b&kinds=file&names=*.conf&labels=env:prod, and a cursor.
 */
#ifndef TRIMTAB_SERVER_EDGE_HELLO_QUERY_H
#define TRIMTAB_SERVER_EDGE_HELLO_QUERY_H

#include "server/edge/rest.h"

#include <trimtab/v1/sync.pb-c.h>

/* The hello of a query, on the arena of r, checked as one that came as a message. ERR_INVALID, ERR_NOMEM. */
must_use int hello_from_query(struct rest *r, Trimtab__V1__Hello **ret_hello, struct err *err);

/* A cursor that proves nothing is none: its client gets everything. */
void hello_distrust(Trimtab__V1__Hello *hello);

#endif
