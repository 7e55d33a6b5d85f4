/*
 * Reading a JSON value: a thin layer over jansson. See value.h.
 */
#include "codec/value.h"

#include "base/buf.h"
#include "codec/fault.h"
#include "codec/syntax.h"

#include <jansson.h>

enum { TOKEN_BYTES_MAX = 1024 };

/* A value is jansson's, under a name of ours. */
static const json_t *json_of(const struct value *v)
{
    return (const json_t *)(const void *)v;
}

static const struct value *value_of(const json_t *j)
{
    return (const struct value *)(const void *)j;
}

/* jansson stands behind a number that it cannot hold. */
static size_t number_begin(struct str content, size_t at)
{
    at = MIN(at, content.len);
    while (at && content.data[at - 1] && strchr("0123456789+-.eE", content.data[at - 1]))
        at--;
    return at;
}

/*
 * jansson reads less than the standard allows: integers of 64 bits, numbers within the range of a double, no NUL, no byte
 * order mark.
 */
int value_parse(struct str content, struct value **ret_value, struct err *err)
{
    int r = syntax_check(STR("application/json"), content, err);
    json_error_t found;
    json_t *j;

    if (!r)
        r = bom_refuse(content, err);
    if (r)
        return r;
    j = json_loadb(content.data, content.len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &found);
    if (!j && json_error_code(&found) == json_error_out_of_memory)
        return ERR_NOMEM;
    if (!j)
        return fault(err, ERR_INVALID, content,
                     number_begin(content, (size_t)MAX(found.position, 0)),
                     "JSON, but not read here: %s", found.text);
    *ret_value = (struct value *)(void *)j;
    return 0;
}

int value_parse_as(struct str media_type, struct str content, struct value **ret_value,
                   struct err *err)
{
    const char *dialect = syntax_name(media_type);

    return dialect && strcmp(dialect, "yaml") == 0 ? value_parse_yaml(content, ret_value, err)
                                                   : value_parse(content, ret_value, err);
}

struct value *value_free(struct value *v)
{
    json_decref((json_t *)(void *)v);
    return NULL;
}

enum value_type value_type(const struct value *v)
{
    switch (json_typeof(json_of(v))) {
    case JSON_OBJECT: return VALUE_OBJECT;
    case JSON_ARRAY: return VALUE_ARRAY;
    case JSON_STRING: return VALUE_TEXT;
    case JSON_INTEGER:
    case JSON_REAL: return VALUE_NUMBER;
    case JSON_TRUE:
    case JSON_FALSE: return VALUE_BOOL;
    case JSON_NULL: break;
    }
    return VALUE_NULL;
}

const char *value_type_name(enum value_type t)
{
    static const char *const names[] = {"null", "true or false", "a number",
                                        "text", "an array",      "an object"};

    return names[t];
}

struct str value_number(const struct value *v, char out[VALUE_NUMBER_MAX])
{
    double number = json_real_value(json_of(v));

    if (json_is_integer(json_of(v)))
        (void)snprintf(out, VALUE_NUMBER_MAX, "%lld",
                       (long long)json_integer_value(json_of(v)));
    for (int digits = 15; json_is_real(json_of(v)) && digits <= 17; digits++) {
        (void)snprintf(out, VALUE_NUMBER_MAX, "%.*g", digits, number);
        if (strtod(out, NULL) == number)
            break;
    }
    return str_c(out);
}

struct str value_text(const struct value *v)
{
    return str_of(json_string_value(json_of(v)), json_string_length(json_of(v)));
}

bool value_is_true(const struct value *v)
{
    return json_is_true(json_of(v));
}

size_t value_count(const struct value *v)
{
    return json_array_size(json_of(v));
}

const struct value *value_at(const struct value *v, size_t i)
{
    return value_of(json_array_get(json_of(v), i));
}

const struct value *value_member(const struct value *v, const char *name)
{
    return value_of(json_object_get(json_of(v), name));
}

int value_members(const struct value *v, value_member_fn *fn, void *ctx)
{
    union { /* jansson's iterators take what is not const, and change nothing */
        const json_t *in;
        json_t *out;
    } object = {.in = json_of(v)};
    void *it = json_object_iter(object.out);
    int r = 0;

    for (; it && !r; it = json_object_iter_next(object.out, it))
        r = fn(ctx, str_c(json_object_iter_key(it)), value_of(json_object_iter_value(it)));
    return r;
}

/* ---- pointers ---- */

/* The next token of a pointer that begins with '/', unescaped into text. */
static int next_token(struct str *pointer, struct buf *text)
{
    struct str rest = str_from(*pointer, 1);
    size_t end = str_index(rest, '/');

    buf_clear(text);
    for (size_t i = 0; i < end; i++) {
        if (rest.data[i] != '~')
            buf_put_byte(text, (unsigned char)rest.data[i]);
        else if (++i < end && (rest.data[i] == '0' || rest.data[i] == '1'))
            buf_put_byte(text, rest.data[i] == '0' ? '~' : '/');
        else
            return ERR_INVALID;
    }
    *pointer = str_from(rest, end);
    return buf_status(text);
}

int pointer_check(struct str pointer, struct err *err)
{
    owned(buf) struct buf text = BUF_NULL(TOKEN_BYTES_MAX);

    if (pointer.len == 0 || pointer.data[0] != '/') {
        (void)err_set(err, ERR_INVALID, "a pointer begins with '/'");
        err_hint(err,
                 "write /name, /list/0 or /list/*/name (RFC 6901, with * for every element)");
        return ERR_INVALID;
    }
    while (pointer.len) {
        int r = next_token(&pointer, &text);

        if (r == ERR_INVALID)
            return err_set(err, ERR_INVALID, "'~' must be followed by 0 or 1 in a pointer");
        if (r)
            return r == ERR_LIMIT ? err_set(err, r, "a part of a pointer has at most %d bytes",
                                            TOKEN_BYTES_MAX)
                                  : r;
    }
    return 0;
}

struct selection {
    struct str rest;
    value_fn *fn;
    void *ctx;
};

static int select_member(void *ctx, struct str name, const struct value *v)
{
    const struct selection *s = ctx;

    (void)name;
    return value_select(v, s->rest, s->fn, s->ctx);
}

static int select_every(const struct value *v, struct selection *s)
{
    int r = 0;

    if (value_type(v) == VALUE_OBJECT)
        return value_members(v, select_member, s);
    for (size_t i = 0; i < value_count(v) && !r; i++)
        r = value_select(value_at(v, i), s->rest, s->fn, s->ctx);
    return r;
}

int value_select(const struct value *v, struct str pointer, value_fn *fn, void *ctx)
{
    owned(buf) struct buf text = BUF_NULL(TOKEN_BYTES_MAX);
    const struct value *next = NULL;
    uint64_t index;
    int r;

    if (pointer.len == 0)
        return fn(ctx, v);
    r = next_token(&pointer, &text);
    if (r)
        return r;
    if (str_eq(buf_str(&text), STR("*")))
        return select_every(v, &(struct selection){pointer, fn, ctx});
    if (value_type(v) == VALUE_OBJECT)
        next = value_of(json_object_getn(json_of(v), text.data ? text.data : "", text.len));
    else if (value_type(v) == VALUE_ARRAY && str_u64(buf_str(&text), &index))
        next = value_at(v, index);
    return next ? value_select(next, pointer, fn, ctx) : 0;
}
