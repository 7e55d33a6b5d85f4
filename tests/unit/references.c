/*
 * Kinds and references: what is referred to is found in the content, and every commit keeps the graph whole. A
 * random history is checked against a plain model with a matrix.
 */
#include "unit/commits.h"

#include "base/clock.h"

static int put(struct state **s, const char *id, const char *content, struct err *err)
{
    struct change c = {.id = str_c(id), .content = str_c(content)};

    return commit_changes(s, &c, 1, err);
}

static int del(struct state **s, const char *id, struct err *err)
{
    struct change c = {.id = str_c(id), .delete = true};

    return commit_changes(s, &c, 1, err);
}

/* A state that knows routes, which refer to upstreams, which refer to each other by "backup". */
static struct state *routes(void)
{
    struct state *s = state_new();
    struct err err;

    CHECK_I64(put(&s, "trimtab/kind/upstream",
                  "{\"references\": [{\"field\": \"/backup\", \"kind\": \"upstream\"}]}", &err),
              0);
    CHECK_I64(put(&s, "trimtab/kind/route",
                  "{\"description\": \"where requests go\", \"schema\": {},"
                  " \"references\": [{\"field\": \"/upstream\", \"kind\": \"upstream\"},"
                  " {\"field\": \"/split/*/to\", \"kind\": \"upstream\"},"
                  " {\"field\": \"/files\", \"kind\": \"file\"}]}",
                  &err),
              0);
    return s;
}

TEST("a kind must be registered before a resource is of it, and not go before the last one")
{
    struct state *s = routes();
    struct err err;

    CHECK_I64(put(&s, "shop/page/home", "{}", &err), ERR_INVALID);
    CHECK_STR(str_c(err.text), STR("no kind \"page\" is registered"));
    CHECK_STR(str_c(err.place), STR("shop/page/home"));
    CHECK_STR(str_c(err.hint), STR("publish trimtab/kind/page first, or in the same commit"));
    CHECK_I64(commit_changes(
                  &s,
                  (struct change[]){{.id = STR("shop/page/home"), .content = STR("{}")},
                                    {.id = STR("trimtab/kind/page"), .content = STR("{}")}},
                  2, &err),
              0);
    CHECK_I64(del(&s, "trimtab/kind/page", &err), ERR_CONFLICT);
    CHECK_STR(str_c(err.text), STR("shop/page/home is of this kind"));
    CHECK_I64(
        commit_changes(&s,
                       (struct change[]){{.id = STR("shop/page/home"), .delete = true},
                                         {.id = STR("trimtab/kind/page"), .delete = true}},
                       2, &err),
        0);
    (void)state_unref(s);
}

TEST("a definition that is none is refused with what is wrong in it")
{
    static const struct {
        const char *id, *content, *text;
    } wrong[] = {
        {"trimtab/kind/x", "[]", "a kind is an object, not an array"},
        {"trimtab/kind/x", "{\"references\": {}}",
         "\"references\" is an object instead of an array"},
        {"trimtab/kind/x", "{\"refs\": []}", "a kind has no \"refs\""},
        {"trimtab/kind/x", "{\"references\": [{\"field\": \"/a\"}]}",
         "a reference needs a text \"kind\""},
        {"trimtab/kind/x", "{\"references\": [7]}", "a reference needs a text \"field\""},
        {"trimtab/kind/x", "{\"references\": [{\"field\": \"a\", \"kind\": \"y\"}]}",
         "a pointer begins with '/'"},
        {"trimtab/kind/x", "{\"references\": [{\"field\": \"/a~2\", \"kind\": \"y\"}]}",
         "'~' must be followed by 0 or 1 in a pointer"},
        {"trimtab/kind/x", "{\"references\": [{\"field\": \"/a\", \"kind\": \"Y\"}]}",
         "kind \"Y\" has a character that is not allowed"},
        {"trimtab/kind/file", "{}", "the kind file is built in"},
        {"trimtab/kind/kind", "{}", "the kind kind is built in"},
        {"trimtab/kind/Page", "{}", "kind \"Page\" has a character that is not allowed"},
        {"trimtab/item/x", "{}", "the namespace trimtab is for what Trimtab itself is told"},
        {"trimtab/sub/item/x", "{}",
         "the namespace trimtab is for what Trimtab itself is told"},
    };

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct state *s = state_new();
        struct err err;

        CHECK_I64(put(&s, wrong[i].id, wrong[i].content, &err), ERR_INVALID);
        CHECK_STR(str_c(err.text), str_c(wrong[i].text));
        CHECK_STR(str_c(err.place), str_c(wrong[i].id));
        (void)state_unref(s);
    }
}

