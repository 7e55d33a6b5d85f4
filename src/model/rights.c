/*
 * Rights, compiled. See rights.h.
 */
#include "model/rights.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "model/kind.h"

enum { GRANT_KEY_BYTES_MAX = SUBJECT_BYTES_MAX + NAMESPACE_BYTES_MAX + NAME_BYTES_MAX + 2 };

static struct grant *grant_of(struct tree_item *item)
{
    return item ? CONTAINER_OF(item, struct grant, node) : NULL;
}

static struct token *token_of(struct tree_item *item)
{
    return item ? CONTAINER_OF(item, struct token, node) : NULL;
}

static struct tree *grants_of(const struct rights *r)
{
    return r ? r->grants : NULL;
}

static struct tree *tokens_of(const struct rights *r)
{
    return r ? r->tokens : NULL;
}

/* ---- life ---- */

struct rights *rights_ref(struct rights *r)
{
    if (r)
        atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

struct rights *rights_unref(struct rights *r)
{
    if (r && atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) == 1) {
        (void)tree_unref(r->grants);
        (void)tree_unref(r->tokens);
        (void)mem_free(r);
    }
    return NULL;
}

/* Another record with the same content, which only the caller holds; NULL without memory. */
static struct rights *rights_copy(const struct rights *r)
{
    struct rights *copy = NEW(struct rights);

    if (!copy)
        return NULL;
    atomic_init(&copy->refs, 1);
    copy->grants = tree_ref(grants_of(r));
    copy->tokens = tree_ref(tokens_of(r));
    return copy;
}

/* ---- grants ---- */

static void grant_release(struct tree_item *item)
{
    (void)mem_free(grant_of(item));
}

static void put_grant_key(struct buf *out, struct str subject, struct str space,
                          struct str name)
{
    buf_put_str(out, subject);
    buf_put_byte(out, '\0');
    buf_put_str(out, space);
    buf_put_byte(out, '\0');
    buf_put_str(out, name);
}

static struct grant *grant_new(const struct grant_doc *doc, const struct rights_doc *d,
                               struct str space)
{
    owned(buf) struct buf key = BUF_NULL(GRANT_KEY_BYTES_MAX);
    struct grant *g;
    size_t at = 0;

    put_grant_key(&key, doc->subject, space, d->name);
    g = buf_status(&key) ? NULL : mem_alloc(sizeof(*g) + key.len);
    if (!g)
        return NULL;
    memcpy(g->text, key.data, key.len);
    atomic_init(&g->node.refs, 1);
    g->node.release = grant_release;
    g->node.revision = MAX(d->revision, (uint64_t)1); /* a walk passes over 0 */
    g->node.key = str_of(g->text, key.len);
    g->subject = str_part(g->node.key, at, at + doc->subject.len);
    at += doc->subject.len + 1;
    g->space = str_part(g->node.key, at, at + space.len);
    at += space.len + 1;
    g->name = str_from(g->node.key, at);
    g->role = doc->role;
    return g;
}

static bool put_grant(struct rights *r, const struct grant_doc *doc, const struct rights_doc *d,
                      struct str space)
{
    struct grant *g = grant_new(doc, d, space);
    bool ok;

    if (!g)
        return false;
    ok = tree_put(&r->grants, &g->node);
    tree_item_unref(&g->node);
    return ok;
}

static bool remove_grant(struct rights *r, const struct grant_doc *doc,
                         const struct rights_doc *d, struct str space)
{
    owned(buf) struct buf key = BUF_NULL(GRANT_KEY_BYTES_MAX);

    put_grant_key(&key, doc->subject, space, d->name);
    return !buf_status(&key) && tree_remove(&r->grants, buf_str(&key));
}

typedef bool grant_fn(struct rights *r, const struct grant_doc *doc, const struct rights_doc *d,
                      struct str space);

