/*
 * What the registry keeps of an instance's health, and for how long.
 */
#include "server/registry.h"

#include "tap.h"

#include <stdio.h>

static struct instance *say_hello(struct registry *r, const char *start)
{
    char id[] = "a", boot[16];
    Trimtab__V1__Instance who = TRIMTAB__V1__INSTANCE__INIT;
    Trimtab__V1__Hello hello = TRIMTAB__V1__HELLO__INIT;

    (void)snprintf(boot, sizeof(boot), "%s", start);
    who.id = id;
    who.boot_id = (ProtobufCBinaryData){strlen(boot), (uint8_t *)boot};
    hello.instance = &who;
    return registry_hello(r, &hello, 1, NULL);
}

static int say_health(struct registry *r, struct instance *i, char *reason)
{
    Trimtab__V1__Health health = TRIMTAB__V1__HEALTH__INIT;

    health.failing = true;
    health.reason = reason;
    health.revision = 7;
    return registry_health(r, i, &health, 5);
}

TEST("a health is kept over a reconnect, and forgotten when the program starts anew")
{
    char reason[] = "no answer";
    struct registry r;
    struct instance *i;

    registry_init(&r);
    i = say_hello(&r, "one");
    REQUIRE(i && !say_health(&r, i, reason));
    REQUIRE(say_hello(&r, "one") == i && i->health);
    CHECK_STR(str_c(i->health->reason), str_c(reason));
    CHECK_U64(i->health->revision, 7);
    CHECK_I64(i->seen_ms, 5);
    REQUIRE(say_hello(&r, "two") == i);
    CHECK(!i->health);
    registry_deinit(&r);
}

TEST("what is said anew takes the place of what was said, and who waits sees it")
{
    char first[] = "first", second[] = "second";
    struct registry r;
    struct instance *i;
    uint64_t stamp;

    registry_init(&r);
    i = say_hello(&r, "one");
    REQUIRE(i && !say_health(&r, i, first));
    stamp = r.stamp;
    REQUIRE(!say_health(&r, i, second));
    CHECK_STR(str_c(i->health->reason), STR("second"));
    CHECK(r.stamp > stamp);
    registry_deinit(&r);
}

TEST("a reason is cut to a kilobyte where a character ends")
{
    char reason[3 * HEALTH_REASON_MAX + 1];
    struct registry r;
    struct instance *i;

    for (size_t at = 0; at < sizeof(reason) - 1; at += 3)
        memcpy(reason + at, "\xe2\x82\xac", 3);
    reason[sizeof(reason) - 1] = '\0';
    registry_init(&r);
    i = say_hello(&r, "one");
    REQUIRE(i && !say_health(&r, i, reason));
    CHECK_U64(strlen(i->health->reason), HEALTH_REASON_MAX / 3 * 3);
    registry_deinit(&r);
}

TEST("without memory the older health holds, and nothing leaks")
{
    char first[] = "first", second[] = "second";
    struct registry r;
    struct instance *i;

    registry_init(&r);
    i = say_hello(&r, "one");
    REQUIRE(i && !say_health(&r, i, first));
    ALLOC_SWEEP (n) {
        int rc = say_health(&r, i, second);

        if (rc)
            CHECK_STR(str_c(i->health->reason), STR("first"));
    }
    CHECK_STR(str_c(i->health->reason), STR("second"));
    registry_deinit(&r);
}
