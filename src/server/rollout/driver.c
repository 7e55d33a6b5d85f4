/*
 * The driver. See driver.h.
 */
#include "server/rollout/driver.h"

#include "base/log.h"
#include "server/rollout/picture.h"

static const nsec_t LOOK_EVERY = NSEC_PER_S; /* silence and soaks come without a word */
static const nsec_t LOOK_PAUSE = 20 * NSEC_PER_MS;
static const nsec_t VISIT_EVERY = 3 * NSEC_PER_S;  /* a third of the lease */
static const nsec_t PIECES_EVERY = NSEC_PER_S / 2; /* who applied it is soon known for good */
static const nsec_t SAVE_EVERY = 10 * NSEC_PER_S;
static const nsec_t RETRY_AFTER =
    2 * NSEC_PER_S; /* what was refused may have changed by then */

enum {
    PIECES_PER_VISIT = 8,
    LOOK_SHARE = 10
}; /* a look waits so many times as long as the last one took */

static int look(struct driver *d);
static void driver_changed(struct driver *d);

/* ---- the live rollouts ---- */

/* Without memory for that its records stay, until another driver finds them. */
static void forget_records(struct driver *d, struct drive *v)
{
    if (v->saved)
        (void)VEC_PUSH(&d->ended, (struct drive_record){.rollout = v->id, .has_ended = true});
    for (size_t i = 0; i < applied_pieces(&v->heads.applied); i++)
        (void)VEC_PUSH(&d->ended,
                       (struct drive_record){
                           .rollout = v->id, .has_ended = true, .is_piece = true, .piece = i});
}

static void forget_ended(struct driver *d)
{
    size_t n = 0;

    for (size_t i = 0; i < d->drives.list.n; i++) {
        struct drive *v = &d->drives.list.at[i];

        if (rollout_is_live(state_rollout(d->hub->state, v->id))) {
            d->drives.list.at[n++] = *v;
            continue;
        }
        forget_records(d, v);
        headcount_deinit(&v->heads);
    }
    d->drives.list.n = n;
}

void driver_forget_instance(struct driver *d, struct str id)
{
    for (size_t i = 0; i < d->drives.list.n; i++)
        applied_forget(&d->drives.list.at[i].heads.applied, id);
    driver_changed(d);
}

/* Brings the list up to the newest state. Without memory what is new waits for the next look. */
static void follow(struct driver *d)
{
    const struct state *state = d->hub->state;
    struct tree_walk walk;
    const struct rollout *r;

    forget_ended(d);
    if (d->drives.list.n == state->n_live)
        return;
    tree_walk_from(&walk, state->rollouts, STR_NULL, 0);
    while ((r = rollout_of(tree_walk_next(&walk))))
        if (rollout_is_live(r) && !drives_of(&d->drives, r->id))
            (void)VEC_PUSH(&d->drives.list, (struct drive){.id = r->id,
                                                      .is_old = r->id <= d->started_at,
                                                      .awaited = UINT64_MAX});
}

/* ---- the tally ---- */

struct looking {
    struct driver *driver;
    struct interest *interests; /* one for each drive */
    uint64_t n_heard;           /* connected instances that answer */
    int result;
    struct moment at;
};

static bool tally_instance(void *ctx, struct instance *i, const struct subject *s)
{
    struct looking *l = ctx;
    struct driver *d = l->driver;
    enum target_state is;

    l->n_heard += i->presence->is_connected && !presence_is_late(i->presence, &l->at);
    for (size_t n = 0; n < d->drives.list.n; n++) {
        struct drive *v = &d->drives.list.at[n];
        const struct rollout *r = state_rollout(d->hub->state, v->id);
        uint32_t step = steps_taking(r->steps, r->n_begun, r->salt, s);
        struct target_look look = {.presence = i->presence,
                                   .state = hub_state_of(d->hub, i),
                                   .rollout = r,
                                   .at = &l->at};

        if (!step || !interest_met(&l->interests[n], i))
            continue;
        look.since = r->steps[step - 1].revision;
        if (headcount_take(&v->heads, &look, &is))
            l->result = ERR_NOMEM;
    }
    return l->result == 0;
}

/* Who is known with all that is to be known was met, if it is a target. */
static bool is_missing(void *ctx, struct str id)
{
    const struct instance *i = roster_find(ctx, id);

    return !i || i->presence->is_restored; /* of whom not all is known */
}

