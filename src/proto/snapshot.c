/*
 * States as the parts of a snapshot: stable versions, then rollouts with their candidates, then the numbers that
 * ended candidates took, then orders. See record.h.
 */
#include "proto/record.h"

#include "base/vec.h"
#include "proto/order.h"
#include "proto/rollout.h"

/* ---- writing ---- */

static Trimtab__V1__SnapshotEntry *entry_of(const struct version *v, struct arena *a)
{
    owned(buf) struct buf id = BUF_NULL(ID_BYTES_MAX);
    Trimtab__V1__SnapshotEntry *entry = ARENA_NEW(a, Trimtab__V1__SnapshotEntry);
    Trimtab__V1__RecordChange *change = ARENA_NEW(a, Trimtab__V1__RecordChange);

    if (!entry || !change)
        return NULL;
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
    change->type_against = arena_c(a, v->type_against);
    change->type_declared = v->type_origin == TYPE_DECLARED;
    change->metadata = meta_to_proto(v->meta, META_ALL, a);
    change->references = references_to_proto(v->references, &change->n_references, a);
    change->size = v->content.len;
    change->content = proto_bytes(v->content);
    return arena_failed(a) || buf_status(&id) ? NULL : entry;
}

/* When an older rollout of a resource ended that this one carries; 0: none did. */
static uint64_t ended_before(const struct state *s, const struct rollout *r, struct str key)
{
    const struct candidate *c = candidate_of(tree_find(s->candidates, key));

    return c && c->version && c->rollout == r->id ? c->ended : 0;
}

static Trimtab__V1__SnapshotRollout *rollout_entry(const struct state *s,
                                                   const struct rollout *r, struct arena *a,
                                                   size_t *size)
{
    Trimtab__V1__SnapshotRollout *p = ARENA_NEW(a, Trimtab__V1__SnapshotRollout);

    if (!p)
        return NULL;
    trimtab__v1__snapshot_rollout__init(p);
    p->id = r->id;
    p->revision = r->node.revision;
    p->n_moves = r->n_moves;
    p->phase = (Trimtab__V1__Phase)r->phase;
    p->plan = rollout_to_plan(r, a);
    p->n_begun = (uint32_t)r->n_begun;
    p->author = arena_c(a, r->author);
    p->reason = arena_c(a, r->reason);
    p->moved_by = arena_c(a, r->moved_by);
    p->moved_why = arena_c(a, r->moved_why);
    p->started_ms = r->started_ms;
    p->moved_ms = r->moved_ms;
    p->candidates = ARENA_ARRAY(a, Trimtab__V1__SnapshotEntry *, r->n_candidates);
    for (size_t i = 0; p->candidates && i < r->n_candidates; i++) {
        p->candidates[i] = entry_of(r->candidates[i], a);
        if (!p->candidates[i])
            return NULL;
        p->candidates[i]->ended = ended_before(s, r, r->candidates[i]->key);
        p->n_candidates++;
        *size += r->candidates[i]->content.len + r->candidates[i]->key.len + 64;
    }
    return arena_failed(a) ? NULL : p;
}

/* What goes into one part. */
struct filling {
    struct arena arena;
    VEC(Trimtab__V1__SnapshotEntry *) entries;
    VEC(Trimtab__V1__SnapshotRollout *) rollouts;
    VEC(Trimtab__V1__SpentNumber *) spent;
    VEC(Trimtab__V1__SnapshotOrder *) orders;
    size_t size;
};

static bool add_version(struct filling *f, const struct version *v)
{
    Trimtab__V1__SnapshotEntry *entry = entry_of(v, &f->arena);

    f->size += v->content.len + v->key.len + 64;
    return entry && VEC_PUSH(&f->entries, entry);
}

static bool add_rollout(struct filling *f, const struct state *s, const struct rollout *r)
{
    Trimtab__V1__SnapshotRollout *p = rollout_entry(s, r, &f->arena, &f->size);

    f->size += 512;
    return p && VEC_PUSH(&f->rollouts, p);
}

/* Candidates of live rollouts come with them. */
static bool add_spent(struct filling *f, const struct candidate *c)
{
    owned(buf) struct buf id = BUF_NULL(ID_BYTES_MAX);
    Trimtab__V1__SpentNumber *p;

    if (c->version)
        return true;
    p = ARENA_NEW(&f->arena, Trimtab__V1__SpentNumber);
    if (!p)
        return false;
    trimtab__v1__spent_number__init(p);
    key_put_id(c->node.key, &id);
    p->id = arena_c(&f->arena, buf_str(&id));
    p->rollout = c->rollout;
    p->number = c->number;
    p->revision = c->node.revision;
    f->size += c->node.key.len + 32;
    return !arena_failed(&f->arena) && !buf_status(&id) && VEC_PUSH(&f->spent, p);
}

