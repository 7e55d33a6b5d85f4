/*
 * Grants and tokens as they are published: resources of the namespace trimtab, JSON or YAML (by their content type).
 *
 *   trimtab/grant/ci-prod                     trimtab/token/ci
 *     subject: token:ci                         hash: sha256:9f86d081884c7d65...
 *     role: publish                             expires: 2027-06-30T00:00:00Z
 *     namespaces: [shop/prod, shop/base]        note: pipeline of the shop
 *     note: deploys of the shop
 *
 * A subject is who comes with a credential:
 *
 *   token:NAME  the token of that name: trimtab/token/NAME, or a line of the server's own file
 *   cert:NAME   a verified client certificate, by the name that the server takes from it
 *   oidc:SUB    the subject of an identity token, for when these are taken
 *
 * A grant holds in its namespaces and in all below; "*" is everything. A token is known by the SHA-256 of its secret; the
 * secret itself is never published.
 */
#ifndef TRIMTAB_MODEL_GRANT_H
#define TRIMTAB_MODEL_GRANT_H

#include "base/arena.h"
#include "base/hash.h"
#include "codec/value.h"
#include "model/role.h"

#define GRANT_KIND STR("grant")
#define TOKEN_KIND STR("token")

enum {
    GRANT_SPACES_MAX = 256,
    SUBJECT_NAME_MAX = 253, /* behind the colon */
    SUBJECT_BYTES_MAX = 6 + SUBJECT_NAME_MAX,
    TOKEN_NAME_MAX = 63,
    NOTE_BYTES_MAX = 1024,
};

/* A document: what a resource of these kinds says. Borrowed. */
struct rights_doc {
    struct str name;         /* of the resource */
    struct str content_type; /* YAML where it names that, else JSON */
    struct str content;      /* no data: there is none */
    int64_t time_ms;         /* of its commit */
    uint64_t revision;       /* likewise */
};

struct grant_doc {
    struct value *value; /* owns the texts */
    struct str subject;
    const struct role *role;
    const struct value *namespaces;
};
#define GRANT_DOC_NULL ((struct grant_doc){.value = NULL})

/* ERR_INVALID with what is wrong, the place in the text if it is no document at all, and a hint; ERR_LIMIT; ERR_NOMEM. */
must_use int grant_read(const struct rights_doc *d, struct grant_doc *ret, struct err *err);
void grant_doc_deinit(struct grant_doc *g);
static inline void grant_doc_cleanup(struct grant_doc *g)
{
    grant_doc_deinit(g);
}
size_t grant_n_spaces(const struct grant_doc *g);
struct str grant_space(const struct grant_doc *g, size_t i); /* SPACE_EVERYTHING for "*" */

struct token_doc {
    struct sha256 hash;
    int64_t expires_ms; /* wall clock; 0: never */
};

/* The same for a token. */
must_use int token_read(const struct rights_doc *d, struct token_doc *ret, struct err *err);

/* The note of a grant or token, on the arena; "" when it has none. ERR_INVALID, ERR_LIMIT, ERR_NOMEM. */
must_use int rights_note(const struct rights_doc *d, struct arena *a, char **ret_note);

/* The role of this name. ERR_INVALID with the names that there are. */
must_use int role_check(struct str name, const struct role **ret_role, struct err *err);

/* Whether a text is a subject; whether it can be the name of a token. ERR_INVALID, ERR_LIMIT. */
must_use int subject_check(struct str subject, struct err *err);
must_use int token_name_check(struct str name, struct err *err);

#endif
