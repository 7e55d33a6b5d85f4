/*
 * Who has which right, and which tokens there are: by the record that decides now, so that answers are what holds.
 */
#include "server/use/api.h"

#include "model/below.h"
#include "model/kind.h"
#include "model/rights_commit.h"
#include "server/use/methods.h"

enum { ROWS_MAX = 20000, PAGE_DEFAULT = 1000, PAGE_MAX = 10000, LOOKED_AT_MAX = 10000 };

/* What an answer is made from. */
struct asking {
    struct api_call *call;
    const struct auth_record *record;
};

static char *wall_text(int64_t ms, struct arena *a)
{
    char text[WALL_TEXT_MAX];

    if (!ms)
        return arena_c(a, STR(""));
    wall_format(ms, text);
    return arena_c(a, str_c(text));
}

static bool has_expired(const struct asking *q, const struct sha256 *hash)
{
    const struct token *t = rights_token(auth_rights(q->record), hash);

    return t && auth_token_has_expired(q->record, t, clock_now());
}

/* The key of a grant or token, on the arena; empty for no name. ERR_INVALID, ERR_NOMEM. */
static int key_of(const struct asking *q, struct str kind, const char *name, const char *field,
                  struct str *ret_key)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    int r = *name ? name_check(kind, str_c(name), &q->call->err) : 0;

    if (r) {
        err_place(&q->call->err, "%s", field);
        return r;
    }
    if (*name)
        name_put_key((struct name){SYSTEM_SPACE, kind, str_c(name)}, &key);
    *ret_key = arena_str(&q->call->arena, buf_str(&key));
    return buf_status(&key) || arena_failed(&q->call->arena) ? ERR_NOMEM : 0;
}

/* ---- who can ---- */

/* A token by its name: in the file, or published and good. */
static bool has_token(const struct asking *q, struct str name)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    struct auth_local local;
    struct rights_doc d;
    struct token_doc token;

    for (size_t i = 0; auth_local_at(q->record, i, &local); i++)
        if (str_eq(local.name, name))
            return true;
    name_put_key((struct name){SYSTEM_SPACE, TOKEN_KIND, name}, &key);
    if (buf_status(&key))
        return false;
    d = rights_doc_of(buf_str(&key), state_find(q->call->hub->state, buf_str(&key)));
    return d.content.data && token_read(&d, &token, NULL) == 0 && !has_expired(q, &token.hash);
}

static bool is_absent(const struct asking *q, struct str subject)
{
    static const struct str prefix = STR("token:");

    return str_starts(subject, prefix) && !has_token(q, str_from(subject, prefix.len));
}

/* A further row, empty; NULL without memory. There is room for ROWS_MAX. */
static Trimtab__V1__WhoCanRow *add_row(const struct asking *q, Trimtab__V1__WhoCanResponse *m)
{
    Trimtab__V1__WhoCanRow *row = ARENA_NEW(&q->call->arena, Trimtab__V1__WhoCanRow);

    if (!row)
        return NULL;
    trimtab__v1__who_can_row__init(row);
    m->rows[m->n_rows++] = row;
    return row;
}

static void put_local(const struct asking *q, struct str subject, struct str role,
                      Trimtab__V1__WhoCanResponse *m)
{
    Trimtab__V1__WhoCanRow *row = add_row(q, m);

    if (!row)
        return;
    row->subject = arena_c(&q->call->arena, subject);
    row->role = arena_c(&q->call->arena, role);
    row->namespace_ = arena_c(&q->call->arena, SPACE_EVERYTHING_TEXT);
    row->local = true;
}

/* Who is to have it by this server's own configuration. */
static void put_locals(const struct asking *q, enum right_to right, struct str space,
                       Trimtab__V1__WhoCanResponse *m)
{
    struct principal anybody = {.subject = STR(""), .local = auth_tls_rights(q->record)};
    char subject[AUTH_SUBJECT_MAX];
    struct auth_local local;

    for (size_t i = 0; m->n_rows < ROWS_MAX && auth_local_at(q->record, i, &local); i++) {
        struct principal p = {.subject = STR(""), .local = local.rights};

        if (!rights_may(NULL, &p, right, space))
            continue;
        (void)snprintf(subject, sizeof(subject), "token:%.*s", STR_ARG(local.name));
        put_local(q, str_c(subject), local.role, m);
    }
    if (m->n_rows < ROWS_MAX && rights_may(NULL, &anybody, right, space))
        put_local(q, STR("cert:*"), str_c(q->call->hub->config.tls_client_role), m);
}

