/*
 * The layout of a segment: values that one process writes and any number of others read in place, without a word to it.
 *
 *      file            0  head, one page
 *                   4096  half 0
 *      4096 + half_bytes  half 1, as large
 *
 * One half is read while the other is written. The generation in the head says which: half = generation & 1. It is the
 * only thing that a writer changes when it switches, by one store; readers wait for it to change (futex on its low word).
 * A file never changes its size. A larger one is another file under the same name, and `moved` of the older sends its
 * readers there.
 *
 *      head
 *         0   8  magic           "TRIMSHM\n"
 *         8   4  layout          1; a reader takes only what it knows, any change of this page raises it
 *        12   4  buckets         of a half: a power of two, at least 64
 *        16   8  heap_bytes      of a half: a multiple of 4096
 *        24  16  id              random; its first eight bytes (key) key all hashes and checks
 *        40  16  boot            id of the boot in which the file was made: it may be torn when another one reads it
 *        56   8  check           of bytes 0 to 55
 *       128   8  generation      of the half that is read
 *       136   4  moved           not 0: there is a newer file, and generation was raised by 2 to make readers look
 *                                all other bytes are 0; only the last two change once the file has its name
 *
 *      half
 *         0   8  sequence        odd from when the half is read no more until it is written
 *         8   8  generation      of the values in it
 *        16   8  revision        of the configuration
 *        24   8  count           of records
 *        32   8  heap_used       bytes of the heap from its beginning, those of dead records included
 *        40   8  heap_dead       bytes in dead records
 *        48   8  record_sum      of the checks of all records, modulo 2^64
 *        56   8  stamp_sum       of shm_stamp_check of all pages, modulo 2^64
 *        64   8  check           of bytes 8 to 63
 *      4096      stamps          8 bytes for each page of the body: the generation that changed it last
 *         .      body            at the next multiple of 4096: the buckets, then the heap
 *
 *      bucket (64 bytes, by hash of the name; a name that finds its bucket full lies in one of the next)
 *         0   8  check           of bytes 8 to 63 and the number of the bucket
 *         8   1  n               slots in use, 0 to 6
 *         9   1  passed          1: some name passed by here for lack of room
 *        10   6                  0
 *        16  48  6 slots         tag (4): high half of the name's hash; at (4): place of the record in the heap / 8
 *
 *      record (a multiple of 8 bytes, in the heap)
 *         0   8  check           of bytes 8 to the end, and the place
 *         8   4  size            of the record, room that it does not use included
 *        12   4  name_len
 *        16   4  json_len
 *        20   4  text_len        0 when the text is the JSON, or there is none
 *        24   1  type            enum shm_value_type
 *        25   1  text_is_json
 *        26   6                  0
 *        32   8  scalar          an int64_t, the bits of a double, or 0 and 1
 *        40      name NUL json NUL text NUL, zeros
 *
 * Numbers are in the order of the machine. Whoever reads checks every length and place against the shape that it took over,
 * proved, when it opened the file, and every bucket and record against its check, before it believes it.
 */
#ifndef TRIMTAB_SHM_LAYOUT_H
#define TRIMTAB_SHM_LAYOUT_H

#include "base/hash.h"
#include "shm/value.h"

#include <stdatomic.h>

enum {
    SHM_LAYOUT = 1,
    SHM_PAGE = 4096,
    SHM_BUCKETS_MIN = 64,
    SHM_SLOTS = 6,
    SHM_PROBES = 32, /* buckets in which a name may lie */
    SHM_ID_BYTES = 16
};
#define SHM_BUCKETS_MAX ((uint32_t)1 << 28)
#define SHM_HEAP_MAX    ((uint64_t)8 << 32) /* what a slot can name */
#define SHM_MAGIC       "TRIMSHM\n"

