/*
 * Values: YAML gives the value that the same document gives as JSON, and what could mean two things is refused.
 */
#include "tap.h"

#include "base/buf.h"
#include "codec/value.h"

static void put_value(const struct value *v, struct buf *out);

static int put_member(void *ctx, struct str name, const struct value *v)
{
    struct buf *out = ctx;

    buf_printf(out, "%.*s:", STR_ARG(name));
    put_value(v, out);
    buf_put_c(out, ";");
    return 0;
}

/* A text that tells types apart: n null, b bool, # number, 't' text, [] {} collections. */
static void put_value(const struct value *v, struct buf *out)
{
    switch (value_type(v)) {
    case VALUE_NULL: buf_put_c(out, "n"); break;
    case VALUE_BOOL: buf_put_c(out, "b"); break;
    case VALUE_NUMBER: buf_put_c(out, "#"); break;
    case VALUE_TEXT: buf_printf(out, "'%.*s'", STR_ARG(value_text(v))); break;
    case VALUE_ARRAY:
        buf_put_c(out, "[");
        for (size_t i = 0; i < value_count(v); i++) {
            put_value(value_at(v, i), out);
            buf_put_c(out, ",");
        }
        buf_put_c(out, "]");
        break;
    case VALUE_OBJECT:
        buf_put_c(out, "{");
        CHECK_I64(value_members(v, put_member, out), 0);
        buf_put_c(out, "}");
        break;
    }
}

static void check_shape(const char *media_type, const char *content, const char *want)
{
    owned(buf) struct buf got = BUF_NULL(MIB);
    struct value *v = NULL;
    struct err err = ERR_NULL;

    if (!CHECK_I64(value_parse_as(str_c(media_type), str_c(content), &v, &err), 0)) {
        tap_note("%s: %s", content, err.text);
        return;
    }
    put_value(v, &got);
    CHECK_STR(buf_str(&got), str_c(want));
    (void)value_free(v);
}

TEST("YAML gives mappings, sequences and scalars with their types")
{
    static const struct {
        const char *yaml, *want;
    } rows[] = {
        {"subject: token:ci\nrole: publish\nnamespaces: [shop/prod, '*']\n",
         "{subject:'token:ci';role:'publish';namespaces:['shop/prod','*',];}"},
        {"- 1\n- -2.5e3\n- 007\n- 1x\n- 99999999999999999999\n",
         "[#,#,'007','1x','99999999999999999999',]"},
        {"[true, false, yes, 'true', null, ~, \"null\", ]", "[b,b,'yes','true',n,n,'null',]"},
        {"a:\n", "{a:n;}"},
        {"a: |\n  x\n  y\n", "{a:'x\ny\n';}"},
        {"expires: 2027-01-01T00:00:00Z\n", "{expires:'2027-01-01T00:00:00Z';}"},
        {"\xef\xbb\xbf"
         "a: 1\n",
         "{a:#;}"},
        {"---\n{}\n...\n", "{}"},
        {"", "n"},
        {"# nothing\n", "n"},
        {"x", "'x'"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check_shape("application/yaml", rows[i].yaml, rows[i].want);
    check_shape("application/x-yaml", "a: b", "{a:'b';}");
    check_shape("application/vnd.x+yaml", "a: b", "{a:'b';}");
    check_shape("application/json", "{\"a\": [1]}", "{a:[#,];}");
    check_shape("text/plain", "{\"a\": [1]}", "{a:[#,];}");
}

TEST("what may mean two things in YAML is refused with its place")
{
    static const struct {
        const char *yaml;
        int code;
        uint32_t line, column;
    } rows[] = {
        {"a: &x 1\n", ERR_INVALID, 1, 4},
        {"a: &x [1]\n", ERR_INVALID, 1, 4},
        {"a: &x 1\nb: *x\n", ERR_INVALID, 1, 4},
        {"a: 1\nb: !!str 2\n", ERR_INVALID, 2, 4},
        {"a: !t {}\n", ERR_INVALID, 1, 4},
        {"a: 1\n---\nb: 1\n", ERR_INVALID, 2, 1},
        {"[1]: x\n", ERR_INVALID, 1, 1},
        {"\"a\\0\": x\n", ERR_INVALID, 1, 1},
        {"a: 1\na: 2\n", ERR_INVALID, 2, 1},
        {"a: [\n", ERR_INVALID, 2, 1},
        {"[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]", ERR_LIMIT, 1, 17},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct value *v = NULL;
        struct err err = ERR_NULL;

        if (!CHECK_I64(value_parse_yaml(str_c(rows[i].yaml), &v, &err), rows[i].code) ||
            !CHECK_U64(err.line, rows[i].line) || !CHECK_U64(err.column, rows[i].column))
            tap_note("%s: %u:%u %s", rows[i].yaml, err.line, err.column, err.text);
        CHECK(!v);
        CHECK_I64(value_parse_yaml(str_c(rows[i].yaml), &v, NULL), rows[i].code);
    }
}

TEST("YAML is read or not at all when memory runs out")
{
    struct str text = STR("a: [b, {c: d}]\nlong: key\n");
    int r = ERR_NOMEM;

    ALLOC_SWEEP (n) {
        struct value *v = NULL;

        r = value_parse_yaml(text, &v, NULL);
        CHECK(r == 0 ? v != NULL : r == ERR_NOMEM && !v);
        (void)value_free(v);
    }
    CHECK_I64(r, 0);
}
