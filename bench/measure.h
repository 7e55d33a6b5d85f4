/*
 * What the figures share: arguments, room, times, and what the server's process has used.
 */
#ifndef TRIMTAB_BENCH_MEASURE_H
#define TRIMTAB_BENCH_MEASURE_H

#include "bench/peer.h"

enum { SETTLE_MS = 1600 };

uint64_t number(const char *text); /* ends the program when it is none */
void *room(size_t n, size_t size); /* zeros; ends the program without memory */
int by_double(const void *a, const void *b);
double ms_since(nsec_t begin);

/* bench.size bytes; each sequence number has bytes of its own. */
void fill_value(char *value, uint64_t sequence);

/* Of BENCH_PID: processor time of its threads so far in seconds; 0 without it. */
double server_cpu(void);
/* Of BENCH_PID: resident memory in MiB. */
double server_memory(void);

/* Takes what comes for so long. */
void settle(unsigned ms);
/* A connection for puts, once it is ready. */
struct peer_conn *open_writer(int index);

/* Of honest.c: what honest clients get, first in quiet, then beside what the caller does. */
int honest(char **args);

/* Figures of Trimtab alone, in rollout.c. */
int rollout(char **args);
int rollback(char **args);

#endif
