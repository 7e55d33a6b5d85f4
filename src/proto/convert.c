/*
 * Between the model and the wire. See convert.h.
 */
#include "proto/convert.h"

#include "base/vec.h"
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

static char **texts_to_proto(const struct str *texts, size_t n, struct arena *a)
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

/* ---- the log ---- */

static bool change_to_record(const struct change *c, const struct change_plan *p,
                             Trimtab__V1__RecordChange *out, struct arena *a)
{
    trimtab__v1__record_change__init(out);
    out->id = arena_c(a, c->id);
    out->version = p->number;
    out->previous_revision = p->old ? p->old->revision : 0;
    out->deleted = c->delete;
    if (!c->delete) {
        out->content_type = arena_c(a, p->content_type);
        out->metadata = meta_to_proto(&p->meta, META_ALL, a);
        out->references = references_to_proto(p->references, &out->n_references, a);
        out->size = c->content.len;
        out->content = proto_bytes(c->content);
    }
    return !arena_failed(a);
}

struct shared *record_encode(const struct commit *c, const struct change_plan *plans)
{
    owned(arena) struct arena a = ARENA_NULL;
    Trimtab__V1__Record record = TRIMTAB__V1__RECORD__INIT;
    Trimtab__V1__RecordChange *changes = ARENA_ARRAY(&a, Trimtab__V1__RecordChange, c->n);
    Trimtab__V1__RecordChange **list = ARENA_ARRAY(&a, Trimtab__V1__RecordChange *, c->n);

    if (arena_failed(&a))
        return NULL;
    for (size_t i = 0; i < c->n; i++) {
        if (plans[i].action == CHANGE_UNCHANGED)
            continue;
        if (!change_to_record(&c->changes[i], &plans[i], &changes[i], &a))
            return NULL;
        list[record.n_changes++] = &changes[i];
    }
    record.changes = list;
    record.semantics = STATE_SEMANTICS;
    record.author = arena_c(&a, c->author);
    record.time_ms = c->time_ms;
    record.message = arena_c(&a, c->message);
    record.origin = arena_c(&a, c->origin);
    record.action = arena_c(&a, c->action);
    record.request_id = arena_c(&a, c->request_id);
    return arena_failed(&a) ? NULL : proto_pack(&record.base, 0);
}

Trimtab__V1__Record *record_unpack(struct str bytes, struct err *err)
{
    Trimtab__V1__Record *record =
        trimtab__v1__record__unpack(&proto_allocator, bytes.len, (const uint8_t *)bytes.data);

    if (!record)
        (void)err_set(err, ERR_CORRUPT, "a log record cannot be read");
    return record;
}

struct version *version_from_record(const Trimtab__V1__RecordChange *c, uint64_t revision,
                                    int64_t time_ms)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    owned(arena) struct arena a = ARENA_NULL;
    struct meta meta = meta_from_proto(c->metadata, &a);
    struct references *refs;
    struct name name;

    if (references_from_proto(c->references, c->n_references, &a, &refs, NULL) ||
        name_parse(str_c(c->id), &name, NULL) || arena_failed(&a))
        return NULL;
    name_put_key(name, &key);
    if (buf_status(&key))
        return NULL;
    return version_with_wire(&(struct version_opts){
        .key = buf_str(&key),
        .content_type = str_c(c->content_type),
        .meta = &meta,
        .references = refs,
        .content = proto_str(c->content),
        .deleted = c->deleted,
        .number = c->version,
        .revision = revision,
        .previous_revision = c->previous_revision,
        .time_ms = time_ms,
    });
}

/* The same with its reasons told apart: ERR_CORRUPT for a change without a proper id, ERR_NOMEM. */
static int read_change(const Trimtab__V1__RecordChange *c, uint64_t revision, int64_t time_ms,
                       struct version **ret, struct err *err)
{
    struct name name;

    *ret = NULL;
    if (!c || name_parse(str_c(c->id), &name, NULL))
        return err_set(err, ERR_CORRUPT, "a change has no id that could be one");
    *ret = version_from_record(c, revision, time_ms);
    return *ret ? 0 : ERR_NOMEM;
}

static int decode_changes(const Trimtab__V1__Record *record, uint64_t revision,
                          struct version ***ret_versions, size_t *ret_n, struct err *err)
{
    struct version **versions = NEW_ARRAY(struct version *, record->n_changes);

    if (!versions)
        return ERR_NOMEM;
    for (size_t i = 0; i < record->n_changes; i++) {
        int r = read_change(record->changes[i], revision, record->time_ms, &versions[i], err);

        if (r) {
            while (i-- > 0)
                (void)version_unref(versions[i]);
            (void)mem_free(versions);
            return r;
        }
    }
    *ret_versions = versions;
    *ret_n = record->n_changes;
    return 0;
}

