/*
 * Rights: every right, role and relation of namespaces; steps, tokens, who can, differences, memory that runs out.
 */
#include "model/lines.h"

/* ---- the matrix ---- */

/* How a namespace that is asked about stands to the one that is granted. */
static const struct relation {
    const char *granted, *asked;
    bool is_covered;
} relations[] = {
    {"shop", "shop", true},
    {"shop/prod", "shop/prod", true},
    {"shop", "shop/prod", true},
    {"shop", "shop/prod/eu/1", true},
    {"shop/prod", "shop", false},
    {"shop/prod", "shop/dev", false},
    {"shop/prod", "shop/prod2", false},
    {"shop/prod", "shop/prod-old", false},
    {"shop/prod", "shop/prod.bak/x", false},
    {"shop/prod", "shop/pro", false},
    {"shop", "shopping", false},
    {"shop", "shopping/prod", false},
    {"shop", "bank", false},
    {"shop", "sho", false},
    {"shop", "", false},
    {"*", "", true},
    {"", "", true},
    {"*", "shop", true},
    {"", "shop/prod", true},
    {"*", "trimtabs", true},
    {"shop", "trimtab", false},
    {"shop", "trimtab/x", false},
    {"trimtabs", "trimtab", false},
};

static unsigned covered_rights(const struct relation *rel, const struct role *role)
{
    return rel->is_covered ? role->rights : RIGHTS_NONE;
}

TEST("each role gives its rights in its namespace and below, and none anywhere else")
{
    size_t n_roles;
    const struct role *roles = roles_all(&n_roles);

    for (size_t i = 0; i < n_roles; i++)
        for (size_t j = 0; j < ARRAY_LEN(relations); j++) {
            const struct relation *rel = &relations[j];
            bool is_everything = !*rel->granted || strcmp(rel->granted, "*") == 0;
            struct rights *r;
            char role[32];

            if (roles[i].rights == RIGHT_TO_METRICS && !is_everything)
                continue; /* there is no such grant */
            (void)snprintf(role, sizeof(role), "%.*s", STR_ARG(roles[i].name));
            r = RIGHTS_OF({"g", "token:ci", role, rel->granted});
            if (!CHECK_U64(rights_of_subject(r, "token:ci", rel->asked),
                           covered_rights(rel, &roles[i])))
                tap_note("%s on \"%s\", asked in \"%s\"", role, rel->granted, rel->asked);
            CHECK_U64(rights_of_subject(r, "token:c", rel->asked), RIGHTS_NONE);
            CHECK_U64(rights_of_subject(r, "token:ci2", rel->asked), RIGHTS_NONE);
            CHECK_U64(rights_of_subject(r, "cert:ci", rel->asked), RIGHTS_NONE);
            for (unsigned right = 1; right <= RIGHT_TO_ADMIN; right <<= 1) {
                struct principal p = {.subject = STR("token:ci")};
                bool want = (covered_rights(rel, &roles[i]) & right) != 0;

                CHECK(rights_may(r, &p, (enum right_to)right, str_c(rel->asked)) == want);
            }
            (void)rights_unref(r);
        }
}

TEST("in the namespace trimtab only admin and view on everything count")
{
    static const char *const spaces[] = {"trimtab", "trimtab/x"};
    size_t n_roles;
    const struct role *roles = roles_all(&n_roles);

    for (size_t i = 0; i < n_roles; i++)
        for (size_t j = 0; j < ARRAY_LEN(spaces); j++) {
            unsigned want = roles[i].rights == RIGHTS_ALL ? (unsigned)RIGHTS_ALL
                                                          : roles[i].rights & RIGHT_TO_VIEW;
            char role[32];
            struct rights *r;

            (void)snprintf(role, sizeof(role), "%.*s", STR_ARG(roles[i].name));
            r = RIGHTS_OF({"g", "token:ci", role, "*"});
            CHECK_U64(rights_of_subject(r, "token:ci", spaces[j]), want);
            (void)rights_unref(r);
        }
}

TEST("each right has a role of its own that gives it, and no weaker role is left out")
{
    size_t n;
    const struct role *roles = roles_all(&n);

    for (unsigned right = 1; right <= RIGHT_TO_ADMIN; right <<= 1) {
        const struct role *own = role_for((enum right_to)right);

        CHECK(own && (own->rights & right));
        for (size_t i = 0; i < n; i++)
            CHECK(!(roles[i].rights & right) ||
                  (roles[i].rights & own->rights) == own->rights); /* it is the least */
    }
    CHECK(!role_find(STR("boss")) && !role_find(STR("")) && !role_find(STR("Admin")));
    CHECK_U64(role_find(STR("admin"))->rights, RIGHTS_ALL);
}

