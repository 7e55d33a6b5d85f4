/*
 * Runs the simulation over many seeds, and over planted defects that it must find.
 *
 *   TRIMTAB_SIM_SEEDS=N   how many seeds      TRIMTAB_SIM_SEED=S   only this one, to reproduce
 *   TRIMTAB_SIM_FIRST=S   the first of them, 1: several processes share the work
 *   TRIMTAB_SIM_FAILURES=N   how many may fail before it ends, 5
 */
#include "sim.h"
#include "tap.h"

enum { CLIENTS = 50, STEPS = 350 };

static uint64_t number(const char *name, uint64_t standard)
{
    const char *text = getenv(name);
    uint64_t n;

    return text && str_u64(str_c(text), &n) ? n : standard;
}

#ifdef TRIMTAB_SANITIZED
enum { SEEDS_DEFAULT = 40 };
#else
enum { SEEDS_DEFAULT = 1000 };
#endif

static void add(struct sim_result *sum, const struct sim_result *r)
{
    for (int f = 0; f < N_FAULTS; f++)
        sum->faults[f] += r->faults[f];
    sum->commits += r->commits;
    sum->rollouts += r->rollouts;
    sum->moves += r->moves;
    sum->renewals += r->renewals;
    sum->batches += r->batches;
    sum->bookmarks += r->bookmarks;
    sum->repairs += r->repairs;
    sum->checks += r->checks;
    sum->referred += r->referred;
    sum->held += r->held;
    sum->claims += r->claims;
    sum->well += r->well;
    sum->hidden += r->hidden;
    sum->went_on += r->went_on;
    sum->driven += r->driven;
    sum->withheld += r->withheld;
    sum->denied += r->denied;
    sum->waited += r->waited;
    sum->several += r->several;
    sum->letters += r->letters;
    sum->behind += r->behind;
    sum->late += r->late;
    sum->replaced += r->replaced;
    sum->must_wait += r->must_wait;
    sum->owing += r->owing;
    sum->lost += r->lost;
}

/* What there was of lanes. */
static void tell_of_lanes(const struct sim_result *sum, bool all)
{
    tap_note("%llu seeds with several lanes: %llu letters between them and hubs, %llu lanes "
             "that were "
             "ahead of another, %llu streams replaced by newer ones, %llu late goodbyes, %llu "
             "hellos that had to wait for their lane, %llu words for which memory failed, "
             "%llu waits that were over, %llu cursors of records that were lost",
             (unsigned long long)sum->several, (unsigned long long)sum->letters,
             (unsigned long long)sum->behind, (unsigned long long)sum->replaced,
             (unsigned long long)sum->late, (unsigned long long)sum->must_wait,
             (unsigned long long)sum->owing, (unsigned long long)sum->waited,
             (unsigned long long)sum->lost);
    if (all)
        CHECK(sum->several > 0 && sum->behind > 0 && sum->replaced > 0 && sum->late > 0 &&
              sum->must_wait > 0 && sum->owing > 0 && sum->waited > 0 && sum->lost > 0);
}

