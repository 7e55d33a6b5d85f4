/*
 * Shared bytes: immutable after publication, counted, freed by whoever drops the last reference. May be
 * referenced and dropped from any thread.
 *
 * The count is raised relaxed (whoever raises it already holds a reference, so the object cannot go away) and
 * lowered with acquire-release (all uses happen before the free).
 */
#ifndef TRIMTAB_BASE_SHARED_H
#define TRIMTAB_BASE_SHARED_H

#include "base/attr.h"
#include "base/str.h"

#include <stdatomic.h>

struct shared {
    _Atomic uint32_t refs;
    uint32_t reserved;
    size_t len;
    char data[]; /* written by the maker before anybody else sees it */
};

/* A new object with one reference and len bytes to be written; NULL when there is no memory. */
must_use struct shared *shared_new(size_t len);
must_use struct shared *shared_copy(struct str bytes);
struct shared *shared_ref(struct shared *s);   /* NULL is passed through */
struct shared *shared_unref(struct shared *s); /* always NULL */
OWNED_BY(shared_unref, struct shared *, shared_unref);

static inline struct str shared_str(const struct shared *s)
{
    return s ? str_of(s->data, s->len) : STR_NULL;
}

#endif
