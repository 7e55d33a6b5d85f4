/*
 * Declared canaries. See canary.h.
 */
#include "server/use/canary.h"

#include "proto/convert.h"
#include "proto/rollout.h"
#include "proto/step_text.h"
#include "server/rollout/check.h"

#define ANNOTATION STR("trimtab/canary")

/* One change, next to what is there. */
struct canary {
    struct change *change;
    struct str canary; /* data NULL: no annotation */
    const struct version *stable;
    struct version *candidate;     /* of a declared rollout; NULL: none */
    const struct rollout *carrier; /* that declared rollout */
};

struct canaries {
    struct canary *at;
    size_t n;
    const struct rollout
        *rollout; /* the one that carries some of them, and is to move; NULL: none */
    const struct rollout *carried; /* one that carries some of them as before; NULL: none */
};

/* ---- looking ---- */

static bool is_empty(const struct meta_patch *p)
{
    return p->n_clear == 0 && meta_eq(&p->set, NULL);
}

/* From the metadata that a change gives, or from its patch; a patch of nothing else is none. */
static struct str take_annotation(struct change *c)
{
    struct meta *m = c->patch ? &c->patch->set : &c->meta;

    for (size_t i = 0; i < m->n_annotations; i++) {
        struct str value = m->annotations[i].value;

        if (!str_eq(m->annotations[i].key, ANNOTATION))
            continue;
        m->annotations[i] = m->annotations[--m->n_annotations];
        if (c->patch && is_empty(c->patch))
            c->patch = NULL;
        return value.data ? value : STR("");
    }
    return STR_NULL;
}

void canary_strip(struct commit *c)
{
    for (size_t i = 0; i < c->n; i++)
        (void)take_annotation(&c->changes[i]);
}

/* Ids that are none are left to the check of the commit. */
static int see(struct api_call *call, struct change *c, struct canary *s)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    struct name name;
    struct rollout *r;

    *s = (struct canary){.change = c, .canary = take_annotation(c)};
    if (name_parse(c->id, &name, NULL))
        return 0;
    name_put_key(name, &key);
    if (buf_status(&key))
        return ERR_NOMEM;
    s->stable = state_find(call->state, buf_str(&key));
    r = state_carrier(call->state, buf_str(&key), &s->candidate);
    if (r && r->is_declared)
        s->carrier = r;
    else
        s->candidate = NULL;
    return 0;
}

static int look(struct api_call *call, struct canaries *all)
{
    struct commit *c = &call->commit.commit;

    all->at = ARENA_ARRAY(&call->arena, struct canary, c->n);
    if (!all->at)
        return ERR_NOMEM;
    for (; all->n < c->n; all->n++) {
        int r = see(call, &c->changes[all->n], &all->at[all->n]);

        if (r)
            return r;
    }
    return 0;
}

static bool changes_something(const struct canary *s)
{
    return !s->change->is_carried && (s->candidate || !change_gives(s->change, s->stable));
}

/* ---- what is carried already ---- */

static int step_of(struct api_call *call, struct str text, Trimtab__V1__Step **ret)
{
    int r = step_from_text(text, &call->arena, ret, &call->err);

    if (!r) {
        (*ret)->empty_case = TRIMTAB__V1__STEP__EMPTY_ALLOW_EMPTY;
        (*ret)->allow_empty = true; /* a tree may come before its hosts */
    }
    if (r == ERR_INVALID && !*call->err.place)
        err_place(&call->err, "annotation trimtab/canary");
    if (!r && step_counts(*ret))
        return err_set(&call->err, ERR_INVALID,
                       "a declared canary cannot have a count: whom it takes must be the same "
                       "each time");
    return r;
}

/* Whether a step is for the same as the newest one. */
static bool is_same_step(struct api_call *call, const struct rollout *r,
                         const struct step *step)
{
    struct step a = r->steps[r->n_begun - 1], b = *step;
    Trimtab__V1__Step *pa, *pb;
    owned(shared_unref) struct shared *ta = NULL, *tb = NULL;

    step_settle(&b, r->is_automatic); /* as the log has the other */
    a.revision = b.revision = 0;
    a.began_ms = b.began_ms = 0;
    a.is_satisfied = b.is_satisfied = false;
    pa = step_to_proto(&a, &call->arena);
    pb = step_to_proto(&b, &call->arena);
    ta = pa ? proto_pack(&pa->base, 0) : NULL;
    tb = pb ? proto_pack(&pb->base, 0) : NULL;
    return ta && tb && str_eq(shared_str(ta), shared_str(tb));
}

