/*
 * Shapes and checks. See layout.h.
 */
#include "shm/layout.h"

enum { RECORDS_PER_BUCKET = 4 }; /* of six: short ways from the home of a name */

static uint64_t round_up(uint64_t n, uint64_t to)
{
    return (n + to - 1) / to * to;
}

bool shm_shape_of(uint32_t buckets, uint64_t heap_bytes, uint64_t key, struct shm_shape *ret)
{
    struct shm_shape s = {.buckets = buckets, .heap_bytes = heap_bytes, .key = key};

    if (buckets < SHM_BUCKETS_MIN || buckets > SHM_BUCKETS_MAX ||
        (buckets & (buckets - 1)) != 0 || heap_bytes == 0 || heap_bytes > SHM_HEAP_MAX ||
        heap_bytes % SHM_PAGE != 0)
        return false;
    s.pages = (size_t)((shm_buckets_bytes(&s) + heap_bytes) / SHM_PAGE);
    s.body_at = SHM_PAGE + (size_t)round_up(s.pages * sizeof(uint64_t), SHM_PAGE);
    s.half_bytes = s.body_at + s.pages * SHM_PAGE;
    s.file_bytes = SHM_PAGE + 2 * s.half_bytes;
    *ret = s;
    return true;
}

bool shm_shape_for(uint64_t records, uint64_t bytes, uint64_t key, struct shm_shape *ret)
{
    uint32_t buckets = SHM_BUCKETS_MIN;

    if (records > SHM_BUCKETS_MAX || bytes > SHM_HEAP_MAX / 2)
        return false;
    while (buckets < SHM_BUCKETS_MAX &&
           (uint64_t)buckets * RECORDS_PER_BUCKET < records + records / 4)
        buckets *= 2;
    return shm_shape_of(buckets, round_up(bytes + bytes / 4 + SHM_PAGE, SHM_PAGE), key, ret);
}

uint64_t shm_head_check(const struct shm_head *h)
{
    return hash_keyed(SHM_LAYOUT, str_of(h, offsetof(struct shm_head, check)));
}

uint64_t shm_facts_check(const struct shm_shape *s, const struct shm_facts *facts)
{
    return hash_keyed(s->key, str_of(facts, sizeof(*facts)));
}

/* High and low half of the product: each bit of both decides about each bit of it. */
static inline uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t shm_bucket_check(const struct shm_shape *s, const struct shm_bucket *b,
                          uint32_t number)
{
    uint64_t w[8];

    memcpy(w, b, sizeof(w));
    w[0] = number;
    /* four products that do not wait for each other: every look-up by name comes by here */
    return fold(fold(w[0] ^ 0xa0761d6478bd642fu, w[1] ^ s->key) ^ 0xe7037ed1a0b428dbu,
                fold(w[2] ^ 0x8ebc6af09c88c6e3u, w[3] ^ s->key) ^ 0x589965cc75374cc3u) ^
           fold(fold(w[4] ^ 0x1d8e4e27c47d124fu, w[5] ^ s->key) ^ 0xeb44accab455d165u,
                fold(w[6] ^ 0x9e3779b97f4a7c15u, w[7] ^ s->key) ^ 0xd6e8feb86659fd93u);
}

uint64_t shm_record_check(const struct shm_shape *s, const struct shm_record_head *head,
                          uint64_t at, struct str rest)
{
    struct str own = str_from(str_of(head, sizeof(*head)), sizeof(head->check));

    return hash_keyed(hash_keyed(s->key ^ at, own), rest);
}

uint64_t shm_stamp_check(const struct shm_shape *s, size_t page, uint64_t stamp)
{
    return fold(stamp ^ s->key, (uint64_t)page ^ 0x9e3779b97f4a7c15u);
}
