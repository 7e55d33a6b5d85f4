/*
 * Frames of a batch, laid out around contents that stay where they are.
 */
#ifndef TRIMTAB_FEED_ENCODE_H
#define TRIMTAB_FEED_ENCODE_H

#include "base/arena.h"
#include "feed/feed.h"

/* What one frame carries of one scope. Without puts and names it is left out. */
struct frame_changes {
    struct str scope;
    struct version *const *puts; /* borrowed */
    size_t n_puts;
    struct str names; /* encoded fields of Changes: what is unbound, and what is kept */
};

/* And the end of the batch when it is the last. */
enum { FRAME_CHANGES = 2 };
struct frame_parts {
    struct frame_changes changes[FRAME_CHANGES];
    const Trimtab__V1__End *end; /* NULL: the batch goes on */
};

enum { FRAME_PUTS_MAX = FEED_FRAME_SEGMENTS / 2 - 2 };

/* Append one encoded name of Changes: kind NUL name as kind/name, a key as an id. */
void encode_drop(struct buf *out, struct str tail);
void encode_uncaused(struct buf *out, struct str tail);
void encode_withheld(struct buf *out, struct str tail);
void encode_keep(struct buf *out, struct str key);
/* That the batch is complete in this scope. */
void encode_complete(struct buf *out);

/* At most FRAME_PUTS_MAX puts in all. ERR_NOMEM. */
must_use int encode_changes(const struct frame_parts *p, struct feed_frame *ret_frame);

/* The same as one shared object that begins with gRPC's prefix, for many streams; any number of puts. */
must_use struct shared *encode_changes_framed(const struct frame_parts *p);

/* A piece of the content of v from offset on, of at most ITEM_INLINE_MAX bytes. */
must_use int encode_part(struct version *v, size_t offset, struct feed_frame *ret_frame);

/* Any other frame. */
must_use int encode_frame(const Trimtab__V1__ServerFrame *message,
                          struct feed_frame *ret_frame);

#endif
