/*
 * The inside of the engine "sqlite:": the connection, its statements and transactions. See sqlite.c.
 */
#ifndef TRIMTAB_STORE_SQLITE_DB_H
#define TRIMTAB_STORE_SQLITE_DB_H

#include "store/engine.h"
#include "store/snapshot_file.h"

#include <sqlite3.h>

/* Every statement, prepared when it is first used and then kept. The texts are in sqlite_db.c. */
enum db_sql {
    DB_BEGIN,
    DB_VIEW,
    DB_COMMIT,
    DB_ROLLBACK,
    DB_SETTLE,
    DB_META,
    DB_SET_META,
    DB_LOG_LAST,
    DB_LOG_INSERT,
    DB_LOG_READ,
    DB_LOG_REQUESTS,
    DB_LOG_DELETE,
    DB_KEPT_MOVE,
    DB_KEPT_READ,
    DB_KEPT_DELETE,
    DB_MARK_PUT,
    DB_MARK_FIND,
    DB_MARKED,
    DB_SET_MARKED,
    DB_SNAPSHOT_LAST,
    DB_SNAPSHOT_INSERT,
    DB_SNAPSHOT_DELETE,
    DB_SNAPSHOT_EACH,
    DB_SNAPSHOT_PLACE,
    DB_SNAPSHOT_IN_FILES,
    DB_SNAPSHOT_CARRIED,
    DB_SNAPSHOT_DROP,
    DB_CHUNK_INSERT,
    DB_CHUNK_READ,
    DB_CHUNK_SWEEP,
    DB_CHUNK_DROP,
    DB_BLOB_PUT,
    DB_BLOB_GET,
    DB_BLOB_HAS,
    DB_BLOB_EACH,
    DB_BLOB_DELETE,
    DB_LEASE_INSERT,
    DB_LEASE_EACH,
    DB_LEASE_DELETE,
    DB_EPHEMERAL_PUT,
    DB_EPHEMERAL_DELETE,
    DB_EPHEMERAL_LIST,
    DB_EPHEMERAL_OF_LEASE,
    DB_EPHEMERAL_END,
    DB_EPHEMERAL_ORPHANS,
    DB_INTEGRITY,
    DB_SQL_COUNT,
};

struct db_lease {
    uint64_t id;
    nsec_t ttl, ends;
};

/* A file that this process has open, in a list of all of them (sqlite_db.c). */
struct db_claim {
    dev_t device;
    ino_t inode;
    struct db_claim *next;
    bool is_held;
};

/*
 * One opened store. Nobody else writes the file, so what is remembered of it here stays true; of a reader, for as long as
 * it has a view.
 */
struct db {
    struct store *s;
    sqlite3 *connection;
    sqlite3_stmt *statements[DB_SQL_COUNT];
    char *path;
    const char *vfs; /* NULL: the default one */
    struct db_claim claim;
    bool is_reader, has_view;

    struct db_meta {
        struct store_identity identity;
        struct store_head base;
        uint64_t blob_epoch;
    } meta;
    struct store_head head;
    VEC(struct db_lease) leases;

    int last_failure; /* SQLite's code of the story that was told last */
    bool doubt;       /* a commit failed, and what it wrote may come back after a crash (D3) */
    int wal_pages;    /* in the write-ahead log, of which some may be in the database already */
    bool wal_is_copied; /* all of them are */
    struct db *copy;    /* that is being made; NULL: none */
    sqlite3_backup *backup;
    struct carry *carry;    /* what goes into the copy behind its pages; NULL: not yet */
    uint64_t last_snapshot; /* its id */
    bool garbage;           /* there may be chunks of no snapshot */
    const struct store_files *files;
    /* of the thread that writes a snapshot, while one is being written */
    struct snapshot_writer writer;
    char snapshot_path[SNAPSHOT_PATH_BYTES];
};

/* A use of a statement. Remembers the first failing bind; its cleanup resets the statement. */
struct query {
    struct db *db;
    sqlite3_stmt *statement; /* NULL: it could not be prepared */
    int failed;              /* SQLite's code */
    int bound;
};

enum { QUERY_ROW = 1 };

struct query query_begin(struct db *db, enum db_sql sql);
void query_cleanup(struct query *q);
void query_again(struct query *q); /* for the next row of parameters */

/* Bind the next parameter. Bytes are borrowed until the query ends or begins again. */
void query_u64(struct query *q, uint64_t value);
void query_str(struct query *q, struct str bytes);
void query_hash(struct query *q, const struct sha256 *hash);

/* 0 when done, QUERY_ROW, or negative with the story. */
must_use int query_step(struct query *q, struct err *err);

/* Columns of the current row. A hash of another length is ERR_CORRUPT. */
uint64_t row_u64(const struct query *q, int column);
struct str row_str(const struct query *q, int column);
must_use int row_hash(const struct query *q, int column, struct sha256 *ret_hash,
                      struct err *err);

/*
 * SHA-256 over parts, each with its length in front; the sums that rows carry of themselves are its first bytes.
 * A row that was written before there were sums has none, which is right, too.
 */
enum { DB_SUM_BYTES = 8 };
struct sha256 db_sum(const struct str *parts, size_t n);
must_use bool row_sum_is(const struct query *q, int column, const struct sha256 *sum);

/* Replaces what the database says of itself, inside a transaction; db->meta is the caller's to change. */
must_use int db_save_meta(struct db *db, const struct db_meta *meta, struct err *err);

/* The number in the first column of the first row; 0 when there is none. */
must_use int db_number(struct db *db, const char *sql, int64_t *ret_number, struct err *err);

