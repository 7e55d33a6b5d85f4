/*
 * The values of a template from several resources: their names are its keys, a dot in them leads into an object. So
 * {{pool.max}} is the item `pool.max`, or the member `max` of the item `pool`; both at once are refused.
 */
#ifndef TRIMTAB_TEMPLATE_VALUES_H
#define TRIMTAB_TEMPLATE_VALUES_H

#include "base/err.h"
#include "codec/value.h"

struct template_item {
    struct str name;
    struct str content; /* one JSON value */
};

/*
 * One object of all; the caller frees it by value_free. ERR_CONFLICT names both items, ERR_INVALID the one whose content or name
 * is no value or key; ERR_NOMEM.
 */
must_use int template_values(const struct template_item *items, size_t n,
                             struct value **ret_values, struct err *err);

#endif
