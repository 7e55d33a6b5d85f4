/*
 * The high-water mark: how far the log of a store has come, kept in a file outside of the database, so that a log that
 * ends before what was acknowledged shows at the next start.
 *
 * It is written after each durable group and synced about once a second and at a clean stop. So it is never ahead of
 * the log; after a loss of power it may be behind by what was acknowledged in the last second, and a log that lost no
 * more than that is not noticed. Two slots are written in turn, so that a write that was cut leaves the other.
 */
#ifndef TRIMTAB_STORE_HIGHWATER_H
#define TRIMTAB_STORE_HIGHWATER_H

#include "store/store.h"

struct highwater;

struct highwater_mark {
    struct store_id store;
    struct store_head head;
};

/* What the file says. ERR_NOT_FOUND: there is none; ERR_CORRUPT: no slot of it can be read; ERR_IO, ERR_NOMEM. */
must_use int highwater_read(const char *path, struct highwater_mark *ret_mark, struct err *err);

/* Opens the file for writing, mode 0600, and makes it when it is not there. */
must_use int highwater_open(const char *path, struct highwater **ret, struct err *err);
/* Syncs and closes; always NULL, takes NULL. */
struct highwater *highwater_close(struct highwater *h);

/* Writes without a sync. */
must_use int highwater_note(struct highwater *h, const struct highwater_mark *mark,
                            struct err *err);
/* Syncs what was noted, if anything was. */
must_use int highwater_sync(struct highwater *h, struct err *err);

/*
 * Whether a store holds everything up to the mark. ERR_CORRUPT with the story: it is another store, it ends before the
 * mark, or it is of another history there. A mark below the floor proves nothing and passes.
 */
must_use int highwater_check(struct store *s, const struct highwater_mark *mark,
                             struct err *err);

#endif
