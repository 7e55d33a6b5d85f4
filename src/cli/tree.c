/*
 * Folders of files. See tree.h.
 */
#include "cli/tree.h"

#include "base/file.h"
#include "model/commit.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <sys/stat.h>

enum { DEPTH_MAX = 32 };

struct reading {
    struct arena *arena;
    struct tree_files *files;
    char root[PATH_MAX]; /* resolved */
    size_t bytes;
};

static int add(struct reading *r, const char *name, struct str content, unsigned mode)
{
    struct tree_files *f = r->files;

    if (f->n == f->cap) {
        size_t cap = f->cap ? 2 * f->cap : 64;
        struct tree_file *at = arena_array(r->arena, cap, sizeof(*at));

        if (!at)
            return ERR_NOMEM;
        if (f->n)
            memcpy(at, f->at, f->n * sizeof(*at));
        f->at = at;
        f->cap = cap;
    }
    f->at[f->n++] = (struct tree_file){arena_c(r->arena, str_c(name)), mode, content};
    return arena_failed(r->arena) ? ERR_NOMEM : 0;
}

/* Where a path really leads must lie below the root. */
static int check_inside(const struct reading *r, const char *path, struct err *err)
{
    char real[PATH_MAX];
    size_t len = strlen(r->root);

    if (!realpath(path, real))
        return err_set_errno(err, "cannot follow %s", path);
    if (strncmp(real, r->root, len) == 0 && (real[len] == '/' || real[len] == '\0' || len == 1))
        return 0;
    (void)err_set(err, ERR_DENIED, "%s leads out of the folder, to %s", path, real);
    err_hint(err, "copy the file into the folder, or leave the link out");
    return ERR_DENIED;
}

static int read_one(struct reading *r, const char *path, const char *name, unsigned mode,
                    struct err *err)
{
    owned(buf) struct buf bytes = BUF_NULL(CONTENT_BYTES_MAX);
    struct str content;
    int rc = name_check(STR("file"), str_c(name), err);

    if (!rc)
        rc = file_read(path, &bytes, err);
    if (rc) {
        err_place(err, "%s", path);
        return rc;
    }
    r->bytes += bytes.len;
    if (r->bytes > COMMIT_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "the files hold more than the %d bytes of one commit",
                       COMMIT_BYTES_MAX);
    content = arena_str(r->arena, buf_str(&bytes));
    return arena_failed(r->arena) ? ERR_NOMEM : add(r, name, content, mode);
}

static int read_folder(struct reading *r, const char *path, const char *prefix, int depth,
                       struct err *err);

static int read_entry(struct reading *r, const char *folder, const char *prefix,
                      const char *entry, int depth, struct err *err)
{
    char path[PATH_MAX], name[PATH_MAX];
    struct stat st;
    int rc;

    if (snprintf(path, sizeof(path), "%s/%s", folder, entry) >= (int)sizeof(path) ||
        snprintf(name, sizeof(name), "%s%s", prefix, entry) >= (int)sizeof(name) - 1)
        return err_set(err, ERR_LIMIT, "path too long below %s", folder);
    rc = check_inside(r, path, err);
    if (rc)
        return rc;
    if (stat(path, &st))
        return err_set_errno(err, "cannot look at %s", path);
    if (S_ISREG(st.st_mode))
        return read_one(r, path, name, st.st_mode & 07777, err);
    if (!S_ISDIR(st.st_mode))
        return err_set(err, ERR_INVALID, "%s is neither a file nor a folder", path);
    memcpy(name + strlen(name), "/", 2);
    return read_folder(r, path, name, depth + 1, err);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int not_dots(const struct dirent *d)
{
    return strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0;
}

static int read_folder(struct reading *r, const char *path, const char *prefix, int depth,
                       struct err *err)
{
    struct dirent **entries;
    int n, rc = 0;

    if (depth > DEPTH_MAX)
        return err_set(err, ERR_LIMIT, "%s lies deeper than %d folders", path, DEPTH_MAX);
    n = scandir(path, &entries, not_dots, by_name);
    if (n < 0)
        return err_set_errno(err, "cannot read the folder %s", path);
    for (int i = 0; i < n; i++) {
        if (!rc)
            rc = read_entry(r, path, prefix, entries[i]->d_name, depth, err);
        free(entries[i]);
    }
    free(entries);
    return rc;
}

int tree_read(const char *root, struct arena *a, struct tree_files *ret, struct err *err)
{
    struct reading r = {.arena = a, .files = ret};

    *ret = (struct tree_files){.n = 0};
    if (!realpath(root, r.root))
        return err_set_errno(err, "cannot open the folder %s", root);
    return read_folder(&r, r.root, "", 0, err);
}

int tree_write(const char *root, const char *name, struct str content, struct err *err)
{
    char path[PATH_MAX], folder[PATH_MAX];
    struct str rest = str_c(name), part;
    char *slash;
    int r;

    while (str_next(&rest, '/', &part))
        if (part.len == 0 || str_eq(part, STR(".")) || str_eq(part, STR("..")))
            return err_set(err, ERR_DENIED, "the name %s leads out of its folder", name);
    if (snprintf(path, sizeof(path), "%s/%s", root, name) >= (int)sizeof(path))
        return err_set(err, ERR_LIMIT, "path too long: %s/%s", root, name);
    memcpy(folder, path, strlen(path) + 1);
    slash = strrchr(folder, '/');
    *slash = '\0';
    r = file_make_dirs(folder, 0755, err);
    return r ? r : file_replace(path, content, 0644, err);
}
