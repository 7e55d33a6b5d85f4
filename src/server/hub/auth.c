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
#include "server/hub/last_used.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <sys/stat.h>

enum { TOKENS_FILE_MAX = 1 << 20, AUTH_PATH_MAX = 4096, ROLE_TEXT_MAX = 32 };

/* A line of the server's own file. */
struct local_token {
    char name[AUTH_NAME_MAX];
    char role[ROLE_TEXT_MAX];
    unsigned rights; /* on everything */
    struct sha256 hash;
};

struct auth_record {
    _Atomic uint32_t refs;
    unsigned tls_rights; /* on everything, of every verified certificate */
    VEC(struct local_token) tokens;
    struct rights *rights;
    struct deadlines *deadlines;
    struct last_used *used; /* of all records of one auth */
};

struct auth {
    char path[AUTH_PATH_MAX];       /* of the tokens file */
    char admin_path[AUTH_PATH_MAX]; /* of the first token in clear */
    unsigned tls_rights;
    struct last_used *used;
    pthread_mutex_t mutex;      /* between taking the pointer and the reference */
    struct auth_record *record; /* NULL only while it is opened */
};

bool auth_role(struct str role, unsigned *ret_rights)
{
    enum {
        READER = RIGHT_TO_VIEW | RIGHT_TO_SUBSCRIBE,
        PUBLISHER = READER | RIGHT_TO_EDIT | RIGHT_TO_PUBLISH | RIGHT_TO_APPROVE |
                    RIGHT_TO_REFER | RIGHT_TO_OPERATE | RIGHT_TO_RETRY | RIGHT_TO_RELEASE |
                    RIGHT_TO_STOP,
    };
    static const struct {
        struct str name;
        unsigned rights;
    } before[] = {
        {STR("publisher"), PUBLISHER},
        {STR("reader"), READER},
        {STR("agent"), RIGHT_TO_SUBSCRIBE},
        {STR("none"), RIGHTS_NONE},
    };
    const struct role *r = role_find(role);

    for (size_t i = 0; i < ARRAY_LEN(before); i++)
        if (str_eq(before[i].name, role)) {
            *ret_rights = before[i].rights;
            return true;
        }
    if (r)
        *ret_rights = r->rights;
    return r != NULL;
}

/* ---- records ---- */

struct auth_record *auth_record_ref(struct auth_record *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

struct auth_record *auth_record_unref(struct auth_record *r)
{
    if (r && atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) == 1) {
        VEC_DEINIT(&r->tokens);
        (void)rights_unref(r->rights);
        (void)deadlines_unref(r->deadlines);
        (void)last_used_unref(r->used);
        (void)mem_free(r);
    }
    return NULL;
}

/* An empty one, which only the caller holds; NULL without memory. */
static struct auth_record *record_new(const struct auth *a)
{
    struct auth_record *r = NEW(struct auth_record);

    if (!r)
        return NULL;
    atomic_init(&r->refs, 1);
    r->tls_rights = a->tls_rights;
    r->used = last_used_ref(a->used);
    return r;
}

struct auth_record *auth_current(struct auth *a)
{
    struct auth_record *r;

    (void)pthread_mutex_lock(&a->mutex);
    r = auth_record_ref(a->record);
    (void)pthread_mutex_unlock(&a->mutex);
    return r;
}

/* All tokens of a record, and no others, are kept among those whose last use is known. ERR_NOMEM. */
static int keep_used(const struct auth_record *r)
{
    VEC(struct sha256) hashes = {NULL};
    const struct token *t = NULL;
    bool ok = true;
    int rc;

    for (size_t i = 0; ok && i < r->tokens.n; i++)
        ok = VEC_PUSH(&hashes, r->tokens.at[i].hash);
    while (ok && (t = rights_token_next(r->rights, t)))
        ok = VEC_PUSH(&hashes, t->hash);
    rc = ok ? last_used_keep(r->used, hashes.at, hashes.n) : ERR_NOMEM;
    VEC_DEINIT(&hashes);
    return rc;
}

