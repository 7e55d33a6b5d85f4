/*
 * What is referred to, from the feed to the core of a subscriber: everything that a subscriber holds refers to what it
 * holds too, after every batch, whoever comes and goes, on generated graphs of up to thousands of resources. Some may not read
 * every namespace, and what they may read changes.
 *
 *   TRIMTAB_GRAPHS=N   how many graphs of each size
 */
#include "feed/observer.h"

#include "proto/record.h"

TEST("what a resource refers to comes with it, through others too, and goes with the last one")
{
    struct world w;
    struct observer one, two;

    REQUIRE(world_open(&w) && observer_open(&one, &w, 1, "a", NULL) &&
            observer_open(&two, &w, 2, "a b", NULL));
    PUBLISH(&w, {"c/item/deep", NULL}, {"b/item/shared", "c/item/deep"},
            {"b/item/alone", NULL});
    link_observer(&one);
    link_observer(&two);
    settle(&one);
    settle(&two);
    CHECK_U64(sync_status(one.sync).cursor.count, 0);
    forget(&one);
    PUBLISH(&w, {"a/item/x", "b/item/shared"}, {"a/item/y", "b/item/shared"});
    settle(&one);
    settle(&two);
    CHECK(one.n_frames == 1 &&
          one.n_changes == 2); /* all of it in the one frame that is shared */
    CHECK(has(&one, "b/item/shared") && has(&one, "c/item/deep") && !has(&one, "b/item/alone"));
    CHECK(!has(&two, "b/item/shared") && has(&two, "c/item/deep")); /* a scope binds it there */
    PUBLISH(&w, {"a/item/x", "-"});
    settle(&one);
    CHECK(has(&one, "b/item/shared") && has(&one, "c/item/deep"));
    PUBLISH(&w, {"c/item/deep", NULL}); /* changed, far away from the scope */
    settle(&one);
    settle(&two);
    PUBLISH(&w, {"a/item/y", NULL});
    settle(&one);
    settle(&two);
    CHECK(!has(&one, "b/item/shared") && !has(&one, "c/item/deep"));
    CHECK(has(&two, "c/item/deep"));
    observer_close(&one);
    observer_close(&two);
    world_close(&w);
}

TEST("what is hidden by a stronger layer and referred to is held by its id")
{
    struct world w;
    struct observer o;

    REQUIRE(world_open(&w) && observer_open(&o, &w, 1, "ab", NULL));
    PUBLISH(&w, {"b/item/x", NULL}, {"a/item/user", "b/item/x"});
    link_observer(&o);
    settle(&o);
    CHECK(!has(&o, "b/item/x"));
    PUBLISH(&w, {"a/item/x", NULL});
    settle(&o);
    CHECK(has(&o, "b/item/x"));
    PUBLISH(&w, {"a/item/x", "-"});
    settle(&o);
    CHECK(!has(&o, "b/item/x"));
    observer_close(&o);
    world_close(&w);
}

TEST("a store in which nothing refers to anything costs no byte, for who stays and who comes "
     "back")
{
    struct world w;
    struct observer o;

    REQUIRE(world_open(&w) && observer_open(&o, &w, 1, "a b", NULL));
    PUBLISH(&w, {"a/item/x", NULL});
    link_observer(&o);
    settle(&o);
    forget(&o);
    PUBLISH(&w, {"a/item/x", NULL});
    settle(&o);
    CHECK(o.n_changes == 1 && o.n_completes == 0);
    unlink_observer(&o);
    PUBLISH(&w, {"b/item/x", NULL});
    link_observer(&o);
    settle(&o);
    CHECK(o.n_changes == 2 && o.n_completes == 0);
    observer_close(&o);
    world_close(&w);
}

