/*
 * The connection of the engine "sqlite:": settings, schema, statements, transactions.
 *
 * Durability rests on three settings: WAL, where a commit is one write and one sync; synchronous=FULL, which
 * makes that sync part of the commit; and the VFS "unix-excl", whose lock keeps every other process away, while it lets a
 * second connection of this one read. (An exclusive locking_mode would keep that one away, too.) A commit
 * that fails at its sync has been written all the same: if the machine stopped now, recovery might find it.
 * So db_end makes another commit at the same place of the log, which overwrites it (db_settle); only when
 * that fails too is the outcome unknown.
 */
#include "store/sqlite_db.h"

#include "base/alloc.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    APPLICATION_ID = 0x5472696d, /* "Trim" */
    SCHEMA_VERSION = 4,
    LOCK_WAIT_MS = 250, /* for a person's look into the file, not for another server */
};

static const char schema[] =
    "CREATE TABLE meta("
    " one INTEGER PRIMARY KEY CHECK (one = 1),"
    " id BLOB NOT NULL,"               /* of the store (I1) */
    " semantics INTEGER NOT NULL,"     /* I3 */
    " base_revision INTEGER NOT NULL," /* the record before the floor */
    " base_chain BLOB NOT NULL,"
    " blob_epoch INTEGER NOT NULL,"
    " settles INTEGER NOT NULL," /* changed to overwrite a failed commit */
    " key BLOB,"
    " sum BLOB);" /* over all but settles */
    /* Large columns come last: reading the others does not touch their overflow pages. contents: see contents.h; NULL
       in a record of the first format. */
    "CREATE TABLE log("
    " revision INTEGER PRIMARY KEY, chain BLOB NOT NULL, request BLOB NOT NULL,"
    " bytes BLOB NOT NULL, contents BLOB);"
    "CREATE TABLE kept("
    " revision INTEGER PRIMARY KEY, previous BLOB NOT NULL, chain BLOB NOT NULL,"
    " request BLOB NOT NULL, bytes BLOB NOT NULL, contents BLOB);"
    "CREATE TABLE mark("
    " key BLOB NOT NULL, number INTEGER NOT NULL, revision INTEGER NOT NULL,"
    " PRIMARY KEY (key, number)) WITHOUT ROWID;"
    "CREATE TABLE marked(one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL);"
    "CREATE TABLE snapshot("
    " id INTEGER PRIMARY KEY, revision INTEGER NOT NULL, bytes INTEGER NOT NULL,"
    " chain BLOB NOT NULL, hash BLOB NOT NULL,"
    " file INTEGER NOT NULL DEFAULT 0);" /* 1: beside the database; 0: its pieces are in chunk */
    "CREATE TABLE chunk(id INTEGER PRIMARY KEY, bytes BLOB NOT NULL);" /* snapshot << 20 | number */
    "CREATE TABLE blob("
    " hash BLOB PRIMARY KEY NOT NULL, epoch INTEGER NOT NULL, bytes BLOB NOT NULL);"
    /* inverse: -1 - ttl, so that a bit that turned shows */
    "CREATE TABLE lease("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, ttl INTEGER NOT NULL, inverse INTEGER);"
    "CREATE TABLE ephemeral("
    " key BLOB PRIMARY KEY NOT NULL, lease INTEGER NOT NULL, bytes BLOB NOT NULL, sum BLOB);"
    "CREATE INDEX ephemeral_lease ON ephemeral(lease);"
    "PRAGMA application_id = 1416784237;"
    "PRAGMA user_version = 4;";

/* What version 2 has and version 1 had not. Rows stay as they are: the columns that they lack read as NULL. */
static const char upgrade_from_1[] = "ALTER TABLE meta ADD COLUMN key BLOB;"
                                     "ALTER TABLE meta ADD COLUMN sum BLOB;"
                                     "ALTER TABLE log ADD COLUMN contents BLOB;"
                                     "ALTER TABLE kept ADD COLUMN contents BLOB;"
                                     "ALTER TABLE lease ADD COLUMN inverse INTEGER;"
                                     "UPDATE lease SET inverse = -1 - ttl;"
                                     "ALTER TABLE ephemeral ADD COLUMN sum BLOB;";

