/*
 * Files under one folder. See place.h.
 */
#include "agent/place.h"

#include "base/alloc.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
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

/* A folder to be read; NULL: it is none, or a link. fd stays the caller's. */
static DIR *open_dir(int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    if (!dir && fd >= 0)
        (void)close(fd);
    return dir;
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static bool is_empty(int fd)
{
    DIR *dir = open_dir(fd, ".");
    struct dirent *e;
    int n = 0;

    while (dir && (e = readdir(dir)))
        n += !is_dots(e->d_name);
    if (!dir)
        return false;
    (void)closedir(dir);
    return n == 0;
}

/* Whether this can be the folder that was made just now: another one may have been put under its name since. */
static bool is_fresh(int fd, const struct stat *st)
{
    return st->st_uid == geteuid() && (st->st_mode & 0777) == 0700 && is_empty(fd);
}

/* ---- the operator's path ---- */

enum { LINKS_MAX = 40, REST_BYTES = 8192 };

/* A path that is being followed: at is the folder reached so far, rest what is left of it. */
struct walk {
    const struct place *place; /* NULL: nothing is made */
    int at;
    unsigned n_links;
    char rest[REST_BYTES];
};

static bool is_trusted(uid_t owner)
{
    return owner == 0 || owner == geteuid();
}

/* Whether only root or the agent's user can have put this link there. */
static bool is_trusted_link(const struct stat *folder, const struct stat *link)
{
    bool others_write = (folder->st_mode & (S_IWGRP | S_IWOTH)) != 0;

    return is_trusted(folder->st_uid) && is_trusted(link->st_uid) &&
           (!others_write || (folder->st_mode & S_ISVTX));
}

static int reopen_root(struct walk *w)
{
    int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (w->at >= 0)
        (void)close(w->at);
    w->at = fd;
    return fd < 0 ? ERR_IO : 0;
}

/* The link is followed by what it says standing before the rest. */
static int follow(struct walk *w, int link, const struct stat *st, const char *name,
                  struct err *err)
{
    char to[REST_BYTES / 2], rest[REST_BYTES];
    struct stat folder;
    ssize_t n = readlinkat(link, "", to, sizeof(to) - 1);

    if (n < 0 || fstat(w->at, &folder))
        return failed("follow the link", name, err);
    to[n] = '\0';
    if (!is_trusted_link(&folder, st)) {
        (void)err_set(
            err, ERR_DENIED,
            "the way to the folder leads over the link %s, which others than root and "
            "the agent's user can exchange",
            name);
        err_hint(err, "name the folder itself, or give the folder of the link to root");
        return ERR_DENIED;
    }
    if (++w->n_links > LINKS_MAX ||
        snprintf(rest, sizeof(rest), "%s/%s", to, w->rest) >= (int)sizeof(rest))
        return err_set(err, ERR_DENIED, "too many links on the way to %s", name);
    memcpy(w->rest, rest, sizeof(rest));
    return *to == '/' ? reopen_root(w) : 0;
}

/* Takes the first segment off the rest; false when nothing is left. */
static bool next_segment(struct walk *w, char name[256])
{
    size_t begin = strspn(w->rest, "/"), len = strcspn(w->rest + begin, "/");

    if (!len || len > 255)
        return false;
    memcpy(name, w->rest + begin, len);
    name[len] = '\0';
    memmove(w->rest, w->rest + begin + len, strlen(w->rest + begin + len) + 1);
    return true;
}

static int enter(const struct place *p, int at, const char *name, enum place_make make);

static int walk_one(struct walk *w, const char *name, struct err *err)
{
    int next = openat(w->at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    int r = 0;

    if (next < 0 && errno == ENOENT && w->place)
        next = enter(w->place, w->at, name, PLACE_MAKE);
    if (next < 0 || fstat(next, &st))
        r = failed("open the folder", name, err);
    else if (S_ISLNK(st.st_mode))
        r = follow(w, next, &st, name, err);
    else if (!S_ISDIR(st.st_mode))
        r = err_set(err, ERR_DENIED, "%s is no folder", name);
    if (!r && S_ISDIR(st.st_mode)) {
        (void)close(w->at);
        w->at = next;
        return 0;
    }
    if (next >= 0)
        (void)close(next);
    return r;
}

/* Follows path from the root; at is the folder then. */
static int walk(struct walk *w, const char *path, struct err *err)
{
    char name[256];
    int r;

    w->at = -1;
    if (snprintf(w->rest, sizeof(w->rest), "%s", path) >= (int)sizeof(w->rest))
        return err_set(err, ERR_DENIED, "the path %s is too long", path);
    r = reopen_root(w);
    while (!r && next_segment(w, name))
        r = walk_one(w, name, err);
    if (r && w->at >= 0)
        (void)close(w->at);
    if (r)
        err_place(err, "%s", path);
    return r;
}

int place_open(const char *folder, struct place *p, struct err *err)
{
    struct walk w = {.place = p};
    int r = walk(&w, folder, err);

    if (r)
        return r;
    p->fd = openat(w.at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    (void)close(w.at);
    return p->fd < 0 ? failed("open", folder, err) : 0;
}

int place_open_parent(const char *folder, int *ret_fd, const char **ret_name, struct err *err)
{
    char parent[REST_BYTES];
    const char *slash = strrchr(folder, '/');
    struct walk w = {.place = NULL};
    int r;

    *ret_name = slash + 1;
    (void)snprintf(parent, sizeof(parent), "%.*s", (int)(slash - folder), folder);
    r = walk(&w, parent, err);
    if (r)
        return r;
    *ret_fd = openat(w.at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    (void)close(w.at);
    return *ret_fd < 0 ? failed("open", parent, err) : 0;
}

/* ---- folders of the agent's own ---- */

static bool random_name(const char *prefix, char *name, size_t size)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    unsigned char bytes[6];
    char word[sizeof(bytes) + 1];

    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        return false;
    for (size_t i = 0; i < sizeof(bytes); i++)
        word[i] = letters[bytes[i] % (sizeof(letters) - 1)];
    word[sizeof(bytes)] = '\0';
    return snprintf(name, size, "%s%s", prefix, word) < (int)size;
}

int place_make_private(int at, const char *prefix, mode_t mode, char *name, size_t size,
                       int *ret_fd, struct err *err)
{
    struct stat st;
    int fd;

    do
        if (!random_name(prefix, name, size))
            return err_set(err, ERR_IO, "the system has no random bytes");
    while (mkdirat(at, name, 0700) && errno == EEXIST);
    fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        int r = failed("make the folder", name, err);

        if (r == ERR_NOT_FOUND) /* it could not be made */
            name[0] = '\0';
        return r;
    }
    if (fstat(fd, &st) || !is_fresh(fd, &st) || fchmod(fd, mode)) {
        (void)close(fd);
        return err_set(err, ERR_DENIED, "the folder %s was exchanged while it was made", name);
    }
    *ret_fd = fd;
    return 0;
}

bool place_is_same_mount(int a, int b)
{
    struct statx sa, sb;

    if (statx(a, "", AT_EMPTY_PATH, STATX_MNT_ID, &sa) ||
        statx(b, "", AT_EMPTY_PATH, STATX_MNT_ID, &sb))
        return false;
    if (sa.stx_dev_major != sb.stx_dev_major || sa.stx_dev_minor != sb.stx_dev_minor)
        return false;
    return !(sa.stx_mask & sb.stx_mask & STATX_MNT_ID) || sa.stx_mnt_id == sb.stx_mnt_id;
}

void place_close(struct place *p)
{
    if (p->fd >= 0)
        (void)close(p->fd); /* only read */
    p->fd = -1;
}

static int finish_folder(const struct place *p, int fd)
{
    if (!p->is_private)
        own(p, fd);
    return fchmod(fd, p->folder_mode);
}

/* Made in the workshop, so that nobody can exchange it for something else before it has its owner. */
static int make_in_workshop(const struct place *p, int at, const char *name)
{
    static const char part[] = "folder";
    int fd;

    (void)unlinkat(p->workshop, part, AT_REMOVEDIR);
    if (mkdirat(p->workshop, part, 0700))
        return -1;
    fd = openat(p->workshop, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (finish_folder(p, fd) || renameat2(p->workshop, part, at, name, RENAME_NOREPLACE)) {
        int number = errno;

        (void)close(fd);
        (void)unlinkat(p->workshop, part, AT_REMOVEDIR);
        errno = number;
        return -1;
    }
    return fd;
}

/* Made in its place. Somebody else's folder is left as it is. */
static int make_here(const struct place *p, int at, const char *name)
{
    struct stat st;
    int fd;

    if (mkdirat(at, name, 0700))
        return -1;
    fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &st) == 0 && is_fresh(fd, &st))
        (void)finish_folder(p, fd);
    return fd;
}

/* One folder deeper, no link followed. */
static int enter(const struct place *p, int at, const char *name, enum place_make make)
{
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(at, name, flags);

    if (fd >= 0 || errno != ENOENT || make == PLACE_FIND)
        return fd;
    fd = p->workshop >= 0 ? make_in_workshop(p, at, name) : make_here(p, at, name);
    if (fd < 0 && errno == EXDEV) /* it lies on a mount of its own */
        fd = make_here(p, at, name);
    return fd < 0 && errno == EEXIST ? openat(at, name, flags) : fd;
}

/* The folder of path in one step, where the kernel can; -1 with errno. */
static int open_beneath(const struct place *p, const char *path, size_t len)
{
    struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                           .resolve =
                               RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    char folder[PLACE_PATH_MAX];

    if (len >= sizeof(folder))
        return -1;
    memcpy(folder, path, len);
    folder[len] = '\0';
    return (int)syscall(SYS_openat2, p->fd, folder, &how, sizeof(how));
}

int place_parent(const struct place *p, const char *path, enum place_make make, int *ret_fd,
                 const char **ret_last, struct err *err)
{
    const char *slash = strrchr(path, '/');
    int fd = slash ? open_beneath(p, path, (size_t)(slash - path)) : -1;

    if (fd >= 0)
        path = slash + 1;
    else /* it is missing, something is in the way, or the kernel cannot: one by one */
        fd = fcntl(p->fd, F_DUPFD_CLOEXEC, 0);
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

/* ---- marks ---- */

static const char mark_name[] = "user.trimtab";

/* "1 HASH HISTORY", both hexadecimal. */
enum {
    MARK_HASH_AT = 2,
    MARK_HISTORY_AT = 3 + 2 * SHA256_BYTES,
    MARK_BYTES = MARK_HISTORY_AT + 2 * PLACE_HISTORY_BYTES
};

/* Where the file system keeps none, or there is no room, there is none; an old one of other content counts for nothing. */
static void put_mark(int fd, const struct place_mark *m)
{
    char text[MARK_BYTES + 1];

    (void)fremovexattr(fd, mark_name);
    if (!m->is_there)
        return;
    memset(text, ' ', sizeof(text));
    text[0] = '1';
    hex_encode(m->hash.bytes, SHA256_BYTES, text + MARK_HASH_AT);
    text[MARK_HISTORY_AT - 1] = ' ';
    hex_encode(m->history, PLACE_HISTORY_BYTES, text + MARK_HISTORY_AT);
    (void)!fsetxattr(fd, mark_name, text, MARK_BYTES, 0);
}

static void get_mark(int fd, struct place_mark *m)
{
    char text[MARK_BYTES];

    m->is_there = fgetxattr(fd, mark_name, text, sizeof(text)) == MARK_BYTES &&
                  text[0] == '1' &&
                  hex_decode(str_of(text + MARK_HASH_AT, (size_t)2 * SHA256_BYTES),
                             m->hash.bytes, SHA256_BYTES) &&
                  hex_decode(str_of(text + MARK_HISTORY_AT, (size_t)2 * PLACE_HISTORY_BYTES),
                             m->history, PLACE_HISTORY_BYTES);
}

bool place_is_intact(const struct place_info *info)
{
    return info->sort == PLACE_FILE && info->mark.is_there &&
           sha256_eq(&info->mark.hash, &info->hash);
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

bool place_attr_fits(const struct place_attr *wanted, const struct place_attr *is)
{
    return wanted->mode == is->mode &&
           (wanted->owner == (uid_t)-1 || wanted->owner == is->owner) &&
           (wanted->group == (gid_t)-1 || wanted->group == is->group);
}

static struct place_stamp stamp_of(const struct stat *st)
{
    return (struct place_stamp){.device = st->st_dev,
                                .inode = st->st_ino,
                                .size = st->st_size,
                                .changed_s = st->st_ctim.tv_sec,
                                .changed_ns = (uint32_t)st->st_ctim.tv_nsec,
                                .modified_s = st->st_mtim.tv_sec,
                                .modified_ns = (uint32_t)st->st_mtim.tv_nsec};
}

static bool is_same_stamp(const struct place_stamp *a, const struct place_stamp *b)
{
    return a->inode && a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->changed_s == b->changed_s && a->changed_ns == b->changed_ns &&
           a->modified_s == b->modified_s && a->modified_ns == b->modified_ns;
}

static void fill_info(struct place_info *info, const struct stat *st)
{
    info->sort = S_ISREG(st->st_mode)   ? PLACE_FILE
                 : S_ISDIR(st->st_mode) ? PLACE_FOLDER
                                        : PLACE_OTHER;
    info->attr = (struct place_attr){st->st_mode & 07777, st->st_uid, st->st_gid};
    info->stamp = stamp_of(st);
}

static int look(int at, const char *last, const struct place_stamp *seen,
                struct place_info *info, struct err *err)
{
    struct stat st;
    int fd, r = 0;

    if (fstatat(at, last, &st, AT_SYMLINK_NOFOLLOW))
        return errno == ENOENT ? 0 : failed("look at", last, err);
    fill_info(info, &st);
    info->is_seen = info->sort == PLACE_FILE && seen && is_same_stamp(seen, &info->stamp);
    if (info->sort != PLACE_FILE || info->is_seen)
        return 0;
    fd = openat(at, last, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return failed("read", last, err);
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        info->sort = PLACE_OTHER; /* exchanged between the two looks */
    } else {
        fill_info(info, &st); /* before it is read: what changes meanwhile has another stamp */
        get_mark(fd, &info->mark);
        r = hash_file(fd, (size_t)st.st_size, &info->hash, err);
    }
    (void)close(fd); /* only read */
    return r;
}

int place_look(const struct place *p, const char *path, const struct place_stamp *seen,
               struct place_info *ret_info, struct err *err)
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
    r = look(fd, last, seen, ret_info, err);
    (void)close(fd);
    return r;
}

int place_sort_of(const struct place *p, const char *path, enum place_sort *ret_sort,
                  struct err *err)
{
    struct place_info info = {.sort = PLACE_NOTHING};
    struct stat st;
    const char *last;
    int fd, r = place_parent(p, path, PLACE_FIND, &fd, &last, err);

    *ret_sort = PLACE_NOTHING;
    if (r)
        return r == ERR_NOT_FOUND ? 0 : r;
    if (fstatat(fd, last, &st, AT_SYMLINK_NOFOLLOW) == 0)
        fill_info(&info, &st);
    else if (errno != ENOENT)
        r = failed("look at", last, err);
    *ret_sort = info.sort;
    (void)close(fd);
    return r;
}

/* ---- writing ---- */

static int fill(int fd, const struct place_file *file, enum place_sync sync)
{
    const struct place_attr *attr = &file->attr;
    struct str bytes = file->bytes;

    while (bytes.len) {
        ssize_t n = write(fd, bytes.data, bytes.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        bytes = str_from(bytes, (size_t)n);
    }
    put_mark(fd, &file->mark);
    if ((attr->owner != (uid_t)-1 || attr->group != (gid_t)-1) &&
        fchown(fd, attr->owner, attr->group))
        return -1;
    if (fchmod(fd, attr->mode)) /* after the owner: changing that takes bits away */
        return -1;
    return sync == PLACE_SYNC ? fsync(fd) : 0;
}

int place_write(const struct place *p, const char *path, const struct place_file *file,
                enum place_sync sync, struct err *err)
{
    const char *last;
    int at, fd, r = place_parent(p, path, PLACE_MAKE, &at, &last, err);

    if (r)
        return r;
    fd = openat(at, last, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        r = failed("make", path, err);
    } else {
        if (fill(fd, file, sync))
            r = failed("write", path, err);
        if (close(fd) && !r)
            r = failed("write", path, err);
    }
    (void)close(at);
    return r;
}

static int rewrite(int fd, const struct place_file *file)
{
    if (fill(fd, file, PLACE_NO_SYNC) || ftruncate(fd, (off_t)file->bytes.len))
        return -1;
    return fsync(fd);
}

int place_rewrite(const struct place *p, const char *path, const struct place_file *file,
                  struct err *err)
{
    const char *last;
    int at, fd, r = place_parent(p, path, PLACE_FIND, &at, &last, err);

    if (r)
        return r;
    fd = openat(at, last, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || rewrite(fd, file))
        r = failed("write over", path, err);
    if (fd >= 0 && close(fd) && !r)
        r = failed("write over", path, err);
    (void)close(at);
    return r;
}

static int read_all(int fd, struct buf *out, struct place_attr *attr)
{
    struct stat st;
    char *room;

    if (fstat(fd, &st))
        return -1;
    *attr = (struct place_attr){st.st_mode & 07777, st.st_uid, st.st_gid};
    while ((room = buf_room(out, READ_BYTES))) {
        ssize_t n = read(fd, room, READ_BYTES);

        if (n <= 0)
            return (int)n;
        buf_added(out, (size_t)n);
    }
    errno = ENOMEM;
    return -1;
}

int place_copy(const struct place *from, const char *path, const struct place *to,
               const char *to_path, enum place_copying how, struct err *err)
{
    owned(buf) struct buf bytes = BUF_NULL(FILE_BYTES_MAX);
    struct place_file file = {.mark = {.is_there = false}};
    const char *last;
    int at, fd, r = place_parent(from, path, PLACE_FIND, &at, &last, err);

    if (r)
        return r;
    fd = openat(at, last, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || read_all(fd, &bytes, &file.attr))
        r = failed("read", path, err);
    if (fd >= 0)
        (void)close(fd); /* only read */
    (void)close(at);
    if (r)
        return r;
    file.bytes = buf_str(&bytes);
    return how == PLACE_COPY_OVER ? place_rewrite(to, to_path, &file, err)
                                  : place_write(to, to_path, &file, PLACE_SYNC, err);
}

/* A walk for marks. path is that of the folder, with '/' behind it. */
struct marks {
    const unsigned char *history;
    place_marked_fn *fn;
    void *ctx;
    unsigned depth;
    char path[PLACE_PATH_MAX];
};

static bool walk_marks(struct marks *m, int folder);

static bool look_for_mark(struct marks *m, int folder, const char *name, size_t len)
{
    struct place_info info = {.sort = PLACE_NOTHING};
    struct place_mark mark;
    bool goes_on = true;
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st))
        return true;
    (void)snprintf(m->path + len, sizeof(m->path) - len, "%s%s", name,
                   S_ISDIR(st.st_mode) ? "/" : "");
    if (S_ISDIR(st.st_mode) && m->depth < PLACE_DEPTH_MAX) {
        m->depth++;
        goes_on = walk_marks(m, fd);
        m->depth--;
    } else if (S_ISREG(st.st_mode)) {
        get_mark(fd, &mark);
        if (mark.is_there && memcmp(mark.history, m->history, PLACE_HISTORY_BYTES) == 0 &&
            look(folder, name, NULL, &info, NULL) == 0 && place_is_intact(&info))
            goes_on = m->fn(m->ctx, m->path, &info.hash);
    }
    (void)close(fd); /* only read */
    m->path[len] = '\0';
    return goes_on;
}

static bool walk_marks(struct marks *m, int folder)
{
    DIR *dir = open_dir(folder, ".");
    size_t len = strlen(m->path);
    struct dirent *e;
    bool goes_on = true;

    while (dir && goes_on && (e = readdir(dir)))
        if (!is_dots(e->d_name) && !str_starts(str_c(e->d_name), STR(".trimtab-")) &&
            len + strlen(e->d_name) + 2 < sizeof(m->path))
            goes_on = look_for_mark(m, folder, e->d_name, len);
    if (dir)
        (void)closedir(dir);
    return goes_on;
}

void place_each_marked(const struct place *p, const unsigned char history[PLACE_HISTORY_BYTES],
                       place_marked_fn *fn, void *ctx)
{
    struct marks m = {.history = history, .fn = fn, .ctx = ctx};

    (void)walk_marks(&m, p->fd);
}

bool place_is_mounted(const struct place *p, const char *path)
{
    const char *last;
    struct stat st;
    int at, fd;
    bool is_mounted;

    if (place_parent(p, path, PLACE_FIND, &at, &last, NULL))
        return false;
    fd = openat(at, last, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    is_mounted =
        fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && !place_is_same_mount(at, fd);
    if (fd >= 0)
        (void)close(fd);
    (void)close(at);
    return is_mounted;
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

int place_remove(const struct place *p, const char *path, struct err *err)
{
    const char *last;
    int at, r = place_parent(p, path, PLACE_FIND, &at, &last, err);

    if (r)
        return r;
    if (unlinkat(at, last, 0))
        r = failed("remove", path, err);
    (void)close(at);
    return r;
}

bool place_reaches(const struct place *p, const char *path, const struct place *other)
{
    const char *last;
    int at;
    bool reaches;

    if (place_parent(p, path, PLACE_FIND, &at, &last, NULL))
        return true; /* whoever goes on is told what is wrong */
    reaches = place_is_same_mount(at, other->fd);
    (void)close(at);
    return reaches;
}

bool place_is_empty_folder(const struct place *p, const char *path)
{
    const char *last;
    int at, fd;
    bool empty;

    if (place_parent(p, path, PLACE_FIND, &at, &last, NULL))
        return false;
    fd = openat(at, last, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    (void)close(at);
    empty = fd >= 0 && is_empty(fd);
    if (fd >= 0)
        (void)close(fd); /* only read */
    return empty;
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

void place_remove_content(int fd)
{
    DIR *dir = open_dir(fd, ".");
    struct dirent *e;

    while (dir && (e = readdir(dir)))
        if (!is_dots(e->d_name))
            place_remove_tree(fd, e->d_name); /* as deep as paths may be */
    if (dir)
        (void)closedir(dir);
}

void place_remove_tree(int fd, const char *name)
{
    int folder;

    if (unlinkat(fd, name, 0) == 0 || errno == ENOENT)
        return;
    folder = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0)
        return;
    place_remove_content(folder);
    (void)close(folder);
    (void)unlinkat(fd, name, AT_REMOVEDIR); /* what is left is found at the next start */
}

static int give_below(const struct place *p, int fd)
{
    DIR *dir = open_dir(fd, ".");
    struct dirent *e;
    int r = dir ? 0 : ERR_IO;

    while (!r && (e = readdir(dir))) {
        int below =
            is_dots(e->d_name)
                ? -1
                : openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (below < 0)
            continue;
        r = give_below(p, below);
        (void)close(below);
    }
    if (dir)
        (void)closedir(dir);
    return !r && fchown(fd, p->owner, p->group) ? ERR_IO : r;
}

int place_give_tree(const struct place *p)
{
    if (p->owner == (uid_t)-1 && p->group == (gid_t)-1)
        return 0;
    return give_below(p, p->fd);
}
