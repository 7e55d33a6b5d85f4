/*
 * What the rest of the tree takes for granted: slices, buffers, maps, digests, files.
 */
#include "tap.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/map.h"
#include "base/sorted.h"
#include "base/shared.h"
#include "base/text.h"

TEST("numbers: only whole decimal numbers that fit are taken")
{
    uint64_t v = 7;

    CHECK(str_u64(STR("18446744073709551615"), &v));
    CHECK_U64(v, UINT64_MAX);
    CHECK(!str_u64(STR("18446744073709551616"), &v));
    CHECK(!str_u64(STR(""), &v));
    CHECK(!str_u64(STR("-1"), &v));
    CHECK(!str_u64(STR("1 "), &v));
    CHECK(str_duration(STR("250ms"), &v));
    CHECK_U64(v, 250 * NSEC_PER_MS);
    CHECK(!str_duration(STR("5"), &v));
    CHECK(str_bytes(STR("8MiB"), &v));
    CHECK_U64(v, 8 * MIB);
    CHECK(!str_bytes(STR("99999999999GiB"), &v));
}

TEST("UTF-8: overlong forms, surrogates and cut sequences are refused")
{
    CHECK(str_is_utf8(STR("gr\xc3\xbc\xc3\x9f \xe9\x85\x8d\xe7\xbd\xae \xf0\x9f\x9a\xa2")));
    CHECK(!str_is_utf8(STR("\xc0\xaf")));
    CHECK(!str_is_utf8(STR("\xe0\x80\x80")));
    CHECK(!str_is_utf8(STR("\xed\xa0\x80")));
    CHECK(!str_is_utf8(STR("\xf4\x90\x80\x80")));
    CHECK_U64(str_utf8_prefix(STR("ab\xe9\x85")), 2);
}

TEST("patterns: a star stands for any run, also none")
{
    CHECK(str_glob(STR("*"), STR("")));
    CHECK(str_glob(STR("a*c"), STR("ac")));
    CHECK(str_glob(STR("a*b*c"), STR("axxbyybzc")));
    CHECK(!str_glob(STR("a*b"), STR("abc")));
    CHECK(!str_glob(STR(""), STR("a")));
}

TEST("cutting: pieces between separators, an empty slice has one")
{
    struct str rest = STR("a//b"), piece;
    unsigned n = 0;

    while (str_next(&rest, '/', &piece))
        n++;
    CHECK_U64(n, 3);
    rest = STR("");
    CHECK(str_next(&rest, '/', &piece));
    CHECK(!str_next(&rest, '/', &piece));
}

TEST("a buffer refuses what exceeds its ceiling and remembers")
{
    struct buf b = BUF_NULL(5);

    buf_put_c(&b, "hello");
    CHECK_I64(buf_status(&b), 0);
    buf_put_c(&b, "!");
    CHECK_I64(buf_status(&b), ERR_LIMIT);
    buf_put_c(&b, "");
    CHECK_I64(buf_status(&b), ERR_LIMIT);
    CHECK_STR(buf_str(&b), STR("hello"));
    buf_deinit(&b);
}

TEST("a buffer survives every failing allocation")
{
    ALLOC_SWEEP (n) {
        struct buf b = BUF_NULL(1000);
        size_t len = 0;
        char *text;

        for (int i = 0; i < 50; i++)
            buf_printf(&b, "%d,", i);
        text = buf_take(&b, &len);
        if (text)
            CHECK_U64(len, 140);
        (void)mem_free(text);
        buf_deinit(&b);
    }
}

