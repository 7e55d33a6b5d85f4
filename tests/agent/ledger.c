/*
 * The ledger: which names stand or fall together (L3), and that what it says it serves is what it serves (L1, L2).
 */
#include "tap.h"

#include "agent/ledger.h"
#include "base/clock.h"
#include "model/name.h"

enum { NAMES_MAX = 32 };

/* What was received, through the core's own way in: a copy that is loaded. */
struct world {
    struct sync *sync;
    struct ledger ledger;
    Trimtab__V1__Instance instance;
};

static struct version *make(const char *name, const char *content, uint64_t revision,
                            const char *depends_on)
{
    owned(buf) struct buf key = BUF_NULL(4096);
    struct shared *bytes = shared_copy(str_c(content));
    owned(buf) struct buf target = BUF_NULL(4096);
    struct references *refs = NULL;
    struct name name_of_target;
    struct version_opts o = {
        .content_type = STR("text/plain"), .wire = bytes, .number = 1, .revision = revision};
    struct version *v;

    name_put_key((struct name){STR("n"), STR("file"), str_c(name)}, &key);
    o.key = buf_str(&key);
    o.content = shared_str(bytes);
    if (depends_on && CHECK(name_parse(str_c(depends_on), &name_of_target, NULL) == 0)) {
        struct str reference;

        name_put_key(name_of_target, &target);
        reference = buf_str(&target);
        refs = mem_alloc(references_size(&reference, 1));
        if (refs)
            references_init(refs, &reference, 1);
    }
    o.references = refs;
    v = version_new(&o);
    (void)mem_free(refs);
    (void)shared_unref(bytes);
    return v;
}

struct item {
    const char *name, *content;
    uint64_t revision;
    const char *depends_on;
};

static const struct sync_ops no_ops = {.send = NULL};

/* A sync that has received these. */
static struct sync *sync_with(const struct item *items, size_t n)
{
    struct sync_opts opts = {.ops = &no_ops};
    struct sync *s = sync_new(&opts);
    struct sync_change changes[NAMES_MAX];
    char keys[NAMES_MAX][64];
    struct sync_cursor cursor = {.revision = 100, .count = n, .digest = DIGEST_NULL};

    for (size_t i = 0; i < n; i++) {
        int len = snprintf(keys[i], sizeof(keys[i]), "file%c%s", 0, items[i].name);

        changes[i] = (struct sync_change){
            STR("s"), str_of(keys[i], (size_t)len),
            make(items[i].name, items[i].content, items[i].revision, items[i].depends_on)};
        cursor.digest =
            digest_add(cursor.digest, binding_digest(STR("s"), &changes[i].item->item_hash));
    }
    CHECK_I64(sync_load(s, changes, n, &cursor), 0);
    for (size_t i = 0; i < n; i++)
        (void)version_unref(changes[i].item);
    return s;
}

static struct str key_of(const char *name, char out[80])
{
    int len = snprintf(out, 80, "s%cfile%c%s", 0, 0, name);

    return str_of(out, (size_t)len);
}

/* The group that a name is in, or NULL. */
static const struct group *group_of(const struct groups *g, const char *name)
{
    for (size_t i = 0; i < g->n; i++)
        for (size_t m = 0; m < g->at[i].n; m++)
            if (str_eq(key_path(g->at[i].members[m].key), str_c(name)))
                return &g->at[i];
    return NULL;
}

static void serve(struct ledger *l, const char *name, const char *content, uint64_t revision,
                  const char *depends_on)
{
    char text[80];
    struct version *v = make(name, content, revision, depends_on);

    CHECK_I64(ledger_serve(l, key_of(name, text), v), 0);
    (void)version_unref(v);
}

TEST("names of one commit are one group, names of two commits are two")
{
    static const struct item items[] = {
        {"a", "1", 5, NULL}, {"b", "1", 5, NULL}, {"c", "1", 6, NULL}};
    struct sync *s = sync_with(items, ARRAY_LEN(items));
    struct ledger l;
    struct groups g;

    ledger_init(&l, s);
    CHECK_I64(ledger_rescan(&l, 6), 0);
    CHECK_U64(l.pending.n, 3);
    REQUIRE(ledger_groups(&l, &g) == 0);
    CHECK_U64(g.n, 2);
    CHECK(group_of(&g, "a") == group_of(&g, "b") && group_of(&g, "a") != group_of(&g, "c"));
    groups_deinit(&g);
    ledger_deinit(&l);
    (void)sync_free(s);
}

