/*
 * Pace: how fast a peer takes what waits for it. Somebody who takes nothing, or a byte now and then, keeps memory busy all the
 * same; so what counts is bytes in a period.
 */
#ifndef TRIMTAB_NET_PACE_H
#define TRIMTAB_NET_PACE_H

#include "base/clock.h"

struct pace {
    nsec_t since;               /* beginning of the period; 0: nothing waited */
    uint32_t waiting, taken;    /* bytes: that waited then, that were taken since */
};

/* Something waits: a period begins, unless one runs. */
static inline void pace_wait(struct pace *p, nsec_t now, size_t waiting)
{
    if (!p->since)
        *p = (struct pace){.since = now, .waiting = (uint32_t)MIN(waiting, (size_t)UINT32_MAX)};
}

static inline void pace_take(struct pace *p, size_t n)
{
    p->taken = (uint32_t)MIN((size_t)p->taken + n, (size_t)UINT32_MAX);
}

/*
 * Looked at now and then, with what waits now: whether in a whole period less was taken than `least` and than what waited
 * at its beginning. Else a new one begins when one is over.
 */
static inline bool pace_is_too_slow(struct pace *p, nsec_t now, uint32_t period_ms,
                                    uint32_t least, size_t waiting)
{
    if (!waiting) {
        p->since = 0;
        return false;
    }
    pace_wait(p, now, waiting);
    if (now - p->since < period_ms * NSEC_PER_MS)
        return false;
    if (p->taken < MIN(least, p->waiting))
        return true;
    p->since = 0;
    pace_wait(p, now, waiting);
    return false;
}

#endif
