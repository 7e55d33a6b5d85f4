/*
 * The file system that loses its power. See power_vfs.h.
 */
#include "power_vfs.h"

#include "base/vec.h"

#include <sqlite3.h>

enum { FILES_MAX = 32, SECTOR = 512, REGIONS_MAX = 16 };

/* A write that is not synced; data NULL: a truncation to `at`. */
struct pending {
    size_t at, len;
    char *data;
};

struct content {
    char *data;
    size_t len, cap;
};

/* The index of a write-ahead log, which the connections share. It is memory: a power cut leaves each to its owners. */
struct shared_index {
    unsigned refs;
    void *regions[REGIONS_MAX];
    unsigned readers[SQLITE_SHM_NLOCK];
    bool is_written[SQLITE_SHM_NLOCK];
};

struct disk_file {
    char name[256];         /* empty: free */
    char lasting_name[256]; /* empty: there is no such file after a cut */
    struct content live, lasting;
    VEC(struct pending) pending;
    struct shared_index *index; /* NULL: nobody has it */
};

struct handle {
    sqlite3_file base;
    struct disk_file *file;
    struct shared_index *index;
    uint64_t cuts; /* when it was opened */
};

static struct disk_file files[FILES_MAX];
static struct power_plan plan;
static uint64_t operations, cuts;
static bool planned, came, dark;

/* ---- contents ---- */

static void content_resize(struct content *c, size_t len)
{
    if (len > c->cap) {
        size_t cap = MAX(len, c->cap * 2);
        char *data = realloc(c->data, cap); /* not ours to fail: this is the test's own disk */

        if (!data)
            abort();
        c->data = data;
        c->cap = cap;
    }
    if (len > c->len)
        memset(c->data + c->len, 0, len - c->len);
    c->len = len;
}

static void content_write(struct content *c, size_t at, const char *data, size_t len)
{
    if (at + len > c->len)
        content_resize(c, at + len);
    if (len)
        memcpy(c->data + at, data, len);
}

static void content_apply(struct content *c, const struct pending *p)
{
    if (p->data)
        content_write(c, p->at, p->data, p->len);
    else
        content_resize(c, MIN(c->len, p->at));
}

static void forget_pending(struct disk_file *f)
{
    for (size_t i = 0; i < f->pending.n; i++)
        free(f->pending.at[i].data);
    f->pending.n = 0;
}

static void remember_pending(struct disk_file *f, struct pending p, const void *data)
{
    if (data) {
        p.data = malloc(p.len);
        if (!p.data)
            abort();
        memcpy(p.data, data, p.len);
    }
    if (f->pending.n ==
        f->pending.cap) { /* plain realloc: an allocation sweep must not reach here */
        size_t cap = f->pending.cap ? f->pending.cap * 2 : 64;
        void *at = realloc(f->pending.at, cap * sizeof(p));

        if (!at)
            abort();
        f->pending.at = at;
        f->pending.cap = cap;
    }
    f->pending.at[f->pending.n++] = p;
    content_apply(&f->live, &p);
}

static void file_clear(struct disk_file *f)
{
    forget_pending(f);
    free(f->pending.at);
    free(f->live.data);
    free(f->lasting.data);
    *f = (struct disk_file){0};
}

/* ---- plans ---- */

void power_reset(void)
{
    for (size_t i = 0; i < FILES_MAX; i++)
        file_clear(&files[i]);
    power_plan(NULL);
    dark = false;
}

void power_plan(const struct power_plan *new_plan)
{
    planned = new_plan != NULL;
    came = false;
    operations = 0;
    if (new_plan)
        plan = *new_plan;
}

bool power_plan_came(void)
{
    return came;
}

/* Sectors of a write last or not, each by itself. */
static void apply_some(struct content *c, const struct pending *p, struct rng *rng)
{
    if (!p->data) {
        if (rng_below(rng, 2))
            content_apply(c, p);
        return;
    }
    for (size_t at = 0; at < p->len;) {
        size_t len = MIN(SECTOR - (p->at + at) % SECTOR, p->len - at);

        if (rng_below(rng, 2))
            content_write(c, p->at + at, p->data + at, len);
        at += len;
    }
}

