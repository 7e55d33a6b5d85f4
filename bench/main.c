/*
 * The figures of bench/run. Each prints one line: the system, then numbers separated by tabs; bench/run makes tables of
 * them. See README.md for what each figure means.
 *
 *   bench_peers fanout   PEER HOST:PORT N SIZE REPS
 *   bench_peers saturate PEER HOST:PORT N SIZE SECONDS WINDOW
 *   bench_peers commits  PEER HOST:PORT WRITERS SIZE SECONDS
 *   bench_peers load     PEER HOST:PORT COUNT SIZE
 *   bench_peers versions PEER HOST:PORT COUNT SIZE
 *   bench_peers idle     PEER HOST:PORT N CYCLES
 *   bench_peers restart  PEER HOST:PORT N REPS PIDFILE COMMAND
 *   bench_peers rollout  trimtab HOST:PORT N REPS
 *   bench_peers rollback trimtab HOST:PORT N REPS
 *   bench_peers honest   trimtab HOST:PORT N WRITERS THINK-MS QUIET-S ATTACKED-S
 *   bench_peers stream   COUNT SIZE REPS
 *
 * In the environment: BENCH_TOKEN for Trimtab; BENCH_PID, the server's process; BENCH_TLS=1 to speak TLS.
 */
#include "bench/measure.h"

#include "base/hash.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WARMUP = 3, RING = 4096, SAMPLES_MAX = 4000000, LOAD_WINDOW = 64 };

static const struct peer *const peers[] = {&peer_trimtab, &peer_etcd, &peer_redis,
                                           &peer_zookeeper, &peer_raw};

/* ---- fan-out ---- */

struct round {
    double last, first, median, p99; /* ms */
};

static struct round one_round(struct peer_conn *writer, char *value, uint64_t sequence)
{
    double *times = room(bench.n, sizeof(*times));
    struct round r;
    nsec_t begin;

    fill_value(value, sequence);
    bench.values = 0;
    begin = clock_now();
    bench.peer->put(writer, 0, str_of(value, bench.size));
    while (bench.values < bench.n || bench.answered < sequence)
        bench_turn(-1);
    for (size_t i = 0; i < bench.n; i++)
        times[i] = (double)(bench.conns[i].done - begin) / 1e6;
    qsort(times, bench.n, sizeof(*times), by_double);
    r = (struct round){times[bench.n - 1], times[0], times[bench.n / 2],
                       times[bench.n * 99 / 100]};
    free(times);
    return r;
}

static int fanout(char **args)
{
    uint64_t reps, sequence = 0;
    struct peer_conn *writer;
    struct round *all;
    double cpu;

    bench.n = number(args[0]);
    bench.size = number(args[1]);
    reps = number(args[2]);
    bench.is_watched = true;
    bench.expected = room(1, bench.size);
    all = room(reps, sizeof(*all));
    writer = open_writer(0);
    bench_connect_watchers();
    for (int i = 0; i < WARMUP; i++)
        (void)one_round(writer, bench.expected, ++sequence);
    cpu = server_cpu();
    for (uint64_t i = 0; i < reps; i++)
        all[i] = one_round(writer, bench.expected, ++sequence);
    cpu = (server_cpu() - cpu) * 1e6 / (double)(reps * bench.n);
    qsort(all, reps, sizeof(*all), by_double); /* by its first field, last */
    printf("%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.1f\n", bench.peer->name,
           all[reps / 2].first, all[reps / 2].median, all[reps / 2].p99, all[reps / 2].last,
           all[0].last, all[reps - 1].last, cpu);
    return 0;
}

/* ---- saturation ---- */

static struct {
    uint32_t seen_by[RING]; /* by sequence number: watchers that have it or a newer one */
    uint64_t complete;      /* everybody has this or a newer one */
} window;

static void count_seen(struct peer_conn *c, uint64_t before)
{
    for (uint64_t i = before + 1; i <= c->seen; i++)
        window.seen_by[i % RING]++;
    while (window.seen_by[(window.complete + 1) % RING] == bench.n)
        window.seen_by[++window.complete % RING] = 0;
}

