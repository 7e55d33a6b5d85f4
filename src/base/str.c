/*
 * Slices: comparison, cutting, numbers, UTF-8 and patterns. See str.h.
 */
#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>

int str_cmp(struct str a, struct str b)
{
    size_t n = MIN(a.len, b.len);
    int r = n ? memcmp(a.data, b.data, n) : 0;

    if (r)
        return r;
    return a.len < b.len ? -1 : a.len > b.len;
}

bool str_starts(struct str s, struct str prefix)
{
    return s.len >= prefix.len && str_eq(str_part(s, 0, prefix.len), prefix);
}

bool str_ends(struct str s, struct str suffix)
{
    return s.len >= suffix.len && str_eq(str_from(s, s.len - suffix.len), suffix);
}

static char lower(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (char)(c + ('a' - 'A'));
    return c;
}

bool str_eq_nocase(struct str a, struct str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower(a.data[i]) != lower(b.data[i]))
            return false;
    return true;
}

size_t str_index(struct str s, char c)
{
    const char *at = s.len ? memchr(s.data, c, s.len) : NULL;

    return at ? (size_t)(at - s.data) : s.len;
}

struct str str_part(struct str s, size_t begin, size_t end)
{
    end = MIN(end, s.len);
    begin = MIN(begin, end);
    return (struct str){s.data ? s.data + begin : NULL, end - begin};
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct str str_trim(struct str s)
{
    while (s.len && is_blank(s.data[0]))
        s = str_from(s, 1);
    while (s.len && is_blank(s.data[s.len - 1]))
        s.len--;
    return s;
}

bool str_next(struct str *rest, char separator, struct str *ret_piece)
{
    size_t at;

    if (!rest->data)
        return false;
    at = str_index(*rest, separator);
    *ret_piece = str_part(*rest, 0, at);
    *rest = at < rest->len ? str_from(*rest, at + 1) : STR_NULL;
    return true;
}

bool str_u64(struct str s, uint64_t *ret_value)
{
    uint64_t value = 0;

    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(s.data[i] - '0'), &value))
            return false;
    }
    *ret_value = value;
    return true;
}

struct unit {
    struct str name;
    uint64_t factor;
};

/* A decimal number followed by exactly one of the units. */
static bool number_with_unit(struct str s, const struct unit *units, size_t n_units,
                             uint64_t *ret_value)
{
    size_t digits = 0;
    uint64_t value;

    while (digits < s.len && s.data[digits] >= '0' && s.data[digits] <= '9')
        digits++;
    if (!str_u64(str_part(s, 0, digits), &value))
        return false;
    for (size_t i = 0; i < n_units; i++)
        if (str_eq(str_from(s, digits), units[i].name))
            return !__builtin_mul_overflow(value, units[i].factor, ret_value);
    return false;
}

bool str_duration(struct str s, uint64_t *ret_nsec)
{
    static const struct unit units[] = {
        {STR("ns"), 1},
        {STR("us"), 1000},
        {STR("ms"), 1000000},
        {STR("s"), 1000000000},
        {STR("m"), 60000000000ULL},
        {STR("h"), 3600000000000ULL},
        {STR("d"), 86400000000000ULL},
    };

    return number_with_unit(s, units, ARRAY_LEN(units), ret_nsec);
}

bool str_bytes(struct str s, uint64_t *ret_bytes)
{
    static const struct unit units[] = {
        {STR(""), 1},          {STR("B"), 1},         {STR("KiB"), 1024},
        {STR("MiB"), 1 << 20}, {STR("GiB"), 1 << 30},
    };

    return number_with_unit(s, units, ARRAY_LEN(units), ret_bytes);
}

/* Length of the well-formed sequence at the start of p (RFC 3629 section 4), or 0. */
static size_t utf8_sequence(const unsigned char *p, size_t len)
{
    size_t n;
    unsigned char low = 0x80, high = 0xbf; /* bounds of the second byte */

    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xc2 && p[0] <= 0xdf)
        n = 2;
    else if (p[0] >= 0xe0 && p[0] <= 0xef)
        n = 3;
    else if (p[0] >= 0xf0 && p[0] <= 0xf4)
        n = 4;
    else
        return 0;
    if (p[0] == 0xe0)
        low = 0xa0;
    else if (p[0] == 0xed)
        high = 0x9f;
    else if (p[0] == 0xf0)
        low = 0x90;
    else if (p[0] == 0xf4)
        high = 0x8f;
    if (len < n || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

size_t str_utf8_prefix(struct str s)
{
    size_t at = 0;

    while (at < s.len) {
        size_t n = utf8_sequence((const unsigned char *)s.data + at, s.len - at);

        if (n == 0)
            break;
        at += n;
    }
    return at;
}

/* How long the sequence is that begins with this byte. */
static size_t utf8_announced(unsigned char c)
{
    return c < 0xc2 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 1;
}

struct str str_utf8_whole(struct str s)
{
    const unsigned char *p = (const unsigned char *)s.data;

    for (size_t n = 1; n < UTF8_BYTES_MAX && n <= s.len; n++) {
        unsigned char c = p[s.len - n];

        if ((c & 0xc0) == 0x80)
            continue;
        return str_part(s, 0, s.len - (n < utf8_announced(c) ? n : 0));
    }
    return s;
}

uint32_t str_take_point(struct str *s)
{
    const unsigned char *p = (const unsigned char *)s->data;
    size_t n = utf8_sequence(p, s->len);
    uint32_t point = p[0];

    if (n > 1)
        point &= 0x7fu >> n;
    else if (n == 0)
        point = UTF8_REPLACEMENT;
    for (size_t i = 1; i < n; i++)
        point = point << 6 | (p[i] & 0x3fu);
    *s = str_from(*s, MAX(n, (size_t)1));
    return point;
}

size_t utf8_encode(uint32_t point, char out[UTF8_BYTES_MAX])
{
    size_t n = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;

    if (n == 1) {
        out[0] = (char)point;
        return 1;
    }
    for (size_t i = n - 1; i > 0; i--, point >>= 6)
        out[i] = (char)(0x80 | (point & 0x3f));
    out[0] = (char)((0xf00u >> n) | point); /* as many ones as there are bytes */
    return n;
}

/* Greedy with one point of return: the last star. That is enough for '*', and keeps it linear per star. */
bool str_glob(struct str pattern, struct str s)
{
    size_t p = 0, i = 0, star = SIZE_MAX, mark = 0;

    while (i < s.len) {
        if (p < pattern.len && pattern.data[p] == '*') {
            star = p++;
            mark = i;
        } else if (p < pattern.len && pattern.data[p] == s.data[i]) {
            p++;
            i++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            i = ++mark;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.data[p] == '*')
        p++;
    return p == pattern.len;
}

void text_format(char *out, size_t size, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(out, size, fmt, args);
    va_end(args);
    out[str_utf8_prefix(str_c(out))] = '\0';
}
