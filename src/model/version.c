/*
 * Versions and metadata: making, comparing, hashing. See version.h.
 */
#include "model/version.h"

#include "base/alloc.h"

#include <stdlib.h>

const struct meta meta_none;

/* ---- metadata ---- */

static int pair_cmp(const void *a, const void *b)
{
    const struct pair *pa = a, *pb = b;

    return str_cmp(pa->key, pb->key);
}

static size_t pairs_bytes(const struct pair *pairs, size_t n)
{
    size_t bytes = 0;

    for (size_t i = 0; i < n; i++)
        bytes = size_add(bytes, size_add(pairs[i].key.len, pairs[i].value.len));
    return bytes;
}

static void keep_pairs(char **at, struct pair *to, const struct pair *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (struct pair){str_keep(at, from[i].key), str_keep(at, from[i].value)};
    if (n)
        qsort(to, n, sizeof(*to), pair_cmp);
}

struct meta *meta_new(const struct meta *m)
{
    size_t n_pairs = m->n_labels + m->n_annotations;
    size_t bytes = sizeof(*m) + n_pairs * sizeof(struct pair) +
                   m->n_depends_on * sizeof(struct str) + m->description.len + m->owner.len;
    struct meta *copy;
    char *at;

    bytes = size_add(bytes, pairs_bytes(m->labels, m->n_labels));
    bytes = size_add(bytes, pairs_bytes(m->annotations, m->n_annotations));
    for (size_t i = 0; i < m->n_depends_on; i++)
        bytes = size_add(bytes, m->depends_on[i].len);
    copy = mem_alloc(bytes);
    if (!copy)
        return NULL;
    *copy = *m;
    copy->labels = (struct pair *)(void *)(copy + 1);
    copy->annotations = copy->labels + m->n_labels;
    copy->depends_on = (struct str *)(void *)(copy->annotations + m->n_annotations);
    at = (char *)(copy->depends_on + m->n_depends_on);
    keep_pairs(&at, copy->labels, m->labels, m->n_labels);
    keep_pairs(&at, copy->annotations, m->annotations, m->n_annotations);
    for (size_t i = 0; i < m->n_depends_on; i++)
        copy->depends_on[i] = str_keep(&at, m->depends_on[i]);
    copy->description = str_keep(&at, m->description);
    copy->owner = str_keep(&at, m->owner);
    return copy;
}

static bool pairs_have(const struct pair *pairs, size_t n, const struct pair *p)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(pairs[i].key, p->key))
            return str_eq(pairs[i].value, p->value);
    return false;
}

/* In any order: a request gives its pairs as it likes, a version keeps them sorted. Keys are different, and few. */
static bool pairs_eq(const struct pair *a, size_t n_a, const struct pair *b, size_t n_b)
{
    if (n_a != n_b)
        return false;
    for (size_t i = 0; i < n_a; i++)
        if (!pairs_have(b, n_b, &a[i]))
            return false;
    return true;
}

bool meta_eq(const struct meta *a, const struct meta *b)
{
    a = a ? a : &meta_none;
    b = b ? b : &meta_none;
    if (!pairs_eq(a->labels, a->n_labels, b->labels, b->n_labels) ||
        !pairs_eq(a->annotations, a->n_annotations, b->annotations, b->n_annotations) ||
        a->n_depends_on != b->n_depends_on)
        return false;
    for (size_t i = 0; i < a->n_depends_on; i++)
        if (!str_eq(a->depends_on[i], b->depends_on[i]))
            return false;
    return str_eq(a->description, b->description) && str_eq(a->owner, b->owner) &&
           a->is_protected == b->is_protected && a->is_exclusive == b->is_exclusive;
}

static int text_check(struct str s, size_t max, const char *what, struct err *err)
{
    if (s.len > max)
        return err_set(err, ERR_LIMIT, "%s is longer than %zu bytes", what, max);
    if (!str_is_utf8(s))
        return err_set(err, ERR_INVALID, "%s is not UTF-8", what);
    return 0;
}

