/*
 * Pace: who is too slow, by bytes in a period.
 */
#include "net/pace.h"

#include "tap.h"

enum { PERIOD_MS = 100, LEAST = 1000 };

static const nsec_t MS = NSEC_PER_MS;

static bool look(struct pace *p, nsec_t ms, size_t waiting)
{
    return pace_is_too_slow(p, ms * MS, PERIOD_MS, LEAST, waiting);
}

TEST("who takes nothing, or too little in a period, is too slow; who takes enough is not")
{
    static const size_t takes[] = {0, 1, LEAST - 1, LEAST, 10 * LEAST};

    for (size_t i = 0; i < ARRAY_LEN(takes); i++) {
        struct pace p = {0};

        CHECK(!look(&p, 1, 5000));
        CHECK(!look(&p, 50, 5000));
        pace_take(&p, takes[i]);
        CHECK(!look(&p, 100, 5000)); /* a period is not over */
        CHECK_U64(look(&p, 101, 5000), takes[i] < LEAST);
    }
}

TEST("less than the least is enough when no more waited")
{
    struct pace p = {0};

    CHECK(!look(&p, 1, 10));
    pace_take(&p, 10);
    CHECK(!look(&p, 200, 700)); /* what came meanwhile has its own time */
    pace_take(&p, 10);
    CHECK(look(&p, 300, 700));
}

TEST("every period counts for itself, and one in which nothing waits does not count")
{
    struct pace p = {0};

    CHECK(!look(&p, 1, 5000));
    pace_take(&p, 100 * LEAST);
    CHECK(!look(&p, 150, 5000));
    CHECK(look(&p, 250, 5000)); /* what was taken before is no credit */
    p = (struct pace){0};
    CHECK(!look(&p, 1, 5000));
    CHECK(!look(&p, 90, 0));
    CHECK(!look(&p, 1000, 5000)); /* something waits again, since now */
    CHECK(look(&p, 1100, 5000));
}

TEST("sizes that do not fit are as large as can be counted")
{
    struct pace p = {0};

    CHECK(!look(&p, 1, SIZE_MAX));
    pace_take(&p, SIZE_MAX);
    pace_take(&p, SIZE_MAX);
    CHECK(!look(&p, 150, SIZE_MAX));
}
