/*
 * Rollouts as a state machine. See rollout.h.
 */
#include "model/rollout.h"

#include "base/alloc.h"

#include <stdlib.h>

const char *rollout_phase_name(enum rollout_phase p)
{
    static const char *const names[ROLLOUT_PHASES] = {"running",     "paused",  "confirmed",
                                                      "rolled_back", "expired", "overridden"};

    return names[p];
}

const char *rollout_move_name(enum rollout_move_kind m)
{
    static const char *const names[ROLLOUT_MOVES] = {
        "start",  "extend",  "advance",   "satisfy", "pause",
        "resume", "confirm", "roll_back", "expire",  "override"};

    return names[m];
}

/* ---- the table ---- */

/* Where a move leads to from a phase; NO: it is refused. */
enum { NO = ROLLOUT_PHASES };
static const uint8_t moves[ROLLOUT_PHASES][ROLLOUT_MOVES] = {
    [ROLLOUT_RUNNING] = {NO, ROLLOUT_RUNNING, ROLLOUT_RUNNING, ROLLOUT_RUNNING, ROLLOUT_PAUSED,
                         NO, ROLLOUT_CONFIRMED, ROLLOUT_ROLLED_BACK, ROLLOUT_EXPIRED,
                         ROLLOUT_OVERRIDDEN},
    [ROLLOUT_PAUSED] = {NO, ROLLOUT_PAUSED, NO, NO, NO, ROLLOUT_RUNNING, ROLLOUT_CONFIRMED,
                        ROLLOUT_ROLLED_BACK, ROLLOUT_EXPIRED, ROLLOUT_OVERRIDDEN},
    [ROLLOUT_CONFIRMED] = {NO, NO, NO, NO, NO, NO, NO, NO, NO, NO},
    [ROLLOUT_ROLLED_BACK] = {NO, NO, NO, NO, NO, NO, NO, NO, NO, NO},
    [ROLLOUT_EXPIRED] = {NO, NO, NO, NO, NO, NO, NO, NO, NO, NO},
    [ROLLOUT_OVERRIDDEN] = {NO, NO, NO, NO, NO, NO, NO, NO, NO, NO},
};

bool rollout_allows(enum rollout_phase p, enum rollout_move_kind m)
{
    return moves[p][m] != NO;
}

/* ---- checks ---- */

static int text_check(struct str s, size_t max, const char *what, struct err *err)
{
    if (s.len > max)
        return err_set(err, ERR_LIMIT, "the %s of a rollout has at most %zu bytes", what, max);
    if (!str_is_utf8(s))
        return err_set(err, ERR_INVALID, "the %s of a rollout is not UTF-8", what);
    return 0;
}

int step_check(struct step *s, struct arena *a, struct err *err)
{
    int r = 0;

    if (s->n_targets == 0)
        return err_set(err, ERR_INVALID, "a step without targets");
    if (s->n_targets > TARGETS_MAX)
        return err_set(err, ERR_LIMIT, "a step has at most %d targets", TARGETS_MAX);
    for (size_t i = 0; i < s->n_targets && !r; i++)
        r = target_compile(&s->targets[i], a, err);
    return r;
}

void step_settle(struct step *s, bool is_automatic)
{
    if (!s->has_soak)
        s->soak_ms = is_automatic ? SOAK_DEFAULT_MS : 0;
    s->has_soak = true;
}

int rollout_plan_check(struct rollout_plan *p, struct arena *a, struct err *err)
{
    int r = text_check(p->name, ROLLOUT_NAME_MAX, "name", err);

    if (!r)
        r = text_check(p->salt, ROLLOUT_NAME_MAX, "salt", err);
    if (r)
        return r;
    if (p->n_steps == 0)
        return err_set(err, ERR_INVALID, "a rollout needs at least one step");
    if (p->n_steps > ROLLOUT_STEPS_MAX)
        return err_set(err, ERR_LIMIT, "a rollout has at most %d steps", ROLLOUT_STEPS_MAX);
    if (p->auto_confirm && !p->is_automatic)
        return err_set(err, ERR_INVALID, "only an automatic rollout confirms itself");
    for (size_t i = 0; i < p->n_steps && !r; i++) {
        r = step_check(&p->steps[i], a, err);
        if (r)
            err_place(err, "step %zu", i + 1);
    }
    return r;
}

