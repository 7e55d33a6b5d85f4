/*
 * Starting, moving and previewing rollouts: requests become commits with moves.
 */
#include "server/use/committing.h"
#include "server/use/methods.h"
#include "proto/rollout.h"
#include "server/use/canary.h"
#include "server/rollout/check.h"
#include "server/rollout/view.h"

enum {
    PREVIEW_DEFAULT = 100,
    PREVIEW_MAX = 1000,
    PREVIEW_WORK_MAX = 50000000, /* targets times instances */
};
static const uint64_t EXPIRES_MAX_MS = (uint64_t)3653 * 24 * 3600 * 1000;

/* ---- plans of requests ---- */

/* What the moves fill in is not for a request to say. */
static void forget_progress(struct step *steps, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        steps[i].revision = 0;
        steps[i].began_ms = 0;
        steps[i].is_satisfied = false;
    }
}

/* Whether some of its targets depend on the salt: counts, and percentages. */
static bool plan_draws(const Trimtab__V1__RolloutPlan *p)
{
    for (size_t i = 0; i < p->n_steps; i++) {
        if (step_counts(p->steps[i]))
            return true;
        for (size_t j = 0; j < p->steps[i]->n_targets; j++)
            if (p->steps[i]->targets[j]->percent != 0)
                return true;
    }
    return false;
}

static int set_expiry(struct rollout_plan *plan, uint64_t in_ms, struct err *err)
{
    int64_t now = clock_wall_ms();

    if (in_ms && plan->expires_ms)
        return err_set(err, ERR_INVALID, "give either expires_ms or expires_in_ms");
    if (in_ms > EXPIRES_MAX_MS)
        return err_set(err, ERR_LIMIT, "a rollout expires in ten years at most");
    if (in_ms)
        plan->expires_ms = now + (int64_t)in_ms;
    if (plan->expires_ms < 0 || (plan->expires_ms && plan->expires_ms <= now)) {
        (void)err_set(err, ERR_INVALID, "the rollout would have expired already");
        err_place(err, "expires_ms");
        return ERR_INVALID;
    }
    return 0;
}

/* Its steps with counts become steps with ids; r: that it would extend. */
static int make_plan(struct api_call *call, const Trimtab__V1__RolloutPlan *p,
                     const struct rollout *r, const struct interest *interest,
                     struct rollout_plan **ret)
{
    struct counting counting = {
        .roster = &call->hub->roster, .rollout = r, .interest = interest};
    struct rollout_plan *plan = rollout_plan_from_proto(p, &call->arena);

    if (!plan || arena_failed(&call->arena))
        return ERR_NOMEM;
    *ret = plan;
    forget_progress(plan->steps, plan->n_steps);
    if (r)
        plan->salt = r->salt;
    if (!plan_draws(p) || p->n_steps > ROLLOUT_STEPS_MAX) /* too many: the check tells */
        return 0;
    if (!plan->salt.len)
        plan->salt = rollout_salt(&call->arena);
    counting.salt = plan->salt;
    return counts_resolve(&counting, p->steps, plan->steps, plan->n_steps, &call->arena,
                          &call->err);
}

/* ---- answers ---- */

/* Of a repeated request nothing is told: what it reached was told then. */
static int put_reach(const struct api_call *call, uint64_t id, Trimtab__V1__RolloutResponse *m)
{
    const struct commit_job *job = &call->commit;
    const struct rollout *after =
        job->after && !job->repeated ? state_rollout(job->after, id) : NULL;
    struct reach reach;
    int r;

    if (!after)
        return 0;
    r = rollout_reach(&call->hub->roster, state_rollout(job->state, id), after, &reach);
    if (r)
        return r;
    m->reaches = reach.instances;
    m->reaches_offline = reach.offline;
    return 0;
}

/* Then it is said who fails before it has the candidates. */
static bool begins_step(const struct commit_job *job)
{
    enum rollout_move_kind kind = job->commit.moves[0].kind;

    return kind == MOVE_START || kind == MOVE_EXTEND || kind == MOVE_ADVANCE;
}

