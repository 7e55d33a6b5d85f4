/*
 * A raw client for tests. See raw.h.
 */
#include "raw.h"

#include "tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

void raw_open(struct raw *raw, struct loop *loop, uint16_t port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};

    *raw = (struct raw){.loop = loop, .got = BUF_NULL(64 * MIB)};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    raw->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK(connect(raw->fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 || errno == EINPROGRESS);
}

void raw_close(struct raw *raw)
{
    (void)close(raw->fd);
    buf_deinit(&raw->got);
    for (int i = 0; i < 4; i++)
        loop_turn(raw->loop, LOOP_POLL);
}

void raw_poll(struct raw *raw)
{
    static char room[65536];
    ssize_t n = recv(raw->fd, room, sizeof(room), 0);

    if (n > 0)
        buf_put(&raw->got, room, (size_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != ENOTCONN && errno != EINPROGRESS))
        raw->is_closed = true;
}

static void turn(struct raw *raw)
{
    loop_turn(raw->loop, LOOP_POLL);
    (void)usleep(100); /* lets the kernel and the timers go on; nothing depends on how long */
}

bool raw_send(struct raw *raw, struct str bytes)
{
    while (bytes.len) {
        ssize_t n = send(raw->fd, bytes.data, bytes.len, MSG_NOSIGNAL);

        if (n > 0)
            bytes = str_from(bytes, (size_t)n);
        else if (errno != EAGAIN && errno != EINPROGRESS && errno != ENOTCONN)
            return false;
        turn(raw);
    }
    return true;
}

bool raw_wait(struct raw *raw, const char *text)
{
    for (;;) {
        raw_poll(raw);
        if (raw->got.len && memmem(raw->got.data, raw->got.len, text, strlen(text)))
            return true;
        if (raw->is_closed)
            return false;
        turn(raw);
    }
}

void raw_wait_close(struct raw *raw)
{
    while (!raw->is_closed) {
        raw_poll(raw);
        turn(raw);
    }
}
