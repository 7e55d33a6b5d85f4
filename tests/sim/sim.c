/*
 * The simulation. See sim.h. Everything random comes from one generator, so a seed is a run.
 *
 * Checked as it goes, by the oracle: what a subscriber stores is exactly the view at the revision of its cursor, with all
 * that it refers to (I2, I6, I10), of a revision that is durable, and revisions never go down (I1); after a crash it has what it had stored (I7);
 * nobody has more than a bounded number of frames under way (I8). At the end all faults stop: everybody must come to
 * the view of the head, stuck ones excepted while they are stuck, and serve it but for reported refusals (I3). What is
 * served refers to what is served, whatever is refused (I6).
 *
 * All that holds with one lane and with four. What the hub claims meanwhile (J1 to J10, judge.h) is held against what was so of a
 * host when the lane of its stream last spoke to the hub: nobody can know more, and the hub must not say more.
 *
 * Some clients may read some namespaces only, which change: what they have is their view by the rights that they have now, and
 * no frame brings them anything else (I11).
 */
#include "sim.h"

#include "causes.h"
#include "claims.h"
#include "grants.h"
#include "lanes.h"
#include "oracle.h"

#include "agent/ledger.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "feed/feed.h"
#include "model/graph.h"
#include "proto/record.h"
#include "store/mem.h"
#include "sync/sync.h"

#include <stdarg.h>

#define U(n) ((unsigned long long)(n))

const char *const sim_fault_names[N_FAULTS] = {
    "cut",         "stuck",      "server crash", "client crash",  "client store failed",
    "disk failed", "disk lost",  "disk done",    "disk unsynced", "clock jump",
    "refusal",     "no memory",  "dead",         "unjudged",      "failing",
    "report lost", "older log",  "restored log", "emptied log",   "emptied host",
    "rights",      "early word",
};

enum {
    WIRE_FRAMES_MAX = 6,
    CLIENTS_MAX = 64,
    CHANGES_MAX = 5,
    SETTLE_ROUNDS = 4000,
    PACE_BUSY = 60,
    PING_S = 50
};

struct sim;

/* What a local copy notes of a name that is not served as it was received. */
enum { SAVED_MAX = SCOPES * KEYS + NODES };
struct saved {
    char key[32]; /* scope NUL the rest */
    size_t len;
    uint64_t content, batch, group;
    bool is_refused, is_held;
};

struct client {
    struct sim *sim;
    int index;
    bool up, linked, stuck, timed_out;
    bool stays_down;
    bool has_judge, is_mute, must_judge, must_say; /* mute: its judge says nothing */
    uint8_t boot[8];
    uint64_t history; /* in which it stored last */
    struct wish wish;
    struct wisher who; /* whose view it has, by the rights that it has now */
    struct sync *sync;
    Trimtab__V1__Instance instance;
    Trimtab__V1__Scope scopes[SCOPES], *scope_list[SCOPES];
    Trimtab__V1__Selector selectors[SCOPES], *selector_list[SCOPES];
    char id[32], scope_names[SCOPES][16], *namespaces[SCOPES][LAYERS], *kinds[SCOPES][1];
    struct stream *stream; /* over which it is linked; NULL: the server has ended it */
    /* its local copy: what survives a crash; and what is on the host */
    struct held copy, serves, kept; /* the last: no more received, held */
    struct hold_row {
        uint64_t since;
        bool is_needed;
    } holds[SCOPES * KEYS + NODES]; /* by place */
    uint64_t connected;             /* revision that its lane served when it connected */
    struct sync_cursor cursor;
    struct saved saved[SAVED_MAX];
    int n_saved;
    uint64_t applied; /* revision of the newest batch that was applied; 0: none */
    /* what it serves, while it is up */
    struct ledger ledger;
    bool must_apply;
    uint64_t apply_revision;
    uint64_t highest; /* revision that was ever stored, for I1 */
    bool is_restricted;
    struct grants grants;
    unsigned stored_reads; /* what it might read when it stored last */
};

struct sim {
    struct rng rng;
    enum sim_defect defect;
    struct sim_result result;
    struct oracle oracle;
    nsec_t now;
    struct store_disk *disk;
    struct store *store; /* NULL while the server is down */
    struct store_watch *watch;
    struct state *state;
    struct lanes lanes;
    size_t n_lanes;
    /* how soon letters of each lane arrive, per mille and step; and publications, which come to a busy one late */
    unsigned pace, paces[LANES_MAX_SIM];
    uint64_t next_content, next_request, next_boot;
    uint64_t seed;    /* of the disk */
    /* Rights take room from other faults, so only some seeds have them: some clients may not read everything there. */
    bool has_restricted;
    uint64_t history; /* counts the logs that this server had */
    struct claims claims;
    struct truth truths[CLIENTS_MAX];
    bool faults_on;
    int n_clients;
    struct client clients[CLIENTS_MAX];
    char room[CONTENT_ROOM];
};