TEST("a reference joins groups, from what is received and from "
     "what is served")
{
    static const struct item items[] = {{"a", "2", 5, "n/file/b"}, {"b", "2", 6, NULL},
                                        {"c", "2", 7, "n/file/d"}, {"d", "2", 8, NULL},
                                        {"e", "2", 9, NULL},       {"f", "2", 10, NULL}};
    struct sync *s = sync_with(items, ARRAY_LEN(items));
    struct ledger l;
    struct groups g;

    ledger_init(&l, s);
    serve(&l, "e", "1", 1, "n/file/f"); /* the old e needs f, whatever the new one does */
    CHECK_I64(ledger_rescan(&l, 10), 0);
    REQUIRE(ledger_groups(&l, &g) == 0);
    CHECK_U64(g.n, 3);
    CHECK(group_of(&g, "a") == group_of(&g, "b"));
    CHECK(group_of(&g, "c") == group_of(&g, "d"));
    CHECK(group_of(&g, "e") == group_of(&g, "f"));
    groups_deinit(&g);
    ledger_deinit(&l);
    (void)sync_free(s);
}

TEST("a drop goes with all that came in its batch, and a reference to what is dropped holds it")
{
    static const struct item items[] = {{"a", "2", 5, NULL}, {"b", "2", 6, NULL}};
    struct sync *s = sync_with(items, ARRAY_LEN(items));
    char text[80];
    struct sync_change drop = {STR("s"), str_of("file\0gone", 9), NULL};
    struct sync_change a = {STR("s"), str_of("file\0a", 6), NULL},
                       b = {STR("s"), str_of("file\0b", 6), NULL};
    struct ledger l;
    struct groups g;

    ledger_init(&l, s);
    serve(&l, "gone", "1", 1, NULL);
    serve(&l, "b", "1", 1, "n/file/gone");
    CHECK_I64(ledger_note(&l, &drop, 7), 0);
    CHECK_I64(ledger_note(&l, &a, 7), 0);
    CHECK_I64(ledger_note(&l, &b, 6), 0);
    REQUIRE(ledger_groups(&l, &g) == 0);
    CHECK_U64(g.n, 1);
    CHECK(group_of(&g, "a") == group_of(&g, "gone") &&
          group_of(&g, "b") == group_of(&g, "gone"));
    groups_deinit(&g);
    CHECK(ledger_serving(&l, key_of("gone", text)) != NULL);
    CHECK_I64(ledger_serve(&l, key_of("gone", text), NULL), 0);
    CHECK(ledger_serving(&l, key_of("gone", text)) == NULL);
    ledger_deinit(&l);
    (void)sync_free(s);
}

TEST("who was refused together stays together, until served; the digest is that of what is "
     "served")
{
    static const struct item items[] = {{"a", "2", 5, NULL}, {"b", "2", 5, NULL}};
    static const struct item later[] = {{"a", "2", 5, NULL}, {"b", "3", 8, NULL}};
    struct sync *s = sync_with(items, 2), *s2 = sync_with(later, 2);
    struct refusal_text text = {"CHECK_FAILED", STR("line 3"), ""};
    struct sync_change b = {STR("s"), str_of("file\0b", 6), NULL};
    struct ledger l;
    struct groups g;

    ledger_init(&l, s);
    CHECK_I64(ledger_rescan(&l, 5), 0);
    REQUIRE(ledger_groups(&l, &g) == 0);
    for (size_t m = 0; m < g.at[0].n; m++)
        CHECK_I64(ledger_refuse(&l, &g.at[0].members[m], 1, &text), 0);
    groups_deinit(&g);
    REQUIRE(ledger_groups(&l, &g) == 0);
    CHECK(g.n == 1 && !g.at[0].is_fresh);
    groups_deinit(&g);
    l.sync = s2; /* a later commit changes b alone */
    CHECK_I64(ledger_note(&l, &b, 8), 0);
    REQUIRE(ledger_groups(&l, &g) == 0);
    CHECK(g.n == 1 && g.at[0].n == 2 && g.at[0].is_fresh);
    for (size_t m = 0; m < g.at[0].n; m++)
        CHECK_I64(ledger_serve(&l, g.at[0].members[m].key, g.at[0].members[m].want), 0);
    groups_deinit(&g);
    CHECK_U64(l.pending.n, 0);
    CHECK(digest_eq(l.digest, sync_status(s2).cursor.digest));
    ledger_deinit(&l);
    (void)sync_free(s);
    (void)sync_free(s2);
}