struct shm_head {
    char magic[8];
    uint32_t layout;
    uint32_t buckets;
    uint64_t heap_bytes;
    unsigned char id[SHM_ID_BYTES];
    unsigned char boot[SHM_ID_BYTES];
    uint64_t check;
    uint64_t reserved[8];
    _Atomic uint64_t generation;
    _Atomic uint32_t moved;
};

/* What a half says of itself, bytes 8 to 63. */
struct shm_facts {
    uint64_t generation; /* read by others while it changes */
    uint64_t revision;
    uint64_t count;
    uint64_t heap_used;
    uint64_t heap_dead;
    uint64_t record_sum;
    uint64_t stamp_sum;
};

struct shm_half {
    _Atomic uint64_t sequence;
    struct shm_facts facts;
    uint64_t check;
};

struct shm_slot {
    uint32_t tag;
    uint32_t at;
};

struct shm_bucket {
    uint64_t check;
    uint8_t n;
    uint8_t passed;
    uint8_t zero[6];
    struct shm_slot slots[SHM_SLOTS];
};

struct shm_record_head {
    uint64_t check;
    uint32_t size;
    uint32_t name_len;
    uint32_t json_len;
    uint32_t text_len;
    uint8_t type;
    uint8_t text_is_json;
    uint8_t zero[6];
    uint64_t scalar;
};

_Static_assert(offsetof(struct shm_head, check) == 56, "layout");
_Static_assert(offsetof(struct shm_head, generation) == 128, "layout");
_Static_assert(offsetof(struct shm_head, moved) == 136, "layout");
_Static_assert(offsetof(struct shm_half, check) == 64, "layout");
_Static_assert(sizeof(struct shm_facts) == 56, "layout");
_Static_assert(sizeof(struct shm_bucket) == 64, "layout");
_Static_assert(sizeof(struct shm_record_head) == 40, "layout");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "processes share no locks");

/* What the head says of the form of a file, and what follows from it. */
struct shm_shape {
    uint32_t buckets;
    uint64_t heap_bytes;
    uint64_t key;
    size_t pages;   /* of the body */
    size_t body_at; /* in a half */
    size_t half_bytes;
    size_t file_bytes;
};

/* Fills in what follows; false when the numbers are out of bounds. */
must_use bool shm_shape_of(uint32_t buckets, uint64_t heap_bytes, uint64_t key,
                           struct shm_shape *ret);
/* The smallest shape with room for that many records of that many bytes in all, and a quarter more. False: over the bounds. */
must_use bool shm_shape_for(uint64_t records, uint64_t bytes, uint64_t key,
                            struct shm_shape *ret);

static inline size_t shm_half_at(const struct shm_shape *s, uint64_t generation)
{
    return SHM_PAGE + (size_t)(generation & 1) * s->half_bytes;
}

static inline size_t shm_buckets_bytes(const struct shm_shape *s)
{
    return (size_t)s->buckets * sizeof(struct shm_bucket);
}

/* ---- order: halves are plain bytes between two looks at their sequence ---- */

/* ThreadSanitizer does not follow fences; it does not see either that two mappings are one memory. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtsan"
#endif
static inline void shm_fence_acquire(void)
{
    atomic_thread_fence(memory_order_acquire);
}

static inline void shm_fence_release(void)
{
    atomic_thread_fence(memory_order_release);
}
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

/* ---- checks: against accidents, not against whoever may write to the file ---- */

uint64_t shm_head_check(const struct shm_head *h);
uint64_t shm_facts_check(const struct shm_shape *s, const struct shm_facts *facts);
uint64_t shm_bucket_check(const struct shm_shape *s, const struct shm_bucket *b,
                          uint32_t number);
/* head is the record's; rest are its bytes from there to its end. */
uint64_t shm_record_check(const struct shm_shape *s, const struct shm_record_head *head,
                          uint64_t at, struct str rest);
uint64_t shm_stamp_check(const struct shm_shape *s, size_t page, uint64_t stamp);

#endif