static int saturate(char **args)
{
    uint64_t sequence = 0, at_most, answered = 0;
    struct peer_conn *writer;
    double seconds, cpu;
    char *value;
    nsec_t begin;

    bench.n = number(args[0]);
    bench.size = number(args[1]);
    seconds = (double)number(args[2]);
    at_most = number(args[3]);
    if (at_most >= RING)
        die("the window is too large");
    bench.is_watched = true;
    bench.on_value = count_seen;
    value = room(1, bench.size);
    fill_value(value, 0);
    writer = open_writer(0);
    bench_connect_watchers();
    cpu = server_cpu();
    begin = clock_now();
    while (ms_since(begin) < seconds * 1e3) {
        while (sequence < window.complete + at_most && sequence < writer->answered + at_most) {
            char digits[SEQUENCE_DIGITS + 1];

            (void)snprintf(digits, sizeof(digits), "%016" PRIx64, ++sequence);
            memcpy(value, digits, SEQUENCE_DIGITS);
            bench.peer->put(writer, 0, str_of(value, bench.size));
        }
        bench_turn(100);
    }
    seconds = ms_since(begin) / 1e3;
    answered = writer->answered;
    cpu = (server_cpu() - cpu) * 1e6 / (double)bench.values;
    printf("%s\t%.0f\t%.0f\t%.1f\t%.2f\t%.2f\n", bench.peer->name,
           (double)bench.values / seconds, (double)answered / seconds,
           (double)(bench.values * bench.size) / 1e6 / seconds,
           (double)bench.values / (double)bench.n / (double)answered, cpu);
    return 0;
}

/* ---- durable commits ---- */

static int commits(char **args)
{
    uint64_t n = number(args[0]), sequence = 0, done = 0;
    double seconds = (double)number(args[2]), *samples = room(SAMPLES_MAX, sizeof(*samples));
    struct peer_conn **writers = room(n, sizeof(*writers));
    nsec_t *put_at = room(n, sizeof(*put_at)), begin;
    char *value;

    bench.size = number(args[1]);
    value = room(1, bench.size);
    for (uint64_t i = 0; i < n; i++)
        writers[i] = open_writer((int)i + 1);
    begin = clock_now();
    while (ms_since(begin) < seconds * 1e3) {
        for (uint64_t i = 0; i < n; i++) {
            struct peer_conn *w = writers[i];

            if (w->put != w->answered)
                continue;
            if (w->put && done < SAMPLES_MAX)
                samples[done++] = (double)(clock_now() - put_at[i]) / 1e3;
            fill_value(value, ++sequence);
            put_at[i] = clock_now();
            w->put++;
            bench.peer->put(w, i + 1, str_of(value, bench.size));
        }
        bench_turn(100);
    }
    seconds = ms_since(begin) / 1e3;
    qsort(samples, done, sizeof(*samples), by_double);
    printf("%s\t%.0f\t%.0f\t%.0f\n", bench.peer->name, (double)done / seconds,
           samples[done / 2], samples[done * 99 / 100]);
    return 0;
}

/* ---- reads, one after the other ---- */

static void until_answered(struct peer_conn *c, uint64_t n)
{
    while (c->answered < n)
        bench_turn(-1);
}

static int reads(char **args)
{
    double seconds = (double)number(args[1]), *samples = room(SAMPLES_MAX, sizeof(*samples));
    struct peer_conn *c = open_writer(1);
    uint64_t keys = 100, done = 0;
    struct rng rng = {1};
    nsec_t begin;
    char *value;

    if (!bench.peer->get)
        die("it is not asked");
    bench.size = number(args[0]);
    value = room(1, bench.size);
    for (uint64_t key = 1; key <= keys; key++) {
        fill_value(value, key);
        bench.peer->put(c, key, str_of(value, bench.size));
        until_answered(c, key);
    }
    begin = clock_now();
    while (ms_since(begin) < seconds * 1e3 && done < SAMPLES_MAX) {
        nsec_t asked = clock_now();

        bench.peer->get(c, 1 + rng_below(&rng, keys));
        until_answered(c, keys + done + 1);
        samples[done++] = (double)(clock_now() - asked);
    }
    qsort(samples, done, sizeof(*samples), by_double);
    printf("%s\t%.1f\t%.1f\t%.1f\n", bench.peer->name, samples[done / 2], samples[0],
           samples[done - 1]);
    return 0;
}