static void put_grant(const struct asking *q, const struct grant *g,
                      Trimtab__V1__WhoCanResponse *m)
{
    Trimtab__V1__WhoCanRow *row = add_row(q, m);
    struct arena *a = &q->call->arena;
    char id[ID_BYTES_MAX + 1];

    if (!row)
        return;
    (void)snprintf(id, sizeof(id), "trimtab/grant/%.*s", STR_ARG(g->name));
    row->subject = arena_c(a, g->subject);
    row->role = arena_c(a, g->role->name);
    row->grant = arena_c(a, str_c(id));
    row->namespace_ = arena_c(a, space_text(g->space));
    row->absent = is_absent(q, g->subject);
}

static int put_rows(const struct asking *q, enum right_to right, struct str space,
                    Trimtab__V1__WhoCanResponse *m)
{
    struct arena *a = &q->call->arena;
    struct rights_walk walk;
    const struct grant *g;

    m->rows = ARENA_ARRAY(a, Trimtab__V1__WhoCanRow *, ROWS_MAX);
    if (!m->rows)
        return ERR_NOMEM;
    put_locals(q, right, space, m);
    rights_walk_init(&walk, auth_rights(q->record), right, space);
    while (!arena_failed(a) && (g = rights_walk_next(&walk))) {
        m->truncated = m->n_rows == ROWS_MAX;
        if (m->truncated)
            break;
        put_grant(q, g, m);
    }
    return arena_failed(a) ? ERR_NOMEM : 0;
}

static int refuse_right(const char *name, struct err *err)
{
    char names[ERR_HINT_MAX - 40] = "";
    size_t at = 0;

    for (unsigned right = 1; right <= RIGHTS_ALL && at < sizeof(names); right <<= 1)
        at += (size_t)snprintf(names + at, sizeof(names) - at, "%s%.*s", at ? ", " : "",
                               STR_ARG(role_for((enum right_to)right)->name));
    (void)err_set(err, ERR_INVALID, "there is no right \"%.64s\"", name);
    err_place(err, "right");
    err_hint(err, "rights are %s", names);
    return ERR_INVALID;
}

/* What was asked for, as the model takes it. */
static int read_question(const Trimtab__V1__WhoCanRequest *q, enum right_to *ret_right,
                         struct str *ret_space, struct err *err)
{
    struct str space = str_c(q->namespace_);
    int r = 0;

    if (!right_find(str_c(q->right), ret_right))
        return refuse_right(q->right, err);
    *ret_space = str_eq(space, SPACE_EVERYTHING_TEXT) ? SPACE_EVERYTHING : space;
    if (!space.len) {
        r = err_set(err, ERR_INVALID, "say in which namespace");
        err_hint(err, "\"*\" is everything");
    } else if (ret_space->len) {
        r = namespace_check(space, err);
    }
    if (r)
        err_place(err, "namespace");
    return r;
}

void api_who_can(struct api_call *call)
{
    owned(auth_record_unref) struct auth_record *record = auth_current(call->hub->auth);
    const Trimtab__V1__WhoCanRequest *request =
        (const Trimtab__V1__WhoCanRequest *)call->request;
    Trimtab__V1__WhoCanResponse *m = ARENA_NEW(&call->arena, Trimtab__V1__WhoCanResponse);
    struct asking q = {call, record};
    enum right_to right;
    struct str space;
    int r = m ? read_question(request, &right, &space, &call->err) : ERR_NOMEM;

    if (!r)
        r = api_require(call, RIGHT_TO_VIEW, space);
    if (r) {
        api_fail_here(call, r);
        return;
    }
    trimtab__v1__who_can_response__init(m);
    m->revision = call->hub->state->revision;
    r = put_rows(&q, right, space, m);
    if (r)
        api_fail_here(call, r);
    else
        api_answer(call, &m->base);
}

