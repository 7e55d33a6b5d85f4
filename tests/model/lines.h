/*
 * Records of rights for tests: built from short lines instead of documents in a state.
 */
#ifndef TRIMTAB_TESTS_MODEL_LINES_H
#define TRIMTAB_TESTS_MODEL_LINES_H

#include "model/rights.h"

#include "base/buf.h"
#include "tap.h"

/* A grant: subject, role, namespaces with blanks between. role NULL: it is taken away. */
struct line {
    const char *name, *subject, *role, *spaces;
};

static inline void put_grant_json(const struct line *l, struct buf *out)
{
    struct str rest = str_c(l->spaces), space;
    const char *comma = "";

    buf_printf(out, "{\"subject\": \"%s\", \"role\": \"%s\", \"namespaces\": [", l->subject,
               l->role);
    while (str_next(&rest, ' ', &space)) {
        buf_printf(out, "%s\"%.*s\"", comma, STR_ARG(space));
        comma = ", ";
    }
    buf_put_c(out, "]}");
}

/* The key of trimtab/KIND/NAME. */
static inline void put_system_key(struct buf *out, const char *kind, const char *name)
{
    buf_put_c(out, "trimtab");
    buf_put_byte(out, '\0');
    buf_put_c(out, kind);
    buf_put_byte(out, '\0');
    buf_put_c(out, name);
}

static inline struct rights_doc doc_of(const char *name, struct str content, uint64_t revision)
{
    return (struct rights_doc){.name = str_c(name),
                               .content_type = STR("application/json"),
                               .content = content,
                               .revision = revision,
                               .time_ms = (int64_t)revision * 1000};
}

/* One step of a grant; before: what it was, or NULL. */
static inline int step_grant(struct rights **r, const struct line *before,
                             const struct line *after, uint64_t revision)
{
    owned(buf) struct buf key = BUF_NULL(KIB), was = BUF_NULL(MIB), is = BUF_NULL(MIB);
    const char *name = before ? before->name : after->name;
    struct rights_doc b, a;

    put_system_key(&key, "grant", name);
    if (before)
        put_grant_json(before, &was);
    if (after)
        put_grant_json(after, &is);
    b = doc_of(name, buf_str(&was), revision);
    a = doc_of(name, buf_str(&is), revision);
    return rights_step(r, buf_str(&key), &b, &a);
}

static inline struct rights *rights_of_lines(const struct line *lines, size_t n)
{
    struct rights *r = NULL;

    for (size_t i = 0; i < n; i++)
        CHECK_I64(step_grant(&r, NULL, &lines[i], i + 1), 0);
    return r;
}

#define RIGHTS_OF(...)                                                                         \
    rights_of_lines((struct line[]){__VA_ARGS__},                                              \
                    sizeof((struct line[]){__VA_ARGS__}) / sizeof(struct line))

static inline void put_token_json(struct buf *out, const char *secret, const char *expires)
{
    char hex[SHA256_HEX_BYTES + 1];
    struct sha256 hash = sha256_of(str_c(secret));

    hex_encode(hash.bytes, SHA256_BYTES, hex);
    buf_printf(out, "{\"hash\": \"sha256:%s\"", hex);
    if (expires)
        buf_printf(out, ", \"expires\": \"%s\"", expires);
    buf_put_c(out, "}");
}

/* Secrets NULL: there is or was no such token. */
struct token_line {
    const char *name, *before, *before_expires, *after, *after_expires;
};
static inline int step_token_line(struct rights **r, const struct token_line *l,
                                  uint64_t revision)
{
    owned(buf) struct buf key = BUF_NULL(KIB), was = BUF_NULL(KIB), is = BUF_NULL(KIB);
    struct rights_doc b, a;

    put_system_key(&key, "token", l->name);
    if (l->before)
        put_token_json(&was, l->before, l->before_expires);
    if (l->after)
        put_token_json(&is, l->after, l->after_expires);
    b = doc_of(l->name, buf_str(&was), revision);
    a = doc_of(l->name, buf_str(&is), revision);
    return rights_step(r, buf_str(&key), &b, &a);
}

static inline unsigned rights_of_subject(const struct rights *r, const char *subject,
                                         const char *space)
{
    struct principal p = {.subject = str_c(subject)};

    return rights_at(r, &p, str_c(space));
}

static inline const struct token *token_by_secret(const struct rights *r, const char *secret)
{
    struct sha256 hash = sha256_of(str_c(secret));

    return rights_token(r, &hash);
}

#endif
