/*
 * Holds (I13), frame by frame: what no recorded change deletes is received no more and served on, alone, until just that
 * comes back, is deleted for a reason, or is let go; and what it refers to stays with it.
 */
#include "sync/copy.h"

#include "proto/convert.h"
#include "sync/stage.h"
#include "tap.h"

#include <unistd.h>

enum { ITEMS_MAX = 8, NAMES_MAX = 16 };

struct world {
    struct sync *sync;
    struct copy *copy; /* NULL: none */
    Trimtab__V1__Instance instance;
    Trimtab__V1__Scope scope, *scopes[1];
    bool store_fails;
    int n_stored, n_applied, n_rejected, n_unsaid;
    size_t n_changes, n_held, n_entries, n_held_entries; /* of the last batch; of inventories */
    Trimtab__V1__Ack *report;                            /* the last */
    unsigned char cursor_store;                          /* of the last hello, */
    bool has_claim;                                      /* which says what is served: */
    struct digest claim, received;                       /* beside what is received */
    bool is_slow;                                        /* nothing is applied for now */
    uint64_t revision;                                   /* of what it was told last */
};

static void forget_report(struct world *w)
{
    if (w->report)
        trimtab__v1__ack__free_unpacked(take(w->report), NULL);
}

static void note_hello(struct world *w, const Trimtab__V1__Hello *hello)
{
    if (hello->cursor) {
        w->cursor_store = hello->cursor->store_id.data[0];
        CHECK(digest_get(proto_str(hello->cursor->digest), &w->received));
    }
    w->has_claim = hello->serving && digest_get(proto_str(hello->serving->digest), &w->claim);
}

static void op_send(void *ctx, const Trimtab__V1__ClientFrame *frame)
{
    struct world *w = ctx;
    uint8_t bytes[8192];
    size_t len;

    if (frame->hello)
        note_hello(w, frame->hello);
    for (size_t i = 0; frame->inventory && i < frame->inventory->n_entries; i++) {
        w->n_entries++;
        w->n_held_entries += frame->inventory->entries[i]->held ? 1 : 0;
    }
    if (!frame->ack)
        return;
    w->n_rejected += frame->ack->stage == TRIMTAB__V1__STAGE__REJECTED;
    len = trimtab__v1__ack__get_packed_size(frame->ack);
    if (frame->ack->stage != TRIMTAB__V1__STAGE__APPLIED || !CHECK(len <= sizeof(bytes)))
        return;
    (void)trimtab__v1__ack__pack(frame->ack, bytes);
    forget_report(w);
    w->report = trimtab__v1__ack__unpack(NULL, len, bytes);
}

static int op_store(void *ctx, const struct sync_batch *batch, struct err *err)
{
    struct world *w = ctx;
    int r;

    if (w->store_fails)
        return err_set(err, ERR_IO, "the disk is full");
    r = w->copy ? copy_store(w->copy, batch, err) : 0;
    if (r)
        return r;
    w->n_stored++;
    w->n_changes = batch->n;
    w->n_held = batch->n_held;
    return 0;
}

static void op_apply(void *ctx, const struct sync_batch *batch)
{
    struct world *w = ctx;

    w->n_applied++;
    if (w->is_slow)
        return;
    w->n_unsaid +=
        sync_applied(w->sync, batch->cursor.revision, sync_wanted(w->sync), NULL, 0) != 0;
}

static void op_reconnect(void *ctx, uint32_t after_ms, const char *reason)
{
    (void)ctx;
    (void)after_ms;
    (void)reason;
}

static const struct sync_ops ops = {
    .send = op_send, .store = op_store, .apply = op_apply, .reconnect = op_reconnect};

static void open_sync(struct world *w)
{
    static char name[] = "s";
    struct sync_opts opts = {
        .instance = &w->instance, .scopes = w->scopes, .n_scopes = 1, .ops = &ops, .ctx = w};

    trimtab__v1__instance__init(&w->instance);
    trimtab__v1__scope__init(&w->scope);
    w->scope.name = name;
    w->scopes[0] = &w->scope;
    w->sync = sync_new(&opts);
}