static void violate(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void violate(struct sim *s, const char *fmt, ...)
{
    va_list ap;

    if (s->result.violation[0])
        return;
    va_start(ap, fmt);
    (void)vsnprintf(s->result.violation, sizeof(s->result.violation), fmt, ap);
    va_end(ap);
}

static bool chance(struct sim *s, unsigned per_mille)
{
    return rng_below(&s->rng, 1000) < per_mille;
}

static bool strikes(struct sim *s, enum sim_fault f, unsigned per_mille)
{
    if (!s->faults_on || !chance(s, per_mille))
        return false;
    s->result.faults[f]++;
    return true;
}

/* ---- names ---- */

static const char *const spaces[SPACES] = {"a", "b", "c"};
static const char *const kinds[KINDS] = {"item", "file"};

static void id_of(int space, int kind, int name, char out[32])
{
    (void)snprintf(out, 32, "%s/%s/n%d", spaces[space], kinds[kind], name);
}

/* "a/item/n3" or kind NUL name back to numbers. */
static int kind_of(char first)
{
    return first == 'f';
}

/* ---- links ---- */

static bool is_serving(const struct sim *s)
{
    return s->lanes.n != 0;
}

/* The client's side of its link is over. */
static void part(struct client *c)
{
    c->stream = NULL;
    if (c->linked && c->sync)
        sync_link_down(c->sync);
    if (c->linked)
        c->sim->truths[c->index].away_since = c->sim->now;
    c->linked = false;
}

/* What is so of the host of a stream; its client may be linked by another one by now. */
static void look(void *ctx, const struct stream *st, struct told *ret)
{
    struct sim *s = ctx;
    const struct client *c = &s->clients[st->client];

    if (st->alone_since) {
        *ret = st->left;
    } else {
        ret->serves = c->serves;
        ret->received = c->copy;
        ret->reads = c->who.reads;
    }
    ret->said_serves = st->said.serves; /* which may come late */
    ret->said_received = st->said.received;
}

static void on_end(void *ctx, struct stream *st)
{
    struct sim *s = ctx;
    struct client *c = &s->clients[st->client];

    s->result.renewals += feed_session_status(st->session).renewals;
    if (c->stream == st)
        part(c);
}

/* Both sides know. */
static void unlink_client(struct client *c)
{
    if (c->stream)
        stream_end(c->stream);
}

/* The lane does not know yet, and goes on to take what was on its way (L5). */
static void lose_link(struct client *c, bool is_dead)
{
    struct stream *st = c->stream;

    if (!st)
        return;
    look(c->sim, st, &st->left);
    st->alone_since = c->sim->now;
    st->is_dead = is_dead;
    queue_clear(&st->to_client);
    part(c);
}

/* ---- a subscriber ---- */

static void client_send(void *ctx, const Trimtab__V1__ClientFrame *frame)
{
    struct client *c = ctx;
    struct shared *packed = proto_pack(&frame->base, 0);
    struct segment segment;
    struct packet *p = NULL;

    if (!packed) { /* as the link does it: made anew, and all is said again */
        c->timed_out = true;
        return;
    }
    segment = (struct segment){packed, shared_str(packed)};
    if (c->stream)
        p = queue_put(&c->stream->to_server, &segment, 1, 0);
    (void)shared_unref(packed);
    if (!c->stream || !frame->ack || frame->ack->stage != TRIMTAB__V1__STAGE__APPLIED)
        return;
    p->saying = malloc(sizeof(*p->saying));
    *p->saying = (struct saying){c->copy, c->serves};
}

static struct wisher *wisher_of(struct client *c)
{
    return &c->who;
}

/* The number behind the opening bracket; 0 when there is none. */
static uint64_t leading_number(struct str content)
{
    uint64_t n = 0;

    for (size_t i = 1; i < content.len && content.data[i] >= '0' && content.data[i] <= '9'; i++)
        n = n * 10 + (uint64_t)(content.data[i] - '0');
    return n;
}

static uint64_t content_number(struct sim *s, const struct version *v)
{
    uint64_t n = v ? leading_number(v->content) : 0;
    size_t len;

    if (!n)
        return 0;
    len = content_bytes(n, s->room);
    if (!str_eq(v->content, str_of(s->room, len)))
        violate(s, "I10: content %llu arrived altered", (unsigned long long)n);
    return n;
}

/* I6: what is held besides is what the rest refers to. */
static void check_referred(struct client *c, const struct held *held, uint64_t revision,
                           const char *when)
{
    struct sim *s = c->sim;
    uint64_t bound[SCOPES * KEYS], want[NODES];
    size_t n = 0;

    for (int i = 0; i < c->wish.n_scopes * KEYS; i++) {
        uint64_t content = held->bound[i / KEYS][i / NAMES % KINDS][i % NAMES];

        if (content)
            bound[n++] = content;
    }
    if (!oracle_refer(&s->oracle, wisher_of(c), bound, n, revision, want))
        violate(s, "I6: what client %d has %s revision %llu refers to what is not there",
                c->index, when, (unsigned long long)revision);
    for (int i = 0; i < NODES; i++) {
        s->result.referred += want[i] != 0;
        if (held->referred[i] != want[i])
            violate(
                s,
                "I6: client %d %s revision %llu has %llu of the referred %s/%s/n%d, not %llu",
                c->index, when, (unsigned long long)revision,
                (unsigned long long)held->referred[i], spaces[i / KEYS],
                kinds[i / NAMES % KINDS], i % NAMES, (unsigned long long)want[i]);
    }
}

/* I2, I10, I11: what is held is the view at the cursor's revision, name for name. */
static void check_view(struct client *c, const struct held *held, uint64_t revision,
                       const char *when)
{
    struct sim *s = c->sim;
    const struct wisher *who = wisher_of(c);

    s->result.checks++;
    for (int i = 0; i < c->wish.n_scopes * KEYS; i++) {
        int scope = i / KEYS, k = i / NAMES % KINDS, n = i % NAMES;
        uint64_t want = oracle_expect(&s->oracle, who, scope, k, n, revision);
        bool is_withheld = !want && oracle_withholds(&s->oracle, who, scope, k, n, revision);

        s->result.withheld += is_withheld;
        if (held->bound[scope][k][n] != want)
            violate(s, "%s: client %d %s revision %llu has %llu for scope %d %s/n%d, %s%llu",
                    is_withheld ? "I11" : "I2", c->index, when, U(revision),
                    U(held->bound[scope][k][n]), scope, kinds[k], n,
                    is_withheld ? "which is withheld, not " : "not ", U(want));
    }
    if (!s->result.violation[0])
        check_referred(c, held, revision, when);
}

/* Of a whole key of a resource. */
static int node_of_key(struct str key)
{
    return node_of(key.data[0] - 'a', kind_of(key.data[2]), key.data[8] - '0');
}

/* The place of a name among what is held. */
static uint64_t *place_of(struct held *held, struct str scope, struct str key)
{
    struct str name = str_from(key, str_index(key, '\0') + 1);

    if (str_eq(scope, SCOPE_REFERRED))
        return &held->referred[node_of_key(key)];
    return &held->bound[scope.data[0] - '0'][kind_of(key.data[0])][name.data[1] - '0'];
}

static size_t index_of(const struct held *held, const uint64_t *place)
{
    const uint64_t *bound = &held->bound[0][0][0];

    return place >= held->referred ? SCOPES * KEYS + (size_t)(place - held->referred)
                                   : (size_t)(place - bound);
}

static void apply_batch(struct client *c, struct held *held, const struct sync_batch *batch)
{
    for (size_t i = 0; i < batch->n; i++) {
        const struct sync_change *change = &batch->changes[i];

        uint64_t *place = place_of(held, change->scope, change->key);

        if (change->is_held)
            continue;
        *place = content_number(c->sim, change->item);
    }
    for (size_t i = 0; i < batch->n_held; i++)
        *place_of(held, batch->held[i].scope, batch->held[i].key) = 0;
}

/* What is held once the batch is stored, and what of it only for others' sake. */
struct holding {
    struct held kept;
    bool is_needed[SCOPES * KEYS + NODES]; /* by place */
};

static void holding_after(const struct client *c, const struct sync_batch *batch,
                          struct holding *h)
{
    h->kept = c->kept;
    for (int i = 0; i < SCOPES * KEYS + NODES; i++)
        h->is_needed[i] = c->holds[i].is_needed;
    for (size_t i = 0; i < batch->n; i++) { /* what a change says of a name ends its hold */
        const struct sync_change *change = &batch->changes[i];
        uint64_t *place = place_of(&h->kept, change->scope, change->key);

        *place = change->is_held ? content_number(c->sim, change->item) : 0;
        h->is_needed[index_of(&h->kept, place)] = change->is_held;
    }
    for (size_t i = 0; i < batch->n_held; i++) {
        uint64_t *place = place_of(&h->kept, batch->held[i].scope, batch->held[i].key);

        *place = content_number(c->sim, batch->held[i].item);
        h->is_needed[index_of(&h->kept, place)] = batch->held[i].is_needed;
    }
}

/* I11: what is withheld goes for a cause, so it is kept for others' sake at most. */
static void check_withheld(struct client *c, const struct holding *h, uint64_t revision)
{
    const uint64_t *kept = &h->kept.bound[0][0][0];

    for (int i = 0; i < c->wish.n_scopes * KEYS; i++)
        if (kept[i] && !h->is_needed[i] &&
            oracle_withholds(&c->sim->oracle, wisher_of(c), i / KEYS, i / NAMES % KINDS,
                             i % NAMES, revision))
            violate(c->sim,
                    "I11: client %d holds %llu of scope %d %s/n%d at revision %llu as if its "
                    "deletion had no cause, but it is withheld",
                    c->index, U(kept[i]), i / KEYS, kinds[i / NAMES % KINDS], i % NAMES,
                    U(revision));
}

/* J8: what was to be served and is not any more, or only for others' sake, has a cause in the log. */
static void check_departures(struct client *c, const struct held *received,
                             const struct sync_batch *batch)
{
    bool is_same_store =
        memcmp(c->cursor.store_id, batch->cursor.store_id, SYNC_STORE_ID_BYTES) == 0;
    struct holding after;

    holding_after(c, batch, &after);
    check_withheld(c, &after, batch->cursor.revision);
    for (int i = 0; i < c->wish.n_scopes * KEYS; i++) {
        uint64_t had = (&c->copy.bound[0][0][0])[i], kept = (&c->kept.bound[0][0][0])[i];
        bool is_kept = (&after.kept.bound[0][0][0])[i] && !after.is_needed[i];
        struct departure d = {.who = *wisher_of(c),
                              .scope = i / KEYS,
                              .kind = i / NAMES % KINDS,
                              .name = i % NAMES,
                              .content = had ? had : kept,
                              .is_proved = is_same_store,
                              .connected = c->connected,
                              .since = is_same_store ? c->cursor.revision : 0,
                              .revision = batch->cursor.revision};

        if (!d.content || (&received->bound[0][0][0])[i] || is_kept)
            continue;
        if (!had && c->holds[i].is_needed)
            continue; /* that it went was explained when it was held for others' sake */
        c->sim->result.deletions++;
        if (!oracle_explains(&c->sim->oracle, &d))
            violate(c->sim,
                    "J8: client %d deletes %llu of scope %d %s/n%d at revision %llu without a "
                    "cause",
                    c->index, U(d.content), d.scope, kinds[d.kind], d.name, U(d.revision));
    }
}

static int client_store(void *ctx, const struct sync_batch *batch, struct err *err)
{
    struct client *c = ctx;
    struct sim *s = c->sim;
    struct held held = c->copy;

    if (strikes(s, FAULT_CLIENT_STORE, 15))
        return err_set(err, ERR_IO, "simulated");
    apply_batch(c, &held, batch);
    check_departures(c, &held, batch);
    if (batch->cursor.revision > s->oracle.head)
        violate(s, "I1: client %d was told of revision %llu, the log ends at %llu", c->index,
                (unsigned long long)batch->cursor.revision, (unsigned long long)s->oracle.head);
    if (c->history != s->history) /* another log: nothing of the old one holds */
        c->highest = 0;
    c->history = s->history;
    if (batch->cursor.revision < c->highest)
        violate(s, "I1: client %d went back from revision %llu to %llu", c->index,
                (unsigned long long)c->highest, (unsigned long long)batch->cursor.revision);
    check_view(c, &held, batch->cursor.revision, "storing");
    c->copy = held;
    c->stored_reads = wisher_of(c)->reads;
    c->cursor = batch->cursor;
    c->highest = batch->cursor.revision;
    if (c->highest > s->oracle.acked)
        s->oracle.acked = c->highest;
    s->result.batches++;
    return 0;
}

static void client_moved(void *ctx, const struct sync_cursor *cursor)
{
    struct client *c = ctx;

    c->sim->result.bookmarks++;
    c->history = c->sim->history;
    c->stored_reads = wisher_of(c)->reads;
    c->cursor = *cursor;
    c->highest = cursor->revision;
    check_view(c, &c->copy, cursor->revision, "at bookmark of");
}

static int keep_held(void *ctx, const struct sync_held *held)
{
    struct client *c = ctx;
    uint64_t *place = place_of(&c->kept, held->scope, held->key);

    *place = content_number(c->sim, held->item);
    c->holds[index_of(&c->kept, place)] = (struct hold_row){held->since, held->is_needed};
    return 0;
}

static void client_apply(void *ctx, const struct sync_batch *batch)
{
    struct client *c = ctx;

    memset(&c->kept, 0, sizeof(c->kept));
    (void)sync_each_held(c->sync, keep_held, c);
    for (size_t i = 0; i < batch->n; i++)
        if (ledger_note(&c->ledger, &batch->changes[i], batch->cursor.revision))
            violate(c->sim, "a change cannot be noted");
    c->must_apply = true;
    c->apply_revision = batch->cursor.revision;
}

static void client_reconnect(void *ctx, uint32_t after_ms, const char *reason)
{
    struct client *c = ctx;

    (void)after_ms;
    (void)reason;
    c->timed_out = true;
}

static const struct sync_ops client_ops = {.send = client_send,
                                           .store = client_store,
                                           .moved = client_moved,
                                           .apply = client_apply,
                                           .reconnect = client_reconnect};

static struct str key_of_node(int node, char key[16])
{
    int len = snprintf(key, 16, "%s%c%s%cn%d", spaces[node / KEYS], 0,
                       kinds[node / NAMES % KINDS], 0, node % NAMES);

    return str_of(key, (size_t)len);
}

/* A version as the local copy would make it from its rows. */
static struct version *version_of_content(struct client *c, uint64_t content)
{
    struct sim *s = c->sim;
    const struct origin *origin = oracle_origin(&s->oracle, content);
    struct shared *bytes = shared_copy(str_of(s->room, content_bytes(content, s->room)));
    char key[16], texts[LINKS_MAX][16];
    struct str links[LINKS_MAX];
    struct references *refs = NULL;
    struct version *v;

    for (int i = 0; i < origin->n_links; i++)
        links[i] = key_of_node(origin->links[i], texts[i]);
    if (origin->n_links) {
        refs = mem_alloc(references_size(links, (size_t)origin->n_links));
        references_init(refs, links, (size_t)origin->n_links);
    }
    v = version_new(&(struct version_opts){
        .key = key_of_node(origin->node, key),
        .content_type =
            origin->node / NAMES % KINDS ? STR("text/plain") : STR("application/json"),
        .references = refs,
        .wire = bytes,
        .content = shared_str(bytes),
        .number = 1,
        .revision = origin->revision,
    });
    (void)shared_unref(bytes);
    (void)mem_free(refs);
    return v;
}

/* What the local copy gives at a start. */
struct loading {
    struct client *c;
    struct sync_change items[SCOPES * KEYS + NODES];
    struct sync_held held[SCOPES * KEYS + NODES];
    struct copy_served served[SAVED_MAX];
    struct copy_content content;
};

static void load_item(struct loading *l, struct str scope, uint64_t content)
{
    struct version *v;

    if (!content)
        return;
    v = version_of_content(l->c, content);
    l->items[l->content.n_items++] = (struct sync_change){
        scope, str_eq(scope, SCOPE_REFERRED) ? v->key : str_from(v->key, 2), v};
}

static void load_held(struct loading *l, struct str scope, uint64_t content,
                      const struct hold_row *hold)
{
    struct version *v;

    if (!content)
        return;
    v = version_of_content(l->c, content);
    l->held[l->content.n_held++] =
        (struct sync_held){.scope = scope,
                           .key = str_eq(scope, SCOPE_REFERRED) ? v->key : str_from(v->key, 2),
                           .item = v,
                           .since = hold->since,
                           .is_needed = hold->is_needed};
}

static void load_rows(struct loading *l)
{
    struct client *c = l->c;

    for (int i = 0; i < c->wish.n_scopes * KEYS; i++)
        load_held(l, str_c(c->scope_names[i / KEYS]),
                  c->kept.bound[i / KEYS][i / NAMES % KINDS][i % NAMES], &c->holds[i]);
    for (int i = 0; i < NODES; i++)
        load_held(l, SCOPE_REFERRED, c->kept.referred[i], &c->holds[SCOPES * KEYS + i]);
    l->content.held = l->held;

    for (int i = 0; i < c->wish.n_scopes * KEYS; i++)
        load_item(l, str_c(c->scope_names[i / KEYS]),
                  c->copy.bound[i / KEYS][i / NAMES % KINDS][i % NAMES]);
    for (int i = 0; i < NODES; i++)
        load_item(l, SCOPE_REFERRED, c->copy.referred[i]);
    for (int i = 0; i < c->n_saved; i++) {
        const struct saved *saved = &c->saved[i];
        struct str key = str_of(saved->key, saved->len);

        l->served[l->content.n_served++] = (struct copy_served){
            .scope = key_scope(key),
            .key = key_tail(key),
            .served = saved->content ? version_of_content(c, saved->content) : NULL,
            .batch = saved->batch,
            .group = saved->group,
            .code = !saved->is_refused ? STR("")
                    : saved->is_held   ? STR("HELD")
                                       : STR("CHECK_FAILED"),
            .held_by = saved->is_held ? STR("another") : STR("")};
    }
    l->content.items = l->items;
    l->content.served = l->served;
    l->content.cursor = c->cursor;
    l->content.applied = c->applied;
}

/* I7: a new start has what was stored, and proves it by the digest; and serves what it served. */
static void client_load(struct client *c)
{
    struct loading *l = calloc(1, sizeof(*l));

    l->c = c;
    load_rows(l);
    if (c->cursor.revision && sync_load(c->sync, l->items, l->content.n_items, &c->cursor))
        violate(c->sim, "I7: client %d cannot take back what it had stored", c->index);
    if (sync_load_held(c->sync, l->held, l->content.n_held))
        violate(c->sim, "I7: client %d cannot take back what it held", c->index);
    ledger_init(&c->ledger, c->sync);
    if (ledger_load(&c->ledger, &l->content))
        violate(c->sim, "client %d cannot take back what it served", c->index);
    for (size_t i = 0; i < l->content.n_items; i++)
        (void)version_unref(l->items[i].item);
    for (size_t i = 0; i < l->content.n_held; i++)
        (void)version_unref(l->held[i].item);
    for (size_t i = 0; i < l->content.n_served; i++)
        (void)version_unref(l->served[i].served);
    free(l);
}

/* The rows of the copy that tell what is served otherwise than received. */
static void client_save(struct client *c)
{
    struct map_slot *slot;
    size_t at = 0;

    c->n_saved = 0;
    while ((slot = map_each(&c->ledger.pending, &at))) {
        const struct pending *p = slot->value;
        const struct version *serving = ledger_serving(&c->ledger, slot->key);
        struct saved *saved = &c->saved[c->n_saved++];

        *saved = (struct saved){.len = slot->key.len,
                                .content = serving ? leading_number(serving->content) : 0,
                                .batch = p->batch,
                                .group = p->group,
                                .is_refused = p->is_refused,
                                .is_held = p->held_by && *p->held_by};
        memcpy(saved->key, slot->key.data, slot->key.len);
    }
}

static void client_start(struct client *c)
{
    c->sync = sync_new(&(struct sync_opts){.instance = &c->instance,
                                           .scopes = c->scope_list,
                                           .n_scopes = (size_t)c->wish.n_scopes,
                                           .ops = &client_ops,
                                           .ctx = c,
                                           .is_judged = c->has_judge});
    c->up = true;
    memcpy(c->boot, &(uint64_t){++c->sim->next_boot}, sizeof(c->boot));
    c->must_say = false;
    c->must_judge = false;
    client_load(c);
    c->must_apply = c->cursor.revision != 0;
    c->apply_revision = c->cursor.revision;
}

static void client_stop(struct client *c)
{
    client_save(c);
    ledger_deinit(&c->ledger);
    c->sync = sync_free(c->sync);
    c->up = false;
}

static void client_crash(struct client *c)
{
    if (chance(c->sim, 300))
        lose_link(c, false);
    else
        unlink_client(c);
    client_stop(c);
}

/* Without a word: the server goes on to believe that it is connected. */
static void client_die(struct client *c)
{
    lose_link(c, true);
    c->stays_down = true;
    client_stop(c);
}

/* Its host is set up anew. */
static void client_lose_host(struct client *c)
{
    client_crash(c);
    memset(&c->copy, 0, sizeof(c->copy));
    memset(&c->serves, 0, sizeof(c->serves));
    memset(&c->kept, 0, sizeof(c->kept));
    c->cursor = (struct sync_cursor){.revision = 0};
    c->applied = c->highest = 0;
    c->n_saved = 0;
}

/*
 * What a client may read besides its layers, all of which it needs; now and then one of these is missing, or everything is
 * granted. Its view is by these rights from now on: a stream that knows others must end.
 */
static void draw_rights(struct sim *s, struct client *c)
{
    unsigned subscribes = 0, views = 0;

    for (int i = 0; i < c->wish.n_scopes; i++)
        for (int l = 0; l < c->wish.scopes[i].n_layers; l++)
            subscribes |= 1U << c->wish.scopes[i].layers[l];
    for (int i = 0; i < SPACES; i++) {
        subscribes |= chance(s, 150) ? 1U << i : 0;
        views |= chance(s, 200) ? 1U << i : 0;
    }
    if (chance(s, 80))
        subscribes &= ~(1U << rng_below(&s->rng, SPACES));
    if (!grants_make(&c->grants, subscribes, views, chance(s, 120)))
        violate(s, "out of memory");
    wisher_of(c)->reads = grants_read(&c->grants);
}

/* The wish of a client, from the generator, as messages. */
static void client_init(struct sim *s, struct client *c, int index)
{
    int first = 0;

    *c = (struct client){.sim = s, .index = index};
    (void)snprintf(c->id, sizeof(c->id), "client-%d", index);
    trimtab__v1__instance__init(&c->instance);
    c->instance.id = c->id;
    c->instance.boot_id = (ProtobufCBinaryData){sizeof(c->boot), c->boot};
    c->has_judge = chance(s, 600);
    c->who = (struct wisher){&c->wish, index, READS_ALL};
    s->truths[index] =
        (struct truth){.who = c->who, .has_judge = c->has_judge, .away_since = s->now};
    c->wish.n_scopes = chance(s, 300) ? 2 : 1;
    c->is_restricted = s->has_restricted && chance(s, 400);
    for (int i = 0; i < c->wish.n_scopes; i++) {
        first = c->is_restricted && i ? first : (int)rng_below(&s->rng, SPACES);
        trimtab__v1__scope__init(&c->scopes[i]);
        trimtab__v1__selector__init(&c->selectors[i]);
        c->wish.scopes[i].n_layers = /* to who is restricted one namespace is none of its own */
            1 + (int)rng_below(&s->rng, c->is_restricted ? LAYERS - 1 : LAYERS);
        for (int l = 0; l < c->wish.scopes[i].n_layers; l++) {
            c->wish.scopes[i].layers[l] = (first + l) % SPACES;
            c->namespaces[i][l] = (char *)(uintptr_t)spaces[(first + l) % SPACES];
        }
        c->wish.scopes[i].kind = chance(s, 300) ? (int)rng_below(&s->rng, KINDS) : -1;
        (void)snprintf(c->scope_names[i], sizeof(c->scope_names[i]), "%d", i);
        c->scopes[i].name = c->scope_names[i];
        c->scopes[i].namespaces = c->namespaces[i];
        c->scopes[i].n_namespaces = (size_t)c->wish.scopes[i].n_layers;
        if (c->wish.scopes[i].kind >= 0) {
            c->kinds[i][0] = (char *)(uintptr_t)kinds[c->wish.scopes[i].kind];
            c->selectors[i].kinds = c->kinds[i];
            c->selectors[i].n_kinds = 1;
            c->selector_list[i] = &c->selectors[i];
            c->scopes[i].selectors = &c->selector_list[i];
            c->scopes[i].n_selectors = 1;
        }
        c->scope_list[i] = &c->scopes[i];
    }
    if (c->is_restricted)
        draw_rights(s, c);
    c->stored_reads = wisher_of(c)->reads;
    client_start(c);
}

/* Whether it refuses what it is to serve under this name. What is referred to is for no sink, which could refuse it. */
static bool refuses(const struct group_member *m)
{
    return !key_is_referred(m->key) && m->want && leading_number(m->want->content) % 37 == 36;
}

/* On the host, and in the ledger. */
static int serve(struct client *c, const struct group_member *m)
{
    *place_of(&c->serves, key_scope(m->key), key_tail(m->key)) =
        m->want ? leading_number(m->want->content) : 0;
    return ledger_serve(&c->ledger, m->key, m->want);
}

/* A group is served as a whole or not at all. With the planted defect, what is not refused itself is served. */
static void judge(struct client *c, const struct group *g)
{
    uint64_t number = ++c->ledger.last_group;
    bool is_refused = false;
    int r = 0;

    if (!g->is_fresh) /* it is as it was when it was refused */
        return;
    for (size_t m = 0; m < g->n; m++)
        is_refused |= refuses(&g->members[m]);
    if (is_refused && c->sim->faults_on)
        c->sim->result.faults[FAULT_REFUSAL]++;
    for (size_t m = 0; m < g->n && !r; m++) {
        bool own = refuses(&g->members[m]);
        struct refusal_text text = {own ? "CHECK_FAILED" : "HELD", STR("simulated"),
                                    own ? "" : "another"};

        if (is_refused && (own || c->sim->defect != DEFECT_HELD_ALONE))
            r = ledger_refuse(&c->ledger, &g->members[m], number, &text);
        else
            r = serve(c, &g->members[m]);
        c->sim->result.held += is_refused && !own;
    }
    if (r)
        violate(c->sim, "client %d cannot note what it serves", c->index);
}

/* I6: what is served refers to what is served. */
static void check_serving(struct client *c)
{
    bool there[NODES] = {false};
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&c->ledger.serving, &at)))
        there[node_of_key(ledger_serving(&c->ledger, slot->key)->key)] = true;
    at = 0;
    while ((slot = map_each(&c->ledger.serving, &at))) {
        const struct version *v = ledger_serving(&c->ledger, slot->key);

        for (size_t i = 0; v->references && i < v->references->n; i++)
            if (!there[node_of_key(v->references->at[i])])
                violate(c->sim, "I6: client %d serves what refers to what it does not serve",
                        c->index);
    }
}

