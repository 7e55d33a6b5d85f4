/*
 * What may be read, and what subscriptions ask for: for every relation of namespaces, and against the record itself.
 */
#include "model/lines.h"

#include "base/clock.h"
#include "model/readable.h"

static struct readable *readable_of_subject(const struct rights *r, const char *subject,
                                            unsigned local)
{
    struct principal p = {str_c(subject), local};
    struct readable *readable = NULL;

    CHECK_I64(readable_make(r, &p, &readable), 0);
    return readable;
}

static void check_readable(const struct readable *r, const char *want)
{
    owned(buf) struct buf got = BUF_NULL(MIB);

    for (size_t i = 0; r && i < r->n; i++)
        buf_printf(&got, "%.*s ", STR_ARG(r->at[i]));
    CHECK_STR(r ? buf_str(&got) : STR("*"), str_c(want));
}

TEST("what may be read is where a subject may view or subscribe, without what lies below")
{
    struct rights *r =
        RIGHTS_OF({"a", "token:a", "subscribe", "shop/prod shop bank/eu bank/eu/1"},
                  {"b", "token:a", "view", "mill"}, {"c", "token:a", "publish", "shop-x"},
                  {"d", "token:a", "refer", "other"}, {"e", "token:all", "view", "*"},
                  {"f", "token:metrics", "metrics", "*"}, {"g", "token:refer", "refer", "*"});
    struct readable *a = readable_of_subject(r, "token:a", 0),
                    *all = readable_of_subject(r, "token:all", 0),
                    *metrics = readable_of_subject(r, "token:metrics", 0),
                    *refer = readable_of_subject(r, "token:refer", 0),
                    *local = readable_of_subject(r, "token:x", RIGHT_TO_SUBSCRIBE);

    check_readable(a, "bank/eu mill shop shop-x ");
    check_readable(all, "*");
    check_readable(metrics, "");
    check_readable(refer, "");
    check_readable(local, "*");
    CHECK(readable_has(a, STR("shop")) && readable_has(a, STR("shop/prod/x")) &&
          readable_has(a, STR("shop-x")) && readable_has(a, STR("bank/eu")));
    CHECK(!readable_has(a, STR("shopping")) && !readable_has(a, STR("bank")) &&
          !readable_has(a, STR("other")) && !readable_has(a, STR("trimtab")) &&
          !readable_has(metrics, STR("shop")) && readable_has(NULL, STR("shop")));
    (void)readable_unref(a);
    (void)readable_unref(metrics);
    (void)readable_unref(refer);
    (void)rights_unref(r);
}

TEST("equal grants give equal lists, in whichever words, and others do not")
{
    struct rights *r =
        RIGHTS_OF({"a", "token:a", "subscribe", "shop bank"}, {"b", "cert:b", "view", "bank"},
                  {"c", "cert:b", "edit", "shop shop/prod"}, {"d", "token:d", "view", "shop"},
                  {"e", "token:e", "view", "sho p-bank"});
    struct readable *a = readable_of_subject(r, "token:a", 0),
                    *b = readable_of_subject(r, "cert:b", 0),
                    *d = readable_of_subject(r, "token:d", 0),
                    *none = readable_of_subject(r, "token:z", 0);

    CHECK(readable_eq(a, b) && str_eq(readable_identity(a), readable_identity(b)));
    CHECK(!readable_eq(a, d) && !readable_eq(a, none) && !readable_eq(a, NULL) &&
          readable_eq(NULL, NULL));
    CHECK(readable_identity(NULL).len == 0 && readable_identity(none).len > 0);
    (void)readable_unref(a);
    (void)readable_unref(b);
    (void)readable_unref(d);
    (void)readable_unref(none);
    (void)rights_unref(r);
}

TEST("what may be read is what the record says, for random grants")
{
    static const char *const words[] = {"a", "ab",  "a/b", "a/b/c", "a/bc",
                                        "b", "b/a", "a-b", "a.b"};
    static const char *const roles[] = {"view", "subscribe", "refer", "publish", "approve"};
    struct rng g = {7};

    for (int round = 0; round < 300; round++) {
        struct rights *r = NULL;
        struct readable *readable;
        uint64_t n = rng_below(&g, 5);

        for (uint64_t i = 0; i < n; i++) {
            char name[8];
            struct line l = {name, "token:a", roles[rng_below(&g, ARRAY_LEN(roles))],
                             words[rng_below(&g, ARRAY_LEN(words))]};

            (void)snprintf(name, sizeof(name), "g%d", (int)i);
            CHECK_I64(step_grant(&r, NULL, &l, i + 1), 0);
        }
        readable = readable_of_subject(r, "token:a", 0);
        for (size_t i = 0; i < ARRAY_LEN(words); i++)
            CHECK(readable_has(readable, str_c(words[i])) ==
                  ((rights_of_subject(r, "token:a", words[i]) &
                    (RIGHT_TO_VIEW | RIGHT_TO_SUBSCRIBE)) != 0));
        (void)readable_unref(readable);
        (void)rights_unref(r);
    }
}

TEST("a subscription needs the right to subscribe in every layer of every scope")
{
    struct rights *r = RIGHTS_OF({"a", "token:a", "subscribe", "shop bank/eu"},
                                 {"b", "token:a", "view", "mill"});
    struct str good[] = {STR("shop/prod"), STR("shop")}, eu[] = {STR("bank/eu/1")},
               bad[] = {STR("shop"), STR("mill")}, sys[] = {STR("trimtab")};
    struct scope scopes[] = {{.name = STR("one"), .layers = good, .n_layers = 2},
                             {.name = STR("two"), .layers = eu, .n_layers = 1},
                             {.name = STR("three"), .layers = bad, .n_layers = 2}};
    struct scope system = {.layers = sys, .n_layers = 1};
    struct principal p = {.subject = STR("token:a")};
    struct err err = ERR_NULL;

    CHECK_I64(scopes_authorize(r, &p, scopes, 2, &err), 0);
    CHECK_I64(scopes_authorize(r, &p, scopes, 3, &err), ERR_DENIED);
    CHECK_STR(str_c(err.text), STR("token:a lacks the right \"subscribe\" in mill"));
    CHECK_STR(str_c(err.place), STR("scope three"));
    CHECK_STR(str_c(err.hint),
              STR("an admin there can grant it: trimtab grant token:a subscribe 'mill'"));
    p.local = RIGHT_TO_SUBSCRIBE;
    CHECK_I64(scopes_authorize(NULL, &p, scopes, 3, &err), 0);
    CHECK_I64(scopes_authorize(NULL, &p, &system, 1, &err), ERR_DENIED);
    p.local = RIGHTS_ALL;
    CHECK_I64(scopes_authorize(NULL, &p, &system, 1, &err), 0);
    (void)rights_unref(r);
}

TEST("what may be read is found whole or not at all when memory runs out")
{
    struct rights *r = RIGHTS_OF({"a", "token:a", "subscribe", "shop bank mill"});
    struct principal p = {.subject = STR("token:a")};
    int rc = ERR_NOMEM;

    ALLOC_SWEEP (n) {
        struct readable *readable = NULL;

        rc = readable_make(r, &p, &readable);
        CHECK(rc == 0 ? readable && readable->n == 3 : rc == ERR_NOMEM && !readable);
        (void)readable_unref(readable);
    }
    CHECK_I64(rc, 0);
    (void)rights_unref(r);
}
