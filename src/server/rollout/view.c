/*
 * Rollouts as people see them. See rollout_view.h.
 */
#include "server/rollout/view.h"

#include "proto/convert.h"
#include "proto/rollout.h"
#include "proto/subject.h"

enum {
    INTEREST_NAMES_MAX = 256, /* what carries more than that is taken to concern everybody */
    SUMMARY_CANDIDATES = 20,
};

/* ---- instances as subjects ---- */

void subjects_each(const struct roster *r, subject_fn *fn, void *ctx)
{
    struct map_slot *slot;
    size_t at = 0;

    while ((slot = map_each(&r->instances, &at))) {
        struct instance *i = slot->value;

        if (!fn(ctx, i, i->presence->introduction->subject))
            return;
    }
}

static bool step_has(const struct step *step, struct str salt, const struct subject *s)
{
    for (size_t i = 0; i < step->n_targets; i++)
        if (target_takes(&step->targets[i], s, salt))
            return true;
    return false;
}

uint32_t steps_taking(const struct step *steps, size_t n, struct str salt,
                      const struct subject *s)
{
    for (size_t i = 0; i < n; i++)
        if (step_has(&steps[i], salt, s))
            return (uint32_t)i + 1;
    return 0;
}

int interest_of_rollout(const struct rollout *r, struct arena *a, struct interest *ret)
{
    *ret = (struct interest){.n = 0};
    if (r->n_candidates > INTEREST_NAMES_MAX)
        return 0;
    ret->names = ARENA_ARRAY(a, struct name, r->n_candidates);
    for (; ret->names && ret->n < r->n_candidates; ret->n++)
        ret->names[ret->n] = key_name(r->candidates[ret->n]->key);
    return ret->names ? 0 : ERR_NOMEM;
}

int interest_of_ids(char *const *ids, size_t n, struct arena *a, struct interest *ret,
                    struct err *err)
{
    *ret = (struct interest){.n = 0};
    if (n > COMMIT_CHANGES_MAX)
        return err_set(err, ERR_LIMIT, "more than %d resources", COMMIT_CHANGES_MAX);
    ret->names = ARENA_ARRAY(a, struct name, n);
    if (!ret->names)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        int r = name_parse(str_c(ids[i]), &ret->names[i], err);

        if (r)
            return r;
    }
    ret->n = n > INTEREST_NAMES_MAX ? 0 : n;
    return 0;
}

bool interest_met(const struct interest *w, const struct instance *i)
{
    for (size_t n = 0; n < w->n; n++)
        if (presence_wants(i->presence, w->names[n]))
            return true;
    return !w->n;
}

/* ---- confirming ---- */

int rollout_changes(const struct rollout *r, struct arena *a, struct commit *c)
{
    c->changes = ARENA_ARRAY(a, struct change, r->n_candidates);
    for (; c->changes && c->n < r->n_candidates; c->n++) {
        const struct version *v = r->candidates[c->n];
        owned(buf) struct buf id = BUF_NULL(ID_BYTES_MAX);

        key_put_id(v->key, &id);
        c->changes[c->n] = (struct change){.id = arena_str(a, buf_str(&id)),
                                           .delete = v->deleted,
                                           .content_type = v->content_type,
                                           .content = v->content,
                                           .meta = v->meta ? *v->meta : meta_none};
        if (buf_status(&id))
            return ERR_NOMEM;
    }
    return arena_failed(a) ? ERR_NOMEM : 0;
}

/* ---- looking ---- */

struct look {
    const struct drives *drives;
    const struct rollout *rollout;
    struct interest interest;
    Trimtab__V1__RolloutCounts *counts;
    struct pick_page *page; /* NULL: they are only counted */
    struct moment at;
    int result;
};

static void count(Trimtab__V1__RolloutCounts *c, enum target_state state)
{
    uint64_t *const numbers[TARGET_STATES] = {
        [TARGET_APPLIED] = &c->ok,        [TARGET_PENDING] = &c->pending,
        [TARGET_UNJUDGED] = &c->unjudged, [TARGET_REFUSED] = &c->refused,
        [TARGET_FAILING] = &c->failing,   [TARGET_SILENT] = &c->stale,
        [TARGET_UNPROVEN] = &c->unproven, [TARGET_TOO_OLD] = &c->too_old,
        [TARGET_OFFLINE] = &c->offline,   [TARGET_HIDDEN] = &c->hidden,
        [TARGET_AWAY] = &c->away,         [TARGET_LOST] = &c->lost};

    c->targets += state != TARGET_HIDDEN;
    ++*numbers[state];
    c->error += state == TARGET_REFUSED || state == TARGET_FAILING || state == TARGET_TOO_OLD ||
                state == TARGET_LOST;
}

