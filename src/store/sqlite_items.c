/*
 * Blobs, leases and ephemeral items of the engine "sqlite:".
 *
 * A lease is a row with its time to live; when it ends is known in memory only, since the clock by which that
 * is measured does not outlive the process (L2).
 */
#include "base/alloc.h"
#include "base/buf.h"
#include "store/sqlite_db.h"

#include <inttypes.h>

/* ---- blobs ---- */

static int upsert_blob(struct db *db, const struct sha256 *hash, struct str bytes,
                       struct err *err)
{
    owned(query) struct query q = query_begin(db, DB_BLOB_PUT);

    query_hash(&q, hash);
    query_u64(&q, db->meta.blob_epoch);
    query_str(&q, bytes);
    return query_run(&q, err);
}

int sqlite_blob_put(struct store *s, const struct sha256 *hash, struct str bytes,
                    struct err *err)
{
    struct db *db = s->impl;
    int r = db_begin(db, err);

    if (!r)
        r = db_end(db, upsert_blob(db, hash, bytes, err), err);
    if (!r)
        db_checkpoint(db, DB_WAL_MAX_PAGES);
    return r;
}

int sqlite_blob_get(struct store *s, const struct sha256 *hash, struct shared **ret_bytes,
                    struct err *err)
{
    owned(query) struct query q = query_begin(s->impl, DB_BLOB_GET);
    int r;

    query_hash(&q, hash);
    r = query_step(&q, err);
    if (r < 0)
        return r;
    if (r != QUERY_ROW)
        return err_set(err, ERR_NOT_FOUND, "there is no such blob");
    *ret_bytes = shared_copy(row_str(&q, 0));
    return *ret_bytes ? 0 : err_set(err, ERR_NOMEM, "out of memory for a blob");
}

int sqlite_blob_has(struct store *s, const struct sha256 *hash, bool *ret_has, struct err *err)
{
    owned(query) struct query q = query_begin(s->impl, DB_BLOB_HAS);
    int r;

    query_hash(&q, hash);
    r = query_step(&q, err);
    if (r < 0)
        return r;
    *ret_has = r == QUERY_ROW;
    return 0;
}

int sqlite_blob_epoch(struct store *s, uint64_t *ret_epoch, struct err *err)
{
    const struct db *db = s->impl;

    (void)err; /* it is known */
    *ret_epoch = db->meta.blob_epoch;
    return 0;
}

struct hashes {
    VEC(struct sha256) of;
};

static int find_unwanted(struct db *db, const struct store_collect *op, struct hashes *unwanted,
                         struct err *err)
{
    owned(query) struct query q = query_begin(db, DB_BLOB_EACH);
    int r;

    while ((r = query_step(&q, err)) == QUERY_ROW) {
        struct sha256 hash;

        r = row_hash(&q, 0, &hash, err);
        if (r)
            return r;
        if (!op->keep(op->ctx, &hash, row_u64(&q, 1)) && !VEC_PUSH(&unwanted->of, hash))
            return err_set(err, ERR_NOMEM, "out of memory while collecting blobs");
    }
    return r;
}

static int delete_unwanted(struct db *db, const struct hashes *unwanted,
                           const struct db_meta *meta, struct err *err)
{
    owned(query) struct query q = query_begin(db, DB_BLOB_DELETE);
    int r = db_save_meta(db, meta, err);

    for (size_t i = 0; !r && i < unwanted->of.n; i++) {
        query_again(&q);
        query_hash(&q, &unwanted->of.at[i]);
        r = query_run(&q, err);
    }
    return r;
}

int sqlite_blob_collect(struct store *s, const struct store_collect *op, uint64_t *ret_removed,
                        struct err *err)
{
    struct db *db = s->impl;
    struct hashes unwanted = {0};
    struct db_meta meta = db->meta;
    int r = find_unwanted(db, op, &unwanted, err);

