/*
 * Files under one folder. See place.h.
 */
#include "agent/place.h"

#include "base/alloc.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_BYTES = 65536, FILE_BYTES_MAX = 256 << 20 };

/* The story of errno, with a code that says what to do about it. */
static int failed(const char *what, const char *path, struct err *err)
{
    int number = errno, code;

    switch (number) {
    case ENOSPC:
    case EDQUOT: code = ERR_LIMIT; break;
    case ELOOP:
    case ENOTDIR:
    case EISDIR: code = ERR_DENIED; break;
    case ENOENT: code = ERR_NOT_FOUND; break;
    default: code = ERR_IO; break;
    }
    (void)err_set_errno(err, "cannot %s %s", what, path);
    if (err)
        err->code = code;
    errno = number;
    return code;
}

/* ---- paths ---- */

bool place_path_is_safe(struct str path)
{
    struct str rest = path, segment;
    size_t depth = 0;

    if (!path.len || path.len >= PLACE_PATH_MAX || memchr(path.data, 0, path.len))
        return false;
    while (str_next(&rest, '/', &segment)) {
        if (!segment.len || segment.len > 255 || ++depth > PLACE_DEPTH_MAX)
            return false;
        if (str_eq(segment, STR(".")) || str_starts(segment, STR("..")) ||
            str_starts(segment, STR(".trimtab-")))
            return false;
    }
    return true;
}

static void own(const struct place *p, int fd)
{
    if (p->owner != (uid_t)-1 || p->group != (gid_t)-1)
        (void)!fchown(fd, p->owner, p->group); /* shown by place_look when it did not work */
}

int place_open(const char *folder, struct place *p, struct err *err)
{
    p->fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->fd < 0 && errno == ENOENT) {
        int r = file_make_dirs(folder, p->folder_mode, err);

        if (r)
            return r;
        p->fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (p->fd >= 0)
            own(p, p->fd);
    }
    return p->fd < 0 ? failed("open", folder, err) : 0;
}

void place_close(struct place *p)
{
    if (p->fd >= 0)
        (void)close(p->fd); /* only read */
    p->fd = -1;
}

/* One folder deeper, no link followed. */
static int enter(const struct place *p, int at, const char *name, enum place_make make)
{
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(at, name, flags);

    if (fd >= 0 || errno != ENOENT || make == PLACE_FIND)
        return fd;
    if (mkdirat(at, name, 0700) && errno != EEXIST)
        return -1;
    fd = openat(at, name, flags);
    if (fd >= 0) {
        own(p, fd);
        (void)fchmod(fd, p->folder_mode); /* it is ours: just made */
    }
    return fd;
}

int place_parent(const struct place *p, const char *path, enum place_make make, int *ret_fd,
                 const char **ret_last, struct err *err)
{
    int fd = fcntl(p->fd, F_DUPFD_CLOEXEC, 0);
    const char *slash;

    while (fd >= 0 && (slash = strchr(path, '/'))) {
        char name[256];
        size_t len = (size_t)(slash - path);
        int next;

        if (len == 0 || len >= sizeof(name)) {
            (void)close(fd);
            return err_set(err, ERR_DENIED, "the path %s is not safe", path);
        }
        memcpy(name, path, len);
        name[len] = '\0';
        next = enter(p, fd, name, make);
        if (next < 0) {
            int r = failed("enter the folder", name, err);

            (void)close(fd);
            return r;
        }
        (void)close(fd);
        fd = next;
        path = slash + 1;
    }
    if (fd < 0)
        return failed("open the folder of", path, err);
    *ret_fd = fd;
    *ret_last = path;
    return 0;
}

/* ---- looking ---- */

