/*
 * Snapshots of the engine "sqlite:".
 *
 * The pieces of a snapshot lie in a file beside the database (snapshot_file.h), which is written without touching the
 * database, on whichever thread writes it. A row makes it official. In a copy of the database, which is one file, and in
 * databases from before there were such files, they lie in the table `chunk` instead.
 */
#include "base/alloc.h"
#include "store/sqlite_db.h"

#include <inttypes.h>

enum { SNAPSHOTS_MAX = 8 };

/* ---- writing ---- */

int sqlite_snapshot_begin(struct store *s, uint64_t revision, uint64_t *ret_id, struct err *err)
{
    struct db *db = s->impl;
    uint64_t id = db->last_snapshot + 1;
    int r = snapshot_path(db->path, id, db->snapshot_path, err);

    (void)revision; /* the row of the commit says it */
    if (r)
        return r;
    db->last_snapshot = id;
    *ret_id = id;
    return 0;
}

/* With the first piece, so that making the file is the writer's work, too. */
static int writer_open(struct db *db, struct err *err)
{
    return db->writer.file
               ? 0
               : snapshot_writer_open(&db->writer, db->files, db->snapshot_path, err);
}

int sqlite_snapshot_chunk(struct store *s, struct str bytes, struct err *err)
{
    struct db *db = s->impl;
    int r = writer_open(db, err);

    return r ? r : snapshot_writer_add(&db->writer, bytes, err);
}

int sqlite_snapshot_finish(struct store *s, struct err *err)
{
    struct db *db = s->impl;
    int r = writer_open(db, err);

    return r ? r : snapshot_writer_finish(&db->writer, err);
}

int sqlite_snapshot_read_back(struct store *s, store_chunk_fn *fn, void *ctx, struct err *err)
{
    const struct db *db = s->impl;

    return snapshot_file_read(db->files, db->writer.path, fn, ctx, err);
}

static int insert_snapshot(struct db *db, const struct store_snapshot_row *row,
                           uint64_t keep_id, struct err *err)
{
    owned(query) struct query insert = query_begin(db, DB_SNAPSHOT_INSERT);
    owned(query) struct query delete = query_begin(db, DB_SNAPSHOT_DELETE);
    int r;

    query_u64(&insert, row->id);
    query_u64(&insert, row->revision);
    query_u64(&insert, row->bytes);
    query_hash(&insert, &row->chain);
    query_hash(&insert, &row->hash);
    r = query_run(&insert, err);
    if (r)
        return r;
    query_u64(&delete, row->id);
    query_u64(&delete, keep_id);
    return query_run(&delete, err);
}

int sqlite_snapshot_commit(struct store *s, const struct store_snapshot_row *row,
                           uint64_t keep_id, struct err *err)
{
    struct db *db = s->impl;
    int r = db_begin(db, err);

    if (!r)
        r = db_end(db, insert_snapshot(db, row, keep_id, err), err);
    if (r)
        return r;
    snapshot_writer_drop(&db->writer, true);
    db->garbage = true; /* the chunks of those that went */
    return 0;
}

void sqlite_snapshot_abort(struct store *s)
{
    struct db *db = s->impl;

    /* A commit that is in doubt may have made it official. */
    snapshot_writer_drop(&db->writer, db->doubt);
}

/* ---- reading ---- */

int sqlite_row_snapshot(const struct query *q, struct store_snapshot_row *row, struct err *err)
{
    int r;

    row->id = row_u64(q, 0);
    row->revision = row_u64(q, 1);
    row->bytes = row_u64(q, 2);
    r = row_hash(q, 3, &row->chain, err);
    return r ? r : row_hash(q, 4, &row->hash, err);
}

static int load_rows(struct db *db, struct store_snapshot_row rows[SNAPSHOTS_MAX],
                     size_t *ret_n, struct err *err)
{
    owned(query) struct query q = query_begin(db, DB_SNAPSHOT_EACH);
    size_t n = 0;
    int r = db_view(db, err);

    if (r)
        return r;
    while ((r = query_step(&q, err)) == QUERY_ROW && n < SNAPSHOTS_MAX) {
        r = sqlite_row_snapshot(&q, &rows[n++], err);
        if (r)
            return r;
    }
    *ret_n = n;
    return MIN(r, 0);
}

