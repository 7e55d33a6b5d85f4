/*
 * The model against plain models of it: names, metadata, trees, states, scopes, commits, differences, hashes.
 */
#include "tap.h"

#include "base/clock.h"
#include "base/file.h"
#include "model/commit.h"
#include "model/diff.h"
#include "model/scope_view.h"

/* ---- names ---- */

#define L63  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define L253 L63 L63 L63 L63 "a"

TEST("ids that follow the rules are read, and come back from their keys")
{
    static const struct {
        const char *id, *space, *kind, *name;
    } rows[] = {
        {"a/item/x", "a", "item", "x"},
        {"shop/prod/item/pool.max", "shop/prod", "item", "pool.max"},
        {"web/edge/file/conf.d/tuning.conf", "web/edge", "file", "conf.d/tuning.conf"},
        {"web/file/x", "web", "file", "x"},
        {"web/file/file/file", "web", "file", "file/file"},
        {"1/item/x", "1", "item", "x"},
        {"a.b_c-d/item/x", "a.b_c-d", "item", "x"},
        {"a/i-t.e_m9/x", "a", "i-t.e_m9", "x"},
        {"a/item/X Y", "a", "item", "X Y"},
        {"a/item/gr\303\274\303\237e", "a", "item", "gr\303\274\303\237e"},
        {"a/item/...", "a", "item", "..."},
        {"a/item/.x", "a", "item", ".x"},
        {"a/item/a:b=c?", "a", "item", "a:b=c?"},
        {"a/item/\"", "a", "item", "\""},
        {"a/item/file", "a", "item", "file"},
        {"a/files/x", "a", "files", "x"},
        {"a/b/c/d/e/f/g/h/item/x", "a/b/c/d/e/f/g/h", "item", "x"},
        {"a/b/c/d/e/f/g/h/file/x/y", "a/b/c/d/e/f/g/h", "file", "x/y"},
        {L63 "/item/x", L63, "item", "x"},
        {"a/" L63 "/x", "a", L63, "x"},
        {"a/item/" L253, "a", "item", L253},
        {"a/file/" L63 "/" L63 "/" L63 "/a", "a", "file", L63 "/" L63 "/" L63 "/a"},
        {"a/file/.../x", "a", "file", ".../x"},
        {"a/item/\360\237\232\242", "a", "item", "\360\237\232\242"},
        {"0.0/item/x", "0.0", "item", "x"},
        {"a-/item/x", "a-", "item", "x"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX), id = BUF_NULL(ID_BYTES_MAX);
        struct err err = ERR_NULL;
        struct name n = {0};

        if (!tap_check(name_parse(str_c(rows[i].id), &n, &err) == 0, __FILE__, __LINE__,
                       "%s: %s", rows[i].id, err.text))
            continue;
        CHECK_STR(n.space, str_c(rows[i].space));
        CHECK_STR(n.kind, str_c(rows[i].kind));
        CHECK_STR(n.name, str_c(rows[i].name));
        name_put_key(n, &key);
        key_put_id(buf_str(&key), &id);
        CHECK_STR(buf_str(&id), str_c(rows[i].id));
    }
}

TEST("ids that break a rule are refused with a story and a place")
{
    static const struct str rows[] = {
        STR(""),
        STR("a"),
        STR("a/b"),
        STR("/item/x"),
        STR("a//x"),
        STR("a/item/"),
        STR("a//item/x"),
        STR("A/item/x"),
        STR(".a/item/x"),
        STR("-a/item/x"),
        STR("_a/item/x"),
        STR("a b/item/x"),
        STR("\303\274/item/x"),
        STR("a/Item/x"),
        STR("a/1tem/x"),
        STR("a/-item/x"),
        STR("a/item/."),
        STR("a/item/.."),
        STR("a/item/ x"),
        STR("a/item/x "),
        STR("a/item/a*b"),
        STR("a/item/a\\b"),
        STR("a/item/a\nb"),
        STR("a/item/a\000b"),
        STR("a/item/\177"),
        STR("a/item/\377"),
        STR("a/item/x\303"),
        STR("a/b/c/d/e/f/g/h/i/item/x"),
        STR(L63 "a/item/x"),
        STR("a/" L63 "a/x"),
        STR("a/item/" L253 "a"),
        STR("file/item/x"),
        STR("file/file/x"),
        STR("a/file/"),
        STR("a/file/x//y"),
        STR("a/file/../x"),
        STR("a/file/x/"),
        STR("a/file/x/ y"),
        STR("a/file/" L253 "a"),
        STR("a/b\000/x"),
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_NULL;
        struct name n = {0};
        int r = name_parse(rows[i], &n, &err);

        tap_check(r == ERR_INVALID && err.code == r && err.text[0], __FILE__, __LINE__,
                  "%.*s: %d", STR_ARG(rows[i]), r);
        CHECK(str_is_utf8(str_c(err.text)) && str_is_utf8(str_c(err.place)));
        CHECK(rows[i].len == 0 || err.place[0]);
    }
}

/* ---- metadata ---- */

