/*
 * Fan-out: a durable put to N connections, each with a subscriber of its own; when does the first, the median, the 99th
 * of a hundred and the last have the value in user space, its bytes compared?
 *
 *   bench_fanout trimtab HOST:PORT N SIZE REPS TOKEN    the whole protocol: hello, batches, acknowledgements
 *   bench_fanout redis   HOST:PORT N SIZE REPS          SET and PUBLISH in one pipeline
 *   bench_fanout raw     FILE      N SIZE REPS          the limit: fdatasync, then one send per socket, two threads
 *
 * One epoll thread receives for all; the main thread puts. Client and server share the machine, for every peer alike.
 */
#include "base/alloc.h"
#include "base/clock.h"
#include "proto/convert.h"
#include "proto/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WARMUP = 3, READ_BYTES = 1 << 20, RAW_HEAD = 8, RAW_THREADS = 2 };

struct conn {
    int fd;
    struct buf in;     /* what is not a whole message yet */
    size_t frame_left; /* HTTP/2: bytes of the frame that is being read */
    unsigned char frame_type;
    struct buf message; /* HTTP/2: bytes of DATA that are not a whole gRPC message yet */
    bool is_ready;      /* has its first batch */
    nsec_t done;
};

enum peer { TRIMTAB, REDIS, RAW };

static struct {
    enum peer peer;
    const char *token;
    struct sockaddr_in address;
    int n, size, reps;
    struct conn *conns;
    char *payload;
    int epoll;
    char *read_buf;
    _Atomic int ready, delivered;
    _Atomic bool wrong, is_over;
    _Atomic uint64_t round;
} b;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int dial(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    if (fd < 0 || connect(fd, (struct sockaddr *)&b.address, sizeof(b.address)))
        die("connect");
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static void put_all(int fd, const void *bytes, size_t len)
{
    const char *at = bytes;

    while (len) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN)
            continue;
        if (n < 0)
            die("send");
        at += n;
        len -= (size_t)n;
    }
}

/* Each round has bytes of its own. */
static void fill_payload(uint64_t round)
{
    for (int i = 0; i < b.size; i++)
        b.payload[i] = (char)('a' + (round * 31 + (uint64_t)i * 7) % 26);
}

static void delivered(struct conn *c, struct str content)
{
    if (!str_eq(content, str_of(b.payload, (size_t)b.size)))
        atomic_store(&b.wrong, true);
    c->done = clock_now();
    atomic_fetch_add(&b.delivered, 1);
}

/* ---- HTTP/2 by hand: as little of it as a gRPC stream needs (RFC 9113) ---- */

enum { H2_DATA = 0, H2_HEADERS = 1, H2_SETTINGS = 4, H2_PING = 6, H2_WINDOW = 8 };

static void h2_frame(struct buf *out, size_t len, int type, int flags, uint32_t stream)
{
    char head[9] = {(char)(len >> 16),    (char)(len >> 8),    (char)len,
                    (char)type,           (char)flags,         (char)(stream >> 24),
                    (char)(stream >> 16), (char)(stream >> 8), (char)stream};

    buf_put(out, head, sizeof(head));
}

/* A literal header field without indexing (RFC 7541 6.2.2); lengths below 127. */
static void h2_header(struct buf *out, const char *name, const char *value)
{
    buf_put_byte(out, 0);
    buf_put_byte(out, (unsigned char)strlen(name));
    buf_put_c(out, name);
    buf_put_byte(out, (unsigned char)strlen(value));
    buf_put_c(out, value);
}

static void h2_message(struct buf *out, const ProtobufCMessage *m)
{
    size_t len = protobuf_c_message_get_packed_size(m);
    char prefix[GRPC_PREFIX_BYTES];
    char *at;

    h2_frame(out, len + GRPC_PREFIX_BYTES, H2_DATA, 0, 1);
    (void)wire_put_grpc_prefix(prefix, len);
    buf_put(out, prefix, sizeof(prefix));
    at = buf_room(out, len);
    if (!at)
        die("memory");
    (void)protobuf_c_message_pack(m, (uint8_t *)at);
    buf_added(out, len);
}

