/*
 * Arena: blocks that are freed together. See arena.h.
 */
#include "base/arena.h"

enum { FIRST_BLOCK_BYTES = 512, BLOCK_BYTES = 4096, ALIGN = 16 };

struct arena_block {
    struct arena_block *next;
    size_t size;
    _Alignas(ALIGN) char data[];
};

void arena_deinit(struct arena *a)
{
    while (a->blocks) {
        struct arena_block *next = a->blocks->next;

        (void)mem_free(a->blocks);
        a->blocks = next;
    }
    *a = ARENA_NULL;
}

void arena_reset(struct arena *a)
{
    struct arena_block *b = a->blocks;

    if (!b || b->next || b->size != FIRST_BLOCK_BYTES) {
        arena_deinit(a);
        return;
    }
    memset(b->data, 0, a->used);
    a->used = 0;
    a->failed = false;
}

void *arena_alloc(struct arena *a, size_t size)
{
    size_t rounded = size_add(size, ALIGN - 1) & ~(size_t)(ALIGN - 1);
    struct arena_block *b = a->blocks;
    void *p;

    if (rounded < size) {
        a->failed = true;
        return NULL;
    }
    if (!b || b->size - a->used < rounded) {
        size_t room = MAX(rounded, (size_t)(b ? BLOCK_BYTES : FIRST_BLOCK_BYTES));

        b = mem_zalloc(size_add(sizeof(*b), room));
        if (!b) {
            a->failed = true;
            return NULL;
        }
        b->size = room;
        b->next = a->blocks;
        a->blocks = b;
        a->used = 0;
    }
    p = b->data + a->used;
    a->used += rounded;
    return p;
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
    size_t total;

    if (__builtin_mul_overflow(n, size, &total)) {
        a->failed = true;
        return NULL;
    }
    return arena_alloc(a, total);
}

char *arena_c(struct arena *a, struct str s)
{
    static char none[1];
    char *copy = arena_alloc(a, size_add(s.len, 1));

    if (!copy)
        return none;
    if (s.len)
        memcpy(copy, s.data, s.len);
    return copy;
}

struct str arena_str(struct arena *a, struct str s)
{
    char *copy = arena_c(a, s);

    return arena_failed(a) ? STR_NULL : str_of(copy, s.len);
}
