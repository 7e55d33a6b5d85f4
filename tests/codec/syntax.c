/*
 * Syntax checks: tables of texts with exact places, media types, bombs, size, memory that runs out.
 */
#include "tap.h"

#include "base/buf.h"
#include "codec/syntax.h"
#include "codec/tables.h"

static void accept_all(const char *type, const struct str *texts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct err err = ERR_NULL;
        int r = syntax_check(str_c(type), texts[i], &err);

        tap_check(r == 0, __FILE__, __LINE__, "%s \"%.*s\": %u:%u %s", type, STR_ARG(texts[i]),
                  err.line, err.column, err.text);
    }
}

static void refuse_all(const char *type, const struct refused *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct err err = ERR_NULL;
        int r = syntax_check(str_c(type), rows[i].text, &err);

        tap_check(r == ERR_INVALID && err.code == r && err.text[0] &&
                      err.line == rows[i].line && err.column == rows[i].column,
                  __FILE__, __LINE__, "%s \"%.*s\": got %d at %u:%u (%s), want %u:%u", type,
                  STR_ARG(rows[i].text), r, err.line, err.column, err.text, rows[i].line,
                  rows[i].column);
        CHECK_I64(syntax_check(str_c(type), rows[i].text, NULL), ERR_INVALID);
    }
}

