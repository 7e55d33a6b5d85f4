/*
 * The feed's test world. See peer.h.
 */
#include "feed/peer.h"

char big[BIG];

static void on_ready(void *ctx)
{
    ((struct peer *)ctx)->n_ready++;
}

static void on_lost(void *ctx, uint64_t revision)
{
    struct peer *p = ctx;

    p->n_lost++;
    p->lost = revision;
}

void world_restore(struct world *w, const struct restored *restored)
{
    struct state *next =
        state_apply(w->state, &(struct effect){.restored = restored}, w->state->revision + 1);

    if (!CHECK(next != NULL))
        return;
    (void)state_unref(w->state);
    w->state = next;
    feed_publish(w->feed, next, NULL, 0);
}

bool world_open_pinning(struct world *w, uint64_t pinned_max)
{
    struct feed_opts opts = {.store_id = "0123456789abcde",
                             .key = {PEER_KEY_BYTE},
                             .bookmark_every = 100,
                             .pinned_max = pinned_max,
                             .ready = on_ready,
                             .lost = on_lost};

    *w = (struct world){.now = 1000, .state = state_new()};
    w->feed = feed_new(&opts, w->state);
    return w->feed != NULL;
}

bool world_open(struct world *w)
{
    return world_open_pinning(w, 0);
}

void world_close(struct world *w)
{
    w->feed = feed_free(w->feed);
    w->state = state_unref(w->state);
}

/* The version that an edit gives; its key is of an id of three parts. */
static struct version *version_made_by(struct world *w, const struct edit *e)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    struct version *old, *v;
    struct name name;

    if (name_parse(str_c(e->id), &name, NULL))
        return NULL;
    name_put_key(name, &key);
    old = state_newest(w->state, buf_str(&key));
    v = version_with_wire(&(struct version_opts){
        .key = buf_str(&key),
        .content_type = STR("application/octet-stream"),
        .content = e->text ? str_of(e->text, e->len ? e->len : strlen(e->text)) : STR_NULL,
        .deleted = !e->text,
        .number = old ? old->number + 1 : 1,
        .revision = w->state->revision + 1,
    });
    return v;
}

/* One commit; fail_after: which allocation of the publication fails, UINT64_MAX for none. */
void publish_failing(struct world *w, const struct edit *edits, size_t n, uint64_t fail_after)
{
    struct version *versions[64];
    struct state *next;

    for (size_t i = 0; i < n; i++)
        versions[i] = version_made_by(w, &edits[i]);
    next = state_apply(w->state, &(struct effect){.versions = versions, .n_versions = n},
                       w->state->revision + 1);
    (void)state_unref(w->state);
    w->state = next;
    (void)mem_fail_after(fail_after);
    feed_publish(w->feed, next, versions, n);
    (void)mem_fail_after(UINT64_MAX);
    for (size_t i = 0; i < n; i++)
        (void)version_unref(versions[i]);
}

/* ---- a subscriber ---- */

struct digest peer_digest(const struct peer *p)
{
    struct digest sum = DIGEST_NULL;

    for (size_t i = 0; i < p->n_held; i++)
        if (!p->held[i].is_held)
            sum =
                digest_add(sum, binding_digest(str_part(str_c(p->held[i].key), 0,
                                                        str_index(str_c(p->held[i].key), ' ')),
                                               &p->held[i].hash));
    return sum;
}

static size_t n_received(const struct peer *p)
{
    size_t n = 0;

    for (size_t i = 0; i < p->n_held; i++)
        n += !p->held[i].is_held;
    return n;
}

size_t peer_find(const struct peer *p, const char *key)
{
    for (size_t i = 0; i < p->n_held; i++)
        if (strcmp(p->held[i].key, key) == 0)
            return i;
    return p->n_held;
}

static void peer_put(struct peer *p, const char *scope, const Trimtab__V1__Item *item)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct version_opts o;
    struct sha256 content;
    struct name name;
    char key[64];
    size_t at;

    p->puts++;
    if (!CHECK(name_parse(str_c(item->id), &name, NULL) == 0 && p->n_held < HELD_MAX))
        return;
    memcpy(content.bytes, item->content_hash.data, SHA256_BYTES);
    (void)snprintf(key, sizeof(key), "%s %.*s/%.*s", scope, STR_ARG(name.kind),
                   STR_ARG(name.name));
    at = peer_find(p, key);
    p->n_held += at == p->n_held;
    memcpy(p->held[at].key, key, sizeof(key));
    CHECK_I64(item_from_proto(item, str_of(big, item->size), &a, &o, NULL), 0);
    CHECK_I64(item_hash(&o, &content, &p->held[at].hash), 0);
    (void)snprintf(p->held[at].space, sizeof(p->held[at].space), "%.*s", STR_ARG(name.space));
    p->held[at].revision = item->revision;
    p->held[at].is_held = false;
}

