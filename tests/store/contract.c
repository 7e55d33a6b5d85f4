/*
 * The store's contract, clause by clause (src/store/store.h), over every engine: what passes here is what the
 * server relies on, and an engine is done when it passes.
 */
#include "kit.h"
#include "tap.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/vec.h"

#include <pthread.h>
#include <unistd.h>

enum engine { MEM, SQLITE };

/* One store that can be closed and opened again on the same content. */
struct fixture {
    enum engine engine;
    struct store_disk *disk;
    char url[256];
    struct store_opts opts;
    struct store *s;
    struct err err;
};

static int fixture_open(struct fixture *f)
{
    return store_open(f->url, &f->opts, &f->s, &f->err);
}

static bool fixture_setup(struct fixture *f)
{
    f->opts.semantics = 3;
    f->opts.now = NSEC_PER_S;
    f->disk = store_disk_new(7);
    f->opts.disk = f->disk;
    if (f->engine == MEM)
        (void)snprintf(f->url, sizeof(f->url), "mem:");
    else
        (void)snprintf(f->url, sizeof(f->url), "sqlite:%s/store.db", tap_tmpdir());
    return CHECK(f->disk != NULL) && CHECK_I64(fixture_open(f), 0);
}

static bool fixture_reopen(struct fixture *f)
{
    struct store *old = f->s;

    f->s = NULL;
    return CHECK_I64(store_close(old, &f->err), 0) && CHECK_I64(fixture_open(f), 0);
}

static void fixture_teardown(struct fixture *f)
{
    char line[1400];

    if (tap_failed() && f->err.code)
        tap_note("%s", err_describe(&f->err, line, sizeof(line)));
    f->s = store_drop(f->s);
    f->disk = store_disk_free(f->disk);
}

static void run_over(enum engine engine, void (*body)(struct fixture *f))
{
    struct fixture f = {.engine = engine};

    if (fixture_setup(&f))
        body(&f);
    fixture_teardown(&f);
}

/* One case per engine. The body has a fixture f with an open, empty store. */
#define CONTRACT(title)                                                                        \
    static void TAP_CAT(contract_, __LINE__)(struct fixture * f);                              \
    TEST_ENGINE(TAP_CAT(mem_, __LINE__), MEM, title " (mem)")                                  \
    TEST_ENGINE(TAP_CAT(sqlite_, __LINE__), SQLITE, title " (sqlite)")                         \
    static void TAP_CAT(contract_, __LINE__)(struct fixture * f)

#define TEST_ENGINE(id, engine, title)                                                         \
    static void id(void)                                                                       \
    {                                                                                          \
        run_over(engine, TAP_CAT(contract_, __LINE__));                                        \
    }                                                                                          \
    static struct tap_case TAP_CAT(id, _case) = {title, id, 0, NULL};                          \
    __attribute__((constructor)) static void TAP_CAT(id, _register)(void)                      \
    {                                                                                          \
        tap_register(&TAP_CAT(id, _case));                                                     \
    }

static struct store_record record_of(const char *request, const char *bytes)
{
    return (struct store_record){.request = str_c(request), .bytes = str_c(bytes)};
}

static bool keep_all(void *ctx, uint64_t revision)
{
    (void)ctx;
    (void)revision;
    return true;
}

static int append_one(struct fixture *f, const struct store_record *record, uint64_t expected,
                      struct store_appended *ret_appended)
{
    struct store_append op = {.records = record, .n = 1, .expected_head = expected};

    return store_append(f->s, &op, ret_appended, &f->err);
}

static bool log_is(struct fixture *f, uint64_t from, uint64_t to)
{
    owned(mem) struct gather *g = NEW(struct gather);

    return CHECK(g != NULL) &&
           CHECK_I64(store_read(f->s, from, to, gather_record, g, &f->err), 0) &&
           CHECK(gather_is(g, from, to));
}

/* ---- identity ---- */

CONTRACT("I1: a store keeps its id, and gets a new one when told")
{
    struct store_identity made, kept, renewed;

    REQUIRE(store_identity(f->s, &made, &f->err) == 0);
    REQUIRE(fixture_reopen(f));
    REQUIRE(store_identity(f->s, &kept, &f->err) == 0);
    CHECK(memcmp(&made.id, &kept.id, sizeof(made.id)) == 0);
    CHECK_I64(store_identity_renew(f->s, &f->err), 0);
    REQUIRE(fixture_reopen(f));
    REQUIRE(store_identity(f->s, &renewed, &f->err) == 0);
    CHECK(memcmp(&made.id, &renewed.id, sizeof(made.id)) != 0);
    CHECK_U64(renewed.semantics, 3);
}

/* What I2 says, once more and by hand, over up to two contents. */
static struct sha256 chain_by_hand(const struct store_record *r, uint64_t revision,
                                   const struct sha256 *previous)
{
    struct buf text = BUF_NULL(1000);
    struct sha256 chain;
    uint64_t numbers[3] = {__builtin_bswap64(revision), __builtin_bswap64(r->request.len),
                           __builtin_bswap64(r->bytes.len)};

    buf_put(&text, previous->bytes, SHA256_BYTES);
    buf_put(&text, numbers, sizeof(numbers));
    buf_put_str(&text, r->request);
    buf_put_str(&text, r->bytes);
    buf_put(&text, (const char[]){0, 0, 0, (char)r->n_contents}, 4);
    for (size_t i = 0; i < r->n_contents; i++) {
        buf_put(&text, r->contents[i].hash.bytes, SHA256_BYTES);
        buf_put(&text, (const char[]){0, 0, 0, 0, 0, 0, 0, (char)r->contents[i].bytes.len}, 8);
    }
    chain = sha256_of(buf_str(&text));
    buf_deinit(&text);
    return chain;
}

static struct hashed hashed_c(const char *text)
{
    return (struct hashed){sha256_of(str_c(text)), str_c(text)};
}

CONTRACT("I2: the chain runs over request id and envelope, and over hash and length of each content")
{
    const struct hashed contents[] = {hashed_c("first"), hashed_c("")};
    struct store_record record = record_of("r1", "hello");
    static const struct sha256 zeros;
    struct store_appended done;
    struct sha256 want;

    CHECK(memcmp(store_head(f->s).chain.bytes, zeros.bytes, SHA256_BYTES) == 0);
    REQUIRE(append_one(f, &record, 0, &done) == 0);
    want = chain_by_hand(&record, 1, &zeros);
    CHECK(sha256_eq(&done.head.chain, &want));
    record = record_of("", "second");
    record.contents = contents;
    record.n_contents = 2;
    REQUIRE(append_one(f, &record, 1, &done) == 0);
    want = chain_by_hand(&record, 2, &want);
    CHECK(sha256_eq(&done.head.chain, &want));
    REQUIRE(fixture_reopen(f));
    CHECK_U64(store_head(f->s).revision, 2);
    CHECK(memcmp(store_head(f->s).chain.bytes, want.bytes, SHA256_BYTES) == 0);
}

struct contents_seen {
    const struct hashed *want;
    size_t n, calls;
    bool wrong;
};

static int compare_contents(void *ctx, const struct store_entry *entry)
{
    struct contents_seen *seen = ctx;

    seen->calls++;
    if (entry->n_contents != seen->n)
        seen->wrong = true;
    for (size_t i = 0; i < entry->n_contents && !seen->wrong; i++)
        seen->wrong = !sha256_eq(&entry->contents[i].hash, &seen->want[i].hash) ||
                      !str_eq(entry->contents[i].bytes, seen->want[i].bytes);
    return 0;
}

