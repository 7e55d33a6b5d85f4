/*
 * The high-water mark: what is written is read back, whatever becomes of one slot, and a log is compared with it.
 */
#include "kit.h"
#include "tap.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "store/highwater.h"

#include <unistd.h>

enum { SLOT_BYTES = 256 };

static const char *path_of(const char *name, char out[300])
{
    (void)snprintf(out, 300, "%s/%s", tap_tmpdir(), name);
    return out;
}

static struct highwater_mark mark_of(uint64_t revision)
{
    struct highwater_mark mark = {.head.revision = revision};

    memset(mark.store.bytes, 7, sizeof(mark.store.bytes));
    mark.head.chain = sha256_of(str_of(&revision, sizeof(revision)));
    return mark;
}

static bool reads(const char *path, uint64_t revision)
{
    struct highwater_mark want = mark_of(revision), got = {.head.revision = 0};

    return CHECK_I64(highwater_read(path, &got, NULL), 0) &&
           CHECK_U64(got.head.revision, revision) && CHECK(memcmp(&want, &got, sizeof(got)) == 0);
}

static bool note(const char *path, uint64_t from, uint64_t to)
{
    struct highwater *h = NULL;
    bool ok = CHECK_I64(highwater_open(path, &h, NULL), 0);

    for (uint64_t r = from; ok && r <= to; r++) {
        struct highwater_mark mark = mark_of(r);

        ok = CHECK_I64(highwater_note(h, &mark, NULL), 0);
    }
    ok = ok && CHECK_I64(highwater_sync(h, NULL), 0);
    h = highwater_close(h);
    return ok;
}

TEST("the newest mark is read back, over closing and opening")
{
    struct highwater_mark mark;
    char path[300];

    CHECK_I64(highwater_read(path_of("mark", path), &mark, NULL), ERR_NOT_FOUND);
    REQUIRE(note(path, 5, 5));
    CHECK(reads(path, 5));
    REQUIRE(note(path, 6, 8));
    CHECK(reads(path, 8));
    REQUIRE(note(path, 3, 3)); /* a log that was restored begins lower: the newest counts, not the highest */
    CHECK(reads(path, 3));
}

TEST("a slot that is damaged or cut anywhere leaves the other, and both none")
{
    owned(buf) struct buf whole = BUF_NULL(4096);
    struct highwater_mark got;
    char path[300];

    REQUIRE(note(path_of("mark", path), 1, 7)); /* 7 lies in slot 1, 6 in slot 0 */
    REQUIRE(file_read(path, &whole, NULL) == 0 && whole.len == (size_t)2 * SLOT_BYTES);
    for (size_t at = SLOT_BYTES; at < (size_t)2 * SLOT_BYTES; at++) {
        owned(buf) struct buf damaged = BUF_NULL(4096);

        buf_put_str(&damaged, buf_str(&whole));
        damaged.data[at] ^= 4;
        REQUIRE(file_replace(path, buf_str(&damaged), 0600, NULL) == 0);
        REQUIRE(highwater_read(path, &got, NULL) == 0);
        /* what pads a slot says nothing */
        CHECK(got.head.revision == 6 || (got.head.revision == 7 && whole.data[at] == '\n'));
        REQUIRE(file_replace(path, str_part(buf_str(&whole), 0, at), 0600, NULL) == 0);
        REQUIRE(highwater_read(path, &got, NULL) == 0);
    }
    REQUIRE(file_replace(path, STR("nothing of the kind"), 0600, NULL) == 0);
    CHECK_I64(highwater_read(path, &got, NULL), ERR_CORRUPT);
    REQUIRE(note(path, 9, 9));
    CHECK(reads(path, 9));
}

TEST("a log that ends early, is another store or another history does not pass")
{
    owned(store_disk_free) struct store_disk *disk = store_disk_new(3);
    struct store_opts opts = {.semantics = 1, .disk = disk};
    owned(store_drop) struct store *s = NULL;
    struct highwater_mark mark, other;
    struct store_identity identity;
    struct err err = ERR_NULL;

    REQUIRE(disk && store_open("mem:", &opts, &s, NULL) == 0 && kit_append(s, 5, NULL) == 0);
    REQUIRE(store_identity(s, &identity, NULL) == 0);
    mark = (struct highwater_mark){.store = identity.id, .head = store_head(s)};
    CHECK_I64(highwater_check(s, &mark, &err), 0);
    REQUIRE(kit_append(s, 2, NULL) == 0);
    CHECK_I64(highwater_check(s, &mark, &err), 0);
    other = mark;
    other.head.revision = 9;
    CHECK_I64(highwater_check(s, &other, &err), ERR_CORRUPT);
    CHECK(strstr(err.text, "ends at revision 7") && strstr(err.text, "9"));
    other = mark;
    other.head.chain.bytes[0] ^= 1;
    CHECK_I64(highwater_check(s, &other, &err), ERR_CORRUPT);
    other = mark;
    other.store.bytes[0] ^= 1;
    CHECK_I64(highwater_check(s, &other, &err), ERR_CORRUPT);
}

TEST("no memory and no folder are failures that leave nothing behind")
{
    struct highwater_mark mark;
    struct highwater *h = NULL;
    char path[300];

    CHECK_I64(highwater_open("/no/such/folder/mark", &h, NULL), ERR_IO);
    REQUIRE(note(path_of("mark", path), 1, 2));
    ALLOC_SWEEP (n) {
        int r = highwater_read(path, &mark, NULL);

        CHECK(r == 0 || r == ERR_NOMEM);
    }
    ALLOC_SWEEP (n) {
        int r = highwater_open(path, &h, NULL);

        CHECK(r == 0 || r == ERR_NOMEM);
        if (r == 0)
            h = highwater_close(h);
    }
    CHECK(reads(path, 2));
}
