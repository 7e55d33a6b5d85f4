/*
 * The request ids of the newest records, by id and in the order of their revisions (clauses Q1, Q2).
 *
 * They are kept in memory only and read again from the log when a store is opened: an index on disk would cost
 * the commit path more than half of its speed.
 */
#ifndef TRIMTAB_STORE_REQUESTS_H
#define TRIMTAB_STORE_REQUESTS_H

#include "base/list.h"
#include "base/map.h"

struct requests {
    struct map by_id;
    struct link order; /* by revision */
};

void requests_init(struct requests *r);
void requests_deinit(struct requests *r);

/* The revision of the record with this id, or 0. */
uint64_t requests_find(const struct requests *r, struct str id);

/* Adds an id that is not there; revisions must not go down. An empty id is not remembered. 0 or ERR_NOMEM. */
must_use int requests_add(struct requests *r, struct str id, uint64_t revision);

void requests_drop_above(struct requests *r,
                         uint64_t revision); /* those with a greater revision */
void requests_drop_below(struct requests *r,
                         uint64_t revision); /* those with a smaller revision */

#endif
