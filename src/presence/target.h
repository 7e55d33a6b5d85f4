/*
 * What one instance has come to as a target of one rollout: the one judgement that status, driver, preview and lists share.
 */
#ifndef TRIMTAB_PRESENCE_TARGET_H
#define TRIMTAB_PRESENCE_TARGET_H

#include "model/applied.h"
#include "presence/presence.h"

enum target_state {
    TARGET_APPLIED,  /* proved to run the candidates, and is well */
    TARGET_PENDING,  /* may still answer, or is held back by something else */
    TARGET_UNJUDGED, /* proved to run them, and what judges it has not spoken since */
    TARGET_REFUSED,  /* a candidate, by itself */
    TARGET_FAILING,  /* runs them, and is not well */
    TARGET_SILENT,   /* owes an answer for too long */
    TARGET_UNPROVEN, /* has answered, but what it runs is not proved */
    TARGET_TOO_OLD,  /* knows nothing of rollouts, so it has what is stable */
    TARGET_OFFLINE,
    TARGET_HIDDEN, /* its view shows no candidate: stronger layers have the names. No target, really */
    TARGET_AWAY, /* had applied them, and is offline or silent: target_recall */
    TARGET_LOST, /* the same, for longer than lost_after */
};
enum { TARGET_STATES = TARGET_LOST + 1, TARGET_WHY_MAX = 512 };

/* As people see it: gray_ok, pending, unjudged, gray_error, unproven, stale, offline, hidden, away or lost. */
const char *target_state_name(enum target_state s);

/* Whether it has the candidates and runs them, well or not. */
static inline bool target_has_applied(enum target_state s)
{
    return s == TARGET_APPLIED || s == TARGET_UNJUDGED || s == TARGET_FAILING;
}

/* Whose view of what, and when. The rollout is the newest there is, and lives. Borrowed. */
struct target_look {
    const struct presence *presence;
    const struct state *
        state; /* with which the record is looked at (presence/attendance.h); NULL: nobody knows which */
    const struct rollout *rollout;
    uint64_t since; /* revision of the step that takes the instance */
    const struct moment *at;
};

/*
 * A candidate counts where the view has it, under every name by which scopes bind it or others refer to it; an exception
 * there is about it when it names what the view has there, also nothing, for a deletion. why gets the instance's id and
 * what it says, for everything but what is applied or awaited, else "".
 */
enum target_state target_state(const struct target_look *look, char why[TARGET_WHY_MAX]);

/*
 * The same with what is remembered: a target that had applied the candidates and is offline or silent by now is missed.
 * state is that of target_state; why is replaced when another one comes out.
 */
enum target_state target_recall(const struct target_look *look,
                                const struct applied *remembered, enum target_state state,
                                char why[TARGET_WHY_MAX]);
/* Whether one in this state is offline or silent: it counts as gone if it had applied the candidates. */
bool target_is_gone(const struct target_look *look, enum target_state state);

/* Whether an instance that is offline had proved the candidates when it went: nobody may have looked meanwhile. */
bool target_left_applied(const struct target_look *look);

#endif