static void answer(struct api_call *call, uint64_t id, bool hides_id)
{
    struct commit_job *job = &call->commit;
    struct state *state = job->is_dry_run ? job->after : call->hub->state;
    const struct rollout *r = state ? state_rollout(state, id) : NULL;
    Trimtab__V1__RolloutResponse *m = ARENA_NEW(&call->arena, Trimtab__V1__RolloutResponse);
    Trimtab__V1__RolloutCounts *counts = ARENA_NEW(&call->arena, Trimtab__V1__RolloutCounts);

    if (!m || !counts) {
        api_fail_code(call, ERR_NOMEM);
        return;
    }
    trimtab__v1__rollout_response__init(m);
    trimtab__v1__rollout_counts__init(counts);
    m->revision = job->is_dry_run ? 0 : job->revision;
    m->dry_run = job->is_dry_run;
    if (r)
        m->rollout = rollout_message(state, r, false, &call->arena);
    if ((r && (!m->rollout || rollout_look(&call->driver->drives, r, counts, NULL))) ||
        api_results(call, &m->changes, &m->n_changes) || put_reach(call, id, m)) {
        api_fail_code(call, ERR_NOMEM);
        return;
    }
    if (r)
        m->rollout->counts = counts;
    if (r && begins_step(job) &&
        rollout_count_failing(&call->hub->roster, r, &counts->already_failing)) {
        api_fail_code(call, ERR_NOMEM);
        return;
    }
    if (r && hides_id) /* nobody has it yet */
        m->rollout->id = 0;
    api_answer(call, &m->base);
}

/* ---- starting ---- */

static void started(struct api_call *call)
{
    const struct commit_job *job = &call->commit;

    answer(call, job->is_dry_run ? job->commit.moves[0].revision : job->revision,
           job->is_dry_run);
}

/* A plan without steps, or with too many, is refused with the commit. */
static int check_first(struct api_call *call, const Trimtab__V1__RolloutPlan *asked,
                       const struct rollout_plan *plan, const struct interest *interest)
{
    if (!plan->n_steps || plan->n_steps > ROLLOUT_STEPS_MAX)
        return 0;
    return rollout_check_matches(&call->hub->roster,
                                 &(struct beginning){.asked = asked->steps[0],
                                                     .step = &plan->steps[0],
                                                     .salt = plan->salt,
                                                     .interest = interest,
                                                     .is_automatic = plan->is_automatic},
                                 1, &call->arena, &call->err);
}

static int make_start(struct api_call *call, const Trimtab__V1__StartRolloutRequest *q)
{
    struct commit *commit = &call->commit.commit;
    struct rollout_move *move = ARENA_NEW(&call->arena, struct rollout_move);
    char **ids = ARENA_ARRAY(&call->arena, char *, q->n_changes);
    struct interest interest;
    int r;

    if (!move || !ids)
        return ERR_NOMEM;
    if (!q->plan)
        return err_set(&call->err, ERR_INVALID, "a rollout needs a plan");
    if (!q->n_changes)
        return err_set(&call->err, ERR_INVALID, "a rollout needs at least one change");
    for (size_t i = 0; i < q->n_changes; i++)
        ids[i] = q->changes[i]->id;
    r = api_changes(call, q->changes, q->n_changes, 0);
    canary_strip(commit);
    if (!r)
        r = interest_of_ids(ids, q->n_changes, &call->arena, &interest, &call->err);
    *move = (struct rollout_move){.kind = MOVE_START, .reason = str_c(q->message)};
    if (!r)
        r = make_plan(call, q->plan, NULL, &interest, &move->plan);
    if (!r)
        r = check_first(call, q->plan, move->plan, &interest);
    if (!r)
        r = set_expiry(move->plan, q->expires_in_ms, &call->err);
    commit->moves = move;
    commit->n_moves = 1;
    return r;
}

void api_start_rollout(struct api_call *call)
{
    const Trimtab__V1__StartRolloutRequest *q =
        (const Trimtab__V1__StartRolloutRequest *)call->request;
    int r = make_start(call, q);

    if (r) {
        api_fail_here(call, r);
        return;
    }
    call->commit.is_dry_run = q->dry_run;
    api_describe(call, q->message, q->request_id, "rollout");
    api_submit(call, started);
}

/* ---- moving ---- */