CONTRACT("D2 R3: contents come back with their record, on a watch, from a read, kept and after a restart")
{
    const struct hashed contents[] = {hashed_c("one"), hashed_c(""), hashed_c("three")};
    struct contents_seen seen = {.want = contents, .n = 3};
    struct store_watcher watcher = {.record = compare_contents, .ctx = &seen};
    struct store_record record = record_of("", "envelope");
    struct store_watch *w = NULL;
    struct store_appended done;
    uint64_t floor = 0;

    f->opts.retain = 1;
    REQUIRE(fixture_reopen(f));
    REQUIRE(store_watch_open(f->s, 1, &watcher, &w, &f->err) == 0);
    record.contents = contents;
    record.n_contents = 3;
    REQUIRE(append_one(f, &record, 0, &done) == 0);
    w = store_watch_close(w);
    REQUIRE(fixture_reopen(f));
    CHECK_I64(store_read(f->s, 1, 1, compare_contents, &seen, &f->err), 0);
    CHECK(seen.calls == 2 && !seen.wrong);
    REQUIRE(kit_append(f->s, 3, &f->err) == 0 && kit_snapshot(f->s, 3, 10, &f->err) == 0);
    CHECK_I64(store_compact(f->s, &(struct store_compact){.below = 3, .keep = keep_all}, &floor,
                            &f->err),
              0);
    CHECK_U64(floor, 3);
    CHECK_I64(store_read_kept(f->s, 1, 1, compare_contents, &seen, &f->err), 0);
    CHECK(seen.calls == 3 && !seen.wrong);
    CHECK_I64(store_check(f->s, &f->err), 0);
}

CONTRACT("limits: contents count into the size of a record, and their number has a ceiling")
{
    owned(mem) char *large = mem_zalloc((size_t)STORE_RECORD_MAX);
    struct hashed content = {.bytes = str_of(large, (size_t)STORE_RECORD_MAX)};
    struct store_record record = record_of("", "x");
    struct store_appended done;

    REQUIRE(large);
    content.hash = sha256_of(content.bytes);
    record.contents = &content;
    record.n_contents = 1;
    CHECK_I64(append_one(f, &record, 0, &done), ERR_INVALID);
    content.bytes.len--;
    content.hash = sha256_of(content.bytes);
    CHECK_I64(append_one(f, &record, 0, &done), 0);
    record.n_contents = STORE_RECORD_CONTENTS_MAX + 1;
    CHECK_I64(append_one(f, &record, 1, &done), ERR_INVALID);
    CHECK_I64(store_verify(f->s, &f->err), 0);
}

CONTRACT("I1: the key is made with the store, and stays when it gets a new id")
{
    struct store_identity made, renewed;
    static const unsigned char zeros[STORE_KEY_BYTES];

    REQUIRE(store_identity(f->s, &made, &f->err) == 0);
    CHECK(memcmp(made.key, zeros, sizeof(zeros)) != 0);
    CHECK_I64(store_identity_renew(f->s, &f->err), 0);
    REQUIRE(fixture_reopen(f));
    REQUIRE(store_identity(f->s, &renewed, &f->err) == 0);
    CHECK(memcmp(made.key, renewed.key, sizeof(made.key)) == 0);
}

CONTRACT("I3: a log of newer semantics is not opened")
{
    struct store_identity identity;

    f->opts.semantics = 5;
    REQUIRE(fixture_reopen(f));
    CHECK_I64(store_semantics_raise(f->s, 6, &f->err), ERR_INVALID);
    CHECK_I64(store_semantics_raise(f->s, 5, &f->err), 0);
    CHECK_I64(store_semantics_raise(f->s, 4, &f->err), 0);
    REQUIRE(store_identity(f->s, &identity, &f->err) == 0);
    CHECK_U64(identity.semantics, 5);
    CHECK_I64(store_close(f->s, &f->err), 0);
    f->s = NULL;
    f->opts.semantics = 4;
    CHECK_I64(fixture_open(f), ERR_UNSUPPORTED);
}

/* ---- appending ---- */

CONTRACT("O1: revisions count from 1 without holes, over appends and restarts")
{
    CHECK_U64(store_head(f->s).revision, 0);
    REQUIRE(kit_append(f->s, 1, &f->err) == 0);
    REQUIRE(kit_append(f->s, 64, &f->err) == 0);
    REQUIRE(fixture_reopen(f));
    REQUIRE(kit_append(f->s, 2, &f->err) == 0);
    CHECK_U64(store_head(f->s).revision, 67);
    CHECK(log_is(f, 1, 67));
}

CONTRACT("O2: an append happens at the expected head or not at all")
{
    struct store_record record = record_of("", "x");
    struct store_appended done;

    REQUIRE(kit_append(f->s, 5, &f->err) == 0);
    CHECK_I64(append_one(f, &record, 4, &done), STORE_CONFLICT);
    CHECK_U64(done.head.revision, 5);
    CHECK_I64(append_one(f, &record, 6, &done), STORE_CONFLICT);
    CHECK_U64(store_head(f->s).revision, 5);
    CHECK_I64(append_one(f, &record, 5, &done), 0);
    CHECK_U64(done.head.revision, 6);
}

CONTRACT("D1 D2: what was appended is there after a restart, byte for byte")
{
    static const char binary[] = {0, 1, (char)0xff, 0, '\n'};
    struct store_record records[2] = {record_of("a", "one"), {.bytes = {binary, 5}}};
    struct store_append op = {.records = records, .n = 2};
    struct store_appended done;
    owned(mem) struct gather *g = NEW(struct gather);

    REQUIRE(g && store_append(f->s, &op, &done, &f->err) == 0);
    REQUIRE(fixture_reopen(f));
    CHECK_I64(store_verify(f->s, &f->err), 0);
    CHECK_I64(store_read(f->s, 1, 2, gather_record, g, &f->err), 0);
    CHECK_U64(g->n, 2);
    CHECK(g->altered); /* they are not those of the kit, so the kit's check must say so */
}

CONTRACT("limits: empty and oversized appends are refused and change nothing")
{
    owned(mem) char *large = mem_zalloc((size_t)STORE_RECORD_MAX + 1);
    char id[STORE_REQUEST_MAX + 2] = {0};
    struct store_record record = record_of("", "");
    struct store_append none = {.records = &record, .n = 0};
    struct store_appended done;

    REQUIRE(large);
    CHECK_I64(store_append(f->s, &none, &done, &f->err), ERR_INVALID);
    CHECK_I64(append_one(f, &record, 0, &done), ERR_INVALID);
    record.bytes = str_of(large, (size_t)STORE_RECORD_MAX + 1);
    CHECK_I64(append_one(f, &record, 0, &done), ERR_INVALID);
    memset(id, 'i', STORE_REQUEST_MAX + 1);
    record = record_of(id, "x");
    CHECK_I64(append_one(f, &record, 0, &done), ERR_INVALID);
    id[STORE_REQUEST_MAX] = '\0';
    record = record_of(id, "x");
    CHECK_I64(append_one(f, &record, 0, &done), 0);
    record = (struct store_record){.bytes = str_of(large, (size_t)STORE_RECORD_MAX)};
    CHECK_I64(append_one(f, &record, 1, &done), 0);
    CHECK_U64(store_head(f->s).revision, 2);
}

/* ---- requests ---- */

