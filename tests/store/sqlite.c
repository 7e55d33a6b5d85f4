/*
 * What only the engine "sqlite:" has: a file with a mode, a lock, a schema, backups, bits that can turn, and
 * a process that can be killed.
 */
#include "kit.h"
#include "tap.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "store/files.h"

#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *url_of(const char *name, char out[300])
{
    (void)snprintf(out, 300, "sqlite:%s/%s", tap_tmpdir(), name);
    return out;
}

static const char *path_of(const char *url)
{
    return strchr(url, ':') + 1;
}

static int open_at(const char *url, struct store **ret_store, struct err *err)
{
    struct store_opts opts = {.semantics = 1, .retain = 4};

    return store_open(url, &opts, ret_store, err);
}

static int execute(const char *url, const char *sql)
{
    sqlite3 *connection = NULL;
    int code = sqlite3_open(path_of(url), &connection);

    if (!code)
        code = sqlite3_exec(connection, sql, NULL, NULL, NULL);
    (void)sqlite3_close(connection); /* the result of the statement counts */
    return code;
}

TEST("the file and its log have mode 0600")
{
    owned(store_drop) struct store *s = NULL;
    char url[300], wal[300];
    struct stat st;

    REQUIRE(open_at(url_of("s.db", url), &s, NULL) == 0 && kit_append(s, 1, NULL) == 0);
    REQUIRE(stat(path_of(url), &st) == 0);
    CHECK_U64(st.st_mode & 0777, 0600);
    (void)snprintf(wal, sizeof(wal), "%s-wal", path_of(url));
    REQUIRE(stat(wal, &st) == 0);
    CHECK_U64(st.st_mode & 0777, 0600);
}

TEST("a second opening is refused with a story, and does not disturb the first")
{
    owned(store_drop) struct store *s = NULL;
    struct store *second = NULL;
    struct err err = ERR_NULL;
    char url[300];
    int status = 0;
    pid_t pid;

    REQUIRE(open_at(url_of("s.db", url), &s, NULL) == 0);
    CHECK_I64(open_at(url, &second, &err), ERR_LOCKED);
    CHECK(strstr(err.text, "another process") != NULL);
    pid = fork();
    if (pid == 0)
        _exit(open_at(url, &second, NULL) == ERR_LOCKED ? 0 : 1);
    REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECK_I64(status, 0);
    CHECK_I64(kit_append(s, 3, NULL), 0);
    s = store_drop(s);
    CHECK_I64(open_at(url, &s, &err), 0);
}

TEST(
    "a newer schema, another database and a file that is none are refused, each with its story")
{
    owned(store_drop) struct store *s = NULL;
    struct err err = ERR_NULL;
    char url[300], other[300], text[300];

    REQUIRE(open_at(url_of("s.db", url), &s, &err) == 0);
    s = store_drop(s);
    REQUIRE(execute(url, "PRAGMA user_version = 99") == SQLITE_OK);
    CHECK_I64(open_at(url, &s, &err), ERR_UNSUPPORTED);
    CHECK(strstr(err.text, "99") != NULL && err.hint[0]);
    REQUIRE(execute(url_of("other.db", other), "CREATE TABLE t(x)") == SQLITE_OK);
    CHECK_I64(open_at(other, &s, &err), ERR_INVALID);
    (void)url_of("text.db", text);
    REQUIRE(file_replace(path_of(text), STR("this is a text of some length, not a database"),
                         0600, NULL) == 0);
    CHECK_I64(open_at(text, &s, &err), ERR_CORRUPT);
    CHECK_I64(open_at("sqlite:/no/such/folder/s.db", &s, &err), ERR_IO);
    CHECK(strstr(err.text, "/no/such/folder/s.db") != NULL);
}

/* Appends a record with one content. */
static int append_content(struct store *s, const char *envelope, const char *text)
{
    struct hashed content = {sha256_of(str_c(text)), str_c(text)};
    struct store_record record = {
        .bytes = str_c(envelope), .contents = &content, .n_contents = 1};
    struct store_append op = {
        .records = &record, .n = 1, .expected_head = store_head(s).revision};
    struct store_appended done;

    return store_append(s, &op, &done, NULL);
}

TEST("I2 R3: a record that was altered in the file is noticed, named, and never given")
{
    owned(store_drop) struct store *s = NULL;
    owned(mem) struct gather *g = NEW(struct gather);
    struct err err = ERR_NULL;
    char url[300];

    REQUIRE(g && open_at(url_of("s.db", url), &s, NULL) == 0);
    for (int i = 0; i < 20; i++)
        REQUIRE(kit_append(s, 10, NULL) == 0);
    s = store_drop(s);
    REQUIRE(execute(url, "UPDATE log SET bytes = CAST('x' AS BLOB) WHERE revision = 100") == 0);
    REQUIRE(open_at(url, &s, &err) == 0); /* the newest are whole */
    CHECK_I64(store_verify(s, &err), ERR_CORRUPT);
    CHECK(strstr(err.text, "100") != NULL);
    CHECK_I64(store_read(s, 99, 99, gather_record, g, NULL), 0);
    CHECK_I64(store_read(s, 100, 100, gather_record, g, &err), ERR_CORRUPT);
    CHECK(strstr(err.text, "100") != NULL);
    CHECK_I64(store_read(s, 102, 102, gather_record, g, NULL), 0);
    CHECK(g->n == 2 && !g->altered);
    s = store_drop(s);
    REQUIRE(execute(url, "DELETE FROM log WHERE revision = 190") == 0);
    CHECK_I64(open_at(url, &s, &err), ERR_CORRUPT);
}