TEST("grants add up, and those of the server's own configuration hold on everything")
{
    struct rights *r = RIGHTS_OF({"a", "token:ci", "view", "shop"},
                                 {"b", "token:ci", "subscribe", "shop/prod bank"},
                                 {"c", "token:ci", "publish", "shop/prod/eu"});
    struct principal p = {.subject = STR("token:ci"), .local = RIGHT_TO_METRICS};

    CHECK_U64(rights_of_subject(r, "token:ci", "shop"), RIGHT_TO_VIEW);
    CHECK_U64(rights_of_subject(r, "token:ci", "shop/prod"),
              RIGHT_TO_VIEW | RIGHT_TO_SUBSCRIBE);
    CHECK_U64(rights_of_subject(r, "token:ci", "shop/prod/eu/x"),
              RIGHT_TO_VIEW | RIGHT_TO_SUBSCRIBE | RIGHT_TO_EDIT | RIGHT_TO_PUBLISH |
                  RIGHT_TO_REFER);
    CHECK_U64(rights_of_subject(r, "token:ci", "bank"), RIGHT_TO_SUBSCRIBE);
    CHECK_U64(rights_at(r, &p, STR("bank")), RIGHT_TO_SUBSCRIBE | RIGHT_TO_METRICS);
    CHECK_U64(rights_at(NULL, &p, STR("bank")), RIGHT_TO_METRICS);
    CHECK_U64(rights_at(NULL, &p, STR("trimtab")), RIGHTS_NONE);
    p.local = RIGHTS_ALL;
    CHECK_U64(rights_at(NULL, &p, STR("trimtab")), RIGHTS_ALL);
    CHECK(rights_knows(r, STR("token:ci")) && !rights_knows(r, STR("token:c")) &&
          !rights_knows(r, STR("token:ci2")) && !rights_knows(NULL, STR("token:ci")));
    (void)rights_unref(r);
}

TEST("a refusal says who lacks which right where, and which grant would help")
{
    static const struct {
        enum right_to right;
        const char *space, *text, *hint;
    } rows[] = {
        {RIGHT_TO_PUBLISH, "shop/prod", "token:ci lacks the right \"publish\" in shop/prod",
         "an admin there can grant it: trimtab grant token:ci publish 'shop/prod'"},
        {RIGHT_TO_METRICS, "", "token:ci lacks the right \"metrics\" on everything",
         "an admin there can grant it: trimtab grant token:ci metrics '*'"},
        {RIGHT_TO_SUBSCRIBE, "trimtab", "token:ci lacks the right \"subscribe\" in trimtab",
         "an admin there can grant it: trimtab grant token:ci admin '*'"},
        {RIGHT_TO_VIEW, "trimtab", "token:ci lacks the right \"view\" in trimtab",
         "an admin there can grant it: trimtab grant token:ci view '*'"},
    };
    struct principal p = {.subject = STR("token:ci")};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_NULL;

        CHECK_I64(rights_require(NULL, &p, rows[i].right, str_c(rows[i].space), &err),
                  ERR_DENIED);
        CHECK_STR(str_c(err.text), str_c(rows[i].text));
        CHECK_STR(str_c(err.hint), str_c(rows[i].hint));
    }
}

/* ---- steps ---- */

TEST("a changed grant gives what it says now, and a deleted one nothing")
{
    struct line first = {"g", "token:ci", "publish", "shop bank"};
    struct line second = {"g", "token:ci", "view", "bank mill"};
    struct line other = {"h", "cert:host", "subscribe", "shop"};
    struct rights *r = NULL, *before;

    CHECK_I64(step_grant(&r, NULL, &first, 1), 0);
    CHECK_I64(step_grant(&r, NULL, &other, 2), 0);
    before = rights_ref(r);
    CHECK_I64(step_grant(&r, &first, &second, 3), 0);
    CHECK(!(rights_of_subject(r, "token:ci", "shop")));
    CHECK_U64(rights_of_subject(r, "token:ci", "bank"), RIGHT_TO_VIEW);
    CHECK_U64(rights_of_subject(r, "token:ci", "mill"), RIGHT_TO_VIEW);
    CHECK(rights_of_subject(before, "token:ci", "shop") & RIGHT_TO_PUBLISH);
    CHECK_U64(r->revision, 3);
    CHECK_I64(step_grant(&r, &second, NULL, 4), 0);
    CHECK(!rights_knows(r, STR("token:ci")) && rights_knows(r, STR("cert:host")));
    (void)rights_unref(before);
    (void)rights_unref(r);
}

