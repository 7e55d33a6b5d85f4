/*
 * Tokens and roles: the file, its mode, reloading, and who holds which right (I11).
 */
#include "base/file.h"
#include "base/hash.h"
#include "server/hub/auth.h"
#include "tap.h"

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

static int ask(const struct auth *a, const char *authorization, enum right right,
               struct identity *who)
{
    struct credentials c = {.authorization = str_c(authorization)};
    struct identity other;

    return auth_check(a, &c, right, who ? who : &other, NULL);
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
    CHECK_I64(ask(a, header, RIGHT_SUBSCRIBE | RIGHT_READ | RIGHT_WRITE | RIGHT_OPERATE, &who),
              0);
    CHECK_STR(str_c(who.name), STR("admin"));
    a = auth_free(a);
    a = open_auth("none", &made, &r, NULL); /* the second start makes none */
    REQUIRE(a && !made);
    CHECK_I64(ask(a, header, RIGHT_WRITE, NULL), 0);
    (void)auth_free(a);
}

TEST("each role has its rights and no others")
{
    static const struct {
        const char *role;
        unsigned rights;
    } roles[] = {
        {"admin", RIGHT_SUBSCRIBE | RIGHT_READ | RIGHT_WRITE | RIGHT_OPERATE},
        {"publisher", RIGHT_SUBSCRIBE | RIGHT_READ | RIGHT_WRITE},
        {"reader", RIGHT_SUBSCRIBE | RIGHT_READ},
        {"agent", RIGHT_SUBSCRIBE},
        {"none", 0},
    };
    bool made;
    int r;

    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        struct auth *a;

        write_tokens(line_of("x", roles[i].role, "secret"), 0600);
        a = open_auth("none", &made, &r, NULL);
        REQUIRE(a != NULL);
        for (unsigned right = 1; right <= RIGHT_OPERATE; right <<= 1)
            CHECK_I64(ask(a, "Bearer secret", right, NULL),
                      roles[i].rights & right ? 0 : ERR_DENIED);
        CHECK_I64(ask(a, "Bearer secret", RIGHT_NONE, NULL), 0);
        (void)auth_free(a);
    }
}

TEST("no token, a wrong one and another scheme are not known, and may only do what everybody "
     "may")
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
        if (!CHECK_I64(ask(a, wrong[i], RIGHT_SUBSCRIBE, NULL), ERR_UNAUTHENTICATED))
            tap_note("with \"%s\"", wrong[i]);
        CHECK_I64(ask(a, wrong[i], RIGHT_NONE, NULL), 0);
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
    CHECK_I64(ask(a, "Bearer one", RIGHT_WRITE, NULL), 0);
    write_tokens(line_of("x", "admin", "two"), 0644);
    CHECK_I64(auth_reload(a, NULL), ERR_DENIED);
    CHECK_I64(ask(a, "Bearer one", RIGHT_WRITE, NULL), 0);
    CHECK_I64(unlink(in_dir("tokens")), 0);
    CHECK(auth_reload(a, NULL) < 0);
    CHECK_I64(ask(a, "Bearer one", RIGHT_WRITE, NULL), 0);
    write_tokens(line_of("x", "admin", "two"), 0600);
    CHECK_I64(auth_reload(a, NULL), 0);
    CHECK_I64(ask(a, "Bearer one", RIGHT_WRITE, NULL), ERR_UNAUTHENTICATED);
    CHECK_I64(ask(a, "Bearer two", RIGHT_WRITE, NULL), 0);
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
    REQUIRE(a && ask(a, "Bearer one", RIGHT_SUBSCRIBE, &who) == 0);
    CHECK(auth_holds(a, &who, RIGHT_SUBSCRIBE) && !auth_holds(a, &who, RIGHT_READ));
    write_tokens(line_of("x", "reader", "one"), 0600);
    CHECK(auth_reload(a, NULL) == 0 && auth_holds(a, &who, RIGHT_SUBSCRIBE));
    write_tokens(line_of("x", "none", "one"), 0600);
    CHECK(auth_reload(a, NULL) == 0 && !auth_holds(a, &who, RIGHT_SUBSCRIBE));
    write_tokens(line_of("x", "agent", "two"), 0600); /* a new token for the old name */
    CHECK(auth_reload(a, NULL) == 0 && !auth_holds(a, &who, RIGHT_SUBSCRIBE));
    write_tokens(line_of("y", "agent", "one"), 0600);
    CHECK(auth_reload(a, NULL) == 0 && !auth_holds(a, &who, RIGHT_SUBSCRIBE));
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
    CHECK_I64(auth_check(a, &c, RIGHT_SUBSCRIBE, &who, NULL), 0);
    CHECK_STR(str_c(who.name), STR("cert:host-1"));
    CHECK(auth_holds(a, &who, RIGHT_SUBSCRIBE) && !auth_holds(a, &who, RIGHT_READ));
    CHECK_I64(auth_check(a, &c, RIGHT_READ, &who, NULL), ERR_DENIED);
    c.authorization = STR("Bearer wrong"); /* a wrong token is not made good by a certificate */
    CHECK_I64(auth_check(a, &c, RIGHT_SUBSCRIBE, &who, NULL), ERR_UNAUTHENTICATED);
    memset(long_name, 'n', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    c = (struct credentials){.tls_name =
                                 str_c(long_name)}; /* cut, it could be that of another */
    CHECK_I64(auth_check(a, &c, RIGHT_SUBSCRIBE, &who, NULL), ERR_UNAUTHENTICATED);
    (void)auth_free(a);
    a = open_auth("none", &made, &r, NULL);
    REQUIRE(a != NULL);
    c.tls_name = STR("host-1");
    CHECK_I64(auth_check(a, &c, RIGHT_SUBSCRIBE, &who, NULL), ERR_UNAUTHENTICATED);
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
            CHECK_I64(ask(a, "Bearer one", RIGHT_WRITE, NULL), 0);
    }
    CHECK_I64(r, 0);
    CHECK_I64(ask(a, "Bearer two", RIGHT_WRITE, NULL), 0);
    (void)auth_free(a);
}
