/*
 * Memory that dies together: for what lives as long as one request or one message. Remembers failure, so a whole
 * structure can be built and asked about once.
 */
#ifndef TRIMTAB_BASE_ARENA_H
#define TRIMTAB_BASE_ARENA_H

#include "base/alloc.h"
#include "base/str.h"

struct arena_block;

struct arena {
    struct arena_block *blocks;
    size_t used; /* of the newest block */
    bool failed;
};

#define ARENA_NULL ((struct arena){0})

void arena_deinit(struct arena *a);
static inline void arena_cleanup(struct arena *a)
{
    arena_deinit(a);
}

/* All that came from it is gone; it keeps a small block for what comes next. */
void arena_reset(struct arena *a);

/* Zeroed, aligned for any type; NULL without memory, which arena_failed remembers. */
must_use void *arena_alloc(struct arena *a, size_t size);
must_use void *arena_array(struct arena *a, size_t n, size_t size);
/* A C string with the bytes of s; never NULL: "" when there is no memory, which arena_failed remembers. */
must_use char *arena_c(struct arena *a, struct str s);
struct str arena_str(struct arena *a, struct str s); /* the same as a slice */

static inline bool arena_failed(const struct arena *a)
{
    return a->failed;
}

#define ARENA_NEW(a, type)      ((type *)arena_alloc((a), sizeof(type)))
#define ARENA_ARRAY(a, type, n) ((type *)arena_array((a), (n), sizeof(type)))

#endif
