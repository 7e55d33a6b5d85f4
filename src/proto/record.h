/*
 * The log: commits as records, and states as the parts of a snapshot.
 */
#ifndef TRIMTAB_PROTO_RECORD_H
#define TRIMTAB_PROTO_RECORD_H

#include "model/commit.h"
#include "proto/convert.h"

#include <trimtab/v1/record.pb-c.h>

/*
 * A record as the log keeps it: the envelope, which names each content by hash and length, and the contents beside it.
 * In records of old the contents are inside the envelope.
 */
struct record_parts {
    struct str envelope;
    const struct hashed *contents; /* of a purged one the bytes are STR_NULL */
    size_t n_contents;
};

/* A record to be appended. The bytes of its contents are those of the commit. */
struct record_encoded {
    struct shared *envelope; /* NULL: nothing */
    struct hashed *contents;
    size_t n_contents;
};

/*
 * The record of a commit whose plans are those of commit_check: changes that change nothing are left out. versions, if
 * given, are those that the other changes made, in order, and spare the hashing of their contents. ERR_NOMEM.
 */
must_use int record_encode(const struct commit *c, const struct change_plan *plans,
                           struct version *const *versions, struct record_encoded *ret);
void record_encoded_deinit(struct record_encoded *e);

static inline struct record_parts record_encoded_parts(const struct record_encoded *e)
{
    return (struct record_parts){shared_str(e->envelope), e->contents, e->n_contents};
}

/* A record that was read. Texts of the moves lie in the message, arrays on the arena. */
struct record {
    Trimtab__V1__Record *message;
    struct arena arena;
    struct outcome outcome; /* versions with wire forms */
    struct restored restored; /* when the outcome has one */
};
#define RECORD_NULL ((struct record){.message = NULL})

/* ERR_CORRUPT when it is none, ERR_UNSUPPORTED for newer semantics, ERR_NOMEM; then there is nothing to release. */
must_use int record_decode(struct record_parts parts, uint64_t revision, struct record *ret,
                           struct err *err);
void record_deinit(struct record *r);

/*
 * The record as a message, with the contents in their changes; freed by
 * trimtab__v1__record__free_unpacked(r, &proto_allocator). A purged content is empty, with its size and hash.
 * NULL: ERR_CORRUPT or ERR_NOMEM in *ret_code.
 */
must_use Trimtab__V1__Record *record_unpack(struct record_parts parts, int *ret_code,
                                            struct err *err);

/* A version of a record's change. NULL without memory, or for an id that is none. */
must_use struct version *version_from_record(const Trimtab__V1__RecordChange *c,
                                             uint64_t revision, int64_t time_ms);

/* The same with its reasons told apart: ERR_CORRUPT for a change without proper ids, ERR_NOMEM. */
must_use int version_read(const Trimtab__V1__RecordChange *c, uint64_t revision,
                          int64_t time_ms, struct version **ret, struct err *err);

/* NULL for NULL, and without memory, which the arena remembers. */
Trimtab__V1__Restore *restored_to_proto(const struct restored *r, struct arena *a);
must_use int restored_from_proto(const Trimtab__V1__Restore *p, struct restored *ret,
                                 struct err *err); /* ERR_CORRUPT */

/* ---- snapshots ---- */

/* A walk over a state that becomes the parts of a snapshot. Borrows the state. */
struct snapshot_walk {
    const struct state *state;
    bool is_begun;
    struct tree_walk versions, rollouts, candidates, orders;
};
void snapshot_walk_init(struct snapshot_walk *w, const struct state *s);

/* The next part, of about so many bytes; NULL at the end or without memory (then *failed). */
must_use struct shared *snapshot_part(struct snapshot_walk *w, size_t bytes, bool *ret_failed);
/* Folds one packed part into *s, which the caller alone holds. ERR_CORRUPT, ERR_UNSUPPORTED, ERR_NOMEM. */
must_use int snapshot_apply(struct str part, struct state **s, struct err *err);

#endif
