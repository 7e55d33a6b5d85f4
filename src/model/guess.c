/*
 * Guesses of content types. See guess.h.
 */
#include "model/guess.h"

#include "codec/value.h"
#include "model/role.h"

/* ---- from names ---- */

struct str content_type_as_is(struct str content)
{
    return str_is_utf8(content) ? STR("text/plain") : STR("application/octet-stream");
}

struct str content_type_guess(struct str kind, struct str name, struct str content)
{
    static const struct {
        struct str ending, type;
    } endings[] = {
        {STR(".json"), STR("application/json")},
        {STR(".jsonc"), STR("application/jsonc")},
        {STR(".yaml"), STR("application/yaml")},
        {STR(".yml"), STR("application/yaml")},
        {STR(".toml"), STR("application/toml")},
        {STR(".xml"), STR("application/xml")},
        {STR(".ini"), STR("text/x-ini")},
        {STR(".properties"), STR("text/x-java-properties")},
    };

    if (!str_eq(kind, STR("file")))
        return STR("application/json");
    for (size_t i = 0; i < ARRAY_LEN(endings); i++)
        if (str_ends(name, endings[i].ending))
            return endings[i].type;
    return content_type_as_is(content);
}

/* ---- rules ---- */

struct rule {
    struct value *value;
    const struct value *namespaces;
    enum guess_policy policy;
};

static int check_member(void *ctx, struct str name, const struct value *v)
{
    struct err *err = ctx;
    bool is_list = str_eq(name, STR("namespaces"));

    if (!is_list && !str_eq(name, STR("policy"))) {
        (void)err_set(err, ERR_INVALID, "a rule of guesses has no \"%.*s\"", STR_ARG(name));
        err_hint(err, "it has \"namespaces\" and \"policy\"");
        return ERR_INVALID;
    }
    if (value_type(v) != (is_list ? VALUE_ARRAY : VALUE_TEXT))
        return err_set(err, ERR_INVALID, "\"%.*s\" is %s instead of %s", STR_ARG(name),
                       value_type_name(value_type(v)), is_list ? "an array" : "text");
    for (size_t i = 0; is_list && i < value_count(v); i++)
        if (value_type(value_at(v, i)) != VALUE_TEXT)
            return err_set(err, ERR_INVALID, "a namespace is %s instead of text",
                           value_type_name(value_type(value_at(v, i))));
    return 0;
}

static int read_policy(struct rule *r, struct err *err)
{
    const struct value *policy = value_member(r->value, "policy");
    struct str text = policy ? value_text(policy) : STR_NULL;

    r->namespaces = value_member(r->value, "namespaces");
    if (!r->namespaces || !value_count(r->namespaces))
        return err_set(err, ERR_INVALID, "a rule of guesses names no namespaces");
    if (str_eq(text, STR("strict")))
        r->policy = GUESS_STRICT;
    else if (str_eq(text, STR("lenient")))
        r->policy = GUESS_LENIENT;
    else
        return err_set(err, ERR_INVALID, "\"policy\" is neither \"strict\" nor \"lenient\"");
    return 0;
}

static int rule_read(struct str content, struct rule *r, struct err *err)
{
    int rc;

    *r = (struct rule){.value = NULL};
    rc = value_parse(content, &r->value, err);
    if (!rc && value_type(r->value) != VALUE_OBJECT)
        rc = err_set(err, ERR_INVALID, "a rule of guesses is an object, not %s",
                     value_type_name(value_type(r->value)));
    if (!rc)
        rc = value_members(r->value, check_member, err);
    if (!rc)
        rc = read_policy(r, err);
    if (rc)
        r->value = value_free(r->value);
    return rc;
}

int guess_check(struct str content, struct err *err)
{
    struct rule rule;
    int r = rule_read(content, &rule, err);

    if (!r)
        (void)value_free(rule.value);
    return r;
}

static bool rule_fits(const struct rule *r, struct str space)
{
    for (size_t i = 0; i < value_count(r->namespaces); i++)
        if (str_glob(value_text(value_at(r->namespaces, i)), space))
            return true;
    return false;
}

int guess_policy_of(const struct state *s, struct str space, enum guess_policy *ret)
{
    static const struct str first = STR("trimtab\0guess\0");
    const struct version *v;
    struct tree_walk walk;

    *ret = GUESS_NORMAL;
    tree_walk_from(&walk, s->versions, first, 0);
    while ((v = version_of(tree_walk_next(&walk))) && str_starts(v->key, first)) {
        struct rule rule;
        int r = v->deleted ? ERR_NOT_FOUND : rule_read(v->content, &rule, NULL);

        if (r == ERR_NOMEM)
            return r;
        if (r)
            continue;
        if (rule_fits(&rule, space))
            *ret = MAX(*ret, rule.policy);
        (void)value_free(rule.value);
    }
    return 0;
}

int guess_spaces(struct str content, guess_space_fn *fn, void *ctx)
{
    struct rule rule;
    int r = rule_read(content, &rule, NULL);

    if (r == ERR_NOMEM)
        return r;
    if (r)
        return fn(ctx, SPACE_EVERYTHING);
    for (size_t i = 0; i < value_count(rule.namespaces) && !r; i++)
        r = fn(ctx, space_of_pattern(value_text(value_at(rule.namespaces, i))));
    (void)value_free(rule.value);
    return r;
}