CONTRACT("Q1: a repeated request id returns the first revision, even with a stale head")
{
    struct store_record record = record_of("req-2", "again");
    struct store_appended done;

    REQUIRE(kit_append(f->s, 3, &f->err) == 0);
    CHECK_I64(append_one(f, &record, 3, &done), STORE_REPEATED);
    CHECK_U64(done.repeated_revision, 2);
    CHECK_I64(append_one(f, &record, 1, &done), STORE_REPEATED);
    REQUIRE(fixture_reopen(f));
    CHECK_I64(append_one(f, &record, 3, &done), STORE_REPEATED);
    CHECK_U64(done.repeated_revision, 2);
    CHECK_U64(done.head.revision, 3);
    CHECK_U64(store_head(f->s).revision, 3);
}

CONTRACT("Q1: a repeated record among new ones appends none of them and says which")
{
    struct store_record records[3] = {record_of("n1", "x"), record_of("req-1", "y"),
                                      record_of("n2", "z")};
    struct store_append op = {.records = records, .n = 3, .expected_head = 1};
    struct store_appended done;
    uint64_t revision = 0;

    REQUIRE(kit_append(f->s, 1, &f->err) == 0);
    CHECK_I64(store_append(f->s, &op, &done, &f->err), STORE_REPEATED);
    CHECK_U64(done.at, 1);
    CHECK_I64(store_find_request(f->s, STR("n1"), &revision, &f->err), ERR_NOT_FOUND);
    records[1] = record_of("n2", "y");
    CHECK_I64(store_append(f->s, &op, &done, &f->err), ERR_INVALID);
    records[1] = record_of("", "y");
    CHECK_I64(store_append(f->s, &op, &done, &f->err), 0);
    CHECK_I64(store_find_request(f->s, STR("n2"), &revision, &f->err), 0);
    CHECK_U64(revision, 4);
}

CONTRACT("Q2: ids are remembered for the newest records only, before and after a restart")
{
    uint64_t revision = 0;

    f->opts.retain = 10;
    REQUIRE(fixture_reopen(f));
    for (int i = 0; i < 3; i++)
        REQUIRE(kit_append(f->s, 10, &f->err) == 0);
    for (int i = 0; i < 2; i++) {
        CHECK_I64(store_find_request(f->s, STR("req-20"), &revision, &f->err), ERR_NOT_FOUND);
        CHECK_I64(store_find_request(f->s, STR("req-21"), &revision, &f->err), 0);
        CHECK_U64(revision, 21);
        CHECK_U64(store_stats(f->s).requests_known, 10);
        REQUIRE(fixture_reopen(f));
    }
}

/* ---- reading and watching ---- */

CONTRACT("R1: a range gives exactly its records, and a reader can stop")
{
    owned(mem) struct gather *g = NEW(struct gather);

    REQUIRE(g && kit_append(f->s, 20, &f->err) == 0);
    CHECK(log_is(f, 1, 20));
    CHECK(log_is(f, 7, 9));
    CHECK_I64(store_read(f->s, 15, UINT64_MAX, gather_record, g, &f->err), 0);
    CHECK(gather_is(g, 15, 20));
    *g = (struct gather){0};
    CHECK_I64(store_read(f->s, 21, UINT64_MAX, gather_record, g, &f->err), 0);
    CHECK_I64(store_read(f->s, 9, 8, gather_record, g, &f->err), 0);
    CHECK_U64(g->n, 0);
    g->stop_at = 4;
    CHECK_I64(store_read(f->s, 1, 20, gather_record, g, &f->err), GATHER_STOPPED);
    CHECK_U64(g->n, 4);
}

CONTRACT("W1: a watch gives the old records, then each new one, exactly once")
{
    owned(mem) struct gather *g = NEW(struct gather);
    struct store_watcher watcher = {.record = gather_record, .ctx = g};
    struct store_watch *w = NULL;

    REQUIRE(g && kit_append(f->s, 10, &f->err) == 0);
    REQUIRE(store_watch_open(f->s, 4, &watcher, &w, &f->err) == 0);
    CHECK(gather_is(g, 4, 10));
    for (size_t i = 1; i <= 5; i++)
        CHECK_I64(kit_append(f->s, i, &f->err), 0);
    CHECK_I64(store_poll(f->s, 0, &f->err), 0);
    CHECK_I64(store_catch_up(f->s, &f->err), 0);
    CHECK(gather_is(g, 4, 25));
    CHECK_U64(store_stats(f->s).watches, 1);
    w = store_watch_close(w);
    CHECK_I64(kit_append(f->s, 1, &f->err), 0);
    CHECK(gather_is(g, 4, 25));
}

CONTRACT("W1: a watch may begin at a record that is not there yet")
{
    owned(mem) struct gather *g = NEW(struct gather);
    struct store_watcher watcher = {.record = gather_record, .ctx = g};
    struct store_watch *w = NULL;

    REQUIRE(g && kit_append(f->s, 2, &f->err) == 0);
    REQUIRE(store_watch_open(f->s, 5, &watcher, &w, &f->err) == 0);
    REQUIRE(kit_append(f->s, 5, &f->err) == 0);
    CHECK(gather_is(g, 5, 7));
    w = store_watch_close(w);
}

CONTRACT("W4: a watch that does not return 0 has ended, and is told so once")
{
    owned(mem) struct gather *g = NEW(struct gather);
    struct store_watcher watcher = {.record = gather_record, .ended = gather_ended, .ctx = g};
    struct store_watch *w = NULL;

    REQUIRE(g);
    g->stop_at = 3;
    REQUIRE(store_watch_open(f->s, 1, &watcher, &w, &f->err) == 0);
    CHECK_I64(kit_append(f->s, 5, &f->err), 0);
    CHECK_U64(g->n, 3);
    CHECK_I64(g->ended, GATHER_STOPPED);
    CHECK_I64(kit_append(f->s, 1, &f->err), 0);
    CHECK_U64(g->n_ended, 1);
    CHECK_U64(store_head(f->s).revision, 6);
    w = store_watch_close(w);
    CHECK_I64(store_watch_open(f->s, 1, &watcher, &w, &f->err), GATHER_STOPPED);
}

/* ---- snapshots and compaction ---- */

CONTRACT("S1 S2: the newest committed snapshot is read, whole, after a restart too")
{
    struct store_snapshot_info info;
    struct store_snapshot *cut = NULL;
    bool right = false;

    CHECK_I64(kit_read_snapshot(f->s, &info, &right, &f->err), ERR_NOT_FOUND);
    REQUIRE(kit_append(f->s, 10, &f->err) == 0);
    REQUIRE(kit_snapshot(f->s, 4, 10, &f->err) == 0);
    REQUIRE(kit_snapshot(f->s, 8, 3 * MIB + 5, &f->err) == 0);
    REQUIRE(store_snapshot_new(f->s, 10, &cut, &f->err) == 0);
    REQUIRE(store_snapshot_add(cut, STR("half of it"), &f->err) == 0);
    CHECK_I64(kit_append(f->s, 1, &f->err), 0);
    CHECK_I64(kit_snapshot(f->s, 9, 1, &f->err), ERR_LOCKED);
    cut = store_snapshot_free(cut);
    for (int i = 0; i < 2; i++) {
        CHECK_I64(kit_read_snapshot(f->s, &info, &right, &f->err), 0);
        CHECK_U64(info.revision, 8);
        CHECK_U64(info.bytes, 3 * MIB + 5);
        CHECK_U64(info.passed_over, 0);
        CHECK(right);
        REQUIRE(fixture_reopen(f));
    }
    CHECK_I64(store_check(f->s, &f->err), 0);
}

