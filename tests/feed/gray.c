/*
 * Rollouts through the feed: who gets what, who gets nothing at all, and random histories against a plain model that
 * keeps for every name what is stable and what is tried on whom.
 */
#include "base/clock.h"
#include "feed/peer.h"
#include "model/commit.h"

/* ---- moves ---- */

/* Folds an outcome and publishes the state; versions of a start are candidates. */
static void publish_outcome(struct world *w, const struct outcome *o)
{
    struct rollout *rollouts[8];
    struct effect e;
    struct state *next;

    if (!CHECK_I64(outcome_effect(w->state, o, rollouts, &e, NULL), 0))
        return;
    next = state_apply(w->state, &e, w->state->revision + 1);
    (void)state_unref(w->state);
    w->state = next;
    for (size_t i = 0; i < e.n_rollouts; i++)
        (void)rollout_unref(rollouts[i]);
    feed_publish(w->feed, next, e.versions, e.n_versions);
}

static struct version *version_of_text(struct world *w, const char *key, size_t len,
                                       const char *text)
{
    return version_with_wire(&(struct version_opts){
        .key = str_of(key, len),
        .content_type = STR("application/octet-stream"),
        .content = text ? str_c(text) : STR_NULL,
        .deleted = !text,
        .number = state_number(w->state, str_of(key, len)) + 1,
        .revision = w->state->revision + 1,
    });
}

/* Starts a rollout of one resource to the instances with these ids, a blank between them. Returns its id. */
static uint64_t start(struct world *w, const char *key, size_t len, const char *text,
                      const char *ids)
{
    struct str list[16], rest = str_c(ids);
    struct target target = {.ids = list};
    struct step step = {.targets = &target, .n_targets = 1};
    struct rollout_plan plan = {.steps = &step, .n_steps = 1};
    struct rollout_move m = {
        .kind = MOVE_START, .plan = &plan, .revision = w->state->revision + 1};
    owned(arena) struct arena a = ARENA_NULL;
    struct version *v = version_of_text(w, key, len, text);

    while (str_next(&rest, ' ', &list[target.n_ids]))
        target.n_ids++;
    CHECK_I64(rollout_plan_check(&plan, &a, NULL), 0);
    publish_outcome(w, &(struct outcome){&v, 1, &m, 1});
    (void)version_unref(v);
    return w->state->revision;
}

static void extend(struct world *w, uint64_t id, const char *who)
{
    struct str ids[1] = {str_c(who)};
    struct target target = {.ids = ids, .n_ids = 1};
    struct step step = {.targets = &target, .n_targets = 1};
    struct rollout_move m = {
        .kind = MOVE_EXTEND, .id = id, .step = &step, .revision = w->state->revision + 1};
    owned(arena) struct arena a = ARENA_NULL;

    CHECK_I64(step_check(&step, &a, NULL), 0);
    publish_outcome(w, &(struct outcome){NULL, 0, &m, 1});
}

static void roll_back(struct world *w, uint64_t id)
{
    struct rollout_move m = {
        .kind = MOVE_ROLL_BACK, .id = id, .revision = w->state->revision + 1};

    publish_outcome(w, &(struct outcome){NULL, 0, &m, 1});
}

static void confirm(struct world *w, uint64_t id)
{
    struct version *candidate = state_rollout(w->state, id)->candidates[0];
    struct rollout_move m = {
        .kind = MOVE_CONFIRM, .id = id, .revision = w->state->revision + 1};
    struct version *v =
        version_with_wire(&(struct version_opts){.key = candidate->key,
                                                 .content_type = candidate->content_type,
                                                 .content = candidate->content,
                                                 .deleted = candidate->deleted,
                                                 .number = candidate->number,
                                                 .revision = m.revision});

    publish_outcome(w, &(struct outcome){&v, 1, &m, 1});
    (void)version_unref(v);
}

#define X        "a\0item\0x", 8
#define NEW_ITEM "a\0item\0new", 10

/* Two subscribers that have everything; one of them will be a target. */
struct pair_of_peers {
    struct world w;
    struct peer gray, plain;
};