static int pairs_check(const struct pair *pairs, size_t n, const char *what, struct err *err)
{
    int r;

    if (n > META_PAIRS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d %ss", META_PAIRS_MAX, what);
    for (size_t i = 0; i < n; i++) {
        if (pairs[i].key.len == 0)
            return err_set(err, ERR_INVALID, "%s with an empty key", what);
        r = text_check(pairs[i].key, META_KEY_BYTES_MAX, what, err);
        if (!r)
            r = text_check(pairs[i].value, META_VALUE_BYTES_MAX, what, err);
        if (r)
            return r;
        for (size_t j = 0; j < i; j++)
            if (str_eq(pairs[i].key, pairs[j].key))
                return err_set(err, ERR_INVALID, "%s \"%.*s\" is given twice", what,
                               STR_ARG(pairs[i].key));
    }
    return 0;
}

int meta_check(const struct meta *m, struct err *err)
{
    int r = pairs_check(m->labels, m->n_labels, "label", err);

    if (!r)
        r = pairs_check(m->annotations, m->n_annotations, "annotation", err);
    if (!r)
        r = text_check(m->description, META_VALUE_BYTES_MAX, "description", err);
    if (!r)
        r = text_check(m->owner, META_VALUE_BYTES_MAX, "owner", err);
    if (!r && m->n_depends_on > META_REFS_MAX)
        r = err_set(err, ERR_LIMIT, "more than %d references", META_REFS_MAX);
    return r;
}

/* ---- references ---- */

static int key_cmp(const void *a, const void *b)
{
    const struct str *sa = a, *sb = b;

    return str_cmp(*sa, *sb);
}

size_t references_size(const struct str *keys, size_t n)
{
    size_t bytes = size_add(sizeof(struct references), n * sizeof(struct str));

    for (size_t i = 0; i < n; i++)
        bytes = size_add(bytes, keys[i].len);
    return bytes;
}

void references_init(struct references *refs, const struct str *keys, size_t n)
{
    char *at = (char *)(refs->at + n);

    for (size_t i = 0; i < n; i++)
        refs->at[i] = str_keep(&at, keys[i]);
    if (n)
        qsort(refs->at, n, sizeof(*refs->at), key_cmp);
    refs->n = 0;
    for (size_t i = 0; i < n; i++)
        if (i == 0 || !str_eq(refs->at[i], refs->at[refs->n - 1]))
            refs->at[refs->n++] = refs->at[i];
}

/* ---- hashes ---- */

enum { HASH_PARTS_MAX = 2 * (4 + 2 * META_PAIRS_MAX * 2 + REFERENCES_MAX) + 8 };

/* The parts of a hash: every text with its length in front. */
struct parts {
    struct str at[HASH_PARTS_MAX];
    unsigned char numbers[HASH_PARTS_MAX][8];
    size_t n;
};

static void add_number(struct parts *p, uint64_t value)
{
    unsigned char *at = p->numbers[p->n];

    for (int i = 0; i < 8; i++)
        at[i] = (unsigned char)(value >> (56 - 8 * i));
    p->at[p->n++] = str_of(at, 8);
}

static void add_text(struct parts *p, struct str s)
{
    add_number(p, s.len);
    p->at[p->n++] = s;
}

static void add_pairs(struct parts *p, const struct pair *pairs, size_t n)
{
    add_number(p, n);
    for (size_t i = 0; i < n; i++) {
        add_text(p, pairs[i].key);
        add_text(p, pairs[i].value);
    }
}

/* The ids are written first and sliced afterwards, since the buffer moves while it grows. */
static int add_references(struct parts *p, const struct references *refs, struct buf *ids)
{
    size_t n = refs ? refs->n : 0, at = 0;

    for (size_t i = 0; i < n; i++)
        key_put_id(refs->at[i], ids);
    if (buf_status(ids))
        return buf_status(ids);
    add_number(p, n);
    for (size_t i = 0; i < n; i++) { /* an id is as long as its key */
        add_text(p, str_part(buf_str(ids), at, at + refs->at[i].len));
        at += refs->at[i].len;
    }
    return 0;
}

int item_hash(const struct version_opts *o, const struct sha256 *content,
              struct sha256 *ret_hash)
{
    owned(buf) struct buf id = BUF_NULL(ID_BYTES_MAX);
    owned(buf) struct buf ids = BUF_NULL((size_t)REFERENCES_MAX * ID_BYTES_MAX);
    const struct meta *m = o->meta ? o->meta : &meta_none;
    struct parts parts = {.n = 0};

    key_put_id(o->key, &id);
    if (buf_status(&id))
        return buf_status(&id);
    add_text(&parts, STR("trimtab item 1"));
    add_text(&parts, buf_str(&id));
    add_text(&parts, o->content_type);
    add_text(&parts, str_of(content->bytes, SHA256_BYTES));
    add_pairs(&parts, m->labels, m->n_labels);
    add_pairs(&parts, m->annotations, m->n_annotations);
    if (add_references(&parts, o->references, &ids))
        return buf_status(&ids);
    *ret_hash = sha256_of_parts(parts.at, parts.n);
    return 0;
}

struct digest binding_digest(struct str scope, const struct sha256 *item)
{
    static const struct str label = STR("trimtab binding 1");
    unsigned char label_len[8] = {0}, scope_len[8] = {0};
    struct str parts[] = {str_of(label_len, 8), label, str_of(scope_len, 8), scope,
                          str_of(item->bytes, SHA256_BYTES)};
    struct sha256 hash;

    label_len[7] = (unsigned char)label.len;
    for (int i = 0; i < 8; i++)
        scope_len[i] = (unsigned char)((uint64_t)scope.len >> (56 - 8 * i));
    hash = sha256_of_parts(parts, ARRAY_LEN(parts));
    return digest_from_sha256(&hash);
}

/* ---- versions ---- */

const char *type_origin_name(enum type_origin o)
{
    return o == TYPE_DECLARED ? "declared" : "guessed";
}

/* Metadata is sorted before it is hashed, so that equal metadata has equal hashes. */
static int describe(struct version *v, const struct version_opts *o)
{
    struct version_opts sorted = *o;

    if (o->meta && !meta_eq(o->meta, NULL)) {
        v->meta = meta_new(o->meta);
        if (!v->meta)
            return ERR_NOMEM;
    }
    if (o->references && o->references->n) {
        v->references = mem_alloc(references_size(o->references->at, o->references->n));
        if (!v->references)
            return ERR_NOMEM;
        references_init(v->references, o->references->at, o->references->n);
    }
    sorted.meta = v->meta;
    sorted.references = v->references;
    v->content_hash = o->content_hash ? *o->content_hash : sha256_of(o->content);
    return item_hash(&sorted, &v->content_hash, &v->item_hash);
}

static void version_release(struct tree_item *item)
{
    struct version *v = version_of(item);

    (void)shared_unref(v->wire);
    (void)mem_free(v->references);
    (void)mem_free(v->meta);
    (void)mem_free(v);
}

struct version *version_new(const struct version_opts *o)
{
    size_t texts = size_add(o->key.len, size_add(o->content_type.len, o->type_against.len));
    struct version *v = mem_alloc(size_add(sizeof(*v), texts));
    char *at;

    if (!v)
        return NULL;
    memset(v, 0, sizeof(*v));
    atomic_init(&v->refs, 1);
    v->release = version_release;
    at = v->text;
    v->key = str_keep(&at, o->key);
    v->content_type = str_keep(&at, o->content_type);
    v->type_against = str_keep(&at, o->type_against);
    v->type_origin = o->type_origin;
    v->deleted = o->deleted;
    v->number = o->number;
    v->revision = o->revision;
    v->previous_revision = o->previous_revision;
    v->time_ms = o->time_ms;
    if (!o->deleted && describe(v, o))
        return version_unref(v);
    v->wire = shared_ref(o->wire);
    v->content = o->content;
    v->item = o->item;
    return v;
}

struct version *version_without_content(const struct version *v)
{
    return version_new(&(struct version_opts){.key = v->key,
                                              .content_type = v->content_type,
                                              .type_against = v->type_against,
                                              .type_origin = v->type_origin,
                                              .meta = v->meta,
                                              .references = v->references,
                                              .content_hash = &v->content_hash,
                                              .deleted = v->deleted,
                                              .number = v->number,
                                              .revision = v->revision,
                                              .previous_revision = v->previous_revision,
                                              .time_ms = v->time_ms});
}

struct version *version_ref(struct version *v)
{
    if (v)
        tree_item_ref(&v->node);
    return v;
}

struct version *version_unref(struct version *v)
{
    if (v)
        tree_item_unref(&v->node);
    return NULL;
}