TEST("who comes back is sent what is news, and told what stays when something may have left")
{
    struct world w;
    struct observer o;

    REQUIRE(world_open(&w) && observer_open(&o, &w, 1, "a", NULL));
    PUBLISH(&w, {"b/item/one", NULL}, {"b/item/two", NULL}, {"b/item/three", NULL});
    PUBLISH(&w, {"a/item/x", "b/item/one"}, {"a/item/y", "b/item/two"});
    link_observer(&o);
    settle(&o);
    unlink_observer(&o);
    PUBLISH(&w, {"a/item/y", "b/item/three"});
    forget(&o);
    link_observer(&o);
    settle(&o);
    CHECK(has(&o, "b/item/one") && !has(&o, "b/item/two") && has(&o, "b/item/three"));
    CHECK(o.n_completes == 1 && o.n_keeps == 1 && o.n_puts == 2 && o.n_drops == 0);
    forget(&o);
    feed_session_repair(o.session, "a test");
    settle(&o);
    CHECK(o.n_puts == 0 && o.n_drops == 0 && o.n_keeps == 0);
    observer_close(&o);
    world_close(&w);
}

TEST("a candidate that is only referred to, or refers to something new, reaches its target and "
     "nobody "
     "else")
{
    struct world w;
    struct observer gray, plain;
    uint64_t referred, referring;

    REQUIRE(world_open(&w) && observer_open(&gray, &w, 1, "a", NULL) &&
            observer_open(&plain, &w, 2, "a", NULL));
    PUBLISH(&w, {"b/item/one", NULL}, {"b/item/two", NULL}, {"a/item/x", "b/item/one"});
    link_observer(&gray);
    link_observer(&plain);
    settle(&gray);
    settle(&plain);
    forget(&gray);
    forget(&plain);
    referred = START(&w, "o1", {"b/item/one", NULL});
    settle(&gray);
    CHECK(gray.n_puts == 1);
    referring = START(&w, "o1", {"a/item/x", "b/item/two c/item/new"}, {"c/item/new", NULL});
    settle(&gray);
    CHECK(has(&gray, "b/item/two") && has(&gray, "c/item/new") && !has(&gray, "b/item/one"));
    roll_back(&w, referring);
    roll_back(&w, referred);
    settle(&gray);
    CHECK(has(&gray, "b/item/one") && !has(&gray, "b/item/two") && !has(&gray, "c/item/new"));
    CHECK(!pull(&plain) && plain.n_frames == 0);
    CHECK(is_true(&plain));
    observer_close(&gray);
    observer_close(&plain);
    world_close(&w);
}

TEST("what is carried already when it comes to be referred to comes as the candidate to its "
     "target")
{
    struct world w;
    struct observer gray, plain;

    REQUIRE(world_open(&w) && observer_open(&gray, &w, 1, "a", NULL) &&
            observer_open(&plain, &w, 2, "a", NULL));
    PUBLISH(&w, {"b/item/one", NULL}, {"a/item/x", NULL});
    link_observer(&gray);
    link_observer(&plain);
    settle(&gray);
    settle(&plain);
    forget(&gray);
    (void)START(&w, "o1", {"b/item/one", NULL});
    CHECK(!pull(&gray));
    PUBLISH(&w, {"a/item/x", "b/item/one"});
    settle(&gray);
    settle(&plain);
    CHECK(!digest_eq(sync_status(gray.sync).cursor.digest,
                     sync_status(plain.sync).cursor.digest));
    observer_close(&gray);
    observer_close(&plain);
    world_close(&w);
}

TEST("what a rollout gave that has ended goes with a cause, while another one carries the "
     "resource, too")
{
    struct world w;
    struct observer o;
    uint64_t id;

    REQUIRE(world_open(&w) && observer_open(&o, &w, 1, "a", NULL));
    link_observer(&o);
    settle(&o);
    id = START(&w, "o1", {"a/item/x", NULL});
    settle(&o);
    CHECK_U64(sync_status(o.sync).cursor.count, 1);
    unlink_observer(&o);
    roll_back(&w, id);
    PUBLISH(&w, {"b/item/y", NULL});
    (void)START(&w, "somebody", {"a/item/x", "b/item/y"});
    observer_may_read(&o, "a b"); /* so that it is compared */
    forget(&o);
    link_observer(&o);
    settle(&o);
    CHECK(o.n_drops == 1 && o.n_uncaused == 0);
    CHECK_U64(sync_status(o.sync).cursor.count, 0);
    observer_close(&o);
    world_close(&w);
}

