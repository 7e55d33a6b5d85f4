/*
 * Subscriptions over HTTP.
 */
#ifndef TRIMTAB_SERVER_EDGE_SUBSCRIBE_HTTP_H
#define TRIMTAB_SERVER_EDGE_SUBSCRIBE_HTTP_H

#include "server/edge/rest.h"

void subscribe_http_snapshot(struct rest *r);
void subscribe_http_poll(struct rest *r);
void subscribe_http_events(struct rest *r);
void subscribe_http_ack(struct rest *r);

#endif