TEST("a map finds what was put and nothing else, through growth and removal")
{
    struct map m = MAP_NULL;
    struct rng r = {1};
    static char keys[2000][16];
    static bool in[2000];
    size_t n = 0;

    for (int i = 0; i < 2000; i++)
        (void)snprintf(keys[i], sizeof(keys[i]), "k%d", i);
    for (int step = 0; step < 50000; step++) {
        size_t i = rng_below(&r, 2000);
        struct str key = str_c(keys[i]);

        if (rng_below(&r, 2)) {
            REQUIRE(map_put(&m, key, keys[i], NULL));
            n += !in[i];
            in[i] = true;
        } else {
            CHECK(map_remove(&m, key) == (in[i] ? keys[i] : NULL));
            n -= in[i];
            in[i] = false;
        }
        CHECK_U64(m.n, n);
    }
    for (size_t i = 0; i < 2000; i++)
        CHECK((map_get(&m, str_c(keys[i])) != NULL) == in[i]);
    map_deinit(&m);
}

TEST("digests: addition and subtraction undo each other, with carries")
{
    struct digest a = {.low = UINT64_MAX, .high = UINT64_MAX}, b = {.low = 2, .high = 0};
    unsigned char bytes[DIGEST_BYTES];
    struct digest back;

    CHECK(digest_eq(digest_sub(digest_add(a, b), b), a));
    CHECK(digest_eq(digest_add(a, b), (struct digest){.low = 1, .high = 0}));
    digest_put(a, bytes);
    CHECK(digest_get(str_of(bytes, sizeof(bytes)), &back));
    CHECK(digest_eq(a, back));
}

