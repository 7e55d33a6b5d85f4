/*
 * The picture of a rollout at its end: how each of its targets stood when the move that ended it was decided on. It is part
 * of that move in the log, so it is there exactly when the rollout has ended, and as long as the history of that is kept.
 */
#ifndef TRIMTAB_SERVER_ROLLOUT_PICTURE_H
#define TRIMTAB_SERVER_ROLLOUT_PICTURE_H

#include "server/rollout/view.h"

#include <trimtab/v1/record.pb-c.h>

enum {
    PICTURE_TARGETS_MAX = 10000, /* that are listed; the counts are of all */
    PICTURE_BYTES_MAX = 1 << 20,
    PICTURE_REASON_MAX = 200, /* bytes */
};

/*
 * Adds the picture to a move that ends its rollout; does nothing to other moves. On the arena, which lives as long as the
 * move. ERR_NOMEM.
 */
must_use int picture_take(const struct drives *d, struct rollout_move *m, struct arena *a);

/*
 * The picture in the record of the move that ended a rollout; NULL when it has none (an older version wrote it), cannot be
 * read, or without memory. Freed by picture_free.
 */
Trimtab__V1__RolloutPicture *picture_find(const Trimtab__V1__Record *record, uint64_t rollout);
void picture_free(Trimtab__V1__RolloutPicture *picture); /* takes NULL */

#endif
