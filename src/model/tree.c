/*
 * Persistent treap. See tree.h.
 */
#include "model/tree.h"

#include "base/alloc.h"
#include "base/err.h"
#include "base/hash.h"

struct tree {
    _Atomic uint32_t refs;
    uint32_t priority;
    struct tree *left, *right;
    struct tree_item *item;
    uint64_t newest; /* highest revision of any item in this subtree */
};

struct tree *tree_ref(struct tree *t)
{
    if (t)
        atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

/* Recursion goes left only; the right spine is a loop, so depth stays that of the tree. */
struct tree *tree_unref(struct tree *t)
{
    while (t && atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1) {
        struct tree *right = t->right;

        (void)tree_unref(t->left);
        tree_item_unref(t->item);
        (void)mem_free(t);
        t = right;
    }
    return NULL;
}

struct tree_item *tree_find(const struct tree *t, struct str key)
{
    while (t) {
        int c = str_cmp(key, t->item->key);

        if (c == 0)
            return t->item;
        t = c < 0 ? t->left : t->right;
    }
    return NULL;
}

static uint64_t newest(const struct tree *t)
{
    return t ? t->newest : 0;
}

/* After a change of the item or of a child. */
static void refresh(struct tree *t)
{
    t->newest = MAX(t->item->revision, MAX(newest(t->left), newest(t->right)));
}

static struct tree *node_new(struct tree_item *item, uint32_t priority, struct tree *left,
                             struct tree *right)
{
    struct tree *t = mem_alloc(sizeof(*t));

    if (!t) {
        (void)tree_unref(left);
        (void)tree_unref(right);
        return NULL;
    }
    atomic_init(&t->refs, 1);
    t->priority = priority;
    t->left = left;
    t->right = right;
    t->item = item;
    tree_item_ref(item);
    refresh(t);
    return t;
}

/* A node that only the caller holds: t itself when that is so already, else a copy. Consumes t. */
static struct tree *node_own(struct tree *t)
{
    struct tree *copy;

    if (atomic_load_explicit(&t->refs, memory_order_acquire) == 1)
        return t;
    copy = node_new(t->item, t->priority, tree_ref(t->left), tree_ref(t->right));
    (void)tree_unref(t);
    return copy;
}

/* Cuts t (consumed) into keys below and above key, which is not in it. False without memory: all is dropped. */
static bool split(struct tree *t, struct str key, struct tree **ret_below,
                  struct tree **ret_above)
{
    struct tree *inner_below, *inner_above;
    bool goes_below;

    *ret_below = *ret_above = NULL;
    if (!t)
        return true;
    t = node_own(t);
    if (!t)
        return false;
    goes_below = str_cmp(t->item->key, key) < 0;
    if (!split(goes_below ? take(t->right) : take(t->left), key, &inner_below, &inner_above)) {
        (void)tree_unref(t);
        return false;
    }
    if (goes_below) {
        t->right = inner_below;
        *ret_below = t;
        *ret_above = inner_above;
    } else {
        t->left = inner_above;
        *ret_above = t;
        *ret_below = inner_below;
    }
    refresh(t);
    return true;
}

static bool put(struct tree **t, struct tree_item *item, uint32_t priority, bool exists);

static bool put_child(struct tree **t, struct tree_item *item, uint32_t priority, bool exists)
{
    int c = str_cmp(item->key, (*t)->item->key);

    if (c != 0)
        return put(c < 0 ? &(*t)->left : &(*t)->right, item, priority, exists);
    tree_item_ref(item);
    tree_item_unref((*t)->item);
    (*t)->item = item;
    return true;
}

/* On failure *t is NULL and the surrounding, unpublished tree is dropped by the caller. */
static bool put(struct tree **t, struct tree_item *item, uint32_t priority, bool exists)
{
    struct tree *below, *above;

    if (!*t || (!exists && (*t)->priority < priority)) {
        if (!split(take(*t), item->key, &below, &above))
            return false;
        *t = node_new(item, priority, below, above);
        return *t != NULL;
    }
    *t = node_own(*t);
    if (!*t || !put_child(t, item, priority, exists))
        return false;
    refresh(*t);
    return true;
}

bool tree_put(struct tree **t, struct tree_item *item)
{
    bool exists = tree_find(*t, item->key) != NULL;

    if (put(t, item, (uint32_t)hash_seeded(item->key), exists))
        return true;
    *t = tree_unref(*t);
    return false;
}

/* Both consumed; every key of below is smaller than every key of above. False without memory: all is dropped. */
static bool join(struct tree *below, struct tree *above, struct tree **ret)
{
    bool is_below = below && (!above || below->priority > above->priority);
    struct tree *top, *rest = NULL;
    bool ok;

    *ret = below ? below : above;
    if (!below || !above)
        return true;
    *ret = NULL;
    top = node_own(is_below ? below : above);
    if (!top) {
        (void)tree_unref(is_below ? above : below);
        return false;
    }
    ok = is_below ? join(take(top->right), above, &rest) : join(below, take(top->left), &rest);
    if (!ok) {
        (void)tree_unref(top);
        return false;
    }
    *(is_below ? &top->right : &top->left) = rest;
    refresh(top);
    *ret = top;
    return true;
}

/* key is in it. On failure *t is NULL. */
static bool remove_key(struct tree **t, struct str key)
{
    struct tree *top, *joined;
    bool ok;
    int c;

    ASSERT(*t);
    top = node_own(take(*t));
    if (!top)
        return false;
    c = str_cmp(key, top->item->key);
    if (c == 0) {
        ok = join(take(top->left), take(top->right), &joined);
        (void)tree_unref(top);
        *t = joined;
        return ok;
    }
    ok = remove_key(c < 0 ? &top->left : &top->right, key);
    if (!ok) {
        (void)tree_unref(top);
        return false;
    }
    refresh(top);
    *t = top;
    return true;
}

bool tree_remove(struct tree **t, struct str key)
{
    return !tree_find(*t, key) || remove_key(t, key);
}

static void push(struct tree_walk *w, const struct tree *t)
{
    ASSERT(w->depth < TREE_DEPTH_MAX);
    w->path[w->depth++] = t;
}

/* Down the left side of t, past subtrees in which nothing is new enough. */
static void descend(struct tree_walk *w, const struct tree *t)
{
    for (; t && t->newest > w->since; t = t->left)
        push(w, t);
}

/* Leaves an item on top that is new enough, or nothing. */
static void settle(struct tree_walk *w)
{
    while (w->depth && w->path[w->depth - 1]->item->revision <= w->since)
        descend(w, w->path[--w->depth]->right);
}

void tree_walk_from(struct tree_walk *w, const struct tree *t, struct str from, uint64_t since)
{
    w->depth = 0;
    w->since = since;
    while (t && t->newest > since) {
        int c = str_cmp(from, t->item->key);

        if (c <= 0)
            push(w, t);
        if (c == 0)
            break;
        t = c < 0 ? t->left : t->right;
    }
    settle(w);
}

struct tree_item *tree_walk_peek(const struct tree_walk *w)
{
    return w->depth ? w->path[w->depth - 1]->item : NULL;
}

struct tree_item *tree_walk_next(struct tree_walk *w)
{
    const struct tree *here;

    if (w->depth == 0)
        return NULL;
    here = w->path[--w->depth];
    descend(w, here->right);
    settle(w);
    return here->item;
}