static void check_references(const struct state *s, const char *key, size_t len,
                             const char *want)
{
    const struct version *v = state_find(s, str_of(key, len));
    owned(buf) struct buf got = BUF_NULL(MIB);

    for (size_t i = 0; v && v->references && i < v->references->n; i++) {
        if (i)
            buf_put_byte(&got, ' ');
        key_put_id(v->references->at[i], &got);
    }
    CHECK_STR(buf_str(&got), str_c(want));
}
#define CHECK_REFERENCES(s, key, want) check_references((s), (key), sizeof(key) - 1, (want))

TEST("references are found in fields, arrays and metadata, as names and as full ids, each once")
{
    struct state *s = routes();
    struct err err;
    struct str needs = STR("web/file/conf/nginx.conf");

    CHECK_I64(put(&s, "shop/upstream/a", "{}", &err), 0);
    CHECK_I64(put(&s, "shop/upstream/b", "{\"backup\": null}", &err), 0);
    CHECK_I64(put(&s, "other/upstream/b", "{\"backup\": \"shop/upstream/a\"}", &err), 0);
    CHECK_I64(put(&s, "web/file/conf/nginx.conf", "x", &err), 0);
    CHECK_I64(put(&s, "shop/file/page/404.html", "x", &err), 0);
    CHECK_I64(commit_changes(
                  &s,
                  &(struct change){
                      .id = STR("shop/route/r"),
                      .meta = {.depends_on = &needs, .n_depends_on = 1},
                      .content = STR(
                          "{\"upstream\": \"b\", \"split\": [{\"to\": \"a\"}, "
                          "{\"to\": \"other/upstream/b\"}, {\"to\": \"b\"}, {}],"
                          " \"files\": [\"page/404.html\", \"web/file/conf/nginx.conf\"]}")},
                  1, &err),
              0);
    CHECK_REFERENCES(s, "shop\0route\0r",
                     "other/upstream/b shop/file/page/404.html shop/upstream/a shop/upstream/b "
                     "web/file/conf/nginx.conf");
    CHECK_REFERENCES(s, "shop\0upstream\0b", "");
    (void)state_unref(s);
}

TEST("what cannot be a reference is refused with its field")
{
    static const struct {
        const char *content, *text;
    } wrong[] = {
        {"{\"upstream\": 7}",
         "field \"/upstream\" is a number instead of the name of a resource of kind upstream"},
        {"{\"upstream\": [\"a\", [\"a\"]]}",
         "field \"/upstream\" is an array instead of the name of a resource of kind upstream"},
        {"{\"upstream\": \"shop/route/r\"}",
         "field \"/upstream\": \"shop/route/r\" is neither a name nor the id of a resource of "
         "kind upstream"},
        {"{\"upstream\": \"\"}",
         "field \"/upstream\": \"\": a name cannot have an empty, \".\" or \"..\" part"},
        {"{\"upstream\": \"nowhere\"}",
         "refers to shop/upstream/nowhere, which does not exist"},
        {"{\"split\": {\"x\": {\"to\": \"gone\"}}}",
         "refers to shop/upstream/gone, which does not exist"},
    };
    struct state *s = routes();
    struct err err;

    CHECK_I64(put(&s, "shop/upstream/a", "{}", &err), 0);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        CHECK_I64(put(&s, "shop/route/r", wrong[i].content, &err), ERR_INVALID);
        CHECK_STR(str_c(err.text), str_c(wrong[i].text));
        CHECK_STR(str_c(err.place), STR("shop/route/r"));
    }
    CHECK_I64(commit_changes(&s,
                             &(struct change){.id = STR("shop/route/r"),
                                              .content_type = STR("application/yaml"),
                                              .content = STR("upstream: a")},
                             1, &err),
              ERR_INVALID);
    (void)state_unref(s);
}