TEST("I2 R3: request ids, contents and their lists are covered; each damage names its record")
{
    static const char *const damages[] = {
        "UPDATE log SET request = CAST('other' AS BLOB) WHERE revision = 2",
        ("UPDATE log SET contents = substr(contents, 1, length(contents) - 1) || x'00' WHERE "
         "revision = 2"),
        "UPDATE log SET contents = substr(contents, 1, length(contents) - 1) WHERE revision = 2",
        "UPDATE log SET contents = x'00000000' WHERE revision = 2",
        "UPDATE log SET contents = x'00' WHERE revision = 2",
        "UPDATE log SET contents = NULL WHERE revision = 2",
        "UPDATE log SET contents = x'01' || substr(contents, 2) WHERE revision = 2",
    };

    for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
        owned(store_drop) struct store *s = NULL;
        owned(mem) struct gather *g = NEW(struct gather);
        struct err err = ERR_NULL;
        char url[300], name[32];

        (void)snprintf(name, sizeof(name), "damage-%zu.db", i);
        REQUIRE(g && open_at(url_of(name, url), &s, NULL) == 0);
        for (int j = 0; j < 3; j++)
            REQUIRE(append_content(s, "envelope", "a content") == 0);
        for (int j = 0; j < 64; j++)
            REQUIRE(kit_append(s, 1, NULL) == 0);
        s = store_drop(s);
        REQUIRE(execute(url, damages[i]) == SQLITE_OK);
        REQUIRE(open_at(url, &s, NULL) == 0);
        if (!CHECK_I64(store_read(s, 2, 2, gather_record, g, &err), ERR_CORRUPT) ||
            !CHECK(strstr(err.text, "record 2") != NULL))
            tap_note("%s: %s", damages[i], err.text);
        CHECK_U64(g->n, 0);
        CHECK_I64(store_check(s, NULL), ERR_CORRUPT);
    }
}

struct purged {
    bool is_purged, is_other_there;
};

static int look_for_purged(void *ctx, const struct store_entry *entry)
{
    struct purged *p = ctx;

    p->is_purged = entry->n_contents == 2 && !entry->contents[0].bytes.data;
    p->is_other_there =
        entry->n_contents == 2 && str_eq(entry->contents[1].bytes, STR("stays"));
    return 0;
}

TEST("I2: a content that is purged from its row breaks no chain, and reads as its hash")
{
    owned(store_drop) struct store *s = NULL;
    struct hashed contents[] = {{sha256_of(STR("secret")), STR("secret")},
                                {sha256_of(STR("stays")), STR("stays")}};
    struct store_record record = {
        .bytes = STR("envelope"), .contents = contents, .n_contents = 2};
    struct store_append op = {.records = &record, .n = 1};
    struct store_appended done;
    struct purged seen = {false};
    char url[300];

    REQUIRE(open_at(url_of("s.db", url), &s, NULL) == 0);
    REQUIRE(store_append(s, &op, &done, NULL) == 0 && kit_append(s, 3, NULL) == 0);
    s = store_drop(s);
    /* 4 bytes and two of 40, then the bits, then the bytes of both */
    REQUIRE(execute(url, "UPDATE log SET contents = substr(contents, 1, 84) || x'01' ||"
                         " CAST('stays' AS BLOB) WHERE revision = 1") == SQLITE_OK);
    REQUIRE(open_at(url, &s, NULL) == 0);
    CHECK_I64(store_check(s, NULL), 0);
    CHECK_I64(store_read(s, 1, 1, look_for_purged, &seen, NULL), 0);
    CHECK(seen.is_purged && seen.is_other_there);
}

/* ---- the format before ---- */

/* What version 1 made: contents inside records, no sums, no key. Its chain is SHA-256(previous, revision, bytes). */
static const char version_1[] =
    "CREATE TABLE meta("
    " one INTEGER PRIMARY KEY CHECK (one = 1), id BLOB NOT NULL, semantics INTEGER NOT NULL,"
    " base_revision INTEGER NOT NULL, base_chain BLOB NOT NULL, blob_epoch INTEGER NOT NULL,"
    " settles INTEGER NOT NULL);"
    "CREATE TABLE log("
    " revision INTEGER PRIMARY KEY, chain BLOB NOT NULL, request BLOB NOT NULL,"
    " bytes BLOB NOT NULL);"
    "CREATE TABLE kept("
    " revision INTEGER PRIMARY KEY, previous BLOB NOT NULL, chain BLOB NOT NULL,"
    " request BLOB NOT NULL, bytes BLOB NOT NULL);"
    "CREATE TABLE snapshot("
    " id INTEGER PRIMARY KEY, revision INTEGER NOT NULL, bytes INTEGER NOT NULL,"
    " chain BLOB NOT NULL, hash BLOB NOT NULL);"
    "CREATE TABLE chunk(id INTEGER PRIMARY KEY, bytes BLOB NOT NULL);"
    "CREATE TABLE blob("
    " hash BLOB PRIMARY KEY NOT NULL, epoch INTEGER NOT NULL, bytes BLOB NOT NULL);"
    "CREATE TABLE lease(id INTEGER PRIMARY KEY AUTOINCREMENT, ttl INTEGER NOT NULL);"
    "CREATE TABLE ephemeral("
    " key BLOB PRIMARY KEY NOT NULL, lease INTEGER NOT NULL, bytes BLOB NOT NULL);"
    "CREATE INDEX ephemeral_lease ON ephemeral(lease);"
    "INSERT INTO meta VALUES (1, CAST('0123456789abcdef' AS BLOB), 1, 0, zeroblob(32), 1, 0);"
    "INSERT INTO lease(ttl) VALUES (1000000000000);"
    "INSERT INTO ephemeral VALUES (CAST('k' AS BLOB), 1, CAST('v' AS BLOB));"
    "PRAGMA application_id = 1416784237;"
    "PRAGMA user_version = 1;";

