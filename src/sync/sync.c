/*
 * The subscriber's core. See sync.h.
 */
#include "sync/internal.h"

#include "proto/convert.h"
#include "proto/inbound.h"
#include "proto/subject.h"
#include "proto/wire.h"

enum {
    HELLO_TIMEOUT_S = 15,
    SILENT_BOOKMARKS = 3,
    INVENTORY_ENTRIES = 4000,
    REPORT_HEAD_BYTES = 256,
    REJECTED_MAX = 3,
    REJECTED_WAIT_MS = 1000,
    REJECTED_WAIT_DOUBLINGS = 6
};

struct sync *sync_new(const struct sync_opts *opts)
{
    struct sync *s = NEW(struct sync);

    if (!s)
        return NULL;
    s->opts = *opts;
    s->scope_names = NEW_ARRAY(struct str, MAX(opts->n_scopes, (size_t)1));
    if (!s->scope_names)
        return mem_free(s);
    for (size_t i = 0; i < opts->n_scopes; i++)
        s->scope_names[i] = str_c(opts->scopes[i]->name);
    s->silence_max = HELLO_TIMEOUT_S * NSEC_PER_S;
    return s;
}

static void bindings_free(struct map *bindings)
{
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(bindings, &at)))
        (void)binding_free(slot->value);
    map_deinit(bindings);
}

struct sync *sync_free(struct sync *s)
{
    if (!s)
        return NULL;
    stage_clear(&s->stage);
    bindings_free(&s->bindings);
    holds_deinit(&s->holds);
    (void)mem_free(s->scope_names);
    (void)shared_unref(s->report);
    (void)mem_free(s->health);
    return mem_free(s);
}

struct sync_status sync_status(const struct sync *s)
{
    return s->status;
}

static struct digest element(const struct binding *b)
{
    return binding_digest(binding_scope(b), &b->item->item_hash);
}

/* ---- what a local copy held ---- */

int sync_load(struct sync *s, const struct sync_change *changes, size_t n,
              const struct sync_cursor *cursor)
{
    struct digest digest = DIGEST_NULL;

    for (size_t i = 0; i < n; i++) {
        struct binding *b = binding_new(changes[i].scope, changes[i].key, changes[i].item);
        void *old = NULL;

        if (!b || !map_put(&s->bindings, binding_key(b), b, &old)) {
            (void)binding_free(b);
            bindings_free(&s->bindings);
            return ERR_NOMEM;
        }
        digest = digest_add(digest, element(b));
        if (old) {
            (void)binding_free(old);
            bindings_free(&s->bindings);
            return ERR_CORRUPT;
        }
    }
    if (n != cursor->count || !digest_eq(digest, cursor->digest)) {
        bindings_free(&s->bindings);
        return ERR_CORRUPT;
    }
    s->status.cursor = *cursor;
    s->serves_copy = true;
    return 0;
}

/* ---- saying ---- */

static void send(struct sync *s, const Trimtab__V1__ClientFrame *frame)
{
    s->opts.ops->send(s->opts.ctx, frame);
}

/*
 * Whether something else is served than is to be. It may be served at any time, so what is served is no claim: not even when
 * it is just what is received, because a hold waits of what was never served.
 */
static bool awaits_apply(const struct sync *s)
{
    return !digest_eq(s->serving, sync_wanted(s));
}

