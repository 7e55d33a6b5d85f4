/*
 * Eight processes read a segment at full speed, four of them forked after it was opened, while a writer applies changes and is
 * killed at random, again and again: nothing torn, nothing of another name, nothing older than what was there before
 * the read began, and in the end everybody has the last values.
 *
 *      STORM_KILLS   how often the writer is killed, 120; 20 with TRIMTAB_QUICK
 *      STORM_NAMES   names that are read, 96; up to 100,000
 */
#include "shm/writing.h"

#include "base/clock.h"

#include <trimtab/trimtab.h>

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

enum { READERS = 8, PER_GROUP = 8, GROUPS_MAX = 12500, KEYS_MAX = GROUPS_MAX * PER_GROUP };

/* Shared by all processes. A value is revision * KEYS_MAX + key; all of a group have the revision of its last change. */
static struct control {
    _Atomic uint64_t revision; /* the newest that was begun */
    _Atomic uint64_t
        applied[GROUPS_MAX]; /* of each group, the newest that its writer knows to be applied */
    _Atomic uint64_t changes;
    _Atomic bool is_over;
    _Atomic uint64_t reads, late, is_torn, is_foreign, is_older, problems;
} * control;

static size_t n_groups, n_keys;
static char names[KEYS_MAX][40];

/* ---- the writer ---- */

/* Some names come and go, with texts of any length: the file grows, is tidied and moves. */
static void put_ballast(struct bench *b, struct rng *rng, uint64_t revision)
{
    static char text[30000];
    char name[24];
    size_t len = 2 + rng_below(rng, sizeof(text) - 2);
    struct shm_item item = {STR_NULL, str_of(text, len), rng_below(rng, 3) == 0};

    memset(text, 'x', len);
    text[0] = text[len - 1] = '"';
    (void)snprintf(name, sizeof(name), "ballast.%llu", (unsigned long long)rng_below(rng, 40));
    item.name = str_c(name);
    if (shm_writer_apply(b->w, &item, 1, revision, &b->err))
        _exit(4);
}

static void put_group(struct bench *b, size_t group, uint64_t revision)
{
    static char json[PER_GROUP][24];
    struct shm_item items[PER_GROUP];

    for (size_t i = 0; i < PER_GROUP; i++) {
        size_t key = group * PER_GROUP + i;

        (void)snprintf(json[i], sizeof(json[i]), "%llu",
                       (unsigned long long)(revision * KEYS_MAX + key));
        items[i] = (struct shm_item){str_c(names[key]), str_c(json[i]), false};
    }
    if (shm_writer_apply(b->w, items, PER_GROUP, revision, &b->err))
        _exit(3);
    atomic_store(&control->applied[group], revision);
    atomic_fetch_add(&control->changes, 1);
}

static void write_on(struct bench *b, uint64_t seed)
{
    struct rng rng = {seed};

    if (!bench_open(b) || b->story.text[0])
        _exit(2); /* what the last one left was not whole */
    for (;;) {
        uint64_t revision = atomic_fetch_add(&control->revision, 1) + 1;

        if (rng_below(&rng, 8) == 0)
            put_ballast(b, &rng, revision);
        else
            put_group(b, rng_below(&rng, n_groups), revision);
    }
}

/* ---- readers ---- */

static void count(_Atomic uint64_t *counter)
{
    atomic_fetch_add(counter, 1);
}

static uint64_t revision_of(int64_t value, size_t key)
{
    if (value < 0 || (size_t)(value % KEYS_MAX) != key)
        count(&control->is_foreign);
    return (uint64_t)value / KEYS_MAX;
}

struct reader {
    struct trimtab *t;
    struct trimtab_handle *handles[KEYS_MAX];
    uint64_t seen[KEYS_MAX];
};

static void open_reader(struct reader *r, const char *path)
{
    struct trimtab_options *o = trimtab_options_new();

    (void)trimtab_options_segment(o, path);
    r->t = trimtab_open(o);
    trimtab_options_free(o);
    if (!r->t || !trimtab_wait(r->t, 0))
        _exit(5);
    for (size_t key = 0; key < n_keys; key++)
        r->handles[key] = trimtab_handle(r->t, names[key]);
}

/*
 * By handle or by name: at least what was applied before the read began, and never back. A writer that was killed between
 * giving a new file the name and sending readers to it leaves them with older values until they look: those reads are
 * counted as late, and must not be for ever.
 */
static void read_key(struct reader *r, size_t key, bool by_name)
{
    uint64_t least = atomic_load(&control->applied[key / PER_GROUP]), got;

    for (;; count(&control->late)) {
        got = revision_of(by_name ? trimtab_get_int(r->t, names[key], -1)
                                  : trimtab_handle_int(r->handles[key], -1),
                          key);
        if (got < r->seen[key])
            count(&control->is_older);
        if (got >= least)
            break;
    }
    r->seen[key] = got;
    count(&control->reads);
}

