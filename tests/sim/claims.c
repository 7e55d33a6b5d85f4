/*
 * Claims of the simulated server. See claims.h.
 */
#include "claims.h"

#include "base/str.h"
#include "model/rollout.h"

#include <stdarg.h>
#include <stdio.h>

enum { LOST_AFTER_S = 120, ACK_LATE_S = 30, SETTLE_S = 60 };

#define U(n) ((unsigned long long)(n))

static void violate(struct claims *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void violate(struct claims *c, const char *fmt, ...)
{
    va_list ap;

    if (c->violation[0])
        return;
    va_start(ap, fmt);
    (void)vsnprintf(c->violation, sizeof(c->violation), fmt, ap);
    va_end(ap);
}

void claims_init(struct claims *c, struct oracle *oracle, struct truth *truths, int n)
{
    *c = (struct claims){.oracle = oracle, .truths = truths, .n = n};
    roster_init(&c->roster);
    attendance_init(&c->attendance, &c->roster);
}

static void drives_clear(struct claims *c)
{
    for (int i = 0; i < c->n_drives; i++)
        headcount_deinit(&c->drives[i].heads);
    c->n_drives = 0;
}

void claims_deinit(struct claims *c)
{
    drives_clear(c);
    attendance_deinit(&c->attendance);
    roster_deinit(&c->roster);
}

/* Of a driver's work only who had applied is kept in the store. */
static void drives_restart(struct claims *c)
{
    for (int i = 0; i < c->n_drives; i++) {
        struct driving *d = &c->drives[i];
        struct driving again = {.id = d->id};

        for (size_t piece = 0; piece < applied_pieces(&d->heads.applied); piece++) {
            owned(buf) struct buf ids = BUF_NULL(UINT32_MAX);

            applied_put_piece(&d->heads.applied, piece, &ids);
            if (applied_take_piece(&again.heads.applied, buf_str(&ids)))
                violate(c, "out of memory");
        }
        headcount_deinit(&d->heads);
        *d = again;
    }
}

void claims_start(struct claims *c, bool forgets, nsec_t now)
{
    c->started_at = c->oracle->head;
    c->now = now;
    c->opened = now;
    attendance_deinit(&c->attendance);
    attendance_init(&c->attendance, &c->roster);
    for (int i = 0; i < TARGETS_MAX_SIM; i++)
        c->holders[i].seat = 0;
    if (!forgets) {
        drives_restart(c);
        return;
    }
    drives_clear(c);
    memset(c->waits, 0, sizeof(c->waits));
    roster_deinit(&c->roster);
    roster_init(&c->roster);
    for (size_t i = 0; i < c->oracle->n_trials; i++)
        memset(c->oracle->trials[i].counted, 0, sizeof(c->oracle->trials[i].counted));
}

int64_t claims_wall(const struct claims *c)
{
    return (int64_t)(c->now / NSEC_PER_MS);
}

struct moment claims_moment(const struct claims *c)
{
    return (struct moment){.now = c->now,
                           .now_ms = claims_wall(c),
                           .complete = c->roster.complete,
                           .ack_late = ACK_LATE_S * NSEC_PER_S,
                           .lost_after = (int64_t)LOST_AFTER_S * 1000};
}

/* ---- for the model ---- */

void claims_taken(struct claims *c, int client, uint64_t seat, uint64_t boot)
{
    if (c->holders[client].boot != boot)
        c->truths[client].has_word = false;
    c->holders[client].seat = seat;
    c->holders[client].boot = boot;
}

bool claims_has(const struct claims *c, int client, uint64_t seat)
{
    return c->holders[client].seat == seat;
}

void claims_told(struct claims *c, int client, uint64_t seat, const struct told *told,
                 uint64_t revision)
{
    struct truth *t = &c->truths[client];

    if (!claims_has(c, client, seat))
        return;
    if (told)
        t->told = *told;
    t->who.reads = (unsigned)t->told.reads;
    t->at = revision;
}

void claims_judged(struct claims *c, int client, const Trimtab__V1__Health *health)
{
    struct truth *t = &c->truths[client];

    t->has_word = true;
    t->is_failing = health->failing;
    t->judged = health->revision;
}

int client_number(const char *id)
{
    uint64_t n = 0;
    bool is_number = str_u64(str_from(str_c(id), strlen("client-")), &n);

    ASSERT(is_number);
    return (int)n;
}

static int client_of(const struct instance *i)
{
    return client_number(i->id);
}

/* ---- instances ---- */

static void check_instance(struct claims *c, const struct instance *i, const struct moment *at,
                           uint64_t revision)
{
    const struct truth *t = &c->truths[client_of(i)];
    char why[WHY_MAX];

    c->n_checked++;
    if (presence_state(i->presence, at) == PRESENCE_OK && !judge_ok(c->oracle, t, why))
        violate(c, "J1: %s is said to be ok: %s", i->id, why);
    if (revision && presence_has_reached(i->presence, revision, at) &&
        !judge_reached(c->oracle, t, revision, why))
        violate(c, "J2: %s is said to have reached %llu: %s", i->id, U(revision), why);
}

/* ---- targets ---- */

/* Revision of the first begun step that takes it by its id; 0: none does. */
static uint64_t taken_since(const struct rollout *r, const char *id)
{
    for (size_t s = 0; s < r->n_begun; s++)
        for (size_t t = 0; t < r->steps[s].n_targets; t++)
            for (size_t n = 0; n < r->steps[s].targets[t].n_ids; n++)
                if (str_eq(r->steps[s].targets[t].ids[n], str_c(id)))
                    return r->steps[s].revision;
    return 0;
}

/* The state with which its record is looked at, as the hub does it (hub_state_of). */
static const struct state *state_of(const struct claims *c, const struct instance *i,
                                    const struct state *newest)
{
    return i->stream ? attendance_state(&c->attendance, i) : newest;
}

/* What is said of a target, held against what is so. */
static void check_target(struct claims *c, const struct instance *i, const struct rollout *r,
                         enum target_state is)
{
    struct trial *trial = oracle_trial(c->oracle, r->id);
    struct trying trying = {trial, taken_since(r, i->id)};
    const struct truth *t = &c->truths[client_of(i)];
    char wrong[WHY_MAX];

    c->n_hidden += is == TARGET_HIDDEN;
    if (is == TARGET_REFUSED && !judge_refuses(c->oracle, t, &trying, wrong))
        violate(c, "J6: %s is said to refuse rollout %llu: %s", i->id, U(r->id), wrong);
    if (is == TARGET_FAILING && !judge_fails(c->oracle, t, &trying, wrong))
        violate(c, "J7: %s is said to fail with rollout %llu: %s", i->id, U(r->id), wrong);
    if (is != TARGET_APPLIED && is != TARGET_UNJUDGED)
        return;
    c->n_well += is == TARGET_APPLIED;
    if (is == TARGET_APPLIED && !judge_well(c->oracle, t, &trying, wrong))
        violate(c, "J4: %s is said to be well with rollout %llu: %s", i->id, U(r->id), wrong);
    if (!judge_applied(c->oracle, t, &trying, wrong))
        violate(c, "J3: %s is said to have applied rollout %llu: %s", i->id, U(r->id), wrong);
}

static void check_targets(struct claims *c, struct state *state, const struct instance *i)
{
    struct moment at = claims_moment(c);
    char why[TARGET_WHY_MAX];
    struct tree_walk walk;
    const struct rollout *r;

    tree_walk_from(&walk, state->rollouts, STR(""), 0);
    while ((r = rollout_of(tree_walk_next(&walk))))
        if (rollout_is_live(r) && taken_since(r, i->id))
            check_target(c, i, r,
                         target_state(&(struct target_look){.presence = i->presence,
                                                            .state = state_of(c, i, state),
                                                            .rollout = r,
                                                            .since = taken_since(r, i->id),
                                                            .at = &at},
                                      why));
}

void claims_check(struct claims *c, struct state *state, uint64_t revision)
{
    struct moment at = claims_moment(c);
    struct map_slot *slot;
    size_t next = 0;

    while ((slot = map_each(&c->roster.instances, &next))) {
        check_instance(c, slot->value, &at, revision);
        check_targets(c, state, slot->value);
    }
}

/* ---- waits ---- */

void claims_commit(struct claims *c, const struct record *record, uint64_t revision)
{
    struct waiting *w = &c->waits[revision % WAITS_MAX];
    const struct outcome *o = &record->outcome;

    *w = (struct waiting){.revision = revision,
                          .is_start = o->n_moves && o->moves[0].kind == MOVE_START};
    for (size_t i = 0; i < o->n_versions; i++) {
        struct str key = o->versions[i]->key;

        if (i == WAIT_KEYS_MAX || key.len > WAIT_KEY_ROOM) {
            violate(c, "a commit is too large to wait for");
            return;
        }
        memcpy(w->rooms[i], key.data, key.len);
        w->keys[w->n_keys++] = str_of(w->rooms[i], key.len);
    }
}

bool claims_wait(struct claims *c, struct state *state, uint64_t revision)
{
    struct waiting *w = &c->waits[revision % WAITS_MAX];
    struct commit_look look = {revision, w->keys, w->n_keys, w->is_start};
    struct moment at = claims_moment(c);
    struct map_slot *slot;
    char why[WHY_MAX];
    size_t next = 0;

    if (!revision || w->revision != revision || !w->n_keys)
        return false;
    if (fates_are_open(&look, &c->roster, state, &at))
        return true;
    c->n_waited++;
    while ((slot = map_each(&c->roster.instances, &next))) {
        const struct instance *i = slot->value;

        if (i->presence->is_connected &&
            !judge_waited(c->oracle, &c->truths[client_of(i)], revision, why))
            violate(c, "J9: nobody is waited for with revision %llu, but of %s: %s",
                    U(revision), i->id, why);
    }
    return true;
}

enum presence_state claims_state(const struct claims *c, const char *id)
{
    struct instance *i = roster_find(&c->roster, str_c(id));
    struct moment at = claims_moment(c);

    return i ? presence_state(i->presence, &at) : PRESENCE_OFFLINE;
}

/* ---- the driver ---- */

static struct driving *driving_of(struct claims *c, uint64_t id)
{
    for (int i = 0; i < c->n_drives; i++)
        if (c->drives[i].id == id)
            return &c->drives[i];
    if (c->n_drives == DRIVES_MAX)
        return NULL;
    c->drives[c->n_drives] = (struct driving){.id = id};
    return &c->drives[c->n_drives++];
}

static bool is_missing(void *ctx, struct str id)
{
    return roster_find(ctx, id) == NULL;
}

static void tally(struct claims *c, struct state *state, const struct rollout *r,
                  struct driving *d)
{
    struct moment at = claims_moment(c);
    struct map_slot *slot;
    size_t next = 0, heard = 0;

    headcount_begin(&d->heads, c->now, LOST_AFTER_S * 1000);
    while ((slot = map_each(&c->roster.instances, &next))) {
        const struct instance *i = slot->value;
        struct target_look l = {.presence = i->presence,
                                .state = state_of(c, i, state),
                                .rollout = r,
                                .since = taken_since(r, i->id),
                                .at = &at};
        enum target_state is;

        heard += i->presence->is_connected && !presence_is_late(i->presence, &at);
        if (!l.since)
            continue;
        if (headcount_take(&d->heads, &l, &is))
            violate(c, "out of memory");
        check_target(c, i, r, is);
        if (target_has_applied(is))
            oracle_trial(c->oracle, r->id)->counted[client_of(i)] = true;
    }
    headcount_end(&d->heads, heard > 0, is_missing, &c->roster);
}

/* J5 */
static void check_decision(struct claims *c, const struct rollout *r,
                           enum rollout_move_kind move)
{
    const struct trial *trial = oracle_trial(c->oracle, r->id);
    char why[WHY_MAX];

    if (move != MOVE_SATISFY && move != MOVE_ADVANCE && move != MOVE_CONFIRM)
        return;
    c->n_went_on++;
    if (!judge_goes_on(c->oracle, c->truths, c->n, trial, c->now, why))
        violate(c, "J5: rollout %llu goes on by %s: %s", U(r->id), rollout_move_name(move),
                why);
}

/* Who was there before this server started may not be back yet. */
static bool is_sure(const struct claims *c, const struct rollout *r)
{
    return r->id > c->started_at || c->now >= c->opened + SETTLE_S * NSEC_PER_S;
}

bool claims_drive(struct claims *c, struct state *state, uint64_t *ret_id, struct decision *ret)
{
    struct tree_walk walk;
    const struct rollout *r;
    struct tally t;

    tree_walk_from(&walk, state->rollouts, STR(""), 0);
    while ((r = rollout_of(tree_walk_next(&walk)))) {
        struct driving *d = rollout_is_live(r) ? driving_of(c, r->id) : NULL;

        if (!d || !r->is_automatic)
            continue;
        tally(c, state, r, d);
        t = headcount_tally(&d->heads);
        soak_note(&d->soak, r, &t, is_sure(c, r), c->now);
        drive_decide(r, &t, &d->soak, claims_wall(c), ret);
        if (!ret->has_move)
            continue;
        check_decision(c, r, ret->move);
        *ret_id = r->id;
        return true;
    }
    return false;
}