void power_cut(enum power_keep keep, struct rng *rng)
{
    cuts++;
    dark = false;
    for (size_t i = 0; i < FILES_MAX; i++) {
        struct disk_file *f = &files[i];

        for (size_t j = 0; j < f->pending.n; j++) {
            if (keep == POWER_KEEP_SOME)
                apply_some(&f->lasting, &f->pending.at[j], rng);
            else if (keep == POWER_KEEP_ALL)
                content_apply(&f->lasting, &f->pending.at[j]);
        }
        forget_pending(f);
        f->index = NULL;
        content_resize(&f->live, 0);
        content_write(&f->live, 0, f->lasting.data, f->lasting.len);
        if (keep == POWER_KEEP_NONE || (keep == POWER_KEEP_SOME && rng_below(rng, 2)))
            memcpy(f->name, f->lasting_name, sizeof(f->name));
        if (!f->name[0])
            file_clear(f);
        memcpy(f->lasting_name, f->name, sizeof(f->name));
    }
}

/* Counts an operation: 0, or what it must answer. *ret_half: whether part of it happens all the same. */
static int meet_fate(int io_error, bool is_write, bool *ret_half)
{
    *ret_half = false;
    if (dark)
        return io_error;
    operations++;
    if (!planned || operations < plan.at)
        return SQLITE_OK;
    if (plan.event != POWER_CUT && operations >= plan.at + plan.times)
        return SQLITE_OK;
    came = true;
    if (plan.event == POWER_FAIL_FULL && !is_write)
        return SQLITE_OK;
    *ret_half = is_write;
    dark = plan.event == POWER_CUT;
    return plan.event == POWER_FAIL_FULL ? SQLITE_FULL : io_error;
}

/* ---- a file's methods ---- */

static bool is_dead(const struct handle *h)
{
    return dark || h->cuts != cuts;
}

static int on_close(sqlite3_file *file)
{
    (void)file; /* contents stay with the disk */
    return SQLITE_OK;
}

static int on_read(sqlite3_file *file, void *out, int n, sqlite3_int64 offset)
{
    const struct handle *h = (const struct handle *)(const void *)file;
    const struct content *c = &h->file->live;
    size_t at = (size_t)offset, len = (size_t)n, have;

    if (is_dead(h))
        return SQLITE_IOERR_READ;
    have = at < c->len ? MIN(len, c->len - at) : 0;
    if (have)
        memcpy(out, c->data + at, have);
    memset((char *)out + have, 0, len - have);
    return have == len ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

static int on_write(sqlite3_file *file, const void *data, int n, sqlite3_int64 offset)
{
    struct handle *h = (struct handle *)(void *)file;
    struct pending p = {.at = (size_t)offset, .len = (size_t)n};
    bool half;
    int code;

    if (is_dead(h))
        return SQLITE_IOERR_WRITE;
    code = meet_fate(SQLITE_IOERR_WRITE, true, &half);
    if (code && half && p.len > 1) {
        p.len /= 2;
        remember_pending(h->file, p, data);
    }
    if (!code)
        remember_pending(h->file, p, data);
    return code;
}

static int on_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct handle *h = (struct handle *)(void *)file;
    bool half;
    int code;

    if (is_dead(h))
        return SQLITE_IOERR_TRUNCATE;
    code = meet_fate(SQLITE_IOERR_TRUNCATE, true, &half);
    if (!code)
        remember_pending(h->file, (struct pending){.at = (size_t)size}, NULL);
    return code;
}