CONTRACT("S1: a snapshot may be empty, and not of a revision that is not there")
{
    struct store_snapshot_info info;
    bool right = false;

    CHECK_I64(kit_snapshot(f->s, 1, 10, &f->err), ERR_INVALID);
    CHECK_I64(kit_snapshot(f->s, 0, 0, &f->err), 0);
    CHECK_I64(kit_read_snapshot(f->s, &info, &right, &f->err), 0);
    CHECK(right && info.bytes == 0 && info.revision == 0);
}

CONTRACT("C1: without a snapshot nothing is compacted")
{
    struct store_compact op = {.below = 100};
    uint64_t floor = 0;

    f->opts.retain = 1;
    REQUIRE(fixture_reopen(f));
    REQUIRE(kit_append(f->s, 50, &f->err) == 0);
    CHECK_I64(store_compact(f->s, &op, &floor, &f->err), 0);
    CHECK_U64(floor, 1);
    CHECK(log_is(f, 1, 50));
}

CONTRACT("C1: the floor stays below the older of two snapshots and the newest records")
{
    struct store_compact op = {.below = 1000};
    uint64_t floor = 0;

    f->opts.retain = 20;
    REQUIRE(fixture_reopen(f));
    REQUIRE(kit_append(f->s, 100, &f->err) == 0);
    REQUIRE(kit_snapshot(f->s, 30, 100, &f->err) == 0);
    REQUIRE(kit_snapshot(f->s, 60, 100, &f->err) == 0);
    op.below = 11;
    CHECK_I64(store_compact(f->s, &op, &floor, &f->err), 0);
    CHECK_U64(floor, 11);
    op.below = 1000;
    CHECK_I64(store_compact(f->s, &op, &floor, &f->err), 0);
    CHECK_U64(floor, 31);
    REQUIRE(kit_snapshot(f->s, 100, 100, &f->err) == 0);
    REQUIRE(kit_snapshot(f->s, 100, 100, &f->err) == 0);
    CHECK_I64(store_compact(f->s, &op, &floor, &f->err), 0);
    CHECK_U64(floor, 81); /* the newest 20 stay */
    REQUIRE(fixture_reopen(f));
    CHECK_I64(store_floor(f->s, &floor, &f->err), 0);
    CHECK_U64(floor, 81);
    CHECK_U64(store_head(f->s).revision, 100);
    CHECK(log_is(f, 81, 100));
    CHECK_I64(store_check(f->s, &f->err), 0);
    CHECK_I64(kit_append(f->s, 5, &f->err), 0);
    CHECK_I64(store_verify(f->s, &f->err), 0);
}

CONTRACT("R1 W4: below the floor there is no reading and no watching")
{
    owned(mem) struct gather *g = NEW(struct gather);
    struct store_watcher watcher = {.record = gather_record, .ctx = g};
    struct store_compact op = {.below = 21};
    struct store_watch *w = NULL;
    uint64_t floor = 0;

    f->opts.retain = 5;
    REQUIRE(g && fixture_reopen(f));
    REQUIRE(kit_append(f->s, 50, &f->err) == 0);
    REQUIRE(kit_snapshot(f->s, 40, 10, &f->err) == 0);
    REQUIRE(store_compact(f->s, &op, &floor, &f->err) == 0);
    CHECK_I64(store_read(f->s, 20, 50, gather_record, g, &f->err), STORE_COMPACTED);
    CHECK_I64(store_watch_open(f->s, 20, &watcher, &w, &f->err), STORE_COMPACTED);
    CHECK_U64(g->n, 0);
    CHECK_I64(store_watch_open(f->s, 21, &watcher, &w, &f->err), 0);
    CHECK(gather_is(g, 21, 50));
    w = store_watch_close(w);
}

static bool keep_sevens(void *ctx, uint64_t revision)
{
    (void)ctx;
    return revision % 7 == 0;
}

CONTRACT("C2 R2: kept records survive compaction in slices, until they are forgotten")
{
    static const uint64_t forgotten[] = {7, 8, 21, 1000};
    static const uint64_t want[] = {14, 28, 29, 30};
    struct store_compact op = {.below = 29, .keep = keep_sevens, .max_records = 10};
    owned(mem) struct gather *g = NEW(struct gather);
    uint64_t floor = 0;

    f->opts.retain = 5;
    REQUIRE(g && fixture_reopen(f));
    REQUIRE(kit_append(f->s, 50, &f->err) == 0);
    REQUIRE(kit_snapshot(f->s, 40, 10, &f->err) == 0);
    CHECK_I64(store_compact(f->s, &op, &floor, &f->err), STORE_MORE);
    CHECK_U64(floor, 11);
    CHECK_I64(store_compact(f->s, &op, &floor, &f->err), STORE_MORE);
    CHECK_I64(store_compact(f->s, &op, &floor, &f->err), 0);
    CHECK_U64(floor, 29);
    REQUIRE(fixture_reopen(f));
    CHECK_I64(store_forget(f->s, forgotten, 4, &f->err), 0);
    CHECK_I64(store_read_kept(f->s, 8, 30, gather_record, g, &f->err), 0);
    CHECK(g->n == 4 && memcmp(g->revisions, want, sizeof(want)) == 0 && !g->altered);
    CHECK_I64(store_check(f->s, &f->err), 0);
}

/* ---- blobs ---- */

CONTRACT("B1 B2: a blob is stored under its hash, once, and survives a restart")
{
    owned(shared_unref) struct shared *bytes = NULL;
    struct sha256 hash, other = sha256_of(STR("other"));
    bool has = true;

    REQUIRE(kit_blob(f->s, "content", &hash, &f->err) == 0);
    REQUIRE(kit_blob(f->s, "content", &hash, &f->err) == 0);
    CHECK_I64(store_blob_put(f->s, &other, STR("content"), &f->err), ERR_INVALID);
    REQUIRE(fixture_reopen(f));
    CHECK_I64(store_blob_get(f->s, &other, &bytes, &f->err), ERR_NOT_FOUND);
    CHECK_I64(store_blob_has(f->s, &other, &has, &f->err), 0);
    CHECK(!has);
    CHECK_I64(store_blob_has(f->s, &hash, &has, &f->err), 0);
    CHECK(has);
    CHECK_I64(store_blob_get(f->s, &hash, &bytes, &f->err), 0);
    CHECK_STR(shared_str(bytes), STR("content"));
}

static bool keep_young(void *ctx, const struct sha256 *hash, uint64_t put_epoch)
{
    const uint64_t *oldest = ctx;

    (void)hash;
    return put_epoch >= *oldest;
}

CONTRACT("B3: an append with an old epoch does not succeed without its blob")
{
    struct store_record record = record_of("", "names a blob");
    struct store_collect op = {.keep = keep_young};
    struct store_appended done;
    struct sha256 hash, young;
    uint64_t epoch = 0, removed = 0, oldest;

    REQUIRE(kit_blob(f->s, "content", &hash, &f->err) == 0);
    REQUIRE(store_blob_epoch(f->s, &epoch, &f->err) == 0);
    record.blobs = &hash;
    record.n_blobs = 1;
    record.blob_epoch = epoch;
    CHECK_I64(append_one(f, &record, 0, &done), 0);
    oldest = epoch + 1;
    op.ctx = &oldest;
    CHECK_I64(store_blob_collect(f->s, &op, &removed, &f->err), 0);
    CHECK_U64(removed, 1);
    CHECK_I64(append_one(f, &record, 1, &done), STORE_BLOB_GONE);
    CHECK_U64(done.at, 0);
    CHECK_U64(done.head.revision, 1);
    REQUIRE(kit_blob(f->s, "content", &hash, &f->err) == 0);
    CHECK_I64(append_one(f, &record, 1, &done), 0);
    REQUIRE(kit_blob(f->s, "young", &young, &f->err) == 0);
    CHECK_I64(store_blob_collect(f->s, &op, &removed, &f->err), 0);
    CHECK_U64(removed, 0);
    REQUIRE(fixture_reopen(f));
    REQUIRE(store_blob_epoch(f->s, &oldest, &f->err) == 0);
    CHECK_U64(oldest, epoch + 2);
}

