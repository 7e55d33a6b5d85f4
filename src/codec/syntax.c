/*
 * Which check belongs to which media type. See syntax.h; each dialect is a file of its own.
 */
#include "codec/syntax.h"

#include "codec/dialects.h"
#include "codec/fault.h"

struct media {
    struct str name;
    const struct dialect *dialect;
};

static const struct media types[] = {
    {STR("application/json"), &dialect_json},
    {STR("text/json"), &dialect_json},
    {STR("application/yaml"), &dialect_yaml},
    {STR("text/yaml"), &dialect_yaml},
    {STR("application/x-yaml"), &dialect_yaml},
    {STR("text/x-yaml"), &dialect_yaml},
    {STR("application/toml"), &dialect_toml},
    {STR("text/x-toml"), &dialect_toml},
    {STR("text/x-java-properties"), &dialect_properties},
    {STR("text/x-ini"), &dialect_ini},
    {STR("application/xml"), &dialect_xml},
    {STR("text/xml"), &dialect_xml},
};

/* RFC 6839: what follows the last '+' of a subtype names the syntax that it is built on. */
static const struct media suffixes[] = {
    {STR("+json"), &dialect_json},
    {STR("+yaml"), &dialect_yaml},
    {STR("+xml"), &dialect_xml},
};

static bool has_suffix(struct str essence, struct str suffix)
{
    size_t subtype = str_index(essence, '/') + 1;

    return subtype > 1 && essence.len > subtype + suffix.len &&
           str_eq_nocase(str_from(essence, essence.len - suffix.len), suffix);
}

static const struct dialect *find(struct str media_type)
{
    struct str essence = str_trim(str_part(media_type, 0, str_index(media_type, ';')));

    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_eq_nocase(essence, types[i].name))
            return types[i].dialect;
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++)
        if (has_suffix(essence, suffixes[i].name))
            return suffixes[i].dialect;
    return NULL;
}

int syntax_check(struct str media_type, struct str content, struct err *err)
{
    const struct dialect *d = find(media_type);
    size_t good;

    if (!d)
        return 0;
    if (content.len > SYNTAX_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "%zu bytes, more than the %d that are checked",
                       content.len, SYNTAX_BYTES_MAX);
    good = str_utf8_prefix(content);
    if (good < content.len)
        return fault(err, ERR_INVALID, content, good, "byte 0x%02x is not UTF-8",
                     (unsigned char)content.data[good]);
    return d->check(content.data ? content : STR(""), err);
}

const char *syntax_name(struct str media_type)
{
    const struct dialect *d = find(media_type);

    return d ? d->name : NULL;
}