/* An allocation soon fails: turned off by whoever asked for it. */
static void fail_report(struct sim *s)
{
    if (strikes(s, FAULT_REPORT, 30))
        (void)mem_fail_after(rng_below(&s->rng, 8));
}

/* What it refuses, by its ledger. */
static size_t list_refused(struct client *c, struct sync_refusal refused[SAVED_MAX])
{
    struct map_slot *slot;
    size_t at = 0, n = 0;

    while ((slot = map_each(&c->ledger.pending, &at))) {
        const struct pending *p = slot->value;
        const struct version *received = ledger_received(&c->ledger, slot->key);

        if (p->is_refused)
            refused[n++] =
                (struct sync_refusal){.scope = key_scope(slot->key),
                                      .key = key_tail(slot->key),
                                      .hash = received ? &received->item_hash : NULL,
                                      .serving = ledger_serving(&c->ledger, slot->key),
                                      .code = p->code,
                                      .message = STR("simulated"),
                                      .held_by = str_c(p->held_by)};
    }
    return n;
}

static void say_applied(struct client *c)
{
    struct sync_refusal refused[SAVED_MAX];
    size_t n = list_refused(c, refused);

    fail_report(c->sim);
    c->must_say = sync_applied(c->sync, c->apply_revision, c->ledger.digest, refused, n) != 0;
    (void)mem_fail_after(UINT64_MAX);
    c->must_judge = c->has_judge;
}

