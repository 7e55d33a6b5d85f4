/*
 * gzip (RFC 1952) of whole texts, as HTTP and gRPC have it. Pure: bytes in, bytes out, no memory but what is given back. Used by
 * any thread.
 */
#ifndef TRIMTAB_NET_GZIP_H
#define TRIMTAB_NET_GZIP_H

#include "base/buf.h"

enum gzip_outcome {
    GZIP_NO_GAIN = 1,   /* packing: it would be longer */
    GZIP_BROKEN = 2,    /* unpacking: no gzip, damaged, or cut off */
    GZIP_TOO_LARGE = 3, /* unpacking: more than out may hold */
};

/*
 * Appends the packed text to out. 0, GZIP_NO_GAIN, or ERR_NOMEM; after these two out has less than all of it, and is of no
 * use. A text may have up to 4 GiB.
 */
must_use int gzip_pack(struct str text, struct buf *out);

/*
 * Appends to out what was packed, also in several members one after another. Never more than out.ceiling is allocated,
 * whatever the bytes claim to hold. 0, GZIP_BROKEN, GZIP_TOO_LARGE, or ERR_NOMEM; after these three out is of no use.
 */
must_use int gzip_unpack(struct str packed, struct buf *out);

#endif