    meta.blob_epoch++;
    if (!r)
        r = db_begin(db, err);
    if (!r)
        r = db_end(db, delete_unwanted(db, &unwanted, &meta, err), err);
    if (!r) {
        db->meta = meta;
        *ret_removed = unwanted.of.n;
    }
    VEC_DEINIT(&unwanted.of);
    return r;
}

static int check_blob(struct db *db, const struct sha256 *hash, struct err *err)
{
    owned(shared_unref) struct shared *bytes = NULL;
    int r = sqlite_blob_get(db->s, hash, &bytes, err);

    return r ? r : store_blob_check(hash, shared_str(bytes), err);
}

int sqlite_check_blobs(struct db *db, struct err *err)
{
    owned(query) struct query q = query_begin(db, DB_BLOB_EACH);
    int r;

    while ((r = query_step(&q, err)) == QUERY_ROW) {
        struct sha256 hash;

        r = row_hash(&q, 0, &hash, err);
        if (!r)
            r = check_blob(db, &hash, err);
        if (r)
            return r;
    }
    return r;
}

/* ---- leases ---- */

static nsec_t end_of(const struct db *db, nsec_t ttl)
{
    return db->s->now > UINT64_MAX - ttl ? UINT64_MAX : db->s->now + ttl;
}

static bool lease_is_damaged(const struct query *q)
{
    return row_u64(q, 2) != UINT64_MAX - row_u64(q, 1) || row_u64(q, 1) > INT64_MAX;
}

/* A damaged one ends at the first tick, and its items with it. */
int sqlite_load_leases(struct db *db, struct err *err)
{
    owned(query) struct query q = query_begin(db, DB_LEASE_EACH);
    int r;

    while ((r = query_step(&q, err)) == QUERY_ROW) {
        struct db_lease lease = {.id = row_u64(&q, 0), .ttl = row_u64(&q, 1)};

        lease.ends = lease_is_damaged(&q) ? 0 : end_of(db, lease.ttl);
        db->s->stats.damaged_items += lease_is_damaged(&q);
        if (!VEC_PUSH(&db->leases, lease))
            return err_set(err, ERR_NOMEM, "out of memory while reading leases");
    }
    return r;
}

static struct db_lease *find_lease(struct db *db, uint64_t id)
{
    for (size_t i = 0; i < db->leases.n; i++)
        if (db->leases.at[i].id == id)
            return &db->leases.at[i];
    return NULL;
}

static int no_lease(uint64_t id, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "there is no lease %" PRIu64, id);
}

static int insert_lease(struct db *db, nsec_t ttl, uint64_t *ret_id, struct err *err)
{
    owned(query) struct query q = query_begin(db, DB_LEASE_INSERT);
    int r;

    query_u64(&q, ttl);
    r = query_run(&q, err);
    *ret_id = (uint64_t)sqlite3_last_insert_rowid(db->connection);
    return r;
}

int sqlite_lease_grant(struct store *s, nsec_t ttl, uint64_t *ret_lease, struct err *err)
{
    struct db *db = s->impl;
    struct db_lease lease = {.ttl = ttl, .ends = end_of(db, ttl)};
    int r;

    if (!VEC_ROOM(&db->leases))
        return err_set(err, ERR_NOMEM, "out of memory for a lease");
    r = db_begin(db, err);
    if (!r)
        r = db_end(db, insert_lease(db, ttl, &lease.id, err), err);
    if (r)
        return r;
    db->leases.at[db->leases.n++] = lease;
    *ret_lease = lease.id;
    return 0;
}

int sqlite_lease_keep(struct store *s, uint64_t id, struct err *err)
{
    struct db *db = s->impl;
    struct db_lease *lease = find_lease(db, id);

    if (!lease)
        return no_lease(id, err);
    lease->ends = end_of(db, lease->ttl);
    return 0;
}

/* ---- ephemeral items ---- */

/* Keys one after the other, each closed by its length, to be told once their end is durable. */
struct keys {
    struct buf bytes;
    VEC(size_t) lengths;
};