/* The revision is not applied yet; what it says of its content is true. */
static void say_early(struct client *c)
{
    struct sync_refusal refused[SAVED_MAX];
    size_t n = list_refused(c, refused);

    if (sync_applied(c->sync, c->apply_revision, c->ledger.digest, refused, n))
        violate(c->sim, "out of memory");
}

/* Applies: everything but what it refuses and what belongs to that, which stays at what was served before. */
static void client_apply_now(struct client *c)
{
    struct groups groups;

    c->must_apply = false;
    if (c->apply_revision) /* of an empty store: the copy keeps what it was, see copy.h */
        c->applied = c->apply_revision;
    if (!c->ledger.pending.n) {
        say_applied(c);
        return;
    }
    if (ledger_groups(&c->ledger, &groups)) {
        violate(c->sim, "client %d cannot group what it received", c->index);
        return;
    }
    for (size_t i = 0; i < groups.n; i++)
        judge(c, &groups.at[i]);
    groups_deinit(&groups);
    check_serving(c);
    say_applied(c);
}

/* Some contents are bad for what runs with them, though nothing refuses them. */
static bool is_well(const struct client *c)
{
    for (int i = 0; i < c->wish.n_scopes * KEYS; i++)
        if (c->serves.bound[i / KEYS][i / NAMES % KINDS][i % NAMES] % 41 == 40)
            return false;
    return true;
}

/* What judges the host looks at it, and says what it finds. */
static void judge_host(struct client *c)
{
    struct sync_judgement j = {
        .revision = c->apply_revision, .reason = "simulated", .source = "probe"};

    j.failing = !is_well(c);
    if (j.failing && c->sim->faults_on)
        c->sim->result.faults[FAULT_FAILING]++;
    if (sync_health(c->sync, &j) == 0)
        c->must_judge = false;
}

/* ---- the server ---- */

/* With the planted defect: a bookmark that runs ahead of the data that it should follow. */
static void spoil_bookmark(struct client *c)
{
    Trimtab__V1__ServerFrame frame = TRIMTAB__V1__SERVER_FRAME__INIT;
    Trimtab__V1__Bookmark b = TRIMTAB__V1__BOOKMARK__INIT;
    struct sync_status status = sync_status(c->sync);
    unsigned char digest[DIGEST_BYTES];
    struct shared *packed;
    struct segment segment;

    digest_put(status.cursor.digest, digest);
    b.revision = c->sim->oracle.head;
    b.count = status.cursor.count;
    b.digest = (ProtobufCBinaryData){DIGEST_BYTES, digest};
    frame.bookmark = &b;
    packed = proto_pack(&frame.base, 0);
    segment = (struct segment){packed, shared_str(packed)};
    (void)queue_put(&c->stream->to_client, &segment, 1, 0);
    (void)shared_unref(packed);
}

/* The lane makes one frame for a stream; not before the hub has let it in. */
static void pull_from(struct sim *s, struct stream *st)
{
    struct feed_frame frame;
    int r;

    if (!st->is_taken || st->to_client.n >= WIRE_FRAMES_MAX)
        return;
    r = feed_session_pull(st->session, s->now, &frame);
    if (r < 0)
        stream_end(st);
    if (r != FEED_FRAME)
        return;
    (void)queue_put(&st->to_client, frame.segments, frame.n, frame.is_framed ? 5 : 0);
    feed_frame_deinit(&frame);
}

static void do_pull(struct client *c)
{
    if (!c->stream)
        return;
    if (c->sim->defect == DEFECT_BOOKMARK_BEFORE_DATA && chance(c->sim, 20) && c->up &&
        c->stream->to_client.n < WIRE_FRAMES_MAX && sync_status(c->sync).phase == SYNC_LIVE)
        spoil_bookmark(c);
    pull_from(c->sim, c->stream);
}

static enum store_fault disk_fault(void *ctx, enum store_write write)
{
    struct sim *s = ctx;

    if (write != STORE_WRITE_APPEND)
        return STORE_FAULT_NONE;
    if (strikes(s, FAULT_DISK_FAIL, 20))
        return STORE_FAULT_FAIL;
    if (strikes(s, FAULT_DISK_LOST, 20))
        return STORE_FAULT_LOST;
    if (strikes(s, FAULT_DISK_DONE, 20))
        return STORE_FAULT_DONE;
    if (strikes(s, FAULT_DISK_UNSYNCED, 20))
        return STORE_FAULT_UNSYNCED;
    return STORE_FAULT_NONE;
}

static void note_targets(struct trial *t, const Trimtab__V1__Step *step, uint64_t revision)
{
    const Trimtab__V1__Target *target = step->targets[0];

    for (size_t i = 0; i < target->n_ids; i++) {
        uint64_t client;

        if (!str_u64(str_c(target->ids[i] + strlen("client-")), &client))
            continue;
        if (!t->added[client])
            t->added[client] = revision;
    }
}

static void note_planned(struct trial *t, const Trimtab__V1__Step *step)
{
    for (size_t i = 0; i < step->targets[0]->n_ids; i++)
        t->planned[client_number(step->targets[0]->ids[i])] = true;
}

static void note_move(struct sim *s, const Trimtab__V1__RolloutMove *m, uint64_t revision)
{
    struct trial *t = m->kind == TRIMTAB__V1__MOVE__START
                          ? oracle_start(&s->oracle, revision)
                          : oracle_trial(&s->oracle, m->rollout);

    if (!t)
        violate(s, "a move of a rollout that never started");
    else if (m->kind == TRIMTAB__V1__MOVE__START) {
        note_targets(t, m->plan->steps[0], revision);
        if (m->plan->n_steps > 1)
            note_planned(t, m->plan->steps[1]);
    } else if (m->kind == TRIMTAB__V1__MOVE__EXTEND)
        note_targets(t, m->step, revision);
    else if (m->kind == TRIMTAB__V1__MOVE__ADVANCE) {
        for (int i = 0; i < CLIENTS_MAX; i++)
            if (t->planned[i] && !t->added[i])
                t->added[i] = revision;
    } else if (m->kind != TRIMTAB__V1__MOVE__SATISFY)
        t->ended = revision;
}

static void note_change(struct sim *s, const Trimtab__V1__RecordChange *c, uint64_t revision,
                        bool is_candidate)
{
    uint64_t content = c->deleted ? 0 : leading_number(proto_str(c->content));
    int space = c->id[0] - 'a', kind = kind_of(c->id[2]), name = c->id[8] - '0';
    struct trial *t;

    if (content)
        oracle_published(&s->oracle, content, revision);
    if (!is_candidate) {
        oracle_note(&s->oracle, space, kind, name, revision, content);
        return;
    }
    t = oracle_trial(&s->oracle, revision);
    t->carried[t->n_carried].space = space;
    t->carried[t->n_carried].kind = kind;
    t->carried[t->n_carried].name = name;
    t->carried[t->n_carried++].content = content;
}

