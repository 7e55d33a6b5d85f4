/*
 * One judge, and what several come to: results and time from a list.
 */
#include "agent/health.h"
#include "tap.h"

static const struct judge_rules rules = {.failures = 3,
                                         .successes = 2,
                                         .every = 10 * NSEC_PER_S,
                                         .retry = NSEC_PER_S,
                                         .settle = 5 * NSEC_PER_S};

static bool probe_at(struct judge *j, bool is_well, nsec_t now)
{
    judge_begin(j);
    return judge_result(j, is_well, STR("why"), now);
}

/* '+' a probe that passes, '-' one that fails; what the last one gave. */
static bool probes(struct judge *j, const char *results)
{
    bool found = false;

    for (; *results; results++)
        found = probe_at(j, *results == '+', 0);
    return found;
}

static struct judge judge_of(uint64_t revision, const char *results)
{
    struct judge j;

    judge_init(&j, "p", &rules);
    judge_applied(&j, revision, 0);
    (void)probes(&j, results);
    return j;
}

TEST("nothing is judged before something is served, then when it has settled")
{
    struct judge j;

    judge_init(&j, "p", &rules);
    CHECK_U64(judge_due(&j), JUDGE_NEVER);
    judge_applied(&j, 7, 100);
    CHECK_U64(judge_due(&j), 100 + 5 * NSEC_PER_S);
    judge_begin(&j);
    CHECK_U64(judge_due(&j), JUDGE_NEVER);
}

TEST("after a batch it is looked at in quick succession, then at leisure")
{
    struct judge j = judge_of(7, "");

    CHECK(!probe_at(&j, true, 50));
    CHECK_U64(judge_due(&j), 50 + NSEC_PER_S);
    CHECK(probe_at(&j, true, 60));
    CHECK_U64(judge_due(&j), 60 + 10 * NSEC_PER_S);
    CHECK_I64(j.verdict.state, VERDICT_WELL);
    CHECK_U64(j.verdict.revision, 7);
    CHECK(!probe_at(&j, false, 70));
    CHECK_U64(judge_due(&j), 70 + 10 * NSEC_PER_S);
}

TEST("as many failures in a row as the rules say make it failing, one less does not")
{
    struct judge j = judge_of(7, "++");

    CHECK(!probes(&j, "--+--"));
    CHECK_I64(j.verdict.state, VERDICT_WELL);
    CHECK(probes(&j, "-"));
    CHECK_I64(j.verdict.state, VERDICT_FAILING);
    CHECK_STR(str_c(j.verdict.reason), STR("why"));
    CHECK(!probes(&j, "-----"));
    CHECK(!probes(&j, "+-+"));
    CHECK(probes(&j, "+"));
    CHECK_I64(j.verdict.state, VERDICT_WELL);
    CHECK_STR(str_c(j.verdict.reason), STR(""));
}

TEST("a newer batch is judged anew, and the verdict said anew even if it is the same")
{
    struct judge j = judge_of(7, "---");

    CHECK_I64(j.verdict.state, VERDICT_FAILING);
    judge_applied(&j, 8, 0);
    CHECK_I64(j.verdict.state, VERDICT_FAILING);
    CHECK_U64(j.verdict.revision, 7);
    CHECK(!probes(&j, "--"));
    CHECK(probes(&j, "-"));
    CHECK_U64(j.verdict.revision, 8);
    judge_applied(&j, 9, 0);
    CHECK(probes(&j, "++"));
    CHECK_I64(j.verdict.state, VERDICT_WELL);
    CHECK_U64(j.verdict.revision, 9);
}

TEST("what came to failures before the batch counts for nothing after it")
{
    struct judge j = judge_of(7, "++--");

    judge_applied(&j, 8, 0);
    CHECK(!probes(&j, "--"));
    CHECK_U64(j.verdict.revision, 7);
}

TEST("a probe that began before the batch says nothing about it")
{
    struct judge j = judge_of(7, "");

    judge_begin(&j);
    judge_applied(&j, 8, 1000);
    for (int i = 0; i < 3; i++) {
        CHECK(!judge_result(&j, false, STR("old"), 2000));
        CHECK_U64(judge_due(&j), 1000 + 5 * NSEC_PER_S);
        CHECK_U64(j.n_bad, 0);
        judge_begin(&j);
        judge_applied(&j, 8, 1000);
    }
}