/* Whether all that is said of a rollout is what it carries, for those whom its newest step is for. */
static int is_as_before(struct api_call *call, const struct canaries *all,
                        const struct rollout *r, bool *ret)
{
    struct str known = STR_NULL; /* an annotation that names the newest step */

    *ret = false;
    for (size_t i = 0; i < all->n; i++) {
        const struct canary *s = &all->at[i];
        Trimtab__V1__Step *asked;
        struct step step;
        int rc;

        if (s->carrier != r)
            continue;
        if (!s->canary.data || !change_gives(s->change, s->candidate))
            return 0;
        if (known.data && str_eq(known, s->canary))
            continue;
        rc = step_of(call, s->canary, &asked);
        if (rc)
            return rc;
        step = step_from_proto(asked, &call->arena);
        if (!is_same_step(call, r, &step))
            return 0;
        known = s->canary;
    }
    *ret = true;
    return 0;
}

static void set_carried(struct canaries *all, const struct rollout *r)
{
    for (size_t i = 0; i < all->n; i++)
        if (all->at[i].carrier == r)
            all->at[i].change->is_carried = true;
}

/* Takes out what rollouts carry as before: what else changes in the same commit is no part of them. */
static int find_carried(struct api_call *call, struct canaries *all)
{
    for (size_t i = 0; i < all->n; i++) {
        const struct rollout *r = all->at[i].carrier;
        bool as_before;
        int rc;

        if (!r || r == all->rollout || all->at[i].change->is_carried)
            continue;
        rc = is_as_before(call, all, r, &as_before);
        if (rc)
            return rc;
        if (as_before) {
            all->carried = r;
            set_carried(all, r);
        } else {
            all->rollout = r;
        }
    }
    return arena_failed(&call->arena) ? ERR_NOMEM : 0;
}

/* ---- what they ask for together ---- */

/* The one annotation of all that changes something; data NULL: none has any. ERR_INVALID when they differ. */
static int common_canary(const struct canaries *all, struct str *ret, struct err *err)
{
    const struct canary *first = NULL;

    for (size_t i = 0; i < all->n; i++) {
        const struct canary *s = &all->at[i];

        if (!changes_something(s))
            continue;
        if (!first)
            first = s;
        if (str_eq(s->canary, first->canary) && !s->canary.data == !first->canary.data)
            continue;
        (void)err_set(
            err, ERR_INVALID,
            "has another annotation trimtab/canary than %.*s, and one rollout has one "
            "set of targets",
            STR_ARG(first->change->id));
        err_place(err, "%.*s", STR_ARG(s->change->id));
        err_hint(err, "give all that changes the same, or publish them one after the other");
        return ERR_INVALID;
    }
    *ret = first ? first->canary : STR_NULL;
    return 0;
}

/* The commit is this move from now on. NULL without memory. */
static struct rollout_move *make_move(struct api_call *call, enum rollout_move_kind kind,
                                      const struct rollout *r)
{
    struct commit *c = &call->commit.commit;
    struct rollout_move *m = ARENA_NEW(&call->arena, struct rollout_move);

    if (!m)
        return NULL;
    *m = (struct rollout_move){.kind = kind,
                               .id = r ? r->id : 0,
                               .expected = r ? r->n_moves : 0,
                               .reason = c->message};
    c->moves = m;
    c->n_moves = 1;
    return m;
}

static int check_step(struct api_call *call, const Trimtab__V1__Step *asked,
                      struct rollout_plan *plan)
{
    const struct commit *c = &call->commit.commit;
    char **ids = ARENA_ARRAY(&call->arena, char *, c->n);
    struct interest interest;
    int r;

    if (!ids)
        return ERR_NOMEM;
    for (size_t i = 0; i < c->n; i++)
        ids[i] = arena_c(&call->arena, c->changes[i].id);
    r = interest_of_ids(ids, c->n, &call->arena, &interest, &call->err);
    if (r)
        return r;
    plan->salt = rollout_salt(&call->arena);
    return rollout_check_matches(&call->hub->roster,
                                 &(struct beginning){.asked = asked,
                                                     .step = &plan->steps[0],
                                                     .salt = plan->salt,
                                                     .interest = &interest,
                                                     .is_automatic = plan->is_automatic},
                                 1, &call->arena, &call->err);
}

/* Automatic, so that a target that refuses it takes it back. */
static int start(struct api_call *call, struct str canary)
{
    struct rollout_plan *plan = ARENA_NEW(&call->arena, struct rollout_plan);
    struct step *step = ARENA_NEW(&call->arena, struct step);
    Trimtab__V1__Step *asked;
    struct rollout_move *m;
    int r = plan && step ? step_of(call, canary, &asked) : ERR_NOMEM;

    if (r)
        return r;
    *step = step_from_proto(asked, &call->arena);
    *plan = (struct rollout_plan){
        .steps = step, .n_steps = 1, .is_automatic = true, .is_declared = true};
    r = check_step(call, asked, plan);
    if (r)
        return r;
    m = make_move(call, MOVE_START, NULL);
    if (!m)
        return ERR_NOMEM;
    m->plan = plan;
    return CANARY_MOVES;
}