static int each_space(struct rights *r, const struct rights_doc *d, grant_fn *fn)
{
    owned(grant_doc) struct grant_doc doc = GRANT_DOC_NULL;
    int rc = d->content.data ? grant_read(d, &doc, NULL) : ERR_NOT_FOUND;

    if (rc)
        return rc == ERR_NOMEM ? rc : 0;
    for (size_t i = 0; i < grant_n_spaces(&doc); i++)
        if (!fn(r, &doc, d, grant_space(&doc, i)))
            return ERR_NOMEM;
    return 0;
}

/* ---- tokens ---- */

static void token_release(struct tree_item *item)
{
    (void)mem_free(token_of(item));
}

enum { TOKEN_KEY_BYTES_MAX = SHA256_BYTES + TOKEN_NAME_MAX };

static void put_token_key(struct buf *out, const struct sha256 *hash, struct str name)
{
    buf_put(out, hash->bytes, SHA256_BYTES);
    buf_put_str(out, name);
}

static struct token *token_new(const struct token_doc *doc, const struct rights_doc *d)
{
    owned(buf) struct buf key = BUF_NULL(TOKEN_KEY_BYTES_MAX);
    struct token *t;

    put_token_key(&key, &doc->hash, d->name);
    t = buf_status(&key) ? NULL : mem_alloc(sizeof(*t) + key.len);
    if (!t)
        return NULL;
    memcpy(t->text, key.data, key.len);
    atomic_init(&t->node.refs, 1);
    t->node.release = token_release;
    t->node.revision = MAX(d->revision, (uint64_t)1);
    t->node.key = str_of(t->text, key.len);
    t->hash = doc->hash;
    t->name = str_from(t->node.key, SHA256_BYTES);
    t->expires_ms = doc->expires_ms;
    t->published_ms = d->time_ms;
    return t;
}

static int read_token(const struct rights_doc *d, struct token_doc *doc, bool *ret_is_there)
{
    int r = d->content.data ? token_read(d, doc, NULL) : ERR_NOT_FOUND;

    *ret_is_there = r == 0;
    return r == ERR_NOMEM ? r : 0;
}

static bool put_token(struct rights *r, const struct token_doc *doc, const struct rights_doc *d)
{
    struct token *t = token_new(doc, d);
    bool ok;

    if (!t)
        return false;
    ok = tree_put(&r->tokens, &t->node);
    tree_item_unref(&t->node);
    return ok;
}

static int step_token(struct rights *r, const struct rights_doc *before,
                      const struct rights_doc *after)
{
    owned(buf) struct buf key = BUF_NULL(TOKEN_KEY_BYTES_MAX);
    struct token_doc old, new;
    bool was, is;
    int rc = read_token(before, &old, &was);

    if (!rc)
        rc = read_token(after, &new, &is);
    if (rc)
        return rc;
    if (was) {
        put_token_key(&key, &old.hash, before->name);
        if (buf_status(&key) || !tree_remove(&r->tokens, buf_str(&key)))
            return ERR_NOMEM;
    }
    return !is || put_token(r, &new, after) ? 0 : ERR_NOMEM;
}

/* ---- stepping ---- */

bool rights_concern(struct str key)
{
    return str_starts(key, STR("trimtab\0grant\0")) || str_starts(key, STR("trimtab\0token\0"));
}

static int step(struct rights *r, struct str kind, const struct rights_doc *before,
                const struct rights_doc *after)
{
    int rc;

    if (str_eq(kind, TOKEN_KIND))
        return step_token(r, before, after);
    rc = each_space(r, before, remove_grant);
    return rc ? rc : each_space(r, after, put_grant);
}

int rights_step(struct rights **r, struct str key, const struct rights_doc *before,
                const struct rights_doc *after)
{
    struct rights *next = rights_copy(*r);
    int rc;

    *r = rights_unref(*r); /* so that paths that nobody else holds are changed in place */
    if (!next)
        return ERR_NOMEM;
    next->revision = after->revision;
    rc = step(next, key_name(key).kind, before, after);
    if (rc)
        (void)rights_unref(next);
    else
        *r = next;
    return rc;
}

/* ---- what is held ---- */

/* Subject NUL, and namespace NUL if there is one: what the keys of its grants begin with. Empty for what is no subject. */
struct prefix {
    size_t len;
    char text[SUBJECT_BYTES_MAX + NAMESPACE_BYTES_MAX + 2];
};

