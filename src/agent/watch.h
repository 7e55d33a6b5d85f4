/*
 * The watch: tells that something has changed in the folders where files were delivered, through one inotify instance. It
 * says not what: whoever is told looks. Where it cannot see (no instance or watch left, a file system without events)
 * it says why, and somebody has to look often instead.
 */
#ifndef TRIMTAB_AGENT_WATCH_H
#define TRIMTAB_AGENT_WATCH_H

#include "net/loop.h"

struct watch;

/* changed is called from the loop, a moment after the first of some changes. NULL without memory. */
must_use struct watch *watch_open(struct loop *loop, void (*changed)(void *ctx), void *ctx);
/* Its memory goes with the loop's handles. */
struct watch *watch_close(struct watch *w); /* always NULL; takes NULL */

/* From any thread: this folder too. One that is watched already stays so, one that goes away is forgotten. */
void watch_folder(struct watch *w, int fd);
/* Why not all is seen; "": all is. */
const char *watch_blindness(const struct watch *w);

#endif
