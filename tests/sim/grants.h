/*
 * What a client of the simulation may read: as grants, which the server's own code compiles and asks, and as plain namespaces
 * for the oracle, which asks nobody.
 */
#ifndef TRIMTAB_TESTS_SIM_GRANTS_H
#define TRIMTAB_TESTS_SIM_GRANTS_H

#include "oracle.h"

#include "model/readable.h"
#include "proto/convert.h"

struct grants {
    struct rights *rights;      /* NULL: nobody asks, it may do everything */
    unsigned subscribes, views; /* namespaces, a bit for each */
};

/* With `everything` the last of the two is granted on everything, whatever its bits. False without memory. */
bool grants_make(struct grants *g, unsigned subscribes, unsigned views, bool everything);
void grants_deinit(struct grants *g);

/* The oracle's: which namespaces may be read, and whether a wish may be subscribed to. */
unsigned grants_read(const struct grants *g);
bool grants_allow(const struct grants *g, const struct wish *w);

/* The server's (server/lane/subscribe.c). ERR_DENIED, ERR_NOMEM. */
must_use int grants_admit(const struct grants *g, const Trimtab__V1__Hello *hello,
                          struct readable **ret);

#endif
