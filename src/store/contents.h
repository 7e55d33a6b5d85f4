/*
 * The contents of a record as a row keeps them, so that one can be purged and the chain still holds:
 *
 *   n as 4 bytes | n times (SHA-256, length as 8 bytes) | a bit for each: purged | the bytes of those that are not
 *   \________________ what the chain runs over ________/
 *
 * Numbers are big-endian; bit i is bit i % 8 of byte i / 8, and those past n are 0. A content of no bytes is never
 * purged, so a row has exactly one form.
 */
#ifndef TRIMTAB_STORE_CONTENTS_H
#define TRIMTAB_STORE_CONTENTS_H

#include "base/hash.h"

enum { CONTENTS_ENTRY_BYTES = SHA256_BYTES + 8 };

/* Bytes that n contents take. */
size_t contents_size(const struct hashed *contents, size_t n);

/* Lays them out at `at`, which has contents_size bytes. */
void contents_pack(const struct hashed *contents, size_t n, char *at);

/* How many there are in a row; false: the row is not well-formed. */
must_use bool contents_count(struct str packed, size_t *ret_n);

/* The part that the chain runs over. The row is well-formed. */
struct str contents_list(struct str packed);

/* All of them; a purged one has STR_NULL. `out` has contents_count places. The row is well-formed. */
void contents_unpack(struct str packed, struct hashed *out);

#endif
