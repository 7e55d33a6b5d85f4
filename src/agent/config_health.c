/*
 * The [health] sections of the agent's settings. What is run or asked comes from here alone (I11).
 */
#include "agent/config_health.h"

#include "net/fetch.h"

enum { COUNT_MAX = 1000 };

static const nsec_t shortest = 10 * NSEC_PER_MS;

int config_health_begin(struct config *c, struct arena *a, struct str label, struct err *err)
{
    struct config_health h = {
        .timeout = 5 * NSEC_PER_S,
        .rules = {
            .failures = 3, .successes = 1, .every = 10 * NSEC_PER_S, .retry = NSEC_PER_S}};

    if (!label.len)
        return err_set(err, ERR_INVALID, "a [health] section needs a name: [health \"nginx\"]");
    if (label.len > SYNC_SOURCE_MAX)
        return err_set(err, ERR_LIMIT, "a name of a [health] section has at most %d bytes",
                       SYNC_SOURCE_MAX);
    if (str_eq(label, STR(HEALTH_CALLER)))
        return err_set(err, ERR_INVALID,
                       "\"" HEALTH_CALLER "\" stands for who calls the agent");
    if (c->health.n >= CONFIG_HEALTH_MAX)
        return err_set(err, ERR_LIMIT, "more than %d [health] sections", CONFIG_HEALTH_MAX);
    for (size_t i = 0; i < c->health.n; i++)
        if (str_eq(str_c(c->health.at[i].name), label))
            return err_set(err, ERR_INVALID, "a second [health \"%.*s\"]", STR_ARG(label));
    h.name = arena_c(a, label);
    return !arena_failed(a) && VEC_PUSH(&c->health, h) ? 0 : ERR_NOMEM;
}

/* ---- values ---- */

static int wrong(struct str key, struct str value, const char *hint, struct err *err)
{
    (void)err_set(err, ERR_INVALID, "%.*s cannot be \"%.*s\"", STR_ARG(key), STR_ARG(value));
    err_hint(err, "%s", hint);
    return ERR_INVALID;
}

static int take_text(struct arena *a, struct str value, const char **ret)
{
    *ret = value.len ? arena_c(a, value) : NULL;
    return arena_failed(a) ? ERR_NOMEM : 0;
}

static bool take_duration(struct config_health *h, struct str key, struct str value,
                          struct err *err, int *ret)
{
    struct {
        struct str name;
        nsec_t *field;
    } rows[] = {{STR("every"), &h->rules.every},
                {STR("retry"), &h->rules.retry},
                {STR("settle"), &h->rules.settle},
                {STR("timeout"), &h->timeout}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_eq(rows[i].name, key)) {
            *ret = str_duration(value, rows[i].field)
                       ? 0
                       : wrong(key, value, "it takes a duration such as 10s", err);
            return true;
        }
    return false;
}

static int take_count(struct str key, struct str value, uint32_t *ret, struct err *err)
{
    uint64_t number;

    if (!str_u64(value, &number) || number < 1 || number > COUNT_MAX)
        return wrong(key, value, "it takes a number from 1 to 1000", err);
    *ret = (uint32_t)number;
    return 0;
}

int config_health_line(struct config *c, struct arena *a, struct str key, struct str value,
                       struct err *err)
{
    struct config_health *h = &c->health.at[c->health.n - 1];
    int r;

    if (take_duration(h, key, value, err, &r))
        return r;
    if (str_eq(key, STR("command")))
        return take_text(a, value, &h->command);
    if (str_eq(key, STR("http")))
        return take_text(a, value, &h->http);
    if (str_eq(key, STR("failures")))
        return take_count(key, value, &h->rules.failures, err);
    if (str_eq(key, STR("successes")))
        return take_count(key, value, &h->rules.successes, err);
    (void)err_set(err, ERR_NOT_FOUND, "a [health] section has no setting \"%.*s\"",
                  STR_ARG(key));
    err_hint(err,
             "it has command, http, every, timeout, failures, successes, settle and retry");
    return ERR_NOT_FOUND;
}

/* ---- what must hold ---- */

static int check(const struct config_health *h, struct err *err)
{
    if (!h->command == !h->http)
        return err_set(err, ERR_INVALID, "command or http is needed, and not both");
    if (h->rules.every < shortest || h->rules.retry < shortest || h->timeout < shortest)
        return err_set(err, ERR_INVALID, "every, retry and timeout are at least 10ms");
    if (h->http && fetch_check(h->http, err)) {
        err_hint(err, "http is http://HOST:PORT/PATH; for anything else there is command");
        return ERR_INVALID;
    }
    return 0;
}

int config_health_check(const struct config *c, struct err *err)
{
    for (size_t i = 0; i < c->health.n; i++) {
        int r = check(&c->health.at[i], err);

        if (r) {
            err_place(err, "[health \"%s\"]", c->health.at[i].name);
            return r;
        }
    }
    return 0;
}
