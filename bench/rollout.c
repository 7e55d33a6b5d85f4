/*
 * Figures of gray release, which only Trimtab has: what a move costs with more and more targets among the same number of
 * watchers, and how long a rollout that goes wrong takes to be back.
 *
 * Each number of targets has two groups of watchers of its own: for a start, and for an extension.
 */
#include "bench/measure.h"
#include "bench/trimtab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    VALUE_BYTES = 100,
    QUIET_MS = 400, /* after the last delivery: acknowledgements come, and the driver looks */
    HOUR_MS = 3600 * 1000,
    GROUP_MAX = 32,
};

static const size_t sizes[] = {0, 1, 10, 100, 1000};

static struct {
    struct peer_conn *writer;
    uint64_t sequence; /* of the newest value */
    uint64_t stable;   /* of the one that is stable */
    char value[VALUE_BYTES];
} run;

/* ---- groups ---- */

/* Of the watchers of a size: the first of its first group. The second begins size later. */
static size_t group_first(size_t size)
{
    size_t at = 0;

    for (size_t i = 0; sizes[i] != size; i++)
        at += 2 * sizes[i];
    return at;
}

static void group_name(char *name, bool is_second, size_t size)
{
    (void)snprintf(name, GROUP_MAX, "%s-%zu", is_second ? "more" : "first", size);
}

static const char *group_of(size_t index)
{
    static char name[GROUP_MAX];

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        size_t first = group_first(sizes[i]);

        if (index < first || index >= first + 2 * sizes[i])
            continue;
        group_name(name, index >= first + sizes[i], sizes[i]);
        return name;
    }
    return NULL;
}

static bool fits(size_t size)
{
    return group_first(size) + 2 * size <= bench.n;
}

/* ---- moves ---- */

struct cost {
    double first, last; /* ms from the request to a target; without targets: to the answer */
    double cpu;         /* ms of the server */
};

struct begun {
    nsec_t at;
    double cpu;
    uint64_t values;
};

static struct begun begin(void)
{
    return (struct begun){clock_now(), server_cpu(), bench.values};
}

/* Until watchers first..first+n-1 have a value; the answers of the writer are here too. */
static struct cost finish(struct begun b, size_t first, size_t n, uint64_t has)
{
    struct cost cost = {.first = n ? 1e9 : 0};

    while (bench.values < b.values + n || run.writer->answered < run.writer->put)
        bench_turn(-1);
    cost.last = n ? 0 : ms_since(b.at);
    for (size_t i = first; i < first + n; i++) {
        double ms = (double)(bench.conns[i].done - b.at) / 1e6;

        if (bench.conns[i].has != has)
            die("a target has not what it should have");
        cost.first = MIN(cost.first, ms);
        cost.last = MAX(cost.last, ms);
    }
    settle(QUIET_MS);
    cost.cpu = (server_cpu() - b.cpu) * 1e3;
    return cost;
}

/* A new stable value for everybody: each round begins with the same, and nobody is idle for long. */
static void put_stable(void)
{
    struct begun b = begin();

    run.stable = ++run.sequence;
    fill_value(run.value, run.stable);
    run.writer->put++;
    bench.asks_rollouts = false;
    bench.peer->put(run.writer, 0, str_of(run.value, bench.size));
    (void)finish(b, 0, bench.n, run.stable);
    bench.asks_rollouts = true;
}

static struct cost start(size_t size, uint64_t soak_ms)
{
    char name[GROUP_MAX];
    struct begun b = begin();

    group_name(name, false, size);
    fill_value(run.value, ++run.sequence);
    run.writer->put++;
    trimtab_start(run.writer, str_of(run.value, bench.size), name, soak_ms);
    return finish(b, group_first(size), size, run.sequence);
}

static struct cost extend(size_t size)
{
    char name[GROUP_MAX];
    struct begun b = begin();

    group_name(name, true, size);
    run.writer->put++;
    trimtab_move(run.writer, "extend", name);
    return finish(b, group_first(size) + size, size, run.sequence);
}

