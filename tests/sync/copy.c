/*
 * The local copy: what it gives back, what it refuses, and that no damage whatever makes it give back something else
 * (I7, copy.h C1 to C4). TRIMTAB_QUICK shortens the rounds of damage.
 */
#include "tap.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "model/name.h"
#include "sync/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TEXT_MAX = 64, CHANGES_MAX = 64 };

/* ---- what goes in ---- */

static struct version *make(const char *name, const char *content, uint64_t revision)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    struct shared *bytes = shared_copy(str_c(content));
    struct pair label = {STR("team"), STR("edge")};
    struct str reference = STR("web/edge\0file\0other");
    struct references *refs = mem_alloc(references_size(&reference, 1));
    struct meta meta = {.labels = &label, .n_labels = 1};
    struct version_opts o = {.content_type = STR("text/plain"),
                             .meta = &meta,
                             .references = refs,
                             .wire = bytes,
                             .number = revision,
                             .revision = revision};
    struct version *v;

    name_put_key((struct name){STR("web/edge"), STR("file"), str_c(name)}, &key);
    o.key = buf_str(&key);
    o.content = shared_str(bytes);
    if (refs)
        references_init(refs, &reference, 1);
    v = bytes && refs ? version_new(&o) : NULL;
    (void)mem_free(refs);
    (void)shared_unref(bytes);
    return v;
}

/* A set of bindings in memory, and the batches that lead to it. */
struct world {
    struct sync_change changes[CHANGES_MAX];
    char keys[CHANGES_MAX][TEXT_MAX];
    size_t n;
    struct sync_cursor cursor;
};

static void add(struct world *w, const char *name, const char *content, uint64_t revision)
{
    int len = snprintf(w->keys[w->n], TEXT_MAX, "file%c%s", 0, name);
    struct version *v = content ? make(name, content, revision) : NULL;

    w->changes[w->n] = (struct sync_change){STR("s"), str_of(w->keys[w->n], (size_t)len), v};
    w->n++;
}

static void clear(struct world *w)
{
    for (size_t i = 0; i < w->n; i++)
        (void)version_unref(w->changes[i].item);
    w->n = 0;
}

/* The cursor after the batch, given what is bound: changes bind new names only. */
static void move_cursor(struct world *w, uint64_t revision)
{
    memset(w->cursor.store_id, 7, sizeof(w->cursor.store_id));
    w->cursor.revision = revision;
    w->cursor.has_mark = revision % 2 == 0; /* some servers send none */
    memset(w->cursor.mark, (int)revision, sizeof(w->cursor.mark));
    for (size_t i = 0; i < w->n; i++) {
        if (!w->changes[i].item)
            continue;
        w->cursor.digest = digest_add(w->cursor.digest,
                                      binding_digest(STR("s"), &w->changes[i].item->item_hash));
        w->cursor.count++;
    }
}

static int store(struct copy *c, struct world *w, struct err *err)
{
    struct sync_batch b = {.changes = w->changes, .n = w->n, .cursor = w->cursor};

    return copy_store(c, &b, err);
}

static const char *path_of(const char *name)
{
    static char path[4096];

    (void)snprintf(path, sizeof(path), "%s/%s", tap_tmpdir(), name);
    return path;
}

static const struct copy_subscription *subscription(void)
{
    static const struct str scopes[] = {STR("s")};
    static struct copy_subscription s = {.instance = "me", .scopes = scopes, .n_scopes = 1};

    s.hash = sha256_of(STR("subscription"));
    return &s;
}

/* Opens, loads and says whose it is. */
static struct copy *open_copy(const char *path, struct copy_content *content)
{
    struct copy *c = NULL;
    struct err err = ERR_NULL;

    if (!CHECK(copy_open(path, &c, &err) == 0))
        return NULL;
    if (!CHECK(copy_load(c, content, &err) == 0) ||
        !CHECK(copy_subscribe(c, subscription(), content, &err) == 0)) {
        tap_note("%s", err.text);
        return copy_close(c);
    }
    return c;
}