/* The rows first, then the calls: whoever is called reads the chunks. */
int sqlite_snapshot_each(struct store *s, store_snapshot_row_fn *fn, void *ctx, struct err *err)
{
    struct store_snapshot_row rows[SNAPSHOTS_MAX];
    size_t n = 0;
    int r = load_rows(s->impl, rows, &n, err);

    for (size_t i = 0; !r && i < n; i++)
        r = fn(ctx, &rows[i]);
    return r;
}

static int read_table(struct db *db, uint64_t id, store_chunk_fn *fn, void *ctx,
                      struct err *err)
{
    owned(query) struct query q = query_begin(db, DB_CHUNK_READ);
    int r;

    query_u64(&q, id);
    while ((r = query_step(&q, err)) == QUERY_ROW) {
        r = fn(ctx, row_str(&q, 0));
        if (r)
            return r;
    }
    return r;
}

static int is_in_file(struct db *db, uint64_t id, bool *ret_is, struct err *err)
{
    owned(query) struct query q = query_begin(db, DB_SNAPSHOT_PLACE);
    int r;

    query_u64(&q, id);
    r = query_step(&q, err);
    *ret_is = r == QUERY_ROW && row_u64(&q, 0);
    return MIN(r, 0);
}

int sqlite_snapshot_chunks(struct store *s, uint64_t id, store_chunk_fn *fn, void *ctx,
                           struct err *err)
{
    struct db *db = s->impl;
    char path[SNAPSHOT_PATH_BYTES];
    bool is_file = false;
    int r = is_in_file(db, id, &is_file, err);

    if (r || !is_file)
        return r ? r : read_table(db, id, fn, ctx, err);
    r = snapshot_path(db->path, id, path, err);
    return r ? r : snapshot_file_read(db->files, path, fn, ctx, err);
}

/* ---- tidying up ---- */

static int sweep(struct db *db, struct err *err)
{
    owned(query) struct query q = query_begin(db, DB_CHUNK_SWEEP);

    return query_run(&q, err);
}

/* A few chunks of no snapshot go. */
int sqlite_sweep_chunks(struct db *db, struct err *err)
{
    int r;

    if (!db->garbage)
        return 0;
    r = db_begin(db, err);
    if (!r)
        r = db_end(db, sweep(db, err), err);
    if (!r && sqlite3_changes(db->connection) == 0)
        db->garbage = false;
    return r;
}

/* Files that belong to no row. The rows are looked at first: what is newer than all of them may be on its way to one. */
struct strays {
    const struct store_files *files;
    const char *prefix;
    struct store_snapshot_row rows[SNAPSHOTS_MAX];
    size_t n;
    bool is_alone; /* nobody writes one: those that are newer, or not finished, go too */
};

static bool is_stray(const struct strays *s, uint64_t id)
{
    uint64_t newest = 0;

    for (size_t i = 0; i < s->n; i++) {
        if (s->rows[i].id == id)
            return false;
        newest = MAX(newest, s->rows[i].id);
    }
    return s->is_alone || id < newest;
}

static int remove_stray(void *ctx, const char *path)
{
    const struct strays *s = ctx;
    bool is_part = false;
    uint64_t id = snapshot_path_id(path, s->prefix, &is_part);

    if (id && (is_part ? s->is_alone : is_stray(s, id)) && s->files->remove(path, NULL))
        return 0; /* it is found again by the next tidying */
    return 0;
}

static int remove_strays(struct db *db, bool is_alone, struct err *err)
{
    struct strays strays = {.files = db->files, .is_alone = is_alone};
    char prefix[SNAPSHOT_PATH_BYTES];
    int r = snapshot_paths(db->path, prefix, err);

    strays.prefix = prefix;
    if (!r)
        r = load_rows(db, strays.rows, &strays.n, err);
    return r ? r : db->files->each(prefix, remove_stray, &strays, err);
}

int sqlite_remove_strays(struct db *db, struct err *err)
{
    return remove_strays(db, true, err);
}

int sqlite_tidy(struct store *s, struct err *err)
{
    return remove_strays(s->impl, false, err);
}
