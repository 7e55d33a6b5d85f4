/*
 * Grants and tokens as they are published. See grant.h.
 */
#include "model/grant.h"

#include "base/clock.h"
#include "base/text.h"
#include "model/kind.h"

static const struct str hash_prefix = STR("sha256:");

/* ---- members ---- */

/* What a document may say; `what` is how it is called in a refusal. */
struct member {
    const char *name;
    enum value_type type;
    bool is_needed;
};
struct shape {
    const char *what, *hint;
    const struct member *members;
    size_t n;
};

struct reading {
    const struct shape *shape;
    struct err *err;
};

static int refuse(const struct shape *s, struct err *err, int code)
{
    err_hint(err, "%s", s->hint);
    return code;
}

static int check_member(void *ctx, struct str name, const struct value *v)
{
    const struct reading *q = ctx;
    const struct shape *s = q->shape;

    for (size_t i = 0; i < s->n; i++) {
        if (!str_eq(name, str_c(s->members[i].name)))
            continue;
        if (value_type(v) == s->members[i].type)
            return 0;
        (void)err_set(q->err, ERR_INVALID, "\"%.*s\" is %s instead of %s", STR_ARG(name),
                      value_type_name(value_type(v)), value_type_name(s->members[i].type));
        return refuse(s, q->err, ERR_INVALID);
    }
    (void)err_set(q->err, ERR_INVALID, "a %s has no \"%.*s\"", s->what, STR_ARG(name));
    return refuse(s, q->err, ERR_INVALID);
}

static int check_shape(const struct shape *s, const struct value *v, struct err *err)
{
    int r;

    if (value_type(v) != VALUE_OBJECT) {
        (void)err_set(err, ERR_INVALID, "a %s is an object, not %s", s->what,
                      value_type_name(value_type(v)));
        return refuse(s, err, ERR_INVALID);
    }
    r = value_members(v, check_member, &(struct reading){s, err});
    for (size_t i = 0; i < s->n && !r; i++)
        if (s->members[i].is_needed && !value_member(v, s->members[i].name)) {
            r = err_set(err, ERR_INVALID, "a %s needs \"%s\"", s->what, s->members[i].name);
            (void)refuse(s, err, r);
        }
    return r;
}

static struct str text_member(const struct value *v, const char *name)
{
    const struct value *m = value_member(v, name);

    return m ? value_text(m) : STR_NULL;
}

static int check_note(struct str note, struct err *err)
{
    if (note.len > NOTE_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "\"note\" is longer than %d bytes", NOTE_BYTES_MAX);
    if (!text_is_plain(note, TEXT_LINES))
        return err_set(err, ERR_INVALID, "\"note\" is no plain text");
    return 0;
}

/* ---- subjects ---- */