static int refuse_ended(const struct rollout *r, const struct rollout_move *m, struct err *err)
{
    if (rollout_is_live(r)) {
        (void)err_set(err, ERR_CONFLICT, "rollout %llu is %s: it cannot %s",
                      (unsigned long long)r->id, rollout_phase_name(r->phase),
                      rollout_move_name(m->kind));
        if (r->phase == ROLLOUT_PAUSED)
            err_hint(err, "resume it first");
        return ERR_CONFLICT;
    }
    (void)err_set(err, ERR_CONFLICT, "rollout %llu is over: %s by %.*s",
                  (unsigned long long)r->id, rollout_phase_name(r->phase),
                  STR_ARG(r->moved_by));
    err_hint(err, "start a new one");
    return ERR_CONFLICT;
}

int rollout_move_check(const struct rollout *r, const struct rollout_move *m, struct err *err)
{
    int rc = text_check(m->reason, ROLLOUT_REASON_MAX, "reason", err);

    if (!rc)
        rc = text_check(m->force, ROLLOUT_REASON_MAX, "reason to force it", err);
    if (rc)
        return rc;
    if (!rollout_allows(r->phase, m->kind))
        return refuse_ended(r, m, err);
    if (m->expected != r->n_moves) {
        (void)err_set(err, ERR_CONFLICT, "rollout %llu has moved on: %.*s changed it meanwhile",
                      (unsigned long long)r->id, STR_ARG(r->moved_by));
        err_hint(err, "look at its status, and decide again");
        return ERR_CONFLICT;
    }
    if (m->kind == MOVE_ADVANCE && r->n_begun == r->n_steps)
        return err_set(err, ERR_INVALID, "rollout %llu has no further step planned",
                       (unsigned long long)r->id);
    if (m->kind == MOVE_SATISFY && r->steps[r->n_begun - 1].is_satisfied)
        return err_set(err, ERR_INVALID, "its newest step is satisfied already");
    if (m->kind == MOVE_EXTEND && r->n_steps == ROLLOUT_STEPS_MAX)
        return err_set(err, ERR_LIMIT, "a rollout has at most %d steps", ROLLOUT_STEPS_MAX);
    return 0;
}

/* ---- life ---- */

void rollout_put_key(uint64_t id, unsigned char key[ROLLOUT_KEY_BYTES])
{
    for (int i = 0; i < ROLLOUT_KEY_BYTES; i++)
        key[i] = (unsigned char)(id >> (56 - 8 * i));
}

static void rollout_release(struct tree_item *item)
{
    struct rollout *r = rollout_of(item);

    for (size_t i = 0; i < r->n_candidates; i++)
        (void)version_unref(r->candidates[i]);
    arena_deinit(&r->arena);
    (void)mem_free(r);
}

struct rollout *rollout_ref(struct rollout *r)
{
    if (r)
        tree_item_ref(&r->node);
    return r;
}

struct rollout *rollout_unref(struct rollout *r)
{
    if (r)
        tree_item_unref(&r->node);
    return NULL;
}

static int version_cmp(const void *a, const void *b)
{
    struct version *const *va = a, *const *vb = b;

    return str_cmp((*va)->key, (*vb)->key);
}

static struct step step_copy(const struct step *s, struct arena *a)
{
    struct step copy = *s;

    copy.targets = ARENA_ARRAY(a, struct target, s->n_targets);
    for (size_t i = 0; copy.targets && i < s->n_targets; i++)
        copy.targets[i] = target_copy(&s->targets[i], a);
    return copy;
}

