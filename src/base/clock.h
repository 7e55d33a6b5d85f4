/*
 * Time and chance: the only sources of both. Pure code takes them as arguments instead.
 *
 * nsec_t is monotonic and never compared between processes; wall_ms is for records that people read.
 */
#ifndef TRIMTAB_BASE_CLOCK_H
#define TRIMTAB_BASE_CLOCK_H

#include "base/attr.h"
#include "base/str.h"

typedef uint64_t nsec_t;

#define NSEC_PER_MS ((nsec_t)1000000)
#define NSEC_PER_S  ((nsec_t)1000000000)

nsec_t clock_now(void);
nsec_t clock_thread_cpu(void); /* what this thread has used of a processor */
int64_t clock_wall_ms(void); /* milliseconds since 1970-01-01T00:00:00Z */

enum { WALL_TEXT_MAX = 32 };
/* RFC 3339 in UTC with milliseconds, "2026-11-22T10:20:30.123Z". */
void wall_format(int64_t wall_ms, char out[WALL_TEXT_MAX]);
/* The same back: RFC 3339, with or without a fraction, in UTC (Z) or with an offset. False when it is none. */
must_use bool wall_parse(struct str text, int64_t *ret_wall_ms);

/* A pseudo-random sequence from a seed (splitmix64): same seed, same sequence, on every machine. */
struct rng {
    uint64_t state;
};

uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n); /* uniform in 0..n-1; 0 when n is 0 */

/* Bytes from the system's generator, for ids, tokens and seeds. Returns ERR_IO when there is none. */
must_use int random_bytes(void *out, size_t len);

#endif