static void h2_open(struct conn *c, int index)
{
    owned(buf) struct buf out = BUF_NULL(1 << 20), headers = BUF_NULL(4096);
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Hello hello = TRIMTAB__V1__HELLO__INIT;
    Trimtab__V1__Instance instance = TRIMTAB__V1__INSTANCE__INIT;
    Trimtab__V1__Scope scope = TRIMTAB__V1__SCOPE__INIT, *scopes[] = {&scope};
    char id[32], space[] = "bench/fan", *spaces[] = {space}, bearer[100];
    static const unsigned char settings[] = {0, 4, 0x7f, 0xff, 0xff, 0xff};
    static const unsigned char window[] = {0x7f, 0xff, 0, 0};

    (void)snprintf(id, sizeof(id), "bench-%d", index);
    (void)snprintf(bearer, sizeof(bearer), "Bearer %s", b.token);
    buf_put_c(&out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    h2_frame(&out, sizeof(settings), H2_SETTINGS, 0, 0);
    buf_put(&out, settings, sizeof(settings));
    h2_frame(&out, sizeof(window), H2_WINDOW, 0, 0);
    buf_put(&out, window, sizeof(window));
    h2_header(&headers, ":method", "POST");
    h2_header(&headers, ":scheme", "http");
    h2_header(&headers, ":path", "/trimtab.v1.Sync/Subscribe");
    h2_header(&headers, ":authority", "127.0.0.1");
    h2_header(&headers, "content-type", "application/grpc");
    h2_header(&headers, "te", "trailers");
    h2_header(&headers, "authorization", bearer);
    h2_frame(&out, headers.len, H2_HEADERS, 4, 1);
    buf_put_str(&out, buf_str(&headers));
    instance.id = id;
    scope.namespaces = spaces;
    scope.n_namespaces = 1;
    hello.protocol = 1;
    hello.instance = &instance;
    hello.scopes = scopes;
    hello.n_scopes = 1;
    frame.hello = &hello;
    h2_message(&out, &frame.base);
    put_all(c->fd, out.data, out.len);
}

static void acknowledge(struct conn *c, const Trimtab__V1__End *end)
{
    char room[256];
    struct buf out = {.data = room, .cap = sizeof(room), .ceiling = sizeof(room)};
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Ack ack = TRIMTAB__V1__ACK__INIT;

    ack.stage = TRIMTAB__V1__STAGE__APPLIED; /* implies stored */
    ack.revision = end->revision;
    ack.received_digest = end->digest;
    ack.serving_digest = end->digest;
    frame.ack = &ack;
    h2_message(&out, &frame.base);
    put_all(c->fd, out.data, out.len);
}

static void take_message(struct conn *c, struct str bytes)
{
    Trimtab__V1__ServerFrame *m =
        trimtab__v1__server_frame__unpack(NULL, bytes.len, (const uint8_t *)bytes.data);

    if (!m)
        die("a message that is none");
    if (m->end) {
        if (c->is_ready && m->n_changes && m->changes[0]->n_put)
            delivered(c, proto_str(m->changes[0]->put[0]->content));
        if (!c->is_ready)
            atomic_fetch_add(&b.ready, 1);
        c->is_ready = true;
        acknowledge(c, m->end);
    }
    trimtab__v1__server_frame__free_unpacked(m, NULL);
}

static void take_data(struct conn *c, struct str bytes)
{
    struct str all;

    buf_put_str(&c->message, bytes);
    all = buf_str(&c->message);
    while (all.len >= GRPC_PREFIX_BYTES) {
        size_t len = 0;

        for (int i = 1; i < GRPC_PREFIX_BYTES; i++)
            len = len << 8 | (unsigned char)all.data[i];
        if (all.len < GRPC_PREFIX_BYTES + len)
            break;
        take_message(c, str_part(all, GRPC_PREFIX_BYTES, GRPC_PREFIX_BYTES + len));
        all = str_from(all, GRPC_PREFIX_BYTES + len);
    }
    buf_consume(&c->message, c->message.len - all.len);
    if (!c->message.len)
        buf_deinit(&c->message);
}

static void take_frame(struct conn *c, int type, int flags, struct str payload)
{
    if (type == H2_DATA) {
        take_data(c, payload);
    } else if ((type == H2_SETTINGS || type == H2_PING) && !(flags & 1)) {
        char room[64];
        struct buf out = {.data = room, .cap = sizeof(room), .ceiling = sizeof(room)};

        h2_frame(&out, type == H2_PING ? payload.len : 0, type, 1, 0);
        if (type == H2_PING)
            buf_put_str(&out, payload);
        put_all(c->fd, out.data, out.len);
    }
}

static size_t take_h2(struct conn *c, struct str in)
{
    size_t used = 0;

    while (in.len - used >= 9) {
        const unsigned char *p = (const unsigned char *)in.data + used;
        size_t len = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];

        if (in.len - used < 9 + len)
            break;
        take_frame(c, p[3], p[4], str_part(in, used + 9, used + 9 + len));
        used += 9 + len;
    }
    return used;
}

