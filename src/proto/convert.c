/*
 * Between the model and the wire. See convert.h.
 */
#include "proto/convert.h"

#include "proto/wire.h"

/* ---- packing ---- */

static void *proto_alloc(void *ctx, size_t size)
{
    (void)ctx;
    return mem_alloc(size);
}

static void proto_free(void *ctx, void *p)
{
    (void)ctx;
    (void)mem_free(p);
}

ProtobufCAllocator proto_allocator = {proto_alloc, proto_free, NULL};

ProtobufCBinaryData proto_bytes(struct str s)
{
    union { /* protobuf-c has no const; packing only reads */
        const char *in;
        uint8_t *out;
    } bytes = {.in = s.data};

    return (ProtobufCBinaryData){s.len, bytes.out};
}

struct shared *proto_pack(const ProtobufCMessage *m, size_t front)
{
    struct shared *s = shared_new(size_add(front, protobuf_c_message_get_packed_size(m)));

    if (s)
        (void)protobuf_c_message_pack(m, (uint8_t *)s->data + front); /* its length is known */
    return s;
}

struct shared *proto_pack_framed(const ProtobufCMessage *m)
{
    struct shared *packed = proto_pack(m, GRPC_PREFIX_BYTES);

    if (packed)
        (void)wire_put_grpc_prefix(packed->data, packed->len - GRPC_PREFIX_BYTES);
    return packed;
}

/* ---- metadata ---- */

/* The two map entry types have one layout; protobuf-c names them apart. */
static Trimtab__V1__Metadata__LabelsEntry **labels_to_proto(const struct pair *pairs, size_t n,
                                                            struct arena *a)
{
    Trimtab__V1__Metadata__LabelsEntry **list =
        ARENA_ARRAY(a, Trimtab__V1__Metadata__LabelsEntry *, n);

    for (size_t i = 0; list && i < n; i++) {
        list[i] = ARENA_NEW(a, Trimtab__V1__Metadata__LabelsEntry);
        if (!list[i])
            return NULL;
        trimtab__v1__metadata__labels_entry__init(list[i]);
        list[i]->key = arena_c(a, pairs[i].key);
        list[i]->value = arena_c(a, pairs[i].value);
    }
    return list;
}

static Trimtab__V1__Metadata__AnnotationsEntry **annotations_to_proto(const struct pair *pairs,
                                                                      size_t n, struct arena *a)
{
    Trimtab__V1__Metadata__AnnotationsEntry **list =
        ARENA_ARRAY(a, Trimtab__V1__Metadata__AnnotationsEntry *, n);

    for (size_t i = 0; list && i < n; i++) {
        list[i] = ARENA_NEW(a, Trimtab__V1__Metadata__AnnotationsEntry);
        if (!list[i])
            return NULL;
        trimtab__v1__metadata__annotations_entry__init(list[i]);
        list[i]->key = arena_c(a, pairs[i].key);
        list[i]->value = arena_c(a, pairs[i].value);
    }
    return list;
}

struct str *texts_from_proto(char *const *texts, size_t n, struct arena *a)
{
    struct str *list = ARENA_ARRAY(a, struct str, n);

    for (size_t i = 0; list && i < n; i++)
        list[i] = str_c(texts[i]);
    return list;
}

char **texts_to_proto(const struct str *texts, size_t n, struct arena *a)
{
    char **list = ARENA_ARRAY(a, char *, n);

    for (size_t i = 0; list && i < n; i++)
        list[i] = arena_c(a, texts[i]);
    return list;
}

Trimtab__V1__Metadata *meta_to_proto(const struct meta *m, enum meta_part part, struct arena *a)
{
    Trimtab__V1__Metadata *p;

    if (!m || meta_eq(m, NULL))
        return NULL;
    p = ARENA_NEW(a, Trimtab__V1__Metadata);
    if (!p)
        return NULL;
    trimtab__v1__metadata__init(p);
    p->n_labels = m->n_labels;
    p->labels = labels_to_proto(m->labels, m->n_labels, a);
    p->n_annotations = m->n_annotations;
    p->annotations = annotations_to_proto(m->annotations, m->n_annotations, a);
    if (part == META_ALL) {
        p->n_depends_on = m->n_depends_on;
        p->depends_on = texts_to_proto(m->depends_on, m->n_depends_on, a);
        p->description = arena_c(a, m->description);
        p->owner = arena_c(a, m->owner);
        p->protected_ = m->is_protected;
        p->exclusive = m->is_exclusive;
    }
    return arena_failed(a) ? NULL : p;
}

struct meta meta_from_proto(const Trimtab__V1__Metadata *p, struct arena *a)
{
    struct meta m = meta_none;

