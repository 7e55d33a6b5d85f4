/*
 * Sorted sets. See sorted.h.
 */
#include "base/sorted.h"

#include "base/err.h"
#include "base/hash.h"

/* Divides what is below t by a key that none of it has. */
static void divide(struct sorted_entry *t, struct str key, struct sorted_entry *sides[2])
{
    struct sorted_entry **low = &sides[0], **high = &sides[1];

    while (t) {
        if (str_cmp(t->key, key) < 0) {
            *low = t;
            low = &t->sides[1];
            t = *low;
        } else {
            *high = t;
            high = &t->sides[0];
            t = *high;
        }
    }
    *low = *high = NULL;
}

/* All keys of low are lower than all of high. */
static struct sorted_entry *join(struct sorted_entry *low, struct sorted_entry *high)
{
    struct sorted_entry *root, **at = &root;

    while (low && high) {
        if (low->rank >= high->rank) {
            *at = low;
            at = &low->sides[1];
            low = *at;
        } else {
            *at = high;
            at = &high->sides[0];
            high = *at;
        }
    }
    *at = low ? low : high;
    return root;
}

static struct sorted_entry **side_of(struct sorted_entry *t, struct str key)
{
    return &t->sides[str_cmp(key, t->key) > 0];
}

void sorted_put(struct sorted *s, struct sorted_entry *e, struct str key)
{
    struct sorted_entry **at = &s->root;

    e->key = key;
    e->rank = hash_seeded(key);
    while (*at && (*at)->rank >= e->rank)
        at = side_of(*at, key);
    divide(*at, key, e->sides);
    *at = e;
}

void sorted_remove(struct sorted *s, struct sorted_entry *e)
{
    struct sorted_entry **at = &s->root;

    while (*at != e) {
        ASSERT(*at != NULL);
        at = side_of(*at, e->key);
    }
    *at = join(e->sides[0], e->sides[1]);
}

static void push(struct sorted_walk *w, struct sorted_entry *t)
{
    ASSERT(w->depth < SORTED_DEPTH_MAX);
    w->path[w->depth++] = t;
}

void sorted_walk_after(struct sorted_walk *w, const struct sorted *s, struct str after)
{
    struct sorted_entry *t = s->root;

    w->depth = 0;
    while (t) {
        bool is_behind = str_cmp(t->key, after) > 0;

        if (is_behind)
            push(w, t);
        t = t->sides[!is_behind];
    }
}

struct sorted_entry *sorted_walk_next(struct sorted_walk *w)
{
    struct sorted_entry *e = w->depth ? w->path[--w->depth] : NULL;

    for (struct sorted_entry *t = e ? e->sides[1] : NULL; t; t = t->sides[0])
        push(w, t);
    return e;
}
