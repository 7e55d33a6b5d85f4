/*
 * The half of the HTTP/1.1 engine that deals with heads; used by the other half, http1.c, only. And the grammar of
 * names and values, which answers are checked against too.
 */
#ifndef TRIMTAB_NET_HTTP1_HEAD_H
#define TRIMTAB_NET_HTTP1_HEAD_H

#include "net/http1.h"

/* RFC 9110 5.6.2 token: not empty. */
bool http_is_token(struct str s);
/* Free of control bytes other than tabs. */
bool http_is_value(struct str s);

/* Collects and scans; HTTP1_HEAD when it is complete and good. As http1_feed. */
must_use int http1_collect_head(struct http1 *h, struct str *input);
/* Takes the complete block apart. */
must_use int http1_read_head(struct http1 *h);

#endif
