/*
 * What the simulation knows of causes (I13): whether the log as it is now explains that a client is to serve nothing any
 * more where it was to serve something. Shares no code with feed and sync.
 */
#ifndef TRIMTAB_TESTS_SIM_CAUSES_H
#define TRIMTAB_TESTS_SIM_CAUSES_H

#include "oracle.h"

/* A name of a scope that comes to nothing, or is held only because it is needed. */
struct departure {
    struct wisher who;
    int scope, kind, name;
    uint64_t content;   /* that was served */
    bool is_proved;     /* the client had a view of this store: */
    uint64_t since;     /* of this revision */
    uint64_t connected; /* head of the log when it connected */
    uint64_t revision;  /* of the batch */
};

bool oracle_explains(const struct oracle *o, const struct departure *d);

#endif
