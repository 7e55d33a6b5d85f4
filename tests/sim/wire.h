/*
 * The wire of the simulation: packets on their way in one direction of one connection, in order.
 */
#ifndef TRIMTAB_TESTS_SIM_WIRE_H
#define TRIMTAB_TESTS_SIM_WIRE_H

#include "oracle.h"

#include "base/segment.h"

/* What was so on a host when it said what it serves. */
struct saying {
    struct held received, serves;
};

struct packet {
    struct packet *next;
    struct saying *saying; /* of a report; NULL: it is none */
    size_t len;
    uint8_t bytes[];
};

struct queue {
    struct packet *first, **last;
    int n;
};

void queue_init(struct queue *q);
void queue_clear(struct queue *q);
/* Without the first bytes, `skip` of them. */
struct packet *queue_put(struct queue *q, const struct segment *segments, size_t n,
                         size_t skip);
struct packet *queue_take(struct queue *q); /* the caller's; NULL: there is none */
void packet_free(struct packet *p);

#endif
