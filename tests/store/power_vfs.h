/*
 * A file system for SQLite, and for what lies beside its database, that lives in memory and can lose its power.
 *
 * A write is visible at once but lasts only once its file was synced. A plan names the n-th write, truncation
 * or sync after which something happens: the power fails, or the operation does. After a power cut every open
 * file is dead, and of the unsynced writes none, all, or a random part (by sectors of 512 bytes) has lasted. Names of files
 * beside the database last likewise once their folder was synced; those of SQLite's own files at once.
 */
#ifndef TRIMTAB_TESTS_STORE_POWER_VFS_H
#define TRIMTAB_TESTS_STORE_POWER_VFS_H

#include "base/clock.h"
#include "store/files.h"

#include <stdbool.h>

#define POWER_VFS "power"

enum power_event {
    POWER_CUT,       /* from that operation on, everything fails until power_cut */
    POWER_FAIL_IO,   /* the operation answers that the device failed */
    POWER_FAIL_FULL, /* the write answers that the disk is full; a sync succeeds */
};

struct power_plan {
    enum power_event event;
    uint64_t at;    /* 1: the next operation */
    uint64_t times; /* how many operations in a row fail; a cut ignores it */
};

enum power_keep { POWER_KEEP_NONE, POWER_KEEP_SOME, POWER_KEEP_ALL };

extern const struct store_files power_files;

void power_register(void);                      /* makes the VFS known, once */
void power_reset(void);                         /* no files, no plan */
void power_plan(const struct power_plan *plan); /* NULL: none; counts from here */
bool power_plan_came(void);                     /* whether the planned operation was reached */
void power_cut(enum power_keep keep, struct rng *rng);

#endif
