/*
 * TOML 1.0 by toml++. Two things are our own: a scan ahead that stops keys of very many parts, which toml++ follows
 * down the stack, and the place, since toml++ tells of some faults at the character behind them.
 */
#include "codec/dialects.h"

#include "codec/fault.h"
#include "codec/toml_parse.h"

struct scan {
    struct str text;
    size_t at;
    size_t key;  /* where the key or value that we are in begins; SIZE_MAX between them */
    size_t left; /* just behind a '=': where what stands before it begins */
    int parts;   /* dots in it */
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Over a string of any of the four kinds; one that never ends is left to toml++. */
static void skip_string(struct scan *s)
{
    char quote = s->text.data[s->at];
    struct str rest = str_from(s->text, s->at);
    bool is_long = rest.len >= 3 && rest.data[1] == quote && rest.data[2] == quote;
    size_t i = is_long ? 3 : 1;

    for (; i < rest.len; i++) {
        if (quote == '"' && rest.data[i] == '\\') {
            i++;
        } else if (!is_long && (rest.data[i] == quote || rest.data[i] == '\n')) {
            break;
        } else if (is_long && rest.data[i] == quote && i + 2 < rest.len &&
                   rest.data[i + 1] == quote && rest.data[i + 2] == quote) {
            i += 2; /* up to two more quotes belong to the string, and are harmless here */
            break;
        }
    }
    s->at = MIN(s->at + i + 1, s->text.len);
}

static void begin_word(struct scan *s)
{
    if (s->key == SIZE_MAX) {
        s->key = s->at;
        s->parts = 1;
    }
}

static void end_word(struct scan *s)
{
    s->key = SIZE_MAX;
    s->at++;
}

/* One character, string or comment. False when a key has too many parts. */
static bool scan_step(struct scan *s)
{
    char c = s->text.data[s->at];

    if (c == '"' || c == '\'') {
        begin_word(s);
        skip_string(s);
        return true;
    }
    if (c == '#') {
        s->at += str_index(str_from(s->text, s->at), '\n');
        return true;
    }
    if (c && strchr("=,[]{}\n\r", c)) {
        s->left = c == '=' ? s->key : SIZE_MAX;
        end_word(s);
        return true;
    }
    if (!is_blank(c))
        begin_word(s);
    s->at++;
    return c != '.' || ++s->parts <= NESTING_MAX;
}

static int check_parts(struct str content, struct err *err)
{
    struct scan s = {.text = content, .key = SIZE_MAX, .at = bom_len(content)};

    while (s.at < content.len)
        if (!scan_step(&s))
            return fault(err, ERR_LIMIT, content, s.at - 1, "a key of more than %d parts",
                         NESTING_MAX);
    return 0;
}

/* ---- places ---- */

/* toml++ knows lines that end with a line feed, and refuses a lone carriage return. */
static size_t offset_of(struct str content, const struct toml_fault *f)
{
    size_t at = bom_len(content), line_end;

    for (uint32_t line = 1; line < f->line && at < content.len; line++)
        at = MIN(at + str_index(str_from(content, at), '\n') + 1, content.len);
    line_end = at + str_index(str_from(content, at), '\n');
    return MIN(at + offset_of_char(str_from(content, at), f->column ? f->column - 1 : 0),
               line_end);
}

/* The key of the value that begins at `value`. */
static size_t key_before(struct str content, size_t value)
{
    struct scan s = {
        .text = content, .key = SIZE_MAX, .left = SIZE_MAX, .at = bom_len(content)};

    while (s.at < content.len && s.at < value)
        (void)scan_step(&s);
    return s.left == SIZE_MAX ? value : s.left;
}

static bool is_of_number(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_' ||
           c == '+' || c == '-' || c == '.';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t back_over(struct str content, size_t at, bool (*belongs)(char))
{
    while (at && belongs(content.data[at - 1]))
        at--;
    return at;
}

static bool is_about(const struct toml_fault *f, const char *what)
{
    return strstr(f->text, what) != NULL;
}

/* From where toml++ stands to where the fault is. */
static size_t correct(struct str content, const struct toml_fault *f)
{
    size_t at = offset_of(content, f);

    if (is_about(f, " integer: ") || is_about(f, "floating-point: "))
        return back_over(content, is_about(f, "end-of-file") ? content.len : at, is_of_number);
    if (is_about(f, "end-of-file"))
        return content.len;
    if (is_about(f, "cannot redefine") && is_about(f, "key-value pair"))
        return key_before(content, at);
    if (is_about(f, "after '\\r'"))
        return at ? at - 1 : 0;
    if (is_about(f, "(inclusive), saw"))
        return back_over(content, at, is_digit);
    if (is_about(f, "unicode surrogates"))
        while (at && content.data[at] != '\\')
            at--;
    return at;
}

/* ---- keys that are there already ---- */

/* The key that begins at an offset, as it is written; is_header: that of a table, between its brackets. */
static struct str key_at(struct str content, size_t begin, bool is_header)
{
    struct scan s = {.text = content, .key = SIZE_MAX, .at = begin};

    while (is_header && s.at < content.len && content.data[s.at] == '[')
        s.at++;
    begin = s.at;
    while (s.at < content.len && !strchr(is_header ? "]\n" : "=\n", content.data[s.at]))
        (void)scan_step(&s);
    return str_trim(str_part(content, begin, s.at));
}

/* What closes the brackets that are open behind a text. */
static void close_brackets(struct str text, char closing[NESTING_MAX + 1])
{
    struct scan s = {.text = text, .key = SIZE_MAX};
    size_t n = NESTING_MAX;

    closing[n] = '\0';
    while (s.at < text.len) {
        char c = text.data[s.at];

        if ((c == '[' || c == '{') && n > 0)
            closing[--n] = c == '[' ? ']' : '}';
        else if ((c == ']' || c == '}') && n < NESTING_MAX)
            n++;
        (void)scan_step(&s);
    }
    memmove(closing, closing + n, NESTING_MAX + 1 - n);
}

static int refuse_twice(struct str content, const struct toml_fault *f, struct err *err)
{
    bool is_header = !is_about(f, "key-value pair");
    size_t bom = bom_len(content), at = correct(content, f);
    struct str key = key_at(content, at, is_header), before = str_part(content, bom, at);
    char closing[NESTING_MAX + 1];
    struct toml_fault first = {0};

    close_brackets(before, closing);
    if (before.len && key.len &&
        toml_find(
            &(struct toml_key){before.data, key.data, closing, before.len, key.len, is_header},
            &first.line, &first.column))
        return fault_twice(err, content, at, key, offset_of(content, &first));
    return fault(err, ERR_INVALID, content, at, "key or table \"%.*s\" is there already",
                 STR_ARG(quotable(key)));
}

static int refuse(struct str content, struct toml_fault *f, struct err *err)
{
    int r = is_about(f, "TOML_MAX_NESTED_VALUES") ? ERR_LIMIT : ERR_INVALID;

    f->text[str_utf8_prefix(str_c(f->text))] = '\0';
    if (is_about(f, "cannot redefine"))
        return refuse_twice(content, f, err);
    return fault(err, r, content, correct(content, f), "%s%s", f->text,
                 is_about(f, "inline table: ")
                     ? " (this is TOML 1.0: an inline table is one line, without a last comma)"
                     : "");
}

static int check(struct str content, struct err *err)
{
    struct toml_fault f = {0};
    int r = check_parts(content, err);

    if (r)
        return r;
    switch (toml_parse(content.data, content.len, &f)) {
    case TOML_GOOD: return 0;
    case TOML_NO_MEMORY: return ERR_NOMEM;
    default: return refuse(content, &f, err);
    }
}

const struct dialect dialect_toml = {"toml", check};
