/*
 * Tokens and roles. See auth.h.
 */
#include "server/hub/auth.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/text.h"
#include "base/vec.h"

#include <openssl/crypto.h>
#include <sys/stat.h>

enum { TOKENS_FILE_MAX = 1 << 20, AUTH_PATH_MAX = 4096 };

struct token {
    char name[AUTH_NAME_MAX];
    unsigned rights;
    struct sha256 hash;
};

struct auth {
    char path[AUTH_PATH_MAX];       /* of the tokens file */
    char admin_path[AUTH_PATH_MAX]; /* of the first token in clear */
    unsigned tls_rights;
    VEC(struct token) tokens;
};

bool auth_role(struct str role, unsigned *ret_rights)
{
    static const struct {
        struct str name;
        unsigned rights;
    } roles[] = {
        {STR("admin"), RIGHT_SUBSCRIBE | RIGHT_READ | RIGHT_WRITE | RIGHT_OPERATE},
        {STR("publisher"), RIGHT_SUBSCRIBE | RIGHT_READ | RIGHT_WRITE},
        {STR("reader"), RIGHT_SUBSCRIBE | RIGHT_READ},
        {STR("agent"), RIGHT_SUBSCRIBE},
        {STR("none"), RIGHT_NONE},
    };

    for (size_t i = 0; i < ARRAY_LEN(roles); i++)
        if (str_eq(roles[i].name, role)) {
            *ret_rights = roles[i].rights;
            return true;
        }
    return false;
}

/* ---- the file ---- */

static int line_wrong(const struct auth *a, uint32_t line, const char *what, struct err *err)
{
    (void)err_set(err, ERR_INVALID, "%s", what);
    err_place(err, "%s", a->path);
    err_at(err, line, 1);
    err_hint(err, "a line is: name role sha256-of-the-token-in-hexadecimal");
    return ERR_INVALID;
}

static int parse_line(const struct auth *a, struct str line, uint32_t number, struct token *t,
                      struct err *err)
{
    struct str name, role, hash = STR_NULL, rest = line;

    memset(t, 0, sizeof(*t));
    if (!str_next(&rest, ' ', &name) || !str_next(&rest, ' ', &role) ||
        !str_next(&rest, ' ', &hash))
        return line_wrong(a, number, "a token needs three words", err);
    if (name.len == 0 || name.len >= AUTH_NAME_MAX || !text_is_plain(name, TEXT_LINE))
        return line_wrong(a, number, "the name is empty, too long, or no plain text", err);
    if (!auth_role(role, &t->rights))
        return line_wrong(a, number, "no such role (admin, publisher, reader, agent, none)",
                          err);
    if (!hex_decode(hash, t->hash.bytes, SHA256_BYTES))
        return line_wrong(a, number, "the hash is not 64 hexadecimal digits", err);
    memcpy(t->name, name.data, name.len);
    return 0;
}

int auth_reload(struct auth *a, struct err *err)
{
    owned(buf) struct buf text = BUF_NULL(TOKENS_FILE_MAX);
    __typeof__(a->tokens) tokens = {0};
    struct str rest, line;
    uint32_t number = 0;
    struct stat st;
    int r = file_read(a->path, &text, err);

    if (r)
        return r;
    if (stat(a->path, &st) == 0 && (st.st_mode & 077)) {
        (void)err_set(err, ERR_DENIED, "%s can be read by others", a->path);
        err_hint(err, "chmod 600 %s", a->path);
        return ERR_DENIED;
    }
    rest = buf_str(&text);
    while (!r && str_next(&rest, '\n', &line)) {
        struct token t;

        number++;
        line = str_trim(line);
        if (line.len == 0 || line.data[0] == '#')
            continue;
        r = parse_line(a, line, number, &t, err);
        if (!r && !VEC_PUSH(&tokens, t))
            r = ERR_NOMEM;
    }
    if (r) {
        VEC_DEINIT(&tokens);
        return r;
    }
    VEC_DEINIT(&a->tokens);
    memcpy(&a->tokens, &tokens, sizeof(tokens));
    return 0;
}

