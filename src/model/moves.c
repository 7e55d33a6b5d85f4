/*
 * Moves of rollouts within a commit. See moves.h.
 */
#include "model/moves.h"

#include "model/kind.h"
#include "model/protection.h"

bool moves_start(const struct commit *c)
{
    return c->n_moves == 1 && c->moves[0].kind == MOVE_START;
}

const struct rollout *moves_confirm(const struct state *s, const struct commit *c)
{
    return c->n_moves == 1 && c->moves[0].kind == MOVE_CONFIRM
               ? state_rollout(s, c->moves[0].id)
               : NULL;
}

/* ---- which may come together ---- */

static int check_shape(const struct commit *c, struct err *err)
{
    bool overrides = c->n_moves > 0;

    if (c->n_moves == 0)
        return 0;
    if (c->n_moves > COMMIT_CHANGES_MAX)
        return err_set(err, ERR_LIMIT, "more than %d moves", COMMIT_CHANGES_MAX);
    for (size_t i = 0; i < c->n_moves; i++)
        overrides &= c->moves[i].kind == MOVE_OVERRIDE;
    if (overrides && c->n && c->override.len)
        return 0;
    if (overrides)
        return err_set(err, ERR_INVALID,
                       "an override needs something to publish, and a reason");
    if (c->n_moves > 1)
        return err_set(err, ERR_INVALID, "one move of a rollout at a time");
    if ((moves_start(c) || c->moves[0].kind == MOVE_CONFIRM) != (c->n > 0))
        return err_set(err, ERR_INVALID, "to %s a rollout %s",
                       rollout_move_name(c->moves[0].kind),
                       c->n ? "changes no resource" : "needs its candidates");
    return 0;
}

/* ---- protection ---- */

static int refuse_protected(struct str by, struct err *err)
{
    (void)err_set(err, ERR_LOCKED, "is protected by %.*s: it changes by a gray release only",
                  STR_ARG(by));
    err_hint(
        err,
        "start a rollout of the change (trimtab rollout start), or override with a reason");
    return ERR_LOCKED;
}

static int check_protection(const struct state *s, struct str key, struct err *err)
{
    owned(buf) struct buf by = BUF_NULL(ID_BYTES_MAX);
    int r = protection_find(s, key, &by);

    return r == PROTECTED ? refuse_protected(buf_str(&by), err) : r;
}

/* What is protected becomes stable when the newest step has shown that it works, and still does. */
static bool has_shown(const struct rollout *r, const struct rollout_move *m)
{
    return r->steps[r->n_begun - 1].is_satisfied && m->holds;
}

static int refuse_unshown(const struct rollout *r, struct str by, struct err *err)
{
    unsigned long long id = (unsigned long long)r->id;
    char step[80];

    (void)snprintf(step, sizeof(step),
                   r->n_begun == 1 ? "no step of rollout %llu is"
                                   : "the newest step of rollout %llu is not",
                   id);
    if (r->steps[r->n_begun - 1].is_satisfied)
        (void)err_set(err, ERR_LOCKED,
                      "is protected by %.*s, and step %zu of rollout %llu does not meet its "
                      "criteria any more",
                      STR_ARG(by), r->n_begun, id);
    else
        (void)err_set(err, ERR_LOCKED, "is protected by %.*s, and %s satisfied yet",
                      STR_ARG(by), step);
    err_hint(err,
             "wait until its newest step is satisfied (trimtab rollout status %llu), or "
             "override with a reason",
             id);
    return ERR_LOCKED;
}

static int check_confirm(const struct state *s, const struct rollout *r,
                         const struct rollout_move *m, struct err *err)
{
    if (has_shown(r, m))
        return 0;
    for (size_t i = 0; i < r->n_candidates; i++) {
        owned(buf) struct buf by = BUF_NULL(ID_BYTES_MAX), id = BUF_NULL(ID_BYTES_MAX);
        int rc = protection_find(s, r->candidates[i]->key, &by);

        if (rc == 0)
            continue;
        if (rc != PROTECTED)
            return rc;
        key_put_id(r->candidates[i]->key, &id);
        rc = refuse_unshown(r, buf_str(&by), err);
        err_place(err, "%.*s", STR_ARG(buf_str(&id)));
        return rc;
    }
    return 0;
}

/* ---- one move ---- */

static int check_start(struct rollout_plan *p, struct arena *a, struct err *err)
{
    int r = rollout_plan_check(p, a, err);

    for (size_t i = 0; i < p->n_steps && !r; i++)
        step_settle(&p->steps[i], p->is_automatic);
    return r;
}

static int check_move(const struct state *s, const struct commit *c, struct rollout_move *m,
                      struct arena *a, struct err *err)
{
    const struct rollout *r;
    int rc;

    m->author = c->author;
    m->time_ms = c->time_ms;
    if (m->kind == MOVE_START)
        return check_start(m->plan, a, err);
    r = state_rollout(s, m->id);
    if (!r)
        return err_set(err, ERR_NOT_FOUND, "there is no rollout %llu",
                       (unsigned long long)m->id);
    rc = rollout_move_check(r, m, err);
    if (!rc && m->kind == MOVE_EXTEND)
        rc = step_check(m->step, a, err);
    if (!rc && m->kind == MOVE_EXTEND)
        step_settle(m->step, r->is_automatic);
    if (!rc && m->kind == MOVE_CONFIRM && !c->override.len)
        rc = check_confirm(s, r, m, err);
    return rc;
}

