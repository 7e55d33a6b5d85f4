/*
 * Log, marks and compaction of the engine "sqlite:".
 *
 * An append inserts one row per record and touches nothing else, so that a commit is as few pages as can be.
 * The work of a compaction is cut into small transactions, because appends wait for them.
 */
#include "base/alloc.h"
#include "store/sqlite_db.h"

#include <inttypes.h>

/* ---- the log ---- */

int sqlite_head(struct store *s, struct store_head *ret_head, struct err *err)
{
    struct db *db = s->impl;
    int r = db->is_reader ? db_view(db, err) : db_settle(db, err);

    if (r)
        return r;
    *ret_head = db->head;
    return 0;
}

int sqlite_base(struct store *s, struct store_head *ret_base, struct err *err)
{
    struct db *db = s->impl;
    int r = db_view(db, err);

    if (!r)
        *ret_base = db->meta.base;
    return r;
}

/* B3. Where the epoch is the current one, nothing was removed since the caller saw the blobs. */
static int check_blobs(struct db *db, const struct store_record *record, struct err *err)
{
    if (record->n_blobs == 0 || record->blob_epoch == db->meta.blob_epoch)
        return 0;
    for (size_t i = 0; i < record->n_blobs; i++) {
        bool has = false;
        int r = sqlite_blob_has(db->s, &record->blobs[i], &has, err);

        if (r)
            return r;
        if (!has)
            return STORE_BLOB_GONE;
    }
    return 0;
}

static int check_batch(struct db *db, const struct store_batch *batch, size_t *ret_at,
                       struct err *err)
{
    if (db->meta.identity.semantics > db->s->semantics)
        return err_set(err, ERR_UNSUPPORTED, "the log has gone on to semantics version %u",
                       db->meta.identity.semantics);
    if (db->head.revision != batch->before.revision ||
        !sha256_eq(&db->head.chain, &batch->before.chain))
        return STORE_CONFLICT;
    for (size_t i = 0; i < batch->n; i++) {
        int r = check_blobs(db, &batch->records[i], err);

        if (r == STORE_BLOB_GONE)
            *ret_at = i;
        if (r)
            return r;
    }
    return 0;
}

static int insert_rows(struct db *db, const struct store_batch *batch, struct err *err)
{
    owned(query) struct query q = query_begin(db, DB_LOG_INSERT);

    for (size_t i = 0; i < batch->n; i++) {
        int r;

        query_again(&q);
        query_u64(&q, batch->before.revision + 1 + i);
        query_hash(&q, &batch->chains[i]);
        query_str(&q, batch->records[i].request);
        query_str(&q, batch->records[i].bytes);
        query_str(&q, batch->packed[i]);
        r = query_run(&q, err);
        if (r)
            return r;
    }
    return 0;
}

int sqlite_append(struct store *s, const struct store_batch *batch, size_t *ret_at,
                  struct err *err)
{
    struct db *db = s->impl;
    int r = check_batch(db, batch, ret_at, err);

    if (r)
        return r;
    r = db_begin(db, err);
    if (!r)
        r = db_end(db, insert_rows(db, batch, err), err);
    if (r)
        return r;
    db->head.revision += batch->n;
    db->head.chain = batch->chains[batch->n - 1];
    db_checkpoint(db, DB_WAL_MAX_PAGES);
    return 0;
}

static int read_rows(struct db *db, enum db_sql sql, const uint64_t range[2],
                     store_entry_fn *fn, void *ctx, struct err *err)
{
    owned(query) struct query q = query_begin(db, sql);
    int r;

    query_u64(&q, range[0]);
    query_u64(&q, MIN(range[1], (uint64_t)INT64_MAX));
    while ((r = query_step(&q, err)) == QUERY_ROW) {
        struct store_entry entry = {.revision = row_u64(&q, 0), .request = row_str(&q, 2)};
        struct sha256 previous;

        if (sql != DB_LOG_REQUESTS) {
            entry.bytes = row_str(&q, 3);
            entry.packed = row_str(&q, 4);
        }
        r = row_hash(&q, 1, &entry.chain, err);
        if (!r && sql == DB_KEPT_READ) {
            r = row_hash(&q, 5, &previous, err);
            entry.previous = &previous;
        }
        if (r)
            return r;
        r = fn(ctx, &entry);
        if (r)
            return r;
    }
    return r;
}

int sqlite_read(struct store *s, enum store_rows rows, const uint64_t range[2],
                store_entry_fn *fn, void *ctx, struct err *err)
{
    struct db *db = s->impl;
    int r = db_view(db, err);

    if (r || range[0] > range[1])
        return r;
    if (rows == STORE_ROWS_ALL) {
        r = read_rows(db, DB_KEPT_READ, range, fn, ctx, err);
        return r ? r : read_rows(db, DB_LOG_READ, range, fn, ctx, err);
    }
    if (range[0] <= db->meta.base.revision)
        return STORE_COMPACTED;
    return read_rows(db, rows == STORE_ROWS_LOG ? DB_LOG_READ : DB_LOG_REQUESTS, range, fn, ctx,
                     err);
}

