/*
 * When each token was used last, for people who look for tokens that nobody needs any more.
 *
 * It is kept in memory only, so it begins anew with each start of the server. It knows the tokens that it was told to keep
 * and no others: noting a use needs no memory, and there are never more entries than tokens. All of it on any thread.
 */
#ifndef TRIMTAB_SERVER_HUB_LAST_USED_H
#define TRIMTAB_SERVER_HUB_LAST_USED_H

#include "base/hash.h"

struct last_used; /* counted */

must_use struct last_used *last_used_new(void); /* NULL without memory */
struct last_used *last_used_ref(struct last_used *u);
struct last_used *last_used_unref(struct last_used *u); /* always NULL; takes NULL */

/*
 * These tokens are kept from now on, with what is known of them; others are forgotten. Sorts the hashes, which stay the
 * caller's. ERR_NOMEM: nothing has changed.
 */
must_use int last_used_keep(struct last_used *u, struct sha256 *hashes, size_t n);

/* Times are of the wall clock in milliseconds. One that is not kept is not noted. */
void last_used_note(struct last_used *u, const struct sha256 *hash, int64_t wall_ms);
int64_t last_used_at(struct last_used *u, const struct sha256 *hash); /* 0: not so far */

#endif