TEST("metadata is refused at its limits and not before")
{
    static char big[META_VALUE_BYTES_MAX + 1];
    struct pair pairs[META_PAIRS_MAX + 1];
    char keys[META_PAIRS_MAX + 1][16];
    struct str refs[META_REFS_MAX + 1];

    memset(big, 'x', sizeof(big));
    for (int i = 0; i <= META_PAIRS_MAX; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "k%d", i);
        pairs[i] = (struct pair){str_c(keys[i]), STR("v")};
    }
    for (int i = 0; i <= META_REFS_MAX; i++)
        refs[i] = STR("a/item/x");
    CHECK_I64(meta_check(&meta_none, NULL), 0);
    for (size_t over = 0; over <= 1; over++) {
        int want = over ? ERR_LIMIT : 0;
        struct pair value = {STR("k"), str_of(big, META_VALUE_BYTES_MAX + over)};
        struct pair key = {str_of(big, META_KEY_BYTES_MAX + over), STR("")};

        CHECK_I64(meta_check(&(struct meta){.labels = pairs, .n_labels = META_PAIRS_MAX + over},
                             NULL),
                  want);
        CHECK_I64(meta_check(&(struct meta){.annotations = pairs,
                                            .n_annotations = META_PAIRS_MAX + over},
                             NULL),
                  want);
        CHECK_I64(meta_check(&(struct meta){.labels = &value, .n_labels = 1}, NULL), want);
        CHECK_I64(meta_check(&(struct meta){.annotations = &key, .n_annotations = 1}, NULL),
                  want);
        CHECK_I64(meta_check(&(struct meta){.description = value.value}, NULL), want);
        CHECK_I64(meta_check(&(struct meta){.owner = value.value}, NULL), want);
        CHECK_I64(
            meta_check(&(struct meta){.depends_on = refs, .n_depends_on = META_REFS_MAX + over},
                       NULL),
            want);
    }
    pairs[1].key = pairs[0].key;
    CHECK_I64(meta_check(&(struct meta){.labels = pairs, .n_labels = 2}, NULL), ERR_INVALID);
    pairs[1].key = STR("");
    CHECK_I64(meta_check(&(struct meta){.labels = pairs, .n_labels = 2}, NULL), ERR_INVALID);
    pairs[1] = (struct pair){STR("k"), STR("\377")};
    CHECK_I64(meta_check(&(struct meta){.annotations = pairs, .n_annotations = 2}, NULL),
              ERR_INVALID);
    CHECK_I64(meta_check(&(struct meta){.owner = STR("\300")}, NULL), ERR_INVALID);
}

/* ---- states against arrays ---- */

enum { SPACES = 3, KINDS = 2, NAMES = 20, KEYS = SPACES * KINDS * NAMES, REVISIONS = 120 };

static const char *const spaces[] = {"a", "a/b", "ab"}, *const kinds[] = {"item", "switch"};

/* Key number i, whose order is that of the numbers in the plain model only by luck. */
static struct str key_of(int i, struct buf *out)
{
    buf_clear(out);
    buf_printf(out, "%s%c%s%cn%d", spaces[i % SPACES], 0, kinds[i / SPACES % KINDS], 0,
               i / SPACES / KINDS);
    return buf_str(out);
}

static struct version *make(struct str key, const struct version *old, uint64_t revision,
                            bool deleted)
{
    owned(buf) struct buf text = BUF_NULL(64);
    owned(shared_unref) struct shared *wire = NULL;

    buf_printf(&text, "%llu", (unsigned long long)revision);
    wire = deleted ? NULL : shared_copy(buf_str(&text));
    if (!deleted && !wire)
        return NULL;
    return version_new(&(struct version_opts){.key = key,
                                              .content_type = STR("application/json"),
                                              .wire = wire,
                                              .content = shared_str(wire),
                                              .item = shared_str(wire),
                                              .deleted = deleted,
                                              .number = old ? old->number + 1 : 1,
                                              .revision = revision,
                                              .previous_revision = old ? old->revision : 0});
}

/* The plain model: the newest version of every key, at every revision; index by key number. */
struct world {
    struct state *states[REVISIONS + 1];
    struct version *at[REVISIONS + 1][KEYS];
    struct version *all[REVISIONS * 8];
    size_t n_all;
    int order[KEYS]; /* key numbers in key order */
};

static int key_compare(const void *a, const void *b)
{
    owned(buf) struct buf ka = BUF_NULL(64), kb = BUF_NULL(64);

    return str_cmp(key_of(*(const int *)a, &ka), key_of(*(const int *)b, &kb));
}

static void world_commit(struct world *w, uint64_t revision, struct rng *rng)
{
    struct version *made[8];
    size_t n = 0, want = 1 + rng_below(rng, 7);

    memcpy(w->at[revision], w->at[revision - 1], sizeof(w->at[0]));
    for (size_t i = 0; i < want; i++) {
        owned(buf) struct buf key = BUF_NULL(64);
        int k = (int)rng_below(rng, KEYS);
        struct version *old = w->at[revision][k];

        if (old && old->revision == revision)
            continue;
        made[n] = make(key_of(k, &key), old, revision,
                       version_is_live(old) && rng_below(rng, 3) == 0);
        w->all[w->n_all++] = w->at[revision][k] = made[n];
        n++;
    }
    w->states[revision] = state_apply(
        w->states[revision - 1], &(struct effect){.versions = made, .n_versions = n}, revision);
}

