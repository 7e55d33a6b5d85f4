/*
 * Places in a text: every dialect knows the byte where it goes wrong, people want line and column.
 */
#ifndef TRIMTAB_CODEC_FAULT_H
#define TRIMTAB_CODEC_FAULT_H

#include "base/err.h"
#include "base/str.h"

enum { NESTING_MAX = 512 };

/*
 * Tells the story of a fault at a byte of content, and returns code. Lines end with LF, CR LF or CR; columns count
 * characters; a byte order mark in front counts for nothing. An offset past the end means the end.
 */
int fault(struct err *err, int code, struct str content, size_t offset, const char *fmt, ...)
    printf_like(5, 6);

/* Line and column of a byte of content, as fault tells them. */
struct place {
    uint32_t line, column;
};
struct place place_of(struct str content, size_t offset);

/* The story of a key that is given twice: at offset, after it was given at `first`. Always ERR_INVALID. */
int fault_twice(struct err *err, struct str content, size_t offset, struct str key,
                size_t first);

/* The offset of the n-th character (from 0), for libraries that count those. content must be UTF-8. */
size_t offset_of_char(struct str content, size_t n);
/* How many characters there are. */
size_t count_chars(struct str content);

/* The length of the byte order mark in front of content: 3 or 0. */
size_t bom_len(struct str content);

/* Refuses a byte order mark, where readers of the format would take it for text. */
must_use int bom_refuse(struct str content, struct err *err);

/* The part of a text that a story quotes. */
struct str quotable(struct str text);

#endif