static const struct sync_change *item_named(const struct copy_content *content,
                                            const char *name)
{
    for (size_t i = 0; i < content->n_items; i++)
        if (str_eq(str_from(content->items[i].key, 5), str_c(name)))
            return &content->items[i];
    return NULL;
}

/* Two batches, an apply with a refusal and files: a copy with everything in it. */
static bool fill(const char *path, size_t n_extra, size_t extra_bytes)
{
    struct copy_content content;
    struct world w = {.n = 0};
    struct copy *c = open_copy(path, &content);
    char *extra = mem_alloc(extra_bytes + 1), name[TEXT_MAX];
    struct copy_file files[] = {{.sink = STR("t"), .path = STR("a.conf")},
                                {.sink = STR("t"), .path = STR("d/")},
                                {.sink = STR("t"), .path = STR("")},
                                {.sink = STR("t"),
                                 .path = STR("kept.conf"),
                                 .has_attr = true,
                                 .mode = 0640,
                                 .owner = 65534,
                                 .group = 0x01020304}};
    struct copy_served refused = {.scope = STR("s"),
                                  .key = str_of("file\0b.conf", 11),
                                  .batch = 2,
                                  .group = 1,
                                  .code = STR("CHECK_FAILED"),
                                  .message = STR("line 1"),
                                  .held_by = STR("")};
    struct copy_update u = {.has_served = true,
                            .served = &refused,
                            .n_served = 1,
                            .files = files,
                            .n_files = ARRAY_LEN(files),
                            .applied = 2};
    bool ok = c != NULL;

    if (!c)
        return false;
    add(&w, "a.conf", "alpha", 1);
    for (size_t i = 0; i < n_extra; i++) {
        memset(extra, (int)('a' + i % 26), extra_bytes);
        extra[extra_bytes] = '\0';
        (void)snprintf(name, sizeof(name), "extra-%zu", i);
        add(&w, name, extra, 1);
    }
    move_cursor(&w, 1);
    ok &= CHECK(store(c, &w, NULL) == 0);
    clear(&w);
    add(&w, "b.conf", "beta", 2);
    move_cursor(&w, 2);
    ok &= CHECK(store(c, &w, NULL) == 0);
    clear(&w);
    files[0].hash = sha256_of(STR("alpha"));
    ok &= CHECK(copy_update(c, &u, NULL) == 0);
    (void)copy_close(c);
    copy_content_deinit(&content);
    (void)mem_free(extra);
    return ok;
}

/* The file that keeps mode and owner has them, and no other has any. */
static bool are_files_right(const struct copy_content *content)
{
    size_t n_kept = 0;

    for (size_t i = 0; i < content->n_files; i++) {
        const struct copy_file *f = &content->files[i];
        bool is_kept = str_eq(f->path, STR("kept.conf"));

        n_kept += is_kept;
        if (f->has_attr != is_kept || f->mode != (is_kept ? 0640U : 0) ||
            f->owner != (is_kept ? 65534U : 0) || f->group != (is_kept ? 0x01020304U : 0))
            return false;
    }
    return content->n_files == 4 && n_kept == 1;
}

/* Exactly what fill has written: nothing less, nothing else. */
static bool is_right(const struct copy_content *content, size_t n_extra)
{
    const struct sync_change *a = item_named(content, "a.conf"),
                             *b = item_named(content, "b.conf");

    return content->n_items == n_extra + 2 && a && b &&
           str_eq(a->item->content, STR("alpha")) && str_eq(b->item->content, STR("beta")) &&
           a->item->revision == 1 && b->item->revision == 2 &&
           str_eq(a->item->content_type, STR("text/plain")) && a->item->meta &&
           a->item->meta->n_labels == 1 && a->item->references && a->item->references->n == 1 &&
           content->cursor.revision == 2 && content->cursor.has_mark &&
           content->cursor.mark[SYNC_MARK_BYTES - 1] == 2 && content->applied == 2 && content->n_served == 1 &&
           !content->served[0].served && str_eq(content->served[0].code, STR("CHECK_FAILED")) &&
           are_files_right(content) && strcmp(content->instance, "me") == 0;
}

