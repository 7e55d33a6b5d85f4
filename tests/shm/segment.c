/*
 * A segment, written and read: types, changes, growth, restarts, what is refused, and readers beside a writer that never
 * rests.
 */
#include "shm/writing.h"

#include "base/clock.h"
#include "shm/boot.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

TEST("every type of value is read as it was written, in place and in a copy")
{
    static const struct shm_item items[] = {
        {STR("bool"), STR("true")},
        {STR("int"), STR("-42")},
        {STR("float"), STR("2.5")},
        {STR("text"), STR("\"a\\nb\"")},
        {STR("list"), STR("[1, 2]")},
        {STR("null"), STR("null")},
        {STR("broken"), STR("{\"a\"")},
        {STR("empty"), STR("")},
        {STR("big"), STR("123456789012345678901234567890")},
    };
    struct bench b;
    struct shm_map *m;
    struct shm_copy *c;
    struct shm_image image;
    struct shm_record record;

    REQUIRE(bench_open(&b));
    CHECK(!shm_writer_has_values(b.w));
    CHECK_I64(shm_map_open(b.path, &m, &b.err), ERR_NOT_FOUND);
    CHECK_I64(shm_writer_replace(b.w, items, ARRAY_LEN(items), 7, &b.err), 0);
    CHECK_U64(shm_writer_revision(b.w), 7);
    REQUIRE(shm_map_open(b.path, &m, &b.err) == 0);
    CHECK(see(m, "bool").type == SHM_VALUE_BOOL && see(m, "bool").integer == 1);
    CHECK(see(m, "int").type == SHM_VALUE_INT && see(m, "int").integer == -42);
    CHECK(see(m, "int").number == -42);
    CHECK(see(m, "float").type == SHM_VALUE_FLOAT && see(m, "float").number == 2.5);
    CHECK(see(m, "text").type == SHM_VALUE_TEXT);
    CHECK_STR(str_c(see(m, "text").text), STR("a\nb"));
    CHECK_STR(str_c(see(m, "text").json), STR("\"a\\nb\""));
    CHECK_STR(str_c(see(m, "list").text), STR("[1, 2]"));
    for (size_t i = 5; i < ARRAY_LEN(items); i++) {
        CHECK(see(m, items[i].name.data).r == 1);
        CHECK(see(m, items[i].name.data).type == SHM_VALUE_NONE);
        CHECK_STR(str_c(see(m, items[i].name.data).json), items[i].json);
    }
    CHECK_I64(see(m, "none").r, 0);
    CHECK_I64(see(m, "").r, 0);

    c = shm_copy_new(m);
    REQUIRE(c != NULL);
    CHECK_I64(shm_copy_follow(c, m), 0);
    image = shm_copy_image(c);
    CHECK_I64(shm_image_find(&image, STR("text"), &record, NULL), 1);
    CHECK_STR(str_c(record.value.text), STR("a\nb"));
    CHECK_U64(c->facts.count, ARRAY_LEN(items));
    CHECK_U64(c->facts.revision, 7);
    CHECK_I64(shm_image_prove(&image, &c->facts, &b.err), 0);
    CHECK_I64(shm_writer_prove(b.w, NULL, NULL, &b.err), 0);
    (void)shm_copy_free(c);
    (void)shm_map_close(m);
    bench_close(&b);
}

TEST("changes come all at once, a copy stays what it was until it follows, what is replaced "
     "goes")
{
    static const struct shm_item first[] = {{STR("a"), STR("1")}, {STR("b"), STR("2")}},
                                 second[] = {{STR("b"), STR("3")}, {STR("c"), STR("4")}};
    struct bench b;
    struct shm_map *m;
    struct shm_copy *c;
    struct shm_image image;
    struct shm_record record;

    REQUIRE(bench_open(&b));
    CHECK_I64(shm_writer_replace(b.w, first, 2, 1, &b.err), 0);
    REQUIRE(shm_map_open(b.path, &m, &b.err) == 0);
    c = shm_copy_new(m);
    REQUIRE(c && shm_copy_follow(c, m) == 0);
    CHECK_I64(shm_writer_replace(b.w, second, 2, 2, &b.err), 0);
    CHECK_I64(see(m, "a").r, 0);
    CHECK_I64(see(m, "b").integer, 3);
    CHECK_I64(see(m, "c").integer, 4);
    image = shm_copy_image(c);
    CHECK_I64(shm_image_find(&image, STR("b"), &record, NULL), 1);
    CHECK_I64(record.value.integer, 2);
    CHECK_I64(shm_copy_follow(c, m), 0);
    CHECK_I64(shm_image_find(&image, STR("a"), &record, NULL), 0);
    CHECK_I64(shm_image_find(&image, STR("b"), &record, NULL), 1);
    CHECK_I64(record.value.integer, 3);
    CHECK_I64(bench_put(&b, "c", NULL, 3), 0);
    CHECK_I64(bench_put(&b, "never", NULL, 4), 0);
    CHECK_I64(see(m, "c").r, 0);
    CHECK_U64(shm_writer_revision(b.w), 4);
    (void)shm_copy_free(c);
    (void)shm_map_close(m);
    bench_close(&b);
}

