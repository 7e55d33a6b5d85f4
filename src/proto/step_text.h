/*
 * Steps of rollouts as people write them: from words, and from one line of text,
 *
 *   labels=tier=web,zone in (a,b);percent=10;soak=10m;max_refused=1
 *
 * Its parts are ids, fingerprints, hosts, networks, labels, percent, count, all, soak, allow_empty, and the criteria. Values
 * of one part are alternatives, different parts must all hold.
 */
#ifndef TRIMTAB_PROTO_STEP_TEXT_H
#define TRIMTAB_PROTO_STEP_TEXT_H

#include "base/arena.h"
#include "base/err.h"

#include <trimtab/v1/rollout.pb-c.h>

/* The criteria as people write them: a number of instances each; NULL: not given, which differs from "0" for max_lost. */
struct criteria_words {
    const char *max_refused, *max_failing, *max_silent, *max_lost, *min_applied;
};

struct step_words {
    struct texts ids, fingerprints, hosts, networks, labels;
    const char *percent; /* "10", "12.5" or "10%"; NULL: none */
    const char *soak;    /* "90s"; NULL: not given, which differs from "0s" */
    struct criteria_words criteria;
    uint64_t count;
    bool all;
    bool allow_empty; /* it may begin although no instance matches */
};

/* Whether it says whom it is for. */
bool step_words_choose(const struct step_words *w);

/* The step that words make, on the arena, texts copied. ERR_INVALID, ERR_NOMEM. */
must_use int step_from_words(const struct step_words *w, struct arena *a,
                             Trimtab__V1__Step **ret, struct err *err);

/* The same of a text. */
must_use int step_from_text(struct str text, struct arena *a, Trimtab__V1__Step **ret,
                            struct err *err);

#endif