/* ---- damage ---- */

static bool write_file(const char *path, struct str bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t n = fd < 0 ? -1 : write(fd, bytes.data, bytes.len);

    if (fd >= 0)
        (void)close(fd);
    return n == (ssize_t)bytes.len;
}

/* Loads what may be damaged: true when it is refused, exactly right, or (cut to nothing) new. */
static bool is_never_wrong(const char *path, size_t n_extra, int *ret_result)
{
    struct copy *c = NULL;
    struct copy_content content;
    struct err err = ERR_NULL;
    struct stat st = {.st_size = 0};
    bool ok = true;

    if (stat(path, &st) || copy_open(path, &c, &err))
        return false;
    *ret_result = copy_load(c, &content, &err);
    if (*ret_result == 0)
        ok = is_right(&content, n_extra) ||
             (st.st_size < 2 && content.n_items == 0 && !content.cursor.revision);
    else
        ok = *ret_result == ERR_CORRUPT;
    if (!ok)
        tap_note("result %d (%s), %zu items, revision %llu", *ret_result, err.text,
                 content.n_items, (unsigned long long)content.cursor.revision);
    copy_content_deinit(&content);
    (void)copy_close(c);
    return ok;
}

static void remove_copy(const char *path)
{
    static const char *const ends[] = {"", "-wal", "-shm", "-journal"};

    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        char name[4200];

        (void)snprintf(name, sizeof(name), "%s%s", path, ends[i]);
        (void)unlink(name);
    }
}

static bool is_quick(void)
{
    const char *quick = getenv("TRIMTAB_QUICK");

    return quick && *quick;
}

/* ---- cases ---- */

TEST("a copy gives back what was stored: items with metadata, cursor, refusals, files, whose "
     "it is")
{
    struct copy_content content;
    struct copy *c;
    char path[4096];

    (void)snprintf(path, sizeof(path), "%s", path_of("copy.db"));
    REQUIRE(fill(path, 3, 100));
    c = open_copy(path, &content);
    REQUIRE(c != NULL);
    CHECK(is_right(&content, 3));
    copy_content_deinit(&content);
    (void)copy_close(c);
}

TEST("the file, its log and its lock are for the owner alone")
{
    struct stat st;
    char path[4200];

    (void)snprintf(path, sizeof(path), "%s", path_of("copy.db"));
    REQUIRE(fill(path, 0, 0));
    CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
    (void)snprintf(path, sizeof(path), "%s", path_of("copy.db.lock"));
    CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
}

TEST("a second process is refused, with words that say so")
{
    struct copy *c = NULL, *second = NULL;
    struct err err = ERR_NULL;

    REQUIRE(copy_open(path_of("copy.db"), &c, &err) == 0);
    CHECK_I64(copy_open(path_of("copy.db"), &second, &err), ERR_LOCKED);
    CHECK(strstr(err.text, "in use by another process") != NULL);
    (void)copy_close(c);
    CHECK_I64(copy_open(path_of("copy.db"), &second, &err), 0);
    (void)copy_close(second);
}

TEST("a lock that a child holds on to for a moment, as between fork and exec, is waited for")
{
    struct copy *c = NULL;
    struct err err = ERR_NULL;
    int status;
    pid_t child;

    REQUIRE(copy_open(path_of("copy.db"), &c, &err) == 0);
    child = fork();
    if (child == 0) {
        (void)usleep(100000); /* what it holds ends with it */
        _exit(0);
    }
    c = copy_close(c);
    CHECK_I64(copy_open(path_of("copy.db"), &c, &err), 0);
    (void)copy_close(c);
    REQUIRE(waitpid(child, &status, 0) == child);
}

