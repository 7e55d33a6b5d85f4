/*
 * Programs that read a segment by the public header: values and changes, a file that comes, moves, goes and comes back,
 * damage, watches, and forks.
 */
#include "shm/writing.h"

#include <trimtab/trimtab.h>

#include <pthread.h>
#include <sys/wait.h>

static struct trimtab *open_client(const struct bench *b)
{
    struct trimtab_options *o = trimtab_options_new();
    struct trimtab *t;

    CHECK(trimtab_options_segment(o, b->path));
    t = trimtab_open(o);
    trimtab_options_free(o);
    if (!t)
        tap_note("%s", trimtab_open_error());
    return t;
}

static bool says(const struct trimtab *t, const char *piece)
{
    char text[1500];

    (void)trimtab_problem(t, text, sizeof(text));
    if (!strstr(text, piece))
        tap_note("problem: %s", text);
    return strstr(text, piece) != NULL;
}

TEST("values are read by name, by handle and by snapshot, with types and defaults as ever")
{
    static const struct shm_item items[] = {
        {STR("bool"), STR("true")},  {STR("int"), STR("42")},      {STR("float"), STR("2.5")},
        {STR("text"), STR("\"x\"")}, {STR("list"), STR("[1, 2]")}, {STR("null"), STR("null")},
    };
    struct bench b;
    struct trimtab *t;
    const struct trimtab_snapshot *s;
    char out[8];

    REQUIRE(bench_open(&b));
    CHECK_I64(shm_writer_replace(b.w, items, ARRAY_LEN(items), 12, &b.err), 0);
    t = open_client(&b);
    REQUIRE(t != NULL);
    CHECK(trimtab_wait(t, 0) && trimtab_is_connected(t));
    CHECK_U64(trimtab_problem(t, NULL, 0), 0);
    CHECK_U64(trimtab_revision(t), 12);
    CHECK(trimtab_get_bool(t, "bool", false));
    CHECK_I64(trimtab_get_int(t, "int", 7), 42);
    CHECK(trimtab_get_float(t, "float", 0) == 2.5 && trimtab_get_float(t, "int", 0) == 42);
    CHECK_I64(trimtab_get_int(t, "float", 7), 7);
    CHECK_I64(trimtab_get_int(t, "null", 7), 7);
    CHECK_I64(trimtab_get_int(t, "none", 7), 7);
    CHECK(!trimtab_get_bool(t, "int", false));
    CHECK_U64(trimtab_get_string(t, "text", "-", out, sizeof(out)), 1);
    CHECK_STR(str_c(out), STR("x"));
    CHECK_U64(trimtab_get_string(t, "list", "-", out, 4), 6);
    CHECK_STR(str_c(out), STR("[1,"));
    CHECK_U64(trimtab_get_string(t, "int", "std", out, sizeof(out)), 3);
    CHECK_STR(str_c(out), STR("std"));
    CHECK_I64(trimtab_handle_int(trimtab_handle(t, "int"), 7), 42);
    CHECK(trimtab_handle_float(trimtab_handle(t, "float"), 7) == 2.5);
    CHECK(trimtab_handle_bool(trimtab_handle(t, "bool"), false));
    CHECK_I64(trimtab_handle_int(trimtab_handle(t, "none"), 7), 7);
    s = trimtab_snapshot_acquire(t);
    REQUIRE(s != NULL);
    CHECK_U64(trimtab_snapshot_revision(s), 12);
    CHECK_I64(trimtab_snapshot_int(s, "int", 7), 42);
    CHECK_STR(str_c(trimtab_snapshot_string(s, "text", "-")), STR("x"));
    CHECK_STR(str_c(trimtab_snapshot_string(s, "list", "-")), STR("[1, 2]"));
    CHECK_STR(str_c(trimtab_snapshot_string(s, "none", "-")), STR("-"));
    CHECK_I64(bench_put(&b, "int", "43", 13), 0);
    CHECK_I64(trimtab_snapshot_int(s, "int", 7), 42);
    CHECK_I64(trimtab_handle_int(trimtab_handle(t, "int"), 7), 43);
    trimtab_snapshot_release(s);
    s = trimtab_snapshot_acquire(t);
    CHECK_I64(trimtab_snapshot_int(s, "int", 7), 43);
    CHECK_U64(trimtab_snapshot_revision(s), 13);
    trimtab_snapshot_release(s);
    CHECK(!trimtab_report_health(t, true, "nobody hears it"));
    trimtab_close(t);
    bench_close(&b);
}

