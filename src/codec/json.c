/*
 * JSON (RFC 8259) by jansson. Any value may be at the top; duplicate names are refused, as are integers that do
 * not fit 64 bits, numbers beyond the range of a double, and the escape for U+0000.
 */
#include "codec/dialects.h"

#include <jansson.h>

static int check(struct str content, struct err *err)
{
    json_error_t fault;
    json_t *value;

    if (content.len == 0) {
        (void)err_set(err, ERR_INVALID, "empty, where JSON needs a value");
        err_at(err, 1, 1);
        return ERR_INVALID;
    }
    value = json_loadb(content.data, content.len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &fault);
    if (value) {
        json_decref(value);
        return 0;
    }
    (void)err_set(err, ERR_INVALID, "not JSON: %s", fault.text);
    err_at(err, (uint32_t)MAX(fault.line, 1), (uint32_t)MAX(fault.column, 1));
    return ERR_INVALID;
}

const struct dialect dialect_json = {"json", check};
