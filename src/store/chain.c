/*
 * The hashes that prove records and snapshots. They need nothing of the store, so that engines may use them.
 */
#include "store/contents.h"
#include "store/engine.h"

static char *put_u64(char *at, uint64_t value)
{
    uint64_t big_endian = __builtin_bswap64(value);

    memcpy(at, &big_endian, sizeof(big_endian));
    return at + sizeof(big_endian);
}

struct sha256 store_chain_next(const struct sha256 *previous, const struct store_entry *entry)
{
    char numbers[3 * sizeof(uint64_t)], *at = put_u64(numbers, entry->revision);
    struct str parts[5] = {str_of(previous->bytes, SHA256_BYTES)};

    if (!entry->packed.data) {
        parts[1] = str_of(numbers, (size_t)(at - numbers));
        parts[2] = entry->bytes;
        return sha256_of_parts(parts, 3);
    }
    at = put_u64(at, entry->request.len);
    at = put_u64(at, entry->bytes.len);
    parts[1] = str_of(numbers, (size_t)(at - numbers));
    parts[2] = entry->request;
    parts[3] = entry->bytes;
    parts[4] = contents_list(entry->packed);
    return sha256_of_parts(parts, ARRAY_LEN(parts));
}

struct sha256 store_snapshot_hash(uint64_t revision, const struct sha256 *chain)
{
    return store_chain_next(
        chain, &(struct store_entry){.revision = revision, .bytes = STR("snapshot")});
}

struct sha256 store_snapshot_hash_next(const struct sha256 *hash, struct str chunk)
{
    const struct str parts[] = {str_of(hash->bytes, SHA256_BYTES), chunk};

    return sha256_of_parts(parts, ARRAY_LEN(parts));
}
