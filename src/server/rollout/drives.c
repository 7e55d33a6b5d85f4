/*
 * The live rollouts. See drives.h.
 */
#include "server/rollout/drives.h"

void drives_deinit(struct drives *d)
{
    for (size_t i = 0; i < d->list.n; i++)
        headcount_deinit(&d->list.at[i].heads);
    VEC_DEINIT(&d->list);
}

struct drive *drives_of(const struct drives *d, uint64_t id)
{
    for (size_t i = 0; i < d->list.n; i++)
        if (d->list.at[i].id == id)
            return &d->list.at[i];
    return NULL;
}

const struct drive *drives_find(const struct drives *d, uint64_t id)
{
    const struct drive *v = drives_of(d, id);

    return v && v->soak.step ? v : NULL;
}
