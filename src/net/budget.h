/*
 * Bytes that many hold of one allowance: the requests of one loop that are still coming, or are not answered yet. Whoever holds
 * some may outlive what gave the allowance. One thread.
 */
#ifndef TRIMTAB_NET_BUDGET_H
#define TRIMTAB_NET_BUDGET_H

#include "base/str.h"

/* What anybody may hold, whatever the others do: small requests are answered even when large ones have used all up. */
enum { BUDGET_FREE = 64 << 10 };

struct budget {
    uint32_t refs;
    uint64_t used, limit, refused; /* bytes; how often there was not enough */
};

/* NULL without memory. */
must_use struct budget *budget_new(uint64_t limit);
struct budget *budget_ref(struct budget *b);
struct budget *budget_unref(struct budget *b); /* always NULL; takes NULL */

/* What one of them holds; zero-initialised is nothing. */
struct budget_share {
    struct budget *of; /* a reference, from the first byte */
    uint64_t bytes;
};

/* Makes it this many bytes altogether. False, and nothing changes, when it is to be more than BUDGET_FREE, and is not there. */
must_use bool budget_hold(struct budget_share *s, struct budget *b, uint64_t bytes);
void budget_return(struct budget_share *s);

#endif