void sync_link_up(struct sync *s, nsec_t now)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Hello hello = TRIMTAB__V1__HELLO__INIT;
    Trimtab__V1__Cursor cursor = TRIMTAB__V1__CURSOR__INIT;
    Trimtab__V1__Serving serving = TRIMTAB__V1__SERVING__INIT;
    unsigned char digest[DIGEST_BYTES], serving_digest[DIGEST_BYTES];
    char server[] = "server", copy[] = "copy";
    char rollouts[] = FEATURE_ROLLOUTS, report[] = FEATURE_REPORT;
    char health[] = FEATURE_HEALTH, orders[] = FEATURE_ORDERS;
    char *features[4] = {rollouts, report};
    size_t n_features = 2;

    stage_clear(&s->stage); /* what was on its way came by another link */
    s->status.phase = SYNC_HELLO;
    s->heard = now;
    s->silence_max = HELLO_TIMEOUT_S * NSEC_PER_S;
    hello.protocol = 1;
    hello.instance = (Trimtab__V1__Instance *)(uintptr_t)s->opts.instance; /* protobuf-c has no const */
    hello.scopes = s->opts.scopes;
    hello.n_scopes = s->opts.n_scopes;
    hello.features = features;
    if (s->opts.is_judged)
        features[n_features++] = health;
    if (s->opts.ops->order)
        features[n_features++] = orders;
    hello.n_features = n_features;
    hello.secret = proto_bytes(s->opts.secret);
    hello.order = s->orders.done;
    hello.fleet_order = s->fleet.done;
    digest_put(s->status.cursor.digest, digest);
    digest_put(s->serving, serving_digest);
    cursor.store_id = proto_bytes(str_of(s->status.cursor.store_id, SYNC_STORE_ID_BYTES));
    cursor.revision = s->status.cursor.revision;
    cursor.digest = (ProtobufCBinaryData){DIGEST_BYTES, digest};
    cursor.count = s->status.cursor.count;
    if (s->status.cursor.has_mark)
        cursor.mark = proto_bytes(str_of(s->status.cursor.mark, SYNC_MARK_BYTES));
    if (cursor.revision || cursor.count || s->holds.by_name.n) /* the last is to be compared */
        hello.cursor = &cursor;
    serving.revision = s->serving_revision;
    if (!awaits_apply(s))
        serving.digest = (ProtobufCBinaryData){DIGEST_BYTES, serving_digest};
    serving.source = s->serves_copy ? copy : server;
    if (s->report)
        hello.serving = &serving;
    frame.hello = &hello;
    send(s, &frame);
}

void sync_link_down(struct sync *s)
{
    s->status.phase = SYNC_OFFLINE;
    stage_clear(&s->stage);
}

static void send_stored(struct sync *s)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Ack ack = TRIMTAB__V1__ACK__INIT;
    unsigned char digest[DIGEST_BYTES];

    digest_put(s->status.cursor.digest, digest);
    ack.stage = TRIMTAB__V1__STAGE__STORED;
    ack.revision = s->status.cursor.revision;
    ack.received_digest = (ProtobufCBinaryData){DIGEST_BYTES, digest};
    frame.ack = &ack;
    send(s, &frame);
}

static void send_rejected(struct sync *s, uint64_t revision, const char *reason)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Ack ack = TRIMTAB__V1__ACK__INIT;
    unsigned char digest[DIGEST_BYTES];

    s->status.rejected++;
    s->n_rejected++;
    (void)snprintf(s->status.rejected_because, sizeof(s->status.rejected_because), "%s", reason);
    digest_put(s->status.cursor.digest, digest);
    ack.stage = TRIMTAB__V1__STAGE__REJECTED;
    ack.revision = revision;
    ack.received_digest = (ProtobufCBinaryData){DIGEST_BYTES, digest};
    ack.reason = (char *)(uintptr_t)reason; /* protobuf-c has no const */
    frame.ack = &ack;
    send(s, &frame);
}

/* kind NUL name as kind/name, the key of what is referred to as its id. */
static char *key_text(struct arena *a, struct str key)
{
    char *text = arena_c(a, key);

    for (size_t i = 0; !arena_failed(a) && i < key.len; i++)
        if (!text[i])
            text[i] = '/';
    return text;
}

static void inventory_entry(struct arena *a, const struct binding *b, Trimtab__V1__Inventory__Entry *e)
{
    struct sha256 *hash = ARENA_NEW(a, struct sha256);
    bool is_referred = str_eq(binding_scope(b), SCOPE_REFERRED);

    trimtab__v1__inventory__entry__init(e);
    e->scope = arena_c(a, binding_scope(b));
    e->key = key_text(a, binding_tail(b));
    if (hash) {
        *hash = b->item->item_hash;
        e->hash = proto_bytes(str_of(hash->bytes, SHA256_BYTES));
    }
    if (!is_referred)
        e->namespace_ = arena_c(a, key_name(b->item->key).space);
    e->revision = b->item->revision;
}

