/*
 * Bytes to lines and columns. See fault.h.
 */
#include "codec/fault.h"

#include <stdarg.h>

size_t bom_len(struct str content)
{
    return str_starts(content, STR("\xef\xbb\xbf")) ? 3 : 0;
}

int bom_refuse(struct str content, struct err *err)
{
    if (!bom_len(content))
        return 0;
    return fault(err, ERR_INVALID, content, 0, "a byte order mark in front of the text");
}

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

struct place place_of(struct str content, size_t offset)
{
    struct place p = {1, 1};

    offset = MIN(offset, content.len);
    for (size_t i = bom_len(content); i < offset; i++) {
        char c = content.data[i];
        bool is_crlf = c == '\r' && i + 1 < content.len && content.data[i + 1] == '\n';

        if (c == '\n' || (c == '\r' && !is_crlf)) {
            p.line++;
            p.column = 1;
        } else if (!is_continuation(c)) {
            p.column++;
        }
    }
    return p;
}

int fault(struct err *err, int code, struct str content, size_t offset, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    struct place place;
    va_list ap;

    if (!err)
        return code;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    text[str_utf8_prefix(str_c(text))] = '\0'; /* a cut may have split a character */
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20) /* what a library quotes; a story is one line */
            *c = ' ';
    (void)err_set(err, code, "%s", text);
    place = place_of(content, offset);
    err_at(err, place.line, place.column);
    return code;
}

struct str quotable(struct str text)
{
    return str_utf8_whole(str_part(text, 0, 200));
}

int fault_twice(struct err *err, struct str content, size_t offset, struct str key,
                size_t first)
{
    struct place p = place_of(content, first);

    return fault(err, ERR_INVALID, content, offset,
                 "key \"%.*s\" is given twice, first in line %u, column %u",
                 STR_ARG(quotable(key)), p.line, p.column);
}

size_t offset_of_char(struct str content, size_t n)
{
    size_t at = 0;

    for (; at < content.len; at++)
        if (!is_continuation(content.data[at]) && n-- == 0)
            break;
    return at;
}

size_t count_chars(struct str content)
{
    size_t n = 0;

    for (size_t i = 0; i < content.len; i++)
        n += !is_continuation(content.data[i]);
    return n;
}