/* Marks are made by and by: up to where that has come is not known yet. */
static const char upgrade_from_2[] =
    "CREATE TABLE mark("
    " key BLOB NOT NULL, number INTEGER NOT NULL, revision INTEGER NOT NULL,"
    " PRIMARY KEY (key, number)) WITHOUT ROWID;"
    "CREATE TABLE marked(one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL);";

/* Snapshots that lie in the database stay there until newer ones replace them. */
static const char upgrade_from_3[] =
    "ALTER TABLE snapshot ADD COLUMN file INTEGER NOT NULL DEFAULT 0;"
    "PRAGMA user_version = 4;";

static const char *const texts[] = {
    [DB_BEGIN] = "BEGIN IMMEDIATE",
    [DB_VIEW] = "BEGIN",
    [DB_COMMIT] = "COMMIT",
    [DB_ROLLBACK] = "ROLLBACK",
    [DB_SETTLE] = "UPDATE meta SET settles = settles + 1",
    [DB_META] = "SELECT id, semantics, base_revision, base_chain, blob_epoch, key, sum FROM meta",
    [DB_SET_META] = "UPDATE meta SET id = ?1, semantics = ?2, base_revision = ?3, base_chain = ?4,"
                    " blob_epoch = ?5, key = ?6, sum = ?7",
    [DB_LOG_LAST] = "SELECT revision, chain FROM log ORDER BY revision DESC LIMIT 1",
    [DB_LOG_INSERT] =
        "INSERT INTO log(revision, chain, request, bytes, contents) VALUES (?1, ?2, ?3, ?4, ?5)",
    [DB_LOG_READ] = "SELECT revision, chain, request, bytes, contents FROM log"
                    " WHERE revision BETWEEN ?1 AND ?2 ORDER BY revision",
    [DB_LOG_REQUESTS] = "SELECT revision, chain, request FROM log"
                        " WHERE revision BETWEEN ?1 AND ?2 ORDER BY revision",
    [DB_LOG_DELETE] = "DELETE FROM log WHERE revision < ?1",
    [DB_KEPT_MOVE] =
        "INSERT INTO kept SELECT revision, ?2, chain, request, bytes, contents FROM log"
        " WHERE revision = ?1",
    [DB_KEPT_READ] = "SELECT revision, chain, request, bytes, contents, previous FROM kept"
                     " WHERE revision BETWEEN ?1 AND ?2 ORDER BY revision",
    [DB_KEPT_DELETE] = "DELETE FROM kept WHERE revision = ?1",
    [DB_MARK_PUT] = "INSERT OR REPLACE INTO mark(key, number, revision) VALUES (?1, ?2, ?3)",
    [DB_MARK_FIND] = "SELECT number, revision FROM mark WHERE key = ?1 AND number >= ?2"
                     " ORDER BY number LIMIT 1",
    [DB_MARKED] = "SELECT revision FROM marked",
    [DB_SET_MARKED] = "INSERT OR REPLACE INTO marked(one, revision) VALUES (1, ?1)",
    [DB_SNAPSHOT_LAST] = "SELECT max(coalesce((SELECT max(id) FROM snapshot), 0),"
                         " coalesce((SELECT max(id) FROM chunk), 0) >> 20)",
    [DB_SNAPSHOT_INSERT] = "INSERT INTO snapshot(id, revision, bytes, chain, hash, file)"
                           " VALUES (?1, ?2, ?3, ?4, ?5, 1)",
    [DB_SNAPSHOT_DELETE] = "DELETE FROM snapshot WHERE id <> ?1 AND id <> ?2",
    [DB_SNAPSHOT_EACH] =
        "SELECT id, revision, bytes, chain, hash FROM snapshot ORDER BY id DESC",
    [DB_SNAPSHOT_PLACE] = "SELECT file FROM snapshot WHERE id = ?1",
    [DB_SNAPSHOT_IN_FILES] =
        "SELECT id, revision, bytes, chain, hash FROM snapshot WHERE file = 1 ORDER BY id",
    [DB_SNAPSHOT_CARRIED] = "UPDATE snapshot SET file = 0 WHERE id = ?1",
    [DB_SNAPSHOT_DROP] = "DELETE FROM snapshot WHERE id = ?1",
    [DB_CHUNK_INSERT] = "INSERT INTO chunk(id, bytes) VALUES (?1, ?2)",
    [DB_CHUNK_READ] =
        "SELECT bytes FROM chunk WHERE id BETWEEN ?1 << 20 AND (?1 << 20) + 1048575"
        " ORDER BY id",
    [DB_CHUNK_SWEEP] = "DELETE FROM chunk WHERE id IN (SELECT id FROM chunk"
                       " WHERE (id >> 20) NOT IN (SELECT id FROM snapshot) LIMIT 16)",
    [DB_CHUNK_DROP] =
        "DELETE FROM chunk WHERE id BETWEEN ?1 << 20 AND (?1 << 20) + 1048575",
    [DB_BLOB_PUT] = "INSERT INTO blob(hash, epoch, bytes) VALUES (?1, ?2, ?3) ON CONFLICT(hash)"
                    " DO UPDATE SET epoch = excluded.epoch WHERE epoch <> excluded.epoch",
    [DB_BLOB_GET] = "SELECT bytes FROM blob WHERE hash = ?1",
    [DB_BLOB_HAS] = "SELECT 1 FROM blob WHERE hash = ?1",
    [DB_BLOB_EACH] = "SELECT hash, epoch FROM blob",
    [DB_BLOB_DELETE] = "DELETE FROM blob WHERE hash = ?1",
    [DB_LEASE_INSERT] = "INSERT INTO lease(ttl, inverse) VALUES (?1, -1 - ?1)",
    [DB_LEASE_EACH] = "SELECT id, ttl, inverse FROM lease ORDER BY id",
    [DB_LEASE_DELETE] = "DELETE FROM lease WHERE id = ?1",
    [DB_EPHEMERAL_PUT] = "INSERT INTO ephemeral(key, lease, bytes, sum) VALUES (?1, ?2, ?3, ?4)"
                         " ON CONFLICT(key) DO UPDATE SET lease = excluded.lease,"
                         " bytes = excluded.bytes, sum = excluded.sum",
    [DB_EPHEMERAL_DELETE] = "DELETE FROM ephemeral WHERE key = ?1",
    [DB_EPHEMERAL_LIST] =
        "SELECT key, lease, bytes, sum FROM ephemeral WHERE key >= ?1 ORDER BY key",
    [DB_EPHEMERAL_OF_LEASE] = "SELECT key FROM ephemeral WHERE lease = ?1 ORDER BY key",
    [DB_EPHEMERAL_END] = "DELETE FROM ephemeral WHERE lease = ?1",
    [DB_EPHEMERAL_ORPHANS] = "SELECT key FROM ephemeral WHERE lease NOT IN (SELECT id FROM lease)",
    [DB_INTEGRITY] = "PRAGMA integrity_check(8)",
};