CONTRACT("B3: putting a blob again makes it young, so that a collection spares it")
{
    struct store_collect op = {.keep = keep_young};
    struct sha256 hash;
    uint64_t removed = 0, oldest = 0;

    op.ctx = &oldest;
    REQUIRE(kit_blob(f->s, "content", &hash, &f->err) == 0);
    REQUIRE(store_blob_collect(f->s, &op, &removed, &f->err) == 0);
    REQUIRE(kit_blob(f->s, "content", &hash, &f->err) == 0);
    REQUIRE(store_blob_epoch(f->s, &oldest, &f->err) == 0);
    CHECK_I64(store_blob_collect(f->s, &op, &removed, &f->err), 0);
    CHECK_U64(removed, 0);
}

/* ---- leases ---- */

/* A text like "+a=1 -b " of what was given. */
struct story {
    char text[512];
    int stop; /* returned from every call */
};

static int tell(void *ctx, const struct store_ephemeral *item)
{
    struct story *story = ctx;
    size_t len = strlen(story->text);

    if (item->lease)
        (void)snprintf(story->text + len, sizeof(story->text) - len, "+%.*s=%.*s ",
                       STR_ARG(item->key), STR_ARG(item->bytes));
    else
        (void)snprintf(story->text + len, sizeof(story->text) - len, "-%.*s ",
                       STR_ARG(item->key));
    return story->stop;
}

static struct store_ephemeral item_of(const char *key, const char *bytes)
{
    return (struct store_ephemeral){.key = str_c(key), .bytes = str_c(bytes)};
}

static bool list_is(struct fixture *f, struct str prefix, const char *want)
{
    struct story story = {0};

    return CHECK_I64(store_ephemeral_list(f->s, prefix, tell, &story, &f->err), 0) &&
           CHECK_STR(str_c(story.text), str_c(want));
}

CONTRACT("L1: a lease lives for its time after it was last kept, and takes its items along")
{
    const struct store_ephemeral items[] = {item_of("b", "2"), item_of("a", "1")};
    const struct store_ephemeral other = item_of("c", "");
    nsec_t s = NSEC_PER_S, next = 0;
    uint64_t short_one = 0, long_one = 0;

    REQUIRE(store_lease_grant(f->s, 10 * s, 1 * s, &short_one, &f->err) == 0);
    REQUIRE(store_lease_grant(f->s, 100 * s, 1 * s, &long_one, &f->err) == 0);
    CHECK(short_one != long_one);
    REQUIRE(store_ephemeral_put(f->s, short_one, items, 2, &f->err) == 0);
    REQUIRE(store_ephemeral_put(f->s, long_one, &other, 1, &f->err) == 0);
    CHECK_I64(store_tick(f->s, 10 * s, &next, &f->err), 0);
    CHECK_U64(next, 11 * s);
    CHECK(list_is(f, STR(""), "+a=1 +b=2 +c= "));
    CHECK_I64(store_lease_keep(f->s, short_one, 10 * s, &f->err), 0);
    CHECK_I64(store_tick(f->s, 19 * s, &next, &f->err), 0);
    CHECK(list_is(f, STR(""), "+a=1 +b=2 +c= "));
    CHECK_I64(store_tick(f->s, 20 * s, &next, &f->err), 0);
    CHECK(list_is(f, STR(""), "+c= "));
    CHECK_U64(next, 101 * s);
    CHECK_I64(store_lease_keep(f->s, short_one, 20 * s, &f->err), ERR_NOT_FOUND);
    CHECK_I64(store_ephemeral_put(f->s, short_one, items, 2, &f->err), ERR_NOT_FOUND);
    CHECK_I64(store_lease_revoke(f->s, long_one, &f->err), 0);
    CHECK_I64(store_lease_revoke(f->s, long_one, &f->err), ERR_NOT_FOUND);
    CHECK(list_is(f, STR(""), ""));
    CHECK_I64(store_tick(f->s, 5 * s, &next, &f->err), 0); /* a clock that goes back */
    CHECK_U64(next, UINT64_MAX);
}

CONTRACT("L1: an id of a lease is not used again")
{
    uint64_t first = 0, second = 0;

    REQUIRE(store_lease_grant(f->s, NSEC_PER_S, 0, &first, &f->err) == 0);
    REQUIRE(store_lease_revoke(f->s, first, &f->err) == 0);
    REQUIRE(fixture_reopen(f));
    REQUIRE(store_lease_grant(f->s, NSEC_PER_S, 0, &second, &f->err) == 0);
    CHECK(second > first);
    CHECK_I64(store_lease_grant(f->s, 0, 0, &second, &f->err), ERR_INVALID);
}

CONTRACT("L2: items survive a restart, and their lease then has its whole time again")
{
    const struct store_ephemeral item = item_of("a", "1");
    nsec_t s = NSEC_PER_S;
    uint64_t lease = 0;

    REQUIRE(store_lease_grant(f->s, 10 * s, 500 * s, &lease, &f->err) == 0);
    REQUIRE(store_ephemeral_put(f->s, lease, &item, 1, &f->err) == 0);
    f->opts.now = 3 * s; /* a clock that has nothing to do with the one before */
    REQUIRE(fixture_reopen(f));
    CHECK_I64(store_tick(f->s, 12 * s, NULL, &f->err), 0);
    CHECK(list_is(f, STR(""), "+a=1 "));
    CHECK_I64(store_tick(f->s, 13 * s, NULL, &f->err), 0);
    CHECK(list_is(f, STR(""), ""));
}

CONTRACT("L3: an ephemeral watch gives what is there and then every change, by prefix")
{
    const struct store_ephemeral items[] = {item_of("p/b", "2"), item_of("p/a", "1"),
                                            item_of("q", "3")};
    const struct store_ephemeral changed = item_of("p/a", "9");
    const struct str keys[] = {STR("p/b"), STR("p/none"), STR("q")};
    struct store_ephemeral_watch *w = NULL;
    struct story story = {0};
    uint64_t lease = 0, second = 0;

    REQUIRE(store_lease_grant(f->s, NSEC_PER_S, 0, &lease, &f->err) == 0);
    REQUIRE(store_lease_grant(f->s, NSEC_PER_S, 0, &second, &f->err) == 0);
    REQUIRE(store_ephemeral_put(f->s, lease, items, 3, &f->err) == 0);
    REQUIRE(store_ephemeral_watch_open(f->s, STR("p/"), tell, &story, &w, &f->err) == 0);
    CHECK_I64(store_ephemeral_put(f->s, second, &changed, 1, &f->err), 0);
    CHECK_I64(store_ephemeral_delete(f->s, keys, 3, &f->err), 0);
    CHECK_I64(store_lease_revoke(f->s, lease, &f->err), 0);
    CHECK(list_is(f, STR("p/"), "+p/a=9 ")); /* it belongs to the second lease now */
    CHECK_I64(store_lease_revoke(f->s, second, &f->err), 0);
    CHECK_STR(str_c(story.text), STR("+p/a=1 +p/b=2 +p/a=9 -p/b -p/a "));
    w = store_ephemeral_watch_close(w);
}