/* Walks over what is received, then over what is held. */
struct inventory_walk {
    const struct sync *sync;
    size_t at, held_at;
    bool with_held;
};

static const struct binding *inventory_next(struct inventory_walk *w, bool *ret_held)
{
    struct map_slot *slot = map_each(&w->sync->bindings, &w->at);

    *ret_held = !slot;
    if (slot)
        return slot->value;
    slot = w->with_held ? map_each(&w->sync->holds.by_name, &w->held_at) : NULL;
    return slot ? ((const struct hold *)slot->value)->binding : NULL;
}

/* In as many frames as it needs; the last one says so. False without memory. */
static bool send_inventory(struct sync *s, bool with_held)
{
    struct inventory_walk walk = {.sync = s, .with_held = with_held};
    size_t left = s->bindings.n + (with_held ? s->holds.by_name.n : 0);

    do {
        owned(arena) struct arena a = ARENA_NULL;
        Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
        Trimtab__V1__Inventory inventory = TRIMTAB__V1__INVENTORY__INIT;
        size_t n = MIN(left, (size_t)INVENTORY_ENTRIES);
        Trimtab__V1__Inventory__Entry *entries = ARENA_ARRAY(&a, Trimtab__V1__Inventory__Entry, n);
        const struct binding *b;
        bool is_held;

        inventory.entries = ARENA_ARRAY(&a, Trimtab__V1__Inventory__Entry *, n);
        if (arena_failed(&a))
            return false;
        while (inventory.n_entries < n && (b = inventory_next(&walk, &is_held))) {
            inventory_entry(&a, b, &entries[inventory.n_entries]);
            entries[inventory.n_entries].held = is_held;
            inventory.entries[inventory.n_entries] = &entries[inventory.n_entries];
            inventory.n_entries++;
        }
        if (arena_failed(&a))
            return false;
        left -= n;
        inventory.last = left == 0;
        frame.inventory = &inventory;
        send(s, &frame);
    } while (left > 0);
    return true;
}

/* ---- a batch ---- */

/* What the set will be after the staged changes. */
static void preview(const struct sync *s, Trimtab__V1__Mode mode, struct digest *digest, uint64_t *count)
{
    bool is_full = mode == TRIMTAB__V1__MODE__FULL;
    struct map_slot *slot;
    size_t at = 0;

    *digest = is_full ? DIGEST_NULL : s->status.cursor.digest;
    *count = is_full ? 0 : s->bindings.n;
    while ((slot = map_each(&s->stage.changes, &at))) {
        const struct binding *b = slot->value;
        const struct binding *old = is_full ? NULL : map_get(&s->bindings, slot->key);

        if (old) {
            *digest = digest_sub(*digest, element(old));
            (*count)--;
        }
        if (b->item) {
            *digest = digest_add(*digest, element(b));
            (*count)++;
        }
    }
}

/* Whether the batch leaves what it does not name as it is. */
static bool stays_unnamed(const struct sync *s, const struct binding *b, bool is_full)
{
    if (is_full)
        return false;
    return !str_eq(binding_scope(b), SCOPE_REFERRED) || map_get(&s->stage.keep, binding_key(b));
}

/* A full batch unbinds what it does not name; a complete one, of what is referred to, what it does not name either. */
static int stage_absent(struct sync *s, bool is_full)
{
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&s->bindings, &at))) {
        const struct binding *old = slot->value;
        struct binding *drop;

        if (map_get(&s->stage.changes, slot->key) || stays_unnamed(s, old, is_full))
            continue;
        drop = binding_new(binding_scope(old), binding_tail(old), NULL);
        if (!drop || !map_put(&s->stage.changes, binding_key(drop), drop, NULL)) {
            (void)binding_free(drop);
            return ERR_NOMEM;
        }
    }
    return 0;
}

static const char *prove(const struct sync *s, const Trimtab__V1__End *end, struct sync_cursor *cursor)
{
    struct digest announced;

    preview(s, end->mode, &cursor->digest, &cursor->count);
    if (end->revision < s->status.cursor.revision && end->mode == TRIMTAB__V1__MODE__RESUME)
        return "the revision goes back";
    if (!digest_get(proto_str(end->digest), &announced) || !digest_eq(announced, cursor->digest))
        return "the digest is not the one that was announced";
    if (end->count != cursor->count)
        return "the count is not the one that was announced";
    return NULL;
}