TEST("that some rollout of the resource ended is no cause of what is newer than its end")
{
    struct world lost, w;
    struct observer o;

    REQUIRE(world_open(&lost) && world_open(&w) && observer_open(&o, &lost, 1, "a", NULL));
    roll_back(&lost, START(&lost, "somebody", {"a/item/x", NULL}));
    roll_back(&w, START(&w, "somebody", {"a/item/x", NULL}));
    PUBLISH(&lost, {"a/item/x", NULL});
    link_observer(&o);
    settle(&o);
    CHECK_U64(sync_status(o.sync).cursor.count, 1);
    unlink_observer(&o);
    o.w = &w; /* the same store with an older log, which goes on otherwise */
    PUBLISH(&w, {"b/item/y", NULL});
    (void)START(&w, "somebody", {"a/item/x", "b/item/y"});
    observer_may_read(&o, "a b"); /* so that it is compared */
    forget(&o);
    link_observer(&o);
    settle(&o);
    CHECK(o.n_drops == 1 && o.n_uncaused == 1);
    observer_close(&o);
    world_close(&lost);
    world_close(&w);
}

TEST("a snapshot keeps when a rollout ended whose resource another one carries")
{
    struct world w;
    struct snapshot_walk walk;
    struct state *loaded = state_new();
    const struct candidate *c;
    struct shared *part;
    bool failed;

    REQUIRE(world_open(&w) && loaded);
    roll_back(&w, START(&w, "somebody", {"a/item/x", NULL}));
    (void)START(&w, "somebody", {"a/item/x", NULL}, {"a/item/y", NULL});
    snapshot_walk_init(&walk, w.state);
    while ((part = snapshot_part(&walk, 1, &failed))) {
        CHECK_I64(snapshot_apply(shared_str(part), &loaded, NULL), 0);
        (void)shared_unref(part);
    }
    REQUIRE(!failed && loaded);
    c = candidate_of(tree_find(loaded->candidates, STR("a\0item\0x")));
    CHECK(c && c->version && c->rollout == 3 && c->ended == 2);
    c = candidate_of(tree_find(loaded->candidates, STR("a\0item\0y")));
    CHECK(c && c->version && c->rollout == 3 && !c->ended);
    (void)state_unref(loaded);
    world_close(&w);
}

TEST("a publication that runs out of memory leaves subscribers that converge")
{
    for (uint64_t n = 0; n < 60; n++) {
        struct world w;
        struct observer one, two;

        REQUIRE(world_open(&w) && observer_open(&one, &w, 1, "a", NULL) &&
                observer_open(&two, &w, 2, "a b", NULL));
        PUBLISH(&w, {"c/item/deep", NULL}, {"b/item/one", "c/item/deep"});
        PUBLISH(&w, {"a/item/x", "b/item/one"}, {"b/item/two", NULL});
        (void)START(&w, "o1", {"c/item/deep", NULL});
        link_observer(&one);
        link_observer(&two);
        settle(&one);
        settle(&two);
        CHECK_I64(publish_items(&w,
                                (struct item[]){{"a/item/x", "b/item/two"},
                                                {"b/item/two", "c/item/deep"},
                                                {"b/item/one", "-"}},
                                3, n),
                  0);
        settle(&one);
        settle(&two);
        PUBLISH(&w, {"a/item/x", NULL});
        settle(&one);
        settle(&two);
        observer_close(&one);
        observer_close(&two);
        world_close(&w);
    }
}

/* ---- a slow reader ---- */

enum {
    REFERRED = 600,
    REFERRING = 12,
    EACH = REFERRED / REFERRING,
    SLOW_RUNS = 40,
    LONG = 9000
};

/*
 * Resources of a refer to those of b, fifty each; every one is published again now and then, or tried on the reader. Those of b
 * are of any length, so that frames are full by their bytes, too.
 */
