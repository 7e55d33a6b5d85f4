/*
 * Between the model and the wire: versions as items, commits as log records, metadata and scopes as messages.
 *
 * What is read from a message borrows its bytes: the message must live as long as what was made from it.
 */
#ifndef TRIMTAB_PROTO_CONVERT_H
#define TRIMTAB_PROTO_CONVERT_H

#include "base/arena.h"
#include "model/commit.h"
#include "model/scope.h"

#include <trimtab/v1/record.pb-c.h>
#include <trimtab/v1/sync.pb-c.h>

/* Contents above this travel in parts, before the batch that uses them. */
enum { ITEM_INLINE_MAX = 256 * 1024 };

/* protobuf-c on our allocation, so that a test can make the n-th one fail. */
extern ProtobufCAllocator proto_allocator;

/* Fresh bytes of a packed message with `front` free bytes before it; NULL without memory. */
must_use struct shared *proto_pack(const ProtobufCMessage *m, size_t front);

static inline struct str proto_str(ProtobufCBinaryData b)
{
    return str_of(b.data, b.len);
}
ProtobufCBinaryData proto_bytes(struct str s); /* borrowed */

/* ---- metadata ---- */

enum meta_part { META_ALL, META_DELIVERED };

/* A message on the arena; NULL when there is nothing to say, or the arena failed. */
Trimtab__V1__Metadata *meta_to_proto(const struct meta *m, enum meta_part part,
                                     struct arena *a);
/* Borrows texts from the message, arrays from the arena (which may fail). */
struct meta meta_from_proto(const Trimtab__V1__Metadata *p, struct arena *a);

/* ---- references ---- */

/* Ids on the arena, which may fail; *ret_n of them. */
char **references_to_proto(const struct references *refs, size_t *ret_n, struct arena *a);
/* On the arena; NULL for none. ERR_INVALID for what is no id, ERR_NOMEM. */
must_use int references_from_proto(char *const *ids, size_t n, struct arena *a,
                                   struct references **ret, struct err *err);

/* ---- items ---- */

/*
 * Makes a version together with its wire form, the bytes of one `put` of a Changes message (field tag, length,
 * Item) with the content inside, or behind it when it travels in parts. o->wire and o->item are ignored. NULL
 * without memory.
 */
must_use struct version *version_with_wire(const struct version_opts *o);

/* What a received item comes to; content is what its parts were put together to when in_parts. ERR_INVALID. */
must_use int item_from_proto(const Trimtab__V1__Item *item, struct str content, struct arena *a,
                             struct version_opts *ret_opts, struct err *err);

/* ---- the log ---- */

/*
 * The record of a commit whose plans are those of commit_check: changes that change nothing are left out.
 * NULL without memory.
 */
must_use struct shared *record_encode(const struct commit *c, const struct change_plan *plans);

/*
 * The versions that a record gives, with wire forms, in order. ERR_CORRUPT when it is none, ERR_UNSUPPORTED for
 * newer semantics, ERR_NOMEM. The caller drops each version and frees the array.
 */
must_use int record_decode(struct str bytes, uint64_t revision, struct version ***ret_versions,
                           size_t *ret_n, struct err *err);

/* The record as it lies in the log; freed by trimtab__v1__record__free_unpacked(r, &proto_allocator). */
must_use Trimtab__V1__Record *record_unpack(struct str bytes, struct err *err);

/* A version of a record's change. NULL without memory, or for an id that is none. */
must_use struct version *version_from_record(const Trimtab__V1__RecordChange *c,
                                             uint64_t revision, int64_t time_ms);

/* ---- snapshots ---- */

/* Packs the versions of a walk into parts of about `bytes`; NULL at the end or without memory (then *failed). */
must_use struct shared *snapshot_part(struct tree_walk *w, uint64_t revision, size_t bytes,
                                      bool *ret_failed);
/* Folds one packed part into *s, which the caller alone holds. */
must_use int snapshot_apply(struct str part, struct state **s, struct err *err);

/* ---- subscriptions ---- */

/* Scopes of a Hello with labels filled in; on the arena. ERR_INVALID, ERR_LIMIT, ERR_NOMEM. */
must_use int scopes_from_proto(Trimtab__V1__Scope *const *scopes, size_t n,
                               const Trimtab__V1__Instance *instance, struct arena *a,
                               struct scope **ret_scopes, struct err *err);

#endif