static bool open_pair(struct pair_of_peers *p)
{
    if (!world_open(&p->w) || !peer_open(&p->gray, &p->w) || !peer_open(&p->plain, &p->w))
        return false;
    PUBLISH(&p->w, {"a/item/x", "1"}, {"a/item/y", "1"});
    CHECK_I64(peer_hello(&p->gray, &(struct greeting){.scopes = "a", .id = "canary"}, NULL), 0);
    CHECK_I64(peer_hello(&p->plain, &(struct greeting){.scopes = "a", .id = "web-2"}, NULL), 0);
    if (!peer_settle(&p->gray) || !peer_settle(&p->plain))
        return false;
    peer_forget(&p->gray);
    peer_forget(&p->plain);
    p->gray.n_ready = p->plain.n_ready = 0;
    return true;
}

static void close_pair(struct pair_of_peers *p)
{
    peer_close(&p->gray);
    peer_close(&p->plain);
    world_close(&p->w);
}

static void reopen(struct peer *p, const char *id, uint64_t revision)
{
    peer_close(p);
    p->session = feed_session_new(p->w->feed, FEED_CLIENT_ANSWERS, p);
    peer_forget(p);
    CHECK_I64(peer_hello(p,
                         &(struct greeting){
                             .scopes = "a", .id = id, .has_cursor = true, .revision = revision},
                         NULL),
              0);
    CHECK(peer_settle(p));
}

TEST("a target gets the candidate, nobody else a frame, from start to confirmation")
{
    struct pair_of_peers p;
    uint64_t id;

    REQUIRE(open_pair(&p));
    id = start(&p.w, X, "2", "canary");
    CHECK(peer_settle(&p.gray) && p.gray.puts == 1 && !p.gray.is_broken &&
          peer_is_true(&p.gray));
    extend(&p.w, id, "web-7");
    peer_forget(&p.gray);
    CHECK(peer_settle(&p.gray) && p.gray.puts == 0 && p.gray.ends == 0);
    CHECK(p.plain.n_ready == 0 && peer_settle(&p.plain) && p.plain.puts == 0 &&
          p.plain.ends == 0);
    CHECK(peer_is_true(&p.plain));
    confirm(&p.w, id);
    CHECK(peer_settle(&p.gray) && p.gray.puts == 0 && p.gray.ends == 0 &&
          peer_is_true(&p.gray));
    CHECK(peer_settle(&p.plain) && p.plain.puts == 1 && !p.plain.is_broken &&
          peer_is_true(&p.plain));
    p.w.now += 100;
    (void)feed_tick(p.w.feed, p.w.now);
    CHECK(peer_pull(&p.gray) && p.gray.bookmarks == 1);
    close_pair(&p);
}

TEST("taking back gives the target what was stable: changed, created and deleted; nobody else "
     "a frame")
{
    struct pair_of_peers p;
    uint64_t changed, created, deleted;

    REQUIRE(open_pair(&p));
    changed = start(&p.w, X, "2", "canary");
    created = start(&p.w, NEW_ITEM, "3", "canary");
    deleted = start(&p.w, "a\0item\0y", 8, NULL, "canary");
    CHECK(peer_settle(&p.gray) && p.gray.puts == 2 && p.gray.drops == 1 && !p.gray.is_broken);
    CHECK(p.gray.n_held == 2 && peer_is_true(&p.gray));
    peer_forget(&p.gray);
    roll_back(&p.w, changed);
    roll_back(&p.w, created);
    roll_back(&p.w, deleted);
    CHECK(peer_settle(&p.gray) && p.gray.puts == 2 && p.gray.drops == 1 && !p.gray.is_broken);
    CHECK(p.gray.uncaused == 0);
    CHECK(digest_eq(peer_digest(&p.gray), peer_digest(&p.plain)) && peer_is_true(&p.gray));
    CHECK(p.plain.n_ready == 0 && peer_settle(&p.plain) &&
          p.plain.puts + p.plain.drops + p.plain.ends == 0);
    close_pair(&p);
}

