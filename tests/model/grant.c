/*
 * Grants and tokens as documents: what is taken, what is refused and how that is told, and commits of them.
 */
#include "model/lines.h"
#include "unit/commits.h"

#include "model/rights_commit.h"

static struct rights_doc json(const char *name, const char *content)
{
    return doc_of(name, str_c(content), 1);
}

TEST("a grant is read from JSON and from YAML alike")
{
    static const struct {
        const char *type, *content;
    } rows[] = {
        {"application/json", "{\"subject\": \"token:ci\", \"role\": \"publish\", "
                             "\"namespaces\": [\"shop/prod\", \"*\"], \"note\": \"a\\nb\"}"},
        {"application/yaml", "# who\nsubject: token:ci\nrole: publish\nnamespaces: [shop/prod, "
                             "'*']\nnote: |\n  a\n  b\n"},
        {"", "{\"subject\": \"token:ci\", \"role\": \"publish\", "
             "\"namespaces\": [\"shop/prod\", \"\"]}"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        owned(grant_doc) struct grant_doc g = GRANT_DOC_NULL;
        struct rights_doc d = {.name = STR("x"),
                               .content_type = str_c(rows[i].type),
                               .content = str_c(rows[i].content)};

        REQUIRE(grant_read(&d, &g, NULL) == 0);
        CHECK_STR(g.subject, STR("token:ci"));
        CHECK_STR(g.role->name, STR("publish"));
        CHECK_U64(grant_n_spaces(&g), 2);
        CHECK_STR(grant_space(&g, 0), STR("shop/prod"));
        CHECK_STR(grant_space(&g, 1), SPACE_EVERYTHING);
    }
}

#define GRANT(subject, role, spaces)                                                           \
    "{\"subject\": \"" subject "\", \"role\": \"" role "\", \"namespaces\": " spaces "}"
#define GRANT_HINT                                                                             \
    "write {\"subject\": \"token:ci\", \"role\": \"publish\", \"namespaces\": "                \
    "[\"shop/prod\"]}"

TEST("a grant that is none is refused with what is wrong in it")
{
    static const struct {
        const char *content, *text, *hint; /* hint NULL: whatever it is */
    } rows[] = {
        {"[]", "a grant is an object, not an array", GRANT_HINT},
        {"{}", "a grant needs \"subject\"", GRANT_HINT},
        {"{\"subject\": \"token:ci\"}", "a grant needs \"role\"", GRANT_HINT},
        {"{\"subject\": \"token:ci\", \"role\": \"view\"}", "a grant needs \"namespaces\"",
         GRANT_HINT},
        {"{\"subject\": 7}", "\"subject\" is a number instead of text", GRANT_HINT},
        {"{\"subject\": \"token:ci\", \"who\": \"x\"}", "a grant has no \"who\"", GRANT_HINT},
        {GRANT("token:ci", "boss", "[\"shop\"]"), "there is no role \"boss\"",
         "roles are metrics, subscribe, refer, view, edit, retry, release, forget, stop, "
         "approve, operate, publish, admin"},
        {GRANT("ci", "view", "[\"shop\"]"), "\"ci\" is no subject",
         "write token:NAME, cert:NAME or oidc:SUBJECT"},
        {GRANT("user:ci", "view", "[\"shop\"]"), "\"user:ci\" is no subject", NULL},
        {GRANT("token", "view", "[\"shop\"]"), "\"token\" is no subject", NULL},
        {GRANT("cert", "view", "[\"shop\"]"), "\"cert\" is no subject", NULL},
        {GRANT("token:", "view", "[\"shop\"]"), "this cannot be the name of a token", NULL},
        {GRANT("token:a:b", "view", "[\"shop\"]"), "this cannot be the name of a token", NULL},
        {GRANT("token:-a", "view", "[\"shop\"]"), "this cannot be the name of a token", NULL},
        {GRANT("cert:", "view", "[\"shop\"]"),
         "the name of a subject is empty, no plain text, or has outer spaces", NULL},
        {GRANT("cert: a", "view", "[\"shop\"]"),
         "the name of a subject is empty, no plain text, or has outer spaces", NULL},
        {GRANT("oidc:a\\nb", "view", "[\"shop\"]"),
         "the name of a subject is empty, no plain text, or has outer spaces", NULL},
        {GRANT("token:ci", "view", "[]"), "a grant of nothing: it names no namespaces", NULL},
        {GRANT("token:ci", "view", "\"shop\""), "\"namespaces\" is text instead of an array",
         GRANT_HINT},
        {GRANT("token:ci", "view", "[7]"), "a namespace is a number instead of text", NULL},
        {GRANT("token:ci", "view", "[\"shop\", \"shop\"]"),
         "the namespace \"shop\" is named twice", NULL},
        {GRANT("token:ci", "view", "[\"*\", \"\"]"), "the namespace \"*\" is named twice",
         NULL},
        {GRANT("token:ci", "view", "[\"shop/*\"]"), "a namespace of a grant has no patterns",
         "a grant on shop holds in shop/prod, too; \"*\" alone is everything"},
        {GRANT("token:ci", "view", "[\"shop/\"]"), "empty namespace segment", NULL},
        {GRANT("token:ci", "view", "[\"Shop\"]"),
         "namespace segment \"Shop\" has a character that is not allowed", NULL},
        {GRANT("token:ci", "view", "[\"trimtab\"]"), "no grant can name the namespace trimtab",
         NULL},
        {GRANT("token:ci", "admin", "[\"trimtab/kind\"]"),
         "no grant can name the namespace trimtab", NULL},
        {GRANT("token:ci", "metrics", "[\"shop\"]"), "metrics are of the whole server",
         "write \"namespaces\": [\"*\"]"},
        {"{\"subject\": \"token:ci\", \"role\": \"view\", \"namespaces\": [\"a\"], \"note\": "
         "\"\\u0007\"}",
         "\"note\" is no plain text", NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rights_doc d = json("x", rows[i].content);
        struct grant_doc g;
        struct err err = ERR_NULL;

        if (!CHECK_I64(grant_read(&d, &g, &err), ERR_INVALID) ||
            !CHECK_STR(str_c(err.text), str_c(rows[i].text)))
            tap_note("of %s", rows[i].content);
        if (rows[i].hint)
            CHECK_STR(str_c(err.hint), str_c(rows[i].hint));
        CHECK(!g.value);
        CHECK_I64(grant_read(&d, &g, NULL), ERR_INVALID);
    }
}

#define HASH "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

TEST("a token has a hash, and perhaps an expiry and a note; wrong ones are refused")
{
    static const struct {
        const char *name, *content, *text; /* NULL: it is taken */
        int64_t expires_ms;
    } rows[] = {
        {"ci", "{\"hash\": \"" HASH "\"}", NULL, 0},
        {"Ci.2@shop_a-b", "{\"hash\": \"" HASH "\", \"note\": \"x\"}", NULL, 0},
        {"ci", "{\"hash\": \"" HASH "\", \"expires\": \"2027-01-01T02:00:00.5+02:00\"}", NULL,
         1798761600500},
        {"ci", "{}", "a token needs \"hash\"", 0},
        {"ci", "[]", "a token is an object, not an array", 0},
        {"ci", "{\"hash\": \"" HASH "\", \"secret\": \"x\"}", "a token has no \"secret\"", 0},
        {"ci", "{\"hash\": \"9f86\"}", "\"hash\" is not sha256: and 64 hexadecimal digits", 0},
        {"ci", "{\"hash\": \"" HASH "0\"}", "\"hash\" is not sha256: and 64 hexadecimal digits",
         0},
        {"ci",
         "{\"hash\": "
         "\"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}",
         "\"hash\" is that of an empty secret", 0},
        {"ci", "{\"hash\": \"" HASH "\", \"expires\": \"tomorrow\"}", "\"expires\" is no time",
         0},
        {"ci", "{\"hash\": \"" HASH "\", \"expires\": \"1970-01-01T00:00:00Z\"}",
         "\"expires\" is no time", 0},
        {"ci", "{\"hash\": \"" HASH "\", \"expires\": 7}",
         "\"expires\" is a number instead of text", 0},
        {"cert:ci", "{\"hash\": \"" HASH "\"}", "this cannot be the name of a token", 0},
        {"c i", "{\"hash\": \"" HASH "\"}", "this cannot be the name of a token", 0},
        {"", "{\"hash\": \"" HASH "\"}", "this cannot be the name of a token", 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rights_doc d = json(rows[i].name, rows[i].content);
        struct token_doc t = {.expires_ms = -1};
        struct err err = ERR_NULL;

        CHECK_I64(token_read(&d, &t, &err), rows[i].text ? ERR_INVALID : 0);
        if (rows[i].text)
            CHECK_STR(str_c(err.text), str_c(rows[i].text));
        CHECK_I64(t.expires_ms, rows[i].text ? -1 : rows[i].expires_ms);
    }
}

TEST("names, notes and lists are bounded")
{
    owned(buf) struct buf many = BUF_NULL(MIB);
    char name[SUBJECT_NAME_MAX + 2], subject[SUBJECT_BYTES_MAX + 8];
    struct grant_doc g;
    struct rights_doc d;

    memset(name, 'n', sizeof(name));
    CHECK_I64(token_name_check(str_of(name, TOKEN_NAME_MAX), NULL), 0);
    CHECK_I64(token_name_check(str_of(name, TOKEN_NAME_MAX + 1), NULL), ERR_INVALID);
    (void)snprintf(subject, sizeof(subject), "cert:%.*s", SUBJECT_NAME_MAX, name);
    CHECK_I64(subject_check(str_c(subject), NULL), 0);
    (void)snprintf(subject, sizeof(subject), "oidc:%.*s", SUBJECT_NAME_MAX + 1, name);
    CHECK_I64(subject_check(str_c(subject), NULL), ERR_LIMIT);
    buf_put_c(&many, "{\"subject\": \"token:ci\", \"role\": \"view\", \"namespaces\": [\"a\"");
    for (int i = 0; i < GRANT_SPACES_MAX; i++)
        buf_printf(&many, ", \"n%d\"", i);
    buf_put_c(&many, "]}");
    d = doc_of("x", buf_str(&many), 1);
    CHECK_I64(grant_read(&d, &g, NULL), ERR_LIMIT);
}

TEST("documents are read whole or not at all when memory runs out")
{
    struct rights_doc d = json("x", GRANT("token:ci", "view", "[\"shop\", \"bank\"]"));
    struct rights_doc yaml = {.name = STR("x"),
                              .content_type = STR("application/yaml"),
                              .content = STR("subject: cert:a\nrole: view\nnamespaces: [b]\n")};
    struct grant_doc g;
    int r = ERR_NOMEM;

    ALLOC_SWEEP (n) {
        r = grant_read(&d, &g, NULL);
        CHECK(r == 0 || (r == ERR_NOMEM && !g.value));
        if (!r)
            grant_doc_deinit(&g);
    }
    CHECK_I64(r, 0);
    ALLOC_SWEEP (n) {
        r = grant_read(&yaml, &g, NULL);
        CHECK(r == 0 || (r == ERR_NOMEM && !g.value));
        if (!r)
            grant_doc_deinit(&g);
    }
    CHECK_I64(r, 0);
}

/* ---- commits ---- */

static int put(struct state **s, const char *id, const char *content, bool has_local_admin,
               struct err *err)
{
    struct change c = {
        .id = str_c(id), .content = content ? str_c(content) : STR_NULL, .delete = !content};

    return commit_to(
        s,
        &(struct commit){
            .changes = &c, .n = 1, .author = STR("ann"), .has_local_admin = has_local_admin},
        err);
}

static unsigned ask(const struct state *s, const char *subject, const char *space)
{
    return rights_of_subject(s->rights, subject, space);
}

TEST("a commit of a grant gives rights, and states before it stay as they were")
{
    struct state *s = state_new(), *before;
    struct err err;

    CHECK_I64(put(&s, "shop/item/x", "1", true, &err), 0);
    CHECK(!s->rights);
    CHECK_I64(put(&s, "trimtab/grant/ci", GRANT("token:ci", "view", "[\"shop\"]"), true, &err),
              0);
    CHECK_U64(ask(s, "token:ci", "shop/prod"), RIGHT_TO_VIEW);
    before = state_ref(s);
    CHECK_I64(put(&s, "shop/item/x", "2", true, &err), 0);
    CHECK(s->rights == before->rights); /* shared by what touches no grant */
    CHECK_I64(
        put(&s, "trimtab/grant/ci", GRANT("token:ci", "publish", "[\"bank\"]"), true, &err), 0);
    CHECK(!ask(s, "token:ci", "shop") && (ask(s, "token:ci", "bank") & RIGHT_TO_PUBLISH));
    CHECK_U64(ask(before, "token:ci", "shop/prod"), RIGHT_TO_VIEW);
    CHECK_I64(put(&s, "trimtab/grant/ci", NULL, true, &err), 0);
    CHECK(!ask(s, "token:ci", "bank"));
    (void)state_unref(before);
    (void)state_unref(s);
}

TEST("a commit of a grant or token that is none is refused at its place")
{
    struct state *s = state_new();
    struct err err;

    CHECK_I64(put(&s, "trimtab/grant/ci", "{\"role\": \"view\"}", true, &err), ERR_INVALID);
    CHECK_STR(str_c(err.place), STR("trimtab/grant/ci"));
    CHECK_STR(str_c(err.text), STR("a grant needs \"subject\""));
    CHECK_I64(put(&s, "trimtab/grant/ci", "{\"role\": ", true, &err), ERR_INVALID);
    CHECK_STR(str_c(err.place), STR("trimtab/grant/ci"));
    CHECK(err.line == 1 && err.column > 1);
    CHECK_I64(put(&s, "trimtab/token/ci", "{\"hash\": \"x\"}", true, &err), ERR_INVALID);
    CHECK_STR(str_c(err.place), STR("trimtab/token/ci"));
    CHECK_I64(put(&s, "trimtab/token/c+i", "{\"hash\": \"" HASH "\"}", true, &err),
              ERR_INVALID);
    CHECK_I64(
        put(&s, "trimtab/sub/grant/ci", GRANT("token:ci", "view", "[\"shop\"]"), true, &err),
        ERR_INVALID);
    CHECK(!s->rights && s->revision == 0);
    (void)state_unref(s);
}

TEST("a commit that leaves nobody with admin on everything is refused, unless the server's own "
     "tokens give it")
{
    struct state *s = state_new();
    struct err err;

    CHECK_I64(put(&s, "trimtab/grant/ci", GRANT("token:ci", "view", "[\"shop\"]"), false, &err),
              ERR_CONFLICT);
    CHECK_STR(str_c(err.text), STR("after this nobody would have admin on everything"));
    CHECK_I64(
        put(&s, "trimtab/grant/root", GRANT("token:root", "admin", "[\"*\"]"), false, &err),
        ERR_CONFLICT); /* the token is not there */
    CHECK_I64(commit_changes(
                  &s,
                  (struct change[]){{.id = STR("trimtab/token/root"),
                                     .content = STR("{\"hash\": \"" HASH "\"}")},
                                    {.id = STR("trimtab/grant/root"),
                                     .content = STR(GRANT("token:root", "admin", "[\"*\"]"))}},
                  2, &err),
              0);
    CHECK_I64(put(&s, "trimtab/grant/ci", GRANT("token:ci", "view", "[\"shop\"]"), false, &err),
              0);
    CHECK_I64(put(&s, "trimtab/grant/root", NULL, false, &err), ERR_CONFLICT);
    CHECK_I64(put(&s, "trimtab/token/root", NULL, false, &err), ERR_CONFLICT);
    CHECK_I64(
        put(&s, "trimtab/grant/root", GRANT("token:root", "admin", "[\"shop\"]"), false, &err),
        ERR_CONFLICT);
    CHECK_I64(put(&s, "trimtab/token/root", NULL, true, &err), 0);
    (void)state_unref(s);
}

TEST("two tokens cannot have one hash")
{
    struct state *s = state_new();
    struct err err;

    CHECK_I64(put(&s, "trimtab/token/one", "{\"hash\": \"" HASH "\"}", true, &err), 0);
    CHECK_I64(put(&s, "trimtab/token/two", "{\"hash\": \"" HASH "\"}", true, &err), ERR_EXISTS);
    CHECK_STR(str_c(err.place), STR("trimtab/token/two"));
    CHECK_STR(str_c(err.text), STR("the token one has this hash already"));
    CHECK_I64(put(&s, "trimtab/token/one",
                  "{\"hash\": \"" HASH "\", \"expires\": \"2030-01-01T00:00:00Z\"}", true,
                  &err),
              0);
    CHECK_I64(
        commit_to(
            &s,
            &(struct commit){
                .changes = (struct change[]){{.id = STR("trimtab/token/one"), .delete = true},
                                             {.id = STR("trimtab/token/two"),
                                              .content = STR("{\"hash\": \"" HASH "\"}")}},
                .n = 2,
                .author = STR("ann"),
                .has_local_admin = true},
            &err),
        0);
    CHECK_STR(token_by_secret(s->rights, "test")->name, STR("two"));
    (void)state_unref(s);
}

TEST("a commit of grants without memory leaves the state as it is")
{
    struct state *s = state_new();
    struct err err;
    int r = ERR_NOMEM;

    CHECK_I64(put(&s, "trimtab/grant/ci", GRANT("token:ci", "view", "[\"shop\"]"), true, &err),
              0);
    ALLOC_SWEEP (n) {
        struct state *next = state_ref(s);

        r = put(&next, "trimtab/grant/ci", GRANT("token:ci", "edit", "[\"bank\"]"), true, &err);
        CHECK(r == 0 || (r == ERR_NOMEM && next == s));
        (void)state_unref(next);
    }
    CHECK_I64(r, 0);
    CHECK_U64(ask(s, "token:ci", "shop"), RIGHT_TO_VIEW);
    (void)state_unref(s);
}