enum { OLD_RECORDS = 100 };

/* Writes the records of the kit as version 1 did. */
static bool make_version_1(const char *url)
{
    sqlite3 *connection = NULL;
    sqlite3_stmt *insert = NULL;
    struct sha256 chain = {{0}};
    bool ok = sqlite3_open(path_of(url), &connection) == SQLITE_OK &&
              sqlite3_exec(connection, version_1, NULL, NULL, NULL) == SQLITE_OK &&
              sqlite3_prepare_v2(connection, "INSERT INTO log VALUES (?1, ?2, ?3, ?4)", -1,
                                 &insert, NULL) == SQLITE_OK;

    for (uint64_t r = 1; ok && r <= OLD_RECORDS; r++) {
        char text[256], id[32];
        struct str bytes = kit_bytes(r, text), request = kit_request(r, id);
        uint64_t number = __builtin_bswap64(r);
        const struct str parts[] = {
            str_of(chain.bytes, SHA256_BYTES), str_of(&number, sizeof(number)), bytes};

        chain = sha256_of_parts(parts, ARRAY_LEN(parts));
        ok = sqlite3_bind_int64(insert, 1, (sqlite3_int64)r) == SQLITE_OK &&
             sqlite3_bind_blob(insert, 2, chain.bytes, SHA256_BYTES, SQLITE_STATIC) ==
                 SQLITE_OK &&
             sqlite3_bind_blob(insert, 3, request.data, (int)request.len, SQLITE_STATIC) ==
                 SQLITE_OK &&
             sqlite3_bind_blob(insert, 4, bytes.data, (int)bytes.len, SQLITE_STATIC) ==
                 SQLITE_OK &&
             sqlite3_step(insert) == SQLITE_DONE && sqlite3_reset(insert) == SQLITE_OK;
    }
    (void)sqlite3_finalize(insert);
    return sqlite3_close(connection) == SQLITE_OK && ok;
}

static int note_value(void *ctx, const struct store_ephemeral *item)
{
    *(bool *)ctx = str_eq(item->bytes, STR("v"));
    return 0;
}

TEST("I2: a store of version 1 is upgraded: old records verify as they are, new ones follow them")
{
    owned(store_drop) struct store *s = NULL;
    owned(mem) struct gather *g = NEW(struct gather);
    struct store_identity identity, again;
    static const unsigned char no_key[STORE_KEY_BYTES];
    struct err err = ERR_NULL;
    bool has_value = false;
    char url[300];

    REQUIRE(g && make_version_1(url_of("s.db", url)));
    REQUIRE(open_at(url, &s, &err) == 0);
    REQUIRE(store_identity(s, &identity, NULL) == 0);
    CHECK(memcmp(identity.id.bytes, "0123456789abcdef", STORE_ID_BYTES) == 0);
    CHECK(memcmp(identity.key, no_key, sizeof(no_key)) != 0);
    CHECK_U64(store_head(s).revision, OLD_RECORDS);
    CHECK_I64(kit_append(s, 5, NULL), 0);
    CHECK_I64(store_ephemeral_list(s, STR("k"), note_value, &has_value, NULL), 0);
    CHECK(has_value);
    s = store_drop(s);
    REQUIRE(open_at(url, &s, &err) == 0);
    CHECK_I64(store_check(s, &err), 0);
    CHECK_I64(store_read(s, 1, UINT64_MAX, gather_record, g, &err), 0);
    CHECK(gather_is(g, 1, OLD_RECORDS + 5));
    REQUIRE(store_identity(s, &again, NULL) == 0);
    CHECK(memcmp(&identity, &again, sizeof(again)) == 0);
    s = store_drop(s);
    REQUIRE(execute(url, "UPDATE log SET bytes = CAST('x' AS BLOB) WHERE revision = 7") == 0);
    REQUIRE(open_at(url, &s, &err) == 0);
    CHECK_I64(store_check(s, &err), ERR_CORRUPT);
    CHECK(strstr(err.text, "record 7") != NULL);
    /* the way back: a program that knows version 1 reads the number that it refuses */
    s = store_drop(s);
    CHECK_I64(execute(url, "CREATE TEMP TABLE one(x CHECK (x = 4));"
                           "INSERT INTO one SELECT user_version FROM pragma_user_version"),
              SQLITE_OK);
}

TEST("M2: a store of version 2 is upgraded: it is not marked yet, and can be")
{
    const struct store_mark mark = {STR("key"), 128, 20};
    owned(store_drop) struct store *s = NULL;
    struct store_mark found = {.number = 0};
    struct err err = ERR_NULL;
    uint64_t upto = 7;
    char url[300];

    REQUIRE(open_at(url_of("s.db", url), &s, NULL) == 0 && kit_append(s, 30, NULL) == 0);
    REQUIRE(store_mark(s, &mark, 1, 30, NULL) == 0);
    s = store_drop(s);
    REQUIRE(execute(url, "DROP TABLE mark; DROP TABLE marked;"
                         "ALTER TABLE snapshot DROP COLUMN file; PRAGMA user_version = 2") ==
            SQLITE_OK);
    REQUIRE(open_at(url, &s, &err) == 0);
    CHECK_I64(store_marked(s, &upto, &err), 0);
    CHECK_U64(upto, 0);
    CHECK_I64(store_mark_find(s, STR("key"), 1, &found, &err), ERR_NOT_FOUND);
    CHECK_I64(store_mark(s, &mark, 1, 30, &err), 0);
    s = store_drop(s);
    REQUIRE(open_at(url, &s, &err) == 0);
    CHECK_I64(store_mark_find(s, STR("key"), 1, &found, &err), 0);
    CHECK(found.number == 128 && found.revision == 20);
    CHECK_I64(store_check(s, &err), 0);
    s = store_drop(s);
    REQUIRE(execute(url, "UPDATE marked SET revision = 31") == SQLITE_OK);
    REQUIRE(open_at(url, &s, &err) == 0);
    CHECK_I64(store_marked(s, &upto, &err), 0);
    CHECK_U64(upto, 0); /* further than the log: altered */
}

