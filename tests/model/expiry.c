/*
 * Deadlines of tokens: steps of the wall clock change nothing, published changes do.
 */
#include "model/lines.h"

#include "model/expiry.h"

enum { HOUR_MS = 3600 * 1000 };

static const nsec_t start = 1000 * NSEC_PER_S; /* of the monotonic clock */
static const int64_t wall = 1798761600000;     /* 2027-01-01T00:00:00Z */

static nsec_t after_ms(int64_t ms)
{
    return start + (nsec_t)ms * NSEC_PER_MS;
}

static struct rights *token(const char *secret, const char *expires)
{
    struct rights *r = NULL;

    CHECK_I64(step_token_line(
                  &r, &(struct token_line){"ci", .after = secret, .after_expires = expires}, 1),
              0);
    return r;
}

static struct deadlines *made(const struct rights *r, const struct deadlines *before,
                              nsec_t now, int64_t wall_ms)
{
    struct deadlines *d = NULL;

    CHECK_I64(deadlines_make(r, before, now, wall_ms, &d), 0);
    return d;
}

static bool passed(const struct deadlines *d, const struct rights *r, const char *secret,
                   nsec_t now)
{
    return deadlines_passed(d, token_by_secret(r, secret), now);
}

TEST("a token expires at its time, and one without a time never")
{
    struct rights *r = token("one", "2027-01-01T01:00:00Z"), *forever = token("two", NULL);
    struct deadlines *d = made(r, NULL, start, wall), *none = made(forever, NULL, start, wall);

    CHECK(!passed(d, r, "one", start) && !passed(d, r, "one", after_ms(HOUR_MS - 1)));
    CHECK(passed(d, r, "one", after_ms(HOUR_MS)) && passed(d, r, "one", UINT64_MAX / 2));
    CHECK(!none && !passed(none, forever, "two", UINT64_MAX / 2));
    CHECK(passed(NULL, r, "one", start)); /* nobody has looked at its time */
    (void)deadlines_unref(d);
    (void)rights_unref(r);
    (void)rights_unref(forever);
}

TEST("steps of the wall clock neither end a token nor bring it back")
{
    static const int64_t steps[] = {-1000LL * HOUR_MS, -1, 1, 1000LL * HOUR_MS};
    struct rights *r = token("one", "2027-01-01T01:00:00Z");

    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct deadlines *first = made(r, NULL, start, wall);
        struct deadlines *next = made(r, first, after_ms(10), wall + steps[i]);

        CHECK(!passed(next, r, "one", after_ms(HOUR_MS - 1)));
        CHECK(passed(next, r, "one", after_ms(HOUR_MS)));
        (void)deadlines_unref(first);
        (void)deadlines_unref(next);
    }
    (void)rights_unref(r);
}

TEST("a published change of the expiry moves the deadline by as much, whatever the wall clock "
     "says")
{
    struct rights *r = token("one", "2027-01-01T01:00:00Z"),
                  *longer = token("one", "2027-01-01T03:00:00Z"),
                  *shorter = token("one", "2027-01-01T00:30:00Z");
    struct deadlines *d = made(r, NULL, start, wall);
    struct deadlines *l = made(longer, d, after_ms(10), wall + 100LL * HOUR_MS);
    struct deadlines *s = made(shorter, d, after_ms(10), wall - 100LL * HOUR_MS);

    CHECK(!passed(l, longer, "one", after_ms(3 * HOUR_MS - 1)));
    CHECK(passed(l, longer, "one", after_ms(3 * HOUR_MS)));
    CHECK(!passed(s, shorter, "one", after_ms(HOUR_MS / 2 - 1)));
    CHECK(passed(s, shorter, "one", after_ms(HOUR_MS / 2)));
    CHECK(passed(d, longer, "one", start)); /* deadlines of another record do not count */
    (void)deadlines_unref(d);
    (void)deadlines_unref(l);
    (void)deadlines_unref(s);
    (void)rights_unref(r);
    (void)rights_unref(longer);
    (void)rights_unref(shorter);
}

