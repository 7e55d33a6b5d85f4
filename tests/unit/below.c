/*
 * Walks over namespaces and what is below them, against looking at everything.
 */
#include "model/below.h"

#include "tap.h"

static const char *const spaces[] = {"a",      "shop",       "shop-eu",  "shop.eu",
                                     "shop/a", "shop/a/b",   "shop/a-b", "shop/prod",
                                     "shop0",  "shop-eu/eu", "trimtab",  "zoo"};
static const char *const kinds[] = {"file", "item", "route"};
enum { NAMES = 40 };

static bool put(struct state **s, const char *space, const char *kind, const char *name,
                uint64_t revision)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    struct version *v;
    int r;

    name_put_key((struct name){str_c(space), str_c(kind), str_c(name)}, &key);
    v = version_new(&(struct version_opts){
        .key = buf_str(&key), .deleted = true, .number = 1, .revision = revision});
    r = v ? state_apply_more(s, &(struct effect){.versions = &v, .n_versions = 1}, revision)
          : ERR_NOMEM;
    (void)version_unref(v);
    return CHECK_I64(r, 0);
}

/* Every namespace has NAMES of each kind. */
static struct state *make_state(void)
{
    struct state *s = state_new();
    uint64_t revision = 0;

    for (size_t i = 0; s && i < ARRAY_LEN(spaces); i++)
        for (size_t k = 0; s && k < ARRAY_LEN(kinds); k++)
            for (int n = 0; n < NAMES; n++) {
                char name[16];

                (void)snprintf(name, sizeof(name), "n%d", n);
                if (!put(&s, spaces[i], kinds[k], name, ++revision))
                    return state_unref(s);
            }
    return s;
}

static bool is_wanted(const struct version *v, const struct below_opts *o)
{
    struct name name = key_name(v->key);
    bool is_self = str_eq(name.space, o->space);
    bool is_below = o->space.len == 0 ||
                    (str_starts(name.space, o->space) && name.space.data[o->space.len] == '/');

    return (is_self || (o->depth == BELOW_ALL && is_below)) &&
           (o->kind.len == 0 || str_eq(name.kind, o->kind)) && str_cmp(v->key, o->after) > 0;
}

static void compare(const struct state *s, const struct below_opts *o)
{
    struct tree_walk all;
    struct below_walk walk;
    const struct version *v, *want;

    tree_walk_from(&all, s->versions, STR(""), 0);
    below_walk_init(&walk, s, o);
    do {
        v = below_walk_next(&walk);
        while ((want = version_of(tree_walk_next(&all))) && !is_wanted(want, o))
            ;
        if (!CHECK(v == want)) {
            tap_note("space %.*s, kind %.*s, depth %d", STR_ARG(o->space), STR_ARG(o->kind),
                     (int)o->depth);
            return;
        }
    } while (v);
    CHECK(!below_walk_has_more(&walk));
}

TEST(
    "a walk gives what looking at everything gives, in the same order, from wherever it begins")
{
    static const char *const prefixes[] = {
        "",       "a",        "s",      "sho",       "shop",  "shop-", "shop-eu", "shop.eu",
        "shop/a", "shop/a/b", "shop/p", "shop/prod", "shop0", "zoo",   "zzz"};
    static const char *const wanted[] = {"", "aaa", "file", "item", "jjj", "route", "zzz"};
    owned(state_unref) struct state *s = make_state();
    const struct version *from;
    struct tree_walk walk;

    REQUIRE(s);
    for (size_t p = 0; p < ARRAY_LEN(prefixes); p++)
        for (size_t k = 0; k < ARRAY_LEN(wanted); k++) {
            struct below_opts o = {.space = str_c(prefixes[p]), .kind = str_c(wanted[k])};

            compare(s, &o);
            o.depth = BELOW_SELF;
            compare(s, &o);
            o.depth = BELOW_ALL;
            tree_walk_from(&walk, s->versions, STR(""), 0);
            for (int i = 0; !tap_failed() && (from = version_of(tree_walk_next(&walk))); i++)
                if (i % 37 == 0) {
                    o.after = from->key;
                    compare(s, &o);
                }
        }
}

static size_t seen(const struct state *s, const char *space, const char *kind)
{
    struct below_walk walk;

    below_walk_init(&walk, s, &(struct below_opts){.space = str_c(space), .kind = str_c(kind)});
    while (below_walk_next(&walk))
        ;
    return walk.n_seen;
}

TEST("a walk looks at what it gives, and not at what lies before, behind or between")
{
    owned(state_unref) struct state *s = make_state();

    REQUIRE(s);
    CHECK_U64(seen(s, "nothing", ""), 0);
    CHECK_U64(seen(s, "shop", ""), 5 * 3 * NAMES); /* and nothing of shop-eu and shop.eu */
    CHECK_U64(seen(s, "zoo", "file"), NAMES + 10);
    CHECK(seen(s, "", "route") < ARRAY_LEN(spaces) * (NAMES + 30));
    CHECK(seen(s, "", "zzz") < ARRAY_LEN(spaces) * 31);
}

TEST("a walk with a limit goes on behind what it saw last")
{
    owned(state_unref) struct state *s = make_state();
    struct below_opts o = {.space = STR("shop"), .kind = STR("item"), .most = 7};
    size_t n = 0, pages = 0;
    struct below_walk walk;

    REQUIRE(s);
    do {
        below_walk_init(&walk, s, &o);
        while (below_walk_next(&walk))
            n++;
        CHECK(walk.n_seen <= 7);
        o.after = walk.last_seen;
        pages++;
    } while (below_walk_has_more(&walk) && !tap_failed());
    CHECK_U64(n, 5 * NAMES);
    CHECK(pages > 5 * NAMES / 7);
}

TEST("a namespace that is longer than any is below nothing, and no namespace at all is none")
{
    owned(state_unref) struct state *s = make_state();
    char text[2 * ID_BYTES_MAX];
    struct below_walk walk;

    REQUIRE(s);
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    CHECK_U64(seen(s, text, ""), 0);
    CHECK_U64(seen(s, "shop", text), 5 * 3 * NAMES);
    below_walk_init(&walk, s, &(struct below_opts){.depth = BELOW_SELF});
    CHECK(below_walk_next(&walk) == NULL);
}