/* ---- failures ---- */

static int code_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_NOMEM: return ERR_NOMEM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return ERR_LOCKED;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return ERR_CORRUPT;
    case SQLITE_TOOBIG: return ERR_LIMIT;
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
    case SQLITE_CONSTRAINT: return ERR_BUG;
    default: return ERR_IO;
    }
}

int db_error(struct db *db, int code, struct err *err)
{
    int r = code_of(code);

    db->last_failure = code;
    if (r == ERR_LOCKED) {
        r = err_set(err, r, "%s is open in another process", db->path);
        err_hint(err, "one server at a time can use a file; use etcd for several servers");
    } else if ((code & 0xff) == SQLITE_FULL) {
        r = err_set(err, r, "the disk that holds %s is full", db->path);
        err_hint(err, "free some space; the store then goes on by itself");
    } else {
        r = err_set(err, r, "%s: %s (SQLite %d)", db->path, sqlite3_errstr(code), code);
    }
    return r;
}

/* ---- queries ---- */

struct query query_begin(struct db *db, enum db_sql sql)
{
    struct query q = {.db = db};

    if (!db->statements[sql])
        q.failed = sqlite3_prepare_v3(db->connection, texts[sql], -1, SQLITE_PREPARE_PERSISTENT,
                                      &db->statements[sql], NULL);
    q.statement = db->statements[sql];
    return q;
}