/* The first token: in clear for its owner, hashed for us. The clear one is written first: nothing is lost by a crash. */
static int make_first(struct auth *a, struct err *err)
{
    unsigned char bytes[AUTH_TOKEN_BYTES];
    char token[2 * AUTH_TOKEN_BYTES + 2], line[256], hex[SHA256_HEX_BYTES + 1];
    struct sha256 hash;
    int r = random_bytes(bytes, sizeof(bytes));

    if (r)
        return err_set(err, r, "the system has no random numbers");
    hex_encode(bytes, sizeof(bytes), token);
    hash = sha256_of(str_c(token));
    hex_encode(hash.bytes, sizeof(hash.bytes), hex);
    (void)snprintf(line, sizeof(line), "# name role sha256(token)\nadmin admin %s\n", hex);
    token[sizeof(token) - 2] = '\n';
    r = file_replace(a->admin_path, str_of(token, sizeof(token) - 1), 0600, err);
    if (!r)
        r = file_replace(a->path, str_c(line), 0600, err);
    OPENSSL_cleanse(token, sizeof(token));
    return r;
}

int auth_open(const char *data_dir, const char *tls_client_role, struct auth **ret_auth,
              bool *ret_made, struct err *err)
{
    struct auth *a = NEW(struct auth);
    struct stat st;
    int r = 0;

    if (!a)
        return ERR_NOMEM;
    *ret_made = false;
    if (!auth_role(str_c(tls_client_role), &a->tls_rights))
        r = err_set(err, ERR_INVALID, "tls_client_role: there is no role \"%s\"",
                    tls_client_role);
    (void)snprintf(a->path, sizeof(a->path), "%s/tokens", data_dir);
    (void)snprintf(a->admin_path, sizeof(a->admin_path), "%s/admin.token", data_dir);
    if (!r && stat(a->path, &st)) {
        r = make_first(a, err);
        *ret_made = !r;
    }
    if (!r)
        r = auth_reload(a, err);
    if (r) {
        (void)auth_free(a);
        return r;
    }
    *ret_auth = a;
    return 0;
}

struct auth *auth_free(struct auth *a)
{
    if (a)
        VEC_DEINIT(&a->tokens);
    return mem_free(a);
}

/* ---- the question ---- */

static const struct token *find_token(const struct auth *a, struct str authorization)
{
    const struct token *found = NULL;
    struct sha256 hash;

    if (authorization.len < 7 || !str_eq_nocase(str_part(authorization, 0, 7), STR("bearer ")))
        return NULL;
    hash = sha256_of(str_trim(str_from(authorization, 7)));
    for (size_t i = 0; i < a->tokens.n; i++)
        if (CRYPTO_memcmp(hash.bytes, a->tokens.at[i].hash.bytes, SHA256_BYTES) == 0)
            found = &a->tokens.at[i];
    return found;
}

static bool identify(const struct auth *a, const struct credentials *c, struct identity *id)
{
    const struct token *t = find_token(a, c->authorization);

    memset(id, 0, sizeof(*id));
    if (t) {
        memcpy(id->name, t->name, sizeof(id->name));
        id->rights = t->rights;
        id->token = t->hash;
        return true;
    }
    if (c->authorization.len || !c->tls_name.len || !a->tls_rights)
        return false;
    if (c->tls_name.len + sizeof("cert:") > sizeof(id->name)) /* cut, two could have one name */
        return false;
    if (!text_is_plain(c->tls_name, TEXT_LINE)) /* everybody is shown it */
        return false;
    (void)snprintf(id->name, sizeof(id->name), "cert:%.*s", STR_ARG(c->tls_name));
    id->rights = a->tls_rights;
    id->is_certificate = true;
    return true;
}

bool auth_holds(const struct auth *a, const struct identity *id, enum right right)
{
    if (id->is_certificate)
        return (a->tls_rights & right) == right;
    for (size_t i = 0; i < a->tokens.n; i++) {
        const struct token *t = &a->tokens.at[i];

        if (sha256_eq(&t->hash, &id->token) && strcmp(t->name, id->name) == 0)
            return (t->rights & right) == right;
    }
    return false;
}

int auth_check(const struct auth *a, const struct credentials *c, enum right right,
               struct identity *ret_identity, struct err *err)
{
    if (!identify(a, c, ret_identity)) {
        if (right == RIGHT_NONE)
            return 0;
        (void)err_set(err, ERR_UNAUTHENTICATED, "%s",
                      c->authorization.len ? "the token is not known" : "a token is needed");
        err_hint(err, "send the header \"authorization: Bearer TOKEN\"");
        return ERR_UNAUTHENTICATED;
    }
    if ((ret_identity->rights & right) != right) {
        (void)err_set(err, ERR_DENIED, "%s has no right to do this", ret_identity->name);
        err_hint(err, "ask for a token with a role that has it");
        return ERR_DENIED;
    }
    return 0;
}
