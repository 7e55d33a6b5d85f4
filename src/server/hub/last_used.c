/*
 * When each token was used last. See last_used.h.
 */
#include "server/hub/last_used.h"

#include "base/alloc.h"
#include "base/err.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct entry {
    struct sha256 hash;
    int64_t wall_ms; /* 0: not so far */
};

struct last_used {
    _Atomic uint32_t refs;
    pthread_mutex_t mutex; /* of what follows; locking fails only on misuse */
    struct entry *list;    /* sorted by hash */
    size_t n;
};

struct last_used *last_used_new(void)
{
    struct last_used *u = NEW(struct last_used);

    if (!u)
        return NULL;
    atomic_init(&u->refs, 1);
    (void)pthread_mutex_init(&u->mutex, NULL);
    return u;
}

struct last_used *last_used_ref(struct last_used *u)
{
    atomic_fetch_add_explicit(&u->refs, 1, memory_order_relaxed);
    return u;
}

struct last_used *last_used_unref(struct last_used *u)
{
    if (u && atomic_fetch_sub_explicit(&u->refs, 1, memory_order_acq_rel) == 1) {
        (void)pthread_mutex_destroy(&u->mutex);
        (void)mem_free(u->list);
        (void)mem_free(u);
    }
    return NULL;
}

/* Entries begin with their hash, so this compares them, too. */
static int by_hash(const void *a, const void *b)
{
    return memcmp(a, b, SHA256_BYTES);
}

static struct entry *find(const struct entry *list, size_t n, const struct sha256 *hash)
{
    return n ? bsearch(hash, list, n, sizeof(*list), by_hash) : NULL;
}

/* One entry for each hash, which are sorted. */
static size_t fill(const struct last_used *u, const struct sha256 *hashes, size_t n,
                   struct entry *list)
{
    size_t kept = 0;

    for (size_t i = 0; i < n; i++) {
        const struct entry *known = find(u->list, u->n, &hashes[i]);

        if (kept && sha256_eq(&list[kept - 1].hash, &hashes[i]))
            continue;
        list[kept++] = (struct entry){hashes[i], known ? known->wall_ms : 0};
    }
    return kept;
}

int last_used_keep(struct last_used *u, struct sha256 *hashes, size_t n)
{
    struct entry *list = NEW_ARRAY(struct entry, MAX(n, (size_t)1)), *before;

    if (!list)
        return ERR_NOMEM;
    if (n > 1)
        qsort(hashes, n, sizeof(*hashes), by_hash);
    (void)pthread_mutex_lock(&u->mutex);
    before = u->list;
    u->n = fill(u, hashes, n, list);
    u->list = list;
    (void)pthread_mutex_unlock(&u->mutex);
    (void)mem_free(before);
    return 0;
}

void last_used_note(struct last_used *u, const struct sha256 *hash, int64_t wall_ms)
{
    struct entry *e;

    (void)pthread_mutex_lock(&u->mutex);
    e = find(u->list, u->n, hash);
    if (e)
        e->wall_ms = wall_ms;
    (void)pthread_mutex_unlock(&u->mutex);
}

int64_t last_used_at(struct last_used *u, const struct sha256 *hash)
{
    const struct entry *e;
    int64_t wall_ms;

    (void)pthread_mutex_lock(&u->mutex);
    e = find(u->list, u->n, hash);
    wall_ms = e ? e->wall_ms : 0;
    (void)pthread_mutex_unlock(&u->mutex);
    return wall_ms;
}
