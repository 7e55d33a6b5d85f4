/*
 * Targets of rollouts, by what they proved. See target.h.
 */
#include "presence/target.h"

#include "base/buf.h"
#include "proto/convert.h"
#include "proto/subject.h"

const char *target_state_name(enum target_state s)
{
    static const char *const names[TARGET_STATES] = {
        [TARGET_APPLIED] = "gray_ok",    [TARGET_PENDING] = "pending",
        [TARGET_UNJUDGED] = "unjudged",  [TARGET_REFUSED] = "gray_error",
        [TARGET_FAILING] = "gray_error", [TARGET_SILENT] = "stale",
        [TARGET_UNPROVEN] = "unproven",  [TARGET_TOO_OLD] = "gray_error",
        [TARGET_OFFLINE] = "offline",    [TARGET_HIDDEN] = "hidden",
        [TARGET_AWAY] = "away",          [TARGET_LOST] = "lost"};

    return names[s];
}

/* What the candidates come to in the view. */
struct showing {
    bool is_acting;               /* one acts under some name */
    struct str hidden, hidden_by; /* key of one that is hidden, and the stronger namespace */
    struct str withheld;          /* key of one that is withheld */
    const Trimtab__V1__Refusal *refusal; /* that stands by itself; NULL: none */
    const Trimtab__V1__Refusal *held;    /* because of something else; NULL: none */
};

/* Whether the rollout is what carries a key in the state. */
static bool is_carrier(const struct target_look *l, struct str key,
                       struct version **ret_candidate)
{
    const struct rollout *r = state_carrier(l->state, key, ret_candidate);

    return r && r->id == l->rollout->id;
}

/*
 * Whether the rollout carries the deletion of a name in one of the scope's layers, and so what the view has there, or its
 * absence: a deletion in a weaker layer than that of the item changes nothing.
 */
static bool carries_deletion(const struct target_look *l, const struct scope *scope,
                             struct str kind, struct str name, const struct version *item)
{
    struct str stop = item ? key_name(item->key).space : STR_NULL;

    for (size_t i = 0; i < scope->n_layers && !str_eq(scope->layers[i], stop); i++) {
        owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
        struct version *candidate;

        name_put_key((struct name){scope->layers[i], kind, name}, &key);
        if (buf_status(&key))
            return true; /* bad news is believed when nobody can tell */
        if (is_carrier(l, buf_str(&key), &candidate) && candidate->deleted)
            return true;
    }
    return false;
}

/* An exception of a scope, by kind/name: about a candidate that the view has there, or about what its deletion leaves. */
static bool is_about_bound(const struct target_look *l, const struct scope *scope,
                           const Trimtab__V1__Refusal *f)
{
    const struct introduction *who = l->presence->introduction;
    struct viewing v = {scope, l->state, who->takes_rollouts ? who->subject : NULL};
    struct str text = str_c(f->key), hash = proto_str(f->hash);
    size_t slash = str_index(text, '/');
    struct str kind = str_part(text, 0, slash), name = str_from(text, slash + 1);
    const struct version *item;

    if (slash == text.len || !scope_selects(scope, kind, name))
        return false;
    item = scope_find(&v, kind, name);
    if (item ? !str_eq(hash, str_of(item->item_hash.bytes, SHA256_BYTES)) : hash.len != 0)
        return false;
    return (item && is_carrier(l, item->key, NULL)) ||
           carries_deletion(l, scope, kind, name, item);
}

/* An exception of what is referred to, by its full id. */
static bool is_about_referred(const struct target_look *l, const Trimtab__V1__Refusal *f)
{
    owned(buf) struct buf key = BUF_NULL(ID_BYTES_MAX);
    const struct tree *referred = l->presence->standing.referred;
    const struct referred *r;
    struct name name;

    if (name_parse(str_c(f->key), &name, NULL))
        return false;
    name_put_key(name, &key);
    r = referred && !buf_status(&key) ? referred_of(tree_find(referred, buf_str(&key))) : NULL;
    return r && r->version &&
           str_eq(proto_str(f->hash), str_of(r->version->item_hash.bytes, SHA256_BYTES)) &&
           is_carrier(l, r->version->key, NULL);
}