void query_again(struct query *q)
{
    if (q->statement)
        (void)sqlite3_reset(q->statement); /* repeats the failure that query_step has told */
    q->bound = 0;
}

void query_cleanup(struct query *q)
{
    query_again(q);
    if (q->statement)
        (void)sqlite3_clear_bindings(q->statement); /* always OK; the bytes were borrowed */
}

static void remember(struct query *q, int code)
{
    if (!q->failed)
        q->failed = code;
}

void query_u64(struct query *q, uint64_t value)
{
    q->bound++;
    if (!q->failed)
        remember(q, sqlite3_bind_int64(q->statement, q->bound, (sqlite3_int64)value));
}

void query_str(struct query *q, struct str bytes)
{
    q->bound++;
    if (!q->failed) /* a null pointer would bind NULL */
        remember(q, sqlite3_bind_blob64(q->statement, q->bound, bytes.data ? bytes.data : "",
                                        bytes.len, SQLITE_STATIC));
}

void query_hash(struct query *q, const struct sha256 *hash)
{
    query_str(q, str_of(hash->bytes, SHA256_BYTES));
}

int query_step(struct query *q, struct err *err)
{
    int code = q->failed ? q->failed : sqlite3_step(q->statement);

    if (code == SQLITE_ROW)
        return QUERY_ROW;
    if (code == SQLITE_DONE)
        return 0;
    q->failed = code;
    return db_error(q->db, code, err);
}

int query_run(struct query *q, struct err *err)
{
    int r = query_step(q, err);

    return r == QUERY_ROW ? err_set(err, ERR_BUG, "a statement had a row too many") : r;
}

uint64_t row_u64(const struct query *q, int column)
{
    return (uint64_t)sqlite3_column_int64(q->statement, column);
}

struct str row_str(const struct query *q, int column)
{
    const void *data = sqlite3_column_blob(q->statement, column); /* before its length */

    return str_of(data, (size_t)sqlite3_column_bytes(q->statement, column));
}

int row_hash(const struct query *q, int column, struct sha256 *ret_hash, struct err *err)
{
    struct str bytes = row_str(q, column);

    if (bytes.len != SHA256_BYTES || !bytes.data)
        return err_set(err, ERR_CORRUPT, "%s: a hash has %zu bytes", q->db->path, bytes.len);
    memcpy(ret_hash->bytes, bytes.data, SHA256_BYTES);
    return 0;
}

/* ---- sums ---- */

struct sha256 db_sum(const struct str *parts, size_t n)
{
    enum { PARTS_MAX = 6 };
    struct str all[2 * PARTS_MAX];
    uint64_t lengths[PARTS_MAX];

    ASSERT(n <= PARTS_MAX);
    for (size_t i = 0; i < n; i++) {
        lengths[i] = __builtin_bswap64(parts[i].len);
        all[2 * i] = str_of(&lengths[i], sizeof(lengths[i]));
        all[2 * i + 1] = parts[i];
    }
    return sha256_of_parts(all, 2 * n);
}

