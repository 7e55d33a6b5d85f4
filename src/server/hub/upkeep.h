/*
 * What is done with a data folder while no server runs on it: proving it, restoring it from a backup, and going on
 * after a loss. Each is a command of trimtabd that ends when it is done.
 *
 * Restoring and accepting a loss make the log another store: it gets a new id, so that no subscriber resumes where
 * history was cut, and a record that says from which store it goes on, and whether subscribers are to delete what they
 * have from later than that (I13).
 */
#ifndef TRIMTAB_SERVER_HUB_UPKEEP_H
#define TRIMTAB_SERVER_HUB_UPKEEP_H

#include "base/buf.h"
#include "server/hub/config.h"
#include "store/store.h"

/* The file of the high-water mark, into path; NULL for a store that ends with the process. */
const char *upkeep_highwater(const struct config *config, char path[4096]);

/*
 * Before a server opens its store. ERR_CORRUPT: the data folder was in use before, and its database is not there.
 */
must_use int upkeep_may_open(const struct config *config, struct err *err);

/*
 * All that can be proved: the file's structure, every record and content, every snapshot, what the database says of
 * itself, and that the log reaches its high-water mark. A line of what was found goes to out. ERR_CORRUPT names what is
 * damaged; ERR_NOT_FOUND, ERR_LOCKED (a server runs), and what store_open answers.
 */
must_use int upkeep_check(const struct config *config, struct buf *out, struct err *err);

/* Makes a database out of config->restore where none is. ERR_EXISTS; ERR_CORRUPT: the backup is damaged. */
must_use int upkeep_restore(const struct config *config, struct buf *out, struct err *err);

/* Goes on with the database that is there, or with an empty one, for config->accept_loss as the reason. */
must_use int upkeep_accept_loss(const struct config *config, struct buf *out, struct err *err);

#endif