static void read_snapshot(struct reader *r, size_t group)
{
    const struct trimtab_snapshot *s = trimtab_snapshot_acquire(r->t);
    uint64_t first = 0;

    for (size_t i = 0; i < PER_GROUP; i++) {
        size_t key = group * PER_GROUP + i;
        uint64_t got = revision_of(trimtab_snapshot_int(s, names[key], -1), key);

        if (i && got != first)
            count(&control->is_torn);
        if (got < r->seen[key])
            count(&control->is_older);
        first = got;
    }
    if (first > trimtab_snapshot_revision(s))
        count(&control->is_torn);
    trimtab_snapshot_release(s);
}

static void read_on(struct reader *r, uint64_t seed)
{
    struct rng rng = {seed};
    bool is_over;

    do {
        is_over = atomic_load(&control->is_over);
        for (int i = 0; i < 200; i++)
            read_key(r, rng_below(&rng, n_keys), rng_below(&rng, 2));
        read_snapshot(r, rng_below(&rng, n_groups));
    } while (!is_over);
    for (size_t key = 0; key < n_keys; key++) { /* the last values are there for everybody */
        read_key(r, key, false);
        read_key(r, key, true);
        if (r->seen[key] != atomic_load(&control->applied[key / PER_GROUP]))
            count(&control->is_older);
    }
    if (trimtab_problem(r->t, NULL, 0))
        count(&control->problems);
    trimtab_close(r->t);
}

/* ---- the storm ---- */

static pid_t start_writer(struct bench *b, uint64_t seed)
{
    pid_t pid = fork();

    if (pid == 0)
        write_on(b, seed);
    return pid;
}

/* Kills it some changes later, at any point of one. False: it had ended by itself. */
static bool kill_writer(struct rng *rng, pid_t pid)
{
    uint64_t until = atomic_load(&control->changes) + rng_below(rng, 40);
    volatile uint64_t spin = rng_below(rng, 30000);
    int status = 0;

    while (atomic_load(&control->changes) < until && waitpid(pid, &status, WNOHANG) == 0)
        (void)sched_yield();
    while (spin)
        spin--;
    (void)kill(pid, SIGKILL);
    if (status == 0 && waitpid(pid, &status, 0) != pid)
        return false;
    if (!WIFSIGNALED(status))
        tap_note("the writer ended with %d", WEXITSTATUS(status));
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void start_readers(const struct bench *b, pid_t pids[READERS])
{
    static struct reader r;

    open_reader(&r, b->path);
    for (uint64_t i = 0; i < READERS; i++) {
        pids[i] = fork();
        if (pids[i])
            continue;
        if (i % 2) /* every other one opens it itself */
            open_reader(&r, b->path);
        read_on(&r, i);
        _exit(0);
    }
}

static size_t setting(const char *name, size_t standard)
{
    const char *text = getenv(name);

    return text ? strtoul(text, NULL, 10) : standard;
}

TEST_WITHIN(240, "a writer that is killed at random shows its readers nothing torn, foreign or "
                 "older, and nothing stays old")
{
    uint64_t n = setting("STORM_KILLS", getenv("TRIMTAB_QUICK") ? 20 : 120);
    struct rng rng = {clock_now()};
    pid_t pids[READERS];
    struct bench b;

    n_groups = MIN(setting("STORM_NAMES", 96) / PER_GROUP, (size_t)GROUPS_MAX);
    n_keys = n_groups * PER_GROUP;
    control =
        mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(control != MAP_FAILED);
    tap_note("seed %llu", (unsigned long long)rng.state);
    for (size_t key = 0; key < n_keys; key++)
        (void)snprintf(names[key], sizeof(names[key]), "pool.%zu.max", key);
    REQUIRE(bench_open(&b));
    for (size_t group = 0; group < n_groups; group++)
        put_group(&b, group, atomic_fetch_add(&control->revision, 1) + 1);
    bench_close(&b);
    start_readers(&b, pids);
    for (uint64_t i = 0; i < n && !tap_failed(); i++)
        CHECK(kill_writer(&rng, start_writer(&b, rng_next(&rng))));
    REQUIRE(bench_open(&b));
    for (size_t group = 0; group < n_groups; group++)
        put_group(&b, group, atomic_fetch_add(&control->revision, 1) + 1);
    atomic_store(&control->is_over, true);
    for (size_t i = 0; i < READERS; i++) {
        int status = 1;

        CHECK(waitpid(pids[i], &status, 0) == pids[i] && status == 0);
    }
    CHECK_I64(shm_writer_prove(b.w, NULL, NULL, &b.err), 0);
    bench_close(&b);
    tap_note("%llu changes, %llu reads, %llu of them again for a file that nobody had told of",
             (unsigned long long)control->changes, (unsigned long long)control->reads,
             (unsigned long long)control->late);
    CHECK_U64(control->is_torn, 0);
    CHECK_U64(control->is_foreign, 0);
    CHECK_U64(control->is_older, 0);
    CHECK_U64(control->problems, 0);
    CHECK(control->reads > 1000);
    (void)munmap(control, sizeof(*control));
}
