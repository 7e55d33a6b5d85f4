/*
 * Queue of segments that wait to be sent. Two fit without memory of their own, which is one message with its
 * prefix: the usual case when one message goes to many. Internal to net.
 */
#ifndef TRIMTAB_NET_SEGQ_H
#define TRIMTAB_NET_SEGQ_H

#include "net/conn.h"
#include "base/segment.h"

enum { SEGQ_SMALL = 8, SEGQ_INLINE = 2 };

struct segq_entry {
    struct shared *owner; /* NULL: the bytes are in small */
    size_t len;
    union {
        const char *data;
        char small[SEGQ_SMALL];
    };
};

struct segq {
    struct segq_entry *at; /* NULL: inlined is in use */
    uint32_t first, n, cap;
    size_t bytes;
    struct segq_entry inlined[SEGQ_INLINE];
};

void segq_deinit(struct segq *q);

/* All or nothing; prefix (at most SEGQ_SMALL bytes, may be empty) goes first. ERR_NOMEM. */
must_use int segq_put(struct segq *q, struct str prefix, const struct segment *segments,
                      size_t n);
/* Takes over a reference. ERR_NOMEM leaves it with the caller. */
must_use int segq_put_owned(struct segq *q, struct shared *owner);

/* Moves the first len bytes (no more than there are) to the gather. */
void segq_take(struct segq *q, size_t len, struct gather *g);

#endif
