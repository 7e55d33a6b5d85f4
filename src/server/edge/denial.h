/*
 * Denials: attempts without a token or a right stand in the server's log, with peer, operation and reason, and are counted. A
 * caller who is refused without pause cannot fill the log: each lane writes so many a second, and how many more there were.
 */
#ifndef TRIMTAB_SERVER_EDGE_DENIAL_H
#define TRIMTAB_SERVER_EDGE_DENIAL_H

#include "net/grpc.h"
#include "server/lane/lane.h"

/* Notes that a request (NULL: its peer has gone) ends with this failure, if it is a denial: else nothing. */
void denial_note(struct lane *lane, const struct exchange *x, const struct err *err);
/* Ends a gRPC call with a failure, and notes it. */
void denial_fail_call(struct lane *lane, struct grpc_call *call, const struct err *err);
/* Time passes: tells of those that were not written. */
void denial_tick(struct lane *lane);

#endif
