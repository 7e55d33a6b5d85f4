/*
 * The local copy on SQLite. See copy.h; what is in the rows is told by copy_rows.h.
 */
#include "sync/copy_rows.h"

#include "base/file.h"
#include "base/vec.h"
#include "model/commit.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

enum { FILE_ATTR_BYTES = 12 }; /* behind the hash of a file that keeps what it had */

enum {
    LOCK_TRIES = 50,
    LOCK_PAUSE_MS = 20,
    BODY_BYTES_MAX = CONTENT_BYTES_MAX + 4 * 1024 * 1024,
    KEY_BYTES_MAX = 2 * ID_BYTES_MAX + 4096,
    APPLICATION_ID = 0x54726363, /* "Trcc" */
    FORMAT = 1,
};

#define TABLE_HEAD                                                                             \
    "CREATE TABLE head(one INTEGER PRIMARY KEY, body BLOB NOT NULL, proof BLOB NOT NULL)"
#define TABLE_ROW                                                                              \
    "CREATE TABLE row(id INTEGER PRIMARY KEY, what INTEGER NOT NULL, key BLOB NOT NULL, "      \
    "proof BLOB NOT NULL, body BLOB NOT NULL)"
#define INDEX_ROW "CREATE UNIQUE INDEX row_key ON row(what, key)"

enum copy_sql {
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_PUT,
    SQL_GET,
    SQL_DELETE,
    SQL_KEYS,
    SQL_HEAD,
    SQL_COUNT
};

static const char *const texts[] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_PUT] = "INSERT OR REPLACE INTO row(what, key, body, proof) VALUES (?1, ?2, ?3, ?4)",
    [SQL_GET] = "SELECT proof, body FROM row WHERE what = ?1 AND key = ?2",
    [SQL_DELETE] = "DELETE FROM row WHERE what = ?1 AND key = ?2",
    [SQL_KEYS] = "SELECT key FROM row WHERE what = ?1",
    [SQL_HEAD] = "INSERT OR REPLACE INTO head(one, body, proof) VALUES (1, ?1, ?2)",
};

struct copy {
    char path[COPY_PATH_MAX];
    int lock;
    sqlite3 *db;
    sqlite3_stmt *statements[SQL_COUNT];
    struct copy_head head;
    bool is_dirty; /* the head moved and is not written */
};

/* ---- failures ---- */

/* What SQLite says, as ours. What it cannot make sense of is an altered file; trouble around it is not. */
static int sql_error(const struct copy *c, int code, struct err *err)
{
    const char *text = sqlite3_errstr(code);

    switch (code & 0xff) {
    case SQLITE_NOMEM: return err_set(err, ERR_NOMEM, "out of memory");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_set(err, ERR_LOCKED, "%s is open in another process", c->path);
    case SQLITE_FULL: return err_set(err, ERR_IO, "the disk that holds %s is full", c->path);
    case SQLITE_IOERR:
        if (code == SQLITE_IOERR_SHORT_READ || code == SQLITE_IOERR_CORRUPTFS)
            break;
        return err_set(err, ERR_IO, "%s: %s (SQLite %d)", c->path, text, code);
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
    case SQLITE_INTERRUPT:
        return err_set(err, ERR_IO, "%s: %s (SQLite %d)", c->path, text, code);
    default: break;
    }
    return err_set(err, ERR_CORRUPT, "%s: %s (SQLite %d)", c->path, text, code);
}

static int corrupt(const struct copy *c, const char *what, struct err *err)
{
    return err_set(err, ERR_CORRUPT, "%s: %s", c->path, what);
}

/* ---- statements ---- */

static sqlite3_stmt *statement(struct copy *c, enum copy_sql sql)
{
    if (!c->statements[sql] &&
        sqlite3_prepare_v3(c->db, texts[sql], -1, SQLITE_PREPARE_PERSISTENT,
                           &c->statements[sql], NULL))
        return NULL; /* sqlite3_errcode tells */
    return c->statements[sql];
}

/* Failures of binding show when the statement runs: the columns refuse NULL. */
static void bind(sqlite3_stmt *s, int at, struct str bytes)
{
    (void)sqlite3_bind_blob64(s, at, bytes.data ? bytes.data : "", bytes.len, SQLITE_STATIC);
}

static int run(struct copy *c, sqlite3_stmt *s, struct err *err)
{
    int code = s ? sqlite3_step(s) : sqlite3_extended_errcode(c->db);

    if (s) {
        (void)sqlite3_reset(s); /* repeats what the step told */
        (void)sqlite3_clear_bindings(s);
    }
    return code == SQLITE_DONE || code == SQLITE_ROW ? 0 : sql_error(c, code, err);
}

static int run_plain(struct copy *c, enum copy_sql sql, struct err *err)
{
    return run(c, statement(c, sql), err);
}

