/*
 * Copies of the engine "sqlite:".
 *
 *   pages (SQLite's online backup) -> the snapshots that lie in files, piece by piece into the table of the copy -> whole
 *
 * The pages are copied over the store's own connection: what is written meanwhile goes into the copy too, so that the
 * copying never begins anew, and the copy is the state at its last page. The files of that state are opened at once, so
 * that they may lose their names while they are read. A snapshot that is not whole does not come along, nor does its row.
 */
#include "base/alloc.h"
#include "store/sqlite_db.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { PAGE_BYTES = 4096, CHUNK_SHIFT = 20, CHUNKS_MAX = 1 << CHUNK_SHIFT, CARRY_MAX = 8 };

/* A snapshot on its way. */
struct carried {
    struct store_snapshot_row row;
    struct snapshot_reader reader;
    struct sha256 hash; /* of the pieces that came along */
    uint64_t bytes, pieces;
    bool is_damaged;
};

struct carry {
    struct db *to;
    struct carried at[CARRY_MAX];
    size_t n, i;
};

/* ---- the connection to the copy ---- */

/* NULL without memory; else *ret_result tells whether it is open, and copy_close is due in any case. */
static struct db *copy_open(const char *path, int *ret_result, struct err *err)
{
    struct db *copy = NEW(struct db);
    int code;

    if (!copy)
        return NULL;
    copy->path = mem_dup(path, strlen(path));
    if (!copy->path)
        return mem_free(copy);
    code = sqlite3_open_v2(path, &copy->connection,
                           SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                           NULL);
    *ret_result = code ? db_error(copy, code, err) : 0;
    return copy;
}

static int copy_close(struct db *copy, struct err *err)
{
    int r = db_close(copy, err);

    (void)mem_free(copy->path);
    (void)mem_free(copy);
    return r;
}

/* It is of no use before it is whole, and is synced then: neither a sync nor a journal is needed on the way. */
static const char without_syncs[] = "PRAGMA synchronous = OFF;";
static const char without_journal[] = "PRAGMA locking_mode = EXCLUSIVE;"
                                      "PRAGMA journal_mode = MEMORY;";

static int copy_set(struct db *copy, const char *pragmas, struct err *err)
{
    int code = sqlite3_exec(copy->connection, pragmas, NULL, NULL, NULL);

    return code ? db_error(copy, code, err) : 0;
}

static int sync_file(const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;

    if (fd < 0 || fsync(fd))
        r = err_set_errno(err, "cannot sync %s", path);
    if (fd >= 0)
        (void)close(fd); /* only read */
    return r;
}

/* ---- carrying ---- */

static struct carry *carry_free(struct carry *c)
{
    for (size_t i = 0; c && i < c->n; i++)
        snapshot_reader_close(&c->at[i].reader);
    return mem_free(c);
}

/* One whose file is not there, or is none, is noted as damaged. */
static int carry_add(struct carry *c, const struct query *q, const char *from,
                     const struct store_files *files, struct err *err)
{
    struct carried *one = &c->at[c->n];
    char path[SNAPSHOT_PATH_BYTES];
    int r = sqlite_row_snapshot(q, &one->row, err);

    if (!r)
        r = snapshot_path(from, one->row.id, path, err);
    if (r)
        return r;
    one->hash = store_snapshot_hash(one->row.revision, &one->row.chain);
    c->n++;
    r = snapshot_reader_open(&one->reader, files, path, err);
    one->is_damaged = r == ERR_CORRUPT;
    return one->is_damaged ? 0 : r;
}

/* What of the copy's snapshots lies in files beside `from`. */
static int carry_open(struct carry *c, const char *from, const struct store_files *files,
                      struct err *err)
{
    owned(query) struct query q = query_begin(c->to, DB_SNAPSHOT_IN_FILES);
    int r;

    while ((r = query_step(&q, err)) == QUERY_ROW && c->n < CARRY_MAX) {
        r = carry_add(c, &q, from, files, err);
        if (r)
            return r;
    }
    return MIN(r, 0);
}

static struct carry *carry_new(struct db *to)
{
    struct carry *c = NEW(struct carry);

    if (c)
        c->to = to;
    return c;
}

static int run_with_id(struct db *to, enum db_sql sql, uint64_t id, struct err *err)
{
    owned(query) struct query q = query_begin(to, sql);

    query_u64(&q, id);
    return query_run(&q, err);
}

static int put_piece(struct carry *c, const struct carried *one, struct str piece,
                     struct err *err)
{
    owned(query) struct query q = query_begin(c->to, DB_CHUNK_INSERT);

    query_u64(&q, one->row.id << CHUNK_SHIFT | one->pieces);
    query_str(&q, piece);
    return query_run(&q, err);
}

static int settle_one(struct carry *c, const struct carried *one, struct err *err)
{
    int r;

    if (!one->is_damaged)
        return run_with_id(c->to, DB_SNAPSHOT_CARRIED, one->row.id, err);
    r = run_with_id(c->to, DB_SNAPSHOT_DROP, one->row.id, err);
    return r ? r : run_with_id(c->to, DB_CHUNK_DROP, one->row.id, err);
}

