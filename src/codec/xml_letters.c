/*
 * Letters that expat knows. See xml_letters.h.
 */
#include "codec/xml_letters.h"

#include "base/alloc.h"
#include "codec/fault.h"

struct range {
    uint32_t first, last;
};

/* Beyond ASCII; the fifth edition, 2.3. */
static const struct range name_start[] = {
    {0xc0, 0xd6},     {0xd8, 0xf6},     {0xf8, 0x2ff},    {0x370, 0x37d},
    {0x37f, 0x1fff},  {0x200c, 0x200d}, {0x2070, 0x218f}, {0x2c00, 0x2fef},
    {0x3001, 0xd7ff}, {0xf900, 0xfdcf}, {0xfdf0, 0xfffd}, {0x10000, 0xeffff}};
static const struct range name_inside[] = {{0x300, 0x36f}, {0x203f, 0x2040}};
/* Letters, and signs that no name begins with, of the fourth. */
static const struct range letters[] = {{0x4e00, 0x9fa5}, {0xac00, 0xd7a3}};
static const struct range signs[] = {
    {0x300, 0x345}, {0x591, 0x5a1}, {0x5a3, 0x5b9}, {0x20d0, 0x20dc}};

static bool is_in(uint32_t point, const struct range *ranges, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (point >= ranges[i].first && point <= ranges[i].last)
            return true;
    return false;
}

/* The n-th character of the ranges; 0 when there are not that many. */
static uint32_t nth(const struct range *ranges, size_t n_ranges, uint32_t n)
{
    for (size_t i = 0; i < n_ranges; i++) {
        uint32_t len = ranges[i].last - ranges[i].first + 1;

        if (n < len)
            return ranges[i].first + n;
        n -= len;
    }
    return 0;
}

enum { POINTS = 0xf0000 };

struct replacing {
    uint16_t *by; /* for each character, what stands for it; 0: none yet */
    uint32_t n_letters, n_signs;
};

/* 0 when there is none left. */
static uint32_t replacement(struct replacing *r, uint32_t point)
{
    uint32_t by = 0;

    if (point >= POINTS)
        return point;
    if (r->by[point])
        return r->by[point];
    if (is_in(point, name_start, ARRAY_LEN(name_start)))
        by = nth(letters, ARRAY_LEN(letters), r->n_letters++);
    else if (is_in(point, name_inside, ARRAY_LEN(name_inside)))
        by = nth(signs, ARRAY_LEN(signs), r->n_signs++);
    else
        return point;
    r->by[point] = (uint16_t)by;
    return by;
}

int xml_letters(struct str text, struct buf *out)
{
    struct replacing r = {.by = NULL};
    struct str rest = str_from(text, bom_len(text));
    uint32_t point = 1;

    if (count_chars(rest) == rest.len)
        return XML_NO_LETTERS;
    r.by = NEW_ARRAY(uint16_t, POINTS);
    if (!r.by)
        return ERR_NOMEM;
    buf_put_str(out, str_part(text, 0, bom_len(text)));
    while (rest.len && point) {
        char bytes[UTF8_BYTES_MAX];

        point = str_take_point(&rest);
        if (point >= 0x80)
            point = replacement(&r, point);
        buf_put(out, bytes, utf8_encode(point, bytes));
    }
    (void)mem_free(r.by);
    return point ? buf_status(out) : XML_NO_LETTERS;
}
