/*
 * The subscriber's core alone, frame by frame, against the rules S1 to S6 of sync.h: what a server may say, what a forged
 * or faulty one may not achieve, and that a lack of memory at any point is made good by saying it again.
 */
#include "sync/sync.h"

#include "proto/convert.h"
#include "proto/inbound.h"
#include "sync/stage.h"
#include "tap.h"

enum { ITEMS_MAX = 8, LOG_MAX = 256 };

/* Frames of the client, and what it had stored when it sent them. */
struct world {
    struct sync *sync;
    Trimtab__V1__Instance instance;
    bool store_fails, applies;
    char log[LOG_MAX]; /* h hello, S store, s stored, a apply, A applied, n no memory to say it, r rejected, i inventory, ! reconnect */
    Trimtab__V1__ClientFrame *hello, *applied, *rejected, *inventory; /* the last of each */
    size_t n_entries;                                                 /* of inventories, in all */
    uint32_t wait_ms;
    struct sync_cursor stored;
    size_t n_changes; /* of the last batch that was stored */
};

static void note(struct world *w, char what)
{
    size_t n = strlen(w->log);

    if (n + 1 < LOG_MAX)
        w->log[n] = what;
}

/* A copy that stays. Memory may be short only in the code under test. */
static void keep(Trimtab__V1__ClientFrame **place, const Trimtab__V1__ClientFrame *frame)
{
    size_t len = trimtab__v1__client_frame__get_packed_size(frame);
    uint8_t *bytes = malloc(len + 1);

    (void)trimtab__v1__client_frame__pack(frame, bytes);
    if (*place)
        trimtab__v1__client_frame__free_unpacked(*place, NULL);
    *place = trimtab__v1__client_frame__unpack(NULL, len, bytes);
    free(bytes);
}

static void op_send(void *ctx, const Trimtab__V1__ClientFrame *frame)
{
    struct world *w = ctx;

    if (frame->hello) {
        note(w, 'h');
        keep(&w->hello, frame);
    } else if (frame->inventory) {
        note(w, 'i');
        w->n_entries += frame->inventory->n_entries;
        keep(&w->inventory, frame);
    } else if (frame->ack && frame->ack->stage == TRIMTAB__V1__STAGE__STORED) {
        note(w, 's');
    } else if (frame->ack && frame->ack->stage == TRIMTAB__V1__STAGE__APPLIED) {
        note(w, 'A');
        keep(&w->applied, frame);
    } else if (frame->ack) {
        note(w, 'r');
        keep(&w->rejected, frame);
    }
}

static int op_store(void *ctx, const struct sync_batch *batch, struct err *err)
{
    struct world *w = ctx;

    if (w->store_fails)
        return err_set(err, ERR_IO, "the disk is full");
    note(w, 'S');
    w->stored = batch->cursor;
    w->n_changes = batch->n;
    return 0;
}

static void op_apply(void *ctx, const struct sync_batch *batch)
{
    struct world *w = ctx;

    note(w, 'a');
    if (w->applies &&
        sync_applied(w->sync, batch->cursor.revision, batch->cursor.digest, NULL, 0))
        note(w, 'n');
}

static void op_reconnect(void *ctx, uint32_t after_ms, const char *reason)
{
    struct world *w = ctx;

    note(w, '!');
    w->wait_ms = after_ms;
    CHECK(reason && *reason);
}

static const struct sync_ops ops = {
    .send = op_send, .store = op_store, .apply = op_apply, .reconnect = op_reconnect};

static void init(struct world *w)
{
    struct sync_opts opts = {.instance = &w->instance, .ops = &ops, .ctx = w};

    *w = (struct world){.log = ""};
    trimtab__v1__instance__init(&w->instance);
    w->sync = sync_new(&opts);
}

static void forget(Trimtab__V1__ClientFrame **place)
{
    if (*place)
        trimtab__v1__client_frame__free_unpacked(take(*place), NULL);
}

static void deinit(struct world *w)
{
    forget(&w->hello);
    forget(&w->applied);
    forget(&w->rejected);
    forget(&w->inventory);
    w->sync = sync_free(w->sync);
}

static void check_log(struct world *w, const char *want)
{
    CHECK_STR(str_c(w->log), str_c(want));
    memset(w->log, 0, sizeof(w->log));
}

/* ---- the server ---- */

/* An item as a server sends it, with what it adds to the digest. */
struct item {
    Trimtab__V1__Item message;
    char id[32], content[32];
    struct sha256 content_hash;
    struct digest element;
};

