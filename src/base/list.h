/*
 * Intrusive doubly linked list: the links live in the elements, so adding and removing never allocates. A
 * list head is a link that points to itself; an element not on a list does too, so removing twice is safe.
 */
#ifndef TRIMTAB_BASE_LIST_H
#define TRIMTAB_BASE_LIST_H

#include "base/attr.h"

#include <stdbool.h>
#include <stddef.h>

struct link {
    struct link *prev, *next;
};

static inline void link_init(struct link *l)
{
    l->prev = l;
    l->next = l;
}

static inline bool link_is_alone(const struct link *l)
{
    return l->next == l;
}

/* Puts l before at; before the head means at the end. l must be alone. */
static inline void link_before(struct link *at, struct link *l)
{
    l->prev = at->prev;
    l->next = at;
    at->prev->next = l;
    at->prev = l;
}

static inline void link_remove(struct link *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    link_init(l);
}

/* The element of which l is the named member. */
#define LINK_OF(l, type, member) CONTAINER_OF(l, type, member)

/* Walks the elements; the current one may be removed on the way. */
#define LIST_EACH(head, l)                                                                     \
    for (struct link *l = (head)->next, *l##_next = l->next; l != (head);                      \
         l = l##_next, l##_next = l->next)

#endif
