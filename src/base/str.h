/*
 * Borrowed slices: a pointer and a length, and what is done to them. A slice owns nothing, may hold any
 * byte, and is not closed by a NUL. A struct str parameter is borrowed until the call returns.
 */
#ifndef TRIMTAB_BASE_STR_H
#define TRIMTAB_BASE_STR_H

#include "base/attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *data;
    size_t len;
};

#define STR_NULL     ((struct str){NULL, 0})
#define STR(literal) ((struct str){"" literal "", sizeof(literal) - 1})

/* For printf: printf("%.*s", STR_ARG(s)). */
#define STR_ARG(s) (int)MIN((s).len, (size_t)INT32_MAX), (s).data ? (s).data : ""

static inline struct str str_of(const void *data, size_t len)
{
    return (struct str){data, len};
}

static inline struct str str_c(const char *c)
{
    return (struct str){c, c ? strlen(c) : 0};
}

static inline bool str_eq(struct str a, struct str b)
{
    if (a.len != b.len)
        return false;
    /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): a slice of some length has bytes */
    return a.len == 0 || memcmp(a.data, b.data, a.len) == 0;
}

/* Copies s to *at, which goes on behind it: for filling an allocation whose size was summed up before. */
static inline struct str str_keep(char **at, struct str s)
{
    struct str kept = {*at, s.len};

    if (s.len)
        memcpy(*at, s.data, s.len);
    *at += s.len;
    return kept;
}

/* Byte order, shorter first among equals: negative, 0, positive. */
int str_cmp(struct str a, struct str b);

bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
bool str_eq_nocase(struct str a, struct str b); /* ASCII only */

/* Index of the first c, or s.len. */
size_t str_index(struct str s, char c);

/* The part from begin (inclusive) to end (exclusive), both cut to the slice. */
struct str str_part(struct str s, size_t begin, size_t end);
static inline struct str str_from(struct str s, size_t begin)
{
    return str_part(s, begin, s.len);
}

/* Without leading and trailing spaces, tabs, CR and LF. */
struct str str_trim(struct str s);

/*
 * Cuts the piece before the next separator from *rest and returns it; false when *rest was used up. An empty
 * slice has one empty piece.
 */
bool str_next(struct str *rest, char separator, struct str *ret_piece);

/* Decimal digits only, no sign, no space; false when empty, malformed or over UINT64_MAX. */
must_use bool str_u64(struct str s, uint64_t *ret_value);

/*
 * "10s", "250ms", "5m", "2h" in nanoseconds; "64KiB", "8MiB", "1GiB", "100" in bytes. False when malformed or
 * too large for the type.
 */
must_use bool str_duration(struct str s, uint64_t *ret_nsec);
must_use bool str_bytes(struct str s, uint64_t *ret_bytes);

/* Length of the well-formed UTF-8 prefix (RFC 3629: no surrogates, no overlong forms); s.len when all is. */
size_t str_utf8_prefix(struct str s);
static inline bool str_is_utf8(struct str s)
{
    return str_utf8_prefix(s) == s.len;
}

/* Without the beginning of a character that goes on behind the end: what a text that was cut at a byte has whole. */
struct str str_utf8_whole(struct str s);

/*
 * Takes the first character off a slice that is not empty, and returns its code point: UTF8_REPLACEMENT for a byte that
 * begins no well-formed sequence.
 */
enum { UTF8_REPLACEMENT = 0xfffd, UTF8_BYTES_MAX = 4 };
uint32_t str_take_point(struct str *s);
/* The bytes of a code point up to U+10FFFF that is no surrogate; returns how many there are. */
size_t utf8_encode(uint32_t point, char out[UTF8_BYTES_MAX]);

/* A short list of C strings, as flags collect them. Borrowed. */
enum { TEXTS_MAX = 64 };
struct texts {
    const char *at[TEXTS_MAX];
    size_t n;
};

/* As snprintf, but what does not fit is cut between characters of UTF-8. */
void text_format(char *out, size_t size, const char *fmt, ...) printf_like(3, 4);

/* A pattern of literals and '*' (any run of bytes, also none) against the whole of s. Linear in both. */
bool str_glob(struct str pattern, struct str s);

#endif
