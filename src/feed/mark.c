/*
 * Marks. See mark.h.
 */
#include "feed/mark.h"

void mark_make(const unsigned char key[MARK_KEY_BYTES], const struct marked *of,
               unsigned char out[MARK_BYTES])
{
    uint64_t number = __builtin_bswap64(of->revision);
    const struct str parts[] = {STR("trimtab mark 1"), str_of(key, MARK_KEY_BYTES),
                                of->store_id, str_of(&number, sizeof(number)), of->rights};
    struct sha256 hash = sha256_of_parts(parts, ARRAY_LEN(parts));

    memcpy(out, hash.bytes, MARK_BYTES);
}

bool mark_holds(const unsigned char key[MARK_KEY_BYTES], const struct marked *of,
                struct str mark)
{
    unsigned char want[MARK_BYTES];
    unsigned difference = 0;

    if (mark.len != MARK_BYTES)
        return false;
    mark_make(key, of, want);
    for (size_t i = 0; i < MARK_BYTES; i++)
        difference |= want[i] ^ (unsigned char)mark.data[i];
    return difference == 0;
}