int token_name_check(struct str name, struct err *err)
{
    bool ok = name.len > 0 && name.len <= TOKEN_NAME_MAX;

    for (size_t i = 0; i < name.len && ok; i++) {
        char c = name.data[i], lower = (char)(c | 0x20);

        ok = (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') ||
             (i > 0 && (c == '.' || c == '_' || c == '-' || c == '@'));
    }
    if (ok)
        return 0;
    (void)err_set(err, ERR_INVALID, "this cannot be the name of a token");
    err_hint(err,
             "use up to %d letters, digits, '.', '_', '-' and '@', beginning with a letter or "
             "digit",
             TOKEN_NAME_MAX);
    return ERR_INVALID;
}

int subject_check(struct str subject, struct err *err)
{
    struct str kind = str_part(subject, 0, str_index(subject, ':'));
    struct str name = str_from(subject, kind.len + 1);

    if (str_eq(kind, STR("token")) && kind.len < subject.len)
        return token_name_check(name, err);
    if ((!str_eq(kind, STR("cert")) && !str_eq(kind, STR("oidc"))) || kind.len == subject.len) {
        (void)err_set(err, ERR_INVALID, "\"%.*s\" is no subject",
                      STR_ARG(str_part(subject, 0, str_utf8_prefix(str_part(subject, 0, 64)))));
        err_hint(err, "write token:NAME, cert:NAME or oidc:SUBJECT");
        return ERR_INVALID;
    }
    if (name.len > SUBJECT_NAME_MAX)
        return err_set(err, ERR_LIMIT, "the name of a subject has at most %d bytes",
                       SUBJECT_NAME_MAX);
    if (!name.len || name.len != str_trim(name).len || !text_is_plain(name, TEXT_LINE))
        return err_set(err, ERR_INVALID,
                       "the name of a subject is empty, no plain text, or has outer spaces");
    return 0;
}

/* ---- grants ---- */

static int refuse_role(struct str name, struct err *err)
{
    char names[ERR_HINT_MAX - 40] = "";
    size_t n, at = 0;
    const struct role *all = roles_all(&n);

    for (size_t i = 0; i < n && at < sizeof(names); i++)
        at += (size_t)snprintf(names + at, sizeof(names) - at, "%s%.*s", i ? ", " : "",
                               STR_ARG(all[i].name));
    (void)err_set(err, ERR_INVALID, "there is no role \"%.*s\"",
                  STR_ARG(str_part(name, 0, str_utf8_prefix(str_part(name, 0, 64)))));
    err_hint(err, "roles are %s", names);
    return ERR_INVALID;
}

int role_check(struct str name, const struct role **ret_role, struct err *err)
{
    const struct role *role = role_find(name);

    if (!role)
        return refuse_role(name, err);
    *ret_role = role;
    return 0;
}

static const struct member grant_members[] = {
    {"subject", VALUE_TEXT, true},
    {"role", VALUE_TEXT, true},
    {"namespaces", VALUE_ARRAY, true},
    {"note", VALUE_TEXT, false},
};
static const struct shape grant_shape = {
    "grant",
    "write {\"subject\": \"token:ci\", \"role\": \"publish\", \"namespaces\": [\"shop/prod\"]}",
    grant_members, ARRAY_LEN(grant_members)};

size_t grant_n_spaces(const struct grant_doc *g)
{
    return value_count(g->namespaces);
}

struct str grant_space(const struct grant_doc *g, size_t i)
{
    struct str text = value_text(value_at(g->namespaces, i));

    return str_eq(text, SPACE_EVERYTHING_TEXT) ? SPACE_EVERYTHING : text;
}

static int check_space(const struct grant_doc *g, size_t i, struct err *err)
{
    const struct value *v = value_at(g->namespaces, i);
    struct str space;
    int r;

    if (value_type(v) != VALUE_TEXT)
        return err_set(err, ERR_INVALID, "a namespace is %s instead of text",
                       value_type_name(value_type(v)));
    space = grant_space(g, i);
    if (!space.len)
        return 0;
    if (memchr(space.data, '*', space.len)) {
        (void)err_set(err, ERR_INVALID, "a namespace of a grant has no patterns");
        err_hint(err, "a grant on shop holds in shop/prod, too; \"*\" alone is everything");
        return ERR_INVALID;
    }
    r = namespace_check(space, err);
    if (r || !space_is_system(space))
        return r;
    (void)err_set(err, ERR_INVALID, "no grant can name the namespace trimtab");
    err_hint(err, "what Trimtab itself is told belongs to admins of what it concerns; \"*\" "
                  "with the role view shows it");
    return ERR_INVALID;
}

static int check_spaces(const struct grant_doc *g, struct err *err)
{
    size_t n = grant_n_spaces(g);

    if (n == 0)
        return err_set(err, ERR_INVALID, "a grant of nothing: it names no namespaces");
    if (n > GRANT_SPACES_MAX)
        return err_set(err, ERR_LIMIT, "a grant has at most %d namespaces", GRANT_SPACES_MAX);
    for (size_t i = 0; i < n; i++) {
        int r = check_space(g, i, err);

        if (r)
            return r;
        for (size_t j = 0; j < i; j++)
            if (str_eq(grant_space(g, j), grant_space(g, i)))
                return err_set(err, ERR_INVALID, "the namespace \"%.*s\" is named twice",
                               STR_ARG(space_text(grant_space(g, i))));
        if (g->role->rights == RIGHT_TO_METRICS && grant_space(g, i).len) {
            (void)err_set(err, ERR_INVALID, "metrics are of the whole server");
            err_hint(err, "write \"namespaces\": [\"*\"]");
            return ERR_INVALID;
        }
    }
    return 0;
}

static int read_grant(struct grant_doc *g, struct err *err)
{
    int r = check_shape(&grant_shape, g->value, err);

    if (r)
        return r;
    g->subject = text_member(g->value, "subject");
    g->namespaces = value_member(g->value, "namespaces");
    r = subject_check(g->subject, err);
    if (!r)
        r = role_check(text_member(g->value, "role"), &g->role, err);
    if (!r)
        r = check_spaces(g, err);
    return r ? r : check_note(text_member(g->value, "note"), err);
}

int grant_read(const struct rights_doc *d, struct grant_doc *ret, struct err *err)
{
    int r;

    *ret = GRANT_DOC_NULL;
    r = value_parse_as(d->content_type, d->content, &ret->value, err);
    if (!r)
        r = read_grant(ret, err);
    if (r)
        grant_doc_deinit(ret);
    return r;
}

void grant_doc_deinit(struct grant_doc *g)
{
    g->value = value_free(g->value);
    *g = GRANT_DOC_NULL;
}

/* ---- tokens ---- */

static const struct member token_members[] = {
    {"hash", VALUE_TEXT, true},
    {"expires", VALUE_TEXT, false},
    {"note", VALUE_TEXT, false},
};
static const struct shape token_shape = {
    "token",
    "write {\"hash\": \"sha256:...\", \"expires\": \"2027-06-30T00:00:00Z\"}; \"trimtab token "
    "create\" makes one",
    token_members, ARRAY_LEN(token_members)};

static int read_hash(struct str text, struct sha256 *ret, struct err *err)
{
    struct sha256 empty = sha256_of(STR(""));
    int r = 0;

    if (!str_starts(text, hash_prefix) ||
        !hex_decode(str_from(text, hash_prefix.len), ret->bytes, SHA256_BYTES))
        r = err_set(err, ERR_INVALID, "\"hash\" is not sha256: and 64 hexadecimal digits");
    else if (sha256_eq(ret, &empty))
        r = err_set(err, ERR_INVALID, "\"hash\" is that of an empty secret");
    return r ? refuse(&token_shape, err, r) : 0;
}

static int read_expiry(const struct value *v, int64_t *ret, struct err *err)
{
    const struct value *expires = value_member(v, "expires");

    *ret = 0;
    if (!expires || (wall_parse(value_text(expires), ret) && *ret > 0))
        return 0;
    (void)err_set(err, ERR_INVALID, "\"expires\" is no time");
    err_hint(err, "write it as 2027-06-30T00:00:00Z");
    return ERR_INVALID;
}

static int read_token(const struct value *v, struct token_doc *ret, struct err *err)
{
    int r = check_shape(&token_shape, v, err);

    if (!r)
        r = read_hash(text_member(v, "hash"), &ret->hash, err);
    if (!r)
        r = read_expiry(v, &ret->expires_ms, err);
    return r ? r : check_note(text_member(v, "note"), err);
}

int token_read(const struct rights_doc *d, struct token_doc *ret, struct err *err)
{
    struct value *v = NULL;
    struct token_doc token;
    int r = token_name_check(d->name, err);

    if (!r)
        r = value_parse_as(d->content_type, d->content, &v, err);
    if (r)
        return r;
    r = read_token(v, &token, err);
    if (!r)
        *ret = token;
    (void)value_free(v);
    return r;
}

/* ---- notes ---- */

int rights_note(const struct rights_doc *d, struct arena *a, char **ret_note)
{
    struct value *v = NULL;
    const struct value *note;
    int r = value_parse_as(d->content_type, d->content, &v, NULL);

    if (r)
        return r;
    note = value_type(v) == VALUE_OBJECT ? value_member(v, "note") : NULL;
    *ret_note = arena_c(a, note && value_type(note) == VALUE_TEXT ? value_text(note) : STR(""));
    (void)value_free(v);
    return arena_failed(a) ? ERR_NOMEM : 0;
}