static void publish_some(struct world *w, int first, int n, bool is_referring)
{
    struct change changes[EACH];
    struct str links[EACH][EACH];
    static char ids[EACH][ID_ROOM], to[EACH][EACH][ID_ROOM], texts[EACH][LONG];
    struct err err;

    for (int i = 0; i < n; i++) {
        struct change *c = &changes[i];
        size_t len = is_referring ? 0 : rng_below(&w->rng, LONG - 32);

        (void)snprintf(ids[i], ID_ROOM, "%s/item/n%d", is_referring ? "a" : "b", first + i);
        (void)snprintf(texts[i], sizeof(texts[i]), "%d%*s", ++w->counter, (int)len, "");
        *c = (struct change){.id = str_c(ids[i]), .content = str_c(texts[i])};
        c->meta.depends_on = links[i];
        for (int l = 0; is_referring && l < EACH; l++) {
            if (rng_below(&w->rng, 4) == 0)
                continue;
            (void)snprintf(to[i][l], ID_ROOM, "b/item/n%d", (first + i) * EACH + l);
            links[i][c->meta.n_depends_on++] = str_c(to[i][l]);
        }
    }
    CHECK_I64(commit(w, &(struct commit){.changes = changes, .n = (size_t)n}, &err), 0);
}

static void try_one(struct world *w, uint64_t *live, size_t *n_live)
{
    char id[ID_ROOM];
    int node = (int)rng_below(&w->rng, REFERRED);
    struct name name;
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);

    if (*n_live == 4 || (*n_live && rng_below(&w->rng, 2))) {
        roll_back(w, live[--*n_live]);
        return;
    }
    (void)snprintf(id, sizeof(id), "b/item/n%d", node);
    REQUIRE(name_parse(str_c(id), &name, NULL) == 0);
    name_put_key(name, &key);
    if (!state_carrier(w->state, buf_str(&key), NULL))
        live[(*n_live)++] = START(w, "o1", {id, NULL});
}

static void disturb_slow(struct world *w, uint64_t *live, size_t *n_live)
{
    int node = (int)rng_below(&w->rng, REFERRED - 3);

    switch (rng_below(&w->rng, 3)) {
    case 0: publish_some(w, (int)rng_below(&w->rng, REFERRING), 1, true); break;
    case 1:
        if (*n_live == 0) { /* what is tried is locked */
            publish_some(w, node, 3, false);
            break;
        }
        try_one(w, live, n_live);
        break;
    default: try_one(w, live, n_live);
    }
}

TEST("a batch of what is referred to that is read slowly goes on from newer states, and is "
     "whole and "
     "true at its end")
{
    uint64_t n_renewals = 0;

    for (uint64_t seed = 1; seed <= SLOW_RUNS && !tap_failed(); seed++) {
        struct world w;
        struct observer o,
            other; /* of the same class, so that it is old when the first comes back */
        uint64_t live[4];
        size_t n_live = 0;

        REQUIRE(world_open(&w));
        w.feed = feed_free(w.feed);
        w.pinned_max = 1;
        w.rng.state = seed;
        REQUIRE(feed_open(&w) && observer_open(&o, &w, 1, "a", NULL) &&
                observer_open(&other, &w, 2, "a", NULL));
        for (int i = 0; i < REFERRING; i++)
            publish_some(&w, i * EACH, EACH, false);
        for (int i = 0; i < REFERRING; i++)
            publish_some(&w, i, 1, true);
        link_observer(&o);
        if (seed % 3) { /* a resume, of a class that is young, or that is not */
            settle(&o);
            if (seed % 3 == 1) {
                link_observer(&other);
                settle(&other);
            }
            unlink_observer(&o);
            for (int i = 0; i < REFERRING; i++)
                publish_some(&w, rng_below(&w.rng, 2) ? i : i * EACH,
                             1 + (int)rng_below(&w.rng, 20), false);
            try_one(&w, live, &n_live);
            for (int i = 0; i < REFERRING; i++)
                publish_some(&w, i, 1, true);
            link_observer(&o);
            (void)pull(&o);
            (void)pull(&o);
            if (seed % 2) /* from now on it is in no rollout any more */
                try_one(&w, live, &n_live);
        }
        for (int i = 0; i < 24 && pull(&o); i++)
            disturb_slow(&w, live, &n_live);
        settle(&o);
        if (tap_failed())
            tap_note("seed %d", (int)seed);
        n_renewals += feed_session_status(o.session).renewals;
        observer_close(&o);
        observer_close(&other);
        world_close(&w);
    }
    CHECK(n_renewals > SLOW_RUNS);
}

/* ---- generated graphs ---- */