/* ---- the other two ---- */

static size_t redis_head(char out[128])
{
    return (size_t)snprintf(out, 128, "*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$%d\r\n", b.size);
}

static size_t take_redis(struct conn *c, struct str in)
{
    static const struct str subscribed = STR("*3\r\n$9\r\nsubscribe\r\n$2\r\nch\r\n:1\r\n");
    char head[128];
    size_t head_len = redis_head(head), whole = head_len + (size_t)b.size + 2, used = 0;

    if (!c->is_ready && in.len >= subscribed.len) {
        c->is_ready = true;
        atomic_fetch_add(&b.ready, 1);
        used = subscribed.len;
    }
    for (; c->is_ready && in.len - used >= whole; used += whole)
        delivered(c, str_part(in, used + head_len, used + head_len + (size_t)b.size));
    return used;
}

static size_t take_raw(struct conn *c, struct str in)
{
    size_t whole = RAW_HEAD + (size_t)b.size, used = 0;

    for (; in.len - used >= whole; used += whole)
        delivered(c, str_part(in, used + RAW_HEAD, used + whole));
    return used;
}

/* ---- receiving ---- */

static size_t take_bytes(struct conn *c, struct str in)
{
    switch (b.peer) {
    case TRIMTAB: return take_h2(c, in);
    case REDIS: return take_redis(c, in);
    case RAW: return take_raw(c, in);
    }
    return in.len;
}

static void receive(struct conn *c)
{
    ssize_t n = recv(c->fd, b.read_buf, READ_BYTES, MSG_DONTWAIT);
    struct str in = str_of(b.read_buf, n > 0 ? (size_t)n : 0);
    size_t used;

    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        if (atomic_load(&b.is_over))
            pthread_exit(NULL);
        die("a connection ended");
    }
    if (c->in.len) {
        buf_put_str(&c->in, in);
        used = take_bytes(c, buf_str(&c->in));
        buf_consume(&c->in, used);
        if (!c->in.len)
            buf_deinit(&c->in);
        return;
    }
    used = take_bytes(c, in);
    buf_put_str(&c->in, str_from(in, used));
}

static void *receive_all(void *arg)
{
    struct epoll_event events[512];

    (void)arg;
    for (;;) {
        int n = epoll_wait(b.epoll, events, 512, -1);

        for (int i = 0; i < n; i++)
            receive(events[i].data.ptr);
    }
    return NULL;
}

static void connect_all(void)
{
    pthread_t thread;

    b.conns = calloc((size_t)b.n, sizeof(*b.conns));
    b.read_buf = malloc(READ_BYTES);
    b.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (pthread_create(&thread, NULL, receive_all, NULL))
        die("thread");
    for (int i = 0; i < b.n; i++) {
        struct conn *c = &b.conns[i];
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};

        c->fd = dial();
        c->in = BUF_NULL(64 * MIB);
        c->message = BUF_NULL(64 * MIB);
        if (b.peer == TRIMTAB)
            h2_open(c, i);
        else if (b.peer == REDIS)
            put_all(c->fd, "*2\r\n$9\r\nSUBSCRIBE\r\n$2\r\nch\r\n", 27);
        else
            atomic_fetch_add(&b.ready, 1);
        if (epoll_ctl(b.epoll, EPOLL_CTL_ADD, c->fd, &e))
            die("epoll");
    }
    while (atomic_load(&b.ready) < b.n)
        (void)usleep(1000);
}

