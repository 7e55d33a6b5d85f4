/*
 * Power cuts and failing operations under the engine "sqlite:", at every write and sync of a script.
 *
 * The truth is what the calls have answered. After a cut and a new start: what was acknowledged is there, of
 * what was under way all or nothing, what was refused is not, and everything passes store_check.
 */
#include "kit.h"
#include "power_vfs.h"
#include "tap.h"

#include "base/alloc.h"

#include <inttypes.h>

struct truth {
    uint64_t head;       /* acknowledged */
    uint64_t maybe_head; /* as large as it may be, after an unknown outcome */
    uint64_t snapshot;   /* revision of the newest acknowledged one; 0: none */
    uint64_t maybe_snapshot;
    uint64_t floor, maybe_floor;
    uint64_t marked, maybe_marked;
    uint64_t lease; /* 0: none */
    bool has_item, has_blob;
};

struct run {
    struct truth truth;
    struct store *s;
    struct err err;
    nsec_t now;
};

static int run_open(struct run *run)
{
    struct store_opts opts = {.semantics = 1,
                              .retain = 4,
                              .sqlite_vfs = POWER_VFS,
                              .files = &power_files,
                              .now = run->now};

    return store_open("sqlite:/power.db", &opts, &run->s, &run->err);
}

/* ---- steps: 0, or what stopped them ---- */

static int step_append(struct run *run, size_t n)
{
    struct truth *t = &run->truth;
    int r = kit_append(run->s, n, &run->err);

    if (r == ERR_TIMEOUT)
        t->maybe_head = t->head + n;
    if (r)
        return r;
    t->head += n;
    t->maybe_head = t->head;
    return 0;
}

static int step_snapshot(struct run *run, size_t bytes)
{
    struct truth *t = &run->truth;
    int r;

    if (t->head == 0)
        return 0;
    t->maybe_snapshot = t->head;
    r = kit_snapshot(run->s, t->head, bytes, &run->err);
    if (!r)
        t->snapshot = t->head;
    return r ? r : store_tidy(run->s, &run->err);
}

static bool keep_even(void *ctx, uint64_t revision)
{
    (void)ctx;
    return revision % 2 == 0;
}

static int step_compact(struct run *run)
{
    struct store_compact op = {.below = UINT64_MAX, .keep = keep_even, .max_records = 3};
    struct truth *t = &run->truth;
    int r;

    t->maybe_floor = t->head + 1;
    r = store_compact(run->s, &op, &t->floor, &run->err);
    return r < 0 ? r : 0;
}

static int step_blob(struct run *run)
{
    struct sha256 hash;
    int r = kit_blob(run->s, "a blob", &hash, &run->err);

    run->truth.has_blob |= r == 0;
    return r;
}

static int step_lease(struct run *run)
{
    struct store_ephemeral item = {.key = STR("here"), .bytes = STR("I am")};
    struct truth *t = &run->truth;
    int r;

    if (!t->lease) {
        r = store_lease_grant(run->s, NSEC_PER_S, run->now, &t->lease, &run->err);
        if (r)
            return r;
    }
    r = store_ephemeral_put(run->s, t->lease, &item, 1, &run->err);
    t->has_item |= r == 0;
    return r;
}

static int step_mark(struct run *run)
{
    const struct store_mark mark = {STR("key"), run->truth.head, run->truth.head};
    struct truth *t = &run->truth;
    int r;

    t->maybe_marked = t->head;
    r = store_mark(run->s, &mark, t->head > 0, t->head, &run->err);
    if (!r)
        t->marked = t->head;
    return r;
}

static int step_tick(struct run *run)
{
    return store_tick(run->s, run->now, NULL, &run->err);
}

static int step_reopen(struct run *run)
{
    run->s = store_drop(run->s);
    return run_open(run);
}

enum { STEPS = 13 };

static int do_step(struct run *run, size_t step)
{
    switch (step) {
    case 0: return run->s ? 0 : run_open(run);
    case 1: return step_append(run, 1);
    case 2: return step_append(run, 6);
    case 3: return step_blob(run);
    case 4: return step_lease(run);
    case 5: return step_snapshot(run, 9000);
    case 6: return step_append(run, 5);
    case 7: return step_compact(run);
    case 8: return step_reopen(run);
    case 9: return step_snapshot(run, 100);
    case 10: return step_tick(run);
    case 11: return step_mark(run);
    default: return step_append(run, 2);
    }
}

/* ---- judging ---- */