TEST("what was served before a batch is kept until the batch is applied")
{
    struct copy_content content;
    struct copy_update u = {.has_served = true, .applied = 1};
    struct world w = {.n = 0};
    struct copy *c = open_copy(path_of("copy.db"), &content);
    struct version *old;

    REQUIRE(c != NULL);
    add(&w, "a.conf", "alpha", 1);
    move_cursor(&w, 1);
    CHECK_I64(store(c, &w, NULL), 0);
    CHECK_I64(copy_update(c, &u, NULL), 0);
    old = version_ref(w.changes[0].item);
    clear(&w);
    w.cursor.digest = digest_sub(w.cursor.digest, binding_digest(STR("s"), &old->item_hash));
    w.cursor.count--;
    (void)version_unref(old);
    add(&w, "a.conf", "omega", 2);
    move_cursor(&w, 2);
    CHECK_I64(store(c, &w, NULL), 0);
    clear(&w);
    (void)copy_close(c);
    copy_content_deinit(&content);
    c = open_copy(path_of("copy.db"), &content);
    REQUIRE(c != NULL);
    CHECK_U64(content.n_served, 1);
    CHECK(content.n_served == 1 && str_eq(content.served[0].served->content, STR("alpha")));
    CHECK(content.n_served == 1 && content.served[0].batch == 2 &&
          content.served[0].code.len == 0);
    CHECK(content.n_items == 1 && str_eq(content.items[0].item->content, STR("omega")));
    copy_content_deinit(&content);
    (void)copy_close(c);
}

TEST("another subscription keeps the items of scopes that stay, and forgets the cursor")
{
    static const struct str scopes[] = {STR("s"), STR("more")}, other[] = {STR("other")};
    struct copy_subscription changed = {"me", sha256_of(STR("changed")), scopes, 2};
    struct copy_subscription without = {"me", sha256_of(STR("without")), other, 1};
    struct copy_content content;
    struct copy *c = NULL;
    char path[4096];

    (void)snprintf(path, sizeof(path), "%s", path_of("copy.db"));
    REQUIRE(fill(path, 0, 0));
    REQUIRE(copy_open(path, &c, NULL) == 0);
    REQUIRE(copy_load(c, &content, NULL) == 0);
    CHECK_I64(copy_subscribe(c, &changed, &content, NULL), 0);
    CHECK_U64(content.cursor.revision, 0);
    CHECK_U64(content.n_items, 2);
    CHECK_U64(content.cursor.count, 2);
    CHECK_I64(copy_subscribe(c, &without, &content, NULL), 0);
    CHECK_U64(content.n_items, 0);
    CHECK_U64(content.n_served, 0);
    CHECK(content.cursor.count == 0 && digest_eq(content.cursor.digest, DIGEST_NULL));
    copy_content_deinit(&content);
    CHECK_I64(copy_load(c, &content, NULL), 0);
    CHECK_U64(content.n_items, 0);
    copy_content_deinit(&content);
    (void)copy_close(c);
}

TEST("a cursor that moved is written on closing")
{
    struct copy_content content;
    struct copy *c;
    char path[4096];

    (void)snprintf(path, sizeof(path), "%s", path_of("copy.db"));
    REQUIRE(fill(path, 0, 0));
    c = open_copy(path, &content);
    REQUIRE(c != NULL);
    content.cursor.revision = 99;
    copy_moved(c, &content.cursor);
    (void)copy_close(c);
    copy_content_deinit(&content);
    c = open_copy(path, &content);
    REQUIRE(c != NULL);
    CHECK_U64(content.cursor.revision, 99);
    copy_content_deinit(&content);
    (void)copy_close(c);
}