static int hash_file(int fd, size_t size, struct sha256 *ret, struct err *err)
{
    char *bytes;
    size_t at = 0;

    if (size > FILE_BYTES_MAX) { /* larger than anything that is delivered */
        memset(ret, 0, sizeof(*ret));
        return 0;
    }
    bytes = mem_alloc(size);
    if (!bytes)
        return err_set(err, ERR_NOMEM, "out of memory");
    while (at < size) {
        ssize_t n = read(fd, bytes + at, MIN(size - at, (size_t)READ_BYTES * 16));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    *ret = sha256_of(str_of(bytes, at));
    (void)mem_free(bytes);
    return 0;
}

static bool is_configured(const struct place *p, const struct stat *st)
{
    return (st->st_mode & 07777) == p->mode &&
           (p->owner == (uid_t)-1 || p->owner == st->st_uid) &&
           (p->group == (gid_t)-1 || p->group == st->st_gid);
}

static int look(const struct place *p, int at, const char *last, struct place_info *info,
                struct err *err)
{
    struct stat st;
    int fd, r;

    if (fstatat(at, last, &st, AT_SYMLINK_NOFOLLOW))
        return errno == ENOENT ? 0 : failed("look at", last, err);
    info->sort = S_ISREG(st.st_mode)   ? PLACE_FILE
                 : S_ISDIR(st.st_mode) ? PLACE_FOLDER
                                       : PLACE_OTHER;
    if (info->sort != PLACE_FILE)
        return 0;
    fd = openat(at, last, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return failed("read", last, err);
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        info->sort = PLACE_OTHER; /* exchanged between the two looks */
        r = 0;
    } else {
        info->is_as_configured = is_configured(p, &st);
        r = hash_file(fd, (size_t)st.st_size, &info->hash, err);
    }
    (void)close(fd); /* only read */
    return r;
}

int place_look(const struct place *p, const char *path, struct place_info *ret_info,
               struct err *err)
{
    const char *last;
    int fd, r = place_parent(p, path, PLACE_FIND, &fd, &last, err);

    *ret_info = (struct place_info){.sort = PLACE_NOTHING};
    if (r == ERR_NOT_FOUND) {
        if (err)
            *err = ERR_NULL;
        return 0;
    }
    if (r)
        return r;
    r = look(p, fd, last, ret_info, err);
    (void)close(fd);
    return r;
}

/* ---- writing ---- */

static int fill(const struct place *p, int fd, struct str bytes, enum place_sync sync)
{
    while (bytes.len) {
        ssize_t n = write(fd, bytes.data, bytes.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        bytes = str_from(bytes, (size_t)n);
    }
    if ((p->owner != (uid_t)-1 || p->group != (gid_t)-1) && fchown(fd, p->owner, p->group))
        return -1;
    if (fchmod(fd, p->mode)) /* after the owner: changing that takes bits away */
        return -1;
    return sync == PLACE_SYNC ? fsync(fd) : 0;
}

int place_write(const struct place *p, const char *path, struct str bytes, enum place_sync sync,
                struct err *err)
{
    const char *last;
    int at, fd, r = place_parent(p, path, PLACE_MAKE, &at, &last, err);

    if (r)
        return r;
    fd = openat(at, last, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        r = failed("make", path, err);
    } else {
        if (fill(p, fd, bytes, sync))
            r = failed("write", path, err);
        if (close(fd) && !r)
            r = failed("write", path, err);
    }
    (void)close(at);
    return r;
}

int place_symlink(const struct place *p, const char *path, const char *to, struct err *err)
{
    const char *last;
    int at, r = place_parent(p, path, PLACE_MAKE, &at, &last, err);

    if (r)
        return r;
    if (symlinkat(to, at, last))
        r = failed("make the link", path, err);
    (void)close(at);
    return r;
}

typedef int two_names_fn(int from, const char *last, int to, const char *to_last);

static int rename_names(int from, const char *last, int to, const char *to_last)
{
    return renameat(from, last, to, to_last);
}

static int link_names(int from, const char *last, int to, const char *to_last)
{
    return linkat(from, last, to, to_last, 0); /* a link itself, not what it points to */
}

struct two_places {
    const struct place *from, *to;
    const char *path, *to_path, *what;
};

static int on_two(const struct two_places *t, two_names_fn *fn, struct err *err)
{
    const char *last, *to_last;
    int from, to, r = place_parent(t->from, t->path, PLACE_FIND, &from, &last, err);

    if (r)
        return r;
    r = place_parent(t->to, t->to_path, PLACE_MAKE, &to, &to_last, err);
    if (!r) {
        if (fn(from, last, to, to_last))
            r = failed(t->what, t->to_path, err);
        (void)close(to);
    }
    (void)close(from);
    return r;
}

int place_move(const struct place *from, const char *path, const struct place *to,
               const char *to_path, struct err *err)
{
    return on_two(&(struct two_places){from, to, path, to_path, "put in place"}, rename_names,
                  err);
}

int place_link(const struct place *from, const char *path, const struct place *to,
               const char *to_path, struct err *err)
{
    return on_two(&(struct two_places){from, to, path, to_path, "keep"}, link_names, err);
}

int place_make_folder(const struct place *p, const char *path, bool *ret_made, struct err *err)
{
    const char *last;
    struct stat st;
    int at, fd, r = place_parent(p, path, PLACE_MAKE, &at, &last, err);

    if (r)
        return r;
    *ret_made = fstatat(at, last, &st, AT_SYMLINK_NOFOLLOW) != 0;
    fd = enter(p, at, last, PLACE_MAKE);
    if (fd < 0)
        r = failed("make the folder", path, err);
    else
        (void)close(fd);
    (void)close(at);
    return r;
}

bool place_is_empty_folder(const struct place *p, const char *path)
{
    const char *last;
    struct dirent *e;
    int at, fd, n = 0;
    DIR *dir;

    if (place_parent(p, path, PLACE_FIND, &at, &last, NULL))
        return false;
    fd = openat(at, last, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    (void)close(at);
    dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0)
            (void)close(fd);
        return false;
    }
    while ((e = readdir(dir)))
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    (void)closedir(dir);
    return n == 0;
}

bool place_remove_empty(const struct place *p, const char *path)
{
    const char *last;
    int at;
    bool gone;

    if (place_parent(p, path, PLACE_FIND, &at, &last, NULL))
        return false;
    gone = unlinkat(at, last, AT_REMOVEDIR) == 0;
    (void)close(at);
    return gone;
}

int place_sync_parent(const struct place *p, const char *path, struct err *err)
{
    const char *last;
    int at, r = place_parent(p, path, PLACE_FIND, &at, &last, err);

    if (r)
        return r == ERR_NOT_FOUND || r == ERR_DENIED
                   ? 0
                   : r; /* a folder that is gone needs no sync */
    if (fsync(at))
        r = failed("sync the folder of", path, err);
    (void)close(at);
    return r;
}

/* ---- removing ---- */

void place_remove_tree(int fd, const char *name)
{
    int folder;
    DIR *dir;
    struct dirent *e;

    if (unlinkat(fd, name, 0) == 0 || errno == ENOENT)
        return;
    folder = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    dir = folder < 0 ? NULL : fdopendir(folder);
    if (!dir) {
        if (folder >= 0)
            (void)close(folder);
        return;
    }
    while ((e = readdir(dir)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            place_remove_tree(dirfd(dir), e->d_name); /* as deep as paths may be */
    (void)closedir(dir);
    (void)unlinkat(fd, name, AT_REMOVEDIR); /* what is left is found at the next start */
}
