/*
 * Which check belongs to which media type. See syntax.h; each dialect is a file of its own.
 */
#include "codec/syntax.h"

#include "codec/dialects.h"

static const struct {
    struct str type;
    const struct dialect *dialect;
} types[] = {
    {STR("application/json"), &dialect_json},
    {STR("text/json"), &dialect_json},
};

static const struct dialect *find(struct str media_type)
{
    struct str essence = str_trim(str_part(media_type, 0, str_index(media_type, ';')));

    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_eq_nocase(essence, types[i].type))
            return types[i].dialect;
    return NULL;
}

int syntax_check(struct str media_type, struct str content, struct err *err)
{
    const struct dialect *d = find(media_type);

    return d ? d->check(content, err) : 0;
}

const char *syntax_name(struct str media_type)
{
    const struct dialect *d = find(media_type);

    return d ? d->name : NULL;
}