static bool check_log(struct run *run)
{
    struct truth *t = &run->truth;
    owned(mem) struct gather *g = NEW(struct gather);
    uint64_t head = store_head(run->s).revision, floor = 0;

    return CHECK(g != NULL) && CHECK(head == t->head || head == t->maybe_head) &&
           CHECK_I64(store_floor(run->s, &floor, &run->err), 0) && CHECK(floor >= t->floor) &&
           CHECK(floor <= MAX(t->maybe_floor, (uint64_t)1)) &&
           CHECK_I64(store_read(run->s, floor, head, gather_record, g, &run->err), 0) &&
           CHECK(gather_is(g, floor, head));
}

static bool check_snapshot(struct run *run)
{
    struct truth *t = &run->truth;
    struct store_snapshot_info info;
    bool right = false;
    int r = kit_read_snapshot(run->s, &info, &right, &run->err);

    if (r == ERR_NOT_FOUND)
        return CHECK_U64(t->snapshot, 0);
    return CHECK_I64(r, 0) && CHECK(right) &&
           CHECK(info.revision == t->snapshot || info.revision == t->maybe_snapshot) &&
           CHECK_U64(info.passed_over, 0);
}

/* A mark that is noted as written is there. */
static bool check_marks(struct run *run)
{
    const struct truth *t = &run->truth;
    struct store_mark mark = {.number = 0};
    uint64_t upto = 0;

    return CHECK_I64(store_marked(run->s, &upto, &run->err), 0) &&
           CHECK(upto == t->marked || upto == t->maybe_marked) &&
           (upto == 0 ||
            (CHECK_I64(store_mark_find(run->s, STR("key"), upto, &mark, &run->err), 0) &&
             CHECK(mark.number == upto && mark.revision == upto)));
}

static int see_item(void *ctx, const struct store_ephemeral *item)
{
    (void)item;
    *(bool *)ctx = true;
    return 0;
}

static bool check_rest(struct run *run)
{
    struct sha256 hash = sha256_of(STR("a blob"));
    bool blob = false, item = false;

    return CHECK_I64(store_blob_has(run->s, &hash, &blob, &run->err), 0) &&
           CHECK(blob || !run->truth.has_blob) &&
           CHECK_I64(store_ephemeral_list(run->s, STR(""), see_item, &item, &run->err), 0) &&
           CHECK(item || !run->truth.has_item) && CHECK_I64(store_check(run->s, &run->err), 0);
}

static bool judge(struct run *run)
{
    char line[1400];
    bool good;

    if (!run->s && !CHECK_I64(run_open(run), 0)) {
        tap_note("%s", err_describe(&run->err, line, sizeof(line)));
        return false;
    }
    run->err = ERR_NULL;
    good = check_log(run) && check_snapshot(run) && check_marks(run) && check_rest(run) &&
           CHECK_I64(kit_append(run->s, 3, &run->err), 0);
    if (!good && run->err.code)
        tap_note("%s", err_describe(&run->err, line, sizeof(line)));
    return good;
}

/* ---- the cases ---- */

/* Runs the script up to the first failure, cuts the power, starts again, judges. False: the plan never came. */
static bool run_with_plan(const struct power_plan *plan, enum power_keep keep, struct rng *rng)
{
    struct run run = {.now = NSEC_PER_S};
    bool came;
    int r = 0;

    power_reset();
    power_plan(plan);
    for (size_t i = 0; !r && i < STEPS; i++)
        r = do_step(&run, i);
    came = power_plan_came();
    power_plan(NULL);
    /* Whether a failing close would tidy up is not to matter: the handles are dead before it. */
    power_cut(keep, rng);
    run.s = store_drop(run.s);
    if (!judge(&run))
        tap_note("event %d at %" PRIu64 " x %" PRIu64 ", kept %d", (int)plan->event, plan->at,
                 plan->times, (int)keep);
    run.s = store_drop(run.s);
    power_reset();
    return came;
}

static void sweep(enum power_event event, uint64_t times, enum power_keep keep)
{
    struct rng rng = {.state = 11};
    struct power_plan plan = {.event = event, .at = 1, .times = times};

    power_register();
    while (!tap_failed() && run_with_plan(&plan, keep, &rng))
        plan.at++;
    tap_note("%" PRIu64 " places", plan.at - 1);
    CHECK(plan.at > 100);
}

TEST("D1 D2 S1: power cut at every write and sync, nothing unsynced lasts")
{
    sweep(POWER_CUT, 1, POWER_KEEP_NONE);
}

