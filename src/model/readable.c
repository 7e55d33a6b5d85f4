/*
 * Reach. See readable.h.
 */
#include "model/readable.h"

#include "base/alloc.h"

struct readable *readable_ref(struct readable *r)
{
    if (r)
        atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

struct readable *readable_unref(struct readable *r)
{
    if (r && atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) == 1)
        (void)mem_free(r);
    return NULL;
}

enum { READING = RIGHT_TO_VIEW | RIGHT_TO_SUBSCRIBE };

/* Namespaces that are found, borrowed from the record. */
struct found {
    VEC(struct str) spaces;
    size_t bytes;
};

/*
 * The grants of a subject come in the order of their namespaces, so one that covers others comes before them: it is looked for
 * among those above.
 */
static bool is_covered(const struct found *f, struct str space)
{
    for (size_t i = 0; i < f->spaces.n; i++)
        if (space_covers(f->spaces.at[i], space))
            return true;
    return false;
}

static bool find_spaces(const struct rights *r, struct str subject, struct found *f)
{
    struct subject_walk walk;
    const struct grant *g;

    subject_walk_init(&walk, r, subject);
    while ((g = subject_walk_next(&walk))) {
        if (!(g->role->rights & READING) || is_covered(f, g->space))
            continue;
        if (!VEC_PUSH(&f->spaces, g->space))
            return false;
        f->bytes += g->space.len;
    }
    return true;
}

static struct readable *readable_of(const struct found *f)
{
    size_t n = f->spaces.n;
    struct readable *r = mem_zalloc(sizeof(*r) + n * sizeof(*r->at) + f->bytes + n);
    char *text = r ? (char *)(r->at + n) : NULL, *begin = text;

    if (!r)
        return NULL;
    atomic_init(&r->refs, 1);
    for (size_t i = 0; i < n; i++, text++) { /* the zero byte behind each separates them */
        r->at[i] = str_keep(&text, f->spaces.at[i]);
        r->n++;
    }
    r->identity = sha256_of(str_of(begin, f->bytes + n));
    return r;
}

int readable_make(const struct rights *r, const struct principal *p, struct readable **ret)
{
    struct found f = {.bytes = 0};
    int rc = 0;

    *ret = NULL;
    if (rights_at(r, p, SPACE_EVERYTHING) & READING)
        return 0;
    if (find_spaces(r, p->subject, &f))
        *ret = readable_of(&f);
    if (!*ret)
        rc = ERR_NOMEM;
    VEC_DEINIT(&f.spaces);
    return rc;
}

bool readable_has(const struct readable *r, struct str space)
{
    for (size_t i = 0; r && i < r->n; i++)
        if (space_covers(r->at[i], space))
            return true;
    return !r;
}

bool readable_eq(const struct readable *a, const struct readable *b)
{
    return a == b || (a && b && sha256_eq(&a->identity, &b->identity));
}

struct str readable_identity(const struct readable *r)
{
    return r ? str_of(r->identity.bytes, SHA256_BYTES) : STR("");
}

static int deny_scope(const struct principal *p, const struct scope *s, struct str layer,
                      struct err *err)
{
    (void)rights_deny(p, RIGHT_TO_SUBSCRIBE, layer, err);
    if (s->name.len)
        err_place(err, "scope %.*s", STR_ARG(s->name));
    return ERR_DENIED;
}

int scopes_authorize(const struct rights *r, const struct principal *p,
                     const struct scope *scopes, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < scopes[i].n_layers; k++)
            if (!rights_may(r, p, RIGHT_TO_SUBSCRIBE, scopes[i].layers[k]))
                return deny_scope(p, &scopes[i], scopes[i].layers[k], err);
    return 0;
}
