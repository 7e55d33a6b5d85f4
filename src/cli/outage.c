/*
 * A server that goes away while a command follows it, and how the command waits for it. See cmd.h.
 */
#include "cli/cmd.h"

#include "base/clock.h"

enum { WAIT_FIRST_MS = 200, WAIT_MOST_MS = 5000 };

bool outage_may_pass(int r)
{
    return r == ERR_UNAVAILABLE || r == ERR_TIMEOUT || r == ERR_IO;
}

nsec_t outage_age(const struct outage *o)
{
    return o->since ? clock_now() - o->since : 0;
}

uint32_t outage_wait_ms(struct outage *o, const struct cli *cli, const struct err *why)
{
    uint64_t most = MIN((uint64_t)WAIT_FIRST_MS << MIN(o->tries, 10), (uint64_t)WAIT_MOST_MS),
             chance = 0;

    if (!o->since) {
        owned(arena) struct arena a = ARENA_NULL; /* an outage is one of many in a long watch */

        say(cli, "the server is away: %s; trying again\n", one_line(&a, why->text));
        o->since = clock_now();
    }
    o->tries++;
    /* Half of it is by chance: those who lost the same server do not come back at the same time. */
    if (random_bytes(&chance, sizeof(chance)))
        chance = clock_now();
    return (uint32_t)(most / 2 + chance % (most / 2 + 1));
}

void outage_over(struct outage *o, const struct cli *cli)
{
    if (o->since)
        say(cli, "the server is back after %llu s\n",
            (unsigned long long)(outage_age(o) / NSEC_PER_S));
    *o = (struct outage){0};
}