static bool is_about(const struct target_look *l, const Trimtab__V1__Refusal *f)
{
    const struct introduction *who = l->presence->introduction;

    if (str_eq(str_c(f->scope), SCOPE_REFERRED))
        return is_about_referred(l, f);
    for (size_t i = 0; i < who->n_scopes; i++)
        if (str_eq(who->scopes[i]->name, str_c(f->scope)))
            return is_about_bound(l, who->scopes[i], f);
    return false;
}

/* Not held back by something else, and not altered on the host: it is the candidate that is refused. */
static bool is_refused_itself(const Trimtab__V1__Refusal *f)
{
    return !*f->held_by && exception_kind(f) == EXCEPTION_REFUSED;
}

static void show_exceptions(const struct target_look *l, struct showing *s)
{
    size_t n;
    Trimtab__V1__Refusal **list = presence_exceptions(l->presence, &n);

    for (size_t i = 0; i < n && !s->refusal; i++) {
        if ((!is_refused_itself(list[i]) && s->held) || !is_about(l, list[i]))
            continue;
        if (is_refused_itself(list[i]))
            s->refusal = list[i];
        else
            s->held = list[i];
    }
}

/* Whether the view shows any candidate; else the first that is hidden, and one that is withheld. */
static void show_candidates(const struct target_look *l, struct showing *s)
{
    struct binding_at at[BINDINGS_MAX];

    for (size_t i = 0; i < l->rollout->n_candidates && !s->is_acting; i++) {
        struct str key = l->rollout->candidates[i]->key;
        size_t n = presence_bindings(l->presence, l->state, key, at);

        for (size_t b = 0; b < n; b++) {
            s->is_acting |= at[b].is == BINDING_ACTS;
            if (at[b].is == BINDING_HIDDEN && !s->hidden.data) {
                s->hidden = key;
                s->hidden_by = at[b].hidden_by;
            }
            if (at[b].is == BINDING_WITHHELD)
                s->withheld = key;
        }
    }
}

static enum target_state refused(const char *id, const struct showing *s,
                                 char why[TARGET_WHY_MAX])
{
    const Trimtab__V1__Refusal *f = s->refusal ? s->refusal : s->held;

    if (!s->refusal) {
        if (*f->held_by)
            text_format(why, TARGET_WHY_MAX, "%s: %s is held because of %s", id, f->key,
                        f->held_by);
        else
            text_format(why, TARGET_WHY_MAX, "%s: %s %s: %s", id, f->key, f->code, f->message);
        return TARGET_PENDING;
    }
    text_format(why, TARGET_WHY_MAX, "%s: %s %s: %s", id, f->key, f->code, f->message);
    return TARGET_REFUSED;
}

static enum target_state hidden(const char *id, const struct showing *s,
                                char why[TARGET_WHY_MAX])
{
    struct name name;

    if (s->withheld.data) {
        name = key_name(s->withheld);
        text_format(why, TARGET_WHY_MAX, "%s: rights withhold %.*s/%.*s/%.*s", id,
                    STR_ARG(name.space), STR_ARG(name.kind), STR_ARG(name.name));
        return TARGET_HIDDEN;
    }

    if (s->hidden.data) {
        name = key_name(s->hidden);
        text_format(why, TARGET_WHY_MAX, "%s: the layer %.*s hides %.*s/%.*s/%.*s", id,
                    STR_ARG(s->hidden_by), STR_ARG(name.space), STR_ARG(name.kind),
                    STR_ARG(name.name));
    }
    return TARGET_HIDDEN;
}