TEST("what the database says of itself, its leases and its items are covered, too")
{
    static const struct {
        const char *sql;
        int opens;
    } damages[] = {
        {"UPDATE meta SET id = CAST('0123456789abcdeg' AS BLOB)", ERR_CORRUPT},
        {"UPDATE meta SET semantics = 0", ERR_CORRUPT},
        {"UPDATE meta SET key = zeroblob(32)", ERR_CORRUPT},
        {"UPDATE meta SET sum = NULL", ERR_CORRUPT},
        {"UPDATE meta SET blob_epoch = 7", ERR_CORRUPT},
        {"PRAGMA user_version = 9", ERR_UNSUPPORTED},
        {"PRAGMA user_version = 0", ERR_CORRUPT},
        {"PRAGMA application_id = 5", ERR_INVALID},
        {"UPDATE lease SET ttl = ttl + 4", 0},
        {"UPDATE ephemeral SET bytes = CAST('w' AS BLOB)", 0},
        {"UPDATE ephemeral SET lease = 2", 0},
        {"UPDATE lease SET id = 2", 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
        const struct store_ephemeral item = {.key = STR("k"), .bytes = STR("v")};
        owned(store_drop) struct store *s = NULL;
        uint64_t lease = 0;
        char url[300], name[32];
        int r;

        (void)snprintf(name, sizeof(name), "damage-%zu.db", i);
        REQUIRE(open_at(url_of(name, url), &s, NULL) == 0 && kit_append(s, 3, NULL) == 0);
        REQUIRE(store_lease_grant(s, NSEC_PER_S, 0, &lease, NULL) == 0 &&
                store_ephemeral_put(s, lease, &item, 1, NULL) == 0);
        s = store_drop(s);
        REQUIRE(execute(url, damages[i].sql) == SQLITE_OK);
        r = open_at(url, &s, NULL);
        if (!CHECK_I64(r, damages[i].opens))
            tap_note("%s", damages[i].sql);
        if (r == 0) {
            bool has_value = false;

            CHECK_I64(store_check(s, NULL), ERR_CORRUPT);
            CHECK_I64(store_tick(s, 1, NULL, NULL), 0);
            CHECK_I64(store_ephemeral_list(s, STR("k"), note_value, &has_value, NULL), 0);
            CHECK(store_stats(s).damaged_items > 0 || has_value);
        }
    }
}

/* The file of a snapshot, of a database at url. */
static const char *snapshot_of(const char *url, unsigned id, char out[340])
{
    (void)snprintf(out, 340, "%s-snapshot-%u", path_of(url), id);
    return out;
}

/* Turns a bit of a file, or cuts it there. */
static bool spoil(const char *path, off_t at, bool cuts)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    char byte = 0;
    bool ok = fd >= 0;

    if (ok && cuts)
        ok = ftruncate(fd, at) == 0;
    else if (ok)
        ok = pread(fd, &byte, 1, at) == 1 && pwrite(fd, (byte ^= 4, &byte), 1, at) == 1;
    if (fd >= 0)
        (void)close(fd);
    return ok;
}

static bool newest_is(struct store *s, uint64_t revision, uint32_t passed_over)
{
    struct store_snapshot_info info;
    bool right = false;
    int r = kit_read_snapshot(s, &info, &right, NULL);

    if (!revision)
        return CHECK_I64(r, ERR_NOT_FOUND);
    return CHECK_I64(r, 0) && CHECK(right) && CHECK_U64(info.revision, revision) &&
           CHECK_U64(info.passed_over, passed_over);
}

TEST("S1 C1 B1: altered snapshots and blobs are noticed")
{
    owned(store_drop) struct store *s = NULL;
    owned(shared_unref) struct shared *bytes = NULL;
    struct sha256 hash;
    char url[300], path[340];
    struct stat st;

    REQUIRE(open_at(url_of("s.db", url), &s, NULL) == 0 && kit_append(s, 20, NULL) == 0);
    REQUIRE(kit_snapshot(s, 5, 5000, NULL) == 0 && kit_snapshot(s, 10, 5000, NULL) == 0);
    REQUIRE(kit_blob(s, "a blob", &hash, NULL) == 0);
    s = store_drop(s);
    REQUIRE(stat(snapshot_of(url, 2, path), &st) == 0 && spoil(path, st.st_size / 2, false));
    CHECK_U64(st.st_mode & 0777, 0600);
    REQUIRE(execute(url, "UPDATE blob SET bytes = CAST('b blob' AS BLOB)") == SQLITE_OK);
    REQUIRE(open_at(url, &s, NULL) == 0);
    CHECK(newest_is(s, 5, 1));
    CHECK_I64(store_blob_get(s, &hash, &bytes, NULL), ERR_CORRUPT);
    CHECK_I64(store_check(s, NULL), ERR_CORRUPT);
}