static bool add_order(struct filling *f, const struct order *o)
{
    Trimtab__V1__SnapshotOrder *p = ARENA_NEW(&f->arena, Trimtab__V1__SnapshotOrder);

    if (!p)
        return false;
    trimtab__v1__snapshot_order__init(p);
    p->revision = o->node.revision;
    p->author = arena_c(&f->arena, o->what.author);
    p->time_ms = o->what.time_ms;
    p->order = order_to_proto(&o->what, &f->arena);
    f->size += o->bytes + 64;
    return !arena_failed(&f->arena) && VEC_PUSH(&f->orders, p);
}

void snapshot_walk_init(struct snapshot_walk *w, const struct state *s)
{
    w->state = s;
    w->is_begun = false;
    tree_walk_from(&w->versions, s->versions, STR(""), 0);
    tree_walk_from(&w->rollouts, s->rollouts, STR(""), 0);
    tree_walk_from(&w->candidates, s->candidates, STR(""), 0);
    tree_walk_from(&w->orders, s->orders, STR(""), 0);
}

static bool fill(struct snapshot_walk *w, size_t bytes, struct filling *f)
{
    struct tree_item *item;
    bool ok = true;

    while (ok && f->size < bytes && (item = tree_walk_next(&w->versions)))
        ok = add_version(f, version_of(item));
    while (ok && f->size < bytes && (item = tree_walk_next(&w->rollouts)))
        ok = add_rollout(f, w->state, rollout_of(item));
    while (ok && f->size < bytes && (item = tree_walk_next(&w->candidates)))
        ok = add_spent(f, candidate_of(item));
    while (ok && f->size < bytes && (item = tree_walk_next(&w->orders)))
        ok = add_order(f, order_of(item));
    return ok;
}

struct shared *snapshot_part(struct snapshot_walk *w, size_t bytes, bool *ret_failed)
{
    struct filling f = {.size = 0};
    Trimtab__V1__SnapshotPart part = TRIMTAB__V1__SNAPSHOT_PART__INIT;
    struct shared *packed = NULL;
    bool is_first = !w->is_begun;

    *ret_failed = !fill(w, bytes, &f);
    if (!*ret_failed &&
        (f.entries.n + f.rollouts.n + f.spent.n + f.orders.n || (is_first && w->state->restored.revision))) {
        w->is_begun = true;
        part.revision = w->state->revision;
        part.semantics = STATE_SEMANTICS;
        part.entries = f.entries.at;
        part.n_entries = f.entries.n;
        part.rollouts = f.rollouts.at;
        part.n_rollouts = f.rollouts.n;
        part.restored = w->state->restored.revision
                            ? restored_to_proto(&w->state->restored, &f.arena)
                            : NULL;
        part.spent = f.spent.at;
        part.n_spent = f.spent.n;
        part.orders = f.orders.at;
        part.n_orders = f.orders.n;
        packed = arena_failed(&f.arena) ? NULL : proto_pack(&part.base, 0);
        *ret_failed = !packed;
    }
    VEC_DEINIT(&f.entries);
    VEC_DEINIT(&f.rollouts);
    VEC_DEINIT(&f.spent);
    VEC_DEINIT(&f.orders);
    arena_deinit(&f.arena);
    return packed;
}

/* ---- reading ---- */

static int load_entries(const Trimtab__V1__SnapshotPart *part, struct state **s,
                        struct err *err)
{
    for (size_t i = 0; i < part->n_entries; i++) {
        const Trimtab__V1__SnapshotEntry *e = part->entries[i];
        owned(version_unref) struct version *v = NULL;
        int r = version_read(e->change, e->revision, e->time_ms, &v, err);

        if (!r)
            r = state_load(s, &(struct effect){.versions = &v, .n_versions = 1},
                           part->revision);
        if (r)
            return r;
    }
    return 0;
}

static int read_candidates(const Trimtab__V1__SnapshotRollout *p, struct version **versions,
                           size_t *n, struct err *err)
{
    for (size_t i = 0; i < p->n_candidates; i++) {
        const Trimtab__V1__SnapshotEntry *e = p->candidates[i];
        int r = version_read(e->change, e->revision, e->time_ms, &versions[i], err);

        if (r)
            return r;
        ++*n;
    }
    return 0;
}

/* The candidates find it in the state, as when they were new. */
static int load_endings(const Trimtab__V1__SnapshotRollout *p, struct version *const *versions,
                        struct state **s)
{
    int r = 0;