TEST("what is in use does not go, and the story says who uses it")
{
    struct state *s = routes();
    struct err err;

    CHECK_I64(put(&s, "shop/upstream/a", "{}", &err), 0);
    CHECK_I64(put(&s, "shop/route/r", "{\"upstream\": \"a\"}", &err), 0);
    CHECK_I64(del(&s, "shop/upstream/a", &err), ERR_CONFLICT);
    CHECK_STR(str_c(err.text), STR("shop/route/r refers to it"));
    CHECK_STR(str_c(err.place), STR("shop/upstream/a"));
    CHECK_I64(
        commit_changes(&s,
                       (struct change[]){{.id = STR("shop/upstream/a"), .delete = true},
                                         {.id = STR("shop/upstream/b"), .content = STR("{}")},
                                         {.id = STR("shop/route/r"),
                                          .content = STR("{\"upstream\": \"b\"}")}},
                       3, &err),
        0);
    (void)state_unref(s);
}

TEST("a cycle is refused and named in full")
{
    struct state *s = routes();
    struct err err;

    CHECK_I64(put(&s, "shop/upstream/a", "{\"backup\": \"a\"}", &err), ERR_INVALID);
    CHECK_STR(str_c(err.text),
              STR("a cycle of references: shop/upstream/a -> shop/upstream/a"));
    CHECK_I64(put(&s, "shop/upstream/a", "{}", &err), 0);
    CHECK_I64(put(&s, "shop/upstream/b", "{\"backup\": \"a\"}", &err), 0);
    CHECK_I64(put(&s, "shop/upstream/c", "{\"backup\": \"b\"}", &err), 0);
    CHECK_I64(put(&s, "shop/upstream/a", "{\"backup\": \"c\"}", &err), ERR_INVALID);
    CHECK_STR(str_c(err.text),
              STR("a cycle of references: shop/upstream/a -> shop/upstream/c -> "
                  "shop/upstream/b -> shop/upstream/a"));
    (void)state_unref(s);
}

TEST("a definition that would change what others refer to is refused, unless they come with it")
{
    static const char now[] =
        "{\"references\": [{\"field\": \"/upstream\", \"kind\": \"upstream\"}]}";
    struct state *s = routes();
    struct err err;

    CHECK_I64(put(&s, "shop/upstream/a", "{}", &err), 0);
    CHECK_I64(put(&s, "shop/route/r", "{\"upstream\": \"a\", \"split\": []}", &err), 0);
    CHECK_I64(put(&s, "trimtab/kind/route", now, &err), 0);
    CHECK_I64(put(&s, "trimtab/kind/route", "{}", &err), ERR_CONFLICT);
    CHECK_STR(str_c(err.place), STR("shop/route/r"));
    CHECK_I64(commit_changes(
                  &s,
                  (struct change[]){
                      {.id = STR("trimtab/kind/route"), .content = STR("{}")},
                      {.id = STR("shop/route/r"), .content = STR("{\"upstream\": \"a\"}")}},
                  2, &err),
              0);
    CHECK_REFERENCES(s, "shop\0route\0r", "");
    CHECK_I64(del(&s, "shop/upstream/a", &err), 0);
    (void)state_unref(s);
}

/* ---- random graphs against a matrix ---- */

enum { NODES = 24, ROUNDS = 3000, LINKS_MAX = 3 };

struct plain {
    bool there[NODES];
    bool edge[NODES][NODES];
};

static bool reaches(const struct plain *p, int from, int to, unsigned *seen)
{
    if (from == to)
        return true;
    if (*seen & 1U << from)
        return false;
    *seen |= 1U << from;
    for (int i = 0; i < NODES; i++)
        if (p->edge[from][i] && reaches(p, i, to, seen))
            return true;
    return false;
}

/* Every edge leads from what is there to what is there, and none is on a cycle. */
static bool is_whole(const struct plain *p)
{
    for (int a = 0; a < NODES; a++)
        for (int b = 0; b < NODES; b++) {
            unsigned seen = 0;

            if (p->edge[a][b] && (!p->there[a] || !p->there[b] || reaches(p, b, a, &seen)))
                return false;
        }
    return true;
}

static void random_node(struct rng *rng, struct plain *p, int node, struct change *c, char *id,
                        char *content)
{
    size_t at = (size_t)snprintf(content, 200, "{\"split\": [");

    (void)snprintf(id, 32, "shop/node/n%d", node);
    *c = (struct change){.id = str_c(id), .delete = rng_below(rng, 4) == 0};
    memset(p->edge[node], 0, sizeof(p->edge[node]));
    p->there[node] = !c->delete;
    for (int i = 0, n = (int)rng_below(rng, LINKS_MAX); i < n && !c->delete; i++) {
        int to = (int)rng_below(rng, NODES);

        at +=
            (size_t)snprintf(content + at, 200 - at, "%s{\"to\": \"n%d\"}", i ? ", " : "", to);
        p->edge[node][to] = true;
    }
    (void)snprintf(content + at, 200 - at, "]}");
    c->content = c->delete ? STR_NULL : str_c(content);
}

