/*
 * Details of failures. See grpc_status.h.
 */
#include "net/grpc_status.h"

enum { PART_MAX = 16 * 1024, WIRE_NUMBER = 0, WIRE_BYTES = 2 };

static void put_number(struct buf *out, uint64_t n)
{
    for (; n >= 0x80; n >>= 7)
        buf_put_byte(out, (unsigned char)(n | 0x80));
    buf_put_byte(out, (unsigned char)n);
}

static void put_bytes(struct buf *out, unsigned field, struct str bytes)
{
    put_number(out, field << 3 | WIRE_BYTES);
    put_number(out, bytes.len);
    buf_put_str(out, bytes);
}

static void put_text(struct buf *out, unsigned field, const char *text)
{
    struct str s = str_c(text);

    if (s.len)
        put_bytes(out, field, str_part(s, 0, str_utf8_prefix(s)));
}

static int put_metadata(struct buf *info, const char *key, const char *value)
{
    owned(buf) struct buf entry = BUF_NULL(PART_MAX);

    if (!value || !value[0])
        return 0;
    put_text(&entry, 1, key);
    put_text(&entry, 2, value);
    put_bytes(info, 3, buf_str(&entry));
    return buf_status(&entry);
}

static int put_info(struct buf *any, const struct grpc_story *story)
{
    owned(buf) struct buf info = BUF_NULL(PART_MAX);
    int r;

    put_text(&info, 1, story->reason);
    put_text(&info, 2, "trimtab");
    r = put_metadata(&info, "place", story->place);
    if (!r)
        r = put_metadata(&info, "hint", story->hint);
    if (!r)
        r = put_metadata(&info, "at", story->at);
    put_text(any, 1, "type.googleapis.com/google.rpc.ErrorInfo");
    put_bytes(any, 2, buf_str(&info));
    return r ? r : buf_status(&info);
}

int grpc_status_put(struct buf *out, const struct grpc_story *story)
{
    owned(buf) struct buf any = BUF_NULL(PART_MAX);
    int r = put_info(&any, story);

    put_number(out, 1 << 3 | WIRE_NUMBER);
    put_number(out, (unsigned)story->status);
    put_text(out, 2, story->message);
    put_bytes(out, 3, buf_str(&any));
    if (!r)
        r = buf_status(&any);
    return r ? r : buf_status(out);
}
