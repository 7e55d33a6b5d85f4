/*
 * A data folder without its server. See upkeep.h.
 */
#include "server/hub/upkeep.h"

#include "base/alloc.h"
#include "base/file.h"
#include "proto/record.h"
#include "store/highwater.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, COPY_BYTES = 256 * 1024 };

/* The file of an SQLite store; NULL: it has none. */
static const char *database_of(const struct config *config)
{
    static const char scheme[] = "sqlite:";

    return strncmp(config->store, scheme, strlen(scheme)) == 0 ? config->store + strlen(scheme)
                                                               : NULL;
}

static bool is_there(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 || errno != ENOENT;
}

const char *upkeep_highwater(const struct config *config, char path[PATH_BYTES])
{
    if (!database_of(config))
        return NULL;
    (void)snprintf(path, PATH_BYTES, "%s/high-water", config->data_dir);
    return path;
}

int upkeep_may_open(const struct config *config, struct err *err)
{
    static const char *const traces[] = {"high-water", "server.id"};
    const char *database = database_of(config);

    if (!database || is_there(database))
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(traces); i++) {
        char path[PATH_BYTES];

        (void)snprintf(path, sizeof(path), "%s/%s", config->data_dir, traces[i]);
        if (!is_there(path))
            continue;
        (void)err_set(err, ERR_CORRUPT, "there is no database %s, but a server used this folder",
                      database);
        err_place(err, "%s", path);
        err_hint(err, "put the database back, or restore a backup with --restore=FILE;"
                      " --accept_loss=REASON begins with an empty one (docs/operations.md)");
        return ERR_CORRUPT;
    }
    return 0;
}

static int open_store(const char *url, enum store_create create, struct store **ret,
                      struct err *err)
{
    struct store_opts opts = {
        .create = create, .semantics = STATE_SEMANTICS, .now = clock_now()};

    return store_open(url, &opts, ret, err);
}

static int read_highwater(const struct config *config, struct highwater_mark *ret,
                          struct err *err)
{
    char path[PATH_BYTES];

    return upkeep_highwater(config, path) ? highwater_read(path, ret, err) : ERR_NOT_FOUND;
}

/* ---- check ---- */

int upkeep_check(const struct config *config, struct buf *out, struct err *err)
{
    owned(store_drop) struct store *s = NULL;
    struct highwater_mark mark;
    int r = open_store(config->store, STORE_MUST_EXIST, &s, err);

    if (!r)
        r = store_check(s, err);
    if (r)
        return r;
    r = read_highwater(config, &mark, err);
    if (r == 0)
        r = highwater_check(s, &mark, err);
    else if (r == ERR_NOT_FOUND) /* a copy has none */
        r = 0;
    if (!r)
        buf_printf(out, "%s: %" PRIu64 " commits, all as they were appended\n", config->store,
                   store_head(s).revision);
    return r;
}

/* ---- a log that goes on as another store ---- */

static int append_restored(struct store *s, const struct commit *c, struct err *err)
{
    struct record_encoded record;
    struct store_record row;
    struct store_append op = {
        .records = &row, .n = 1, .expected_head = store_head(s).revision};
    struct store_appended done;
    int r = record_encode(c, NULL, NULL, &record);

    if (r)
        return err_set(err, r, "out of memory");
    row = (struct store_record){.bytes = shared_str(record.envelope)};
    r = store_append(s, &op, &done, err);
    record_encoded_deinit(&record);
    return r > 0 ? err_set(err, ERR_BUG, "the store has another head than it said") : r;
}

static int write_highwater(const struct config *config, struct store *s, struct err *err)
{
    struct store_identity identity;
    struct highwater_mark mark;
    struct highwater *h = NULL;
    char path[PATH_BYTES];
    int r = store_identity(s, &identity, err);

    if (r || !upkeep_highwater(config, path))
        return r;
    mark = (struct highwater_mark){.store = identity.id, .head = store_head(s)};
    r = highwater_open(path, &h, err);
    if (!r)
        r = highwater_note(h, &mark, err);
    if (!r)
        r = highwater_sync(h, err);
    (void)highwater_close(h); /* synced */
    return r;
}

/* Makes s another store, with a record that says from where it goes on. */
static int go_on(const struct config *config, struct store *s, const char *action,
                 const char *reason, struct err *err)
{
    struct restored restored = {.from_revision = store_head(s).revision,
                                .deletes_newer = config->delete_newer};
    struct commit c = {.author = STR("trimtabd"),
                       .message = str_c(reason),
                       .action = str_c(action),
                       .restored = &restored,
                       .time_ms = clock_wall_ms()};
    struct store_identity identity;
    struct highwater_mark mark;
    int r = store_identity(s, &identity, err);

    if (r)
        return r;
    memcpy(restored.from, identity.id.bytes, STATE_STORE_ID_BYTES);
    if (read_highwater(config, &mark, NULL) == 0) { /* what subscribers of this folder know */
        memcpy(restored.from, mark.store.bytes, STATE_STORE_ID_BYTES);
        restored.acknowledged = mark.head.revision;
    }
    r = store_identity_renew(s, err);
    return r ? r : append_restored(s, &c, err);
}

