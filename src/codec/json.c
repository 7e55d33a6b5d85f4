/*
 * JSON (RFC 8259), and JSON with comments: the same with comments of line and block, and with a comma after the last
 * element, as editors and compilers have it in their settings.
 *
 * Any value may be at the top, numbers have no limits, a byte order mark in front counts for nothing. Refused beyond the
 * standard: duplicate names (compared after escapes), half of a surrogate pair, and nesting deeper than NESTING_MAX.
 * What Trimtab itself reads of a value has narrower limits: see value.c.
 */
#include "codec/dialects.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/buf.h"
#include "codec/fault.h"
#include "codec/keys.h"

enum expect { VALUE, VALUE_OR_END, NAME, NAME_OR_END, COLON, NEXT };

/* An object or an array that is not closed yet. */
struct level {
    bool is_object;
    size_t begin;
    struct map names;
};

struct scan {
    struct str text;
    size_t at;
    bool has_comments; /* they are allowed, and a comma before an end */
    enum expect expect;
    int depth;
    struct level levels[NESTING_MAX];
    struct buf name; /* without escapes */
    struct arena arena;
    struct err *err;
};

#define REFUSE(s, at, ...) fault((s)->err, ERR_INVALID, (s)->text, (at), __VA_ARGS__)

static int peek(const struct scan *s)
{
    return s->at < s->text.len ? (unsigned char)s->text.data[s->at] : -1;
}

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

/* ---- strings ---- */

/* Four digits after "\u". */
static int scan_hex(struct scan *s, unsigned *ret_unit)
{
    unsigned unit = 0;

    for (int i = 0; i < 4; i++, s->at++) {
        int c = peek(s);
        int lower = c | 0x20;

        if (is_digit(c))
            unit = unit * 16 + (unsigned)(c - '0');
        else if (lower >= 'a' && lower <= 'f')
            unit = unit * 16 + (unsigned)(lower - 'a' + 10);
        else
            return REFUSE(s, s->at, "a hexadecimal digit is missing after \\u");
    }
    *ret_unit = unit;
    return 0;
}

static int scan_unicode(struct scan *s, size_t escape)
{
    unsigned unit = 0, low = 0;
    char bytes[UTF8_BYTES_MAX];
    int r = scan_hex(s, &unit);

    if (!r && unit >= 0xd800 && unit <= 0xdfff) {
        if (unit > 0xdbff || !str_starts(str_from(s->text, s->at), STR("\\u")))
            return REFUSE(s, escape, "half of a surrogate pair");
        s->at += 2;
        r = scan_hex(s, &low);
        if (!r && (low < 0xdc00 || low > 0xdfff))
            return REFUSE(s, escape, "half of a surrogate pair");
        unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
    }
    if (!r)
        buf_put(&s->name, bytes, utf8_encode(unit, bytes));
    return r;
}

static int scan_escape(struct scan *s)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    size_t escape = s->at++;
    int c = peek(s);
    const char *known = c > 0 ? strchr(from, c) : NULL;

    if (c < 0)
        return REFUSE(s, s->at, "the text ends inside a string");
    if (c != 'u' && !known)
        return REFUSE(s, s->at, "no such escape in a string");
    s->at++;
    if (known)
        buf_put_byte(&s->name, (unsigned char)to[known - from]);
    return known ? 0 : scan_unicode(s, escape);
}

/* What the string is, without escapes, is in s->name afterwards. */
static int scan_string(struct scan *s)
{
    size_t begin = s->at++;
    int r = 0;

    buf_clear(&s->name);
    while (!r) {
        int c = peek(s);

        if (c < 0)
            return REFUSE(s, s->at, "the string that begins in line %u is not closed",
                          place_of(s->text, begin).line);
        if (c < 0x20)
            return REFUSE(s, s->at, "control character 0x%02x in a string", (unsigned)c);
        if (c == '\\') {
            r = scan_escape(s);
            continue;
        }
        s->at++;
        if (c == '"')
            break;
        buf_put_byte(&s->name, (unsigned char)c);
    }
    return r ? r : buf_status(&s->name);
}

/* ---- numbers and words ---- */

static int scan_digits(struct scan *s)
{
    if (!is_digit(peek(s)))
        return REFUSE(s, s->at, "a digit is missing in a number");
    while (is_digit(peek(s)))
        s->at++;
    return 0;
}

static int scan_number(struct scan *s)
{
    int r = 0;

    if (peek(s) == '-')
        s->at++;
    if (peek(s) == '0') {
        s->at++;
        if (is_digit(peek(s)))
            return REFUSE(s, s->at - 1, "a number cannot begin with 0");
    } else {
        r = scan_digits(s);
    }
    if (!r && peek(s) == '.') {
        s->at++;
        r = scan_digits(s);
    }
    if (!r && (peek(s) == 'e' || peek(s) == 'E')) {
        s->at++;
        if (peek(s) == '+' || peek(s) == '-')
            s->at++;
        r = scan_digits(s);
    }
    return r;
}

static int scan_word(struct scan *s)
{
    static const struct str words[] = {STR("true"), STR("false"), STR("null")};
    size_t end = s->at;
    struct str word;

    while (end < s->text.len && (s->text.data[end] | 0x20) >= 'a' &&
           (s->text.data[end] | 0x20) <= 'z')
        end++;
    word = str_part(s->text, s->at, end);
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_eq(word, words[i])) {
            s->at = end;
            return 0;
        }
    if (word.len)
        return REFUSE(s, s->at, "\"%.*s\" is no value", STR_ARG(str_part(word, 0, 40)));
    return REFUSE(s, s->at, "a value is missing");
}

