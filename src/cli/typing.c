/*
 * Content types of files. See typing.h.
 */
#include "cli/typing.h"

#include "codec/syntax.h"
#include "model/name.h"

/* ---- flags ---- */

/* Cuts "PATTERN=TYPE" in two; a type alone has the pattern that fits everything. A pattern may have '=' in it, too. */
static bool parse_flag(struct str flag, struct str *pattern, struct str *type)
{
    *pattern = STR("*");
    *type = flag;
    if (media_type_check(flag, NULL) == 0)
        return true;
    for (size_t i = 1; i < flag.len; i++)
        if (flag.data[i] == '=' && media_type_check(str_from(flag, i + 1), NULL) == 0) {
            *pattern = str_part(flag, 0, i);
            *type = str_from(flag, i + 1);
            return true;
        }
    return false;
}

int typing_check(const struct typing *t, struct err *err)
{
    struct str pattern, type;

    for (size_t i = 0; i < t->types.n; i++) {
        if (parse_flag(str_c(t->types.at[i]), &pattern, &type))
            continue;
        (void)err_set(err, ERR_INVALID, "--type %s is neither a content type nor PATTERN=TYPE",
                      t->types.at[i]);
        err_hint(err, "--type text/plain, --type '*.conf=text/x-ini'; docs/content-types.md "
                      "lists what is checked");
        return ERR_INVALID;
    }
    return 0;
}

/* ---- the file of a folder ---- */

static int refuse(struct err *err, const char *path, const char *what, const char *which)
{
    (void)err_set(err, ERR_INVALID, "%s: %s", which, what);
    err_place(err, "%s", path);
    err_hint(err, "{\"types\": {\"*.yaml\": \"text/plain\"}}");
    return ERR_INVALID;
}

static int check_types(json_t *file, const char *path, struct err *err)
{
    json_t *types = json_object_get(file, "types"), *value;
    const char *key;

    json_object_foreach(file, key, value) if (strcmp(key, "types") != 0) return refuse(
        err, path, "not known here", key);
    if (types && !json_is_object(types))
        return refuse(err, path, "not an object", "types");
    json_object_foreach(
        types, key,
        value) if (!json_is_string(value) ||
                   media_type_check(str_c(json_string_value(value)),
                                    NULL)) return refuse(err, path, "has no content type", key);
    return 0;
}

int typing_read(struct str content, const char *path, json_t **ret_types, struct err *err)
{
    json_error_t fault;
    json_t *file = json_loadb(content.data, content.len, JSON_REJECT_DUPLICATES, &fault);
    int r;

    *ret_types = NULL;
    if (!file) {
        r = refuse(err, path, fault.text, "not JSON");
        err_at(err, (uint32_t)MAX(fault.line, 1), (uint32_t)MAX(fault.column, 1));
        return r;
    }
    if (json_is_array(file))
        r = refuse(err, path, "trimtab import takes it", "this is what export wrote");
    else if (!json_is_object(file))
        r = refuse(err, path, "not an object", "the file");
    else
        r = check_types(file, path, err);
    if (!r)
        *ret_types = json_incref(json_object_get(file, "types"));
    json_decref(file);
    return r;
}

/* ---- both ---- */

/* The whole name, or what is behind its last '/'. */
static bool fits(struct str pattern, struct str name)
{
    size_t base = name.len;

    while (base && name.data[base - 1] != '/')
        base--;
    return str_glob(pattern, name) || str_glob(pattern, str_from(name, base));
}

static struct str type_of_folder(json_t *types, struct str name)
{
    struct str found = STR_NULL;
    size_t longest = 0;
    const char *key;
    json_t *value;

    json_object_foreach(types, key, value) if (strlen(key) >= longest && fits(str_c(key), name))
    {
        longest = strlen(key);
        found = str_c(json_string_value(value));
    }
    return found;
}

void typing_apply(struct cli *cli, const struct typing *t, json_t *types,
                  Trimtab__V1__Change *change)
{
    struct str pattern, type, found;
    struct name name;

    if (name_parse(str_c(change->id), &name, NULL))
        return; /* the server refuses it, with the place */
    found = type_of_folder(types, name.name);
    for (size_t i = 0; i < t->types.n; i++)
        if (parse_flag(str_c(t->types.at[i]), &pattern, &type) && fits(pattern, name.name))
            found = type;
    if (found.len)
        change->content_type = arena_c(&cli->arena, found);
    change->as_is = t->as_is;
}
