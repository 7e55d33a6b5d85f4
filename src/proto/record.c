/*
 * Commits as records of the log. See record.h.
 */
#include "proto/record.h"

#include "proto/order.h"
#include "proto/rollout.h"

/* ---- writing ---- */

/* What a record is made in. */
struct encoding {
    const struct commit *c;
    const struct change_plan *plans;
    struct version *const *versions; /* NULL: contents are hashed here */
    struct arena arena;
    struct hashed *contents;
    size_t n_contents;
};

static void put_content(struct encoding *e, const struct change *c, const struct version *v,
                        Trimtab__V1__RecordChange *out)
{
    struct hashed *content = &e->contents[e->n_contents++];

    *content = (struct hashed){v ? v->content_hash : sha256_of(c->content), c->content};
    out->size = c->content.len;
    out->blob = proto_bytes(str_of(content->hash.bytes, SHA256_BYTES));
}

static bool change_to_record(struct encoding *e, size_t i, const struct version *v,
                             Trimtab__V1__RecordChange *out)
{
    const struct change *c = &e->c->changes[i];
    const struct change_plan *p = &e->plans[i];
    struct arena *a = &e->arena;

    trimtab__v1__record_change__init(out);
    out->id = arena_c(a, c->id);
    out->version = p->number;
    out->previous_revision = p->old ? p->old->revision : 0;
    out->previous_version = p->old ? p->old->number : 0;
    out->deleted = c->delete;
    out->type_declared = p->type_origin == TYPE_DECLARED;
    out->content_type = arena_c(a, p->content_type);
    if (!c->delete) {
        out->type_against = arena_c(a, p->type_against);
        out->metadata = meta_to_proto(&p->meta, META_ALL, a);
        out->references = references_to_proto(p->references, &out->n_references, a);
        put_content(e, c, v, out);
    }
    return !arena_failed(a);
}

static bool changes_to_record(struct encoding *e, Trimtab__V1__Record *record)
{
    const struct commit *c = e->c;
    Trimtab__V1__RecordChange *changes =
        ARENA_ARRAY(&e->arena, Trimtab__V1__RecordChange, c->n);

    record->changes = ARENA_ARRAY(&e->arena, Trimtab__V1__RecordChange *, c->n);
    if (arena_failed(&e->arena))
        return false;
    for (size_t i = 0; i < c->n; i++) {
        const struct version *v = e->versions ? e->versions[record->n_changes] : NULL;

        if (e->plans[i].action == CHANGE_UNCHANGED)
            continue;
        if (!change_to_record(e, i, v, &changes[i]))
            return false;
        record->changes[record->n_changes++] = &changes[i];
    }
    return true;
}

static bool moves_to_record(const struct commit *c, Trimtab__V1__Record *record,
                            struct arena *a)
{
    record->moves = ARENA_ARRAY(a, Trimtab__V1__RolloutMove *, c->n_moves);
    for (size_t i = 0; record->moves && i < c->n_moves; i++) {
        record->moves[i] = rollout_move_to_proto(&c->moves[i], a);
        record->n_moves++;
    }
    return !arena_failed(a);
}

Trimtab__V1__Restore *restored_to_proto(const struct restored *r, struct arena *a)
{
    Trimtab__V1__Restore *p = r ? ARENA_NEW(a, Trimtab__V1__Restore) : NULL;

    if (!p)
        return NULL;
    trimtab__v1__restore__init(p);
    p->from_store = proto_bytes(str_of(r->from, STATE_STORE_ID_BYTES));
    p->from_revision = r->from_revision;
    p->acknowledged = r->acknowledged;
    p->deletes_newer = r->deletes_newer;
    p->revision = r->revision;
    return p;
}

int restored_from_proto(const Trimtab__V1__Restore *p, struct restored *ret, struct err *err)
{
    if (p->from_store.len != STATE_STORE_ID_BYTES)
        return err_set(err, ERR_CORRUPT, "a restore in the log cannot be read");
    *ret = (struct restored){.revision = p->revision,
                             .from_revision = p->from_revision,
                             .acknowledged = p->acknowledged,
                             .deletes_newer = p->deletes_newer};
    memcpy(ret->from, p->from_store.data, STATE_STORE_ID_BYTES);
    return 0;
}

static struct shared *make_envelope(struct encoding *e)
{
    const struct commit *c = e->c;
    struct arena *a = &e->arena;
    Trimtab__V1__Record record = TRIMTAB__V1__RECORD__INIT;