static int on_sync(sqlite3_file *file, int flags)
{
    struct handle *h = (struct handle *)(void *)file;
    bool half;
    int code;

    (void)flags;
    if (is_dead(h))
        return SQLITE_IOERR_FSYNC;
    code = meet_fate(SQLITE_IOERR_FSYNC, false, &half);
    if (code)
        return code;
    for (size_t i = 0; i < h->file->pending.n; i++)
        content_apply(&h->file->lasting, &h->file->pending.at[i]);
    forget_pending(h->file);
    return SQLITE_OK;
}

static int on_size(sqlite3_file *file, sqlite3_int64 *ret_size)
{
    const struct handle *h = (const struct handle *)(const void *)file;

    *ret_size = (sqlite3_int64)h->file->live.len;
    return is_dead(h) ? SQLITE_IOERR_FSTAT : SQLITE_OK;
}

static int on_lock(sqlite3_file *file, int level)
{
    (void)file; /* one process, one connection */
    (void)level;
    return SQLITE_OK;
}

static int on_check_lock(sqlite3_file *file, int *ret_locked)
{
    (void)file;
    *ret_locked = 0;
    return SQLITE_OK;
}

static int on_control(sqlite3_file *file, int op, void *arg)
{
    (void)file;
    (void)op;
    (void)arg;
    return SQLITE_NOTFOUND;
}

static int on_sector_size(sqlite3_file *file)
{
    (void)file;
    return SECTOR;
}