static struct str column(sqlite3_stmt *s, int i)
{
    const void *data = sqlite3_column_blob(s, i); /* before its length */

    return str_of(data, (size_t)sqlite3_column_bytes(s, i));
}

static int execute(struct copy *c, const char *sql, struct err *err)
{
    int code = sqlite3_exec(c->db, sql, NULL, NULL, NULL);

    return code ? sql_error(c, code, err) : 0;
}

/* The first column of the first row, as text; empty when there is none. */
static int query_text(struct copy *c, const char *sql, char *out, size_t size, struct err *err)
{
    sqlite3_stmt *s = NULL;
    int code = sqlite3_prepare_v2(c->db, sql, -1, &s, NULL);

    out[0] = '\0';
    if (!code) {
        code = sqlite3_step(s);
        if (code == SQLITE_ROW)
            (void)snprintf(out, size, "%s", (const char *)sqlite3_column_text(s, 0));
    }
    (void)sqlite3_finalize(s); /* repeats what the step told */
    return code == SQLITE_ROW || code == SQLITE_DONE ? 0 : sql_error(c, code, err);
}

/* ---- rows and the head, inside a transaction ---- */

/* The proof and (if asked for) the body of a row; *ret_found false when it is not there. */
static int row_get(struct copy *c, enum copy_what what, struct str key,
                   struct digest *ret_proof, struct buf *body, bool *ret_found, struct err *err)
{
    sqlite3_stmt *s = statement(c, SQL_GET);
    int code = sqlite3_extended_errcode(c->db), r = 0;

    *ret_found = false;
    if (!s)
        return sql_error(c, code, err);
    (void)sqlite3_bind_int(s, 1, (int)what); /* always OK */
    bind(s, 2, key);
    code = sqlite3_step(s);
    if (code == SQLITE_ROW) {
        *ret_found = true;
        if (!digest_get(column(s, 0), ret_proof))
            r = corrupt(c, "a proof of another length", err);
        if (!r && body) {
            buf_put_str(body, column(s, 1));
            r = buf_status(body);
        }
    } else if (code != SQLITE_DONE) {
        r = sql_error(c, code, err);
    }
    (void)sqlite3_reset(s); /* repeats what the step told */
    return r;
}

/* Takes the row out of the sum; it is then replaced or deleted. */
static int row_forget(struct copy *c, enum copy_what what, struct str key, bool *ret_found,
                      struct err *err)
{
    struct digest proof;
    int r = row_get(c, what, key, &proof, NULL, ret_found, err);

    if (!r && *ret_found) {
        c->head.rows = digest_sub(c->head.rows, proof);
        c->head.n_rows--;
    }
    return r;
}

static int row_put(struct copy *c, enum copy_what what, struct str key, struct str body,
                   struct err *err)
{
    struct sha256 hash = copy_row_proof(what, key, body);
    struct digest proof = digest_from_sha256(&hash);
    sqlite3_stmt *s = statement(c, SQL_PUT);
    bool found;
    int r = row_forget(c, what, key, &found, err);

    if (r)
        return r;
    if (s) {
        (void)sqlite3_bind_int(s, 1, (int)what); /* always OK */
        bind(s, 2, key);
        bind(s, 3, body);
        bind(s, 4, str_of(hash.bytes, DIGEST_BYTES));
    }
    r = run(c, s, err);
    if (!r) {
        c->head.rows = digest_add(c->head.rows, proof);
        c->head.n_rows++;
    }
    return r;
}

static int row_delete(struct copy *c, enum copy_what what, struct str key, struct err *err)
{
    sqlite3_stmt *s = statement(c, SQL_DELETE);
    bool found;
    int r = row_forget(c, what, key, &found, err);

    if (r || !found)
        return r;
    if (s) {
        (void)sqlite3_bind_int(s, 1, (int)what); /* always OK */
        bind(s, 2, key);
    }
    return run(c, s, err);
}

static int head_put(struct copy *c, struct err *err)
{
    owned(buf) struct buf body = BUF_NULL(4096);
    sqlite3_stmt *s = statement(c, SQL_HEAD);
    struct sha256 proof;

    copy_head_encode(&c->head, &body);
    if (buf_status(&body))
        return buf_status(&body);
    proof = sha256_of(buf_str(&body));
    if (s) {
        bind(s, 1, buf_str(&body));
        bind(s, 2, str_of(proof.bytes, SHA256_BYTES));
    }
    return run(c, s, err);
}

/* ---- transactions ---- */