    if (!changes_to_record(e, &record) || !moves_to_record(c, &record, a))
        return NULL;
    record.semantics = STATE_SEMANTICS;
    record.author = arena_c(a, c->author);
    record.time_ms = c->time_ms;
    record.message = arena_c(a, c->message);
    record.origin = arena_c(a, c->origin);
    record.action = arena_c(a, c->action);
    record.request_id = arena_c(a, c->request_id);
    record.override = arena_c(a, c->override);
    record.restore = restored_to_proto(c->restored, a);
    if (c->order)
        record.order = order_to_proto(c->order, a);
    return arena_failed(a) ? NULL : proto_pack(&record.base, 0);
}

int record_encode(const struct commit *c, const struct change_plan *plans,
                  struct version *const *versions, struct record_encoded *ret)
{
    struct encoding e = {.c = c, .plans = plans, .versions = versions, .arena = ARENA_NULL};

    e.contents = NEW_ARRAY(struct hashed, MAX(c->n, (size_t)1));
    ret->envelope = e.contents ? make_envelope(&e) : NULL;
    ret->contents = e.contents;
    ret->n_contents = e.n_contents;
    arena_deinit(&e.arena);
    if (ret->envelope)
        return 0;
    record_encoded_deinit(ret);
    return ERR_NOMEM;
}

void record_encoded_deinit(struct record_encoded *e)
{
    (void)shared_unref(e->envelope);
    (void)mem_free(e->contents);
    *e = (struct record_encoded){.envelope = NULL};
}

/* ---- reading ---- */

static int fill_content(Trimtab__V1__RecordChange *c, const struct hashed *content,
                        struct err *err)
{
    bool is_purged = !content->bytes.data && c->size > 0;

    if (!str_eq(proto_str(c->blob), str_of(content->hash.bytes, SHA256_BYTES)) ||
        c->content.len || (!is_purged && content->bytes.len != c->size))
        return err_set(err, ERR_CORRUPT, "a content in the log is not that of its record");
    if (content->bytes.len == 0)
        return 0;
    c->content.data = (uint8_t *)mem_dup(content->bytes.data, content->bytes.len);
    if (!c->content.data)
        return ERR_NOMEM;
    c->content.len = content->bytes.len;
    return 0;
}

static int fill_contents(Trimtab__V1__Record *record, struct record_parts parts,
                         struct err *err)
{
    size_t at = 0;
    int r = 0;

    for (size_t i = 0; !r && i < record->n_changes; i++) {
        if (record->changes[i]->blob.len == 0)
            continue;
        r = at < parts.n_contents
                ? fill_content(record->changes[i], &parts.contents[at++], err)
                : err_set(err, ERR_CORRUPT, "a content of a log record is missing");
    }
    if (!r && at < parts.n_contents)
        r = err_set(err, ERR_CORRUPT, "a log record has a content of no change");
    return r;
}

Trimtab__V1__Record *record_unpack(struct record_parts parts, int *ret_code, struct err *err)
{
    Trimtab__V1__Record *record = trimtab__v1__record__unpack(
        &proto_allocator, parts.envelope.len, (const uint8_t *)parts.envelope.data);

    *ret_code = record ? fill_contents(record, parts, err)
                       : err_set(err, ERR_CORRUPT, "a log record cannot be read");
    if (record && *ret_code) {
        trimtab__v1__record__free_unpacked(record, &proto_allocator);
        record = NULL;
    }
    return record;
}

static const struct sha256 *hash_of(const Trimtab__V1__RecordChange *c, struct sha256 *hash)
{
    if (c->blob.len != SHA256_BYTES)
        return NULL;
    memcpy(hash->bytes, c->blob.data, SHA256_BYTES);
    return hash;
}

struct version *version_from_record(const Trimtab__V1__RecordChange *c, uint64_t revision,
                                    int64_t time_ms)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    owned(arena) struct arena a = ARENA_NULL;
    struct meta meta = meta_from_proto(c->metadata, &a);
    struct references *refs;
    struct sha256 hash;
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
        .type_against = str_c(c->type_against),
        .type_origin = c->type_declared ? TYPE_DECLARED : TYPE_GUESSED,
        .meta = &meta,
        .references = refs,
        .content = proto_str(c->content),
        .content_hash = hash_of(c, &hash),
        .deleted = c->deleted,
        .number = c->version,
        .revision = revision,
        .previous_revision = c->previous_revision,
        .time_ms = time_ms,
    });
}