CONTRACT("L3: an ephemeral watch that does not return 0 has ended")
{
    const struct store_ephemeral item = item_of("a", "1");
    struct store_ephemeral_watch *w = NULL;
    struct story story = {.stop = 5};
    uint64_t lease = 0;

    REQUIRE(store_ephemeral_watch_open(f->s, STR(""), tell, &story, &w, &f->err) == 0);
    REQUIRE(store_lease_grant(f->s, NSEC_PER_S, 0, &lease, &f->err) == 0);
    REQUIRE(store_ephemeral_put(f->s, lease, &item, 1, &f->err) == 0);
    REQUIRE(store_ephemeral_put(f->s, lease, &item, 1, &f->err) == 0);
    CHECK_STR(str_c(story.text), STR("+a=1 "));
    CHECK_U64(store_stats(f->s).ephemeral_watches, 0);
    w = store_ephemeral_watch_close(w);
}

CONTRACT("limits: ephemeral items have a ceiling in number, key and bytes")
{
    owned(mem) char *large = mem_zalloc((size_t)STORE_EPHEMERAL_BYTES_MAX + 1);
    struct store_ephemeral items[STORE_EPHEMERAL_ITEMS_MAX + 1];
    uint64_t lease = 0;

    REQUIRE(large && store_lease_grant(f->s, NSEC_PER_S, 0, &lease, &f->err) == 0);
    memset(large, 'k', (size_t)STORE_EPHEMERAL_BYTES_MAX);
    for (size_t i = 0; i < ARRAY_LEN(items); i++)
        items[i] = item_of("key", "value");
    CHECK_I64(store_ephemeral_put(f->s, lease, items, ARRAY_LEN(items), &f->err), ERR_INVALID);
    CHECK_I64(store_ephemeral_put(f->s, lease, items, ARRAY_LEN(items) - 1, &f->err), 0);
    items[0].key = STR_NULL;
    CHECK_I64(store_ephemeral_put(f->s, lease, items, 1, &f->err), ERR_INVALID);
    items[0].key = str_of(large, STORE_EPHEMERAL_KEY_MAX + 1);
    CHECK_I64(store_ephemeral_put(f->s, lease, items, 1, &f->err), ERR_INVALID);
    items[0].key = str_of(large, STORE_EPHEMERAL_KEY_MAX);
    CHECK_I64(store_ephemeral_put(f->s, lease, items, 1, &f->err), 0);
    items[0].bytes = str_of(large, (size_t)STORE_EPHEMERAL_BYTES_MAX);
    CHECK_I64(store_ephemeral_put(f->s, lease, items, 1, &f->err), ERR_INVALID);
}

/* ---- waiting and care ---- */

static void *wake_it(void *store)
{
    store_wake(store);
    return NULL;
}

CONTRACT("T1: store_wake of another thread ends a poll, also one that has not begun")
{
    pthread_t thread;

    store_wake(f->s);
    CHECK_I64(store_poll(f->s, -1, &f->err), 0);
    REQUIRE(pthread_create(&thread, NULL, wake_it, f->s) == 0);
    CHECK_I64(store_poll(f->s, -1, &f->err), 0);
    CHECK_I64(pthread_join(thread, NULL), 0);
    CHECK_I64(store_poll(f->s, 0, &f->err), 0);
}

CONTRACT("stats count what was done")
{
    struct store_record record = record_of("req-1", "x");
    struct store_appended done;
    struct store_stats stats;

    REQUIRE(kit_append(f->s, 1, &f->err) == 0);
    REQUIRE(kit_append(f->s, 64, &f->err) == 0);
    CHECK_I64(append_one(f, &record, 65, &done), STORE_REPEATED);
    record = record_of("", "x");
    CHECK_I64(append_one(f, &record, 3, &done), STORE_CONFLICT);
    stats = store_stats(f->s);
    CHECK_U64(stats.appends, 2);
    CHECK_U64(stats.records, 65);
    CHECK_U64(stats.groups[0], 1);
    CHECK_U64(stats.groups[6], 1);
    CHECK_U64(stats.repeated, 1);
    CHECK_U64(stats.conflicts, 1);
    CHECK(stats.syncs >= 2 && stats.append_max >= stats.append_last);
}

TEST("a url of no engine is refused with the ones there are")
{
    struct store_opts opts = {.semantics = 1};
    struct store *s = NULL;
    struct err err = ERR_NULL;

    CHECK_I64(store_open("redis:x", &opts, &s, &err), ERR_INVALID);
    CHECK(strstr(err.hint, "sqlite:") != NULL);
    CHECK_I64(store_open("nothing", &opts, &s, &err), ERR_INVALID);
    CHECK_I64(store_open("mem:place", &opts, &s, &err), ERR_INVALID);
    CHECK_I64(store_open("sqlite:", &opts, &s, &err), ERR_INVALID);
}

CONTRACT("STORE_MUST_EXIST does not make a store")
{
    CHECK_I64(store_close(f->s, &f->err), 0);
    f->s = NULL;
    f->opts.create = STORE_MUST_EXIST;
    REQUIRE(fixture_open(f) == 0);
    f->s = store_drop(f->s);
    if (f->engine == MEM) {
        f->disk = store_disk_free(f->disk);
        f->disk = store_disk_new(1);
        f->opts.disk = f->disk;
    } else {
        CHECK_I64(unlink(strchr(f->url, ':') + 1), 0);
    }
    CHECK_I64(fixture_open(f), ERR_NOT_FOUND);
}

CONTRACT("no memory: an append fails whole, changes nothing, and the next one succeeds")
{
    REQUIRE(kit_append(f->s, 3, &f->err) == 0);
    ALLOC_SWEEP (n) {
        uint64_t before = store_head(f->s).revision;
        int r = kit_append(f->s, 8, &f->err);

        CHECK(r == 0 || r == ERR_NOMEM);
        CHECK_U64(store_head(f->s).revision, before + (r == 0 ? 8 : 0));
    }
    CHECK(log_is(f, 1, store_head(f->s).revision));
    REQUIRE(fixture_reopen(f));
    CHECK_I64(store_verify(f->s, &f->err), 0);
}

/* Everything once, with whatever fails; leaves nothing allocated. */
static int do_everything(struct fixture *f)
{
    const struct store_ephemeral items[] = {item_of("k1", "v"), item_of("k2", "v")};
    struct store_watcher watcher = {.record = gather_record};
    owned(mem) struct gather *g = NEW(struct gather);
    owned(shared_unref) struct shared *bytes = NULL;
    struct store_ephemeral_watch *ew = NULL;
    struct store_snapshot_info info;
    struct store_watch *w = NULL;
    struct story story = {0};
    struct sha256 hash;
    uint64_t lease = 0, epoch = UINT64_MAX, removed = 0;
    struct store_collect collect = {.keep = keep_young, .ctx = &epoch};
    bool right;
    int r = g ? 0 : ERR_NOMEM;

    watcher.ctx = g;
    r = r ? r : store_watch_open(f->s, 1, &watcher, &w, &f->err);
    r = r ? r : kit_append(f->s, 2, &f->err);
    r = r ? r : kit_snapshot(f->s, store_head(f->s).revision, 5000, &f->err);
    r = r ? r : kit_read_snapshot(f->s, &info, &right, &f->err);
    r = r ? r : kit_blob(f->s, "content", &hash, &f->err);
    r = r ? r : store_blob_get(f->s, &hash, &bytes, &f->err);
    r = r ? r : store_blob_collect(f->s, &collect, &removed, &f->err);
    r = r ? r : store_lease_grant(f->s, NSEC_PER_S, 0, &lease, &f->err);
    r = r ? r : store_ephemeral_put(f->s, lease, items, 2, &f->err);
    r = r ? r : store_ephemeral_watch_open(f->s, STR(""), tell, &story, &ew, &f->err);
    r = r ? r : store_lease_revoke(f->s, lease, &f->err);
    r = r ? r : store_check(f->s, &f->err);
    ew = store_ephemeral_watch_close(ew);
    w = store_watch_close(w);
    return r;
}

