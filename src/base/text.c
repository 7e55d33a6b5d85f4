/*
 * Texts made fit for people. See text.h.
 */
#include "base/text.h"

#include "base/alloc.h"

enum { CONTROL_PICTURES = 0x2400, DELETE_PICTURE = 0x2421 };

static bool is_reordering(uint32_t p)
{
    return p == 0x061c || p == 0x200e || p == 0x200f || (p >= 0x202a && p <= 0x202e) ||
           (p >= 0x2066 && p <= 0x2069);
}

/* What is shown instead of a character; the character itself when it is harmless. */
static uint32_t shown(uint32_t p, enum text_shape shape)
{
    if (shape == TEXT_LINES && (p == '\n' || p == '\t'))
        return p;
    if (p < 0x20)
        return CONTROL_PICTURES + p;
    if (p == 0x7f)
        return DELETE_PICTURE;
    if ((p >= 0x80 && p <= 0x9f) || p == 0x2028 || p == 0x2029 || is_reordering(p))
        return UTF8_REPLACEMENT;
    return p;
}

size_t text_plain_prefix(struct str s, enum text_shape shape)
{
    struct str rest = s;

    while (rest.len) {
        size_t at = s.len - rest.len;
        uint32_t p = str_take_point(&rest);
        bool is_byte = p == UTF8_REPLACEMENT && s.len - rest.len - at == 1; /* no UTF-8 */

        if (is_byte || p != shown(p, shape))
            return at;
    }
    return s.len;
}

void text_put_plain(struct buf *out, struct str s, enum text_shape shape, size_t max)
{
    size_t end = size_add(out->len, max);

    while (s.len) {
        char bytes[UTF8_BYTES_MAX];
        size_t n = utf8_encode(shown(str_take_point(&s), shape), bytes);

        if (out->len + n > end)
            return;
        buf_put(out, bytes, n);
    }
}