/* ---- against a plain model ---- */

enum { NAMES = 600, STEPS = 4000 };

struct model {
    size_t len[NAMES]; /* of the JSON, a string of that many letters; 0: not there */
    char letter[NAMES];
};

static struct str model_json(const struct model *model, size_t i, char out[3072])
{
    memset(out, model->letter[i], model->len[i]);
    out[0] = out[model->len[i] - 1] = '"';
    return str_of(out, model->len[i]);
}

static bool agrees(struct shm_map *m, const struct model *model, size_t i)
{
    static char json[3072];
    char name[32];
    struct seen s;

    (void)snprintf(name, sizeof(name), "name.%zu", i);
    s = see(m, name);
    if (model->len[i] == 0)
        return s.r == 0;
    return s.r == 1 && str_eq(str_c(s.json), model_json(model, i, json));
}

static struct shm_map *reopen(struct shm_map *m, struct bench *b)
{
    if (m && !shm_map_is_replaced(m, b->path))
        return m;
    (void)shm_map_close(m);
    return shm_map_open(b->path, &m, &b->err) == 0 ? m : NULL;
}

static struct shm_map *run_model(struct bench *b, struct rng *rng, struct model *model,
                                 unsigned *ret_files)
{
    static char json[3072];
    struct shm_map *m = NULL;

    for (uint64_t step = 1; step <= STEPS && !tap_failed(); step++) {
        size_t i = rng_below(rng, NAMES);
        char name[32];

        (void)snprintf(name, sizeof(name), "name.%zu", i);
        model->len[i] = rng_below(rng, 4) == 0 ? 0 : 2 + rng_below(rng, step / 2);
        model->letter[i] = (char)('a' + rng_below(rng, 26));
        if (model->len[i]) {
            struct shm_item item = {str_c(name), model_json(model, i, json), false};

            CHECK_I64(shm_writer_apply(b->w, &item, 1, step, &b->err), 0);
        } else {
            CHECK_I64(bench_put(b, name, NULL, step), 0);
        }
        *ret_files += !m || shm_map_is_replaced(m, b->path);
        m = reopen(m, b);
        CHECK(m && agrees(m, model, i) && agrees(m, model, rng_below(rng, NAMES)));
    }
    return m;
}

TEST("random changes agree with a plain model while the segment grows and is tidied")
{
    static struct model model;
    struct rng rng = {20261128};
    unsigned files = 0;
    struct bench b;
    struct shm_map *m;

    REQUIRE(bench_open(&b));
    m = run_model(&b, &rng, &model, &files);
    REQUIRE(m != NULL);
    for (size_t i = 0; i < NAMES; i++)
        CHECK(agrees(m, &model, i));
    CHECK(files > 3 && files < 40);
    CHECK_I64(shm_writer_prove(b.w, NULL, NULL, &b.err), 0);
    (void)shm_map_close(m);
    bench_close(&b);
}

