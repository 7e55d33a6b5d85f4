/*
 * The simulated disk behind "mem:", for tests and simulation.
 *
 * A disk outlives the stores that are opened on it, so a server can be crashed and started again, and several
 * stores may be open on one disk at a time, which is how servers share a cluster store. It decides nothing by
 * chance: its ids come from the seed, and what goes wrong is decided by a function of the simulation.
 *
 * A disk may be used from several threads, one per store. Power may be cut and faults set at any time; the other functions
 * below come while no thread is inside.
 */
#ifndef TRIMTAB_STORE_MEM_H
#define TRIMTAB_STORE_MEM_H

#include "store/store.h"

/* What happens to a write. */
enum store_fault {
    STORE_FAULT_NONE,
    STORE_FAULT_FAIL, /* ERR_IO: it did not happen (D3) */
    STORE_FAULT_LOST, /* append: ERR_TIMEOUT and it did not happen; other writes: as FAIL */
    STORE_FAULT_DONE, /* append: ERR_TIMEOUT although it happened; other writes: as NONE */
    STORE_FAULT_UNSYNCED, /* append: ERR_TIMEOUT; a crash before anybody asks again forgets it, otherwise
                             it happened; other writes: as NONE */
};

enum store_write {
    STORE_WRITE_IDENTITY,
    STORE_WRITE_APPEND,
    STORE_WRITE_MARK,
    STORE_WRITE_SNAPSHOT,
    STORE_WRITE_COMPACT,
    STORE_WRITE_BLOB,
    STORE_WRITE_LEASE,
    STORE_WRITE_EPHEMERAL,
};

typedef enum store_fault store_fault_fn(void *ctx, enum store_write write);

must_use struct store_disk *store_disk_new(uint64_t seed); /* NULL: no memory */
struct store_disk *store_disk_free(
    struct store_disk *disk); /* always NULL; no store may be open on it */
OWNED_BY(store_disk_free, struct store_disk *, store_disk_free);

void store_disk_faults(struct store_disk *disk, store_fault_fn *fn, void *ctx); /* NULL: none */

/*
 * Cuts the power: what was not synced is forgotten, and every open store answers ERR_UNAVAILABLE until it is
 * closed.
 */
void store_disk_crash(struct store_disk *disk);

/* For tests that look for altered bytes: flips one bit of a record, or of the newest snapshot (revision 0). */
must_use bool store_disk_spoil(struct store_disk *disk, uint64_t revision);

#endif
