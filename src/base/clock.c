/*
 * Time and chance. See clock.h.
 */
#include "base/clock.h"

#include "base/err.h"

#include <sys/random.h>

nsec_t clock_now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
    return (nsec_t)t.tv_sec * NSEC_PER_S + (nsec_t)t.tv_nsec;
}

int64_t clock_wall_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_REALTIME, &t); /* cannot fail for this clock */
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void wall_format(int64_t wall_ms, char out[WALL_TEXT_MAX])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    size_t n;

    if (!gmtime_r(&seconds, &tm)) {
        out[0] = '\0';
        return;
    }
    n = strftime(out, WALL_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(out + n, WALL_TEXT_MAX - n, ".%03dZ", (int)(wall_ms % 1000));
}

uint64_t rng_next(struct rng *r)
{
    uint64_t z = (r->state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)rng_next(r) * n) >> 64);
}

int random_bytes(void *out, size_t len)
{
    char *at = out;

    while (len > 0) {
        ssize_t n = getrandom(at, len, 0);

        if (n <= 0)
            return ERR_IO;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}
