/*
 * Steps of rollouts as people write them. See step_text.h.
 */
#include "proto/step_text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

bool step_words_choose(const struct step_words *t)
{
    return t->ids.n || t->fingerprints.n || t->hosts.n || t->networks.n || t->labels.n ||
           t->percent || t->count || t->all;
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

static char **texts(struct arena *a, const struct texts *list, size_t *ret_n)
{
    char **at = ARENA_ARRAY(a, char *, list->n);

    for (size_t i = 0; at && i < list->n; i++)
        at[i] = arena_c(a, str_c(list->at[i]));
    *ret_n = at ? list->n : 0;
    return at;
}

static Trimtab__V1__Target *target_of(const struct step_words *t, const char *labels,
                                      double percent, struct arena *a)
{
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
int step_from_words(const struct step_words *t, struct arena *a, Trimtab__V1__Step **ret,
                    struct err *err)
{
    Trimtab__V1__Step *step = ARENA_NEW(a, Trimtab__V1__Step);
    size_t n = MAX(t->labels.n, (size_t)1);
    double percent = 0;
    uint64_t soak = 0;
    int r = t->percent ? percentage(t->percent, &percent, err) : 0;

    if (!r && t->count > UINT32_MAX)
        r = err_set(err, ERR_INVALID, "a count of that many");
    if (r)
        return r;
    if (!step)
        return err_set(err, ERR_NOMEM, "out of memory");
    trimtab__v1__step__init(step);
    step->targets = ARENA_ARRAY(a, Trimtab__V1__Target *, n);
    for (; step->targets && step->n_targets < n; step->n_targets++)
        step->targets[step->n_targets] =
            target_of(t, t->labels.n ? t->labels.at[step->n_targets] : "", percent, a);
    *ret = step;
    if (t->soak && !str_duration(str_c(t->soak), &soak))
        return err_set(err, ERR_INVALID, "\"%s\" is no duration: 500ms, 30s, 10m, 2h", t->soak);
    step->soak_ms = soak / 1000000;
    return arena_failed(a) ? err_set(err, ERR_NOMEM, "out of memory") : r;
}

/* ---- steps as texts ---- */

static int add_values(struct texts *list, struct str values, struct arena *a, struct err *err)
{
    struct str one;

    while (str_next(&values, ',', &one)) {
        if (list->n == ARRAY_LEN(list->at))
            return err_set(err, ERR_INVALID, "more than %zu values in one part of a step",
                           ARRAY_LEN(list->at));
        list->at[list->n++] = arena_c(a, str_trim(one));
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

static int add_part(struct step_words *t, Trimtab__V1__Criteria *c, struct str part,
                    struct arena *a, struct err *err)
{
    size_t equals = str_index(part, '=');
    struct str key = str_trim(str_part(part, 0, equals));
    struct str value = str_trim(str_from(part, equals + 1));
    const struct {
        struct str name;
        struct texts *list;
    } lists[] = {{STR("ids"), &t->ids},
                 {STR("fingerprints"), &t->fingerprints},
                 {STR("hosts"), &t->hosts},
                 {STR("networks"), &t->networks}};

    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        if (str_eq(key, lists[i].name))
            return add_values(lists[i].list, value, a, err);
    if (str_eq(key, STR("labels")) && t->labels.n < ARRAY_LEN(t->labels.at))
        t->labels.at[t->labels.n++] = arena_c(a, value);
    else if (str_eq(key, STR("percent")))
        t->percent = arena_c(a, value);
    else if (str_eq(key, STR("soak")))
        t->soak = arena_c(a, value);
    else if (str_eq(key, STR("all")) && !value.len)
        t->all = true;
    else if (!str_eq(key, STR("count")))
        return add_criterion(c, key, value, err);
    else if (!str_u64(value, &t->count))
        return err_set(err, ERR_INVALID, "count takes a number");
    return 0;
}

int step_from_text(struct str text, struct arena *a, Trimtab__V1__Step **ret, struct err *err)
{
    struct step_words t = {.count = 0};
    Trimtab__V1__Criteria *criteria = ARENA_NEW(a, Trimtab__V1__Criteria);
    struct str rest = text, part;
    int r = 0;

    if (!criteria)
        return err_set(err, ERR_NOMEM, "out of memory");
    trimtab__v1__criteria__init(criteria);
    while (!r && rest.len && str_next(&rest, ';', &part))
        if (str_trim(part).len)
            r = add_part(&t, criteria, part, a, err);
    if (!r && !step_words_choose(&t))
        r = err_set(err, ERR_INVALID, "the step \"%.*s\" does not say whom it is for",
                    STR_ARG(str_part(text, 0, 200)));
    if (!r)
        r = step_from_words(&t, a, ret, err);
    if (!r)
        (*ret)->criteria = criteria;
    return r;
}
