/*
 * How many durable appends per second, beside a bare loop of pwrite and fdatasync on the same disk in the same
 * run: the ratio counts, the absolute figure belongs to the machine.
 *
 *   bench_store [FOLDER]    FOLDER is on the disk to be measured; /tmp by default
 */
#include "base/alloc.h"
#include "store/store.h"

#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

enum { RAW_BYTES = 64 * 1024 * 1024, GROUP = 64, ROUNDS = 3 };

static const nsec_t slice = 1500 * NSEC_PER_MS; /* of one figure in one round */

/* Commits per second of the disk: `bytes` bytes after each other in a preallocated file, each one synced. */
static double measure_raw(const char *folder, size_t bytes)
{
    static char zeros[1024 * 1024];
    char path[512];
    nsec_t begun;
    uint64_t n = 0;
    off_t at = 0;
    int fd;

    (void)snprintf(path, sizeof(path), "%s/trimtab-bench-raw", folder);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return 0;
    (void)unlink(path); /* it goes with its descriptor */
    for (size_t i = 0; i < RAW_BYTES / sizeof(zeros); i++)
        if (write(fd, zeros, sizeof(zeros)) != (ssize_t)sizeof(zeros))
            n = UINT64_MAX;
    if (n || fsync(fd)) {
        (void)close(fd); /* the disk is full, or worse */
        return 0;
    }
    begun = clock_now();
    while (clock_now() - begun < slice) {
        if (pwrite(fd, zeros, bytes, at) != (ssize_t)bytes || fdatasync(fd))
            break;
        at = (at + (off_t)bytes) % (RAW_BYTES - (off_t)bytes);
        n++;
    }
    (void)close(fd); /* it is thrown away */
    return (double)n * 1e9 / (double)(clock_now() - begun);
}

struct workload {
    size_t group; /* records of one append */
    size_t bytes; /* of one record */
};

static int append_group(struct store *s, const struct workload *w, struct err *err)
{
    static char text[GROUP][4096];
    static char ids[GROUP][24];
    struct store_record records[GROUP];
    struct store_append op = {
        .records = records, .n = w->group, .expected_head = store_head(s).revision};
    struct store_appended done;

    memset(records, 0, sizeof(records));
    for (size_t i = 0; i < w->group; i++) {
        int n = snprintf(ids[i], sizeof(ids[i]), "request-%" PRIu64, op.expected_head + i);

        memcpy(text[i], &op.expected_head, sizeof(op.expected_head));
        records[i].request = str_of(ids[i], (size_t)n);
        records[i].bytes = str_of(text[i], w->bytes);
    }
    return store_append(s, &op, &done, err);
}

/* Records per second. The clock ticks as in a server: a second of appends, then a moment for the rest. */
static double measure_store(const char *folder, const struct workload *w, struct err *err)
{
    struct store_opts opts = {.semantics = 1, .now = clock_now()};
    owned(store_drop) struct store *s = NULL;
    char url[600];
    nsec_t begun, ticked;
    uint64_t n = 0;
    int r;

    (void)snprintf(url, sizeof(url), "sqlite:%s/trimtab-bench.db", folder);
    (void)unlink(strchr(url, ':') + 1); /* of a run that was stopped */
    r = store_open(url, &opts, &s, err);
    while (!r && store_stats(s).checkpoints ==
                     0) { /* its log is as long as it gets, as the raw file is */
        r = append_group(s, &(const struct workload){GROUP, 4096}, err);
    }
    begun = ticked = clock_now();
    while (!r && clock_now() - begun < slice) {
        r = append_group(s, w, err);
        n += w->group;
        if (!r && clock_now() - ticked > NSEC_PER_S) {
            ticked = clock_now();
            r = store_tick(s, ticked, NULL, err);
        }
    }
    begun = clock_now() - begun;
    s = store_drop(s);
    (void)unlink(strchr(url, ':') + 1); /* as above */
    return r ? 0 : (double)n * 1e9 / (double)begun;
}

int main(int argc, char **argv)
{
    static const struct workload loads[] = {{1, 100}, {1, 1024}, {GROUP, 100}, {GROUP, 1024}};
    const char *folder = argc > 1 ? argv[1] : "/tmp";
    struct err err = ERR_NULL;
    char line[1400];

    printf("%-28s %12s %12s %8s\n", "durable records/s", "store", "raw", "ratio");
    for (size_t i = 0; i < ARRAY_LEN(loads); i++) {
        double store = 0, raw = 0;

        for (int round = 0; round < ROUNDS;
             round++) { /* alternating, since the machine is shared */
            raw += measure_raw(folder, loads[i].group * (loads[i].bytes + 28)) / ROUNDS;
            store += measure_store(folder, &loads[i], &err) / ROUNDS;
        }
        raw *= (double)loads[i].group;
        printf("%2zu per append, %4zu B        %12.0f %12.0f %8.2f\n", loads[i].group,
               loads[i].bytes, store, raw, raw > 0 ? store / raw : 0);
    }
    if (err.code)
        (void)fprintf(stderr, "%s\n", err_describe(&err, line, sizeof(line)));
    return err.code ? 1 : 0;
}