static void peer_drop(struct peer *p, const char *scope, const char *tail)
{
    char key[64];
    size_t at;

    p->drops++;
    (void)snprintf(key, sizeof(key), "%s %s", scope, tail);
    at = peer_find(p, key);
    if (at < p->n_held)
        p->held[at] = p->held[--p->n_held];
}

static void peer_end(struct peer *p, const Trimtab__V1__End *end)
{
    p->ends++;
    p->mode = end->mode;
    p->revision = end->revision;
    p->uncaused = end->uncaused_drops;
    if (CHECK_U64(end->mark.len, MARK_BYTES))
        memcpy(p->mark, end->mark.data, MARK_BYTES);
    CHECK(digest_get(proto_str(end->digest), &p->announced));
    p->is_broken = !digest_eq(p->announced, peer_digest(p)) || end->count != n_received(p);
}

void peer_take(struct peer *p, struct feed_frame *frame)
{
    owned(buf) struct buf bytes = BUF_NULL(16 * MIB);
    Trimtab__V1__ServerFrame *m;
    struct str packed;

    p->framed = frame->is_framed ? frame->segments[0].owner : NULL;
    for (size_t i = 0; i < frame->n; i++)
        buf_put_str(&bytes, frame->segments[i].bytes);
    packed = str_from(buf_str(&bytes), frame->is_framed ? 5 : 0);
    feed_frame_deinit(frame);
    m = trimtab__v1__server_frame__unpack(NULL, packed.len, (const uint8_t *)packed.data);
    if (!CHECK(m != NULL))
        return;
    p->welcomes += m->welcome != NULL;
    p->parts += m->part != NULL;
    p->part_bytes += m->part ? m->part->data.len : 0;
    p->bookmarks += m->bookmark != NULL;
    if (m->bookmark && CHECK_U64(m->bookmark->mark.len, MARK_BYTES))
        memcpy(p->mark, m->bookmark->mark.data, MARK_BYTES);
    p->asks += m->ask_inventory != NULL;
    p->questions += m->ask_report != NULL;
    for (size_t c = 0; c < m->n_changes; c++) {
        for (size_t i = 0; i < m->changes[c]->n_put; i++)
            peer_put(p, m->changes[c]->scope, m->changes[c]->put[i]);
        for (size_t i = 0; i < m->changes[c]->n_drop; i++)
            peer_drop(p, m->changes[c]->scope, m->changes[c]->drop[i]);
        p->uncaused_names += (int)m->changes[c]->n_uncaused;
    }
    if (m->end)
        peer_end(p, m->end);
    trimtab__v1__server_frame__free_unpacked(m, NULL);
}

/* Everything that is to be had; false when memory failed. */
bool peer_pull(struct peer *p)
{
    struct feed_frame frame;
    int r;

    while ((r = feed_session_pull(p->session, p->w->now, &frame)) == FEED_FRAME)
        peer_take(p, &frame);
    return r == FEED_NOTHING;
}

void peer_forget(struct peer *p)
{
    p->puts = p->drops = p->uncaused_names = p->parts = p->bookmarks = p->asks = p->questions =
        p->ends = p->welcomes = 0;
    p->part_bytes = 0;
}

int peer_ack(struct peer *p, Trimtab__V1__Stage stage)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Ack ack = TRIMTAB__V1__ACK__INIT;
    unsigned char digest[DIGEST_BYTES];

    digest_put(peer_digest(p), digest);
    ack.stage = stage;
    ack.revision = p->revision;
    ack.received_digest = (ProtobufCBinaryData){DIGEST_BYTES, digest};
    ack.serving_digest = ack.received_digest;
    frame.ack = &ack;
    return feed_session_frame(p->session, &frame, p->w->now, NULL);
}