/* (C3) The log goes back into the file and is emptied. A failure loses nothing: the log stays. */
static void checkpoint(struct copy *c)
{
    (void)sqlite3_wal_checkpoint_v2(c->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
}

/* Ends a transaction: commits when result is 0, else undoes it; the head goes back to before as well. */
static int end(struct copy *c, int result, const struct copy_head *before, struct err *err)
{
    int r = result;

    if (!r)
        r = head_put(c, err);
    if (!r)
        r = run_plain(c, SQL_COMMIT, err);
    if (r) {
        if (!sqlite3_get_autocommit(c->db))
            (void)sqlite3_exec(c->db, "ROLLBACK", NULL, NULL,
                               NULL); /* if it fails, the next BEGIN says so */
        c->head = *before;
        if (r == ERR_NOMEM && err && !err->code)
            (void)err_set(err, r, "out of memory");
        return r;
    }
    c->is_dirty = false;
    checkpoint(c);
    return 0;
}

/* ---- opening ---- */

/*
 * A process that was killed while it started a program leaves its lock for a moment to the child, which lets
 * go of it when it becomes the program. So a held lock is tried again for a second.
 */
static int lock_soon(int fd)
{
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000L};
    int r = flock(fd, LOCK_EX | LOCK_NB);

    for (int i = 0; i < LOCK_TRIES && r && (errno == EWOULDBLOCK || errno == EINTR); i++) {
        (void)nanosleep(&pause, NULL); /* cut short: one more try, earlier */
        r = flock(fd, LOCK_EX | LOCK_NB);
    }
    return r;
}

int copy_open(const char *path, struct copy **ret_copy, struct err *err)
{
    char lock[COPY_PATH_MAX + 8];
    struct copy *c = NEW(struct copy);
    int r;

    if (!c)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (strlen(path) >= sizeof(c->path) - 32) {
        (void)mem_free(c);
        return err_set(err, ERR_LIMIT, "path too long: %s", path);
    }
    (void)snprintf(c->path, sizeof(c->path), "%s", path);
    (void)snprintf(lock, sizeof(lock), "%s.lock", path);
    c->lock = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (c->lock >= 0 && lock_soon(c->lock) == 0) {
        *ret_copy = c;
        return 0;
    }
    if (errno == EWOULDBLOCK) {
        r = err_set(err, ERR_LOCKED, "%s is in use by another process", path);
        err_hint(err, "one agent at a time can use a data folder");
    } else {
        r = err_set_errno(err, "cannot lock %s", lock);
    }
    if (c->lock >= 0)
        (void)close(c->lock);
    (void)mem_free(c);
    return r;
}

/* The file exists with mode 0600 before SQLite sees it; the log beside it takes the mode over. */
static int make_file(const struct copy *c, struct err *err)
{
    int fd = open(c->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0 && errno == EEXIST)
        return 0;
    if (fd < 0)
        return err_set_errno(err, "cannot make %s", c->path);
    (void)close(fd); /* it is empty */
    return file_sync_parent(c->path, err);
}

static int set_up(struct copy *c, struct err *err)
{
    return execute(c,
                   "PRAGMA locking_mode = EXCLUSIVE;"
                   "PRAGMA journal_mode = WAL;"
                   "PRAGMA synchronous = FULL;"
                   "PRAGMA wal_autocheckpoint = 0;"
                   "PRAGMA cache_size = -512;"
                   "PRAGMA temp_store = MEMORY;"
                   "PRAGMA trusted_schema = OFF;"
                   "PRAGMA cell_size_check = ON;"
                   "BEGIN IMMEDIATE; COMMIT;",
                   err);
}

static int make_schema(struct copy *c, struct err *err)
{
    struct copy_head before = c->head;
    int r = execute(c,
                    "BEGIN IMMEDIATE;" TABLE_HEAD ";" TABLE_ROW ";" INDEX_ROW ";"
                    "PRAGMA application_id = 1416782691; PRAGMA user_version = 1;",
                    err);

    return end(c, r, &before, err);
}

/* Whether the file has what we made in it, to the letter; *ret_empty when there is nothing at all. */
static int check_schema(struct copy *c, bool *ret_empty, struct err *err)
{
    char schema[1024], ids[64], expected[64];
    int r = query_text(c,
                       "SELECT coalesce(group_concat(sql, ';'), '') FROM"
                       " (SELECT sql FROM sqlite_schema ORDER BY name)",
                       schema, sizeof(schema), err);

    if (!r)
        r = query_text(c,
                       "SELECT application_id || ' ' || user_version FROM"
                       " pragma_application_id, pragma_user_version",
                       ids, sizeof(ids), err);
    if (r)
        return r;
    (void)snprintf(expected, sizeof(expected), "%d %d", APPLICATION_ID, FORMAT);
    *ret_empty = !*schema && strcmp(ids, "0 0") == 0;
    if (*ret_empty)
        return 0;
    if (strcmp(ids, expected) != 0)
        return corrupt(c, "it is no local copy of this version", err);
    return strcmp(schema, TABLE_HEAD ";" TABLE_ROW ";" INDEX_ROW) == 0
               ? 0
               : corrupt(c, "its tables are not ours", err);
}

