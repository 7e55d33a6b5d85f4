/*
 * The job. See job.h.
 */
#include "agent/job.h"

#include "base/log.h"

enum {
    AGAIN_MS = 1000, /* after there was no memory to begin, or a result could not be noted */
    PASSING_MIN_MS = 1000,
    PASSING_MAX_MS = 300000,
};

/* ---- states ---- */

enum job_state {
    JOB_IDLE,
    JOB_STAGING,
    JOB_CHECKING,
    JOB_SWITCHING,
    JOB_RELOADING,
    JOB_UNDOING,
    JOB_RELOADING_OLD,
    JOB_FINISHING
};

/* In place of a time. */
#define RETRY_ALL   UINT64_MAX
#define RETRY_START (UINT64_MAX - 1)

#define TO(state) (1U << JOB_##state)

/* Where each state may go, and whether the files of a plan may be in place in it. */
static const struct {
    const char *name;
    unsigned to;
    bool may_be_switched;
} states[] = {
    [JOB_IDLE] = {"idle", TO(STAGING), false},
    [JOB_STAGING] = {"staging", TO(STAGING) | TO(CHECKING) | TO(FINISHING), false},
    [JOB_CHECKING] = {"checking", TO(STAGING) | TO(SWITCHING) | TO(FINISHING), false},
    [JOB_SWITCHING] = {"switching", TO(RELOADING) | TO(FINISHING), true},
    [JOB_RELOADING] = {"reloading", TO(UNDOING) | TO(FINISHING), true},
    [JOB_UNDOING] = {"undoing", TO(RELOADING_OLD), true},
    [JOB_RELOADING_OLD] = {"reloading old", TO(FINISHING), false},
    [JOB_FINISHING] = {"finishing", TO(IDLE), true},
};

/* Groups lo to hi - 1 of the job, to be tried together. */
struct range {
    size_t lo, hi;
};

struct job {
    struct job_opts opts;
    struct job_stats stats;
    enum job_state state;
    struct groups groups; /* of the job; those that are not in it are at the end */
    size_t n_groups;
    VEC(struct range) ranges;
    struct range tried;
    bool has_tried; /* a range is being tried; else what was accepted is staged once more */
    uint64_t revision;
    struct sink_plan **plans; /* one for each sink, while there is a stage; NULL: not made */
    struct sink_rows voided;  /* of all plans: what takes the intent back */
    size_t at;                /* whose check or reload is next */
    bool is_asked;            /* that one's answer is awaited */
    struct work work;
    size_t failed_sink; /* n: none */
    bool is_void;       /* what the plans say has not come to be */
    unsigned n_untold;  /* how often in a row a receiver could not be told what is there */
    bool must_verify, is_verifying, must_tell, is_stopping, is_paused;
    bool must_note;        /* the copy does not have the newest result */
    enum sink_look next_look, look; /* of the next job, and of this one */
    uint64_t kicks, begun; /* how often it was kicked, and the same when the job began */
    void (*stopped)(void *ctx);
    void *stopped_ctx;
    struct defer kick;
    struct timer again; /* after something failed; nothing begins for verifying alone before */
    struct timer retry; /* when the first of what was refused is to be tried again, */
    nsec_t retry_due;   /* which is this time */
};

static void try_next(struct job *j);
static void begin_job(struct job *j);

static size_t n_sinks(const struct job *j)
{
    return j->opts.n_sinks;
}

static struct sink *sink_at(const struct job *j, size_t i)
{
    return j->opts.sinks[i];
}

static bool takes(const struct sink *s, struct str key)
{
    return s->ops->takes(s, key);
}

static bool is_any_switched(const struct job *j)
{
    for (size_t i = 0; j->plans && i < n_sinks(j); i++)
        if (j->plans[i] && j->plans[i]->is_switched)
            return true;
    return false;
}

static void move(struct job *j, enum job_state to)
{
    ASSERT(states[j->state].to & (1U << to));
    ASSERT(!j->is_asked);
    ASSERT(states[to].may_be_switched || !is_any_switched(j));
    LOG(DEBUG, "job", LOG_C("from", states[j->state].name), LOG_C("to", states[to].name));
    j->state = to;
}

/* ---- the plans of an attempt ---- */

static bool is_chosen(const struct job *j, size_t group)
{
    if (j->groups.at[group].verdict == GROUP_ACCEPTED)
        return true;
    return j->has_tried && group >= j->tried.lo && group < j->tried.hi;
}

/* The members of all chosen groups, by key. */
static int choose(const struct job *j, struct map *chosen)
{
    for (size_t g = 0; g < j->n_groups; g++)
        for (size_t m = 0; is_chosen(j, g) && m < j->groups.at[g].n; m++)
            if (!map_put(chosen, j->groups.at[g].members[m].key, &j->groups.at[g].members[m],
                         NULL))
                return ERR_NOMEM;
    return 0;
}

typedef VEC(struct sink_item) item_list;