/* With one step of room. False when the arena failed. */
static bool take_steps(struct rollout *r, const struct step *steps, size_t n)
{
    r->steps = ARENA_ARRAY(&r->arena, struct step, n + 1);
    r->n_steps = n;
    for (size_t i = 0; r->steps && i < n; i++)
        r->steps[i] = step_copy(&steps[i], &r->arena);
    return !arena_failed(&r->arena);
}

static bool take_candidates(struct rollout *r, struct version *const *candidates, size_t n)
{
    r->candidates = ARENA_ARRAY(&r->arena, struct version *, n);
    if (!r->candidates)
        return false;
    for (size_t i = 0; i < n; i++)
        r->candidates[i] = version_ref(candidates[i]);
    r->n_candidates = n;
    return true;
}

static struct rollout *rollout_new(uint64_t id)
{
    struct rollout *r = NEW(struct rollout);

    if (!r)
        return NULL;
    atomic_init(&r->node.refs, 1);
    r->node.release = rollout_release;
    r->id = id;
    rollout_put_key(id, r->key);
    r->node.key = str_of(r->key, ROLLOUT_KEY_BYTES);
    return r;
}

/* What every move leaves behind. */
static void sign(struct rollout *r, const struct rollout_move *m)
{
    r->node.revision = m->revision;
    r->n_moves +=
        m->kind != MOVE_SATISFY; /* it changes nothing that somebody may have decided on */
    r->moved_by = arena_str(&r->arena, m->author);
    r->moved_why = arena_str(&r->arena, m->reason);
    r->moved_ms = m->time_ms;
}

static void begin_step(struct rollout *r, const struct rollout_move *m)
{
    struct step *s = &r->steps[r->n_begun++];

    s->revision = m->revision;
    s->began_ms = m->time_ms;
    s->is_satisfied = false;
}

static struct rollout *finish(struct rollout *r)
{
    return arena_failed(&r->arena) ? rollout_unref(r) : r;
}

struct rollout *rollout_start(const struct rollout_move *m, struct version *const *candidates,
                              size_t n)
{
    const struct rollout_plan *p = m->plan;
    struct rollout *r = rollout_new(m->revision);
    char id[24];

    if (!r)
        return NULL;
    (void)snprintf(id, sizeof(id), "%llu", (unsigned long long)m->revision);
    r->phase = ROLLOUT_RUNNING;
    r->name = arena_str(&r->arena, p->name);
    r->salt = arena_str(&r->arena, p->salt.len ? p->salt : str_c(id));
    r->author = arena_str(&r->arena, m->author);
    r->reason = arena_str(&r->arena, m->reason);
    r->started_ms = m->time_ms;
    r->expires_ms = p->expires_ms;
    r->is_automatic = p->is_automatic;
    r->auto_confirm = p->auto_confirm;
    r->is_declared = p->is_declared;
    if (!take_steps(r, p->steps, p->n_steps) || !take_candidates(r, candidates, n))
        return rollout_unref(r);
    qsort(r->candidates, n, sizeof(struct version *), version_cmp);
    for (size_t i = 0; i < r->n_steps; i++)
        r->steps[i].revision = 0;
    begin_step(r, m);
    sign(r, m);
    return finish(r);
}

struct rollout *rollout_restored(const struct rollout_saved *saved,
                                 struct version *const *candidates, size_t n)
{
    const struct rollout_plan *p = saved->plan;
    struct rollout *r = rollout_new(saved->id);
    struct arena *a;

    if (!r)
        return NULL;
    a = &r->arena;
    r->node.revision = saved->revision;
    r->n_moves = saved->n_moves;
    r->phase = saved->phase;
    r->name = arena_str(a, p->name);
    r->salt = arena_str(a, p->salt);
    r->author = arena_str(a, saved->author);
    r->reason = arena_str(a, saved->reason);
    r->moved_by = arena_str(a, saved->moved_by);
    r->moved_why = arena_str(a, saved->moved_why);
    r->started_ms = saved->started_ms;
    r->moved_ms = saved->moved_ms;
    r->expires_ms = p->expires_ms;
    r->is_automatic = p->is_automatic;
    r->auto_confirm = p->auto_confirm;
    r->is_declared = p->is_declared;
    r->n_begun = saved->n_begun;
    if (!take_steps(r, p->steps, p->n_steps) || !take_candidates(r, candidates, n))
        return rollout_unref(r);
    return finish(r);
}