/* A graph of n resources over all namespaces; which refers to which is drawn by their numbers. */
static void put_id(int node, char out[ID_ROOM])
{
    (void)snprintf(out, ID_ROOM, "%s/item/n%d", spaces[node % 3], node / 3);
}

static bool is_there(const struct world *w, int node)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    char id[ID_ROOM];
    struct name name;

    put_id(node, id);
    if (name_parse(str_c(id), &name, NULL))
        return false;
    name_put_key(name, &key);
    return state_find(w->state, buf_str(&key)) != NULL;
}

struct drawing {
    struct change changes[CHANGES_MAX];
    struct str links[CHANGES_MAX][LINKS_MAX];
    char ids[CHANGES_MAX][ID_ROOM], to[CHANGES_MAX][LINKS_MAX][ID_ROOM], texts[CHANGES_MAX][24];
};

/* Mostly to what is there, from higher numbers to lower ones, so that there is no cycle; sometimes not so. */
static int some_target(struct world *w, int node, bool is_wild)
{
    int to = 0;

    if (is_wild && rng_below(&w->rng, 30) == 0)
        return (int)rng_below(&w->rng, (uint64_t)w->n_nodes);
    for (int tries = 0; tries < 20; tries++) {
        int back = 1 + (int)rng_below(&w->rng, 6);

        to = (int)rng_below(&w->rng, (uint64_t)MAX(node, 1));
        if (back <= node && rng_below(&w->rng, 2)) /* chains as well as bushes */
            to = node - back;
        if (is_there(w, to))
            break;
    }
    return to;
}

static void draw_change(struct world *w, struct drawing *d, size_t i, int node, bool is_wild)
{
    struct change *c = &d->changes[i];
    size_t n = rng_below(&w->rng, 4);

    put_id(node, d->ids[i]);
    *c = (struct change){.id = str_c(d->ids[i])};
    c->delete = is_wild && is_there(w, node) && rng_below(&w->rng, 4) == 0;
    if (c->delete)
        return;
    (void)snprintf(d->texts[i], sizeof(d->texts[i]), "%d", ++w->counter);
    c->content = str_c(d->texts[i]);
    c->meta.depends_on = d->links[i];
    for (size_t l = 0; l < n && node > 0; l++) {
        put_id(some_target(w, node, is_wild), d->to[i][l]);
        d->links[i][l] = str_c(d->to[i][l]);
        c->meta.n_depends_on = l + 1;
    }
}

/* What was refused was refused for a reason that is told with its place. */
static void judge(struct world *w, int r, const struct err *err)
{
    w->n_commits += r == 0;
    w->n_refused += r != 0;
    if (!r)
        return;
    if (strstr(err->text, "does not exist"))
        w->n_missing++;
    if (strstr(err->text, "a cycle of references: ")) {
        w->n_cycles++;
        CHECK(strstr(err->text, " -> ") != NULL && strstr(err->text, err->place) != NULL);
    }
    CHECK(err->place[0] != '\0');
}

/* All of it, from the lowest number on. */
static void grow(struct world *w)
{
    struct drawing *d = NEW(struct drawing);
    struct err err;

    for (int node = 0; d && node < w->n_nodes;) {
        struct commit c = {.changes = d->changes};

        while (c.n < CHANGES_MAX && node < w->n_nodes)
            draw_change(w, d, c.n++, node++, false);
        judge(w, commit(w, &c, &err), &err);
    }
    (void)mem_free(d);
}

static void edit(struct world *w)
{
    struct drawing *d = NEW(struct drawing);
    struct commit c = {.changes = d->changes, .n = 1 + rng_below(&w->rng, 4)};
    int first = (int)rng_below(&w->rng, (uint64_t)w->n_nodes);
    struct err err;

    for (size_t i = 0; i < c.n; i++) /* different ones */
        draw_change(w, d, i, (first + (int)i * 7) % w->n_nodes, true);
    if (c.n * 7 >= (size_t)w->n_nodes)
        c.n = 1;
    judge(w, commit(w, &c, &err), &err);
    (void)mem_free(d);
}

static struct rollout *some_live(struct world *w)
{
    struct tree_walk walk;
    struct rollout *r, *found = NULL;
    uint64_t n = 0;