int version_read(const Trimtab__V1__RecordChange *c, uint64_t revision, int64_t time_ms,
                 struct version **ret, struct err *err)
{
    struct name name;

    *ret = NULL;
    if (!c || name_parse(str_c(c->id), &name, NULL))
        return err_set(err, ERR_CORRUPT, "a change has no id that could be one");
    for (size_t i = 0; i < c->n_references; i++)
        if (i >= REFERENCES_MAX || name_parse(str_c(c->references[i]), &name, NULL))
            return err_set(err, ERR_CORRUPT, "a change has a reference that is none");
    if (c->blob.len && c->content.len != c->size)
        return err_set(err, ERR_CORRUPT, "the content of a version in use was purged");
    *ret = version_from_record(c, revision, time_ms);
    return *ret ? 0 : ERR_NOMEM;
}

static int read_changes(struct record *r, uint64_t revision, struct err *err)
{
    const Trimtab__V1__Record *m = r->message;

    r->outcome.versions = ARENA_ARRAY(&r->arena, struct version *, m->n_changes);
    if (!r->outcome.versions)
        return ERR_NOMEM;
    for (size_t i = 0; i < m->n_changes; i++) {
        int rc =
            version_read(m->changes[i], revision, m->time_ms, &r->outcome.versions[i], err);

        if (rc)
            return rc;
        r->outcome.n_versions++;
    }
    return 0;
}

static int read_moves(struct record *r, uint64_t revision, struct err *err)
{
    const Trimtab__V1__Record *m = r->message;

    r->outcome.moves = ARENA_ARRAY(&r->arena, struct rollout_move, m->n_moves);
    if (!r->outcome.moves)
        return ERR_NOMEM;
    for (size_t i = 0; i < m->n_moves; i++) {
        struct rollout_move *move = &r->outcome.moves[i];
        int rc = rollout_move_from_proto(m->moves[i], &r->arena, move, err);

        if (!rc && move->plan)
            rc = rollout_plan_check(move->plan, &r->arena, err);
        if (!rc && move->step)
            rc = step_check(move->step, &r->arena, err);
        if (rc)
            return rc == ERR_NOMEM
                       ? rc
                       : err_set(err, ERR_CORRUPT, "a move in the log cannot be read");
        move->author = str_c(m->author);
        move->time_ms = m->time_ms;
        move->revision = revision;
        r->outcome.n_moves++;
    }
    return 0;
}

static int read_order(struct record *r, uint64_t revision, struct err *err)
{
    const Trimtab__V1__Record *m = r->message;
    struct order_request *q;
    int rc;

    if (!m->order)
        return 0;
    q = ARENA_NEW(&r->arena, struct order_request);
    rc = q ? order_from_proto(m->order, &r->arena, q, err) : ERR_NOMEM;
    if (rc)
        return rc;
    q->author = str_c(m->author);
    q->time_ms = m->time_ms;
    q->revision = revision;
    r->outcome.order = q;
    return 0;
}

void record_deinit(struct record *r)
{
    for (size_t i = 0; i < r->outcome.n_versions; i++)
        (void)version_unref(r->outcome.versions[i]);
    arena_deinit(&r->arena);
    if (r->message)
        trimtab__v1__record__free_unpacked(r->message, &proto_allocator);
    *r = RECORD_NULL;
}

int record_decode(struct record_parts parts, uint64_t revision, struct record *ret,
                  struct err *err)
{
    int r;

    *ret = RECORD_NULL;
    ret->message = record_unpack(parts, &r, err);
    if (!ret->message)
        return r;
    if (ret->message->semantics > STATE_SEMANTICS)
        r = err_set(err, ERR_UNSUPPORTED,
                    "the log was written by a newer version of Trimtab (semantics %u)",
                    ret->message->semantics);
    else
        r = read_changes(ret, revision, err);
    if (!r)
        r = read_moves(ret, revision, err);
    if (!r && ret->message->restore) {
        r = restored_from_proto(ret->message->restore, &ret->restored, err);
        ret->outcome.restored = &ret->restored;
    }
    if (!r)
        r = read_order(ret, revision, err);
    if (r)
        record_deinit(ret);
    return r;
}