static void disconnect(struct copy *c)
{
    for (size_t i = 0; i < ARRAY_LEN(c->statements); i++) {
        (void)sqlite3_finalize(c->statements[i]); /* repeats old failures */
        c->statements[i] = NULL;
    }
    (void)sqlite3_close(c->db); /* nothing is under way */
    c->db = NULL;
}

static int connect_file(struct copy *c, bool *ret_empty, struct err *err)
{
    int code, r = make_file(c, err);

    if (r)
        return r;
    c->head = (struct copy_head){.instance = ""};
    code = sqlite3_open_v2(c->path, &c->db,
                           SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                           NULL);
    r = code ? sql_error(c, code, err) : set_up(c, err);
    if (!r)
        r = check_schema(c, ret_empty, err);
    return r;
}

struct copy *copy_close(struct copy *c)
{
    if (!c)
        return NULL;
    if (c->db) {
        if (copy_flush(c, NULL))
            c->is_dirty =
                true; /* a cursor that is a little older costs a little more at the next start */
        disconnect(c);
    }
    (void)close(c->lock); /* nothing was written to it */
    return mem_free(c);
}

/* ---- loading ---- */

void copy_content_deinit(struct copy_content *content)
{
    for (size_t i = 0; i < content->n_items; i++)
        (void)version_unref(content->items[i].item);
    for (size_t i = 0; i < content->n_served; i++)
        (void)version_unref(content->served[i].served);
    for (size_t i = 0; i < content->n_held; i++)
        (void)version_unref(content->held[i].item);
    (void)mem_free(content->items);
    (void)mem_free(content->held);
    (void)mem_free(content->served);
    (void)mem_free(content->files);
    arena_deinit(&content->arena);
    *content = (struct copy_content){.instance = ""};
}

/* Everything that is read, on its way to a content. */
struct loading {
    struct copy *copy;
    struct copy_content *content;
    size_t cap_items, cap_held, cap_served, cap_files;
    uint64_t n_rows;
    struct digest rows, digest;
};

static int take_item(struct loading *l, struct str scope, struct str tail, struct str body,
                     struct err *err)
{
    struct copy_content *c = l->content;
    struct version *v;
    struct name name;
    int r;

    if (!vec_grow((void **)&c->items, c->n_items, &l->cap_items, sizeof(*c->items)))
        return ERR_NOMEM;
    r = copy_item_decode(body, &v, err);
    if (r)
        return r;
    c->items[c->n_items++] = (struct sync_change){scope, tail, v};
    name = key_name(v->key);
    if (!str_eq(tail, str_from(v->key, str_eq(scope, SCOPE_REFERRED) ? 0 : name.space.len + 1)))
        return corrupt(l->copy, "an item under another's name", err);
    l->digest = digest_add(l->digest, binding_digest(scope, &v->item_hash));
    return 0;
}

static int take_held(struct loading *l, struct str scope, struct str tail, struct str body,
                     struct err *err)
{
    struct copy_content *c = l->content;
    struct sync_held h;
    int r;

    if (!vec_grow((void **)&c->held, c->n_held, &l->cap_held, sizeof(*c->held)))
        return ERR_NOMEM;
    r = copy_held_decode(body, &h, err);
    if (r)
        return r;
    h.scope = scope;
    h.key = tail;
    c->held[c->n_held++] = h;
    return 0;
}

static int take_served(struct loading *l, struct str scope, struct str tail, struct str body,
                       struct err *err)
{
    struct copy_content *c = l->content;
    struct copy_served s;
    int r;

    if (!vec_grow((void **)&c->served, c->n_served, &l->cap_served, sizeof(*c->served)))
        return ERR_NOMEM;
    r = copy_served_decode(body, &s, err);
    if (r)
        return r;
    s.scope = scope;
    s.key = tail;
    s.code = arena_str(&c->arena, s.code);
    s.message = arena_str(&c->arena, s.message);
    s.held_by = arena_str(&c->arena, s.held_by);
    c->served[c->n_served++] = s;
    return 0;
}

/* Three numbers of four bytes, most significant first. */
static void take_attr(struct copy_file *f, struct str body)
{
    uint32_t *const fields[] = {&f->mode, &f->owner, &f->group};

    f->has_attr = body.len > 0;
    for (size_t i = 0; i < body.len; i++)
        *fields[i / 4] = *fields[i / 4] << 8 | (unsigned char)body.data[i];
}

static int take_file(struct loading *l, struct str sink, struct str path, struct str body,
                     struct err *err)
{
    struct copy_content *c = l->content;
    struct copy_file *f;