/* A deep copy, so that each can be dropped by itself; candidates are shared. */
static struct rollout *rollout_copy(const struct rollout *r)
{
    struct rollout_plan plan = {.name = r->name,
                                .salt = r->salt,
                                .steps = r->steps,
                                .n_steps = r->n_steps,
                                .is_automatic = r->is_automatic,
                                .auto_confirm = r->auto_confirm,
                                .is_declared = r->is_declared,
                                .expires_ms = r->expires_ms};
    struct rollout_saved saved = {.id = r->id,
                                  .n_moves = r->n_moves,
                                  .phase = r->phase,
                                  .plan = &plan,
                                  .n_begun = r->n_begun,
                                  .author = r->author,
                                  .reason = r->reason,
                                  .started_ms = r->started_ms};

    return rollout_restored(&saved, r->candidates, r->n_candidates);
}

/* A new step stands behind those that have begun; planned ones follow it. */
static void insert_step(struct rollout *r, const struct step *s)
{
    for (size_t i = r->n_steps; i > r->n_begun; i--)
        r->steps[i] = r->steps[i - 1];
    r->n_steps++;
    r->steps[r->n_begun] = step_copy(s, &r->arena);
}

/* What nobody gets any more need not stay in memory; which resources they were of, and what they referred to, stays. */
static bool drop_contents(struct rollout *r)
{
    for (size_t i = 0; i < r->n_candidates; i++) {
        struct version *husk = version_without_content(r->candidates[i]);

        if (!husk)
            return false;
        (void)version_unref(r->candidates[i]);
        r->candidates[i] = husk;
    }
    return true;
}

struct rollout *rollout_moved(const struct rollout *before, const struct rollout_move *m)
{
    struct rollout *r = rollout_copy(before);

    if (!r)
        return NULL;
    r->phase = (enum rollout_phase)moves[before->phase][m->kind];
    if (m->kind == MOVE_EXTEND)
        insert_step(r, m->step);
    if (m->kind == MOVE_EXTEND || m->kind == MOVE_ADVANCE)
        begin_step(r, m);
    if (m->kind == MOVE_SATISFY)
        r->steps[r->n_begun - 1].is_satisfied = true;
    if (!phase_is_live(r->phase) && r->phase != ROLLOUT_CONFIRMED && !drop_contents(r))
        return rollout_unref(r);
    sign(r, m);
    return finish(r);
}

/* ---- asking ---- */

struct version *rollout_candidate(const struct rollout *r, struct str key)
{
    size_t from = 0, to = r->n_candidates;

    while (from < to) {
        size_t mid = from + (to - from) / 2;
        int c = str_cmp(key, r->candidates[mid]->key);

        if (c == 0)
            return r->candidates[mid];
        if (c < 0)
            to = mid;
        else
            from = mid + 1;
    }
    return NULL;
}

static bool step_takes(const struct rollout *r, const struct step *step,
                       const struct subject *s)
{
    for (size_t i = 0; i < step->n_targets; i++)
        if (target_takes(&step->targets[i], s, r->salt))
            return true;
    return false;
}

bool rollout_takes(const struct rollout *r, const struct subject *s)
{
    if (!rollout_is_live(r))
        return false;
    for (size_t i = 0; i < r->n_begun; i++)
        if (step_takes(r, &r->steps[i], s))
            return true;
    return false;
}

bool rollout_took(const struct rollout *r, const struct subject *s, uint64_t revision)
{
    if (!rollout_is_live(r) && r->node.revision <= revision)
        return false; /* it was over */
    for (size_t i = 0; i < r->n_begun; i++)
        if (r->steps[i].revision <= revision && step_takes(r, &r->steps[i], s))
            return true;
    return false;
}