/* A query without rows, from its parameters to its end. */
must_use int query_run(struct query *q, struct err *err);

/*
 * A transaction: r = db_begin(); if (!r) r = db_end(db, work(), err). db_end commits when the work returned 0
 * and otherwise undoes it and passes the result on. ERR_TIMEOUT: it is unknown whether it is committed (D3).
 */
must_use int db_begin(struct db *db, struct err *err);
must_use int db_end(struct db *db, int result, struct err *err);

/* Ends a doubt: what failed to commit will not come back. */
must_use int db_settle(struct db *db, struct err *err);

/* The story of SQLite's last failure, or of this code. */
int db_error(struct db *db, int code, struct err *err);

enum {
    DB_WAL_IDLE_PAGES = 1000, /* 4 MiB: copied when there is nothing else to do */
    DB_WAL_MAX_PAGES = 16384, /* 64 MiB: copied although somebody waits */
};

/* Copies the write-ahead log into the database when it has at least this many pages. */
void db_checkpoint(struct db *db, int at_least);

/* A reader's view: everything is as it is now until db_unview. Nothing for others. */
must_use int db_view(struct db *db, struct err *err);
void db_unview(struct db *db);

/* Opens path: file, connection, settings, lock, schema. On failure the caller closes. */
must_use int db_open(struct db *db, const struct store_opts *opts, struct err *err);
/* A second connection to the file of an open db. On failure the caller closes. */
must_use int db_open_reader(struct db *db, struct err *err);
int db_close(struct db *db, struct err *err);

/* sqlite_log.c */
int sqlite_head(struct store *s, struct store_head *ret_head, struct err *err);
int sqlite_base(struct store *s, struct store_head *ret_base, struct err *err);
int sqlite_append(struct store *s, const struct store_batch *batch, size_t *ret_at,
                  struct err *err);
int sqlite_read(struct store *s, enum store_rows rows, const uint64_t range[2],
                store_entry_fn *fn, void *ctx, struct err *err);
int sqlite_compact(struct store *s, const struct store_compact *op, uint64_t limit,
                   struct err *err);
int sqlite_forget(struct store *s, const uint64_t *revisions, size_t n, struct err *err);
int sqlite_mark(struct store *s, const struct store_mark *marks, size_t n, uint64_t upto,
                struct err *err);
int sqlite_marked(struct store *s, uint64_t *ret_upto, struct err *err);
int sqlite_mark_find(struct store *s, struct str key, uint64_t number,
                     struct store_mark *ret_mark, struct err *err);
/* sqlite_snapshot.c */
int sqlite_snapshot_begin(struct store *s, uint64_t revision, uint64_t *ret_id,
                          struct err *err);
int sqlite_snapshot_chunk(struct store *s, struct str bytes, struct err *err);
int sqlite_snapshot_finish(struct store *s, struct err *err);
int sqlite_snapshot_read_back(struct store *s, store_chunk_fn *fn, void *ctx, struct err *err);
int sqlite_snapshot_commit(struct store *s, const struct store_snapshot_row *row,
                           uint64_t keep_id, struct err *err);
void sqlite_snapshot_abort(struct store *s);
int sqlite_snapshot_each(struct store *s, store_snapshot_row_fn *fn, void *ctx,
                         struct err *err);
int sqlite_snapshot_chunks(struct store *s, uint64_t id, store_chunk_fn *fn, void *ctx,
                           struct err *err);
must_use int sqlite_row_snapshot(const struct query *q, struct store_snapshot_row *row,
                                 struct err *err);
must_use int sqlite_sweep_chunks(struct db *db, struct err *err);
must_use int sqlite_remove_strays(struct db *db, struct err *err);
int sqlite_tidy(struct store *s, struct err *err);

/* sqlite_backup.c */
int sqlite_backup_begin(struct store *s, const char *path, struct err *err);
int sqlite_backup_step(struct store *s, size_t bytes, struct err *err);
int sqlite_backup_end(struct store *s, struct err *err);

/* sqlite_items.c */
must_use int sqlite_load_leases(struct db *db, struct err *err);
int sqlite_blob_put(struct store *s, const struct sha256 *hash, struct str bytes,
                    struct err *err);
int sqlite_blob_get(struct store *s, const struct sha256 *hash, struct shared **ret_bytes,
                    struct err *err);
int sqlite_blob_has(struct store *s, const struct sha256 *hash, bool *ret_has, struct err *err);
int sqlite_blob_epoch(struct store *s, uint64_t *ret_epoch, struct err *err);
int sqlite_blob_collect(struct store *s, const struct store_collect *op, uint64_t *ret_removed,
                        struct err *err);
must_use int sqlite_check_blobs(struct db *db, struct err *err);
must_use int sqlite_check_items(struct db *db, struct err *err);
int sqlite_lease_grant(struct store *s, nsec_t ttl, uint64_t *ret_lease, struct err *err);
int sqlite_lease_keep(struct store *s, uint64_t lease, struct err *err);
int sqlite_lease_revoke(struct store *s, uint64_t lease, struct err *err);
int sqlite_ephemeral_put(struct store *s, uint64_t lease, const struct store_ephemeral *items,
                         size_t n, struct err *err);
int sqlite_ephemeral_delete(struct store *s, const struct str *keys, size_t n, struct err *err);
int sqlite_ephemeral_list(struct store *s, struct str prefix, store_ephemeral_fn *fn, void *ctx,
                          struct err *err);
must_use int sqlite_end_leases(struct db *db, nsec_t *ret_next, struct err *err);

#endif
