/*
 * Blocks of pages. See pages.h.
 *
 *   slab (1 MiB, aligned to its size):  | head page | block | block | ... |
 *
 * The head of a slab is found from a block by its address. Slabs with a free block are on a list; one that is all free
 * is given back to the system, but for the last.
 */
#include "net/pages.h"

#include "base/list.h"

#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>

enum { PAGE = 4096, SLAB = 1024 * 1024, BLOCKS = (SLAB - PAGE) / PAGES_BLOCK, TABLE = 1024 };

struct slab {
    struct link link;   /* in with_room, while it has room */
    struct slab *next;  /* of the same place in the table */
    void *free[BLOCKS]; /* a stack */
    unsigned n_free;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct link with_room = {&with_room, &with_room};
static struct slab *table[TABLE]; /* all slabs, by address */
static unsigned n_empty;          /* slabs that are all free */

static struct slab **place_of(const struct slab *s)
{
    return &table[(uintptr_t)s / SLAB % TABLE];
}

static struct slab *slab_of(const void *p)
{
    return (struct slab *)((uintptr_t)p & ~((uintptr_t)SLAB - 1));
}

/* Only compares addresses: p may be anything. */
static bool is_block(const void *p)
{
    struct slab *wanted = slab_of(p);

    for (struct slab *s = *place_of(wanted); s; s = s->next)
        if (s == wanted)
            return true;
    return false;
}

/* Twice the size is mapped, and what is not aligned is given back. */
static struct slab *slab_new(void)
{
    char *raw = mmap(NULL, 2 * (size_t)SLAB, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct slab *s;
    size_t before;

    if (raw == MAP_FAILED)
        return NULL;
    before = (SLAB - (uintptr_t)raw % SLAB) % SLAB;
    s = (struct slab *)(void *)(raw + before);
    if (before)
        (void)munmap(raw, before); /* of our own mapping: cannot fail, as below */
    (void)munmap(raw + before + SLAB, SLAB - before);
    (void)madvise(s, SLAB,
                  MADV_NOHUGEPAGE); /* advice; a huge page would touch all blocks at once */
    link_init(&s->link);
    for (unsigned i = 0; i < BLOCKS; i++)
        s->free[i] = (char *)s + PAGE + (size_t)i * PAGES_BLOCK;
    s->n_free = BLOCKS;
    n_empty++;
    s->next = *place_of(s);
    *place_of(s) = s;
    link_before(with_room.next, &s->link);
    return s;
}

static void slab_free(struct slab *s)
{
    struct slab **at = place_of(s);

    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    link_remove(&s->link);
    n_empty--;
    (void)munmap(s, SLAB); /* of our own mapping: cannot fail */
}

static void *take_block(void)
{
    struct slab *s =
        link_is_alone(&with_room) ? slab_new() : LINK_OF(with_room.next, struct slab, link);

    if (!s)
        return NULL;
    n_empty -= s->n_free == BLOCKS;
    if (s->n_free == 1)
        link_remove(&s->link);
    return s->free[--s->n_free];
}

static void give_block(void *p)
{
    struct slab *s = slab_of(p);

    if (s->n_free == 0)
        link_before(with_room.next, &s->link);
    s->free[s->n_free++] = p;
    n_empty += s->n_free == BLOCKS;
    if (s->n_free == BLOCKS && n_empty > 1)
        slab_free(s);
}

void *pages_alloc(void)
{
    void *p;

    (void)pthread_mutex_lock(&lock); /* fails only on misuse, as does unlock */
    p = take_block();
    (void)pthread_mutex_unlock(&lock);
    return p;
}

bool pages_own(const void *p)
{
    bool own;

    if (!p || (uintptr_t)p % PAGE)
        return false;
    (void)pthread_mutex_lock(&lock); /* as above */
    own = is_block(p);
    (void)pthread_mutex_unlock(&lock);
    return own;
}

bool pages_free(void *p)
{
    if (!pages_own(p))
        return false;
    /* Untouched again, all but the first page; done before others can have it. */
    (void)madvise((char *)p + PAGE, PAGES_BLOCK - PAGE,
                  MADV_DONTNEED); /* advice: it may stay */
    (void)pthread_mutex_lock(&lock);
    give_block(p);
    (void)pthread_mutex_unlock(&lock);
    return true;
}