TEST("S1: a snapshot's file that is cut, altered or lengthened anywhere, or missing, is passed "
     "over")
{
    owned(store_drop) struct store *s = NULL;
    struct err err = ERR_NULL;
    char url[300], path[340], other[340];
    struct stat st;

    REQUIRE(open_at(url_of("s.db", url), &s, NULL) == 0 && kit_append(s, 20, NULL) == 0);
    REQUIRE(kit_snapshot(s, 5, 100, NULL) == 0 && kit_snapshot(s, 10, 2500, NULL) == 0);
    REQUIRE(stat(snapshot_of(url, 2, path), &st) == 0);
    for (off_t at = 0; at < st.st_size && !tap_failed(); at += 7) {
        REQUIRE(spoil(path, at, false));
        CHECK(newest_is(s, 5, 1));
        REQUIRE(spoil(path, at, false)); /* as it was */
    }
    CHECK(newest_is(s, 10, 0));
    REQUIRE(spoil(path, st.st_size + 4, true));
    CHECK(newest_is(s, 5, 1));
    for (off_t at = st.st_size - 1; at >= 0 && !tap_failed(); at -= 97) {
        REQUIRE(spoil(path, at, true));
        CHECK(newest_is(s, 5, 1));
    }
    REQUIRE(unlink(path) == 0);
    CHECK(newest_is(s, 5, 1));
    CHECK_I64(store_check(s, &err), ERR_CORRUPT);
    CHECK(strstr(err.text, "missing") != NULL);
    REQUIRE(rename(snapshot_of(url, 1, other), path) == 0);
    CHECK(newest_is(s, 0, 0)); /* another one under its name */
}

static size_t count_snapshots(const char *url)
{
    char pattern[400];
    glob_t found;
    size_t n = 0;

    (void)snprintf(pattern, sizeof(pattern), "%s-snapshot-*", path_of(url));
    if (glob(pattern, 0, NULL, &found) == 0)
        n = found.gl_pathc;
    globfree(&found);
    return n;
}

TEST(
    "tidying and opening remove the files of snapshots that went, and of those never committed")
{
    owned(store_drop) struct store *s = NULL;
    owned(store_drop) struct store *reader = NULL;
    struct store_snapshot *cut = NULL;
    char url[300], path[400];

    REQUIRE(open_at(url_of("s.db", url), &s, NULL) == 0 && kit_append(s, 20, NULL) == 0);
    REQUIRE(store_reader_open(s, &reader, NULL) == 0);
    for (uint64_t i = 1; i <= 6; i++)
        REQUIRE(kit_snapshot(s, i, 5000, NULL) == 0);
    CHECK_U64(count_snapshots(url), 6);
    REQUIRE(store_snapshot_new(s, 7, &cut, NULL) == 0);
    REQUIRE(store_snapshot_add(cut, STR("never committed"), NULL) == 0);
    CHECK_I64(store_tidy(reader, NULL), 0);
    CHECK_U64(count_snapshots(url), 3); /* the newest two, and the one that is being written */
    REQUIRE(store_snapshot_finish(cut, NULL) == 0);
    CHECK_I64(store_tidy(s, NULL), 0);
    CHECK_U64(count_snapshots(url), 3);
    cut = store_snapshot_free(cut);
    CHECK_U64(count_snapshots(url), 2);
    reader = store_drop(reader);
    s = store_drop(s);
    for (int i = 0; i < 4; i++) {
        static const char *const names[] = {"1", "99", "100.part", "notes"};

        (void)snprintf(path, sizeof(path), "%s-snapshot-%s", path_of(url), names[i]);
        REQUIRE(file_replace(path, STR("left by a crash"), 0600, NULL) == 0);
    }
    REQUIRE(open_at(url, &s, NULL) == 0);
    CHECK_U64(count_snapshots(url), 3); /* what is no name of ours is not ours */
    CHECK(newest_is(s, 6, 0));
    CHECK_I64(store_check(s, NULL), 0);
}

/* A disk that loses a byte, and says nothing. */
static int lie_write(void *file, struct str bytes, struct err *err)
{
    char *copy = mem_dup(bytes.data, bytes.len);
    int r;

    if (!copy)
        return ERR_NOMEM;
    if (bytes.len > 100)
        copy[bytes.len / 2] ^= 1;
    r = store_files_system.write(file, str_of(copy, bytes.len), err);
    (void)mem_free(copy);
    return r;
}

TEST("S1: a snapshot that does not come back as it was written is not made official")
{
    struct store_files liar = store_files_system;
    struct store_opts opts = {.semantics = 1, .retain = 4, .files = &liar};
    owned(store_drop) struct store *s = NULL;
    struct err err = ERR_NULL;
    char url[300];

    REQUIRE(store_open(url_of("s.db", url), &opts, &s, NULL) == 0 &&
            kit_append(s, 9, NULL) == 0);
    REQUIRE(kit_snapshot(s, 5, 5000, NULL) == 0);
    liar.write = lie_write;
    CHECK_I64(kit_snapshot(s, 9, 5000, &err), ERR_CORRUPT);
    CHECK(strstr(err.text, "did not come back") != NULL);
    CHECK_U64(count_snapshots(url), 1);
    CHECK(newest_is(s, 5, 0));
    CHECK_I64(store_check(s, NULL), 0);
}

/* ---- copies ---- */

/* Makes a copy by steps of so many bytes; appends a record after each if wanted. */
static int back_up(struct store *s, const char *path, size_t bytes, bool appends,
                   uint64_t *ret_revision)
{
    owned(store_backup_free) struct store_backup *b = NULL;
    int r = store_backup_new(s, path, &b, NULL);

    while (!r && (r = store_backup_step(b, bytes, NULL)) == STORE_MORE)
        r = appends ? kit_append(s, 1, NULL) : 0;
    if (!r)
        *ret_revision = store_backup_revision(b);
    return r;
}

