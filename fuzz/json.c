/*
 * The check of JSON on any bytes. See syntax.h. Besides, jansson is asked for the value: what it reads is JSON, and what it
 * does not read although it is, has a number or a NUL that it cannot hold, or a byte order mark.
 */
#include "syntax.h"

#include "codec/value.h"

static void ask_jansson(struct str text)
{
    static const char *const reasons[] = {"too big", "real number overflow", "\\u0000",
                                          "NUL byte", "byte order mark"};
    bool is_json = syntax_check(STR("application/json"), text, NULL) == 0, is_known = false;
    struct value *v = NULL;
    struct err err = ERR_NULL;
    int r = value_parse(text, &v, &err);

    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        is_known |= strstr(err.text, reasons[i]) != NULL;
    ASSERT(r == 0 ? is_json : !is_json || (is_known && err.line));
    (void)value_free(v);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    ask_jansson(str_of(data, size));
    return fuzz_syntax(STR("application/json"), str_of(data, size));
}