static const Trimtab__V1__MoveRolloutRequest *move_request(const struct api_call *call)
{
    return (const Trimtab__V1__MoveRolloutRequest *)call->request;
}

/* The moves that people make; the others are made by the server, or by an override. */
static int move_kind(const char *name, enum rollout_move_kind *ret, struct err *err)
{
    static const enum rollout_move_kind kinds[] = {MOVE_EXTEND, MOVE_ADVANCE, MOVE_PAUSE,
                                                   MOVE_RESUME, MOVE_CONFIRM, MOVE_ROLL_BACK};

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(name, rollout_move_name(kinds[i])) == 0) {
            *ret = kinds[i];
            return 0;
        }
    (void)err_set(err, ERR_INVALID, "there is no move \"%.100s\"", name);
    err_place(err, "move");
    err_hint(err, "extend, advance, pause, resume, confirm or roll_back");
    return ERR_INVALID;
}

static int make_step(struct api_call *call, const struct rollout *r, struct rollout_move *move)
{
    const Trimtab__V1__MoveRolloutRequest *q = move_request(call);
    struct interest interest;
    struct counting counting = {
        .roster = &call->hub->roster, .rollout = r, .salt = r->salt, .interest = &interest};
    struct step *step = ARENA_NEW(&call->arena, struct step);
    int rc;

    if (!step)
        return ERR_NOMEM;
    if (!q->step)
        return err_set(&call->err, ERR_INVALID, "to extend a rollout needs a step");
    *step = step_from_proto(q->step, &call->arena);
    if (arena_failed(&call->arena))
        return ERR_NOMEM;
    forget_progress(step, 1);
    move->step = step;
    rc = interest_of_rollout(r, &call->arena, &interest);
    if (!rc && step_counts(q->step))
        rc = counts_resolve(&counting, &q->step, step, 1, &call->arena, &call->err);
    if (rc)
        return rc;
    return rollout_check_matches(&call->hub->roster,
                                 &(struct beginning){.asked = q->step,
                                                     .step = step,
                                                     .salt = r->salt,
                                                     .interest = &interest,
                                                     .is_automatic = r->is_automatic},
                                 r->n_begun + 1, &call->arena, &call->err);
}

/* Who does not say what the move was decided on is not in the way of one that came between. */
static bool move_again(struct api_call *call)
{
    struct rollout_move *move = call->commit.commit.moves;
    const struct rollout *r = state_rollout(call->hub->state, move->id);

    if (!r || r->n_moves == move->expected)
        return false;
    move->expected = r->n_moves;
    return move->kind != MOVE_CONFIRM ||
           rollout_check_confirm(call->driver, r, move_request(call)->force, move, NULL) == 0;
}

static void moved(struct api_call *call)
{
    answer(call, move_request(call)->id, false);
}

static int make_move(struct api_call *call, const Trimtab__V1__MoveRolloutRequest *q)
{
    struct commit *commit = &call->commit.commit;
    struct rollout_move *move = ARENA_NEW(&call->arena, struct rollout_move);
    const struct rollout *r;
    enum rollout_move_kind kind;
    int rc = move ? move_kind(q->move, &kind, &call->err) : ERR_NOMEM;

    if (rc)
        return rc;
    call->state = state_ref(call->hub->state); /* whose candidates a confirmation borrows */
    r = state_rollout(call->state, q->id);
    if (!r)
        return err_set(&call->err, ERR_NOT_FOUND, "there is no rollout %llu",
                       (unsigned long long)q->id);
    if (*q->override && kind != MOVE_CONFIRM)
        return err_set(&call->err, ERR_INVALID, "only a confirmation can override protection");
    if (*q->force && kind != MOVE_CONFIRM)
        return err_set(&call->err, ERR_INVALID, "only a confirmation can be forced");
    if (q->step && kind != MOVE_EXTEND)
        return err_set(&call->err, ERR_INVALID, "only an extension has a step");
    *move = (struct rollout_move){.kind = kind,
                                  .id = q->id,
                                  .expected = q->expected ? q->expected : r->n_moves,
                                  .reason = str_c(q->reason)};
    commit->moves = move;
    commit->n_moves = 1;
    commit->override = str_c(q->override);
    if (!q->expected)
        call->again = move_again;
    if (kind == MOVE_EXTEND)
        rc = make_step(call, r, move);
    if (kind == MOVE_CONFIRM)
        rc = rollout_check_confirm(call->driver, r, q->force, move, &call->err);
    if (!rc && kind == MOVE_CONFIRM)
        rc = rollout_changes(r, &call->arena, commit);
    return rc;
}