static int begin_tally(struct driver *d, struct looking *l, struct arena *a)
{
    l->interests = ARENA_ARRAY(a, struct interest, d->drives.list.n);
    if (!l->interests)
        return ERR_NOMEM;
    for (size_t i = 0; i < d->drives.list.n; i++) {
        struct drive *v = &d->drives.list.at[i];

        if (interest_of_rollout(state_rollout(d->hub->state, v->id), a, &l->interests[i]))
            return ERR_NOMEM;
        headcount_begin(&v->heads, l->at.now, d->hub->config.lost_after / NSEC_PER_MS);
    }
    return 0;
}

static int tally(struct driver *d)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct looking l = {.driver = d, .at = hub_moment(d->hub)};
    int r = begin_tally(d, &l, &a);

    if (r)
        return r;
    subjects_each(&d->hub->roster, tally_instance, &l);
    if (l.result)
        return l.result;
    for (size_t i = 0; i < d->drives.list.n; i++)
        headcount_end(&d->drives.list.at[i].heads, l.n_heard > 0, is_missing, &d->hub->roster);
    return 0;
}

/* ---- moves ---- */

static void move_free(struct driver_move *m)
{
    commit_job_deinit(&m->job);
    m->state = state_unref(m->state);
    arena_deinit(&m->arena);
    m->is_under_way = false;
}

static void move_done(struct commit_job *job)
{
    struct driver_move *m = CONTAINER_OF(job, struct driver_move, job);
    struct driver *d = CONTAINER_OF(m, struct driver, move);
    struct drive *v = drives_of(&d->drives, m->id);

    if (job->result == 0) {
        LOG(INFO, "rollout_moved", LOG_U64("rollout", m->id),
            LOG_C("move", rollout_move_name(m->move.kind)), LOG_C("reason", m->reason));
    } else if (v && job->result != ERR_CONFLICT) { /* else somebody was faster */
        LOG(WARN, "rollout_move_refused", LOG_U64("rollout", m->id),
            LOG_C("move", rollout_move_name(m->move.kind)), LOG_C("error", job->err.text));
        text_format(v->trouble, sizeof(v->trouble), "%s", job->err.text);
        v->not_before = clock_now() + RETRY_AFTER;
    }
    move_free(m);
    driver_changed(d);
}

static void make_move(struct driver *d, struct drive *v, const struct rollout *r)
{
    struct driver_move *m = &d->move;
    struct commit *c = &m->job.commit;

    *m = (struct driver_move){.is_under_way = true, .id = r->id};
    memcpy(m->reason, v->decision.text, sizeof(m->reason));
    v->trouble[0] = '\0';
    m->move = (struct rollout_move){.kind = v->decision.move,
                                    .id = r->id,
                                    .expected = r->n_moves,
                                    .holds = v->soak.holds,
                                    .reason = str_c(m->reason)};
    *c = (struct commit){.moves = &m->move,
                         .n_moves = 1,
                         .author = STR("trimtabd"),
                         .origin = STR("driver"),
                         .action = STR("rollout"),
                         .message = str_c(m->reason),
                         .time_ms = clock_wall_ms()};
    m->job.done = move_done;
    m->state = state_ref(d->hub->state);
    if (picture_take(&d->drives, &m->move, &m->arena) ||
        (m->move.kind == MOVE_CONFIRM && rollout_changes(r, &m->arena, c))) {
        v->not_before = clock_now() + RETRY_AFTER;
        move_free(m);
        return;
    }
    committer_commit(d->hub->committer, &m->job);
}

/* ---- looks ---- */

/* Targets that are connected. */
static uint64_t n_here(const struct drive *v)
{
    struct tally t = headcount_tally(&v->heads);

    return tally_targets(&t) - t.away - t.lost;
}

/* Who was there before this server started may not be back yet. */
static bool is_sure(const struct driver *d, const struct drive *v, nsec_t now)
{
    return !v->is_old || n_here(v) >= v->awaited ||
           now >= d->opened + d->hub->config.rollout_settle;
}