int record_decode(struct str bytes, uint64_t revision, struct version ***ret_versions,
                  size_t *ret_n, struct err *err)
{
    Trimtab__V1__Record *record = record_unpack(bytes, err);
    int r;

    if (!record)
        return ERR_CORRUPT;
    if (record->semantics > STATE_SEMANTICS)
        r = err_set(err, ERR_UNSUPPORTED,
                    "the log was written by a newer version of Trimtab (semantics %u)",
                    record->semantics);
    else
        r = decode_changes(record, revision, ret_versions, ret_n, err);
    trimtab__v1__record__free_unpacked(record, &proto_allocator);
    return r;
}

/* ---- snapshots ---- */

static bool entry_of(const struct version *v, Trimtab__V1__SnapshotEntry *entry,
                     Trimtab__V1__RecordChange *change, struct arena *a)
{
    owned(buf) struct buf id = BUF_NULL(ID_BYTES_MAX);

    key_put_id(v->key, &id);
    trimtab__v1__snapshot_entry__init(entry);
    trimtab__v1__record_change__init(change);
    entry->revision = v->revision;
    entry->time_ms = v->time_ms;
    entry->change = change;
    change->id = arena_c(a, buf_str(&id));
    change->version = v->number;
    change->previous_revision = v->previous_revision;
    change->deleted = v->deleted;
    change->content_type = arena_c(a, v->content_type);
    change->metadata = meta_to_proto(v->meta, META_ALL, a);
    change->references = references_to_proto(v->references, &change->n_references, a);
    change->size = v->content.len;
    change->content = proto_bytes(v->content);
    return !arena_failed(a) && !buf_status(&id);
}

struct shared *snapshot_part(struct tree_walk *w, uint64_t revision, size_t bytes,
                             bool *ret_failed)
{
    owned(arena) struct arena a = ARENA_NULL;
    VEC(Trimtab__V1__SnapshotEntry *) entries = {0};
    Trimtab__V1__SnapshotPart part = TRIMTAB__V1__SNAPSHOT_PART__INIT;
    struct shared *packed = NULL;
    const struct version *v;
    size_t size = 0;

    *ret_failed = false;
    while (size < bytes && !*ret_failed && (v = version_of(tree_walk_next(w)))) {
        Trimtab__V1__SnapshotEntry *entry = ARENA_NEW(&a, Trimtab__V1__SnapshotEntry);
        Trimtab__V1__RecordChange *change = ARENA_NEW(&a, Trimtab__V1__RecordChange);

        *ret_failed =
            !entry || !change || !entry_of(v, entry, change, &a) || !VEC_PUSH(&entries, entry);
        size += v->content.len + v->key.len + 64;
    }
    if (entries.n && !*ret_failed) {
        part.revision = revision;
        part.semantics = STATE_SEMANTICS;
        part.entries = entries.at;
        part.n_entries = entries.n;
        packed = proto_pack(&part.base, 0);
        *ret_failed = !packed;
    }
    VEC_DEINIT(&entries);
    return packed;
}

static int apply_entries(const Trimtab__V1__SnapshotPart *part, struct state **s,
                         struct err *err)
{
    for (size_t i = 0; i < part->n_entries; i++) {
        const Trimtab__V1__SnapshotEntry *e = part->entries[i];
        owned(version_unref) struct version *v = NULL;
        int r = read_change(e->change, e->revision, e->time_ms, &v, err);

        if (!r)
            r = state_load(s, &(struct effect){.versions = &v, .n_versions = 1},
                           part->revision);
        if (r)
            return r;
    }
    return 0;
}

int snapshot_apply(struct str bytes, struct state **s, struct err *err)
{
    Trimtab__V1__SnapshotPart *part = trimtab__v1__snapshot_part__unpack(
        &proto_allocator, bytes.len, (const uint8_t *)bytes.data);
    int r;

    if (!part)
        return err_set(err, ERR_CORRUPT, "a snapshot cannot be read");
    r = part->semantics > STATE_SEMANTICS
            ? err_set(err, ERR_UNSUPPORTED, "the snapshot is from a newer version of Trimtab")
            : apply_entries(part, s, err);
    trimtab__v1__snapshot_part__free_unpacked(part, &proto_allocator);
    return r;
}

/* ---- subscriptions ---- */

static struct str *texts_from_proto(char *const *texts, size_t n, struct arena *a)
{
    struct str *list = ARENA_ARRAY(a, struct str, n);

    for (size_t i = 0; list && i < n; i++)
        list[i] = str_c(texts[i]);
    return list;
}

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
