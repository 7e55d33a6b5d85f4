/*
 * Which check belongs to which media type. See syntax.h; each dialect is a file of its own.
 */
#include "codec/syntax.h"

#include "codec/dialects.h"
#include "codec/encoding.h"
#include "codec/fault.h"

struct media {
    struct str name;
    const struct dialect *dialect;
};

/* The first of each dialect is the one that we name. */
static const struct media types[] = {
    {STR("application/json"), &dialect_json},
    {STR("text/json"), &dialect_json},
    {STR("application/x-json"), &dialect_json},
    {STR("text/x-json"), &dialect_json},
    {STR("application/jsonc"), &dialect_jsonc},
    {STR("text/jsonc"), &dialect_jsonc},
    {STR("application/x-jsonc"), &dialect_jsonc},
    {STR("text/x-jsonc"), &dialect_jsonc},
    {STR("application/yaml"), &dialect_yaml},
    {STR("text/yaml"), &dialect_yaml},
    {STR("application/x-yaml"), &dialect_yaml},
    {STR("text/x-yaml"), &dialect_yaml},
    {STR("application/vnd.yaml"), &dialect_yaml},
    {STR("text/vnd.yaml"), &dialect_yaml},
    {STR("application/yml"), &dialect_yaml},
    {STR("text/yml"), &dialect_yaml},
    {STR("application/toml"), &dialect_toml},
    {STR("text/toml"), &dialect_toml},
    {STR("application/x-toml"), &dialect_toml},
    {STR("text/x-toml"), &dialect_toml},
    {STR("text/x-java-properties"), &dialect_properties},
    {STR("text/x-properties"), &dialect_properties},
    {STR("text/properties"), &dialect_properties},
    {STR("text/java-properties"), &dialect_properties},
    {STR("application/x-java-properties"), &dialect_properties},
    {STR("application/x-properties"), &dialect_properties},
    {STR("text/x-ini"), &dialect_ini},
    {STR("text/ini"), &dialect_ini},
    {STR("application/x-ini"), &dialect_ini},
    {STR("application/ini"), &dialect_ini},
    {STR("application/xml"), &dialect_xml},
    {STR("text/xml"), &dialect_xml},
    {STR("application/x-xml"), &dialect_xml},
    {STR("text/x-xml"), &dialect_xml},
};

/* RFC 6839: what follows the last '+' of a subtype names the syntax that it is built on. */
static const struct media suffixes[] = {
    {STR("json"), &dialect_json}, {STR("jsonc"), &dialect_jsonc}, {STR("yaml"), &dialect_yaml},
    {STR("toml"), &dialect_toml}, {STR("xml"), &dialect_xml},
};

/* ---- types ---- */

static struct str essence_of(struct str media_type)
{
    return str_trim(str_part(media_type, 0, str_index(media_type, ';')));
}

/* The part of a type behind the last of some signs; the whole where there is none. */
static struct str behind_last(struct str type, const char *signs)
{
    size_t at = type.len;

    while (at && !strchr(signs, type.data[at - 1]))
        at--;
    return str_from(type, at);
}

static const struct dialect *find_by_suffix(struct str essence)
{
    struct str suffix = behind_last(essence, "+/");
    size_t before = essence.len - suffix.len;

    if (before < 3 || essence.data[before - 1] != '+' || essence.data[before - 2] == '/')
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++)
        if (str_eq_nocase(suffix, suffixes[i].name) && str_index(essence, '/') < before)
            return suffixes[i].dialect;
    return NULL;
}

static const struct dialect *find(struct str media_type)
{
    struct str essence = essence_of(media_type);

    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_eq_nocase(essence, types[i].name))
            return types[i].dialect;
    return find_by_suffix(essence);
}

const char *syntax_name(struct str media_type)
{
    const struct dialect *d = find(media_type);

    return d ? d->name : NULL;
}

/* ---- is it a type at all ---- */

/* RFC 9110, 5.6.2. */
static bool is_token(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.data[i];

        if (c <= 0x20 || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c))
            return false;
    }
    return s.len > 0;
}