    if (!p)
        return m;
    m.labels = ARENA_ARRAY(a, struct pair, p->n_labels);
    m.annotations = ARENA_ARRAY(a, struct pair, p->n_annotations);
    m.depends_on = ARENA_ARRAY(a, struct str, p->n_depends_on);
    if (arena_failed(a))
        return meta_none;
    for (size_t i = 0; i < p->n_labels; i++)
        m.labels[i] = (struct pair){str_c(p->labels[i]->key), str_c(p->labels[i]->value)};
    for (size_t i = 0; i < p->n_annotations; i++)
        m.annotations[i] =
            (struct pair){str_c(p->annotations[i]->key), str_c(p->annotations[i]->value)};
    for (size_t i = 0; i < p->n_depends_on; i++)
        m.depends_on[i] = str_c(p->depends_on[i]);
    m.n_labels = p->n_labels;
    m.n_annotations = p->n_annotations;
    m.n_depends_on = p->n_depends_on;
    m.description = str_c(p->description);
    m.owner = str_c(p->owner);
    m.is_protected = p->protected_;
    m.is_exclusive = p->exclusive;
    return m;
}

/* ---- references ---- */

char **references_to_proto(const struct references *refs, size_t *ret_n, struct arena *a)
{
    char **list = refs ? ARENA_ARRAY(a, char *, refs->n) : NULL;

    *ret_n = 0;
    for (size_t i = 0; list && i < refs->n; i++) {
        owned(buf) struct buf id = BUF_NULL(ID_BYTES_MAX);

        key_put_id(refs->at[i], &id);
        if (buf_status(&id))
            a->failed = true;
        list[i] = arena_c(a, buf_str(&id));
        *ret_n = i + 1;
    }
    return list;
}

int references_from_proto(char *const *ids, size_t n, struct arena *a, struct references **ret,
                          struct err *err)
{
    struct str *keys;

    *ret = NULL;
    if (n == 0)
        return 0;
    if (n > REFERENCES_MAX)
        return err_set(err, ERR_INVALID, "more than %d references", REFERENCES_MAX);
    keys = ARENA_ARRAY(a, struct str, n);
    for (size_t i = 0; keys && i < n; i++) {
        owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
        struct name name;
        int r = name_parse(str_c(ids[i]), &name, err);

        if (r)
            return r;
        name_put_key(name, &key);
        if (buf_status(&key))
            return ERR_NOMEM;
        keys[i] = arena_str(a, buf_str(&key));
    }
    if (!arena_failed(a))
        *ret = arena_alloc(a, references_size(keys, n));
    if (!*ret)
        return ERR_NOMEM;
    references_init(*ret, keys, n);
    return 0;
}

/* ---- items ---- */

enum { FIELD_CHANGES_PUT = 2, FIELD_ITEM_CONTENT = 15 };

/* The Item without its content, on the arena. */
static int item_head(const struct version_opts *o, const struct sha256 *hash, struct arena *a,
                     Trimtab__V1__Item *item)
{
    owned(buf) struct buf id = BUF_NULL(ID_BYTES_MAX);

    key_put_id(o->key, &id);
    trimtab__v1__item__init(item);
    item->id = arena_c(a, buf_str(&id));
    item->version = o->number;
    item->revision = o->revision;
    item->content_type = arena_c(a, o->content_type);
    item->metadata = meta_to_proto(o->meta, META_DELIVERED, a);
    item->size = o->content.len;
    item->content_hash = proto_bytes(str_of(hash->bytes, SHA256_BYTES));
    item->in_parts = o->content.len > ITEM_INLINE_MAX;
    item->references = references_to_proto(o->references, &item->n_references, a);
    return arena_failed(a) || buf_status(&id) ? ERR_NOMEM : 0;
}

/*
 * Lays out one put:  tag | length | Item without content | content tag | content length | content
 * or, in parts:      tag | length | Item without content      and the content behind, not part of the put.
 */
static struct shared *lay_out(const Trimtab__V1__Item *item, struct str content,
                              struct version_opts *o)
{
    size_t head = trimtab__v1__item__get_packed_size(item);
    bool has_field = !item->in_parts && content.len > 0;
    size_t body = head + (has_field ? wire_field_len(content.len) : 0);
    size_t put = wire_field_len(body);
    struct shared *wire = shared_new(put + (item->in_parts ? content.len : 0));
    char *at;

