/*
 * The slices of one flush. See conn.h.
 */
#include "net/conn.h"

enum { SCRATCH_PER_FRAME = FRAME_BYTES + 256 };

bool gather_has_room(const struct gather *g)
{
    return g->n + GATHER_PER_FRAME <= GATHER_SLICES && g->bytes < GATHER_BYTES &&
           g->scratch_len + SCRATCH_PER_FRAME <= LOOP_SCRATCH_BYTES;
}

void gather_copy(struct gather *g, const void *bytes, size_t len)
{
    char *at = g->scratch + g->scratch_len;

    if (!len)
        return;
    ASSERT(g->scratch_len + len <= LOOP_SCRATCH_BYTES);
    memcpy(at, bytes, len);
    g->scratch_len += len;
    g->bytes += len;
    if (g->n && !g->owners[g->n - 1] &&
        (char *)g->slices[g->n - 1].iov_base + g->slices[g->n - 1].iov_len == at) {
        g->slices[g->n - 1].iov_len += len;
        return;
    }
    ASSERT(g->n < GATHER_SLICES);
    g->owners[g->n] = NULL;
    g->slices[g->n++] = (struct iovec){at, len};
}

void gather_put(struct gather *g, struct shared *owner, struct str bytes)
{
    union {
        const char *in;
        void *out;
    } cast = {.in = bytes.data};

    if (g->is_flat || bytes.len <= GATHER_COPY_MAX || !owner) {
        gather_copy(g, bytes.data, bytes.len);
        (void)shared_unref(owner);
        return;
    }
    ASSERT(g->n < GATHER_SLICES);
    g->owners[g->n] = owner;
    g->slices[g->n++] = (struct iovec){cast.out, bytes.len};
    g->bytes += bytes.len;
}