bool row_sum_is(const struct query *q, int column, const struct sha256 *sum)
{
    return sqlite3_column_type(q->statement, column) == SQLITE_NULL ||
           str_eq(row_str(q, column), str_of(sum->bytes, DB_SUM_BYTES));
}

static struct sha256 sum_of_meta(const struct db_meta *meta)
{
    const uint64_t numbers[] = {__builtin_bswap64(meta->identity.semantics),
                                __builtin_bswap64(meta->base.revision),
                                __builtin_bswap64(meta->blob_epoch)};
    const struct str parts[] = {str_of(meta->identity.id.bytes, STORE_ID_BYTES),
                                str_of(meta->identity.key, STORE_KEY_BYTES),
                                str_of(meta->base.chain.bytes, SHA256_BYTES),
                                str_of(numbers, sizeof(numbers))};

    return db_sum(parts, ARRAY_LEN(parts));
}

int db_save_meta(struct db *db, const struct db_meta *meta, struct err *err)
{
    owned(query) struct query q = query_begin(db, DB_SET_META);
    struct sha256 sum = sum_of_meta(meta);

    query_str(&q, str_of(meta->identity.id.bytes, STORE_ID_BYTES));
    query_u64(&q, meta->identity.semantics);
    query_u64(&q, meta->base.revision);
    query_hash(&q, &meta->base.chain);
    query_u64(&q, meta->blob_epoch);
    query_str(&q, str_of(meta->identity.key, STORE_KEY_BYTES));
    query_str(&q, str_of(sum.bytes, DB_SUM_BYTES));
    return query_run(&q, err);
}

/* ---- transactions ---- */

static int run(struct db *db, enum db_sql sql, struct err *err)
{
    owned(query) struct query q = query_begin(db, sql);

    return query_run(&q, err);
}

int db_begin(struct db *db, struct err *err)
{
    return run(db, DB_BEGIN, err);
}

static void undo(struct db *db)
{
    /* Most failures have undone the transaction already; and if this fails, the next BEGIN says so. */
    if (!sqlite3_get_autocommit(db->connection))
        (void)run(db, DB_ROLLBACK, NULL);
}

int db_settle(struct db *db, struct err *err)
{
    int r;

    if (!db->doubt)
        return 0;
    r = db_begin(db, err);
    if (!r)
        r = run(db, DB_SETTLE, err);
    if (!r)
        r = run(db, DB_COMMIT, err);
    if (r) {
        undo(db);
        return r;
    }
    return 0;
}

int db_end(struct db *db, int result, struct err *err)
{
    bool full;
    int r;

    if (result) {
        undo(db);
        return result;
    }
    r = run(db, DB_COMMIT, err);
    full = r && (db->last_failure & 0xff) == SQLITE_FULL;
    if (r)
        undo(db);
    if (!r)
        return 0;
    if (full) /* the commit's last page was not written, so it cannot come back */
        return r;
    db->doubt = true;
    if (db_settle(db, NULL) == 0)
        return r;
    return err_set(err, ERR_TIMEOUT,
                   "%s: a commit failed and it is unknown whether it will last", db->path);
}

/* Pages were written and synced; they have overwritten whatever was in doubt. */
static int on_commit(void *ctx, sqlite3 *connection, const char *name, int pages)
{
    struct db *db = ctx;

    (void)connection; /* it is db->connection */
    (void)name;       /* there is one database */
    db->doubt = false;
    db->s->stats.syncs++;
    db->wal_pages = pages;
    db->wal_is_copied = false;
    return SQLITE_OK;
}

void db_checkpoint(struct db *db, int at_least)
{
    int pages = 0, copied = 0;

    if (db->wal_is_copied || db->wal_pages < at_least)
        return;
    db->s->stats.checkpoints++;
    /* A failure loses nothing: the log stays, and the next attempt copies it. */
    if (sqlite3_wal_checkpoint_v2(db->connection, NULL, SQLITE_CHECKPOINT_PASSIVE, &pages,
                                  &copied) == SQLITE_OK)
        db->wal_is_copied = pages == copied;
}

