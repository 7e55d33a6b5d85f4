/*
 * Blocks of pages for buffers that are large and hardly ever used to the end. Internal to net.
 *
 * nghttp2 gives each session a frame buffer of 16,394 bytes of which an idle connection touches the first page. From
 * the heap it gets memory that others have touched (TLS buffers of the handshake, earlier sessions), so that ten
 * thousand connections hold 120 MiB of it for nothing. Blocks from here are untouched pages again when they are given
 * out, all but the first. Any thread.
 */
#ifndef TRIMTAB_NET_PAGES_H
#define TRIMTAB_NET_PAGES_H

#include "base/attr.h"

#include <stdbool.h>
#include <stddef.h>

enum { PAGES_BLOCK = 5 * 4096 };

/* A block of PAGES_BLOCK bytes, of any content; NULL: no memory. */
must_use void *pages_alloc(void);
/* False, and nothing done, when p is no such block. */
bool pages_free(void *p);
bool pages_own(const void *p);

#endif