TEST("a service that comes and goes is failing: judging anew ends")
{
    struct judge j = judge_of(7, "");

    CHECK(!probes(&j, "-+-+"));
    CHECK(probes(&j, "-"));
    CHECK_I64(j.verdict.state, VERDICT_FAILING);
}

TEST("a probe that came to nothing is tried again soon, and counts for nothing")
{
    struct judge j = judge_of(7, "--");

    judge_begin(&j);
    judge_skip(&j, 100);
    CHECK_U64(judge_due(&j), 100 + NSEC_PER_S);
    CHECK(j.n_bad == 2);
    judge_begin(&j);
    judge_applied(&j, 8, 100);
    judge_skip(&j, 100);
    CHECK_U64(judge_due(&j), 100 + 5 * NSEC_PER_S);
}

TEST("nobody has judged: nothing is said")
{
    struct verdict said = {VERDICT_NONE};
    struct judge a = judge_of(7, "++"), b = judge_of(7, "");
    const struct judge *both[] = {&a, &b};
    struct sync_judgement sum;

    CHECK(!health_sum(NULL, 0, &said, &sum));
    CHECK(!health_sum(both, 2, &said, &sum));
    verdict_set(&said, false, 7, STR_NULL);
    CHECK(!health_sum(both, 2, &said, &sum));
    CHECK(health_sum(NULL, 0, &said, &sum));
}

TEST("it is failing when anyone says so, and the newest failure is told")
{
    struct verdict said = {VERDICT_NONE};
    struct judge a = judge_of(7, "---"), b = judge_of(9, "---"), c = judge_of(9, "");
    const struct judge *all[] = {&a, &b, &c};
    struct sync_judgement sum;

    a.name = "a";
    b.name = "b";
    CHECK(health_sum(all, 3, &said, &sum));
    CHECK(sum.failing);
    CHECK_U64(sum.revision, 9);
    CHECK_STR(str_c(sum.source), STR("b"));
    verdict_set(&said, true, 10, STR("no disk"));
    CHECK(health_sum(all, 3, &said, &sum));
    CHECK_STR(str_c(sum.source), STR(HEALTH_CALLER));
    CHECK_STR(str_c(sum.reason), STR("no disk"));
}

TEST("a failure that was found on an older revision does not move to a newer one")
{
    struct verdict said = {VERDICT_NONE};
    struct judge a = judge_of(9, "++");
    const struct judge *all[] = {&a};
    struct sync_judgement sum;

    verdict_set(&said, true, 7, STR("old"));
    CHECK(health_sum(all, 1, &said, &sum));
    CHECK(sum.failing);
    CHECK_U64(sum.revision, 7);
}

TEST("all are well: at the revision that the slowest judge has looked at")
{
    struct verdict said = {VERDICT_NONE};
    struct judge a = judge_of(9, "++"), b = judge_of(8, "++");
    const struct judge *all[] = {&a, &b};
    struct sync_judgement sum;

    verdict_set(&said, false, 2, STR("unused"));
    CHECK(health_sum(all, 2, &said, &sum));
    CHECK(!sum.failing);
    CHECK_U64(sum.revision, 8);
    CHECK_STR(str_c(sum.reason), STR(""));
}

TEST("a store that goes back takes the revision from what was found later")
{
    struct verdict said;
    struct judge j = judge_of(500, "---");

    judge_applied(&j, 3, 0);
    CHECK_I64(j.verdict.state, VERDICT_FAILING);
    CHECK_U64(j.verdict.revision, 0);
    verdict_set(&said, true, 500, STR("x"));
    verdict_applied(&said, 501);
    CHECK_U64(said.revision, 500);
    verdict_applied(&said, 499);
    CHECK_U64(said.revision, 0);
}

TEST("a reason is trimmed, made plain, and cut where a character ends")
{
    char text[SYNC_REASON_MAX + 2];
    struct verdict v;

    memset(text, 'x', sizeof(text));
    memcpy(text + SYNC_REASON_MAX - 1, "\xc3\xa4", 2);
    verdict_set(&v, true, 1, str_of(text, sizeof(text)));
    CHECK_U64(strlen(v.reason), SYNC_REASON_MAX - 1);
    verdict_set(&v, true, 1, STR(" exit status 1\n"));
    CHECK_STR(str_c(v.reason), STR("exit status 1"));
    verdict_set(&v, true, 1, STR("a\xff\x1b"));
    CHECK_STR(str_c(v.reason), STR("a\xef\xbf\xbd\xe2\x90\x9b"));
}