#define TABLES(title, type, name)                                                              \
    TEST(title " that is right is accepted")                                                   \
    {                                                                                          \
        accept_all(type, name##_good, ARRAY_LEN(name##_good));                                 \
    }                                                                                          \
    static void name##_refuse(void)                                                            \
    {                                                                                          \
        refuse_all(type, name##_bad, ARRAY_LEN(name##_bad));                                   \
    }

TABLES("JSON", "application/json", json)
TABLES("JSON with comments", "application/jsonc", jsonc)
TABLES("YAML", "text/yaml", yaml)
TABLES("TOML", "application/toml", toml)
TABLES("a properties file", "text/x-java-properties", properties)
TABLES("an INI file", "text/x-ini", ini)
TABLES("XML", "application/xml", xml)

TEST("wrong JSON is refused where it goes wrong")
{
    json_refuse();
}

TEST("wrong JSON with comments is refused where it goes wrong")
{
    jsonc_refuse();
}

TEST("wrong YAML is refused where it goes wrong")
{
    yaml_refuse();
}

TEST("wrong TOML is refused where it goes wrong")
{
    toml_refuse();
}

TEST("a wrong properties file is refused where it goes wrong")
{
    properties_refuse();
}

TEST("a wrong INI file is refused where it goes wrong")
{
    ini_refuse();
}

TEST("wrong XML is refused where it goes wrong")
{
    xml_refuse();
}

TEST("media types are matched without case, parameters, and by suffix")
{
    static const struct {
        const char *type, *name;
    } rows[] = {
        {"application/json", "json"},
        {"text/json", "json"},
        {"Application/JSON", "json"},
        {"application/json;charset=utf-8", "json"},
        {"application/json ; a=b", "json"},
        {"application/problem+json", "json"},
        {"application/yaml", "yaml"},
        {"text/yaml", "yaml"},
        {"application/x-yaml", "yaml"},
        {"text/x-yaml", "yaml"},
        {"application/openapi+YAML", "yaml"},
        {"application/toml", "toml"},
        {"text/x-toml", "toml"},
        {"text/x-java-properties", "properties"},
        {"text/x-ini", "ini"},
        {"application/xml", "xml"},
        {"text/xml", "xml"},
        {"image/svg+xml", "xml"},
        {"text/plain", NULL},
        {"application/octet-stream", NULL},
        {"", NULL},
        {"json", NULL},
        {"application/jsonx", NULL},
        {"application/+json", NULL},
        {"a+json", NULL},
        {"application/vnd.x+json+zip", NULL},
        {"application/vnd.x+toml", "toml"},
        {"application/vnd.x+jsonc", "jsonc"},
        {"text/toml", "toml"},
        {"application/x-toml", "toml"},
        {"application/jsonc", "jsonc"},
        {"text/ini", "ini"},
        {"text/properties", "properties"},
        {"application/vnd.yaml ; version=1.2", "yaml"},
        {"application/vnd.x.yaml", NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        CHECK_STR(str_c(syntax_name(str_c(rows[i].type))), str_c(rows[i].name));
    CHECK_I64(syntax_check(STR("text/plain"), STR("{\xff"), NULL), 0);
}

TEST("a type is a type with parameters, and none that only looks as if it were checked")
{
    static const struct {
        const char *type;
        int want;
    } rows[] = {
        {"text/plain", 0},
        {"application/json; charset=utf-8", 0},
        {"application/json ;charset=\"utf-8\" ; a=b;", 0},
        {"application/vnd.x+toml", 0},
        {"application/json-seq", 0},
        {"application/x-ndjson", 0},
        {"application/vnd.docker.image+zip", 0},
        {"", ERR_INVALID},
        {"json", ERR_INVALID},
        {"/json", ERR_INVALID},
        {"text/", ERR_INVALID},
        {"te xt/plain", ERR_INVALID},
        {"text/plain; a", ERR_INVALID},
        {"text/plain; a=b c", ERR_INVALID},
        {"text/plain; a b=c", ERR_INVALID},
        {"text/plain; a=\"b", ERR_INVALID},
        {"text/pl\xc3\xa4in", ERR_INVALID},
        {"text/plain\n", 0},
        {"text/plain; a=\"\n\"", ERR_INVALID},
        {"application/vnd.x.yaml", ERR_INVALID},
        {"text/my-toml", ERR_INVALID},
        {"text/x.yml", ERR_INVALID},
        {"application/vnd.x-ini", ERR_INVALID},
        {"application/foo.properties", ERR_INVALID},
        {"application/vnd.api.json", ERR_INVALID},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_NULL;
        int r = media_type_check(str_c(rows[i].type), &err);

        tap_check(r == rows[i].want && err.code == r, __FILE__, __LINE__, "%s: %d %s",
                  rows[i].type, r, err.text);
    }
}

TEST("the charset of a type is what the bytes must be")
{
    static const struct {
        const char *type, *text;
        int want;
    } rows[] = {
        {"text/x-java-properties", "a=\xe9", ERR_INVALID},
        {"text/x-java-properties; charset=iso-8859-1", "a=\xe9", 0},
        {"text/x-java-properties; charset=\"ISO-8859-1\"", "a=\xe9\na=2", ERR_INVALID},
        {"text/x-ini;charset=windows-1252", "[\xe9]\na=\x80", 0},
        {"text/x-ini;charset=windows-1252", "[\xc3\xa9]", ERR_INVALID},
        {"text/x-ini;charset=us-ascii", "a=\xc3\xa9", ERR_INVALID},
        {"text/x-ini;charset=IBM866", "a=\xe9", 0},
        {"text/x-ini;charset=MacCyrillic", "a=\xe9", 0},
        {"application/json; charset=UTF-8", "\"\xc3\xa9\"", 0},
        {"application/json; charset=big5", "1", ERR_INVALID},
        {"application/xml; charset=utf-8", "<a>\xe9</a>", ERR_INVALID},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_NULL;
        int r = syntax_check(str_c(rows[i].type), str_c(rows[i].text), &err);

        tap_check(r == rows[i].want, __FILE__, __LINE__, "%s: %d %s", rows[i].type, r,
                  err.text);
    }
}

/* What helps: which key and where it was, which bracket or quote is open, what both tags are called. */
TEST("a refusal says what it is about")
{
    static const struct {
        const char *type, *text, *said;
    } rows[] = {
        {"text/json", "{\"a\":1,\n\"a\":2}", "\"a\" is given twice, first in line 1, column 2"},
        {"text/json", "{\"a\": [1,\n2", "'[' that opens in line 1 is not closed"},
        {"text/json", "[1,\n\"x", "string that begins in line 2 is not closed"},
        {"text/json", "{} // c", "application/jsonc"},
        {"text/yaml", "a: 1\nb: 2\na: 3\n", "\"a\" is given twice, first in line 1, column 1"},
        {"text/yaml", "x: {\xc3\xa9: 1, b: 2, \xc3\xa9: 3}", "first in line 1, column 5"},
        {"text/yaml", "a: 1\nb: \"x\nc: 1\n", "quoted text that begins in line 2, column 4"},
        {"text/yaml", "a:\n  - [1,\n  2\n", "flow sequence that begins in line 2, column 5"},
        {"text/yaml", "{{ if .x }}\na: 1\n", "\"{{\" begins a mapping, and in line 2"},
        {"text/toml", "a = 1\nb = 2\na = 3", "\"a\" is given twice, first in line 1, column 1"},
        {"text/toml", "[t]\nb.c = 1\nb.c = 2",
         "\"b.c\" is given twice, first in line 2, column 3"},
        {"text/toml", "[x.y]\n[z]\n[ x . y ]\n",
         "\"x . y\" is given twice, first in line 1, column 4"},
        {"text/toml", "a = 1\nx = {b = 1, a = 2, \"b\" = 3}", "first in line 2, column 6"},
        {"text/toml", "[[t]]\na=1\n[[t]]\nb=1\n a=2\na=3", "first in line 5, column 2"},
        {"text/toml", "a = {\n}", "this is TOML 1.0"},
        {"text/x-java-properties", "a=1\nb=2\n a=3",
         "\"a\" is given twice, first in line 1, column 1"},
        {"text/xml", "<a>\n<b>\n</a>", "</a> cannot close <b>, which opens in line 2"},
        {"text/xml", "<a>\n<b>\n", "<b>, which opens in line 2, is not closed"},
        {"text/xml", "<a b='x=\"' c = '2' b='3'/>",
         "\"b\" is given twice, first in line 1, column 4"},
        {"text/xml", "<x:a/>", "<x:a> has a prefix that no xmlns declares"},
        {"text/xml", "<\?xml version='1.0' encoding='big5'\?><a/>", "\"big5\" is declared"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_NULL;
        int r = syntax_check(str_c(rows[i].type), str_c(rows[i].text), &err);

        tap_check(r == ERR_INVALID && strstr(err.text, rows[i].said), __FILE__, __LINE__,
                  "%s \"%s\": %d %s", rows[i].type, rows[i].text, r, err.text);
    }
}

/* ---- limits ---- */

static void repeat(struct buf *b, const char *text, size_t n)
{
    while (n--)
        buf_put_c(b, text);
}

static int check_nested(const char *type, const char *open, const char *middle,
                        const char *close, size_t n, struct err *err)
{
    owned(buf) struct buf b = BUF_NULL(32 * MIB);

    repeat(&b, open, n);
    buf_put_c(&b, middle);
    repeat(&b, close, n);
    return syntax_check(str_c(type), buf_str(&b), err);
}

TEST("nesting to the limit is accepted, and one level more is refused at its place")
{
    static const struct {
        const char *type, *open, *middle, *close;
        uint32_t max, column;
    } rows[] = {
        {"text/json", "[", "", "]", 512, 513},
        {"text/json", "{\"a\":", "1", "}", 512, 512 * 5 + 1},
        {"text/yaml", "[", "", "]", 512, 513},
        {"text/yaml", "{a: ", "1", "}", 512, 512 * 4 + 1},
        {"text/yaml", "- ", "1", "", 512, 512 * 2 + 1},
        {"text/xml", "<a>", "", "</a>", 512, 512 * 3 + 1},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_NULL;

        CHECK_I64(check_nested(rows[i].type, rows[i].open, rows[i].middle, rows[i].close,
                               rows[i].max, &err),
                  0);
        CHECK_I64(check_nested(rows[i].type, rows[i].open, rows[i].middle, rows[i].close,
                               rows[i].max + 1, &err),
                  ERR_LIMIT);
        CHECK_U64(err.line, 1);
        CHECK_U64(err.column, rows[i].column);
        CHECK_I64(check_nested(rows[i].type, rows[i].open, rows[i].middle, rows[i].close,
                               1000000, &err),
                  ERR_LIMIT);
    }
}

static int check_toml(const char *before, const char *repeated, size_t n, const char *after)
{
    owned(buf) struct buf b = BUF_NULL(32 * MIB);

    buf_put_c(&b, before);
    repeat(&b, repeated, n);
    buf_put_c(&b, after);
    return syntax_check(STR("application/toml"), buf_str(&b), NULL);
}

TEST("TOML bombs of arrays, inline tables and dotted keys are refused")
{
    CHECK_I64(check_toml("a = ", "[", 1000000, ""), ERR_LIMIT);
    CHECK_I64(check_toml("", "a={a=", 1, "1}"), 0);
    CHECK_I64(check_toml("a=", "{a=", 1000000, ""), ERR_LIMIT);
    CHECK_I64(check_toml("", "a.", 511, "a = 1"), 0);
    CHECK_I64(check_toml("", "a.", 512, "a = 1"), ERR_LIMIT);
    CHECK_I64(check_toml("", "a.", 1000000, "a = 1"), ERR_LIMIT);
    CHECK_I64(check_toml("[", "\"a\" . ", 1000000, "a]"), ERR_LIMIT);
    CHECK_I64(check_toml("a = \"", ".", 1000000, "\""), 0);
    CHECK_I64(check_toml("# ", ".", 1000000, "\n"), 0);
    CHECK_I64(check_toml("a = [", "1.5, ", 100000, "]"), 0);
}

TEST("YAML whose aliases stand for too much is refused at the alias")
{
    owned(buf) struct buf b = BUF_NULL(MIB);
    struct err err = ERR_NULL;

    buf_put_c(&b, "a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 9; i++) {
        buf_printf(&b, "a%d: &a%d [", i, i);
        for (int j = 0; j < 9; j++)
            buf_printf(&b, "%s*a%d", j ? "," : "", i - 1);
        buf_put_c(&b, "]\n");
    }
    CHECK_I64(syntax_check(STR("text/yaml"), buf_str(&b), &err), ERR_LIMIT);
    CHECK(err.line > 5 && err.line < 9);
    CHECK(err.column > 9);

    buf_clear(&b);
    buf_put_c(&b, "a: &a [x,x,x,x]\nb: [");
    repeat(&b, "*a,", 10000);
    buf_put_c(&b, "]\n");
    CHECK_I64(syntax_check(STR("text/yaml"), buf_str(&b), &err), 0);
}

TEST("XML whose entities expand to too much is refused")
{
    owned(buf) struct buf b = BUF_NULL(4 * MIB);
    struct err err = ERR_NULL;

    buf_put_c(&b, "<!DOCTYPE a [<!ENTITY x0 \"xxxxxxxxxx\">\n");
    for (int i = 1; i < 10; i++) {
        buf_printf(&b, "<!ENTITY x%d \"", i);
        for (int j = 0; j < 10; j++)
            buf_printf(&b, "&x%d;", i - 1);
        buf_put_c(&b, "\">\n");
    }
    buf_put_c(&b, "]>\n<a>&x9;</a>");
    CHECK_I64(syntax_check(STR("text/xml"), buf_str(&b), &err), ERR_LIMIT);
    CHECK_U64(err.line, 12);
    CHECK_U64(err.column, 4);

    buf_clear(&b); /* one long entity, very often */
    buf_put_c(&b, "<!DOCTYPE a [<!ENTITY x \"");
    repeat(&b, "x", 100000);
    buf_put_c(&b, "\">]><a>");
    repeat(&b, "&x;", 100000);
    buf_put_c(&b, "</a>");
    CHECK_I64(syntax_check(STR("text/xml"), buf_str(&b), &err), ERR_LIMIT);

    buf_clear(&b);
    buf_put_c(&b, "<!DOCTYPE a [");
    for (int i = 0; i < 1001; i++)
        buf_printf(&b, "<!ENTITY x%d \"\">", i);
    buf_put_c(&b, "]><a/>");
    CHECK_I64(syntax_check(STR("text/xml"), buf_str(&b), &err), ERR_LIMIT);
}

TEST("declarations whose cost grows with their square are counted")
{
    owned(buf) struct buf b = BUF_NULL(MIB);
    struct err err = ERR_NULL;

    for (int i = 0; i < 1000; i++)
        buf_printf(&b, "%%TAG !x%d! y%s", i, i % 2 ? "\r" : "\xc2\x85");
    buf_put_c(&b, "--- a: 100%TAG\n");
    CHECK(syntax_check(STR("text/yaml"), buf_str(&b), &err) != ERR_LIMIT);
    buf_put_c(&b, "%TAG !z! y\n--- a\n");
    CHECK_I64(syntax_check(STR("text/yaml"), buf_str(&b), &err), ERR_LIMIT);
    CHECK_U64(err.line, 502);
    CHECK_U64(err.column, 1);

    buf_clear(&b);
    buf_put_c(&b, "<!DOCTYPE a [\n");
    for (int i = 0; i < 257; i++)
        buf_printf(&b, "<!ATTLIST a b%d CDATA \"\">\n", i);
    buf_put_c(&b, "]><a/>");
    CHECK_I64(syntax_check(STR("text/xml"), buf_str(&b), &err), ERR_LIMIT);
    CHECK_U64(err.line, 258);
}

/* 8 MiB of one pattern; numbered lines where %u is in it. */
static void fill_full(struct buf *b, const char *before, const char *pattern, const char *after)
{
    unsigned i = 0;

    buf_put_c(b, before);
    while (b->len + strlen(pattern) + strlen(after) + 12 < 8 * MIB) {
        const char *number = strchr(pattern, '#');

        buf_put(b, pattern, number ? (size_t)(number - pattern) : strlen(pattern));
        if (number) {
            buf_printf(b, "%u", i++);
            buf_put_c(b, number + 1);
        }
    }
    buf_put_c(b, after);
}

/* Work that is not linear does not end before the alarm. */
TEST("8 MiB of each are checked in linear work")
{
    static const struct {
        const char *type, *before, *pattern, *after;
        int want;
    } rows[] = {
        {"text/json", "[0", ",0", "]", 0},
        {"text/json", "{\"\":0", ",\"k#\":1", "}", 0},
        {"text/json", "\"", "\\u00e9", "\"", 0},
        {"text/json", "", " ", "x", ERR_INVALID},
        {"text/json", "\"", "\\\\", "", ERR_INVALID},
        {"text/yaml", "", "k#: v\n", "", 0},
        {"text/yaml", "", "- v\n", "", 0},
        {"text/yaml", "[", "a,", "]", 0},
        {"text/yaml", "a: \"", "x y ", "\"", 0},
        {"text/yaml", "", "--- a\n", "", 0},
        {"text/yaml", "a: &a 1\nb: [", "*a,", "]", ERR_LIMIT},
        {"text/yaml", "- x\n", "- &a x\n", "", 0},
        {"application/toml", "", "k# = 1\n", "", 0},
        {"application/toml", "a = [", "1.5,\n", "]", 0},
        {"application/toml", "", "[t#]\nx = \"y\"\n", "", 0},
        {"text/x-java-properties", "", "k# = v\n", "", 0},
        {"text/x-java-properties", "", "k\\\n", "", 0},
        {"text/x-ini", "", "k# = v\n", "", 0},
        {"text/x-ini", "", "[section #]\n", "", 0},
        {"text/xml", "<a>", "<b c='d'>e</b>", "</a>", 0},
        {"text/xml", "<a ", "b#='' ", "/>", 0},
        {"text/xml", "<a><!--", " ", "--></a>", 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        owned(buf) struct buf b = BUF_NULL(9 * MIB);
        struct err err = ERR_NULL;
        int r;

        fill_full(&b, rows[i].before, rows[i].pattern, rows[i].after);
        r = syntax_check(str_c(rows[i].type), buf_str(&b), &err);
        tap_check(r == rows[i].want, __FILE__, __LINE__, "%s %s: %d %s", rows[i].type,
                  rows[i].pattern, r, err.text);
    }
}

TEST("more than 8 MiB are refused, where anything is checked")
{
    owned(buf) struct buf b = BUF_NULL(9 * MIB);

    fill_full(&b, "", " ", "");
    repeat(&b, " ", 8 * MIB - b.len);
    CHECK_I64(syntax_check(STR("text/x-ini"), buf_str(&b), NULL), 0);
    buf_put_byte(&b, ' ');
    CHECK_I64(syntax_check(STR("text/x-ini"), buf_str(&b), NULL), ERR_LIMIT);
    CHECK_I64(syntax_check(STR("text/plain"), buf_str(&b), NULL), 0);
}

TEST("memory that runs out is told, and nothing is lost")
{
    static const struct {
        const char *type, *text;
    } rows[] = {
        {"text/json", "{\"a\":[1,{\"b\":2}]}"},
        {"text/jsonc", "// c\n{\"\\u0061\":[1,{\"b\":2},],}"},
        {"text/yaml", "a: &x {b: 1, c: 2}\n? *x\n: [d]\n"},
        {"text/yaml", "a: |\n \tx\nb: |\n \ty\n"},
        {"application/toml", "a = 1\n"},
        {"text/x-java-properties", "a=1\nb\\u0041c=2\n"},
        {"text/x-ini", "a=1\n[s]\nb=2\n"},
        {"text/x-ini; charset=latin1", "a=\xe9\n"},
        {"text/xml", "<!DOCTYPE a [<!ENTITY x 'y'>]><a b='1'><c>&x;</c></a>"},
        {"text/xml", "<\xe1\x8a\xa6/>"},
        {"text/xml", "<?xml version='1.0' encoding='latin1'?><a>\xe9</a>"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int r = 0;

        ALLOC_SWEEP (n) {
            r = syntax_check(str_c(rows[i].type), str_c(rows[i].text), NULL);
            if (r != 0 && r != ERR_NOMEM)
                break;
        }
        CHECK_I64(r, 0);
    }
}