static void deinit(struct world *w)
{
    forget_report(w);
    w->sync = sync_free(w->sync);
    w->copy = copy_close(w->copy);
}

/* ---- the server ---- */

/* "ID=CONTENT>REFERENCE" puts, "-ID" drops, "?ID" drops without a cause. A leading '*' is for what is referred to. */
struct word {
    Trimtab__V1__Item item;
    char id[32], content[32], reference[32], *references[1];
    struct sha256 hash;
};

struct saying {
    Trimtab__V1__ServerFrame frame;
    Trimtab__V1__Changes changes[2], *list[2];
    Trimtab__V1__End end;
    struct word words[ITEMS_MAX];
    Trimtab__V1__Item *puts[2][ITEMS_MAX];
    char *drops[2][ITEMS_MAX], *uncaused[2][ITEMS_MAX], texts[ITEMS_MAX][32];
    size_t n;
    unsigned char digest[DIGEST_BYTES];
};

static void add_put(struct saying *m, Trimtab__V1__Changes *c, const char *text)
{
    struct word *w = &m->words[m->n];
    const char *equals = strchr(text, '='), *arrow = strchr(text, '>');
    int len = arrow ? (int)(arrow - equals - 1) : (int)strlen(equals + 1);
    static char type[] = "text/plain";

    trimtab__v1__item__init(&w->item);
    (void)snprintf(w->id, sizeof(w->id), "%.*s", (int)(equals - text), text);
    (void)snprintf(w->content, sizeof(w->content), "%.*s", len, equals + 1);
    (void)snprintf(w->reference, sizeof(w->reference), "%s", arrow ? arrow + 1 : "");
    w->hash = sha256_of(str_c(w->content));
    w->references[0] = w->reference;
    w->item.id = w->id;
    w->item.content = proto_bytes(str_c(w->content));
    w->item.content_type = type;
    w->item.content_hash = proto_bytes(str_of(w->hash.bytes, SHA256_BYTES));
    w->item.size = strlen(w->content);
    w->item.version = w->item.revision = 1;
    w->item.references = w->references;
    w->item.n_references = arrow != NULL;
    c->put[c->n_put++] = &w->item;
}

static void add_word(struct saying *m, const char *text)
{
    bool is_referred = *text == '*';
    Trimtab__V1__Changes *c = &m->changes[is_referred];
    const char *name = text + is_referred;

    if (*name != '-' && *name != '?') {
        add_put(m, c, name);
    } else {
        (void)snprintf(m->texts[m->n], sizeof(m->texts[0]), "%s",
                       is_referred ? name + 1 : strchr(name, '/') + 1);
        c->drop[c->n_drop++] = m->texts[m->n];
        if (*name == '?')
            c->uncaused[c->n_uncaused++] = m->texts[m->n];
    }
    m->n++;
}

static void begin_saying(struct saying *m, Trimtab__V1__Mode mode, uint64_t revision)
{
    static char scopes[2][2] = {"s", "*"};

    memset(m, 0, sizeof(*m));
    trimtab__v1__server_frame__init(&m->frame);
    trimtab__v1__end__init(&m->end);
    for (int i = 0; i < 2; i++) {
        trimtab__v1__changes__init(&m->changes[i]);
        m->changes[i].scope = scopes[i];
        m->changes[i].put = m->puts[i];
        m->changes[i].drop = m->drops[i];
        m->changes[i].uncaused = m->uncaused[i];
        m->list[i] = &m->changes[i];
    }
    m->frame.changes = m->list;
    m->frame.n_changes = 2;
    m->frame.end = &m->end;
    m->end.mode = mode;
    m->end.revision = revision;
}

/* What it has received after the words, by trying: the digest and count that the subscriber would compute. */
struct model {
    char names[NAMES_MAX][40]; /* scope, blank, kind/name or id */
    struct digest elements[NAMES_MAX];
    size_t n;
};

static void model_drop(struct model *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->names[i], name) == 0) {
            m->n--;
            memmove(m->names[i], m->names[m->n], sizeof(m->names[0]));
            m->elements[i] = m->elements[m->n];
            return;
        }
}