/* What shall be in a sink: what is served and not chosen, and what is chosen. */
static int list_items(const struct job *j, const struct sink *s, const struct map *chosen,
                      item_list *items)
{
    struct ledger *l = j->opts.ledger;
    struct map_slot *slot;
    size_t at = 0;
    bool ok = true;

    while (ok && (slot = map_each(&l->serving, &at)))
        if (takes(s, slot->key) && !map_get(chosen, slot->key))
            ok = VEC_PUSH(items, (struct sink_item){slot->key, ledger_serving(l, slot->key),
                                                    .is_served = true});
    at = 0;
    while (ok && (slot = map_each(&l->pending, &at))) {
        struct version *v = ledger_received(l, slot->key);

        bool is_altered = pending_is_drifted(slot->value);
        struct sink_item item = {slot->key, v, .is_altered = is_altered,
                                 .is_waiting = !is_altered};

        if (v && takes(s, slot->key) && !map_get(chosen, slot->key) &&
            !ledger_serving(l, slot->key))
            ok = VEC_PUSH(items, item);
    }
    at = 0;
    while (ok && (slot = map_each(chosen, &at))) {
        const struct group_member *m = slot->value;

        if (takes(s, m->key) && m->want)
            ok = VEC_PUSH(items, (struct sink_item){.key = m->key, .version = m->want});
    }
    return ok ? 0 : ERR_NOMEM;
}

static int make_plan(struct job *j, size_t sink, const struct map *chosen)
{
    struct sink *s = sink_at(j, sink);
    item_list items = {0};
    int r = list_items(j, s, chosen, &items);

    if (!r)
        r = s->ops->plan(s, items.at, items.n, j->look, &j->plans[sink]);
    VEC_DEINIT(&items);
    return r;
}

static void drop_plans(struct job *j)
{
    for (size_t i = 0; j->plans && i < n_sinks(j); i++)
        if (j->plans[i])
            j->plans[i] = sink_at(j, i)->ops->finish(j->plans[i]);
    j->plans = mem_free(j->plans);
    sink_rows_deinit(&j->voided);
}

/* Plans for all sinks; on failure failed_sink tells which. */
static int make_plans(struct job *j)
{
    struct map chosen = MAP_NULL;
    int r = choose(j, &chosen);

    j->plans = NEW_ARRAY(struct sink_plan *, n_sinks(j));
    for (size_t i = 0; j->plans && i < n_sinks(j); i++)
        j->plans[i] = NULL;
    if (!j->plans)
        r = ERR_NOMEM;
    for (size_t i = 0; i < n_sinks(j) && !r; i++) {
        r = make_plan(j, i, &chosen);
        j->failed_sink = r ? i : n_sinks(j);
    }
    map_deinit(&chosen);
    return r;
}

/* ---- refusing ---- */

/* Whether the text names the item of this key, alone or at the end of a path. */
static bool is_mentioned(struct str text, struct str key)
{
    struct str name = key_path(key);

    return name.len && text.len && memmem(text.data, text.len, name.data, name.len) != NULL;
}

struct refusing {
    const struct sink *sink; /* NULL: none in particular */
    struct sink_fault fault;
};

/* Members by whose own fault it is: the culprit, else those whom the text names, else all of the sink, else all. */
static bool is_own(const struct refusing *r, const struct group_member *m, int strictness)
{
    bool in_sink = r->sink && takes(r->sink, m->key);

    switch (strictness) {
    case 0:
        return in_sink && r->fault.culprit.len && str_eq(key_path(m->key), r->fault.culprit);
    case 1: return in_sink && is_mentioned(r->fault.text, m->key);
    case 2: return in_sink;
    default: return true;
    }
}

/* "" without memory. */
static const char *text_of(struct buf *b)
{
    const char *text = buf_c(b);

    return text ? text : "";
}

/* How long something waits that has failed n times before for a passing reason. */
static uint64_t passing_wait(unsigned n)
{
    return MIN((uint64_t)PASSING_MIN_MS << MIN(n, 16U), (uint64_t)PASSING_MAX_MS);
}

/* When this one is to be tried again by itself. */
static void plan_retry(struct job *j, struct pending *p, bool is_passing)
{
    uint64_t wait_ms = is_passing ? passing_wait(p->n_tries) : j->opts.retry_ms;

    p->n_tries++;
    p->retry_at = loop_now(j->opts.loop) + wait_ms * NSEC_PER_MS;
}

static void refuse_member(struct job *j, const struct group_member *m, uint64_t group,
                          const struct refusal_text *text, const struct sink_fault *own)
{
    struct pending *p;

    if (ledger_refuse(j->opts.ledger, m, group, text))
        LOG(WARN, "refusal_without_text", LOG_STR("file", key_path(m->key)));
    p = map_get(&j->opts.ledger->pending, m->key);
    if (p && p->is_refused && own)
        plan_retry(j, p, own->is_passing);
}

