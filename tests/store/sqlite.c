/*
 * What only the engine "sqlite:" has: a file with a mode, a lock, a schema, backups, bits that can turn, and
 * a process that can be killed.
 */
#include "kit.h"
#include "tap.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"

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

TEST("I2: a record that was altered in the file is noticed")
{
    owned(store_drop) struct store *s = NULL;
    struct err err = ERR_NULL;
    char url[300];

    REQUIRE(open_at(url_of("s.db", url), &s, NULL) == 0);
    for (int i = 0; i < 20; i++)
        REQUIRE(kit_append(s, 10, NULL) == 0);
    s = store_drop(s);
    REQUIRE(execute(url, "UPDATE log SET bytes = CAST('x' AS BLOB) WHERE revision = 100") == 0);
    REQUIRE(open_at(url, &s, &err) == 0); /* the newest are whole */
    CHECK_I64(store_verify(s, &err), ERR_CORRUPT);
    CHECK(strstr(err.text, "100") != NULL);
    s = store_drop(s);
    REQUIRE(execute(url, "DELETE FROM log WHERE revision = 190") == 0);
    CHECK_I64(open_at(url, &s, &err), ERR_CORRUPT);
}

TEST("S1 C1 B1: altered snapshots, kept records and blobs in the file are noticed")
{
    owned(store_drop) struct store *s = NULL;
    owned(shared_unref) struct shared *bytes = NULL;
    struct store_snapshot_info info;
    struct sha256 hash;
    char url[300];
    bool right = false;

    REQUIRE(open_at(url_of("s.db", url), &s, NULL) == 0 && kit_append(s, 20, NULL) == 0);
    REQUIRE(kit_snapshot(s, 5, 5000, NULL) == 0 && kit_snapshot(s, 10, 5000, NULL) == 0);
    REQUIRE(kit_blob(s, "a blob", &hash, NULL) == 0);
    s = store_drop(s);
    REQUIRE(execute(url, "UPDATE chunk SET bytes = zeroblob(1000) WHERE id = (2 << 20) + 3;"
                         "UPDATE blob SET bytes = CAST('b blob' AS BLOB)") == SQLITE_OK);
    REQUIRE(open_at(url, &s, NULL) == 0);
    CHECK_I64(kit_read_snapshot(s, &info, &right, NULL), 0);
    CHECK(right && info.revision == 5 && info.passed_over == 1);
    CHECK_I64(store_blob_get(s, &hash, &bytes, NULL), ERR_CORRUPT);
    CHECK_I64(store_check(s, NULL), ERR_CORRUPT);
}

TEST("a chunk that is missing makes a snapshot torn")
{
    owned(store_drop) struct store *s = NULL;
    struct store_snapshot_info info;
    char url[300];
    bool right = false;

    REQUIRE(open_at(url_of("s.db", url), &s, NULL) == 0 && kit_append(s, 20, NULL) == 0);
    REQUIRE(kit_snapshot(s, 5, 5000, NULL) == 0);
    s = store_drop(s);
    REQUIRE(execute(url, "DELETE FROM chunk WHERE id = (1 << 20) + 4") == SQLITE_OK);
    REQUIRE(open_at(url, &s, NULL) == 0);
    CHECK_I64(kit_read_snapshot(s, &info, &right, NULL), ERR_NOT_FOUND);
}

TEST("ticks sweep away the chunks of snapshots that went, and of those never committed")
{
    owned(store_drop) struct store *s = NULL;
    struct store_snapshot *cut = NULL;
    char url[300];

    REQUIRE(open_at(url_of("s.db", url), &s, NULL) == 0 && kit_append(s, 20, NULL) == 0);
    for (uint64_t i = 1; i <= 6; i++)
        REQUIRE(kit_snapshot(s, i, 5000, NULL) == 0);
    REQUIRE(store_snapshot_new(s, 7, &cut, NULL) == 0);
    REQUIRE(store_snapshot_add(cut, STR("never committed"), NULL) == 0);
    cut = store_snapshot_free(cut);
    for (int i = 0; i < 4; i++)
        CHECK_I64(store_tick(s, 0, NULL, NULL), 0);
    s = store_drop(s);
    /* two snapshots of five chunks each */
    CHECK_I64(execute(url, "CREATE TEMP TABLE one(x CHECK (x = 10));"
                           "INSERT INTO one SELECT count(*) FROM chunk"),
              SQLITE_OK);
}

TEST("a backup of a store in use opens as a store with the same content, and takes a new id")
{
    owned(store_drop) struct store *s = NULL;
    owned(store_drop) struct store *copy = NULL;
    struct store_identity a, b;
    struct err err = ERR_NULL;
    char url[300], copy_url[300];
    struct stat st;

    REQUIRE(open_at(url_of("s.db", url), &s, NULL) == 0 && kit_append(s, 50, NULL) == 0);
    REQUIRE(kit_snapshot(s, 10, 100000, NULL) == 0);
    CHECK_I64(store_backup(s, path_of(url_of("copy.db", copy_url)), &err), 0);
    CHECK_I64(store_backup(s, path_of(copy_url), &err), ERR_EXISTS);
    CHECK_I64(store_backup(s, "/no/such/folder/copy.db", &err), ERR_IO);
    CHECK_I64(kit_append(s, 1, NULL), 0);
    REQUIRE(stat(path_of(copy_url), &st) == 0);
    CHECK_U64(st.st_mode & 0777, 0600);
    REQUIRE(open_at(copy_url, &copy, &err) == 0);
    CHECK_U64(store_head(copy).revision, 50);
    CHECK_I64(store_check(copy, &err), 0);
    CHECK_I64(store_identity_renew(copy, &err), 0);
    REQUIRE(store_identity(s, &a, NULL) == 0 && store_identity(copy, &b, NULL) == 0);
    CHECK(memcmp(&a.id, &b.id, sizeof(a.id)) != 0);
}

TEST("the write-ahead log is copied when idle and does not grow without bound")
{
    owned(store_drop) struct store *s = NULL;
    owned(mem) char *large = mem_zalloc(MIB);
    struct store_record record = {.bytes = str_of(large, MIB)};
    struct store_append op = {.records = &record, .n = 1};
    struct store_appended done = {0};
    char url[300], wal[300];
    struct stat st;

    REQUIRE(large && open_at(url_of("s.db", url), &s, NULL) == 0);
    for (int i = 0; i < 200; i++) {
        op.expected_head = store_head(s).revision;
        REQUIRE(store_append(s, &op, &done, NULL) == 0);
    }
    CHECK(store_stats(s).checkpoints >= 2);
    (void)snprintf(wal, sizeof(wal), "%s-wal", path_of(url));
    REQUIRE(stat(wal, &st) == 0);
    CHECK(st.st_size < (off_t)(80 * MIB));
    CHECK_I64(store_verify(s, NULL), 0);
}

/* ---- a process that is killed ---- */

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

TEST_WITHIN(
    120,
    "D1: of a writer killed 30 times nothing acknowledged is lost, and nothing is half there")
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