/* ---- opening ---- */

static int execute(struct db *db, const char *sql, struct err *err)
{
    int code = sqlite3_exec(db->connection, sql, NULL, NULL, NULL);

    return code ? db_error(db, code, err) : 0;
}

int db_number(struct db *db, const char *sql, int64_t *ret_number, struct err *err)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(db->connection, sql, -1, &statement, NULL);

    if (!code) {
        code = sqlite3_step(statement);
        *ret_number = code == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    }
    (void)sqlite3_finalize(statement); /* repeats the failure of the step */
    return code == SQLITE_ROW || code == SQLITE_DONE ? 0 : db_error(db, code, err);
}

/*
 * Makes the file with mode 0600, which SQLite then gives to the log beside it too. A file that is there is not
 * opened: closing it again would drop the locks that this process may hold on it.
 */
static int make_file(const char *path, struct err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0 && errno == EEXIST)
        return 0;
    if (fd < 0)
        return err_set_errno(err, "cannot make %s", path);
    (void)close(fd); /* it is empty */
    return file_sync_parent(path, err);
}

/* ---- files that this process has open: their lock keeps others away, but would not a second store in this one ---- */

static pthread_mutex_t claims_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct db_claim *claims;

static bool is_claimed(const struct db_claim *claim)
{
    for (const struct db_claim *c = claims; c; c = c->next)
        if (c->device == claim->device && c->inode == claim->inode)
            return true;
    return false;
}

/* A file that is not there cannot be claimed, nor need be; neither can those of another VFS, which has them itself. */
static int claim(struct db *db, struct err *err)
{
    struct stat st;
    bool is_taken;

    if (db->vfs || stat(db->path, &st))
        return 0;
    db->claim.device = st.st_dev;
    db->claim.inode = st.st_ino;
    (void)pthread_mutex_lock(&claims_mutex); /* an ordinary mutex, not held here */
    is_taken = is_claimed(&db->claim);
    if (!is_taken) {
        db->claim.next = claims;
        claims = &db->claim;
        db->claim.is_held = true;
    }
    (void)pthread_mutex_unlock(&claims_mutex); /* held */
    return is_taken ? db_error(db, SQLITE_BUSY, err) : 0;
}

static void unclaim(struct db *db)
{
    struct db_claim **at = &claims;

    if (!db->claim.is_held)
        return;
    (void)pthread_mutex_lock(&claims_mutex); /* as in claim */
    while (*at != &db->claim)
        at = &(*at)->next;
    *at = db->claim.next;
    db->claim.is_held = false;
    (void)pthread_mutex_unlock(&claims_mutex); /* held */
}

static int connect_with(struct db *db, int flags)
{
    int code = sqlite3_open_v2(db->path, &db->connection,
                               flags | SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX |
                                   SQLITE_OPEN_EXRESCODE,
                               db->vfs ? db->vfs : "unix-excl");

    if (!code)
        (void)sqlite3_busy_timeout(db->connection, LOCK_WAIT_MS); /* always OK */
    return code;
}

static int connect_file(struct db *db, const struct store_opts *opts, struct err *err)
{
    bool may_make = opts->create == STORE_CREATE;
    int code, r = 0;

    if (!db->vfs && may_make)
        r = make_file(db->path, err);
    if (!r)
        r = claim(db, err);
    if (r)
        return r;
    code = connect_with(db, may_make ? SQLITE_OPEN_CREATE : 0);
    if ((code & 0xff) == SQLITE_CANTOPEN && !may_make)
        return err_set(err, ERR_NOT_FOUND, "there is no store %s", db->path);
    return code ? db_error(db, code, err) : 0;
}

