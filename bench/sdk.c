/*
 * Reads of the SDK, ns per call: by handle and by name, quiet and while updates arrive, beside the floor (the same look-up
 * without any protection).
 */
#include "base/clock.h"
#include "sdk/client.h"

#include <stdio.h>

enum { NAMES = 1000, READS = 20000000 };

static struct trimtab t;
static char names[NAMES][40];
static struct trimtab_handle *handles[NAMES];
static _Atomic bool stop;
static _Atomic unsigned pause_us;

static struct table *make(uint64_t revision)
{
    static struct table_item items[NAMES];
    static char json[NAMES][24];

    for (int i = 0; i < NAMES; i++) {
        (void)snprintf(json[i], sizeof(json[i]), "%d", i + (int)revision);
        items[i] = (struct table_item){str_c(names[i]), str_c(json[i])};
    }
    return table_new(items, NAMES, revision);
}

static void *update(void *arg)
{
    struct timespec ts = {0, 10000000};

    (void)arg;
    for (uint64_t r = 2; !atomic_load(&stop); r++) {
        if (atomic_load(&pause_us))
            (void)values_publish(&t.values, make(r));
        (void)nanosleep(&ts, NULL);
    }
    return NULL;
}

static volatile int64_t sink;

static double by_handle(void)
{
    nsec_t begin = clock_now();
    int64_t sum = 0;

    for (int i = 0; i < READS; i++)
        sum += trimtab_handle_int(handles[i % NAMES], 0);
    sink = sum;
    return (double)(clock_now() - begin) / READS;
}

static double by_name(void)
{
    nsec_t begin = clock_now();
    int64_t sum = 0;

    for (int i = 0; i < READS; i++)
        sum += trimtab_get_int(&t, names[i % NAMES], 0);
    sink = sum;
    return (double)(clock_now() - begin) / READS;
}

static double floor_by_name(void)
{
    const struct table *table = atomic_load(&t.values.table);
    nsec_t begin = clock_now();
    struct shm_value v = {0};
    int64_t sum = 0;

    for (int i = 0; i < READS; i++)
        sum += table_get(table, names[i % NAMES], &v) ? v.integer : 0;
    sink = sum;
    return (double)(clock_now() - begin) / READS;
}

int main(void)
{
    pthread_t writer;

    for (int i = 0; i < NAMES; i++)
        (void)snprintf(names[i], sizeof(names[i]), "service.pool.value.%04d", i);
    if (values_init(&t.values))
        return 1;
    (void)values_publish(&t.values, make(1));
    for (int i = 0; i < NAMES; i++)
        handles[i] = trimtab_handle(&t, names[i]);
    if (pthread_create(&writer, NULL, update, NULL))
        return 1;
    for (int round = 0; round < 3; round++) {
        atomic_store(&pause_us, 0);
        printf("quiet:        floor by name %5.1f ns   by name %5.1f ns   by handle %4.2f ns\n",
               floor_by_name(), by_name(), by_handle());
        atomic_store(&pause_us, 1);
        printf("100 updates/s:                         by name %5.1f ns   by handle %4.2f ns\n",
               by_name(), by_handle());
    }
    atomic_store(&stop, true);
    (void)pthread_join(writer, NULL);
    values_deinit(&t.values);
    return 0;
}