TEST("two grants that say the same are two: taking one away leaves the other")
{
    struct line one = {"a", "token:ci", "view", "shop"},
                two = {"b", "token:ci", "view", "shop"};
    struct rights *r = NULL;

    CHECK_I64(step_grant(&r, NULL, &one, 1), 0);
    CHECK_I64(step_grant(&r, NULL, &two, 2), 0);
    CHECK_I64(step_grant(&r, &one, NULL, 3), 0);
    CHECK_U64(rights_of_subject(r, "token:ci", "shop"), RIGHT_TO_VIEW);
    CHECK_I64(step_grant(&r, &two, NULL, 4), 0);
    CHECK_U64(rights_of_subject(r, "token:ci", "shop"), RIGHTS_NONE);
    (void)rights_unref(r);
}

TEST("a document that cannot be read gives nothing")
{
    static const struct str key = STR("trimtab\0grant\0g"), token = STR("trimtab\0token\0t");
    struct rights_doc none = doc_of("g", STR_NULL, 1),
                      wrong = doc_of("g", STR("{\"x\": 1}"), 1);
    struct rights *r = NULL;

    CHECK_I64(rights_step(&r, key, &none, &wrong), 0);
    CHECK_I64(rights_step(&r, token, &none, &wrong), 0);
    CHECK_I64(rights_step(&r, key, &wrong, &none), 0);
    CHECK(r && !r->grants && !r->tokens);
    (void)rights_unref(r);
}

TEST("only grants and tokens of the system concern rights")
{
    CHECK(rights_concern(STR("trimtab\0grant\0x")) && rights_concern(STR("trimtab\0token\0x")));
    CHECK(!rights_concern(STR("trimtab\0kind\0grant")) &&
          !rights_concern(STR("shop\0grant\0x")) &&
          !rights_concern(STR("trimtab/a\0grant\0x")));
}

/* ---- tokens ---- */

TEST(
    "a token is found by its secret's hash and by its name, and a rotation ends the old secret")
{
    struct rights *r = NULL;
    const struct token *t;

    CHECK_I64(step_token_line(&r, &(struct token_line){"ci", .after = "one"}, 1), 0);
    CHECK_I64(step_token_line(&r,
                              &(struct token_line){"dev", .after = "three",
                                                   .after_expires = "2027-01-01T00:00:00Z"},
                              2),
              0);
    t = token_by_secret(r, "one");
    REQUIRE(t != NULL);
    CHECK_STR(t->name, STR("ci"));
    CHECK_I64(t->expires_ms, 0);
    CHECK_I64(t->published_ms, 1000);
    t = rights_token_named(r, STR("dev"));
    REQUIRE(t != NULL);
    CHECK_I64(t->expires_ms, 1798761600000);
    CHECK_I64(
        step_token_line(&r, &(struct token_line){"ci", .before = "one", .after = "two"}, 3), 0);
    CHECK(!token_by_secret(r, "one") && token_by_secret(r, "two"));
    CHECK_I64(token_by_secret(r, "two")->published_ms, 3000);
    CHECK_I64(step_token_line(&r,
                              &(struct token_line){"ci", .before = "two", .after = "two",
                                                   .after_expires = "2027-01-01T00:00:00Z"},
                              4),
              0);
    CHECK_I64(token_by_secret(r, "two")->published_ms, 4000);
    CHECK(token_by_secret(r, "two")->expires_ms > 0);
    CHECK_I64(step_token_line(&r,
                              &(struct token_line){"ci", .before = "two",
                                                   .before_expires = "2027-01-01T00:00:00Z"},
                              5),
              0);
    CHECK(!token_by_secret(r, "two") && !rights_token_named(r, STR("ci")));
    CHECK(rights_token_named(r, STR("dev")) && !rights_token_named(r, STR("de")));
    CHECK(!token_by_secret(NULL, "one") && !rights_token_named(NULL, STR("ci")));
    (void)rights_unref(r);
}

TEST("somebody has admin on everything only while they can come in")
{
    struct rights *r = RIGHTS_OF({"g", "token:root", "admin", "*"});
    struct rights *cert = RIGHTS_OF({"g", "cert:root", "admin", "shop *"});
    struct rights *part = RIGHTS_OF({"g", "cert:root", "admin", "shop"});

    CHECK(!rights_have_admin(NULL, 0) && !rights_have_admin(part, 0));
    CHECK(rights_have_admin(cert, 0));
    CHECK(!rights_have_admin(r, 0)); /* its token is not there */
    CHECK_I64(step_token_line(&r,
                              &(struct token_line){"root", .after = "one",
                                                   .after_expires = "1970-01-01T00:00:10Z"},
                              1),
              0);
    CHECK(rights_have_admin(r, 9999) && !rights_have_admin(r, 10000));
    (void)rights_unref(r);
    (void)rights_unref(cert);
    (void)rights_unref(part);
}

