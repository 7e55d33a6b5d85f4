/*
 * The thread that reads history: the log, on a reader of the store (store_reader_open), so that no question about what
 * was keeps a commit waiting. Each job sees the log as it is when it first looks, which is never behind what was published.
 */
#ifndef TRIMTAB_SERVER_HUB_HISTORY_H
#define TRIMTAB_SERVER_HUB_HISTORY_H

#include "net/loop.h"
#include "store/store.h"

struct history;

/* Work that reads the store: run on a thread of its own, then done on the loop. Caller's memory until then. */
struct read_job {
    void (*run)(struct read_job *job, struct store *store);
    void (*done)(struct read_job *job);
    struct post post;
    struct read_job *next;
};

/* Jobs in the order in which they came, to be run by whoever takes them. */
struct read_jobs {
    struct read_job *first, **end;
};

static inline void read_jobs_init(struct read_jobs *jobs)
{
    jobs->first = NULL;
    jobs->end = &jobs->first;
}

void read_jobs_put(struct read_jobs *jobs, struct read_job *job);
struct read_job *read_jobs_take(struct read_jobs *jobs); /* all of them, as a list */
/* Runs a job and posts it to the loop. */
void read_job_run(struct read_job *job, struct store *store, struct loop *loop);

struct history_opts {
    struct store *store;
    struct loop *loop;
    /* Called about every 200 ms between jobs; may read a little. */
    void (*idle)(void *ctx, struct store *reader);
    void *ctx;
};

/* On the store's thread, before others use the store. ERR_IO, ERR_NOMEM. */
must_use int history_open(const struct history_opts *opts, struct history **ret,
                          struct err *err);
/* Finishes what is queued and ends the thread; before the store is closed. Always NULL; takes NULL. */
struct history *history_close(struct history *h);
void history_ask(struct history *h, struct read_job *job);

#endif
