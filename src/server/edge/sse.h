/*
 * Streams of server-sent events (WHATWG HTML, section 9.2): what all of them say besides their events. Proxies are told to
 * pass on what comes when it comes, readers how soon to come back, and a comment every while shows that the stream lives.
 */
#ifndef TRIMTAB_SERVER_EDGE_SSE_H
#define TRIMTAB_SERVER_EDGE_SSE_H

#include "server/edge/rest.h"

struct sse {
    struct exchange *x;
    struct timer alive;
    bool is_ended; /* nothing more is sent; on_close of the exchange follows */
};

/* The exchange's ops are set already. A HEAD is ended at once. */
void sse_begin(struct sse *s, struct rest *r);
/* One or more events, ready made. Nothing is done about failures: on_close tells. */
void sse_put(struct sse *s, const struct segment *events);
/* Ends it, with a reason for people unless NULL. */
void sse_end(struct sse *s, const char *reason);
/* In on_close. */
void sse_closed(struct sse *s);

#endif