    tree_walk_from(&walk, w->state->rollouts, STR(""), 0);
    while ((r = rollout_of(tree_walk_next(&walk))))
        if (rollout_is_live(r) && rng_below(&w->rng, ++n) == 0)
            found = r;
    return found;
}

static void try(struct world *w)
{
    struct drawing *d = NEW(struct drawing);
    struct observer one = {.id = ""};
    struct str id;
    struct target t = {.ids = &id, .n_ids = 1};
    struct step step = {.targets = &t, .n_targets = 1};
    struct rollout_plan plan = {.steps = &step, .n_steps = 1};
    struct rollout_move m = {.kind = MOVE_START, .plan = &plan};
    struct commit c = {.changes = d->changes, .n = 1, .moves = &m, .n_moves = 1};
    struct err err;
    int r;

    (void)snprintf(one.id, sizeof(one.id), "o%d", (int)rng_below(&w->rng, OBSERVERS_MAX));
    id = str_c(one.id);
    draw_change(w, d, 0, (int)rng_below(&w->rng, (uint64_t)w->n_nodes), true);
    r = commit(w, &c, &err);
    judge(w, r, &err);
    w->n_rollouts += r == 0;
    (void)mem_free(d);
}

static void move(struct world *w)
{
    static const enum rollout_move_kind moves[] = {MOVE_EXTEND, MOVE_CONFIRM, MOVE_ROLL_BACK};
    const struct rollout *r = some_live(w);
    char text[ID_ROOM] = "", id[16];
    struct str ids[] = {{id, 2}};
    struct target t = {.ids = ids, .n_ids = 1};
    struct step step = {.targets = &t, .n_targets = 1};
    struct rollout_move m = {.kind = moves[rng_below(&w->rng, 3)], .reason = STR("why")};
    struct change change;
    struct commit c = {.changes = &change, .moves = &m, .n_moves = 1};
    struct err err;

    if (!r)
        return;
    (void)snprintf(id, sizeof(id), "o%d", (int)rng_below(&w->rng, OBSERVERS_MAX));
    m.id = r->id;
    m.expected = r->n_moves;
    m.step = m.kind == MOVE_EXTEND ? &step : NULL;
    if (m.kind == MOVE_CONFIRM) {
        const struct version *v = r->candidates[0];
        owned(buf) struct buf b = BUF_NULL(ID_ROOM);

        key_put_id(v->key, &b);
        (void)snprintf(text, sizeof(text), "%.*s", STR_ARG(buf_str(&b)));
        change = (struct change){.id = str_c(text),
                                 .delete = v->deleted,
                                 .content = v->content,
                                 .content_type = v->content_type,
                                 .meta = v->meta ? *v->meta : meta_none};
        c.n = 1;
    }
    CHECK_I64(commit(w, &c, &err), 0); /* promised: it cannot be refused */
    w->n_moves++;
}

/* Somebody goes, comes back, is new, compares inventories, or reads a little. */
/* All its layers, and perhaps more. */
static void change_rights(struct world *w, struct observer *o)
{
    char text[8] = "";

    unlink_observer(o);
    for (char space = 'a'; space <= 'c'; space++) {
        bool is_in = rng_below(&w->rng, 2);
        size_t len = strlen(text);

        for (size_t i = 0; i < o->n_scopes; i++)
            for (size_t k = 0; k < o->scopes[i].n_namespaces; k++)
                is_in |= o->scopes[i].namespaces[k][0] == space;
        if (is_in)
            (void)snprintf(text + len, sizeof(text) - len, "%s%c", len ? " " : "", space);
    }
    observer_may_read(o, rng_below(&w->rng, 4) ? text : NULL);
    link_observer(o);
}

static void disturb(struct world *w, struct observer *o)
{
    switch (rng_below(&w->rng, 9)) {
    case 8: change_rights(w, o); break;
    case 0: unlink_observer(o); break;
    case 1:
        unlink_observer(o);
        o->sync = sync_free(o->sync);
        REQUIRE(observer_start(o));
        link_observer(o);
        break;
    case 2:
        if (o->session)
            feed_session_repair(o->session, "a test");
        break;
    case 3:
    case 4:
        for (uint64_t n = rng_below(&w->rng, 4); o->session && n > 0; n--)
            (void)pull(o);
        break;
    default:
        if (!o->session)
            link_observer(o);
        else
            settle(o);
    }
}