static struct world *world_new(uint64_t seed)
{
    struct world *w = NEW(struct world);
    struct rng rng = {seed};

    w->states[0] = state_new();
    for (int i = 0; i < KEYS; i++)
        w->order[i] = i;
    qsort(w->order, KEYS, sizeof(int), key_compare);
    for (uint64_t r = 1; r <= REVISIONS; r++)
        world_commit(w, r, &rng);
    return w;
}

static void world_free(struct world *w)
{
    for (int r = 0; r <= REVISIONS; r++)
        (void)state_unref(w->states[r]);
    for (size_t i = 0; i < w->n_all; i++)
        (void)version_unref(w->all[i]);
    (void)mem_free(w);
}

TEST("a state at any revision is what a plain array says, also when later ones exist")
{
    struct world *w = world_new(1);

    for (int r = 0; r <= REVISIONS; r++) {
        uint64_t n = 0, bytes = 0;

        for (int k = 0; k < KEYS; k++) {
            owned(buf) struct buf key = BUF_NULL(64);
            struct version *v = w->at[r][k];

            CHECK(state_newest(w->states[r], key_of(k, &key)) == v);
            CHECK(state_find(w->states[r], buf_str(&key)) == (version_is_live(v) ? v : NULL));
            n += version_is_live(v);
            bytes += version_is_live(v) ? v->content.len : 0;
        }
        CHECK_U64(w->states[r]->revision, r);
        CHECK_U64(w->states[r]->n_resources, n);
        CHECK_U64(w->states[r]->content_bytes, bytes);
    }
    world_free(w);
}

TEST("folding many commits in place gives the same as one state after another")
{
    struct world *w = world_new(2);
    struct state *folded = state_new();

    for (uint64_t r = 1, i = 0; r <= REVISIONS; r++) {
        size_t n = 0;

        while (i + n < w->n_all && w->all[i + n]->revision == r)
            n++;
        CHECK_I64(state_apply_more(
                      &folded, &(struct effect){.versions = w->all + i, .n_versions = n}, r),
                  0);
        i += n;
    }
    for (int k = 0; k < KEYS; k++) {
        owned(buf) struct buf key = BUF_NULL(64);

        CHECK(state_newest(folded, key_of(k, &key)) == w->at[REVISIONS][k]);
    }
    CHECK_U64(folded->n_resources, w->states[REVISIONS]->n_resources);
    (void)state_unref(folded);
    world_free(w);
}

TEST("a walk since a revision from a key finds what a search of all finds, in order")
{
    struct world *w = world_new(3);
    struct rng rng = {4};

    for (int round = 0; round < 2000; round++) {
        owned(buf) struct buf from = BUF_NULL(64), key = BUF_NULL(64);
        uint64_t r = rng_below(&rng, REVISIONS + 1), since = rng_below(&rng, r + 2);
        struct tree_walk walk;

        (void)key_of((int)rng_below(&rng, KEYS), &from);
        if (rng_below(&rng, 2))
            buf_put_c(&from, "x");
        tree_walk_from(&walk, w->states[r]->versions, round % 5 ? buf_str(&from) : STR(""),
                       since);
        for (int i = 0; i < KEYS; i++) {
            struct version *v = w->at[r][w->order[i]];

            if (!v || v->revision <= since)
                continue;
            if (round % 5 && str_cmp(key_of(w->order[i], &key), buf_str(&from)) < 0)
                continue;
            CHECK(version_of(tree_walk_peek(&walk)) == v);
            CHECK(version_of(tree_walk_next(&walk)) == v);
        }
        CHECK(tree_walk_next(&walk) == NULL);
    }
    world_free(w);
}

/* ---- scopes against all names ---- */

static struct version *effective(const struct world *w, uint64_t r, const int *layers, size_t n,
                                 int rest)
{
    for (size_t i = 0; i < n; i++) {
        struct version *v = w->at[r][layers[i] + rest * SPACES];

        if (version_is_live(v))
            return v;
    }
    return NULL;
}

/* The strongest layer in which a name was touched after since; n when none. */
static size_t touched(const struct world *w, uint64_t r, uint64_t since, const int *layers,
                      size_t n, int rest)
{
    for (size_t i = 0; i < n; i++) {
        const struct version *v = w->at[r][layers[i] + rest * SPACES];

        if (v && v->revision > since)
            return i;
    }
    return n;
}

/* What the walk must say about one name: nothing, this item, or either. */
static void check_step(const struct world *w, uint64_t r, uint64_t since, const int *layers,
                       size_t n, int rest, bool is_told, const struct version *told)
{
    const struct version *now = effective(w, r, layers, n, rest);
    size_t strongest = touched(w, r, since, layers, n, rest);

    if (is_told)
        CHECK(told == now);
    if (since == 0) {
        CHECK(is_told == (now != NULL));
        return;
    }
    if (effective(w, since, layers, n, rest) != now)
        CHECK(is_told);
    if (strongest == n)
        CHECK(!is_told);
    for (size_t i = 0; now && now->revision <= since && i <= strongest && i < n; i++)
        if (w->at[r][layers[i] + rest * SPACES] == now)
            CHECK(!is_told); /* a stronger layer held it all the time */
}