static int set_up(struct db *db, struct err *err)
{
    int r = execute(db,
                    "PRAGMA journal_mode = WAL;"
                    "PRAGMA synchronous = FULL;"
                    "PRAGMA journal_size_limit = 67108864;"
                    "PRAGMA cache_size = -2048;"
                    "PRAGMA temp_store = MEMORY;"
                    "PRAGMA trusted_schema = OFF;"
                    "PRAGMA cell_size_check = ON;"
                    "BEGIN IMMEDIATE; COMMIT;",
                    err);

    if (r)
        return r;
    (void)sqlite3_wal_hook(db->connection, on_commit, db); /* also ends automatic checkpoints */
    return 0;
}

static int make_key(struct db_meta *meta, struct err *err)
{
    int r = random_bytes(meta->identity.key, STORE_KEY_BYTES);

    return r ? err_set(err, r, "the system has no random bytes") : 0;
}

static int make_schema(struct db *db, const struct store_opts *opts, struct err *err)
{
    struct db_meta meta = {.identity.semantics = opts->semantics, .blob_epoch = 1};
    int r = random_bytes(meta.identity.id.bytes, STORE_ID_BYTES);

    if (r)
        return err_set(err, r, "the system has no random bytes");
    r = make_key(&meta, err);
    if (!r)
        r = execute(db, schema, err);
    if (!r)
        r = execute(db, "INSERT INTO meta VALUES (1, '', 0, 0, '', 0, 0, NULL, NULL)", err);
    return r ? r : db_save_meta(db, &meta, err);
}

static int not_ours(struct db *db, int64_t version, struct err *err)
{
    int r;

    if (version < 1)
        return err_set(err, ERR_CORRUPT, "%s has schema version %" PRId64 ", which never was",
                       db->path, version);
    r = err_set(err, ERR_UNSUPPORTED,
                "%s has schema version %" PRId64 ", this program knows up to %d", db->path,
                version, SCHEMA_VERSION);
    err_hint(err, "run the newer version of the program, or restore an older backup");
    return r;
}

/* Whether the file is ours and of a version we know; *ret_version 0: it has nothing in it yet. */
static int check_schema(struct db *db, int64_t *ret_version, struct err *err)
{
    int64_t application = 0, version = 0, tables = 0;
    int r = db_number(db, "PRAGMA application_id", &application, err);

    if (!r)
        r = db_number(db, "PRAGMA user_version", &version, err);
    if (!r)
        r = db_number(db, "SELECT count(*) FROM sqlite_schema", &tables, err);
    if (r)
        return r;
    *ret_version = version;
    if (tables == 0 && version == 0)
        return 0;
    if (application != APPLICATION_ID)
        return err_set(err, ERR_INVALID, "%s is an SQLite database, but not a store", db->path);
    return version < 1 || version > SCHEMA_VERSION ? not_ours(db, version, err) : 0;
}

/* What the database says of itself; a store that is being upgraded has no key and no sum yet. */
static int load_meta(struct db *db, bool is_upgrade, struct err *err)
{
    owned(query) struct query q = query_begin(db, DB_META);
    struct db_meta *m = &db->meta;
    int r = query_step(&q, err);
    struct str id, key;
    struct sha256 sum;

    if (r < 0)
        return r;
    if (r != QUERY_ROW)
        return err_set(err, ERR_CORRUPT, "%s has lost what it says of itself", db->path);
    id = row_str(&q, 0);
    key = row_str(&q, 5);
    if (id.len != STORE_ID_BYTES || !id.data)
        return err_set(err, ERR_CORRUPT, "%s: the id has %zu bytes", db->path, id.len);
    memcpy(m->identity.id.bytes, id.data, STORE_ID_BYTES);
    m->identity.semantics = (uint32_t)row_u64(&q, 1);
    m->base.revision = row_u64(&q, 2);
    m->blob_epoch = row_u64(&q, 4);
    r = row_hash(&q, 3, &m->base.chain, err);
    if (r || is_upgrade)
        return r;
    if (key.len == STORE_KEY_BYTES)
        memcpy(m->identity.key, key.data, STORE_KEY_BYTES);
    sum = sum_of_meta(m);
    if (key.len != STORE_KEY_BYTES ||
        !str_eq(row_str(&q, 6), str_of(sum.bytes, DB_SUM_BYTES)))
        return err_set(err, ERR_CORRUPT, "%s: what it says of itself is damaged", db->path);
    return 0;
}

