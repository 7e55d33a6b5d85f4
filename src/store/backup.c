/*
 * Copies of a store: the file that they are made in, and that there is one at a time. The engine copies.
 */
#include "base/alloc.h"
#include "base/file.h"
#include "store/core.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct store_backup {
    struct store *s;
    bool is_begun, is_whole;
    char path[];
};

static int make_empty(const char *path, struct err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0 && errno == EEXIST)
        return err_set(err, ERR_EXISTS, "%s exists already", path);
    if (fd < 0)
        return err_set_errno(err, "cannot make %s", path);
    (void)close(fd); /* it is empty */
    return 0;
}

int store_backup_new(struct store *s, const char *path, struct store_backup **ret_backup,
                     struct err *err)
{
    size_t size = strlen(path) + 1;
    struct store_backup *b;
    int r;

    if (!s->engine->backup_begin)
        return err_set(err, ERR_UNSUPPORTED, "a store in memory cannot be written to %s", path);
    if (s->backup)
        return err_set(err, ERR_LOCKED, "another copy is being made");
    b = mem_alloc(size_add(sizeof(*b), size));
    if (!b)
        return err_set(err, ERR_NOMEM, "out of memory for a copy");
    r = make_empty(path, err);
    if (r) {
        (void)mem_free(b);
        return r;
    }
    *b = (struct store_backup){.s = s};
    memcpy(b->path, path, size);
    s->backup = b;
    r = s->engine->backup_begin(s, path, err);
    b->is_begun = r == 0;
    if (r)
        (void)store_backup_free(b);
    else
        *ret_backup = b;
    return r;
}

int store_backup_step(struct store_backup *b, size_t bytes, struct err *err)
{
    int r = b->s->engine->backup_step(b->s, bytes, err);

    if (r)
        return r;
    b->is_begun = false;
    r = b->s->engine->backup_end(b->s, err);
    if (!r)
        r = file_sync_parent(b->path, err);
    b->is_whole = r == 0;
    return r;
}

uint64_t store_backup_revision(const struct store_backup *b)
{
    return b->s->backup_revision;
}

struct store_backup *store_backup_free(struct store_backup *b)
{
    if (!b)
        return NULL;
    if (b->is_begun && b->s->engine->backup_end(b->s, NULL))
        b->is_whole = false; /* it was not whole anyhow */
    if (!b->is_whole)
        (void)unlink(b->path); /* best effort: it is of no use */
    b->s->backup = NULL;
    return mem_free(b);
}
