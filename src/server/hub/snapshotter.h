/*
 * Writing a snapshot of the state beside the commits, on a thread of its own for as long as it takes.
 *
 *   store's thread                          the snapshot's thread
 *   snapshotter_begin(state) ------------>  encode, write, sync, rename, read back
 *   snapshotter_is_done                     (which pins the state meanwhile)
 *   snapshotter_end: a row makes it official
 */
#ifndef TRIMTAB_SERVER_HUB_SNAPSHOTTER_H
#define TRIMTAB_SERVER_HUB_SNAPSHOTTER_H

#include "model/state.h"
#include "store/store.h"

#include <pthread.h>
#include <stdatomic.h>

struct snapshotter {
    struct store_snapshot *snapshot; /* NULL: none is being written */
    struct state *state;
    pthread_t thread;
    _Atomic bool must_stop, is_done;
    /* the thread's, until it is done */
    int result;
    struct err err;
};

/* All on the store's thread. ERR_IO, ERR_NOMEM, and what store_snapshot_new may answer. */
must_use int snapshotter_begin(struct snapshotter *w, struct store *s, struct state *state,
                               struct err *err);

static inline bool snapshotter_is_busy(const struct snapshotter *w)
{
    return w->snapshot != NULL;
}

static inline bool snapshotter_is_done(const struct snapshotter *w)
{
    return w->snapshot && atomic_load(&w->is_done);
}

/* When it is done: makes it official. */
must_use int snapshotter_end(struct snapshotter *w, uint64_t *ret_revision, struct err *err);

/* Gives up what is being written, if anything is, and waits until the thread has noticed. */
void snapshotter_cancel(struct snapshotter *w);

#endif
