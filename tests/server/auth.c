/*
 * Tokens and roles: the file, its mode, reloading, what is published, and who holds which right (I11).
 */
#include "base/file.h"
#include "base/hash.h"
#include "model/lines.h"
#include "server/hub/auth.h"
#include "tap.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[4096];

static const char *in_dir(const char *name)
{
    (void)snprintf(path, sizeof(path), "%s/%s", tap_tmpdir(), name);
    return path;
}

static void write_tokens(const char *text, mode_t mode)
{
    CHECK_I64(file_replace(in_dir("tokens"), str_c(text), mode, NULL), 0);
    CHECK_I64(chmod(in_dir("tokens"), mode), 0);
}

/* "name role hash-of-the-token" */
static const char *line_of(const char *name, const char *role, const char *token)
{
    static char lines[4][256];
    static int at;
    char *line = lines[at++ % 4], hex[SHA256_HEX_BYTES + 1];
    struct sha256 hash = sha256_of(str_c(token));

    hex_encode(hash.bytes, SHA256_BYTES, hex);
    (void)snprintf(line, sizeof(lines[0]), "%s %s %s\n", name, role, hex);
    return line;
}

static struct auth *open_auth(const char *tls_role, bool *ret_made, int *ret, struct err *err)
{
    struct auth *a = NULL;

    *ret = auth_open(tap_tmpdir(), tls_role, &a, ret_made, err);
    return *ret ? NULL : a;
}

/* Whether who comes so has these rights; RIGHTS_NONE: whether he is known. */
static int ask_with(struct auth *a, const struct credentials *c, unsigned rights,
                    struct identity *who)
{
    owned(auth_record_unref) struct auth_record *r = auth_current(a);
    int rc = auth_identify(r, c, clock_now(), who, NULL);

    if (rc)
        return rc;
    return auth_may_somewhere(r, who, (enum right_to)rights) ? 0 : ERR_DENIED;
}

static int ask(struct auth *a, const char *authorization, unsigned rights, struct identity *who)
{
    struct credentials c = {.authorization = str_c(authorization)};
    struct identity other;

    return ask_with(a, &c, rights, who ? who : &other);
}

/* Whether who was let in once would still be, with these rights. */
static bool holds(struct auth *a, const struct identity *who, unsigned rights)
{
    owned(auth_record_unref) struct auth_record *r = auth_current(a);
    struct identity now = *who;

    return auth_renew(r, &now, clock_now()) &&
           auth_may_somewhere(r, &now, (enum right_to)rights);
}

TEST("the first start makes one token, for its owner only, that may do everything")
{
    owned(buf) struct buf token = BUF_NULL(4096);
    char header[256];
    struct identity who;
    struct stat st;
    bool made;
    int r;
    struct auth *a = open_auth("none", &made, &r, NULL);

    REQUIRE(a && made);
    CHECK(stat(in_dir("tokens"), &st) == 0 && (st.st_mode & 0777) == 0600);
    CHECK(stat(in_dir("admin.token"), &st) == 0 && (st.st_mode & 0777) == 0600);
    CHECK_I64(file_read(in_dir("admin.token"), &token, NULL), 0);
    (void)snprintf(header, sizeof(header), "bEaReR  %.*s", STR_ARG(str_trim(buf_str(&token))));
    CHECK_I64(ask(a, header,
                  RIGHT_TO_SUBSCRIBE | RIGHT_TO_VIEW | RIGHT_TO_PUBLISH | RIGHT_TO_ADMIN, &who),
              0);
    CHECK_STR(str_c(who.name), STR("admin"));
    a = auth_free(a);
    a = open_auth("none", &made, &r, NULL); /* the second start makes none */
    REQUIRE(a && !made);
    CHECK_I64(ask(a, header, RIGHT_TO_PUBLISH, NULL), 0);
    (void)auth_free(a);
}