int moves_check(const struct state *s, struct commit *c, struct arena *a, struct err *err)
{
    int r = check_shape(c, err);

    if (!r && c->override.len > ROLLOUT_REASON_MAX)
        r = err_set(err, ERR_LIMIT, "a reason has at most %d bytes", ROLLOUT_REASON_MAX);
    if (!r && !str_is_utf8(c->override))
        r = err_set(err, ERR_INVALID, "a reason is not UTF-8");
    for (size_t i = 0; i < c->n_moves && !r; i++) {
        r = check_move(s, c, &c->moves[i], a, err);
        if (r && c->moves[i].id)
            err_place(err, "rollout %llu", (unsigned long long)c->moves[i].id);
    }
    return r;
}

/* ---- one change ---- */

static bool ends(const struct commit *c, uint64_t rollout)
{
    for (size_t i = 0; i < c->n_moves; i++)
        if (c->moves[i].id == rollout)
            return c->moves[i].kind == MOVE_CONFIRM || c->moves[i].kind == MOVE_OVERRIDE;
    return false;
}

static int refuse_carried(const struct rollout *r, struct err *err)
{
    (void)err_set(err, ERR_LOCKED, "is carried by rollout %llu%s%.*s%s, which %.*s started",
                  (unsigned long long)r->id, r->name.len ? " \"" : "", STR_ARG(r->name),
                  r->name.len ? "\"" : "", STR_ARG(r->author));
    err_hint(err,
             "confirm it or roll it back first (trimtab rollout status %llu), or override with "
             "a reason",
             (unsigned long long)r->id);
    return ERR_LOCKED;
}

static int check_is_candidate(const struct rollout *r, const struct change *c, struct err *err)
{
    const struct version *v = rollout_candidate(r, c->key);

    if (v && v->deleted == c->delete &&str_eq(v->content, c->content))
        return 0;
    return err_set(err, ERR_CONFLICT, "is not what rollout %llu carries",
                   (unsigned long long)r->id);
}

/* What Trimtab itself reads is the same for all: half a protection protects nobody. */
static int check_can_be_candidate(struct str key, struct err *err)
{
    struct str space = str_part(key, 0, str_index(key, '\0'));

    if (!str_eq(space, STR("trimtab")) && !str_starts(space, STR("trimtab/")))
        return 0;
    (void)err_set(
        err, ERR_INVALID,
        "cannot be the candidate of a rollout: Trimtab itself reads it, and only once");
    err_hint(err, "publish it for all (trimtab put), or leave it out of the rollout");
    return ERR_INVALID;
}

int moves_check_change(const struct state *s, const struct commit *c,
                       const struct change *change, struct err *err)
{
    const struct rollout *carrier = state_carrier(s, change->key, NULL);
    const struct rollout *confirms = moves_confirm(s, c);
    bool goes_back = str_eq(c->action, STR("rollback")) && c->message.len;

    if (carrier && !ends(c, carrier->id))
        return refuse_carried(carrier, err);
    if (confirms)
        return check_is_candidate(confirms, change, err);
    if (moves_start(c))
        return check_can_be_candidate(change->key, err);
    if (c->override.len || goes_back)
        return 0;
    return check_protection(s, change->key, err);
}

/* ---- what it comes to ---- */

/* Moves are checked against the log here too: what a record says is not what commit_check said. */
static int make_rollout(const struct state *s, const struct outcome *o,
                        const struct rollout_move *m, struct rollout **ret, struct err *err)
{
    const struct rollout *before = state_rollout(s, m->id);

    if (m->kind == MOVE_START && o->n_moves == 1)
        *ret = rollout_start(m, o->versions, o->n_versions);
    else if (m->kind != MOVE_START && before && rollout_allows(before->phase, m->kind) &&
             !(m->kind == MOVE_ADVANCE && before->n_begun == before->n_steps))
        *ret = rollout_moved(before, m);
    else
        return err_set(err, ERR_CORRUPT, "a move of a rollout that cannot be made");
    return *ret ? 0 : ERR_NOMEM;
}

static void drop_effect(struct effect *e, struct rollout **rollouts, size_t n)
{
    while (n-- > 0)
        rollouts[n] = rollout_unref(rollouts[n]);
    e->order = order_unref(e->order);
}

int outcome_effect(const struct state *s, const struct outcome *o, struct rollout **rollouts,
                   struct effect *ret, struct err *err)
{
    bool starts = o->n_moves == 1 && o->moves[0].kind == MOVE_START;

    *ret = (struct effect){.versions = o->versions,
                           .n_versions = starts ? 0 : o->n_versions,
                           .rollouts = rollouts,
                           .restored = o->restored};
    if (o->order) {
        ret->order = order_new(o->order);
        if (!ret->order)
            return ERR_NOMEM;
    }
    for (size_t i = 0; i < o->n_moves; i++) {
        int r = make_rollout(s, o, &o->moves[i], &rollouts[i], err);

        if (r) {
            drop_effect(ret, rollouts, i);
            return r;
        }
    }
    ret->n_rollouts = o->n_moves;
    return 0;
}

void effect_deinit(struct effect *e, struct rollout **rollouts)
{
    drop_effect(e, rollouts, e->n_rollouts);
    *e = (struct effect){.n_rollouts = 0};
}