static void tell(struct buf *out, const struct config *config, struct store *s)
{
    buf_printf(out,
               "%s goes on as another store at revision %" PRIu64 "\n"
               "Subscribers take its contents; what they have that it does not know is %s.\n",
               config->data_dir, store_head(s).revision,
               config->delete_newer ? "deleted" : "kept, and held until it is released");
}

int upkeep_accept_loss(const struct config *config, struct buf *out, struct err *err)
{
    owned(store_drop) struct store *s = NULL;
    int r = file_make_dirs(config->data_dir, 0700, err);

    if (!r)
        r = open_store(config->store, STORE_CREATE, &s, err);
    if (!r)
        r = go_on(config, s, "accept-loss", config->accept_loss, err);
    if (!r)
        r = write_highwater(config, s, err);
    if (!r)
        tell(out, config, s);
    return r;
}

/* ---- restore ---- */

static int copy_bytes(int from, int to, const char *path, struct err *err)
{
    owned(mem) char *bytes = mem_alloc(COPY_BYTES);
    ssize_t n;

    if (!bytes)
        return err_set(err, ERR_NOMEM, "out of memory");
    while ((n = read(from, bytes, COPY_BYTES)) > 0)
        for (ssize_t at = 0, done; at < n; at += done) {
            done = write(to, bytes + at, (size_t)(n - at));
            if (done < 0)
                return err_set_errno(err, "cannot write %s", path);
        }
    if (n < 0)
        return err_set_errno(err, "cannot read the backup");
    return fsync(to) ? err_set_errno(err, "cannot sync %s", path) : 0;
}

static int copy_file(const char *from, const char *to, struct err *err)
{
    int in = open(from, O_RDONLY | O_CLOEXEC), out, r;

    if (in < 0)
        return errno == ENOENT ? err_set(err, ERR_NOT_FOUND, "there is no file %s", from)
                               : err_set_errno(err, "cannot open %s", from);
    (void)unlink(to); /* what an attempt that was cut short left */
    out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (out < 0) {
        r = err_set_errno(err, "cannot make %s", to);
    } else {
        r = copy_bytes(in, out, to, err);
        (void)close(out); /* synced, or given up */
    }
    (void)close(in); /* only read */
    return r;
}

/* The log that SQLite keeps beside a database that was copied in use holds what the copy lacks. */
static int refuse_log_beside(const char *backup, struct err *err)
{
    char wal[PATH_BYTES];
    struct stat st;
    int r;

    (void)snprintf(wal, sizeof(wal), "%s-wal", backup);
    if (stat(wal, &st) || st.st_size == 0)
        return 0;
    r = err_set(err, ERR_INVALID, "%s is beside the backup: it was not made by a backup", wal);
    err_hint(err, "use a file of trimtab admin backup, or the folder of a server that was stopped");
    return r;
}

static int prepare_copy(const struct config *config, const char *copy, struct buf *out,
                        struct err *err)
{
    owned(store_drop) struct store *s = NULL;
    char url[PATH_BYTES + 16];
    int r;

    (void)snprintf(url, sizeof(url), "sqlite:%s", copy);
    r = open_store(url, STORE_MUST_EXIST, &s, err);
    if (!r)
        r = store_check(s, err);
    if (!r)
        r = go_on(config, s, "restore", *config->accept_loss ? config->accept_loss : "restored",
                  err);
    if (!r)
        r = write_highwater(config, s, err);
    if (r)
        return r;
    tell(out, config, s);
    return store_close(take(s), err);
}

int upkeep_restore(const struct config *config, struct buf *out, struct err *err)
{
    const char *database = database_of(config);
    char copy[PATH_BYTES];
    int r;

    if (!database)
        return err_set(err, ERR_UNSUPPORTED, "%s cannot be restored into", config->store);
    if (is_there(database)) {
        r = err_set(err, ERR_EXISTS, "there is a database already");
        err_place(err, "%s", database);
        err_hint(err, "move it away; the tokens in the folder may stay");
        return r;
    }
    (void)snprintf(copy, sizeof(copy), "%s.restoring", database);
    r = refuse_log_beside(config->restore, err);
    if (!r)
        r = file_make_dirs(config->data_dir, 0700, err);
    if (!r)
        r = copy_file(config->restore, copy, err);
    if (!r) /* a backup has its snapshots in it, but the database of a server that was stopped has not */
        r = store_backup_take_along(copy, config->restore, err);
    if (!r)
        r = prepare_copy(config, copy, out, err);
    if (!r && rename(copy, database))
        r = err_set_errno(err, "cannot rename %s", copy);
    return r ? r : file_sync_parent(database, err);
}
