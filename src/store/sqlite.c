/*
 * The engine "sqlite:/path": one file, one server.
 *
 *   sqlite_db.c      connection, schema, transactions: where durability is decided
 *   sqlite_log.c     log, marks, compaction
 *   sqlite_snapshot.c, sqlite_backup.c  snapshots, copies
 *   sqlite_items.c   blobs, leases, ephemeral items
 */
#include "base/alloc.h"
#include "store/sqlite_db.h"

static void release(struct db *db)
{
    VEC_DEINIT(&db->leases);
    (void)mem_free(db->path);
    (void)mem_free(db);
}

static int sqlite_open(struct store *s, const char *place, const struct store_opts *opts,
                       struct err *err)
{
    struct db *db;
    int r;

    if (!*place)
        return err_set(err, ERR_INVALID, "\"sqlite:\" needs the path of a file");
    db = NEW(struct db);
    if (!db)
        return err_set(err, ERR_NOMEM, "out of memory while opening a store");
    db->s = s;
    db->vfs = opts->sqlite_vfs;
    db->files = opts->files ? opts->files : &store_files_system;
    db->path = mem_dup(place, strlen(place));
    r = db->path ? db_open(db, opts, err) : err_set(err, ERR_NOMEM, "out of memory");
    if (!r)
        r = sqlite_load_leases(db, err);
    if (!r)
        r = sqlite_remove_strays(db, err);
    if (r) {
        (void)db_close(db, NULL); /* the story is why it did not open */
        release(db);
        return r;
    }
    s->impl = db;
    return 0;
}

static int sqlite_open_reader(struct store *reader, struct store *s, struct err *err)
{
    const struct db *of = s->impl;
    struct db *db = NEW(struct db);
    int r;

    if (!db)
        return err_set(err, ERR_NOMEM, "out of memory for a reader of the store");
    db->s = reader;
    db->vfs = of->vfs;
    db->files = of->files;
    db->is_reader = true;
    db->path = mem_dup(of->path, strlen(of->path));
    r = db->path ? db_open_reader(db, err) : err_set(err, ERR_NOMEM, "out of memory");
    if (r) {
        (void)db_close(db, NULL); /* the story is why it did not open */
        release(db);
        return r;
    }
    reader->impl = db;
    return 0;
}

static void sqlite_release(struct store *reader)
{
    db_unview(reader->impl);
}

static int sqlite_close(struct store *s, struct err *err)
{
    struct db *db = s->impl;
    int r = db_close(db, err);

    release(db);
    s->impl = NULL;
    return r;
}

static int sqlite_identity(struct store *s, struct store_identity *ret_identity,
                           struct err *err)
{
    const struct db *db = s->impl;

    (void)err; /* it is known */
    *ret_identity = db->meta.identity;
    return 0;
}

static int sqlite_set_identity(struct store *s, const struct store_identity *identity,
                               struct err *err)
{
    struct db *db = s->impl;
    struct db_meta meta = db->meta;
    int r = db_begin(db, err);

    meta.identity = *identity;
    if (!r)
        r = db_end(db, db_save_meta(db, &meta, err), err);
    if (!r)
        db->meta = meta;
    return r;
}

static int sqlite_tick(struct store *s, nsec_t *ret_next, struct err *err)
{
    struct db *db = s->impl;
    int r = sqlite_end_leases(db, ret_next, err);

    if (!r)
        r = sqlite_sweep_chunks(db, err);
    if (!r)
        db_checkpoint(db, DB_WAL_IDLE_PAGES);
    return r;
}

static int sqlite_poll(struct store *s, int timeout_ms, struct err *err)
{
    (void)err; /* nobody else writes, so there is nothing that could fail */
    store_wait_for_wake(s, timeout_ms);
    return 0;
}

static int check_structure(struct db *db, struct err *err)
{
    owned(query) struct query q = query_begin(db, DB_INTEGRITY);
    int r = query_step(&q, err);
    struct str text;

    if (r < 0)
        return r;
    text = r == QUERY_ROW ? row_str(&q, 0) : STR_NULL;
    if (!str_eq(text, STR("ok")))
        return err_set(err, ERR_CORRUPT, "%s: %.*s", db->path, STR_ARG(text));
    return 0;
}

static int sqlite_check(struct store *s, struct err *err)
{
    struct db *db = s->impl;
    int r = check_structure(db, err);

    if (!r)
        r = sqlite_check_blobs(db, err);
    return r ? r : sqlite_check_items(db, err);
}

const struct store_engine store_sqlite_engine = {
    .scheme = "sqlite",
    .open = sqlite_open,
    .close = sqlite_close,
    .open_reader = sqlite_open_reader,
    .release = sqlite_release,
    .identity = sqlite_identity,
    .set_identity = sqlite_set_identity,
    .head = sqlite_head,
    .base = sqlite_base,
    .append = sqlite_append,
    .read = sqlite_read,
    .mark = sqlite_mark,
    .marked = sqlite_marked,
    .mark_find = sqlite_mark_find,
    .snapshot_begin = sqlite_snapshot_begin,
    .snapshot_chunk = sqlite_snapshot_chunk,
    .snapshot_finish = sqlite_snapshot_finish,
    .snapshot_read_back = sqlite_snapshot_read_back,
    .snapshot_commit = sqlite_snapshot_commit,
    .snapshot_abort = sqlite_snapshot_abort,
    .snapshot_each = sqlite_snapshot_each,
    .snapshot_chunks = sqlite_snapshot_chunks,
    .tidy = sqlite_tidy,
    .compact = sqlite_compact,
    .forget = sqlite_forget,
    .blob_put = sqlite_blob_put,
    .blob_get = sqlite_blob_get,
    .blob_has = sqlite_blob_has,
    .blob_epoch = sqlite_blob_epoch,
    .blob_collect = sqlite_blob_collect,
    .lease_grant = sqlite_lease_grant,
    .lease_keep = sqlite_lease_keep,
    .lease_revoke = sqlite_lease_revoke,
    .ephemeral_put = sqlite_ephemeral_put,
    .ephemeral_delete = sqlite_ephemeral_delete,
    .ephemeral_list = sqlite_ephemeral_list,
    .tick = sqlite_tick,
    .poll = sqlite_poll,
    .check = sqlite_check,
    .backup_begin = sqlite_backup_begin,
    .backup_step = sqlite_backup_step,
    .backup_end = sqlite_backup_end,
};