void api_move_rollout(struct api_call *call)
{
    const Trimtab__V1__MoveRolloutRequest *q = move_request(call);
    int r = make_move(call, q);

    if (r) {
        api_fail_here(call, r);
        return;
    }
    call->commit.is_dry_run = q->dry_run;
    api_describe(call, q->reason, q->request_id, "rollout");
    api_submit(call, moved);
}

/* ---- preview ---- */

static const Trimtab__V1__PreviewRolloutRequest *preview_request(const struct api_call *call)
{
    return (const Trimtab__V1__PreviewRolloutRequest *)call->request;
}

struct preview {
    const struct rollout *rollout; /* NULL: none */
    const struct rollout_plan *plan;
    struct interest interest;
    Trimtab__V1__PreviewStep **steps; /* of the plan */
    struct pick_page *pages;          /* likewise */
    uint32_t only;                    /* the step whose instances are shown; 0: all */
    int result;
};

static bool preview_look(void *ctx, struct instance *i, const struct subject *s)
{
    struct preview *p = ctx;
    Trimtab__V1__PreviewStep *m;
    uint32_t step;

    if (!interest_met(&p->interest, i) || (p->rollout && rollout_takes(p->rollout, s)))
        return true;
    step = steps_taking(p->plan->steps, p->plan->n_steps, p->plan->salt, s);
    if (!step)
        return true;
    m = p->steps[step - 1];
    m->matched++;
    m->connected += i->presence->is_connected;
    m->failing += presence_is_failing(i->presence);
    if ((!p->only || p->only == step) &&
        !pick_page_add(&p->pages[step - 1], (struct pick){i, i->id, step}))
        p->result = ERR_NOMEM;
    return p->result == 0;
}

static int preview_begin(struct api_call *call, struct preview *p)
{
    const Trimtab__V1__PreviewRolloutRequest *q = preview_request(call);
    size_t n = p->plan->n_steps;

    p->only = q->step;
    p->steps = ARENA_ARRAY(&call->arena, Trimtab__V1__PreviewStep *, n);
    p->pages = ARENA_ARRAY(&call->arena, struct pick_page, n);
    for (size_t i = 0; p->steps && p->pages && i < n; i++) {
        p->steps[i] = ARENA_NEW(&call->arena, Trimtab__V1__PreviewStep);
        if (!p->steps[i])
            return ERR_NOMEM;
        trimtab__v1__preview_step__init(p->steps[i]);
        p->pages[i] = (struct pick_page){
            .after = q->after,
            .state = "",
            .limit = MIN(q->limit ? q->limit : PREVIEW_DEFAULT, (size_t)PREVIEW_MAX)};
    }
    return p->steps && p->pages ? 0 : ERR_NOMEM;
}

static int put_step(struct api_call *call, struct pick_page *page, Trimtab__V1__PreviewStep *m)
{
    struct moment at = hub_moment(call->hub);

    pick_page_close(page);
    m->instances = ARENA_ARRAY(&call->arena, Trimtab__V1__RolloutInstance *, page->n);
    for (size_t i = 0; m->instances && i < page->n; i++) {
        m->instances[i] =
            rollout_instance(&page->at[i], &call->driver->drives, NULL, &at, &call->arena);
        if (!m->instances[i])
            return ERR_NOMEM;
        m->n_instances++;
    }
    if (page->has_more)
        m->next = m->instances[page->n - 1]->id;
    return arena_failed(&call->arena) ? ERR_NOMEM : 0;
}

static int preview_show(struct api_call *call, struct preview *p)
{
    int r = preview_begin(call, p);

    if (!r)
        subjects_each(&call->hub->roster, preview_look, p);
    if (!r)
        r = p->result;
    for (size_t i = 0; p->steps && p->pages && i < p->plan->n_steps; i++) {
        if (!r)
            r = put_step(call, &p->pages[i], p->steps[i]);
        pick_page_deinit(&p->pages[i]);
    }
    return r;
}