/*
 * Marks the drops of which nobody says what caused them: of a full batch, which names none, and of one of a server that
 * counts such drops and does not name them.
 */
static void mark_uncaused(struct sync *s, const Trimtab__V1__End *end)
{
    struct map_slot *slot;
    size_t at = 0;

    if (end->mode != TRIMTAB__V1__MODE__FULL && end->uncaused_drops <= s->stage.n_uncaused)
        return;
    while ((slot = map_each(&s->stage.changes, &at)))
        ((struct binding *)slot->value)->is_uncaused = true; /* of puts it means nothing */
    s->stage.n_uncaused = MAX(s->stage.n_uncaused, (size_t)1);
}

static int store_and_apply(struct sync *s, const Trimtab__V1__End *end,
                           const struct sync_cursor *cursor, struct err *err)
{
    struct changing c = {.sync = s, .staged = &s->stage.changes};
    int r = end->mode == TRIMTAB__V1__MODE__FULL ? stage_absent(s, true) : 0;

    if (r)
        return r;
    mark_uncaused(s, end);
    c.n_uncaused = s->stage.n_uncaused;
    r = changing_store(&c, cursor, end->mode, err);
    if (!r) {
        s->stored_revision = cursor->revision;
        s->status.batches++;
        s->status.rejected_because[0] = '\0';
        s->n_rejected = 0;
        s->serves_copy = false;
        send_stored(s);
        s->opts.ops->apply(s->opts.ctx, &c.batch);
        changing_deinit(&c);
        stage_clear(&s->stage);
        return 0;
    }
    changing_deinit(&c);
    return r;
}

/* Says no; after several times in a row also waits (S6). */
static void reject(struct sync *s, uint64_t revision, const char *reason)
{
    stage_clear(&s->stage);
    send_rejected(s, revision, reason);
    if (s->n_rejected >= REJECTED_MAX)
        s->opts.ops->reconnect(s->opts.ctx,
                               (uint32_t)REJECTED_WAIT_MS << MIN(s->n_rejected - REJECTED_MAX,
                                                                 (unsigned)REJECTED_WAIT_DOUBLINGS),
                               reason);
}

/* The mark of the revision that a cursor moves to. */
static void keep_mark(struct sync_cursor *cursor, struct str mark)
{
    cursor->has_mark = mark.len == SYNC_MARK_BYTES;
    if (cursor->has_mark)
        memcpy(cursor->mark, mark.data, SYNC_MARK_BYTES);
}

static int take_end(struct sync *s, const Trimtab__V1__End *end)
{
    struct sync_cursor cursor = s->status.cursor;
    struct err why = ERR_NULL;
    const char *fault;
    int r;

    if (s->stage.is_complete && stage_absent(s, false)) {
        stage_clear(&s->stage);
        return ERR_NOMEM;
    }
    fault = prove(s, end, &cursor);
    cursor.revision = end->revision;
    keep_mark(&cursor, proto_str(end->mark));
    memcpy(cursor.store_id, s->store_id, SYNC_STORE_ID_BYTES);
    if (fault) {
        s->status.repairs++;
        reject(s, end->revision, fault);
        return 0;
    }
    r = store_and_apply(s, end, &cursor, &why);
    if (r == ERR_NOMEM) {
        stage_clear(&s->stage);
        return r;
    }
    if (r) {
        reject(s, end->revision, why.text);
        return 0;
    }
    s->status.phase = SYNC_LIVE;
    return 0;
}

/* ---- other frames ---- */

static bool is_welcome(const struct sync *s)
{
    return s->status.phase == SYNC_SYNCING || s->status.phase == SYNC_LIVE;
}

static void send_health(struct sync *s)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Health health = TRIMTAB__V1__HEALTH__INIT;

    if (!s->health || !is_welcome(s))
        return;
    health.failing = s->health->failing;
    health.revision = s->health->revision;
    health.reason = s->health->reason;
    health.source = s->health->source;
    frame.health = &health;
    send(s, &frame);
}

