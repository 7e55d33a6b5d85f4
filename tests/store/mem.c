/*
 * What only the simulated disk can do: crashes, answers that do not come, and several stores on one log.
 */
#include "kit.h"
#include "tap.h"

#include "base/alloc.h"

struct script {
    enum store_write write; /* the kind of write that has a fault */
    enum store_fault fault;
    unsigned after; /* that many of the kind go well first */
};

static enum store_fault follow(void *ctx, enum store_write write)
{
    struct script *script = ctx;

    if (write != script->write)
        return STORE_FAULT_NONE;
    if (script->after > 0) {
        script->after--;
        return STORE_FAULT_NONE;
    }
    return script->fault;
}

static struct store *open_on(struct store_disk *disk)
{
    struct store_opts opts = {.semantics = 1, .disk = disk, .now = NSEC_PER_S};
    struct store *s = NULL;

    CHECK_I64(store_open("mem:", &opts, &s, NULL), 0);
    return s;
}

TEST("D3: an unknown outcome that did happen is found by its request id, and watches get it")
{
    owned(store_disk_free) struct store_disk *disk = store_disk_new(1);
    owned(store_drop) struct store *s = open_on(disk);
    struct script script = {STORE_WRITE_APPEND, STORE_FAULT_DONE, 0};
    owned(mem) struct gather *g = NEW(struct gather);
    struct store_watcher watcher = {.record = gather_record, .ctx = g};
    struct store_watch *w = NULL;
    uint64_t revision = 0;

    REQUIRE(s && g && store_watch_open(s, 1, &watcher, &w, NULL) == 0);
    store_disk_faults(disk, follow, &script);
    CHECK_I64(kit_append(s, 2, NULL), ERR_TIMEOUT);
    store_disk_faults(disk, NULL, NULL);
    CHECK_U64(store_head(s).revision, 0);
    CHECK_I64(store_find_request(s, STR("req-2"), &revision, NULL), 0);
    CHECK_U64(revision, 2);
    CHECK(gather_is(g, 1, 2));
    w = store_watch_close(w);
}

TEST("D3 Q1: repeating an append whose answer was lost gives the first result")
{
    owned(store_disk_free) struct store_disk *disk = store_disk_new(1);
    owned(store_drop) struct store *s = open_on(disk);
    struct script script = {STORE_WRITE_APPEND, STORE_FAULT_DONE, 0};
    struct store_record record = {.request = STR("once"), .bytes = STR("x")};
    struct store_append op = {.records = &record, .n = 1};
    struct store_appended done;

    REQUIRE(s);
    store_disk_faults(disk, follow, &script);
    CHECK_I64(store_append(s, &op, &done, NULL), ERR_TIMEOUT);
    store_disk_faults(disk, NULL, NULL);
    CHECK_I64(store_append(s, &op, &done, NULL), STORE_REPEATED);
    CHECK_U64(done.repeated_revision, 1);
    CHECK_U64(done.head.revision, 1);
}

TEST("D3: an unknown outcome that did not happen is not found, and can be repeated")
{
    owned(store_disk_free) struct store_disk *disk = store_disk_new(1);
    owned(store_drop) struct store *s = open_on(disk);
    struct script script = {STORE_WRITE_APPEND, STORE_FAULT_LOST, 0};
    uint64_t revision = 0;

    REQUIRE(s);
    store_disk_faults(disk, follow, &script);
    CHECK_I64(kit_append(s, 2, NULL), ERR_TIMEOUT);
    store_disk_faults(disk, NULL, NULL);
    CHECK_I64(store_find_request(s, STR("req-1"), &revision, NULL), ERR_NOT_FOUND);
    CHECK_I64(kit_append(s, 2, NULL), 0);
}

