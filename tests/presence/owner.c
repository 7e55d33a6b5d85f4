/*
 * Owners of instance ids: who has one, who takes one over, and who goes when the list is full.
 */
#include "presence/owner.h"

#include "tap.h"

static struct claimant who(const char *credential, const char *secret)
{
    return claimant_with(credential, str_c(secret));
}

static enum claim claim(const struct owners *o, const char *id, const char *credential, const char *secret)
{
    struct claimant c = who(credential, secret);

    return owners_claim(o, str_c(id), &c);
}

static bool connect(struct owners *o, const char *id, const char *credential, const char *secret)
{
    struct claimant c = who(credential, secret);

    return owners_connect(o, str_c(id), &c);
}

static void leave(struct owners *o, const char *id, int64_t now_ms)
{
    owners_leave(o, str_c(id), now_ms);
}

TEST("an id is its first credential's, connected or away, until it is forgotten")
{
    struct owners o;

    owners_init(&o);
    CHECK_I64(claim(&o, "a", "web", ""), OWNER_FREE);
    CHECK(connect(&o, "a", "web", ""));
    CHECK_I64(claim(&o, "a", "other", ""), OWNER_FOREIGN);
    CHECK_I64(claim(&o, "a", "web", ""), OWNER_SAME);
    CHECK(!owners_forget(&o, STR("a"))); /* it is connected */
    leave(&o, "a", 1);
    CHECK_I64(claim(&o, "a", "other", ""), OWNER_FOREIGN);
    CHECK_I64(claim(&o, "a", "web", ""), OWNER_SAME);
    CHECK(owners_forget(&o, STR("a")));
    CHECK(!owners_forget(&o, STR("a")));
    CHECK_I64(claim(&o, "a", "other", ""), OWNER_FREE);
    CHECK_U64(o.credentials.n, 0);
    owners_deinit(&o);
}

TEST("of one credential the secret tells hosts apart; who lost it waits until the old one is gone")
{
    struct owners o;

    owners_init(&o);
    CHECK(connect(&o, "a", "web", "s1"));
    CHECK_I64(claim(&o, "a", "web", "s1"), OWNER_SAME);
    CHECK_I64(claim(&o, "a", "web", "s2"), OWNER_BUSY);
    CHECK_I64(claim(&o, "a", "web", ""), OWNER_BUSY);
    CHECK_I64(claim(&o, "a", "other", "s1"), OWNER_FOREIGN);
    leave(&o, "a", 1);
    CHECK_I64(claim(&o, "a", "web", "s1"), OWNER_SAME);
    CHECK_I64(claim(&o, "a", "web", "s2"), OWNER_TAKES_OVER);
    CHECK_I64(claim(&o, "a", "web", ""), OWNER_TAKES_OVER);
    CHECK_I64(claim(&o, "a", "other", "s1"), OWNER_FOREIGN);
    CHECK(connect(&o, "a", "web", "s2"));
    CHECK_I64(claim(&o, "a", "web", "s1"), OWNER_BUSY); /* the former one now */
    owners_deinit(&o);
}

TEST("a client of before secrets keeps its id when it learns them")
{
    struct owners o;

    owners_init(&o);
    CHECK(connect(&o, "a", "web", ""));
    CHECK_I64(claim(&o, "a", "web", "s1"), OWNER_SAME);
    CHECK(connect(&o, "a", "web", "s1"));
    CHECK_I64(claim(&o, "a", "web", ""), OWNER_BUSY);
    owners_deinit(&o);
}

TEST("words that come by another way are an owner's only with its credential and secret")
{
    struct owners o;
    struct claimant right = who("web", "s1"), wrong = who("web", "s2"), other = who("other", "s1");

    owners_init(&o);
    CHECK(connect(&o, "a", "web", "s1"));
    CHECK(owners_is(&o, STR("a"), &right));
    CHECK(!owners_is(&o, STR("a"), &wrong));
    CHECK(!owners_is(&o, STR("a"), &other));
    CHECK(!owners_is(&o, STR("b"), &right)); /* nobody's */
    owners_deinit(&o);
}

TEST("the record that goes first is the oldest that is away, of the credential with the most")
{
    struct owners o;

    owners_init(&o);
    CHECK(connect(&o, "honest", "web", "") && connect(&o, "j1", "junk", "") && connect(&o, "j2", "junk", ""));
    CHECK_STR(owners_first_to_go(&o), STR(""));
    leave(&o, "honest", 1);
    CHECK_STR(owners_first_to_go(&o), STR("honest")); /* junk has nobody that is away */
    leave(&o, "j2", 2);
    leave(&o, "j1", 3);
    CHECK_STR(owners_first_to_go(&o), STR("j2"));
    owners_unlist(&o, STR("j2"));
    CHECK_I64(claim(&o, "j2", "web", ""), OWNER_FOREIGN); /* bound still */
    CHECK(connect(&o, "j1", "junk", ""));
    CHECK_STR(owners_first_to_go(&o), STR("honest"));
    owners_deinit(&o);
}

TEST("a full list forgets the oldest binding of who holds most, never one that is connected")
{
    struct owners o;

    owners_init(&o);
    o.max = 4;
    CHECK(connect(&o, "h", "web", "") && connect(&o, "j1", "junk", "") && connect(&o, "j2", "junk", ""));
    leave(&o, "h", 1);
    owners_unlist(&o, STR("h"));
    for (int i = 2; i < 50; i++) {
        char id[] = {'x', (char)('0' + i), 0};

        CHECK(connect(&o, id, "junk", ""));
        leave(&o, id, i);
        owners_unlist(&o, str_c(id));
    }
    CHECK_U64(o.by_id.n, 4);
    CHECK_I64(claim(&o, "h", "other", ""), OWNER_FOREIGN); /* not pushed out */
    CHECK_I64(claim(&o, "j1", "other", ""), OWNER_FOREIGN);
    CHECK_I64(claim(&o, "x2", "other", ""), OWNER_FREE);
    CHECK(connect(&o, "x9", "junk", "") && connect(&o, "h", "web", ""));
    CHECK(!connect(&o, "y", "web", "")); /* all four are connected */
    owners_deinit(&o);
}

TEST("who has been away for long enough is forgotten, listed or only bound")
{
    struct owners o;
    struct claimant c = who("web", "s");

    owners_init(&o);
    CHECK(owners_restore(&o, STR("a"), &c, 10));
    CHECK(!owners_restore(&o, STR("a"), &c, 11));
    CHECK(owners_restore(&o, STR("b"), &c, 20) && connect(&o, "c", "web", "") && connect(&o, "d", "other", ""));
    leave(&o, "d", 20);
    owners_unlist(&o, STR("a"));
    owners_expire(&o, 109, 100);
    CHECK_U64(o.by_id.n, 4);
    owners_expire(&o, 110, 100);
    CHECK_I64(claim(&o, "a", "x", ""), OWNER_FREE);
    CHECK_I64(claim(&o, "b", "x", ""), OWNER_FOREIGN);
    owners_expire(&o, 120, 100);
    CHECK_I64(claim(&o, "b", "x", ""), OWNER_FREE);
    CHECK_I64(claim(&o, "c", "x", ""), OWNER_FOREIGN); /* connected */
    CHECK_U64(o.credentials.n, 1);
    owners_deinit(&o);
}

TEST("without memory a claim changes nothing")
{
    ALLOC_SWEEP (n) {
        struct owners o;

        owners_init(&o);
        if (!connect(&o, "a", "web", "s"))
            CHECK(o.by_id.n == 0 && o.credentials.n == 0);
        owners_deinit(&o);
    }
}
