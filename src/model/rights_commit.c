/*
 * Grants and tokens within a commit. See rights_commit.h.
 */
#include "model/rights_commit.h"

#include "base/alloc.h"

struct rights_doc rights_doc_of_change(const struct change *c, const struct version *old)
{
    struct rights_doc d = {.name = key_name(c->key).name};

    if (c->delete)
        return d;
    d.content_type = c->content_type.len    ? c->content_type
                     : version_is_live(old) ? old->content_type
                                            : STR("application/json");
    d.content = c->content.data ? c->content : STR("");
    return d;
}

int rights_check_change(const struct state *s, const struct change *c, struct err *err)
{
    struct rights_doc d = rights_doc_of_change(c, state_newest(s, c->key));
    struct grant_doc grant;
    struct token_doc token;
    int r;

    if (c->delete)
        return 0;
    if (str_eq(key_name(c->key).kind, TOKEN_KIND))
        return token_read(&d, &token, err);
    r = grant_read(&d, &grant, err);
    if (!r)
        grant_doc_deinit(&grant);
    return r;
}

static bool changes_rights(const struct commit *c, const struct change_plan *plans, size_t i)
{
    return plans[i].action != CHANGE_UNCHANGED && rights_concern(c->changes[i].key);
}

int rights_after(const struct state *s, const struct commit *c, const struct change_plan *plans,
                 struct rights **ret_rights)
{
    struct rights *after = rights_ref(s->rights);

    for (size_t i = 0; i < c->n; i++) {
        const struct change *change = &c->changes[i];
        const struct version *old = state_newest(s, change->key);
        struct rights_doc was, is;
        int r;

        if (!changes_rights(c, plans, i))
            continue;
        was = rights_doc_of(change->key, old);
        is = rights_doc_of_change(change, old);
        is.time_ms = c->time_ms;
        is.revision = s->revision + 1;
        r = rights_step(&after, change->key, &was, &is);
        if (r)
            return r;
    }
    *ret_rights = after;
    return 0;
}

/* Which of two tokens with one hash a caller would be, nobody could say. */
static int check_hash(const struct rights *r, const struct change *c, const struct version *old,
                      struct err *err)
{
    struct rights_doc d = rights_doc_of_change(c, old);
    struct str name = key_name(c->key).name;
    const struct token *other;
    struct token_doc token;
    int rc;

    if (c->delete || !str_eq(key_name(c->key).kind, TOKEN_KIND))
        return 0;
    rc = token_read(&d, &token, err);
    if (rc)
        return rc;
    other = rights_token_besides(r, &token.hash, name);
    if (!other)
        return 0;
    (void)err_set(err, ERR_EXISTS, "the token %.*s has this hash already",
                  STR_ARG(other->name));
    err_hint(err, "make another secret: trimtab token create %.*s", STR_ARG(name));
    err_place(err, "%.*s", STR_ARG(c->id));
    return ERR_EXISTS;
}

static int check_after(const struct state *s, const struct commit *c,
                       const struct change_plan *plans, const struct rights *after,
                       struct err *err)
{
    for (size_t i = 0; i < c->n; i++) {
        int r = changes_rights(c, plans, i)
                    ? check_hash(after, &c->changes[i], state_newest(s, c->changes[i].key), err)
                    : 0;

        if (r)
            return r;
    }
    if (c->has_local_admin || rights_have_admin(after, c->time_ms))
        return 0;
    (void)err_set(err, ERR_CONFLICT, "after this nobody would have admin on everything");
    err_hint(err, "give it to somebody first: trimtab grant SUBJECT admin '*'");
    return ERR_CONFLICT;
}

int rights_check_commit(const struct state *s, const struct commit *c,
                        const struct change_plan *plans, struct err *err)
{
    struct rights *after = NULL;
    bool is_concerned = false;
    int r;

    for (size_t i = 0; i < c->n; i++)
        is_concerned |= changes_rights(c, plans, i);
    if (!is_concerned)
        return 0;
    r = rights_after(s, c, plans, &after);
    if (!r)
        r = check_after(s, c, plans, after, err);
    (void)rights_unref(after);
    return r;
}
