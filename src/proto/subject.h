/*
 * Who an instance is, for the targets of rollouts: what a hello says of it, as the model matches it.
 */
#ifndef TRIMTAB_PROTO_SUBJECT_H
#define TRIMTAB_PROTO_SUBJECT_H

#include "base/arena.h"
#include "model/target.h"

#include <trimtab/v1/sync.pb-c.h>

/* [host, or the first address][port][id], for people and for patterns; on the arena, "" when that failed. */
char *instance_fingerprint(const Trimtab__V1__Instance *p, struct arena *a);

/* Borrows texts from the message; arrays and the fingerprint are on the arena. ERR_NOMEM. */
must_use int subject_from_proto(const Trimtab__V1__Instance *p, struct arena *a,
                                struct subject *ret);

#endif