/*
 * Revisions of another store say nothing here, and what was served of it proves nothing. Until a batch of this store is
 * stored the cursor goes on naming the store that what is held came from: else a new link would take it for this one's.
 */
static void forget_revisions(struct sync *s)
{
    s->status.cursor.revision = 0;
    s->status.cursor.has_mark = false;
    s->report = shared_unref(s->report);
    if (s->health)
        s->health->revision = 0;
    s->orders = s->fleet = (struct order_place){0, 0};
    if (s->opts.ops->order)
        s->opts.ops->order(s->opts.ctx, NULL);
}

static int take_welcome(struct sync *s, const Trimtab__V1__Welcome *w, struct err *err)
{
    if (s->status.phase != SYNC_HELLO)
        return err_set(err, ERR_INVALID, "a second welcome");
    if (w->store_id.len != SYNC_STORE_ID_BYTES)
        return err_set(err, ERR_INVALID, "a welcome without a store id");
    memcpy(s->store_id, w->store_id.data, SYNC_STORE_ID_BYTES);
    if (memcmp(s->status.cursor.store_id, s->store_id, SYNC_STORE_ID_BYTES) != 0)
        forget_revisions(s);
    s->status.mode = w->mode;
    s->status.head = w->head;
    s->silence_max = SILENT_BOOKMARKS * NSEC_PER_MS * MAX(w->bookmark_ms, 1000u);
    s->status.phase = SYNC_SYNCING;
    send_health(s); /* what is served is said of the first batch, which this stream announces */
    return 0;
}

/*
 * Says again what is served. While nothing newer waits to be applied it is also what is served at the cursor, which is what
 * the server announced last.
 */
static int answer_report(struct sync *s)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Ack *ack;

    if (!s->report || s->status.phase != SYNC_LIVE)
        return 0;
    ack = trimtab__v1__ack__unpack(&proto_allocator, s->report->len,
                                   (const uint8_t *)s->report->data);
    if (!ack)
        return ERR_NOMEM;
    if (s->serving_revision == s->stored_revision)
        ack->revision = s->status.cursor.revision;
    frame.ack = ack;
    send(s, &frame);
    trimtab__v1__ack__free_unpacked(ack, &proto_allocator);
    return 0;
}

static int take_bookmark(struct sync *s, const Trimtab__V1__Bookmark *b, struct err *err)
{
    struct digest announced;

    if (s->status.phase != SYNC_LIVE)
        return err_set(err, ERR_INVALID, "a bookmark before the first batch");
    if (!digest_get(proto_str(b->digest), &announced) || !digest_eq(announced, s->status.cursor.digest) ||
        b->count != s->bindings.n) {
        s->status.repairs++;
        return send_inventory(s, false) ? 0 : ERR_NOMEM;
    }
    if (b->revision < s->status.cursor.revision)
        return err_set(err, ERR_INVALID, "a bookmark behind the cursor");
    s->status.cursor.revision = b->revision;
    keep_mark(&s->status.cursor, proto_str(b->mark));
    if (s->opts.ops->moved)
        s->opts.ops->moved(s->opts.ctx, &s->status.cursor);
    return 0;
}

/* ---- orders ---- */

static void send_order_ack(struct sync *s, uint64_t revision)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__OrderAck ack = TRIMTAB__V1__ORDER_ACK__INIT;

    ack.revision = revision;
    frame.order_ack = &ack;
    send(s, &frame);
}

void sync_load_orders(struct sync *s, uint64_t order, uint64_t fleet)
{
    s->orders = (struct order_place){order, order};
    s->fleet = (struct order_place){fleet, fleet};
}

/* One of another history, or that was overtaken by a newer one, is not acknowledged. */
void sync_order_done(struct sync *s, uint64_t revision)
{
    struct order_place *p = revision == s->fleet.given ? &s->fleet : &s->orders;

    if (revision <= p->done || revision > p->given)
        return;
    p->done = revision;
    if (is_welcome(s)) /* else the next hello says it */
        send_order_ack(s, revision);
}

static bool is_of_fleet(Trimtab__V1__OrderKind kind)
{
    return kind == TRIMTAB__V1__ORDER_KIND__PAUSE_FLEET ||
           kind == TRIMTAB__V1__ORDER_KIND__RESUME_FLEET;
}