/* ---- grants ---- */

/* Whoever may change a grant may see it, too. */
static bool may_see(const struct asking *q, const struct grant_doc *g)
{
    const struct principal *p = &q->call->principal;
    const struct rights *rights = auth_rights(q->record);
    bool ok = true;

    if (rights_may(rights, p, RIGHT_TO_VIEW, SPACE_EVERYTHING))
        return true;
    for (size_t i = 0; ok && i < grant_n_spaces(g); i++)
        ok = rights_may(rights, p, RIGHT_TO_ADMIN, grant_space(g, i));
    return ok;
}

static int fill_grant(const struct asking *q, const struct version *v,
                      const struct rights_doc *d, const struct grant_doc *doc,
                      Trimtab__V1__GrantInfo *g)
{
    struct arena *a = &q->call->arena;

    trimtab__v1__grant_info__init(g);
    g->name = arena_c(a, d->name);
    g->subject = arena_c(a, doc->subject);
    g->role = arena_c(a, doc->role->name);
    g->namespaces = ARENA_ARRAY(a, char *, grant_n_spaces(doc));
    for (size_t i = 0; g->namespaces && i < grant_n_spaces(doc); i++)
        g->namespaces[g->n_namespaces++] = arena_c(a, space_text(grant_space(doc, i)));
    g->published = wall_text(v->time_ms, a);
    g->version = v->number;
    g->revision = v->revision;
    return rights_note(d, a, &g->note);
}

/* Adds a grant, if it is of the subject and may be seen. */
static int take_grant(const struct asking *q, const struct version *v, const char *subject,
                      Trimtab__V1__GrantsResponse *m)
{
    owned(grant_doc) struct grant_doc doc = GRANT_DOC_NULL;
    struct rights_doc d = rights_doc_of(v->key, v);
    Trimtab__V1__GrantInfo *g;
    int r = grant_read(&d, &doc, NULL);

    if (r)
        return r == ERR_NOMEM ? r : 0; /* as with tokens */
    if ((*subject && !str_eq(doc.subject, str_c(subject))) || !may_see(q, &doc))
        return 0;
    g = ARENA_NEW(&q->call->arena, Trimtab__V1__GrantInfo);
    if (!g)
        return ERR_NOMEM;
    m->grants[m->n_grants++] = g;
    return fill_grant(q, v, &d, &doc, g);
}

static int put_grants(const struct asking *q, const Trimtab__V1__GrantsRequest *request,
                      Trimtab__V1__GrantsResponse *m)
{
    size_t limit = MIN(request->limit ? request->limit : PAGE_DEFAULT, (size_t)PAGE_MAX);
    struct below_opts opts = {
        .space = SYSTEM_SPACE, .depth = BELOW_SELF, .kind = GRANT_KIND, .most = LOOKED_AT_MAX};
    struct below_walk walk;
    const struct version *v = NULL;
    int r = key_of(q, GRANT_KIND, request->after, "after", &opts.after);

    m->grants = ARENA_ARRAY(&q->call->arena, Trimtab__V1__GrantInfo *, limit);
    below_walk_init(&walk, q->call->state, &opts);
    while (!r && m->grants && m->n_grants < limit && (v = below_walk_next(&walk)))
        r = version_is_live(v) ? take_grant(q, v, request->subject, m) : 0;
    if (v || below_walk_has_more(&walk))
        m->next = arena_c(&q->call->arena,
                          walk.last_seen.len ? key_name(walk.last_seen).name : STR(""));
    return arena_failed(&q->call->arena) ? ERR_NOMEM : r;
}