/* Some changes at once, to different nodes; false when one of them deletes what is not there. */
static size_t random_commit(struct rng *rng, struct plain *p, struct change *changes,
                            char ids[][32], char contents[][200], bool *ret_possible)
{
    size_t n = 1 + rng_below(rng, 4), made = 0;
    unsigned taken = 0;

    *ret_possible = true;
    for (size_t i = 0; i < n; i++) {
        int node = (int)rng_below(rng, NODES);
        bool was_there = p->there[node];

        if (taken & 1U << node)
            continue;
        taken |= 1U << node;
        random_node(rng, p, node, &changes[made], ids[made], contents[made]);
        if (changes[made].delete &&!was_there)
            *ret_possible = false;
        made++;
    }
    return made;
}

TEST("random commits are let through exactly when the graph stays whole")
{
    struct state *s = state_new();
    struct plain now = {0};
    struct rng rng = {11};
    struct err err;
    int n_good = 0, n_bad = 0;

    CHECK_I64(put(&s, "trimtab/kind/node",
                  "{\"references\": [{\"field\": \"/split/*/to\", \"kind\": \"node\"}]}", &err),
              0);
    for (int round = 0; round < ROUNDS && !tap_failed(); round++) {
        struct plain next = now;
        struct change changes[CHANGES_MAX];
        char ids[8][32], contents[8][200];
        bool possible;
        size_t n = random_commit(&rng, &next, changes, ids, contents, &possible);
        bool good = commit_changes(&s, changes, n, &err) == 0;

        CHECK_I64(good, possible && is_whole(&next));
        if (good)
            now = next;
        n_good += good;
        n_bad += !good;
    }
    tap_note("%d commits went through, %d were refused", n_good, n_bad);
    CHECK(n_good > 100 && n_bad > 100);
    (void)state_unref(s);
}

TEST("a chain of two thousand references is followed, and its cycle found")
{
    enum { CHAIN = 2000 };
    struct state *s = state_new();
    struct err err;
    char id[32], content[64];

    CHECK_I64(put(&s, "trimtab/kind/node",
                  "{\"references\": [{\"field\": \"/to\", \"kind\": \"node\"}]}", &err),
              0);
    CHECK_I64(put(&s, "a/node/n0", "{}", &err), 0);
    for (int i = 1; i < CHAIN; i++) {
        (void)snprintf(id, sizeof(id), "a/node/n%d", i);
        (void)snprintf(content, sizeof(content), "{\"to\": \"n%d\"}", i - 1);
        REQUIRE(put(&s, id, content, &err) == 0);
    }
    (void)snprintf(content, sizeof(content), "{\"to\": \"n%d\"}", CHAIN - 1);
    CHECK_I64(put(&s, "a/node/n0", content, &err), ERR_INVALID);
    CHECK(str_starts(str_c(err.text), STR("a cycle of references: a/node/n0 -> a/node/n1999")));
    (void)state_unref(s);
}

TEST("without memory a commit is refused and nothing is left behind")
{
    struct state *s = routes();
    struct err err;

    CHECK_I64(put(&s, "shop/upstream/a", "{}", &err), 0);
    ALLOC_SWEEP (n) {
        owned(arena) struct arena a = ARENA_NULL;
        struct change change = {.id = STR("shop/upstream/b"),
                                .content = STR("{\"backup\": \"a\"}")};
        struct commit c = {.changes = &change, .n = 1};
        struct change_plan plan = {0};
        int r = commit_check(s, &c, &plan, &a, NULL);
        struct version *v = r ? NULL : version_made(&change, &plan, 9);
        struct effect e = {.versions = &v, .n_versions = 1};
        struct state *after = v ? state_apply(s, &e, 9) : NULL;

        CHECK(r == 0 || r == ERR_NOMEM);
        if (after)
            r = graph_check(after, &e, NULL);
        CHECK(r == 0 || r == ERR_NOMEM);
        (void)state_unref(after);
        (void)version_unref(v);
    }
    CHECK_U64(s->revision, 3);
    (void)state_unref(s);
}
