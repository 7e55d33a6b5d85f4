/*
 * gzip by zlib. See gzip.h.
 */
#include "net/gzip.h"

#include "base/alloc.h"
#include "base/err.h"

#include <zlib.h>

/* WINDOW: the largest, with the header of gzip instead of zlib's. */
enum { STEP_BYTES = 16 * 1024, WINDOW = 15 + 16, MEMORY_LEVEL = 8 };

/* zlib's memory comes from where ours does, so that tests can make it fail. */
static voidpf take_memory(voidpf ctx, uInt n, uInt size)
{
    (void)ctx;
    return mem_alloc_array(n, size);
}

static void give_memory(voidpf ctx, voidpf memory)
{
    (void)ctx;
    (void)mem_free(memory);
}

static z_stream stream_of(struct str input)
{
    z_stream z = {.zalloc = take_memory, .zfree = give_memory};

    ASSERT(input.len <= UINT32_MAX);
    z.next_in = (Bytef *)(uintptr_t)input.data; /* zlib reads it only */
    z.avail_in = (uInt)input.len;
    return z;
}

/*
 * One call of zlib with room for another step in out, or, when out is full, for one byte that it must not need. Returns
 * zlib's result, or ret_failure is set.
 */
static int step(z_stream *z, int (*fn)(z_stream *z, int flush), int flush, struct buf *out,
                int *ret_failure)
{
    size_t room = MIN(out->ceiling - out->len, (size_t)STEP_BYTES);
    char beyond, *at = room ? buf_room(out, room) : &beyond;
    size_t size = MAX(room, (size_t)1), written;
    int r;

    if (!at) {
        *ret_failure = ERR_NOMEM;
        return Z_MEM_ERROR;
    }
    z->next_out = (Bytef *)at;
    z->avail_out = (uInt)size;
    r = fn(z, flush);
    written = size - z->avail_out;
    if (room)
        buf_added(out, written);
    else if (written)
        *ret_failure = GZIP_TOO_LARGE;
    return r;
}

/* ---- packing ---- */

int gzip_pack(struct str text, struct buf *out)
{
    z_stream z = stream_of(text);
    size_t ceiling = out->ceiling;
    int failure = 0, r;

    /* The fastest level: the time of a loop is dearer than bytes. */
    if (deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, WINDOW, MEMORY_LEVEL, Z_DEFAULT_STRATEGY) !=
        Z_OK)
        return ERR_NOMEM;
    out->ceiling = MIN(ceiling, size_add(out->len, text.len)); /* no longer than the text */
    do
        r = step(&z, deflate, Z_FINISH, out, &failure);
    while (!failure && r == Z_OK);
    (void)deflateEnd(&z); /* says only whether it was finished */
    out->ceiling = ceiling;
    if (failure == ERR_NOMEM)
        return ERR_NOMEM;
    return failure || r != Z_STREAM_END ? GZIP_NO_GAIN : 0;
}

/* ---- unpacking ---- */

/* The end of a member: whether all has been read, or another one follows. */
static int end_member(z_stream *z)
{
    if (!z->avail_in)
        return Z_STREAM_END;
    return inflateReset(z);
}

int gzip_unpack(struct str packed, struct buf *out)
{
    z_stream z = stream_of(packed);
    int failure = 0, r;

    if (inflateInit2(&z, WINDOW) != Z_OK)
        return ERR_NOMEM;
    do {
        r = step(&z, inflate, Z_NO_FLUSH, out, &failure);
        if (!failure && r == Z_STREAM_END)
            r = end_member(&z);
        else if (r == Z_MEM_ERROR) /* the window is allocated late */
            failure = ERR_NOMEM;
    } while (!failure && r == Z_OK);
    (void)inflateEnd(&z); /* cannot fail on a stream that was begun */
    if (failure)
        return failure;
    return r == Z_STREAM_END ? 0 : GZIP_BROKEN;
}