TEST("a program that starts first has defaults, says why, and gets the values when they come")
{
    struct bench b;
    struct trimtab *t;
    struct trimtab_handle *h;
    const struct trimtab_snapshot *s;

    REQUIRE(bench_open(&b));
    t = open_client(&b);
    REQUIRE(t != NULL);
    h = trimtab_handle(t, "a");
    CHECK(!trimtab_wait(t, 0) && !trimtab_is_connected(t));
    CHECK(says(t, "there is no such file") && says(t, SEGMENT));
    CHECK_I64(trimtab_handle_int(h, 9), 9);
    CHECK_I64(trimtab_get_int(t, "a", 9), 9);
    CHECK_U64(trimtab_revision(t), 0);
    s = trimtab_snapshot_acquire(t);
    CHECK_I64(trimtab_snapshot_int(s, "a", 9), 9);
    trimtab_snapshot_release(s);
    CHECK_I64(bench_put(&b, "a", "5", 1), 0);
    CHECK(trimtab_wait(t, 20000));
    CHECK_I64(trimtab_handle_int(h, 9), 5);
    CHECK_I64(trimtab_get_int(t, "a", 9), 5);
    CHECK(trimtab_is_connected(t));
    trimtab_close(t);
    bench_close(&b);
}

TEST("a handle follows its item through changes, absence, return, and into a larger file")
{
    static char big[200000];
    struct bench b;
    struct trimtab *t;
    struct trimtab_handle *h;

    REQUIRE(bench_open(&b));
    CHECK_I64(bench_put(&b, "a", "1", 1), 0);
    t = open_client(&b);
    REQUIRE(t != NULL);
    h = trimtab_handle(t, "a");
    for (int i = 2; i < 200; i++) {
        char json[16];

        (void)snprintf(json, sizeof(json), "%d", i);
        CHECK_I64(bench_put(&b, "a", i % 5 ? json : NULL, (uint64_t)i), 0);
        CHECK_I64(trimtab_handle_int(h, -1), i % 5 ? i : -1);
        CHECK_I64(trimtab_get_int(t, "a", -1), i % 5 ? i : -1);
        if (i == 50 || i == 100) { /* the file is another one now */
            memset(big, '0' + i / 50, sizeof(big) / 4 * (size_t)(i / 50));
            CHECK_I64(bench_put(&b, "big", big, (uint64_t)i), 0);
            CHECK_U64(trimtab_revision(t), i);
        }
    }
    CHECK_U64(trimtab_problem(t, NULL, 0), 0);
    trimtab_close(t);
    bench_close(&b);
}

TEST(
    "a file that was removed and made anew by another agent is found, though nobody could tell")
{
    struct bench b;
    struct trimtab *t;
    struct trimtab_handle *h, *never;

    REQUIRE(bench_open(&b));
    CHECK_I64(bench_put(&b, "a", "1", 8), 0);
    t = open_client(&b);
    REQUIRE(t != NULL);
    h = trimtab_handle(t, "a");
    never = trimtab_handle(t, "never");
    CHECK_I64(trimtab_handle_int(h, 9), 1);
    CHECK_I64(trimtab_handle_int(never, 9), 9);
    bench_close(&b);
    REQUIRE(unlink(b.path) == 0);
    CHECK_I64(trimtab_handle_int(h, 9), 1); /* nothing better is known */
    REQUIRE(bench_open(&b));
    CHECK(!shm_writer_has_values(b.w));
    CHECK_I64(bench_put(&b, "a", "2", 3), 0);
    while (trimtab_handle_int(h, 9) !=
           2) /* each time a read of its own: it comes to it by reading */
        ;
    CHECK_I64(trimtab_get_int(t, "a", 9), 2);
    CHECK_I64(trimtab_handle_int(never, 9), 9);
    CHECK_U64(trimtab_revision(t), 3);
    trimtab_close(t);
    bench_close(&b);
}

TEST("a file that may not be read any more leaves the last values and says so")
{
    struct bench b;
    struct trimtab *t;

    REQUIRE(bench_open(&b));
    CHECK_I64(bench_put(&b, "a", "1", 1), 0);
    t = open_client(&b);
    REQUIRE(t != NULL);
    REQUIRE(unlink(b.path) == 0 && mkdir(b.path, 0700) == 0);
    while (trimtab_is_connected(t))
        ;
    CHECK(says(t, "it is no file"));
    CHECK_I64(trimtab_get_int(t, "a", 9), 1);
    REQUIRE(rmdir(b.path) == 0);
    CHECK_I64(bench_put(&b, "a", "2", 2), 0);
    CHECK_I64(trimtab_get_int(t, "a", 9), 2);
    trimtab_close(t);
    bench_close(&b);
}