/* An append that is not synced, then a crash or a look, then a new start: what head does it have? */
static uint64_t head_after_unsynced(bool look)
{
    owned(store_disk_free) struct store_disk *disk = store_disk_new(1);
    struct store *s = open_on(disk), *again;
    struct script script = {STORE_WRITE_APPEND, STORE_FAULT_UNSYNCED, 1};
    uint64_t revision = 0;

    if (!s)
        return UINT64_MAX;
    store_disk_faults(disk, follow, &script);
    CHECK_I64(kit_append(s, 3, NULL), 0);
    CHECK_I64(kit_append(s, 3, NULL), ERR_TIMEOUT);
    if (look)
        CHECK_I64(store_find_request(s, STR("req-4"), &revision, NULL), 0);
    store_disk_crash(disk);
    CHECK_I64(kit_append(s, 1, NULL), ERR_UNAVAILABLE);
    CHECK_I64(store_catch_up(s, NULL), ERR_UNAVAILABLE);
    again = open_on(disk);
    revision = again ? store_head(again).revision : UINT64_MAX;
    CHECK_I64(again ? store_check(again, NULL) : -1, 0);
    (void)store_drop(again);
    (void)store_drop(s);
    return revision;
}

TEST("D1 D3: a crash forgets what was not synced, unless somebody has been told of it")
{
    CHECK_U64(head_after_unsynced(false), 3);
    CHECK_U64(head_after_unsynced(true), 6);
}

TEST("D3 D4: a refused write changes nothing, and the next one succeeds, whatever the kind")
{
    owned(store_disk_free) struct store_disk *disk = store_disk_new(1);
    owned(store_drop) struct store *s = open_on(disk);
    struct script script = {STORE_WRITE_APPEND, STORE_FAULT_FAIL, 0};
    struct store_ephemeral item = {.key = STR("k"), .bytes = STR("v")};
    struct sha256 hash;
    uint64_t lease = 0;

    REQUIRE(s && kit_append(s, 4, NULL) == 0);
    REQUIRE(store_lease_grant(s, NSEC_PER_S, NSEC_PER_S, &lease, NULL) == 0);
    store_disk_faults(disk, follow, &script);
    CHECK_I64(kit_append(s, 1, NULL), ERR_IO);
    script.write = STORE_WRITE_SNAPSHOT;
    CHECK_I64(kit_snapshot(s, 4, 100, NULL), ERR_IO);
    script.after = 1;
    CHECK_I64(kit_snapshot(s, 4, 100, NULL), ERR_IO);
    script.write = STORE_WRITE_BLOB;
    CHECK_I64(kit_blob(s, "content", &hash, NULL), ERR_IO);
    script.write = STORE_WRITE_EPHEMERAL;
    CHECK_I64(store_ephemeral_put(s, lease, &item, 1, NULL), ERR_IO);
    script.write = STORE_WRITE_LEASE;
    CHECK_I64(store_tick(s, 5 * NSEC_PER_S, NULL, NULL), ERR_IO);
    store_disk_faults(disk, NULL, NULL);
    CHECK_I64(store_tick(s, 5 * NSEC_PER_S, NULL, NULL), 0);
    CHECK_I64(store_lease_keep(s, lease, 0, NULL), ERR_NOT_FOUND);
    CHECK_I64(kit_append(s, 1, NULL), 0);
    CHECK_I64(kit_snapshot(s, 5, 100, NULL), 0);
    CHECK_I64(store_check(s, NULL), 0);
}

/* An append that only its head can make fail. */
static int append_at(struct store *s, uint64_t expected)
{
    struct store_record record = {.bytes = STR("anonymous")};
    struct store_append op = {.records = &record, .n = 1, .expected_head = expected};
    struct store_appended done;

    return store_append(s, &op, &done, NULL);
}

TEST("O2 O3 W1: two stores on one log see each other's records in one order")
{
    owned(store_disk_free) struct store_disk *disk = store_disk_new(1);
    owned(store_drop) struct store *a = open_on(disk);
    owned(store_drop) struct store *b = open_on(disk);
    owned(mem) struct gather *g = NEW(struct gather);
    struct store_watcher watcher = {.record = gather_record, .ctx = g};
    struct store_watch *w = NULL;
    struct store_head head_a, head_b;

    REQUIRE(a && b && g && store_watch_open(b, 1, &watcher, &w, NULL) == 0);
    CHECK_I64(kit_append(a, 3, NULL), 0);
    CHECK_U64(g->n, 0);
    CHECK_I64(append_at(b, 0), STORE_CONFLICT);
    CHECK(gather_is(g, 1, 3));
    CHECK_I64(kit_append(b, 2, NULL), 0);
    CHECK_I64(append_at(a, 3), STORE_CONFLICT);
    CHECK_I64(kit_append(a, 1, NULL), 0);
    CHECK_I64(store_poll(b, -1, NULL), 0); /* the write of a has woken it */
    CHECK(gather_is(g, 1, 6));
    CHECK_I64(store_catch_up(a, NULL), 0);
    head_a = store_head(a);
    head_b = store_head(b);
    CHECK(sha256_eq(&head_a.chain, &head_b.chain));
    w = store_watch_close(w);
}