int peer_hello(struct peer *p, const struct greeting *g, struct err *err)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Hello hello = TRIMTAB__V1__HELLO__INIT;
    Trimtab__V1__Cursor cursor = TRIMTAB__V1__CURSOR__INIT;
    Trimtab__V1__Scope scopes[200], *list[200];
    Trimtab__V1__Serving serving = TRIMTAB__V1__SERVING__INIT;
    char rollouts[] = FEATURE_ROLLOUTS, report[] = FEATURE_REPORT,
         *features[] = {rollouts, report};
    Trimtab__V1__Instance instance = TRIMTAB__V1__INSTANCE__INIT;
    char names[200][2], spaces[200][2], *list_of_spaces[200], id[64];
    size_t n = strlen(g->scopes), n_layers = g->layers ? strlen(g->layers) : 0;

    for (size_t i = 0; i < n_layers; i++) {
        (void)snprintf(spaces[i], sizeof(spaces[i]), "%c", g->layers[i]);
        list_of_spaces[i] = spaces[i];
    }

    for (size_t i = 0; i < n; i++) {
        names[i][0] = g->scopes[i];
        names[i][1] = '\0';
        if (!n_layers) {
            spaces[i][0] = names[i][0];
            spaces[i][1] = '\0';
            list_of_spaces[i] = spaces[i];
        }
        trimtab__v1__scope__init(&scopes[i]);
        scopes[i].name = names[i];
        scopes[i].namespaces = n_layers ? list_of_spaces : &list_of_spaces[i];
        scopes[i].n_namespaces = n_layers ? n_layers : 1;
        list[i] = &scopes[i];
    }
    hello.protocol = g->protocol ? g->protocol : 1;
    hello.scopes = list;
    hello.n_scopes = n;
    hello.features = features;
    hello.n_features = g->is_old ? 0 : g->takes_questions ? 2 : 1;
    cursor.store_id =
        proto_bytes(g->is_foreign ? STR("another store id") : str_of("0123456789abcde", 16));
    cursor.revision = g->revision;
    cursor.mark = proto_bytes(g->mark);
    cursor.digest = proto_bytes(g->digest);
    cursor.count = 1;
    serving.revision = g->revision;
    serving.digest = proto_bytes(g->serving);
    hello.serving = g->serving.len ? &serving : NULL;
    hello.cursor = g->has_cursor ? &cursor : NULL;
    if (g->id) {
        (void)snprintf(id, sizeof(id), "%s", g->id);
        instance.id = id;
        hello.instance = &instance;
    }
    frame.hello = &hello;
    return feed_session_frame(p->session, &frame, p->w->now, err);
}

bool peer_open(struct peer *p, struct world *w)
{
    *p = (struct peer){.w = w, .tells = true};
    p->session = feed_session_new(w->feed, FEED_CLIENT_ANSWERS, p);
    return p->session != NULL;
}

void peer_close(struct peer *p)
{
    p->session = feed_session_free(p->session);
}

int peer_inventory(struct peer *p)
{
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;
    Trimtab__V1__Inventory inventory = TRIMTAB__V1__INVENTORY__INIT;
    static Trimtab__V1__Inventory__Entry entries[HELD_MAX], *list[HELD_MAX];
    static char scopes[HELD_MAX][2];

    for (size_t i = 0; i < p->n_held; i++) {
        trimtab__v1__inventory__entry__init(&entries[i]);
        scopes[i][0] = p->held[i].key[0];
        entries[i].scope = scopes[i];
        entries[i].key = p->held[i].key + 2;
        entries[i].hash = (ProtobufCBinaryData){SHA256_BYTES, p->held[i].hash.bytes};
        if (p->tells) {
            entries[i].namespace_ = p->held[i].space;
            entries[i].revision = p->held[i].revision;
            entries[i].held = p->held[i].is_held;
        }
        list[i] = &entries[i];
    }
    inventory.entries = list;
    inventory.n_entries = p->n_held;
    inventory.last = true;
    frame.inventory = &inventory;
    return feed_session_frame(p->session, &frame, p->w->now, NULL);
}

/* Up to date, acknowledged, and nothing is owed. */
bool peer_settle(struct peer *p)
{
    for (int i = 0; i < 20; i++) {
        uint64_t ends = (uint64_t)p->ends;

        if (!peer_pull(p))
            return false;
        if (p->asks) {
            p->asks = 0;
            if (peer_inventory(p))
                return false;
        } else if ((uint64_t)p->ends == ends && i) {
            break;
        } else if (peer_ack(p, TRIMTAB__V1__STAGE__STORED)) {
            return false;
        }
    }
    return feed_session_status(p->session).phase == FEED_STEADY;
}

bool peer_is_true(const struct peer *p)
{
    struct feed_status s = feed_session_status(p->session);

    return digest_eq(s.expected, peer_digest(p)) && s.expected_count == n_received(p);
}
