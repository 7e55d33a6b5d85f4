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

static int criterion(const char *text, const char *name, uint32_t *ret, struct err *err)
{
    uint64_t n = 0;

    if (text && (!str_u64(str_c(text), &n) || n > UINT32_MAX))
        return err_set(err, ERR_INVALID, "%s takes a number of instances, not \"%.100s\"", name,
                       text);
    *ret = (uint32_t)n;
    return 0;
}

static int criteria_from_words(const struct criteria_words *w, struct arena *a,
                               Trimtab__V1__Criteria **ret, struct err *err)
{
    Trimtab__V1__Criteria *c = ARENA_NEW(a, Trimtab__V1__Criteria);
    int r;

    if (!c)
        return err_set(err, ERR_NOMEM, "out of memory");
    trimtab__v1__criteria__init(c);
    r = criterion(w->max_refused, "max_refused", &c->max_refused, err);
    if (!r)
        r = criterion(w->max_failing, "max_failing", &c->max_failing, err);
    if (!r)
        r = criterion(w->max_silent, "max_silent", &c->max_silent, err);
    if (!r)
        r = criterion(w->min_applied, "min_applied", &c->min_applied, err);
    if (!r && w->max_lost) {
        c->lost_case = TRIMTAB__V1__CRITERIA__LOST_MAX_LOST;
        r = criterion(w->max_lost, "max_lost", &c->max_lost, err);
    }
    *ret = c;
    return r;
}

static int take_soak(const char *text, Trimtab__V1__Step *step, struct err *err)
{
    uint64_t nsec = 0;

    if (!text)
        return 0;
    if (strcmp(text, "0") != 0 && !str_duration(str_c(text), &nsec))
        return err_set(err, ERR_INVALID, "\"%s\" is no duration: 500ms, 30s, 10m, 2h", text);
    step->soak_case = TRIMTAB__V1__STEP__SOAK_SOAK_MS;
    step->soak_ms = nsec / 1000000;
    return 0;
}

/* A target holds one selector: several are several targets, which have all the rest in common. */
int step_from_words(const struct step_words *t, struct arena *a, Trimtab__V1__Step **ret,
                    struct err *err)
{
    Trimtab__V1__Step *step = ARENA_NEW(a, Trimtab__V1__Step);
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
    step->targets = ARENA_ARRAY(a, Trimtab__V1__Target *, n);
    for (; step->targets && step->n_targets < n; step->n_targets++)
        step->targets[step->n_targets] =
            target_of(t, t->labels.n ? t->labels.at[step->n_targets] : "", percent, a);
    *ret = step;
    step->empty_case = TRIMTAB__V1__STEP__EMPTY_ALLOW_EMPTY;
    step->allow_empty = t->allow_empty;
    r = take_soak(t->soak, step, err);
    if (!r)
        r = criteria_from_words(&t->criteria, a, &step->criteria, err);
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

static int add_criterion(struct criteria_words *c, struct str key, struct str value,
                         struct arena *a, struct err *err)
{
    const struct {
        struct str name;
        const char **word;
    } words[] = {{STR("max_refused"), &c->max_refused},
                 {STR("max_failing"), &c->max_failing},
                 {STR("max_silent"), &c->max_silent},
                 {STR("max_lost"), &c->max_lost},
                 {STR("min_applied"), &c->min_applied}};

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_eq(key, words[i].name)) {
            *words[i].word = arena_c(a, value);
            return 0;
        }
    (void)err_set(err, ERR_INVALID, "a step has no \"%.*s\"", STR_ARG(str_part(key, 0, 100)));
    err_hint(err, "ids, fingerprints, hosts, networks, labels, percent, count, all, soak, "
                  "max_refused, max_failing, max_silent, max_lost, min_applied, allow_empty");
    return ERR_INVALID;
}

static int add_part(struct step_words *t, struct str part, struct arena *a, struct err *err)
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
    else if (str_eq(key, STR("allow_empty")) && !value.len)
        t->allow_empty = true;
    else if (!str_eq(key, STR("count")))
        return add_criterion(&t->criteria, key, value, a, err);
    else if (!str_u64(value, &t->count))
        return err_set(err, ERR_INVALID, "count takes a number");
    return 0;
}

int step_from_text(struct str text, struct arena *a, Trimtab__V1__Step **ret, struct err *err)
{
    struct step_words t = {.count = 0};
    struct str rest = text, part;
    int r = 0;

    while (!r && rest.len && str_next(&rest, ';', &part))
        if (str_trim(part).len)
            r = add_part(&t, part, a, err);
    if (!r && !step_words_choose(&t))
        r = err_set(err, ERR_INVALID, "the step \"%.*s\" does not say whom it is for",
                    STR_ARG(str_part(text, 0, 200)));
    return r ? r : step_from_words(&t, a, ret, err);
}