TEST("an extension reaches who is new in it, and only that one")
{
    struct pair_of_peers p;
    uint64_t id;

    REQUIRE(open_pair(&p));
    id = start(&p.w, X, "2", "web-9");
    CHECK(p.gray.n_ready == 0 && p.plain.n_ready == 0);
    extend(&p.w, id, "canary");
    CHECK(peer_settle(&p.gray) && p.gray.puts == 1 && peer_is_true(&p.gray));
    CHECK(p.plain.n_ready == 0);
    close_pair(&p);
}

TEST("a client that does not know of rollouts has what is stable, named or not")
{
    struct pair_of_peers p;
    struct peer old;

    REQUIRE(open_pair(&p) && peer_open(&old, &p.w));
    CHECK_I64(
        peer_hello(&old, &(struct greeting){.scopes = "a", .id = "old", .is_old = true}, NULL),
        0);
    REQUIRE(peer_settle(&old));
    peer_forget(&old);
    (void)start(&p.w, X, "2", "canary old");
    CHECK(peer_settle(&p.gray) && p.gray.puts == 1);
    CHECK(peer_settle(&old) && old.puts == 0 && old.ends == 0);
    CHECK(digest_eq(peer_digest(&old), peer_digest(&p.plain)));
    peer_close(&old);
    close_pair(&p);
}

TEST("who comes back gets what concerns it, and nothing of what does not")
{
    struct pair_of_peers p;
    uint64_t id, before;

    REQUIRE(open_pair(&p));
    before = p.w.state->revision;
    id = start(&p.w, X, "2", "canary");
    reopen(&p.plain, "web-2", before);
    CHECK(p.plain.puts == 0 && !p.plain.is_broken && peer_is_true(&p.plain));
    reopen(&p.gray, "canary", before);
    CHECK(p.gray.puts == 1 && !p.gray.is_broken && peer_is_true(&p.gray));
    confirm(&p.w, id);
    reopen(&p.gray, "canary", id); /* it has it already */
    CHECK(p.gray.puts == 0 && !p.gray.is_broken && peer_is_true(&p.gray));
    reopen(&p.plain, "web-2", id);
    CHECK(p.plain.puts == 1 && !p.plain.is_broken && peer_is_true(&p.plain));
    id = start(&p.w, NEW_ITEM, "3", "canary");
    CHECK(peer_settle(&p.gray));
    roll_back(&p.w, id); /* while it was away */
    reopen(&p.gray, "canary", id);
    CHECK(p.gray.drops == 1 && p.gray.uncaused == 0 && !p.gray.is_broken &&
          peer_is_true(&p.gray));
    close_pair(&p);
}

TEST("a newcomer gets its side at once, and an instance without an id is in no rollout")
{
    struct pair_of_peers p;
    struct peer fresh, nobody;

    REQUIRE(open_pair(&p) && peer_open(&fresh, &p.w) && peer_open(&nobody, &p.w));
    (void)start(&p.w, X, "2", "fresh");
    CHECK_I64(peer_hello(&fresh, &(struct greeting){.scopes = "a", .id = "fresh"}, NULL), 0);
    CHECK_I64(peer_hello(&nobody, &(struct greeting){.scopes = "a"}, NULL), 0);
    CHECK(peer_settle(&fresh) && peer_settle(&nobody));
    CHECK(!digest_eq(peer_digest(&fresh), peer_digest(&nobody)));
    CHECK(digest_eq(peer_digest(&nobody), peer_digest(&p.plain)));
    CHECK(peer_is_true(&fresh) && peer_is_true(&nobody));
    peer_close(&fresh);
    peer_close(&nobody);
    close_pair(&p);
}

/* ---- random histories ---- */

enum { SPACES = 3, NAMES = 4, PEERS = 6, ROUNDS = 1000, HISTORIES = 60 };

/* What a name has in one namespace: a content number each, 0 for nothing, and who tries the candidate. */
struct plain_name {
    int stable, candidate;
    uint64_t rollout; /* 0: none */
    bool tries[PEERS];
};

struct plain {
    struct plain_name at[SPACES][NAMES];
};

struct client {
    struct peer peer;
    char id[16], layers[4];
    bool is_open;
};

static int plain_has(const struct plain *p, int client, const char *layers, int name)
{
    for (; *layers; layers++) {
        const struct plain_name *n = &p->at[*layers - 'a'][name];
        int v = n->rollout && n->tries[client] ? n->candidate : n->stable;

        if (v)
            return v;
    }
    return 0;
}

