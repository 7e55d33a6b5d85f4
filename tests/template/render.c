/*
 * Templates as they are used: strict, with stories that name template, line and key, and bounded.
 */
#include "tap.h"

#include "template/template.h"
#include "template/values.h"

static struct err err;

/* The file, or "failed"; the story is in err. */
static struct str render_with(struct template t, const char *json, size_t ceiling)
{
    static struct buf out;
    struct value *values;
    int r = value_parse(str_c(json), &values, &err);

    buf_deinit(&out);
    out = BUF_NULL(ceiling);
    err = ERR_NULL;
    if (r)
        return STR("no values");
    t.values = values;
    if (!t.name)
        t.name = "nginx.conf";
    r = template_render(&t, &out, &err);
    (void)value_free(values);
    CHECK(r == 0 || (r < 0 && err.text[0]));
    return r ? STR("failed") : buf_str(&out);
}

static struct str render(const char *text, const char *json)
{
    return render_with((struct template){.text = str_c(text)}, json, MIB);
}

static bool fails_at(const char *text, const char *json, uint32_t line, const char *piece)
{
    struct str got = render(text, json);
    bool as_wanted = str_eq(got, STR("failed")) && err.line == line &&
                     strcmp(err.place, "nginx.conf") == 0 && strstr(err.text, piece);

    if (!as_wanted)
        tap_note("\"%.*s\", %s:%u: %s", STR_ARG(got), err.place, err.line, err.text);
    return as_wanted;
}

TEST("values of every type are written as they would be read")
{
    CHECK_STR(
        render("{{a}} {{b.c}} {{d}} {{e}} {{f}}|{{g}}|{{h}}",
               "{\"a\": \"x&y\", \"b\": {\"c\": -3}, \"d\": 0.1, \"e\": true, \"f\": null,"
               " \"g\": 9223372036854775807, \"h\": 1e300}"),
        STR("x&y -3 0.1 true |9223372036854775807|1e+300"));
    CHECK_STR(
        render("upstream u {\n{{#servers}}\n  server {{host}}:{{port}};\n{{/servers}}\n}\n",
               "{\"port\": 80, \"servers\": [{\"host\": \"a\"}, {\"host\": \"b\", \"port\": "
               "81}]}"),
        STR("upstream u {\n  server a:80;\n  server b:81;\n}\n"));
}

TEST("a key that is not there is an error which names template, line, column and key")
{
    CHECK(fails_at("a\nb {{x}}\n  {{pool.max}}", "{\"x\": 1}", 3, "\"pool.max\""));
    CHECK_U64(err.column, 3);
    CHECK(strstr(err.hint, "{{pool.max | default}}") != NULL);
    CHECK(fails_at("{{#on}}{{/on}}", "{}", 1, "\"on\""));
    CHECK(strstr(err.hint, "{{^on}}") != NULL);
    CHECK(fails_at("{{a.b}}", "{\"a\": \"text\"}", 1, "\"a.b\""));
    CHECK(fails_at("{{#a}}\n{{b}}{{/a}}", "{\"a\": [{\"b\": 1}, {}]}", 2, "\"b\""));
    CHECK(fails_at("{{a}}", "{\"a\": [1]}", 1, "an array"));
    CHECK(fails_at("\n{{a}}", "{\"a\": {}}", 2, "an object"));
}

TEST("a default stands in for what is not there, and for nothing else")
{
    CHECK_STR(render("{{a | 32}};{{b|\" \"}};{{c | \"\"}};{{{d|<x>}}}", "{}"),
              STR("32; ;;<x>"));
    CHECK_STR(render("{{a | 32}};{{b | 1}}", "{\"a\": 0, \"b\": null}"), STR("0;"));
    CHECK_STR(render("{{^on}}off{{/on}}{{#on}}on{{/on}}", "{}"), STR("off"));
    CHECK_STR(render("{{^on}}off{{/on}}{{#on}}on{{/on}}", "{\"on\": 5}"), STR("on"));
    CHECK_STR(render("[{{#on |}}on{{/on}}]", "{}"), STR("[]"));
    CHECK(fails_at("{{#on | yes}}on{{/on}}", "{}", 1, "nothing may follow the bar"));
}

