/*
 * Faults of the system at a chosen call: the calls by which files are made, moved and synced are counted, and one of
 * them fails, or all that need space from one on. In a program of its own, since it stands in the place of the system's.
 */
#ifndef TRIMTAB_TESTS_AGENT_FAULTS_H
#define TRIMTAB_TESTS_AGENT_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

enum faults {
    FAULT_ONCE, /* the nth call fails, the next succeed */
    FAULT_NO_SPACE /* from the nth call on all that need space fail; moving and removing need none */
};

/* After n calls that succeed. */
void faults_arm(enum faults sort, uint64_t n);
/* Returns whether any call has failed since. */
bool faults_disarm(void);

/* A call of an engine that makes no system calls. */
bool faults_call(void);

#endif
