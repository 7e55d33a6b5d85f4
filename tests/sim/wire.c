/*
 * Packets. See wire.h.
 */
#include "wire.h"

void queue_init(struct queue *q)
{
    *q = (struct queue){.last = &q->first};
}

void packet_free(struct packet *p)
{
    free(p->saying);
    free(p);
}

void queue_clear(struct queue *q)
{
    while (q->first)
        packet_free(queue_take(q));
}

struct packet *queue_put(struct queue *q, const struct segment *segments, size_t n, size_t skip)
{
    size_t len = 0, at = 0;
    struct packet *p;

    for (size_t i = 0; i < n; i++)
        len += segments[i].bytes.len;
    p = malloc(sizeof(*p) + len);
    p->next = NULL;
    p->saying = NULL;
    p->len = len - skip;
    for (size_t i = 0; i < n; i++) {
        struct str bytes = str_from(segments[i].bytes, i == 0 ? skip : 0);

        memcpy(p->bytes + at, bytes.data, bytes.len);
        at += bytes.len;
    }
    *q->last = p;
    q->last = &p->next;
    q->n++;
    return p;
}

struct packet *queue_take(struct queue *q)
{
    struct packet *p = q->first;

    if (!p)
        return NULL;
    q->first = p->next;
    if (!q->first)
        q->last = &q->first;
    q->n--;
    return p;
}
