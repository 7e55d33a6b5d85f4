/*
 * Reading a JSON value, or YAML as one: what a kind says of its resources, what they refer to, and who has which rights, is
 * found in it.
 */
#ifndef TRIMTAB_CODEC_VALUE_H
#define TRIMTAB_CODEC_VALUE_H

#include "base/err.h"
#include "base/str.h"

/* A value that was parsed, or a part of one: parts are borrowed and live as long as the whole. */
struct value;

/*
 * Parses content, one JSON value by the rules of codec/json.c, with numbers that fit 64 bits or a double, without NUL and
 * byte order mark. ERR_INVALID with line and column, ERR_LIMIT,
 * ERR_NOMEM. Freed by value_free.
 */
must_use int value_parse(struct str content, struct value **ret_value, struct err *err);
/*
 * The same of YAML: one document without anchors, aliases and tags; plain scalars are typed as in codec/value_yaml.c.
 */
must_use int value_parse_yaml(struct str content, struct value **ret_value, struct err *err);
/* The one or the other: YAML when the media type says so. */
must_use int value_parse_as(struct str media_type, struct str content, struct value **ret_value,
                            struct err *err);
struct value *value_free(struct value *v); /* always NULL; takes NULL */

enum value_type { VALUE_NULL, VALUE_BOOL, VALUE_NUMBER, VALUE_TEXT, VALUE_ARRAY, VALUE_OBJECT };
enum value_type value_type(const struct value *v);
const char *value_type_name(enum value_type t); /* "null", "text", ... */

struct str value_text(const struct value *v); /* of a text; borrowed */
bool value_is_true(const struct value *v);

/* A number as the shortest text that reads as the same number. */
enum { VALUE_NUMBER_MAX = 32 };
struct str value_number(const struct value *v, char out[VALUE_NUMBER_MAX]);

size_t value_count(const struct value *v);                     /* of an array */
const struct value *value_at(const struct value *v, size_t i); /* of an array */
const struct value *value_member(const struct value *v,
                                 const char *name); /* of an object; or NULL */

/* Calls fn for every member of an object, in no order, until it returns something else than 0. */
typedef int value_member_fn(void *ctx, struct str name, const struct value *v);
must_use int value_members(const struct value *v, value_member_fn *fn, void *ctx);

/*
 * A JSON Pointer (RFC 6901), in which the token * stands for every element of an array and every member of an
 * object. 0 or ERR_INVALID.
 */
must_use int pointer_check(struct str pointer, struct err *err);

/*
 * Calls fn for every value that the pointer leads to, until it returns something else than 0, which is returned. Where
 * nothing is, fn is not called. ERR_NOMEM.
 */
typedef int value_fn(void *ctx, const struct value *v);
must_use int value_select(const struct value *v, struct str pointer, value_fn *fn, void *ctx);

#endif