TEST("each role has its rights and no others")
{
    enum { ASKED = RIGHT_TO_SUBSCRIBE | RIGHT_TO_VIEW | RIGHT_TO_PUBLISH | RIGHT_TO_ADMIN };
    static const struct {
        const char *role;
        unsigned rights;
    } roles[] = {
        {"admin", RIGHT_TO_SUBSCRIBE | RIGHT_TO_VIEW | RIGHT_TO_PUBLISH | RIGHT_TO_ADMIN},
        {"publisher", RIGHT_TO_SUBSCRIBE | RIGHT_TO_VIEW | RIGHT_TO_PUBLISH},
        {"reader", RIGHT_TO_SUBSCRIBE | RIGHT_TO_VIEW},
        {"agent", RIGHT_TO_SUBSCRIBE},
        {"none", 0},
        {"metrics", 0},
        {"view", RIGHT_TO_VIEW},
        {"subscribe", RIGHT_TO_SUBSCRIBE},
        {"publish", RIGHT_TO_VIEW | RIGHT_TO_PUBLISH},
        {"operate", RIGHT_TO_VIEW},
    };
    bool made;
    int r;

    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        struct auth *a;

        write_tokens(line_of("x", roles[i].role, "secret"), 0600);
        a = open_auth("none", &made, &r, NULL);
        REQUIRE(a != NULL);
        for (unsigned right = 1; right <= RIGHTS_ALL; right <<= 1)
            if (right & ASKED)
                CHECK_I64(ask(a, "Bearer secret", right, NULL),
                          roles[i].rights & right ? 0 : ERR_DENIED);
        CHECK_I64(ask(a, "Bearer secret", RIGHTS_NONE, NULL), 0);
        (void)auth_free(a);
    }
}

TEST("no token, a wrong one and another scheme are not known")
{
    static const char *const wrong[] = {
        "",       "Bearer",          "Bearer ",     "Bearer wrong", "Basic secret",
        "secret", "Bearer secret x", "Bearersecret"};
    bool made;
    int r;
    struct auth *a;

    write_tokens(line_of("x", "admin", "secret"), 0600);
    a = open_auth("none", &made, &r, NULL);
    REQUIRE(a != NULL);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        if (!CHECK_I64(ask(a, wrong[i], RIGHT_TO_SUBSCRIBE, NULL), ERR_UNAUTHENTICATED))
            tap_note("with \"%s\"", wrong[i]);
    }
    (void)auth_free(a);
}

TEST("a file of tokens that is wrong is told with its line")
{
    static const struct {
        const char *text;
        uint32_t line;
    } wrong[] = {
        {"x\n", 1},
        {"# a comment\n\nx admin\n", 3},
        {"x boss 00\n", 1},
        {"x admin 00\n", 1},
        {"x admin zz"
         "00000000000000000000000000000000000000000000000000000000000000\n",
         1},
        {"0123456789012345678901234567890123456789012345678901234567890123456789 admin "
         "0000000000000000000000000000000000000000000000000000000000000000\n",
         1},
    };

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct err err = ERR_NULL;
        bool made;
        int r;

        write_tokens(wrong[i].text, 0600);
        CHECK(open_auth("none", &made, &r, &err) == NULL);
        CHECK_I64(r, ERR_INVALID);
        CHECK_U64(err.line, wrong[i].line);
        CHECK(strstr(err.place, "/tokens") != NULL);
    }
}

TEST("a file of tokens that others may read is refused")
{
    static const mode_t modes[] = {0640, 0604, 0620, 0602, 0610};

    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        struct err err = ERR_NULL;
        bool made;
        int r;

        write_tokens(line_of("x", "admin", "secret"), modes[i]);
        CHECK(open_auth("none", &made, &r, &err) == NULL);
        CHECK_I64(r, ERR_DENIED);
        CHECK(strstr(err.hint, "chmod 600") != NULL);
    }
}