/* ---- putting ---- */

static void read_answer(int fd)
{
    char answer[4096];

    if (recv(fd, answer, sizeof(answer), 0) <= 0)
        die("the put was not answered");
    if (b.peer == TRIMTAB && !strstr(answer, " 200 "))
        die(answer);
}

static void put(int fd)
{
    char head[512];
    int n;

    switch (b.peer) {
    case TRIMTAB:
        n = snprintf(head, sizeof(head),
                     "PUT /v1/resources/bench/fan/file/x HTTP/1.1\r\nhost: "
                     "127.0.0.1\r\nauthorization: Bearer %s\r\n"
                     "content-type: text/plain\r\ncontent-length: %d\r\n\r\n",
                     b.token, b.size);
        put_all(fd, head, (size_t)n);
        put_all(fd, b.payload, (size_t)b.size);
        break;
    case REDIS:
        n = snprintf(head, sizeof(head), "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n", b.size);
        put_all(fd, head, (size_t)n);
        put_all(fd, b.payload, (size_t)b.size);
        n = snprintf(head, sizeof(head), "\r\n*3\r\n$7\r\nPUBLISH\r\n$2\r\nch\r\n$%d\r\n",
                     b.size);
        put_all(fd, head, (size_t)n);
        put_all(fd, b.payload, (size_t)b.size);
        put_all(fd, "\r\n", 2);
        break;
    case RAW: put_all(fd, b.payload, (size_t)b.size); break;
    }
    read_answer(fd);
}

static int by_time(const void *a, const void *c)
{
    nsec_t ta = *(const nsec_t *)a, tc = *(const nsec_t *)c;

    return ta < tc ? -1 : ta > tc;
}

struct figures {
    double first, median, p99, last;
};

static struct figures round_trip(int fd, uint64_t round)
{
    nsec_t *times = calloc((size_t)b.n, sizeof(*times)), begin;
    struct figures f;

    fill_payload(round);
    atomic_store(&b.delivered, 0);
    begin = clock_now();
    put(fd);
    while (atomic_load(&b.delivered) < b.n)
        (void)usleep(200);
    for (int i = 0; i < b.n; i++)
        times[i] = b.conns[i].done - begin;
    qsort(times, (size_t)b.n, sizeof(*times), by_time);
    f = (struct figures){(double)times[0] / 1e6, (double)times[b.n / 2] / 1e6,
                         (double)times[(size_t)b.n * 99 / 100] / 1e6,
                         (double)times[b.n - 1] / 1e6};
    free(times);
    return f;
}

static int by_last(const void *a, const void *c)
{
    const struct figures *fa = a, *fc = c;

    return fa->last < fc->last ? -1 : fa->last > fc->last;
}

/* ---- the limit: a server that does nothing else ---- */

struct raw {
    int listener, file;
    int *fds;
    int n;
    char *message;
    pthread_barrier_t begin, end;
};

struct raw_half {
    struct raw *raw;
    int from, to;
};

static void *raw_send(void *arg)
{
    struct raw_half *h = arg;

    for (;;) {
        (void)pthread_barrier_wait(&h->raw->begin);
        for (int i = h->from; i < h->to; i++)
            put_all(h->raw->fds[i], h->raw->message, RAW_HEAD + (size_t)b.size);
        (void)pthread_barrier_wait(&h->raw->end);
    }
    return NULL;
}

