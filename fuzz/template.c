/*
 * Templates and a template within them (behind the first NUL) against values of every type. What a strict rendering gives, a
 * lenient one gives too; nothing is larger than it may be.
 */
#include "template/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OUT_MAX = 20000 };

static const char json[] = "{\"a\": 1, \"b\": {\"c\": \"<x>\", \"d\": {\"e\": true}}, \"l\": "
                           "[1, {\"a\": 2}, [], \"t\"],"
                           " \"n\": null, \"f\": false, \"r\": 0.25, \"m\": [[1, 2], [3]]}";

static bool find(void *ctx, struct str name, struct str *ret_text)
{
    *ret_text = *(struct str *)ctx;
    return str_eq(name, STR("p"));
}

static int render(struct str text, struct str partial, const struct value *values,
                  bool is_lenient, struct buf *out)
{
    struct err err = ERR_NULL;
    struct template t = {.name = "fuzz",
                         .text = text,
                         .values = values,
                         .escape = (enum template_escape)(text.len % 3),
                         .partial = find,
                         .ctx = &partial,
                         .is_lenient = is_lenient};
    int r = template_render(&t, out, &err);

    if (out->len > OUT_MAX || (r && (!err.text[0] || (r == ERR_INVALID && !err.line))))
        __builtin_trap();
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    owned(buf) struct buf strict = BUF_NULL(OUT_MAX), lenient = BUF_NULL(OUT_MAX);
    struct str whole = str_of(data, size), text = str_part(whole, 0, str_index(whole, '\0'));
    struct value *values;

    if (value_parse(str_c(json), &values, NULL))
        return 0;
    if (render(text, str_from(whole, text.len + 1), values, false, &strict) == 0 &&
        (render(text, str_from(whole, text.len + 1), values, true, &lenient) ||
         !str_eq(buf_str(&strict), buf_str(&lenient))))
        __builtin_trap();
    (void)value_free(values);
    return 0;
}