    if (!vec_grow((void **)&c->files, c->n_files, &l->cap_files, sizeof(*c->files)))
        return ERR_NOMEM;
    if (body.len != SHA256_BYTES && body.len != SHA256_BYTES + FILE_ATTR_BYTES)
        return corrupt(l->copy, "a file without a hash", err);
    f = &c->files[c->n_files++];
    *f = (struct copy_file){.sink = sink, .path = path};
    memcpy(f->hash.bytes, body.data, SHA256_BYTES);
    take_attr(f, str_from(body, SHA256_BYTES));
    return 0;
}

static int take_row(struct loading *l, int what, struct str key, struct str body,
                    struct str proof, struct err *err)
{
    struct sha256 hash = copy_row_proof((enum copy_what)what, key, body);
    struct digest d = digest_from_sha256(&hash);
    struct str kept, scope, tail;
    size_t nul;

    if (!str_eq(proof, str_of(hash.bytes, DIGEST_BYTES)))
        return corrupt(l->copy, "a row has been altered", err);
    l->rows = digest_add(l->rows, d);
    l->n_rows++;
    kept = arena_str(&l->content->arena, key);
    if (arena_failed(&l->content->arena))
        return ERR_NOMEM;
    nul = str_index(kept, '\0');
    scope = str_part(kept, 0, nul);
    tail = str_from(kept, nul + 1);
    if (nul == kept.len || (what != COPY_FILE && !copy_key_split(kept, &scope, &tail)))
        return corrupt(l->copy, "a row without a name", err);
    switch (what) {
    case COPY_ITEM: return take_item(l, scope, tail, body, err);
    case COPY_HELD: return take_held(l, scope, tail, body, err);
    case COPY_SERVED: return take_served(l, scope, tail, body, err);
    case COPY_FILE: return take_file(l, scope, tail, body, err);
    default: return corrupt(l->copy, "a row of an unknown sort", err);
    }
}

static int read_head(struct copy *c, struct err *err)
{
    sqlite3_stmt *s = NULL;
    int code =
        sqlite3_prepare_v2(c->db, "SELECT body, proof FROM head WHERE one = 1", -1, &s, NULL);
    int r;

    if (!code)
        code = sqlite3_step(s);
    if (code == SQLITE_ROW) {
        struct str body = column(s, 0), proof = column(s, 1);
        struct sha256 hash = sha256_of(body);

        r = str_eq(proof, str_of(hash.bytes, SHA256_BYTES)) && copy_head_decode(body, &c->head)
                ? 0
                : corrupt(c, "its head has been altered", err);
    } else {
        r = code == SQLITE_DONE ? corrupt(c, "it has no head", err) : sql_error(c, code, err);
    }
    (void)sqlite3_finalize(s); /* repeats what the step told */
    return r;
}

static int read_rows(struct loading *l, struct err *err)
{
    struct copy *c = l->copy;
    sqlite3_stmt *s = NULL;
    int code = sqlite3_prepare_v2(c->db, "SELECT what, key, body, proof FROM row NOT INDEXED",
                                  -1, &s, NULL);
    int r = 0;

    if (!code)
        code = sqlite3_step(s);
    while (!r && code == SQLITE_ROW) {
        r = take_row(l, sqlite3_column_int(s, 0), column(s, 1), column(s, 2), column(s, 3),
                     err);
        if (!r)
            code = sqlite3_step(s);
    }
    (void)sqlite3_finalize(s); /* repeats what the step told */
    if (r)
        return r;
    return code == SQLITE_DONE ? 0 : sql_error(c, code, err);
}

/* The pages, and that the index leads to every row: later transactions find rows by it. */
static int check_pages(struct copy *c, struct err *err)
{
    char text[256];
    int r = query_text(c, "PRAGMA integrity_check(1)", text, sizeof(text), err);

    if (r)
        return r;
    return strcmp(text, "ok") == 0 ? 0 : err_set(err, ERR_CORRUPT, "%s: %s", c->path, text);
}

static int prove(const struct loading *l, struct err *err)
{
    const struct copy_head *h = &l->copy->head;

    if (l->n_rows != h->n_rows || !digest_eq(l->rows, h->rows))
        return corrupt(l->copy, "its rows are not those that its head speaks of", err);
    if (l->content->n_items != h->cursor.count || !digest_eq(l->digest, h->cursor.digest))
        return corrupt(l->copy, "its items are not those of its cursor", err);
    return 0;
}

static int load(struct copy *c, struct copy_content *content, struct err *err)
{
    struct loading l = {
        .copy = c, .content = content, .rows = DIGEST_NULL, .digest = DIGEST_NULL};
    bool is_empty = false;
    int r = connect_file(c, &is_empty, err);

    if (!r && is_empty)
        return make_schema(c, err);
    if (!r)
        r = check_pages(c, err);
    if (!r)
        r = read_head(c, err);
    if (!r)
        r = read_rows(&l, err);
    if (!r)
        r = prove(&l, err);
    if (r)
        return r;
    memcpy(content->instance, c->head.instance, sizeof(content->instance));
    content->subscription = c->head.subscription;
    content->cursor = c->head.cursor;
    content->applied = c->head.applied;
    return 0;
}

