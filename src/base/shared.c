/*
 * Shared immutable bytes with an atomic count. See shared.h.
 */
#include "base/shared.h"

#include "base/alloc.h"

struct shared *shared_new(size_t len)
{
    struct shared *s = mem_alloc(size_add(sizeof(*s), len));

    if (!s)
        return NULL;
    atomic_init(&s->refs, 1);
    s->reserved = 0;
    s->len = len;
    return s;
}

struct shared *shared_copy(struct str bytes)
{
    struct shared *s = shared_new(bytes.len);

    if (s && bytes.len)
        memcpy(s->data, bytes.data, bytes.len);
    return s;
}

struct shared *shared_ref(struct shared *s)
{
    if (s)
        atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

struct shared *shared_unref(struct shared *s)
{
    if (s && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
        (void)mem_free(s);
    return NULL;
}