static void check_scope_walk(const struct world *w, const struct scope *s, const int *layers,
                             uint64_t r, uint64_t since)
{
    struct scope_walk *walk = mem_alloc(scope_walk_size(s));
    bool told[KEYS / SPACES] = {0};
    struct version *items[KEYS / SPACES] = {0};
    owned(buf) struct buf before = BUF_NULL(64), key = BUF_NULL(64);
    struct scope_step step;

    scope_walk_init(walk, &(struct viewing){s, w->states[r], NULL}, since);
    while (scope_walk_next(walk, &step)) {
        CHECK(before.len == 0 || str_cmp(buf_str(&before), step.key) < 0);
        buf_clear(&before);
        buf_put_str(&before, step.key);
        for (int i = 0; i < KEYS / SPACES; i++)
            if (str_eq(str_from(key_of(i * SPACES, &key), strlen(spaces[0]) + 1), step.key)) {
                told[i] = true;
                items[i] = step.item;
            }
    }
    for (int i = 0; i < KEYS / SPACES; i++) {
        struct str tail = str_from(key_of(i * SPACES, &key), strlen(spaces[0]) + 1);
        size_t nul = str_index(tail, '\0');

        if (!scope_selects(s, str_part(tail, 0, nul), str_from(tail, nul + 1)))
            CHECK(!told[i]);
        else
            check_step(w, r, since, layers, s->n_layers, i, told[i], items[i]);
    }
    (void)mem_free(walk);
}

TEST("a walk over a scope tells what a search of all names tells, for layers, selectors and "
     "revisions")
{
    struct world *w = world_new(5);
    struct rng rng = {6};
    struct str item_kind = STR("item"), ones = STR("n1*"), end = STR("*3");
    struct selector selectors[] = {{.kinds = &item_kind, .n_kinds = 1},
                                   {.names = &ones, .n_names = 1},
                                   {.names = &end, .n_names = 1}};

    for (int round = 0; round < 1500; round++) {
        int layers[SPACES] = {0, 1, 2};
        struct str names[SPACES];
        uint64_t r = 1 + rng_below(&rng, REVISIONS),
                 since = round % 4 ? rng_below(&rng, r + 1) : 0;
        struct scope s = {.name = STR("s"),
                          .layers = names,
                          .n_layers = 1 + rng_below(&rng, SPACES),
                          .selectors = selectors,
                          .n_selectors = rng_below(&rng, 4)};

        for (int i = SPACES - 1; i > 0; i--) {
            int j = (int)rng_below(&rng, (uint64_t)i + 1), swap = layers[i];

            layers[i] = layers[j];
            layers[j] = swap;
        }
        for (int i = 0; i < SPACES; i++)
            names[i] = str_c(spaces[layers[i]]);
        check_scope_walk(w, &s, layers, r, since);
    }
    world_free(w);
}

/* ---- commits ---- */

struct refusal {
    const char *what;
    struct change change;
    int code;
    uint32_t line, column;
};

static int check_one(const struct state *s, struct change change, struct change_plan *plan,
                     struct err *err)
{
    owned(arena) struct arena arena = ARENA_NULL;
    struct commit c = {.changes = &change, .n = 1};

    return commit_check(s, &c, plan, &arena, err);
}

static struct state *state_with(struct version **ret_live)
{
    struct state *empty = state_new(), *s;
    struct version *made[2] = {make(STR("a\0item\0live"), NULL, 1, false),
                               make(STR("a\0item\0gone"), NULL, 1, true)};

    s = state_apply(empty, &(struct effect){.versions = made, .n_versions = 2}, 1);
    *ret_live = made[0];
    (void)version_unref(made[0]);
    (void)version_unref(made[1]);
    (void)state_unref(empty);
    return s;
}