/* So many values, each of its own name, or all of one. */
static int put_many(char **args, bool creates)
{
    uint64_t count = number(args[0]), sequence = 0;
    struct peer_conn *writer;
    nsec_t begin;
    char *value;

    bench.size = number(args[1]);
    bench.creates = creates;
    value = room(1, bench.size);
    writer = open_writer(0);
    begin = clock_now();
    while (writer->answered < count) {
        while (sequence < count && sequence < writer->answered + LOAD_WINDOW) {
            fill_value(value, ++sequence);
            bench.peer->put(writer, creates ? sequence : 0, str_of(value, bench.size));
        }
        bench_turn(-1);
    }
    settle(SETTLE_MS);
    printf("%s\t%.0f\t%.1f\n", bench.peer->name,
           (double)count * 1e3 / (ms_since(begin) - SETTLE_MS), server_memory());
    return 0;
}

static int load(char **args)
{
    return put_many(args, true);
}

static int versions(char **args)
{
    return put_many(args, false);
}

/* ---- memory ---- */

static void hang_up_all(void)
{
    for (size_t i = 0; i < bench.n; i++)
        conn_hang_up(&bench.conns[i]);
}

/* Per watcher, connected and idle; then resident with all connected after each of the cycles, and with none at the end. */
static int idle(char **args)
{
    uint64_t cycles = number(args[1]);
    double before, with;

    bench.n = number(args[0]);
    if (bench.peer != &peer_trimtab &&
        bench.peer != &peer_raw) /* there is something to be watched */
        (void)open_writer(0);
    before = server_memory();
    bench_connect_watchers();
    settle(SETTLE_MS);
    with = server_memory();
    printf("%s%s\t%.1f\t%.1f\t%.2f\t", bench.peer->name, bench.tls ? "+tls" : "", before, with,
           (with - before) * 1024 / (double)bench.n);
    for (uint64_t i = 0; i < cycles; i++) {
        hang_up_all();
        bench_connect_watchers();
        settle(SETTLE_MS);
        printf("%.0f ", server_memory());
    }
    hang_up_all();
    settle(SETTLE_MS);
    settle(SETTLE_MS);
    printf("\t%.1f\n", server_memory());
    return 0;
}

/* ---- restart ---- */

static void end_server(const char *pid_file)
{
    FILE *f = fopen(pid_file, "re");
    int pid = 0;

    if (!f || fscanf(f, "%d", &pid) != 1 || pid <= 1 || kill(pid, SIGKILL))
        die("no server to end");
    (void)fclose(f);
    while (kill(pid, 0) == 0)
        (void)usleep(500); /* the port is free when the process is gone */
}

static int restart(char **args)
{
    uint64_t reps = number(args[1]);
    double *last = room(reps, sizeof(*last)), *first = room(reps, sizeof(*first));
    struct peer_conn *writer;
    char *value;

    bench.n = number(args[0]);
    bench.size = 100;
    bench.is_watched = true;
    value = room(1, bench.size);
    writer = open_writer(0);
    bench_connect_watchers();
    (void)one_round(writer, value, 1);
    bench.may_end = true;
    for (uint64_t i = 0; i < reps; i++) {
        nsec_t begin;

        end_server(args[2]);
        hang_up_all();
        conn_hang_up(writer);
        begin = clock_now();
        if (system(args[3])) // NOLINT(cert-env33-c): the command is the caller's own
            die("the server did not start");
        bench_connect_watchers();
        last[i] = ms_since(begin);
        first[i] = last[i];
        for (size_t w = 0; w < bench.n; w++)
            first[i] = MIN(first[i], (double)(bench.conns[w].done - begin) / 1e6);
    }
    qsort(last, reps, sizeof(*last), by_double);
    qsort(first, reps, sizeof(*first), by_double);
    printf("%s\t%.0f\t%.0f\t%.0f\t%.0f\n", bench.peer->name, first[reps / 2], last[reps / 2],
           last[0], last[reps - 1]);
    return 0;
}

