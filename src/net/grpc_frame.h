/*
 * gRPC's framing of messages in a byte stream (1 byte flags, 4 bytes length, message), taken apart step by step.
 * Pure: bytes in, messages out. A message that lies whole in one piece of input is not copied.
 */
#ifndef TRIMTAB_NET_GRPC_FRAME_H
#define TRIMTAB_NET_GRPC_FRAME_H

#include "base/str.h"

enum { GRPC_PREFIX_BYTES = 5 };

struct grpc_deframer {
    size_t max_message;
    char *message; /* allocated while a message is in pieces */
    size_t want, have;
    unsigned char prefix[GRPC_PREFIX_BYTES];
    unsigned char n_prefix;
    bool takes_compressed; /* a compression was announced that its user undoes */
};

enum grpc_deframe {
    GRPC_NEED_MORE = 0,
    GRPC_MESSAGE = 1,
    /* Terminal, besides ERR_NOMEM: */
    GRPC_COMPRESSED = 2, /* flag set, but !takes_compressed */
    GRPC_TOO_LARGE = 3, /* announced length over max_message, seen before any of it is stored */
    GRPC_BAD_FLAGS = 4, /* a flag byte over 1 */
};

void grpc_deframer_init(struct grpc_deframer *d, size_t max_message);
void grpc_deframer_deinit(struct grpc_deframer *d);

/*
 * Takes bytes from *input, which is moved on, until a message is complete: GRPC_MESSAGE with *ret_message valid until
 * the next call. Call again until GRPC_NEED_MORE. Returns enum grpc_deframe or ERR_NOMEM.
 */
must_use int grpc_deframe(struct grpc_deframer *d, struct str *input, struct str *ret_message);

/*
 * The memory of the message that was just returned, d->want bytes, which is the caller's from now on; NULL: it lies in the input, or in
 * what another call gave away.
 */
must_use char *grpc_deframer_take(struct grpc_deframer *d);

/* Whether the message that was just returned is compressed. */
static inline bool grpc_deframer_is_compressed(const struct grpc_deframer *d)
{
    return d->prefix[0] == 1;
}

/* How much memory it holds. */
static inline size_t grpc_deframer_held(const struct grpc_deframer *d)
{
    return d->message ? d->have : 0;
}

/* True between messages: an end of stream is clean only here. */
static inline bool grpc_deframer_is_clean(const struct grpc_deframer *d)
{
    return d->n_prefix == 0;
}

/* Of a message that is not compressed. */
void grpc_prefix_put(unsigned char out[GRPC_PREFIX_BYTES], size_t len);

#endif
