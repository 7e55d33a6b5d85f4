/*
 * etcd: Watch and Put by gRPC, each watcher with a connection of its own. The messages (etcdserverpb/rpc.proto, mvccpb/
 * kv.proto) are written and read field by field.
 */
#include "bench/h2.h"
#include "proto/wire.h"

#include <stdio.h>
#include <string.h>

enum {
    WATCH_CREATE = 1,
    CREATE_KEY = 1,
    PUT_KEY = 1,
    PUT_VALUE = 2,
    RANGE_KEY = 1,
    RESPONSE_CREATED = 3,
    RESPONSE_EVENTS = 11,
    EVENT_KV = 2,
    KV_VALUE = 5
};

static void put_field(struct buf *b, unsigned number, struct str bytes)
{
    char head[16];

    buf_put(b, head, (size_t)(wire_put_head(head, number, bytes.len) - head));
    buf_put_str(b, bytes);
}

/* One field of a message; false at its end. A number stays in ret_value, bytes in ret_bytes. */
static bool next_field(struct str *m, unsigned *ret_number, uint64_t *ret_value,
                       struct str *ret_bytes)
{
    uint64_t values[2] = {0, 0};
    size_t at = 0;

    if (!m->len)
        return false;
    for (int i = 0; i < 2; i++)
        for (int shift = 0;; shift += 7) {
            unsigned char byte = at < m->len ? (unsigned char)m->data[at++] : 0;

            values[i] |= (uint64_t)(byte & 0x7f) << shift;
            if (byte < 0x80)
                break;
        }
    *ret_number = (unsigned)(values[0] >> 3);
    *ret_value = values[1];
    *ret_bytes = STR_NULL;
    if ((values[0] & 7) == WIRE_LENGTH_DELIMITED) {
        *ret_bytes = str_part(*m, at, at + values[1]);
        at += values[1];
    }
    *m = str_from(*m, at);
    return true;
}

static struct str find_field(struct str m, unsigned number)
{
    unsigned n;
    uint64_t value;
    struct str bytes;

    while (next_field(&m, &n, &value, &bytes))
        if (n == number)
            return bytes;
    return STR_NULL;
}

static void watch(struct peer_conn *c)
{
    owned(buf) struct buf create = BUF_NULL(64), request = BUF_NULL(64);

    put_field(&create, CREATE_KEY, STR("bench"));
    put_field(&request, WATCH_CREATE, buf_str(&create));
    h2_open(c);
    h2_call(c, "/etcdserverpb.Watch/Watch", NULL);
    h2_message(c, buf_str(&request), false);
}

static void on_message(struct peer_conn *c, struct str m)
{
    unsigned number;
    uint64_t value;
    struct str bytes;

    if (c->is_writer)
        return;
    while (next_field(&m, &number, &value, &bytes)) {
        if (number == RESPONSE_CREATED && value)
            conn_ready(c);
        if (number == RESPONSE_EVENTS)
            conn_value(c, find_field(find_field(bytes, EVENT_KV), KV_VALUE));
    }
}

static size_t take_in(struct peer_conn *c, struct str in)
{
    return h2_take(c, in, on_message);
}

static void open_writer(struct peer_conn *c)
{
    h2_open(c);
    conn_ready(c);
}

static void put(struct peer_conn *c, uint64_t key, struct str value)
{
    owned(buf) struct buf request = BUF_NULL(1 << 20);
    char name[32] = "bench";

    if (key)
        (void)snprintf(name, sizeof(name), "k%06llu", (unsigned long long)key);
    put_field(&request, PUT_KEY, str_c(name));
    put_field(&request, PUT_VALUE, value);
    h2_call(c, "/etcdserverpb.KV/Put", NULL);
    h2_message(c, buf_str(&request), true);
}

static void get(struct peer_conn *c, uint64_t key)
{
    owned(buf) struct buf request = BUF_NULL(64);
    char name[32];

    (void)snprintf(name, sizeof(name), "k%06llu", (unsigned long long)key);
    put_field(&request, RANGE_KEY, str_c(name));
    h2_call(c, "/etcdserverpb.KV/Range", NULL);
    h2_message(c, buf_str(&request), true);
}

const struct peer peer_etcd = {"etcd", watch, open_writer, put, take_in, get};