    for (size_t i = 0; i < p->n_candidates && !r; i++) {
        struct spent older = {.revision = p->candidates[i]->ended};

        if (older.revision)
            r = state_load_number(s, versions[i]->key, &older);
    }
    return r;
}

static int check_rollout(const Trimtab__V1__SnapshotRollout *p, struct rollout_plan *plan,
                         struct arena *a, struct err *err)
{
    int r;

    if (!p->plan || (int)p->phase < 0 || (int)p->phase >= ROLLOUT_PHASES || p->n_begun == 0 ||
        p->n_begun > p->plan->n_steps || p->id == 0 || p->n_moves == 0)
        return err_set(err, ERR_CORRUPT, "a rollout of a snapshot cannot be read");
    r = rollout_plan_check(plan, a, err);
    return r && r != ERR_NOMEM
               ? err_set(err, ERR_CORRUPT, "a rollout of a snapshot cannot be read")
               : r;
}

static int load_rollout(const Trimtab__V1__SnapshotRollout *p, struct state **s,
                        uint64_t revision, struct err *err)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct rollout_plan *plan = p->plan ? rollout_plan_from_proto(p->plan, &a) : NULL;
    struct version **versions = ARENA_ARRAY(&a, struct version *, p->n_candidates);
    struct rollout *r = NULL;
    size_t n = 0;
    int rc = arena_failed(&a) ? ERR_NOMEM : check_rollout(p, plan, &a, err);

    if (!rc)
        rc = read_candidates(p, versions, &n, err);
    if (!rc)
        rc = load_endings(p, versions, s);
    if (!rc) {
        struct rollout_saved saved = {.id = p->id,
                                      .revision = p->revision,
                                      .n_moves = p->n_moves,
                                      .phase = (enum rollout_phase)p->phase,
                                      .plan = plan,
                                      .n_begun = p->n_begun,
                                      .author = str_c(p->author),
                                      .reason = str_c(p->reason),
                                      .moved_by = str_c(p->moved_by),
                                      .moved_why = str_c(p->moved_why),
                                      .started_ms = p->started_ms,
                                      .moved_ms = p->moved_ms};

        r = rollout_restored(&saved, versions, n);
        rc = r ? state_load(s, &(struct effect){.rollouts = &r, .n_rollouts = 1}, revision)
               : ERR_NOMEM;
    }
    for (size_t i = 0; i < n; i++)
        (void)version_unref(versions[i]);
    (void)rollout_unref(r);
    return rc;
}

static int load_spent(const Trimtab__V1__SpentNumber *p, struct state **s, struct err *err)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    struct spent spent = {p->rollout, p->number, p->revision};
    struct name name;

    if (name_parse(str_c(p->id), &name, NULL))
        return err_set(err, ERR_CORRUPT, "a snapshot has an id that is none");
    name_put_key(name, &key);
    return buf_status(&key) ? buf_status(&key) : state_load_number(s, buf_str(&key), &spent);
}

static int load_restored(const Trimtab__V1__SnapshotPart *part, struct state **s,
                         struct err *err)
{
    struct restored restored;
    int r = restored_from_proto(part->restored, &restored, err);

    return r ? r : state_load(s, &(struct effect){.restored = &restored}, part->revision);
}

static int load_order(const Trimtab__V1__SnapshotOrder *p, struct state **s, uint64_t revision,
                      struct err *err)
{
    owned(arena) struct arena a = ARENA_NULL;
    owned(order_unref) struct order *o = NULL;
    struct order_request q;
    int r = p->order && p->revision
                ? order_from_proto(p->order, &a, &q, err)
                : err_set(err, ERR_CORRUPT, "an order of a snapshot cannot be read");

    if (r)
        return r;
    q.revision = p->revision;
    q.author = str_c(p->author);
    q.time_ms = p->time_ms;
    o = order_new(&q);
    return o ? state_load(s, &(struct effect){.order = o}, revision) : ERR_NOMEM;
}

static int load_part(const Trimtab__V1__SnapshotPart *part, struct state **s, struct err *err)
{
    int r = part->restored ? load_restored(part, s, err) : 0;

    if (!r)
        r = load_entries(part, s, err);

    for (size_t i = 0; i < part->n_rollouts && !r; i++)
        r = load_rollout(part->rollouts[i], s, part->revision, err);
    for (size_t i = 0; i < part->n_spent && !r; i++)
        r = load_spent(part->spent[i], s, err);
    for (size_t i = 0; i < part->n_orders && !r; i++)
        r = load_order(part->orders[i], s, part->revision, err);
    return r;
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
            : load_part(part, s, err);
    trimtab__v1__snapshot_part__free_unpacked(part, &proto_allocator);
    return r;
}