static void refuse_group(struct job *j, struct group *g, const struct refusing *why)
{
    owned(buf) struct buf held_by = BUF_NULL(ID_BYTES_MAX + 8);
    const struct sink_fault *fault = &why->fault;
    uint64_t number = ++j->opts.ledger->last_group;
    int strictness = -1;
    size_t n_own = 0;

    while (n_own == 0 && ++strictness <= 3)
        for (size_t m = 0; m < g->n; m++)
            if (is_own(why, &g->members[m], strictness) && n_own++ == 0)
                key_put_text(g->members[m].key, &held_by);
    for (size_t m = 0; m < g->n; m++) {
        bool own = is_own(why, &g->members[m], strictness);
        struct refusal_text text = {own ? fault->code : "HELD", own ? fault->text : STR(""),
                                    own ? "" : text_of(&held_by)};

        refuse_member(j, &g->members[m], number, &text, own ? fault : NULL);
    }
    g->verdict = GROUP_REFUSED;
    LOG(WARN, "refused", LOG_C("item", text_of(&held_by)), LOG_C("code", fault->code),
        LOG_U64("held", g->n - n_own), LOG_STR("sink", why->sink ? why->sink->name : STR("")),
        LOG_STR("reason", fault->text));
}

static void refuse_all_accepted(struct job *j, const struct refusing *why)
{
    for (size_t g = 0; g < j->n_groups; g++)
        if (j->groups.at[g].verdict == GROUP_ACCEPTED)
            refuse_group(j, &j->groups.at[g], why);
}

static bool touches(const struct group *g, const struct sink *s)
{
    for (size_t m = 0; m < g->n; m++)
        if (takes(s, g->members[m].key))
            return true;
    return false;
}

/* The accepted groups that touch the sink are refused, the others have another try; all of them, when none does. */
static void refuse_accepted_of(struct job *j, const struct refusing *why)
{
    bool any = false;

    for (size_t g = 0; g < j->n_groups; g++)
        any |=
            j->groups.at[g].verdict == GROUP_ACCEPTED && touches(&j->groups.at[g], why->sink);
    for (size_t g = 0; g < j->n_groups; g++) {
        struct group *group = &j->groups.at[g];

        if (group->verdict != GROUP_ACCEPTED)
            continue;
        if (!any || touches(group, why->sink))
            refuse_group(j, group, why);
        else
            group->verdict = GROUP_WAITING; /* still not tried: the next job takes it */
    }
}

static bool has_accepted(const struct job *j)
{
    for (size_t g = 0; g < j->n_groups; g++)
        if (j->groups.at[g].verdict == GROUP_ACCEPTED)
            return true;
    return false;
}

/* Why a step of a sink failed. Texts are the plan's. */
static struct refusing why_failed(const struct job *j, size_t sink)
{
    struct refusing why = {.sink = sink_at(j, sink)};

    if (j->plans && j->plans[sink])
        why.fault = j->plans[sink]->fault;
    if (!why.fault.code)
        why = (struct refusing){
            .fault = {.code = "NO_MEMORY", .is_passing = true, .text = STR("out of memory")}};
    return why;
}

/* ---- rows of state ---- */

static struct sink *sink_named(struct job *j, struct str name)
{
    for (size_t i = 0; i < n_sinks(j); i++)
        if (str_eq(sink_at(j, i)->name, name))
            return sink_at(j, i);
    return NULL;
}

static int make_rows(const struct job *j, enum sink_rows_of which, struct sink_rows *out)
{
    int r = 0;

    for (size_t i = 0; j->plans && i < n_sinks(j) && !r; i++)
        r = sink_at(j, i)->ops->rows(j->plans[i], which, out);
    return r;
}

static int note_rows(struct job *j, const struct sink_rows *rows)
{
    int r = 0;

    for (size_t i = 0; i < rows->rows.n; i++) {
        struct sink *s = sink_named(j, rows->rows.at[i].sink);

        if (s->ops->note(s, &rows->rows.at[i]))
            r = ERR_NOMEM;
    }
    return r;
}

static int write_rows(struct job *j, const struct sink_rows *rows, struct err *err)
{
    struct copy_update u = {.files = rows->rows.at, .n_files = rows->rows.n};

    return rows->rows.n ? copy_update(j->opts.copy, &u, err) : 0;
}

/* What was announced has not come to be. */
static void take_back(struct job *j)
{
    struct err err = ERR_NULL;

    (void)note_rows(j, &j->voided); /* rows that go need no memory */
    if (write_rows(j, &j->voided, &err))
        LOG(ERROR, "copy_failed", LOG_C("error", err.text));
    j->is_void = true;
}

/*
 * What is to be put in place is written down before, and known before as well, else nothing would remove it. What takes
 * it back is made at the same time: later there might be no memory for it.
 */
static int announce(struct job *j, struct err *err)
{
    struct sink_rows intent = {.rows = {0}};
    int r = make_rows(j, SINK_INTENT, &intent);

    if (!r)
        r = make_rows(j, SINK_VOID, &j->voided);
    if (!r)
        r = note_rows(j, &intent);
    if (r)
        (void)err_set(err, r, "out of memory");
    else
        r = write_rows(j, &intent, err);
    if (r)
        (void)note_rows(j, &j->voided); /* as above */
    sink_rows_deinit(&intent);
    return r;
}

/* Everything that is pending, for the copy. Texts are borrowed from the ledger. */
static struct copy_served *pending_rows(const struct job *j, size_t *ret_n)
{
    struct copy_served *list = NEW_ARRAY(struct copy_served, j->opts.ledger->pending.n);
    struct map_slot *slot;
    size_t at = 0, n = 0;

