/*
 * Open-addressing hash map with borrowed keys. See map.h.
 */
#include "base/map.h"

#include "base/alloc.h"
#include "base/hash.h"

void map_deinit(struct map *m)
{
    m->slots = mem_free(m->slots);
    m->n = 0;
    m->cap = 0;
}

/* The slot that holds key, or the free slot where it belongs. There is always a free one. */
static size_t probe(const struct map *m, struct str key, uint64_t hash)
{
    size_t at = hash & (m->cap - 1);

    while (m->slots[at].value && (m->slots[at].hash != hash || !str_eq(m->slots[at].key, key)))
        at = (at + 1) & (m->cap - 1);
    return at;
}

void *map_get(const struct map *m, struct str key)
{
    if (m->n == 0)
        return NULL;
    return m->slots[probe(m, key, hash_seeded(key))].value;
}

static bool grow(struct map *m)
{
    struct map bigger = {.cap = m->cap ? m->cap * 2 : 8, .n = m->n};

    bigger.slots = NEW_ARRAY(struct map_slot, bigger.cap);
    if (!bigger.slots)
        return false;
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].value)
            bigger.slots[probe(&bigger, m->slots[i].key, m->slots[i].hash)] = m->slots[i];
    (void)mem_free(m->slots);
    *m = bigger;
    return true;
}

bool map_reserve(struct map *m, size_t n)
{
    while (size_add(m->n, n) + 1 > m->cap / 4 * 3)
        if (!grow(m))
            return false;
    return true;
}

bool map_put(struct map *m, struct str key, void *value, void **ret_old)
{
    uint64_t hash = hash_seeded(key);
    struct map_slot *slot;
    void *old;

    if (m->n + 1 > m->cap / 4 * 3 && !grow(m))
        return false;
    slot = &m->slots[probe(m, key, hash)];
    old = slot->value;
    if (!old)
        m->n++;
    *slot = (struct map_slot){.key = key, .value = value, .hash = hash};
    if (ret_old)
        *ret_old = old;
    return true;
}

/* Moves later members of the probe run back over the hole, so that no run is ever interrupted. */
static void close_hole(struct map *m, size_t hole)
{
    size_t mask = m->cap - 1;

    for (size_t at = (hole + 1) & mask; m->slots[at].value; at = (at + 1) & mask) {
        size_t home = m->slots[at].hash & mask;

        if (((at - home) & mask) >= ((at - hole) & mask)) {
            m->slots[hole] = m->slots[at];
            hole = at;
        }
    }
    m->slots[hole] = (struct map_slot){0};
}

void *map_remove(struct map *m, struct str key)
{
    size_t at;
    void *old;

    if (m->n == 0)
        return NULL;
    at = probe(m, key, hash_seeded(key));
    old = m->slots[at].value;
    if (!old)
        return NULL;
    m->n--;
    close_hole(m, at);
    return old;
}

struct map_slot *map_each(const struct map *m, size_t *at)
{
    while (*at < m->cap) {
        struct map_slot *slot = &m->slots[(*at)++];

        if (slot->value)
            return slot;
    }
    return NULL;
}