static int check_extension(struct api_call *call, const struct rollout *r,
                           const Trimtab__V1__Step *asked, struct step *step)
{
    struct interest interest;
    int rc = interest_of_rollout(r, &call->arena, &interest);

    if (rc)
        return rc;
    return rollout_check_matches(&call->hub->roster,
                                 &(struct beginning){.asked = asked,
                                                     .step = step,
                                                     .salt = r->salt,
                                                     .interest = &interest,
                                                     .is_automatic = r->is_automatic},
                                 r->n_begun + 1, &call->arena, &call->err);
}

static int extend(struct api_call *call, const struct rollout *r, struct str canary)
{
    struct step *step = ARENA_NEW(&call->arena, struct step);
    Trimtab__V1__Step *asked;
    struct rollout_move *m;
    int rc = step ? step_of(call, canary, &asked) : ERR_NOMEM;

    if (rc)
        return rc;
    *step = step_from_proto(asked, &call->arena);
    rc = check_extension(call, r, asked, step);
    if (rc)
        return rc;
    m = make_move(call, MOVE_EXTEND, r);
    if (!m)
        return ERR_NOMEM;
    m->step = step;
    call->commit.commit.n = 0; /* they are its candidates already */
    return CANARY_MOVES;
}

/* All that the rollout carries is named. */
static bool is_whole(const struct canaries *all, const struct rollout *r)
{
    size_t carried = 0;

    for (size_t i = 0; i < all->n; i++)
        carried += all->at[i].carrier == r;
    return carried == r->n_candidates;
}

/* The first that changes something and is no part of the rollout; NULL: nothing else changes. */
static const struct canary *other_change(const struct canaries *all, const struct rollout *r)
{
    for (size_t i = 0; i < all->n; i++)
        if (all->at[i].carrier != r && changes_something(&all->at[i]))
            return &all->at[i];
    return NULL;
}

static bool all_give(const struct canaries *all, bool candidates)
{
    for (size_t i = 0; i < all->n; i++) {
        const struct canary *s = &all->at[i];

        if (s->carrier == all->rollout &&
            !change_gives(s->change, candidates ? s->candidate : s->stable))
            return false;
    }
    return true;
}

/*
 * What is stable, without the annotation, takes the rollout back. A commit does not do that beside something else, and
 * silence would leave the rollout running against what the tree says.
 */
static int refuse_return(struct api_call *call, const struct rollout *r,
                         const struct canary *other)
{
    (void)err_set(&call->err, ERR_LOCKED,
                  "rollout %llu is to be taken back, as its resources are given as they are "
                  "stable, and %.*s changes in the same commit",
                  (unsigned long long)r->id, STR_ARG(other->change->id));
    err_hint(&call->err, "roll it back first: trimtab rollout abort %llu",
             (unsigned long long)r->id);
    return ERR_LOCKED;
}

static int confirm(struct api_call *call, const struct rollout *r)
{
    struct rollout_move *m;
    int rc;

    if (rollout_changes(r, &call->arena, &call->commit.commit))
        return ERR_NOMEM;
    m = make_move(call, MOVE_CONFIRM, r);
    if (!m)
        return ERR_NOMEM;
    rc = rollout_check_confirm(call->driver, r, "", m, &call->err);
    return rc ? rc : CANARY_MOVES;
}

/* The changes are those of a declared rollout; else they are refused as those of any other are. */
static int move(struct api_call *call, const struct canaries *all, struct str canary)
{
    const struct rollout *r = all->rollout;
    const struct canary *other = other_change(all, r);
    struct commit *c = &call->commit.commit;
    bool goes_back = is_whole(all, r) && all_give(all, false) && !canary.data;

    if (goes_back && other)
        return refuse_return(call, r, other);
    if (!is_whole(all, r) || other)
        return CANARY_NONE;
    if (all_give(all, true) && canary.data)
        return extend(call, r, canary);
    if (!all_give(all, true) && !goes_back)
        return CANARY_NONE;
    c->n = 0;
    if (goes_back)
        return make_move(call, MOVE_ROLL_BACK, r) ? CANARY_MOVES : ERR_NOMEM;
    return confirm(call, r);
}

int canary_apply(struct api_call *call, const struct rollout **ret)
{
    struct canaries all = {.n = 0};
    struct str canary = STR_NULL;
    bool any = false;
    int r = look(call, &all);

    if (!r)
        r = find_carried(call, &all);
    *ret = all.carried;
    if (!r)
        r = common_canary(&all, &canary, &call->err);
    if (r)
        return r;
    if (all.rollout)
        return move(call, &all, canary);
    for (size_t i = 0; i < all.n && !any; i++)
        any = changes_something(&all.at[i]);
    if (all.carried && !any)
        return CANARY_SAME;
    return canary.data ? start(call, canary) : CANARY_NONE;
}
