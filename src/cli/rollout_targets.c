/*
 * Targets and steps of rollouts from flags. See rollout.h.
 */
#include "cli/rollout.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

enum { STEPS_MAX = 33 }; /* one more than the server takes, so that it tells */

void target_flags_rows(struct target_flags *t, struct flag *flags)
{
    const struct flag rows[TARGET_FLAGS] = {
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
        {"--soak", 0, "how long it must hold in an automatic rollout: 30s, 10m", &t->soak, NULL,
         NULL, NULL},
    };

    memcpy(flags, rows, sizeof(rows));
}

bool target_flags_given(const struct target_flags *t)
{
    return t->ids.n || t->fingerprints.n || t->hosts.n || t->networks.n || t->labels.n ||
           t->percent || t->count || t->all;
}

int milliseconds(const char *text, uint64_t *ret_ms, struct err *err)
{
    uint64_t nsec;

    if (!str_duration(str_c(text), &nsec))
        return err_set(err, ERR_INVALID, "\"%s\" is no duration: 500ms, 30s, 10m, 2h", text);
    *ret_ms = nsec / 1000000;
    return 0;
}

/* "10", "12.5" or "10%". */
static int percentage(const char *text, double *ret, struct err *err)
{
    char *end;

    errno = 0;
    *ret = strtod(text, &end);
    if (end == text || errno || !isfinite(*ret) || *ret <= 0 || *ret > 100 ||
        (*end && strcmp(end, "%") != 0))
        return err_set(err, ERR_INVALID, "\"%s\" is no percentage above 0, up to 100", text);
    return 0;
}

static char **texts(struct arena *a, const struct flag_list *list, size_t *ret_n)
{
    char **at = ARENA_ARRAY(a, char *, list->n);

    for (size_t i = 0; at && i < list->n; i++)
        at[i] = arena_c(a, str_c(list->at[i]));
    *ret_n = at ? list->n : 0;
    return at;
}

static Trimtab__V1__Target *target_of(struct cli *cli, const struct target_flags *t,
                                      const char *labels, double percent)
{
    struct arena *a = &cli->arena;
    Trimtab__V1__Target *p = ARENA_NEW(a, Trimtab__V1__Target);

    if (!p)
        return NULL;
    trimtab__v1__target__init(p);
    p->ids = texts(a, &t->ids, &p->n_ids);
    p->fingerprints = texts(a, &t->fingerprints, &p->n_fingerprints);
    p->hosts = texts(a, &t->hosts, &p->n_hosts);
    p->networks = texts(a, &t->networks, &p->n_networks);
    p->labels = arena_c(a, str_c(labels));
    p->percent = percent;
    p->count = (uint32_t)t->count;
    p->everyone = t->all;
    return p;
}

/* A target holds one selector: several are several targets, which have all the rest in common. */
int step_of_flags(struct cli *cli, const struct target_flags *t, Trimtab__V1__Step **ret,
                  struct err *err)
{
    Trimtab__V1__Step *step = ARENA_NEW(&cli->arena, Trimtab__V1__Step);
    size_t n = MAX(t->labels.n, (size_t)1);
    double percent = 0;
    int r = t->percent ? percentage(t->percent, &percent, err) : 0;

    if (!r && t->count > UINT32_MAX)
        r = err_set(err, ERR_INVALID, "a count of that many");
    if (r)
        return r;
    if (!step)
        return err_set(err, ERR_NOMEM, "out of memory");
    trimtab__v1__step__init(step);
    step->targets = ARENA_ARRAY(&cli->arena, Trimtab__V1__Target *, n);
    for (; step->targets && step->n_targets < n; step->n_targets++)
        step->targets[step->n_targets] =
            target_of(cli, t, t->labels.n ? t->labels.at[step->n_targets] : "", percent);
    *ret = step;
    if (t->soak)
        r = milliseconds(t->soak, &step->soak_ms, err);
    return arena_failed(&cli->arena) ? err_set(err, ERR_NOMEM, "out of memory") : r;
}

/* ---- steps as texts ---- */

static int add_values(struct cli *cli, struct flag_list *list, struct str values,
                      struct err *err)
{
    struct str one;

    while (str_next(&values, ',', &one)) {
        if (list->n == ARRAY_LEN(list->at))
            return err_set(err, ERR_INVALID, "more than %zu values in one part of a step",
                           ARRAY_LEN(list->at));
        list->at[list->n++] = arena_c(&cli->arena, str_trim(one));
        if (!values.len)
            break;
    }
    return 0;
}