static void model_put(struct model *m, const char *scope, const char *name,
                      const Trimtab__V1__Item *item)
{
    owned(version_unref) struct version *v = NULL;
    owned(shared_unref) struct shared *bytes = shared_copy(proto_str(item->content));

    model_drop(m, name);
    (void)snprintf(m->names[m->n], sizeof(m->names[0]), "%s", name);
    if (CHECK_I64(version_received(item, bytes, &v, NULL), 0))
        m->elements[m->n++] = binding_digest(str_c(scope), &v->item_hash);
}

static void model_take(struct model *m, const struct saying *said)
{
    char name[40];

    if (said->end.mode == TRIMTAB__V1__MODE__FULL)
        m->n = 0;
    for (int i = 0; i < 2; i++) {
        const Trimtab__V1__Changes *c = &said->changes[i];

        for (size_t d = 0; d < c->n_drop; d++) {
            (void)snprintf(name, sizeof(name), "%s %s", c->scope, c->drop[d]);
            model_drop(m, name);
        }
        for (size_t p = 0; p < c->n_put; p++) {
            (void)snprintf(name, sizeof(name), "%s %s", c->scope,
                           i ? c->put[p]->id : strchr(c->put[p]->id, '/') + 1);
            model_put(m, c->scope, name, c->put[p]);
        }
    }
}

static int say_batch(struct world *w, struct model *m, struct saying *said)
{
    struct digest sum = DIGEST_NULL;

    model_take(m, said);
    for (size_t i = 0; i < m->n; i++)
        sum = digest_add(sum, m->elements[i]);
    digest_put(sum, said->digest);
    said->end.digest = (ProtobufCBinaryData){DIGEST_BYTES, said->digest};
    said->end.count = m->n;
    said->end.uncaused_drops += said->changes[0].n_uncaused + said->changes[1].n_uncaused;
    return sync_frame(w->sync, &said->frame, 1, NULL);
}

