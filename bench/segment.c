/*
 * Reads of a segment from other processes than the one that writes it, and what a change costs the writer; beside reading a
 * file. Redis and etcd are asked by bench_peers (reads).
 *
 *      bench_segment FOLDER NAMES READERS
 *
 * Values are numbers and texts of 100 bytes, in turn. Each reader is a process, half of them forked after the segment was
 * opened; the writer is another, which rests, or makes 1,000 changes a second, or all that it can. One line for each way to
 * read: median, least and most of the rounds of all readers, in ns of processor time: readers are more than processors.
 */
#include "base/clock.h"
#include "base/file.h"
#include "shm/writer.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <trimtab/trimtab.h>
#include <unistd.h>

enum { TEXT_BYTES = 100, ROUNDS = 11, READERS_MAX = 16, WAYS = 8, BATCH = 1 << 16 };
enum pace { RESTS, A_THOUSAND, ALL_IT_CAN, PACES };

static struct shared_memory {
    _Atomic int pace;
    _Atomic uint64_t changes, changes_ns;
    double ns[WAYS][READERS_MAX][ROUNDS];
} * shared;

static char path[512];
static size_t n_names;
static char (*names)[40];

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "bench_segment: %s\n", what);
    _exit(1);
}

static struct str json_of(size_t i, uint64_t round, char out[TEXT_BYTES + 3])
{
    if (i % 2)
        (void)snprintf(out, TEXT_BYTES + 3, "\"%0*llu\"", TEXT_BYTES,
                       (unsigned long long)(i + round));
    else
        (void)snprintf(out, TEXT_BYTES + 3, "%llu", (unsigned long long)(i + round));
    return str_c(out);
}

/* ---- the writer ---- */

static void load(struct shm_writer *w)
{
    struct shm_item *items = calloc(n_names, sizeof(*items));
    char(*texts)[TEXT_BYTES + 3] = calloc(n_names, sizeof(*texts));
    struct err err = ERR_NULL;

    if (!items || !texts)
        die("no memory");
    for (size_t i = 0; i < n_names; i++)
        items[i] = (struct shm_item){str_c(names[i]), json_of(i, 0, texts[i]), false};
    if (shm_writer_replace(w, items, n_names, 1, &err))
        die(err.text);
    free(items);
    free(texts);
}

static void change(struct shm_writer *w, struct rng *rng, uint64_t round)
{
    size_t i = rng_below(rng, n_names);
    char text[TEXT_BYTES + 3];
    struct shm_item item = {str_c(names[i]), json_of(i, round, text), false};
    struct err err = ERR_NULL;
    nsec_t begin = clock_now();

    if (shm_writer_apply(w, &item, 1, round, &err))
        die(err.text);
    atomic_fetch_add(&shared->changes_ns, clock_now() - begin);
    atomic_fetch_add(&shared->changes, 1);
}

static void write_on(struct shm_writer *w)
{
    struct timespec ms = {0, 1000000};
    struct rng rng = {1};

    for (uint64_t round = 2;; round++) {
        int pace = atomic_load(&shared->pace);

        if (pace != RESTS)
            change(w, &rng, round);
        if (pace != ALL_IT_CAN)
            (void)nanosleep(&ms, NULL);
    }
}

/* ---- readers ---- */

static struct trimtab *t;
static struct trimtab_handle **handles;
static volatile int64_t sink;

static struct trimtab *open_client(void)
{
    struct trimtab_options *o = trimtab_options_new();
    struct trimtab *client;

    (void)trimtab_options_segment(o, path);
    client = trimtab_open(o);
    trimtab_options_free(o);
    if (!client || !trimtab_wait(client, 0))
        die("no segment");
    for (size_t i = 0; i < n_names; i++)
        handles[i] = trimtab_handle(client, names[i]);
    return client;
}

static double cpu_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* A few names again and again, as a program does that has its settings in a loop. */
static void by_handle(struct rng *rng)
{
    size_t first = 2 * rng_below(rng, n_names / 2 - 32);
    int64_t sum = 0;

    for (int i = 0; i < BATCH; i++)
        sum += trimtab_handle_int(handles[first + (size_t)(i % 16) * 2], 0);
    sink = sum;
}

static void by_names(struct rng *rng, size_t n)
{
    int64_t sum = 0;

    for (int i = 0; i < BATCH; i++)
        sum += trimtab_get_int(t, names[rng_below(rng, n)], 0);
    sink = sum;
}

/* Any of all names: hardly anything that it needs is in a cache. */
static void by_name(struct rng *rng)
{
    by_names(rng, n_names);
}

/* A program of a thousand settings. */
static void by_one_of_1000(struct rng *rng)
{
    by_names(rng, MIN(n_names, (size_t)1000));
}

static void text_by_name(struct rng *rng)
{
    char out[TEXT_BYTES + 1];
    size_t sum = 0;

    for (int i = 0; i < BATCH; i++)
        sum += trimtab_get_string(t, names[rng_below(rng, n_names)], "", out, sizeof(out));
    sink = (int64_t)sum;
}