static void drive(struct driver *d, struct drive *v, nsec_t now)
{
    const struct rollout *r = state_rollout(d->hub->state, v->id);
    const struct step *step = &r->steps[r->n_begun - 1];
    struct tally t = headcount_tally(&v->heads);

    if (v->is_old && is_sure(d, v, now))
        v->is_old = false; /* and stays so: who leaves now has left */
    soak_note(&v->soak, r, &t, !v->is_old, now);
    drive_decide(r, &t, &v->soak, clock_wall_ms(), &v->decision);
    if (v->soak.holds && !step->is_satisfied && v->soak.held_ms < step->soak_ms)
        d->due = MIN(d->due, now + (step->soak_ms - v->soak.held_ms) * NSEC_PER_MS);
    if (v->decision.has_move && d->lease.is_held && !d->move.is_under_way &&
        now >= v->not_before)
        make_move(d, v, r);
}

/* ERR_NOMEM: the counts are not whole, and nothing was decided on them. */
static int look(struct driver *d)
{
    nsec_t now = clock_now();
    int r;

    follow(d);
    d->revision = d->hub->state->revision;
    d->stamp = d->hub->roster.stamp;
    d->looked = now;
    d->due = UINT64_MAX;
    r = d->drives.list.n ? tally(d) : 0;
    for (size_t i = 0; i < d->drives.list.n && !r; i++)
        drive(d, &d->drives.list.at[i], now);
    if (d->on_look)
        d->on_look(d->ctx);
    d->next_look = clock_now() + MAX(LOOK_PAUSE, LOOK_SHARE * (clock_now() - now));
    return r;
}

int driver_look(struct driver *d)
{
    return d->is_open ? look(d) : 0;
}

static bool has_news(const struct driver *d)
{
    return d->revision != d->hub->state->revision ||
           (d->drives.list.n && d->stamp != d->hub->roster.stamp);
}

static void look_soon(struct defer *soon, void *ctx)
{
    struct driver *d = ctx;

    (void)soon;
    if (clock_now() >= d->next_look && has_news(d))
        (void)look(d); /* else at a tick */
}

/* The state or the roster has changed. */
static void driver_changed(struct driver *d)
{
    if (d->is_open && (d->drives.list.n || d->hub->state->n_live))
        loop_defer(d->hub->loop, &d->soon);
}

/* ---- the store ---- */

static struct drive_record record_of(const struct drive *v)
{
    return (struct drive_record){.rollout = v->id,
                                 .step = v->soak.step,
                                 .held_ms = v->soak.held_ms,
                                 .targets = n_here(v)};
}

/* While it is not known who is back, the older record is the better one. */
static bool must_save(const struct drive *v, nsec_t now)
{
    return v->soak.step && !v->is_old && (!v->saved || now >= v->saved + SAVE_EVERY);
}

/* A piece of who applied it. False: it has to wait, for memory or for its turn. */
static bool save_piece(struct drive_records *records, struct drive *v, size_t piece)
{
    owned(buf) struct buf ids = BUF_NULL(APPLIED_PIECE * (APPLIED_ID_MAX + 1));
    struct shared *bytes;

    if (!VEC_ROOM(records))
        return false;
    applied_put_piece(&v->heads.applied, piece, &ids);
    bytes = buf_status(&ids) ? NULL : shared_copy(buf_str(&ids));
    if (!bytes) {
        applied_dirty(&v->heads.applied, piece);
        return false;
    }
    return VEC_PUSH(records,
                    (struct drive_record){
                        .rollout = v->id, .is_piece = true, .piece = piece, .ids = bytes});
}

static void save_pieces(struct drive_records *records, struct drive *v, bool all)
{
    size_t n = 0;

    for (size_t i = 0; i < applied_pieces(&v->heads.applied) && (all || n < PIECES_PER_VISIT);
         i++) {
        if (!applied_is_dirty(&v->heads.applied, i))
            continue;
        if (!save_piece(records, v, i))
            return;
        n++;
    }
}

static struct drive_records to_save(struct driver *d, nsec_t now, bool all)
{
    struct drive_records records = d->ended;

    d->ended = (struct drive_records){.n = 0};
    for (size_t i = 0; i < d->drives.list.n && d->lease.is_held; i++) {
        struct drive *v = &d->drives.list.at[i];

        if ((must_save(v, now) || (all && v->saved)) && VEC_PUSH(&records, record_of(v)))
            v->saved = now;
        save_pieces(&records, v, all);
    }
    return records;
}

