/*
 * The gRPC de-framer. See grpc_frame.h.
 */
#include "net/grpc_frame.h"

#include "base/alloc.h"
#include "base/err.h"

void grpc_deframer_init(struct grpc_deframer *d, size_t max_message)
{
    *d = (struct grpc_deframer){.max_message = max_message};
}

void grpc_deframer_deinit(struct grpc_deframer *d)
{
    d->message = mem_free(d->message);
    d->want = d->have = 0;
    d->n_prefix = 0;
}

void grpc_prefix_put(unsigned char out[GRPC_PREFIX_BYTES], size_t len)
{
    ASSERT(len <= UINT32_MAX);
    out[0] = 0;
    out[1] = (unsigned char)(len >> 24);
    out[2] = (unsigned char)(len >> 16);
    out[3] = (unsigned char)(len >> 8);
    out[4] = (unsigned char)len;
}

static int check_prefix(struct grpc_deframer *d)
{
    const unsigned char *p = d->prefix;

    d->want = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
    d->have = 0;
    if (p[0] > 1)
        return GRPC_BAD_FLAGS;
    if (p[0] == 1 && !d->takes_compressed)
        return GRPC_COMPRESSED;
    return d->want > d->max_message ? GRPC_TOO_LARGE : 0;
}

/* Completes the prefix. 0 when it is complete and good, GRPC_NEED_MORE never: see n_prefix. */
static int read_prefix(struct grpc_deframer *d, struct str *input)
{
    size_t n = MIN((size_t)GRPC_PREFIX_BYTES - d->n_prefix, input->len);

    if (n) /* an empty input may have no address */
        memcpy(d->prefix + d->n_prefix, input->data, n);
    d->n_prefix = (unsigned char)(d->n_prefix + n);
    *input = str_from(*input, n);
    return d->n_prefix == GRPC_PREFIX_BYTES ? check_prefix(d) : 0;
}

static int finish(struct grpc_deframer *d, struct str message, struct str *ret_message)
{
    d->n_prefix = 0;
    *ret_message = message;
    return GRPC_MESSAGE;
}

static int read_message(struct grpc_deframer *d, struct str *input, struct str *ret_message)
{
    size_t n = MIN(d->want - d->have, input->len);
    struct str piece = str_part(*input, 0, n);

    *input = str_from(*input, n);
    if (!d->have && n == d->want)
        return finish(d, piece, ret_message);
    if (!n)
        return GRPC_NEED_MORE;
    if (!d->message) {
        d->message = mem_alloc(d->want);
        if (!d->message)
            return ERR_NOMEM;
    }
    memcpy(d->message + d->have, piece.data, n);
    d->have += n;
    if (d->have < d->want)
        return GRPC_NEED_MORE;
    return finish(d, str_of(d->message, d->want), ret_message);
}

char *grpc_deframer_take(struct grpc_deframer *d)
{
    return take(d->message);
}

int grpc_deframe(struct grpc_deframer *d, struct str *input, struct str *ret_message)
{
    /* Between messages nothing is kept: the last one was the caller's until now. */
    if (d->n_prefix == 0)
        d->message = mem_free(d->message);
    if (d->n_prefix < GRPC_PREFIX_BYTES) {
        int r = read_prefix(d, input);

        if (r)
            return r;
        if (d->n_prefix < GRPC_PREFIX_BYTES)
            return GRPC_NEED_MORE;
    }
    return read_message(d, input, ret_message);
}
