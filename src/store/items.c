/*
 * Blobs, leases, ephemeral items and the clock: the checks that go before every engine.
 */
#include "store/engine.h"

/* ---- blobs ---- */

int store_blob_check(const struct sha256 *hash, struct str bytes, struct err *err)
{
    struct sha256 found = sha256_of(bytes);
    char hex[SHA256_HEX_BYTES + 1];

    if (sha256_eq(&found, hash))
        return 0;
    hex_encode(hash->bytes, SHA256_BYTES, hex);
    return err_set(err, ERR_CORRUPT, "the bytes of blob %s are not those it is named after",
                   hex);
}

int store_blob_put(struct store *s, const struct sha256 *hash, struct str bytes,
                   struct err *err)
{
    if (bytes.len > STORE_BLOB_MAX)
        return err_set(err, ERR_INVALID, "a blob of %zu bytes is over %d", bytes.len,
                       STORE_BLOB_MAX);
    if (store_blob_check(hash, bytes, err))
        return err_set(err, ERR_INVALID, "the hash is not that of the bytes");
    return s->engine->blob_put(s, hash, bytes, err);
}

int store_blob_get(struct store *s, const struct sha256 *hash, struct shared **ret_bytes,
                   struct err *err)
{
    owned(shared_unref) struct shared *bytes = NULL;
    int r = s->engine->blob_get(s, hash, &bytes, err);

    if (r)
        return r;
    r = store_blob_check(hash, shared_str(bytes), err);
    if (r)
        return r;
    *ret_bytes = take(bytes);
    return 0;
}

int store_blob_has(struct store *s, const struct sha256 *hash, bool *ret_has, struct err *err)
{
    return s->engine->blob_has(s, hash, ret_has, err);
}

int store_blob_epoch(struct store *s, uint64_t *ret_epoch, struct err *err)
{
    return s->engine->blob_epoch(s, ret_epoch, err);
}

int store_blob_collect(struct store *s, const struct store_collect *op, uint64_t *ret_removed,
                       struct err *err)
{
    return s->engine->blob_collect(s, op, ret_removed, err);
}

/* ---- leases and ephemeral items ---- */

static void tell_time(struct store *s, nsec_t now)
{
    s->now = MAX(s->now, now);
}

int store_lease_grant(struct store *s, nsec_t ttl, nsec_t now, uint64_t *ret_lease,
                      struct err *err)
{
    if (ttl == 0 || ttl > (nsec_t)INT64_MAX)
        return err_set(err, ERR_INVALID, "a lease needs a time to live");
    tell_time(s, now);
    return s->engine->lease_grant(s, ttl, ret_lease, err);
}

int store_lease_keep(struct store *s, uint64_t lease, nsec_t now, struct err *err)
{
    tell_time(s, now);
    return s->engine->lease_keep(s, lease, err);
}

int store_lease_revoke(struct store *s, uint64_t lease, struct err *err)
{
    return s->engine->lease_revoke(s, lease, err);
}

static int check_items(size_t n, size_t bytes, struct err *err)
{
    if (n == 0 || n > STORE_EPHEMERAL_ITEMS_MAX)
        return err_set(err, ERR_INVALID, "1 to %d ephemeral items in one call, not %zu",
                       STORE_EPHEMERAL_ITEMS_MAX, n);
    if (bytes > STORE_EPHEMERAL_BYTES_MAX)
        return err_set(err, ERR_INVALID, "the ephemeral items have %zu bytes, over %d", bytes,
                       STORE_EPHEMERAL_BYTES_MAX);
    return 0;
}

static int check_key(struct str key, struct err *err)
{
    if (key.len > 0 && key.len <= STORE_EPHEMERAL_KEY_MAX)
        return 0;
    return err_set(err, ERR_INVALID, "an ephemeral key has 1 to %d bytes, not %zu",
                   STORE_EPHEMERAL_KEY_MAX, key.len);
}

int store_ephemeral_put(struct store *s, uint64_t lease, const struct store_ephemeral *items,
                        size_t n, struct err *err)
{
    size_t bytes = 0;
    int r = check_items(n, 0, err);

    for (size_t i = 0; !r && i < n; i++) {
        r = check_key(items[i].key, err);
        bytes = size_add(bytes, size_add(items[i].key.len, items[i].bytes.len));
    }
    if (!r)
        r = check_items(n, bytes, err);
    return r ? r : s->engine->ephemeral_put(s, lease, items, n, err);
}

int store_ephemeral_delete(struct store *s, const struct str *keys, size_t n, struct err *err)
{
    int r = check_items(n, 0, err);

    for (size_t i = 0; !r && i < n; i++)
        r = check_key(keys[i], err);
    return r ? r : s->engine->ephemeral_delete(s, keys, n, err);
}

int store_ephemeral_list(struct store *s, struct str prefix, store_ephemeral_fn *fn, void *ctx,
                         struct err *err)
{
    return s->engine->ephemeral_list(s, prefix, fn, ctx, err);
}

int store_tick(struct store *s, nsec_t now, nsec_t *ret_next, struct err *err)
{
    nsec_t next = UINT64_MAX;
    int r;

    tell_time(s, now);
    r = s->engine->tick(s, &next, err);
    if (r)
        return r;
    if (ret_next)
        *ret_next = next;
    return 0;
}