/* ---- structure ---- */

static struct level *top(struct scan *s)
{
    return s->depth ? &s->levels[s->depth - 1] : NULL;
}

static int push(struct scan *s, int c)
{
    if (s->depth == NESTING_MAX)
        return fault(s->err, ERR_LIMIT, s->text, s->at, "nested deeper than %d levels",
                     NESTING_MAX);
    s->levels[s->depth++] = (struct level){.is_object = c == '{', .begin = s->at};
    s->expect = c == '{' ? NAME_OR_END : VALUE_OR_END;
    s->at++;
    return 0;
}

static int pop(struct scan *s)
{
    map_deinit(&s->levels[--s->depth].names);
    s->at++;
    s->expect = NEXT;
    return 0;
}

static int scan_value(struct scan *s, int c)
{
    int r;

    if (c == '{' || c == '[')
        return push(s, c);
    if (c == ']' && s->expect == VALUE_OR_END)
        return pop(s);
    if (c == '"')
        r = scan_string(s);
    else
        r = c == '-' || is_digit(c) ? scan_number(s) : scan_word(s);
    s->expect = NEXT;
    return r;
}

/* A name without escapes is borrowed from the text, which most are. */
static int add_name(struct scan *s, size_t begin)
{
    struct str name = str_part(s->text, begin + 1, s->at - 1);
    size_t first = 0;
    int r;

    if (!str_eq(name, buf_str(&s->name)))
        name = arena_str(&s->arena, buf_str(&s->name));
    if (arena_failed(&s->arena))
        return ERR_NOMEM;
    r = key_add(&top(s)->names, name, begin, &first);
    return r == KEY_TWICE ? fault_twice(s->err, s->text, begin, name, first) : r;
}

static int scan_name(struct scan *s, int c)
{
    size_t begin = s->at;
    int r;

    if (c == '}' && s->expect == NAME_OR_END)
        return pop(s);
    if (c != '"')
        return REFUSE(s, s->at, "a name in quotes is missing");
    r = scan_string(s);
    s->expect = COLON;
    return r ? r : add_name(s, begin);
}

static int scan_next(struct scan *s, int c)
{
    bool is_object = s->depth && top(s)->is_object;

    if (s->depth == 0)
        return REFUSE(s, s->at, "something follows the value");
    if (c == (is_object ? '}' : ']'))
        return pop(s);
    if (c != ',')
        return REFUSE(s, s->at, "',' or '%c' is missing", is_object ? '}' : ']');
    s->at++;
    if (is_object)
        s->expect = s->has_comments ? NAME_OR_END : NAME;
    else
        s->expect = s->has_comments ? VALUE_OR_END : VALUE;
    return 0;
}

static int scan_step(struct scan *s, int c)
{
    switch (s->expect) {
    case VALUE:
    case VALUE_OR_END: return scan_value(s, c);
    case NAME:
    case NAME_OR_END: return scan_name(s, c);
    case NEXT: return scan_next(s, c);
    case COLON:
        if (c != ':')
            return REFUSE(s, s->at, "':' is missing after a name");
        s->at++;
        s->expect = VALUE;
        return 0;
    }
    return ERR_BUG;
}

static int refuse_end(const struct scan *s)
{
    const struct level *l;

    if (s->depth == 0)
        return REFUSE(s, s->at, "a value is missing");
    l = &s->levels[s->depth - 1];
    return REFUSE(s, s->at, "the '%c' that opens in line %u is not closed",
                  l->is_object ? '{' : '[', place_of(s->text, l->begin).line);
}

/* At a '/' between tokens. */
static int skip_comment(struct scan *s)
{
    struct str rest = str_from(s->text, s->at);
    size_t end = 2;

    if (!str_starts(rest, STR("//")) && !str_starts(rest, STR("/*")))
        return REFUSE(s, s->at, "'/' is no value");
    if (!s->has_comments)
        return REFUSE(s, s->at, "a comment; JSON with comments is application/jsonc");
    if (rest.data[1] == '/') {
        while (end < rest.len && rest.data[end] != '\n' && rest.data[end] != '\r')
            end++;
        s->at += end;
        return 0;
    }
    while (end < rest.len && !str_starts(str_from(rest, end), STR("*/")))
        end++;
    if (end >= rest.len)
        return REFUSE(s, s->at, "a comment that is not closed");
    s->at += end + 2;
    return 0;
}

static int scan(struct scan *s)
{
    for (;;) {
        int c, r;

        while ((c = peek(s)) == ' ' || c == '\t' || c == '\n' || c == '\r')
            s->at++;
        if (c < 0)
            return s->depth == 0 && s->expect == NEXT ? 0 : refuse_end(s);
        r = c == '/' ? skip_comment(s) : scan_step(s, c);
        if (r)
            return r;
    }
}

static int check(struct str content, bool has_comments, struct err *err)
{
    struct scan *s = NEW(struct scan);
    int r;

    if (!s)
        return ERR_NOMEM;
    s->text = content;
    s->at = bom_len(content);
    s->has_comments = has_comments;
    s->name = BUF_NULL(content.len);
    s->err = err;
    r = scan(s);
    while (s->depth)
        map_deinit(&s->levels[--s->depth].names);
    buf_deinit(&s->name);
    arena_deinit(&s->arena);
    (void)mem_free(s);
    return r;
}

static int check_json(struct str content, struct err *err)
{
    return check(content, false, err);
}

static int check_jsonc(struct str content, struct err *err)
{
    return check(content, true, err);
}

const struct dialect dialect_json = {"json", check_json};
const struct dialect dialect_jsonc = {"jsonc", check_jsonc};