CONTRACT("no memory: every call can fail for want of it, and nothing is lost or left over")
{
    ALLOC_SWEEP (n) {
        int r = do_everything(f);

        CHECK(r == 0 || r == ERR_NOMEM);
    }
    CHECK_I64(store_check(f->s, &f->err), 0);
    CHECK(log_is(f, 1, store_head(f->s).revision));
    REQUIRE(fixture_reopen(f));
    CHECK_I64(store_check(f->s, &f->err), 0);
}

CONTRACT("no memory: opening fails whole, and then succeeds")
{
    REQUIRE(kit_append(f->s, 20, &f->err) == 0);
    f->s = store_drop(f->s);
    ALLOC_SWEEP (n) {
        int r = fixture_open(f);

        CHECK(r == 0 || r == ERR_NOMEM);
        if (r == 0)
            f->s = store_drop(f->s);
    }
    CHECK_I64(fixture_open(f), 0);
}

/* ---- readers ---- */

static bool reader_sees(struct store *reader, uint64_t to)
{
    owned(mem) struct gather *g = NEW(struct gather);

    return CHECK(g != NULL) &&
           CHECK_I64(store_read(reader, 1, UINT64_MAX, gather_record, g, NULL), 0) &&
           CHECK(gather_is(g, 1, to)) && CHECK_U64(store_head(reader).revision, to);
}

CONTRACT("R4: a reader sees the log of one moment until it lets go of it")
{
    owned(store_drop) struct store *reader = NULL;

    REQUIRE(kit_append(f->s, 10, &f->err) == 0);
    REQUIRE(store_reader_open(f->s, &reader, &f->err) == 0);
    REQUIRE(kit_append(f->s, 10, &f->err) == 0);
    REQUIRE(reader_sees(reader, 20)); /* of its first look, not of when it was opened */
    REQUIRE(kit_append(f->s, 10, &f->err) == 0);
    REQUIRE(reader_sees(reader, 20));
    store_reader_release(reader);
    REQUIRE(reader_sees(reader, 30));
    store_reader_release(reader);
    store_reader_release(reader); /* nothing more to let go of */
    CHECK_I64(store_verify(f->s, &f->err), 0);
}

CONTRACT("R4 R1: a reader of what was compacted is told so")
{
    struct store_compact op = {.below = 21, .keep = keep_sevens};
    owned(mem) struct gather *g = NEW(struct gather);
    owned(store_drop) struct store *reader = NULL;
    uint64_t floor = 0;

    f->opts.retain = 5;
    REQUIRE(g && fixture_reopen(f));
    REQUIRE(kit_append(f->s, 50, &f->err) == 0 && kit_snapshot(f->s, 40, 10, &f->err) == 0);
    REQUIRE(store_reader_open(f->s, &reader, &f->err) == 0);
    REQUIRE(reader_sees(reader, 50));
    store_reader_release(reader);
    REQUIRE(store_compact(f->s, &op, &floor, &f->err) == 0);
    CHECK_I64(store_read(reader, 20, 50, gather_record, g, &f->err), STORE_COMPACTED);
    CHECK_I64(store_read(reader, 21, 50, gather_record, g, &f->err), 0);
    CHECK(gather_is(g, 21, 50));
    g->n = 0;
    CHECK_I64(store_read_kept(reader, 1, 20, gather_record, g, &f->err), 0);
    CHECK_U64(g->n, 2);
    CHECK_I64(store_floor(reader, &floor, &f->err), 0);
    CHECK_U64(floor, 21);
}

/* Appends to the store while its reader is in the middle of the log. */
static int append_within(void *ctx, const struct store_entry *entry)
{
    struct fixture *f = ctx;

    (void)entry;
    return kit_append(f->s, 3, &f->err);
}

CONTRACT("R4: a reader in the middle of the log is in the way of nothing")
{
    owned(store_drop) struct store *reader = NULL;

    REQUIRE(kit_append(f->s, 10, &f->err) == 0);
    REQUIRE(store_reader_open(f->s, &reader, &f->err) == 0);
    CHECK_I64(store_read(reader, 1, UINT64_MAX, append_within, f, &f->err), 0);
    CHECK_U64(store_head(f->s).revision, 40);
    CHECK_I64(kit_snapshot(f->s, 40, 5000, &f->err), 0);
    CHECK_I64(store_tick(f->s, NSEC_PER_S, NULL, &f->err), 0);
    CHECK(reader_sees(reader, 10));
    store_reader_release(reader);
    CHECK(reader_sees(reader, 40));
}

struct reading {
    struct store *reader;
    struct gather gather;
    _Atomic bool must_stop;
    uint64_t last;
    int result;
    bool wrong;
    unsigned rounds;
};

static void *read_on(void *arg)
{
    struct reading *r = arg;

    do {
        r->gather.n = 0;
        r->result = store_read(r->reader, 1, UINT64_MAX, gather_record, &r->gather, NULL);
        if (r->result || r->gather.n < r->last ||
            r->gather.n != store_head(r->reader).revision ||
            !gather_is(&r->gather, 1, r->gather.n))
            r->wrong = true;
        r->last = r->gather.n;
        r->rounds++;
        store_reader_release(r->reader);
    } while (!r->must_stop && !r->wrong);
    return NULL;
}

CONTRACT(
    "R4 T1: a reader on a thread of its own sees every record whole while the store goes on")
{
    owned(mem) struct reading *r = NEW(struct reading);
    pthread_t thread;

    REQUIRE(r && kit_append(f->s, 1, &f->err) == 0);
    REQUIRE(store_reader_open(f->s, &r->reader, &f->err) == 0);
    REQUIRE(pthread_create(&thread, NULL, read_on, r) == 0);
    for (int i = 0; i < 40 && !tap_failed(); i++) {
        CHECK_I64(kit_append(f->s, 1 + (size_t)i % 7, &f->err), 0);
        if (i % 10 == 5)
            CHECK_I64(kit_snapshot(f->s, store_head(f->s).revision, 5000, &f->err), 0);
        CHECK_I64(store_tick(f->s, NSEC_PER_S, NULL, &f->err), 0);
    }
    r->must_stop = true;
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK(!r->wrong && r->rounds > 0);
    store_reader_release(r->reader);
    CHECK(reader_sees(r->reader, store_head(f->s).revision));
    r->reader = store_drop(r->reader);
    CHECK_I64(store_verify(f->s, &f->err), 0);
}

/* ---- marks ---- */

