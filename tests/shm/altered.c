/*
 * Bytes of a segment that were altered behind everybody's back: a reader gets the value that was written or notices, and
 * nothing ever crashes. What an altered name hides is no absence.
 */
#include "shm/writing.h"

#include "base/clock.h"

enum { NAMES = 40, ALTERATIONS = 10000, WRITER_ROUNDS = 600 };

/* What is to be read under a name; every third is not there. */
static bool wanted(size_t i, char name[32], char json[64])
{
    (void)snprintf(name, 32, "pool.%zu.max", i);
    (void)snprintf(json, 64, i % 2 ? "%zu" : "\"value of %zu\"", 1000 + i);
    return i % 3 != 0;
}

static void fill(struct bench *b, uint64_t revision)
{
    static char names[NAMES][32], jsons[NAMES][64];
    struct shm_item items[NAMES];
    size_t n = 0;

    for (size_t i = 0; i < NAMES; i++)
        if (wanted(i, names[i], jsons[i]))
            items[n++] = (struct shm_item){str_c(names[i]), str_c(jsons[i]), false};
    CHECK_I64(shm_writer_replace(b->w, items, n, revision, &b->err), 0);
}

/* Other values first, so that the half that is not read holds something that must not be seen. */
static void fill_twice(struct bench *b)
{
    CHECK_I64(bench_put(b, "pool.1.max", "\"an older value\"", 1), 0);
    CHECK_I64(bench_put(b, "pool.3.max", "7", 2), 0);
    fill(b, 3);
}

/* ---- altering ---- */

struct file {
    unsigned char *at;
    size_t bytes;
};