/* The first record's value is turned into another one. */
static void damage(const struct bench *b)
{
    int fd = open(b->path, O_RDWR | O_CLOEXEC);
    static unsigned char bytes[1 << 20];
    ssize_t n = pread(fd, bytes, sizeof(bytes), 0);

    for (ssize_t i = 0; i + 12 < n; i++)
        if (memcmp(bytes + i,
                   "damaged\0"
                   "1234",
                   12) == 0)
            CHECK(pwrite(fd, "9", 1, i + 8) == 1);
    (void)close(fd);
}

TEST("damage is noticed: defaults by name, the last good value by handle, and whole again when "
     "the agent has repaired it")
{
    static const struct shm_item items[] = {{STR("damaged"), STR("1234")},
                                            {STR("b"), STR("5")}};
    struct bench b;
    struct trimtab *t;
    struct trimtab_handle *h;
    const struct trimtab_snapshot *s;

    REQUIRE(bench_open(&b));
    CHECK_I64(shm_writer_replace(b.w, items, 2, 1, &b.err), 0);
    t = open_client(&b);
    REQUIRE(t != NULL);
    h = trimtab_handle(t, "damaged");
    CHECK_I64(trimtab_handle_int(h, 7), 1234);
    CHECK_I64(bench_put(&b, "b", "6", 2), 0);
    CHECK_I64(bench_put(&b, "b", "7", 3), 0);
    damage(&b);
    CHECK_I64(trimtab_handle_int(h, 7), 1234);
    CHECK_I64(trimtab_get_int(t, "damaged", 7), 7);
    CHECK_I64(trimtab_get_int(t, "b", 0), 7);
    CHECK(!trimtab_is_connected(t));
    CHECK(says(t, "did not write"));
    s = trimtab_snapshot_acquire(t);
    CHECK_I64(trimtab_snapshot_int(s, "damaged", 7), 7);
    trimtab_snapshot_release(s);
    CHECK_I64(shm_writer_prove(b.w, NULL, NULL, &b.err), ERR_CORRUPT);
    CHECK_I64(shm_writer_replace(b.w, items, 2, 4, &b.err), 0);
    CHECK_I64(trimtab_get_int(t, "damaged", 7), 1234);
    CHECK_I64(trimtab_handle_int(h, 7), 1234);
    CHECK(trimtab_is_connected(t));
    trimtab_close(t);
    bench_close(&b);
}

TEST("a segment goes with no other option")
{
    struct trimtab_options *o = trimtab_options_new();

    CHECK(trimtab_options_segment(o, "/tmp/x") && trimtab_options_namespace(o, "shop"));
    CHECK(trimtab_open(o) == NULL);
    CHECK(strstr(trimtab_open_error(), "no other option") != NULL);
    trimtab_options_free(o);
}

/* ---- watches ---- */

struct heard {
    _Atomic unsigned calls;
    _Atomic uint64_t revision;
    pthread_mutex_t mutex;
    char last[256];
};

static void hear(void *ctx, const struct trimtab_change *c)
{
    struct heard *h = ctx;

    (void)pthread_mutex_lock(&h->mutex);
    (void)snprintf(h->last, sizeof(h->last), "%s %s -> %s", c->name,
                   c->before ? c->before : "-", c->after ? c->after : "-");
    (void)pthread_mutex_unlock(&h->mutex);
    atomic_fetch_add(&h->calls, 1);
    atomic_store(&h->revision, c->revision);
}

static void until_heard(struct heard *h, unsigned calls, const char *want)
{
    while (atomic_load(&h->calls) < calls)
        (void)sched_yield();
    (void)pthread_mutex_lock(&h->mutex);
    CHECK_STR(str_c(h->last), str_c(want));
    (void)pthread_mutex_unlock(&h->mutex);
}