    while (list && (slot = map_each(&j->opts.ledger->pending, &at))) {
        const struct pending *p = slot->value;

        list[n++] = (struct copy_served){.scope = key_scope(slot->key),
                                         .key = key_tail(slot->key),
                                         .served = ledger_serving(j->opts.ledger, slot->key),
                                         .batch = p->batch,
                                         .group = p->group,
                                         .code = p->is_refused ? str_c(p->code) : STR(""),
                                         .message = str_c(p->is_refused ? p->message : NULL),
                                         .held_by = str_c(p->is_refused ? p->held_by : NULL)};
    }
    *ret_n = n;
    return list;
}

/* ---- the end of a job ---- */

static void idle(struct job *j)
{
    move(j, JOB_IDLE);
    j->is_verifying = false;
    groups_deinit(&j->groups);
    j->n_groups = 0;
    j->ranges.n = 0;
    if (j->is_stopping) {
        if (j->stopped)
            j->stopped(j->stopped_ctx);
        return;
    }
    loop_defer(j->opts.loop, &j->kick);
}

/* The next job also looks at what is there; when there is no other, one begins for that alone. */
static void verify_later(struct job *j, uint64_t after_ms)
{
    j->must_verify = true;
    timer_start(&j->again, j->opts.loop, after_ms, 0);
}

/* It was to look at what is there, and nothing has come of that. */
static void verify_failed(struct job *j)
{
    verify_later(j, j->opts.retry_ms);
}

/* Whether a receiver may not know what is there, though its content was put in place or back. */
static bool is_any_untold(const struct job *j)
{
    for (size_t i = 0; j->plans && i < n_sinks(j); i++)
        if (j->plans[i] && j->plans[i]->is_untold)
            return true;
    return false;
}

/* Writes down what is served now, and what is where. A failure is told, and made good by a job that verifies. */
static void note_result(struct job *j)
{
    struct sink_rows rows = {.rows = {0}};
    struct copy_update u = {.has_served = true, .applied = j->revision};
    struct copy_served *served = pending_rows(j, &u.n_served);
    struct err err = ERR_NULL;
    int r = served ? make_rows(j, j->is_void ? SINK_TOLD : SINK_FINAL, &rows) : ERR_NOMEM;

    u.served = served;
    u.files = rows.rows.at;
    u.n_files = rows.rows.n;
    if (!r)
        r = copy_update(j->opts.copy, &u, &err);
    if (note_rows(j, &rows))
        r = ERR_NOMEM;
    j->must_note = r != 0;
    if (r)
        LOG(ERROR, "copy_failed", LOG_C("error", err.code ? err.text : "out of memory"));
    if (r)
        verify_later(j, AGAIN_MS);
    else if (is_any_untold(j))
        verify_later(j, passing_wait(j->n_untold++));
    else if (j->is_verifying && (!j->plans || j->is_void))
        verify_failed(j);
    (void)mem_free(served);
    sink_rows_deinit(&rows);
}

static void count(struct job *j, const struct sink_plan *p)
{
    j->stats.files_written += p->n_written;
    j->stats.files_removed += p->n_removed;
    j->stats.files_restored += p->n_restored;
    LOG(INFO, "delivered", LOG_STR("sink", p->sink->name), LOG_U64("written", p->n_written),
        LOG_U64("removed", p->n_removed), LOG_U64("revision", j->revision));
}

/* Whether content of this group has stopped the program from reloading: it is not put there again for others' sake. */
static bool has_failed_reload(const struct job *j, uint64_t group)
{
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&j->opts.ledger->pending, &at))) {
        const struct pending *p = slot->value;

        if (p->is_refused && p->group == group && str_starts(str_c(p->code), STR("RELOAD_")))
            return true;
    }
    return false;
}

static bool is_in_job(const struct job *j, struct str key)
{
    for (size_t g = 0; g < j->n_groups; g++)
        for (size_t m = 0; m < j->groups.at[g].n; m++)
            if (str_eq(j->groups.at[g].members[m].key, key))
                return true;
    return false;
}

/* What was refused in a scope whose files have changed may pass now. */
static void retry_neighbours(struct job *j, struct str scope)
{
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&j->opts.ledger->pending, &at))) {
        struct pending *p = slot->value;

        if (p->is_refused && !pending_is_drifted(p) && !is_in_job(j, slot->key) &&
            str_eq(key_scope(slot->key), scope) && !has_failed_reload(j, p->group))
            p->must_retry = true;
    }
}

/* What was accepted is served. False: the ledger has no memory for it, and would tell what is not so. */
static bool serve_accepted(struct job *j)
{
    bool is_noted = true;

    for (size_t g = 0; g < j->n_groups; g++) {
        struct group *group = &j->groups.at[g];

        for (size_t m = 0; group->verdict == GROUP_ACCEPTED && m < group->n; m++) {
            if (!ledger_serve(j->opts.ledger, group->members[m].key, group->members[m].want))
                continue;
            LOG(ERROR, "out_of_memory", LOG_STR("file", key_path(group->members[m].key)));
            is_noted = false;
        }
    }
    return is_noted;
}