static bool mark_is(struct store *s, const char *key, uint64_t number, uint64_t want_number,
                    uint64_t want_revision)
{
    struct store_mark mark = {.number = 0};
    int r = store_mark_find(s, str_c(key), number, &mark, NULL);

    if (!want_number)
        return CHECK_I64(r, ERR_NOT_FOUND);
    return CHECK_I64(r, 0) && CHECK_U64(mark.number, want_number) &&
           CHECK_U64(mark.revision, want_revision);
}

CONTRACT("M1 M2: the mark behind a number is found, by key, after a restart too")
{
    static const struct store_mark first[] = {
        {STR("a"), 128, 3}, {STR("a"), 256, 5}, {STR("ab"), 128, 4}, {STR("a\0b"), 384, 6}};
    static const struct store_mark second[] = {{STR("a"), 256, 7}};
    owned(store_drop) struct store *reader = NULL;
    uint64_t upto = 9;

    CHECK_I64(store_marked(f->s, &upto, &f->err), 0);
    CHECK_U64(upto, 0);
    REQUIRE(kit_append(f->s, 10, &f->err) == 0);
    CHECK_I64(store_mark(f->s, first, 4, 6, &f->err), 0);
    CHECK_I64(store_mark(f->s, second, 1, 8, &f->err), 0);
    CHECK_I64(store_mark(f->s, NULL, 0, 11, &f->err), ERR_INVALID);
    CHECK_I64(store_mark(f->s, NULL, 0, 10, &f->err), 0);
    for (int i = 0; i < 2; i++) {
        CHECK(mark_is(f->s, "a", 0, 128, 3) && mark_is(f->s, "a", 128, 128, 3));
        CHECK(mark_is(f->s, "a", 129, 256, 7) && mark_is(f->s, "a", 257, 0, 0));
        CHECK(mark_is(f->s, "ab", 1, 128, 4) && mark_is(f->s, "b", 1, 0, 0));
        CHECK_I64(store_marked(f->s, &upto, &f->err), 0);
        CHECK_U64(upto, 10);
        REQUIRE(fixture_reopen(f));
    }
    REQUIRE(store_reader_open(f->s, &reader, &f->err) == 0);
    CHECK(mark_is(reader, "a", 2, 128, 3));
    CHECK_I64(store_marked(reader, &upto, &f->err), 0);
    CHECK_U64(upto, 10);
    CHECK_I64(store_check(f->s, &f->err), 0);
}

CONTRACT("limits: marks have a ceiling in number and key")
{
    owned(mem) struct store_mark *marks = NEW_ARRAY(struct store_mark, STORE_MARKS_MAX + 1);
    char key[STORE_MARK_KEY_MAX + 1];

    REQUIRE(marks);
    memset(key, 'k', sizeof(key));
    for (size_t i = 0; i <= STORE_MARKS_MAX; i++)
        marks[i] = (struct store_mark){str_of(key, STORE_MARK_KEY_MAX), i, 1};
    REQUIRE(kit_append(f->s, 1, &f->err) == 0);
    CHECK_I64(store_mark(f->s, marks, STORE_MARKS_MAX + 1, 1, &f->err), ERR_INVALID);
    CHECK_I64(store_mark(f->s, marks, STORE_MARKS_MAX, 1, &f->err), 0);
    marks[0].key.len++;
    CHECK_I64(store_mark(f->s, marks, 1, 1, &f->err), ERR_INVALID);
    marks[0].key.len = 0;
    CHECK_I64(store_mark(f->s, marks, 1, 1, &f->err), ERR_INVALID);
}

CONTRACT("no memory: a reader and marks fail whole, and then succeed")
{
    const struct store_mark mark = {STR("a"), 128, 3};

    REQUIRE(kit_append(f->s, 10, &f->err) == 0);
    ALLOC_SWEEP (n) {
        struct store *reader = NULL;
        struct store_mark found;
        int r = store_reader_open(f->s, &reader, NULL);

        CHECK(r == 0 || r == ERR_NOMEM);
        if (r == 0)
            r = store_mark(f->s, &mark, 1, 5, NULL);
        if (r == 0)
            r = store_mark_find(reader, STR("a"), 1, &found, NULL);
        if (r == 0)
            r = store_read(reader, 1, 10, gather_record, &(struct gather){.n = 0}, NULL);
        CHECK(r == 0 || r == ERR_NOMEM);
        reader = store_drop(reader);
    }
    CHECK_I64(store_verify(f->s, &f->err), 0);
}

/* ---- snapshots beside the appends ---- */

struct writing {
    struct store_snapshot *snapshot;
    int result;
};

static void *write_pieces(void *arg)
{
    struct writing *w = arg;
    char piece[5000];

    memset(piece, 's', sizeof(piece));
    for (int i = 0; i < 50 && !w->result; i++)
        w->result = store_snapshot_add(w->snapshot, str_of(piece, sizeof(piece)), NULL);
    if (!w->result)
        w->result = store_snapshot_finish(w->snapshot, NULL);
    return NULL;
}

static int count_bytes(void *ctx, struct str bytes)
{
    *(size_t *)ctx += bytes.len;
    return 0;
}

CONTRACT(
    "S1 T1: the pieces of a snapshot are written on another thread while the store goes on")
{
    struct writing w = {.result = 0};
    struct store_snapshot_info info;
    size_t bytes = 0;
    pthread_t thread;

    REQUIRE(kit_append(f->s, 10, &f->err) == 0);
    REQUIRE(store_snapshot_new(f->s, 10, &w.snapshot, &f->err) == 0);
    REQUIRE(pthread_create(&thread, NULL, write_pieces, &w) == 0);
    for (int i = 0; i < 30; i++) {
        CHECK_I64(kit_append(f->s, 3, &f->err), 0);
        CHECK_I64(store_tick(f->s, NSEC_PER_S, NULL, &f->err), 0);
    }
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK_I64(w.result, 0);
    CHECK_I64(store_snapshot_read(f->s, count_bytes, &bytes, &info, &f->err), ERR_NOT_FOUND);
    CHECK_I64(store_snapshot_commit(w.snapshot, &f->err), 0);
    w.snapshot = store_snapshot_free(w.snapshot);
    CHECK_I64(store_snapshot_read(f->s, count_bytes, &bytes, &info, &f->err), 0);
    CHECK(bytes == 50 * 5000 && info.revision == 10);
    REQUIRE(fixture_reopen(f));
    CHECK_I64(store_check(f->s, &f->err), 0);
}

CONTRACT(
    "S1: a snapshot that is given up at any point leaves nothing, and the next one succeeds")
{
    REQUIRE(kit_append(f->s, 10, &f->err) == 0);
    for (int point = 0; point < 3; point++) {
        owned(store_snapshot_free) struct store_snapshot *snapshot = NULL;
        struct store_snapshot *second = NULL;
        struct store_snapshot_info info;
        bool right;

        REQUIRE(store_snapshot_new(f->s, 5, &snapshot, &f->err) == 0);
        CHECK_I64(store_snapshot_new(f->s, 5, &second, &f->err), ERR_LOCKED);
        if (point > 0)
            CHECK_I64(store_snapshot_add(snapshot, STR("some"), &f->err), 0);
        if (point > 1)
            CHECK_I64(store_snapshot_finish(snapshot, &f->err), 0);
        snapshot = store_snapshot_free(snapshot);
        CHECK_I64(kit_read_snapshot(f->s, &info, &right, &f->err), ERR_NOT_FOUND);
        CHECK_I64(store_tidy(f->s, &f->err), 0);
    }
    CHECK_I64(kit_snapshot(f->s, 7, 3000, &f->err), 0);
    CHECK_I64(store_check(f->s, &f->err), 0);
}