enum { KEYS_MAX = 256 * 1024 * 1024 };

static int keep_key(struct keys *keys, struct str key, struct err *err)
{
    buf_put_str(&keys->bytes, key);
    if (buf_status(&keys->bytes) || !VEC_PUSH(&keys->lengths, key.len))
        return err_set(err, ERR_NOMEM, "out of memory while ending a lease");
    return 0;
}

static void tell_gone(struct store *s, const struct keys *keys)
{
    struct str rest = buf_str(&keys->bytes);

    for (size_t i = 0; i < keys->lengths.n; i++) {
        struct store_ephemeral item = {.key = str_part(rest, 0, keys->lengths.at[i])};

        store_ephemeral_changed(s, &item);
        rest = str_from(rest, keys->lengths.at[i]);
    }
}

static int find_items(struct db *db, uint64_t lease, struct keys *keys, struct err *err)
{
    owned(query) struct query q = query_begin(db, DB_EPHEMERAL_OF_LEASE);
    int r;

    query_u64(&q, lease);
    while ((r = query_step(&q, err)) == QUERY_ROW) {
        r = keep_key(keys, row_str(&q, 0), err);
        if (r)
            return r;
    }
    return r;
}

static int delete_lease(struct db *db, uint64_t lease, struct err *err)
{
    owned(query) struct query items = query_begin(db, DB_EPHEMERAL_END);
    owned(query) struct query row = query_begin(db, DB_LEASE_DELETE);
    int r;

    query_u64(&items, lease);
    r = query_run(&items, err);
    if (r)
        return r;
    query_u64(&row, lease);
    return query_run(&row, err);
}

static int end_lease(struct db *db, struct db_lease *lease, struct err *err)
{
    struct keys keys = {.bytes = BUF_NULL(KEYS_MAX)};
    size_t at = (size_t)(lease - db->leases.at);
    int r = find_items(db, lease->id, &keys, err);

    if (!r)
        r = db_begin(db, err);
    if (!r)
        r = db_end(db, delete_lease(db, lease->id, err), err);
    if (!r) {
        db->leases.n--;
        memmove(lease, lease + 1, (db->leases.n - at) * sizeof(*lease));
        tell_gone(db->s, &keys);
    }
    buf_deinit(&keys.bytes);
    VEC_DEINIT(&keys.lengths);
    return r;
}

int sqlite_lease_revoke(struct store *s, uint64_t id, struct err *err)
{
    struct db *db = s->impl;
    struct db_lease *lease = find_lease(db, id);

    return lease ? end_lease(db, lease, err) : no_lease(id, err);
}

int sqlite_end_leases(struct db *db, nsec_t *ret_next, struct err *err)
{
    for (size_t i = db->leases.n; i > 0; i--) {
        struct db_lease *lease = &db->leases.at[i - 1];
        int r;

        if (lease->ends > db->s->now) {
            *ret_next = MIN(*ret_next, lease->ends);
            continue;
        }
        r = end_lease(db, lease, err);
        if (r)
            return r;
    }
    return 0;
}

static struct sha256 item_sum(struct str key, uint64_t lease, struct str bytes)
{
    const struct str parts[] = {key, bytes, str_of(&lease, sizeof(lease))};

    return db_sum(parts, ARRAY_LEN(parts));
}

/* The row of DB_EPHEMERAL_LIST. False: it is damaged. */
static bool row_item(const struct query *q, struct store_ephemeral *item)
{
    struct sha256 sum;

    *item = (struct store_ephemeral){
        .key = row_str(q, 0), .lease = row_u64(q, 1), .bytes = row_str(q, 2)};
    sum = item_sum(item->key, item->lease, item->bytes);
    return row_sum_is(q, 3, &sum);
}