/* Sets the alarm for the first that is to be tried again by itself. */
static void plan_retries(struct job *j)
{
    nsec_t first = 0, now = loop_now(j->opts.loop);
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&j->opts.ledger->pending, &at))) {
        const struct pending *p = slot->value;

        if (p->is_refused && p->retry_at && (!first || p->retry_at < first))
            first = p->retry_at;
    }
    timer_stop(&j->retry);
    j->retry_due = first;
    if (first)
        timer_start(&j->retry, j->opts.loop,
                    first > now ? (first - now + NSEC_PER_MS - 1) / NSEC_PER_MS : 0, 0);
}

/* The next finding of the sink that is news. */
static bool next_drift(const struct job *j, size_t sink, size_t *at, struct sink_drift *ret)
{
    const struct sink_ops *ops = sink_at(j, sink)->ops;

    while (ops->drift && ops->drift(j->plans[sink], at, ret)) {
        const struct pending *p = map_get(&j->opts.ledger->pending, ret->key);
        bool is_known = p && pending_is_drifted(p);

        if (ret->is_altered != is_known && (ret->is_altered || is_known))
            return true;
    }
    return false;
}

/* What was found of what is served: the ledger tells what is there. False without memory. */
static bool note_drift(struct job *j)
{
    bool is_noted = true;

    for (size_t i = 0; j->plans && !j->is_void && i < n_sinks(j); i++) {
        struct sink_drift drift;
        size_t at = 0;

        while (j->plans[i] && next_drift(j, i, &at, &drift)) {
            LOG(WARN, drift.is_altered ? "drifted" : "drift_ended",
                LOG_STR("sink", sink_at(j, i)->name), LOG_STR("file", key_path(drift.key)));
            if (drift.is_altered
                    ? ledger_drift(j->opts.ledger, drift.key,
                                   STR("it was altered on the host and is left so; order a "
                                       "retry, or publish it anew, to put it right"))
                    : ledger_undrift(j->opts.ledger, drift.key))
                is_noted = false;
        }
    }
    return is_noted;
}

/* What the sinks have seen stands. */
static void settle(struct job *j)
{
    for (size_t i = 0; j->plans && !j->is_void && i < n_sinks(j); i++)
        if (j->plans[i] && sink_at(j, i)->ops->settle)
            sink_at(j, i)->ops->settle(j->plans[i]);
}

static void finish_job(struct job *j)
{
    bool is_noted = serve_accepted(j);

    is_noted = note_drift(j) && is_noted;
    settle(j);
    note_result(j);
    for (size_t i = 0; j->plans && i < n_sinks(j); i++)
        if (j->plans[i] && j->plans[i]->is_switched) {
            count(j, j->plans[i]);
            retry_neighbours(j, sink_at(j, i)->scope);
        }
    if (j->plans && !is_any_untold(j))
        j->n_untold = 0;
    plan_retries(j);
    j->must_tell = !is_noted || j->kicks != j->begun; /* what came during the job */
    if (is_noted)
        j->opts.applied(j->opts.ctx, j->revision);
    else
        verify_later(j, AGAIN_MS); /* the next job finds it in place, and notes it */
}

static void run_drop(struct work *w, void *ctx)
{
    (void)w;
    drop_plans(ctx);
}

static void done_drop(struct work *w, void *ctx)
{
    (void)w;
    idle(ctx);
}

static void start_work(struct job *j, void (*run)(struct work *w, void *ctx),
                       void (*done)(struct work *w, void *ctx))
{
    j->work = (struct work){.run = run, .done = done, .ctx = j};
    loop_work(j->opts.loop, &j->work);
}

/* The stages go away on a worker, then the job is over. */
static void end_job(struct job *j)
{
    move(j, JOB_FINISHING);
    start_work(j, run_drop, done_drop);
}

static void conclude(struct job *j)
{
    finish_job(j);
    end_job(j);
}

/* ---- reloads ---- */

static void reload_next(struct job *j);

static void run_undo(struct work *w, void *ctx)
{
    struct job *j = ctx;

    (void)w;
    for (size_t i = n_sinks(j); i > 0; i--)
        sink_at(j, i - 1)->ops->undo(j->plans[i - 1]);
}

static void done_undo(struct work *w, void *ctx)
{
    struct job *j = ctx;

    (void)w;
    take_back(j);
    move(j, JOB_RELOADING_OLD);
    j->at = 0;
    reload_next(j);
}

/* The receiver at j->at has not taken what it was told. */
static void reload_failed(struct job *j, const struct refusing *why)
{
    bool is_old = j->state == JOB_RELOADING_OLD;

    j->stats.reloads_failed++;
    if (is_old ||
        !has_accepted(j)) { /* there is nothing to go back to: it is told again later */
        LOG(ERROR, "reload_failed", LOG_STR("sink", why->sink ? why->sink->name : STR("")),
            LOG_C("files", is_old ? "as before" : "restored"),
            LOG_STR("reason", why->fault.text));
        j->at++;
        reload_next(j);
        return;
    }
    refuse_accepted_of(j, &(struct refusing){sink_at(j, j->at), why->fault});
    move(j, JOB_UNDOING);
    start_work(j, run_undo, done_undo);
}

