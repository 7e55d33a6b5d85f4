/*
 * The log: commits as records, and states as the parts of a snapshot.
 */
#ifndef TRIMTAB_PROTO_RECORD_H
#define TRIMTAB_PROTO_RECORD_H

#include "model/commit.h"
#include "proto/convert.h"

#include <trimtab/v1/record.pb-c.h>

/*
 * The record of a commit whose plans are those of commit_check: changes that change nothing are left out.
 * NULL without memory.
 */
must_use struct shared *record_encode(const struct commit *c, const struct change_plan *plans);

/* A record that was read. Texts of the moves lie in the message, arrays on the arena. */
struct record {
    Trimtab__V1__Record *message;
    struct arena arena;
    struct outcome outcome; /* versions with wire forms */
};
#define RECORD_NULL ((struct record){.message = NULL})

/* ERR_CORRUPT when it is none, ERR_UNSUPPORTED for newer semantics, ERR_NOMEM; then there is nothing to release. */
must_use int record_decode(struct str bytes, uint64_t revision, struct record *ret,
                           struct err *err);
void record_deinit(struct record *r);

/* The record as it lies in the log; freed by trimtab__v1__record__free_unpacked(r, &proto_allocator). */
must_use Trimtab__V1__Record *record_unpack(struct str bytes, struct err *err);

/* A version of a record's change. NULL without memory, or for an id that is none. */
must_use struct version *version_from_record(const Trimtab__V1__RecordChange *c,
                                             uint64_t revision, int64_t time_ms);

/* The same with its reasons told apart: ERR_CORRUPT for a change without proper ids, ERR_NOMEM. */
must_use int version_read(const Trimtab__V1__RecordChange *c, uint64_t revision,
                          int64_t time_ms, struct version **ret, struct err *err);

/* ---- snapshots ---- */

/* A walk over a state that becomes the parts of a snapshot. Borrows the state. */
struct snapshot_walk {
    const struct state *state;
    struct tree_walk versions, rollouts, candidates;
};
void snapshot_walk_init(struct snapshot_walk *w, const struct state *s);

/* The next part, of about so many bytes; NULL at the end or without memory (then *failed). */
must_use struct shared *snapshot_part(struct snapshot_walk *w, size_t bytes, bool *ret_failed);
/* Folds one packed part into *s, which the caller alone holds. ERR_CORRUPT, ERR_UNSUPPORTED, ERR_NOMEM. */
must_use int snapshot_apply(struct str part, struct state **s, struct err *err);

#endif