/* Consumes the reference to next. */
static void put_record(struct auth *a, struct auth_record *next)
{
    struct auth_record *before;

    (void)pthread_mutex_lock(&a->mutex);
    before = a->record;
    a->record = next;
    (void)pthread_mutex_unlock(&a->mutex);
    (void)auth_record_unref(before);
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

static int parse_line(const struct auth *a, struct str line, uint32_t number,
                      struct local_token *t, struct err *err)
{
    struct str name, role, hash = STR_NULL, rest = line;

    memset(t, 0, sizeof(*t));
    if (!str_next(&rest, ' ', &name) || !str_next(&rest, ' ', &role) ||
        !str_next(&rest, ' ', &hash))
        return line_wrong(a, number, "a token needs three words", err);
    if (name.len == 0 || name.len >= AUTH_NAME_MAX || !text_is_plain(name, TEXT_LINE))
        return line_wrong(a, number, "the name is empty, too long, or no plain text", err);
    if (!auth_role(role, &t->rights))
        return line_wrong(a, number,
                          "no such role (admin, publisher, reader, agent, metrics, none, ...)",
                          err);
    if (!hex_decode(hash, t->hash.bytes, SHA256_BYTES))
        return line_wrong(a, number, "the hash is not 64 hexadecimal digits", err);
    memcpy(t->name, name.data, name.len);
    (void)snprintf(t->role, sizeof(t->role), "%.*s", STR_ARG(role));
    return 0;
}

static int parse_file(const struct auth *a, struct str text, struct auth_record *ret,
                      struct err *err)
{
    struct str rest = text, line;
    uint32_t number = 0;
    int r = 0;

    while (!r && str_next(&rest, '\n', &line)) {
        struct local_token t;

        number++;
        line = str_trim(line);
        if (line.len == 0 || line.data[0] == '#')
            continue;
        r = parse_line(a, line, number, &t, err);
        if (!r && !VEC_PUSH(&ret->tokens, t))
            r = ERR_NOMEM;
    }
    return r;
}

int auth_reload(struct auth *a, struct err *err)
{
    owned(buf) struct buf text = BUF_NULL(TOKENS_FILE_MAX);
    owned(auth_record_unref) struct auth_record *next = NULL;
    struct stat st;
    int r = file_read(a->path, &text, err);

    if (r)
        return r;
    if (stat(a->path, &st) == 0 && (st.st_mode & 077)) {
        (void)err_set(err, ERR_DENIED, "%s can be read by others", a->path);
        err_hint(err, "chmod 600 %s", a->path);
        return ERR_DENIED;
    }
    next = record_new(a);
    if (!next)
        return ERR_NOMEM;
    r = parse_file(a, buf_str(&text), next, err);
    if (r)
        return r;
    if (a->record) {
        next->rights = rights_ref(a->record->rights);
        next->deadlines = deadlines_ref(a->record->deadlines);
    }
    r = keep_used(next);
    if (r)
        return r;
    put_record(a, take(next));
    return 0;
}

int auth_take(struct auth *a, struct rights *rights, nsec_t now, int64_t wall_ms)
{
    const struct auth_record *before = a->record;
    owned(auth_record_unref) struct auth_record *next = NULL;
    int r;

    if (rights == before->rights)
        return 0;
    next = record_new(a);
    if (!next)
        return ERR_NOMEM;
    for (size_t i = 0; i < before->tokens.n; i++)
        if (!VEC_PUSH(&next->tokens, before->tokens.at[i]))
            return ERR_NOMEM;
    r = deadlines_make(rights, before->deadlines, now, wall_ms, &next->deadlines);
    if (r)
        return r;
    next->rights = rights_ref(rights);
    r = keep_used(next);
    if (r)
        return r;
    put_record(a, take(next));
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
    (void)pthread_mutex_init(&a->mutex, NULL);
    a->used = last_used_new();
    if (!a->used)
        r = ERR_NOMEM;
    else if (!auth_role(str_c(tls_client_role), &a->tls_rights))
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
    if (!a)
        return NULL;
    (void)auth_record_unref(a->record);
    (void)last_used_unref(a->used);
    (void)pthread_mutex_destroy(&a->mutex);
    return mem_free(a);
}

/* ---- who it is ---- */

/* The secret of "Bearer SECRET"; empty when there is none. */
static struct str secret_of(struct str authorization)
{
    if (authorization.len < 7 || !str_eq_nocase(str_part(authorization, 0, 7), STR("bearer ")))
        return STR("");
    return str_trim(str_from(authorization, 7));
}

static const struct local_token *find_local(const struct auth_record *r,
                                            const struct sha256 *hash)
{
    const struct local_token *found = NULL;

    for (size_t i = 0; i < r->tokens.n; i++)
        if (CRYPTO_memcmp(hash->bytes, r->tokens.at[i].hash.bytes, SHA256_BYTES) == 0)
            found = &r->tokens.at[i];
    return found;
}

static void identify_token(struct str name, unsigned local, const struct sha256 *hash,
                           struct identity *id)
{
    (void)snprintf(id->name, sizeof(id->name), "%.*s", STR_ARG(name));
    (void)snprintf(id->subject, sizeof(id->subject), "token:%.*s", STR_ARG(name));
    id->local = local;
    id->token = *hash;
}

static int refuse(struct err *err, const char *text, const char *hint)
{
    (void)err_set(err, ERR_UNAUTHENTICATED, "%s", text);
    err_hint(err, "%s", hint);
    return ERR_UNAUTHENTICATED;
}

static const char *const how = "send the header \"authorization: Bearer TOKEN\"";

/* The server's own file comes first: it is the way back in. */
static int by_token(const struct auth_record *r, struct str authorization, nsec_t now,
                    struct identity *id, struct err *err)
{
    struct str secret = secret_of(authorization);
    struct sha256 hash = sha256_of(secret);
    const struct local_token *local = find_local(r, &hash);
    const struct token *t;

    if (secret.len && local) {
        identify_token(str_c(local->name), local->rights, &hash, id);
        return 0;
    }
    t = secret.len ? rights_token(r->rights, &hash) : NULL;
    if (!t)
        return refuse(err, "the token is not known", how);
    if (deadlines_passed(r->deadlines, t, now))
        return refuse(err, "the token has expired",
                      "who has admin can renew it: trimtab token rotate NAME");
    identify_token(t->name, RIGHTS_NONE, &hash, id);
    return 0;
}

/* Whether anything is known of a certificate; one of whom nothing is known comes in no further than a stranger. */
static bool knows_certificate(const struct auth_record *r, const struct identity *id)
{
    return r->tls_rights || rights_knows(r->rights, str_c(id->subject));
}

static int by_certificate(const struct auth_record *r, struct str tls_name, struct identity *id,
                          struct err *err)
{
    bool ok = tls_name.len > 0 &&
              tls_name.len + sizeof("cert:") <= sizeof(id->name) && /* cut, two could be one */
              text_is_plain(tls_name, TEXT_LINE);                   /* everybody is shown it */

    if (ok) {
        (void)snprintf(id->name, sizeof(id->name), "cert:%.*s", STR_ARG(tls_name));
        (void)snprintf(id->subject, sizeof(id->subject), "%s", id->name);
        id->local = r->tls_rights;
        id->is_certificate = true;
    }
    return ok && knows_certificate(r, id) ? 0 : refuse(err, "a token is needed", how);
}

int auth_identify(const struct auth_record *r, const struct credentials *c, nsec_t now,
                  struct identity *ret_identity, struct err *err)
{
    struct identity id = {.name = ""};
    int rc = c->authorization.len ? by_token(r, c->authorization, now, &id, err)
                                  : by_certificate(r, c->tls_name, &id, err);

    if (rc)
        return rc;
    if (!id.is_certificate)
        last_used_note(r->used, &id.token, clock_wall_ms());
    *ret_identity = id;
    return 0;
}

static bool renew_token(const struct auth_record *r, struct identity *id, nsec_t now)
{
    const struct local_token *local = find_local(r, &id->token);
    const struct token *t;

    if (local) {
        id->local = local->rights;
        return strcmp(local->name, id->name) == 0;
    }
    id->local = RIGHTS_NONE;
    t = rights_token(r->rights, &id->token);
    return t && str_eq(t->name, str_c(id->name)) && !deadlines_passed(r->deadlines, t, now);
}

bool auth_renew(const struct auth_record *r, struct identity *id, nsec_t now)
{
    if (id->is_certificate) {
        id->local = r->tls_rights;
        return knows_certificate(r, id);
    }
    if (!renew_token(r, id, now))
        return false;
    last_used_note(r->used, &id->token, clock_wall_ms());
    return true;
}

/* ---- what they may ---- */

int auth_may(const struct auth_record *r, const struct identity *id, enum right_to right,
             struct str space, struct err *err)
{
    struct principal p = identity_principal(id);

    return rights_require(r->rights, &p, right, space, err);
}

bool auth_may_somewhere(const struct auth_record *r, const struct identity *id,
                        enum right_to right)
{
    struct subject_walk walk;
    const struct grant *g;

    if ((id->local & right) == (unsigned)right)
        return true;
    subject_walk_init(&walk, r->rights, str_c(id->subject));
    while ((g = subject_walk_next(&walk)))
        if ((g->role->rights & right) == (unsigned)right)
            return true;
    return false;
}

struct rights *auth_rights(const struct auth_record *r)
{
    return r->rights;
}

bool auth_has_local_admin(const struct auth_record *r)
{
    for (size_t i = 0; i < r->tokens.n; i++)
        if (r->tokens.at[i].rights & RIGHT_TO_ADMIN)
            return true;
    return false;
}

bool auth_local_at(const struct auth_record *r, size_t i, struct auth_local *ret)
{
    const struct local_token *t = i < r->tokens.n ? &r->tokens.at[i] : NULL;

    if (t)
        *ret = (struct auth_local){str_c(t->name), str_c(t->role), t->rights};
    return t != NULL;
}

unsigned auth_tls_rights(const struct auth_record *r)
{
    return r->tls_rights;
}

bool auth_token_has_expired(const struct auth_record *r, const struct token *t, nsec_t now)
{
    return deadlines_passed(r->deadlines, t, now);
}

int64_t auth_last_used(const struct auth_record *r, const struct sha256 *hash)
{
    return last_used_at(r->used, hash);
}

size_t auth_n_local(const struct auth_record *r)
{
    size_t n = 0;

    for (size_t i = 0; i < r->tokens.n; i++)
        n += r->tokens.at[i].rights != RIGHTS_NONE;
    return n;
}