static void on_reload(void *ctx, const struct sink_fault *fault)
{
    struct job *j = ctx;

    j->is_asked = false;
    if (fault && j->is_stopping) {
        end_job(j); /* the intent stands, and the next start tells the receiver */
        return;
    }
    if (fault) {
        reload_failed(j, &(struct refusing){sink_at(j, j->at), *fault});
        return;
    }
    j->plans[j->at]->is_untold = false;
    j->at++;
    reload_next(j);
}

/* Whether this receiver may not know what is there: what is new, or, after an undo, what is back. */
static bool must_be_told(const struct job *j, const struct sink_plan *p)
{
    return p->must_tell || (j->state == JOB_RELOADING ? p->is_changed : p->was_told);
}

/* Tells the receivers from j->at on what is there now; comes back from the loop for each that answers. */
static void reload_next(struct job *j)
{
    for (; j->at < n_sinks(j); j->at++) {
        struct sink_plan *p = j->plans[j->at];
        int r;

        if (!must_be_told(j, p))
            continue;
        p->was_told = p->is_untold = true;
        r = sink_at(j, j->at)->ops->reload(p, on_reload, j);
        j->stats.reloads++;
        j->is_asked = r == SINK_ASKED;
        if (r < 0) {
            struct refusing why = why_failed(j, j->at);

            reload_failed(j, &why);
        }
        if (r != SINK_NOTHING_TO_ASK)
            return;
        p->is_untold = false;
    }
    conclude(j);
}

/* ---- the switch ---- */

static void run_switch(struct work *w, void *ctx)
{
    struct job *j = ctx;

    (void)w;
    j->failed_sink = n_sinks(j);
    for (size_t i = 0; i < n_sinks(j) && j->failed_sink == n_sinks(j); i++)
        if (j->plans[i]->is_changed && sink_at(j, i)->ops->switch_over(j->plans[i]))
            j->failed_sink = i;
    for (size_t i = j->failed_sink; i < n_sinks(j) && i > 0; i--)
        sink_at(j, i - 1)->ops->undo(j->plans[i - 1]);
}

static void done_switch(struct work *w, void *ctx)
{
    struct job *j = ctx;

    (void)w;
    if (j->failed_sink < n_sinks(j)) {
        struct refusing why = why_failed(j, j->failed_sink);

        why.sink = sink_at(j, j->failed_sink);
        refuse_accepted_of(j, &why);
        take_back(j);
        conclude(j);
        return;
    }
    move(j, JOB_RELOADING);
    j->at = 0;
    reload_next(j);
}

static void switch_over(struct job *j)
{
    struct err err = ERR_NULL;

    move(j, JOB_SWITCHING);
    if (announce(j, &err)) {
        struct refusing why = {
            .fault = {.code = "COPY_FAILED", .is_passing = true, .text = str_c(err.text)}};

        refuse_all_accepted(j, &why);
        if (j->is_verifying)
            verify_failed(j);
        j->opts.applied(j->opts.ctx, j->revision);
        end_job(j);
        return;
    }
    start_work(j, run_switch, done_switch);
}

/* ---- attempts ---- */

static void done_discard(struct work *w, void *ctx)
{
    (void)w;
    try_next(ctx);
}

static void attempt_failed(struct job *j, const struct refusing *why)
{
    struct range t = j->tried;

    if (!j->has_tried) { /* what stood before cannot be staged: nothing more can be done now */
        LOG(ERROR, "cannot_stage", LOG_C("code", why->fault.code),
            LOG_STR("reason", why->fault.text));
        refuse_all_accepted(j, why);
        drop_plans(j);
        conclude(j);
        return;
    }
    if (t.hi - t.lo == 1 || strcmp(why->fault.code, "NO_MEMORY") == 0) {
        /* Lack of memory tells nothing of the groups: halves might be refused that pass together. */
        for (size_t g = t.lo; g < t.hi; g++)
            refuse_group(j, &j->groups.at[g], why);
    } else {
        size_t middle = t.lo + (t.hi - t.lo) / 2;

        j->ranges.at[j->ranges.n++] = (struct range){middle, t.hi}; /* room was made for all */
        j->ranges.at[j->ranges.n++] = (struct range){t.lo, middle};
    }
    start_work(j, run_drop, done_discard);
}

/* There is nothing to put in place, to tell a receiver, or to write down. */
static bool has_nothing_to_do(const struct job *j)
{
    struct sink_rows rows = {.rows = {0}};
    bool nothing = !has_accepted(j) && !j->must_tell && !j->must_note;

    for (size_t i = 0; i < n_sinks(j) && nothing; i++) {
        struct sink_drift drift;
        size_t at = 0;

        nothing = !j->plans[i]->is_changed && !j->plans[i]->must_tell &&
                  !next_drift(j, i, &at, &drift);
    }
    nothing = nothing && make_rows(j, SINK_FINAL, &rows) == 0 && rows.rows.n == 0;
    sink_rows_deinit(&rows);
    return nothing;
}

static void end_quietly(struct job *j)
{
    settle(j);
    end_job(j);
}