static struct cost roll_back(size_t size)
{
    struct begun b = begin();

    run.writer->put++;
    trimtab_move(run.writer, "roll_back", NULL);
    return finish(b, group_first(size), 2 * size, run.stable);
}

/* Of all who are in neither group: bytes that came by their sockets so far. */
static uint64_t bytes_of_others(size_t size)
{
    size_t first = group_first(size);
    uint64_t bytes = 0;

    for (size_t i = 0; i < bench.n; i++)
        if (i < first || i >= first + 2 * size)
            bytes += bench.conns[i].bytes;
    return bytes;
}

/* ---- figures ---- */

static void prepare(char **args)
{
    bench.n = number(args[0]);
    bench.size = VALUE_BYTES;
    bench.group_of = group_of;
    run.writer = open_writer(0);
    run.writer->put++;
    run.stable = ++run.sequence;
    fill_value(run.value, run.stable);
    bench.peer->put(run.writer, 0, str_of(run.value, bench.size));
    while (run.writer->answered < run.writer->put)
        bench_turn(-1);
    bench_connect_watchers();
    settle(SETTLE_MS);
    put_stable();
}

static double middle(double *samples, size_t n)
{
    qsort(samples, n, sizeof(*samples), by_double);
    return samples[n / 2];
}

enum { MOVES = 3 };

static void rollout_with(size_t size, size_t reps)
{
    double *ms[MOVES], *cpu[MOVES];
    uint64_t bytes = 0;

    for (size_t i = 0; i < MOVES; i++) {
        ms[i] = room(reps, sizeof(*ms[i]));
        cpu[i] = room(reps, sizeof(*cpu[i]));
    }
    for (size_t i = 0; i < reps; i++) {
        struct cost costs[MOVES];
        uint64_t before;

        put_stable();
        before = bytes_of_others(size);
        costs[0] = start(size, 0);
        costs[1] = extend(size);
        costs[2] = roll_back(size);
        bytes += bytes_of_others(size) - before;
        for (size_t m = 0; m < MOVES; m++) {
            ms[m][i] = costs[m].last;
            cpu[m][i] = costs[m].cpu;
        }
    }
    printf("%zu", size);
    for (size_t m = 0; m < MOVES; m++)
        printf("\t%.2f\t%.2f", middle(ms[m], reps), middle(cpu[m], reps));
    printf("\t%llu\n", (unsigned long long)bytes);
    for (size_t i = 0; i < MOVES; i++) {
        free(ms[i]);
        free(cpu[i]);
    }
}

int rollout(char **args)
{
    size_t reps = number(args[1]);

    prepare(args);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        if (fits(sizes[i]))
            rollout_with(sizes[i], reps);
    return 0;
}

/* The first target reports that it is not well. */
static struct cost go_wrong(size_t size)
{
    size_t first = group_first(size);
    struct begun b;
    struct cost cost;

    put_stable();
    (void)start(size, HOUR_MS);
    b = begin();
    trimtab_say(&bench.conns[first], true);
    cost = finish(b, first, size, run.stable);
    trimtab_say(&bench.conns[first], false);
    return cost;
}

int rollback(char **args)
{
    size_t reps = number(args[1]);
    double *first = room(reps, sizeof(*first)), *last = room(reps, sizeof(*last));

    prepare(args);
    for (size_t i = 1; i < ARRAY_LEN(sizes); i++) {
        if (!fits(sizes[i]))
            continue;
        for (size_t rep = 0; rep < reps; rep++) {
            struct cost cost = go_wrong(sizes[i]);

            first[rep] = cost.first;
            last[rep] = cost.last;
        }
        qsort(first, reps, sizeof(*first), by_double);
        qsort(last, reps, sizeof(*last), by_double);
        printf("%zu\t%.2f\t%.2f\t%.2f\t%.2f\n", sizes[i], first[reps / 2], last[reps / 2],
               last[0], last[reps - 1]);
    }
    free(first);
    free(last);
    return 0;
}