/* It has not proved the candidates: what is known of why. */
static enum target_state awaited(const struct target_look *l, char why[TARGET_WHY_MAX])
{
    const struct presence *p = l->presence;
    const char *story = proof_story(p->standing.proof);

    if (*story) {
        text_format(why, TARGET_WHY_MAX, "%s: %s", presence_id(p), story);
        return TARGET_UNPROVEN;
    }
    return presence_is_late(p, l->at) ? TARGET_SILENT : TARGET_PENDING;
}

/* It announced that something judges what it applies, and there is no word from after it applied the candidates. */
static bool is_unjudged(const struct target_look *l)
{
    const struct presence *p = l->presence;

    return hello_has_feature(p->introduction->hello, FEATURE_HEALTH) &&
           (!p->health || p->health->health->revision < l->since);
}

/* Whether its last report is from after the step: what it refused before may be the same content, but was not this try. */
static bool has_spoken(const struct target_look *l)
{
    return l->presence->standing.applied >= l->since ||
           presence_has_reached(l->presence, l->since, l->at);
}

enum target_state target_state(const struct target_look *l, char why[TARGET_WHY_MAX])
{
    const struct presence *p = l->presence;
    const Trimtab__V1__Health *health = p->health ? p->health->health : NULL;
    struct showing s = {.is_acting = false};

    why[0] = '\0';
    if (!p->is_connected)
        return TARGET_OFFLINE;
    if (!p->introduction->takes_rollouts) {
        text_format(why, TARGET_WHY_MAX, "%s: is too old for rollouts, and has what is stable",
                    presence_id(p));
        return TARGET_TOO_OLD;
    }
    if (!l->state || !presence_is_certain(p) ||
        MAX(p->standing.complete, l->at->complete) < l->since)
        return TARGET_PENDING; /* E2 */
    if (has_spoken(l))
        show_exceptions(l, &s);
    if (s.refusal || s.held)
        return refused(presence_id(p), &s, why);
    show_candidates(l, &s);
    if (!s.is_acting)
        return hidden(presence_id(p), &s, why);
    /* a change since may have uncovered the candidate: only who has proved all of its view has proved what shows in it */
    if (!presence_has_reached(p, MAX(l->since, p->standing.concerned), l->at))
        return awaited(l, why);
    if (health && health->failing && health->revision >= l->since) {
        text_format(why, TARGET_WHY_MAX, "%s: %s%s%s", presence_id(p), health->source,
                    *health->source ? ": " : "", health->reason);
        return TARGET_FAILING;
    }
    return is_unjudged(l) ? TARGET_UNJUDGED : TARGET_APPLIED;
}

/* ---- what is remembered ---- */

bool target_left_applied(const struct target_look *l)
{
    struct presence last = *l->presence; /* borrowed for this call, never counted */
    struct target_look look = *l;
    char why[TARGET_WHY_MAX];

    if (last.is_connected)
        return false;
    last.is_connected = true;
    look.presence = &last;
    return target_has_applied(target_state(&look, why));
}

bool target_is_gone(const struct target_look *l, enum target_state state)
{
    return state == TARGET_OFFLINE || state == TARGET_SILENT ||
           ((state == TARGET_APPLIED || state == TARGET_UNJUDGED) &&
            presence_is_late(l->presence, l->at));
}

enum target_state target_recall(const struct target_look *l, const struct applied *remembered,
                                enum target_state state, char why[TARGET_WHY_MAX])
{
    enum applied_is is;

    if (!target_is_gone(l, state))
        return state;
    is = applied_find(remembered, str_c(presence_id(l->presence)));
    if (is == APPLIED_NEVER && !target_has_applied(state))
        return state;
    text_format(why, TARGET_WHY_MAX, "%s: had applied it, and is %s", presence_id(l->presence),
                l->presence->is_connected ? "silent" : "offline");
    return is == APPLIED_LOST ? TARGET_LOST : TARGET_AWAY;
}
