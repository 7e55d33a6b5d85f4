/*
 * One resource as a thing of HTTP: requests that are no documents.
 */
#ifndef TRIMTAB_SERVER_EDGE_REST_RESOURCES_H
#define TRIMTAB_SERVER_EDGE_REST_RESOURCES_H

#include "server/edge/rest.h"

/* Commit the body as its content, or that it is deleted, under the request's preconditions. */
void rest_put(struct rest *r);
void rest_delete(struct rest *r);
/* The bytes of its content. */
void rest_contents(struct rest *r);

#endif