static void attempt_passed(struct job *j)
{
    for (size_t g = j->tried.lo; j->has_tried && g < j->tried.hi; g++)
        j->groups.at[g].verdict = GROUP_ACCEPTED;
    if (j->ranges.n)
        start_work(j, run_drop, done_discard);
    else if (has_nothing_to_do(j))
        end_quietly(j);
    else
        switch_over(j); /* this stage is of all that has passed */
}

static void check_next(struct job *j);

static void on_check(void *ctx, const struct sink_fault *fault)
{
    struct job *j = ctx;

    j->is_asked = false;
    if (fault) {
        j->stats.checks_failed++;
        attempt_failed(j, &(struct refusing){sink_at(j, j->at), *fault});
        return;
    }
    j->at++;
    check_next(j);
}

/* Asks the receivers from j->at on whose content differs. What has passed already is not checked again. */
static void check_next(struct job *j)
{
    if (j->is_stopping) {
        end_job(j);
        return;
    }
    for (; j->at < n_sinks(j); j->at++) {
        int r = SINK_NOTHING_TO_ASK;

        if (j->has_tried && j->plans[j->at]->is_changed)
            r = sink_at(j, j->at)->ops->check(j->plans[j->at], on_check, j);
        j->stats.checks += r != SINK_NOTHING_TO_ASK;
        j->is_asked = r == SINK_ASKED;
        if (r < 0) {
            struct refusing why = why_failed(j, j->at);

            attempt_failed(j, &why);
        }
        if (r != SINK_NOTHING_TO_ASK)
            return;
    }
    attempt_passed(j);
}

static void run_stage(struct work *w, void *ctx)
{
    struct job *j = ctx;

    (void)w;
    j->failed_sink = n_sinks(j);
    for (size_t i = 0; i < n_sinks(j) && j->failed_sink == n_sinks(j); i++)
        if (sink_at(j, i)->ops->stage(j->plans[i]))
            j->failed_sink = i;
}

static void stage_failed(struct job *j)
{
    struct refusing why = {
        .fault = {.code = "NO_MEMORY", .is_passing = true, .text = STR("out of memory")}};

    if (j->failed_sink < n_sinks(j))
        why = why_failed(j, j->failed_sink);
    attempt_failed(j, &why);
}

static void done_stage(struct work *w, void *ctx)
{
    struct job *j = ctx;

    (void)w;
    if (j->failed_sink < n_sinks(j)) {
        stage_failed(j);
        return;
    }
    move(j, JOB_CHECKING);
    j->at = 0;
    check_next(j);
}

/* The next range on top of what has passed; none left: what has passed, without its checks. */
static void try_next(struct job *j)
{
    j->has_tried = j->ranges.n > 0;
    j->tried = j->has_tried ? j->ranges.at[--j->ranges.n] : (struct range){0, 0};
    move(j, JOB_STAGING);
    if (j->is_stopping) {
        end_job(j);
        return;
    }
    if (!j->has_tried && !has_accepted(j) && !j->is_verifying) { /* everything was refused */
        conclude(j);
        return;
    }
    j->failed_sink = n_sinks(j);
    if (make_plans(j)) {
        stage_failed(j);
        return;
    }
    start_work(j, run_stage, done_stage);
}

/* ---- beginning ---- */

/* Keeps those at the front that are to be tried: what is new, else what is to be tried again. */
static size_t pick_groups(struct groups *g)
{
    size_t n = 0;
    bool any_fresh = false;

    for (size_t i = 0; i < g->n; i++)
        any_fresh |= g->at[i].is_fresh;
    for (size_t i = 0; i < g->n; i++)
        if (any_fresh ? g->at[i].is_fresh : g->at[i].must_retry) {
            struct group picked = g->at[i];

            memmove(&g->at[n + 1], &g->at[n], (i - n) * sizeof(*g->at));
            g->at[n++] = picked;
        }
    return n;
}

static bool make_room(struct job *j)
{
    while (j->ranges.cap < j->n_groups + 2) {
        j->ranges.n = j->ranges.cap;
        if (!VEC_ROOM(&j->ranges))
            return false;
    }
    j->ranges.n = 0;
    return true;
}

/* Nothing is told meanwhile: what was received has not been tried. */
static void begin_later(struct job *j)
{
    LOG(ERROR, "out_of_memory", LOG_C("while", "beginning to apply"));
    timer_start(&j->again, j->opts.loop, AGAIN_MS, 0);
}

/* Half of a batch is never tried: what pending lacks is found before. ERR_NOMEM. */
static int find_groups(struct job *j)
{
    struct ledger *l = j->opts.ledger;
    int r = l->must_rescan ? ledger_rescan(l, sync_status(l->sync).cursor.revision) : 0;

    return r ? r : ledger_groups(l, &j->groups);
}

/* There is nothing to do, or nothing that may be done now. */
static void tell_idle(struct job *j)
{
    if (j->must_tell)
        finish_job(j);
    if (!j->must_tell)
        j->opts.idle(j->opts.ctx);
}