/* What a program pays that reads its setting from a file each time. */
static void from_file(struct rng *rng)
{
    char out[TEXT_BYTES], file[600];

    (void)rng;
    (void)snprintf(file, sizeof(file), "%s.file", path);
    for (int i = 0; i < BATCH / 16; i++) {
        int fd = open(file, O_RDONLY | O_CLOEXEC);

        if (fd < 0 || read(fd, out, sizeof(out)) != (ssize_t)sizeof(out))
            die("no file");
        (void)close(fd);
    }
}

static const struct way {
    const char *name;
    void (*read)(struct rng *rng);
    int reads; /* of a call */
    enum pace pace;
} ways[WAYS] = {
    {"handle", by_handle, BATCH, RESTS},
    {"handle+1000/s", by_handle, BATCH, A_THOUSAND},
    {"of-1000", by_one_of_1000, BATCH, RESTS},
    {"of-1000+1000/s", by_one_of_1000, BATCH, A_THOUSAND},
    {"name", by_name, BATCH, RESTS},
    {"name+1000/s", by_name, BATCH, A_THOUSAND},
    {"text+1000/s", text_by_name, BATCH, A_THOUSAND},
    {"file", from_file, BATCH / 16, RESTS},
};

static void measure(const struct way *way, double *ns, uint64_t seed)
{
    struct rng rng = {seed};

    for (int i = -1; i < ROUNDS; i++) { /* the first is not counted */
        double begin = cpu_ns();

        way->read(&rng);
        if (i >= 0)
            ns[i] = (cpu_ns() - begin) / way->reads;
    }
    if (trimtab_problem(t, NULL, 0))
        die("a reader noticed damage");
}

/* All readers at once. */
static void run(size_t w, int n_readers)
{
    pid_t pids[READERS_MAX];
    int status;

    atomic_store(&shared->pace, (int)ways[w].pace);
    for (int i = 0; i < n_readers; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            if (i % 2)
                t = open_client();
            measure(&ways[w], shared->ns[w][i], (uint64_t)i);
            _exit(0);
        }
    }
    for (int i = 0; i < n_readers; i++)
        if (waitpid(pids[i], &status, 0) != pids[i] || status)
            die("a reader failed");
}

static int by_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void print_way(size_t w, int n_readers)
{
    double all[READERS_MAX * ROUNDS];
    size_t n = 0;

    for (int i = 0; i < n_readers; i++)
        for (int round = 0; round < ROUNDS; round++)
            all[n++] = shared->ns[w][i][round];
    qsort(all, n, sizeof(*all), by_double);
    printf("%s\t%.1f\t%.1f\t%.1f\n", ways[w].name, all[n / 2], all[0], all[n - 1]);
}

/* The writer alone, as fast as it can. */
static void print_changes(void)
{
    struct timespec second = {1, 0};
    uint64_t changes, ns;

    atomic_store(&shared->pace, ALL_IT_CAN);
    changes = atomic_load(&shared->changes);
    ns = atomic_load(&shared->changes_ns);
    (void)nanosleep(&second, NULL);
    changes = atomic_load(&shared->changes) - changes;
    ns = atomic_load(&shared->changes_ns) - ns;
    printf("change\t%.1f\t-\t-\n", (double)ns / (double)changes);
}

int main(int argc, char **argv)
{
    int n_readers = argc == 4 ? (int)strtol(argv[3], NULL, 10) : 0;
    struct shm_writer_opts opts = {.name = "bench.segment",
                                   .owner = SHM_OWNER_KEEP,
                                   .group = SHM_GROUP_KEEP,
                                   .mode = 0600,
                                   .max_bytes = 1024 * MIB};
    struct shm_writer *w;
    struct err err = ERR_NULL;
    char content[TEXT_BYTES] = {0}, file[600];
    pid_t writer;

    n_names = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
    if (n_names < 100 || n_readers < 1 || n_readers > READERS_MAX)
        die("usage: bench_segment FOLDER NAMES READERS");
    (void)snprintf(path, sizeof(path), "%s/bench.segment", argv[1]);
    (void)snprintf(file, sizeof(file), "%s.file", path);
    names = calloc(n_names, sizeof(*names));
    handles = calloc(n_names, sizeof(*handles));
    shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!names || !handles || shared == MAP_FAILED)
        die("no memory");
    for (size_t i = 0; i < n_names; i++)
        (void)snprintf(names[i], sizeof(names[i]), "service.pool.value.%06zu", i);
    if (file_replace(file, str_of(content, sizeof(content)), 0600, &err))
        die(err.text);
    opts.folder = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (shm_writer_open(&opts, &w, NULL, &err))
        die(err.text);
    load(w);
    writer = fork();
    if (writer == 0)
        write_on(w);
    t = open_client();
    for (size_t way = 0; way < WAYS; way++) {
        run(way, n_readers);
        print_way(way, n_readers);
    }
    print_changes();
    (void)kill(writer, SIGKILL);
    (void)waitpid(writer, NULL, 0);
    return 0;
}
