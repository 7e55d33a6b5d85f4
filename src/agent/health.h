/*
 * Whether what is served does: judges, and what they come to together. Pure: results and time come in as arguments.
 *
 * A judge looks again and again, by a probe that somebody else runs. It has a verdict when enough probes in a row say so:
 * `failures` of them for failing, `successes` for well. A verdict names the revision that was applied when it was found.
 *
 *   applied ----> settle ----> JUDGING ANEW --- successes in a row, or failures in all ---> JUDGED --- every ---+
 *      ^                        |    ^ retry                                                  |  ^              |
 *      |                        +----+                                                        |  +--------------+
 *      +------------------------- another batch was applied --------------------------------- +
 *
 *   (J1) A result of a probe that began before the newest batch was applied says nothing about it, and is dropped.
 *   (J2) While it judges anew the former verdict stands, with its revision.
 *   (J3) Judging anew ends: a service that comes and goes is failing.
 */
#ifndef TRIMTAB_AGENT_HEALTH_H
#define TRIMTAB_AGENT_HEALTH_H

#include "base/clock.h"
#include "sync/sync.h"

#define JUDGE_NEVER UINT64_MAX

/* How a judge judges. */
struct judge_rules {
    uint32_t failures, successes; /* in a row */
    nsec_t every, retry, settle;
};

struct verdict {
    enum verdict_state { VERDICT_NONE, VERDICT_WELL, VERDICT_FAILING } state;
    uint64_t revision;
    char reason[SYNC_REASON_MAX + 1]; /* of a failure */
};

struct judge {
    const char *name; /* borrowed */
    struct judge_rules rules;
    struct verdict verdict;
    uint64_t applied; /* what is to be judged */
    uint32_t n_good, n_bad;
    nsec_t due;       /* of the next probe; JUDGE_NEVER: nothing is served yet */
    bool is_anew;     /* no verdict on what is served now */
    bool is_running;  /* a probe is under way */
    bool is_outdated; /* which began before the newest batch was applied */
};

void judge_init(struct judge *j, const char *name, const struct judge_rules *rules);

/* What is served has changed: judge it anew, when it has settled. */
void judge_applied(struct judge *j, uint64_t revision, nsec_t now);

/* When the next probe is to begin: JUDGE_NEVER while one is under way, or before anything is served. */
nsec_t judge_due(const struct judge *j);

/* A probe begins. */
void judge_begin(struct judge *j);
/* It came to this. Returns whether there is a new verdict, or the same one on a newer revision. */
bool judge_result(struct judge *j, bool is_well, struct str reason, nsec_t now);
/* It came to nothing (no memory, or something was being applied): tried again soon. */
void judge_skip(struct judge *j, nsec_t now);

/* ---- all of them ---- */

/* The verdict of a caller (a program, a person) stands beside those of the judges until it says otherwise. */
void verdict_set(struct verdict *v, bool failing, uint64_t revision, struct str reason);
/* A store that was restored goes back: a verdict on what it had later names no revision any more. */
void verdict_applied(struct verdict *v, uint64_t revision);

/*
 * What is to be said: failing when anyone says so, the failure of the newest revision first; well when nobody does, at
 * the oldest revision that the judges have found well. False when there is nothing to be said yet. Borrows.
 */
must_use bool health_sum(const struct judge *const *judges, size_t n,
                         const struct verdict *said, struct sync_judgement *ret);

/* What the word of a caller has as its source. */
#define HEALTH_CALLER "caller"

#endif
