/*
 * Fates: what a commit has come to on the instances. Who waits for a commit waits until none of them is open.
 *
 * Pure; state, records and the moment are of the same thread.
 */
#ifndef TRIMTAB_PRESENCE_FATE_H
#define TRIMTAB_PRESENCE_FATE_H

#include "presence/roster.h"

/* A commit and the resources that it changed, or others that are asked about. Borrowed. */
struct commit_look {
    uint64_t revision;
    struct str *keys;
    size_t n_keys;
    bool is_start; /* of the rollout with its number */
};

enum fate { FATE_UNCONCERNED, FATE_APPLIED, FATE_REFUSED, FATE_UNPROVEN, FATE_PENDING };

/* Of one instance, by a state that has the commit. */
enum fate fate_of(const struct commit_look *l, const struct presence *p,
                  const struct state *state, const struct moment *at);

/* Whether somebody is still to be heard of, or it is not known yet whom it concerns (E2). */
bool fates_are_open(const struct commit_look *l, const struct roster *r,
                    const struct state *state, const struct moment *at);

#endif
