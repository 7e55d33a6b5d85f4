/*
 * Marks: by which a server knows its own word again. A revision that a subscriber shows says what it likes; with the
 * mark that came with it in an End or a Bookmark it proves that a server with this store's key once was there.
 *
 * A mark is the first 16 bytes of SHA-256 over "trimtab mark 1", the key of the store, its id, and the revision as 8
 * bytes, most significant first. All lengths are fixed, and only the server computes it.
 */
#ifndef TRIMTAB_FEED_MARK_H
#define TRIMTAB_FEED_MARK_H

#include "base/hash.h"

enum { MARK_BYTES = 16, MARK_KEY_BYTES = 32 };

void mark_make(const unsigned char key[MARK_KEY_BYTES], struct str store_id, uint64_t revision,
               unsigned char out[MARK_BYTES]);

/* Whether mark is the one of this store and revision; false for an empty one. Takes the same time for every wrong one. */
must_use bool mark_holds(const unsigned char key[MARK_KEY_BYTES], struct str store_id,
                         uint64_t revision, struct str mark);

#endif