static void make_item(struct item *item, const char *id, const char *content)
{
    owned(version_unref) struct version *v = NULL;
    owned(shared_unref) struct shared *bytes = shared_copy(str_c(content));
    static char type[] = "text/plain";

    REQUIRE(id && content && bytes);
    trimtab__v1__item__init(&item->message);
    (void)snprintf(item->id, sizeof(item->id), "%s", id);
    (void)snprintf(item->content, sizeof(item->content), "%s", content);
    item->content_hash = sha256_of(str_c(content));
    item->message.id = item->id;
    item->message.content = proto_bytes(str_c(item->content));
    item->message.content_type = type;
    item->message.content_hash =
        proto_bytes(str_of(item->content_hash.bytes, sizeof(item->content_hash.bytes)));
    item->message.size = strlen(content);
    item->message.version = 1;
    item->message.revision = 1;
    if (CHECK_I64(version_received(&item->message, bytes, &v, NULL), 0))
        item->element = binding_digest(STR("s"), &v->item_hash);
}

/* What a server says next: items that are put, names that are dropped, and what the subscriber then has. */
struct offer {
    struct item items[ITEMS_MAX];
    char *drops[ITEMS_MAX];
    size_t n, n_drops;
    Trimtab__V1__Mode mode;
    uint64_t revision, count;
    struct digest digest;
    /* its messages */
    Trimtab__V1__ServerFrame frame;
    Trimtab__V1__Changes changes, *list[1];
    Trimtab__V1__Item *put[ITEMS_MAX];
    Trimtab__V1__End end;
    unsigned char bytes[DIGEST_BYTES];
};

static void offer_init(struct offer *o, uint64_t revision, Trimtab__V1__Mode mode)
{
    memset(o, 0, sizeof(*o));
    o->revision = revision;
    o->mode = mode;
}

static void offer_put(struct offer *o, const char *id, const char *content)
{
    make_item(&o->items[o->n], id, content);
    o->digest = digest_add(o->digest, o->items[o->n++].element);
    o->count++;
}

/* The frame, with everything true; a test may then falsify it. */
static Trimtab__V1__ServerFrame *offer_frame(struct offer *o)
{
    static char scope[] = "s";

    trimtab__v1__server_frame__init(&o->frame);
    trimtab__v1__changes__init(&o->changes);
    trimtab__v1__end__init(&o->end);
    for (size_t i = 0; i < o->n; i++)
        o->put[i] = &o->items[i].message;
    o->changes.scope = scope;
    o->changes.put = o->put;
    o->changes.n_put = o->n;
    o->changes.drop = o->drops;
    o->changes.n_drop = o->n_drops;
    o->list[0] = &o->changes;
    o->frame.changes = o->list;
    o->frame.n_changes = 1;
    digest_put(o->digest, o->bytes);
    o->end.mode = o->mode;
    o->end.revision = o->revision;
    o->end.digest = (ProtobufCBinaryData){DIGEST_BYTES, o->bytes};
    o->end.count = o->count;
    o->frame.end = &o->end;
    return &o->frame;
}

static int say(struct world *w, const Trimtab__V1__ServerFrame *frame)
{
    return sync_frame(w->sync, frame, 1, NULL);
}

static int welcome_by(struct world *w, unsigned char store)
{
    Trimtab__V1__ServerFrame frame = TRIMTAB__V1__SERVER_FRAME__INIT;
    Trimtab__V1__Welcome welcome = TRIMTAB__V1__WELCOME__INIT;
    unsigned char id[SYNC_STORE_ID_BYTES] = {store};

    welcome.store_id = proto_bytes(str_of(id, sizeof(id)));
    welcome.bookmark_ms = 5000;
    frame.welcome = &welcome;
    return say(w, &frame);
}

static void connect_to(struct world *w, unsigned char store)
{
    sync_link_down(w->sync);
    sync_link_up(w->sync, 1);
    CHECK_I64(welcome_by(w, store), 0);
}

static int say_bookmark(struct world *w, uint64_t revision, struct digest digest, uint64_t n)
{
    Trimtab__V1__ServerFrame frame = TRIMTAB__V1__SERVER_FRAME__INIT;
    Trimtab__V1__Bookmark b = TRIMTAB__V1__BOOKMARK__INIT;
    unsigned char bytes[DIGEST_BYTES];

    digest_put(digest, bytes);
    b.revision = revision;
    b.digest = (ProtobufCBinaryData){DIGEST_BYTES, bytes};
    b.count = n;
    frame.bookmark = &b;
    return say(w, &frame);
}