/* ---- marks ---- */

static int put_marks(struct db *db, const struct store_mark *marks, size_t n, uint64_t upto,
                     struct err *err)
{
    owned(query) struct query put = query_begin(db, DB_MARK_PUT);
    owned(query) struct query set = query_begin(db, DB_SET_MARKED);

    for (size_t i = 0; i < n; i++) {
        int r;

        query_again(&put);
        query_str(&put, marks[i].key);
        query_u64(&put, marks[i].number);
        query_u64(&put, marks[i].revision);
        r = query_run(&put, err);
        if (r)
            return r;
    }
    query_u64(&set, upto);
    return query_run(&set, err);
}

int sqlite_mark(struct store *s, const struct store_mark *marks, size_t n, uint64_t upto,
                struct err *err)
{
    struct db *db = s->impl;
    int r = db_begin(db, err);

    return r ? r : db_end(db, put_marks(db, marks, n, upto, err), err);
}

int sqlite_marked(struct store *s, uint64_t *ret_upto, struct err *err)
{
    owned(query) struct query q = query_begin(s->impl, DB_MARKED);
    int r = db_view(s->impl, err);

    if (r)
        return r;
    r = query_step(&q, err);
    if (r < 0)
        return r;
    *ret_upto = r == QUERY_ROW ? row_u64(&q, 0) : 0;
    return 0;
}

int sqlite_mark_find(struct store *s, struct str key, uint64_t number,
                     struct store_mark *ret_mark, struct err *err)
{
    owned(query) struct query q = query_begin(s->impl, DB_MARK_FIND);
    int r = db_view(s->impl, err);

    if (r)
        return r;
    query_str(&q, key);
    query_u64(&q, MIN(number, (uint64_t)INT64_MAX));
    r = query_step(&q, err);
    if (r < 0)
        return r;
    if (r != QUERY_ROW)
        return err_set(err, ERR_NOT_FOUND, "there is no such mark");
    ret_mark->number = row_u64(&q, 0);
    ret_mark->revision = row_u64(&q, 1);
    return 0;
}

/* ---- compaction ---- */

static int move_kept(struct db *db, uint64_t revision, const struct sha256 *previous,
                     struct err *err)
{
    owned(query) struct query q = query_begin(db, DB_KEPT_MOVE);

    query_u64(&q, revision);
    query_hash(&q, previous);
    return query_run(&q, err);
}

/* Copies what is to be kept; *base goes along and ends at the last record below the limit. */
static int move_below(struct db *db, const struct store_compact *op, uint64_t limit,
                      struct store_head *base, struct err *err)
{
    owned(query) struct query q = query_begin(db, DB_LOG_REQUESTS);
    int r;

    query_u64(&q, base->revision + 1);
    query_u64(&q, limit - 1);
    while ((r = query_step(&q, err)) == QUERY_ROW) {
        uint64_t revision = row_u64(&q, 0);

        if (op->keep && op->keep(op->ctx, revision)) {
            r = move_kept(db, revision, &base->chain, err);
            if (r)
                return r;
        }
        r = row_hash(&q, 1, &base->chain, err);
        if (r)
            return r;
        base->revision = revision;
    }
    return r;
}

static int delete_below(struct db *db, uint64_t limit, const struct db_meta *meta,
                        struct err *err)
{
    owned(query) struct query delete = query_begin(db, DB_LOG_DELETE);
    int r;

    query_u64(&delete, limit);
    r = query_run(&delete, err);
    return r ? r : db_save_meta(db, meta, err);
}

int sqlite_compact(struct store *s, const struct store_compact *op, uint64_t limit,
                   struct err *err)
{
    struct db *db = s->impl;
    struct db_meta meta = db->meta;
    int r = db_begin(db, err);

    if (r)
        return r;
    r = move_below(db, op, limit, &meta.base, err);
    if (!r)
        r = delete_below(db, limit, &meta, err);
    r = db_end(db, r, err);
    if (!r)
        db->meta = meta;
    return r;
}

static int delete_kept(struct db *db, const uint64_t *revisions, size_t n, struct err *err)
{
    owned(query) struct query q = query_begin(db, DB_KEPT_DELETE);
    int r = 0;

    for (size_t i = 0; !r && i < n; i++) {
        query_again(&q);
        query_u64(&q, MIN(revisions[i], (uint64_t)INT64_MAX));
        r = query_run(&q, err);
    }
    return r;
}

int sqlite_forget(struct store *s, const uint64_t *revisions, size_t n, struct err *err)
{
    struct db *db = s->impl;
    int r = db_begin(db, err);

    return r ? r : db_end(db, delete_kept(db, revisions, n, err), err);
}