TEST("a reader of a file that moved still reads it, is told at once, and waits for no other "
     "change")
{
    struct bench b;
    struct shm_map *m;
    char big[70000];
    uint64_t generation;

    REQUIRE(bench_open(&b));
    CHECK_I64(bench_put(&b, "a", "1", 1), 0);
    REQUIRE(shm_map_open(b.path, &m, &b.err) == 0);
    generation = atomic_load(&shm_map_head(m)->generation);
    memset(big, '1', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    CHECK_I64(bench_put(&b, "big", big, 2), 0);
    CHECK(shm_map_is_replaced(m, b.path));
    CHECK(atomic_load(&shm_map_head(m)->moved) == 1);
    CHECK(atomic_load(&shm_map_head(m)->generation) != generation);
    shm_wait(shm_map_head(m), generation, 3600 * NSEC_PER_S);
    CHECK_I64(see(m, "a").integer, 1);
    CHECK_I64(see(m, "big").r, 0);
    CHECK(!atomic_load(&m->is_damaged));
    m = reopen(m, &b);
    REQUIRE(m != NULL);
    CHECK_U64(see(m, "big").json_len, sizeof(big) - 1);
    (void)shm_map_close(m);
    bench_close(&b);
}

TEST("what does not fit the limit is refused with a hint, and everything stays")
{
    struct bench b;
    struct shm_map *m;
    static char big[8 * 1024 * 1024];

    REQUIRE(bench_open(&b));
    b.w = shm_writer_close(b.w);
    b.opts.max_bytes = MIB;
    REQUIRE(shm_writer_open(&b.opts, &b.w, &b.story, &b.err) == 0);
    CHECK_I64(bench_put(&b, "a", "1", 1), 0);
    memset(big, '1', sizeof(big) - 1);
    CHECK_I64(bench_put(&b, "a", big, 2), ERR_LIMIT);
    CHECK(strstr(b.err.hint, "limit") != NULL);
    REQUIRE(shm_map_open(b.path, &m, &b.err) == 0);
    CHECK_I64(see(m, "a").integer, 1);
    CHECK_U64(shm_writer_revision(b.w), 1);
    CHECK_I64(bench_put(&b, "a", "3", 3), 0);
    CHECK_I64(see(m, "a").integer, 3);
    (void)shm_map_close(m);
    bench_close(&b);
}

/* ---- other writers, other files ---- */

TEST("a writer that comes back goes on with what is there, and its readers with it")
{
    struct bench b;
    struct shm_map *m;
    uint64_t generation;

    REQUIRE(bench_open(&b));
    CHECK_I64(bench_put(&b, "a", "1", 5), 0);
    REQUIRE(shm_map_open(b.path, &m, &b.err) == 0);
    bench_close(&b);
    CHECK_I64(see(m, "a").integer, 1);
    REQUIRE(bench_open(&b));
    CHECK(shm_writer_has_values(b.w));
    CHECK_U64(shm_writer_revision(b.w), 5);
    generation = atomic_load(&shm_map_head(m)->generation);
    CHECK_I64(bench_put(&b, "b", "2", 6), 0);
    CHECK(atomic_load(&shm_map_head(m)->generation) == generation + 1);
    CHECK_I64(see(m, "a").integer, 1);
    CHECK_I64(see(m, "b").integer, 2);
    (void)shm_map_close(m);
    bench_close(&b);
}

TEST("what a writer that was killed left half done is no hindrance to the next")
{
    struct bench b;
    struct shm_map *m, *other;
    struct shm_half *half;
    char path[600];
    int fd;

    REQUIRE(bench_open(&b));
    CHECK_I64(bench_put(&b, "a", "1", 1), 0);
    REQUIRE(shm_map_open(b.path, &m, &b.err) == 0);
    bench_close(&b);
    (void)snprintf(path, sizeof(path), "%s/.%s.new", tap_tmpdir(), SEGMENT);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(write(fd, "half a file", 11) == 11);
    (void)close(fd);
    fd = open(b.path,
              O_RDWR | O_CLOEXEC); /* the half that is not read, begun and full of anything */
    half = mmap(NULL, m->shape.file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    half =
        (struct shm_half *)(void *)((char *)half +
                                    shm_half_at(&m->shape,
                                                atomic_load(&shm_map_head(m)->generation) + 1));
    memset(half, 0xa5, m->shape.half_bytes);
    (void)close(fd);
    CHECK_I64(see(m, "a").integer, 1);
    REQUIRE(bench_open(&b));
    CHECK(shm_writer_has_values(b.w) && access(path, F_OK) != 0);
    CHECK_I64(bench_put(&b, "b", "2", 2), 0);
    CHECK_I64(see(m, "a").integer, 1);
    CHECK_I64(see(m, "b").integer, 2);
    CHECK_I64(shm_writer_prove(b.w, NULL, NULL, &b.err), 0);
    CHECK(!atomic_load(&m->is_damaged));
    REQUIRE(shm_map_open(b.path, &other, &b.err) == 0);
    (void)shm_map_close(other);
    (void)shm_map_close(m);
    bench_close(&b);
}

/* In a process of its own: 0 when a larger file that finds no space leaves everything as it is. */
static int try_without_space(struct bench *b)
{
    static char big[400000];
    struct rlimit limit = {100000, 100000};
    struct shm_map *m;

    memset(big, '1', sizeof(big) - 1);
    (void)signal(SIGXFSZ, SIG_IGN);
    if (!bench_open(b) || bench_put(b, "a", "1", 1) || setrlimit(RLIMIT_FSIZE, &limit))
        return 1;
    if (bench_put(b, "b", big, 2) != ERR_IO || !strstr(b->err.text, SEGMENT))
        return 2;
    if (shm_map_open(b->path, &m, &b->err) || see(m, "a").integer != 1 || see(m, "b").r)
        return 3;
    if (bench_put(b, "a", "3", 3) || see(m, "a").integer != 3 || shm_writer_revision(b->w) != 3)
        return 4;
    return shm_writer_prove(b->w, NULL, NULL, &b->err) ? 5 : 0;
}

TEST("without space for a larger file everything stays, and smaller changes go on")
{
    struct bench b;
    int status = -1;
    pid_t pid;

    (void)tap_tmpdir();
    pid = fork();
    if (pid == 0)
        _exit(try_without_space(&b));
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK_I64(status, 0);
}

/* As somebody else, who may or may not read. */
static int try_as_nobody(const char *path)
{
    struct shm_map *m;

    if (setgid(65534) || setuid(65534))
        return 100;
    return -shm_map_open(path, &m, NULL);
}

static int as_nobody(const char *path)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        _exit(try_as_nobody(path));
    (void)waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
}

TEST("only who has the right opens it: others are told")
{
    struct bench b;

    if (geteuid() != 0) {
        tap_skip("needs root");
        return;
    }
    REQUIRE(bench_open(&b) && chmod(tap_tmpdir(), 0755) == 0);
    CHECK_I64(bench_put(&b, "a", "1", 1), 0);
    CHECK_I64(as_nobody(b.path), -ERR_DENIED);
    b.w = shm_writer_close(b.w);
    b.opts.group = 65534; /* the file's rights follow what is asked for */
    REQUIRE(shm_writer_open(&b.opts, &b.w, &b.story, &b.err) == 0);
    CHECK(shm_writer_has_values(b.w));
    CHECK_I64(as_nobody(b.path), 0);
    CHECK_I64(shm_writer_prove(b.w, NULL, NULL, &b.err), 0);
    bench_close(&b);
}

TEST("a second writer of the same name is refused")
{
    struct bench b, other;

    REQUIRE(bench_open(&b));
    CHECK_I64(shm_writer_open(&b.opts, &other.w, NULL, &b.err), ERR_LOCKED);
    CHECK(other.w == NULL);
    bench_close(&b);
    REQUIRE(bench_open(&b));
    bench_close(&b);
}

TEST("a file that was removed or put aside comes back with all that it had")
{
    struct bench b;
    struct shm_map *m, *old;

    REQUIRE(bench_open(&b));
    CHECK_I64(bench_put(&b, "a", "1", 1), 0);
    REQUIRE(shm_map_open(b.path, &old, &b.err) == 0);
    REQUIRE(unlink(b.path) == 0);
    CHECK_I64(shm_writer_prove(b.w, NULL, NULL, &b.err), ERR_CORRUPT);
    CHECK_I64(bench_put(&b, "b", "2", 2), 0);
    CHECK(atomic_load(&shm_map_head(old)->moved) == 1);
    REQUIRE(shm_map_open(b.path, &m, &b.err) == 0);
    CHECK_I64(see(m, "a").integer, 1);
    CHECK_I64(see(m, "b").integer, 2);
    CHECK_I64(shm_writer_prove(b.w, NULL, NULL, &b.err), 0);
    (void)shm_map_close(m);
    (void)shm_map_close(old);
    bench_close(&b);
}

TEST("mode and owner are what was asked for, and a change of them is noticed and put right")
{
    static const struct shm_item item = {STR("a"), STR("1"), false};
    struct bench b;
    struct stat st;

    REQUIRE(bench_open(&b));
    CHECK_I64(bench_put(&b, "a", "1", 1), 0);
    REQUIRE(stat(b.path, &st) == 0);
    CHECK_U64(st.st_mode & 07777, 0640);
    REQUIRE(chmod(b.path, 0644) == 0);
    CHECK_I64(shm_writer_prove(b.w, NULL, NULL, &b.err), ERR_CORRUPT);
    CHECK(strstr(b.err.text, "644") && strstr(b.err.text, "640"));
    CHECK_I64(shm_writer_replace(b.w, &item, 1, 1, &b.err), 0);
    REQUIRE(stat(b.path, &st) == 0);
    CHECK_U64(st.st_mode & 07777, 0640);
    bench_close(&b);
}

static int open_with(struct bench *b, const char *name, mode_t mode)
{
    struct shm_writer *w;
    struct shm_writer_opts opts = b->opts;
    int r;

    opts.name = name;
    opts.mode = mode;
    r = shm_writer_open(&opts, &w, NULL, &b->err);
    (void)shm_writer_close(w);
    return r;
}

TEST("names that leave the folder and modes by which others could write are refused")
{
    struct bench b;

    REQUIRE(bench_open(&b));
    b.opts.folder = b.folder;
    CHECK_I64(open_with(&b, "", 0640), ERR_INVALID);
    CHECK_I64(open_with(&b, "a/b", 0640), ERR_INVALID);
    CHECK_I64(open_with(&b, "..", 0640), ERR_INVALID);
    CHECK_I64(open_with(&b, "ok", 0660), ERR_INVALID);
    CHECK_I64(open_with(&b, "ok", 0646), ERR_INVALID);
    CHECK_I64(open_with(&b, "ok", 04640), ERR_INVALID);
    CHECK_I64(open_with(&b, "ok", 0600), 0);
    bench_close(&b);
}

TEST("readers refuse links, pipes, folders, what others may write to, and what is no segment")
{
    struct bench b;
    struct shm_map *m;
    char path[600];

    REQUIRE(bench_open(&b));
    CHECK_I64(bench_put(&b, "a", "1", 1), 0);
    (void)snprintf(path, sizeof(path), "%s.link", b.path);
    REQUIRE(symlink(b.path, path) == 0);
    CHECK_I64(shm_map_open(path, &m, &b.err), ERR_DENIED);
    (void)snprintf(path, sizeof(path), "%s.pipe", b.path);
    REQUIRE(mkfifo(path, 0600) == 0);
    CHECK_I64(shm_map_open(path, &m, &b.err), ERR_CORRUPT);
    CHECK_I64(shm_map_open(tap_tmpdir(), &m, &b.err), ERR_CORRUPT);
    (void)snprintf(path, sizeof(path), "%s/none/x", tap_tmpdir());
    CHECK_I64(shm_map_open(path, &m, &b.err), ERR_NOT_FOUND);
    REQUIRE(chmod(b.path, 0660) == 0);
    CHECK_I64(shm_map_open(b.path, &m, &b.err), ERR_DENIED);
    CHECK(strstr(b.err.text, "660") != NULL);
    REQUIRE(chmod(b.path, 0640) == 0 && truncate(b.path, 8191) == 0);
    CHECK_I64(shm_map_open(b.path, &m, &b.err), ERR_CORRUPT);
    REQUIRE(truncate(b.path, 3) == 0);
    CHECK_I64(shm_map_open(b.path, &m, &b.err), ERR_CORRUPT);
    CHECK(m == NULL);
    b.w =
        shm_writer_close(b.w); /* its mapping is beyond the file now: it must not be touched */
    (void)close(b.folder);
}

/* ---- beside each other ---- */

enum { GROUP = 40, ROUNDS = 4000 };

struct race {
    struct bench *b;
    _Atomic bool stop;
    _Atomic uint64_t reads, mixed, failed;
};

/* All names of the group have one number, the revision. */
static void put_group(struct bench *b, uint64_t revision)
{
    static char names[GROUP][16], json[24];
    struct shm_item items[GROUP];

    (void)snprintf(json, sizeof(json), "%llu", (unsigned long long)revision);
    for (size_t i = 0; i < GROUP; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "n%zu", i);
        items[i] = (struct shm_item){str_c(names[i]), str_c(json), false};
    }
    CHECK_I64(shm_writer_apply(b->w, items, GROUP, revision, &b->err), 0);
}