static struct str prefix_make(struct prefix *p, struct str subject, const struct str *space)
{
    char *at = p->text;

    p->len = 0;
    if (subject.len > SUBJECT_BYTES_MAX || (space && space->len > NAMESPACE_BYTES_MAX))
        return STR("");
    (void)str_keep(&at, subject);
    *at++ = '\0';
    if (space) {
        (void)str_keep(&at, *space);
        *at++ = '\0';
    }
    p->len = (size_t)(at - p->text);
    return str_of(p->text, p->len);
}

static unsigned granted_at(const struct rights *r, struct str subject, struct str space)
{
    struct prefix p;
    struct str first = prefix_make(&p, subject, &space);
    struct tree_walk walk;
    const struct grant *g;
    unsigned rights = 0;

    tree_walk_from(&walk, first.len ? grants_of(r) : NULL, first, 0);
    while ((g = grant_of(tree_walk_next(&walk))) && str_starts(g->node.key, first))
        rights |= g->role->rights;
    return rights;
}

unsigned rights_at(const struct rights *r, const struct principal *p, struct str space)
{
    bool is_system = space_is_system(space);
    unsigned rights = p->local;
    struct str at = is_system ? SPACE_EVERYTHING : space;

    do
        rights |= granted_at(r, p->subject, at);
    while (space_parent(at, &at));
    if (is_system && !(rights & RIGHT_TO_ADMIN))
        return rights & RIGHT_TO_VIEW;
    return rights;
}

enum right_to right_to_see(struct name name)
{
    return space_is_system(name.space) && str_eq(name.kind, TOKEN_KIND) ? RIGHT_TO_ADMIN
                                                                        : RIGHT_TO_VIEW;
}

int rights_deny(const struct principal *p, enum right_to right, struct str space,
                struct err *err)
{
    struct str role = role_for(right)->name, where = space_text(space);

    if (space_is_system(space) && right != RIGHT_TO_VIEW)
        role = STR("admin");
    if (space_is_system(space))
        where = SPACE_EVERYTHING_TEXT;
    (void)err_set(err, ERR_DENIED, "%.*s lacks the right \"%.*s\" %s%.*s", STR_ARG(p->subject),
                  STR_ARG(role_for(right)->name), space.len ? "in " : "on everything",
                  STR_ARG(space));
    err_hint(err, "an admin there can grant it: trimtab grant %.*s %.*s '%.*s'",
             STR_ARG(p->subject), STR_ARG(role), STR_ARG(where));
    return ERR_DENIED;
}

int rights_require(const struct rights *r, const struct principal *p, enum right_to right,
                   struct str space, struct err *err)
{
    return rights_may(r, p, right, space) ? 0 : rights_deny(p, right, space, err);
}

void subject_walk_init(struct subject_walk *w, const struct rights *r, struct str subject)
{
    struct prefix p;
    struct str first = prefix_make(&p, subject, NULL);

    w->subject = subject;
    tree_walk_from(&w->grants, first.len ? grants_of(r) : NULL, first, 0);
}

const struct grant *subject_walk_next(struct subject_walk *w)
{
    const struct grant *g = grant_of(tree_walk_next(&w->grants));

    return g && str_eq(g->subject, w->subject) ? g : NULL;
}

bool rights_knows(const struct rights *r, struct str subject)
{
    struct subject_walk walk;

    subject_walk_init(&walk, r, subject);
    return subject_walk_next(&walk) != NULL;
}

/*
 * The walk compares bytes of hashes and ends at the first that differs. Its time may tell how much of a hash is known, which
 * helps nobody to find a secret with that hash.
 */
const struct token *rights_token(const struct rights *r, const struct sha256 *hash)
{
    struct tree_walk walk;
    const struct token *t;

    tree_walk_from(&walk, tokens_of(r), str_of(hash->bytes, SHA256_BYTES), 0);
    t = token_of(tree_walk_next(&walk));
    return t && sha256_eq(&t->hash, hash) ? t : NULL;
}

