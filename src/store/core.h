/*
 * What the files of the shared part of the store (store.c, watch.c, snapshot.c) use of each other.
 */
#ifndef TRIMTAB_STORE_CORE_H
#define TRIMTAB_STORE_CORE_H

#include "store/engine.h"

/* Gives a record that has been observed to the watches that wait for it. */
void watches_give(struct store *s, const struct store_entry *entry);

/* Ends all watches of the log. */
void watches_end(struct store *s, int why);

/* Brings s->head up to the engine's head (O3, W1). */
must_use int observe_all(struct store *s, struct err *err);

/* The chain of a revision from the one before the floor to the head. ERR_INVALID when there is none. */
must_use int chain_at(struct store *s, uint64_t revision, struct sha256 *ret_chain,
                      struct err *err);

/*
 * Gives fn the rows of a range, each verified first (R3); fn may be NULL. The range is cut to what is in the log.
 * STORE_COMPACTED; ERR_CORRUPT names the record.
 */
must_use int read_verified(struct store *s, enum store_rows rows, const uint64_t range[2],
                           store_entry_fn *fn, void *ctx, struct err *err);

/* Verifies the chain of the records from..head; the record before from must be there or be the base. */
must_use int verify_from(struct store *s, uint64_t from, struct err *err);

/* Verifies every snapshot. ERR_CORRUPT. */
must_use int snapshots_check(struct store *s, struct err *err);

#endif
