/*
 * What a commit needs. See needs.h.
 */
#include "model/needs.h"

#include "base/alloc.h"
#include "base/map.h"
#include "model/guess.h"
#include "model/kind.h"
#include "model/moves.h"
#include "model/protection.h"
#include "model/rights_commit.h"

struct finding {
    const struct state *state;
    const struct commit *commit;
    const struct change_plan *plans;
    enum needs_purpose purpose;
    struct needs *needs;
    struct map seen; /* namespace and right */
    struct str id;   /* of the change that is looked at */
};

/* The pair once. The namespace must live as long as the needs. */
static int add(struct finding *q, enum right_to right, struct str space)
{
    static char there;
    char *key = arena_alloc(&q->needs->arena, space.len + sizeof(right)), *at = key;
    struct str whole;

    if (!key)
        return ERR_NOMEM;
    whole = str_of(key, space.len + sizeof(right));
    (void)str_keep(&at, space);
    memcpy(at, &right, sizeof(right));
    if (map_get(&q->seen, whole))
        return 0;
    if (!map_put(&q->seen, whole, &there, NULL) ||
        !VEC_PUSH(&q->needs->list, (struct need){right, space, q->id}))
        return ERR_NOMEM;
    return 0;
}

static int add_admin(void *ctx, struct str space)
{
    struct finding *q = ctx;
    struct str kept = arena_str(&q->needs->arena, space);

    return arena_failed(&q->needs->arena) ? ERR_NOMEM : add(q, RIGHT_TO_ADMIN, kept);
}

/* ---- what Trimtab itself is told ---- */

/* A grant that cannot be read may be about anything. */
static int add_grant(struct finding *q, const struct rights_doc *d)
{
    owned(grant_doc) struct grant_doc grant = GRANT_DOC_NULL;
    int r;

    if (!d->content.data)
        return 0;
    r = grant_read(d, &grant, NULL);
    if (r)
        return r == ERR_NOMEM ? r : add(q, RIGHT_TO_ADMIN, SPACE_EVERYTHING);
    for (size_t i = 0; i < grant_n_spaces(&grant) && !r; i++)
        r = add_admin(q, grant_space(&grant, i));
    return r;
}

static int add_system(struct finding *q, const struct change *c, struct name name)
{
    const struct version *old = state_newest(q->state, c->key);
    struct rights_doc was = rights_doc_of(c->key, old), is = rights_doc_of_change(c, old);
    int r;

    if (str_eq(name.space, SYSTEM_SPACE) && str_eq(name.kind, GRANT_KIND)) {
        r = add_grant(q, &was);
        return r ? r : add_grant(q, &is);
    }
    if (str_eq(name.space, SYSTEM_SPACE) && str_eq(name.kind, PROTECTION_KIND)) {
        r = was.content.data ? protection_spaces(was.content, add_admin, q) : 0;
        return r || !is.content.data ? r : protection_spaces(is.content, add_admin, q);
    }
    if (str_eq(name.space, SYSTEM_SPACE) && str_eq(name.kind, GUESS_KIND)) {
        r = was.content.data ? guess_spaces(was.content, add_admin, q) : 0;
        return r || !is.content.data ? r : guess_spaces(is.content, add_admin, q);
    }
    return add(q, RIGHT_TO_ADMIN, SPACE_EVERYTHING);
}

/* ---- changes ---- */

/* Both lists are sorted: what the newest version referred to already needs nothing. */
static int add_references(struct finding *q, struct str space, const struct change_plan *p)
{
    const struct references *old =
        version_is_live(p->old) && p->old->references ? p->old->references : NULL;
    size_t at = 0;

    for (size_t i = 0; p->references && i < p->references->n; i++) {
        struct str target = p->references->at[i], there = key_name(target).space;
        int r;

        while (old && at < old->n && str_cmp(old->at[at], target) < 0)
            at++;
        if (str_eq(there, space) || (old && at < old->n && str_eq(old->at[at], target)))
            continue;
        r = add(q, RIGHT_TO_REFER, there);
        if (r)
            return r;
    }
    return 0;
}

/* With the key, which commit_check has not filled in yet. */
static int with_key(struct finding *q, const struct change *c, struct name name,
                    struct change *ret)
{
    char *key = arena_alloc(&q->needs->arena, c->id.len);

    if (!key)
        return ERR_NOMEM;
    memcpy(key, c->id.data, c->id.len);
    key[name.space.len] = key[name.space.len + 1 + name.kind.len] = '\0';
    *ret = *c;
    ret->key = str_of(key, c->id.len);
    return 0;
}

static int add_approval(struct finding *q, struct str key)
{
    int r = q->purpose == NEEDS_COMMIT ? protection_asks(q->state, key) : 0;

    return r == PROTECTED ? add(q, RIGHT_TO_APPROVE, key_name(key).space) : r;
}

