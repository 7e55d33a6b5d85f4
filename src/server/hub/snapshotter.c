/*
 * Snapshots on a thread of their own. See snapshotter.h.
 */
#include "server/hub/snapshotter.h"

#include "proto/record.h"

#include <sys/resource.h>

enum { PART_BYTES = 512 * 1024, NICE = 5 /* who commits and who answers goes before it */ };

static int write_parts(struct snapshotter *w, struct snapshot_walk *walk)
{
    int r = 0;

    while (!r) {
        bool failed = false;
        struct shared *part = snapshot_part(walk, PART_BYTES, &failed);

        if (!part)
            return failed ? err_set(&w->err, ERR_NOMEM, "out of memory for a snapshot") : 0;
        r = atomic_load(&w->must_stop)
                ? err_set(&w->err, ERR_CANCELLED, "the snapshot was given up")
                : store_snapshot_add(w->snapshot, shared_str(part), &w->err);
        (void)shared_unref(part);
    }
    return r;
}

static void *run(void *arg)
{
    struct snapshotter *w = arg;
    struct snapshot_walk walk;

    (void)pthread_setname_np(pthread_self(), "snapshotter");
    /* Of this thread; without it the work is done all the same. */
    (void)setpriority(PRIO_PROCESS, 0, NICE);
    snapshot_walk_init(&walk, w->state);
    w->result = write_parts(w, &walk);
    if (!w->result)
        w->result = store_snapshot_finish(w->snapshot, &w->err);
    atomic_store(&w->is_done, true);
    return NULL;
}

static void forget(struct snapshotter *w)
{
    w->snapshot = store_snapshot_free(w->snapshot);
    w->state = state_unref(w->state);
}

int snapshotter_begin(struct snapshotter *w, struct store *s, struct state *state,
                      struct err *err)
{
    int r = store_snapshot_new(s, state->revision, &w->snapshot, err);

    if (r)
        return r;
    w->state = state_ref(state);
    w->err = ERR_NULL;
    atomic_store(&w->must_stop, false);
    atomic_store(&w->is_done, false);
    if (pthread_create(&w->thread, NULL, run, w) == 0)
        return 0;
    forget(w);
    return err_set(err, ERR_NOMEM, "cannot start the thread of a snapshot");
}

int snapshotter_end(struct snapshotter *w, uint64_t *ret_revision, struct err *err)
{
    uint64_t revision = w->state->revision;
    int r;

    (void)pthread_join(w->thread, NULL);
    r = w->result;
    if (r)
        *err = w->err;
    else
        r = store_snapshot_commit(w->snapshot, err);
    forget(w);
    if (!r)
        *ret_revision = revision;
    return r;
}

void snapshotter_cancel(struct snapshotter *w)
{
    if (!w->snapshot)
        return;
    atomic_store(&w->must_stop, true);
    (void)pthread_join(w->thread, NULL);
    forget(w);
}
