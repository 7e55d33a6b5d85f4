/*
 * Contents in a row. See contents.h.
 */
#include "store/contents.h"

enum { COUNT_BYTES = 4 };

static uint64_t number_at(struct str s, size_t at, size_t len)
{
    uint64_t n = 0;

    for (size_t i = 0; i < len; i++)
        n = n << 8 | (unsigned char)s.data[at + i];
    return n;
}

static char *put_number(char *at, uint64_t n, size_t len)
{
    for (size_t i = len; i-- > 0; n >>= 8)
        at[i] = (char)n;
    return at + len;
}

static size_t list_size(size_t n)
{
    return COUNT_BYTES + n * CONTENTS_ENTRY_BYTES;
}

static size_t bits_size(size_t n)
{
    return (n + 7) / 8;
}

static bool is_purged(struct str packed, size_t n, size_t i)
{
    return (unsigned char)packed.data[list_size(n) + i / 8] >> (i % 8) & 1;
}

static uint64_t length_of(struct str packed, size_t i)
{
    return number_at(packed, list_size(i) + SHA256_BYTES, 8);
}

/* ---- writing ---- */

size_t contents_size(const struct hashed *contents, size_t n)
{
    size_t size = list_size(n) + bits_size(n);

    for (size_t i = 0; i < n; i++)
        size += contents[i].bytes.len; /* they lie in memory: their sum cannot wrap */
    return size;
}

void contents_pack(const struct hashed *contents, size_t n, char *at)
{
    at = put_number(at, n, COUNT_BYTES);
    for (size_t i = 0; i < n; i++) {
        memcpy(at, contents[i].hash.bytes, SHA256_BYTES);
        at = put_number(at + SHA256_BYTES, contents[i].bytes.len, 8);
    }
    memset(at, 0, bits_size(n));
    at += bits_size(n);
    for (size_t i = 0; i < n; i++) {
        if (contents[i].bytes.len)
            memcpy(at, contents[i].bytes.data, contents[i].bytes.len);
        at += contents[i].bytes.len;
    }
}

/* ---- reading ---- */

/* Whether the bytes behind list and bits are those of the contents that were not purged, and the bits are in order. */
static bool is_whole(struct str packed, size_t n)
{
    uint64_t left = packed.len - list_size(n) - bits_size(n);

    for (size_t i = n; i < 8 * bits_size(n); i++)
        if (is_purged(packed, n, i))
            return false;
    for (size_t i = 0; i < n; i++) {
        uint64_t len = length_of(packed, i);

        if (is_purged(packed, n, i)) {
            if (len == 0)
                return false;
            continue;
        }
        if (len > left)
            return false;
        left -= len;
    }
    return left == 0;
}

bool contents_count(struct str packed, size_t *ret_n)
{
    size_t n;

    if (packed.len < COUNT_BYTES)
        return false;
    n = (size_t)number_at(packed, 0, COUNT_BYTES);
    if (n > packed.len / CONTENTS_ENTRY_BYTES || list_size(n) + bits_size(n) > packed.len ||
        !is_whole(packed, n))
        return false;
    *ret_n = n;
    return true;
}

struct str contents_list(struct str packed)
{
    return str_part(packed, 0, list_size((size_t)number_at(packed, 0, COUNT_BYTES)));
}

void contents_unpack(struct str packed, struct hashed *out)
{
    size_t n = (size_t)number_at(packed, 0, COUNT_BYTES);
    size_t at = list_size(n) + bits_size(n);

    for (size_t i = 0; i < n; i++) {
        size_t len = (size_t)length_of(packed, i);

        memcpy(out[i].hash.bytes, packed.data + list_size(i), SHA256_BYTES);
        out[i].bytes = STR_NULL;
        if (is_purged(packed, n, i))
            continue;
        out[i].bytes = str_of(packed.data + at, len);
        at += len;
    }
}
