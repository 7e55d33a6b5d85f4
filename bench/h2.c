/*
 * HTTP/2 and gRPC by hand. See h2.h.
 *
 * Header fields are literals without indexing (RFC 7541 6.2.2), and those that come are not looked at: a call that ends
 * without a message has failed, and that ends the program.
 */
#include "bench/h2.h"

#include <stdio.h>
#include <string.h>

enum { DATA = 0, HEADERS = 1, RESET = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, WINDOW = 8 };
enum {
    HEAD_BYTES = 9,
    PREFIX_BYTES = 5,
    FRAME_MAX = 16384,
    END_STREAM = 1,
    FIRST_WINDOW = 65535,
    FIRST_WINDOW_SETTING = 4
};

static void put_head(struct buf *out, size_t len, int type, int flags, uint32_t stream)
{
    put_u32(out, (uint32_t)(len << 8) | (uint32_t)type);
    buf_put_byte(out, (unsigned char)flags);
    put_u32(out, stream);
}

static void put_header(struct buf *out, const char *name, const char *value)
{
    buf_put_byte(out, 0);
    buf_put_byte(out, (unsigned char)strlen(name)); /* below 127, so one byte */
    buf_put_c(out, name);
    buf_put_byte(out, (unsigned char)strlen(value));
    buf_put_c(out, value);
}

void h2_open(struct peer_conn *c)
{
    static const unsigned char settings[] = {0, 4, 0x7f, 0xff, 0xff, 0xff};
    owned(buf) struct buf out = BUF_NULL(256);

    c->stream = 0;
    c->window = c->stream_window = c->first_window = FIRST_WINDOW;
    buf_put_c(&out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    put_head(&out, sizeof(settings), SETTINGS, 0, 0);
    buf_put(&out, settings, sizeof(settings));
    put_head(&out, 4, WINDOW, 0, 0);
    put_u32(&out, 0x7fff0000);
    conn_send(c, out.data, out.len);
}

/* Sends of what waits as much as the connection's window takes: whole frames, which have their heads already. */
static void pump(struct peer_conn *c)
{
    size_t at = 0;

    while (c->out.len - at >= HEAD_BYTES) {
        const char *head = c->out.data + at;
        size_t len = get_u32(head) >> 8;

        if (head[3] == DATA) {
            if (c->window < (int64_t)len || c->stream_window < (int64_t)len)
                break;
            c->window -= (int64_t)len;
            c->stream_window -=
                (int64_t)len; /* of the newest: an older one is sent whole long ago */
        }
        at += HEAD_BYTES + len;
    }
    if (at)
        conn_send(c, c->out.data, at);
    buf_consume(&c->out, at);
}

void h2_call(struct peer_conn *c, const char *path, const char *authorization)
{
    owned(buf) struct buf headers = BUF_NULL(4096);

    c->stream = c->stream ? c->stream + 2 : 1;
    c->stream_window = c->first_window;
    put_header(&headers, ":method", "POST");
    put_header(&headers, ":scheme", "http");
    put_header(&headers, ":path", path);
    put_header(&headers, ":authority", "127.0.0.1");
    put_header(&headers, "content-type", "application/grpc");
    put_header(&headers, "te", "trailers");
    if (authorization)
        put_header(&headers, "authorization", authorization);
    put_head(&c->out, headers.len, HEADERS, 4, c->stream);
    buf_put_str(&c->out, buf_str(&headers));
}

void h2_message(struct peer_conn *c, struct str bytes, bool is_last)
{
    size_t left = PREFIX_BYTES + bytes.len;
    bool is_first = true;

    while (left) {
        size_t len = left < FRAME_MAX ? left : FRAME_MAX,
               take = is_first ? len - PREFIX_BYTES : len;

        put_head(&c->out, len, DATA, is_last && len == left ? END_STREAM : 0, c->stream);
        if (is_first) {
            buf_put_byte(&c->out, 0);
            put_u32(&c->out, (uint32_t)bytes.len);
        }
        buf_put_str(&c->out, str_part(bytes, 0, take));
        bytes = str_from(bytes, take);
        left -= len;
        is_first = false;
    }
    pump(c);
}

static void take_data(struct peer_conn *c, struct str bytes,
                      void (*on_message)(struct peer_conn *c, struct str message))
{
    struct str all = bytes;

    if (c->message.len) {
        buf_put_str(&c->message, bytes);
        all = buf_str(&c->message);
    }
    while (all.len >= PREFIX_BYTES) {
        size_t len = get_u32(all.data + 1);

        if (all.len < PREFIX_BYTES + len)
            break;
        on_message(c, str_part(all, PREFIX_BYTES, PREFIX_BYTES + len));
        all = str_from(all, PREFIX_BYTES + len);
    }
    if (c->message.len)
        buf_consume(&c->message, c->message.len - all.len);
    else
        buf_put_str(&c->message, all);
    if (!c->message.len)
        buf_deinit(&c->message);
}

static void answer(struct peer_conn *c, int type, struct str payload)
{
    owned(buf) struct buf out = BUF_NULL(64);

    put_head(&out, payload.len, type, 1, 0);
    buf_put_str(&out, payload);
    conn_send(c, out.data, out.len);
}

/* Each has two bytes of name and four of value. */
static void take_settings(struct peer_conn *c, struct str all)
{
    for (; all.len >= 6; all = str_from(all, 6))
        if (all.data[1] == FIRST_WINDOW_SETTING) {
            c->stream_window += get_u32(all.data + 2) - c->first_window;
            c->first_window = get_u32(all.data + 2);
        }
    answer(c, SETTINGS, STR_NULL);
    pump(c);
}

static void take_window(struct peer_conn *c, uint32_t stream, uint32_t more)
{
    if (!stream)
        c->window += more;
    else if (stream == c->stream)
        c->stream_window += more;
    pump(c);
}

/* Calls of a writer end in any order, but none without an answer before. */
static void take_end(struct peer_conn *c, bool is_call)
{
    if (bench.may_end)
        return;
    if (bench.counts_ends) {
        conn_gone(c);
        return;
    }
    if (!is_call || !c->is_writer || c->answers == c->answered)
        die("a call was refused or ended");
    conn_answered(c);
}

static void take_frame(struct peer_conn *c, const char *head, struct str payload,
                       void (*on_message)(struct peer_conn *c, struct str message))
{
    int type = head[3], flags = head[4];

    if (type == DATA && payload.len) {
        c->answers++;
        take_data(c, payload, on_message);
    }
    if (type == SETTINGS && !(flags & 1))
        take_settings(c, payload);
    if (type == PING && !(flags & 1))
        answer(c, PING, payload);
    if (type == WINDOW)
        take_window(c, get_u32(head + 5), get_u32(payload.data));
    if (type == GOAWAY)
        take_end(c, false);
    if (type == RESET || ((type == DATA || type == HEADERS) && (flags & END_STREAM)))
        take_end(c, true);
}

size_t h2_take(struct peer_conn *c, struct str in,
               void (*on_message)(struct peer_conn *c, struct str message))
{
    size_t used = 0;

    while (in.len - used >= HEAD_BYTES) {
        const char *head = in.data + used;
        size_t len = get_u32(head) >> 8;

        if (in.len - used < HEAD_BYTES + len)
            break;
        used += HEAD_BYTES + len;
        take_frame(c, head, str_of(head + HEAD_BYTES, len), on_message);
    }
    return used;
}
