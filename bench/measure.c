/*
 * What the figures share. See measure.h.
 */
#include "bench/measure.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

uint64_t number(const char *text)
{
    uint64_t v;

    if (!str_u64(str_c(text), &v) || v > 100000000)
        die("a number was expected");
    return v;
}

void *room(size_t n, size_t size)
{
    void *p = calloc(n, size);

    if (!p)
        die("out of memory");
    return p;
}

int by_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

double ms_since(nsec_t begin)
{
    return (double)(clock_now() - begin) / 1e6;
}

void fill_value(char *value, uint64_t sequence)
{
    char digits[SEQUENCE_DIGITS + 1];

    for (size_t i = 0; i < bench.size; i++)
        value[i] = (char)('a' + (sequence * 31 + i * 7) % 26);
    (void)snprintf(digits, sizeof(digits), "%016" PRIx64, sequence);
    memcpy(value, digits, SEQUENCE_DIGITS);
}

static uint64_t thread_cpu(const char *pid, const char *thread)
{
    uint64_t ns = 0;
    char path[400];
    FILE *f;

    (void)snprintf(path, sizeof(path), "/proc/%s/task/%s/schedstat", pid, thread);
    f = fopen(path, "re");
    if (!f)
        return 0;
    if (fscanf(f, "%" SCNu64, &ns) != 1)
        ns = 0;
    (void)fclose(f);
    return ns;
}

/* What /proc/PID/stat has comes in steps of 10 ms, which are longer than a move of a rollout. */
double server_cpu(void)
{
    const char *pid = getenv("BENCH_PID");
    uint64_t ns = 0;
    char path[64];
    struct dirent *e;
    DIR *tasks;

    (void)snprintf(path, sizeof(path), "/proc/%s/task", pid ? pid : "");
    tasks = pid ? opendir(path) : NULL;
    if (!tasks)
        return 0;
    while ((e = readdir(tasks)))
        if (e->d_name[0] != '.')
            ns += thread_cpu(pid, e->d_name);
    (void)closedir(tasks);
    return (double)ns / 1e9;
}

double server_memory(void)
{
    const char *pid = getenv("BENCH_PID");
    unsigned long pages = 0;
    char path[64];
    FILE *f;

    (void)snprintf(path, sizeof(path), "/proc/%s/statm", pid ? pid : "");
    f = pid ? fopen(path, "re") : NULL;
    if (!f)
        die("BENCH_PID is no process");
    if (fscanf(f, "%*u %lu", &pages) != 1)
        pages = 0;
    (void)fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / 1048576;
}

void settle(unsigned ms)
{
    nsec_t begin = clock_now();

    while (ms_since(begin) < ms)
        bench_turn(MIN(50, (int)ms));
}

struct peer_conn *open_writer(int index)
{
    struct peer_conn *c = room(1, sizeof(*c));

    c->index = index;
    if (!conn_dial(c, true))
        die("connection refused");
    while (!c->is_ready)
        bench_turn(-1);
    return c;
}
