/*
 * Targets and steps of rollouts from flags. See rollout.h.
 */
#include "cli/rollout.h"

enum { STEPS_MAX = 33 }; /* one more than the server takes, so that it tells */

void step_flags_rows(struct step_words *t, struct flag *flags)
{
    const struct flag rows[STEP_FLAGS] = {
        {"--id", 0, "instance with this id", NULL, NULL, NULL, &t->ids},
        {"--fingerprint", 0, "pattern with * of a fingerprint", NULL, NULL, NULL,
         &t->fingerprints},
        {"--host", 0, "pattern with * of a host name", NULL, NULL, NULL, &t->hosts},
        {"--cidr", 0, "address or network of an instance", NULL, NULL, NULL, &t->networks},
        {"--label", 'l', "selector: tier=web,zone in (a,b),!canary", NULL, NULL, NULL,
         &t->labels},
        {"--percent", 0, "so many of a hundred, always the same ones", &t->percent, NULL, NULL,
         NULL},
        {"--count", 0, "so many of the connected ones, kept as ids", NULL, NULL, &t->count,
         NULL},
        {"--all", 'a', "every instance", NULL, &t->all, NULL, NULL},
        {"--soak", 0,
         "how long its criteria must hold: 30s, 10m, 0 for no time; 60s when automatic",
         &t->soak, NULL, NULL, NULL},
    };

    memcpy(flags, rows, sizeof(rows));
}

void criteria_flags_rows(struct step_words *t, struct flag *flags)
{
    struct criteria_words *c = &t->criteria;
    const struct flag rows[CRITERIA_FLAGS] = {
        {"--max-refused", 0,
         "instances that may refuse a candidate, 0; more take an automatic one back",
         &c->max_refused, NULL, NULL, NULL},
        {"--max-failing", 0,
         "instances whose health may fail, 0; more take an automatic one back", &c->max_failing,
         NULL, NULL, NULL},
        {"--max-lost", 0,
         "instances that may stay away after they applied it: 0, above 100 of them 1 %; more "
         "take "
         "an automatic one back",
         &c->max_lost, NULL, NULL, NULL},
        {"--max-silent", 0,
         "instances that may not answer in time, or not prove what they run, 0", &c->max_silent,
         NULL, NULL, NULL},
        {"--min-applied", 0, "instances that must have applied it, 1", &c->min_applied, NULL,
         NULL, NULL},
        {"--allow-empty", 0, "begin although no instance matches", NULL, &t->allow_empty, NULL,
         NULL},
    };

    memcpy(flags, rows, sizeof(rows));
}

int milliseconds(const char *text, uint64_t *ret_ms, struct err *err)
{
    uint64_t nsec;

    if (!str_duration(str_c(text), &nsec))
        return err_set(err, ERR_INVALID, "\"%s\" is no duration: 500ms, 30s, 10m, 2h", text);
    *ret_ms = nsec / 1000000;
    return 0;
}

int step_of_text(struct cli *cli, const char *text, Trimtab__V1__Step **ret, struct err *err)
{
    int r = step_from_text(str_c(text), &cli->arena, ret, err);

    if (r)
        err_place(err, "--step");
    return r;
}

int plan_of(struct cli *cli, const struct step_words *t, const struct texts *steps,
            Trimtab__V1__RolloutPlan *plan, struct err *err)
{
    int r = 0;

    if (!step_words_choose(t) && !steps->n) {
        (void)err_set(err, ERR_INVALID, "say whom it is for");
        err_hint(err, "--id, --host, --cidr, --label, --fingerprint, --percent, --count, --all "
                      "or --step");
        return ERR_INVALID;
    }
    plan->steps = ARENA_ARRAY(&cli->arena, Trimtab__V1__Step *, STEPS_MAX);
    if (!plan->steps)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (step_words_choose(t))
        r = step_from_words(t, &cli->arena, &plan->steps[plan->n_steps++], err);
    for (size_t i = 0; !r && i < steps->n && plan->n_steps < STEPS_MAX; i++)
        r = step_of_text(cli, steps->at[i], &plan->steps[plan->n_steps++], err);
    return r;
}