static int compare_to_first(void *ctx, const struct shm_record *r)
{
    int64_t *first = ctx;

    if (*first == 0)
        *first = r->value.integer;
    return *first != r->value.integer;
}

static void take_int(void *ctx, const struct shm_record *r)
{
    *(int64_t *)ctx = r->value.integer;
}

static void *read_group(void *arg)
{
    struct race *race = arg;
    struct shm_map *m = NULL;
    struct shm_copy *c;
    int64_t newest = 0;

    if (shm_map_open(race->b->path, &m, NULL) || !(c = shm_copy_new(m))) {
        atomic_fetch_add(&race->failed, 1);
        return NULL;
    }
    while (!atomic_load(&race->stop)) {
        int64_t now = 0, first = 0;
        struct shm_image image = shm_copy_image(c);

        if (shm_map_read(m, STR("n7"), take_int, &now, NULL) != 1 || shm_copy_follow(c, m))
            atomic_fetch_add(&race->failed, 1);
        /* never back, and the copy is from one revision, not before the read */
        if (now < newest || shm_image_each(&image, compare_to_first, &first) || first < now ||
            (uint64_t)first != c->facts.revision)
            atomic_fetch_add(&race->mixed, 1);
        newest = now;
        atomic_fetch_add(&race->reads, 1);
    }
    (void)shm_copy_free(c);
    (void)shm_map_close(m);
    return NULL;
}