/* One that is on its way already comes again over each new link until it is acknowledged. */
static int take_order(struct sync *s, const Trimtab__V1__Order *order, struct err *err)
{
    struct sync_order given = {order->revision,    order->kind,   order->resources,
                               order->n_resources, order->reason, s->store_id};
    struct order_place *p = is_of_fleet(order->kind) ? &s->fleet : &s->orders;

    if (!is_welcome(s))
        return err_set(err, ERR_INVALID, "an order before the welcome");
    if (!s->opts.ops->order)
        return 0;
    if (order->revision <= p->done)
        send_order_ack(s, order->revision);
    else if (order->revision > p->given) {
        p->given = order->revision;
        s->opts.ops->order(s->opts.ctx, &given);
    }
    return 0;
}

static bool carries_batch(const Trimtab__V1__ServerFrame *frame)
{
    return frame->part || frame->n_changes || frame->end;
}

static int take_batch(struct sync *s, const Trimtab__V1__ServerFrame *frame, struct err *err)
{
    int r = 0;

    if (s->status.phase != SYNC_SYNCING && s->status.phase != SYNC_LIVE)
        return err_set(err, ERR_INVALID, "changes before the welcome");
    if (frame->part)
        r = stage_part(&s->stage, frame->part, err);
    for (size_t i = 0; i < frame->n_changes && !r; i++)
        r = stage_changes(&s->stage, frame->changes[i], err);
    if (!r && frame->end)
        r = take_end(s, frame->end);
    return r;
}

int sync_frame(struct sync *s, const Trimtab__V1__ServerFrame *frame, nsec_t now, struct err *err)
{
    int r = 0;

    s->heard = now;
    if (frame->welcome)
        r = take_welcome(s, frame->welcome, err);
    if (!r && frame->order)
        r = take_order(s, frame->order, err);
    if (!r && carries_batch(frame))
        r = take_batch(s, frame, err);
    if (!r && frame->bookmark)
        r = take_bookmark(s, frame->bookmark, err);
    if (!r && frame->ask_inventory && !send_inventory(s, frame->ask_inventory->held))
        r = ERR_NOMEM;
    if (!r && frame->ask_report)
        r = answer_report(s);
    if (!r && frame->go_away)
        s->opts.ops->reconnect(s->opts.ctx, frame->go_away->reconnect_after_ms, frame->go_away->reason);
    return r;
}

bool sync_tick(struct sync *s, nsec_t now)
{
    return s->status.phase == SYNC_OFFLINE || now <= s->heard + s->silence_max;
}

/* ---- what is served ---- */

static void refusal_message(struct arena *a, const struct sync_refusal *r, Trimtab__V1__Refusal *m)
{
    trimtab__v1__refusal__init(m);
    m->scope = arena_c(a, r->scope);
    m->key = key_text(a, r->key);
    m->code = arena_c(a, str_c(r->code));
    m->message = arena_c(a, r->message);
    m->held_by = arena_c(a, r->held_by);
    if (r->hash)
        m->hash = proto_bytes(str_of(r->hash->bytes, SHA256_BYTES));
    if (!r->serving)
        return;
    m->serving_hash = proto_bytes(str_of(r->serving->item_hash.bytes, SHA256_BYTES));
    m->serving_version = r->serving->number;
    if (strcmp(r->code, SYNC_HELD_DELETION) == 0)
        m->id = key_text(a, r->serving->key);
}

/* ---- what is held, in a report ---- */

/* A report on its way. */
struct reporting {
    struct arena arena;
    Trimtab__V1__Refusal **list;
    size_t n;
    struct map said; /* names that are held and refused: named once */
};

static void report_one(struct reporting *p, const struct sync_refusal *r)
{
    Trimtab__V1__Refusal *m = ARENA_NEW(&p->arena, Trimtab__V1__Refusal);

    if (!m)
        return;
    refusal_message(&p->arena, r, m);
    p->list[p->n++] = m;
}

