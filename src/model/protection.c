/*
 * Protection. See protection.h.
 */
#include "model/protection.h"

#include "codec/value.h"
#include "model/kind.h"
#include "model/role.h"

struct rule {
    struct value *value;
    const struct value *namespaces; /* NULL: every namespace */
    struct str labels;              /* empty: whatever its labels */
    bool asks;                      /* for approval */
};

static int check_member(void *ctx, struct str name, const struct value *v)
{
    struct err *err = ctx;
    enum value_type want = str_eq(name, STR("namespaces")) ? VALUE_ARRAY
                           : str_eq(name, STR("approval")) ? VALUE_BOOL
                                                           : VALUE_TEXT;

    if (want == VALUE_TEXT && !str_eq(name, STR("labels")) && !str_eq(name, STR("reason"))) {
        (void)err_set(err, ERR_INVALID, "a protection has no \"%.*s\"", STR_ARG(name));
        err_hint(err, "it has \"namespaces\", \"labels\", \"reason\" and \"approval\"");
        return ERR_INVALID;
    }
    if (value_type(v) != want)
        return err_set(err, ERR_INVALID, "\"%.*s\" is %s instead of %s", STR_ARG(name),
                       value_type_name(value_type(v)), value_type_name(want));
    for (size_t i = 0; want == VALUE_ARRAY && i < value_count(v); i++)
        if (value_type(value_at(v, i)) != VALUE_TEXT)
            return err_set(err, ERR_INVALID, "a namespace is %s instead of text",
                           value_type_name(value_type(value_at(v, i))));
    return 0;
}

static int rule_read(struct str content, struct rule *r, struct err *err)
{
    const struct value *labels, *approval;
    int rc;

    *r = (struct rule){.value = NULL};
    rc = value_parse(content, &r->value, err);
    if (!rc && value_type(r->value) != VALUE_OBJECT)
        rc = err_set(err, ERR_INVALID, "a protection is an object, not %s",
                     value_type_name(value_type(r->value)));
    if (!rc)
        rc = value_members(r->value, check_member, err);
    if (rc) {
        r->value = value_free(r->value);
        return rc;
    }
    r->namespaces = value_member(r->value, "namespaces");
    labels = value_member(r->value, "labels");
    r->labels = labels ? value_text(labels) : STR_NULL;
    approval = value_member(r->value, "approval");
    r->asks = approval && value_is_true(approval);
    return 0;
}

int protection_check(struct str content, struct err *err)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct target target = {0};
    struct rule rule;
    int r = rule_read(content, &rule, err);

    if (r)
        return r;
    target.labels = rule.labels;
    if (!rule.namespaces && !rule.labels.len)
        r = err_set(err, ERR_INVALID,
                    "a protection of nothing: it names neither namespaces nor labels");
    else if (rule.labels.len)
        r = target_compile(&target, &a, err);
    (void)value_free(rule.value);
    return r;
}

static bool namespace_fits(const struct rule *r, struct str space)
{
    for (size_t i = 0; r->namespaces && i < value_count(r->namespaces); i++)
        if (str_glob(value_text(value_at(r->namespaces, i)), space))
            return true;
    return !r->namespaces;
}

static int rule_fits(const struct rule *r, struct str key, const struct version *v)
{
    owned(arena) struct arena a = ARENA_NULL;
    struct target target = {.labels = r->labels};
    struct subject subject = {.n_labels = 0};
    int rc;

    if (!namespace_fits(r, key_name(key).space))
        return 0;
    if (!r->labels.len)
        return PROTECTED;
    if (!version_is_live(v))
        return 0;
    if (v->meta) {
        subject.labels = v->meta->labels;
        subject.n_labels = v->meta->n_labels;
    }
    rc = target_compile(&target, &a, NULL);
    if (rc)
        return rc == ERR_NOMEM ? rc : 0; /* it was checked when it was published */
    return target_takes(&target, &subject, STR("")) ? PROTECTED : 0;
}

/* The first rule that protects key and, if only_asking, asks for approval. 0, PROTECTED, ERR_NOMEM. */
static int find_rule(const struct state *s, struct str key, bool only_asking,
                     const struct version **ret_rule)
{
    static const struct str first = STR("trimtab\0protection\0");
    const struct version *v = state_newest(s, key), *w;
    struct tree_walk walk;

    tree_walk_from(&walk, s->versions, first, 0);
    while ((w = version_of(tree_walk_next(&walk))) && str_starts(w->key, first)) {
        struct rule rule;
        int r = w->deleted ? ERR_NOT_FOUND : rule_read(w->content, &rule, NULL);

        if (r == ERR_NOMEM)
            return r;
        if (r)
            continue;
        r = rule.asks || !only_asking ? rule_fits(&rule, key, v) : 0;
        (void)value_free(rule.value);
        if (r == PROTECTED)
            *ret_rule = w;
        if (r)
            return r;
    }
    return 0;
}

int protection_find(const struct state *s, struct str key, struct buf *by)
{
    const struct version *v = state_newest(s, key), *rule;
    int r;

    if (space_is_system(key_name(key).space))
        return 0; /* else nobody could take a rule back */
    if (version_is_live(v) && v->meta && v->meta->is_protected) {
        buf_put_c(by, "its metadata");
        return buf_status(by) ? buf_status(by) : PROTECTED;
    }
    r = find_rule(s, key, false, &rule);
    if (r == PROTECTED)
        key_put_id(rule->key, by);
    return r == PROTECTED && buf_status(by) ? buf_status(by) : r;
}

int protection_asks(const struct state *s, struct str key)
{
    const struct version *rule;

    return space_is_system(key_name(key).space) ? 0 : find_rule(s, key, true, &rule);
}

int protection_spaces(struct str content, protection_space_fn *fn, void *ctx)
{
    struct rule rule;
    int r = rule_read(content, &rule, NULL);

    if (r == ERR_NOMEM)
        return r;
    if (r || !rule.namespaces || !value_count(rule.namespaces)) {
        if (!r)
            (void)value_free(rule.value);
        return fn(ctx, SPACE_EVERYTHING);
    }
    for (size_t i = 0; i < value_count(rule.namespaces) && !r; i++)
        r = fn(ctx, space_of_pattern(value_text(value_at(rule.namespaces, i))));
    (void)value_free(rule.value);
    return r;
}