/* Connected, with items a and b at revision 5. */
static void begin(struct world *w, struct offer *o)
{
    init(w);
    w->applies = true;
    connect_to(w, 1);
    offer_init(o, 5, TRIMTAB__V1__MODE__FULL);
    offer_put(o, "n/item/a", "1");
    offer_put(o, "n/item/b", "2");
    CHECK_I64(say(w, offer_frame(o)), 0);
    check_log(w, "hSsaA");
}

/* What it has under a name of the scope s; empty: nothing. */
static struct str has(const struct world *w, const char *name)
{
    struct version *v = sync_find(w->sync, STR("s"), STR("item"), str_c(name));

    return v ? v->content : STR("");
}

static void check_unchanged(const struct world *w, const struct offer *o)
{
    struct sync_cursor cursor = sync_status(w->sync).cursor;

    CHECK_U64(cursor.revision, o->revision);
    CHECK_U64(cursor.count, o->count);
    CHECK(digest_eq(cursor.digest, o->digest));
    CHECK_STR(has(w, "a"), STR("1"));
    CHECK_STR(has(w, "b"), STR("2"));
}

/* Its next batch, true: a becomes 3, b goes. */
static void next_offer(struct offer *o, const struct offer *before)
{
    static char drop[] = "item/b";

    offer_init(o, before->revision + 1, TRIMTAB__V1__MODE__RESUME);
    offer_put(o, "n/item/a", "3");
    o->drops[o->n_drops++] = drop;
}

/* ---- a batch ---- */

TEST("S2: stored is said after the batch is stored, and before it is applied")
{
    struct world w;
    struct offer first, next;

    begin(&w, &first);
    next_offer(&next, &first);
    CHECK_I64(say(&w, offer_frame(&next)), 0);
    check_log(&w, "SsaA");
    CHECK_U64(w.stored.revision, 6);
    CHECK_U64(w.n_changes, 2);
    CHECK_STR(has(&w, "a"), STR("3"));
    CHECK_STR(has(&w, "b"), STR(""));
    CHECK_U64(w.applied->ack->revision, 6);
    deinit(&w);
}

TEST("S1: without its end nothing of a batch is stored, and a link that is made anew forgets it")
{
    struct world w;
    struct offer first, next, nothing;

    begin(&w, &first);
    next_offer(&next, &first);
    offer_frame(&next)->end = NULL;
    CHECK_I64(say(&w, &next.frame), 0);
    check_log(&w, "");
    check_unchanged(&w, &first);
    connect_to(&w, 1);
    offer_init(&nothing, 6, TRIMTAB__V1__MODE__RESUME);
    nothing.digest = first.digest;
    nothing.count = 2;
    CHECK_I64(say(&w, offer_frame(&nothing)), 0);
    check_log(&w, "hSsaA");
    CHECK_STR(has(&w, "a"), STR("1"));
    deinit(&w);
}

TEST("S1: a batch whose digest, count or revision is not right is rejected whole")
{
    struct world w;
    struct offer first, next;

    begin(&w, &first);
    next_offer(&next, &first);
    next.digest = first.digest;
    CHECK_I64(say(&w, offer_frame(&next)), 0);
    check_log(&w, "r");
    check_unchanged(&w, &first);
    REQUIRE(w.rejected);
    CHECK(memcmp(w.rejected->ack->received_digest.data, first.bytes, DIGEST_BYTES) == 0);
    next_offer(&next, &first);
    next.count = 2;
    CHECK_I64(say(&w, offer_frame(&next)), 0);
    next_offer(&next, &first);
    offer_frame(&next)->end->digest.len = 0;
    CHECK_I64(say(&w, &next.frame), 0);
    next_offer(&next, &first);
    next.revision = 4; /* S5 */
    CHECK_I64(say(&w, offer_frame(&next)), 0);
    check_unchanged(&w, &first);
    CHECK_U64(sync_status(w.sync).rejected, 4);
    next_offer(&next, &first);
    CHECK_I64(say(&w, offer_frame(&next)), 0);
    CHECK_STR(has(&w, "a"), STR("3"));
    deinit(&w);
}