/* The hash of an item with this content; the namespace that it comes from is the first that has it. */
static struct sha256 hash_of(const char *layers, const struct plain *p, int client, int name)
{
    int want = plain_has(p, client, layers, name);
    char key[24], text[16];
    struct version_opts o = {.content_type = STR("application/octet-stream")};
    struct sha256 content, hash = {{0}};
    char layer[2] = {0};

    for (; *layers; layers++) {
        layer[0] = *layers;
        if (plain_has(p, client, layer, name))
            break;
    }
    (void)snprintf(key, sizeof(key), "%c%citem%cn%d", *layers, 0, 0, name);
    (void)snprintf(text, sizeof(text), "%d", want);
    o.key = str_of(key, 9);
    content = sha256_of(str_c(text));
    CHECK_I64(item_hash(&o, &content, &hash), 0);
    return hash;
}

static bool matches(const struct client *c, int client, const struct plain *p)
{
    size_t n = 0;

    for (int i = 0; i < NAMES; i++) {
        int want = plain_has(p, client, c->layers, i);
        struct sha256 hash;
        char key[64];
        size_t at;

        (void)snprintf(key, sizeof(key), "s item/n%d", i);
        at = peer_find(&c->peer, key);
        if ((at < c->peer.n_held) != (want != 0)) {
            tap_note("client %d, name %d: has %d, should be %d", client, i, at < c->peer.n_held,
                     want);
            return false;
        }
        if (!want)
            continue;
        n++;
        hash = hash_of(c->layers, p, client, i);
        if (!sha256_eq(&hash, &c->peer.held[at].hash))
            return false;
    }
    return n == c->peer.n_held;
}

static void key_of(int space, int name, char key[24])
{
    (void)snprintf(key, 24, "%c%citem%cn%d", 'a' + space, 0, 0, name);
}

static void random_publish(struct world *w, struct rng *rng, struct plain *p, int content)
{
    int space = (int)rng_below(rng, SPACES), name = (int)rng_below(rng, NAMES);
    struct plain_name *n = &p->at[space][name];
    bool deletes = rng_below(rng, 3) == 0;
    char key[24], text[16];
    struct version *v;

    if (n->rollout || (deletes && !n->stable))
        return;
    key_of(space, name, key);
    (void)snprintf(text, sizeof(text), "%d", content);
    v = version_of_text(w, key, 9, deletes ? NULL : text);
    publish_outcome(w, &(struct outcome){&v, 1, NULL, 0});
    (void)version_unref(v);
    n->stable = deletes ? 0 : content;
}

static void random_start(struct world *w, struct rng *rng, struct plain *p, int content)
{
    int space = (int)rng_below(rng, SPACES), name = (int)rng_below(rng, NAMES);
    struct plain_name *n = &p->at[space][name];
    bool deletes = n->stable && rng_below(rng, 3) == 0;
    char key[24], text[16], ids[128] = "nobody";

    if (n->rollout)
        return;
    key_of(space, name, key);
    (void)snprintf(text, sizeof(text), "%d", content);
    for (int i = 0; i < PEERS; i++) {
        n->tries[i] = rng_below(rng, 3) == 0;
        if (n->tries[i])
            (void)snprintf(ids + strlen(ids), sizeof(ids) - strlen(ids), " c%d", i);
    }
    n->candidate = deletes ? 0 : content;
    n->rollout = start(w, key, 9, deletes ? NULL : text, ids);
}

static void random_move(struct world *w, struct rng *rng, struct plain *p)
{
    struct plain_name *n = &p->at[rng_below(rng, SPACES)][rng_below(rng, NAMES)];
    int who = (int)rng_below(rng, PEERS);
    char id[16];

    if (!n->rollout)
        return;
    switch (rng_below(rng, 3)) {
    case 0:
        (void)snprintf(id, sizeof(id), "c%d", who);
        extend(w, n->rollout, id);
        n->tries[who] = true;
        return;
    case 1:
        confirm(w, n->rollout);
        n->stable = n->candidate;
        break;
    default: roll_back(w, n->rollout);
    }
    n->rollout = 0;
}

