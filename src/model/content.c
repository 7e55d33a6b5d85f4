/*
 * Contents and their types. See content.h.
 */
#include "model/content.h"

#include "codec/evidence.h"
#include "codec/syntax.h"
#include "codec/value.h"
#include "model/guess.h"

static bool is_file(struct str key)
{
    return str_eq(key_name(key).kind, STR("file"));
}

static struct str guess_of(const struct change *c)
{
    struct name name = key_name(c->key);

    return content_type_guess(name.kind, name.name, c->content);
}

/* ---- settling ---- */

static void settle(struct change_plan *plan, struct str type, enum type_origin origin)
{
    plan->content_type = type;
    plan->type_origin = origin;
    plan->type_against = STR_NULL;
}

/* A file that is published again is what somebody declared it to be, whatever lies between. */
static bool is_remembered(const struct version *old)
{
    return old && old->type_origin == TYPE_DECLARED &&
           (version_is_live(old) || is_file(old->key));
}

void content_settle(const struct change *c, struct version *old, struct change_plan *plan)
{
    if (c->delete) {
        settle(plan, STR_NULL, TYPE_GUESSED);
        if (is_remembered(old) && is_file(old->key))
            settle(plan, old->content_type, TYPE_DECLARED);
    } else if (c->content_type.len) {
        settle(plan, c->content_type, c->is_guess ? TYPE_GUESSED : TYPE_DECLARED);
        plan->type_against = c->is_guess ? c->type_against : STR_NULL;
    } else if (is_remembered(old)) {
        settle(plan, old->content_type, TYPE_DECLARED);
    } else if (version_is_live(old)) {
        /* what gave way once is guessed anew: by another content, the evidence may be gone */
        settle(plan, old->type_against.len ? old->type_against : old->content_type,
               TYPE_GUESSED);
    } else {
        settle(plan, guess_of(c), TYPE_GUESSED);
    }
}

/* ---- asking ---- */

static bool is_item(struct str key)
{
    return str_eq(key_name(key).kind, STR("item"));
}

/* An item is read as a value by programs, so it must be one that all of them can hold. */
static int check_item(struct str content, struct err *err)
{
    struct value *v = NULL;
    int r = value_parse(content, &v, err);

    (void)value_free(v);
    return r;
}

static const struct syntax_verdict *verdict_on(const struct change *c, struct str type)
{
    const struct syntax_verdict *v = c->verdict;

    while (v && !str_eq(v->type, type))
        v = v->next;
    return v;
}

/* Whether the content is of a type; an item is JSON, whatever its type says. */
static int ask(const struct change *c, struct str type, struct err *err)
{
    const struct syntax_verdict *v;

    if (is_item(c->key))
        type = STR("application/json");
    v = verdict_on(c, type);
    if (!v)
        return is_item(c->key) ? check_item(c->content, err)
                               : syntax_check(type, c->content, err);
    if (v->r && err)
        *err = v->err;
    return v->r;
}

static int ask_evidence(const struct change *c, struct str type, const struct err *refusal,
                        struct evidence *ret)
{
    const struct syntax_verdict *v = verdict_on(c, type);

    if (!v || !v->has_evidence)
        return evidence_of(type, c->content, refusal, ret);
    *ret = v->evidence;
    return 0;
}

/* ---- looking ahead ---- */

/* NULL without memory. */
static struct syntax_verdict *note(struct change *c, struct str type, struct arena *a)
{
    struct syntax_verdict *v = ARENA_NEW(a, struct syntax_verdict);

    if (!v)
        return NULL;
    *v = (struct syntax_verdict){.err = ERR_NULL};
    v->type = arena_str(a, is_item(c->key) ? STR("application/json") : type);
    v->r = ask(c, type, &v->err);
    if (v->r == ERR_NOMEM || arena_failed(a))
        return NULL;
    v->next = c->verdict;
    c->verdict = v;
    return v;
}

/* The guess for a file, when another dialect is declared; empty: there is nothing to compare. */
static struct str guess_if_other(const struct change *c, struct str type)
{
    struct str guess = guess_of(c);
    const char *guessed = syntax_name(guess), *declared = syntax_name(type);

