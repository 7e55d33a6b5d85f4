/*
 * A snapshot in a file of its own, beside the database:
 *
 *   "trimtab snapshot 1\n" | length of a piece as 4 bytes, big-endian | the piece | length | piece ...
 *
 * It is written under its name and ".part", synced, renamed, and the folder is synced. The file says nothing of itself: a
 * row of the database says how many bytes its pieces have and what their hash is, and only then it is a snapshot.
 */
#ifndef TRIMTAB_STORE_SNAPSHOT_FILE_H
#define TRIMTAB_STORE_SNAPSHOT_FILE_H

#include "store/files.h"
#include "store/store.h"

enum { SNAPSHOT_PATH_BYTES = 4096 };

/* The name of a snapshot's file, or the beginning of all of them. ERR_LIMIT. */
must_use int snapshot_path(const char *database, uint64_t id, char out[SNAPSHOT_PATH_BYTES],
                           struct err *err);
must_use int snapshot_paths(const char *database, char out[SNAPSHOT_PATH_BYTES],
                            struct err *err);
/* The id in a path that begins like those of a database, and whether it is not finished yet; 0: it is none of these. */
uint64_t snapshot_path_id(const char *path, const char *prefix, bool *ret_is_part);

/* One that is being written; {0}: none. */
struct snapshot_writer {
    const struct store_files *files;
    void *file; /* NULL: not open */
    size_t unsynced;
    bool is_finished; /* it has its own name */
    char path[SNAPSHOT_PATH_BYTES - 8];
};

/* Any thread, one at a time. ERR_IO, ERR_NOMEM; after a failure only drop is allowed. */
must_use int snapshot_writer_open(struct snapshot_writer *w, const struct store_files *files,
                                  const char *path, struct err *err);
must_use int snapshot_writer_add(struct snapshot_writer *w, struct str piece, struct err *err);
must_use int snapshot_writer_finish(struct snapshot_writer *w, struct err *err);
/* Closes, and removes what is there under either name unless it is kept. */
void snapshot_writer_drop(struct snapshot_writer *w, bool keeps);

struct snapshot_reader {
    const struct store_files *files;
    void *file; /* NULL: not open */
    char *piece;
};

/* ERR_CORRUPT when the file is missing, no snapshot, or cannot be read; ERR_IO, ERR_NOMEM. */
must_use int snapshot_reader_open(struct snapshot_reader *r, const struct store_files *files,
                                  const char *path, struct err *err);
/* 1 and a piece, valid until the next call; 0 at the end. */
must_use int snapshot_reader_next(struct snapshot_reader *r, struct str *ret_piece,
                                  struct err *err);
void snapshot_reader_close(struct snapshot_reader *r); /* also one that is not open */

/* All pieces of a file. */
must_use int snapshot_file_read(const struct store_files *files, const char *path,
                                store_chunk_fn *fn, void *ctx, struct err *err);

#endif