void api_grants(struct api_call *call)
{
    owned(auth_record_unref) struct auth_record *record = auth_current(call->hub->auth);
    const Trimtab__V1__GrantsRequest *request =
        (const Trimtab__V1__GrantsRequest *)call->request;
    Trimtab__V1__GrantsResponse *m = ARENA_NEW(&call->arena, Trimtab__V1__GrantsResponse);
    struct asking q = {call, record};
    int r;

    if (!m) {
        api_fail_code(call, ERR_NOMEM);
        return;
    }
    trimtab__v1__grants_response__init(m);
    call->state = state_ref(call->hub->state);
    m->revision = call->state->revision;
    r = put_grants(&q, request, m);
    if (r)
        api_fail_here(call, r);
    else
        api_answer(call, &m->base);
}

/* ---- tokens ---- */

static int put_token(const struct asking *q, const struct version *v,
                     Trimtab__V1__TokensResponse *m)
{
    struct arena *a = &q->call->arena;
    struct rights_doc d = rights_doc_of(v->key, v);
    Trimtab__V1__TokenInfo *t = ARENA_NEW(a, Trimtab__V1__TokenInfo);
    struct token_doc token;
    int r = t ? token_read(&d, &token, NULL) : ERR_NOMEM;

    if (r)
        return r == ERR_NOMEM ? r : 0; /* a document that gives nothing: commits publish none */
    trimtab__v1__token_info__init(t);
    t->name = arena_c(a, d.name);
    t->published = wall_text(v->time_ms, a);
    t->expires = wall_text(token.expires_ms, a);
    t->expired = has_expired(q, &token.hash);
    t->last_used = wall_text(auth_last_used(q->record, &token.hash), a);
    t->version = v->number;
    t->revision = v->revision;
    m->tokens[m->n_tokens++] = t;
    return rights_note(&d, a, &t->note);
}

static int put_tokens(const struct asking *q, const Trimtab__V1__TokensRequest *request,
                      Trimtab__V1__TokensResponse *m)
{
    size_t limit = MIN(request->limit ? request->limit : PAGE_DEFAULT, (size_t)PAGE_MAX);
    struct below_opts opts = {.space = SYSTEM_SPACE, .depth = BELOW_SELF, .kind = TOKEN_KIND};
    struct below_walk walk;
    const struct version *v;
    int r = key_of(q, TOKEN_KIND, request->after, "after", &opts.after);

    m->tokens = ARENA_ARRAY(&q->call->arena, Trimtab__V1__TokenInfo *, limit);
    below_walk_init(&walk, q->call->state, &opts);
    while (!r && m->tokens && (v = below_walk_next(&walk))) {
        if (!version_is_live(v))
            continue;
        if (m->n_tokens == limit) {
            m->next = m->tokens[limit - 1]->name;
            break;
        }
        r = put_token(q, v, m);
    }
    return arena_failed(&q->call->arena) ? ERR_NOMEM : r;
}

static int put_one_token(const struct asking *q, const char *name,
                         Trimtab__V1__TokensResponse *m)
{
    const struct version *v;
    struct str key;
    int r = key_of(q, TOKEN_KIND, name, "name", &key);

    m->tokens = ARENA_ARRAY(&q->call->arena, Trimtab__V1__TokenInfo *, 1);
    if (r || !m->tokens)
        return r ? r : ERR_NOMEM;
    v = state_find(q->call->state, key);
    return v ? put_token(q, v, m) : 0;
}

void api_tokens(struct api_call *call)
{
    owned(auth_record_unref) struct auth_record *record = auth_current(call->hub->auth);
    const Trimtab__V1__TokensRequest *request =
        (const Trimtab__V1__TokensRequest *)call->request;
    Trimtab__V1__TokensResponse *m = ARENA_NEW(&call->arena, Trimtab__V1__TokensResponse);
    struct asking q = {call, record};
    int r;

    if (!m) {
        api_fail_code(call, ERR_NOMEM);
        return;
    }
    trimtab__v1__tokens_response__init(m);
    call->state = state_ref(call->hub->state);
    m->revision = call->state->revision;
    r = api_require(call, RIGHT_TO_ADMIN, SPACE_EVERYTHING);
    if (!r)
        r = *request->name ? put_one_token(&q, request->name, m) : put_tokens(&q, request, m);
    if (r)
        api_fail_here(call, r);
    else
        api_answer(call, &m->base);
}