TEST("what is set aside is numbered, and three are kept")
{
    struct copy_content content;
    struct copy *c = NULL;
    char aside[COPY_PATH_MAX] = "", path[4096];

    (void)snprintf(path, sizeof(path), "%s", path_of("copy.db"));
    REQUIRE(copy_open(path, &c, NULL) == 0);
    for (int i = 0; i < 5; i++) {
        REQUIRE(copy_load(c, &content, NULL) == 0);
        CHECK_U64(content.n_items, 0);
        copy_content_deinit(&content);
        CHECK_I64(copy_set_aside(c, aside, NULL), 0);
        CHECK(access(path, F_OK) != 0);
    }
    CHECK(str_ends(str_c(aside), STR("copy.db.broken-5")));
    CHECK(access(path_of("copy.db.broken-5"), F_OK) == 0);
    CHECK(access(path_of("copy.db.broken-3"), F_OK) == 0);
    CHECK(access(path_of("copy.db.broken-2"), F_OK) != 0);
    (void)copy_close(c);
}

TEST("a database that is not ours is refused")
{
    struct copy_content content;
    struct copy *c = NULL;
    struct err err = ERR_NULL;

    REQUIRE(write_file(path_of("copy.db"),
                       STR("this is a text and has been one from its beginning, 100 bytes "
                           "or more of it, so that it has the length of a header at least")));
    REQUIRE(copy_open(path_of("copy.db"), &c, &err) == 0);
    CHECK_I64(copy_load(c, &content, &err), ERR_CORRUPT);
    CHECK(err.text[0] != '\0');
    (void)copy_close(c);
}

/* Cuts at every step-th byte, and at every page. */
static void cut_everywhere(size_t n_extra, size_t extra_bytes, size_t step)
{
    owned(buf) struct buf bytes = BUF_NULL(64 * MIB);
    char path[4096];
    size_t n_refused = 0, n = 0;
    int result = 0;

    (void)snprintf(path, sizeof(path), "%s", path_of("copy.db"));
    remove_copy(path);
    REQUIRE(fill(path, n_extra, extra_bytes));
    REQUIRE(file_read(path, &bytes, NULL) == 0);
    for (size_t len = 0; len < bytes.len;
         len += len % 4096 && len % 4096 + step > 4096 ? 4096 - len % 4096 : step) {
        remove_copy(path);
        REQUIRE(write_file(path, str_part(buf_str(&bytes), 0, len)));
        REQUIRE(is_never_wrong(path, n_extra, &result));
        n_refused += result == ERR_CORRUPT;
        n++;
    }
    tap_note("%zu lengths of %zu bytes, %zu refused, the others had lost unused bytes", n,
             bytes.len, n_refused);
    CHECK(n_refused > n / 2);
}

TEST_WITHIN(600, "cut off anywhere, a copy is refused or exactly right")
{
    cut_everywhere(0, 0, is_quick() ? 97 : 1);
    cut_everywhere(8, 40000, is_quick() ? 8191 : 509);
}

TEST_WITHIN(900, "with any byte flipped, a copy is refused or exactly right")
{
    owned(buf) struct buf bytes = BUF_NULL(64 * MIB);
    struct rng rng = {20261122};
    char path[4096];
    int rounds = is_quick() ? 500 : 10000, n_refused = 0;

    (void)snprintf(path, sizeof(path), "%s", path_of("copy.db"));
    REQUIRE(fill(path, 4, 3000));
    REQUIRE(file_read(path, &bytes, NULL) == 0);
    for (int i = 0; i < rounds; i++) {
        size_t at = rng_below(&rng, bytes.len);
        char old = bytes.data[at];
        int result = 0;

        bytes.data[at] = (char)(old ^ (char)(1 + rng_below(&rng, 255)));
        remove_copy(path);
        REQUIRE(write_file(path, buf_str(&bytes)));
        REQUIRE(is_never_wrong(path, 4, &result));
        n_refused += result == ERR_CORRUPT;
        bytes.data[at] = old;
    }
    tap_note("%d flips in %zu bytes, %d refused, the others in unused bytes", rounds, bytes.len,
             n_refused);
    CHECK(n_refused > rounds / 4);
}

