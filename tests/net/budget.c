/*
 * Budget: an allowance that many hold together.
 */
#include "net/budget.h"

#include "tap.h"

enum { FREE = BUDGET_FREE, LIMIT = 10 * BUDGET_FREE };

TEST("what is over the allowance is not held, and what was held stays")
{
    struct budget *b = budget_new(LIMIT);
    struct budget_share one = {0}, two = {0};

    REQUIRE(b);
    CHECK(budget_hold(&one, b, LIMIT - FREE));
    CHECK(!budget_hold(&two, b, FREE + 1));
    CHECK_U64(two.bytes, 0);
    CHECK(!budget_hold(&one, b, LIMIT + 1));
    CHECK_U64(one.bytes, LIMIT - FREE);
    CHECK(budget_hold(&one, b, LIMIT));
    CHECK_U64(b->refused, 2);
    budget_return(&one);
    CHECK_U64(b->used, 0);
    CHECK(budget_hold(&two, b, LIMIT));
    budget_return(&two);
    CHECK(!budget_unref(b));
}

TEST("little is always held, and whoever holds less than before is never refused")
{
    struct budget *b = budget_new(LIMIT);
    struct budget_share large = {0}, small[20] = {{0}};

    REQUIRE(b);
    CHECK(budget_hold(&large, b, LIMIT));
    for (size_t i = 0; i < ARRAY_LEN(small); i++)
        CHECK(budget_hold(&small[i], b, FREE));
    CHECK(budget_hold(&large, b, LIMIT - 1));
    for (size_t i = 0; i < ARRAY_LEN(small); i++)
        budget_return(&small[i]);
    CHECK_U64(b->used, LIMIT - 1);
    budget_return(&large);
    CHECK(!budget_unref(b));
}

TEST("a share may outlive whoever gave the allowance")
{
    struct budget *b = budget_new(LIMIT);
    struct budget_share share = {0};

    REQUIRE(b);
    CHECK(budget_hold(&share, b, 1));
    CHECK(!budget_unref(b));
    budget_return(&share);
    budget_return(&share); /* nothing is there any more */
    CHECK_U64(share.bytes, 0);
}
