/*
 * The limit of the machine: a server that makes a value durable and sends it to everybody, and does nothing else. What
 * came in one round of its loop shares one flush and leaves as one send per watcher, by two threads.
 *
 *   bench_rawd PORT FILE
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CLIENTS = 20000,
    THREADS = 2,
    FILE_BYTES = 64 << 20,
    BATCH_BYTES = 8 << 20,
    EVENTS = 512
};

struct client {
    int fd;
    char kind; /* 0 until it said W or P */
    char *in;  /* of a writer: what is not whole yet */
    size_t in_len;
    unsigned puts; /* to be answered after this round */
};

static struct {
    int epoll, listener, file;
    off_t at;
    struct client clients[CLIENTS]; /* by descriptor */
    int watchers[CLIENTS], n_watchers;
    char batch[BATCH_BYTES];
    size_t batch_len;
    char *last; /* what a new watcher gets */
    size_t last_len;
    int putters[CLIENTS], n_putters; /* of this round */
    pthread_barrier_t begin, end;
} r;

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static void send_all(int fd, const char *at, size_t len)
{
    while (len) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        struct pollfd p = {.fd = fd, .events = POLLOUT};

        if (n < 0 && errno != EAGAIN)
            return; /* it has left */
        if (n < 0)
            (void)poll(&p, 1, -1);
        at += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
}

static void *send_part(void *arg)
{
    int part = (int)(intptr_t)arg;

    for (;;) {
        (void)pthread_barrier_wait(&r.begin);
        for (int i = r.n_watchers * part / THREADS; i < r.n_watchers * (part + 1) / THREADS;
             i++)
            send_all(r.watchers[i], r.batch, r.batch_len);
        (void)pthread_barrier_wait(&r.end);
    }
    return NULL;
}

static void accept_all(void)
{
    int fd, one = 1;

    while ((fd = accept4(r.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};

        if (fd >= CLIENTS)
            exit(1);
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        r.clients[fd] = (struct client){.fd = fd};
        if (epoll_ctl(r.epoll, EPOLL_CTL_ADD, fd, &e))
            die("epoll_ctl");
    }
}

static void leave(struct client *c)
{
    for (int i = 0; c->kind == 'W' && i < r.n_watchers; i++)
        if (r.watchers[i] == c->fd)
            r.watchers[i] = r.watchers[--r.n_watchers];
    free(c->in);
    (void)close(c->fd);
    *c = (struct client){.fd = -1};
}

/* Whole values move to the batch of this round. */
static void take_puts(struct client *c)
{
    size_t used = 0;

    while (c->in_len - used >= 4) {
        uint32_t len;

        memcpy(&len, c->in + used, sizeof(len));
        len = ntohl(len) + 4;
        if (c->in_len - used < len || r.batch_len + len > BATCH_BYTES)
            break;
        memcpy(r.batch + r.batch_len, c->in + used, len);
        r.batch_len += len;
        r.last_len = len;
        used += len;
        if (!c->puts++)
            r.putters[r.n_putters++] = c->fd;
    }
    memmove(c->in, c->in + used, c->in_len - used);
    c->in_len -= used;
}

static void receive(struct client *c)
{
    static char bytes[1 << 20];
    ssize_t n = recv(c->fd, bytes, sizeof(bytes), 0);
    size_t from = 0;

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        leave(c);
        return;
    }
    if (!c->kind) {
        c->kind = bytes[0];
        from = 1;
        if (c->kind == 'W') {
            r.watchers[r.n_watchers++] = c->fd;
            send_all(c->fd, r.last_len ? r.last : "\0\0\0", r.last_len ? r.last_len : 4);
        }
    }
    c->in = realloc(c->in, c->in_len + (size_t)n);
    if (!c->in)
        die("memory");
    memcpy(c->in + c->in_len, bytes + from, (size_t)n - from);
    c->in_len += (size_t)n - from;
    if (c->kind == 'P')
        take_puts(c);
}

static void end_round(void)
{
    if (!r.batch_len)
        return;
    if (r.at + (off_t)r.batch_len > FILE_BYTES)
        r.at = 0;
    if (pwrite(r.file, r.batch, r.batch_len, r.at) != (ssize_t)r.batch_len || fdatasync(r.file))
        die("disk");
    r.at += (off_t)r.batch_len;
    r.last = realloc(r.last, r.last_len);
    if (!r.last)
        die("memory");
    memcpy(r.last, r.batch + r.batch_len - r.last_len, r.last_len);
    if (r.n_watchers)
        (void)pthread_barrier_wait(&r.begin);
    for (; r.n_putters; r.n_putters--) {
        struct client *c = &r.clients[r.putters[r.n_putters - 1]];

        for (; c->puts; c->puts--)
            send_all(c->fd, "k", 1);
    }
    if (r.n_watchers)
        (void)pthread_barrier_wait(&r.end);
    r.batch_len = 0;
}

static void start(uint16_t port, const char *path)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event e = {.events = EPOLLIN};
    static char zeros[1 << 20];
    pthread_t thread;
    int one = 1;

    r.file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    for (off_t at = lseek(r.file, 0, SEEK_END); at < FILE_BYTES; at += (off_t)sizeof(zeros))
        if (pwrite(r.file, zeros, sizeof(zeros), at) < 0)
            die(path);
    r.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    (void)setsockopt(r.listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(r.listener, (struct sockaddr *)&address, sizeof(address)) ||
        listen(r.listener, 4096))
        die("listen");
    r.epoll = epoll_create1(EPOLL_CLOEXEC);
    e.data.fd = r.listener;
    if (epoll_ctl(r.epoll, EPOLL_CTL_ADD, r.listener, &e))
        die("epoll_ctl");
    (void)pthread_barrier_init(&r.begin, NULL, THREADS + 1);
    (void)pthread_barrier_init(&r.end, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&thread, NULL, send_part, (void *)(intptr_t)i))
            die("thread");
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    struct rlimit files;

    if (argc != 3)
        return 2;
    (void)getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files); /* a smaller limit shows */
    (void)signal(SIGPIPE, SIG_IGN);
    start((uint16_t)strtoul(argv[1], NULL, 10), argv[2]);
    for (;;) {
        int n = epoll_wait(r.epoll, events, EVENTS, -1);

        for (int i = 0; i < n; i++)
            if (events[i].data.fd == r.listener)
                accept_all();
            else
                receive(&r.clients[events[i].data.fd]);
        end_round();
    }
}