TEST("pages of an older copy mixed into a newer one are refused or exactly right")
{
    owned(buf) struct buf older = BUF_NULL(64 * MIB), newer = BUF_NULL(64 * MIB);
    struct copy_content content;
    struct world w = {.n = 0};
    struct copy *c;
    char path[4096];
    int n_refused = 0;

    (void)snprintf(path, sizeof(path), "%s", path_of("copy.db"));
    REQUIRE(fill(path, 4, 3000));
    REQUIRE(file_read(path, &older, NULL) == 0);
    c = open_copy(path, &content);
    REQUIRE(c != NULL);
    w.cursor = content.cursor;
    add(&w, "c.conf", "gamma", 3);
    move_cursor(&w, 3);
    CHECK_I64(store(c, &w, NULL), 0);
    clear(&w);
    (void)copy_close(c);
    copy_content_deinit(&content);
    REQUIRE(file_read(path, &newer, NULL) == 0);
    for (size_t page = 0; page + 4096 <= older.len && page + 4096 <= newer.len; page += 4096) {
        struct err err = ERR_NULL;
        int r;

        if (memcmp(older.data + page, newer.data + page, 4096) == 0)
            continue;
        remove_copy(path);
        REQUIRE(write_file(path, buf_str(&newer)));
        {
            int fd = open(path, O_WRONLY | O_CLOEXEC);

            CHECK(pwrite(fd, older.data + page, 4096, (off_t)page) == 4096);
            (void)close(fd);
        }
        REQUIRE(copy_open(path, &c, &err) == 0);
        r = copy_load(c, &content, &err);
        CHECK(r == ERR_CORRUPT || (content.n_items == 7 && content.cursor.revision == 3));
        n_refused += r == ERR_CORRUPT;
        copy_content_deinit(&content);
        (void)copy_close(c);
    }
    CHECK(n_refused > 0);
}

/* Stores batch after batch and reports each one that is durable, until it is killed. */
static void write_until_killed(const char *path, int out)
{
    struct copy_content content;
    struct world w = {.n = 0};
    struct copy *c = open_copy(path, &content);
    uint64_t revision = c ? content.cursor.revision : 0;

    if (!c)
        _exit(1);
    w.cursor = content.cursor;
    for (;;) {
        char name[TEXT_MAX];

        revision++;
        (void)snprintf(name, sizeof(name), "file-%llu", (unsigned long long)revision);
        add(&w, name, "content", revision);
        (void)snprintf(name, sizeof(name), "twin-%llu", (unsigned long long)revision);
        add(&w, name, "content", revision);
        move_cursor(&w, revision);
        if (store(c, &w, NULL))
            _exit(1);
        clear(&w);
        if (write(out, &revision, sizeof(revision)) != sizeof(revision))
            _exit(0);
    }
}

TEST("killed at any moment, a copy has all that was called durable, and whole batches only")
{
    struct rng rng = {7};
    char path[4096];
    int rounds = is_quick() ? 5 : 40;

    (void)snprintf(path, sizeof(path), "%s", path_of("copy.db"));
    for (int i = 0; i < rounds; i++) {
        struct copy_content content;
        struct copy *c;
        uint64_t last = 0, revision;
        int pipes[2], status;
        pid_t child;
        uint64_t stop_after = 1 + rng_below(&rng, 12);

        REQUIRE(pipe2(pipes, O_CLOEXEC) == 0);
        child = fork();
        if (child == 0) {
            (void)close(pipes[0]);
            write_until_killed(path, pipes[1]);
        }
        (void)close(pipes[1]);
        for (uint64_t n = 0;
             n < stop_after && read(pipes[0], &revision, sizeof(revision)) == sizeof(revision);
             n++)
            last = revision;
        (void)usleep((useconds_t)rng_below(&rng, 4000)); /* somewhere inside the next one */
        (void)kill(child, SIGKILL);
        (void)waitpid(child, &status, 0);
        while (read(pipes[0], &revision, sizeof(revision)) == sizeof(revision))
            last = revision;
        (void)close(pipes[0]);
        c = open_copy(path, &content);
        REQUIRE(c != NULL);
        CHECK(content.cursor.revision >= last);
        CHECK_U64(content.n_items, 2 * content.cursor.revision);
        copy_content_deinit(&content);
        (void)copy_close(c);
    }
}

