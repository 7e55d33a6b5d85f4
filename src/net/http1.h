/*
 * HTTP/1.1 requests taken apart: bytes in, events out, no sockets. Internal to net.
 *
 * The head is collected whole (it is bounded) before anything is believed, so its names and values are slices of
 * one block, and the checks that llhttp leaves to its users (RFC 9112: space before the colon, folded lines, bare
 * line feeds, Host) are made on whole lines. llhttp then decides about the framing of the body and takes it apart.
 */
#ifndef TRIMTAB_NET_HTTP1_H
#define TRIMTAB_NET_HTTP1_H

#include "base/buf.h"
#include "base/vec.h"
#include "net/http.h"

#include <llhttp.h>

struct http1_limits {
    uint32_t request_line, header_list, header_count;
};

/* A request's head. Slices point into block; both belong to whoever has taken the head. */
struct http1_head {
    char *block;
    struct str method, path, query, authority;
    VEC(struct http_header) headers; /* names in lower case */
    int version;                     /* 10 or 11 */
    bool keep_alive, expects_continue, is_chunked;
    uint64_t content_length; /* 0 without a body; of no meaning when chunked */
};

#define HTTP1_HEAD_NULL ((struct http1_head){0})
void http1_head_deinit(struct http1_head *head);

/* Why a request is refused: what the answer says. */
struct http1_refusal {
    int status;
    const char *code, *message;
};

enum http1_event {
    HTTP1_NEED_MORE = 0, /* all input was taken */
    HTTP1_HEAD = 1,      /* http1_take_head; go on feeding for the body */
    HTTP1_END = 2,       /* the message is complete; http1_next before the next */
    HTTP1_REFUSED = 3,   /* see refusal; nothing more is taken */
};

/*
 * Where in a chunked body the next byte is (RFC 9112, section 7.1). Extensions of chunks mean nothing here and are left out
 * before the parser sees them, as it knows only some of their forms.
 */
struct chunk_scan {
    enum {
        CHUNK_SIZE,
        CHUNK_EXTENSION,
        CHUNK_SIZE_END,
        CHUNK_DATA,
        CHUNK_DATA_END,
        CHUNK_TRAILERS,
    } at;
    uint64_t left;       /* of its data */
    unsigned line_bytes; /* of the line end behind it */
};

struct http1 {
    struct http1_limits limits;
    enum { HTTP1_IN_HEAD, HTTP1_IN_BODY, HTTP1_AT_END, HTTP1_BROKEN } state;
    llhttp_t parser;
    struct buf block; /* the head so far */
    size_t scanned;   /* of block */
    size_t line;      /* where the line begins that is being scanned */
    size_t n_lines, headers_at;
    struct http1_head head;
    struct http1_refusal refusal;
    size_t overhead;      /* bytes of chunk framing since the last byte of body */
    const char *body_end; /* of the piece of input at hand */
    bool is_complete;
    struct chunk_scan chunks;
    void (*on_data)(void *ctx,
                    struct str bytes); /* a piece of the body, from inside http1_feed */
    void *ctx;
};

void http1_init(struct http1 *h, const struct http1_limits *limits,
                void (*on_data)(void *, struct str), void *ctx);
void http1_deinit(struct http1 *h);

/* Takes bytes from *input, which is moved on. Returns enum http1_event or ERR_NOMEM. */
must_use int http1_feed(struct http1 *h, struct str *input);

/* Hands the head over, once after HTTP1_HEAD. */
struct http1_head http1_take_head(struct http1 *h);

/* After HTTP1_END: ready for the next request. */
void http1_next(struct http1 *h);

/* Whether a byte of a request has been seen. */
static inline bool http1_is_idle(const struct http1 *h)
{
    return h->state == HTTP1_IN_HEAD && h->block.len == 0;
}

/* The standard phrase of a status, "Unknown" for others. */
const char *http_reason(int status);

/* Status line and headers, closed by the empty line; extra is one ready-made line with CRLF, or empty. */
void http1_put_head(struct buf *out, int status, const struct http_header *headers, size_t n,
                    struct str extra);

#endif
