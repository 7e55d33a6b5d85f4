/*
 * Definitions of kinds within one commit. See kinds.h.
 */
#include "model/kinds.h"

#include "base/alloc.h"
#include "model/below.h"
#include "model/guess.h"
#include "model/protection.h"
#include "model/rights_commit.h"

struct kind_entry {
    struct kind kind;
    char name[SEGMENT_BYTES_MAX + 1];
};

void kinds_init(struct kinds *k, const struct state *s, const struct commit *c,
                const struct map *changes)
{
    *k = (struct kinds){.state = s, .commit = c, .changes = changes};
}

void kinds_deinit(struct kinds *k)
{
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&k->read, &at))) {
        struct kind_entry *e = slot->value;

        kind_deinit(&e->kind);
        (void)mem_free(e);
    }
    map_deinit(&k->read);
}

/* What a kind's definition says after the commit; *ret_content has no data when there is none. */
static int definition(const struct kinds *k, struct str kind, struct str *ret_content)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    const struct change *c;
    const struct version *v;

    kind_put_key(kind, &key);
    if (buf_status(&key))
        return buf_status(&key);
    c = map_get(k->changes, buf_str(&key));
    v = c ? NULL : state_find(k->state, buf_str(&key));
    *ret_content = v ? v->content : c && !c->delete ? c->content : STR_NULL;
    return 0;
}

static int read_definition(struct kinds *k, struct str kind, struct kind_entry **ret,
                           struct err *err)
{
    struct kind_entry *e;
    struct str content;
    int r = definition(k, kind, &content);

    if (r)
        return r;
    if (!content.data) {
        (void)err_set(err, ERR_INVALID, "no kind \"%.*s\" is registered", STR_ARG(kind));
        err_hint(err, "publish trimtab/kind/%.*s first, or in the same commit", STR_ARG(kind));
        return ERR_INVALID;
    }
    e = NEW(struct kind_entry);
    if (!e)
        return ERR_NOMEM;
    memcpy(e->name, kind.data, kind.len);
    r = kind_read(content, &e->kind, err);
    if (!r && !map_put(&k->read, str_of(e->name, kind.len), e, NULL)) {
        kind_deinit(&e->kind);
        r = ERR_NOMEM;
    }
    if (r)
        (void)mem_free(e);
    else
        *ret = e;
    return r;
}

int kinds_get(struct kinds *k, struct str kind, const struct kind **ret, struct err *err)
{
    struct kind_entry *e;
    int r = 0;

    *ret = NULL;
    if (kind_is_builtin(kind))
        return 0;
    e = map_get(&k->read, kind);
    if (!e)
        r = read_definition(k, kind, &e, err);
    if (!r)
        *ret = &e->kind;
    return r;
}

/* ---- what Trimtab itself is told ---- */

/* Calls fn for every live resource of a kind until it returns something else than 0. */
typedef int resource_fn(struct kinds *k, const struct kind *kind, const struct version *v,
                        struct err *err);

static int each_resource(struct kinds *k, struct str kind, const struct kind *definition,
                         resource_fn *fn, struct err *err)
{
    struct below_walk walk;
    const struct version *v;
    int r = 0;

    below_walk_init(&walk, k->state, &(struct below_opts){.kind = kind});
    while (!r && (v = below_walk_next(&walk)))
        if (!v->deleted && !space_is_system(key_name(v->key).space))
            r = fn(k, definition, v, err);
    return r;
}

static int place_version(const struct version *v, struct err *err, int code)
{
    owned(buf) struct buf id = BUF_NULL(ID_BYTES_MAX);

    key_put_id(v->key, &id);
    err_place(err, "%.*s", STR_ARG(buf_str(&id)));
    return code;
}

static int refuse_remaining(struct kinds *k, const struct kind *kind, const struct version *v,
                            struct err *err)
{
    const struct change *c = map_get(k->changes, v->key);
    owned(buf) struct buf id = BUF_NULL(ID_BYTES_MAX);

    (void)kind;
    if (c && c->delete)
        return 0;
    key_put_id(v->key, &id);
    (void)err_set(err, ERR_CONFLICT, "%.*s is of this kind", STR_ARG(buf_str(&id)));
    err_hint(err, "delete the resources of a kind before the kind, or in the same commit");
    return ERR_CONFLICT;
}

int kinds_check_change(struct kinds *k, const struct change *c, struct err *err)
{
    struct name name = key_name(c->key);
    struct kind kind;
    int r;

    if (str_eq(name.space, SYSTEM_SPACE) && str_eq(name.kind, PROTECTION_KIND))
        return c->delete ? 0 : protection_check(c->content, err);
    if (str_eq(name.space, SYSTEM_SPACE) && str_eq(name.kind, GUESS_KIND))
        return c->delete ? 0 : guess_check(c->content, err);
    if (rights_concern(c->key))
        return rights_check_change(k->state, c, err);
    if (!str_eq(name.space, SYSTEM_SPACE) || !str_eq(name.kind, KIND_KIND)) {
        (void)err_set(err, ERR_INVALID,
                      "the namespace trimtab is for what Trimtab itself is told");
        err_hint(
            err,
            "it has kind/NAME, protection/NAME, guess/NAME, grant/NAME and token/NAME; take "
            "another namespace for what is yours");
        return ERR_INVALID;
    }
    r = kind_check(name.name, err);
    if (!r && (kind_is_builtin(name.name) || str_eq(name.name, KIND_KIND)))
        r = err_set(err, ERR_INVALID, "the kind %.*s is built in", STR_ARG(name.name));
    if (r)
        return r;
    if (c->delete)
        return each_resource(k, name.name, NULL, refuse_remaining, err);
    r = kind_read(c->content, &kind, err);
    if (!r)
        kind_deinit(&kind);
    return r;
}

/* ---- resources that the commit leaves alone ---- */

static bool references_eq(const struct references *a, const struct references *b)
{
    size_t n_a = a ? a->n : 0, n_b = b ? b->n : 0;

    if (n_a != n_b)
        return false;
    for (size_t i = 0; i < n_a; i++)
        if (!str_eq(a->at[i], b->at[i]))
            return false;
    return true;
}

static int compare_references(struct kinds *k, const struct kind *kind, const struct version *v,
                              struct err *err)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct references *refs;
    struct err why = ERR_NULL;
    int r;

    if (map_get(k->changes, v->key))
        return 0;
    r = references_collect(
        kind, &(struct referrer){key_name(v->key), v->content_type, v->content, v->meta}, &a,
        &refs, &why);
    if (r == ERR_NOMEM || (!r && references_eq(refs, v->references)))
        return r;
    (void)err_set(err, ERR_CONFLICT,
                  "by this definition it would refer to other resources than now%s%s",
                  r ? ": " : "", r ? why.text : "");
    err_hint(err, "publish it in the same commit as the definition of its kind");
    return place_version(v, err, ERR_CONFLICT);
}

int kinds_check_others(struct kinds *k, struct err *err)
{
    int r = 0;

    for (size_t i = 0; i < k->commit->n && !r; i++) {
        const struct change *c = &k->commit->changes[i];
        struct name name = key_name(c->key);
        const struct kind *kind;

        if (c->delete || !space_is_system(name.space) || !str_eq(name.kind, KIND_KIND))
            continue;
        r = kinds_get(k, name.name, &kind, err);
        if (!r)
            r = each_resource(k, name.name, kind, compare_references, err);
    }
    return r;
}
