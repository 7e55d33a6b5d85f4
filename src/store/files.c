/*
 * Files of the system. See files.h.
 */
#include "store/files.h"

#include "base/alloc.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

struct system_file {
    int fd;
    char path[];
};

static int on_open(const char *path, enum store_file_mode mode, void **ret_file,
                   struct err *err)
{
    size_t size = strlen(path) + 1;
    struct system_file *f = mem_alloc(size_add(sizeof(*f), size));
    int r;

    if (!f)
        return err_set(err, ERR_NOMEM, "out of memory for a file");
    memcpy(f->path, path, size);
    f->fd = mode == STORE_FILE_READ
                ? open(path, O_RDONLY | O_CLOEXEC)
                : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (f->fd >= 0) {
        *ret_file = f;
        return 0;
    }
    r = errno == ENOENT && mode == STORE_FILE_READ
            ? err_set(err, ERR_NOT_FOUND, "there is no file %s", path)
            : err_set_errno(err, "cannot open %s", path);
    (void)mem_free(f);
    return r;
}

static int on_write(void *file, struct str bytes, struct err *err)
{
    const struct system_file *f = file;

    while (bytes.len > 0) {
        ssize_t n = write(f->fd, bytes.data, bytes.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, "cannot write %s", f->path);
        bytes = str_from(bytes, (size_t)n);
    }
    return 0;
}

static int on_read(void *file, char *to, size_t n, size_t *ret_n, struct err *err)
{
    const struct system_file *f = file;
    size_t have = 0;

    while (have < n) {
        ssize_t got = read(f->fd, to + have, n - have);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_set_errno(err, "cannot read %s", f->path);
        if (got == 0)
            break;
        have += (size_t)got;
    }
    *ret_n = have;
    return 0;
}

static int on_sync(void *file, struct err *err)
{
    const struct system_file *f = file;

    return fsync(f->fd) ? err_set_errno(err, "cannot sync %s", f->path) : 0;
}

static void on_forget(void *file)
{
    const struct system_file *f = file;

    (void)posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED); /* an advice */
}

static void on_close(void *file)
{
    struct system_file *f = file;

    (void)close(f->fd); /* what matters was synced */
    (void)mem_free(f);
}

static int on_rename(const char *from, const char *to, struct err *err)
{
    return rename(from, to) ? err_set_errno(err, "cannot rename %s", from) : 0;
}

static int on_remove(const char *path, struct err *err)
{
    return unlink(path) && errno != ENOENT ? err_set_errno(err, "cannot remove %s", path) : 0;
}

static int each_in(DIR *folder, const char *prefix, size_t folder_len, store_file_fn *fn,
                   void *ctx)
{
    struct str begins = str_from(str_c(prefix), folder_len);
    const struct dirent *entry;
    int r = 0;

    while (!r && (entry = readdir(folder))) {
        char path[PATH_BYTES];

        if (!str_starts(str_c(entry->d_name), begins))
            continue;
        if (snprintf(path, sizeof(path), "%.*s%s", (int)folder_len, prefix, entry->d_name) <
            (int)sizeof(path))
            r = fn(ctx, path);
    }
    return r;
}

static int on_each(const char *prefix, store_file_fn *fn, void *ctx, struct err *err)
{
    const char *slash = strrchr(prefix, '/');
    size_t len = slash ? (size_t)(slash - prefix) + 1 : 0;
    char name[PATH_BYTES];
    DIR *folder;
    int r;

    if (len >= sizeof(name))
        return err_set(err, ERR_LIMIT, "path too long: %s", prefix);
    (void)snprintf(name, sizeof(name), "%.*s", (int)len, prefix);
    folder = opendir(len ? name : ".");
    if (!folder)
        return err_set_errno(err, "cannot open the folder of %s", prefix);
    r = each_in(folder, prefix, len, fn, ctx);
    (void)closedir(folder); /* only read */
    return r;
}

const struct store_files store_files_system = {
    .open = on_open,
    .write = on_write,
    .read = on_read,
    .sync = on_sync,
    .forget = on_forget,
    .close = on_close,
    .rename = on_rename,
    .sync_folder = file_sync_parent,
    .remove = on_remove,
    .each = on_each,
};
