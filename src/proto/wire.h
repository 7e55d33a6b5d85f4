/*
 * The few places where messages are laid out by hand, because their bytes are shared or lie elsewhere: varints,
 * field heads and gRPC's message prefix.
 */
#ifndef TRIMTAB_PROTO_WIRE_H
#define TRIMTAB_PROTO_WIRE_H

#include "base/str.h"

enum { WIRE_LENGTH_DELIMITED = 2, GRPC_PREFIX_BYTES = 5 };

/* The tag of a length-delimited field; one byte for numbers up to 15. */
#define WIRE_TAG(number) ((char)(((number) << 3) | WIRE_LENGTH_DELIMITED))

static inline size_t wire_varint_len(uint64_t v)
{
    size_t n = 1;

    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

static inline char *wire_put_varint(char *at, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *at++ = (char)(v | 0x80);
    *at++ = (char)v;
    return at;
}

/* Bytes of a length-delimited field with its tag and length. */
static inline size_t wire_field_len(size_t payload)
{
    return 1 + wire_varint_len(payload) + payload;
}

/* Tag and length; the payload follows. */
static inline char *wire_put_head(char *at, unsigned number, size_t payload)
{
    *at++ = WIRE_TAG(number);
    return wire_put_varint(at, payload);
}

static inline char *wire_put_bytes(char *at, struct str bytes)
{
    if (bytes.len)
        memcpy(at, bytes.data, bytes.len);
    return at + bytes.len;
}

/* gRPC's prefix of an uncompressed message: a zero byte and the length, most significant byte first. */
static inline char *wire_put_grpc_prefix(char *at, size_t len)
{
    *at++ = 0;
    for (int shift = 24; shift >= 0; shift -= 8)
        *at++ = (char)(len >> shift);
    return at;
}

#endif
