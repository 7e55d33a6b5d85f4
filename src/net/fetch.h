/*
 * One request to an HTTP/1.1 server in plain text: connect, ask, hear the answer, close. For probes, and for what our own
 * programs have to say to each other's admin listeners; keeps no connection, follows no redirection.
 *
 *   LOOKING UP ---> CONNECTING (one address after the other) ---> ASKED ---> answered, failed, late, or cancelled
 *
 * Belongs to one loop and its thread.
 */
#ifndef TRIMTAB_NET_FETCH_H
#define TRIMTAB_NET_FETCH_H

#include "base/err.h"
#include "base/str.h"
#include "net/loop.h"

struct fetch;

enum { FETCH_HEAD_MAX = 64 * 1024 };

/* One of the two: an answer (whatever its status says), or err. Valid until done returns. */
struct fetch_result {
    int status;
    struct str body;       /* empty when body_max was 0 */
    const struct err *err; /* ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_INVALID, ERR_LIMIT, ERR_NOMEM */
};

struct fetch_opts {
    struct loop *loop;
    const char *url;     /* http://host[:port][/path][?query] */
    const char *address; /* where to connect instead, as a server's address; NULL: the URL's */
    const char *method;  /* NULL: GET */
    const char *token;   /* sent as a bearer token; NULL: none */
    struct str json;     /* the body of the request; empty: none */
    size_t body_max; /* the answer's body may have that many bytes; 0: it is not waited for */
    uint64_t timeout_ms; /* for all of it */
    void (*done)(
        void *ctx,
        const struct fetch_result *result); /* once, from the loop; the fetch is gone then */
    void *ctx;
};

/* Whether this is a URL that can be fetched. ERR_INVALID, with what is expected. */
must_use int fetch_check(const char *url, struct err *err);

/* All of opts is copied. ERR_INVALID (the URL, the address), ERR_NOMEM: done is not called then. */
must_use int fetch_start(const struct fetch_opts *opts, struct fetch **ret_fetch,
                         struct err *err);

/* Breaks off; done is not called any more. */
void fetch_cancel(struct fetch *f);

#endif
