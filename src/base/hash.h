/*
 * Hashes: SHA-256 for content identity, a 128-bit sum for digests, and a fast seeded hash for tables.
 */
#ifndef TRIMTAB_BASE_HASH_H
#define TRIMTAB_BASE_HASH_H

#include "base/attr.h"
#include "base/str.h"

enum { SHA256_BYTES = 32, SHA256_HEX_BYTES = 64, DIGEST_BYTES = 16 };

struct sha256 {
    unsigned char bytes[SHA256_BYTES];
};

/* SHA-256 (FIPS 180-4) of the concatenation of n parts. */
struct sha256 sha256_of_parts(const struct str *parts, size_t n);
struct sha256 sha256_of(struct str bytes);
bool sha256_eq(const struct sha256 *a, const struct sha256 *b);

/* Bytes and their SHA-256, computed once and carried along. Whoever hands this over answers for the hash. */
struct hashed {
    struct sha256 hash;
    struct str bytes;
};

/* Lower-case hexadecimal, closed by a NUL; out has 2 * len + 1 bytes. */
void hex_encode(const void *bytes, size_t len, char *out);
/* Exactly 2 * len digits of either case; false otherwise. */
must_use bool hex_decode(struct str hex, void *out, size_t len);

/*
 * An element of the integers modulo 2^128. A digest is a sum of such elements, so it does not depend on the
 * order of its items and is updated by one addition and one subtraction.
 */
struct digest {
    uint64_t low, high;
};

#define DIGEST_NULL ((struct digest){0, 0})

struct digest digest_add(struct digest a, struct digest b);
struct digest digest_sub(struct digest a, struct digest b);
static inline bool digest_eq(struct digest a, struct digest b)
{
    return a.low == b.low && a.high == b.high;
}

/* The first 16 bytes of a SHA-256 as an element, most significant byte first, and back. */
struct digest digest_from_sha256(const struct sha256 *hash);
void digest_put(struct digest d, unsigned char out[DIGEST_BYTES]);
must_use bool digest_get(struct str bytes,
                         struct digest *ret_digest); /* false unless 16 bytes */

/* For tables in memory only: differs from process to process once hash_seed was called. */
void hash_seed(uint64_t seed);
uint64_t hash_seeded(struct str key);

/* The same with a key of the caller's: equal bytes under an equal key have this hash on every machine of a byte order. */
uint64_t hash_keyed(uint64_t key, struct str bytes);

#endif
