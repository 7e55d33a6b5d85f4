/*
 * Redis: SET and PUBLISH in one pipeline under appendfsync always, so what is published is durable before. Pub/sub has
 * no memory: a client that comes back reads the value anew.
 */
#include "bench/peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Both are taken in one go, so nothing is missed in between. */
static void watch(struct peer_conn *c)
{
    static const char ask[] =
        "*2\r\n$3\r\nGET\r\n$7\r\nk000000\r\n*2\r\n$9\r\nSUBSCRIBE\r\n$2\r\nch\r\n";

    conn_send(c, ask, sizeof(ask) - 1);
}

static void open_writer(struct peer_conn *c)
{
    conn_ready(c); /* fit for commands at once */
}

/* The answers to GET, which may be nil, and to SUBSCRIBE; 0 while they are not whole. */
static size_t take_first(struct peer_conn *c, struct str in)
{
    static const struct str subscribed = STR("*3\r\n$9\r\nsubscribe\r\n$2\r\nch\r\n:1\r\n");
    size_t head = str_index(in, '\n') + 1;
    long len;

    if (head > in.len)
        return 0;
    len = strtol(in.data + 1, NULL, 10);
    head += len < 0 ? 0 : (size_t)len + 2;
    if (in.len < head + subscribed.len)
        return 0;
    conn_ready(c);
    return head + subscribed.len;
}

static size_t take_values(struct peer_conn *c, struct str in)
{
    size_t used = c->is_ready ? 0 : take_first(c, in), head_len, whole;
    char head[64];

    head_len = (size_t)snprintf(head, sizeof(head),
                                "*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$%zu\r\n", bench.size);
    whole = head_len + bench.size + 2;
    for (; c->is_ready && in.len - used >= whole; used += whole)
        conn_value(c, str_part(in, used + head_len, used + head_len + bench.size));
    return used;
}

/* A value that was asked for: its length in a line, its bytes in another. 0 while it is not whole. */
static size_t take_bulk(struct peer_conn *c, struct str in, size_t head)
{
    long len = strtol(in.data + 1, NULL, 10);

    if (len < 0)
        die("a value is not there");
    if (in.len < head + (size_t)len + 2)
        return 0;
    conn_answered(c);
    return head + (size_t)len + 2;
}

/* One line for a SET, another for a PUBLISH; what was asked for. */
static size_t take_answers(struct peer_conn *c, struct str in)
{
    struct str rest = in;
    size_t used = 0;

    for (;;) {
        size_t n = str_index(rest, '\n');

        if (n == rest.len)
            return used;
        if (rest.data[0] == '-')
            die("a put was refused");
        if (rest.data[0] == (bench.is_watched ? ':' : '+'))
            conn_answered(c);
        n = rest.data[0] == '$' ? take_bulk(c, rest, n + 1) : n + 1;
        if (n == 0)
            return used;
        used += n;
        rest = str_from(rest, n);
    }
}

static size_t take_in(struct peer_conn *c, struct str in)
{
    return c->is_writer ? take_answers(c, in) : take_values(c, in);
}

static void put(struct peer_conn *c, uint64_t key, struct str value)
{
    owned(buf) struct buf out = BUF_NULL(1 << 20);

    buf_printf(&out, "*3\r\n$3\r\nSET\r\n$7\r\nk%06llu\r\n$%zu\r\n", (unsigned long long)key,
               value.len);
    buf_put_str(&out, value);
    if (bench.is_watched) {
        buf_printf(&out, "\r\n*3\r\n$7\r\nPUBLISH\r\n$2\r\nch\r\n$%zu\r\n", value.len);
        buf_put_str(&out, value);
    }
    buf_put_c(&out, "\r\n");
    conn_send(c, out.data, out.len);
}

static void get(struct peer_conn *c, uint64_t key)
{
    char ask[64];
    int n = snprintf(ask, sizeof(ask), "*2\r\n$3\r\nGET\r\n$7\r\nk%06llu\r\n",
                     (unsigned long long)key);

    conn_send(c, ask, (size_t)n);
}

const struct peer peer_redis = {"redis", watch, open_writer, put, take_in, get};
