/*
 * What a commit of grants and tokens comes to. See rights_view.h.
 */
#include "server/use/rights_view.h"

#include "model/rights_commit.h"

enum { CHANGES_MAX = 10000 };

static bool concerns_rights(const struct commit_job *job)
{
    for (size_t i = 0; i < job->commit.n; i++)
        if (rights_concern(job->commit.changes[i].key))
            return true;
    return false;
}

/* The names of rights, on the arena, which may fail. */
static char **right_names(unsigned rights, size_t *ret_n, struct arena *a)
{
    char **names = ARENA_ARRAY(a, char *, RIGHTS_COUNT);

    *ret_n = 0;
    for (unsigned right = 1; names && right <= RIGHTS_ALL; right <<= 1)
        if (rights & right)
            names[(*ret_n)++] = arena_c(a, role_for((enum right_to)right)->name);
    return names;
}

static Trimtab__V1__RightsChange *rights_message(const struct rights_change *c, struct arena *a)
{
    Trimtab__V1__RightsChange *m = ARENA_NEW(a, Trimtab__V1__RightsChange);

    if (!m)
        return NULL;
    trimtab__v1__rights_change__init(m);
    m->subject = arena_c(a, c->subject);
    m->namespace_ = arena_c(a, space_text(c->space));
    m->lost = right_names(c->lost, &m->n_lost, a);
    m->won = right_names(c->won, &m->n_won, a);
    return m;
}

static const char *token_story(const struct token_change *c)
{
    if (!c->before)
        return "created";
    if (!c->after)
        return "deleted";
    if (!sha256_eq(&c->before->hash, &c->after->hash))
        return "rotated";
    if (!c->after->expires_ms)
        return "extended";
    return !c->before->expires_ms || c->after->expires_ms < c->before->expires_ms ? "shortened"
                                                                                  : "extended";
}

static Trimtab__V1__TokenChange *token_message(const struct token_change *c, struct arena *a)
{
    Trimtab__V1__TokenChange *m = ARENA_NEW(a, Trimtab__V1__TokenChange);

    if (!m)
        return NULL;
    trimtab__v1__token_change__init(m);
    m->name = arena_c(a, (c->before ? c->before : c->after)->name);
    m->what = arena_c(a, str_c(token_story(c)));
    return m;
}

static void put_diff(const struct rights_diff *d, struct arena *a,
                     Trimtab__V1__CommitResponse *m)
{
    size_t n_rights = MIN(d->rights.n, (size_t)CHANGES_MAX);
    size_t n_tokens = MIN(d->tokens.n, (size_t)CHANGES_MAX);

    m->takes = rights_diff_takes(d);
    m->rights = ARENA_ARRAY(a, Trimtab__V1__RightsChange *, n_rights);
    m->tokens = ARENA_ARRAY(a, Trimtab__V1__TokenChange *, n_tokens);
    while (!arena_failed(a) && m->n_rights < n_rights) {
        m->rights[m->n_rights] = rights_message(&d->rights.at[m->n_rights], a);
        m->n_rights++;
    }
    while (!arena_failed(a) && m->n_tokens < n_tokens) {
        m->tokens[m->n_tokens] = token_message(&d->tokens.at[m->n_tokens], a);
        m->n_tokens++;
    }
}

int rights_view_put(struct api_call *call, Trimtab__V1__CommitResponse *m)
{
    const struct commit_job *job = &call->commit;
    struct rights *after = NULL;
    struct rights_diff diff;
    int r;

    if (job->repeated || !concerns_rights(job))
        return 0;
    r = rights_after(job->state, &job->commit, job->plans, &after);
    if (!r)
        r = rights_diff_make(job->state->rights, after, &diff);
    if (!r) {
        put_diff(&diff, &call->arena, m);
        rights_diff_deinit(&diff);
    }
    (void)rights_unref(after);
    return r ? r : arena_failed(&call->arena) ? ERR_NOMEM : 0;
}