TEST("a change that is taken back before it was served is no longer pending")
{
    static const struct item new_items[] = {{"a", "2", 5, NULL}},
                             old_items[] = {{"a", "1", 6, NULL}};
    struct sync *s = sync_with(new_items, 1), *s2 = sync_with(old_items, 1);
    struct sync_change a = {STR("s"), str_of("file\0a", 6), NULL};
    struct ledger l;

    ledger_init(&l, s);
    serve(&l, "a", "1", 1, NULL);
    CHECK_I64(ledger_note(&l, &a, 5), 0);
    CHECK_U64(l.pending.n, 1);
    l.sync = s2;
    CHECK_I64(ledger_note(&l, &a, 6), 0);
    CHECK_U64(l.pending.n, 0);
    CHECK(digest_eq(l.digest, sync_status(s2).cursor.digest));
    ledger_deinit(&l);
    (void)sync_free(s);
    (void)sync_free(s2);
}

TEST("without memory at any point the ledger fails and loses nothing")
{
    static const struct item items[] = {
        {"a", "1", 5, "n/file/b"}, {"b", "1", 5, NULL}, {"c", "1", 6, NULL}};
    struct sync *s = sync_with(items, ARRAY_LEN(items));

    ALLOC_SWEEP (n) {
        struct ledger l;
        struct groups g;

        ledger_init(&l, s);
        if (ledger_rescan(&l, 6) == 0 && ledger_groups(&l, &g) == 0) {
            CHECK_U64(g.n, 2);
            for (size_t i = 0; i < g.n; i++)
                for (size_t m = 0; m < g.at[i].n; m++)
                    if (ledger_serve(&l, g.at[i].members[m].key, g.at[i].members[m].want) == 0)
                        CHECK(ledger_serving(&l, g.at[i].members[m].key) ==
                              g.at[i].members[m].want);
            groups_deinit(&g);
        }
        ledger_deinit(&l);
    }
    (void)sync_free(s);
}

/* ---- what is served refers to what is served, whatever is refused ---- */

enum { NODES = 18, LAYER = 6, STEPS = 120, WORLDS = 60 };

/*
 * Resources of three namespaces: n and s are layers of one scope, s the stronger one; m is only referred to. A reference
 * leads to a higher rank, so there is no cycle.
 */
struct node {
    bool there, to[NODES];
    int content;
    uint64_t revision;
};

struct graph {
    struct node nodes[NODES];
    struct rng rng;
    uint64_t revision;
    int n_accepted, n_refused;
};

static int rank_of(int node)
{
    return node * 5 % NODES;
}

static struct str node_key(int node, char out[32])
{
    int len = snprintf(out, 32, "%c%cfile%cf%d", "nsm"[node / LAYER], 0, 0, node % LAYER);

    return str_of(out, (size_t)len);
}

static bool is_used(const struct graph *g, int node)
{
    for (int i = 0; i < NODES; i++)
        if (g->nodes[i].there && g->nodes[i].to[node])
            return true;
    return false;
}

/* One commit: a few resources change; what is used does not go, what is not there is not used. */
static void change_graph(struct graph *g)
{
    g->revision++;
    for (uint64_t n = 1 + rng_below(&g->rng, 3); n > 0; n--) {
        int at = (int)rng_below(&g->rng, NODES);
        struct node *node = &g->nodes[at];

        if (node->there && !is_used(g, at) && rng_below(&g->rng, 3) == 0) {
            *node = (struct node){.there = false};
            continue;
        }
        *node =
            (struct node){.there = true, .content = (int)g->revision, .revision = g->revision};
        for (int to = 0; to < NODES; to++)
            node->to[to] =
                rank_of(to) > rank_of(at) && g->nodes[to].there && rng_below(&g->rng, 3) == 0;
    }
}

