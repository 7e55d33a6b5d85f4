/*
 * JSON text to values, by jansson. See value.h.
 */
#include "shm/value.h"

#include <jansson.h>

struct shm_value shm_value_parse(struct arena *a, struct str json)
{
    json_t *parsed = json_loadb(json.data, json.len, JSON_DECODE_ANY, NULL);
    struct shm_value v = {.type = SHM_VALUE_NONE, .json = arena_c(a, json)};

    if (json_is_boolean(parsed)) {
        v.type = SHM_VALUE_BOOL;
        v.integer = json_is_true(parsed);
    } else if (json_is_integer(parsed)) {
        v.type = SHM_VALUE_INT;
        v.integer = json_integer_value(parsed);
        v.number = (double)v.integer;
    } else if (json_is_real(parsed)) {
        v.type = SHM_VALUE_FLOAT;
        v.number = json_real_value(parsed);
    } else if (json_is_string(parsed)) {
        v.type = SHM_VALUE_TEXT;
        v.text = arena_c(a, str_c(json_string_value(parsed)));
    } else if (json_is_array(parsed) || json_is_object(parsed)) {
        v.type = SHM_VALUE_TEXT;
        v.text = v.json;
    }
    json_decref(parsed);
    return v;
}
