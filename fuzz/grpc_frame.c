/*
 * The gRPC de-framer on any bytes in any cut: the same messages as in one piece, none over the limit.
 */
#include "net/grpc_frame.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"

enum { MAX_MESSAGE = 300 };

struct seen {
    size_t n, bytes;
    uint64_t sum;
    int last;
};

static struct seen run(struct str input, uint64_t seed)
{
    struct seen seen = {0};
    struct rng rng = {seed};
    struct grpc_deframer d;

    grpc_deframer_init(&d, MAX_MESSAGE);
    while (input.len && seen.last <= GRPC_MESSAGE) {
        struct str piece = str_part(input, 0, seed ? 1 + rng_below(&rng, 9) : input.len),
                   message;

        input = str_from(input, piece.len);
        while ((seen.last = grpc_deframe(&d, &piece, &message)) == GRPC_MESSAGE) {
            ASSERT(message.len <= MAX_MESSAGE);
            seen.n++;
            seen.bytes += message.len;
            seen.sum = seen.sum * 31 + hash_seeded(message);
        }
        ASSERT(seen.last != GRPC_NEED_MORE || piece.len == 0);
    }
    grpc_deframer_deinit(&d);
    return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen cut, whole;

    if (!size)
        return 0;
    cut = run(str_of(data + 1, size - 1), (uint64_t)data[0] + 1);
    whole = run(str_of(data + 1, size - 1), 0);
    ASSERT(cut.n == whole.n && cut.bytes == whole.bytes && cut.sum == whole.sum &&
           cut.last == whole.last);
    return 0;
}
