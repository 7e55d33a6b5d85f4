/*
 * Reading history on a thread of its own. See history.h.
 */
#include "server/hub/history.h"

#include "base/alloc.h"

#include <pthread.h>
#include <sys/resource.h>

enum { TICK_MS = 200, NICENESS = 5 }; /* who commits and who answers goes before it */

struct history {
    struct history_opts opts;
    struct store *reader; /* the thread's */
    pthread_t thread;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t wake;
    struct read_jobs jobs;
    bool must_stop;
};

/* ---- jobs ---- */

void read_jobs_put(struct read_jobs *jobs, struct read_job *job)
{
    job->next = NULL;
    *jobs->end = job;
    jobs->end = &job->next;
}

struct read_job *read_jobs_take(struct read_jobs *jobs)
{
    struct read_job *first = jobs->first;

    read_jobs_init(jobs);
    return first;
}

static void done_on_loop(struct post *post, void *ctx)
{
    struct read_job *job = ctx;

    (void)post;
    job->done(job);
}

void read_job_run(struct read_job *job, struct store *store, struct loop *loop)
{
    job->run(job, store);
    job->post = (struct post){.fn = done_on_loop, .ctx = job};
    loop_post(loop, &job->post);
}

/* ---- the thread ---- */

/* Waits for jobs, at most one tick. False: there are none, and there will be none. */
static bool take_jobs(struct history *h, struct read_job **ret)
{
    struct timespec until;
    bool must_stop;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    (void)pthread_mutex_lock(&h->mutex);
    while (!h->jobs.first && !h->must_stop)
        if (pthread_cond_timedwait(&h->wake, &h->mutex, &until))
            break;
    *ret = read_jobs_take(&h->jobs);
    must_stop = h->must_stop;
    (void)pthread_mutex_unlock(&h->mutex);
    return *ret || !must_stop;
}

static void *run(void *arg)
{
    struct history *h = arg;
    nsec_t idle_due = 0;
    struct read_job *list;

    (void)pthread_setname_np(pthread_self(), "history");
    /* Of this thread; at worst long reads take their share of the processor beside commits and loops. */
    (void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + NICENESS);
    while (take_jobs(h, &list)) {
        while (list) {
            struct read_job *job = list;

            list = job->next;
            read_job_run(job, h->reader, h->opts.loop);
            store_reader_release(h->reader);
        }
        if (clock_now() < idle_due)
            continue;
        h->opts.idle(h->opts.ctx, h->reader);
        store_reader_release(h->reader);
        idle_due = clock_now() + (nsec_t)TICK_MS * NSEC_PER_MS;
    }
    return NULL;
}

/* ---- life ---- */

static void init_sync(struct history *h)
{
    pthread_condattr_t attributes;

    (void)pthread_mutex_init(&h->mutex, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&h->wake, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    read_jobs_init(&h->jobs);
}

static struct history *history_free(struct history *h)
{
    h->reader = store_drop(h->reader);
    (void)pthread_cond_destroy(&h->wake);
    (void)pthread_mutex_destroy(&h->mutex);
    return mem_free(h);
}

int history_open(const struct history_opts *opts, struct history **ret, struct err *err)
{
    struct history *h = NEW(struct history);
    int r;

    if (!h)
        return err_set(err, ERR_NOMEM, "out of memory");
    h->opts = *opts;
    init_sync(h);
    r = store_reader_open(opts->store, &h->reader, err);
    if (!r && pthread_create(&h->thread, NULL, run, h))
        r = err_set(err, ERR_NOMEM, "cannot start the thread that reads history");
    if (r)
        (void)history_free(h);
    else
        *ret = h;
    return r;
}

struct history *history_close(struct history *h)
{
    if (!h)
        return NULL;
    (void)pthread_mutex_lock(&h->mutex);
    h->must_stop = true;
    (void)pthread_cond_signal(&h->wake);
    (void)pthread_mutex_unlock(&h->mutex);
    (void)pthread_join(h->thread, NULL);
    return history_free(h);
}

void history_ask(struct history *h, struct read_job *job)
{
    (void)pthread_mutex_lock(&h->mutex);
    read_jobs_put(&h->jobs, job);
    (void)pthread_cond_signal(&h->wake);
    (void)pthread_mutex_unlock(&h->mutex);
}