static int upsert_items(struct db *db, uint64_t lease, const struct store_ephemeral *items,
                        size_t n, struct err *err)
{
    owned(query) struct query q = query_begin(db, DB_EPHEMERAL_PUT);
    int r = 0;

    for (size_t i = 0; !r && i < n; i++) {
        struct sha256 sum = item_sum(items[i].key, lease, items[i].bytes);

        query_again(&q);
        query_str(&q, items[i].key);
        query_u64(&q, lease);
        query_str(&q, items[i].bytes);
        query_str(&q, str_of(sum.bytes, DB_SUM_BYTES));
        r = query_run(&q, err);
    }
    return r;
}

int sqlite_ephemeral_put(struct store *s, uint64_t lease, const struct store_ephemeral *items,
                         size_t n, struct err *err)
{
    struct db *db = s->impl;
    int r;

    if (!find_lease(db, lease))
        return no_lease(lease, err);
    r = db_begin(db, err);
    if (!r)
        r = db_end(db, upsert_items(db, lease, items, n, err), err);
    for (size_t i = 0; !r && i < n; i++) {
        struct store_ephemeral item = items[i];

        item.lease = lease;
        store_ephemeral_changed(s, &item);
    }
    return r;
}

static int delete_items(struct db *db, const struct str *keys, size_t n, bool *gone,
                        struct err *err)
{
    owned(query) struct query q = query_begin(db, DB_EPHEMERAL_DELETE);
    int r = 0;

    for (size_t i = 0; !r && i < n; i++) {
        query_again(&q);
        query_str(&q, keys[i]);
        r = query_run(&q, err);
        gone[i] = sqlite3_changes(db->connection) > 0;
    }
    return r;
}

int sqlite_ephemeral_delete(struct store *s, const struct str *keys, size_t n, struct err *err)
{
    bool gone[STORE_EPHEMERAL_ITEMS_MAX] = {false};
    struct db *db = s->impl;
    int r = db_begin(db, err);

    if (!r)
        r = db_end(db, delete_items(db, keys, n, gone, err), err);
    for (size_t i = 0; !r && i < n; i++) {
        struct store_ephemeral item = {.key = keys[i]};

        if (gone[i])
            store_ephemeral_changed(s, &item);
    }
    return r;
}

int sqlite_ephemeral_list(struct store *s, struct str prefix, store_ephemeral_fn *fn, void *ctx,
                          struct err *err)
{
    owned(query) struct query q = query_begin(s->impl, DB_EPHEMERAL_LIST);
    int r;

    query_str(&q, prefix);
    while ((r = query_step(&q, err)) == QUERY_ROW) {
        struct store_ephemeral item;

        if (!row_item(&q, &item)) {
            s->stats.damaged_items++;
            continue;
        }
        if (!str_starts(item.key, prefix))
            return 0;
        r = fn(ctx, &item);
        if (r)
            return r;
    }
    return r;
}

static int damaged_item(struct str key, struct err *err)
{
    return err_set(err, ERR_CORRUPT, "the ephemeral item \"%.*s\" is damaged", STR_ARG(key));
}

static int check_leases(struct db *db, struct err *err)
{
    owned(query) struct query leases = query_begin(db, DB_LEASE_EACH);
    owned(query) struct query orphans = query_begin(db, DB_EPHEMERAL_ORPHANS);
    int r;

    while ((r = query_step(&leases, err)) == QUERY_ROW)
        if (lease_is_damaged(&leases))
            return err_set(err, ERR_CORRUPT, "the lease %" PRIu64 " is damaged",
                           row_u64(&leases, 0));
    if (!r)
        r = query_step(&orphans, err);
    return r == QUERY_ROW ? damaged_item(row_str(&orphans, 0), err) : r;
}

int sqlite_check_items(struct db *db, struct err *err)
{
    owned(query) struct query q = query_begin(db, DB_EPHEMERAL_LIST);
    int r;

    query_str(&q, STR(""));
    while ((r = query_step(&q, err)) == QUERY_ROW) {
        struct store_ephemeral item;

        if (!row_item(&q, &item))
            return damaged_item(item.key, err);
    }
    return r ? r : check_leases(db, err);
}