static int on_device(sqlite3_file *file)
{
    (void)file; /* as the system's own VFS says of every disk */
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

/* ---- the index ---- */

static int on_shm_map(sqlite3_file *file, int region, int size, int extends,
                      void volatile **ret_at)
{
    struct handle *h = (struct handle *)(void *)file;

    *ret_at = NULL;
    if (is_dead(h) || region >= REGIONS_MAX)
        return SQLITE_IOERR_SHMMAP;
    if (!h->index && !h->file->index)
        h->file->index = calloc(1, sizeof(*h->index));
    if (!h->index) {
        h->index = h->file->index;
        if (!h->index)
            abort();
        h->index->refs++;
    }
    if (!h->index->regions[region] && extends)
        h->index->regions[region] = calloc(1, (size_t)size);
    *ret_at = h->index->regions[region];
    return SQLITE_OK;
}

static int on_shm_lock(sqlite3_file *file, int first, int n, int flags)
{
    struct handle *h = (struct handle *)(void *)file;
    struct shared_index *index = h->index;
    bool is_shared = flags & SQLITE_SHM_SHARED;

    for (int i = first; i < first + n && flags & SQLITE_SHM_LOCK; i++)
        if (index->is_written[i] || (!is_shared && index->readers[i]))
            return SQLITE_BUSY;
    for (int i = first; i < first + n; i++) {
        if (is_shared)
            index->readers[i] += flags & SQLITE_SHM_LOCK ? 1 : -1U;
        else
            index->is_written[i] = flags & SQLITE_SHM_LOCK;
    }
    return SQLITE_OK;
}

static void on_shm_barrier(sqlite3_file *file)
{
    (void)file; /* one thread */
}

static int on_shm_unmap(sqlite3_file *file, int removes)
{
    struct handle *h = (struct handle *)(void *)file;
    struct shared_index *index = h->index;

    (void)removes; /* it goes with the last connection */
    h->index = NULL;
    if (!index || --index->refs)
        return SQLITE_OK;
    for (size_t i = 0; i < REGIONS_MAX; i++)
        free(index->regions[i]);
    for (size_t i = 0; i < FILES_MAX; i++)
        if (files[i].index == index)
            files[i].index = NULL;
    free(index);
    return SQLITE_OK;
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = on_close,
    .xRead = on_read,
    .xWrite = on_write,
    .xTruncate = on_truncate,
    .xSync = on_sync,
    .xFileSize = on_size,
    .xLock = on_lock,
    .xUnlock = on_lock,
    .xCheckReservedLock = on_check_lock,
    .xFileControl = on_control,
    .xSectorSize = on_sector_size,
    .xDeviceCharacteristics = on_device,
    .xShmMap = on_shm_map,
    .xShmLock = on_shm_lock,
    .xShmBarrier = on_shm_barrier,
    .xShmUnmap = on_shm_unmap,
};

/* ---- files beside the database ---- */

static struct disk_file *find_file(const char *name)
{
    for (size_t i = 0; i < FILES_MAX; i++)
        if (strcmp(files[i].name, name) == 0)
            return &files[i];
    return NULL;
}

struct side_file {
    struct disk_file *file;
    uint64_t cuts;
    size_t at;
};

static int failed(struct err *err)
{
    return err_set(err, ERR_IO, "the test's disk refuses");
}

static struct disk_file *file_make(const char *name)
{
    struct disk_file *f = find_file(name);

    if (f)
        file_clear(f);
    f = find_file("");
    if (f)
        (void)snprintf(f->name, sizeof(f->name), "%s", name);
    return f;
}

static int side_open(const char *path, enum store_file_mode mode, void **ret_file,
                     struct err *err)
{
    struct disk_file *f = dark ? NULL : find_file(path);
    struct side_file *h;

    if (!dark && mode == STORE_FILE_WRITE)
        f = file_make(path);
    if (!f)
        return dark || mode == STORE_FILE_WRITE ? failed(err)
                                                : err_set(err, ERR_NOT_FOUND, "none");
    h = calloc(1, sizeof(*h));
    if (!h)
        abort();
    h->file = f;
    h->cuts = cuts;
    *ret_file = h;
    return 0;
}

static int side_write(void *file, struct str bytes, struct err *err)
{
    struct side_file *h = file;
    struct pending p = {.at = h->at, .len = bytes.len};
    bool half = true;
    int code =
        dark || h->cuts != cuts ? SQLITE_IOERR : meet_fate(SQLITE_IOERR_WRITE, true, &half);

    if (code && (dark || h->cuts != cuts || !half || p.len < 2))
        return failed(err);
    if (code)
        p.len /= 2;
    remember_pending(h->file, p, bytes.data);
    h->at += p.len;
    return code ? failed(err) : 0;
}

static int side_read(void *file, char *to, size_t n, size_t *ret_n, struct err *err)
{
    struct side_file *h = file;
    const struct content *c = &h->file->live;
    size_t have = h->at < c->len ? MIN(n, c->len - h->at) : 0;

    if (dark || h->cuts != cuts)
        return failed(err);
    if (have)
        memcpy(to, c->data + h->at, have);
    h->at += have;
    *ret_n = have;
    return 0;
}

static int side_sync(void *file, struct err *err)
{
    struct side_file *h = file;
    bool half;

    if (dark || h->cuts != cuts || meet_fate(SQLITE_IOERR_FSYNC, false, &half))
        return failed(err);
    for (size_t i = 0; i < h->file->pending.n; i++)
        content_apply(&h->file->lasting, &h->file->pending.at[i]);
    forget_pending(h->file);
    return 0;
}

static void side_forget(void *file)
{
    (void)file; /* all is memory */
}

static int side_rename(const char *from, const char *to, struct err *err)
{
    struct disk_file *f = find_file(from), *old = find_file(to);
    bool half;

    if (dark || !f || meet_fate(SQLITE_IOERR, false, &half))
        return failed(err);
    if (old)
        file_clear(old);
    (void)snprintf(f->name, sizeof(f->name), "%s", to);
    return 0;
}

static int side_sync_folder(const char *path, struct err *err)
{
    bool half;

    (void)path; /* there is one */
    if (dark || meet_fate(SQLITE_IOERR_FSYNC, false, &half))
        return failed(err);
    for (size_t i = 0; i < FILES_MAX; i++)
        memcpy(files[i].lasting_name, files[i].name, sizeof(files[i].name));
    return 0;
}

static int side_remove(const char *path, struct err *err)
{
    struct disk_file *f = find_file(path);

    if (dark)
        return failed(err);
    if (f)
        file_clear(f);
    return 0;
}

static int side_each(const char *prefix, store_file_fn *fn, void *ctx, struct err *err)
{
    int r = dark ? failed(err) : 0;

    for (size_t i = 0; i < FILES_MAX && !r; i++) {
        char name[sizeof(files[i].name)];

        memcpy(name, files[i].name, sizeof(name));
        if (name[0] && strncmp(name, prefix, strlen(prefix)) == 0)
            r = fn(ctx, name);
    }
    return r;
}

const struct store_files power_files = {
    .open = side_open,
    .write = side_write,
    .read = side_read,
    .sync = side_sync,
    .forget = side_forget,
    .close = free,
    .rename = side_rename,
    .sync_folder = side_sync_folder,
    .remove = side_remove,
    .each = side_each,
};

/* ---- the file system ---- */

static int on_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                   int *ret_flags)
{
    struct handle *h = (struct handle *)(void *)file;
    struct disk_file *f;

    (void)vfs;
    h->base.pMethods = NULL;
    if (dark || !name)
        return SQLITE_CANTOPEN;
    f = find_file(name);
    if (!f && !(flags & SQLITE_OPEN_CREATE))
        return SQLITE_CANTOPEN;
    if (!f) {
        f = find_file("");
        if (!f)
            return SQLITE_CANTOPEN;
        (void)snprintf(f->name, sizeof(f->name), "%s", name);
        (void)snprintf(f->lasting_name, sizeof(f->lasting_name), "%s", name);
    }
    h->file = f;
    h->index = NULL;
    h->cuts = cuts;
    h->base.pMethods = &methods;
    if (ret_flags)
        *ret_flags = flags;
    return SQLITE_OK;
}

