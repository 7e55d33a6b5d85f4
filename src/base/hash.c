/*
 * Hashes. SHA-256 comes from OpenSSL; the table hash is a multiply-fold over eight bytes at a time. See hash.h.
 */
#include "base/hash.h"

#include <openssl/evp.h>
#include <openssl/sha.h>

/*
 * The low-level interface is used on purpose: the others of OpenSSL 3, SHA256() included, look the algorithm up under a
 * lock at every call and allocate, which costs as much as hashing 1 KiB.
 */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
struct sha256 sha256_of_parts(const struct str *parts, size_t n)
{
    struct sha256 hash;
    SHA256_CTX context;

    (void)SHA256_Init(&context); /* these three cannot fail with a valid context */
    for (size_t i = 0; i < n; i++)
        if (parts[i].len)
            (void)SHA256_Update(&context, parts[i].data, parts[i].len);
    (void)SHA256_Final(hash.bytes, &context);
    return hash;
}
#pragma GCC diagnostic pop

struct sha256 sha256_of(struct str bytes)
{
    return sha256_of_parts(&bytes, 1);
}

bool sha256_eq(const struct sha256 *a, const struct sha256 *b)
{
    return memcmp(a->bytes, b->bytes, SHA256_BYTES) == 0;
}

void hex_encode(const void *bytes, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *in = bytes;

    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[in[i] >> 4];
        out[2 * i + 1] = digits[in[i] & 15];
    }
    out[2 * len] = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool hex_decode(struct str hex, void *out, size_t len)
{
    unsigned char *bytes = out;

    if (hex.len != 2 * len)
        return false;
    for (size_t i = 0; i < len; i++) {
        int high = hex_value(hex.data[2 * i]), low = hex_value(hex.data[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        bytes[i] = (unsigned char)(high * 16 + low);
    }
    return true;
}

struct digest digest_add(struct digest a, struct digest b)
{
    struct digest sum = {.low = a.low + b.low, .high = a.high + b.high};

    sum.high += sum.low < a.low;
    return sum;
}

struct digest digest_sub(struct digest a, struct digest b)
{
    struct digest difference = {.low = a.low - b.low, .high = a.high - b.high};

    difference.high -= a.low < b.low;
    return difference;
}

static uint64_t get_be64(const unsigned char *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return __builtin_bswap64(v);
}

static void put_be64(uint64_t v, unsigned char *p)
{
    v = __builtin_bswap64(v);
    memcpy(p, &v, sizeof(v));
}

struct digest digest_from_sha256(const struct sha256 *hash)
{
    return (struct digest){.high = get_be64(hash->bytes), .low = get_be64(hash->bytes + 8)};
}

void digest_put(struct digest d, unsigned char out[DIGEST_BYTES])
{
    put_be64(d.high, out);
    put_be64(d.low, out + 8);
}

bool digest_get(struct str bytes, struct digest *ret_digest)
{
    const unsigned char *p = (const unsigned char *)bytes.data;

    if (bytes.len != DIGEST_BYTES)
        return false;
    *ret_digest = (struct digest){.high = get_be64(p), .low = get_be64(p + 8)};
    return true;
}

static uint64_t table_seed = 0x9e3779b97f4a7c15u;

void hash_seed(uint64_t seed)
{
    table_seed = seed | 1;
}

static uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t hash_keyed(uint64_t key, struct str bytes)
{
    uint64_t h = key ^ bytes.len, word;
    size_t at = 0;

    for (; at + 8 <= bytes.len; at += 8) {
        memcpy(&word, bytes.data + at, 8);
        h = fold(h ^ word, 0xa0761d6478bd642fu);
    }
    if (at < bytes.len) {
        word = 0;
        memcpy(&word, bytes.data + at, bytes.len - at);
        h = fold(h ^ word, 0xe7037ed1a0b428dbu);
    }
    return fold(h, 0x8ebc6af09c88c6e3u ^ key);
}

uint64_t hash_seeded(struct str key)
{
    return hash_keyed(table_seed, key);
}