TEST("a commit is refused with the code, the resource and the place of the reason")
{
    static char big[CONTENT_BYTES_MAX + 1];
    struct pair twice[2] = {{STR("k"), STR("1")}, {STR("k"), STR("2")}};
    struct str wrong_ref = STR("nowhere");
    struct str one = STR("1"), live = STR("a/item/live");
    const struct refusal rows[] = {
        {"id", {.id = STR("A/item/x"), .content = one}, ERR_INVALID},
        {"exists", {.id = live, .content = one, .create_only = true}, ERR_EXISTS},
        {"conflict", {.id = live, .content = one, .based_on = 2}, ERR_CONFLICT},
        {"conflict with nothing",
         {.id = STR("a/item/new"), .content = one, .based_on = 1},
         ERR_CONFLICT},
        {"delete nothing", {.id = STR("a/item/new"), .delete = true}, ERR_NOT_FOUND},
        {"delete twice", {.id = STR("a/item/gone"), .delete = true}, ERR_NOT_FOUND},
        {"type", {.id = live, .content = one, .content_type = STR("json")}, ERR_INVALID},
        {"type with a space",
         {.id = live, .content = one, .content_type = STR("a/b c")},
         ERR_INVALID},
        {"type too long",
         {.id = live, .content = one, .content_type = str_of(big, 128)},
         ERR_LIMIT},
        {"label twice",
         {.id = live, .content = one, .meta = {.labels = twice, .n_labels = 2}},
         ERR_INVALID},
        {"reference",
         {.id = live, .content = one, .meta = {.depends_on = &wrong_ref, .n_depends_on = 1}},
         ERR_INVALID},
        {"too big", {.id = live, .content = str_of(big, sizeof(big))}, ERR_LIMIT},
        {"item", {.id = live, .content = STR("{\n x}")}, ERR_INVALID, 2, 2},
        {"item of another type",
         {.id = live, .content = STR("a: 1"), .content_type = STR("text/yaml")},
         ERR_INVALID,
         1,
         1},
        {"YAML", {.id = STR("a/file/x.yml"), .content = STR("a: 1\na: 2")}, ERR_INVALID, 2, 1},
        {"TOML", {.id = STR("a/file/x.toml"), .content = STR("a = ")}, ERR_INVALID, 1, 5},
        {"INI", {.id = STR("a/file/x.ini"), .content = STR("[s]\nx")}, ERR_INVALID, 2, 1},
        {"XML", {.id = STR("a/file/x.xml"), .content = STR("<a></b>")}, ERR_INVALID, 1, 6},
        {"properties",
         {.id = STR("a/file/x.properties"), .content = STR("a=\\u1")},
         ERR_INVALID,
         1,
         6},
    };
    struct version *live_version;
    struct state *s = state_with(&live_version);

    memset(big, 'x', sizeof(big));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct change_plan plan;
        struct err err = ERR_NULL;
        int r = check_one(s, rows[i].change, &plan, &err);

        tap_check(r == rows[i].code && err.code == r && err.line == rows[i].line &&
                      err.column == rows[i].column &&
                      str_eq(str_c(err.place), rows[i].change.id),
                  __FILE__, __LINE__, "%s: %d at %s:%u:%u %s", rows[i].what, r, err.place,
                  err.line, err.column, err.text);
    }
    (void)state_unref(s);
}

TEST("a content that was looked at before is judged by that, but anew where it is to be of "
     "another type")
{
    static char text[4096];
    struct version *live;
    struct state *s = state_with(&live), *empty = state_new();
    struct change change = {.id = STR("a/item/live"), .content = str_of(text, sizeof(text))};
    struct commit c = {.changes = &change, .n = 1};
    struct change_plan plan;
    owned(arena) struct arena arena = ARENA_NULL;
    struct err before = ERR_NULL, err = ERR_NULL;

    memset(text, ' ', sizeof(text));
    memcpy(text + 100, "\n}", 2);
    CHECK_I64(commit_check(s, &c, &plan, &arena, &before), ERR_INVALID);
    commit_check_contents(empty, &c, &arena);
    REQUIRE(change.verdict);
    CHECK_I64(commit_check(s, &c, &plan, &arena, &err), ERR_INVALID);
    CHECK_STR(str_c(err.text), str_c(before.text));
    CHECK_STR(str_c(err.place), str_c(before.place));
    CHECK_U64(err.line, 2);

    change.verdict->r = 0; /* whoever looked says that it is good */
    CHECK_I64(commit_check(s, &c, &plan, &arena, &err), 0);
    change.verdict->type = STR("text/plain"); /* as another type */
    CHECK_I64(commit_check(s, &c, &plan, &arena, &err), ERR_INVALID);
    (void)state_unref(empty);
    (void)state_unref(s);
}

TEST("a commit as a whole is refused for its size, its texts and a resource changed twice")
{
    static struct change many[COMMIT_CHANGES_MAX + 1];
    static struct change_plan plans[COMMIT_CHANGES_MAX + 1];
    static char big[CONTENT_BYTES_MAX];
    struct change same[2] = {{.id = STR("a/item/x"), .content = STR("1")},
                             {.id = STR("a/item/x"), .content = STR("2")}};
    owned(arena) struct arena arena = ARENA_NULL;
    struct state *s = state_new();
    struct err err = ERR_NULL;
    struct commit c = {.changes = many, .n = 0};

    CHECK_I64(commit_check(s, &c, plans, &arena, &err), ERR_INVALID);
    c.n = COMMIT_CHANGES_MAX + 1;
    CHECK_I64(commit_check(s, &c, plans, &arena, &err), ERR_LIMIT);
    c.n = 9;
    for (int i = 0; i < 9; i++)
        many[i].content = str_of(big, sizeof(big));
    CHECK_I64(commit_check(s, &c, plans, &arena, &err), ERR_LIMIT);
    c = (struct commit){.changes = same, .n = 1, .message = str_of(big, MESSAGE_BYTES_MAX + 1)};
    CHECK_I64(commit_check(s, &c, plans, &arena, &err), ERR_LIMIT);
    c.message = STR("\377");
    CHECK_I64(commit_check(s, &c, plans, &arena, &err), ERR_INVALID);
    c.message = STR_NULL;
    CHECK_I64(commit_check(s, &c, plans, &arena, &err), 0);
    c.n = 2;
    CHECK_I64(commit_check(s, &c, plans, &arena, &err), ERR_INVALID);
    CHECK_STR(str_c(err.place), STR("a/item/x"));
    (void)state_unref(s);
}