TEST("S1: content that does not have its hash, size or id breaks the stream and is not stored")
{
    static unsigned char other[SHA256_BYTES] = {1};
    struct world w;
    struct offer first, next;

    begin(&w, &first);
    for (int what = 0; what < 4; what++) {
        next_offer(&next, &first);
        if (what == 0)
            next.items[0].message.content_hash = proto_bytes(str_of(other, sizeof(other)));
        else if (what == 1)
            next.items[0].message.size = 2;
        else if (what == 2)
            next.items[0].message.in_parts = true; /* and no part came */
        else
            next.items[0].message.id[1] = ' ';
        CHECK_I64(say(&w, offer_frame(&next)), ERR_INVALID);
        check_log(&w, "");
        check_unchanged(&w, &first);
        connect_to(&w, 1);
        check_log(&w, "h");
    }
    deinit(&w);
}

TEST("S2: a batch that cannot be stored is rejected with the reason, and nothing of it is there")
{
    struct world w;
    struct offer first, next;

    begin(&w, &first);
    w.store_fails = true;
    next_offer(&next, &first);
    CHECK_I64(say(&w, offer_frame(&next)), 0);
    check_log(&w, "r");
    check_unchanged(&w, &first);
    CHECK_STR(str_c(w.rejected->ack->reason), STR("the disk is full"));
    CHECK_U64(w.rejected->ack->revision, 6);
    w.store_fails = false;
    CHECK_I64(say(&w, offer_frame(&next)), 0);
    check_log(&w, "SsaA");
    deinit(&w);
}

TEST("a full batch unbinds what it does not name, and holds it: it tells no causes")
{
    struct world w;
    struct offer first, next;

    begin(&w, &first);
    offer_init(&next, 9, TRIMTAB__V1__MODE__FULL);
    offer_put(&next, "n/item/c", "4");
    CHECK_I64(say(&w, offer_frame(&next)), 0);
    check_log(&w, "SsaA");
    CHECK_U64(w.n_changes, 1);
    CHECK_U64(sync_status(w.sync).cursor.count, 1);
    CHECK_STR(has(&w, "a"), STR("1"));
    CHECK_U64(sync_n_held(w.sync), 2);
    CHECK_STR(has(&w, "c"), STR("4"));
    deinit(&w);
}

static int say_part(struct world *w, const struct item *item, uint64_t offset, const char *data,
                    uint64_t size)
{
    Trimtab__V1__ServerFrame frame = TRIMTAB__V1__SERVER_FRAME__INIT;
    Trimtab__V1__Part part = TRIMTAB__V1__PART__INIT;

    part.content_hash = item->message.content_hash;
    part.offset = offset;
    part.size = size;
    part.data = proto_bytes(str_c(data));
    frame.part = &part;
    return say(w, &frame);
}

/* The next batch, whose content comes in parts. */
static Trimtab__V1__ServerFrame *in_parts(struct offer *o, const struct offer *before)
{
    static char drop[] = "item/b";

    offer_init(o, before->revision + 1, TRIMTAB__V1__MODE__RESUME);
    offer_put(o, "n/item/a", "onetwo");
    o->drops[o->n_drops++] = drop;
    o->items[0].message.in_parts = true;
    o->items[0].message.content = (ProtobufCBinaryData){0, NULL};
    return offer_frame(o);
}

TEST("content comes in parts, in order and whole, or breaks the stream")
{
    struct world w;
    struct offer first, next;

    begin(&w, &first);
    (void)in_parts(&next, &first);
    CHECK_I64(say_part(&w, &next.items[0], 0, "one", 6), 0);
    CHECK_I64(say_part(&w, &next.items[0], 2, "etwo", 6), ERR_INVALID);
    connect_to(&w, 1);
    CHECK_I64(say_part(&w, &next.items[0], 0, "one", 6), 0);
    CHECK_I64(say_part(&w, &next.items[0], 3, "twoo", 6), ERR_INVALID);
    connect_to(&w, 1);
    CHECK_I64(say_part(&w, &next.items[0], 0, "one", 6), 0);
    CHECK_I64(say(&w, &next.frame), ERR_INVALID); /* not whole */
    connect_to(&w, 1);
    CHECK_I64(say_part(&w, &next.items[0], 0, "onetwx", 6), 0);
    CHECK_I64(say(&w, &next.frame), ERR_INVALID); /* another content */
    check_unchanged(&w, &first);
    connect_to(&w, 1);
    CHECK_I64(say_part(&w, &next.items[0], 0, "one", 6), 0);
    CHECK_I64(say_part(&w, &next.items[0], 3, "two", 6), 0);
    CHECK_I64(say(&w, &next.frame), 0);
    CHECK_STR(has(&w, "a"), STR("onetwo"));
    deinit(&w);
}