/* Wanted is nothing, and this is served all the same. */
static void report_held(struct reporting *p, const struct hold *h,
                        const struct version *serving)
{
    const struct sync_refusal r = {.scope = binding_scope(h->binding),
                                   .key = binding_tail(h->binding),
                                   .serving = serving,
                                   .code = SYNC_HELD_DELETION,
                                   .message = h->is_needed
                                                  ? STR("something held refers to it")
                                                  : STR("no recorded change deletes it")};

    report_one(p, &r);
}

/*
 * What is refused of a name that is held is not what was received of it: nothing was. If nothing is served either, there is
 * nothing to except.
 */
static bool report_refused(struct reporting *p, const struct sync *s,
                           const struct sync_refusal *r)
{
    owned(buf) struct buf key = BUF_NULL((size_t)2 * ID_BYTES_MAX);
    const struct hold *h;

    buf_put_str(&key, r->scope);
    buf_put_byte(&key, '\0');
    buf_put_str(&key, r->key);
    h = s->holds.by_name.n ? holds_find(&s->holds, buf_str(&key)) : NULL;
    if (buf_status(&key))
        return false;
    if (!h) {
        report_one(p, r);
        return true;
    }
    if (r->serving)
        report_held(p, h, r->serving);
    return map_put(&p->said, binding_key(h->binding), h->binding, NULL);
}

/* Everything that is served otherwise than it was received. False without memory. */
static bool report_exceptions(struct reporting *p, const struct sync *s,
                              const struct sync_refusal *refused, size_t n)
{
    struct map_slot *slot;
    size_t at = 0;

    p->list = ARENA_ARRAY(&p->arena, Trimtab__V1__Refusal *, n + s->holds.by_name.n);
    for (size_t i = 0; i < n; i++)
        if (arena_failed(&p->arena) || !report_refused(p, s, &refused[i]))
            return false;
    while (p->list && (slot = map_each(&s->holds.by_name, &at)))
        if (!map_get(&p->said, slot->key))
            report_held(p, slot->value, ((const struct hold *)slot->value)->binding->item);
    return !arena_failed(&p->arena);
}

/* Takes what a refusal needs in a report from what is left of it; false when that is not enough. */
static bool take_room(const Trimtab__V1__Refusal *m, size_t *left)
{
    size_t size = wire_field_len(trimtab__v1__refusal__get_packed_size(m));

    if (size > *left)
        return false;
    *left -= size;
    return true;
}

/*
 * Cuts a report to what the server takes: as many exceptions as fit, and of their messages those for which there is room
 * then. What is served differs by more than a report names that was cut, so it proves nothing. False without memory.
 */
static bool fit_report(struct reporting *p)
{
    static char none[1];
    size_t left = INBOUND_REPORT_BYTES_MAX - REPORT_HEAD_BYTES, n = 0;
    char **messages = ARENA_ARRAY(&p->arena, char *, p->n);

    for (; messages && n < MIN(p->n, (size_t)INBOUND_REFUSALS_MAX); n++) {
        messages[n] = p->list[n]->message;
        p->list[n]->message = none;
        if (!take_room(p->list[n], &left))
            break;
    }
    p->n = n;
    for (size_t i = 0; messages && i < n; i++) {
        left += wire_field_len(trimtab__v1__refusal__get_packed_size(p->list[i]));
        p->list[i]->message = messages[i];
        if (take_room(p->list[i], &left))
            continue;
        p->list[i]->message = none;
        (void)take_room(p->list[i], &left); /* it had that room before */
    }
    return messages;
}

int sync_applied(struct sync *s, uint64_t revision, struct digest serving,
                 const struct sync_refusal *refused, size_t n)
{
    struct reporting p = {.n = 0};
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Ack ack = TRIMTAB__V1__ACK__INIT;
    unsigned char received_digest[DIGEST_BYTES], serving_digest[DIGEST_BYTES];

    s->report = shared_unref(s->report);
    if (revision > s->status.cursor.revision)
        return 0;
    digest_put(s->status.cursor.digest, received_digest);
    digest_put(serving, serving_digest);
    ack.stage = TRIMTAB__V1__STAGE__APPLIED;
    ack.revision = revision;
    ack.received_digest = (ProtobufCBinaryData){DIGEST_BYTES, received_digest};
    ack.serving_digest = (ProtobufCBinaryData){DIGEST_BYTES, serving_digest};
    if (report_exceptions(&p, s, refused, n) && fit_report(&p)) {
        ack.refused = p.list;
        ack.n_refused = p.n;
        s->report = proto_pack(&ack.base, 0);
    }
    if (s->report) {
        s->serving = serving;
        s->serving_revision = revision;
        frame.ack = &ack;
        if (is_welcome(s))
            send(s, &frame);
    }
    map_deinit(&p.said);
    arena_deinit(&p.arena);
    return s->report ? 0 : ERR_NOMEM;
}