TEST("reloading takes new tokens, and keeps the former ones when it fails")
{
    bool made;
    int r;
    struct auth *a;

    write_tokens(line_of("x", "admin", "one"), 0600);
    a = open_auth("none", &made, &r, NULL);
    REQUIRE(a != NULL);
    write_tokens("nonsense\n", 0600);
    CHECK_I64(auth_reload(a, NULL), ERR_INVALID);
    CHECK_I64(ask(a, "Bearer one", RIGHT_TO_PUBLISH, NULL), 0);
    write_tokens(line_of("x", "admin", "two"), 0644);
    CHECK_I64(auth_reload(a, NULL), ERR_DENIED);
    CHECK_I64(ask(a, "Bearer one", RIGHT_TO_PUBLISH, NULL), 0);
    CHECK_I64(unlink(in_dir("tokens")), 0);
    CHECK(auth_reload(a, NULL) < 0);
    CHECK_I64(ask(a, "Bearer one", RIGHT_TO_PUBLISH, NULL), 0);
    write_tokens(line_of("x", "admin", "two"), 0600);
    CHECK_I64(auth_reload(a, NULL), 0);
    CHECK_I64(ask(a, "Bearer one", RIGHT_TO_PUBLISH, NULL), ERR_UNAUTHENTICATED);
    CHECK_I64(ask(a, "Bearer two", RIGHT_TO_PUBLISH, NULL), 0);
    (void)auth_free(a);
}

TEST("who was let in holds the right until the token, its name or its role goes")
{
    struct identity who;
    bool made;
    int r;
    struct auth *a;

    write_tokens(line_of("x", "agent", "one"), 0600);
    a = open_auth("none", &made, &r, NULL);
    REQUIRE(a && ask(a, "Bearer one", RIGHT_TO_SUBSCRIBE, &who) == 0);
    CHECK(holds(a, &who, RIGHT_TO_SUBSCRIBE) && !holds(a, &who, RIGHT_TO_VIEW));
    write_tokens(line_of("x", "reader", "one"), 0600);
    CHECK(auth_reload(a, NULL) == 0 && holds(a, &who, RIGHT_TO_SUBSCRIBE));
    write_tokens(line_of("x", "none", "one"), 0600);
    CHECK(auth_reload(a, NULL) == 0 && !holds(a, &who, RIGHT_TO_SUBSCRIBE));
    write_tokens(line_of("x", "agent", "two"), 0600); /* a new token for the old name */
    CHECK(auth_reload(a, NULL) == 0 && !holds(a, &who, RIGHT_TO_SUBSCRIBE));
    write_tokens(line_of("y", "agent", "one"), 0600);
    CHECK(auth_reload(a, NULL) == 0 && !holds(a, &who, RIGHT_TO_SUBSCRIBE));
    (void)auth_free(a);
}

