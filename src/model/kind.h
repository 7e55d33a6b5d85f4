/*
 * Kinds: what type of thing a resource is, and which parts of its content refer to other resources.
 *
 * `file`, `item` and `component` are built in. Others are registered by publishing trimtab/kind/NAME, a JSON object:
 *
 *   {
 *     "description": "where requests go",
 *     "references": [{"field": "/upstream", "kind": "upstream"}, {"field": "/pages", "kind": "page"}],
 *     "schema": {}
 *   }
 *
 * so that a kind has versions, history and an author like anything else. A field is a JSON Pointer in which *
 * stands for every element; what it leads to is a text or an array of texts, each the full id of a resource of that
 * kind, or a name alone, which means the namespace of the resource that refers. A field that is not there refers to
 * nothing. What metadata names in depends_on is referred to as well.
 */
#ifndef TRIMTAB_MODEL_KIND_H
#define TRIMTAB_MODEL_KIND_H

#include "base/arena.h"
#include "codec/value.h"
#include "model/version.h"

/* The namespace of what Trimtab itself is told: kinds, and what else follows. */
#define SYSTEM_SPACE STR("trimtab")
#define KIND_KIND    STR("kind")

enum { KIND_FIELDS_MAX = 64 };

bool kind_is_builtin(struct str kind);
bool space_is_system(struct str space);

struct kind_field {
    struct str pointer, kind;
};

struct kind {
    struct value *definition; /* the fields are slices of it */
    struct kind_field fields[KIND_FIELDS_MAX];
    size_t n_fields;
};

#define KIND_NULL ((struct kind){.definition = NULL})

/* Reads a definition. ERR_INVALID with the place inside it, ERR_LIMIT, ERR_NOMEM. */
must_use int kind_read(struct str content, struct kind *ret_kind, struct err *err);
void kind_deinit(struct kind *k);
static inline void kind_cleanup(struct kind *k)
{
    kind_deinit(k);
}

/* The key of the definition of a kind. */
void kind_put_key(struct str kind, struct buf *out);

/* A resource whose references are asked for. Borrowed. */
struct referrer {
    struct name name;
    struct str content_type, content;
    const struct meta *meta;
};

/*
 * What a resource refers to, by the definition of its kind (NULL: none) and its metadata. *ret is NULL when that is
 * nothing; else it is on the arena. Whether it exists is not asked here. ERR_INVALID with the field, ERR_LIMIT,
 * ERR_NOMEM.
 */
must_use int references_collect(const struct kind *k, const struct referrer *from,
                                struct arena *a, struct references **ret, struct err *err);

#endif