    if (!is_file(c->key) || !guessed || (declared && strcmp(guessed, declared) == 0))
        return STR_NULL;
    return guess;
}

void content_look(const struct state *s, struct change *c, struct arena *a)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    struct change_plan plan = {.number = 0};
    struct syntax_verdict *v;
    struct name name;

    if (name_parse(c->id, &name, NULL))
        return;
    name_put_key(name, &key);
    c->key = arena_str(a, buf_str(&key));
    if (buf_status(&key) || arena_failed(a))
        return;
    content_settle(c, state_newest(s, c->key), &plan);
    if (plan.type_origin == TYPE_DECLARED && guess_if_other(c, plan.content_type).len)
        (void)note(c, guess_if_other(c, plan.content_type), a);
    v = note(c, plan.content_type, a);
    if (v && v->r && plan.type_origin == TYPE_GUESSED && is_file(c->key))
        v->has_evidence = evidence_of(v->type, c->content, &v->err, &v->evidence) == 0;
}

/* ---- checking ---- */

/* What was declared may be in place of a guess that would have been refused: that stays marked. */
static int note_against(const struct change *c, struct change_plan *plan)
{
    struct str guess = guess_if_other(c, plan->content_type);
    int r = guess.len ? ask(c, guess, NULL) : 0;

    if (r && r != ERR_NOMEM)
        plan->type_against = guess;
    return r == ERR_NOMEM ? r : 0;
}

static void give_way(struct change_plan *plan, struct str type, enum type_origin origin)
{
    struct str guess = plan->content_type;

    settle(plan, type, origin);
    plan->type_against = guess;
}

static void hint_ways_out(const struct change_plan *plan, enum guess_policy policy,
                          struct err *err)
{
    struct str type = plan->content_type;

    if (policy == GUESS_STRICT)
        err_hint(err,
                 "%.*s was guessed from the name, and the namespace is strict: only --type "
                 "(content_type) can say that it is something else",
                 STR_ARG(type));
    else
        err_hint(err,
                 "%.*s was guessed from the name: --as-is (as_is) takes it as text, --type "
                 "(content_type) says what it is",
                 STR_ARG(type));
}

/* The guess was wrong, or the content is. */
static int doubt(const struct state *s, const struct change *c, struct arena *a,
                 struct change_plan *plan, struct err *refusal)
{
    enum guess_policy policy;
    struct evidence e = {.type = STR_NULL};
    int r = guess_policy_of(s, key_name(c->key).space, &policy);

    if (!r && policy != GUESS_STRICT)
        r = ask_evidence(c, plan->content_type, refusal, &e);
    if (r)
        return r;
    if (e.type.len) {
        give_way(plan, e.type, TYPE_GUESSED);
        plan->type_seen = arena_str(a, str_c(e.said));
        return arena_failed(a) ? ERR_NOMEM : 0;
    }
    if (policy == GUESS_STRICT || !(c->as_is || policy == GUESS_LENIENT)) {
        hint_ways_out(plan, policy, refusal);
        return refusal->code;
    }
    give_way(plan, content_type_as_is(c->content), c->as_is ? TYPE_DECLARED : TYPE_GUESSED);
    return 0;
}

int content_check(const struct state *s, const struct change *c, struct arena *a,
                  struct change_plan *plan, struct err *err)
{
    struct err refusal;
    int r;

    err_clear(&refusal);
    if (c->content.len > CONTENT_BYTES_MAX) {
        (void)err_set(err, ERR_LIMIT,
                      "content has %zu bytes, more than the %d that are allowed",
                      c->content.len, CONTENT_BYTES_MAX);
        return ERR_LIMIT;
    }
    r = ask(c, plan->content_type, &refusal);
    if (plan->type_origin == TYPE_DECLARED && !r)
        return note_against(c, plan);
    if (r && r != ERR_NOMEM && plan->type_origin == TYPE_GUESSED && is_file(c->key) &&
        !c->is_guess)
        r = doubt(s, c, a, plan, &refusal);
    if (r && err)
        *err = refusal;
    return r;
}
