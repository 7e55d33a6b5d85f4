/*
 * Commits as records of the log. See record.h.
 */
#include "proto/record.h"

#include "proto/rollout.h"

/* ---- writing ---- */

static bool change_to_record(const struct change *c, const struct change_plan *p,
                             Trimtab__V1__RecordChange *out, struct arena *a)
{
    trimtab__v1__record_change__init(out);
    out->id = arena_c(a, c->id);
    out->version = p->number;
    out->previous_revision = p->old ? p->old->revision : 0;
    out->previous_version = p->old ? p->old->number : 0;
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

static bool changes_to_record(const struct commit *c, const struct change_plan *plans,
                              Trimtab__V1__Record *record, struct arena *a)
{
    Trimtab__V1__RecordChange *changes = ARENA_ARRAY(a, Trimtab__V1__RecordChange, c->n);

    record->changes = ARENA_ARRAY(a, Trimtab__V1__RecordChange *, c->n);
    if (arena_failed(a))
        return false;
    for (size_t i = 0; i < c->n; i++) {
        if (plans[i].action == CHANGE_UNCHANGED)
            continue;
        if (!change_to_record(&c->changes[i], &plans[i], &changes[i], a))
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

struct shared *record_encode(const struct commit *c, const struct change_plan *plans)
{
    owned(arena) struct arena a = ARENA_NULL;
    Trimtab__V1__Record record = TRIMTAB__V1__RECORD__INIT;

    if (!changes_to_record(c, plans, &record, &a) || !moves_to_record(c, &record, &a))
        return NULL;
    record.semantics = STATE_SEMANTICS;
    record.author = arena_c(&a, c->author);
    record.time_ms = c->time_ms;
    record.message = arena_c(&a, c->message);
    record.origin = arena_c(&a, c->origin);
    record.action = arena_c(&a, c->action);
    record.request_id = arena_c(&a, c->request_id);
    record.override = arena_c(&a, c->override);
    return arena_failed(&a) ? NULL : proto_pack(&record.base, 0);
}

/* ---- reading ---- */

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

void record_deinit(struct record *r)
{
    for (size_t i = 0; i < r->outcome.n_versions; i++)
        (void)version_unref(r->outcome.versions[i]);
    arena_deinit(&r->arena);
    if (r->message)
        trimtab__v1__record__free_unpacked(r->message, &proto_allocator);
    *r = RECORD_NULL;
}

int record_decode(struct str bytes, uint64_t revision, struct record *ret, struct err *err)
{
    int r;

    *ret = RECORD_NULL;
    ret->message = record_unpack(bytes, err);
    if (!ret->message)
        return ERR_CORRUPT;
    if (ret->message->semantics > STATE_SEMANTICS)
        r = err_set(err, ERR_UNSUPPORTED,
                    "the log was written by a newer version of Trimtab (semantics %u)",
                    ret->message->semantics);
    else
        r = read_changes(ret, revision, err);
    if (!r)
        r = read_moves(ret, revision, err);
    if (r)
        record_deinit(ret);
    return r;
}
