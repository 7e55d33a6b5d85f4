/*
 * Targets of rollouts, by what they report. See rollout_target.h.
 */
#include "server/rollout_target.h"

#include "proto/convert.h"
#include "proto/subject.h"

const char *target_state_name(enum target_state s)
{
    static const char *const names[TARGET_STATES] = {
        "gray_ok", "pending", "gray_error", "gray_error", "stale", "gray_error", "offline"};

    return names[s];
}

/* A refusal names what was refused by its hash; that of a deletion has none. */
static bool is_about(const Trimtab__V1__Refusal *refusal, const struct version *v)
{
    struct str hash = proto_str(refusal->hash);

    if (v->deleted)
        return hash.len == 0 && key_is_named(v->key, str_c(refusal->key));
    return str_eq(hash, str_of(v->item_hash.bytes, sizeof(v->item_hash.bytes)));
}

static bool is_candidate(const struct rollout *r, const Trimtab__V1__Refusal *refusal)
{
    for (size_t i = 0; i < r->n_candidates; i++)
        if (is_about(refusal, r->candidates[i]))
            return true;
    return false;
}

/* The first refusal of a candidate; one that stands by itself before one that is held. */
static const Trimtab__V1__Refusal *find_refusal(const struct instance *i,
                                                const struct rollout *r)
{
    const Trimtab__V1__Refusal *held = NULL;

    for (size_t n = 0; i->report && n < i->report->n_refused; n++) {
        const Trimtab__V1__Refusal *refusal = i->report->refused[n];

        if (*refusal->held_by && held)
            continue;
        if (!is_candidate(r, refusal))
            continue;
        if (!*refusal->held_by)
            return refusal;
        held = refusal;
    }
    return held;
}

static enum target_state refused(const struct instance *i, const Trimtab__V1__Refusal *refusal,
                                 char why[TARGET_WHY_MAX])
{
    if (*refusal->held_by) {
        text_format(why, TARGET_WHY_MAX, "%s: %s is held because of %s", i->id, refusal->key,
                    refusal->held_by);
        return TARGET_PENDING;
    }
    text_format(why, TARGET_WHY_MAX, "%s: %s %s: %s", i->id, refusal->key, refusal->code,
                refusal->message);
    return TARGET_REFUSED;
}

enum target_state target_state(const struct instance *i, const struct rollout *r,
                               uint64_t since, nsec_t now, char why[TARGET_WHY_MAX])
{
    const Trimtab__V1__Refusal *refusal;
    const Trimtab__V1__Health *health = i->health;

    why[0] = '\0';
    if (!i->session)
        return TARGET_OFFLINE;
    if (!hello_takes_rollouts(i->hello)) {
        text_format(why, TARGET_WHY_MAX, "%s: is too old for rollouts, and has what is stable",
                    i->id);
        return TARGET_TOO_OLD;
    }
    refusal = find_refusal(i, r);
    if (refusal)
        return refused(i, refusal, why);
    if (!instance_has_reached(i, since))
        return instance_is_late(i, now) ? TARGET_SILENT : TARGET_PENDING;
    if (health && health->failing && health->revision >= since) {
        text_format(why, TARGET_WHY_MAX, "%s: %s%s%s", i->id, health->source,
                    *health->source ? ": " : "", health->reason);
        return TARGET_FAILING;
    }
    return TARGET_APPLIED;
}