static void raw_serve(struct raw *r)
{
    struct raw_half halves[RAW_THREADS];
    pthread_t threads[RAW_THREADS];
    int control, one = 1;
    off_t at = 0;

    for (int i = 0; i < r->n; i++) {
        r->fds[i] = accept(r->listener, NULL, NULL);
        (void)setsockopt(r->fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
    control = accept(r->listener, NULL, NULL);
    (void)pthread_barrier_init(&r->begin, NULL, RAW_THREADS + 1);
    (void)pthread_barrier_init(&r->end, NULL, RAW_THREADS + 1);
    for (int i = 0; i < RAW_THREADS; i++) {
        halves[i] = (struct raw_half){r, r->n * i / RAW_THREADS, r->n * (i + 1) / RAW_THREADS};
        (void)pthread_create(&threads[i], NULL, raw_send, &halves[i]);
    }
    for (;;) {
        ssize_t n = recv(control, r->message + RAW_HEAD, (size_t)b.size, MSG_WAITALL);

        if (n != b.size)
            exit(0);
        if (pwrite(r->file, r->message, RAW_HEAD + (size_t)b.size, at) < 0 ||
            fdatasync(r->file))
            die("disk");
        at += RAW_HEAD + b.size;
        (void)pthread_barrier_wait(&r->begin);
        put_all(control, "k", 1);
        (void)pthread_barrier_wait(&r->end);
    }
}

static pid_t raw_start(const char *path)
{
    struct raw r = {.n = b.n,
                    .fds = calloc((size_t)b.n, sizeof(int)),
                    .message = calloc(1, RAW_HEAD + (size_t)b.size)};
    socklen_t len = sizeof(b.address);
    pid_t pid;

    b.address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    r.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(r.listener, (struct sockaddr *)&b.address, sizeof(b.address)) ||
        listen(r.listener, 4096) ||
        getsockname(r.listener, (struct sockaddr *)&b.address, &len))
        die("listen");
    r.file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (r.file < 0 || posix_fallocate(r.file, 0, 16 << 20))
        die(path);
    pid = fork();
    if (pid == 0)
        raw_serve(&r);
    (void)close(r.listener);
    return pid;
}

/* ---- */

static void take_address(const char *text)
{
    const char *colon = strrchr(text, ':');
    uint64_t port;

    if (!colon || !str_u64(str_c(colon + 1), &port) || port > 65535) {
        (void)fprintf(stderr, "not an address: %s\n", text);
        exit(2);
    }
    b.address = (struct sockaddr_in){.sin_family = AF_INET,
                                     .sin_port = htons((uint16_t)port),
                                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int number(const char *text)
{
    uint64_t v;

    if (!str_u64(str_c(text), &v) || v == 0 || v > 10000000)
        exit(2);
    return (int)v;
}

int main(int argc, char **argv)
{
    struct rlimit files;
    struct figures *all;
    pid_t raw = 0;
    int fd;

    if (argc < 6)
        return 2;
    b.peer = strcmp(argv[1], "redis") == 0 ? REDIS
             : strcmp(argv[1], "raw") == 0 ? RAW
                                           : TRIMTAB;
    b.n = number(argv[3]);
    b.size = number(argv[4]);
    b.reps = number(argv[5]);
    b.token = argc > 6 ? argv[6] : "";
    b.payload = malloc((size_t)b.size);
    (void)getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files); /* a smaller limit shows as a failing socket */
    (void)signal(SIGPIPE, SIG_IGN);
    if (b.peer == RAW)
        raw = raw_start(argv[2]);
    else
        take_address(argv[2]);
    connect_all();
    fd = dial();
    all = calloc((size_t)b.reps, sizeof(*all));
    for (int i = 0; i < WARMUP; i++)
        (void)round_trip(fd, (uint64_t)i);
    for (int i = 0; i < b.reps; i++)
        all[i] = round_trip(fd, (uint64_t)(i + WARMUP));
    qsort(all, (size_t)b.reps, sizeof(*all), by_last);
    printf("%-8s %6d x %6d B   first %7.2f   median %7.2f   p99 %7.2f   last %7.2f (%.2f-%.2f) "
           "ms%s\n",
           argv[1], b.n, b.size, all[b.reps / 2].first, all[b.reps / 2].median,
           all[b.reps / 2].p99, all[b.reps / 2].last, all[0].last, all[b.reps - 1].last,
           atomic_load(&b.wrong) ? "   WRONG BYTES" : "");
    atomic_store(&b.is_over, true);
    if (raw) {
        (void)kill(raw, SIGKILL);
        (void)waitpid(raw, NULL, 0);
    }
    return atomic_load(&b.wrong) ? 1 : 0;
}