static struct record_parts parts_of(const struct store_entry *entry)
{
    return (struct record_parts){entry->bytes, entry->contents, entry->n_contents};
}

/* What the log says, to the oracle. */
static void note_record(struct sim *s, const struct store_entry *entry)
{
    int r;
    Trimtab__V1__Record *record = record_unpack(parts_of(entry), &r, NULL);

    if (entry->revision <= s->oracle.head) { /* read again after a crash */
        trimtab__v1__record__free_unpacked(record, &proto_allocator);
        return;
    }
    if (entry->revision != s->oracle.head + 1)
        violate(s, "the log jumps to revision %llu", (unsigned long long)entry->revision);
    if (record->n_moves)
        note_move(s, record->moves[0], entry->revision);
    for (size_t i = 0; i < record->n_changes; i++)
        note_change(s, record->changes[i], entry->revision,
                    record->n_moves && record->moves[0]->kind == TRIMTAB__V1__MOVE__START);
    s->oracle.head = entry->revision;
    trimtab__v1__record__free_unpacked(record, &proto_allocator);
}

/* With a planted defect: a commit is published change by change, and somebody takes a frame in between. */
static void publish_halves(struct sim *s, const struct effect *e, uint64_t revision)
{
    for (size_t i = 0; i < e->n_versions; i++) {
        struct version *const *one = &e->versions[i];
        struct state *half =
            state_apply(s->state, &(struct effect){.versions = one, .n_versions = 0},
                        s->state->revision + 1);

        if (state_load(&half, &(struct effect){.versions = one, .n_versions = 1}, revision))
            return;
        (void)state_unref(s->state);
        s->state = half;
        lanes_publish(&s->lanes, half, one, 1);
        for (int c = 0; c < s->n_clients; c++)
            do_pull(&s->clients[c]);
    }
}

static void publish(struct sim *s, const struct effect *e, uint64_t revision)
{
    struct state *next;

    if (s->defect == DEFECT_SPLIT_COMMIT && e->n_versions > 1 && !e->n_rollouts &&
        is_serving(s)) {
        publish_halves(s, e, revision);
        return;
    }
    next = state_apply(s->state, e, revision);
    if (is_serving(s))
        lanes_publish(&s->lanes, next, e->versions, e->n_versions);
    (void)state_unref(s->state);
    s->state = next;
}

/* With a planted defect: everybody gets the candidates, or the targets keep them when they are taken back. */
static void spoil_rollouts(struct sim *s, const struct outcome *o, struct effect *e)
{
    if (s->defect == DEFECT_CANDIDATE_FOR_ALL && o->n_moves && o->moves[0].kind == MOVE_START) {
        e->versions = o->versions;
        e->n_versions = o->n_versions;
    }
    if (s->defect == DEFECT_CANDIDATE_STAYS && o->n_moves && o->moves[0].kind == MOVE_ROLL_BACK)
        e->n_rollouts = 0;
}

static int on_record(void *ctx, const struct store_entry *entry)
{
    struct sim *s = ctx;
    struct rollout *rollouts[1] = {NULL};
    struct effect effect;
    struct record record;

    note_record(s, entry);
    if (record_decode(parts_of(entry), entry->revision, &record, NULL))
        return ERR_CORRUPT;
    if (outcome_effect(s->state, &record.outcome, rollouts, &effect, NULL)) {
        record_deinit(&record);
        return ERR_CORRUPT;
    }
    claims_commit(&s->claims, &record, entry->revision);
    spoil_rollouts(s, &record.outcome, &effect);
    publish(s, &effect, entry->revision);
    for (size_t i = 0; i < record.outcome.n_moves; i++)
        (void)rollout_unref(rollouts[i]);
    record_deinit(&record);
    return 0;
}

static void on_ready(void *ctx)
{
    (void)ctx; /* everybody is looked at in every step */
}

static void on_changed(void *ctx)
{
    struct stream *st = ctx;

    st->is_restless = true;
}

/* J10 */
static void on_lost(void *ctx, uint64_t revision)
{
    struct stream *st = ctx;
    struct sim *s = st->lane->all->ctx;

    s->result.lost++;
    if (revision <= s->oracle.head)
        violate(s, "J10: revision %llu is said to be lost, but the log reaches %llu",
                U(revision), U(s->oracle.head));
}

static void on_memory(void *ctx, enum lanes_memory m)
{
    struct sim *s = ctx;

    if (m == MEMORY_OF_PUBLICATIONS && strikes(s, FAULT_MEMORY, 50))
        (void)mem_fail_after(rng_below(&s->rng, 6));
    else if (m == MEMORY_OF_REPORTS)
        fail_report(s);
    else
        (void)mem_fail_after(UINT64_MAX);
}

static const struct lanes_ops lanes_ops = {.look = look, .ended = on_end, .memory = on_memory};

static void server_start(struct sim *s)
{
    struct store_opts opts = {.semantics = 1, .disk = s->disk, .now = s->now};
    struct store_watcher watcher = {.record = on_record, .ctx = s};
    struct store_identity identity = {.semantics = 0};
    struct err err = ERR_NULL;
    struct feed_opts feed = {.bookmark_every = 5 * NSEC_PER_S,
                             .pinned_max = 1000,
                             .ready = on_ready,
                             .changed = on_changed,
                             .lost = on_lost};

    if (store_open("mem:", &opts, &s->store, NULL) ||
        store_identity(s->store, &identity, NULL)) {
        violate(s, "the store does not open after a crash");
        return;
    }
    if (store_head(s->store).revision < s->oracle.acked)
        violate(s, "I1: the log ends at %llu, but %llu was acknowledged",
                (unsigned long long)store_head(s->store).revision,
                (unsigned long long)s->oracle.acked);
    oracle_cut(&s->oracle, store_head(s->store).revision);
    s->state = state_new();
    if (store_watch_open(s->store, 1, &watcher, &s->watch, &err))
        violate(s, "the log cannot be read: %s", err.text);
    memcpy(feed.store_id, identity.id.bytes, FEED_STORE_ID_BYTES);
    claims_start(&s->claims, false, s->now);
    if (!lanes_open(&s->lanes, s->n_lanes, &feed, s->state))
        violate(s, "out of memory");
}

static void server_stop(struct sim *s)
{
    lanes_close(&s->lanes);
    s->watch = store_watch_close(s->watch);
    s->store = store_drop(s->store);
    s->state = state_unref(s->state);
}

/* ---- servers that come back with another log ---- */

struct copying {
    struct store *to;
    uint64_t until;
};

static int copy_record(void *ctx, const struct store_entry *entry)
{
    struct copying *c = ctx;
    struct store_record r = {.request = entry->request,
                             .bytes = entry->bytes,
                             .contents = entry->contents,
                             .n_contents = entry->n_contents};
    struct store_appended done;

    if (entry->revision > c->until)
        return 0;
    return store_append(c->to, &(struct store_append){&r, 1, entry->revision - 1}, &done, NULL);
}

/* The log up to this revision, on a disk of this seed: with the same id as the old one if it has the same seed. */
static void replace_log(struct sim *s, uint64_t until, uint64_t seed)
{
    struct store_opts opts = {.semantics = 1, .disk = s->disk, .now = s->now};
    struct store_disk *disk = store_disk_new(seed);
    struct copying copying = {.until = until};
    struct store *from = NULL;

    store_disk_faults(s->disk, NULL, NULL);
    if (store_open("mem:", &opts, &from, NULL))
        violate(s, "the store does not open after a crash");
    opts.disk = disk;
    if (store_open("mem:", &opts, &copying.to, NULL) ||
        store_read(from, 1, UINT64_MAX, copy_record, &copying, NULL))
        violate(s, "the log cannot be copied");
    (void)store_drop(from);
    (void)store_drop(copying.to);
    s->disk = store_disk_free(s->disk);
    s->disk = disk;
    store_disk_faults(s->disk, disk_fault, s);
    oracle_cut(&s->oracle, until);
    s->oracle.acked = MIN(s->oracle.acked, until);
    s->history++;
    claims_start(&s->claims, true, s->now);
    for (int i = 0; i < s->n_clients; i++)
        s->truths[i].has_word = false;
}

static void server_return(struct sim *s)
{
    uint64_t part = s->oracle.head - rng_below(&s->rng, s->oracle.head / 4 + 1);

    if (strikes(s, FAULT_OLDER, 60))
        replace_log(s, part, s->seed);
    else if (strikes(s, FAULT_RESTORED, 60))
        replace_log(s, part, ++s->seed);
    else if (strikes(s, FAULT_EMPTIED, 30))
        replace_log(s, 0, ++s->seed);
    server_start(s);
}

/* ---- what happens ---- */

/* Changes that are drawn, with all that they borrow. */
struct drawing {
    struct change changes[CHANGES_MAX];
    struct str links[CHANGES_MAX][LINKS_MAX];
    char ids[CHANGES_MAX][32], texts[CHANGES_MAX][LINKS_MAX][32], *contents[CHANGES_MAX];
};

static void drawing_deinit(struct drawing *d)
{
    for (size_t i = 0; i < CHANGES_MAX; i++)
        (void)mem_free(d->contents[i]);
}

/* An order across the namespaces, so that most references make no cycle. */
static int rank_of(int node)
{
    return node * 29 % NODES;
}

/* Mostly to what is there and comes later in the order. */
static void draw_links(struct sim *s, struct drawing *d, size_t i, struct origin *origin)
{
    struct change *c = &d->changes[i];
    int n = chance(s, 250) ? 1 + (int)rng_below(&s->rng, LINKS_MAX) : 0;

    c->meta.depends_on = d->links[i];
    for (int tries = 0; tries < 12 && origin->n_links < n; tries++) {
        int to = (int)rng_below(&s->rng, NODES);
        char key[16];

        if (!chance(s, 15) && (rank_of(to) <= rank_of(origin->node) ||
                               !state_find(s->state, key_of_node(to, key))))
            continue;
        if (origin->n_links == 1 && origin->links[0] == to)
            continue;
        id_of(to / KEYS, to / NAMES % KINDS, to % NAMES, d->texts[i][origin->n_links]);
        d->links[i][origin->n_links] = str_c(d->texts[i][origin->n_links]);
        origin->links[origin->n_links++] = to;
        c->meta.n_depends_on++;
    }
}