TEST("readers beside a writer that never rests see no mixture, nothing older, and no damage")
{
    static struct race race;
    pthread_t threads[3];
    struct bench b;
    uint64_t revision = 1;

    REQUIRE(bench_open(&b));
    race.b = &b;
    put_group(&b, revision);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        REQUIRE(pthread_create(&threads[i], NULL, read_group, &race) == 0);
    while (revision < ROUNDS || atomic_load(&race.reads) < ROUNDS)
        put_group(&b, ++revision);
    atomic_store(&race.stop, true);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        (void)pthread_join(threads[i], NULL);
    CHECK_U64(atomic_load(&race.mixed), 0);
    CHECK_U64(atomic_load(&race.failed), 0);
    CHECK_I64(shm_writer_prove(b.w, NULL, NULL, &b.err), 0);
    bench_close(&b);
}

static void *wait_for_change(void *arg)
{
    struct shm_map *m = arg;

    while (see(m, "a").integer != 2)
        shm_wait(shm_map_head(m), atomic_load(&shm_map_head(m)->generation), 3600 * NSEC_PER_S);
    return NULL;
}

TEST("who waits is woken by a change")
{
    struct bench b;
    struct shm_map *m;
    pthread_t thread;

    REQUIRE(bench_open(&b));
    CHECK_I64(bench_put(&b, "a", "1", 1), 0);
    REQUIRE(shm_map_open(b.path, &m, &b.err) == 0);
    REQUIRE(pthread_create(&thread, NULL, wait_for_change, m) == 0);
    CHECK_I64(bench_put(&b, "a", "2", 2), 0);
    (void)pthread_join(thread, NULL);
    (void)shm_map_close(m);
    bench_close(&b);
}

