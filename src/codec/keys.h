/*
 * Names seen so far, for dialects that refuse a name given twice.
 */
#ifndef TRIMTAB_CODEC_KEYS_H
#define TRIMTAB_CODEC_KEYS_H

#include "base/err.h"
#include "base/map.h"

/*
 * Puts key, which must live as long as the map, as found at an offset of the text. 0, KEY_TWICE with the offset at which
 * it was first, ERR_NOMEM.
 */
enum { KEY_TWICE = 1 };
must_use static inline int key_add(struct map *seen, struct str key, size_t at,
                                   size_t *ret_first)
{
    void *old = NULL;

    /* one more, since NULL is what a map has of nothing */
    if (!map_put(seen, key, (void *)(uintptr_t)(at + 1), &old))
        return ERR_NOMEM;
    if (!old)
        return 0;
    *ret_first = (size_t)((uintptr_t)old - 1);
    return KEY_TWICE;
}

#endif