TEST("of what is referred to a complete batch keeps what it names, and nothing else")
{
    static char star[] = "*", kept[] = "n/item/a";
    char *keep_list[] = {kept};
    struct world w;
    struct offer first, next;

    begin(&w, &first);
    offer_init(&next, 6, TRIMTAB__V1__MODE__RESUME);
    offer_put(&next, "n/item/a", "x");
    offer_put(&next, "n/item/b", "y");
    (void)offer_frame(&next);
    next.changes.scope = star;
    next.changes.complete = true;
    next.changes.n_put = 2;
    /* the digest of what is referred to is another one: let it be wrong once to learn that nothing slips through */
    CHECK_I64(say(&w, &next.frame), 0);
    check_log(&w, "r");
    check_unchanged(&w, &first);
    offer_init(&next, 6, TRIMTAB__V1__MODE__RESUME);
    next.digest = first.digest;
    next.count = 2;
    (void)offer_frame(&next);
    next.changes.complete = true; /* only the scope * can be */
    CHECK_I64(say(&w, &next.frame), ERR_INVALID);
    connect_to(&w, 1);
    next.changes.complete = false;
    next.changes.keep = keep_list;
    next.changes.n_keep = 1;
    CHECK_I64(say(&w, &next.frame), ERR_INVALID);
    check_unchanged(&w, &first);
    deinit(&w);
}

/* ---- bookmarks, inventories ---- */

TEST("S3, S4: a bookmark moves the cursor when it proves the digest; else the inventory is sent")
{
    struct world w;
    struct offer first;

    begin(&w, &first);
    CHECK_I64(say_bookmark(&w, 8, first.digest, 2), 0);
    check_log(&w, "");
    CHECK_U64(sync_status(w.sync).cursor.revision, 8);
    CHECK_I64(say_bookmark(&w, 9, first.items[0].element, 2), 0);
    check_log(&w, "i");
    CHECK_U64(sync_status(w.sync).cursor.revision, 8);
    CHECK_I64(say_bookmark(&w, 9, first.digest, 3), 0);
    check_log(&w, "i");
    CHECK_U64(sync_status(w.sync).cursor.revision, 8);
    REQUIRE(w.inventory);
    CHECK_U64(w.inventory->inventory->n_entries, 2);
    CHECK(w.inventory->inventory->last);
    CHECK_I64(say_bookmark(&w, 7, first.digest, 2), ERR_INVALID); /* S5 */
    CHECK_U64(sync_status(w.sync).cursor.revision, 8);
    deinit(&w);
}

TEST("an inventory comes in as many frames as it needs")
{
    enum { MANY = 4003 };
    struct world w;
    Trimtab__V1__ServerFrame frame = TRIMTAB__V1__SERVER_FRAME__INIT;
    Trimtab__V1__AskInventory ask = TRIMTAB__V1__ASK_INVENTORY__INIT;
    struct sync_change *changes = calloc(MANY, sizeof(*changes));
    char(*keys)[16] = calloc(MANY, sizeof(*keys));
    struct sync_cursor cursor = {.revision = 3, .count = MANY};
    owned(shared_unref) struct shared *bytes = shared_copy(STR("x"));
    struct item item;
    owned(version_unref) struct version *v = NULL;

    init(&w);
    make_item(&item, "n/item/x", "x");
    REQUIRE(version_received(&item.message, bytes, &v, NULL) == 0);
    for (int i = 0; i < MANY; i++) {
        int len = snprintf(keys[i], sizeof(keys[i]), "item%c%d", 0, i);

        changes[i] = (struct sync_change){STR("s"), str_of(keys[i], (size_t)len), v};
        cursor.digest = digest_add(cursor.digest, item.element);
    }
    REQUIRE(sync_load(w.sync, changes, MANY, &cursor) == 0);
    connect_to(&w, 0);
    frame.ask_inventory = &ask;
    CHECK_I64(say(&w, &frame), 0);
    check_log(&w, "hii");
    CHECK_U64(w.n_entries, MANY);
    CHECK(w.inventory->inventory->last);
    free(changes);
    free(keys);
    deinit(&w);
}

