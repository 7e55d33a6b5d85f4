/*
 * Unpacking any bytes: never more than the ceiling, and what is taken can be packed and unpacked again.
 */
#include "net/gzip.h"

#include "base/err.h"

enum { CEILING = 100000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf plain = BUF_NULL(CEILING), packed = BUF_NULL(CEILING), again = BUF_NULL(CEILING);
    int r = gzip_unpack(str_of(data, size), &plain);

    ASSERT(plain.cap <= CEILING && plain.len <= plain.cap);
    if (r == 0 && gzip_pack(buf_str(&plain), &packed) == 0) {
        ASSERT(gzip_unpack(buf_str(&packed), &again) == 0);
        ASSERT(str_eq(buf_str(&plain), buf_str(&again)));
    }
    buf_deinit(&plain);
    buf_deinit(&packed);
    buf_deinit(&again);
    return 0;
}