/* One patch of what x has: label a=1, owner "ann", a description, protected, and a reference. */
static void check_meta_patch(struct meta_patch *p, const struct meta *want, int line)
{
    struct pair labels[1] = {{STR("a"), STR("1")}};
    struct str needs[1] = {STR("a/item/dep")};
    struct meta old = {.labels = labels,
                       .n_labels = 1,
                       .depends_on = needs,
                       .n_depends_on = 1,
                       .owner = STR("ann"),
                       .description = STR("d"),
                       .is_protected = true};
    owned(arena) struct arena a = ARENA_NULL;
    struct meta got;
    int r = meta_patch_check(p, NULL);

    if (!r)
        r = meta_patched(&old, p, &a, &got);
    tap_check(r == 0 && meta_eq(&got, want), __FILE__, line, "a patch: %d", r);
}

TEST("a patch of metadata changes what it names and leaves the rest")
{
    struct pair a1[1] = {{STR("a"), STR("1")}}, b2[1] = {{STR("b"), STR("2")}},
                both[2] = {{STR("b"), STR("2")}, {STR("a"), STR("1")}};
    struct str dep[2] = {STR("a/item/dep"), STR("a/item/more")}, more[1] = {STR("a/item/more")};
    struct str clear_a[1] = {STR("labels/a")},
               clear_all[3] = {STR("labels"), STR("owner"), STR("protected")},
               clear_dep[1] = {STR("depends_on/a/item/dep")}, wrong[1] = {STR("labels/")},
               unknown[1] = {STR("colour")};
    struct meta want = {.labels = both,
                        .n_labels = 2,
                        .depends_on = dep,
                        .n_depends_on = 1,
                        .owner = STR("ann"),
                        .description = STR("d"),
                        .is_protected = true};
    struct err err = ERR_NULL;

    check_meta_patch(&(struct meta_patch){.set = {.labels = b2, .n_labels = 1}}, &want,
                     __LINE__);
    want.labels = a1;
    want.n_labels = 1;
    check_meta_patch(&(struct meta_patch){.n_clear = 0}, &want, __LINE__);
    want.n_depends_on = 2;
    check_meta_patch(&(struct meta_patch){.set = {.depends_on = more, .n_depends_on = 1}},
                     &want, __LINE__);
    want.n_depends_on = 1;
    want.n_labels = 0;
    check_meta_patch(&(struct meta_patch){.clear = clear_a, .n_clear = 1}, &want, __LINE__);
    want.labels = b2;
    want.n_labels = 1;
    want.owner = STR_NULL;
    want.is_protected = false;
    check_meta_patch(&(struct meta_patch){.set = {.labels = b2, .n_labels = 1},
                                          .clear = clear_all,
                                          .n_clear = 3},
                     &want, __LINE__);
    want.labels = a1;
    want.owner = STR("bob");
    want.is_protected = true;
    want.n_depends_on = 0;
    check_meta_patch(
        &(struct meta_patch){.set = {.owner = STR("bob")}, .clear = clear_dep, .n_clear = 1},
        &want, __LINE__);
    CHECK_I64(meta_patch_check(&(struct meta_patch){.clear = wrong, .n_clear = 1}, &err),
              ERR_INVALID);
    CHECK_I64(meta_patch_check(&(struct meta_patch){.clear = unknown, .n_clear = 1}, &err),
              ERR_INVALID);
    CHECK_STR(str_c(err.text), STR("metadata has no \"colour\" that could be cleared"));
}

TEST("a plan says what each change comes to, and equal metadata in another order is no change")
{
    struct pair sorted[2] = {{STR("a"), STR("1")}, {STR("b"), STR("2")}};
    struct pair turned[2] = {{STR("b"), STR("2")}, {STR("a"), STR("1")}};
    struct meta meta = {.labels = sorted, .n_labels = 2},
                other = {.labels = turned, .n_labels = 2};
    struct state *empty = state_new(), *s;
    struct version *v =
        version_new(&(struct version_opts){.key = STR("a\0item\0x"),
                                           .content_type = STR("application/json"),
                                           .meta = &meta,
                                           .number = 3,
                                           .content = STR("1"),
                                           .revision = 1});
    struct change_plan plan;

    s = state_apply(empty, &(struct effect){.versions = &v, .n_versions = 1}, 1);
    CHECK_I64(
        check_one(s, (struct change){.id = STR("a/item/x"), .content = STR("1"), .meta = other},
                  &plan, NULL),
        0);
    CHECK_I64(plan.action, CHANGE_UNCHANGED);
    CHECK_U64(plan.number, 3);
    turned[0].value = STR("3");
    CHECK_I64(
        check_one(s, (struct change){.id = STR("a/item/x"), .content = STR("1"), .meta = other},
                  &plan, NULL),
        0);
    CHECK_I64(plan.action, CHANGE_UPDATED);
    CHECK_U64(plan.number, 4);
    CHECK_I64(
        check_one(
            s, (struct change){.id = STR("a/item/x"), .content = STR("1"), .keep_meta = true},
            &plan, NULL),
        0);
    CHECK_I64(plan.action, CHANGE_UNCHANGED);
    CHECK_I64(check_one(s,
                        (struct change){.id = STR("a/item/x"), .delete = true, .based_on = 3},
                        &plan, NULL),
              0);
    CHECK_I64(plan.action, CHANGE_DELETED);
    CHECK_I64(
        check_one(s, (struct change){.id = STR("a/item/y"), .content = STR("1")}, &plan, NULL),
        0);
    CHECK_I64(plan.action, CHANGE_CREATED);
    CHECK_U64(plan.number, 1);
    (void)version_unref(v);
    (void)state_unref(s);
    (void)state_unref(empty);
}

