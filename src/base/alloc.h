/*
 * Allocation: sizes that saturate instead of wrapping, and a hook through which a test makes the n-th
 * allocation fail. Every failure is returned; nothing here aborts.
 */
#ifndef TRIMTAB_BASE_ALLOC_H
#define TRIMTAB_BASE_ALLOC_H

#include "base/attr.h"

#include <stddef.h>
#include <stdint.h>

/* Each returns NULL when there is no memory, or when the product or sum exceeds SIZE_MAX. */
must_use void *mem_alloc(size_t size);
must_use void *mem_zalloc(size_t size);
must_use void *mem_alloc_array(size_t n, size_t size);
must_use void *mem_realloc_array(void *old, size_t n,
                                 size_t size);         /* old stays valid on NULL */
must_use char *mem_dup(const void *bytes, size_t len); /* len bytes and a closing NUL */
void *mem_free(void *p);                               /* always NULL, so p = mem_free(p) */

#define NEW(type)          ((type *)mem_zalloc(sizeof(type)))
#define NEW_ARRAY(type, n) ((type *)mem_alloc_array((n), sizeof(type)))

/* a + b, or SIZE_MAX, which no allocation satisfies. */
static inline size_t size_add(size_t a, size_t b)
{
    return a > SIZE_MAX - b ? SIZE_MAX : a + b;
}

/*
 * For tests, per thread: lets n more allocations succeed and then fails every one until called again;
 * UINT64_MAX turns it off. Returns whether one has failed since the last call.
 */
int mem_fail_after(uint64_t n);
/* The same, but after those n only one fails: small things find memory when a large one did not. */
int mem_fail_once(uint64_t n);

static inline void mem_cleanup(void *pp)
{
    void **p = pp;

    (void)mem_free(*p); /* its NULL is of no use here */
}

#endif
