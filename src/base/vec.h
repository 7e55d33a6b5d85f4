/*
 * Typed growable arrays: VEC(struct item) items = {0}; the macro gives the type, vec_grow the memory.
 */
#ifndef TRIMTAB_BASE_VEC_H
#define TRIMTAB_BASE_VEC_H

#include "base/alloc.h"

#include <stdbool.h>

#define VEC(type)                                                                              \
    struct {                                                                                   \
        type *at;                                                                              \
        size_t n, cap;                                                                         \
    }

/* Makes room for one more element; false when there is no memory and nothing changed. */
must_use static inline bool vec_grow(void **at, size_t n, size_t *cap, size_t size)
{
    size_t more;
    void *grown;

    if (n < *cap)
        return true;
    more = *cap ? size_add(*cap, *cap) : 8;
    grown = mem_realloc_array(*at, more, size);
    if (!grown)
        return false;
    *at = grown;
    *cap = more;
    return true;
}

#define VEC_ROOM(v) vec_grow((void **)&(v)->at, (v)->n, &(v)->cap, sizeof(*(v)->at))

/* Appends value; false when there is no memory. */
#define VEC_PUSH(v, ...) (VEC_ROOM(v) ? ((v)->at[(v)->n++] = (__VA_ARGS__), true) : false)

/* Frees the array, not what its elements own. */
#define VEC_DEINIT(v) ((v)->at = mem_free((v)->at), (v)->n = 0, (v)->cap = 0)

#endif