TEST("without memory at any point, storing leaves the copy as it was, and loading says so")
{
    struct copy_content content;
    struct world w = {.n = 0};
    struct copy *c;
    struct copy_served refused = {.scope = STR("s"),
                                  .key = str_of("file\0b.conf", 11),
                                  .batch = 2,
                                  .group = 1,
                                  .code = STR("CHECK_FAILED"),
                                  .message = STR("line 1"),
                                  .held_by = STR("")};
    struct copy_update u = {
        .has_served = true, .served = &refused, .n_served = 1, .applied = 3};
    char path[4096];

    (void)snprintf(path, sizeof(path), "%s", path_of("copy.db"));
    REQUIRE(fill(path, 1, 100));
    c = open_copy(path, &content);
    REQUIRE(c != NULL);
    w.cursor = content.cursor;
    copy_content_deinit(&content);
    add(&w, "c.conf", "gamma", 3);
    move_cursor(&w, 3);
    ALLOC_SWEEP (n) {
        int r = store(c, &w, NULL);

        if (r)
            CHECK_I64(r, ERR_NOMEM);
    }
    ALLOC_SWEEP (m) {
        int r = copy_update(c, &u, NULL);

        if (r)
            CHECK_I64(r, ERR_NOMEM);
    }
    clear(&w);
    ALLOC_SWEEP (k) {
        int r = copy_load(c, &content, NULL);

        if (r) {
            CHECK_I64(r, ERR_NOMEM);
        } else {
            CHECK_U64(content.n_items, 4);
            CHECK_U64(content.cursor.revision, 3);
        }
        copy_content_deinit(&content);
    }
    (void)copy_close(c);
    ALLOC_SWEEP (o) {
        struct copy *other = NULL;

        if (copy_open(path, &other, NULL) == 0)
            (void)copy_close(other);
    }
}

TEST("a disk that is full leaves the copy as it was")
{
    struct copy_content content;
    struct world w = {.n = 0};
    struct copy *c;
    struct err err = ERR_NULL;
    char command[8400], path[4096], *large;
    int r;

    if (geteuid() != 0) {
        tap_skip("needs root for a small file system");
        return;
    }
    (void)snprintf(path, sizeof(path), "%s", path_of("small"));
    (void)snprintf(command, sizeof(command), "mkdir %s && mount -t tmpfs -o size=256k none %s",
                   path, path);
    if (system(command) != 0) {
        tap_skip("cannot mount a small file system");
        return;
    }
    (void)snprintf(path, sizeof(path), "%s", path_of("small/copy.db"));
    if (CHECK(fill(path, 0, 0))) {
        c = open_copy(path, &content);
        if (CHECK(c != NULL)) {
            large = mem_alloc(400001);
            memset(large, 'x', 400000);
            large[400000] = '\0';
            w.cursor = content.cursor;
            add(&w, "large", large, 3);
            move_cursor(&w, 3);
            CHECK_I64(store(c, &w, &err), ERR_IO);
            CHECK(strstr(err.text, "full") != NULL);
            clear(&w);
            (void)mem_free(large);
            copy_content_deinit(&content);
            r = copy_load(c, &content, &err);
            CHECK_I64(r, 0);
            CHECK(r == 0 && is_right(&content, 0));
            copy_content_deinit(&content);
            (void)copy_close(c);
        }
    }
    (void)snprintf(command, sizeof(command), "umount %s", path_of("small"));
    CHECK(system(command) == 0);
}
