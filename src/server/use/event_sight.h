/*
 * What of an event somebody may see who does not see everything.
 */
#ifndef TRIMTAB_SERVER_USE_EVENT_SIGHT_H
#define TRIMTAB_SERVER_USE_EVENT_SIGHT_H

#include "server/use/sight.h"

/*
 * Takes from an unpacked event what is not to be seen of it: resources of a commit, what an instance says of items. False:
 * nothing of it is.
 */
bool event_trim(const struct sight *s, Trimtab__V1__Event *m);

#endif
