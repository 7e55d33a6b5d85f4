/*
 * Between the model and the wire: versions as items, metadata and scopes as messages. The log is in record.h.
 *
 * What is read from a message borrows its bytes: the message must live as long as what was made from it.
 */
#ifndef TRIMTAB_PROTO_CONVERT_H
#define TRIMTAB_PROTO_CONVERT_H

#include "base/arena.h"
#include "model/scope.h"

#include <trimtab/v1/sync.pb-c.h>

/* Contents above this travel in parts, before the batch that uses them. */
enum { ITEM_INLINE_MAX = 256 * 1024 };

/* protobuf-c on our allocation, so that a test can make the n-th one fail. */
extern ProtobufCAllocator proto_allocator;

/* Fresh bytes of a packed message with `front` free bytes before it; NULL without memory. */
must_use struct shared *proto_pack(const ProtobufCMessage *m, size_t front);

/* The same with gRPC's prefix in front. */
must_use struct shared *proto_pack_framed(const ProtobufCMessage *m);

static inline struct str proto_str(ProtobufCBinaryData b)
{
    return str_of(b.data, b.len);
}
ProtobufCBinaryData proto_bytes(struct str s); /* borrowed */

/* Lists of texts on the arena, which may fail. What is read borrows its bytes from the message. */
char **texts_to_proto(const struct str *texts, size_t n, struct arena *a);
struct str *texts_from_proto(char *const *texts, size_t n, struct arena *a);

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

/* ---- subscriptions ---- */

/* Scopes of a Hello with labels filled in; on the arena. ERR_INVALID, ERR_LIMIT, ERR_NOMEM. */
must_use int scopes_from_proto(Trimtab__V1__Scope *const *scopes, size_t n,
                               const Trimtab__V1__Instance *instance, struct arena *a,
                               struct scope **ret_scopes, struct err *err);

#endif
