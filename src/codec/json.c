/*
 * JSON (RFC 8259). Any value may be at the top; duplicate names are refused, as are integers that do not fit 64
 * bits, numbers beyond the range of a double, the escape for U+0000, and nesting deeper than NESTING_MAX.
 *
 * jansson is the judge, because it is what reads these texts elsewhere. But it builds the whole value and tells
 * where its token ended, so a scanner of ours goes over the text first: it stops bombs before they cost memory, and
 * knows the byte at which a text goes wrong.
 */
#include "codec/dialects.h"
#include "codec/fault.h"

#include <jansson.h>

enum expect { VALUE, VALUE_OR_END, NAME, NAME_OR_END, COLON, NEXT };

struct scan {
    struct str text;
    size_t at;
    enum expect expect;
    int depth;
    unsigned char open[NESTING_MAX]; /* '{' or '[' */
    size_t until, token;             /* the token that ends at `until` begins at `token` */
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

/* Four digits after "\u", which begins at `escape`. */
static int scan_hex(struct scan *s, size_t escape, unsigned *ret_unit)
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
    if (unit == 0)
        return REFUSE(s, escape, "\\u0000 is not supported");
    *ret_unit = unit;
    return 0;
}

static int scan_unicode(struct scan *s, size_t escape)
{
    unsigned unit = 0, low = 0;
    int r = scan_hex(s, escape, &unit);

    if (r || unit < 0xd800 || unit > 0xdfff)
        return r;
    if (unit > 0xdbff || !str_starts(str_from(s->text, s->at), STR("\\u")))
        return REFUSE(s, escape, "half of a surrogate pair");
    s->at += 2;
    r = scan_hex(s, s->at - 2, &low);
    if (!r && (low < 0xdc00 || low > 0xdfff))
        return REFUSE(s, escape, "half of a surrogate pair");
    return r;
}

static int scan_escape(struct scan *s)
{
    size_t escape = s->at++;
    int c = peek(s);

    if (c < 0)
        return REFUSE(s, s->at, "the text ends inside a string");
    if (c != 'u' && !strchr("\"\\/bfnrt", c))
        return REFUSE(s, s->at, "no such escape in a string");
    s->at++;
    return c == 'u' ? scan_unicode(s, escape) : 0;
}

static int scan_string(struct scan *s)
{
    int r = 0;

    s->at++;
    while (!r) {
        int c = peek(s);

        if (c < 0)
            return REFUSE(s, s->at, "the text ends inside a string");
        if (c < 0x20)
            return REFUSE(s, s->at, "control character 0x%02x in a string", (unsigned)c);
        if (c == '\\') {
            r = scan_escape(s);
            continue;
        }
        s->at++;
        if (c == '"')
            break;
    }
    return r;
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

static int push(struct scan *s, int c)
{
    if (s->depth == NESTING_MAX)
        return fault(s->err, ERR_LIMIT, s->text, s->at, "nested deeper than %d levels",
                     NESTING_MAX);
    s->open[s->depth++] = (unsigned char)c;
    s->expect = c == '{' ? NAME_OR_END : VALUE_OR_END;
    s->at++;
    return 0;
}

static int pop(struct scan *s)
{
    s->depth--;
    s->at++;
    s->expect = NEXT;
    return 0;
}

static int scan_value(struct scan *s, int c)
{
    size_t begin = s->at;
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
    if (s->at == s->until)
        s->token = begin;
    return r;
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
    if (s->at == s->until)
        s->token = begin;
    return r;
}

static int scan_next(struct scan *s, int c)
{
    bool is_object = s->depth && s->open[s->depth - 1] == '{';

    if (s->depth == 0)
        return REFUSE(s, s->at, "something follows the value");
    if (c == (is_object ? '}' : ']'))
        return pop(s);
    if (c != ',')
        return REFUSE(s, s->at, "',' or '%c' is missing", is_object ? '}' : ']');
    s->at++;
    s->expect = is_object ? NAME : VALUE;
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

static int scan(struct scan *s)
{
    for (;;) {
        int c, r;

        while ((c = peek(s)) == ' ' || c == '\t' || c == '\n' || c == '\r')
            s->at++;
        if (c < 0 && s->depth == 0 && s->expect == NEXT)
            return 0;
        if (c < 0)
            return REFUSE(s, s->at, "the text ends too early");
        r = scan_step(s, c);
        if (r)
            return r;
    }
}

/* What only jansson finds is about one token, which ends where it stopped. */
static int refuse_token(struct str content, const json_error_t *found, struct err *err)
{
    size_t end = (size_t)MAX(found->position, 0);
    struct scan s = {.text = content, .until = end, .token = end};

    if (json_error_code(found) == json_error_out_of_memory)
        return ERR_NOMEM;
    (void)scan(&s);
    return fault(err, ERR_INVALID, content, s.token, "%s", found->text);
}

static int check(struct str content, struct err *err)
{
    struct scan s = {.text = content, .until = SIZE_MAX, .err = err};
    json_error_t found;
    json_t *value;
    int r = bom_refuse(content, err);

    if (!r)
        r = scan(&s);
    if (r)
        return r;
    value =
        json_loadb(content.data, content.len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &found);
    if (!value)
        return refuse_token(content, &found, err);
    json_decref(value);
    return 0;
}

const struct dialect dialect_json = {"json", check};