static struct version *node_version(const struct graph *g, int node)
{
    struct str keys[NODES];
    char key[32], texts[NODES][32], content[16];
    const struct node *from = &g->nodes[node];
    struct references *refs = NULL;
    struct shared *bytes;
    struct version *v;
    size_t n = 0;

    for (int to = 0; to < NODES; to++)
        if (from->to[to]) {
            keys[n] = node_key(to, texts[n]);
            n++;
        }
    refs = n ? mem_alloc(references_size(keys, n)) : NULL;
    if (refs)
        references_init(refs, keys, n);
    (void)snprintf(content, sizeof(content), "%d", from->content);
    bytes = shared_copy(str_c(content));
    v = version_new(&(struct version_opts){.key = node_key(node, key),
                                           .content_type = STR("text/plain"),
                                           .wire = bytes,
                                           .content = shared_str(bytes),
                                           .references = refs,
                                           .number = 1,
                                           .revision = from->revision});
    (void)shared_unref(bytes);
    (void)mem_free(refs);
    return v;
}

static void follow(const struct graph *g, int node, bool *is_held)
{
    for (int to = 0; to < NODES; to++)
        if (g->nodes[node].to[to] && !is_held[to]) {
            is_held[to] = true;
            follow(g, to, is_held);
        }
}

/* What a subscriber of the layers s and n has of the graph. */
static struct sync *sync_of(const struct graph *g)
{
    struct sync_opts opts = {.ops = &no_ops};
    struct sync *s = sync_new(&opts);
    struct sync_change changes[NODES];
    struct sync_cursor cursor = {.revision = g->revision, .digest = DIGEST_NULL};
    bool is_held[NODES] = {false}, is_bound[NODES] = {false};

    for (int i = 0; i < LAYER; i++) {
        int bound = g->nodes[i + LAYER].there ? i + LAYER : i;

        is_bound[bound] = is_held[bound] = g->nodes[bound].there;
    }
    for (int i = 0; i < NODES; i++)
        if (is_bound[i])
            follow(g, i, is_held);
    for (int i = 0; i < NODES; i++) {
        struct sync_change *c = &changes[cursor.count];

        if (!is_held[i])
            continue;
        c->item = node_version(g, i);
        c->scope = is_bound[i] ? STR("app") : SCOPE_REFERRED;
        c->key = is_bound[i] ? str_from(c->item->key, 2) : c->item->key;
        cursor.digest =
            digest_add(cursor.digest, binding_digest(c->scope, &c->item->item_hash));
        cursor.count++;
    }
    CHECK_I64(sync_load(s, changes, cursor.count, &cursor), 0);
    for (size_t i = 0; i < cursor.count; i++)
        (void)version_unref(changes[i].item);
    return s;
}

/* I6 in what is served. */
static bool serves_whole(const struct ledger *l)
{
    struct map there = MAP_NULL;
    struct map_slot *slot;
    size_t at = 0;
    bool whole = true;

    while ((slot = map_each(&l->serving, &at))) {
        struct version *v = ledger_serving(l, slot->key);

        CHECK(map_put(&there, v->key, v, NULL));
    }
    at = 0;
    while ((slot = map_each(&l->serving, &at))) {
        const struct references *refs = ledger_serving(l, slot->key)->references;

        for (size_t i = 0; refs && i < refs->n; i++)
            whole &= map_get(&there, refs->at[i]) != NULL;
    }
    map_deinit(&there);
    return whole;
}

/* Each group passes or fails as a whole; one with nothing for a sink in it cannot fail. */
static void judge_groups(struct graph *g, struct ledger *l)
{
    static const struct refusal_text why = {"CHECK_FAILED", {"no", 2}, ""};
    struct groups groups;

    REQUIRE(ledger_groups(l, &groups) == 0);
    for (size_t i = 0; i < groups.n; i++) {
        const struct group *group = &groups.at[i];
        bool has_sink = false, passes;

        for (size_t m = 0; m < group->n; m++)
            has_sink |= !key_is_referred(group->members[m].key);
        passes = !has_sink || rng_below(&g->rng, 3) > 0;
        l->last_group++;
        for (size_t m = 0; m < group->n; m++)
            CHECK_I64(passes ? ledger_serve(l, group->members[m].key, group->members[m].want)
                             : ledger_refuse(l, &group->members[m], l->last_group, &why),
                      0);
        g->n_accepted += passes;
        g->n_refused += !passes;
    }
    groups_deinit(&groups);
}

