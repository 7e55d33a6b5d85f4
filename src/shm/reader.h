/*
 * Reading a segment from any process that may open its file: no lock, no thread, no word to the writer, nothing written.
 *
 * A read in place:
 *
 *      g = generation of the head      acquire: everything that the writer did before the switch is seen
 *      s = sequence of half g & 1      acquire; even, and the half says that it has generation g
 *      ... look up, take what is wanted out ...
 *      s again                         behind a fence: unchanged, so that the half was not written meanwhile
 *
 * A reader begins anew when the writer switched meanwhile, and finds a whole half at once: it never waits for the writer,
 * whatever that is doing or wherever it died.
 *
 * Values of one generation that are to stay (snapshots) are copied. A copy that is brought up to date takes over only the
 * pages whose stamp is another one, so that it also comes to an end beside a writer that never rests.
 */
#ifndef TRIMTAB_SHM_READER_H
#define TRIMTAB_SHM_READER_H

#include "base/clock.h"
#include "shm/image.h"

#include <sys/types.h>

/* A file, mapped. */
struct shm_map {
    const unsigned char *at; /* the whole file */
    struct shm_shape shape;
    dev_t device;
    ino_t inode;
    _Atomic bool is_damaged; /* a reader met bytes that are not what was written */
};

/*
 * Maps the file at path and proves its head; with bytes of an earlier boot, all that it holds. ERR_NOT_FOUND; ERR_DENIED
 * without the right to read, or when others than its owner may write to it; ERR_UNSUPPORTED for another layout;
 * ERR_CORRUPT; ERR_IO; ERR_NOMEM. The map is at *ret, for shm_map_close.
 */
must_use int shm_map_open(const char *path, struct shm_map **ret, struct err *err);
must_use int shm_map_fd(int fd, struct shm_map **ret, struct err *err); /* of an open file */
struct shm_map *shm_map_close(struct shm_map *m);                       /* always NULL */

static inline const struct shm_head *shm_map_head(const struct shm_map *m)
{
    return (const struct shm_head *)(const void *)m->at;
}

/* Whether path leads to another file, or to none, by now. */
bool shm_map_is_replaced(const struct shm_map *m, const char *path);

/* Takes what is wanted out of a record while it is not sure yet that it is one: by its lengths, never by its NULs. */
typedef void shm_take_fn(void *ctx, const struct shm_record *r);

/*
 * Looks a name up and has it taken, as often as it takes to be sure of the last time. 1: taken; 0: not there; ERR_CORRUPT,
 * which is_damaged remembers. *ret_generation, if given, is where it was read.
 */
must_use int shm_map_read(struct shm_map *m, struct str name, shm_take_fn *fn, void *ctx,
                          uint64_t *ret_generation);

/* What the half that is read says of itself. ERR_CORRUPT. */
must_use int shm_map_facts(struct shm_map *m, struct shm_facts *ret);

/*
 * Sleeps until the generation is another one, somebody wakes all who wait, or the time is over. For a map or a mapping of
 * only its head.
 */
void shm_wait(const struct shm_head *head, uint64_t generation, nsec_t timeout);
/* Wakes all who wait, in every process. */
void shm_wake(const struct shm_head *head);

/* ---- copies ---- */

struct shm_copy {
    struct shm_shape shape;
    unsigned char *body;
    uint64_t *stamps; /* of each page, when it was taken over; 0: not yet */
    struct shm_facts facts;
};

/* An empty copy for a map; NULL without memory. */
must_use struct shm_copy *shm_copy_new(const struct shm_map *m);
/* As the other one is: nothing to bring up to date but what changed since. NULL without memory. */
must_use struct shm_copy *shm_copy_clone(const struct shm_copy *other);
struct shm_copy *shm_copy_free(struct shm_copy *c); /* always NULL */

/* Brings it up to date. ERR_CORRUPT, which the map remembers; the copy is of no use then but for another try. */
must_use int shm_copy_follow(struct shm_copy *c, struct shm_map *m);

static inline struct shm_image shm_copy_image(const struct shm_copy *c)
{
    return (struct shm_image){&c->shape, c->body};
}

#endif