TEST("a certificate has the role of the setting, unless a token comes with it")
{
    struct credentials c = {.tls_name = STR("host-1")};
    struct identity who;
    struct err err = ERR_NULL;
    char long_name[AUTH_NAME_MAX + 1];
    bool made;
    int r;
    struct auth *a;

    write_tokens(line_of("x", "admin", "one"), 0600);
    CHECK(open_auth("boss", &made, &r, &err) == NULL && r == ERR_INVALID);
    a = open_auth("agent", &made, &r, NULL);
    REQUIRE(a != NULL);
    CHECK_I64(ask_with(a, &c, RIGHT_TO_SUBSCRIBE, &who), 0);
    CHECK_STR(str_c(who.name), STR("cert:host-1"));
    CHECK(holds(a, &who, RIGHT_TO_SUBSCRIBE) && !holds(a, &who, RIGHT_TO_VIEW));
    CHECK_I64(ask_with(a, &c, RIGHT_TO_VIEW, &who), ERR_DENIED);
    c.authorization = STR("Bearer wrong"); /* a wrong token is not made good by a certificate */
    CHECK_I64(ask_with(a, &c, RIGHT_TO_SUBSCRIBE, &who), ERR_UNAUTHENTICATED);
    memset(long_name, 'n', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    c = (struct credentials){.tls_name =
                                 str_c(long_name)}; /* cut, it could be that of another */
    CHECK_I64(ask_with(a, &c, RIGHT_TO_SUBSCRIBE, &who), ERR_UNAUTHENTICATED);
    (void)auth_free(a);
    a = open_auth("none", &made, &r, NULL);
    REQUIRE(a != NULL);
    c.tls_name = STR("host-1");
    CHECK_I64(ask_with(a, &c, RIGHT_TO_SUBSCRIBE, &who), ERR_UNAUTHENTICATED);
    (void)auth_free(a);
}

TEST("tokens are read whole or not at all when memory runs out")
{
    bool made;
    int r;
    struct auth *a;

    write_tokens(line_of("x", "admin", "one"), 0600);
    a = open_auth("none", &made, &r, NULL);
    REQUIRE(a != NULL);
    write_tokens(line_of("x", "admin", "two"), 0600);
    ALLOC_SWEEP (n) {
        r = auth_reload(a, NULL);
        if (r)
            CHECK_I64(ask(a, "Bearer one", RIGHT_TO_PUBLISH, NULL), 0);
    }
    CHECK_I64(r, 0);
    CHECK_I64(ask(a, "Bearer two", RIGHT_TO_PUBLISH, NULL), 0);
    (void)auth_free(a);
}

/* ---- what is published ---- */

enum { HOUR_MS = 3600 * 1000 };
static const nsec_t start = 1000 * NSEC_PER_S;
static const int64_t wall = 1798761600000; /* 2027-01-01T00:00:00Z */

static nsec_t after_ms(int64_t ms)
{
    return start + (nsec_t)ms * NSEC_PER_MS;
}

/* A server whose file has the token "root" of the role admin. */
static struct auth *open_rooted(void)
{
    bool made;
    int r;

    write_tokens(line_of("root", "admin", "root"), 0600);
    return open_auth("none", &made, &r, NULL);
}

/* "ci" may publish in shop, its secret is "one", good for an hour; a certificate host-1 may subscribe there. */
static struct rights *published(void)
{
    struct rights *r = RIGHTS_OF({"a", "token:ci", "publish", "shop"},
                                 {"b", "cert:host-1", "subscribe", "shop"},
                                 {"c", "token:root", "subscribe", "bank"});

    CHECK_I64(step_token_line(&r,
                              &(struct token_line){"ci", .after = "one",
                                                   .after_expires = "2027-01-01T01:00:00Z"},
                              4),
              0);
    return r;
}

static int identify(struct auth *a, const char *authorization, const char *tls_name, nsec_t now,
                    struct identity *who, struct err *err)
{
    owned(auth_record_unref) struct auth_record *record = auth_current(a);
    struct credentials c = {str_c(authorization), str_c(tls_name)};
    struct identity other;

    return auth_identify(record, &c, now, who ? who : &other, err);
}

static int may(struct auth *a, const struct identity *who, enum right_to right,
               const char *space)
{
    owned(auth_record_unref) struct auth_record *record = auth_current(a);

    return auth_may(record, who, right, str_c(space), NULL);
}

TEST("a published token comes in until it expires, and may do what is granted to it, where it "
     "is")
{
    struct auth *a = open_rooted();
    struct rights *r = published();
    struct identity who;
    struct err err = ERR_NULL;

    REQUIRE(a != NULL);
    CHECK_I64(identify(a, "Bearer one", "", start, NULL, NULL), ERR_UNAUTHENTICATED);
    CHECK_I64(auth_take(a, r, start, wall), 0);
    REQUIRE(identify(a, "Bearer one", "", start, &who, NULL) == 0);
    CHECK_STR(str_c(who.name), STR("ci"));
    CHECK_STR(str_c(who.subject), STR("token:ci"));
    CHECK_I64(may(a, &who, RIGHT_TO_PUBLISH, "shop/prod"), 0);
    CHECK_I64(may(a, &who, RIGHT_TO_PUBLISH, "shopping"), ERR_DENIED);
    CHECK_I64(may(a, &who, RIGHT_TO_ADMIN, "shop"), ERR_DENIED);
    CHECK_I64(identify(a, "Bearer one", "", after_ms(HOUR_MS - 1), NULL, NULL), 0);
    CHECK_I64(identify(a, "Bearer one", "", after_ms(HOUR_MS), NULL, &err),
              ERR_UNAUTHENTICATED);
    CHECK_STR(str_c(err.text), STR("the token has expired"));
    CHECK_I64(identify(a, "Bearer ", "", start, NULL, NULL), ERR_UNAUTHENTICATED);
    (void)rights_unref(r);
    (void)auth_free(a);
}

TEST("a token of the file has its role on everything, and what is granted to its name besides")
{
    struct rights *r = published();
    struct identity root, agent;
    struct auth *a;
    bool made;
    int rc;

    write_tokens(line_of("root", "none", "root"), 0600);
    a = open_auth("none", &made, &rc, NULL);
    REQUIRE(a && auth_take(a, r, start, wall) == 0);
    REQUIRE(identify(a, "Bearer root", "", start, &root, NULL) == 0);
    CHECK_I64(may(a, &root, RIGHT_TO_SUBSCRIBE, "bank"), 0);
    CHECK_I64(may(a, &root, RIGHT_TO_SUBSCRIBE, "shop"), ERR_DENIED);
    (void)auth_free(a);
    write_tokens(line_of("root", "agent", "root"), 0600);
    a = open_auth("none", &made, &rc, NULL);
    REQUIRE(a && identify(a, "Bearer root", "", start, &agent, NULL) == 0);
    CHECK_I64(may(a, &agent, RIGHT_TO_SUBSCRIBE, "anything"), 0);
    CHECK_I64(may(a, &agent, RIGHT_TO_VIEW, "anything"), ERR_DENIED);
    (void)auth_free(a);
    (void)rights_unref(r);
}

TEST("the file's own token wins over a published one with the same secret")
{
    struct auth *a = open_rooted();
    struct rights *r = NULL;
    struct identity who;

    CHECK_I64(step_token_line(&r, &(struct token_line){"thief", .after = "root"}, 1), 0);
    REQUIRE(a && auth_take(a, r, start, wall) == 0);
    REQUIRE(identify(a, "Bearer root", "", start, &who, NULL) == 0);
    CHECK_STR(str_c(who.name), STR("root"));
    CHECK_I64(may(a, &who, RIGHT_TO_ADMIN, ""), 0);
    (void)rights_unref(r);
    (void)auth_free(a);
}

TEST("a certificate is known by a grant, and one of which nothing is known is a stranger")
{
    struct auth *a = open_rooted();
    struct rights *r = published();
    struct identity who;

    REQUIRE(a && auth_take(a, r, start, wall) == 0);
    REQUIRE(identify(a, "", "host-1", start, &who, NULL) == 0);
    CHECK(who.is_certificate);
    CHECK_I64(may(a, &who, RIGHT_TO_SUBSCRIBE, "shop"), 0);
    CHECK_I64(may(a, &who, RIGHT_TO_SUBSCRIBE, "bank"), ERR_DENIED);
    CHECK_I64(identify(a, "", "host-2", start, NULL, NULL), ERR_UNAUTHENTICATED);
    CHECK_I64(identify(a, "", "", start, NULL, NULL), ERR_UNAUTHENTICATED);
    (void)rights_unref(r);
    (void)auth_free(a);
}

static bool renews(struct auth *a, struct identity *who, nsec_t now)
{
    owned(auth_record_unref) struct auth_record *record = auth_current(a);

    return auth_renew(record, who, now);
}

TEST("who came in stays until the token goes, expires, or belongs to another name")
{
    struct auth *a = open_rooted();
    struct rights *r = published(), *gone = NULL, *renamed = NULL;
    struct identity ci, host, root;

    REQUIRE(a && auth_take(a, r, start, wall) == 0);
    REQUIRE(identify(a, "Bearer one", "", start, &ci, NULL) == 0 &&
            identify(a, "", "host-1", start, &host, NULL) == 0 &&
            identify(a, "Bearer root", "", start, &root, NULL) == 0);
    CHECK(renews(a, &ci, after_ms(HOUR_MS - 1)) && !renews(a, &ci, after_ms(HOUR_MS)));
    CHECK(renews(a, &host, start));
    CHECK_I64(step_token_line(&renamed, &(struct token_line){"ci2", .after = "one"}, 1), 0);
    CHECK_I64(auth_take(a, renamed, start, wall), 0);
    CHECK(!renews(a, &ci, start) && !renews(a, &host, start) && renews(a, &root, start));
    CHECK_I64(auth_take(a, gone, start, wall), 0);
    CHECK(!renews(a, &ci, start) && renews(a, &root, start));
    write_tokens(line_of("root", "reader", "root"), 0600);
    CHECK_I64(auth_reload(a, NULL), 0);
    CHECK(root.local == RIGHTS_ALL && renews(a, &root, start) &&
          root.local == (RIGHT_TO_VIEW | RIGHT_TO_SUBSCRIBE));
    (void)rights_unref(r);
    (void)rights_unref(renamed);
    (void)auth_free(a);
}

static int64_t used(struct auth *a, const char *secret)
{
    owned(auth_record_unref) struct auth_record *record = auth_current(a);
    struct sha256 hash = sha256_of(str_c(secret));

    return auth_last_used(record, &hash);
}

TEST("the last use of a token is known from its first one on, also when a stream goes on, until the token goes")
{
    struct auth *a = open_rooted();
    struct rights *r = published(), *renamed = NULL;
    struct identity who;
    int64_t before = clock_wall_ms();

    REQUIRE(a && auth_take(a, r, start, wall) == 0);
    CHECK_I64(used(a, "one"), 0);
    CHECK_I64(identify(a, "Bearer one", "", after_ms(HOUR_MS), NULL, NULL), ERR_UNAUTHENTICATED);
    CHECK_I64(identify(a, "Bearer other", "", start, NULL, NULL), ERR_UNAUTHENTICATED);
    CHECK(used(a, "one") == 0 && used(a, "other") == 0);
    REQUIRE(identify(a, "Bearer one", "", start, &who, NULL) == 0);
    CHECK(used(a, "one") >= before);
    CHECK_I64(used(a, "root"), 0);
    CHECK_I64(auth_reload(a, NULL), 0);
    CHECK(used(a, "one") >= before);
    CHECK_I64(auth_take(a, NULL, start, wall), 0);
    CHECK_I64(used(a, "one"), 0);
    CHECK(!renews(a, &who, start) && used(a, "one") == 0);
    CHECK_I64(step_token_line(&renamed, &(struct token_line){"ci", .after = "one"}, 1), 0);
    CHECK_I64(auth_take(a, renamed, start, wall), 0);
    CHECK(renews(a, &who, start) && used(a, "one") >= before);
    (void)rights_unref(r);
    (void)rights_unref(renamed);
    (void)auth_free(a);
}

TEST("a reload keeps what is published, and steps of the wall clock no deadline")
{
    struct auth *a = open_rooted();
    struct rights *r = published(), *more;

    REQUIRE(a && auth_take(a, r, start, wall) == 0);
    more = rights_ref(r);
    CHECK_I64(step_grant(&more, NULL, &(struct line){"z", "token:ci", "view", "bank"}, 9), 0);
    CHECK_I64(auth_take(a, more, after_ms(1), wall + 1000LL * HOUR_MS), 0);
    CHECK_I64(auth_reload(a, NULL), 0);
    CHECK_I64(identify(a, "Bearer one", "", after_ms(HOUR_MS - 1), NULL, NULL), 0);
    CHECK_I64(identify(a, "Bearer one", "", after_ms(HOUR_MS), NULL, NULL),
              ERR_UNAUTHENTICATED);
    (void)rights_unref(r);
    (void)rights_unref(more);
    (void)auth_free(a);
}

TEST("what the file itself gives is counted, for a warning and for who keeps admin")
{
    owned(auth_record_unref) struct auth_record *record = NULL, *next = NULL;
    struct auth *a = open_rooted();
    char text[512];
    int n;

    REQUIRE(a != NULL);
    record = auth_current(a);
    CHECK(auth_has_local_admin(record) && auth_n_local(record) == 1);
    n = snprintf(text, sizeof(text), "%s", line_of("a", "none", "one"));
    (void)snprintf(text + n, sizeof(text) - (size_t)n, "%s", line_of("b", "publisher", "two"));
    write_tokens(text, 0600);
    CHECK_I64(auth_reload(a, NULL), 0);
    next = auth_current(a);
    CHECK(!auth_has_local_admin(next) && auth_n_local(next) == 1);
    CHECK(auth_has_local_admin(record)); /* a record that somebody holds stays as it was */
    (void)auth_free(a);
}

TEST("what is published is taken whole or not at all when memory runs out")
{
    struct auth *a = open_rooted();
    struct rights *r = published();
    int rc = ERR_NOMEM;

    REQUIRE(a != NULL);
    ALLOC_SWEEP (n) {
        rc = auth_take(a, r, start, wall);
        if (rc)
            CHECK_I64(identify(a, "Bearer one", "", start, NULL, NULL), ERR_UNAUTHENTICATED);
        CHECK_I64(identify(a, "Bearer root", "", start, NULL, NULL), 0);
    }
    CHECK_I64(rc, 0);
    CHECK_I64(identify(a, "Bearer one", "", start, NULL, NULL), 0);
    (void)rights_unref(r);
    (void)auth_free(a);
}

/* ---- several threads ---- */

enum { READERS = 3, RELOADS = 200 };

struct reader {
    pthread_t thread;
    struct auth *auth;
    _Atomic bool *stop;
    uint64_t n, n_wrong;
};

/* Whatever record it gets, the file's token is known, and a published one is whole: known and granted, or neither. */
static void *read_on(void *ctx)
{
    struct reader *q = ctx;
    struct credentials root = {.authorization = STR("Bearer root")};
    struct credentials ci = {.authorization = STR("Bearer one")};

    while (!atomic_load(q->stop)) {
        owned(auth_record_unref) struct auth_record *record = auth_current(q->auth);
        struct identity who;

        q->n_wrong += auth_identify(record, &root, start, &who, NULL) != 0;
        if (auth_identify(record, &ci, start, &who, NULL) == 0)
            q->n_wrong += auth_may(record, &who, RIGHT_TO_PUBLISH, STR("shop"), NULL) != 0;
        q->n++;
    }
    return NULL;
}

TEST("readers on other threads see one record or the next, never half of one")
{
    _Atomic bool stop = false;
    struct reader readers[READERS];
    struct auth *a = open_rooted();
    struct rights *r = published();

    REQUIRE(a != NULL);
    for (size_t i = 0; i < READERS; i++) {
        readers[i] = (struct reader){.auth = a, .stop = &stop};
        CHECK_I64(pthread_create(&readers[i].thread, NULL, read_on, &readers[i]), 0);
    }
    for (int i = 0; i < RELOADS; i++) {
        CHECK_I64(auth_take(a, i % 2 ? NULL : r, start, wall), 0);
        CHECK_I64(auth_reload(a, NULL), 0);
    }
    atomic_store(&stop, true);
    for (size_t i = 0; i < READERS; i++) {
        CHECK_I64(pthread_join(readers[i].thread, NULL), 0);
        CHECK_U64(readers[i].n_wrong, 0);
    }
    (void)rights_unref(r);
    (void)auth_free(a);
}
