/*
 * Judges and their verdicts. See health.h.
 */
#include "agent/health.h"

#include "base/text.h"

void verdict_set(struct verdict *v, bool failing, uint64_t revision, struct str reason)
{
    struct buf kept = {.data = v->reason, .cap = SYNC_REASON_MAX, .ceiling = SYNC_REASON_MAX};

    v->state = failing ? VERDICT_FAILING : VERDICT_WELL;
    v->revision = revision;
    if (failing)
        text_put_plain(&kept, str_trim(reason), TEXT_LINES, SYNC_REASON_MAX);
    v->reason[kept.len] = '\0';
}

void verdict_applied(struct verdict *v, uint64_t revision)
{
    if (v->revision > revision)
        v->revision = 0;
}

/* ---- one judge ---- */

void judge_init(struct judge *j, const char *name, const struct judge_rules *rules)
{
    *j = (struct judge){.name = name, .rules = *rules, .due = JUDGE_NEVER};
}

void judge_applied(struct judge *j, uint64_t revision, nsec_t now)
{
    verdict_applied(&j->verdict, revision);
    j->applied = revision;
    j->n_good = j->n_bad = 0;
    j->is_anew = true;
    j->is_outdated = j->is_running;
    j->due = now + j->rules.settle;
}

nsec_t judge_due(const struct judge *j)
{
    return j->is_running ? JUDGE_NEVER : j->due;
}

void judge_begin(struct judge *j)
{
    j->is_running = true;
    j->is_outdated = false;
}

void judge_skip(struct judge *j, nsec_t now)
{
    nsec_t soon = now + j->rules.retry;

    if (!j->is_outdated || j->due < soon)
        j->due = soon;
    j->is_running = j->is_outdated = false;
}

/* In a row; while judging anew a failure is not forgotten, so that this ends (J3). */
static void count(struct judge *j, bool is_well)
{
    if (is_well) {
        j->n_good++;
        j->n_bad = j->is_anew ? j->n_bad : 0;
    } else {
        j->n_bad++;
        j->n_good = 0;
    }
}

bool judge_result(struct judge *j, bool is_well, struct str reason, nsec_t now)
{
    bool was_anew = j->is_anew, was_outdated = j->is_outdated, is_decided;
    enum verdict_state before = j->verdict.state;

    j->is_running = j->is_outdated = false;
    if (was_outdated) /* (J1): due was set when the newer batch was applied */
        return false;
    count(j, is_well);
    is_decided = is_well ? j->n_good >= j->rules.successes : j->n_bad >= j->rules.failures;
    j->is_anew = was_anew && !is_decided;
    j->due = now + (j->is_anew ? j->rules.retry : j->rules.every);
    if (!is_decided || (!was_anew && before == (is_well ? VERDICT_WELL : VERDICT_FAILING)))
        return false;
    verdict_set(&j->verdict, !is_well, j->applied, reason);
    j->n_good = j->n_bad = 0;
    return true;
}

/* ---- all of them ---- */

/* Takes over a failure that is newer than what is there. */
static void add_failure(struct sync_judgement *sum, const struct verdict *v, const char *source)
{
    if (v->state != VERDICT_FAILING || (sum->failing && sum->revision >= v->revision))
        return;
    *sum = (struct sync_judgement){true, v->revision, v->reason, source};
}

bool health_sum(const struct judge *const *judges, size_t n, const struct verdict *said,
                struct sync_judgement *ret)
{
    bool all_judged = n > 0 || said->state != VERDICT_NONE;
    uint64_t oldest = n ? UINT64_MAX : said->revision;

    *ret = (struct sync_judgement){.reason = "", .source = ""};
    for (size_t i = 0; i < n; i++) {
        add_failure(ret, &judges[i]->verdict, judges[i]->name);
        all_judged &= judges[i]->verdict.state != VERDICT_NONE;
        oldest = MIN(oldest, judges[i]->verdict.revision);
    }
    add_failure(ret, said, HEALTH_CALLER);
    if (!ret->failing)
        ret->revision = oldest;
    return ret->failing || all_judged;
}
