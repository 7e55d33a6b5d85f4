/*
 * Marks: by which a server knows its own word again. A revision that a subscriber shows says what it likes; with the
 * mark that came with it in an End or a Bookmark it proves that a server with this store's key once was there.
 *
 * A mark is the first 16 bytes of SHA-256 over "trimtab mark 1", the key of the store, its id, and the revision as 8
 * bytes, most significant first; where a subscriber may not read everything, also over what its view depends on besides: the
 * identity of what it may read, and the digest of the names that were withheld from it. So a mark holds no more once another
 * view of the same revision would be due. All lengths are fixed, and only the server computes it.
 */
#ifndef TRIMTAB_FEED_MARK_H
#define TRIMTAB_FEED_MARK_H

#include "base/hash.h"

enum { MARK_BYTES = 16, MARK_KEY_BYTES = 32 };

/* What a mark is of. Borrowed. */
struct marked {
    struct str store_id;
    uint64_t revision;
    struct str rights; /* empty for who may read everything */
};

void mark_make(const unsigned char key[MARK_KEY_BYTES], const struct marked *of,
               unsigned char out[MARK_BYTES]);

/* Whether mark is the one of this; false for an empty one. Takes the same time for every wrong one. */
must_use bool mark_holds(const unsigned char key[MARK_KEY_BYTES], const struct marked *of,
                         struct str mark);

#endif
