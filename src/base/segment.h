/*
 * Bytes on their way out, without copies: a slice and the counted object that keeps it alive.
 */
#ifndef TRIMTAB_BASE_SEGMENT_H
#define TRIMTAB_BASE_SEGMENT_H

#include "base/shared.h"

/*
 * Passed by the producer for one call. With an owner the consumer takes its own reference and the bytes (which lie
 * inside the owner) are sent from where they are; without an owner they are copied.
 */
struct segment {
    struct shared *owner;
    struct str bytes;
};

static inline struct segment segment_shared(struct shared *s)
{
    return (struct segment){s, shared_str(s)};
}

static inline struct segment segment_copy(struct str bytes)
{
    return (struct segment){NULL, bytes};
}

#endif