static int upgrade_to_2(struct db *db, struct err *err)
{
    int r = execute(db, upgrade_from_1, err);

    if (!r)
        r = load_meta(db, true, err);
    if (!r)
        r = make_key(&db->meta, err);
    return r ? r : db_save_meta(db, &db->meta, err);
}

/* From one version to the next, in one transaction: a power cut leaves the old version or the new one. */
static int upgrade(struct db *db, int64_t version, struct err *err)
{
    int r = version < 2 ? upgrade_to_2(db, err) : 0;

    if (!r && version < 3)
        r = execute(db, upgrade_from_2, err);
    return r ? r : execute(db, upgrade_from_3, err);
}

static int load_head(struct db *db, struct err *err)
{
    owned(query) struct query last = query_begin(db, DB_LOG_LAST);
    int r = query_step(&last, err);

    if (r < 0)
        return r;
    db->head = db->meta.base;
    if (r == QUERY_ROW) {
        db->head.revision = row_u64(&last, 0);
        r = row_hash(&last, 1, &db->head.chain, err);
        if (r)
            return r;
    }
    return 0;
}

static int load_last_snapshot(struct db *db, struct err *err)
{
    owned(query) struct query snapshots = query_begin(db, DB_SNAPSHOT_LAST);
    int r = query_step(&snapshots, err);

    if (r < 0)
        return r;
    db->last_snapshot = row_u64(&snapshots, 0);
    db->garbage = true; /* a snapshot may have been cut short */
    return 0;
}

int db_open(struct db *db, const struct store_opts *opts, struct err *err)
{
    int64_t version = 0;
    int r = connect_file(db, opts, err);

    if (!r)
        r = set_up(db, err);
    if (!r)
        r = check_schema(db, &version, err);
    if (!r && version < SCHEMA_VERSION) {
        r = db_begin(db, err);
        if (!r)
            r = db_end(db, version ? upgrade(db, version, err) : make_schema(db, opts, err),
                       err);
    }
    if (!r)
        r = load_meta(db, false, err);
    if (!r)
        r = load_head(db, err);
    return r ? r : load_last_snapshot(db, err);
}

int db_open_reader(struct db *db, struct err *err)
{
    int code = connect_with(db, 0);

    return code ? db_error(db, code, err)
                : execute(db,
                          "PRAGMA query_only = ON;"
                          "PRAGMA cache_size = -1024;"
                          "PRAGMA temp_store = MEMORY;"
                          "PRAGMA trusted_schema = OFF;"
                          "PRAGMA cell_size_check = ON;",
                          err);
}

int db_view(struct db *db, struct err *err)
{
    int r;

    if (!db->is_reader || db->has_view)
        return 0;
    r = run(db, DB_VIEW, err);
    if (!r)
        r = load_meta(db, false, err); /* the first look takes the view */
    if (!r)
        r = load_head(db, err);
    if (r)
        undo(db);
    db->has_view = r == 0;
    return r;
}

void db_unview(struct db *db)
{
    if (db->has_view)
        undo(db);
    db->has_view = false;
}

int db_close(struct db *db, struct err *err)
{
    int code;

    for (size_t i = 0; i < ARRAY_LEN(db->statements); i++)
        (void)sqlite3_finalize(db->statements[i]); /* repeats old failures */
    code = sqlite3_close(db->connection);
    db->connection = NULL;
    unclaim(db);
    return code ? db_error(db, code, err) : 0;
}