TEST("SHA-256 of parts equals SHA-256 of the whole, and a published vector")
{
    struct str parts[] = {STR("a"), STR(""), STR("bc")};
    struct sha256 hash = sha256_of_parts(parts, 3), whole = sha256_of(STR("abc"));
    char hex[SHA256_HEX_BYTES + 1];

    CHECK(sha256_eq(&hash, &whole));
    hex_encode(hash.bytes, sizeof(hash.bytes), hex);
    CHECK_STR(str_c(hex),
              STR("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
}

TEST("files: replaced as a whole, read with a ceiling")
{
    struct buf bytes = BUF_NULL(100000), small = BUF_NULL(9), exact = BUF_NULL(10);
    char path[200];
    struct err err = ERR_NULL;

    (void)snprintf(path, sizeof(path), "%s/a/b", tap_tmpdir());
    CHECK_I64(file_make_dirs(path, 0700, &err), 0);
    (void)snprintf(path, sizeof(path), "%s/a/b/file", tap_tmpdir());
    CHECK_I64(file_read(path, &bytes, &err), ERR_NOT_FOUND);
    CHECK_I64(file_replace(path, STR("first"), 0600, &err), 0);
    CHECK_I64(file_replace(path, STR("0123456789"), 0600, &err), 0);
    CHECK_I64(file_read(path, &bytes, &err), 0);
    CHECK_STR(buf_str(&bytes), STR("0123456789"));
    CHECK_I64(file_read(path, &small, &err), ERR_LIMIT);
    CHECK_I64(file_read(path, &exact, &err), 0);
    buf_deinit(&bytes);
    buf_deinit(&small);
    buf_deinit(&exact);
}

struct numbered {
    char name[16];
    struct sorted_entry entry;
    bool is_in;
};

/* All that is in, in order, behind a name that may be none of them. */
static void check_walk(const struct sorted *s, const struct numbered *all, size_t n,
                       const char *after)
{
    struct sorted_walk w;
    struct sorted_entry *e;
    size_t at = 0;

    sorted_walk_after(&w, s, str_c(after));
    while ((e = sorted_walk_next(&w))) {
        while (at < n && (!all[at].is_in || strcmp(all[at].name, after) <= 0))
            at++;
        if (!CHECK(at < n && e == &all[at++].entry))
            return;
    }
    for (; at < n; at++)
        CHECK(!all[at].is_in || strcmp(all[at].name, after) <= 0);
    CHECK(!sorted_walk_has_more(&w));
}

TEST("a sorted set is walked in order from any key, whatever came and went before")
{
    static struct numbered all[1000];
    struct sorted s = {NULL};
    struct rng r = {1};

    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        (void)snprintf(all[i].name, sizeof(all[i].name), "k%03zu", i);
    check_walk(&s, all, ARRAY_LEN(all), "");
    for (int step = 0; step < 20000; step++) {
        struct numbered *one = &all[rng_below(&r, ARRAY_LEN(all))];

        if (one->is_in)
            sorted_remove(&s, &one->entry);
        else
            sorted_put(&s, &one->entry, str_c(one->name));
        one->is_in = !one->is_in;
        if (step % 500 == 0)
            check_walk(&s, all, ARRAY_LEN(all), step % 1000 ? one->name : "");
    }
    check_walk(&s, all, ARRAY_LEN(all), "k5");
    check_walk(&s, all, ARRAY_LEN(all), "k500\xff");
    check_walk(&s, all, ARRAY_LEN(all), "z");
}

TEST("every failure code has a name of its own and maps back")
{
    for (int code = 0; code >= ERR_CODE_LAST; code--)
        CHECK_I64(err_code_from_name(err_info(code)->name), code);
    CHECK_STR(str_c(err_info(1)->name), STR("INTERNAL"));
}

TEST("a story is cut visibly, and keeps the nearest place")
{
    struct err err = ERR_NULL;
    char line[2000];

    CHECK_I64(err_set(&err, ERR_INVALID, "%02100d", 1), ERR_INVALID);
    CHECK(str_ends(str_c(err.text), STR("...")));
    (void)err_set(&err, ERR_INVALID, "unexpected end");
    err_place(&err, "a.json");
    err_place(&err, "elsewhere");
    err_at(&err, 3, 9);
    err_hint(&err, "close the brace");
    CHECK_STR(str_c(err_describe(&err, line, sizeof(line))),
              STR("a.json:3:9: unexpected end; close the brace"));
}

static bool plain_is(const char *in, enum text_shape shape, size_t max, const char *want)
{
    owned(buf) struct buf out = BUF_NULL(1000);
    struct str got;

    text_put_plain(&out, str_c(in), shape, max);
    got = buf_str(&out);
    return CHECK_I64(buf_status(&out), 0) && CHECK_STR(got, str_c(want)) &&
           CHECK(text_is_plain(got, shape));
}

TEST("a text made plain commands no terminal, misleads no reader, and is cut between characters")
{
    static const struct {
        const char *in, *line, *lines;
    } t[] = {
        {"gr\xc3\xbc\xc3\x9f \xf0\x9f\x9a\xa2", "gr\xc3\xbc\xc3\x9f \xf0\x9f\x9a\xa2", NULL},
        {"a\x1b[31mb", "a\xe2\x90\x9b[31mb", NULL},                       /* ESC */
        {"a\x01\x7f", "a\xe2\x90\x81\xe2\x90\xa1", NULL},                 /* C0, DEL */
        {"a\n\tb\r", "a\xe2\x90\x8a\xe2\x90\x89" "b\xe2\x90\x8d", "a\n\tb\xe2\x90\x8d"},
        {"n\xc2\x9b" "31m", "n\xef\xbf\xbd" "31m", NULL},                  /* C1 */
        {"\xe2\x80\xae" "x\xe2\x81\xa6\xd8\x9c", "\xef\xbf\xbd" "x\xef\xbf\xbd\xef\xbf\xbd", NULL},
        {"a\xe2\x80\xa8" "b\xe2\x80\xa9", "a\xef\xbf\xbd" "b\xef\xbf\xbd", NULL},
        {"ung\xfcltig", "ung\xef\xbf\xbdltig", NULL},                     /* Latin-1 */
        {"\xef\xbf\xbd", "\xef\xbf\xbd", NULL},                         /* U+FFFD itself */
        {"\xc3", "\xef\xbf\xbd", NULL},                                  /* cut */
    };

    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        const char *lines = t[i].lines ? t[i].lines : t[i].line;

        (void)plain_is(t[i].in, TEXT_LINE, 1000, t[i].line);
        (void)plain_is(t[i].in, TEXT_LINES, 1000, lines);
        CHECK_I64(text_is_plain(str_c(t[i].in), TEXT_LINE), strcmp(t[i].in, t[i].line) == 0);
        CHECK_I64(text_is_plain(str_c(t[i].in), TEXT_LINES), strcmp(t[i].in, lines) == 0);
    }
    (void)plain_is("\xc3\xbc\xc3\xbc", TEXT_LINE, 4, "\xc3\xbc\xc3\xbc");
    (void)plain_is("\xc3\xbc\xc3\xbc", TEXT_LINE, 3, "\xc3\xbc");
    (void)plain_is("\x1b\x1b", TEXT_LINE, 5, "\xe2\x90\x9b"); /* what is put counts, not what was there */
}

TEST("what was cut at a byte keeps its whole characters, and every character comes back")
{
    static const char ship[] = "a\xc3\xbc\xe2\x82\xac\xf0\x9f\x9a\xa2";
    static const size_t whole[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10};

    for (size_t n = 0; n <= strlen(ship); n++)
        CHECK_U64(str_utf8_whole(str_of(ship, n)).len, whole[n]);
    CHECK_U64(str_utf8_whole(STR("x\xfc")).len, 2); /* no beginning of anything */
    for (uint32_t p = 1; p < 0x110000; p += p < 0x3000 ? 1 : 97) {
        char bytes[UTF8_BYTES_MAX];
        struct str s = str_of(bytes, utf8_encode(p, bytes));

        if (p >= 0xd800 && p < 0xe000)
            continue;
        if (!CHECK_U64(str_take_point(&s), p) || !CHECK_U64(s.len, 0))
            return;
    }
}

TEST("a wall-clock time is read as it was written, in any offset, and what is none is refused")
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01T00:00:00.001Z", 1},
        {"2027-01-01T00:00:00Z", 1798761600000},
        {"2027-01-01t00:00:00z", 1798761600000},
        {"2027-01-01 02:30:00+02:30", 1798761600000},
        {"2026-12-31T16:00:00-08:00", 1798761600000},
        {"2027-01-01T00:00:00.5Z", 1798761600500},
        {"2027-01-01T00:00:00.123456789Z", 1798761600123},
        {"2028-02-29T00:00:00Z", 1835395200000},
        {"2000-02-29T00:00:00Z", 951782400000},
        {"2016-12-31T23:59:60Z", 1483228800000},
        {"9999-12-31T23:59:59.999Z", 253402300799999},
        {"0001-01-01T00:00:00Z", -62135596800000},
    };
    static const char *const bad[] = {
        "",
        "2027",
        "2027-01-01",
        "2027-01-01T00:00:00",
        "2027-01-01T00:00Z",
        "2027-01-01T00:00:00.Z",
        "2027-01-01T00:00:00Z ",
        " 2027-01-01T00:00:00Z",
        "2027-13-01T00:00:00Z",
        "2027-00-01T00:00:00Z",
        "2027-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2027-04-31T00:00:00Z",
        "2027-01-01T24:00:00Z",
        "2027-01-01T00:60:00Z",
        "2027-01-01T00:00:61Z",
        "2027-01-01T00:00:00+1:00",
        "2027-01-01T00:00:00+0100",
        "2027-01-01T00:00:00+24:00",
        "0000-01-01T00:00:00Z",
        "2027-1-01T00:00:00Z",
        "20270101T000000Z",
    };
    char text[WALL_TEXT_MAX];
    int64_t ms = 0;

    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (!CHECK(wall_parse(str_c(good[i].text), &ms)) || !CHECK_I64(ms, good[i].ms))
            tap_note("%s", good[i].text);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (!CHECK(!wall_parse(str_c(bad[i]), &ms)))
            tap_note("%s", bad[i]);
    for (int64_t at = 0; at < 4102444800000; at += 86399999 * 7) {
        wall_format(at, text);
        CHECK(wall_parse(str_c(text), &ms) && ms == at);
    }
}
