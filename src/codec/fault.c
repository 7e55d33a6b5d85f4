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

static void tell_place(struct err *err, struct str content, size_t offset)
{
    uint32_t line = 1, column = 1;

    offset = MIN(offset, content.len);
    for (size_t i = bom_len(content); i < offset; i++) {
        char c = content.data[i];
        bool is_crlf = c == '\r' && i + 1 < content.len && content.data[i + 1] == '\n';

        if (c == '\n' || (c == '\r' && !is_crlf)) {
            line++;
            column = 1;
        } else if (!is_continuation(c)) {
            column++;
        }
    }
    err_at(err, line, column);
}

int fault(struct err *err, int code, struct str content, size_t offset, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
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
    tell_place(err, content, offset);
    return code;
}

size_t offset_of_char(struct str content, size_t n)
{
    size_t at = 0;

    for (; at < content.len; at++)
        if (!is_continuation(content.data[at]) && n-- == 0)
            break;
    return at;
}