/* All classes are young then, and nobody knows what has left. */
static void restart(struct world *w, struct observer *observers)
{
    for (int i = 0; i < OBSERVERS_MAX; i++)
        unlink_observer(&observers[i]);
    w->feed = feed_free(w->feed);
    REQUIRE(feed_open(w));
}

static void settle_all(struct observer *observers)
{
    for (int i = 0; i < OBSERVERS_MAX && !tap_failed(); i++) {
        if (!observers[i].session)
            link_observer(&observers[i]);
        settle(&observers[i]);
    }
}

static void run_graph(int n_nodes, uint64_t seed, int n_events, struct world *sum)
{
    static const char *const scopes[OBSERVERS_MAX] = {"a",    "a", "ab", "ab",    "a b",
                                                      "bc a", "c", "c",  "cb ba", "b"};
    static const char *const patterns[OBSERVERS_MAX] = {NULL, "*1", NULL,  "*3", NULL,
                                                        "*2", NULL, "n1*", "*0", "*5"};
    static struct observer observers[OBSERVERS_MAX];
    struct world w;

    REQUIRE(world_open(&w));
    w.rng.state = seed;
    w.n_nodes = n_nodes;
    w.pinned_max = seed % 2 ? 2000 : 0;
    grow(&w);
    w.feed = feed_free(w.feed);
    REQUIRE(feed_open(&w));
    for (int i = 0; i < OBSERVERS_MAX; i++)
        REQUIRE(observer_open(&observers[i], &w, i, scopes[i], patterns[i]));
    settle_all(observers);
    for (int e = 0; e < n_events && !tap_failed(); e++) {
        switch (rng_below(&w.rng, 12)) {
        case 0: try(&w); break;
        case 1:
        case 2: move(&w); break;
        case 3:
        case 4:
        case 5: edit(&w); break;
        case 6:
            if (rng_below(&w.rng, 6) == 0)
                restart(&w, observers);
            break;
        default: disturb(&w, &observers[rng_below(&w.rng, OBSERVERS_MAX)]);
        }
        if (e % 20 == 19)
            settle_all(observers);
    }
    settle_all(observers);
    for (int i = 0; i < OBSERVERS_MAX; i++) {
        CHECK_I64(observers[i].n_uncaused, 0);
        sum->n_withheld += observers[i].n_withheld;
        observer_close(&observers[i]);
    }
    sum->n_commits += w.n_commits;
    sum->n_missing += w.n_missing;
    sum->n_cycles += w.n_cycles;
    sum->n_refused += w.n_refused;
    sum->n_rollouts += w.n_rollouts;
    sum->n_moves += w.n_moves;
    world_close(&w);
}

static uint64_t n_graphs(void)
{
    const char *text = getenv("TRIMTAB_GRAPHS");
    uint64_t n;

    return text && str_u64(str_c(text), &n) ? n : 1;
}

TEST_WITHIN(3600,
            "no reference dangles at any subscriber, in graphs of 2 to 2,000 resources under "
            "edits, rollouts and reconnections")
{
    static const struct {
        int nodes, graphs, events;
    } sizes[] = {{2, 10, 100}, {7, 20, 200}, {30, 20, 300}, {300, 4, 250}, {2000, 1, 150}};
    struct world sum = {.n_commits = 0};

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (uint64_t seed = 1; seed <= n_graphs() * (uint64_t)sizes[i].graphs && !tap_failed();
             seed++) {
            run_graph(sizes[i].nodes, seed, sizes[i].events, &sum);
            if (tap_failed())
                tap_note("%d resources, seed %d", sizes[i].nodes, (int)seed);
        }
    tap_note(
        "%d commits, %d refused: %d for what is missing, %d for a cycle; %d rollouts, %d moves",
        sum.n_commits, sum.n_refused, sum.n_missing, sum.n_cycles, sum.n_rollouts, sum.n_moves);
    tap_note("%d names were told as withheld", sum.n_withheld);
    CHECK(sum.n_withheld > 100);
    CHECK(sum.n_missing > 0 && sum.n_cycles > 0 && sum.n_rollouts > 0 && sum.n_moves > 0);
}