TEST("tags that are no tags are refused with their place")
{
    CHECK(fails_at("a\n{{b", "{}", 2, "not closed"));
    CHECK(fails_at("{{{b}}", "{\"b\": 1}", 1, "not closed"));
    CHECK(fails_at("a\n\n{{#b}}", "{\"b\": 1}", 3, "section is not closed"));
    CHECK(fails_at("{{#a}}\n{{/b}}", "{\"a\": 1}", 2, "\"a\" is closed as \"b\""));
    CHECK(fails_at("{{/b}}", "{}", 1, "no section is open"));
    CHECK(fails_at("{{#a}}{{#b}}{{/a}}{{/b}}", "{}", 1, "\"b\" is closed as \"a\""));
    CHECK(fails_at("{{}}", "{}", 1, "no key"));
    CHECK(fails_at("{{> }}", "{}", 1, "no name"));
    CHECK(fails_at("{{=<% %>}}", "{}", 1, "not closed"));
    CHECK(fails_at("{{=<% =}}", "{}", 1, "two words"));
    CHECK(fails_at("{{=<% % >=}}", "{}", 1, "two words"));
    CHECK(fails_at("{{$block}}x{{/block}}", "{}", 1, "not supported"));
    CHECK(fails_at("{{<parent}}{{/parent}}", "{}", 1, "not supported"));
}

TEST("escaping goes by the content type, and never touches what is raw")
{
    static const char values[] = "{\"v\": \"<a href='x'>\\\"\\n\\\\&\"}";
    struct template t = {.text = STR("{{v}} {{{v}}}")};

    CHECK(template_escape_for(STR("text/plain")) == TEMPLATE_AS_IS);
    CHECK(template_escape_for(STR("text/HTML; charset=utf-8")) == TEMPLATE_MARKUP);
    CHECK(template_escape_for(STR("image/svg+xml")) == TEMPLATE_MARKUP);
    CHECK(template_escape_for(STR("application/json")) == TEMPLATE_JSON);
    CHECK_STR(render_with(t, values, MIB), STR("<a href='x'>\"\n\\& <a href='x'>\"\n\\&"));
    t.escape = TEMPLATE_MARKUP;
    CHECK_STR(render_with(t, values, MIB),
              STR("&lt;a href=&#39;x&#39;&gt;&quot;\n\\&amp; <a href='x'>\"\n\\&"));
    t.escape = TEMPLATE_JSON;
    CHECK_STR(render_with(t, values, MIB),
              STR("<a href='x'>\\\"\\u000a\\\\& <a href='x'>\"\n\\&"));
}

/* ---- other templates ---- */

static bool find(void *ctx, struct str name, struct str *ret_text)
{
    (void)ctx;
    if (str_eq(name, STR("line")))
        *ret_text = STR("server {{host}};\nport {{port}};\n");
    else if (str_eq(name, STR("itself")))
        *ret_text = STR("x{{>itself}}");
    else if (str_eq(name, STR("tree")))
        *ret_text = STR("{{v}}{{#next}}({{>tree}}){{/next}}{{^next}}.{{/next}}");
    else
        return false;
    return true;
}

TEST("other templates are written in place, indented as their tag, and their faults name them")
{
    struct template t = {.text = STR("a {\n  {{>line}}\n}\n"), .partial = find};

    CHECK_STR(render_with(t, "{\"host\": \"h\\nh\", \"port\": 1}", MIB),
              STR("a {\n  server h\nh;\n  port 1;\n}\n"));
    CHECK_STR(render_with(t, "{\"host\": \"h\"}", MIB), STR("failed"));
    CHECK_STR(str_c(err.place), STR("line"));
    CHECK_U64(err.line, 2);
    t.text = STR("\n{{>none}}");
    CHECK_STR(render_with(t, "{}", MIB), STR("failed"));
    CHECK(strstr(err.text, "there is no template \"none\"") && err.line == 2);
    t.text = STR("{{>tree}}");
    CHECK_STR(
        render_with(
            t, "{\"v\": 1, \"next\": {\"v\": 2, \"next\": {\"v\": 3, \"next\": false}}}", MIB),
        STR("1(2(3.))"));
}

/* ---- values of several resources ---- */

