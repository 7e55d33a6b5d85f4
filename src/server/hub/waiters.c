/*
 * Who waits. See waiters.h.
 */
#include "server/hub/waiters.h"

static void look_at_all(struct defer *d, void *ctx)
{
    struct waiters *waiters = ctx;

    (void)d;
    LIST_EACH (&waiters->list, l) {
        struct waiter *w = LINK_OF(l, struct waiter, link);

        (void)w->check(w);
    }
}

void waiters_init(struct waiters *waiters, struct loop *loop)
{
    *waiters = (struct waiters){.soon = {.fn = look_at_all, .ctx = waiters}, .loop = loop};
    link_init(&waiters->list);
}

void waiters_add(struct waiters *waiters, struct waiter *w)
{
    link_before(&waiters->list, &w->link);
}

void waiters_changed(struct waiters *waiters)
{
    if (!link_is_alone(&waiters->list))
        loop_defer(waiters->loop, &waiters->soon);
}
