/*
 * Whole files: read with a ceiling, replace atomically. Blocking; for programs' start-up and worker threads.
 */
#ifndef TRIMTAB_BASE_FILE_H
#define TRIMTAB_BASE_FILE_H

#include "base/buf.h"
#include "base/err.h"

#include <sys/types.h>

/* Appends the whole file to bytes. ERR_NOT_FOUND, ERR_LIMIT when over the buffer's ceiling, ERR_IO, ERR_NOMEM. */
must_use int file_read(const char *path, struct buf *bytes, struct err *err);

/*
 * Replaces path by bytes so that a reader, or a machine that loses power, sees either the old or the new file:
 * temporary file in the same folder, fsync, rename, fsync of the folder. The new file has exactly this mode.
 */
must_use int file_replace(const char *path, struct str bytes, mode_t mode, struct err *err);

/* fsync of the folder that holds path. */
must_use int file_sync_parent(const char *path, struct err *err);

/* Makes the folder and its missing parents. */
must_use int file_make_dirs(const char *path, mode_t mode, struct err *err);

#endif
