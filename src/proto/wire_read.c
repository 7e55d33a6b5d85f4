/*
 * Messages as they lie on the wire. See wire_read.h.
 */
#include "proto/wire_read.h"

enum { WIRE_NUMBER_MAX = (1 << 29) - 1 };

static bool take_long_varint(struct str *in, uint64_t *ret)
{
    uint64_t v = 0;
    size_t at = 0;

    for (unsigned shift = 0; shift < 64 && at < in->len; shift += 7) {
        unsigned char byte = (unsigned char)in->data[at++];

        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *in = str_of(in->data + at, in->len - at);
            *ret = v;
            return true;
        }
    }
    return false;
}

/* Most have one byte. */
static inline bool take_varint(struct str *in, uint64_t *ret)
{
    if (!in->len || (unsigned char)in->data[0] >= 0x80)
        return take_long_varint(in, ret);
    *ret = (unsigned char)in->data[0];
    *in = str_of(in->data + 1, in->len - 1);
    return true;
}

bool wire_take_field(struct str *in, struct wire_field *ret)
{
    uint64_t tag, len;

    ret->payload = STR_NULL;
    if (!take_varint(in, &tag) || tag >> 3 == 0 || tag >> 3 > WIRE_NUMBER_MAX)
        return false;
    ret->number = (unsigned)(tag >> 3);
    ret->kind = (unsigned)tag & 7;
    switch (ret->kind) {
    case WIRE_VARINT: return take_varint(in, &len);
    case WIRE_64: len = 8; break;
    case WIRE_32: len = 4; break;
    case WIRE_LENGTH_DELIMITED:
        if (!take_varint(in, &len))
            return false;
        break;
    default: return false;
    }
    if (len > in->len)
        return false;
    ret->payload = str_of(in->data, (size_t)len);
    *in = str_of(in->data + len, in->len - (size_t)len);
    return true;
}