/* A plan of the request, of its targets, or of what would extend a rollout. */
static const Trimtab__V1__RolloutPlan *preview_plan(const Trimtab__V1__PreviewRolloutRequest *q,
                                                    struct arena *a)
{
    Trimtab__V1__RolloutPlan *plan = ARENA_NEW(a, Trimtab__V1__RolloutPlan);
    Trimtab__V1__Step *step = ARENA_NEW(a, Trimtab__V1__Step);
    Trimtab__V1__Step **steps = ARENA_NEW(a, Trimtab__V1__Step *);

    if (q->plan || !plan || !step || !steps)
        return q->plan;
    trimtab__v1__rollout_plan__init(plan);
    trimtab__v1__step__init(step);
    step->targets = q->targets;
    step->n_targets = q->n_targets;
    steps[0] = step;
    plan->steps = steps;
    plan->n_steps = 1;
    return plan;
}

static int check_work(const struct api_call *call, const Trimtab__V1__RolloutPlan *plan,
                      struct err *err)
{
    uint64_t targets = 0;

    for (size_t i = 0; i < plan->n_steps; i++)
        targets += plan->steps[i]->n_targets;
    if (targets * call->hub->roster.instances.n <= PREVIEW_WORK_MAX)
        return 0;
    return err_set(err, ERR_LIMIT, "too many targets for a preview of %zu instances",
                   call->hub->roster.instances.n);
}

static int preview_make(struct api_call *call, struct preview *p)
{
    const Trimtab__V1__PreviewRolloutRequest *q = preview_request(call);
    const Trimtab__V1__RolloutPlan *asked;
    struct rollout_plan *plan;
    int r;

    if ((q->plan != NULL) == (q->n_targets > 0))
        return err_set(&call->err, ERR_INVALID, "give either a plan or targets");
    p->rollout = q->rollout ? state_rollout(call->hub->state, q->rollout) : NULL;
    if (q->rollout && !p->rollout)
        return err_set(&call->err, ERR_NOT_FOUND, "there is no rollout %llu",
                       (unsigned long long)q->rollout);
    r = rollout_require_view(call, p->rollout);
    for (size_t i = 0; i < q->n_resources && !r; i++)
        r = api_require_sight(call, q->resources[i]);
    if (!r && !p->rollout && !q->n_resources) /* it would look at the whole fleet */
        r = api_require(call, RIGHT_TO_VIEW, SPACE_EVERYTHING);
    if (r)
        return r;
    r = p->rollout && !q->n_resources
            ? interest_of_rollout(p->rollout, &call->arena, &p->interest)
            : interest_of_ids(q->resources, q->n_resources, &call->arena, &p->interest,
                              &call->err);
    asked = preview_plan(q, &call->arena);
    if (r || !asked)
        return r ? r : ERR_NOMEM;
    r = check_work(call, asked, &call->err);
    if (!r)
        r = make_plan(call, asked, p->rollout, &p->interest, &plan);
    if (r)
        return r;
    if (!plan->salt.len)
        plan->salt = rollout_salt(&call->arena);
    p->plan = plan;
    return rollout_plan_check(plan, &call->arena, &call->err);
}

void api_preview_rollout(struct api_call *call)
{
    const Trimtab__V1__PreviewRolloutRequest *q = preview_request(call);
    Trimtab__V1__PreviewRolloutResponse *m =
        ARENA_NEW(&call->arena, Trimtab__V1__PreviewRolloutResponse);
    struct preview p = {.result = 0};
    int r = m ? preview_make(call, &p) : ERR_NOMEM;

    if (!r && (q->step > p.plan->n_steps || (*q->after && !q->step)))
        r = err_set(&call->err, ERR_INVALID, "a preview goes on after an instance of one step");
    if (!r)
        r = preview_show(call, &p);
    if (r) {
        api_fail_here(call, r);
        return;
    }
    trimtab__v1__preview_rollout_response__init(m);
    m->steps = p.steps;
    m->n_steps = p.plan->n_steps;
    m->instances = call->hub->roster.instances.n;
    m->revision = call->hub->state->revision;
    m->salt = arena_c(&call->arena, p.plan->salt);
    api_answer(call, &m->base);
}
