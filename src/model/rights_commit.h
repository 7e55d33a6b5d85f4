/*
 * Grants and tokens within a commit: whether what it publishes is well-formed, what it comes to, and that it leaves somebody
 * who can give rights.
 */
#ifndef TRIMTAB_MODEL_RIGHTS_COMMIT_H
#define TRIMTAB_MODEL_RIGHTS_COMMIT_H

#include "model/commit.h"
#include "model/rights.h"

/* The document of a version (NULL or deleted: none), by the key that it has or would have. Borrows both. */
static inline struct rights_doc rights_doc_of(struct str key, const struct version *v)
{
    struct rights_doc d = {.name = key_name(key).name};

    if (!version_is_live(v))
        return d;
    d.content_type = v->content_type;
    d.content = v->content.data ? v->content : STR("");
    d.time_ms = v->time_ms;
    d.revision = v->revision;
    return d;
}
/* The same of a change, as it would be published on top of `old`. */
struct rights_doc rights_doc_of_change(const struct change *c, const struct version *old);

/* Whether one change of a grant or token is well-formed. ERR_INVALID, ERR_LIMIT, ERR_NOMEM. */
must_use int rights_check_change(const struct state *s, const struct change *c,
                                 struct err *err);

/* The record that a checked commit would give: a reference, perhaps to that of s. ERR_NOMEM. */
must_use int rights_after(const struct state *s, const struct commit *c,
                          const struct change_plan *plans, struct rights **ret_rights);

/*
 * A commit that changes grants or tokens: no two tokens have one hash, and somebody who can come in keeps admin on everything,
 * unless the server's own tokens give it (has_local_admin). ERR_EXISTS, ERR_CONFLICT, ERR_NOMEM.
 */
must_use int rights_check_commit(const struct state *s, const struct commit *c,
                                 const struct change_plan *plans, struct err *err);

#endif