static enum target_state missing_state(const char *id, const struct drive *v,
                                       char why[TARGET_WHY_MAX])
{
    text_format(why, TARGET_WHY_MAX, "%s: had applied it, and is not known any more", id);
    return applied_find(&v->heads.applied, str_c(id)) == APPLIED_LOST ? TARGET_LOST : TARGET_AWAY;
}

enum target_state pick_state(const struct pick *p, const struct drives *d,
                             const struct rollout *r, const struct moment *at,
                             char why[TARGET_WHY_MAX])
{
    const struct drive *v = drives_find(d, r->id);
    struct target_look look = {.state = d->hub->state, .rollout = r, .at = at};
    enum target_state state;

    if (!p->instance)
        return missing_state(p->id, v, why);
    look.presence = p->instance->presence;
    look.since = r->steps[p->step - 1].revision;
    state = target_state(&look, why);
    return v ? target_recall(&look, &v->heads.applied, state, why) : state;
}

static void pick(struct look *l, struct pick p)
{
    char why[TARGET_WHY_MAX];
    enum target_state state = pick_state(&p, l->drives, l->rollout, &l->at, why);

    count(l->counts, state);
    if (l->page &&
        (!*l->page->state || strcmp(l->page->state, target_state_name(state)) == 0) &&
        !pick_page_add(l->page, p))
        l->result = ERR_NOMEM;
}

static bool look_at(void *ctx, struct instance *i, const struct subject *s)
{
    struct look *l = ctx;
    const struct rollout *r = l->rollout;
    uint32_t step = steps_taking(r->steps, r->n_begun, r->salt, s);

    if (!step || !interest_met(&l->interest, i))
        return true;
    pick(l, (struct pick){i, i->id, step});
    return l->result == 0;
}

/* Those who had applied it and are no targets of the walk, because too little is known of them by now. */
static void look_at_missing(struct look *l)
{
    const struct drive *v = drives_find(l->drives, l->rollout->id);
    const struct rollout *r = l->rollout;

    for (size_t n = 0; v && n < v->heads.applied.list.n && !l->result; n++) {
        const char *id = v->heads.applied.list.at[n]->id;
        struct instance *i = roster_find(&l->drives->hub->roster, str_c(id));

        if (!i ||
            (i->presence->is_restored && !(steps_taking(r->steps, r->n_begun, r->salt,
                                                        i->presence->introduction->subject) &&
                                           interest_met(&l->interest, i))))
            pick(l, (struct pick){NULL, id, 0});
    }
}

int rollout_look(const struct drives *d, const struct rollout *r,
                 Trimtab__V1__RolloutCounts *counts, struct pick_page *page)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct look l = {
        .drives = d, .rollout = r, .counts = counts, .page = page, .at = hub_moment(d->hub)};
    int rc = rollout_is_live(r) ? interest_of_rollout(r, &a, &l.interest) : 0;

    if (!rc && rollout_is_live(r))
        subjects_each(&d->hub->roster, look_at, &l);
    if (!rc && rollout_is_live(r))
        look_at_missing(&l);
    if (page)
        pick_page_close(page);
    return rc ? rc : l.result;
}

/* ---- messages ---- */

static char *time_text(int64_t ms, struct arena *a)
{
    char text[WALL_TEXT_MAX];

    wall_format(ms, text);
    return arena_c(a, str_c(text));
}

/* Against stable while it lives; afterwards by what it was made from. */
static const char *candidate_action(const struct rollout *r, const struct version *v,
                                    const struct version *stable)
{
    if (v->deleted)
        return "deleted";
    if (rollout_is_live(r))
        return version_is_live(stable) ? "updated" : "created";
    return v->previous_revision ? "updated" : "created";
}

static Trimtab__V1__ChangeResult *candidate_message(const struct state *state,
                                                    const struct rollout *r,
                                                    const struct version *v, struct arena *a)
{
    Trimtab__V1__ChangeResult *m = ARENA_NEW(a, Trimtab__V1__ChangeResult);
    owned(buf) struct buf id = BUF_NULL(ID_BYTES_MAX);
    const struct version *stable = state_newest(state, v->key);

    key_put_id(v->key, &id);
    if (!m || buf_status(&id))
        return NULL;
    trimtab__v1__change_result__init(m);
    m->id = arena_c(a, buf_str(&id));
    m->action = arena_c(a, str_c(candidate_action(r, v, stable)));
    m->version = v->number;
    m->previous_version = rollout_is_live(r) && stable ? stable->number : 0;
    return m;
}

static bool put_candidates(const struct state *state, const struct rollout *r, size_t n,
                           Trimtab__V1__Rollout *m, struct arena *a)
{
    m->candidates = ARENA_ARRAY(a, Trimtab__V1__ChangeResult *, n);
    for (size_t i = 0; m->candidates && i < n; i++) {
        m->candidates[i] = candidate_message(state, r, r->candidates[i], a);
        if (!m->candidates[i])
            return false;
        m->n_candidates++;
    }
    return m->candidates != NULL;
}

