/*
 * Frames of a batch, laid out around contents that stay where they are.
 */
#ifndef TRIMTAB_FEED_ENCODE_H
#define TRIMTAB_FEED_ENCODE_H

#include "base/arena.h"
#include "feed/feed.h"

/* What one frame carries of one scope, and the end of the batch when it is the last. */
struct frame_parts {
    struct str scope;
    struct version *const *puts; /* borrowed */
    size_t n_puts;
    struct str drops; /* encoded `drop` fields of Changes */
    const Trimtab__V1__End *end; /* NULL: the batch goes on */
};

enum { FRAME_PUTS_MAX = FEED_FRAME_SEGMENTS / 2 - 2 };

/* Appends one encoded `drop`, "kind/name", for a name given as kind NUL name. */
void encode_drop(struct buf *out, struct str tail);

/* At most FRAME_PUTS_MAX puts. ERR_NOMEM. */
must_use int encode_changes(const struct frame_parts *p, struct feed_frame *ret_frame);

/* The same as one shared object that begins with gRPC's prefix, for many streams; any number of puts. */
must_use struct shared *encode_changes_framed(const struct frame_parts *p);

/* A piece of the content of v from offset on, of at most ITEM_INLINE_MAX bytes. */
must_use int encode_part(struct version *v, size_t offset, struct feed_frame *ret_frame);

/* Any other frame. */
must_use int encode_frame(const Trimtab__V1__ServerFrame *message, struct feed_frame *ret_frame);
must_use struct shared *encode_frame_framed(const Trimtab__V1__ServerFrame *message);

#endif
