/*
 * Snapshots in files. See snapshot_file.h.
 */
#include "store/snapshot_file.h"

#include "base/alloc.h"

#include <inttypes.h>
#include <stdio.h>

/* Synced as it is written, so that the last sync is short and commits find the disk free. */
enum { SYNC_BYTES = 8 << 20, LENGTH_BYTES = 4 };

static const struct str title = {"trimtab snapshot 1\n", 19};
static const char suffix[] = ".part";

/* ---- names ---- */

int snapshot_paths(const char *database, char out[SNAPSHOT_PATH_BYTES], struct err *err)
{
    int n = snprintf(out, SNAPSHOT_PATH_BYTES, "%s-snapshot-", database);

    return n >= SNAPSHOT_PATH_BYTES - 32
               ? err_set(err, ERR_LIMIT, "path too long: %s", database)
               : 0;
}

int snapshot_path(const char *database, uint64_t id, char out[SNAPSHOT_PATH_BYTES],
                  struct err *err)
{
    int r = snapshot_paths(database, out, err);
    size_t len = r ? 0 : strlen(out);

    if (!r)
        (void)snprintf(out + len, SNAPSHOT_PATH_BYTES - len, "%" PRIu64, id);
    return r;
}

uint64_t snapshot_path_id(const char *path, const char *prefix, bool *ret_is_part)
{
    struct str name = str_from(str_c(path), strlen(prefix));
    uint64_t id = 0;

    *ret_is_part = str_ends(name, str_c(suffix));
    if (*ret_is_part)
        name.len -= strlen(suffix);
    return str_u64(name, &id) ? id : 0;
}

/* ---- writing ---- */

static void part_path(const struct snapshot_writer *w, char out[SNAPSHOT_PATH_BYTES])
{
    (void)snprintf(out, SNAPSHOT_PATH_BYTES, "%s%s", w->path, suffix);
}

int snapshot_writer_open(struct snapshot_writer *w, const struct store_files *files,
                         const char *path, struct err *err)
{
    char part[SNAPSHOT_PATH_BYTES];
    int r;

    *w = (struct snapshot_writer){.files = files};
    (void)snprintf(w->path, sizeof(w->path), "%s", path);
    part_path(w, part);
    r = files->open(part, STORE_FILE_WRITE, &w->file, err);
    return r ? r : files->write(w->file, title, err);
}

int snapshot_writer_add(struct snapshot_writer *w, struct str piece, struct err *err)
{
    uint32_t length = __builtin_bswap32((uint32_t)piece.len);
    int r = w->files->write(w->file, str_of(&length, LENGTH_BYTES), err);

    if (!r)
        r = w->files->write(w->file, piece, err);
    w->unsynced += piece.len;
    if (r || w->unsynced < SYNC_BYTES)
        return r;
    w->unsynced = 0;
    return w->files->sync(w->file, err);
}

int snapshot_writer_finish(struct snapshot_writer *w, struct err *err)
{
    char part[SNAPSHOT_PATH_BYTES];
    int r = w->files->sync(w->file, err);

    if (r)
        return r;
    w->files->forget(w->file);
    w->files->close(w->file);
    w->file = NULL;
    part_path(w, part);
    r = w->files->rename(part, w->path, err);
    if (r)
        return r;
    w->is_finished = true;
    return w->files->sync_folder(w->path, err);
}

void snapshot_writer_drop(struct snapshot_writer *w, bool keeps)
{
    char part[SNAPSHOT_PATH_BYTES];

    if (!w->files)
        return;
    if (w->file)
        w->files->close(w->file);
    part_path(w, part);
    if (!keeps && w->files->remove(w->is_finished ? w->path : part, NULL))
        w->unsynced = 0; /* the next opening removes it */
    *w = (struct snapshot_writer){.files = NULL};
}

/* ---- reading ---- */

static int is_damaged(struct err *err, const char *what)
{
    return err_set(err, ERR_CORRUPT, "a snapshot's file is damaged: %s", what);
}

/* Exactly n bytes: 0; *ret_n less than n: the file ends. A disk that cannot read them has damaged them. */
static int read_some(struct snapshot_reader *r, char *to, size_t n, size_t *ret_n,
                     struct err *err)
{
    return r->files->read(r->file, to, n, ret_n, NULL) ? is_damaged(err, "it cannot be read")
                                                       : 0;
}

int snapshot_reader_open(struct snapshot_reader *r, const struct store_files *files,
                         const char *path, struct err *err)
{
    size_t n = 0;
    int rc;

    *r = (struct snapshot_reader){.files = files};
    r->piece = mem_alloc(STORE_CHUNK_MAX);
    if (!r->piece)
        return err_set(err, ERR_NOMEM, "out of memory for a snapshot");
    rc = files->open(path, STORE_FILE_READ, &r->file, err);
    if (rc == ERR_NOT_FOUND)
        rc = err_set(err, ERR_CORRUPT, "a snapshot's file is missing: %s", path);
    if (!rc)
        rc = read_some(r, r->piece, title.len, &n, err);
    if (!rc && !str_eq(str_of(r->piece, n), title))
        rc = is_damaged(err, "its title");
    if (rc)
        snapshot_reader_close(r);
    return rc;
}

int snapshot_reader_next(struct snapshot_reader *r, struct str *ret_piece, struct err *err)
{
    uint32_t length = 0;
    size_t n = 0;
    int rc = read_some(r, (char *)&length, LENGTH_BYTES, &n, err);

    if (rc || n == 0)
        return rc;
    length = __builtin_bswap32(length);
    if (n < LENGTH_BYTES || length == 0 || length > STORE_CHUNK_MAX)
        return is_damaged(err, "the length of a piece");
    rc = read_some(r, r->piece, length, &n, err);
    if (!rc && n < length)
        rc = is_damaged(err, "it is cut");
    if (rc)
        return rc;
    *ret_piece = str_of(r->piece, length);
    return 1;
}

void snapshot_reader_close(struct snapshot_reader *r)
{
    if (r->file)
        r->files->close(r->file);
    r->file = NULL;
    r->piece = mem_free(r->piece);
}

int snapshot_file_read(const struct store_files *files, const char *path, store_chunk_fn *fn,
                       void *ctx, struct err *err)
{
    struct snapshot_reader r;
    struct str piece;
    int rc = snapshot_reader_open(&r, files, path, err);

    if (rc)
        return rc;
    while ((rc = snapshot_reader_next(&r, &piece, err)) == 1) {
        rc = fn(ctx, piece);
        if (rc)
            break;
    }
    snapshot_reader_close(&r);
    return rc;
}