const struct token *rights_token_besides(const struct rights *r, const struct sha256 *hash,
                                         struct str name)
{
    struct tree_walk walk;
    const struct token *t;

    tree_walk_from(&walk, tokens_of(r), str_of(hash->bytes, SHA256_BYTES), 0);
    while ((t = token_of(tree_walk_next(&walk))) && sha256_eq(&t->hash, hash))
        if (!str_eq(t->name, name))
            return t;
    return NULL;
}

const struct token *rights_token_next(const struct rights *r, const struct token *behind)
{
    struct tree_walk walk;
    const struct token *t;

    tree_walk_from(&walk, tokens_of(r), behind ? behind->node.key : STR(""), 0);
    t = token_of(tree_walk_next(&walk));
    return t && behind && str_eq(t->node.key, behind->node.key)
               ? token_of(tree_walk_next(&walk))
               : t;
}

const struct token *rights_token_named(const struct rights *r, struct str name)
{
    struct tree_walk walk;
    const struct token *t;

    tree_walk_from(&walk, tokens_of(r), STR(""), 0);
    while ((t = token_of(tree_walk_next(&walk))))
        if (str_eq(t->name, name))
            return t;
    return NULL;
}

static bool can_come(const struct rights *r, struct str subject, int64_t now_ms)
{
    static const struct str prefix = STR("token:");
    const struct token *t;

    if (!str_starts(subject, prefix))
        return true;
    t = rights_token_named(r, str_from(subject, prefix.len));
    return t && (!t->expires_ms || t->expires_ms > now_ms);
}

bool rights_have_admin(const struct rights *r, int64_t now_ms)
{
    struct rights_walk walk;
    const struct grant *g;

    rights_walk_init(&walk, r, RIGHT_TO_ADMIN, SPACE_EVERYTHING);
    while ((g = rights_walk_next(&walk)))
        if (can_come(r, g->subject, now_ms))
            return true;
    return false;
}

/* ---- who can ---- */

void rights_walk_init(struct rights_walk *w, const struct rights *r, enum right_to right,
                      struct str space)
{
    tree_walk_from(&w->grants, grants_of(r), STR(""), 0);
    w->right = right;
    w->space = space;
}

/* Whether a grant gives what is asked for, by the rules of rights_at. */
static bool gives(const struct grant *g, enum right_to right, struct str space)
{
    unsigned rights = g->role->rights;

    if (!space_is_system(space))
        return space_covers(g->space, space) && (rights & right);
    if (!(rights & RIGHT_TO_ADMIN))
        rights &= RIGHT_TO_VIEW;
    return !g->space.len && (rights & right);
}

const struct grant *rights_walk_next(struct rights_walk *w)
{
    const struct grant *g;

    while ((g = grant_of(tree_walk_next(&w->grants))))
        if (gives(g, w->right, w->space))
            return g;
    return NULL;
}

/* ---- differences ---- */

struct differing {
    const struct rights *before, *after;
    struct rights_diff *diff;
};

static struct rights_change change_at(const struct differing *q, struct str subject,
                                      struct str space)
{
    struct principal p = {.subject = subject};
    unsigned before = rights_at(q->before, &p, space), after = rights_at(q->after, &p, space);

    return (struct rights_change){subject, space, before & ~after, after & ~before};
}

/* A namespace in which a grant begins; what differs there as it does above needs no row. */
static bool add_row(struct differing *q, const struct grant *g)
{
    struct rights_change here = change_at(q, g->subject, g->space), above = {.lost = 0};
    struct str parent;

    if (space_parent(g->space, &parent))
        above = change_at(q, g->subject, parent);
    if (here.lost == above.lost && here.won == above.won)
        return true;
    return VEC_PUSH(&q->diff->rights, here);
}

static int cmp_grants(const struct grant *a, const struct grant *b)
{
    int c;

    if (!a || !b)
        return a ? -1 : b ? 1 : 0;
    c = str_cmp(a->subject, b->subject);
    return c ? c : str_cmp(a->space, b->space);
}

