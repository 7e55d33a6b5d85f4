/*
 * Classes: subscribers with equal lists of scopes, who may read the same, share what these refer to, brought up to date once per
 * commit, and frames as far as they have one scope. A class is found by the identities of its scopes and of what may be read.
 */
#include "feed/internal.h"

struct closure_view feed_class_view(const struct feed_class *c, const struct state *state,
                                    const struct subject *subject)
{
    return (struct closure_view){c->scopes, c->n_scopes, state, subject, c->readable};
}

struct digest feed_class_digest(const struct feed_class *c, uint64_t *ret_count)
{
    struct digest sum = c->closure.digest;

    *ret_count = (uint64_t)closure_adds(&c->closure);
    for (size_t i = 0; i < c->n_scopes; i++) {
        sum = digest_add(sum, c->members[i].scope->digest);
        *ret_count += c->members[i].scope->count;
    }
    return sum;
}

/* ---- its closure ---- */

static void note_referring(struct feed *f, struct feed_class *c)
{
    if (!c->closure.entries && !c->closure.withheld)
        link_remove(&c->referring);
    else if (link_is_alone(&c->referring))
        link_before(&f->referring, &c->referring);
}

static int make_closure(struct feed *f, struct feed_class *c)
{
    struct closure_view view = feed_class_view(c, f->state, NULL);
    int r = closure_make(&view, &c->closure);

    c->closure_is_stale = r != 0;
    note_referring(f, c);
    return r;
}

int feed_class_refresh(struct feed *f, struct feed_class *c)
{
    for (size_t i = 0; i < c->n_scopes; i++)
        if (feed_scope_refresh(f, c->members[i].scope))
            return ERR_NOMEM;
    return c->closure_is_stale ? make_closure(f, c) : 0;
}

bool feed_class_is_stale(const struct feed_class *c)
{
    bool is_stale = c->closure_is_stale;

    for (size_t i = 0; i < c->n_scopes; i++)
        is_stale |= c->members[i].scope->digest_is_stale;
    return is_stale;
}

bool feed_class_step(struct feed *f, struct feed_class *c, const struct feed_touched *t,
                     struct closure_delta *ret_delta)
{
    struct closure_move m = {.from = feed_class_view(c, t->before, NULL),
                             .to = feed_class_view(c, f->state, NULL),
                             .touched = t->keys,
                             .n_touched = t->n};

    *ret_delta = (struct closure_delta){.n_left = 0};
    if (!t->is_referring && !c->closure_is_stale)
        return true;
    if (c->closure_is_stale || !t->keys || closure_step(&c->closure, &m, ret_delta)) {
        closure_deinit(&c->closure);
        c->closure_is_stale = true; /* tried again when a batch is cut */
        c->left = f->state->revision;
        note_referring(f, c);
        return false;
    }
    if (ret_delta->n_left)
        c->left = f->state->revision;
    note_referring(f, c);
    return true;
}

/* ---- life ---- */

static struct feed_class *class_free(struct feed *f, struct feed_class *c)
{
    if (c->identity)
        (void)map_remove(&f->classes, str_of(c->identity, c->identity_len));
    for (size_t i = 0; i < c->n_scopes; i++)
        feed_scope_leave(f, &c->members[i]);
    link_remove(&c->touched);
    link_remove(&c->referring);
    closure_deinit(&c->closure);
    (void)shared_unref(c->bookmark);
    (void)readable_unref(c->readable);
    (void)mem_free(c->members);
    (void)mem_free(c->scopes);
    (void)mem_free(c->identity);
    return mem_free(c);
}

static int join_scopes(struct feed *f, struct feed_class *c, const struct scope *scopes,
                       size_t n)
{
    c->members = NEW_ARRAY(struct feed_member, n);
    c->scopes = NEW_ARRAY(const struct scope *, n);
    if (!c->members || !c->scopes)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        int r = feed_scope_join(f, &scopes[i], &c->members[i]);

        if (r)
            return r;
        c->members[i].class = c;
        c->scopes[i] = c->members[i].scope->scope;
        c->n_scopes++;
    }
    return 0;
}

/* Takes over the identity. */
static int class_make(struct feed_session *s, const struct scope *scopes, size_t n,
                      struct buf *identity, struct feed_class **ret)
{
    struct feed *f = s->feed;
    struct feed_class *c = NEW(struct feed_class);
    int r;

    if (!c)
        return ERR_NOMEM;
    link_init(&c->sessions);
    link_init(&c->touched);
    link_init(&c->referring);
    c->born = f->state->revision;
    c->readable = readable_ref(s->readable);
    r = join_scopes(f, c, scopes, n);
    if (!r)
        r = make_closure(f, c);
    if (!r) {
        c->identity_len = identity->len;
        c->identity = mem_dup(identity->data, identity->len);
        if (!c->identity ||
            !map_put(&f->classes, str_of(c->identity, c->identity_len), c, NULL))
            r = ERR_NOMEM;
    }
    if (r)
        (void)class_free(f, c);
    else
        *ret = c;
    return r;
}

/* Each scope's identity tells its own length, so that two lists never read alike; that of what may be read has one length. */
static int put_identity(const struct feed_session *s, const struct scope *scopes, size_t n,
                        struct buf *out)
{
    buf_put_byte(out, s->readable ? 'r' : 'e');
    buf_put_str(out, readable_identity(s->readable));
    for (size_t i = 0; i < n; i++)
        scope_put_identity(&scopes[i], out);
    return buf_status(out);
}

int feed_class_join(struct feed_session *s, const struct scope *scopes, size_t n)
{
    owned(buf) struct buf identity = BUF_NULL(4 * MIB);
    struct feed *f = s->feed;
    struct feed_class *c;
    int r = put_identity(s, scopes, n, &identity);

    if (r)
        return r;
    c = map_get(&f->classes, buf_str(&identity));
    if (!c)
        r = class_make(s, scopes, n, &identity, &c);
    if (r)
        return r;
    s->class = c;
    link_before(&c->sessions, &s->in_class);
    return 0;
}

void feed_class_leave(struct feed_session *s)
{
    struct feed_class *c = take(s->class);

    if (!c)
        return;
    link_remove(&s->in_class);
    if (link_is_alone(&c->sessions))
        (void)class_free(s->feed, c);
}