TEST("what was altered in memory is found, and the inventory tells what it has become")
{
    struct world w;
    struct offer first;
    struct version *v;

    begin(&w, &first);
    CHECK(sync_verify(w.sync));
    v = sync_find(w.sync, STR("s"), STR("item"), STR("a"));
    REQUIRE(v);
    *(char *)(uintptr_t)v->content.data = '7';
    CHECK(!sync_verify(w.sync));
    check_log(&w, "i");
    for (size_t i = 0; i < 2; i++) {
        const Trimtab__V1__Inventory__Entry *e = w.inventory->inventory->entries[i];

        if (strcmp(e->key, "item/a") == 0)
            CHECK(memcmp(e->hash.data, v->item_hash.bytes, SHA256_BYTES) == 0);
    }
    CHECK(!digest_eq(sync_status(w.sync).cursor.digest, first.digest));
    deinit(&w);
}

/* ---- what makes no sense ---- */

TEST("frames that come when they cannot come break the stream")
{
    struct world w;
    struct offer first, next;

    begin(&w, &first);
    CHECK_I64(welcome_by(&w, 1), ERR_INVALID); /* a second one */
    sync_link_down(w.sync);
    next_offer(&next, &first);
    CHECK_I64(say(&w, offer_frame(&next)), ERR_INVALID); /* without a link */
    sync_link_up(w.sync, 1);
    CHECK_I64(say(&w, &next.frame), ERR_INVALID); /* before the welcome */
    CHECK_I64(say_bookmark(&w, 6, first.digest, 2), ERR_INVALID);
    CHECK_I64(welcome_by(&w, 1), 0);
    CHECK_I64(say_bookmark(&w, 6, first.digest, 2), ERR_INVALID); /* before the first batch */
    check_unchanged(&w, &first);
    deinit(&w);
}

TEST("a welcome without a store is none")
{
    Trimtab__V1__ServerFrame frame = TRIMTAB__V1__SERVER_FRAME__INIT;
    Trimtab__V1__Welcome welcome = TRIMTAB__V1__WELCOME__INIT;
    struct world w;

    init(&w);
    sync_link_up(w.sync, 1);
    frame.welcome = &welcome;
    CHECK_I64(say(&w, &frame), ERR_INVALID);
    CHECK(sync_status(w.sync).phase == SYNC_HELLO);
    deinit(&w);
}

TEST("S6: who rejects again and again waits longer and longer, until a batch is stored")
{
    struct world w;
    struct offer first, next;
    uint32_t waited = 0;

    begin(&w, &first);
    for (int i = 1; i <= 5; i++) {
        next_offer(&next, &first);
        next.count = 7;
        CHECK_I64(say(&w, offer_frame(&next)), 0);
        CHECK((i >= 3) == (strchr(w.log, '!') != NULL));
        CHECK(i < 3 || w.wait_ms > waited);
        waited = w.wait_ms;
        memset(w.log, 0, sizeof(w.log));
    }
    next_offer(&next, &first);
    CHECK_I64(say(&w, offer_frame(&next)), 0);
    check_log(&w, "SsaA");
    next.count = 7;
    next.revision = 7;
    CHECK_I64(say(&w, offer_frame(&next)), 0);
    check_log(&w, "r");
    deinit(&w);
}

TEST("a server that is silent for three bookmarks is given up")
{
    struct world w;
    struct offer first;

    begin(&w, &first);
    CHECK(sync_tick(w.sync, 15 * NSEC_PER_S));
    CHECK(!sync_tick(w.sync, 15 * NSEC_PER_S + 2));
    sync_link_down(w.sync);
    CHECK(sync_tick(w.sync, 100 * NSEC_PER_S)); /* nobody is waited for */
    deinit(&w);
}

/* ---- what is served ---- */

static int say_refused(struct world *w, uint64_t revision)
{
    struct sync_refusal refused[2] = {{.scope = STR("s"),
                                       .key = STR("item\0a"),
                                       .code = "CHECK_FAILED",
                                       .message = STR("line 3")},
                                      {.scope = STR("s"),
                                       .key = STR("item\0b"),
                                       .code = "HELD",
                                       .held_by = STR("item/a")}};

    return sync_applied(w->sync, revision, DIGEST_NULL, refused, 2);
}