/* In lists the targets are left out: they may be as large as a commit. */
static Trimtab__V1__RolloutPlan *plan_message(const struct rollout *r, bool summary,
                                              struct arena *a)
{
    struct rollout bare = {.name = r->name,
                           .salt = r->salt,
                           .n_steps = r->n_steps,
                           .is_automatic = r->is_automatic,
                           .auto_confirm = r->auto_confirm,
                           .is_declared = r->is_declared,
                           .expires_ms = r->expires_ms};

    if (!summary)
        return rollout_to_plan(r, a);
    bare.steps = ARENA_ARRAY(a, struct step, r->n_steps);
    for (size_t i = 0; bare.steps && i < r->n_steps; i++) {
        bare.steps[i] = r->steps[i];
        bare.steps[i].n_targets = 0;
    }
    return bare.steps ? rollout_to_plan(&bare, a) : NULL;
}

Trimtab__V1__Rollout *rollout_message(const struct state *state, const struct rollout *r,
                                      bool summary, struct arena *a)
{
    Trimtab__V1__Rollout *m = ARENA_NEW(a, Trimtab__V1__Rollout);
    size_t n = summary ? MIN(r->n_candidates, (size_t)SUMMARY_CANDIDATES) : r->n_candidates;

    if (!m)
        return NULL;
    trimtab__v1__rollout__init(m);
    m->id = r->id;
    m->phase = arena_c(a, str_c(rollout_phase_name(r->phase)));
    m->plan = plan_message(r, summary, a);
    m->steps_begun = (uint32_t)r->n_begun;
    m->author = arena_c(a, r->author);
    m->reason = arena_c(a, r->reason);
    m->started = time_text(r->started_ms, a);
    m->moves = r->n_moves;
    m->last_move_by = arena_c(a, r->moved_by);
    m->last_move_reason = arena_c(a, r->moved_why);
    m->last_move = time_text(r->moved_ms, a);
    m->revision = r->node.revision;
    m->candidate_count = r->n_candidates;
    return m->plan && put_candidates(state, r, n, m, a) ? m : NULL;
}

/* Its state as a target of r, or by itself; and what it says of that. */
static const char *state_of(const struct pick *p, const struct drives *d,
                            const struct rollout *r, const struct moment *at,
                            char why[TARGET_WHY_MAX])
{
    if (r)
        return target_state_name(pick_state(p, d, r, at, why));
    why[0] = '\0';
    if (presence_is_failing(p->instance->presence)) {
        const Trimtab__V1__Health *h = p->instance->presence->health->health;

        text_format(why, TARGET_WHY_MAX, "%s: fails already: %s%s%s", p->instance->id,
                    h->source, *h->source ? ": " : "", h->reason);
    }
    return presence_state_name(presence_state(p->instance->presence, at));
}

/* What it says, without its own name before it. */
static struct str without_id(const char *why, const char *whose)
{
    size_t id = strlen(whose);

    return *why ? str_from(str_c(why), id + 2) : STR("");
}

Trimtab__V1__RolloutInstance *rollout_instance(const struct pick *p, const struct drives *d,
                                               const struct rollout *r,
                                               const struct moment *at, struct arena *a)
{
    Trimtab__V1__RolloutInstance *m = ARENA_NEW(a, Trimtab__V1__RolloutInstance);
    char why[TARGET_WHY_MAX];

    if (!m)
        return NULL;
    trimtab__v1__rollout_instance__init(m);
    m->id = arena_c(a, str_c(p->id));
    if (p->instance) {
        const Trimtab__V1__Instance *who = p->instance->presence->introduction->hello->instance;

        m->host = arena_c(a, str_c(who->host));
        m->fingerprint = instance_fingerprint(who, a);
        m->connected = p->instance->presence->is_connected;
    }
    m->state = arena_c(a, str_c(state_of(p, d, r, at, why)));
    m->step = p->step;
    m->failing = !r && presence_is_failing(p->instance->presence);
    m->reason = arena_c(a, without_id(why, p->id));
    return m;
}

Trimtab__V1__RolloutProgress *rollout_progress(const struct drives *d, const struct rollout *r,
                                               struct arena *a)
{
    const struct drive *v = drives_find(d, r->id);
    Trimtab__V1__RolloutProgress *m;

    if (!v || !rollout_is_live(r) || v->soak.step != r->steps[r->n_begun - 1].revision)
        return NULL;
    m = ARENA_NEW(a, Trimtab__V1__RolloutProgress);
    if (!m)
        return NULL;
    trimtab__v1__rollout_progress__init(m);
    m->holds = v->soak.holds;
    m->held_ms = v->soak.held_ms;
    if (*v->trouble || !v->decision.has_move)
        m->waiting = arena_c(a, str_c(*v->trouble ? v->trouble : v->decision.text));
    return m;
}