static size_t random_changes(struct sim *s, struct drawing *d)
{
    size_t n = 1 + rng_below(&s->rng, CHANGES_MAX);

    memset(d, 0, sizeof(*d));
    for (size_t i = 0; i < n; i++) {
        int space = (int)rng_below(&s->rng, SPACES), kind = (int)rng_below(&s->rng, KINDS);
        int name = (int)rng_below(&s->rng, NAMES);
        struct origin origin = {.node = node_of(space, kind, name)};
        uint64_t content = s->next_content++;

        id_of(space, kind, name, d->ids[i]);
        d->changes[i] = (struct change){.id = str_c(d->ids[i])};
        d->changes[i].delete = chance(s, 250);
        if (!d->changes[i].delete) {
            size_t len = content_bytes(content, s->room);

            d->contents[i] = mem_dup(s->room, len);
            d->changes[i].content = str_of(d->contents[i], len);
            draw_links(s, d, i, &origin);
        }
        oracle_made(&s->oracle, content, &origin);
    }
    return n;
}

/* Whether every reference resolves afterwards, as a server asks before it appends. */
static bool keeps_whole(struct sim *s, struct commit *commit, const struct change_plan *plans)
{
    struct record_encoded encoded;
    struct rollout *rollouts[1] = {NULL};
    uint64_t revision = s->state->revision + 1;
    struct state *after = NULL;
    struct effect effect;
    struct record record;
    bool whole;

    if (s->defect == DEFECT_UNCHECKED_GRAPH)
        return true;
    if (record_encode(commit, plans, NULL, &encoded))
        return false;
    if (record_decode(record_encoded_parts(&encoded), revision, &record, NULL)) {
        record_encoded_deinit(&encoded);
        return false;
    }
    record_encoded_deinit(&encoded);
    whole = !outcome_effect(s->state, &record.outcome, rollouts, &effect, NULL);
    if (whole) {
        after = state_apply(s->state, &effect, revision);
        whole = after && !graph_check(after, &effect, NULL);
    }
    (void)state_unref(after);
    (void)rollout_unref(rollouts[0]);
    record_deinit(&record);
    return whole;
}

static void append(struct sim *s, struct commit *commit, const struct change_plan *plans)
{
    struct record_encoded record;
    struct store_record r;
    struct store_append op = {&r, 1, s->state->revision};
    struct store_appended done;
    uint64_t revision = 0;
    int rc = record_encode(commit, plans, NULL, &record);

    if (rc)
        return;
    r = (struct store_record){.request = commit->request_id,
                              .bytes = shared_str(record.envelope),
                              .contents = record.contents,
                              .n_contents = record.n_contents};
    rc = store_append(s->store, &op, &done, NULL);
    record_encoded_deinit(&record);

    s->result.commits++;
    if (rc == 0) {
        if (s->oracle.head != done.head.revision)
            violate(s, "an appended record did not come on the watch");
        s->oracle.acked = done.head.revision;
    } else if (rc == ERR_TIMEOUT && chance(s, 700)) {
        if (store_find_request(s->store, commit->request_id, &revision, NULL) == 0)
            s->oracle.acked = MAX(s->oracle.acked, revision);
    } else if (rc > 0) {
        violate(s, "an append at the head answers %d", rc);
    }
}

/* A step for some of the clients, by their ids. */
struct targets {
    struct str ids[CLIENTS_MAX];
    struct target target, few[2]; /* few: of the steps of an automatic one */
    struct step step, steps[2];
    struct rollout_plan plan;
};

static void make_targets(struct sim *s, struct targets *t)
{
    int first = (int)rng_below(&s->rng, (uint64_t)s->n_clients);

    *t = (struct targets){.target = {.ids = t->ids}};
    for (int i = first; i < first + s->n_clients; i++)
        if (t->target.n_ids == 0 || chance(s, 200))
            t->ids[t->target.n_ids++] =
                str_c(s->clients[(i + (int)rng_below(&s->rng, 2)) % s->n_clients].id);
    t->step = (struct step){.targets = &t->target, .n_targets = 1};
    t->plan = (struct rollout_plan){.steps = &t->step, .n_steps = 1};
    if (!chance(s, 500))
        return;
    for (int i = 0; i < 2; i++) {
        t->few[i].ids = t->ids + (size_t)i * (t->target.n_ids / 2);
        t->few[i].n_ids = MIN(t->target.n_ids, 1 + rng_below(&s->rng, 3));
    }
    t->step.soak_ms = 1000 + rng_below(&s->rng, 20000);
    t->step.has_soak = true;
    t->step.criteria.max_silent = (uint32_t)rng_below(&s->rng, 2);
    for (int i = 0; i < 2; i++) {
        t->steps[i] = t->step;
        t->steps[i].targets = &t->few[i];
    }
    t->plan = (struct rollout_plan){.steps = t->steps,
                                    .n_steps = 1 + rng_below(&s->rng, 2),
                                    .is_automatic = true,
                                    .auto_confirm = chance(s, 500)};
}

static void do_commit(struct sim *s)
{
    struct targets targets;
    struct rollout_move start;
    struct drawing drawing;
    struct change_plan plans[CHANGES_MAX];
    char request[32];
    struct commit commit = {.changes = drawing.changes, .time_ms = 1};
    owned(arena) struct arena arena = ARENA_NULL;
    bool news = false;

    if (!s->store)
        return;
    if (store_catch_up(s->store, NULL)) /* settles what is still unknown */
        return;
    commit.n = random_changes(s, &drawing);
    (void)snprintf(request, sizeof(request), "r%llu", (unsigned long long)s->next_request++);
    commit.request_id = str_c(request);
    if (chance(s, 250)) { /* a candidate for some */
        make_targets(s, &targets);
        start = (struct rollout_move){.kind = MOVE_START, .plan = &targets.plan};
        commit.moves = &start;
        commit.n_moves = 1;
    }
    if (commit_check(s->state, &commit, plans, &arena, NULL) == 0 &&
        keeps_whole(s, &commit, plans)) {
        for (size_t i = 0; i < commit.n; i++)
            news |= plans[i].action != CHANGE_UNCHANGED;
        if (news)
            append(s, &commit, plans);
        s->result.rollouts += news && commit.n_moves;
    }
    drawing_deinit(&drawing);
}

/* The candidates of a rollout as the changes by which they become stable. */
static size_t candidates_of(const struct rollout *r, struct change *changes, char ids[][32])
{
    for (size_t i = 0; i < r->n_candidates; i++) {
        const struct version *v = r->candidates[i];

        id_of(v->key.data[0] - 'a', kind_of(v->key.data[2]), v->key.data[8] - '0', ids[i]);
        changes[i] = (struct change){.id = str_c(ids[i]),
                                     .delete = v->deleted,
                                     .content = v->content,
                                     .content_type = v->content_type,
                                     .meta = v->meta ? *v->meta : meta_none};
    }
    return r->n_candidates;
}

static struct rollout *some_live(struct sim *s)
{
    struct tree_walk walk;
    struct rollout *r, *found = NULL;
    uint64_t n = 0;

    tree_walk_from(&walk, s->state->rollouts, STR(""), 0);
    while ((r = rollout_of(tree_walk_next(&walk))))
        if (rollout_is_live(r) && rng_below(&s->rng, ++n) == 0)
            found = r;
    return found;
}

/* Moves a live rollout. */
static void make_move(struct sim *s, const struct rollout *r, enum rollout_move_kind kind)
{
    struct change changes[CHANGES_MAX];
    struct change_plan plans[CHANGES_MAX];
    char ids[CHANGES_MAX][32], request[32];
    struct targets targets;
    struct rollout_move m = {.kind = kind};
    struct commit commit = {.changes = changes, .moves = &m, .n_moves = 1, .time_ms = 1};
    owned(arena) struct arena arena = ARENA_NULL;

    make_targets(s, &targets);
    m.id = r->id;
    m.expected = r->n_moves;
    m.step = kind == MOVE_EXTEND ? &targets.step : NULL;
    if (kind == MOVE_CONFIRM)
        commit.n = candidates_of(r, changes, ids);
    (void)snprintf(request, sizeof(request), "r%llu", (unsigned long long)s->next_request++);
    commit.request_id = str_c(request);
    if (commit_check(s->state, &commit, plans, &arena, NULL) || !keeps_whole(s, &commit, plans))
        violate(s, "a move of a live rollout is refused");
    else
        append(s, &commit, plans);
    s->result.moves++;
}

/* As a person does it: a live rollout is extended, confirmed or taken back. */
static void do_move(struct sim *s)
{
    static const enum rollout_move_kind kinds_of_moves[] = {MOVE_EXTEND, MOVE_CONFIRM,
                                                            MOVE_ROLL_BACK};
    const struct rollout *r;

    if (!s->store || store_catch_up(s->store, NULL))
        return;
    r = some_live(s);
    if (r && (!r->is_automatic || chance(s, 150)))
        make_move(s, r, kinds_of_moves[rng_below(&s->rng, 3)]);
}

static void take_violation(struct sim *s)
{
    if (s->claims.violation[0])
        violate(s, "%s", s->claims.violation);
}

/* What the hub says of everybody, and which waits are over. */
static void check_claims(struct sim *s)
{
    uint64_t head = s->state->revision, back = rng_below(&s->rng, 6);

    s->claims.now = s->now;
    if (chance(s, 500))
        claims_check(&s->claims, s->state, head - MIN(back, head));
    else
        (void)claims_wait(&s->claims, s->state, head - MIN(back, head));
    take_violation(s);
}

/* And what it does by itself. */
static void do_judge(struct sim *s)
{
    struct decision decision;
    uint64_t id;

    if (!s->store || store_catch_up(s->store, NULL))
        return;
    if (chance(s, 400))
        check_claims(s);
    if (claims_drive(&s->claims, s->state, &id, &decision)) {
        make_move(s, state_rollout(s->state, id), decision.move);
        s->result.driven++;
    }
    take_violation(s);
}