TEST("every failing allocation leaves what was there, or changes all")
{
    static const struct shm_item items[] = {{STR("a"), STR("\"22\"")}, {STR("c"), STR("3")}};
    int failed = 1;
    struct bench b;
    struct shm_map *m;

    REQUIRE(bench_open(&b));
    CHECK_I64(bench_put(&b, "a", "1", 1), 0);
    REQUIRE(shm_map_open(b.path, &m, &b.err) == 0);
    for (uint64_t n = 0; failed; n++) {
        int r;

        (void)mem_fail_after(n);
        r = shm_writer_replace(b.w, items, 2, 2, &b.err);
        failed = mem_fail_after(UINT64_MAX);
        CHECK(r == 0 || (r == ERR_NOMEM && failed));
        CHECK_I64(see(m, "a").type, r ? SHM_VALUE_INT : SHM_VALUE_TEXT);
        CHECK_I64(see(m, "c").r, r ? 0 : 1);
        CHECK_I64(bench_put(&b, "c", NULL, 1), 0);
        CHECK_I64(bench_put(&b, "a", "1", 1), 0);
        m = reopen(m, &b);
        REQUIRE(m != NULL);
    }
    (void)shm_map_close(m);
    bench_close(&b);
}

TEST("what was there before a change comes back, without space, and readers follow")
{
    static char large[20000];
    struct shm_item before[] = {{STR("a"), STR("1"), false}, {STR("b"), STR("2"), false}};
    struct shm_item after[] = {
        {STR("a"), STR_NULL, true}, {STR("b"), STR("3"), false}, {STR("c"), STR_NULL, false}};
    struct bench b;
    struct shm_map *m;
    struct stat was, is;

    memset(large, '7', sizeof(large));
    REQUIRE(bench_open(&b));
    CHECK_I64(shm_writer_replace(b.w, before, 2, 1, &b.err), 0);
    for (size_t len = 1; len <= sizeof(large);
         len += sizeof(large) - 1) { /* here, and in a larger file */
        after[2].json = str_of(large, len);
        CHECK_I64(shm_writer_apply(b.w, after, 3, 2, &b.err), 0);
        REQUIRE(stat(b.path, &was) == 0 && shm_map_open(b.path, &m, &b.err) == 0);
        CHECK_I64(shm_writer_put_back(b.w, before, 2, 1, &b.err), 0);
        CHECK(stat(b.path, &is) == 0 && is.st_ino == was.st_ino);
        CHECK_I64(see(m, "a").integer, 1);
        CHECK_I64(see(m, "b").integer, 2);
        CHECK_I64(see(m, "c").r, 0);
        CHECK_U64(shm_writer_revision(b.w), 1);
        CHECK_I64(shm_writer_prove(b.w, NULL, NULL, &b.err), 0);
        (void)shm_map_close(m);
    }
    CHECK_I64(bench_put(&b, "a", "5", 3), 0);
    CHECK_I64(shm_writer_prove(b.w, NULL, NULL, &b.err), 0);
    bench_close(&b);
}