/* ---- who can ---- */

static void check_who(const struct rights *r, enum right_to right, const char *space,
                      const char *want)
{
    owned(buf) struct buf got = BUF_NULL(MIB);
    struct rights_walk walk;
    const struct grant *g;

    rights_walk_init(&walk, r, right, str_c(space));
    while ((g = rights_walk_next(&walk)))
        buf_printf(&got, "%.*s by %.*s on %.*s; ", STR_ARG(g->subject), STR_ARG(g->name),
                   STR_ARG(space_text(g->space)));
    CHECK_STR(buf_str(&got), str_c(want));
}

TEST("who can do something is told with the grants that let them, in the order of subjects")
{
    struct rights *r = RIGHTS_OF(
        {"z", "cert:host", "subscribe", "shop/prod"}, {"y", "token:ci", "publish", "shop"},
        {"x", "token:boss", "admin", "*"}, {"w", "token:ci", "view", "*"});

    check_who(r, RIGHT_TO_PUBLISH, "shop/prod",
              "token:boss by x on *; token:ci by y on shop; ");
    check_who(r, RIGHT_TO_SUBSCRIBE, "shop/prod",
              "cert:host by z on shop/prod; token:boss by x on *; ");
    check_who(r, RIGHT_TO_VIEW, "shop",
              "token:boss by x on *; token:ci by w on *; token:ci by y on shop; ");
    check_who(r, RIGHT_TO_PUBLISH, "", "token:boss by x on *; ");
    check_who(r, RIGHT_TO_PUBLISH, "trimtab", "token:boss by x on *; ");
    check_who(r, RIGHT_TO_VIEW, "trimtab", "token:boss by x on *; token:ci by w on *; ");
    check_who(NULL, RIGHT_TO_VIEW, "shop", "");
    (void)rights_unref(r);
}

/* ---- differences ---- */

static void put_rights(struct buf *out, const char *sign, unsigned rights)
{
    for (unsigned right = 1; right <= RIGHT_TO_ADMIN; right <<= 1)
        if (rights & right)
            buf_printf(out, " %s%.*s", sign, STR_ARG(role_for((enum right_to)right)->name));
}

static void check_diff(const struct rights *before, const struct rights *after,
                       const char *want, bool takes)
{
    owned(buf) struct buf got = BUF_NULL(MIB);
    struct rights_diff d;

    CHECK_I64(rights_diff_make(before, after, &d), 0);
    for (size_t i = 0; i < d.rights.n; i++) {
        const struct rights_change *c = &d.rights.at[i];

        buf_printf(&got, "%.*s on %.*s", STR_ARG(c->subject), STR_ARG(space_text(c->space)));
        put_rights(&got, "-", c->lost);
        put_rights(&got, "+", c->won);
        buf_put_c(&got, "; ");
    }
    for (size_t i = 0; i < d.tokens.n; i++) {
        const struct token_change *c = &d.tokens.at[i];

        buf_printf(&got, "token %.*s%s; ", STR_ARG((c->before ? c->before : c->after)->name),
                   !c->before  ? " comes"
                   : !c->after ? " goes"
                               : " changes");
    }
    CHECK_STR(buf_str(&got), str_c(want));
    CHECK(rights_diff_takes(&d) == takes);
    rights_diff_deinit(&d);
}

TEST("a difference tells who loses and wins what where, and where nothing changes below")
{
    struct rights *none = NULL;
    struct rights *a = RIGHTS_OF({"a", "token:ci", "view", "shop"},
                                 {"b", "token:ci", "subscribe", "shop/prod"});
    struct rights *b = RIGHTS_OF({"b", "token:ci", "subscribe", "shop/prod"},
                                 {"c", "token:ci", "view", "shop/prod"});
    struct rights *c = RIGHTS_OF({"a", "token:ci", "edit", "shop"},
                                 {"b", "token:ci", "subscribe", "shop/prod"});
    struct rights *same = RIGHTS_OF({"other", "token:ci", "view", "shop shop/dev"},
                                    {"b", "token:ci", "subscribe", "shop/prod"});

    check_diff(a, a, "", false);
    check_diff(a, same, "", false); /* told in another way */
    check_diff(none, a, "token:ci on shop +view; token:ci on shop/prod +view +subscribe; ",
               false);
    check_diff(a, none, "token:ci on shop -view; token:ci on shop/prod -view -subscribe; ",
               true);
    check_diff(a, b, "token:ci on shop -view; token:ci on shop/prod; ", true);
    check_diff(a, c, "token:ci on shop +edit; ", false);
    (void)rights_unref(a);
    (void)rights_unref(b);
    (void)rights_unref(c);
    (void)rights_unref(same);
}

