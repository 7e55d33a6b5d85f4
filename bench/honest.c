/*
 * What honest clients get: subscribers by gRPC on the loop of the others; writers of commits and askers of /healthz by
 * HTTP/1.1, each a thread that blocks, so that what 1,000 subscribers take of our time is not counted as the server's.
 *
 * First in quiet, then beside attacks. The caller is told by lines when a part begins, and what came of it: its name and
 * that of a figure; how many; median, 99th of a hundred and longest in ms. The last line has how many subscribers were
 * ended, how many missed the newest revision, how often an honest request failed, and ms until the last had it.
 */
#include "bench/measure.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    SAMPLES = 1 << 17, /* of a thread in a part */
    DELIVERIES = 4000000,
    EVERY_MS = 20,
    ANSWER_MAX = 64 * 1024,
    ANSWER_S = 30,
    VALUE_BYTES = 100,
    CATCH_UP_MS = 15000,
    SPREAD_US = 1373 /* so that writers do not go in step */
};

enum part { WARM, QUIET, ATTACKED, PARTS, OVER = PARTS };
static const char *const part_names[PARTS] = {"warm", "quiet", "attacked"};

struct samples {
    size_t n;
    double *ms;
};

struct asker {
    pthread_t thread;
    int index, fd;
    bool keeps; /* its connection */
    struct samples of[PARTS];
    char answer[ANSWER_MAX];
};

static atomic_int part, running;
static atomic_uint_fast64_t newest, failed;
static struct samples deliveries[PARTS];
static uint64_t think_us;

static void add(struct samples *s, size_t max, double ms)
{
    if (!s->ms)
        s->ms = room(max, sizeof(*s->ms));
    if (s->n < max)
        s->ms[s->n++] = ms;
}

/* ---- one request over a socket that blocks ---- */

