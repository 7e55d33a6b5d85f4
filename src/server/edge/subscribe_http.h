/*
 * Subscriptions over HTTP: the same sessions of the feed as by gRPC, with frames as JSON.
 */
#ifndef TRIMTAB_SERVER_EDGE_SUBSCRIBE_HTTP_H
#define TRIMTAB_SERVER_EDGE_SUBSCRIBE_HTTP_H

#include "server/edge/rest.h"

enum { LINGER_MS = 60000 }; /* for which a session of polls waits for the next one */

/* A whole view at one revision; no session. */
void subscribe_http_snapshot(struct rest *r);
/* A session that outlives the request: it waits for the next poll of its instance for LINGER_MS. */
void subscribe_http_poll(struct rest *r);
/* A session for as long as the response streams (server-sent events). */
void subscribe_http_events(struct rest *r);
/* Acknowledges in the name of an instance, or says how it is, to whichever session it has. */
void subscribe_http_ack(struct rest *r);

#endif
