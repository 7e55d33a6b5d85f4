/*
 * The model of judgement: what a server may claim of an instance or a rollout, by what is so on the hosts and by what they
 * said. It looks at the plain model of the log (oracle.h) and at the hosts of the simulation, and shares no code with the
 * server: whatever a server claims that this model does not find true is a violation.
 *
 *   (J1) ok: the host serves exactly the view at the newest revision that its lane serves.
 *   (J2) has reached R: each name is served as some view since R had it, or it is one that the host said it excepts.
 *   (J3) applied, as a target: the view shows a candidate, and all that it shows are served.
 *   (J4) well: J3, and if anything judges the host, it has said so of an apply since the step began.
 *   (J5) a step goes on only when enough targets are well, none that the server heard of refuses or fails, and none that
 *        had applied it is away.
 *   (J6) refuses, as a target: it was given a candidate, and did not serve it when it said so.
 *   (J7) fails, as a target: J3, and the last word on its host is a bad one, about an apply since the step began.
 *   (J8) deletes: what a host was to serve goes only with a cause in the log as it is (I13); see causes.h.
 *   (J9) a wait for R is over: each name of the view that R changed is served as some view since R has it, or the host said that it
 *        excepts it, or something newer has taken its place.
 *   (J10) lost: a revision is said to be lost only if the log does not reach it.
 */
#ifndef TRIMTAB_TESTS_SIM_JUDGE_H
#define TRIMTAB_TESTS_SIM_JUDGE_H

#include "oracle.h"

/* What was so of one host at some moment. */
struct told {
    struct held serves, received;
    struct held said_serves, said_received; /* when it made its last report that came */
    uint64_t reads; /* the namespaces that it might read, a bit for each */
};

/*
 * What is to be held against the hub's claims about one host: what was so when the lane of its stream last told the hub how its
 * streams stand. Before the words of that lane arrive nobody can know better, and after them the hub must not know worse.
 */
struct truth {
    struct wisher who;
    struct told told;
    uint64_t at; /* revision that the lane served then */
    /* the last word of what judges it, since its program started */
    bool has_judge, has_word, is_failing;
    uint64_t judged; /* the revision of the newest apply when it was said, in the log that is */
    uint64_t away_since; /* when it was lost, or its program ended; 0: it is there */
};

enum { WHY_MAX = 160 };

/* J1. False: why says what differs. */
bool judge_ok(const struct oracle *o, const struct truth *t, char why[WHY_MAX]);
/* J2 */
bool judge_reached(const struct oracle *o, const struct truth *t, uint64_t revision,
                   char why[WHY_MAX]);

/* J9, by the newest state that the hub knows. */
bool judge_waited(const struct oracle *o, const struct truth *t, uint64_t revision,
                  char why[WHY_MAX]);

/* A rollout and the revision of the step that takes the host. */
struct trying {
    const struct trial *trial;
    uint64_t since;
};
/* J3, J4, J6, J7 */
bool judge_applied(const struct oracle *o, const struct truth *t, const struct trying *r,
                   char why[WHY_MAX]);
bool judge_well(const struct oracle *o, const struct truth *t, const struct trying *r,
                char why[WHY_MAX]);
bool judge_refuses(const struct oracle *o, const struct truth *t, const struct trying *r,
                   char why[WHY_MAX]);
bool judge_fails(const struct oracle *o, const struct truth *t, const struct trying *r,
                 char why[WHY_MAX]);
/* J5, of n hosts. */
bool judge_goes_on(const struct oracle *o, const struct truth *t, int n,
                   const struct trial *trial, uint64_t now, char why[WHY_MAX]);

#endif
