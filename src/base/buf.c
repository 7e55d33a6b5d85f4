/*
 * Growable bytes with a ceiling and a memory for failure. See buf.h.
 */
#include "base/buf.h"

#include "base/alloc.h"
#include "base/err.h"

#include <stdarg.h>

void buf_deinit(struct buf *b)
{
    b->data = mem_free(b->data);
    b->len = 0;
    b->cap = 0;
    b->status = 0;
}

char *buf_room(struct buf *b, size_t len)
{
    size_t need = size_add(b->len, len);
    size_t cap;
    char *data;

    if (b->status)
        return NULL;
    if (need > b->ceiling) {
        b->status = ERR_LIMIT;
        return NULL;
    }
    if (need <= b->cap && b->data)
        return b->data + b->len;
    cap = MAX(MIN(size_add(b->cap, b->cap), b->ceiling), MAX(need, (size_t)64));
    data = mem_realloc_array(b->data, cap, 1);
    if (!data) {
        b->status = ERR_NOMEM;
        return NULL;
    }
    b->data = data;
    b->cap = cap;
    return b->data + b->len;
}

void buf_added(struct buf *b, size_t len)
{
    ASSERT(len <= b->cap - b->len);
    b->len += len;
}

void buf_put(struct buf *b, const void *bytes, size_t len)
{
    char *at = buf_room(b, len);

    if (!at || len == 0)
        return;
    memcpy(at, bytes, len);
    b->len += len;
}

void buf_put_str(struct buf *b, struct str s)
{
    buf_put(b, s.data, s.len);
}

void buf_put_c(struct buf *b, const char *text)
{
    buf_put(b, text, strlen(text));
}

void buf_put_byte(struct buf *b, unsigned char byte)
{
    buf_put(b, &byte, 1);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    char *at;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) {
        b->status = b->status ? b->status : ERR_BUG;
        return;
    }
    at = buf_room(b, (size_t)n);
    if (!at)
        return;
    if (b->cap - b->len > (size_t)n) { /* room for vsnprintf's NUL */
        va_start(ap, fmt);
        (void)vsnprintf(at, (size_t)n + 1, fmt, ap);
        va_end(ap);
    } else {
        char *text = mem_alloc((size_t)n + 1);

        if (!text) {
            b->status = ERR_NOMEM;
            return;
        }
        va_start(ap, fmt);
        (void)vsnprintf(text, (size_t)n + 1, fmt, ap);
        va_end(ap);
        memcpy(at, text, (size_t)n);
        (void)mem_free(text);
    }
    b->len += (size_t)n;
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->status = 0;
}

void buf_consume(struct buf *b, size_t n)
{
    ASSERT(n <= b->len);
    if (n && b->len > n)
        memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
}

const char *buf_c(struct buf *b)
{
    if (b->status)
        return NULL;
    if (b->len == b->cap || !b->data) {
        char *data = mem_realloc_array(b->data, size_add(b->len, 1), 1);

        if (!data) {
            b->status = ERR_NOMEM;
            return NULL;
        }
        b->data = data;
        b->cap = b->len + 1;
    }
    b->data[b->len] = '\0';
    return b->data;
}

char *buf_take(struct buf *b, size_t *ret_len)
{
    char *data;

    if (!buf_c(b)) {
        buf_deinit(b);
        return NULL;
    }
    data = take(b->data);
    if (ret_len)
        *ret_len = b->len;
    b->len = 0;
    b->cap = 0;
    return data;
}
