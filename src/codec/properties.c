/*
 * Java properties, as java.util.Properties.load(Reader) of JDK 17 reads them, in UTF-8: lines end with LF, CR or CR LF; a
 * line that ends with an odd number of '\' goes on in the next, whose leading blanks do not count, unless it holds nothing
 * else: then a new line begins; '#' and '!' begin comment lines; a key ends at the first '=', ':' or blank without a '\'
 * before it; \t \n \r \f and \uXXXX are escapes, a '\' before anything else stands for nothing. The comments "#---" and
 * "!---" begin another document, as Spring Boot has it, in which every key may be given again.
 *
 * Nearly every text is legal. We refuse what hides a mistake: \u without four hexadecimal digits (as Java does), NUL,
 * a byte order mark, and a key that is given twice, of which Java silently takes the last.
 */
#include "codec/dialects.h"

#include "base/arena.h"
#include "base/buf.h"
#include "codec/fault.h"
#include "codec/keys.h"

struct properties {
    struct str text;
    size_t at;
    struct buf key; /* the key of the line, without escapes */
    struct arena arena;
    struct map seen;
    struct err *err;
};

static int peek(const struct properties *p, size_t ahead)
{
    return p->at + ahead < p->text.len ? (unsigned char)p->text.data[p->at + ahead] : -1;
}

static bool is_blank(int c)
{
    return c == ' ' || c == '\t' || c == '\f';
}

static bool is_end(int c)
{
    return c < 0 || c == '\n' || c == '\r';
}

static void skip_blanks(struct properties *p)
{
    while (is_blank(peek(p, 0)))
        p->at++;
}

static void skip_line_end(struct properties *p)
{
    p->at += peek(p, 0) == '\r' && peek(p, 1) == '\n' ? 2 : p->at < p->text.len;
}

/* A UTF-16 unit as three bytes at most; halves of pairs stay apart, which is enough to compare keys. */
static void put_unit(struct buf *out, unsigned unit)
{
    if (unit < 0x80) {
        buf_put_byte(out, (unsigned char)unit);
        return;
    }
    if (unit < 0x800) {
        buf_put_byte(out, (unsigned char)(0xc0 | unit >> 6));
    } else {
        buf_put_byte(out, (unsigned char)(0xe0 | unit >> 12));
        buf_put_byte(out, (unsigned char)(0x80 | (unit >> 6 & 0x3f)));
    }
    buf_put_byte(out, (unsigned char)(0x80 | (unit & 0x3f)));
}

/* Over every '\' at the end of a line, and the blanks in front of the next. */
static void skip_continuation(struct properties *p)
{
    while (peek(p, 0) == '\\' && is_end(peek(p, 1))) {
        p->at++;
        skip_line_end(p);
        skip_blanks(p);
    }
}

/* After "\u". Java joins the lines first, so the digits may lie in two of them. */
static int read_unicode(struct properties *p, struct buf *out)
{
    unsigned unit = 0;

    for (int i = 0; i < 4; i++, p->at++) {
        int c, lower;

        skip_continuation(p);
        c = peek(p, 0);
        lower = c | 0x20;
        if (c >= '0' && c <= '9')
            unit = unit * 16 + (unsigned)(c - '0');
        else if (c > 0 && lower >= 'a' && lower <= 'f')
            unit = unit * 16 + (unsigned)(lower - 'a' + 10);
        else
            return fault(p->err, ERR_INVALID, p->text, p->at,
                         "a hexadecimal digit is missing after \\u");
    }
    if (out)
        put_unit(out, unit);
    return 0;
}

/* At a '\'. out is NULL where only the form matters. */
static int read_escape(struct properties *p, struct buf *out)
{
    static const char from[] = "tnrf", to[] = "\t\n\r\f";
    int c = peek(p, 1);
    const char *known = c > 0 ? strchr(from, c) : NULL;

    if (is_end(c)) {
        skip_continuation(p);
        return 0;
    }
    p->at++;
    if (c == 'u') {
        p->at++;
        return read_unicode(p, out);
    }
    if (c == 0)
        return fault(p->err, ERR_INVALID, p->text, p->at, "a NUL byte");
    if (out)
        buf_put_byte(out, (unsigned char)(known ? to[known - from] : c));
    p->at++;
    return 0;
}

/* One character or escape; blanks and signs are the caller's. */
static int read_one(struct properties *p, struct buf *out)
{
    int c = peek(p, 0);

    if (c == '\\')
        return read_escape(p, out);
    if (c == 0)
        return fault(p->err, ERR_INVALID, p->text, p->at, "a NUL byte");
    if (out)
        buf_put_byte(out, (unsigned char)c);
    p->at++;
    return 0;
}

static int check_twice(struct properties *p, size_t begin)
{
    struct str key;
    size_t first = 0;
    int r = buf_status(&p->key);

    if (r)
        return r;
    key = arena_str(&p->arena, buf_str(&p->key));
    if (arena_failed(&p->arena))
        return ERR_NOMEM;
    r = key_add(&p->seen, key, begin, &first);
    return r == KEY_TWICE ? fault_twice(p->err, p->text, begin, key, first) : r;
}

static int read_property(struct properties *p)
{
    size_t begin = p->at;
    int c, r = 0;

    buf_clear(&p->key);
    while (!r && !is_end(c = peek(p, 0)) && !is_blank(c) && c != '=' && c != ':')
        r = read_one(p, &p->key);
    if (!r)
        r = check_twice(p, begin);
    while (!r && !is_end(peek(p, 0)))
        r = read_one(p, NULL);
    return r;
}

static int read_comment(struct properties *p)
{
    size_t begin = p->at;
    struct str line;

    for (int c; !is_end(c = peek(p, 0)); p->at++)
        if (c == 0)
            return fault(p->err, ERR_INVALID, p->text, p->at, "a NUL byte");
    line = str_trim(str_part(p->text, begin, p->at));
    if (str_eq(line, STR("#---")) || str_eq(line, STR("!---")))
        map_deinit(&p->seen);
    return 0;
}

/*
 * A '\' that is all that a line holds is no property, unless nothing follows: then it is that of the empty key, but not
 * behind CR LF. So the JDK has it.
 */
static int read_lone_backslash(struct properties *p)
{
    bool is_crlf = peek(p, 1) == '\r' && peek(p, 2) == '\n';

    p->at++;
    skip_line_end(p);
    buf_clear(&p->key);
    return p->at == p->text.len && !is_crlf ? check_twice(p, p->at) : 0;
}

static int check(struct str content, struct err *err)
{
    struct properties p = {.text = content, .key = BUF_NULL(content.len), .err = err};
    int r = bom_refuse(content, err);

    while (!r && p.at < content.len) {
        int c;

        skip_blanks(&p);
        c = peek(&p, 0);
        if (c == '#' || c == '!')
            r = read_comment(&p);
        else if (c == '\\' && is_end(peek(&p, 1))) {
            r = read_lone_backslash(&p);
            continue;
        } else if (!is_end(c))
            r = read_property(&p);
        skip_line_end(&p);
    }
    map_deinit(&p.seen);
    arena_deinit(&p.arena);
    buf_deinit(&p.key);
    return r;
}

const struct dialect dialect_properties = {"properties", check};