TEST("a difference tells which tokens come, go and change, and who would be locked out")
{
    struct rights *none = NULL, *a = NULL, *rotated = NULL, *longer = NULL, *shorter = NULL;

    CHECK_I64(step_token_line(&a,
                              &(struct token_line){"ci", .after = "one",
                                                   .after_expires = "2027-01-01T00:00:00Z"},
                              1),
              0);
    CHECK_I64(step_token_line(&rotated,
                              &(struct token_line){"ci", .after = "two",
                                                   .after_expires = "2027-01-01T00:00:00Z"},
                              1),
              0);
    CHECK_I64(step_token_line(&longer, &(struct token_line){"ci", .after = "one"}, 1), 0);
    CHECK_I64(step_token_line(&shorter,
                              &(struct token_line){"ci", .after = "one",
                                                   .after_expires = "2026-12-01T00:00:00Z"},
                              1),
              0);
    check_diff(none, a, "token ci comes; ", false);
    check_diff(a, none, "token ci goes; ", true);
    check_diff(a, rotated, "token ci changes; ", true);
    check_diff(a, longer, "token ci changes; ", false);
    check_diff(longer, a, "token ci changes; ", true);
    check_diff(a, shorter, "token ci changes; ", true);
    check_diff(a, a, "", false);
    (void)rights_unref(a);
    (void)rights_unref(rotated);
    (void)rights_unref(longer);
    (void)rights_unref(shorter);
}

/* ---- memory ---- */

/* A step between two documents, with the first, second, third ... allocation failing. */
static void sweep_step(struct rights *held, const char *kind, const char *name, struct str was,
                       struct str is)
{
    owned(buf) struct buf key = BUF_NULL(KIB);
    struct rights_doc before = doc_of(name, was, 8), after = doc_of(name, is, 9);
    int r = ERR_NOMEM;

    put_system_key(&key, kind, name);
    ALLOC_SWEEP (n) {
        struct rights *next = rights_ref(held);

        r = rights_step(&next, buf_str(&key), &before, &after);
        CHECK(r == 0 ? next && next != held : r == ERR_NOMEM && !next);
        (void)rights_unref(next);
    }
    CHECK_I64(r, 0);
}

TEST("a step without memory leaves nothing behind, and records that others hold as they are")
{
    struct line was = {"g", "token:ci", "publish", "shop bank"};
    struct line is = {"g", "token:ci", "view", "bank mill"};
    owned(buf) struct buf before = BUF_NULL(MIB), after = BUF_NULL(MIB);
    struct rights *held = NULL;

    CHECK_I64(step_grant(&held, NULL, &was, 1), 0);
    CHECK_I64(step_token_line(&held, &(struct token_line){"ci", .after = "one"}, 2), 0);
    put_grant_json(&was, &before);
    put_grant_json(&is, &after);
    sweep_step(held, "grant", "g", buf_str(&before), buf_str(&after));
    buf_clear(&before);
    buf_clear(&after);
    put_token_json(&before, "one", NULL);
    put_token_json(&after, "two", "2027-01-01T00:00:00Z");
    sweep_step(held, "token", "ci", buf_str(&before), buf_str(&after));
    CHECK(rights_of_subject(held, "token:ci", "shop") & RIGHT_TO_PUBLISH);
    CHECK(token_by_secret(held, "one") != NULL);
    (void)rights_unref(held);
}

TEST("a difference without memory is none")
{
    struct rights *held = RIGHTS_OF({"h", "token:dev", "view", "shop"});
    struct rights_diff d;
    int r = ERR_NOMEM;

    CHECK_I64(step_token_line(&held, &(struct token_line){"ci", .after = "one"}, 2), 0);
    ALLOC_SWEEP (n) {
        r = rights_diff_make(NULL, held, &d);
        CHECK(r == 0 ? d.rights.n == 1 && d.tokens.n == 1
                     : r == ERR_NOMEM && !d.rights.at && !d.tokens.at);
        rights_diff_deinit(&d);
    }
    CHECK_I64(r, 0);
    (void)rights_unref(held);
}
