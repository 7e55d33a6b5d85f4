/*
 * HTTP/2 and gRPC by hand: as little of RFC 9113 as a client of one or many calls on a connection needs.
 */
#ifndef TRIMTAB_BENCH_H2_H
#define TRIMTAB_BENCH_H2_H

#include "bench/peer.h"

/* Preface and settings: windows that never fill. */
void h2_open(struct peer_conn *c);
/* A new call; its messages follow. authorization may be NULL. */
void h2_call(struct peer_conn *c, const char *path, const char *authorization);
/* One gRPC message on the newest call; the last ends the request. */
void h2_message(struct peer_conn *c, struct str bytes, bool is_last);
/* Takes frames. on_message gets each gRPC message; an answered call of a writer counts as a put. */
size_t h2_take(struct peer_conn *c, struct str in,
               void (*on_message)(struct peer_conn *c, struct str message));

#endif