TEST("Q1: a request that another store has appended is repeated, not appended")
{
    owned(store_disk_free) struct store_disk *disk = store_disk_new(1);
    owned(store_drop) struct store *a = open_on(disk);
    owned(store_drop) struct store *b = open_on(disk);
    struct store_record record = {.request = STR("req-2"), .bytes = STR("x")};
    struct store_append op = {.records = &record, .n = 1};
    struct store_appended done;

    REQUIRE(a && b && kit_append(a, 3, NULL) == 0);
    CHECK_I64(store_append(b, &op, &done, NULL), STORE_REPEATED);
    CHECK_U64(done.repeated_revision, 2);
    CHECK_U64(done.head.revision, 3);
}

TEST("I3: a program of older semantics cannot append once another has raised them")
{
    owned(store_disk_free) struct store_disk *disk = store_disk_new(1);
    struct store_opts newer = {.semantics = 2, .disk = disk};
    owned(store_drop) struct store *a = open_on(disk);
    owned(store_drop) struct store *b = NULL;

    REQUIRE(a && store_open("mem:", &newer, &b, NULL) == 0);
    CHECK_I64(kit_append(a, 1, NULL), 0);
    CHECK_I64(store_semantics_raise(b, 2, NULL), 0);
    CHECK_I64(kit_append(a, 1, NULL), ERR_UNSUPPORTED);
    CHECK_I64(store_catch_up(b, NULL), 0);
    CHECK_I64(kit_append(b, 1, NULL), 0);
}

TEST("W4: a watch that another store's compaction has overtaken ends, and the store goes on")
{
    owned(store_disk_free) struct store_disk *disk = store_disk_new(1);
    struct store_opts opts = {.semantics = 1, .disk = disk, .retain = 1};
    owned(store_drop) struct store *a = NULL;
    owned(store_drop) struct store *b = open_on(disk);
    owned(mem) struct gather *g = NEW(struct gather);
    struct store_watcher watcher = {.record = gather_record, .ended = gather_ended, .ctx = g};
    struct store_compact op = {.below = 100};
    struct store_watch *w = NULL;
    uint64_t floor = 0;

    REQUIRE(b && g && store_open("mem:", &opts, &a, NULL) == 0);
    REQUIRE(store_watch_open(b, 1, &watcher, &w, NULL) == 0);
    REQUIRE(kit_append(a, 20, NULL) == 0 && kit_snapshot(a, 15, 10, NULL) == 0);
    REQUIRE(store_compact(a, &op, &floor, NULL) == 0);
    CHECK_U64(floor, 16);
    CHECK_I64(store_poll(b, 0, NULL), 0);
    CHECK_U64(g->n, 0);
    CHECK_I64(g->ended, STORE_COMPACTED);
    CHECK_U64(store_head(b).revision, 20);
    CHECK_I64(kit_append(b, 1, NULL), 0);
    w = store_watch_close(w);
}

TEST("I2: an altered record is noticed when it is verified, read by others, or opened")
{
    owned(store_disk_free) struct store_disk *disk = store_disk_new(1);
    owned(store_drop) struct store *a = open_on(disk);
    owned(store_drop) struct store *b = open_on(disk);
    struct store_opts opts = {.semantics = 1, .disk = disk};
    struct store *again = NULL;

    REQUIRE(a && b && kit_append(a, 10, NULL) == 0);
    CHECK_I64(store_verify(a, NULL), 0);
    REQUIRE(store_disk_spoil(disk, 4));
    CHECK_I64(store_verify(a, NULL), ERR_CORRUPT);
    CHECK_I64(store_catch_up(b, NULL), ERR_CORRUPT);
    CHECK_U64(store_head(b).revision, 3);
    CHECK_I64(store_open("mem:", &opts, &again, NULL), ERR_CORRUPT);
}

