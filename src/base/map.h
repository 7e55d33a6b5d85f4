/*
 * Hash map from byte strings to pointers: open addressing with linear probing and backward-shift deletion,
 * so there are no tombstones. Keys are borrowed: they must live as long as their entry, usually inside the
 * value. The hash is seeded per process (hash_seed), so a peer cannot choose colliding keys.
 */
#ifndef TRIMTAB_BASE_MAP_H
#define TRIMTAB_BASE_MAP_H

#include "base/attr.h"
#include "base/str.h"

struct map_slot {
    struct str key;
    void *value; /* NULL marks a free slot */
    uint64_t hash;
};

struct map {
    struct map_slot *slots; /* NULL while nothing was ever put */
    size_t n, cap;          /* cap is 0 or a power of two */
};

#define MAP_NULL ((struct map){0})

void map_deinit(struct map *m);
void *map_get(const struct map *m, struct str key); /* NULL: not there */

/* Puts value (not NULL) under key, replacing what was there; *ret_old, if given, is the former value or NULL. */
must_use bool map_put(struct map *m, struct str key, void *value, void **ret_old);
/* Makes room so that the next n puts of new keys cannot fail. */
must_use bool map_reserve(struct map *m, size_t n);
void *map_remove(struct map *m, struct str key); /* the former value, or NULL */

/* Walks all entries in no order: size_t at = 0; while ((e = map_each(m, &at))). No changes meanwhile. */
struct map_slot *map_each(const struct map *m, size_t *at);

#endif