TEST("a token that had expired long ago when it was seen is extended from when it expired")
{
    struct rights *r = token("one", "2026-12-31T00:00:00Z"),
                  *longer = token("one", "2027-01-01T01:00:00Z"),
                  *too_short = token("one", "2026-12-31T23:00:00Z");
    struct deadlines *d = made(r, NULL, start, wall);
    struct deadlines *l = made(longer, d, start, wall), *s = made(too_short, d, start, wall);

    CHECK(passed(d, r, "one", start) && passed(d, r, "one", 0));
    CHECK(!passed(l, longer, "one", start) && passed(l, longer, "one", after_ms(HOUR_MS)));
    CHECK(passed(s, too_short, "one", start));
    (void)deadlines_unref(d);
    (void)deadlines_unref(l);
    (void)deadlines_unref(s);
    (void)rights_unref(r);
    (void)rights_unref(longer);
    (void)rights_unref(too_short);
}

TEST("a new secret asks the wall clock, and so does an expiry where there was none")
{
    struct rights *r = token("one", "2027-01-01T01:00:00Z"),
                  *rotated = token("two", "2027-01-01T01:00:00Z"),
                  *forever = token("one", NULL);
    struct deadlines *d = made(r, NULL, start, wall), *none = made(forever, NULL, start, wall);
    struct deadlines *n = made(rotated, d, start, wall + HOUR_MS / 2);
    struct deadlines *m = made(r, none, start, wall + HOUR_MS / 2);

    CHECK(!passed(n, rotated, "two", after_ms(HOUR_MS / 2 - 1)) &&
          passed(n, rotated, "two", after_ms(HOUR_MS / 2)));
    CHECK(!passed(m, r, "one", after_ms(HOUR_MS / 2 - 1)) &&
          passed(m, r, "one", after_ms(HOUR_MS / 2)));
    (void)deadlines_unref(d);
    (void)deadlines_unref(none);
    (void)deadlines_unref(n);
    (void)deadlines_unref(m);
    (void)rights_unref(r);
    (void)rights_unref(rotated);
    (void)rights_unref(forever);
}

TEST("times at the end of the calendar are far away, not gone round")
{
    struct rights *r = token("one", "9999-12-31T23:59:59Z"),
                  *old = token("two", "1970-01-01T00:00:01Z");
    struct deadlines *d = made(r, NULL, start, wall), *o = made(old, NULL, start, wall);

    CHECK(!passed(d, r, "one", start) && !passed(d, r, "one", UINT64_MAX / 2));
    CHECK(passed(o, old, "two", 0));
    (void)deadlines_unref(d);
    (void)deadlines_unref(o);
    (void)rights_unref(r);
    (void)rights_unref(old);
}

TEST("many tokens have a deadline each, and memory that runs out leaves none")
{
    struct rights *r = NULL;
    struct deadlines *d = NULL;
    int rc = ERR_NOMEM;

    for (int i = 0; i < 100; i++) {
        char name[16], expires[40];

        (void)snprintf(name, sizeof(name), "t%d", i);
        (void)snprintf(expires, sizeof(expires), "2027-01-01T00:%02d:%02dZ", i / 60, i % 60);
        CHECK_I64(step_token_line(&r,
                                  &(struct token_line){name, .after = name,
                                                       .after_expires = i % 3 ? expires : NULL},
                                  (uint64_t)i + 1),
                  0);
    }
    ALLOC_SWEEP (n) {
        rc = deadlines_make(r, NULL, start, wall, &d);
        if (rc)
            CHECK(!d);
    }
    REQUIRE(rc == 0 && d);
    CHECK_U64(d->n, 66);
    for (int i = 0; i < 100; i++) {
        char name[16];

        (void)snprintf(name, sizeof(name), "t%d", i);
        CHECK(passed(d, r, name, after_ms(i * 1000)) == (i % 3 != 0));
        CHECK(i == 0 || !passed(d, r, name, after_ms(i * 1000 - 1)));
    }
    (void)deadlines_unref(d);
    (void)rights_unref(r);
}
