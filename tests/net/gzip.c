/*
 * gzip of whole texts.
 */
#include "base/clock.h"
#include "base/err.h"
#include "net/gzip.h"
#include "tap.h"

/* A text that is worth packing, or noise that is not. */
static struct buf text_of(size_t len, bool is_noise)
{
    struct buf text = BUF_NULL(64 * MIB);
    struct rng rng = {7};

    for (size_t i = 0; i < len; i++)
        buf_put_byte(&text,
                     is_noise ? (unsigned char)rng_next(&rng) : (unsigned char)('a' + i % 7));
    CHECK_I64(buf_status(&text), 0);
    return text;
}

TEST("what was packed is unpacked again, in members one after another, too")
{
    static const size_t sizes[] = {100, 1024, 16384, 100000, 3000000};
    struct buf packed = BUF_NULL(64 * MIB), plain = BUF_NULL(64 * MIB),
               want = BUF_NULL(64 * MIB);

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct buf text = text_of(sizes[i], false);

        CHECK_I64(gzip_pack(buf_str(&text), &packed), 0);
        buf_put_str(&want, buf_str(&text));
        buf_clear(&plain);
        CHECK_I64(gzip_unpack(buf_str(&packed), &plain), 0);
        CHECK(str_eq(buf_str(&plain), buf_str(&want)));
        buf_deinit(&text);
    }
    CHECK(packed.len < want.len / 50);
    buf_deinit(&packed);
    buf_deinit(&plain);
    buf_deinit(&want);
}

TEST("noise and short texts are not made longer")
{
    struct buf noise = text_of(100000, true), packed = BUF_NULL(MIB);

    CHECK_I64(gzip_pack(buf_str(&noise), &packed), GZIP_NO_GAIN);
    buf_clear(&packed);
    CHECK_I64(gzip_pack(STR("abc"), &packed), GZIP_NO_GAIN);
    buf_clear(&packed);
    CHECK_I64(gzip_pack(STR(""), &packed), GZIP_NO_GAIN);
    buf_deinit(&noise);
    buf_deinit(&packed);
}

TEST("a bomb is refused at the ceiling, and no more than that is allocated")
{
    struct buf text = text_of(32 * MIB, false), packed = BUF_NULL(MIB), plain;

    CHECK_I64(gzip_pack(buf_str(&text), &packed), 0);
    for (size_t ceiling = 0; ceiling <= 100000; ceiling = ceiling * 3 + 1) {
        plain = BUF_NULL(ceiling);
        CHECK_I64(gzip_unpack(buf_str(&packed), &plain), GZIP_TOO_LARGE);
        CHECK(plain.cap <= MAX(ceiling, (size_t)64));
        buf_deinit(&plain);
    }
    plain = BUF_NULL(text.len);
    CHECK_I64(gzip_unpack(buf_str(&packed), &plain), 0); /* just as large as it may be */
    CHECK_U64(plain.len, text.len);
    buf_deinit(&plain);
    plain = BUF_NULL(text.len - 1);
    CHECK_I64(gzip_unpack(buf_str(&packed), &plain), GZIP_TOO_LARGE);
    buf_deinit(&plain);
    buf_deinit(&text);
    buf_deinit(&packed);
}

TEST("what is cut off, damaged or no gzip is broken")
{
    struct buf text = text_of(5000, false), packed = BUF_NULL(MIB), plain = BUF_NULL(MIB);

    CHECK_I64(gzip_pack(buf_str(&text), &packed), 0);
    for (size_t len = 0; len < packed.len; len++) {
        buf_clear(&plain);
        CHECK_I64(gzip_unpack(str_of(packed.data, len), &plain), GZIP_BROKEN);
    }
    packed.data[packed.len - 6] ^= 1; /* of the checksum */
    buf_clear(&plain);
    CHECK_I64(gzip_unpack(buf_str(&packed), &plain), GZIP_BROKEN);
    packed.data[packed.len - 6] ^= 1;
    buf_put_c(&packed, "and more");
    buf_clear(&plain);
    CHECK_I64(gzip_unpack(buf_str(&packed), &plain), GZIP_BROKEN);
    buf_clear(&plain);
    CHECK_I64(gzip_unpack(STR("this is no gzip"), &plain), GZIP_BROKEN);
    buf_deinit(&text);
    buf_deinit(&packed);
    buf_deinit(&plain);
}

TEST("lack of memory is told, and nothing is leaked")
{
    struct buf text = text_of(100000, false), good = BUF_NULL(MIB);

    CHECK_I64(gzip_pack(buf_str(&text), &good), 0);
    ALLOC_SWEEP (n) {
        struct buf packed = BUF_NULL(MIB), plain = BUF_NULL(MIB);
        int r = gzip_pack(buf_str(&text), &packed);

        CHECK(r == ERR_NOMEM || (r == 0 && str_eq(buf_str(&packed), buf_str(&good))));
        r = gzip_unpack(buf_str(&good), &plain);
        CHECK(r == ERR_NOMEM || (r == 0 && str_eq(buf_str(&plain), buf_str(&text))));
        buf_deinit(&packed);
        buf_deinit(&plain);
    }
    buf_deinit(&text);
    buf_deinit(&good);
}