TEST("a backup of a store in use opens as a store with the same content, and takes a new id")
{
    owned(store_drop) struct store *s = NULL;
    owned(store_drop) struct store *copy = NULL;
    struct store_identity a, b;
    struct err err = ERR_NULL;
    char url[300], copy_url[300];
    uint64_t revision = 0;
    struct stat st;

    REQUIRE(open_at(url_of("s.db", url), &s, NULL) == 0 && kit_append(s, 50, NULL) == 0);
    REQUIRE(kit_snapshot(s, 10, 100000, NULL) == 0 && kit_snapshot(s, 20, 3 * MIB, NULL) == 0);
    CHECK_I64(back_up(s, path_of(url_of("copy.db", copy_url)), MIB, false, &revision), 0);
    CHECK_U64(revision, 50);
    CHECK_I64(back_up(s, path_of(copy_url), MIB, false, &revision), ERR_EXISTS);
    CHECK_I64(back_up(s, "/no/such/folder/copy.db", MIB, false, &revision), ERR_IO);
    CHECK_I64(kit_append(s, 1, NULL), 0);
    REQUIRE(stat(path_of(copy_url), &st) == 0);
    CHECK_U64(st.st_mode & 0777, 0600);
    CHECK_U64(count_snapshots(copy_url), 0); /* it is one file */
    REQUIRE(open_at(copy_url, &copy, &err) == 0);
    CHECK_U64(store_head(copy).revision, 50);
    CHECK(newest_is(copy, 20, 0));
    CHECK_I64(store_check(copy, &err), 0);
    CHECK_I64(store_identity_renew(copy, &err), 0);
    REQUIRE(store_identity(s, &a, NULL) == 0 && store_identity(copy, &b, NULL) == 0);
    CHECK(memcmp(&a.id, &b.id, sizeof(a.id)) != 0);
    CHECK(memcmp(a.key, b.key, sizeof(a.key)) == 0);
}

TEST("a backup takes along the snapshots that are whole, and no other")
{
    owned(store_drop) struct store *s = NULL;
    owned(store_drop) struct store *copy = NULL;
    uint64_t revision = 0;
    char url[300], copy_url[300], path[340];

    REQUIRE(open_at(url_of("s.db", url), &s, NULL) == 0 && kit_append(s, 50, NULL) == 0);
    REQUIRE(kit_snapshot(s, 10, 9000, NULL) == 0 && kit_snapshot(s, 20, 9000, NULL) == 0);
    REQUIRE(spoil(snapshot_of(url, 2, path), 5000, false));
    CHECK_I64(back_up(s, path_of(url_of("a.db", copy_url)), 8192, false, &revision), 0);
    REQUIRE(open_at(copy_url, &copy, NULL) == 0);
    CHECK(newest_is(copy, 10, 0));
    CHECK_I64(store_check(copy, NULL), 0);
    copy = store_drop(copy);
    REQUIRE(unlink(snapshot_of(url, 1, path)) == 0);
    CHECK_I64(back_up(s, path_of(url_of("b.db", copy_url)), 8192, false, &revision), 0);
    REQUIRE(open_at(copy_url, &copy, NULL) == 0);
    CHECK(newest_is(copy, 0, 0));
    CHECK_I64(store_check(copy, NULL), 0);
}

TEST("a backup under load has all up to one revision, and its snapshots, whatever becomes of "
     "their files")
{
    owned(store_drop) struct store *s = NULL;
    owned(store_drop) struct store *copy = NULL;
    owned(store_backup_free) struct store_backup *b = NULL;
    owned(mem) struct gather *g = NEW(struct gather);
    uint64_t revision = 0;
    char url[300], copy_url[300];
    int r;

    REQUIRE(g && open_at(url_of("s.db", url), &s, NULL) == 0 && kit_append(s, 100, NULL) == 0);
    REQUIRE(kit_snapshot(s, 50, 300000, NULL) == 0 && kit_snapshot(s, 60, 300000, NULL) == 0);
    CHECK_I64(back_up(s, path_of(url_of("copy.db", copy_url)), 8192, true, &revision), 0);
    CHECK(revision > 100 && revision <= store_head(s).revision);
    REQUIRE(open_at(copy_url, &copy, NULL) == 0);
    CHECK_U64(store_head(copy).revision, revision);
    CHECK_I64(store_check(copy, NULL), 0);
    CHECK_I64(store_read(copy, 1, UINT64_MAX, gather_record, g, NULL), 0);
    CHECK(gather_is(g, 1, revision));
    CHECK(newest_is(copy, 60, 0));
    copy = store_drop(copy);
    /* newer snapshots and a tidying after each step */
    REQUIRE(store_backup_new(s, path_of(url_of("other.db", copy_url)), &b, NULL) == 0);
    while ((r = store_backup_step(b, 16384, NULL)) == STORE_MORE) {
        REQUIRE(kit_append(s, 1, NULL) == 0);
        REQUIRE(kit_snapshot(s, store_head(s).revision, 3000, NULL) == 0);
        REQUIRE(store_tidy(s, NULL) == 0);
    }
    CHECK_I64(r, 0);
    revision = store_backup_revision(b);
    b = store_backup_free(b);
    REQUIRE(open_at(copy_url, &copy, NULL) == 0);
    CHECK_I64(store_check(copy, NULL), 0);
    CHECK(newest_is(copy, revision, 0) || newest_is(copy, revision - 1, 0));
}