/* Goes on to the next namespace or subject. */
static struct grant *skip(struct tree_walk *w, struct grant *from)
{
    struct grant *g = from;

    while (g && cmp_grants(g, from) == 0)
        g = grant_of(tree_walk_next(w));
    return g;
}

/* Both records name subjects and namespaces in the same order: each pair that one of them has is looked at once. */
static bool diff_grants(struct differing *q)
{
    struct tree_walk before, after;
    struct grant *b, *a;
    bool ok = true;

    tree_walk_from(&before, grants_of(q->before), STR(""), 0);
    tree_walk_from(&after, grants_of(q->after), STR(""), 0);
    b = grant_of(tree_walk_next(&before));
    a = grant_of(tree_walk_next(&after));
    while (ok && (a || b)) {
        int c = cmp_grants(b, a);

        ok = add_row(q, c <= 0 ? b : a);
        if (c <= 0)
            b = skip(&before, b);
        if (c >= 0)
            a = skip(&after, a);
    }
    return ok;
}

/* The tokens of one record that the other does not have as they are. */
static bool add_tokens(struct rights_diff *d, const struct rights *of,
                       const struct rights *other, bool is_before)
{
    struct tree_walk walk;
    const struct token *t;

    tree_walk_from(&walk, tokens_of(of), STR(""), 0);
    while ((t = token_of(tree_walk_next(&walk)))) {
        const struct token *same = token_of(tree_find(tokens_of(other), t->node.key));
        struct token_change change = {is_before ? t : NULL, is_before ? NULL : t};

        if (same && same->expires_ms == t->expires_ms)
            continue;
        if (!VEC_PUSH(&d->tokens, change))
            return false;
    }
    return true;
}

static int by_name(const void *a, const void *b)
{
    const struct token_change *ca = a, *cb = b;
    int c = str_cmp((ca->before ? ca->before : ca->after)->name,
                    (cb->before ? cb->before : cb->after)->name);

    return c ? c : (ca->before ? 0 : 1) - (cb->before ? 0 : 1); /* what was stands first */
}

/* One row of a name that had another hash or expiry before. */
static void join_tokens(struct rights_diff *d)
{
    size_t n = 0;

    if (d->tokens.n > 1)
        qsort(d->tokens.at, d->tokens.n, sizeof(*d->tokens.at), by_name);
    for (size_t i = 0; i < d->tokens.n; i++) {
        const struct token_change *c = &d->tokens.at[i];

        if (n && c->after && d->tokens.at[n - 1].before && !d->tokens.at[n - 1].after &&
            str_eq(d->tokens.at[n - 1].before->name, c->after->name))
            d->tokens.at[n - 1].after = c->after;
        else
            d->tokens.at[n++] = *c;
    }
    d->tokens.n = n;
}

int rights_diff_make(const struct rights *before, const struct rights *after,
                     struct rights_diff *ret)
{
    struct differing q = {before, after, ret};

    *ret = (struct rights_diff){.rights = {NULL}};
    if (!diff_grants(&q) || !add_tokens(ret, before, after, true) ||
        !add_tokens(ret, after, before, false)) {
        rights_diff_deinit(ret);
        return ERR_NOMEM;
    }
    join_tokens(ret);
    return 0;
}

void rights_diff_deinit(struct rights_diff *d)
{
    VEC_DEINIT(&d->rights);
    VEC_DEINIT(&d->tokens);
}

/* A token that goes or gets another secret locks somebody out, and so does one that lives shorter. */
static bool token_takes(const struct token_change *c)
{
    if (!c->before || !c->after)
        return c->before;
    return !sha256_eq(&c->before->hash, &c->after->hash) ||
           (c->after->expires_ms &&
            (!c->before->expires_ms || c->after->expires_ms < c->before->expires_ms));
}

bool rights_diff_takes(const struct rights_diff *d)
{
    for (size_t i = 0; i < d->rights.n; i++)
        if (d->rights.at[i].lost)
            return true;
    for (size_t i = 0; i < d->tokens.n; i++)
        if (token_takes(&d->tokens.at[i]))
            return true;
    return false;
}