static bool dial(struct asker *a)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(bench.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {.tv_sec = ANSWER_S};
    int one = 1;

    a->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (a->fd < 0)
        die("no more sockets: raise the limit of open files");
    (void)setsockopt(a->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    (void)setsockopt(a->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return connect(a->fd, (struct sockaddr *)&to, sizeof(to)) == 0;
}

static void hang_up(struct asker *a)
{
    if (a->fd >= 0)
        (void)close(a->fd);
    a->fd = -1;
}

static bool is_whole(const char *answer, size_t len)
{
    const char *end = strstr(answer, "\r\n\r\n"), *length = strstr(answer, "content-length: ");

    return end && length && length < end &&
           len >= (size_t)(end + 4 - answer) +
                      strtoul(length + strlen("content-length: "), NULL, 10);
}

static bool ask(struct asker *a, const char *request, size_t len)
{
    size_t got = 0;

    if (a->fd < 0 && !dial(a))
        return false;
    if (send(a->fd, request, len, MSG_NOSIGNAL) != (ssize_t)len)
        return false;
    do {
        ssize_t n = recv(a->fd, a->answer + got, sizeof(a->answer) - 1 - got, 0);

        if (n <= 0)
            return false;
        got += (size_t)n;
        a->answer[got] = 0;
    } while (!is_whole(a->answer, got));
    return strncmp(a->answer, "HTTP/1.1 200", strlen("HTTP/1.1 200")) == 0;
}

/* Counts it in the part in which it began. */
static void measured(struct asker *a, const char *request, size_t len, enum part in,
                     nsec_t begin)
{
    bool is_done = ask(a, request, len);

    add(&a->of[in], SAMPLES, ms_since(begin)); /* a failure has its time, too */
    if (!is_done && failed++ < 5)
        (void)fprintf(stderr, "bench: an honest request failed: %.200s\n", a->answer);
    if (!is_done || !a->keeps)
        hang_up(a);
}

/* ---- askers of /healthz: by the clock, so that what waits behind a slow answer is late, too ---- */

static void *ask_health(void *arg)
{
    static const char request[] = "GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
    struct asker *a = arg;
    nsec_t due = clock_now(), now;
    enum part in;

    while ((in = (enum part)atomic_load(&part)) != OVER) {
        due += (nsec_t)EVERY_MS * 1000000;
        now = clock_now();
        if (now < due) {
            (void)usleep((useconds_t)((due - now) / 1000));
            now = clock_now(); /* that we woke late is not the server's */
        } else {
            now = due;
        }
        measured(a, request, sizeof(request) - 1, in, now);
    }
    running--;
    return NULL;
}

/* ---- writers: each has a resource of its own; a value begins with the time ---- */

static void *write_commits(void *arg)
{
    struct asker *a = arg;
    char body[512], request[1024], value[VALUE_BYTES + 1];
    enum part in;

    memset(value, 'x', VALUE_BYTES);
    value[VALUE_BYTES] = 0;
    while ((in = (enum part)atomic_load(&part)) != OVER) {
        nsec_t begin = clock_now();
        const char *revision;
        int len;

        (void)snprintf(value, sizeof(value), "%016" PRIx64, (uint64_t)begin);
        value[SEQUENCE_DIGITS] = 'x';
        len = snprintf(body, sizeof(body),
                       "{\"changes\":[{\"id\":\"bench/fan/file/"
                       "w%d\",\"text\":\"%s\"}],\"message\":\"honest\"}",
                       a->index, value);
        len = snprintf(
            request, sizeof(request),
            "POST /v1/commits HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer %s\r\n"
            "content-type: application/json\r\ncontent-length: %d\r\n\r\n%s",
            bench.token, len, body);
        a->answer[0] = 0;
        measured(a, request, (size_t)len, in, begin);
        revision = strstr(a->answer, "\"revision\":");
        if (revision) {
            uint64_t r = strtoull(revision + strlen("\"revision\":"), NULL, 10), old = newest;

            while (old < r && !atomic_compare_exchange_weak(&newest, &old, r))
                continue;
        }
        (void)usleep((useconds_t)(think_us + (uint64_t)a->index * SPREAD_US));
    }
    running--;
    return NULL;
}

/* ---- subscribers ---- */

static void count_delivery(struct peer_conn *c, uint64_t before)
{
    (void)before;
    add(&deliveries[part == OVER ? ATTACKED : part], DELIVERIES,
        (double)(clock_now() - (nsec_t)c->has) / 1e6);
}

static uint64_t behind(void)
{
    uint64_t n = 0;

    for (size_t i = 0; i < bench.n; i++)
        n += bench.conns[i].revision < newest || bench.conns[i].is_gone;
    return n;
}

/* ---- figures ---- */

static void print_samples(enum part in, const char *name, double *ms, size_t n)
{
    qsort(ms, n, sizeof(*ms), by_double);
    printf("%s\t%s\t%zu\t%.2f\t%.2f\t%.2f\n", part_names[in], name, n, n ? ms[n / 2] : 0,
           n ? ms[n * 99 / 100] : 0, n ? ms[n - 1] : 0);
}

static void print_askers(enum part in, const char *name, struct asker *a, size_t count)
{
    double *all = room(count * SAMPLES, sizeof(*all));
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        if (a[i].of[in].n)
            memcpy(all + n, a[i].of[in].ms, a[i].of[in].n * sizeof(*all));
        n += a[i].of[in].n;
    }
    print_samples(in, name, all, n);
    free(all);
}

static void run_part(enum part in, uint64_t seconds)
{
    nsec_t begin = clock_now();

    atomic_store(&part, in);
    printf("begin\t%s\n", part_names[in]);
    (void)fflush(stdout);
    while (ms_since(begin) < (double)seconds * 1e3)
        bench_turn(50);
}

static void begin_asker(struct asker *a, int index, bool keeps, void *(*run)(void *))
{
    a->index = index;
    a->fd = -1;
    a->keeps = keeps;
    running++;
    if (pthread_create(&a->thread, NULL, run, a))
        die("no thread");
}

/* Those who ended in the meantime have missed it. */
static void catch_up(void)
{
    nsec_t begin;

    atomic_store(&part, OVER);
    while (running)
        bench_turn(10);
    begin = clock_now();
    while (behind() > bench.ended && ms_since(begin) < CATCH_UP_MS)
        bench_turn(10);
    printf("end\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%.1f\n", bench.ended, behind(),
           (uint64_t)failed, ms_since(begin));
}

int honest(char **args)
{
    uint64_t n_writers = number(args[1]);
    struct asker *writers = room(n_writers, sizeof(*writers)),
                 *health = room(2, sizeof(*health));

    bench.n = number(args[0]);
    think_us = number(args[2]) * 1000;
    bench.size = VALUE_BYTES;
    bench.counts_ends = true;
    bench.on_value = count_delivery;
    bench_connect_watchers();
    for (uint64_t i = 0; i < n_writers; i++)
        begin_asker(&writers[i], (int)i, true, write_commits);
    begin_asker(&health[0], 0, true, ask_health);
    begin_asker(&health[1], 1, false, ask_health);
    run_part(WARM, 2);
    run_part(QUIET, number(args[3]));
    run_part(ATTACKED, number(args[4]));
    catch_up();
    for (enum part in = QUIET; in < PARTS; in++) {
        print_askers(in, "healthz-kept", &health[0], 1);
        print_askers(in, "healthz-new", &health[1], 1);
        print_askers(in, "commit", writers, n_writers);
        print_samples(in, "delivery", deliveries[in].ms, deliveries[in].n);
    }
    return 0;
}