TEST("a backup that is given up, or that lacks memory, leaves no file, and the next one succeeds")
{
    owned(store_drop) struct store *s = NULL;
    struct store_backup *b = NULL, *second = NULL;
    uint64_t revision = 0;
    char url[300], copy_url[300];

    REQUIRE(open_at(url_of("s.db", url), &s, NULL) == 0 && kit_append(s, 50, NULL) == 0);
    REQUIRE(kit_snapshot(s, 40, 20000, NULL) == 0);
    (void)url_of("copy.db", copy_url);
    REQUIRE(store_backup_new(s, path_of(copy_url), &b, NULL) == 0);
    CHECK_I64(store_backup_new(s, path_of(url), &second, NULL), ERR_LOCKED);
    CHECK_I64(store_backup_step(b, 4096, NULL), STORE_MORE);
    b = store_backup_free(b);
    CHECK(access(path_of(copy_url), F_OK) != 0);
    ALLOC_SWEEP (n) {
        int r = back_up(s, path_of(copy_url), 8192, false, &revision);

        CHECK(r == 0 || r == ERR_NOMEM);
        CHECK((access(path_of(copy_url), F_OK) == 0) == (r == 0));
        if (r == 0)
            CHECK_I64(unlink(path_of(copy_url)), 0);
    }
    CHECK_I64(kit_append(s, 1, NULL), 0);
}

/* Copies the file alone, as whoever copies the folder of a server that was stopped. */
static bool copy_alone(const char *from, const char *to)
{
    owned(buf) struct buf bytes = BUF_NULL(64 * MIB);

    return file_read(path_of(from), &bytes, NULL) == 0 &&
           file_replace(path_of(to), buf_str(&bytes), 0600, NULL) == 0;
}

TEST("a copy of the file alone takes along the snapshots that lie beside the file")
{
    owned(store_drop) struct store *s = NULL;
    char url[300], copy_url[300];
    struct err err = ERR_NULL;

    REQUIRE(open_at(url_of("s.db", url), &s, NULL) == 0 && kit_append(s, 50, NULL) == 0);
    REQUIRE(kit_snapshot(s, 10, 9000, NULL) == 0 && kit_snapshot(s, 20, 9000, NULL) == 0);
    s = store_drop(s);
    REQUIRE(copy_alone(url, url_of("alone.db", copy_url)));
    REQUIRE(open_at(copy_url, &s, NULL) == 0);
    CHECK(newest_is(s, 0, 0)); /* the log is all that there is */
    s = store_drop(s);
    REQUIRE(copy_alone(url, url_of("copy.db", copy_url)));
    CHECK_I64(store_backup_take_along(path_of(copy_url), path_of(url), &err), 0);
    REQUIRE(open_at(copy_url, &s, NULL) == 0);
    CHECK(newest_is(s, 20, 0));
    CHECK_I64(store_check(s, &err), 0);
    s = store_drop(s);
    CHECK_I64(store_backup_take_along(path_of(copy_url), path_of(url), &err),
              0); /* nothing more */
    REQUIRE(make_version_1(url_of("old.db", copy_url)));
    CHECK_I64(store_backup_take_along(path_of(copy_url), path_of(url), &err), 0);
    REQUIRE(file_replace(path_of(url_of("text.db", copy_url)),
                         STR("this is a text of some length, not a database"), 0600,
                         NULL) == 0);
    CHECK_I64(store_backup_take_along(path_of(copy_url), path_of(url), &err), ERR_CORRUPT);
}

TEST("S1: the snapshots of a store of version 3, which lie in it, are read until newer ones "
     "replace them")
{
    owned(store_drop) struct store *s = NULL;
    uint64_t revision = 0;
    struct err err = ERR_NULL;
    char url[300], old_url[300];

    REQUIRE(open_at(url_of("s.db", url), &s, NULL) == 0 && kit_append(s, 50, NULL) == 0);
    REQUIRE(kit_snapshot(s, 10, 9000, NULL) == 0 && kit_snapshot(s, 20, 90000, NULL) == 0);
    REQUIRE(back_up(s, path_of(url_of("old.db", old_url)), MIB, false, &revision) == 0);
    s = store_drop(s);
    REQUIRE(
        execute(old_url, "ALTER TABLE snapshot DROP COLUMN file; PRAGMA user_version = 3") ==
        SQLITE_OK);
    REQUIRE(open_at(old_url, &s, &err) == 0);
    CHECK(newest_is(s, 20, 0));
    CHECK_I64(store_check(s, &err), 0);
    REQUIRE(kit_snapshot(s, 30, 5000, NULL) == 0);
    CHECK(newest_is(s, 30, 0));
    CHECK_U64(count_snapshots(old_url), 1);
    REQUIRE(kit_snapshot(s, 40, 5000, NULL) == 0);
    for (int i = 0; i < 10; i++)
        CHECK_I64(store_tick(s, 0, NULL, NULL), 0);
    CHECK_I64(store_check(s, &err), 0);
    s = store_drop(s);
    CHECK_I64(execute(old_url, "CREATE TEMP TABLE one(x CHECK (x = 0));"
                               "INSERT INTO one SELECT count(*) FROM chunk"),
              SQLITE_OK);
}

/* 200 records of 1 MiB, with a reader that looks after each, if there is one; then the log is short. */
static void fill_log(struct store *s, const char *url, struct store *reader)
{
    owned(mem) char *large = mem_zalloc(MIB);
    struct store_record record = {.bytes = str_of(large, MIB)};
    struct store_append op = {.records = &record, .n = 1};
    struct store_appended done = {0};
    char wal[300];
    struct stat st;
    uint64_t floor;

    REQUIRE(large);
    for (int i = 0; i < 200; i++) {
        op.expected_head = store_head(s).revision;
        REQUIRE(store_append(s, &op, &done, NULL) == 0);
        if (reader)
            REQUIRE(store_floor(reader, &floor, NULL) == 0);
        if (reader && i % 2)
            store_reader_release(reader);
    }
    CHECK(store_stats(s).checkpoints >= 2);
    (void)snprintf(wal, sizeof(wal), "%s-wal", path_of(url));
    REQUIRE(stat(wal, &st) == 0);
    CHECK(st.st_size < (off_t)(80 * MIB));
    CHECK_I64(store_verify(s, NULL), 0);
}

