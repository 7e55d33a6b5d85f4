/*
 * Allocation with saturating sizes and an injectable failure. See alloc.h.
 */
#include "base/alloc.h"

static _Thread_local uint64_t allowance = UINT64_MAX;
static _Thread_local int has_failed, fails_once;

static int set_failing(uint64_t n, int once)
{
    int failed = has_failed;

    allowance = n;
    has_failed = 0;
    fails_once = once;
    return failed;
}

int mem_fail_after(uint64_t n)
{
    return set_failing(n, 0);
}

int mem_fail_once(uint64_t n)
{
    return set_failing(n, 1);
}

static int must_fail(void)
{
    if (allowance == UINT64_MAX)
        return 0;
    if (allowance > 0) {
        allowance--;
        return 0;
    }
    has_failed = 1;
    if (fails_once)
        allowance = UINT64_MAX;
    return 1;
}

void *mem_alloc(size_t size)
{
    if (size == SIZE_MAX || must_fail())
        return NULL;
    return malloc(size ? size : 1);
}

void *mem_zalloc(size_t size)
{
    if (size == SIZE_MAX || must_fail())
        return NULL;
    return calloc(1, size ? size : 1);
}

void *mem_alloc_array(size_t n, size_t size)
{
    size_t total;

    if (__builtin_mul_overflow(n, size, &total))
        return NULL;
    return mem_zalloc(total);
}

void *mem_realloc_array(void *old, size_t n, size_t size)
{
    size_t total;

    if (__builtin_mul_overflow(n, size, &total) || must_fail())
        return NULL;
    return realloc(old, total ? total : 1);
}

char *mem_dup(const void *bytes, size_t len)
{
    char *copy = mem_alloc(size_add(len, 1));

    if (!copy)
        return NULL;
    if (len)
        memcpy(copy, bytes, len);
    copy[len] = '\0';
    return copy;
}

void *mem_free(void *p)
{
    free(p);
    return NULL;
}