static void run_world(uint64_t seed, struct graph *sum)
{
    struct graph g = {.rng = {seed}};
    struct sync *s = sync_of(&g);
    struct ledger l;

    ledger_init(&l, s);
    for (int step = 0; step < STEPS && !tap_failed(); step++) {
        struct sync *next;

        for (uint64_t n = 1 + rng_below(&g.rng, 3); n > 0; n--)
            change_graph(&g);
        next = sync_of(&g);
        l.sync = next;
        (void)sync_free(s);
        s = next;
        CHECK_I64(ledger_rescan(&l, g.revision), 0);
        judge_groups(&g, &l);
        CHECK(serves_whole(&l));
    }
    sum->n_accepted += g.n_accepted;
    sum->n_refused += g.n_refused;
    ledger_deinit(&l);
    (void)sync_free(s);
}

TEST("whatever is refused, what is served refers to what is served")
{
    struct graph sum = {.n_refused = 0};

    for (uint64_t seed = 1; seed <= WORLDS && !tap_failed(); seed++) {
        run_world(seed, &sum);
        if (tap_failed())
            tap_note("seed %d", (int)seed);
    }
    tap_note("%d groups passed, %d were refused", sum.n_accepted, sum.n_refused);
    CHECK(sum.n_accepted > 1000 && sum.n_refused > 500);
}

TEST("what is referred to is named by its id, and belongs to the group of who refers to it")
{
    static const char key[] = "*\0m\0file\0f1";
    owned(buf) struct buf text = BUF_NULL(64);
    struct graph g = {.revision = 7};
    struct ledger l;
    struct groups groups;
    struct sync *s;

    g.nodes[13] = (struct node){.there = true, .content = 1, .revision = 3};
    g.nodes[0] = (struct node){.there = true, .content = 1, .revision = 7};
    g.nodes[0].to[13] = true;
    s = sync_of(&g);
    ledger_init(&l, s);
    CHECK_I64(ledger_rescan(&l, 7), 0);
    REQUIRE(ledger_groups(&l, &groups) == 0);
    CHECK(groups.n == 1 && groups.at[0].n == 2);
    CHECK(ledger_received(&l, STR("*\0m\0file\0f1")) != NULL);
    CHECK_STR(key_path(str_of(key, sizeof(key) - 1)), STR("f1"));
    CHECK_STR(key_kind(str_of(key, sizeof(key) - 1)), STR("file"));
    key_put_text(str_of(key, sizeof(key) - 1), &text);
    CHECK_STR(buf_str(&text), STR("m/file/f1"));
    groups_deinit(&groups);
    ledger_deinit(&l);
    (void)sync_free(s);
}

TEST("who is held because of another is tried again when that one is taken back")
{
    static const struct item first[] = {{"a", "2", 5, "n/file/b"}, {"b", "2", 5, NULL}};
    static const struct item then[] = {{"a", "2", 5, "n/file/b"}, {"b", "1", 6, NULL}};
    static const struct refusal_text why = {"CHECK_FAILED", {"no", 2}, ""};
    struct sync *s = sync_with(first, ARRAY_LEN(first)), *s2 = sync_with(then, ARRAY_LEN(then));
    struct ledger l;
    struct groups g;

    ledger_init(&l, s);
    serve(&l, "b", "1", 1, NULL);
    CHECK_I64(ledger_rescan(&l, 5), 0);
    REQUIRE(ledger_groups(&l, &g) == 0 && g.n == 1);
    for (size_t m = 0; m < g.at[0].n; m++)
        CHECK_I64(ledger_refuse(&l, &g.at[0].members[m], 1, &why), 0);
    groups_deinit(&g);
    REQUIRE(ledger_groups(&l, &g) == 0);
    CHECK(!g.at[0].is_fresh);
    groups_deinit(&g);
    l.sync = s2;
    CHECK_I64(ledger_rescan(&l, 6), 0);
    REQUIRE(ledger_groups(&l, &g) == 0);
    CHECK(g.n == 1 && g.at[0].n == 1 && g.at[0].is_fresh);
    groups_deinit(&g);
    ledger_deinit(&l);
    (void)sync_free(s);
    (void)sync_free(s2);
}
