/*
 * Names with dots to objects within objects. See values.h.
 */
#include "template/values.h"

#include "base/map.h"

#include <jansson.h>

struct building {
    json_t *root;
    struct map names; /* of the items so far -> the item */
    struct err *err;
};

static int conflict(const struct building *b, struct str one, struct str other)
{
    (void)err_set(b->err, ERR_CONFLICT, "the items \"%.*s\" and \"%.*s\" are values of one key",
                  STR_ARG(one), STR_ARG(other));
    err_hint(b->err, "leave one of them out of what the template is given");
    return ERR_CONFLICT;
}

/* The object below this one, made if it is not there. */
static json_t *child(json_t *object, struct str part)
{
    json_t *c = json_object_getn(object, part.data, part.len);

    if (c)
        return c;
    c = json_object();
    return json_object_setn_new(object, part.data, part.len, c) ? NULL : c;
}

/* The value under its name. Takes it over. */
static int put(struct building *b, const struct template_item *item, json_t *value)
{
    struct str rest = item->name, part;
    json_t *at = b->root;

    while (str_next(&rest, '.', &part)) {
        struct str upto =
            str_part(item->name, 0, (size_t)(part.data - item->name.data) + part.len);
        const struct template_item *other = map_get(&b->names, upto);

        if (part.len == 0 || other) {
            json_decref(value);
            return other ? conflict(b, other->name, item->name)
                         : err_set(b->err, ERR_INVALID,
                                   "the name \"%.*s\" is no key: a part of it is empty",
                                   STR_ARG(item->name));
        }
        if (!rest.data) /* the last part */
            break;
        at = child(at, part);
        if (!at) {
            json_decref(value);
            return ERR_NOMEM;
        }
    }
    if (json_object_getn(at, part.data, part.len)) { /* made by longer names */
        json_decref(value);
        return err_set(b->err, ERR_CONFLICT,
                       "the item \"%.*s\" and items whose names begin with \"%.*s.\" are "
                       "values of one key",
                       STR_ARG(item->name), STR_ARG(item->name));
    }
    return json_object_setn_new(at, part.data, part.len, value) ? ERR_NOMEM : 0;
}

static int add(struct building *b, const struct template_item *item)
{
    struct value *value;
    int r = value_parse(item->content, &value, b->err);

    if (r) {
        err_place(b->err, "%.*s", STR_ARG(item->name));
        return r;
    }
    r = put(b, item, (json_t *)(void *)value);
    if (!r && !map_put(&b->names, item->name, (void *)(uintptr_t)item, NULL))
        r = ERR_NOMEM;
    return r;
}

int template_values(const struct template_item *items, size_t n, struct value **ret_values,
                    struct err *err)
{
    struct building b = {.root = json_object(), .err = err};
    int r = b.root ? 0 : ERR_NOMEM;

    for (size_t i = 0; !r && i < n; i++)
        r = add(&b, &items[i]);
    map_deinit(&b.names);
    if (r == ERR_NOMEM)
        (void)err_set(err, r, "out of memory");
    if (r)
        json_decref(b.root);
    else
        *ret_values = (struct value *)(void *)b.root;
    return r;
}