TEST("a file that was cut short does not end its writer")
{
    struct shm_item item = {STR("a"), STR("2"), false};
    struct bench b;

    for (off_t size = 0; size <= 4096; size += 4096) {
        REQUIRE(bench_open(&b));
        CHECK_I64(bench_put(&b, "a", "1", 1), 0);
        CHECK(truncate(b.path, size) == 0);
        CHECK_I64(shm_writer_prove(b.w, NULL, NULL, &b.err), ERR_CORRUPT);
        CHECK(strstr(b.err.text, "cut short") != NULL);
        CHECK_I64(shm_writer_replace(b.w, &item, 1, 2, &b.err), 0);
        CHECK_I64(shm_writer_prove(b.w, NULL, NULL, &b.err), 0);
        bench_close(&b);
    }
}

/* ---- the layout is what it was ---- */

/* On machines of the usual byte order. */
TEST("checks and shapes are frozen: another value is another layout")
{
    struct shm_shape s;
    struct shm_bucket bucket = {.n = 2, .slots = {{7, 9}, {11, 13}}};
    struct shm_record_head head = {
        .size = 48, .name_len = 1, .json_len = 2, .type = SHM_VALUE_INT, .scalar = 42};
    struct shm_facts facts = {1, 2, 3, 4, 5, 6, 7};

    REQUIRE(shm_shape_of(64, 8192, 0x0123456789abcdef, &s));
    CHECK_U64(s.pages, 3);
    CHECK_U64(s.file_bytes, 4096 + 2 * (4096 + 4096 + 3 * 4096));
    CHECK_U64(shm_name_hash(&s, STR("pool.max")), 4752526832671058384u);
    CHECK_U64(shm_bucket_check(&s, &bucket, 3), 11072092544615231815u);
    CHECK_U64(shm_record_check(&s, &head, 16, STR("a\00042\0\0\0\0")), 2139799373983986498u);
    CHECK_U64(shm_facts_check(&s, &facts), 1900058463058201636u);
    CHECK_U64(shm_stamp_check(&s, 5, 77), 8108638851410025157u);
    CHECK(!shm_shape_of(63, 8192, 1, &s) && !shm_shape_of(96, 8192, 1, &s));
    CHECK(!shm_shape_of(64, 8191, 1, &s) && !shm_shape_of(64, 0, 1, &s));
}
