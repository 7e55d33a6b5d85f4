/*
 * Marks of old versions (store_mark): where in the log every MARK_EVERY-th version of a resource is. Whoever looks for a
 * version begins at the mark behind it and follows the chain from there, instead of from the newest version.
 *
 * The committer notes them from the versions that it folds, and writes them about once a second. What a log holds from
 * before there were marks is scanned piece by piece by the thread that reads history.
 */
#ifndef TRIMTAB_SERVER_HUB_MARKS_H
#define TRIMTAB_SERVER_HUB_MARKS_H

#include "base/clock.h"
#include "base/vec.h"
#include "model/version.h"
#include "store/store.h"

#include <pthread.h>

enum { MARK_EVERY = 128 };

struct mark_list {
    VEC(struct store_mark) marks; /* with keys of their own */
};

struct marks {
    struct mark_list noted; /* the committer's, as is what follows up to the next comment */
    uint64_t written;       /* the log is marked up to here, in the store */
    nsec_t due;
    pthread_mutex_t mutex;  /* guards what follows */
    struct mark_list found; /* in the gap */
    /* the first record that was not scanned, and the last that must be; gap > gap_end: none */
    uint64_t gap, gap_end;
};

/* All that is noted from now on is of records behind `loaded`. */
void marks_open(struct marks *m, struct store *s, uint64_t loaded);
void marks_close(struct marks *m);

/* A new stable version. Without memory there is one mark less, which costs time only. */
void marks_note(struct marks *m, const struct version *v);

enum marks_when { MARKS_IF_DUE, MARKS_NOW };
/* On the store's thread. What cannot be written is tried again later. */
void marks_write(struct marks *m, struct store *s, enum marks_when when);

/* On the thread that reads history: scans some of the gap. */
void marks_scan(struct marks *m, struct store *reader);

#endif