/* ---- differences ---- */

static void random_text(struct rng *rng, struct buf *out)
{
    size_t n = rng_below(rng, 40);

    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%c%s", (int)('a' + rng_below(rng, 4)),
                   i + 1 == n && rng_below(rng, 3) == 0 ? "" : "\n");
}

/* A text that has most lines of the other. */
static void edit_text(struct rng *rng, struct str text, struct buf *out)
{
    struct str line;

    while (text.len && str_next(&text, '\n', &line)) {
        uint64_t what = rng_below(rng, 12);

        if (what == 0)
            continue;
        if (what == 1)
            buf_put_c(out, "new\n");
        buf_put_str(out, line);
        if (text.data)
            buf_put_byte(out, '\n');
    }
}

static void check_patch(struct str before, struct str after)
{
    const char *dir = tap_tmpdir();
    owned(buf) struct buf diff = BUF_NULL(MIB), patched = BUF_NULL(MIB), line = BUF_NULL(1024);
    struct diff_names names = {STR("a"), STR("b")};
    char a[128], d[128], o[128];

    CHECK_I64(diff_unified(before, after, &names, &diff), 0);
    CHECK((diff.len == 0) == str_eq(before, after));
    if (diff.len == 0)
        return;
    (void)snprintf(a, sizeof(a), "%s/a", dir);
    (void)snprintf(d, sizeof(d), "%s/d", dir);
    (void)snprintf(o, sizeof(o), "%s/o", dir);
    CHECK_I64(file_replace(a, before, 0600, NULL), 0);
    CHECK_I64(file_replace(d, buf_str(&diff), 0600, NULL), 0);
    buf_printf(&line, "patch -s -F0 -o %s %s %s", o, a, d);
    CHECK_I64(system(buf_c(&line)), 0);
    CHECK_I64(file_read(o, &patched, NULL), 0);
    CHECK_STR(buf_str(&patched), after);
}

TEST("a difference applied by patch to one text gives the other")
{
    struct rng rng = {7};

    for (int round = 0; round < 150; round++) {
        owned(buf) struct buf before = BUF_NULL(MIB), after = BUF_NULL(MIB);

        random_text(&rng, &before);
        if (round % 2)
            random_text(&rng, &after);
        else
            edit_text(&rng, buf_str(&before), &after);
        if (after.len) /* patch removes what becomes empty */
            check_patch(buf_str(&before), buf_str(&after));
    }
}

TEST("a difference is written as diff -u writes it")
{
    owned(buf) struct buf out = BUF_NULL(MIB);
    struct diff_names names = {STR_NULL, STR("b")};

    CHECK_I64(diff_unified(STR("1\n2\n3\n4\n5\n6\n7\n8\n9"), STR("1\n2\n3\n4\nx\n6\n7\n8\n9\n"),
                           &names, &out),
              0);
    CHECK_STR(buf_str(&out),
              STR("--- /dev/null\n+++ b\n@@ -2,8 +2,8 @@\n 2\n 3\n 4\n-5\n+x\n 6\n 7\n 8\n-9\n"
                  "\\ No newline at end of file\n+9\n"));
    buf_clear(&out);
    CHECK_I64(diff_unified(STR(""), STR("1\n"), &names, &out), 0);
    CHECK_STR(buf_str(&out), STR("--- /dev/null\n+++ b\n@@ -0,0 +1 @@\n+1\n"));
    buf_clear(&out);
    CHECK_I64(diff_unified(STR("\377"), STR("1\n"), &names, &out), 0);
    CHECK_STR(buf_str(&out),
              STR("--- /dev/null\n+++ b\nBinary contents differ: 1 and 2 bytes\n"));
}

/* ---- hashes ---- */

static size_t read_pairs(struct str text, struct pair *out)
{
    struct str piece;
    size_t n = 0;

    while (text.len && str_next(&text, ',', &piece)) {
        size_t at = str_index(piece, '=');

        out[n++] = (struct pair){str_part(piece, 0, at), str_from(piece, at + 1)};
    }
    return n;
}