static int add_own(struct finding *q, const struct change *c, struct name name)
{
    bool is_dry = q->purpose == NEEDS_DRY_RUN;
    int r = add(q, is_dry ? RIGHT_TO_EDIT : RIGHT_TO_PUBLISH, name.space);

    if (!r && moves_start(q->commit))
        r = add(q, is_dry ? RIGHT_TO_VIEW : RIGHT_TO_OPERATE, name.space);
    if (!r && q->commit->override.len)
        r = add_approval(q, c->key);
    return r;
}

static int add_change(struct finding *q, size_t i)
{
    struct change c;
    struct name name;
    int r;

    q->id = q->commit->changes[i].id;
    if (name_parse(q->id, &name, NULL))
        return 0;
    r = with_key(q, &q->commit->changes[i], name, &c);
    if (r)
        return r;
    if (space_is_system(name.space))
        return add_system(q, &c, name);
    r = add_own(q, &c, name);
    return r || !q->plans ? r : add_references(q, name.space, &q->plans[i]);
}

/* ---- moves and orders ---- */

static int add_move(struct finding *q, const struct rollout_move *m)
{
    const struct rollout *rollout = state_rollout(q->state, m->id);
    int r = 0;

    for (size_t i = 0; rollout && i < rollout->n_candidates && !r; i++) {
        struct str key = rollout->candidates[i]->key;

        r = add(q, q->purpose == NEEDS_DRY_RUN ? RIGHT_TO_VIEW : RIGHT_TO_OPERATE,
                key_name(key).space);
        if (!r && m->kind == MOVE_CONFIRM)
            r = add_approval(q, key);
    }
    return r;
}

static int add_order(struct finding *q, const struct order_request *o)
{
    enum right_to right = o->kind == ORDER_RETRY     ? RIGHT_TO_RETRY
                          : o->kind == ORDER_RELEASE ? RIGHT_TO_RELEASE
                                                     : RIGHT_TO_STOP;
    int r = 0;

    if (order_is_of_fleet(o->kind) || !o->n_resources)
        return add(q, right, SPACE_EVERYTHING);
    for (size_t i = 0; i < o->n_resources && !r; i++) {
        struct name name;

        r = name_parse(o->resources[i], &name, NULL)
                ? add(q, right, SPACE_EVERYTHING)
                : add(q, space_is_system(name.space) ? RIGHT_TO_ADMIN : right, name.space);
    }
    return r;
}

/* ---- all of it ---- */

static int find(struct finding *q)
{
    const struct commit *c = q->commit;
    bool is_published = !moves_confirm(q->state, c);
    int r = 0;

    for (size_t i = 0; is_published && i < c->n && !r; i++)
        r = add_change(q, i);
    q->id = STR_NULL;
    for (size_t i = 0; i < c->n_moves && !r; i++)
        r = add_move(q, &c->moves[i]);
    if (!r && c->order)
        r = add_order(q, c->order);
    if (!r && c->restored)
        r = add(q, RIGHT_TO_ADMIN, SPACE_EVERYTHING);
    return r;
}

static int finish(struct finding *q, int r)
{
    map_deinit(&q->seen);
    if (r)
        needs_deinit(q->needs);
    return r;
}

int needs_make(const struct state *s, const struct commit *c, const struct change_plan *plans,
               enum needs_purpose purpose, struct needs *ret)
{
    struct finding q = {
        .state = s, .commit = c, .plans = plans, .purpose = purpose, .needs = ret};

    *ret = (struct needs){.arena = ARENA_NULL};
    return finish(&q, find(&q));
}

int needs_of_order(const struct order_request *o, struct needs *ret)
{
    struct finding q = {.needs = ret};

    *ret = (struct needs){.arena = ARENA_NULL};
    return finish(&q, add_order(&q, o));
}

void needs_deinit(struct needs *n)
{
    VEC_DEINIT(&n->list);
    arena_deinit(&n->arena);
}

int needs_check(const struct needs *n, const struct rights *r, const struct principal *p,
                struct err *err)
{
    for (size_t i = 0; i < n->list.n; i++) {
        const struct need *need = &n->list.at[i];

        if (rights_may(r, p, need->right, need->space))
            continue;
        (void)rights_deny(p, need->right, need->space, err);
        if (need->id.data)
            err_place(err, "%.*s", STR_ARG(need->id));
        return ERR_DENIED;
    }
    return 0;
}

int commit_authorize(const struct state *s, const struct commit *c,
                     const struct change_plan *plans, enum needs_purpose purpose,
                     const struct principal *p, struct err *err)
{
    owned(needs) struct needs needs;
    int r = needs_make(s, c, plans, purpose, &needs);

    return r ? r : needs_check(&needs, s->rights, p, err);
}