static int on_delete(sqlite3_vfs *vfs, const char *name, int sync_folder)
{
    struct disk_file *f = find_file(name);

    (void)vfs;
    (void)sync_folder; /* folders are kept at once */
    if (dark)
        return SQLITE_IOERR_DELETE;
    if (!f)
        return SQLITE_IOERR_DELETE_NOENT;
    file_clear(f);
    return SQLITE_OK;
}

static int on_access(sqlite3_vfs *vfs, const char *name, int flags, int *ret_is)
{
    const struct disk_file *f = find_file(name);

    (void)vfs;
    *ret_is = f && (flags != SQLITE_ACCESS_EXISTS || f->live.len > 0);
    return dark ? SQLITE_IOERR_ACCESS : SQLITE_OK;
}

static int on_full_path(sqlite3_vfs *vfs, const char *name, int n, char *out)
{
    (void)vfs;
    (void)snprintf(out, (size_t)n, "%s", name);
    return SQLITE_OK;
}

static int on_random(sqlite3_vfs *vfs, int n, char *out)
{
    static struct rng rng = {.state = 5};

    (void)vfs;
    for (int i = 0; i < n; i++)
        out[i] = (char)rng_next(&rng);
    return n;
}

static int on_sleep(sqlite3_vfs *vfs, int microseconds)
{
    (void)vfs;
    return microseconds;
}

static int on_time(sqlite3_vfs *vfs, double *ret_days)
{
    (void)vfs;
    *ret_days = 2461000.0;
    return SQLITE_OK;
}

static int on_last_error(sqlite3_vfs *vfs, int n, char *out)
{
    (void)vfs;
    (void)n;
    (void)out;
    return 0;
}

void power_register(void)
{
    static sqlite3_vfs vfs = {
        .iVersion = 1,
        .szOsFile = sizeof(struct handle),
        .mxPathname = 200,
        .zName = POWER_VFS,
        .xOpen = on_open,
        .xDelete = on_delete,
        .xAccess = on_access,
        .xFullPathname = on_full_path,
        .xRandomness = on_random,
        .xSleep = on_sleep,
        .xCurrentTime = on_time,
        .xGetLastError = on_last_error,
    };

    (void)sqlite3_vfs_register(&vfs, 0); /* fails only when SQLite cannot start at all */
}