/* What it has is as it was when it stored it, by the rights that it had then. */
static void check_stored(struct client *c)
{
    struct wisher *who = wisher_of(c);
    unsigned reads = who->reads;

    who->reads = c->stored_reads;
    check_view(c, &c->copy, sync_status(c->sync).cursor.revision, "coming back with");
    who->reads = reads;
}

static void do_link(struct client *c)
{
    struct sim *s = c->sim;
    struct lane *lane;
    uint64_t boot = 0;

    if (!c->up || c->linked || !is_serving(s))
        return;
    if (c->cursor.revision &&
        c->history == s->history) /* a cursor says: everything up to here is held */
        check_stored(c);
    memcpy(&boot, c->boot, sizeof(c->boot));
    lane = &s->lanes.at[rng_below(&s->rng, s->lanes.n)];
    c->stream = stream_new(lane, c->index, boot);
    c->linked = true;
    c->connected = feed_state(lane->feed)->revision;
    c->timed_out = false;
    s->truths[c->index].away_since = 0;
    sync_link_up(c->sync, s->now);
}

/* Rights to what a hello asks for, as the server looks at them; I11: whole or not at all. */
static bool take_rights(struct stream *st, struct client *c, const Trimtab__V1__Hello *hello)
{
    struct readable *readable;
    int r;

    if (!c->is_restricted)
        return true;
    r = grants_admit(&c->grants, hello, &readable);
    if ((r == 0 && !grants_allow(&c->grants, &c->wish)) ||
        (r == ERR_DENIED && grants_allow(&c->grants, &c->wish)))
        violate(c->sim, "I11: client %d subscribes with the answer %d", c->index, r);
    c->sim->result.denied += r == ERR_DENIED;
    if (!r)
        feed_session_may_read(st->session, readable);
    (void)readable_unref(readable);
    return r == 0;
}

/* What a frame says of its instance is for the hub. */
static bool take_words(struct stream *st, const Trimtab__V1__ClientFrame *frame)
{
    st->is_restless = st->has_spoken = true;
    if (frame->hello && !stream_arrive(st, frame->hello))
        return false;
    return !frame->health || stream_say_health(st, frame->health);
}

/* The lane takes one frame of a client. */
static void do_receive(struct sim *s, struct stream *st)
{
    struct client *c = &s->clients[st->client];
    struct packet *p = st->to_server.first;
    Trimtab__V1__ClientFrame *frame;

    if (!p)
        return;
    frame = trimtab__v1__client_frame__unpack(NULL, p->len, p->bytes);
    if (frame && frame->hello && stream_must_wait(st, frame->hello)) {
        trimtab__v1__client_frame__free_unpacked(frame, NULL);
        return;
    }
    p = queue_take(&st->to_server);
    if (p->saying)
        st->said = *p->saying;
    packet_free(p);
    fail_report(s);
    if (!frame || (frame->hello && !take_rights(st, c, frame->hello)) ||
        feed_session_frame(st->session, frame, s->now, NULL) || !take_words(st, frame))
        stream_end(st);
    (void)mem_fail_after(UINT64_MAX);
    if (frame)
        trimtab__v1__client_frame__free_unpacked(frame, NULL);
}

/* I11: whether something is of a namespace that the client may read, or refers to one only. */
static void check_sent(struct client *c, struct str id, uint64_t content)
{
    const struct origin *origin = content ? oracle_origin(&c->sim->oracle, content) : NULL;
    unsigned spaces_of = origin ? 1U << origin->node / KEYS : 0;

    if (id.len)
        spaces_of |= 1U << (id.data[0] - 'a');
    for (int i = 0; origin && i < origin->n_links; i++)
        spaces_of |= 1U << origin->links[i] / KEYS;
    if (spaces_of & ~wisher_of(c)->reads)
        violate(c->sim, "I11: client %d is sent %llu of %.*s", c->index, U(content),
                STR_ARG(id));
}

/* What is said to be withheld is dropped, and was withheld at some time since the stream began. */
static void check_named(struct client *c, const Trimtab__V1__Changes *m, const char *name)
{
    bool is_so = false;

    for (size_t i = 0; i < m->n_drop; i++)
        is_so |= strcmp(m->drop[i], name) == 0;
    if (!is_so)
        violate(c->sim, "I11: client %d is told that %s is withheld and not dropped", c->index,
                name);
    is_so = false;
    for (uint64_t r = c->connected; r <= c->sim->oracle.head && !is_so; r++)
        is_so = oracle_withholds(&c->sim->oracle, wisher_of(c), m->scope[0] - '0',
                                 kind_of(name[0]), name[6] - '0', r);
    if (!is_so)
        violate(c->sim, "I11: client %d is told that %s is withheld, and it is not", c->index,
                name);
}

static void check_frame(struct client *c, const Trimtab__V1__ServerFrame *frame)
{
    for (size_t i = 0; i < frame->n_changes; i++) {
        const Trimtab__V1__Changes *m = frame->changes[i];

        for (size_t k = 0; k < m->n_put; k++)
            check_sent(c, str_c(m->put[k]->id), leading_number(proto_str(m->put[k]->content)));
        for (size_t k = 0; k < m->n_withheld; k++)
            check_named(c, m, m->withheld[k]);
    }
    if (frame->part && !frame->part->offset)
        check_sent(c, STR(""), leading_number(proto_str(frame->part->data)));
}

/* A client takes one frame of the server. */
static void do_deliver(struct client *c)
{
    struct packet *p =
        c->up && c->stream && !c->stuck ? queue_take(&c->stream->to_client) : NULL;
    Trimtab__V1__ServerFrame *frame;

    if (!p)
        return;
    frame = trimtab__v1__server_frame__unpack(NULL, p->len, p->bytes);
    packet_free(p);
    if (frame)
        check_frame(c, frame);
    if (!frame || sync_frame(c->sync, frame, c->sim->now, NULL))
        unlink_client(c);
    if (frame)
        trimtab__v1__server_frame__free_unpacked(frame, NULL);
}

/* Lanes tick, and ping: who has not answered for long is gone. */
static void tick_lanes(struct sim *s)
{
    for (size_t i = 0; i < s->lanes.n; i++) {
        (void)feed_tick(s->lanes.at[i].feed, s->now);
        LIST_EACH (&s->lanes.at[i].streams, link) {
            struct stream *st = LINK_OF(link, struct stream, link);

            if (st->alone_since && s->now > st->alone_since + PING_S * NSEC_PER_S)
                stream_end(st);
        }
    }
}

static void do_time(struct sim *s)
{
    bool jumps = strikes(s, FAULT_CLOCK_JUMP, 30);

    s->now += rng_below(&s->rng, 400) * NSEC_PER_MS;
    if (jumps)
        s->now += rng_below(&s->rng, 120) * NSEC_PER_S;
    s->claims.now = s->now;
    tick_lanes(s);
    for (int i = 0; i < s->n_clients; i++) {
        struct client *c = &s->clients[i];

        if (!c->up || !c->linked || (sync_tick(c->sync, s->now) && !c->timed_out))
            continue;
        unlink_client(c);
        if (s->defect == DEFECT_CURSOR_ON_TIMEOUT && c->cursor.revision) {
            client_crash(c);
            c->cursor.revision =
                s->oracle.head; /* as if silence meant that there was nothing */
        }
    }
    if (jumps) /* letters take less time than that */
        lanes_drain(&s->lanes);
}

/* As the server does it (subscribers_review): who comes back is asked what it has. */
static void change_rights(struct sim *s, struct client *c)
{
    draw_rights(s, c);
    for (size_t i = 0; i < s->lanes.n && s->defect != DEFECT_RIGHTS_LINGER; i++)
        LIST_EACH (&s->lanes.at[i].streams, link) {
            struct stream *st = LINK_OF(link, struct stream, link);

            if (st->client == c->index)
                stream_end(st);
        }
}

static void lose_or_unlink(struct client *c)
{
    if (chance(c->sim, 500))
        lose_link(c, false);
    else
        unlink_client(c);
}

/* One that was said to have applied a live rollout; NULL: none was, of the rollout that was drawn. */
static struct client *some_applied(struct sim *s)
{
    size_t any = rng_below(&s->rng, (uint64_t)s->n_clients), n = (size_t)s->n_clients;
    const struct trial *t =
        s->oracle.n_trials ? &s->oracle.trials[rng_below(&s->rng, s->oracle.n_trials)] : NULL;

    for (size_t i = 0; t && !t->ended && i < n; i++)
        if (t->counted[(any + i) % n])
            return &s->clients[(any + i) % n];
    return NULL;
}

/* Who goes away for good just then must hold the rollout up: of its own accord that comes too rarely. */
static void lose_applied(struct sim *s)
{
    struct client *c = chance(s, 100) ? some_applied(s) : NULL;

    if (c && c->up && c->linked && strikes(s, FAULT_DEAD, 300))
        client_die(c);
}

static void do_faults(struct sim *s)
{
    struct client *c = &s->clients[rng_below(&s->rng, (uint64_t)s->n_clients)];

    lose_applied(s);
    if (c->is_restricted && strikes(s, FAULT_RIGHTS, 100))
        change_rights(s, c);
    if (c->linked && strikes(s, FAULT_CUT, 60))
        lose_or_unlink(c);
    if (c->up && strikes(s, FAULT_CLIENT_CRASH, 40))
        client_crash(c);
    else if (c->up && c->linked && strikes(s, FAULT_DEAD, 15))
        client_die(c);
    else if (c->up && strikes(s, FAULT_HOST, 5))
        client_lose_host(c);
    else if (!c->up && (!c->stays_down || chance(s, 200))) {
        c->stays_down = false;
        client_start(c);
    }
    if (c->has_judge && !c->is_mute && strikes(s, FAULT_UNJUDGED, 20))
        c->is_mute = true;
    else if (chance(s, 200))
        c->is_mute = false;
    if (!c->stuck && strikes(s, FAULT_STUCK, 30))
        c->stuck = true;
    else if (c->stuck && chance(s, 200))
        c->stuck = false;
    if (s->store && strikes(s, FAULT_SERVER_CRASH, 4)) {
        store_disk_crash(s->disk);
        server_stop(s);
    } else if (!s->store && chance(s, 200)) {
        server_return(s);
    }
}