static void check_vector(struct str line)
{
    struct str f[9] = {0}, id_refs, id;
    struct pair labels[4], annotations[4];
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    unsigned char digest[DIGEST_BYTES];
    char hex[2 * SHA256_BYTES + 1];
    struct version *v;
    struct name n = {0};
    struct meta m = {.labels = labels, .annotations = annotations};
    owned(arena) struct arena arena = ARENA_NULL;
    struct references *refs;
    struct str keys[4];
    size_t n_keys = 0;

    for (int i = 0; i < 9; i++)
        CHECK(str_next(&line, '|', &f[i]));
    REQUIRE(name_parse(f[0], &n, NULL) == 0);
    name_put_key(n, &key);
    m.n_labels = read_pairs(f[3], labels);
    m.n_annotations = read_pairs(f[4], annotations);
    id_refs = f[5];
    while (id_refs.len && str_next(&id_refs, ',', &id)) {
        owned(buf) struct buf target = BUF_NULL(ID_BYTES_MAX);

        REQUIRE(name_parse(id, &n, NULL) == 0);
        name_put_key(n, &target);
        keys[n_keys++] = arena_str(&arena, buf_str(&target));
    }
    refs = arena_alloc(&arena, references_size(keys, n_keys));
    REQUIRE(refs != NULL);
    references_init(refs, keys, n_keys);
    v = version_new(&(struct version_opts){.key = buf_str(&key),
                                           .content_type = f[1],
                                           .content = f[2],
                                           .meta = &m,
                                           .references = refs,
                                           .number = 1,
                                           .revision = 1});
    REQUIRE(v != NULL);
    hex_encode(v->item_hash.bytes, SHA256_BYTES, hex);
    CHECK_STR(str_c(hex), f[7]);
    digest_put(binding_digest(f[6], &v->item_hash), digest);
    hex_encode(digest, DIGEST_BYTES, hex);
    CHECK_STR(str_c(hex), f[8]);
    (void)version_unref(v);
}

TEST("hashes and digests are those of the frozen vectors, which OpenSSL's tool computed")
{
    owned(buf) struct buf file = BUF_NULL(MIB);
    struct str rest, line;
    int n = 0;

    REQUIRE(file_read(VECTORS, &file, NULL) == 0);
    rest = buf_str(&file);
    while (str_next(&rest, '\n', &line))
        if (line.len && line.data[0] != '#') {
            check_vector(line);
            n++;
        }
    CHECK_I64(n, 6);
}

/* ---- memory that runs out ---- */

TEST("a state survives a commit for which there is no memory")
{
    struct world *w = world_new(8);
    struct version *made[3];
    owned(buf) struct buf key = BUF_NULL(64);
    struct state *s = w->states[REVISIONS], *next = NULL;

    for (int i = 0; i < 3; i++)
        made[i] =
            make(i < 2 ? key_of(7 * i, &key) : STR("new\0item\0x"), NULL, REVISIONS + 1, false);
    ALLOC_SWEEP (n) {
        (void)state_unref(take(next));
        next =
            state_apply(s, &(struct effect){.versions = made, .n_versions = 3}, REVISIONS + 1);
    }
    CHECK(next && state_newest(next, STR("new\0item\0x")) == made[2]);
    for (int k = 0; k < KEYS; k++)
        CHECK(state_newest(s, key_of(k, &key)) == w->at[REVISIONS][k]);
    (void)state_unref(next);
    for (int i = 0; i < 3; i++)
        (void)version_unref(made[i]);
    world_free(w);
}

TEST("a check of a commit tells when there is no memory")
{
    struct version *live;
    struct state *s = state_with(&live);
    int r = 0;

    ALLOC_SWEEP (n) {
        owned(arena) struct arena arena = ARENA_NULL;
        struct change changes[2] = {{.id = STR("a/item/live"), .content = STR("{\"a\":1}")},
                                    {.id = STR("a/file/x.yaml"), .content = STR("a: 1")}};
        struct change_plan plans[2];
        struct commit c = {.changes = changes, .n = 2};

        r = commit_check(s, &c, plans, &arena, NULL);
        if (r != 0 && r != ERR_NOMEM)
            break;
    }
    CHECK_I64(r, 0);
    (void)state_unref(s);
}

TEST("versions and differences tell when there is no memory")
{
    struct pair label = {STR("k"), STR("v")};
    struct meta m = {.labels = &label, .n_labels = 1};
    struct version *v = NULL;
    int r = 0;

    ALLOC_SWEEP (n) {
        v = version_unref(v);
        v = version_new(
            &(struct version_opts){.key = STR("a\0item\0x"), .content = STR("1"), .meta = &m});
    }
    CHECK(v != NULL);
    (void)version_unref(v);
    ALLOC_SWEEP (n) {
        owned(buf) struct buf out = BUF_NULL(MIB);

        r = diff_unified(STR("a\nb\nc\n"), STR("a\nx\nc\n"),
                         &(struct diff_names){STR("a"), STR("b")}, &out);
        r = r ? r : buf_status(&out);
        if (r != 0 && r != ERR_NOMEM)
            break;
    }
    CHECK_I64(r, 0);
}
