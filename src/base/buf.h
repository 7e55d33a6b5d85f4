/*
 * Growable bytes with a compulsory ceiling, which remember failure: build the whole text, ask once.
 */
#ifndef TRIMTAB_BASE_BUF_H
#define TRIMTAB_BASE_BUF_H

#include "base/attr.h"
#include "base/str.h"

struct buf {
    char *data;     /* NULL while empty */
    size_t len;     /* bytes in use */
    size_t cap;     /* bytes allocated */
    size_t ceiling; /* len never exceeds this */
    int status;     /* 0, ERR_NOMEM or ERR_LIMIT: the first failure, kept */
};

#define BUF_NULL(ceiling_bytes) ((struct buf){.ceiling = (ceiling_bytes)})

void buf_deinit(struct buf *b);
static inline void buf_cleanup(struct buf *b)
{
    buf_deinit(b);
}

void buf_put(struct buf *b, const void *bytes, size_t len);
void buf_put_str(struct buf *b, struct str s);
void buf_put_c(struct buf *b, const char *text); /* a C string, without its NUL */
void buf_put_byte(struct buf *b, unsigned char byte);
void buf_printf(struct buf *b, const char *fmt, ...) printf_like(2, 3);

/* Makes room for len bytes and returns where to write them, or NULL with the status set. Nothing is appended. */
must_use char *buf_room(struct buf *b, size_t len);
void buf_added(struct buf *b, size_t len); /* after buf_room: that many were written */

void buf_clear(struct buf *b);             /* empty again, failure forgotten, memory kept */
void buf_consume(struct buf *b, size_t n); /* drops the first n bytes */

static inline struct str buf_str(const struct buf *b)
{
    return str_of(b->data, b->len);
}

/* 0, or the first failure. */
must_use static inline int buf_status(const struct buf *b)
{
    return b->status;
}

/* Hands the bytes over, closed by a NUL that len does not count; NULL when it failed. The buffer is empty then. */
must_use char *buf_take(struct buf *b, size_t *ret_len);

/* The text closed by a NUL, valid until the next change; NULL when it failed. */
must_use const char *buf_c(struct buf *b);

#endif