int copy_load(struct copy *c, struct copy_content *ret_content, struct err *err)
{
    int r;

    *ret_content = (struct copy_content){.instance = ""};
    if (c->db)
        disconnect(c);
    r = load(c, ret_content, err);
    if (!r)
        return 0;
    if (err && !err->code)
        (void)err_set(err, r, "out of memory");
    copy_content_deinit(ret_content);
    disconnect(c);
    return r;
}

/* ---- setting aside ---- */

static void aside_name(const struct copy *c, unsigned n, const char *end_text,
                       char out[COPY_PATH_MAX])
{
    (void)snprintf(out, COPY_PATH_MAX, "%.*s.broken-%u%s", COPY_PATH_MAX - 64, c->path, n,
                   end_text);
}

int copy_set_aside(struct copy *c, char *ret_path, struct err *err)
{
    char name[COPY_PATH_MAX], wal[COPY_PATH_MAX + 8];
    unsigned last = 0;

    if (c->db)
        disconnect(c);
    for (unsigned n = 1; n < 1000;
         n++) { /* they are numbered on and on; the newest is the highest */
        aside_name(c, n, "", name);
        if (access(name, F_OK) == 0)
            last = n;
    }
    for (unsigned n = 1; n + COPY_ASIDE_MAX <= last + 1; n++) {
        aside_name(c, n, "", name);
        (void)unlink(name); /* most are gone already */
        aside_name(c, n, "-wal", name);
        (void)unlink(name);
    }
    (void)snprintf(wal, sizeof(wal), "%s-wal", c->path);
    aside_name(c, last + 1, "-wal", name);
    if (rename(wal, name) && errno != ENOENT)
        return err_set_errno(err, "cannot set %s aside", wal);
    aside_name(c, last + 1, "", ret_path);
    if (rename(c->path, ret_path))
        return err_set_errno(err, "cannot set %s aside", c->path);
    return file_sync_parent(c->path, err);
}

/* ---- whose it is ---- */

static bool is_wanted(const struct copy_subscription *s, struct str scope)
{
    for (size_t i = 0; i < s->n_scopes; i++)
        if (str_eq(s->scopes[i], scope))
            return true;
    return str_eq(scope, SCOPE_REFERRED); /* the server tells what of it is still needed */
}

static int delete_named(struct copy *c, enum copy_what what, struct str scope, struct str tail,
                        struct err *err)
{
    owned(buf) struct buf key = BUF_NULL(KEY_BYTES_MAX);

    copy_key_put(scope, tail, &key);
    return buf_status(&key) ? buf_status(&key) : row_delete(c, what, buf_str(&key), err);
}

/* Rows of scopes that are gone, and what they add to the digest. */
static int drop_unwanted(struct copy *c, const struct copy_subscription *s,
                         const struct copy_content *content, struct err *err)
{
    int r = 0;

    for (size_t i = 0; i < content->n_items && !r; i++) {
        const struct sync_change *item = &content->items[i];

        if (is_wanted(s, item->scope))
            continue;
        r = delete_named(c, COPY_ITEM, item->scope, item->key, err);
        c->head.cursor.count--;
        c->head.cursor.digest = digest_sub(c->head.cursor.digest,
                                           binding_digest(item->scope, &item->item->item_hash));
    }
    for (size_t i = 0; i < content->n_held && !r; i++)
        if (!is_wanted(s, content->held[i].scope))
            r = delete_named(c, COPY_HELD, content->held[i].scope, content->held[i].key, err);
    for (size_t i = 0; i < content->n_served && !r; i++)
        if (!is_wanted(s, content->served[i].scope))
            r = delete_named(c, COPY_SERVED, content->served[i].scope, content->served[i].key,
                             err);
    return r;
}

/* The same in memory, once it is durable. */
static void content_drop_unwanted(const struct copy_subscription *s,
                                  struct copy_content *content)
{
    size_t kept = 0;

    for (size_t i = 0; i < content->n_items; i++) {
        if (is_wanted(s, content->items[i].scope))
            content->items[kept++] = content->items[i];
        else
            (void)version_unref(content->items[i].item);
    }
    content->n_items = kept;
    kept = 0;
    for (size_t i = 0; i < content->n_held; i++) {
        if (is_wanted(s, content->held[i].scope))
            content->held[kept++] = content->held[i];
        else
            (void)version_unref(content->held[i].item);
    }
    content->n_held = kept;
    kept = 0;
    for (size_t i = 0; i < content->n_served; i++) {
        if (is_wanted(s, content->served[i].scope))
            content->served[kept++] = content->served[i];
        else
            (void)version_unref(content->served[i].served);
    }
    content->n_served = kept;
}

