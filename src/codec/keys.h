/*
 * Names seen so far, for dialects that refuse a name given twice.
 */
#ifndef TRIMTAB_CODEC_KEYS_H
#define TRIMTAB_CODEC_KEYS_H

#include "base/err.h"
#include "base/map.h"

/*
 * Puts key, which must live as long as the map. 0, KEY_TWICE when it was there already, ERR_NOMEM.
 */
enum { KEY_TWICE = 1 };
must_use static inline int key_add(struct map *seen, struct str key)
{
    static char there;
    void *old = NULL;

    if (!map_put(seen, key, &there, &old))
        return ERR_NOMEM;
    return old ? KEY_TWICE : 0;
}

#endif