TEST("a report names as many refusals as a server takes, and its messages give way first")
{
    enum { MANY = INBOUND_REFUSALS_MAX + 1 };
    static char message[INBOUND_REASON_MAX + 1];
    struct sync_refusal *refused = NEW_ARRAY(struct sync_refusal, MANY);
    const Trimtab__V1__Ack *ack;
    struct world w;
    struct offer first;

    memset(message, 'm', INBOUND_REASON_MAX);
    for (size_t i = 0; i < MANY; i++)
        refused[i] = (struct sync_refusal){.scope = STR("s"), .key = STR("item\0a"), .code = "X", .message = str_c(message)};
    begin(&w, &first);
    CHECK_I64(sync_applied(w.sync, 5, DIGEST_NULL, refused, MANY), 0);
    REQUIRE(w.applied);
    ack = w.applied->ack;
    CHECK_U64(ack->n_refused, INBOUND_REFUSALS_MAX);
    CHECK(protobuf_c_message_get_packed_size(&ack->base) <= INBOUND_REPORT_BYTES_MAX);
    CHECK_U64(strlen(ack->refused[0]->message), INBOUND_REASON_MAX);
    CHECK_U64(strlen(ack->refused[ack->n_refused - 1]->message), 0);
    (void)mem_free(refused);
    deinit(&w);
}

/* A report is about what its own stream has announced: before the first batch there is nothing to be said. */
TEST("what is served is said again when the server asks, at the cursor if nothing newer waits")
{
    Trimtab__V1__ServerFrame question = TRIMTAB__V1__SERVER_FRAME__INIT;
    Trimtab__V1__AskReport ask = TRIMTAB__V1__ASK_REPORT__INIT;
    struct world w;
    struct offer first, second;

    question.ask_report = &ask;
    begin(&w, &first);
    CHECK_I64(say_refused(&w, 5), 0);
    check_log(&w, "A");
    connect_to(&w, 1);
    check_log(&w, "h");
    CHECK_I64(say(&w, &question), 0);
    check_log(&w, ""); /* not before this stream has announced something */
    offer_init(&second, 7, TRIMTAB__V1__MODE__RESUME);
    offer_put(&second, "n/item/a", "1");
    offer_put(&second, "n/item/b", "2");
    CHECK_I64(say(&w, offer_frame(&second)), 0);
    CHECK_I64(say_refused(&w, 7), 0);
    CHECK_I64(say(&w, &question), 0);
    REQUIRE(w.applied && w.applied->ack->n_refused == 2);
    CHECK_U64(w.applied->ack->revision, 7);
    CHECK_STR(str_c(w.applied->ack->refused[1]->held_by), STR("item/a"));
    CHECK_STR(str_c(w.applied->ack->refused[1]->key), STR("item/b"));
    deinit(&w);
}

TEST("another store is told nothing of what was served of this one")
{
    struct world w;
    struct offer first;

    begin(&w, &first);
    CHECK_I64(say_refused(&w, 5), 0);
    connect_to(&w, 2);
    check_log(&w, "Ah");
    CHECK_I64(say_refused(&w, 5), 0); /* a job that began before ends now */
    check_log(&w, "");
    connect_to(&w, 2);
    check_log(&w, "h");
    CHECK(w.hello->hello->serving == NULL);
    offer_init(&first, 3, TRIMTAB__V1__MODE__FULL);
    CHECK_I64(say(&w, offer_frame(&first)), 0);
    check_log(&w, "SsaA");
    CHECK_U64(w.applied->ack->revision, 3);
    deinit(&w);
}

TEST("what is served cannot be said without memory: nothing is, and nothing older, until it can")
{
    struct world w;
    struct offer first;
    uint64_t failed = 0;

    begin(&w, &first);
    for (uint64_t n = 0, more = 1; more; n++) {
        int r;

        (void)mem_fail_after(n);
        r = say_refused(&w, 5);
        more = (uint64_t)mem_fail_after(UINT64_MAX);
        if (!more) {
            CHECK_I64(r, 0);
            check_log(&w, "A");
            CHECK_U64(w.applied->ack->n_refused, 2);
            break;
        }
        CHECK_I64(r, ERR_NOMEM);
        check_log(&w, "");
        connect_to(&w, 1);
        check_log(&w, "h");
        CHECK(w.hello->hello->serving == NULL);
        offer_init(&first, 5, TRIMTAB__V1__MODE__FULL);
        offer_put(&first, "n/item/a", "1");
        offer_put(&first, "n/item/b", "2");
        CHECK_I64(say(&w, offer_frame(&first)), 0);
        check_log(&w, "SsaA");
        failed++;
    }
    CHECK(failed > 1);
    deinit(&w);
}