static struct file map_to_alter(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct file f = {NULL, 0};
    struct stat st;

    if (fd < 0 || fstat(fd, &st))
        return f;
    f.bytes = (size_t)st.st_size;
    f.at = mmap(NULL, f.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    return f;
}

struct alteration {
    size_t at, len;
    unsigned char before[64];
};

/* Half of them where something is: heads, buckets, records; else anywhere. */
static size_t place(struct rng *rng, const struct file *f, const struct shm_shape *s)
{
    size_t half = shm_half_at(s, rng_below(rng, 2));

    switch (rng_below(rng, 10)) {
    case 0: return rng_below(rng, 160);
    case 1: return half + rng_below(rng, 72);
    case 2: return half + SHM_PAGE + rng_below(rng, s->pages * 8);
    case 3: return half + s->body_at + rng_below(rng, shm_buckets_bytes(s));
    case 4: return half + s->body_at + shm_buckets_bytes(s) + rng_below(rng, 3000);
    default: return rng_below(rng, f->bytes);
    }
}

/*
 * Bytes that are whole somewhere else; not those at the same place of the other half, which were right here a moment ago: only
 * the proof of the whole tells them from those that are right now.
 */
static size_t other_place(struct rng *rng, const struct file *f, const struct shm_shape *s,
                          size_t than)
{
    for (;;) {
        size_t at = (place(rng, f, s) & ~(size_t)63) % (f->bytes - 64);

        if ((at + s->half_bytes - than) % s->half_bytes != 0)
            return at;
    }
}

static struct alteration alter(struct rng *rng, const struct file *f, const struct shm_shape *s)
{
    struct alteration a = {.at = place(rng, f, s), .len = 1 + rng_below(rng, 8)};
    uint64_t kind = rng_below(rng, 4);

    if (kind == 3)
        a.len = sizeof(a.before);
    a.len = MIN(a.len, f->bytes - a.at);
    memcpy(a.before, f->at + a.at, a.len);
    if (kind == 0)
        f->at[a.at] ^= (unsigned char)(1u << rng_below(rng, 8));
    else if (kind == 3)
        memmove(f->at + a.at, f->at + other_place(rng, f, s, a.at), a.len);
    else
        for (size_t i = 0; i < a.len; i++)
            f->at[a.at + i] = kind == 1 ? (unsigned char)rng_next(rng) : 0xff;
    return a;
}

static void restore(const struct file *f, const struct alteration *a)
{
    memcpy(f->at + a->at, a->before, a->len);
}

/* ---- reading what was altered ---- */

static unsigned noticed, passed;

static bool check_one(int r, bool is_there, const char *json, struct str got)
{
    if (r == ERR_CORRUPT) {
        noticed++;
        return true;
    }
    passed++;
    return r == is_there && (!is_there || str_eq(got, str_c(json)));
}

static bool map_is_honest(struct shm_map *m)
{
    for (size_t i = 0; i < NAMES; i++) {
        char name[32], json[64];
        bool is_there = wanted(i, name, json);
        struct seen s = see(m, name);

        if (!check_one(s.r, is_there, json, str_c(s.json)) ||
            (s.r == ERR_CORRUPT && !atomic_load(&m->is_damaged)))
            return false;
    }
    return true;
}

static bool copy_is_honest(struct shm_copy *c, struct shm_map *m)
{
    int followed = shm_copy_follow(c, m);
    struct shm_image image = shm_copy_image(c);

    if (followed)
        return followed == ERR_CORRUPT;
    for (size_t i = 0; i < NAMES; i++) {
        char name[32], json[64];
        bool is_there = wanted(i, name, json);
        struct shm_record record = {0};
        int r = shm_image_find(&image, str_c(name), &record, NULL);

        if (!check_one(r, is_there, json, str_c(record.value.json)))
            return false;
    }
    return true;
}

static bool newcomer_is_served_honestly(const char *path)
{
    struct shm_map *m;
    struct shm_copy *c;
    struct shm_facts facts;
    bool honest;

    if (shm_map_open(path, &m, NULL))
        return true;
    honest = map_is_honest(m) && (shm_map_facts(m, &facts) || facts.revision == 3);
    c = shm_copy_new(m);
    honest = honest && c && copy_is_honest(c, m);
    (void)shm_copy_free(c);
    (void)shm_map_close(m);
    return honest;
}

TEST("altered bytes at 10,000 places give no wrong value without notice, and crash nobody")
{
    struct rng rng = {1128};
    struct bench b;
    struct shm_map *m;
    struct shm_copy *c;
    struct file f;

    REQUIRE(bench_open(&b));
    fill_twice(&b);
    REQUIRE(shm_map_open(b.path, &m, &b.err) == 0);
    f = map_to_alter(b.path);
    c = shm_copy_new(m);
    REQUIRE(f.at && c && shm_copy_follow(c, m) == 0);
    noticed = passed = 0;
    for (int i = 0; i < ALTERATIONS && !tap_failed(); i++) {
        struct alteration a = alter(&rng, &f, &m->shape);
        bool honest =
            map_is_honest(m) && copy_is_honest(c, m) && newcomer_is_served_honestly(b.path);

        if (!CHECK(honest))
            tap_note("alteration %d: %zu bytes at %zu", i, a.len, a.at);
        restore(&f, &a);
        atomic_store(&m->is_damaged, false);
    }
    CHECK(map_is_honest(m) && !atomic_load(&m->is_damaged));
    tap_note("%u reads noticed it, %u had their value", noticed, passed);
    CHECK(noticed > 1000 && passed > 100000);
    (void)munmap(f.at, f.bytes);
    (void)shm_copy_free(c);
    (void)shm_map_close(m);
    bench_close(&b);
}

TEST("an index that leads back to the older half is noticed, and so is a page that says it is "
     "an older one")
{
    struct bench b;
    struct shm_map *m;
    struct shm_copy *c;
    struct shm_head *head;
    struct file f;
    uint64_t *stamps;

    REQUIRE(bench_open(&b));
    fill_twice(&b);
    REQUIRE(shm_map_open(b.path, &m, &b.err) == 0);
    f = map_to_alter(b.path);
    c = shm_copy_new(m);
    REQUIRE(f.at && c && shm_copy_follow(c, m) == 0);
    head = (struct shm_head *)(void *)f.at;
    atomic_fetch_sub(&head->generation, 1);
    CHECK_I64(see(m, "pool.1.max").r, ERR_CORRUPT);
    atomic_store(&head->moved, 1); /* even when it looks like the end of a file */
    CHECK_I64(see(m, "pool.1.max").r, ERR_CORRUPT);
    atomic_store(&head->moved, 0);
    atomic_fetch_add(&head->generation, 1);
    CHECK_I64(see(m, "pool.1.max").r, 1);
    CHECK_I64(bench_put(&b, "pool.1.max", "2", 4), 0);
    stamps =
        (uint64_t *)(void *)(f.at + shm_half_at(&m->shape, atomic_load(&head->generation)) +
                             SHM_PAGE);
    for (size_t page = 0; page < m->shape.pages; page++)
        stamps[page] = c->stamps[page];
    CHECK_I64(shm_copy_follow(c, m), ERR_CORRUPT);
    (void)munmap(f.at, f.bytes);
    (void)shm_copy_free(c);
    (void)shm_map_close(m);
    bench_close(&b);
}

/* After the writer has done what it says it has, whatever stood there before. */
static void check_writer(struct bench *b, uint64_t revision)
{
    struct shm_map *m;
    int r = bench_put(b, "new", "true", revision);

    CHECK(r == 0 || r == ERR_CORRUPT);
    fill(b, 3);
    CHECK_I64(shm_writer_prove(b->w, NULL, NULL, &b->err), 0);
    REQUIRE(shm_map_open(b->path, &m, &b->err) == 0);
    CHECK(map_is_honest(m) && !atomic_load(&m->is_damaged));
    CHECK_I64(see(m, "new").r, 0);
    (void)shm_map_close(m);
}

TEST("a writer whose file was altered says so or is not concerned, and puts it right when it "
     "replaces all")
{
    struct rng rng = {2811};
    struct bench b;
    unsigned found = 0;

    REQUIRE(bench_open(&b));
    fill_twice(&b);
    for (uint64_t i = 0; i < WRITER_ROUNDS && !tap_failed(); i++) {
        struct file f = map_to_alter(b.path);
        struct shm_map *m;

        REQUIRE(f.at && shm_map_open(b.path, &m, &b.err) == 0);
        (void)alter(&rng, &f, &m->shape);
        (void)shm_map_close(m);
        (void)munmap(f.at, f.bytes);
        found += shm_writer_prove(b.w, NULL, NULL, &b.err) != 0;
        if (i % 3 == 0) { /* it starts anew on the altered file */
            bench_close(&b);
            REQUIRE(bench_open(&b));
            CHECK(shm_writer_has_values(b.w) || b.story.text[0]);
        }
        check_writer(&b, i);
    }
    tap_note("%u of %d alterations were of something that is read", found, WRITER_ROUNDS);
    CHECK(found > WRITER_ROUNDS / 20);
    bench_close(&b);
}

TEST("bytes that an earlier boot left are proved as a whole before one of them is believed")
{
    struct bench b;
    struct shm_map *m;
    struct file f;
    struct shm_head *head;

    REQUIRE(bench_open(&b));
    fill_twice(&b);
    f = map_to_alter(b.path);
    REQUIRE(f.at != NULL);
    head = (struct shm_head *)(void *)f.at;
    head->boot[0] ^= 1;
    head->check = shm_head_check(head);
    REQUIRE(shm_map_open(b.path, &m, &b.err) == 0);
    CHECK(map_is_honest(m) && !atomic_load(&m->is_damaged));
    f.at[shm_half_at(&m->shape, atomic_load(&head->generation)) + m->shape.body_at +
         shm_buckets_bytes(&m->shape) + 50] ^= 1; /* in the first record */
    (void)shm_map_close(m);
    CHECK_I64(shm_map_open(b.path, &m, &b.err), ERR_CORRUPT);
    CHECK(m == NULL);
    bench_close(&b);
    REQUIRE(bench_open(&b));
    CHECK(!shm_writer_has_values(b.w));
    CHECK(strstr(b.story.place, SEGMENT) != NULL);
    CHECK_I64(bench_put(&b, "a", "1", 9), ERR_CORRUPT);
    fill(&b, 3);
    CHECK_I64(shm_map_open(b.path, &m, &b.err), 0);
    CHECK(map_is_honest(m));
    (void)shm_map_close(m);
    (void)munmap(f.at, f.bytes);
    bench_close(&b);
}

TEST("a whole file of an earlier boot is taken over into one of this boot")
{
    struct bench b;
    struct shm_map *m;
    struct file f;
    struct shm_head *head;

    REQUIRE(bench_open(&b));
    fill_twice(&b);
    f = map_to_alter(b.path);
    REQUIRE(f.at != NULL);
    head = (struct shm_head *)(void *)f.at;
    head->boot[0] ^= 1;
    head->check = shm_head_check(head);
    bench_close(&b);
    REQUIRE(bench_open(&b));
    CHECK(shm_writer_has_values(b.w));
    CHECK_U64(shm_writer_revision(b.w), 3);
    CHECK(atomic_load(&head->moved) == 1);
    REQUIRE(shm_map_open(b.path, &m, &b.err) == 0);
    CHECK(map_is_honest(m));
    CHECK(memcmp(shm_map_head(m)->boot, head->boot, SHM_ID_BYTES) != 0);
    (void)shm_map_close(m);
    (void)munmap(f.at, f.bytes);
    bench_close(&b);
}