static void client_step(struct client *c)
{
    if (!c->linked)
        do_link(c);
    if (c->stream)
        do_receive(c->sim, c->stream);
    do_pull(c);
    do_deliver(c);
    if (c->up && c->must_apply && chance(c->sim, 500))
        client_apply_now(c);
    if (c->up && c->must_apply && strikes(c->sim, FAULT_EARLY, 20))
        say_early(c);
    if (c->up && c->must_say && !c->must_apply && chance(c->sim, 300))
        say_applied(c);
    if (c->up && c->must_judge && !c->is_mute && !c->must_apply && chance(c->sim, 300))
        judge_host(c);
    if (c->stream && c->stream->to_client.n > WIRE_FRAMES_MAX + 1)
        violate(c->sim, "I8: %d frames are under way to client %d", c->stream->to_client.n,
                c->index);
}

/* A stream whose client is gone: what was on its way still comes, until the lane notices. */
static void alone_step(struct sim *s, struct stream *st)
{
    bool notices = !st->is_dead && chance(s, 100);

    if (notices)
        stream_end(st);
    else if (chance(s, 500))
        do_receive(s, st);
    else
        pull_from(s, st);
}

static bool has_news(const struct lane *lane)
{
    LIST_EACH (&lane->streams, link)
        if (LINK_OF(link, struct stream, link)->is_restless)
            return true;
    return lane->all->claims->attendance.complete[lane->number] <
           feed_state(lane->feed)->revision;
}

/* Some letters arrive, some later; in every lane for itself (L2). */
static void lane_step(struct sim *s, struct lane *lane)
{
    for (uint64_t n = chance(s, s->paces[lane->number]) ? 1 + rng_below(&s->rng, 4) : 0; n; n--)
        (void)lane_receive(lane);
    LIST_EACH (&lane->streams, link) {
        struct stream *st = LINK_OF(link, struct stream, link);

        if (st->alone_since && chance(s, 300))
            alone_step(s, st);
    }
    if (has_news(lane) ? chance(s, s->pace) : chance(s, 30))
        lane_speak(lane);
    for (uint64_t n = chance(s, s->pace) ? 1 + rng_below(&s->rng, 6) : 0; n; n--)
        (void)hub_receive(lane);
}

static void step_lanes(struct sim *s)
{
    s->claims.now = s->now;
    for (size_t i = 0; i < s->lanes.n; i++) {
        lane_step(s, &s->lanes.at[i]);
        if (chance(s, 250) && !store_catch_up(s->store, NULL))
            check_claims(s);
    }
}

static void step(struct sim *s)
{
    if (chance(s, 150))
        do_commit(s);
    if (chance(s, 60))
        do_move(s);
    for (int i = 0; i < 12; i++) {
        client_step(&s->clients[rng_below(&s->rng, (uint64_t)s->n_clients)]);
        if (i % 6 == 5)
            step_lanes(s);
    }
    if (chance(s, 300))
        do_time(s);
    do_judge(s);
    if (s->faults_on)
        do_faults(s);
}

/* ---- the end: faults stop, everybody must arrive ---- */

/* What is held without being served is as its view has it: not there. */
static bool serves_view(const struct client *c)
{
    return memcmp(&c->serves, &c->copy, sizeof(c->copy)) == 0;
}

static bool is_allowed(const struct client *c)
{
    return !c->is_restricted || grants_allow(&c->grants, &c->wish);
}

/* Whether the server says of it what is so: that it serves its view, or that it refuses something. */
static bool is_known(struct client *c)
{
    enum presence_state is = claims_state(&c->sim->claims, c->id);

    if (sync_n_held(c->sync) && is == PRESENCE_HELD)
        return true;
    return is == (serves_view(c) ? PRESENCE_OK : PRESENCE_ERROR);
}

/* Who is refused stays with what it has. */
static bool has_arrived(struct client *c)
{
    struct sync_status status = sync_status(c->sync);
    struct feed_status fed;

    if (!is_allowed(c))
        return true;
    if (!c->stream || status.phase != SYNC_LIVE || c->must_apply ||
        feed_state(c->stream->lane->feed) != c->sim->state)
        return false;
    fed = feed_session_status(c->stream->session);
    return digest_eq(status.cursor.digest, fed.expected) && fed.phase == FEED_STEADY &&
           is_known(c) && !c->stream->to_client.n && !c->stream->to_server.n;
}

/* What it serves otherwise it has reported; and nothing is held when nothing is refused. */
static void check_refusals(struct client *c)
{
    struct map_slot *slot;
    size_t at = 0;
    bool any = false;

    for (int i = 0; i < c->wish.n_scopes * KEYS; i++)
        any |= c->copy.bound[i / KEYS][i / NAMES % KINDS][i % NAMES] % 37 == 36 ||
               c->kept.bound[i / KEYS][i / NAMES % KINDS][i % NAMES] % 37 == 36;
    if (!any && c->ledger.pending.n)
        violate(c->sim, "I3: client %d holds something though nothing is refused", c->index);
    while ((slot = map_each(&c->ledger.pending, &at)))
        if (!((struct pending *)slot->value)->is_refused)
            violate(c->sim, "I3: client %d serves what it has not reported", c->index);
}

/* All words are said, and all letters arrive. */
static void settle_lanes(struct sim *s)
{
    for (size_t i = 0; i < s->lanes.n; i++) {
        LIST_EACH (&s->lanes.at[i].streams, link) {
            struct stream *st = LINK_OF(link, struct stream, link);

            if (st->alone_since)
                alone_step(s, st);
        }
        lane_speak(&s->lanes.at[i]);
    }
    s->claims.now = s->now;
    lanes_drain(&s->lanes);
}

/* One stays stuck to the end: it must not be in anybody's way. */
static void settle(struct sim *s)
{
    bool all = false;

    s->faults_on = false;
    if (!s->store)
        server_start(s);
    for (int i = 0; i < s->n_clients; i++) {
        s->clients[i].stuck = i == 0;
        if (!s->clients[i].up)
            client_start(&s->clients[i]);
    }
    if (s->store && store_catch_up(s->store, NULL))
        violate(s, "the store does not settle");
    for (int round = 0; round < SETTLE_ROUNDS && !all && !s->result.violation[0]; round++) {
        all = true;
        for (int i = 0; i < s->n_clients; i++) {
            client_step(&s->clients[i]);
            if (i > 0 && !has_arrived(&s->clients[i]))
                all = false;
        }
        settle_lanes(s);
        /* once all have arrived, who was asked to reconnect before that may stay */
        if (!all && round % 50 == 49)
            do_time(s);
    }
    for (int i = 1; i < s->n_clients && !s->result.violation[0]; i++) {
        struct client *c = &s->clients[i];

        if (!has_arrived(c)) {
            const char *story = "";
            struct standing st = {.proof = PROOF_NONE};

            if (c->stream)
                st = feed_session_standing(c->stream->session);
            story = proof_story(st.proof);
            violate(
                s,
                "I3: client %d does not come to the view of the head: it is %s, with %zu "
                "pending, %s; proved %llu, concerned %llu, applied %llu must %d %d phase %d",
                i, presence_state_name(claims_state(&s->claims, c->id)), c->ledger.pending.n,
                story, (unsigned long long)st.proved, (unsigned long long)st.concerned,
                (unsigned long long)st.applied, c->must_apply, c->must_say,
                sync_status(c->sync).phase);
            standing_deinit(&st);
            return;
        }
        if (!is_allowed(c))
            continue;
        check_view(c, &c->copy, s->oracle.head, "at the end of");
        check_refusals(c);
    }
}

struct sim_result sim_run(uint64_t seed, enum sim_defect defect, int clients, int steps)
{
    static const unsigned paces[] = {1000, 700, 300};
    static struct sim sim;
    struct sim_result result;
    struct sim *s = &sim;

    memset(s, 0, sizeof(*s));
    s->rng.state = seed;
    s->defect = defect;
    s->now = NSEC_PER_S;
    s->next_content = 1;
    s->n_clients = clients;
    s->faults_on = true;
    s->seed = seed;
    s->has_restricted = seed % 3 == 0;
    s->n_lanes = seed % 2 ? LANES_MAX_SIM : 1;
    s->pace = paces[seed / 2 % 3];
    for (int i = 0; i < LANES_MAX_SIM; i++)
        s->paces[i] = i && chance(s, 100) ? PACE_BUSY : s->pace;
    s->disk = store_disk_new(seed);
    claims_init(&s->claims, &s->oracle, s->truths, clients);
    s->lanes = (struct lanes){.ops = &lanes_ops,
                              .ctx = s,
                              .claims = &s->claims,
                              .misses = defect == DEFECT_LANE_MISSES};
    server_start(s);
    store_disk_faults(s->disk, disk_fault, s);
    for (int i = 0; i < clients; i++)
        client_init(s, &s->clients[i], i);
    for (int i = 0; i < steps && !s->result.violation[0]; i++)
        step(s);
    if (!s->result.violation[0])
        settle(s);
    for (int i = 0; i < clients; i++) {
        if (s->clients[i].sync)
            s->result.repairs += sync_status(s->clients[i].sync).repairs;
        unlink_client(&s->clients[i]);
    }
    for (int i = 0; i < clients; i++) {
        if (s->clients[i].up)
            ledger_deinit(&s->clients[i].ledger);
        s->clients[i].sync = sync_free(s->clients[i].sync);
        grants_deinit(&s->clients[i].grants);
    }
    if (s->store)
        server_stop(s);
    s->disk = store_disk_free(s->disk);
    s->result.claims = s->claims.n_checked;
    s->result.well = s->claims.n_well;
    s->result.hidden = s->claims.n_hidden;
    s->result.went_on = s->claims.n_went_on;
    s->result.waited = s->claims.n_waited;
    s->result.letters = s->lanes.n_letters;
    s->result.behind = s->lanes.n_behind;
    s->result.late = s->lanes.n_late;
    s->result.replaced = s->lanes.n_replaced;
    s->result.must_wait = s->lanes.n_waited;
    s->result.owing = s->lanes.n_owing;
    s->result.several = s->n_lanes > 1;
    claims_deinit(&s->claims);
    oracle_free(&s->oracle);
    result = s->result;
    return result;
}