static void random_client(struct world *w, struct rng *rng, struct client *c)
{
    bool returns = c->peer.revision && rng_below(rng, 4);

    if (c->is_open && rng_below(rng, 6)) {
        CHECK(peer_settle(&c->peer));
        return;
    }
    if (c->is_open)
        peer_close(&c->peer);
    if (!returns)
        c->peer = (struct peer){.w = w};
    c->peer.session = feed_session_new(w->feed, FEED_CLIENT_ANSWERS, &c->peer);
    c->is_open = true;
    peer_forget(&c->peer);
    CHECK_I64(peer_hello(&c->peer,
                         &(struct greeting){.scopes = "s",
                                            .layers = c->layers,
                                            .id = c->id,
                                            .has_cursor = returns,
                                            .revision = c->peer.revision},
                         NULL),
              0);
}

/* Everybody settles, and has what the model says. */
static void check_all(struct client *clients, const struct plain *p)
{
    for (int i = 0; i < PEERS; i++) {
        struct client *c = &clients[i];

        if (!c->is_open)
            continue;
        CHECK(peer_settle(&c->peer));
        CHECK(!c->peer.is_broken && peer_is_true(&c->peer));
        CHECK(matches(c, i, p));
    }
}

/* One history from its seed; the repairs that it took. */
static int run_history(uint64_t seed)
{
    static const char *const layers[PEERS] = {"a", "ab", "abc", "cba", "bc", "c"};
    static struct client clients[PEERS];
    struct plain p = {0};
    struct rng rng = {seed};
    struct world w;
    int n_repairs = 0;

    if (!CHECK(world_open(&w)))
        return 0;
    for (int i = 0; i < PEERS; i++) {
        clients[i] = (struct client){.is_open = false};
        (void)snprintf(clients[i].id, sizeof(clients[i].id), "c%d", i);
        (void)snprintf(clients[i].layers, sizeof(clients[i].layers), "%s", layers[i]);
    }
    for (int round = 0; round < ROUNDS && !tap_failed(); round++) {
        switch (rng_below(&rng, 5)) {
        case 0: random_publish(&w, &rng, &p, round + 1); break;
        case 1: random_start(&w, &rng, &p, round + 1); break;
        case 2: random_move(&w, &rng, &p); break;
        default: random_client(&w, &rng, &clients[rng_below(&rng, PEERS)]);
        }
        if (round % 10 == 9)
            check_all(clients, &p);
    }
    for (int i = 0; i < PEERS; i++) {
        if (clients[i].is_open)
            n_repairs += (int)feed_session_status(clients[i].peer.session).repairs;
        peer_close(&clients[i].peer);
    }
    world_close(&w);
    return n_repairs;
}

TEST("random publishing, rollouts and reconnections end with everybody as the plain model says")
{
    for (uint64_t seed = 1; seed <= HISTORIES && !tap_failed(); seed++) {
        CHECK_I64(run_history(seed), 0);
        if (tap_failed())
            tap_note("seed %d", (int)seed);
    }
}

/* Memory fails at the n-th allocation of a publication, and the next one makes the view what it was before. */
static void undo_a_failure(uint64_t n)
{
    struct pair_of_peers p;

    REQUIRE(open_pair(&p));
    REQUIRE(start(&p.w, X, "2", "canary") && peer_settle(&p.gray));
    publish_failing(&p.w, (struct edit[]){{"a/item/y", "2"}}, 1, n);
    CHECK(peer_settle(&p.gray) && peer_settle(&p.plain));
    PUBLISH(&p.w, {"a/item/y", "1"});
    CHECK_U64(feed_session_status(p.gray.session).changed, p.w.state->revision);
    CHECK_U64(feed_session_status(p.plain.session).changed, p.w.state->revision);
    CHECK(peer_settle(&p.gray) && peer_settle(&p.plain));
    CHECK(!p.gray.is_broken && !p.plain.is_broken);
    close_pair(&p);
}

TEST("a change that makes a view what it was before a failure of memory is a change all the "
     "same")
{
    for (uint64_t n = 0; n < 24 && !tap_failed(); n++)
        undo_a_failure(n);
}
