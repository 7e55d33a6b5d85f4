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

/* The same as a copy in one allocation, freed by mem_free; NULL without memory. */
must_use struct subject *subject_of_instance(const Trimtab__V1__Instance *p);

/* In a hello's features: the client takes candidates, and says of each item whether it runs it. */
#define FEATURE_ROLLOUTS "rollouts"
/* Something judges what the client applies, and it says Health after each batch. */
#define FEATURE_HEALTH "health"
/* The client answers AskReport with what it serves now. */
#define FEATURE_REPORT "report"

bool hello_has_feature(const Trimtab__V1__Hello *hello, const char *feature);

/* And: it carries out orders, and says so. */
#define FEATURE_ORDERS "orders"

/* Whether it gets orders: it has the feature, and rollouts could take it. */
bool hello_takes_orders(const Trimtab__V1__Hello *hello);

/* Whether rollouts can take who says this hello: it has an id and the feature. Others have what is stable. */
bool hello_takes_rollouts(const Trimtab__V1__Hello *hello);

#endif