/* ---- memory ---- */

TEST("a batch without memory at any point leaves what was there, and comes again")
{
    uint64_t failed = 0;

    for (uint64_t n = 0, more = 1; more; n++) {
        struct world w;
        struct offer first, next;
        int r;

        begin(&w, &first);
        (void)in_parts(&next, &first);
        (void)mem_fail_after(n);
        r = say_part(&w, &next.items[0], 0, "onetwo", 6);
        if (!r)
            r = say(&w, &next.frame);
        more = (uint64_t)mem_fail_after(UINT64_MAX);
        if (r) {
            CHECK_I64(r, ERR_NOMEM);
            check_unchanged(&w, &first);
            connect_to(&w, 1);
            CHECK_I64(say_part(&w, &next.items[0], 0, "onetwo", 6), 0);
            CHECK_I64(say(&w, &next.frame), 0);
        }
        failed += r != 0;
        CHECK_STR(has(&w, "a"), STR("onetwo"));
        CHECK_STR(has(&w, "b"), STR(""));
        CHECK_U64(sync_status(w.sync).cursor.count, 1);
        CHECK(digest_eq(sync_status(w.sync).cursor.digest, next.digest));
        deinit(&w);
    }
    CHECK(failed > 5);
}

TEST("a full batch without memory at any point drops nothing that it does not name too early")
{
    for (uint64_t n = 0, more = 1; more; n++) {
        struct world w;
        struct offer first, next;
        int r;

        begin(&w, &first);
        offer_init(&next, 9, TRIMTAB__V1__MODE__FULL);
        offer_put(&next, "n/item/c", "4");
        (void)mem_fail_after(n);
        r = say(&w, offer_frame(&next));
        more = (uint64_t)mem_fail_after(UINT64_MAX);
        if (r) {
            CHECK_I64(r, ERR_NOMEM);
            check_unchanged(&w, &first);
            connect_to(&w, 1);
            CHECK_I64(say(&w, &next.frame), 0);
        }
        CHECK_U64(sync_status(w.sync).cursor.count, 1);
        CHECK_STR(has(&w, "c"), STR("4"));
        deinit(&w);
    }
}

TEST("an inventory without memory breaks the stream, and does not go half")
{
    struct world w;
    struct offer first;
    uint64_t failed = 0;

    begin(&w, &first);
    for (uint64_t n = 0, more = 1; more; n++) {
        int r;

        (void)mem_fail_after(n);
        r = say_bookmark(&w, 9, DIGEST_NULL, 2);
        more = (uint64_t)mem_fail_after(UINT64_MAX);
        CHECK_I64(r, more ? ERR_NOMEM : 0);
        check_log(&w, more ? "" : "i");
        CHECK_U64(sync_status(w.sync).cursor.revision, 5);
        failed += more;
    }
    CHECK(failed > 0);
    deinit(&w);
}

TEST("a copy that is not what its cursor says, or for which there is no memory, is not taken")
{
    struct world w;
    struct item item;
    owned(shared_unref) struct shared *bytes = shared_copy(STR("x"));
    owned(version_unref) struct version *v = NULL;
    struct sync_change twice[2];
    struct sync_cursor cursor = {.revision = 3, .count = 1};

    init(&w);
    make_item(&item, "n/item/x", "x");
    REQUIRE(version_received(&item.message, bytes, &v, NULL) == 0);
    twice[0] = (struct sync_change){STR("s"), STR("item\0x"), v};
    twice[1] = twice[0];
    CHECK_I64(sync_load(w.sync, twice, 1, &cursor), ERR_CORRUPT);
    cursor.digest = item.element;
    cursor.count = 2;
    CHECK_I64(sync_load(w.sync, twice, 1, &cursor), ERR_CORRUPT);
    cursor.digest = digest_add(item.element, item.element);
    CHECK_I64(sync_load(w.sync, twice, 2, &cursor), ERR_CORRUPT);
    cursor.digest = item.element;
    cursor.count = 1;
    for (uint64_t n = 0, more = 1; more; n++) {
        int r;

        (void)mem_fail_after(n);
        r = sync_load(w.sync, twice, 1, &cursor);
        more = (uint64_t)mem_fail_after(UINT64_MAX);
        CHECK_I64(r, more ? ERR_NOMEM : 0);
    }
    CHECK_STR(has(&w, "x"), STR("x"));
    deinit(&w);
}