    if (!wire)
        return NULL;
    at = wire_put_head(wire->data, FIELD_CHANGES_PUT, body);
    at += trimtab__v1__item__pack(item, (uint8_t *)at);
    if (has_field)
        at = wire_put_head(at, FIELD_ITEM_CONTENT, content.len);
    (void)wire_put_bytes(at, content);
    o->content = str_of(at, content.len);
    o->item = str_of(wire->data, put);
    return wire;
}

struct version *version_with_wire(const struct version_opts *given)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct version_opts o = *given;
    struct sha256 hash;
    Trimtab__V1__Item item;
    struct version *v;

    o.wire = NULL;
    if (o.deleted)
        return version_new(&o);
    hash = o.content_hash ? *o.content_hash : sha256_of(o.content);
    o.content_hash = &hash;
    if (item_head(&o, &hash, &a, &item))
        return NULL;
    o.wire = lay_out(&item, o.content, &o);
    if (!o.wire)
        return NULL;
    v = version_new(&o);
    (void)shared_unref(o.wire);
    return v;
}

int item_from_proto(const Trimtab__V1__Item *item, struct str content, struct arena *a,
                    struct version_opts *ret_opts, struct err *err)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    struct references *refs;
    struct name name;
    int r = name_parse(str_c(item->id), &name, err);

    if (!r)
        r = references_from_proto(item->references, item->n_references, a, &refs, err);
    if (r)
        return r;
    if (item->size != content.len)
        return err_set(err, ERR_INVALID, "content of %s has %zu bytes instead of %llu",
                       item->id, content.len, (unsigned long long)item->size);
    name_put_key(name, &key);
    *ret_opts = (struct version_opts){
        .key = arena_str(a, buf_str(&key)),
        .content_type = str_c(item->content_type),
        .content = content,
        .references = refs,
        .number = item->version,
        .revision = item->revision,
    };
    if (item->metadata) {
        struct meta *m = ARENA_NEW(a, struct meta);

        if (m)
            *m = meta_from_proto(item->metadata, a);
        ret_opts->meta = m;
    }
    return arena_failed(a) || buf_status(&key) ? ERR_NOMEM : 0;
}

/* ---- subscriptions ---- */

static struct selector *selectors_from_proto(Trimtab__V1__Selector *const *selectors, size_t n,
                                             struct arena *a)
{
    struct selector *list = ARENA_ARRAY(a, struct selector, n);

    for (size_t i = 0; list && i < n; i++)
        list[i] = (struct selector){
            .kinds = texts_from_proto(selectors[i]->kinds, selectors[i]->n_kinds, a),
            .n_kinds = selectors[i]->n_kinds,
            .names = texts_from_proto(selectors[i]->names, selectors[i]->n_names, a),
            .n_names = selectors[i]->n_names,
        };
    return list;
}

static int layers_from_proto(const Trimtab__V1__Scope *p, const struct pair *labels,
                             size_t n_labels, struct arena *a, struct scope *scope,
                             struct err *err)
{
    scope->layers = ARENA_ARRAY(a, struct str, p->n_namespaces);
    scope->n_layers = p->n_namespaces;
    for (size_t i = 0; scope->layers && i < p->n_namespaces; i++) {
        owned(buf) struct buf layer = BUF_NULL(NAMESPACE_BYTES_MAX);
        int r = layer_expand(str_c(p->namespaces[i]), labels, n_labels, &layer, err);

        if (r)
            return r;
        scope->layers[i] = arena_str(a, buf_str(&layer));
    }
    return arena_failed(a) ? ERR_NOMEM : 0;
}

int scopes_from_proto(Trimtab__V1__Scope *const *scopes, size_t n,
                      const Trimtab__V1__Instance *instance, struct arena *a,
                      struct scope **ret_scopes, struct err *err)
{
    size_t n_labels = instance ? instance->n_labels : 0;
    struct pair *labels = ARENA_ARRAY(a, struct pair, n_labels);
    struct scope *list = ARENA_ARRAY(a, struct scope, n);
    int r = 0;

    if (arena_failed(a))
        return ERR_NOMEM;
    for (size_t i = 0; i < n_labels; i++)
        labels[i] =
            (struct pair){str_c(instance->labels[i]->key), str_c(instance->labels[i]->value)};
    for (size_t i = 0; i < n && !r; i++) {
        list[i].name = str_c(scopes[i]->name);
        list[i].selectors =
            selectors_from_proto(scopes[i]->selectors, scopes[i]->n_selectors, a);
        list[i].n_selectors = scopes[i]->n_selectors;
        r = layers_from_proto(scopes[i], labels, n_labels, a, &list[i], err);
    }
    if (!r && arena_failed(a))
        r = ERR_NOMEM;
    if (!r)
        r = scopes_check(list, n, err);
    if (!r)
        *ret_scopes = list;
    return r;
}
