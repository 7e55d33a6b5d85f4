/*
 * Preconditions of requests (RFC 9110, section 13): entity tags, If-Match and If-None-Match.
 *
 * A resource as a document has the tag "VERSION-HASH", its content the tag "SHA256". If-Match takes both, and a version
 * alone. What holds of the newest state is made a condition of the commit, so it holds when that is made, too.
 */
#ifndef TRIMTAB_SERVER_EDGE_PRECONDITION_H
#define TRIMTAB_SERVER_EDGE_PRECONDITION_H

#include "base/err.h"
#include "model/state.h"

#include <trimtab/v1/admin.pb-c.h>

enum { ETAG_MAX = 80 }; /* bytes, with quotes and the final NUL */

/* The tag of a resource as a document. */
void etag_of_resource(uint64_t version, struct str hash, char etag[ETAG_MAX]);

/* Whether a list of tags, or "*", has this one, weakly compared: If-None-Match of a reader (section 13.1.2). */
bool etags_match(struct str list, struct str etag);

/*
 * Judges the headers of a change by the newest version, and makes of them conditions of the commit. Absent headers have
 * no data. ERR_CONFLICT: they do not hold (412); ERR_INVALID: they are no tags.
 */
must_use int precondition_judge(const struct state *state, struct str match, struct str none,
                                Trimtab__V1__Change *c, struct err *err);

#endif