static void take_record(struct driver *d, const struct drive_record *record)
{
    struct drive *v = drives_of(&d->drives, record->rollout);

    if (!v) { /* it has ended meanwhile */
        (void)VEC_PUSH(&d->ended, (struct drive_record){.rollout = record->rollout,
                                                        .has_ended = true,
                                                        .is_piece = record->is_piece,
                                                        .piece = record->piece});
        return;
    }
    if (record->is_piece) {
        if (applied_take_piece(&v->heads.applied, shared_str(record->ids)))
            LOG(WARN, "rollout_memory_failed", LOG_U64("rollout", v->id));
        return;
    }
    v->awaited = record->targets;
    v->saved = clock_now();
    if (!v->soak.step || (v->soak.step == record->step && !v->soak.held_ms))
        v->soak = (struct soak){.step = record->step, .held_ms = record->held_ms};
}

/* What another server, or this one before, has kept. */
static void take_records(struct driver *d)
{
    for (size_t i = 0; i < d->lease.loaded.n; i++)
        take_record(d, &d->lease.loaded.at[i]);
    drive_records_deinit(&d->lease.loaded);
}

/* What a visit could not keep is to be kept by the next one. */
static void keep_again(struct driver *d)
{
    for (size_t i = 0; i < d->lease.saving.n; i++) {
        const struct drive_record *record = &d->lease.saving.at[i];
        struct drive *v = drives_of(&d->drives, record->rollout);

        if (record->has_ended)
            (void)VEC_PUSH(&d->ended, *record);
        else if (v && record->is_piece)
            applied_dirty(&v->heads.applied, record->piece);
        else if (v)
            v->saved = 0;
    }
}

static void visited(void *ctx)
{
    struct driver *d = ctx;

    if (d->is_open && !d->lease.is_held)
        keep_again(d);
    if (d->is_open)
        take_records(d);
    driver_changed(d);
}

static void visit(struct driver *d, nsec_t now)
{
    struct drive_records records = to_save(d, now, false);

    d->next_visit = now + VISIT_EVERY;
    d->visited = now;
    driver_lease_visit(&d->lease, &records);
}

static bool has_dirty_piece(const struct drive *v)
{
    for (size_t i = 0; i < applied_pieces(&v->heads.applied); i++)
        if (applied_is_dirty(&v->heads.applied, i))
            return true;
    return false;
}

static bool has_new(const struct driver *d, nsec_t now)
{
    for (size_t i = 0; i < d->drives.list.n; i++) {
        const struct drive *v = &d->drives.list.at[i];

        if ((!v->saved && must_save(v, 0)) ||
            (now >= d->visited + PIECES_EVERY && has_dirty_piece(v)))
            return true;
    }
    return false;
}

void driver_tick(struct driver *d)
{
    nsec_t now = clock_now();

    if (now >= d->next_look &&
        (has_news(d) || (d->drives.list.n && (now >= d->looked + LOOK_EVERY || now >= d->due))))
        (void)look(d);
    if (!d->lease.is_busy && (now >= d->next_visit || (d->lease.is_held && has_new(d, now))))
        visit(d, now);
}

/* ---- life ---- */

static void on_change(struct hub_watcher *w)
{
    driver_changed(CONTAINER_OF(w, struct driver, watcher));
}

void driver_init(struct driver *d, struct hub *hub, void (*on_look)(void *ctx), void *ctx)
{
    *d = (struct driver){.hub = hub,
                         .watcher = {.changed = on_change},
                         .on_look = on_look,
                         .ctx = ctx,
                         .drives = {.hub = hub},
                         .soon = {.fn = look_soon, .ctx = d},
                         .due = UINT64_MAX};
    hub_watch(hub, &d->watcher);
}

int driver_open(struct driver *d, struct err *err)
{
    int r;

    d->opened = clock_now();
    d->started_at = d->hub->state->revision;
    d->lease.done = visited;
    d->lease.ctx = d;
    r = driver_lease_open(&d->lease, d->hub->config.data_dir, d->hub->committer, err);
    d->is_open = r == 0;
    if (!r) {
        follow(d);
        visit(d, d->opened);
    }
    return r;
}

void driver_leave(struct driver *d)
{
    struct drive_records records;

    if (!d->is_open)
        return;
    d->is_open = false;
    defer_cancel(&d->soon);
    records = to_save(d, clock_now(), true);
    if (d->lease.is_busy)
        drive_records_deinit(
            &records); /* it was kept a moment ago, and the lease ends by itself */
    else
        driver_lease_leave(&d->lease, &records);
}

void driver_close(struct driver *d)
{
    if (d->move.is_under_way)
        move_free(&d->move);
    driver_lease_close(&d->lease);
    drives_deinit(&d->drives);
    drive_records_deinit(&d->ended);
}
