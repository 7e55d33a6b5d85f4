/*
 * The limit: bench_rawd (rawd.c) does nothing but what every server must do. A watcher says W, a writer P; a value is
 * its length and its bytes; a put is answered by one byte.
 */
#include "bench/peer.h"

#include <string.h>

static void watch(struct peer_conn *c)
{
    conn_send(c, "W", 1);
}

static void open_writer(struct peer_conn *c)
{
    conn_send(c, "P", 1);
    conn_ready(c);
}

static size_t take_in(struct peer_conn *c, struct str in)
{
    size_t used = 0;

    if (c->is_writer) {
        for (size_t i = 0; i < in.len; i++)
            conn_answered(c);
        return in.len;
    }
    while (in.len - used >= 4) {
        size_t len = get_u32(in.data + used);

        if (in.len - used < 4 + len)
            break;
        if (c->is_ready && len)
            conn_value(c, str_part(in, used + 4, used + 4 + len));
        conn_ready(c); /* the first is what there is, which may be nothing */
        used += 4 + len;
    }
    return used;
}

static void put(struct peer_conn *c, uint64_t key, struct str value)
{
    owned(buf) struct buf out = BUF_NULL(1 << 20);

    (void)key;
    put_u32(&out, (uint32_t)value.len);
    buf_put_str(&out, value);
    conn_send(c, out.data, out.len);
}

const struct peer peer_raw = {"raw", watch, open_writer, put, take_in};
