/*
 * Names: namespace/kind/name, how they are written, and how they are ordered.
 *
 *   shop/prod/item/pool.max          namespace shop/prod, kind item, name pool.max
 *   web/edge/file/conf.d/tuning.conf namespace web/edge, kind file, name conf.d/tuning.conf
 *
 * A namespace has 1 to 8 segments of a-z 0-9 . _ - (first a letter or digit, 63 bytes at most). A kind is one
 * such segment that starts with a letter. A name is UTF-8 without control characters, backslash, '*' and
 * outer spaces, 253 bytes at most. Only names of kind `file` may hold '/', which stands for folders; so that an
 * id can be read without knowing anything else, no namespace may have a segment called "file".
 *
 * The key of a resource is namespace NUL kind NUL name: its byte order keeps one namespace together, whatever
 * other namespaces start with the same letters.
 */
#ifndef TRIMTAB_MODEL_NAME_H
#define TRIMTAB_MODEL_NAME_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum {
    NAMESPACE_SEGMENTS_MAX = 8,
    SEGMENT_BYTES_MAX = 63,
    NAME_BYTES_MAX = 253,
    NAMESPACE_BYTES_MAX = NAMESPACE_SEGMENTS_MAX * (SEGMENT_BYTES_MAX + 1),
    ID_BYTES_MAX = NAMESPACE_BYTES_MAX + SEGMENT_BYTES_MAX + 1 + NAME_BYTES_MAX,
};

/* Slices of the text that was parsed. */
struct name {
    struct str space, kind, name;
};

/* Reads an id; ERR_INVALID with the story when it breaks a rule. */
must_use int name_parse(struct str id, struct name *ret_name, struct err *err);

/* The rules one by one; each returns 0 or ERR_INVALID. */
must_use int namespace_check(struct str space, struct err *err);
must_use int kind_check(struct str kind, struct err *err);
must_use int name_check(struct str kind, struct str name, struct err *err);

/* namespace NUL kind NUL name, and the id of a key. Failure is remembered by the buffer. */
void name_put_key(struct name n, struct buf *out);
void key_put_id(struct str key, struct buf *out);

/* The parts of a key. key must be well-formed (ours). */
struct name key_name(struct str key);
/* Whether text is the id of a key, or the kind/name of it. */
bool key_is_named(struct str key, struct str text);

#endif
