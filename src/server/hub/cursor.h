/*
 * Cursors of those who only listen: by server-sent events and long poll.
 *
 * Such a client need not compute digests, so a wrong cursor would leave it with what it has and be wrong for ever. The number
 * of a revision proves nothing: the same number may be of a history that a restore has taken back. So an id of an event
 * carries a mark, a keyed hash of revision and subscription under a key of this start of the server; within one start there
 * is one history. A cursor without a mark counts only with the digest of what its client has, if that is the digest
 * of its view now. Everything else gets everything anew.
 */
#ifndef TRIMTAB_SERVER_HUB_CURSOR_H
#define TRIMTAB_SERVER_HUB_CURSOR_H

#include "base/hash.h"

#include <trimtab/v1/sync.pb-c.h>

enum { CURSOR_KEY_BYTES = 32, CURSOR_MARK_BYTES = 16, CURSOR_MARK_HEX = 2 * CURSOR_MARK_BYTES };

struct cursor_key {
    unsigned char bytes[CURSOR_KEY_BYTES];
};

/* What a subscriber wants, and who it is for rollouts: what its marks hold for. ERR_NOMEM. */
must_use int cursor_wish(const Trimtab__V1__Hello *hello, struct sha256 *ret_wish);

/* The mark of a revision, as hexadecimal. */
void cursor_mark(const struct cursor_key *key, const struct sha256 *wish, uint64_t revision,
                 char out[CURSOR_MARK_HEX + 1]);

/* Whether text is that mark; takes as long for every wrong one. */
bool cursor_is_marked(const struct cursor_key *key, const struct sha256 *wish,
                      uint64_t revision, struct str text);

#endif
