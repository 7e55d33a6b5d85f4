/*
 * The worth of an item's content to a program: JSON text as a typed value.
 */
#ifndef TRIMTAB_SHM_VALUE_H
#define TRIMTAB_SHM_VALUE_H

#include "base/arena.h"
#include "base/str.h"

enum shm_value_type {
    SHM_VALUE_NONE,
    SHM_VALUE_BOOL,
    SHM_VALUE_INT,
    SHM_VALUE_FLOAT,
    SHM_VALUE_TEXT
};
#define SHM_VALUE_TYPE_LAST SHM_VALUE_TEXT

/*
 * A parsed value. integer is also set for a bool, number for an int. text is the string itself, or the JSON of a list or
 * object; json is always the whole text. Both are C strings.
 */
struct shm_value {
    enum shm_value_type type;
    int64_t integer;
    double number;
    const char *text;
    const char *json;
};

/*
 * Parses; both texts lie in the arena. Text that is no JSON, and null, have the type SHM_VALUE_NONE. Without memory the arena
 * has failed and the value is not to be used.
 */
struct shm_value shm_value_parse(struct arena *a, struct str json);

#endif
