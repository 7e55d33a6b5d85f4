/*
 * The way out of every answer of REST that is not a stream: says nothing anew to who has it already, and compresses for who takes
 * it (RFC 9110, sections 8.8, 12.5 and 13.1.2). What would hold up the loop is compressed by a worker.
 */
#ifndef TRIMTAB_SERVER_EDGE_ANSWER_H
#define TRIMTAB_SERVER_EDGE_ANSWER_H

#include "server/edge/rest.h"

enum {
    ANSWER_PACK_MIN = 1 << 10,     /* smaller ones gain nothing */
    ANSWER_PACK_ON_LOOP = 1 << 18, /* larger ones are a worker's */
    ANSWER_PACK_MAX =
        64
        << 20, /* that a lane has with workers at one time; beyond it an answer goes as it is */
    ANSWER_HEADERS_MAX = 8, /* besides those that are made of what is below */
};

struct answer {
    int status;
    struct str type; /* of the content */
    struct str etag; /* strong, with its quotes; empty: there is none */
    const struct http_header *headers;
    size_t n_headers;
    struct segment body;
};

/*
 * Sends it, and frees r, now or when it is compressed. Everything is borrowed until return; the owner of the body gets a
 * reference.
 */
void answer_send(struct rest *r, const struct answer *a);

/* The same for a text that was made for this answer. type is a C string. */
void answer_text(struct rest *r, int status, const char *type, struct str text);

/* Whether the client has what this tag stands for, so that 200 will become 304, and no body is needed. */
bool answer_is_known(const struct rest *r, struct str etag);

#endif