static void begin_job(struct job *j)
{
    if (j->state != JOB_IDLE || j->is_stopping)
        return;
    j->begun = j->kicks;
    if (j->is_paused) {
        j->revision = sync_status(j->opts.ledger->sync).cursor.revision;
        tell_idle(j);
        return;
    }
    if (find_groups(j)) {
        begin_later(j);
        return;
    }
    j->n_groups = pick_groups(&j->groups);
    j->revision = sync_status(j->opts.ledger->sync).cursor.revision;
    if (j->n_groups == 0 && (!j->must_verify || timer_is_running(&j->again))) {
        groups_deinit(&j->groups);
        tell_idle(j);
        return;
    }
    if (!make_room(j)) {
        groups_deinit(&j->groups);
        j->n_groups = 0;
        begin_later(j);
        return;
    }
    j->is_verifying = j->must_verify;
    j->look = j->next_look;
    j->next_look = SINK_LOOK_FOR_CHANGES;
    j->is_void = false;
    j->must_verify = false;
    j->stats.jobs++;
    if (j->n_groups)
        j->ranges.at[j->ranges.n++] = (struct range){0, j->n_groups};
    try_next(j);
}

static void run_kick(struct defer *d, void *ctx)
{
    (void)d;
    begin_job(ctx);
}

static void on_again(struct timer *t, void *ctx)
{
    (void)t;
    begin_job(ctx);
}

void job_kick(struct job *j)
{
    j->must_tell = true;
    j->kicks++;
    if (j->state == JOB_IDLE)
        loop_defer(j->opts.loop, &j->kick);
}

void job_verify(struct job *j, enum sink_look look)
{
    j->must_verify = true;
    j->next_look = MAX(j->next_look, look);
    timer_stop(&j->again);
    if (j->state == JOB_IDLE)
        loop_defer(j->opts.loop, &j->kick);
}

/* Those that are due by a time, or all. */
static void retry(struct job *j, nsec_t due)
{
    struct map_slot *slot;
    size_t at = 0;
    bool any = false;

    while ((slot = map_each(&j->opts.ledger->pending, &at))) {
        struct pending *p = slot->value;

        bool is_due = due == RETRY_ALL || (due == RETRY_START && !pending_is_drifted(p)) ||
                      (p->retry_at && p->retry_at <= due);

        p->must_retry |= p->is_refused && is_due;
        any |= p->must_retry;
    }
    if (any || j->must_verify)
        job_kick(j);
}

void job_retry(struct job *j, enum job_retry why)
{
    retry(j, why == JOB_RETRY_START ? RETRY_START : RETRY_ALL);
}

static void on_retry(struct timer *t, void *ctx)
{
    struct job *j = ctx;

    (void)t;
    retry(j, MAX(j->retry_due, loop_now(j->opts.loop)));
}

/* Without memory it counts as named: trying too much does no harm, and saying that it was tried would be untrue. */
static bool is_named(const struct version *v, char *const *ids, size_t n)
{
    owned(buf) struct buf id = BUF_NULL(ID_BYTES_MAX);

    if (!v)
        return false;
    key_put_id(v->key, &id);
    if (buf_status(&id))
        return true;
    for (size_t i = 0; i < n; i++)
        if (str_eq(buf_str(&id), str_c(ids[i])))
            return true;
    return false;
}

void job_retry_these(struct job *j, char *const *ids, size_t n)
{
    const struct ledger *l = j->opts.ledger;
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&l->pending, &at))) {
        struct pending *p = slot->value;

        p->must_retry |= p->is_refused && (is_named(ledger_received(l, slot->key), ids, n) ||
                                           is_named(ledger_serving(l, slot->key), ids, n));
    }
    job_kick(j);
}

bool job_is_retrying(const struct job *j)
{
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&j->opts.ledger->pending, &at)))
        if (((const struct pending *)slot->value)->must_retry)
            return true;
    return false;
}

void job_pause(struct job *j, bool is_paused)
{
    j->is_paused = is_paused;
    job_kick(j);
}

/* ---- life ---- */

struct job *job_new(const struct job_opts *opts)
{
    struct job *j = NEW(struct job);

    if (!j)
        return NULL;
    j->opts = *opts;
    j->kick = (struct defer){.fn = run_kick, .ctx = j};
    j->again = (struct timer){.fn = on_again, .ctx = j};
    j->retry = (struct timer){.fn = on_retry, .ctx = j};
    return j;
}

struct job *job_free(struct job *j)
{
    if (!j)
        return NULL;
    defer_cancel(&j->kick);
    timer_stop(&j->again);
    timer_stop(&j->retry);
    drop_plans(j);
    groups_deinit(&j->groups);
    VEC_DEINIT(&j->ranges);
    return mem_free(j);
}

void job_stop(struct job *j, void (*done)(void *ctx), void *ctx)
{
    j->is_stopping = true;
    j->stopped = done;
    j->stopped_ctx = ctx;
    if (j->state == JOB_IDLE) {
        done(ctx);
        return;
    }
    if (j->state == JOB_CHECKING && j->is_asked) { /* nothing has changed yet */
        sink_at(j, j->at)->ops->cancel(j->plans[j->at]);
        j->is_asked = false;
        end_job(j);
    }
}

bool job_is_busy(const struct job *j)
{
    return j->state != JOB_IDLE;
}

struct job_stats job_stats(const struct job *j)
{
    return j->stats;
}
