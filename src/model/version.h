/*
 * Versions: the immutable published content of one resource, and its metadata.
 *
 * A version is made once, before anybody else sees it, and then only counted; any thread may reference and drop
 * it. Its content lies inside `wire`, the bytes that the server sends to subscribers, so that the content is in
 * memory once. A deletion is a version too (deleted, no content): it keeps the numbering of its resource.
 */
#ifndef TRIMTAB_MODEL_VERSION_H
#define TRIMTAB_MODEL_VERSION_H

#include "base/hash.h"
#include "base/shared.h"
#include "model/name.h"
#include "model/tree.h"

struct pair {
    struct str key, value;
};

/* Slices borrowed from whoever filled it; pairs are sorted by key, without repetition, once meta_new made it. */
struct meta {
    struct pair *labels;
    size_t n_labels;
    struct pair *annotations;
    size_t n_annotations;
    struct str *depends_on;
    size_t n_depends_on;
    struct str description, owner;
    bool is_protected, is_exclusive;
};

/* A deep copy in one allocation, sorted; NULL without memory. Freed by mem_free. */
must_use struct meta *meta_new(const struct meta *m);
bool meta_eq(const struct meta *a,
             const struct meta *b); /* NULL equals an empty one; pairs in any order */
/* ERR_INVALID for a repeated key, an empty key, text that is not UTF-8; ERR_LIMIT for sizes. */
must_use int meta_check(const struct meta *m, struct err *err);
extern const struct meta meta_none;

enum {
    META_PAIRS_MAX = 64,
    META_KEY_BYTES_MAX = 128,
    META_VALUE_BYTES_MAX = 4096,
    META_REFS_MAX = 256,
    REFERENCES_MAX = 256, /* of one version, in its metadata and in its content */
};

/* What a version refers to: keys, sorted, each once, in one allocation. */
struct references {
    size_t n;
    struct str at[];
};

/* A copy of n keys, sorted, without repetition, into that many bytes at refs. */
size_t references_size(const struct str *keys, size_t n);
void references_init(struct references *refs, const struct str *keys, size_t n);

/*
 * Whether somebody said what a content is, or its type was guessed. What was stored before this was told counts as guessed.
 */
enum type_origin { TYPE_GUESSED, TYPE_DECLARED };
const char *type_origin_name(enum type_origin o); /* "guessed", "declared" */

struct version {
    union {
        struct tree_item node;
        struct { /* the same, by shorter names */
            _Atomic uint32_t refs;
            bool deleted; /* where the item has a gap */
            void (*release)(struct tree_item *item);
            uint64_t revision; /* of the commit that made it */
            struct str key;    /* namespace NUL kind NUL name, inside text */
        };
    };
    uint64_t number;            /* 1, 2, 3 ... per resource */
    uint64_t previous_revision; /* of the version before, 0 for the first */
    int64_t time_ms;
    struct sha256 content_hash;
    struct sha256 item_hash;       /* what digests are made of */
    struct str content_type; /* inside text; of a deletion: what a file is declared to be */
    struct str type_against; /* inside text: the guess that it was taken against; or empty */
    enum type_origin type_origin;
    struct meta *meta;             /* NULL when there is none */
    struct references *references; /* NULL when there are none */
    struct shared *wire;           /* what is sent; NULL for a deletion */
    struct str item;               /* inside wire: the encoded item */
    struct str content;            /* inside wire */
    char text[];
};

/* What a version is made of. Slices are borrowed, wire is referenced. */
struct version_opts {
    struct str key, content_type, type_against;
    enum type_origin type_origin;
    const struct meta *meta;             /* NULL: none */
    const struct references *references; /* NULL: none */
    struct shared *wire;                 /* holds content; NULL for a deletion */
    struct str content, item;
    const struct sha256 *content_hash; /* NULL: it is computed */
    bool deleted;
    uint64_t number, revision, previous_revision;
    int64_t time_ms;
};

must_use struct version *version_new(const struct version_opts *o); /* NULL without memory */
/* The same version for who needs to know that it was, not what was in it. NULL without memory. */
must_use struct version *version_without_content(const struct version *v);
struct version *version_ref(struct version *v);
struct version *version_unref(struct version *v); /* always NULL; takes NULL */
OWNED_BY(version_unref, struct version *, version_unref);

_Static_assert(offsetof(struct version, release) == offsetof(struct tree_item, release) &&
                   offsetof(struct version, key) == offsetof(struct tree_item, key),
               "a version is an item of a tree");

/* An item of a tree of versions; NULL for NULL. */
static inline struct version *version_of(struct tree_item *item)
{
    return item ? CONTAINER_OF(item, struct version, node) : NULL;
}

static inline bool version_is_live(const struct version *v)
{
    return v && !v->deleted;
}

/*
 * Identity of an item, given the hash of its content: SHA-256 over, each with its length as eight bytes, most
 * significant first, in front: "trimtab item 1", id (with slashes), content type, SHA-256 of the content; then labels, annotations (number of
 * pairs, then key and value of each, in byte order of the keys) and references
 * (number, then the id of each, in byte order of the keys).
 */
must_use int item_hash(const struct version_opts *o, const struct sha256 *content,
                       struct sha256 *ret_hash);

/*
 * The element that a binding adds to a digest: the first 16 bytes of SHA-256 over "trimtab binding 1" and the
 * scope's name, each with its length in front as above, and the 32 bytes of the item's hash.
 */
struct digest binding_digest(struct str scope, const struct sha256 *item);

#endif
