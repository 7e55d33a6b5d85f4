/*
 * An allowance of bytes. See budget.h.
 */
#include "net/budget.h"

#include "base/alloc.h"
#include "base/err.h"

struct budget *budget_new(uint64_t limit)
{
    struct budget *b = NEW(struct budget);

    if (b)
        *b = (struct budget){.refs = 1, .limit = limit};
    return b;
}

struct budget *budget_ref(struct budget *b)
{
    b->refs++;
    return b;
}

struct budget *budget_unref(struct budget *b)
{
    if (!b || --b->refs)
        return NULL;
    ASSERT(b->used == 0);
    return mem_free(b);
}

bool budget_hold(struct budget_share *s, struct budget *b, uint64_t bytes)
{
    if (bytes > s->bytes && bytes > BUDGET_FREE && b->used - s->bytes + bytes > b->limit) {
        b->refused++;
        return false;
    }
    if (!s->of && bytes)
        s->of = budget_ref(b);
    b->used += bytes - s->bytes;
    s->bytes = bytes;
    return true;
}

void budget_return(struct budget_share *s)
{
    if (s->of)
        s->of->used -= s->bytes;
    s->of = budget_unref(s->of);
    s->bytes = 0;
}