TEST("watches hear what is there, each change, and what goes; nothing after unwatch and close")
{
    static struct heard a = {.mutex = PTHREAD_MUTEX_INITIALIZER},
                        b_only = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct bench b;
    struct trimtab *t;
    unsigned id;

    REQUIRE(bench_open(&b));
    CHECK_I64(bench_put(&b, "a.x", "1", 1), 0);
    t = open_client(&b);
    REQUIRE(t != NULL);
    id = trimtab_watch(t, "a.*", hear, &a);
    CHECK(id != 0);
    until_heard(&a, 1, "a.x - -> 1");
    CHECK_I64(bench_put(&b, "a.x", "\"2\"", 2), 0);
    until_heard(&a, 2, "a.x 1 -> \"2\"");
    CHECK(atomic_load(&a.revision) == 2);
    CHECK(trimtab_watch(t, "b", hear, &b_only) != 0);
    CHECK_I64(bench_put(&b, "b", "true", 3), 0);
    until_heard(&b_only, 1, "b - -> true");
    CHECK_I64(bench_put(&b, "a.x", NULL, 4), 0);
    until_heard(&a, 3, "a.x \"2\" -> -");
    trimtab_unwatch(t, id);
    CHECK_I64(bench_put(&b, "a.x", "5", 5), 0);
    CHECK_I64(bench_put(&b, "b", "false", 6), 0);
    until_heard(&b_only, 2, "b true -> false");
    trimtab_close(t);
    CHECK_I64(bench_put(&b, "b", "7", 7), 0);
    CHECK_U64(atomic_load(&a.calls), 3);
    CHECK_U64(atomic_load(&b_only.calls), 2);
    bench_close(&b);
}

/* ---- forks ---- */

/* In a child: 0 when everything of the client works there. */
static int try_in_child(struct trimtab *t, struct trimtab_handle *h, int64_t least)
{
    static struct heard heard __attribute__((unused)) = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    const struct trimtab_snapshot *s;
    char name[32];

    (void)snprintf(name, sizeof(name), "new.%d", (int)getpid());
    if (trimtab_handle_int(h, -1) < least || trimtab_get_int(t, "a", -1) < least)
        return 1;
    if (trimtab_handle_int(trimtab_handle(t, name), -1) != -1)
        return 2;
    s = trimtab_snapshot_acquire(t);
    if (!s || trimtab_snapshot_int(s, "a", -1) < least)
        return 3;
    trimtab_snapshot_release(s);
    if (trimtab_problem(t, NULL, 0))
        return 4;
#ifndef __SANITIZE_THREAD__ /* it ends a forked process that starts a thread */
    if (!trimtab_watch(t, "*", hear, &heard))
        return 5;
    while (atomic_load(&heard.calls) == 0)
        (void)sched_yield();
#endif
    trimtab_close(t);
    return 0;
}

struct busy {
    struct trimtab *t;
    _Atomic bool stop;
    _Atomic unsigned rounds;
};

/* Holds and leaves every lock of the client all the time. */
static void *be_busy(void *arg)
{
    struct busy *b = arg;
    char name[32];

    for (unsigned i = 0; !atomic_load(&b->stop); i++) {
        const struct trimtab_snapshot *s = trimtab_snapshot_acquire(b->t);

        (void)snprintf(name, sizeof(name), "name.%u", i % 5000);
        (void)trimtab_handle_int(trimtab_handle(b->t, name), 0);
        trimtab_snapshot_release(s);
        (void)trimtab_problem(b->t, NULL, 0);
        atomic_fetch_add(&b->rounds, 1);
    }
    return NULL;
}

enum { FORKS = 150 };

TEST(
    "children that were forked at any moment read on, with watches of their own, and can close")
{
    static struct busy busy;
    static struct heard heard = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct bench b;
    struct trimtab_handle *h;
    pthread_t threads[2];

    REQUIRE(bench_open(&b));
    CHECK_I64(bench_put(&b, "a", "1", 1), 0);
    busy.t = open_client(&b);
    REQUIRE(busy.t != NULL);
    h = trimtab_handle(busy.t, "a");
    CHECK(trimtab_watch(busy.t, "*", hear, &heard) != 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        REQUIRE(pthread_create(&threads[i], NULL, be_busy, &busy) == 0);
    for (int i = 2; i < FORKS; i++) {
        char json[16];
        int status = 1;
        pid_t pid;

        (void)snprintf(json, sizeof(json), "%d", i);
        CHECK_I64(bench_put(&b, "a", json, (uint64_t)i), 0);
        pid = fork();
        if (pid == 0)
            _exit(try_in_child(busy.t, h, i));
        REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid);
        if (!CHECK_I64(status, 0))
            break;
    }
    CHECK(atomic_load(&heard.calls) > 0);
    atomic_store(&busy.stop, true);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        (void)pthread_join(threads[i], NULL);
    trimtab_close(busy.t);
    bench_close(&b);
}
