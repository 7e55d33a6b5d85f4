/*
 * Whole-file reads and atomic replacement. See file.h.
 */
#include "base/file.h"

#include "base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, READ_STEP = 65536 };

static int read_all(int fd, const char *path, struct buf *bytes, struct err *err)
{
    for (;;) {
        size_t step = MIN((size_t)READ_STEP, bytes->ceiling - bytes->len + 1);
        char *at = buf_room(bytes, MIN(step, bytes->ceiling - bytes->len));
        char probe;
        ssize_t n;

        if (!at)
            return buf_status(bytes);
        n = bytes->len == bytes->ceiling ? read(fd, &probe, 1)
                                         : read(fd, at, MIN(step, bytes->ceiling - bytes->len));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, "cannot read %s", path);
        if (n == 0)
            return 0;
        if (bytes->len == bytes->ceiling)
            return err_set(err, ERR_LIMIT, "%s is larger than %zu bytes", path, bytes->ceiling);
        buf_added(bytes, (size_t)n);
    }
}

int file_read(const char *path, struct buf *bytes, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int r;

    if (fd < 0 && errno == ENOENT)
        return err_set(err, ERR_NOT_FOUND, "there is no file %s", path);
    if (fd < 0)
        return err_set_errno(err, "cannot open %s", path);
    r = read_all(fd, path, bytes, err);
    (void)close(fd); /* nothing was written */
    return r;
}

static int write_all(int fd, struct str bytes)
{
    while (bytes.len > 0) {
        ssize_t n = write(fd, bytes.data, bytes.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ERR_IO;
        bytes = str_from(bytes, (size_t)n);
    }
    return 0;
}

int file_sync_parent(const char *path, struct err *err)
{
    char folder[PATH_BYTES];
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 1;
    int fd, r;

    if (len >= sizeof(folder))
        return err_set(err, ERR_LIMIT, "path too long: %s", path);
    memcpy(folder, slash ? path : ".", len);
    folder[len] = '\0';
    fd = open(len ? folder : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(err, "cannot open the folder of %s", path);
    r = fsync(fd) ? err_set_errno(err, "cannot sync the folder of %s", path) : 0;
    (void)close(fd); /* the fsync told */
    return r;
}

/* Fills the temporary file and makes it durable under its own name. */
static int fill_temporary(int fd, struct str bytes, mode_t mode)
{
    if (fchmod(fd, mode) || write_all(fd, bytes) || fsync(fd))
        return ERR_IO;
    return 0;
}

int file_replace(const char *path, struct str bytes, mode_t mode, struct err *err)
{
    char temporary[PATH_BYTES];
    int n = snprintf(temporary, sizeof(temporary), "%s.tmp-XXXXXX", path);
    int fd, r;

    if (n < 0 || (size_t)n >= sizeof(temporary))
        return err_set(err, ERR_LIMIT, "path too long: %s", path);
    fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(err, "cannot make a file beside %s", path);
    r = fill_temporary(fd, bytes, mode);
    if (r)
        r = err_set_errno(err, "cannot write %s", temporary);
    if (close(fd) && !r)
        r = err_set_errno(err, "cannot write %s", temporary);
    if (!r && rename(temporary, path))
        r = err_set_errno(err, "cannot replace %s", path);
    if (r) {
        (void)unlink(temporary); /* best effort: the story is the first failure */
        return r;
    }
    return file_sync_parent(path, err);
}

int file_make_dirs(const char *path, mode_t mode, struct err *err)
{
    char folder[PATH_BYTES];
    size_t len = strlen(path);

    if (len == 0 || len >= sizeof(folder))
        return err_set(err, ERR_LIMIT, "path empty or too long: %s", path);
    for (size_t i = 1; i <= len; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(folder, path, i);
        folder[i] = '\0';
        if (mkdir(folder, mode) && errno != EEXIST)
            return err_set_errno(err, "cannot make the folder %s", folder);
    }
    return 0;
}