static int gather(const struct template_item *items, size_t n, struct str *ret_file)
{
    static struct buf out;
    struct template t = {.name = "t", .text = STR("{{pool.max}} {{pool.min.soft}} {{name}}")};
    struct value *values;
    int r = template_values(items, n, &values, &err);

    buf_deinit(&out);
    out = BUF_NULL(MIB);
    if (r)
        return r;
    t.values = values;
    r = template_render(&t, &out, &err);
    (void)value_free(values);
    *ret_file = buf_str(&out);
    return r;
}

TEST("names of items are keys, with dots that lead into objects, and no key has two values")
{
    struct template_item items[] = {{STR("pool.max"), STR("5")},
                                    {STR("pool.min"), STR("{\"soft\": 1}")},
                                    {STR("name"), STR("\"x\"")},
                                    {STR("pool-max"), STR("[]")},
                                    {STR("pool"), STR("{}")}};
    struct str file = STR_NULL;

    CHECK_I64(gather(items, 4, &file), 0);
    CHECK_STR(file, STR("5 1 x"));
    CHECK_I64(gather(items, 5, &file), ERR_CONFLICT);
    CHECK(strstr(err.text, "\"pool\"") != NULL);
    items[0] = items[4];
    CHECK_I64(gather(items, 2, &file), ERR_CONFLICT);
    CHECK(strstr(err.text, "\"pool\"") && strstr(err.text, "\"pool.min\""));
    items[1] = items[0];
    CHECK_I64(gather(items, 2, &file), ERR_CONFLICT);
    items[0] = (struct template_item){STR("a..b"), STR("1")};
    CHECK_I64(gather(items, 1, &file), ERR_INVALID);
    items[0] = (struct template_item){STR("bad"), STR("{\"a\":\n}")};
    err = ERR_NULL;
    CHECK_I64(gather(items, 1, &file), ERR_INVALID);
    CHECK_STR(str_c(err.place), STR("bad"));
    CHECK_U64(err.line, 2);
}

/* ---- bounds ---- */

TEST("nesting, work and output are bounded")
{
    struct template t = {.text = STR("{{>itself}}"), .partial = find};
    static char deep[20000], wide[8000];
    size_t n = 0;

    CHECK_STR(render_with(t, "{}", MIB), STR("failed"));
    CHECK_I64(err.code, ERR_LIMIT);
    t.text = STR("\n{{#a}}{{x}}{{/a}}");
    CHECK_STR(render_with(t, "{\"a\": [1, 2, 3, 4, 5], \"x\": \"0123456789\"}", 45),
              STR("failed"));
    CHECK(err.code == ERR_LIMIT && err.line == 2 && strstr(err.text, "45 bytes"));
    for (int i = 0; i < 1000; i++)
        n += (size_t)snprintf(deep + n, sizeof(deep) - n, "{{#a}}");
    CHECK_STR(render(deep, "{\"a\": 1}"), STR("failed"));
    CHECK(err.code == ERR_LIMIT && strstr(err.text, "within each other"));
    n = (size_t)snprintf(wide, sizeof(wide), "{\"a\": [");
    for (int i = 0; i < 1000; i++)
        n += (size_t)snprintf(wide + n, sizeof(wide) - n, "%d,", i % 10);
    (void)snprintf(wide + n - 1, sizeof(wide) - n + 1, "]}");
    /* a thousand times a thousand times a thousand times nothing */
    CHECK_STR(render("{{#a}}{{#a}}{{#a}}{{/a}}{{/a}}{{/a}}", wide), STR("failed"));
    CHECK(err.code == ERR_LIMIT && strstr(err.text, "steps"));
}

TEST("every failing allocation is told")
{
    struct value *values;

    REQUIRE(value_parse(STR("{\"host\": \"h\", \"port\": 1, \"a\": [1, 2]}"), &values, &err) ==
            0);
    ALLOC_SWEEP (n) {
        owned(buf) struct buf out = BUF_NULL(MIB);
        struct template t = {.name = "t",
                             .text = STR("{{#a}}{{.}}\n{{/a}}\n  {{>line}}\n"),
                             .values = values,
                             .partial = find};
        int r = template_render(&t, &out, &err);

        CHECK(r == ERR_NOMEM || (r == 0 && str_ends(buf_str(&out), STR("  port 1;\n"))));
    }
    (void)value_free(values);
}