/* ---- how it is ---- */

static struct str text_part(const char *text, size_t max)
{
    struct str s = str_part(str_c(text), 0, max);

    return str_part(s, 0, str_utf8_prefix(s));
}

int sync_health(struct sync *s, const struct sync_judgement *judgement)
{
    struct str reason = text_part(judgement->reason, SYNC_REASON_MAX);
    struct str source = text_part(judgement->source, SYNC_SOURCE_MAX);
    struct health *h = mem_zalloc(sizeof(*h) + reason.len + source.len + 2);
    char *at = (char *)(h + 1);

    if (!h)
        return ERR_NOMEM;
    *h = (struct health){judgement->failing, judgement->revision, at, at + reason.len + 1};
    (void)str_keep(&at, reason);
    at++;
    (void)str_keep(&at, source);
    (void)mem_free(s->health);
    s->health = h;
    send_health(s);
    return 0;
}

/* ---- looking ---- */

struct version *sync_find(const struct sync *s, struct str scope, struct str kind, struct str name)
{
    char room[2 * ID_BYTES_MAX], *at = room;
    size_t len = size_add(size_add(scope.len, kind.len), size_add(name.len, 2));
    struct str key = str_of(room, len);
    const struct binding *b;
    const struct hold *h;

    if (len > sizeof(room))
        return NULL;
    (void)str_keep(&at, scope);
    *at++ = '\0';
    (void)str_keep(&at, kind);
    *at++ = '\0';
    (void)str_keep(&at, name);
    b = map_get(&s->bindings, key);
    h = b ? NULL : holds_find(&s->holds, key);
    return b ? b->item : h ? h->binding->item : NULL;
}

int sync_each(const struct sync *s, sync_each_fn *fn, void *ctx)
{
    struct map_slot *slot;
    size_t at = 0;
    int r = 0;

    while (!r && (slot = map_each(&s->bindings, &at))) {
        const struct binding *b = slot->value;
        struct sync_change change = {binding_scope(b), binding_tail(b), b->item, false};

        r = fn(ctx, &change);
    }
    at = 0;
    while (!r && (slot = map_each(&s->holds.by_name, &at))) {
        const struct binding *b = ((const struct hold *)slot->value)->binding;
        struct sync_change change = {binding_scope(b), binding_tail(b), b->item, true};

        r = fn(ctx, &change);
    }
    return r;
}

/* The hash of an item from its bytes, not as it was noted. */
static bool rehash(struct binding *b)
{
    struct version *v = b->item;
    struct version_opts o = {.key = v->key,
                             .content_type = v->content_type,
                             .meta = v->meta,
                             .references = v->references};
    struct sha256 content = sha256_of(v->content), item;

    if (item_hash(&o, &content, &item) || sha256_eq(&item, &v->item_hash))
        return true;
    v->content_hash = content; /* what it has become: the inventory tells the truth */
    v->item_hash = item;
    return false;
}

bool sync_verify(struct sync *s)
{
    struct map_slot *slot;
    struct digest digest = DIGEST_NULL;
    size_t at = 0;

    while ((slot = map_each(&s->bindings, &at))) {
        (void)rehash(slot->value); /* what differs shows in the digest */
        digest = digest_add(digest, element(slot->value));
    }
    if (digest_eq(digest, s->status.cursor.digest))
        return true;
    s->status.cursor.digest = digest;
    s->status.repairs++;
    if (s->status.phase == SYNC_LIVE)
        (void)send_inventory(s, false); /* without memory the next bookmark asks again */
    return false;
}