/* One batch of these words, whole and true. */
static void tell(struct world *w, struct model *m, Trimtab__V1__Mode mode,
                 const char *const *words)
{
    struct saying said;

    begin_saying(&said, mode, ++w->revision);
    for (; *words; words++)
        add_word(&said, *words);
    CHECK_I64(say_batch(w, m, &said), 0);
    CHECK_I64(w->n_rejected, 0);
}
#define TELL(w, m, mode, ...)                                                                  \
    tell(w, m, TRIMTAB__V1__MODE__##mode, (const char *const[]){__VA_ARGS__, NULL})

static void connect_to(struct world *w, unsigned char store)
{
    Trimtab__V1__ServerFrame frame = TRIMTAB__V1__SERVER_FRAME__INIT;
    Trimtab__V1__Welcome welcome = TRIMTAB__V1__WELCOME__INIT;
    unsigned char id[SYNC_STORE_ID_BYTES] = {store};

    sync_link_down(w->sync);
    sync_link_up(w->sync, 1);
    welcome.store_id = proto_bytes(str_of(id, sizeof(id)));
    frame.welcome = &welcome;
    CHECK_I64(sync_frame(w->sync, &frame, 1, NULL), 0);
}

/* Connected, with a, b, which refers to c, and c of another namespace. */
static void begin(struct world *w, struct model *m)
{
    *w = (struct world){.copy = w->copy};
    *m = (struct model){.n = 0};
    open_sync(w);
    connect_to(w, 1);
    TELL(w, m, FULL, "n/item/a=1", "n/item/b=2>o/item/c", "*o/item/c=3");
}

/* What is served under a name of the scope; empty: nothing. */
static struct str has(const struct world *w, const char *name)
{
    struct version *v = sync_find(w->sync, STR("s"), STR("item"), str_c(name));

    return v ? v->content : STR("");
}

static bool refers(const struct world *w) /* to c, which is there */
{
    char key[] = "item\0c";

    return sync_find(w->sync, SCOPE_REFERRED, STR("o"), str_of(key, sizeof(key) - 1)) != NULL;
}

/* The report says of each held name: wanted is nothing, and this is served. Together that is what it serves. */
static void check_report(const struct world *w, size_t n_held)
{
    struct digest sum, serving;
    size_t n = 0;

    REQUIRE(w->report && digest_get(proto_str(w->report->received_digest), &sum));
    for (size_t i = 0; i < w->report->n_refused; i++) {
        const Trimtab__V1__Refusal *r = w->report->refused[i];
        struct sha256 hash;

        n += strcmp(r->code, "HELD_DELETION") == 0 && r->hash.len == 0;
        REQUIRE(r->serving_hash.len == SHA256_BYTES);
        memcpy(hash.bytes, r->serving_hash.data, SHA256_BYTES);
        sum = digest_add(sum, binding_digest(str_c(r->scope), &hash));
    }
    CHECK_U64(n, n_held);
    CHECK(digest_get(proto_str(w->report->serving_digest), &serving) &&
          digest_eq(sum, serving));
    CHECK_U64(sync_n_held(w->sync), n_held);
}

TEST("a drop without a cause leaves what is received and stays in what is served; the puts go "
     "on")
{
    struct world w = {.revision = 0};
    struct model m;

    begin(&w, &m);
    TELL(&w, &m, INVENTORY, "?n/item/a", "n/item/d=4");
    CHECK_STR(has(&w, "a"), STR("1"));
    CHECK_STR(has(&w, "d"), STR("4"));
    CHECK(w.n_changes == 1 && w.n_held == 1);
    CHECK_U64(sync_status(w.sync).cursor.count, 3);
    check_report(&w, 1);
    deinit(&w);
}

TEST("a hold ends by a put or a caused drop of the same name, and by nothing else")
{
    struct world w = {.revision = 0};
    struct model m;

    begin(&w, &m);
    TELL(&w, &m, INVENTORY, "?n/item/a", "?n/item/b", "*-o/item/c");
    check_report(&w, 3);
    TELL(&w, &m, RESUME, "n/item/d=4", "o/file/a=5", "-n/item/e", "n/item/d=6");
    TELL(&w, &m, INVENTORY, "?n/item/a");
    CHECK_STR(has(&w, "a"), STR("1"));
    check_report(&w, 3);
    TELL(&w, &m, RESUME, "n/item/a=7");
    CHECK_STR(has(&w, "a"), STR("7"));
    check_report(&w, 2);
    TELL(&w, &m, RESUME, "-n/item/b");
    CHECK_STR(has(&w, "b"), STR(""));
    check_report(&w, 0);
    CHECK_U64(w.n_changes, 2); /* what only b needed goes with it */
    deinit(&w);
}

TEST("what a held item refers to stays, deleted for a reason or not, and goes with it")
{
    struct world w = {.revision = 0};
    struct model m;

    begin(&w, &m);
    TELL(&w, &m, INVENTORY, "?n/item/b", "*-o/item/c");
    CHECK(refers(&w));
    CHECK(w.n_changes == 0 && w.n_held == 2);
    check_report(&w, 2);
    TELL(&w, &m, RESUME, "n/item/b=9");
    CHECK(!refers(&w));
    CHECK_U64(w.n_changes, 2);
    check_report(&w, 0);
    deinit(&w);
}

TEST("what a held item refers to in a scope stays under its name, or beside it when that is "
     "another's")
{
    struct world w = {.revision = 0};
    struct model m;

    begin(&w, &m);
    TELL(&w, &m, RESUME, "n/item/b=2>n/item/a", "*-o/item/c");
    TELL(&w, &m, INVENTORY, "?n/item/b", "-n/item/a");
    CHECK_STR(has(&w, "a"), STR("1"));
    check_report(&w, 2);
    TELL(&w, &m, RESUME, "o/item/a=8"); /* of another layer */
    CHECK_STR(has(&w, "a"), STR("8"));
    CHECK(sync_find(w.sync, SCOPE_REFERRED, STR("n"), str_of("item\0a", 6)) != NULL);
    check_report(&w, 2);
    TELL(&w, &m, RESUME, "n/item/a=1");
    CHECK(sync_find(w.sync, SCOPE_REFERRED, STR("n"), str_of("item\0a", 6)) == NULL);
    check_report(&w, 1);
    deinit(&w);
}

TEST("what was held by itself and is deleted for a reason stays while it is needed, and the "
     "copy is told")
{
    struct world w = {.revision = 0};
    struct model m;

    begin(&w, &m);
    TELL(&w, &m, RESUME, "n/item/b=2>n/item/a", "*-o/item/c");
    TELL(&w, &m, INVENTORY, "?n/item/b", "?n/item/a");
    TELL(&w, &m, RESUME, "-n/item/a");
    CHECK(w.n_changes == 0 && w.n_held == 1);
    CHECK_STR(has(&w, "a"), STR("1"));
    TELL(&w, &m, RESUME, "-n/item/b");
    CHECK_STR(has(&w, "a"), STR(""));
    check_report(&w, 0);
    deinit(&w);
}

TEST("nothing of what is referred to is held for its own sake")
{
    struct world w = {.revision = 0};
    struct model m;

    begin(&w, &m);
    TELL(&w, &m, INVENTORY, "n/item/b=2", "*?o/item/c");
    CHECK(!refers(&w));
    check_report(&w, 0);
    deinit(&w);
}

TEST("a full batch holds all that it leaves out; so does one that counts what it does not name")
{
    struct world w = {.revision = 0};
    struct model m;
    struct saying said;

    begin(&w, &m);
    TELL(&w, &m, FULL, "n/item/d=4");
    check_report(&w, 3);
    CHECK_STR(has(&w, "a"), STR("1"));
    deinit(&w);
    begin(&w, &m);
    begin_saying(&said, TRIMTAB__V1__MODE__INVENTORY, ++w.revision);
    add_word(&said, "-n/item/a");
    said.end.uncaused_drops = 1; /* an older server */
    CHECK_I64(say_batch(&w, &m, &said), 0);
    CHECK_STR(has(&w, "a"), STR("1"));
    check_report(&w, 1);
    deinit(&w);
}

TEST("what is named as without a cause must be dropped")
{
    struct world w = {.revision = 0};
    struct model m;
    struct saying said;
    static char name[] = "item/d";

    begin(&w, &m);
    begin_saying(&said, TRIMTAB__V1__MODE__INVENTORY, ++w.revision);
    add_word(&said, "n/item/d=4");
    said.changes[0].uncaused[said.changes[0].n_uncaused++] = name;
    CHECK_I64(say_batch(&w, &m, &said), ERR_INVALID);
    deinit(&w);
}

TEST("an inventory names what is held when it is asked for, and not otherwise")
{
    struct world w = {.revision = 0};
    struct model m;
    Trimtab__V1__ServerFrame frame = TRIMTAB__V1__SERVER_FRAME__INIT;
    Trimtab__V1__AskInventory ask = TRIMTAB__V1__ASK_INVENTORY__INIT;

    begin(&w, &m);
    TELL(&w, &m, INVENTORY, "?n/item/a");
    frame.ask_inventory = &ask;
    CHECK_I64(sync_frame(w.sync, &frame, 1, NULL), 0);
    CHECK(w.n_entries == 2 && w.n_held_entries == 0);
    ask.held = true;
    CHECK_I64(sync_frame(w.sync, &frame, 1, NULL), 0);
    CHECK(w.n_entries == 5 && w.n_held_entries == 1);
    deinit(&w);
}

TEST("until a batch is stored the cursor names the store that what is held came from")
{
    struct world w = {.revision = 0};
    struct model m;

    begin(&w, &m);
    connect_to(&w, 2);
    connect_to(&w, 2);
    CHECK_I64(w.cursor_store, 1);
    TELL(&w, &m, INVENTORY, "?n/item/a");
    connect_to(&w, 2);
    CHECK_I64(w.cursor_store, 2);
    deinit(&w);
}

static struct sync_release release_of(const struct world *w, const char *name)
{
    static char key[32];
    struct sync_release r = {.scope = STR("s")};
    const struct version *v = sync_find(w->sync, STR("s"), STR("item"), str_c(name));
    int n = snprintf(key, sizeof(key), "item%c%s", 0, name);

    r.key = str_of(key, (size_t)n);
    if (v)
        r.hash = v->item_hash;
    return r;
}

TEST("a release lets go of what was looked at, is stored and applied, and of nothing else")
{
    struct world w = {.revision = 0};
    struct model m;
    struct sync_release a, received;
    size_t n = 9;

    begin(&w, &m);
    TELL(&w, &m, INVENTORY, "?n/item/a", "?n/item/b", "*-o/item/c");
    a = release_of(&w, "a");
    a.hash.bytes[0] ^= 1;
    CHECK(sync_release(w.sync, &a, 1, &n, NULL) == 0 && n == 0);
    a.hash.bytes[0] ^= 1;
    w.store_fails = true;
    CHECK_I64(sync_release(w.sync, &a, 1, &n, NULL), ERR_IO);
    CHECK_STR(has(&w, "a"), STR("1"));
    check_report(&w, 3);
    w.store_fails = false;
    w.n_applied = 0;
    CHECK(sync_release(w.sync, &a, 1, &n, NULL) == 0 && n == 1);
    CHECK_I64(w.n_applied, 1);
    CHECK_STR(has(&w, "a"), STR(""));
    check_report(&w, 2);
    a = release_of(&w, "b");
    CHECK(sync_release(w.sync, &a, 1, &n, NULL) == 0 && n == 2);
    check_report(&w, 0);
    TELL(&w, &m, RESUME, "n/item/d=4");
    received = release_of(&w, "d");
    CHECK(sync_release(w.sync, &received, 1, &n, NULL) == 0 && n == 0);
    CHECK_STR(has(&w, "d"), STR("4"));
    deinit(&w);
}

/* A batch that holds two, true for who was begun. */
static void make_holding(struct world *w, struct model *m, struct saying *said)
{
    struct digest sum = DIGEST_NULL;

    begin_saying(said, TRIMTAB__V1__MODE__INVENTORY, ++w->revision);
    add_word(said, "?n/item/b");
    add_word(said, "*-o/item/c");
    add_word(said, "n/item/d=4");
    model_take(m, said);
    for (size_t i = 0; i < m->n; i++)
        sum = digest_add(sum, m->elements[i]);
    digest_put(sum, said->digest);
    said->end.digest = (ProtobufCBinaryData){DIGEST_BYTES, said->digest};
    said->end.count = m->n;
    said->end.uncaused_drops = 1;
}

TEST("without memory at any point a batch changes nothing, and can come again")
{
    int r = ERR_NOMEM;

    for (uint64_t at = 0; at < 300; at++) {
        struct world w = {.revision = 0};
        struct model m;
        struct saying said;

        begin(&w, &m);
        make_holding(&w, &m, &said);
        (void)mem_fail_after(at);
        r = sync_frame(w.sync, &said.frame, 1, NULL);
        (void)mem_fail_after(UINT64_MAX);
        CHECK_STR(has(&w, "b"), STR("2"));
        CHECK(refers(&w));
        CHECK_U64(sync_n_held(w.sync), r ? 0 : 2);
        CHECK_U64(sync_status(w.sync).cursor.count, r ? 3 : 2);
        deinit(&w);
    }
    CHECK_I64(r, 0);
}

TEST("holds survive a restart in the local copy, and end there as they do in memory")
{
    char path[64];
    struct world w = {.revision = 0};
    struct model m;
    struct copy_content content = {.instance = ""};
    struct sha256 none = {{0}};
    struct str scope = STR("s");
    struct copy_subscription sub = {
        .instance = "i", .hash = none, .scopes = &scope, .n_scopes = 1};

    (void)snprintf(path, sizeof(path), "/tmp/trimtab-hold-%ld", (long)getpid());
    REQUIRE(copy_open(path, &w.copy, NULL) == 0 && copy_load(w.copy, &content, NULL) == 0);
    REQUIRE(copy_subscribe(w.copy, &sub, &content, NULL) == 0);
    begin(&w, &m);
    TELL(&w, &m, INVENTORY, "?n/item/a", "?n/item/b", "*-o/item/c");
    for (int round = 0; round < 2; round++) {
        w.sync = sync_free(w.sync);
        copy_content_deinit(&content);
        REQUIRE(copy_load(w.copy, &content, NULL) == 0);
        open_sync(&w);
        CHECK(content.n_items == 0 && content.cursor.count == 0);
        CHECK_U64(content.n_held, round ? 2 : 3);
        CHECK_I64(sync_load(w.sync, content.items, content.n_items, &content.cursor), 0);
        CHECK_I64(sync_load_held(w.sync, content.held, content.n_held), 0);
        CHECK_STR(has(&w, "a"), round ? STR("") : STR("1"));
        CHECK_STR(has(&w, "b"), STR("2"));
        CHECK(refers(&w));
        if (!round) {
            struct sync_release a = release_of(&w, "a");
            size_t n;

            CHECK(sync_release(w.sync, &a, 1, &n, NULL) == 0 && n == 1);
        }
    }
    connect_to(&w, 1);
    TELL(&w, &m, RESUME, "n/item/b=5");
    copy_content_deinit(&content);
    CHECK(copy_load(w.copy, &content, NULL) == 0 && content.n_held == 0 &&
          content.n_items == 1);
    copy_content_deinit(&content);
    deinit(&w);
    (void)unlink(path);
    (void)snprintf(path, sizeof(path), "/tmp/trimtab-hold-%ld.lock", (long)getpid());
    (void)unlink(path);
}

TEST(
    "of a name that is held and not served nothing is excepted: nothing is wanted there either")
{
    struct world w = {.revision = 0};
    struct model m;
    struct sync_refusal refused = {
        .scope = STR("s"), .code = "HELD", .message = STR(""), .held_by = STR("item/b")};

    refused.key = str_of("item\0a", 6);
    begin(&w, &m);
    TELL(&w, &m, INVENTORY, "?n/item/a");
    refused.serving = sync_find(w.sync, STR("s"), STR("item"), STR("a"));
    REQUIRE(refused.serving);
    CHECK_I64(sync_applied(w.sync, w.revision, sync_wanted(w.sync), &refused, 1), 0);
    CHECK_U64(w.report->n_refused, 1);
    refused.serving = NULL;
    CHECK_I64(sync_applied(w.sync, w.revision, sync_wanted(w.sync), &refused, 1), 0);
    CHECK_U64(w.report->n_refused, 0);
    deinit(&w);
}

/* It has applied everything. */
static void apply_all(struct world *w)
{
    w->is_slow = false;
    CHECK_I64(sync_applied(w->sync, w->revision, sync_wanted(w->sync), NULL, 0), 0);
}

TEST("while a hold waits to be served a hello says nothing of what is served, though that is "
     "just what is received")
{
    struct world w = {.revision = 0};
    struct model m;
    struct digest served;

    begin(&w, &m);
    connect_to(&w, 1);
    CHECK(w.has_claim && digest_eq(w.claim, w.received)); /* it has applied all of it */
    served = w.claim;
    TELL(&w, &m, RESUME, "n/item/a=1");
    w.is_slow = true;
    TELL(&w, &m, RESUME, "n/item/d=4");
    TELL(&w, &m, INVENTORY, "?n/item/d");
    CHECK_STR(has(&w, "d"), STR("4"));
    connect_to(&w, 1);
    CHECK(digest_eq(w.received, served)); /* as if it had served what is wanted all along */
    CHECK(!w.has_claim);
    TELL(&w, &m, RESUME, "n/item/a=1");
    CHECK_I64(w.n_applied, 5); /* what comes first over a new link is to be applied, too: */
    apply_all(&w);             /* then it says so, and is believed */
    check_report(&w, 1);
    connect_to(&w, 1);
    CHECK(w.has_claim && !digest_eq(w.claim, w.received));
    TELL(&w, &m, RESUME, "-n/item/d");
    check_report(&w, 0);
    connect_to(&w, 1);
    CHECK(w.has_claim && digest_eq(w.claim, w.received));
    deinit(&w);
}