int copy_subscribe(struct copy *c, const struct copy_subscription *s,
                   struct copy_content *content, struct err *err)
{
    struct copy_head before = c->head;
    int r;

    if (strcmp(c->head.instance, s->instance) == 0 &&
        sha256_eq(&c->head.subscription, &s->hash))
        return 0;
    r = run_plain(c, SQL_BEGIN, err);
    if (r)
        return r;
    r = drop_unwanted(c, s, content, err);
    (void)snprintf(c->head.instance, sizeof(c->head.instance), "%s", s->instance);
    c->head.subscription = s->hash;
    c->head.cursor.revision = 0;
    r = end(c, r, &before, err);
    if (r)
        return r;
    content_drop_unwanted(s, content);
    memcpy(content->instance, c->head.instance, sizeof(content->instance));
    content->subscription = s->hash;
    content->cursor = c->head.cursor;
    return 0;
}

/* ---- storing ---- */

/* The body of the item that is held under a name; nothing when none is. */
static int held_item(struct copy *c, struct str key, struct buf *out, struct err *err)
{
    owned(buf) struct buf body = BUF_NULL(BODY_BYTES_MAX);
    struct sync_held held;
    struct digest proof;
    bool found;
    int r = row_get(c, COPY_HELD, key, &proof, &body, &found, err);

    if (r || !found)
        return r;
    r = copy_held_decode(buf_str(&body), &held, err);
    if (r)
        return r;
    copy_item_encode(held.item, out);
    (void)version_unref(held.item);
    return buf_status(out);
}

/* (C4) Notes what was served before, unless an earlier batch that was not applied either has done so. */
static int keep_served(struct copy *c, struct str key, uint64_t batch, struct err *err)
{
    owned(buf) struct buf old = BUF_NULL(BODY_BYTES_MAX), body = BUF_NULL(BODY_BYTES_MAX);
    struct copy_served served = {.batch = batch};
    struct digest proof;
    bool found;
    int r = row_get(c, COPY_SERVED, key, &proof, NULL, &found, err);

    if (r || found)
        return r;
    r = row_get(c, COPY_ITEM, key, &proof, &old, &found, err);
    if (!r && !found)
        r = held_item(c, key, &old, err);
    if (r)
        return r;
    copy_served_encode(&served, buf_str(&old), &body);
    return buf_status(&body) ? buf_status(&body)
                             : row_put(c, COPY_SERVED, key, buf_str(&body), err);
}

/* (C5) What is served under the name stays what it is: there is nothing to note of it. */
static int store_held(struct copy *c, const struct sync_held *h, struct err *err)
{
    owned(buf) struct buf key = BUF_NULL(KEY_BYTES_MAX), body = BUF_NULL(BODY_BYTES_MAX);
    int r;

    copy_key_put(h->scope, h->key, &key);
    copy_held_encode(h, &body);
    r = buf_status(&key) ? buf_status(&key) : buf_status(&body);
    if (!r)
        r = row_delete(c, COPY_ITEM, buf_str(&key), err);
    return r ? r : row_put(c, COPY_HELD, buf_str(&key), buf_str(&body), err);
}

static int store_change(struct copy *c, const struct sync_change *change, uint64_t batch,
                        struct err *err)
{
    owned(buf) struct buf key = BUF_NULL(KEY_BYTES_MAX), body = BUF_NULL(BODY_BYTES_MAX);
    bool is_put = change->item && !change->is_held;
    int r;

    copy_key_put(change->scope, change->key, &key);
    if (is_put)
        copy_item_encode(change->item, &body);
    r = buf_status(&key) ? buf_status(&key) : buf_status(&body);
    if (!r &&
        c->head.applied) /* before the first time nothing was served: nothing is to be noted */
        r = keep_served(c, buf_str(&key), batch, err);
    if (r)
        return r;
    r = is_put ? row_put(c, COPY_ITEM, buf_str(&key), buf_str(&body), err)
               : row_delete(c, COPY_ITEM, buf_str(&key), err);
    if (r)
        return r;
    if (change->is_held)
        return store_held(
            c, &(struct sync_held){change->scope, change->key, change->item, batch, true}, err);
    return row_delete(c, COPY_HELD, buf_str(&key), err);
}

int copy_store(struct copy *c, const struct sync_batch *batch, struct err *err)
{
    struct copy_head before = c->head;
    int r = run_plain(c, SQL_BEGIN, err);

    if (r)
        return r;
    for (size_t i = 0; i < batch->n && !r; i++)
        r = store_change(c, &batch->changes[i], batch->cursor.revision, err);
    for (size_t i = 0; i < batch->n_held && !r; i++)
        r = store_held(c, &batch->held[i], err);
    c->head.cursor = batch->cursor;
    return end(c, r, &before, err);
}