TEST("the write-ahead log is copied when idle and does not grow without bound")
{
    owned(store_drop) struct store *s = NULL;
    char url[300];

    REQUIRE(open_at(url_of("s.db", url), &s, NULL) == 0);
    fill_log(s, url, NULL);
}

TEST("a reader that lets go now and then does not keep the write-ahead log growing")
{
    owned(store_drop) struct store *s = NULL;
    owned(store_drop) struct store *reader = NULL;
    char url[300];

    REQUIRE(open_at(url_of("s.db", url), &s, NULL) == 0);
    REQUIRE(store_reader_open(s, &reader, NULL) == 0);
    fill_log(s, url, reader);
}

/* ---- another process ---- */

struct child {
    pid_t pid;
    int output;
};

static bool start_writer(const char *url, struct child *child)
{
    char self[300], program[340];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    int ends[2];
    char *slash;

    if (n <= 0 || pipe(ends))
        return false;
    self[n] = '\0';
    slash = strrchr(self, '/');
    *slash = '\0';
    (void)snprintf(program, sizeof(program), "%s/helpers/store_kill_writer", self);
    child->pid = fork();
    if (child->pid == 0) {
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)close(ends[0]);
        (void)close(ends[1]);
        execl(program, program, url, (char *)NULL);
        _exit(127);
    }
    (void)close(ends[1]);
    child->output = ends[0];
    return child->pid > 0;
}

TEST("while a reader and a store are open, another process is refused, and when it has it, "
     "this one is")
{
    owned(store_drop) struct store *s = NULL;
    owned(store_drop) struct store *reader = NULL;
    struct child child = {0};
    uint64_t floor = 0;
    int status = 0;
    char url[300], byte;

    REQUIRE(open_at(url_of("s.db", url), &s, NULL) == 0 && kit_append(s, 3, NULL) == 0);
    REQUIRE(store_reader_open(s, &reader, NULL) == 0);
    CHECK_I64(store_floor(reader, &floor, NULL), 0);
    REQUIRE(start_writer(url, &child) && waitpid(child.pid, &status, 0) == child.pid);
    (void)close(child.output);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    reader = store_drop(reader);
    CHECK_I64(kit_append(s, 1, NULL), 0);
    s = store_drop(s);
    REQUIRE(start_writer(url, &child));
    CHECK_I64(read(child.output, &byte, 1), 1); /* it has it */
    CHECK_I64(open_at(url, &s, NULL), ERR_LOCKED);
    CHECK_I64(kill(child.pid, SIGKILL), 0);
    (void)close(child.output);
    REQUIRE(waitpid(child.pid, &status, 0) == child.pid);
    CHECK_I64(open_at(url, &s, NULL), 0);
}

/* ---- one that is killed ---- */

/* The last whole line that the writer wrote, after it has written this many bytes and was killed. */
static uint64_t kill_writer(struct child *child, size_t bytes)
{
    owned(buf) struct buf text = BUF_NULL(16 * MIB);
    struct str rest, line;
    uint64_t last = 0, value;
    ssize_t n = 1;
    bool killed = false;
    int status;

    while (n > 0) {
        char *at = buf_room(&text, 4096);

        if (!at)
            break;
        n = read(child->output, at, 64);
        if (n > 0)
            buf_added(&text, (size_t)n);
        if (!killed && text.len >= bytes) {
            CHECK_I64(kill(child->pid, SIGKILL), 0);
            killed = true;
        }
    }
    (void)close(child->output);
    CHECK(killed && waitpid(child->pid, &status, 0) == child->pid);
    rest = buf_str(&text);
    while (str_index(rest, '\n') < rest.len && str_next(&rest, '\n', &line))
        if (CHECK(str_u64(line, &value)))
            last = value;
    return last;
}

TEST("D1: of a writer killed 30 times nothing acknowledged is lost, and nothing is half there")
{
    struct rng rng = {.state = 3};
    uint64_t before = 0;
    char url[300];

    (void)url_of("killed.db", url);
    for (int i = 0; i < 30 && !tap_failed(); i++) {
        owned(store_drop) struct store *s = NULL;
        owned(mem) struct gather *g = NEW(struct gather);
        struct child child = {0};
        uint64_t acknowledged, floor = 0;

        REQUIRE(g && start_writer(url, &child));
        acknowledged = kill_writer(&child, 1 + (size_t)rng_below(&rng, 3000));
        REQUIRE(open_at(url, &s, NULL) == 0);
        CHECK(acknowledged > before || acknowledged == 0);
        CHECK(store_head(s).revision >= MAX(acknowledged, before));
        CHECK(store_head(s).revision <= MAX(acknowledged, before) + 40);
        CHECK_I64(store_check(s, NULL), 0);
        REQUIRE(store_floor(s, &floor, NULL) == 0);
        CHECK_I64(store_read(s, floor, UINT64_MAX, gather_record, g, NULL), 0);
        CHECK(!g->altered && g->n == store_head(s).revision + 1 - floor);
        before = store_head(s).revision;
    }
    tap_note("%" PRIu64 " records", before);
    CHECK(before > 1000);
}