TEST("D1 D2 S1: power cut at every write and sync, a random part lasts")
{
    sweep(POWER_CUT, 1, POWER_KEEP_SOME);
}

TEST("D1 D2 S1: power cut at every write and sync, everything lasts")
{
    sweep(POWER_CUT, 1, POWER_KEEP_ALL);
}

TEST("D3: what one failed operation refused does not come back after a power cut")
{
    sweep(POWER_FAIL_IO, 1, POWER_KEEP_ALL);
    sweep(POWER_FAIL_IO, 1, POWER_KEEP_SOME);
}

TEST("D3: when the disk goes on failing the answer is unknown, or the refusal is final")
{
    sweep(POWER_FAIL_IO, 1000000, POWER_KEEP_ALL);
    sweep(POWER_FAIL_IO, 3, POWER_KEEP_ALL);
}

TEST("D3: what a full disk refused does not come back after a power cut")
{
    sweep(POWER_FAIL_FULL, 1000000, POWER_KEEP_ALL);
    sweep(POWER_FAIL_FULL, 1, POWER_KEEP_SOME);
}

/* Asks for the truth of an unknown outcome, as a server does. */
static int settle(struct run *run)
{
    struct truth *t = &run->truth;
    uint64_t revision = 0;
    char id[32];
    int r = store_find_request(run->s, kit_request(t->maybe_head, id), &revision, &run->err);

    if (r == 0)
        t->head = t->maybe_head;
    else if (r == ERR_NOT_FOUND)
        t->maybe_head = t->head;
    return r == ERR_NOT_FOUND ? 0 : r;
}

/* Each step is tried again until it succeeds, with the same store as long as it is open. */
static bool run_on(const struct power_plan *plan)
{
    struct run run = {.now = NSEC_PER_S};
    bool came;

    power_reset();
    power_plan(plan);
    for (size_t i = 0; i < STEPS && !tap_failed(); i++) {
        int r = -1, tries = 0;

        while (r && tries++ < 40) {
            r = do_step(&run, i);
            if (run.s && run.truth.maybe_head > run.truth.head)
                (void)settle(&run); /* still unknown: asked again after the next try */
            if (r && i == 8)
                i = run.s ? 8 : 0; /* the store is closed: open it */
        }
        if (i == 0 && r == 0 && run.truth.head > 0)
            i = 8;
        CHECK_I64(r, 0);
    }
    came = power_plan_came();
    power_plan(NULL);
    if (!tap_failed() && !judge(&run))
        tap_note("event %d at %" PRIu64 " x %" PRIu64, (int)plan->event, plan->at, plan->times);
    run.s = store_drop(run.s);
    power_reset();
    return came;
}

static void sweep_on(enum power_event event, uint64_t times)
{
    struct power_plan plan = {.event = event, .at = 1, .times = times};

    power_register();
    while (!tap_failed() && run_on(&plan))
        plan.at++;
    if (tap_failed())
        tap_note("at %" PRIu64, plan.at);
    CHECK(plan.at > 100);
}

TEST("D4: after a failed write or sync the store goes on")
{
    sweep_on(POWER_FAIL_IO, 1);
    sweep_on(POWER_FAIL_IO, 5);
}

TEST("D4: when a full disk has room again the store goes on")
{
    sweep_on(POWER_FAIL_FULL, 1);
    sweep_on(POWER_FAIL_FULL, 20);
}

/* A long random script: many appends of all sizes among the rest, cut at a random place. */
static void run_long(uint64_t seed)
{
    struct rng rng = {.state = seed};
    struct power_plan plan = {.event = POWER_CUT, .at = 1 + rng_below(&rng, 1500)};
    struct run run = {.now = NSEC_PER_S};
    int r;

    power_reset();
    r = run_open(&run);
    power_plan(&plan);
    for (int i = 0; !r && i < 80; i++) {
        if (rng_below(&rng, 3))
            r = step_append(&run, 1 + (size_t)rng_below(&rng, 100));
        else
            r = do_step(&run, 3 + (size_t)rng_below(&rng, STEPS - 3));
    }
    power_plan(NULL);
    power_cut((enum power_keep)rng_below(&rng, 3), &rng);
    run.s = store_drop(run.s);
    if (!judge(&run))
        tap_note("seed %" PRIu64, seed);
    run.s = store_drop(run.s);
    power_reset();
}

TEST("D1 D2 S1 C1: power cuts in long random scripts, by seed")
{
    power_register();
    for (uint64_t seed = 1; seed <= 300 && !tap_failed(); seed++)
        run_long(seed);
}
