/*
 * Codings of contents (RFC 9110, sections 8.4 and 12.5.3): what a client wishes, and what is worth it. Pure.
 */
#ifndef TRIMTAB_SERVER_EDGE_CODING_H
#define TRIMTAB_SERVER_EDGE_CODING_H

#include "base/str.h"

/* How much a client likes a coding, in thousandths; -1: it does not name it. */
struct coding_wish {
    int gzip, identity, any;
};

#define CODING_WISH_NONE ((struct coding_wish){-1, -1, -1})

/* Adds the value of one header Accept-Encoding. A weight that is none counts as 0. */
void coding_read(struct coding_wish *wish, struct str list);
/* Whether gzip is allowed, and liked no less than the plain text. */
bool coding_wants_gzip(const struct coding_wish *wish);

/* Whether the value of a header Content-Encoding leaves the body as it is. */
bool coding_is_identity(struct str list);

/* Whether contents of this type are text, which gets smaller. */
bool coding_is_text(struct str type);

#endif