TEST(
    "S1 C1: an altered snapshot is passed over for the one before, which compaction has spared")
{
    owned(store_disk_free) struct store_disk *disk = store_disk_new(1);
    struct store_opts opts = {.semantics = 1, .disk = disk, .retain = 1};
    owned(store_drop) struct store *s = NULL;
    struct store_compact op = {.below = 100};
    struct store_snapshot_info info;
    bool right = false;
    uint64_t floor = 0;

    REQUIRE(store_open("mem:", &opts, &s, NULL) == 0);
    REQUIRE(kit_append(s, 50, NULL) == 0);
    REQUIRE(kit_snapshot(s, 20, 3000, NULL) == 0 && kit_snapshot(s, 40, 3000, NULL) == 0);
    REQUIRE(store_disk_spoil(disk, 0));
    CHECK_I64(kit_read_snapshot(s, &info, &right, NULL), 0);
    CHECK(right);
    CHECK_U64(info.revision, 20);
    CHECK_U64(info.passed_over, 1);
    CHECK_I64(store_check(s, NULL), ERR_CORRUPT);
    CHECK_I64(store_compact(s, &op, &floor, NULL), 0);
    CHECK_U64(floor, 21);
    CHECK_I64(kit_snapshot(s, 50, 3000, NULL), 0); /* the altered one goes, not the whole one */
    CHECK_I64(store_check(s, NULL), 0);
    CHECK_I64(kit_read_snapshot(s, &info, &right, NULL), 0);
    CHECK_U64(info.passed_over, 0);
    CHECK_U64(info.revision, 50);
    CHECK_I64(store_compact(s, &op, &floor, NULL), 0);
    CHECK_U64(floor, 21);
}

struct seen {
    unsigned puts, gone;
};

static int count(void *ctx, const struct store_ephemeral *item)
{
    struct seen *seen = ctx;

    if (item->lease)
        seen->puts++;
    else
        seen->gone++;
    return 0;
}

TEST("L3: ephemeral changes of one store reach the watches of another")
{
    owned(store_disk_free) struct store_disk *disk = store_disk_new(1);
    owned(store_drop) struct store *a = open_on(disk);
    owned(store_drop) struct store *b = open_on(disk);
    struct store_ephemeral item = {.key = STR("server/1"), .bytes = STR("here")};
    struct store_ephemeral_watch *w = NULL;
    struct seen seen = {0};
    uint64_t lease = 0;

    REQUIRE(a && b && store_lease_grant(a, NSEC_PER_S, NSEC_PER_S, &lease, NULL) == 0);
    REQUIRE(store_ephemeral_watch_open(b, STR("server/"), count, &seen, &w, NULL) == 0);
    CHECK_I64(store_ephemeral_put(a, lease, &item, 1, NULL), 0);
    CHECK_U64(seen.puts, 0);
    CHECK_I64(store_poll(b, -1, NULL), 0);
    CHECK_U64(seen.puts, 1);
    a = store_drop(a); /* its lease is not tied to it, only to time */
    CHECK_I64(store_tick(b, 3 * NSEC_PER_S, NULL, NULL), 0);
    CHECK_U64(seen.gone, 1);
    w = store_ephemeral_watch_close(w);
}

TEST("a simulated disk of the same seed has the same ids")
{
    owned(store_disk_free) struct store_disk *one = store_disk_new(9);
    owned(store_disk_free) struct store_disk *two = store_disk_new(9);
    owned(store_drop) struct store *a = open_on(one);
    owned(store_drop) struct store *b = open_on(two);
    struct store_identity ia, ib;

    REQUIRE(a && b && store_identity(a, &ia, NULL) == 0 && store_identity(b, &ib, NULL) == 0);
    CHECK(memcmp(&ia.id, &ib.id, sizeof(ia.id)) == 0);
}
