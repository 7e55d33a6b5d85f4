/*
 * Expiry of tokens. See expiry.h.
 */
#include "model/expiry.h"

#include "base/alloc.h"

struct deadlines *deadlines_ref(struct deadlines *d)
{
    if (d)
        atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
    return d;
}

struct deadlines *deadlines_unref(struct deadlines *d)
{
    if (d && atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) == 1)
        (void)mem_free(d);
    return NULL;
}

static int by_hash(const void *key, const void *element)
{
    const struct sha256 *hash = key;
    const struct deadline *d = element;

    return memcmp(hash->bytes, d->hash.bytes, SHA256_BYTES);
}

static const struct deadline *find(const struct deadlines *d, const struct sha256 *hash)
{
    return d ? bsearch(hash, d->list, d->n, sizeof(*d->list), by_hash) : NULL;
}

static int64_t deadline_of(const struct token *t, const struct deadlines *before,
                           int64_t now_ms, int64_t wall_ms)
{
    const struct deadline *old = find(before, &t->hash);

    return old ? old->at_ms + (t->expires_ms - old->expires_ms) /* E1, E2 */
               : now_ms + (t->expires_ms - wall_ms);            /* E3 */
}

static size_t count_expiring(const struct rights *r)
{
    const struct token *t = NULL;
    size_t n = 0;

    while ((t = rights_token_next(r, t)))
        n += t->expires_ms != 0;
    return n;
}

int deadlines_make(const struct rights *r, const struct deadlines *before, nsec_t now,
                   int64_t wall_ms, struct deadlines **ret)
{
    size_t n = count_expiring(r);
    const struct token *t = NULL;
    struct deadlines *d;

    *ret = NULL;
    if (!n)
        return 0;
    d = mem_zalloc(size_add(sizeof(*d), n * sizeof(*d->list)));
    if (!d)
        return ERR_NOMEM;
    atomic_init(&d->refs, 1);
    while ((t = rights_token_next(r, t)))
        if (t->expires_ms)
            d->list[d->n++] = (struct deadline){
                t->hash, t->expires_ms,
                deadline_of(t, before, (int64_t)(now / NSEC_PER_MS), wall_ms)};
    *ret = d;
    return 0;
}

bool deadlines_passed(const struct deadlines *d, const struct token *t, nsec_t now)
{
    const struct deadline *found;

    if (!t->expires_ms)
        return false;
    found = find(d, &t->hash);
    return !found || found->expires_ms != t->expires_ms ||
           (int64_t)(now / NSEC_PER_MS) >= found->at_ms;
}