TEST_WITHIN(3600, "no invariant is broken by any mixture of faults")
{
    uint64_t one = number("TRIMTAB_SIM_SEED", 0);
    uint64_t first = one ? one : number("TRIMTAB_SIM_FIRST", 1);
    uint64_t n =
        one ? 1 : number("TRIMTAB_SIM_SEEDS", getenv("TRIMTAB_QUICK") ? 40 : SEEDS_DEFAULT);
    struct sim_result sum = {.commits = 0};
    uint64_t failed = 0, failed_max = number("TRIMTAB_SIM_FAILURES", 5);

    for (uint64_t i = 0; i < n && failed < failed_max; i++) {
        uint64_t seed = first + i;
        struct sim_result r = sim_run(seed, DEFECT_NONE, CLIENTS, STEPS);

        if (r.violation[0]) {
            failed++;
            tap_check(false, __FILE__, __LINE__, "seed %llu: %s", (unsigned long long)seed,
                      r.violation);
        }
        add(&sum, &r);
    }
    tap_note("%llu rollouts, %llu moves of them, %llu batches that went on from a newer state",
             (unsigned long long)sum.rollouts, (unsigned long long)sum.moves,
             (unsigned long long)sum.renewals);
    tap_note("%llu bindings of what is referred to, %llu items held because of others",
             (unsigned long long)sum.referred, (unsigned long long)sum.held);
    tap_note("judged: %llu times an instance, %llu targets that had applied, %llu that had it "
             "hidden; %llu moves by "
             "the driver, %llu of them because all went well",
             (unsigned long long)sum.claims, (unsigned long long)sum.well,
             (unsigned long long)sum.hidden, (unsigned long long)sum.driven,
             (unsigned long long)sum.went_on);
    if (!one)
        CHECK(sum.claims > 0 && sum.well > 0 && sum.hidden > 0 && sum.went_on > 0);
    tell_of_lanes(&sum, !one);
    tap_note("%llu names withheld from who may not read what they lead to, %llu subscriptions "
             "refused",
             (unsigned long long)sum.withheld, (unsigned long long)sum.denied);
    if (!one)
        CHECK(sum.withheld > 0 && sum.denied > 0);
    if (!one)
        CHECK(sum.referred > 0 && sum.held > 0 && sum.rollouts > 0 && sum.moves > 0 &&
              sum.renewals > 0);
    tap_note(
        "%llu seeds from %llu: %llu commits, %llu batches, %llu bookmarks, %llu repairs, %llu "
        "checks of a view",
        (unsigned long long)n, (unsigned long long)first, (unsigned long long)sum.commits,
        (unsigned long long)sum.batches, (unsigned long long)sum.bookmarks,
        (unsigned long long)sum.repairs, (unsigned long long)sum.checks);
    for (int f = 0; f < N_FAULTS; f++) {
        tap_note("fault: %-20s %llu", sim_fault_names[f], (unsigned long long)sum.faults[f]);
        if (!one)
            tap_check(sum.faults[f] > 0, __FILE__, __LINE__, "%s never struck",
                      sim_fault_names[f]);
    }
}

/* A check that never fails proves nothing. */
static void must_find(enum sim_defect defect)
{
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct sim_result r = sim_run(seed, defect, CLIENTS, STEPS);

        if (r.violation[0]) {
            tap_note("found at seed %llu: %s", (unsigned long long)seed, r.violation);
            return;
        }
    }
    tap_check(false, __FILE__, __LINE__, "the defect was not found in 50 seeds");
}

TEST_WITHIN(600, "a planted defect is found: a bookmark before its data")
{
    must_find(DEFECT_BOOKMARK_BEFORE_DATA);
}

TEST_WITHIN(600, "a planted defect is found: a cursor moved on a timeout")
{
    must_find(DEFECT_CURSOR_ON_TIMEOUT);
}

TEST_WITHIN(600, "a planted defect is found: a split commit")
{
    must_find(DEFECT_SPLIT_COMMIT);
}

TEST_WITHIN(600, "a planted defect is found: a candidate that everybody gets")
{
    must_find(DEFECT_CANDIDATE_FOR_ALL);
}

TEST_WITHIN(600, "a planted defect is found: a candidate that stays when it is taken back")
{
    must_find(DEFECT_CANDIDATE_STAYS);
}

TEST_WITHIN(600,
            "a planted defect is found: commits that leave references without their targets")
{
    must_find(DEFECT_UNCHECKED_GRAPH);
}

TEST_WITHIN(600,
            "a planted defect is found: a stream that goes on with rights that were changed")
{
    must_find(DEFECT_RIGHTS_LINGER);
}

TEST_WITHIN(600, "a planted defect is found: a lane that misses a publication")
{
    must_find(DEFECT_LANE_MISSES);
}

TEST_WITHIN(600, "a planted defect is found: a refusal that does not hold what depends on it")
{
    must_find(DEFECT_HELD_ALONE);
}