static bool is_value(struct str s)
{
    if (s.len < 2 || s.data[0] != '"' || s.data[s.len - 1] != '"')
        return is_token(s);
    for (size_t i = 1; i + 1 < s.len; i++)
        if (s.data[i] < 0x20 || s.data[i] == 0x7f || strchr("\"\\;", s.data[i]))
            return false;
    return true;
}

/* Cuts the next parameter off; false when there is none. */
static bool next_parameter(struct str *rest, struct str *name, struct str *value)
{
    struct str piece;
    size_t equals;

    if (!str_next(rest, ';', &piece))
        return false;
    equals = str_index(piece, '=');
    *name = str_trim(str_part(piece, 0, equals));
    *value = str_trim(str_from(piece, equals + 1));
    return true;
}

static int check_form(struct str media_type, struct err *err)
{
    struct str essence = essence_of(media_type), rest = media_type, name, value;
    size_t slash = str_index(essence, '/');

    if (!is_token(str_part(essence, 0, slash)) || !is_token(str_from(essence, slash + 1)))
        return err_set(err, ERR_INVALID,
                       "content type \"%.*s\" is not of the form type/subtype",
                       STR_ARG(quotable(essence)));
    (void)next_parameter(&rest, &name, &value); /* the type itself */
    while (rest.data && next_parameter(&rest, &name, &value))
        if (name.len && (!is_token(name) || !is_value(value)))
            return err_set(err, ERR_INVALID,
                           "a parameter of content type \"%.*s\" is not of the form name=value",
                           STR_ARG(quotable(media_type)));
    return 0;
}

/* A type that calls itself by the name of a dialect, but is not that of one, would be stored without a check. */
static int check_known(struct str media_type, struct err *err)
{
    static const struct str also[] = {STR("yml"), STR("properties"), STR("ini")};
    struct str last = behind_last(essence_of(media_type), "/+.-");
    const struct dialect *meant = NULL;

    if (find(media_type))
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++)
        if (str_eq_nocase(last, suffixes[i].name))
            meant = suffixes[i].dialect;
    if (!meant && str_eq_nocase(last, also[0]))
        meant = &dialect_yaml;
    if (!meant && str_eq_nocase(last, also[1]))
        meant = &dialect_properties;
    if (!meant && str_eq_nocase(last, also[2]))
        meant = &dialect_ini;
    for (size_t i = 0; meant && i < ARRAY_LEN(types); i++) {
        if (types[i].dialect != meant)
            continue;
        (void)err_set(err, ERR_INVALID,
                      "content type \"%.*s\" is not known, and would not be checked",
                      STR_ARG(quotable(essence_of(media_type))));
        err_hint(err, "%.*s is checked; text/plain is not", STR_ARG(types[i].name));
        return ERR_INVALID;
    }
    return 0;
}

int media_type_check(struct str media_type, struct err *err)
{
    int r = check_form(media_type, err);

    return r ? r : check_known(media_type, err);
}

/* ---- contents ---- */

static struct str charset_of(struct str media_type)
{
    struct str rest = media_type, name, value;

    while (next_parameter(&rest, &name, &value))
        if (str_eq_nocase(name, STR("charset")))
            return value.len >= 2 && value.data[0] == '"' ? str_part(value, 1, value.len - 1)
                                                          : value;
    return STR_NULL;
}

int syntax_check(struct str media_type, struct str content, struct err *err)
{
    owned(buf) struct buf text = BUF_NULL(SIZE_MAX);
    const struct dialect *d = find(media_type);
    int r;

    if (!d)
        return 0;
    if (content.len > SYNTAX_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "%zu bytes, more than the %d that are checked",
                       content.len, SYNTAX_BYTES_MAX);
    if (!content.data)
        content = STR("");
    if (d->decodes)
        return d->check(content, err);
    r = text_decode(content, charset_of(media_type), &text, err);
    return r ? r : d->check(text.data ? buf_str(&text) : content, err);
}