void copy_moved(struct copy *c, const struct sync_cursor *cursor)
{
    if (!digest_eq(c->head.cursor.digest, cursor->digest) ||
        c->head.cursor.count != cursor->count)
        return; /* a cursor of something that is not stored */
    c->is_dirty |= c->head.cursor.revision != cursor->revision;
    c->head.cursor = *cursor;
}

int copy_flush(struct copy *c, struct err *err)
{
    struct copy_head before = c->head;
    int r;

    if (!c->is_dirty)
        return 0;
    r = run_plain(c, SQL_BEGIN, err);
    return r ? r : end(c, 0, &before, err);
}

/* ---- what became of applying ---- */

static int forget_served(struct copy *c, struct err *err)
{
    owned(arena) struct arena a = ARENA_NULL;
    VEC(struct str) keys = {0};
    sqlite3_stmt *s = statement(c, SQL_KEYS);
    int code = sqlite3_extended_errcode(c->db), r = 0;

    if (!s)
        return sql_error(c, code, err);
    (void)sqlite3_bind_int(s, 1, COPY_SERVED); /* always OK */
    while ((code = sqlite3_step(s)) == SQLITE_ROW)
        if (!VEC_PUSH(&keys, arena_str(&a, column(s, 0))))
            r = ERR_NOMEM;
    (void)sqlite3_reset(s); /* repeats what the step told */
    if (code != SQLITE_DONE)
        r = sql_error(c, code, err);
    if (arena_failed(&a))
        r = ERR_NOMEM;
    for (size_t i = 0; i < keys.n && !r; i++)
        r = row_delete(c, COPY_SERVED, keys.at[i], err);
    VEC_DEINIT(&keys);
    return r;
}

static int put_served(struct copy *c, const struct copy_served *s, struct err *err)
{
    owned(buf) struct buf key = BUF_NULL(KEY_BYTES_MAX);
    owned(buf) struct buf item = BUF_NULL(BODY_BYTES_MAX), body = BUF_NULL(BODY_BYTES_MAX);

    copy_key_put(s->scope, s->key, &key);
    if (s->served)
        copy_item_encode(s->served, &item);
    copy_served_encode(s, buf_str(&item), &body);
    if (buf_status(&key) || buf_status(&item) || buf_status(&body))
        return ERR_NOMEM;
    return row_put(c, COPY_SERVED, buf_str(&key), buf_str(&body), err);
}

static int put_file(struct copy *c, const struct copy_file *f, struct err *err)
{
    owned(buf) struct buf key = BUF_NULL(KEY_BYTES_MAX);
    unsigned char body[SHA256_BYTES + FILE_ATTR_BYTES];
    const uint32_t fields[] = {f->mode, f->owner, f->group};

    copy_key_put(f->sink, f->path, &key);
    if (buf_status(&key))
        return buf_status(&key);
    if (f->is_gone)
        return row_delete(c, COPY_FILE, buf_str(&key), err);
    memcpy(body, f->hash.bytes, SHA256_BYTES);
    for (size_t i = 0; i < FILE_ATTR_BYTES; i++)
        body[SHA256_BYTES + i] = (unsigned char)(fields[i / 4] >> (24 - i % 4 * 8));
    return row_put(c, COPY_FILE, buf_str(&key),
                   str_of(body, f->has_attr ? sizeof(body) : SHA256_BYTES), err);
}

int copy_update(struct copy *c, const struct copy_update *u, struct err *err)
{
    struct copy_head before = c->head;
    int r = run_plain(c, SQL_BEGIN, err);

    if (r)
        return r;
    if (u->has_served)
        r = forget_served(c, err);
    for (size_t i = 0; i < u->n_served && !r; i++)
        r = put_served(c, &u->served[i], err);
    for (size_t i = 0; i < u->n_files && !r; i++)
        r = put_file(c, &u->files[i], err);
    if (u->applied)
        c->head.applied = u->applied;
    return end(c, r, &before, err);
}

/* ---- identity ---- */

int copy_new_instance(char out[COPY_UUID_BYTES])
{
    unsigned char bytes[16];
    char hex[33];

    if (random_bytes(bytes, sizeof(bytes)))
        return ERR_IO;
    bytes[6] = (unsigned char)((bytes[6] & 0x0f) | 0x40); /* version 4 */
    bytes[8] = (unsigned char)((bytes[8] & 0x3f) | 0x80);
    hex_encode(bytes, sizeof(bytes), hex);
    (void)snprintf(out, COPY_UUID_BYTES, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
                   hex + 16, hex + 20);
    return 0;
}
