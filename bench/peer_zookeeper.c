/*
 * ZooKeeper: getData with a watch, setData, each client with a connection and session of its own. A watch tells once
 * that something changed; the client then reads the value with a new watch, and so may skip versions.
 */
#include "bench/peer.h"

#include <stdio.h>
#include <string.h>

enum {
    CREATE = 1,
    GET_DATA = 4,
    SET_DATA = 5,
    NO_NODE = -101,
    XID_EVENT = -1,
    XID_CREATE = 1,
    XID = 2
};
enum { REPLY_HEAD = 16, TIMEOUT_MS = 3600000, PERMISSIONS_ALL = 31 };

static void put_u64(struct buf *b, uint64_t v)
{
    put_u32(b, (uint32_t)(v >> 32));
    put_u32(b, (uint32_t)v);
}

static void put_bytes(struct buf *b, struct str bytes)
{
    put_u32(b, (uint32_t)bytes.len);
    buf_put_str(b, bytes);
}

static void send_packet(struct peer_conn *c, const struct buf *body)
{
    owned(buf) struct buf out = BUF_NULL(1 << 20);

    put_bytes(&out, buf_str(body));
    conn_send(c, out.data, out.len);
}

static struct str path_of(uint64_t key, char room[32])
{
    return str_of(room, (size_t)snprintf(room, 32, "/k%06llu", (unsigned long long)key));
}

static void open_session(struct peer_conn *c)
{
    owned(buf) struct buf b = BUF_NULL(64);
    static const char no_password[16];

    put_u32(&b, 0); /* version of the protocol */
    put_u64(&b, 0); /* newest transaction that was seen */
    put_u32(&b, TIMEOUT_MS);
    put_u64(&b, 0); /* a new session */
    put_bytes(&b, str_of(no_password, sizeof(no_password)));
    send_packet(c, &b);
}

static void read_and_watch(struct peer_conn *c)
{
    owned(buf) struct buf b = BUF_NULL(64);
    char room[32];

    put_u32(&b, XID);
    put_u32(&b, GET_DATA);
    put_bytes(&b, path_of(0, room));
    buf_put_byte(&b, 1);
    send_packet(c, &b);
}

static void create(struct peer_conn *c, uint64_t key, int xid, struct str value)
{
    owned(buf) struct buf b = BUF_NULL(1 << 20);
    char room[32];

    put_u32(&b, (uint32_t)xid);
    put_u32(&b, CREATE);
    put_bytes(&b, path_of(key, room));
    put_bytes(&b, value);
    put_u32(&b, 1);
    put_u32(&b, PERMISSIONS_ALL);
    put_bytes(&b, STR("world"));
    put_bytes(&b, STR("anyone"));
    put_u32(&b, 0);
    send_packet(c, &b);
}

static void take_reply(struct peer_conn *c, struct str m)
{
    int32_t xid = (int32_t)get_u32(m.data), error = (int32_t)get_u32(m.data + 12);
    struct str value;

    if (xid == XID_EVENT) {
        read_and_watch(c);
    } else if (xid == XID_CREATE) {
        conn_ready(c); /* made now or there before */
    } else if (error) {
        die(error == NO_NODE ? "no such node" : "refused");
    } else if (c->is_writer) {
        conn_answered(c);
    } else {
        value = str_part(m, REPLY_HEAD + 4, REPLY_HEAD + 4 + get_u32(m.data + REPLY_HEAD));
        if (c->is_ready)
            conn_value(c, value);
        conn_ready(c);
    }
}

/* The first packet on a connection is the session's. */
static void take_packet(struct peer_conn *c, struct str m)
{
    if (c->stream) {
        take_reply(c, m);
        return;
    }
    c->stream = 1;
    if (c->is_writer)
        create(c, (uint64_t)c->index, XID_CREATE, STR("new"));
    else
        read_and_watch(c);
}

static size_t take_in(struct peer_conn *c, struct str in)
{
    size_t used = 0;

    while (in.len - used >= 4) {
        size_t len = get_u32(in.data + used);

        if (in.len - used < 4 + len)
            break;
        take_packet(c, str_part(in, used + 4, used + 4 + len));
        used += 4 + len;
    }
    return used;
}

static void put(struct peer_conn *c, uint64_t key, struct str value)
{
    owned(buf) struct buf b = BUF_NULL(1 << 20);
    char room[32];

    if (bench.creates) {
        create(c, key, XID, value);
        return;
    }
    put_u32(&b, XID);
    put_u32(&b, SET_DATA);
    put_bytes(&b, path_of(key, room));
    put_bytes(&b, value);
    put_u32(&b, UINT32_MAX); /* whatever the version */
    send_packet(c, &b);
}

const struct peer peer_zookeeper = {"zk", open_session, open_session, put, take_in};