/* ---- the limit of a cold sync ---- */

static void send_stream(int fd, size_t bytes)
{
    static char block[1 << 18];

    while (bytes) {
        ssize_t n = send(fd, block, MIN(bytes, sizeof(block)), MSG_NOSIGNAL);

        if (n <= 0)
            _exit(1);
        bytes -= (size_t)n;
    }
    _exit(0);
}

static double take_stream(size_t count, size_t size, bool with_digest)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;
    char *item = room(1, size);
    struct sha256 hash = {0};
    nsec_t begin;
    pid_t child;

    if (bind(listener, (struct sockaddr *)&a, len) || listen(listener, 1) ||
        getsockname(listener, (struct sockaddr *)&a, &len))
        die("listen");
    child = fork();
    if (child == 0) {
        fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&a, len))
            _exit(1);
        send_stream(fd, count * size);
    }
    fd = accept(listener, NULL, NULL);
    begin = clock_now();
    for (size_t i = 0; i < count; i++) {
        if (recv(fd, item, size, MSG_WAITALL) != (ssize_t)size)
            die("the stream ended");
        if (with_digest)
            hash = sha256_of(str_of(item, size));
    }
    if (with_digest && !hash.bytes[0] && !hash.bytes[1] && !hash.bytes[2])
        die("a digest of zeros"); /* it is used, so it is computed */
    (void)close(fd);
    (void)close(listener);
    (void)waitpid(child, NULL, 0);
    free(item);
    return (double)(count * size) / 1e3 / ms_since(begin);
}

static int stream(char **args)
{
    size_t count = number(args[0]), size = number(args[1]), reps = number(args[2]);
    double *rates = room(reps, sizeof(*rates));

    for (int with_digest = 0; with_digest < 2; with_digest++) {
        for (size_t i = 0; i < reps; i++)
            rates[i] = take_stream(count, size, with_digest);
        qsort(rates, reps, sizeof(*rates), by_double);
        printf("%s\t%.0f\t%.0f\t%.0f\n", with_digest ? "raw+sha256" : "raw", rates[reps / 2],
               rates[0], rates[reps - 1]);
    }
    return 0;
}

/* ---- */

static const struct figure {
    const char *name;
    int n_args;
    int (*run)(char **args);
} figures[] = {{"fanout", 3, fanout},   {"saturate", 4, saturate}, {"commits", 3, commits},
               {"load", 2, load},       {"versions", 2, versions}, {"idle", 2, idle},
               {"restart", 4, restart}, {"rollout", 2, rollout},   {"rollback", 2, rollback},
               {"honest", 5, honest},   {"reads", 2, reads}};

static void prepare(const char *peer, const char *address)
{
    const char *colon = strrchr(address, ':');
    struct rlimit files;

    for (size_t i = 0; i < ARRAY_LEN(peers); i++)
        if (strcmp(peers[i]->name, peer) == 0)
            bench.peer = peers[i];
    if (!bench.peer || (!colon && *address != '/'))
        die("no such peer");
    if (*address == '/')
        bench.socket = address;
    else
        bench.port = (uint16_t)number(colon + 1);
    bench.token = getenv("BENCH_TOKEN") ? getenv("BENCH_TOKEN") : "";
    if (getenv("BENCH_TLS"))
        bench.tls = SSL_CTX_new(TLS_client_method());
    if (bench.tls && SSL_CTX_set_alpn_protos(bench.tls, (const unsigned char *)"\x02h2", 3))
        die("ALPN");
    (void)getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files); /* a smaller limit shows as a failing socket */
    (void)signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "stream") == 0)
        return stream(argv + 2);
    for (size_t i = 0; argc > 4 && i < ARRAY_LEN(figures); i++)
        if (strcmp(argv[1], figures[i].name) == 0 && argc == figures[i].n_args + 4) {
            prepare(argv[2], argv[3]);
            return figures[i].run(argv + 4);
        }
    (void)fprintf(stderr, "usage: see the head of bench/main.c; run by bench/run\n");
    return 2;
}