static int add_criterion(Trimtab__V1__Criteria *c, struct str key, struct str value,
                         struct err *err)
{
    const struct {
        struct str name;
        uint32_t *field;
    } fields[] = {{STR("max_refused"), &c->max_refused},
                  {STR("max_failing"), &c->max_failing},
                  {STR("max_silent"), &c->max_silent},
                  {STR("min_applied"), &c->min_applied}};
    uint64_t n;

    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (!str_eq(key, fields[i].name))
            continue;
        if (!str_u64(value, &n) || n > UINT32_MAX)
            return err_set(err, ERR_INVALID, "%.*s takes a number of instances", STR_ARG(key));
        *fields[i].field = (uint32_t)n;
        return 0;
    }
    (void)err_set(err, ERR_INVALID, "a step has no \"%.*s\"", STR_ARG(str_part(key, 0, 100)));
    err_hint(err, "ids, fingerprints, hosts, networks, labels, percent, count, all, soak, "
                  "max_refused, max_failing, max_silent, min_applied");
    return ERR_INVALID;
}

static int add_part(struct cli *cli, struct target_flags *t, Trimtab__V1__Criteria *c,
                    struct str part, struct err *err)
{
    size_t equals = str_index(part, '=');
    struct str key = str_trim(str_part(part, 0, equals));
    struct str value = str_trim(str_from(part, equals + 1));
    const struct {
        struct str name;
        struct flag_list *list;
    } lists[] = {{STR("ids"), &t->ids},
                 {STR("fingerprints"), &t->fingerprints},
                 {STR("hosts"), &t->hosts},
                 {STR("networks"), &t->networks}};

    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        if (str_eq(key, lists[i].name))
            return add_values(cli, lists[i].list, value, err);
    if (str_eq(key, STR("labels")) && t->labels.n < ARRAY_LEN(t->labels.at))
        t->labels.at[t->labels.n++] = arena_c(&cli->arena, value);
    else if (str_eq(key, STR("percent")))
        t->percent = arena_c(&cli->arena, value);
    else if (str_eq(key, STR("soak")))
        t->soak = arena_c(&cli->arena, value);
    else if (str_eq(key, STR("all")) && !value.len)
        t->all = true;
    else if (!str_eq(key, STR("count")))
        return add_criterion(c, key, value, err);
    else if (!str_u64(value, &t->count))
        return err_set(err, ERR_INVALID, "count takes a number");
    return 0;
}

int step_of_text(struct cli *cli, const char *text, Trimtab__V1__Step **ret, struct err *err)
{
    struct target_flags t = {.count = 0};
    Trimtab__V1__Criteria *criteria = ARENA_NEW(&cli->arena, Trimtab__V1__Criteria);
    struct str rest = str_c(text), part;
    int r = 0;

    if (!criteria)
        return err_set(err, ERR_NOMEM, "out of memory");
    trimtab__v1__criteria__init(criteria);
    while (!r && rest.len && str_next(&rest, ';', &part))
        if (str_trim(part).len)
            r = add_part(cli, &t, criteria, part, err);
    if (!r && !target_flags_given(&t))
        r = err_set(err, ERR_INVALID, "the step \"%s\" does not say whom it is for", text);
    if (!r)
        r = step_of_flags(cli, &t, ret, err);
    if (!r)
        (*ret)->criteria = criteria;
    if (r)
        err_place(err, "--step");
    return r;
}

int plan_of(struct cli *cli, const struct target_flags *t, const struct flag_list *steps,
            Trimtab__V1__RolloutPlan *plan, struct err *err)
{
    int r = 0;

    if (!target_flags_given(t) && !steps->n) {
        (void)err_set(err, ERR_INVALID, "say whom it is for");
        err_hint(err, "--id, --host, --cidr, --label, --fingerprint, --percent, --count, --all "
                      "or --step");
        return ERR_INVALID;
    }
    plan->steps = ARENA_ARRAY(&cli->arena, Trimtab__V1__Step *, STEPS_MAX);
    if (!plan->steps)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (target_flags_given(t))
        r = step_of_flags(cli, t, &plan->steps[plan->n_steps++], err);
    for (size_t i = 0; !r && i < steps->n && plan->n_steps < STEPS_MAX; i++)
        r = step_of_text(cli, steps->at[i], &plan->steps[plan->n_steps++], err);
    return r;
}