/* One piece, or the end of its snapshot. */
static int carry_piece(struct carry *c, struct carried *one, size_t *ret_bytes, struct err *err)
{
    struct str piece = STR_NULL;
    int r = one->is_damaged ? 0 : snapshot_reader_next(&one->reader, &piece, err);

    if (r == ERR_CORRUPT || one->pieces == CHUNKS_MAX) {
        one->is_damaged = true;
        r = 0;
    }
    if (r < 0)
        return r;
    if (r == 1) {
        one->hash = store_snapshot_hash_next(&one->hash, piece);
        one->bytes += piece.len;
        *ret_bytes = piece.len;
        r = put_piece(c, one, piece, err);
        one->pieces++;
        return r;
    }
    one->is_damaged |= one->bytes != one->row.bytes || !sha256_eq(&one->hash, &one->row.hash);
    c->i++;
    return settle_one(c, one, err);
}

/* STORE_MORE, or 0 when all have come along. */
static int carry_step(struct carry *c, size_t bytes, struct err *err)
{
    for (size_t done = 0; c->i < c->n && done <= bytes;) {
        size_t piece = 1;
        int r = db_begin(c->to, err);

        if (!r)
            r = db_end(c->to, carry_piece(c, &c->at[c->i], &piece, err), err);
        if (r)
            return r;
        done += piece;
    }
    return c->i < c->n ? STORE_MORE : 0;
}

/* ---- a copy of an open store ---- */

int sqlite_backup_begin(struct store *s, const char *path, struct err *err)
{
    struct db *db = s->impl;
    int r = 0;

    db->copy = copy_open(path, &r, err);
    if (!db->copy)
        return err_set(err, ERR_NOMEM, "out of memory for a copy");
    if (!r)
        r = copy_set(db->copy, without_syncs, err);
    if (!r) {
        db->backup = sqlite3_backup_init(db->copy->connection, "main", db->connection, "main");
        if (!db->backup)
            r = db_error(db, sqlite3_errcode(db->copy->connection), err);
    }
    if (r) {
        (void)copy_close(db->copy, NULL); /* nothing was written */
        db->copy = NULL;
    }
    return r;
}

/* The last page is there. */
static int pages_done(struct db *db, struct err *err)
{
    int code = sqlite3_backup_finish(db->backup), r;

    db->backup = NULL;
    db->s->backup_revision = db->head.revision;
    if (code)
        return db_error(db, code, err);
    r = copy_set(db->copy, without_journal, err);
    db->carry = r ? NULL : carry_new(db->copy);
    if (!r && !db->carry)
        r = err_set(err, ERR_NOMEM, "out of memory for a copy");
    return r ? r : carry_open(db->carry, db->path, db->files, err);
}

int sqlite_backup_step(struct store *s, size_t bytes, struct err *err)
{
    struct db *db = s->impl;
    int code, r;

    if (db->carry)
        return carry_step(db->carry, bytes, err);
    code = sqlite3_backup_step(db->backup, (int)MAX(bytes / PAGE_BYTES, (size_t)1));
    if (code != SQLITE_DONE)
        return code == SQLITE_OK ? STORE_MORE : db_error(db, code, err);
    r = pages_done(db, err);
    return r ? r : STORE_MORE;
}

int sqlite_backup_end(struct store *s, struct err *err)
{
    struct db *db = s->impl;
    char path[SNAPSHOT_PATH_BYTES];
    int code = db->backup ? sqlite3_backup_finish(db->backup) : SQLITE_OK, r;

    (void)snprintf(path, sizeof(path), "%s", db->copy->path);
    db->backup = NULL;
    db->carry = carry_free(db->carry);
    r = copy_close(db->copy, err);
    db->copy = NULL;
    if (code)
        return db_error(db, code, err);
    return r ? r : sync_file(path, err);
}

/* ---- a copy of the file of a store that nobody has open ---- */

static int carry_all(struct db *copy, const char *from, struct err *err)
{
    struct carry *c;
    int r = copy_set(copy, without_syncs, err);

    if (!r)
        r = copy_set(copy, without_journal, err);
    if (r)
        return r;
    c = carry_new(copy);
    if (!c)
        return err_set(err, ERR_NOMEM, "out of memory for a copy");
    r = carry_open(c, from, &store_files_system, err);
    while (!r && (r = carry_step(c, STORE_CHUNK_MAX, err)) == STORE_MORE)
        r = 0;
    (void)carry_free(c);
    return r;
}

/* Files are there from version 4 on. */
static int take_along(struct db *copy, const char *from, struct err *err)
{
    int64_t version = 0;
    int r = db_number(copy, "PRAGMA user_version", &version, err);

    return r || version < 4 ? r : carry_all(copy, from, err);
}

int store_backup_take_along(const char *path, const char *from, struct err *err)
{
    int r = 0, closed;
    struct db *copy = copy_open(path, &r, err);

    if (!copy)
        return err_set(err, ERR_NOMEM, "out of memory for a copy");
    if (!r)
        r = take_along(copy, from, err);
    closed = copy_close(copy, r ? NULL : err);
    r = r ? r : closed;
    return r ? r : sync_file(path, err);
}
