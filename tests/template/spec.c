/*
 * Every case of the required modules of the Mustache specification (tests/template/spec).
 */
#include "tap.h"

#include "base/file.h"
#include "template/template.h"

#include <jansson.h>

static bool find_partial(void *ctx, struct str name, struct str *ret_text)
{
    const json_t *text = json_object_getn(ctx, name.data, name.len);

    *ret_text = str_of(json_string_value(text), json_string_length(text));
    return text != NULL;
}

static void run_case(const char *module, const json_t *c)
{
    owned(buf) struct buf out = BUF_NULL(MIB);
    const json_t *text = json_object_get(c, "template"),
                 *expected = json_object_get(c, "expected");
    struct template t = {.name = module,
                         .text = str_of(json_string_value(text), json_string_length(text)),
                         .values =
                             (const struct value *)(const void *)json_object_get(c, "data"),
                         .escape = TEMPLATE_MARKUP,
                         .partial = find_partial,
                         .ctx = json_object_get(c, "partials"),
                         .is_lenient = true};
    struct err err = ERR_NULL;
    int r = template_render(&t, &out, &err);

    if (!CHECK_I64(r, 0) || !CHECK_STR(buf_str(&out), str_of(json_string_value(expected),
                                                             json_string_length(expected))))
        tap_note("%s: %s", json_string_value(json_object_get(c, "name")), err.text);
}

static void run_module(const char *module, size_t n)
{
    char path[500];
    json_error_t error;
    json_t *whole, *c;
    size_t i;

    (void)snprintf(path, sizeof(path), "%s/%s.json", SPEC_FOLDER, module);
    whole = json_load_file(path, 0, &error);
    REQUIRE(whole != NULL);
    CHECK_U64(json_array_size(json_object_get(whole, "tests")), n);
    json_array_foreach(json_object_get(whole, "tests"), i, c) run_case(module, c);
    json_decref(whole);
}

TEST("comments")
{
    run_module("comments", 12);
}

TEST("delimiters")
{
    run_module("delimiters", 14);
}

TEST("interpolation")
{
    run_module("interpolation", 42);
}

TEST("inverted sections")
{
    run_module("inverted", 22);
}

TEST("partials")
{
    run_module("partials", 12);
}

TEST("sections")
{
    run_module("sections", 34);
}
