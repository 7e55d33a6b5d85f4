/*
 * The persistent tree against a plain array: whatever is put and removed, older trees stay what they were.
 */
#include "model/tree.h"

#include "base/clock.h"
#include "tap.h"

enum { KEYS = 60, ROUNDS = 400 };

struct thing {
    struct tree_item item;
    char text[8];
};

static int n_things;

static void thing_release(struct tree_item *item)
{
    n_things--;
    (void)mem_free(CONTAINER_OF(item, struct thing, item));
}

static struct thing *thing_new(unsigned key, uint64_t revision)
{
    struct thing *t = NEW(struct thing);

    if (!t)
        return NULL;
    n_things++;
    (void)snprintf(t->text, sizeof(t->text), "k%u", key);
    atomic_init(&t->item.refs, 1);
    t->item.release = thing_release;
    t->item.revision = revision;
    t->item.key = str_c(t->text);
    return t;
}

/* Puts or removes one of KEYS; NULL for a removal. False without memory. */
static bool change(struct tree **t, unsigned key, uint64_t revision, bool removes,
                   struct thing **ret)
{
    struct thing *made = removes ? NULL : thing_new(key, revision);
    char text[8];
    bool ok;

    *ret = made;
    (void)snprintf(text, sizeof(text), "k%u", key);
    if (removes)
        return tree_remove(t, str_c(text));
    if (!made) {
        *t = tree_unref(*t);
        return false;
    }
    ok = tree_put(t, &made->item);
    tree_item_unref(&made->item);
    return ok;
}

static void check_tree(const struct tree *t, struct thing *const *want, uint64_t since)
{
    struct tree_walk walk;
    struct tree_item *item;
    struct str last = STR("");
    size_t n = 0, n_want = 0;

    tree_walk_from(&walk, t, STR(""), since);
    while ((item = tree_walk_next(&walk))) {
        CHECK(str_cmp(last, item->key) < 0);
        CHECK(item->revision > since);
        last = item->key;
        n++;
    }
    for (unsigned k = 0; k < KEYS; k++) {
        char text[8];

        (void)snprintf(text, sizeof(text), "k%u", k);
        CHECK(tree_find(t, str_c(text)) == (want[k] ? &want[k]->item : NULL));
        n_want += want[k] && want[k]->item.revision > since;
    }
    CHECK_U64(n, n_want);
}

TEST("whatever is put and removed, every older tree stays what it was")
{
    static struct thing *want[ROUNDS + 1][KEYS];
    static struct tree *trees[ROUNDS + 1];
    struct rng rng = {7};

    for (unsigned r = 1; r <= ROUNDS; r++) {
        unsigned key = (unsigned)rng_below(&rng, KEYS);

        memcpy(want[r], want[r - 1], sizeof(want[r]));
        trees[r] = tree_ref(trees[r - 1]);
        CHECK(change(&trees[r], key, r, rng_below(&rng, 3) == 0, &want[r][key]));
    }
    for (unsigned r = 0; r <= ROUNDS; r++)
        check_tree(trees[r], want[r], rng_below(&rng, r + 1));
    for (unsigned r = 0; r <= ROUNDS; r++)
        trees[r] = tree_unref(trees[r]);
    CHECK_I64(n_things, 0);
}

TEST("without memory a change leaves nothing behind, and older trees as they were")
{
    struct thing *want[KEYS] = {0}, *ignored;
    struct tree *before = NULL;

    for (unsigned k = 0; k < KEYS; k += 2)
        CHECK(change(&before, k, k + 1, false, &want[k]));
    for (unsigned k = 0; k < 4; k++) {
        ALLOC_SWEEP (n) {
            struct tree *t = tree_ref(before);
            bool ok = change(&t, k, 100, k % 2 == 0 && k, &ignored);

            CHECK(ok || !t);
            (void)tree_unref(t);
        }
    }
    check_tree(before, want, 0);
    (void)tree_unref(before);
    CHECK_I64(n_things, 0);
}
