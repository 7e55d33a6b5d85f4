/*
 * The job: brings what was received into service, groups standing or falling together over all sinks. It knows groups,
 * order and verdicts; what a sink is, and where its items go, is behind struct sink_ops.
 *
 *             groups chosen          all sinks staged            passed, all groups tried
 *   IDLE ----------------> STAGING -----------------> CHECKING ---------------------------> SWITCHING
 *     ^                      ^  |  failed                | failed                               |
 *     |                      |  +------------------------+                                      v
 *     |                      +---- halves of what failed, one by one                        RELOADING
 *     |                                                                                         |
 *     +-- FINISHING <--------------- served, noted, told ------------------- passed ------------+
 *     +-- FINISHING <-- RELOADING_OLD <-- UNDOING: as before, told anew ---- failed ------------+
 *
 * All checks precede any switch. All groups are tried at once; when that fails, halves are tried on top of what has
 * passed, until each group that fails alone is refused. Sinks stage and switch on a worker thread; one job at a time,
 * what comes meanwhile waits. The moves between states are a table in job.c, and each is asserted.
 */
#ifndef TRIMTAB_AGENT_JOB_H
#define TRIMTAB_AGENT_JOB_H

#include "agent/ledger.h"
#include "agent/sink.h"
#include "net/loop.h"

struct job_stats {
    uint64_t jobs, checks, checks_failed, reloads, reloads_failed, files_written, files_removed,
        files_restored;
};

struct job;

struct job_opts {
    struct loop *loop;
    struct ledger *ledger;
    struct copy *copy;
    struct sink *const *sinks; /* in order of dependency; borrowed */
    size_t n_sinks;
    /* How long what was refused for its content waits for its next try, and looking at what is there after a failure. */
    uint64_t retry_ms;
    /* A job has ended or there was nothing to do: what is served is final for this revision. */
    void (*applied)(void *ctx, uint64_t revision);
    /* Nothing is to be done, and what is served was told. */
    void (*idle)(void *ctx);
    void *ctx;
};

/* NULL without memory. */
must_use struct job *job_new(const struct job_opts *opts);
/* Not while a job is under way. Always NULL; takes NULL. */
struct job *job_free(struct job *j);

/* Something may be to be done. */
void job_kick(struct job *j);
/* Looks at what is there. What was altered is put right, or no longer served; what is as it was makes no job to be told of. */
void job_verify(struct job *j, enum sink_look look);
/*
 * All that was refused is tried again now; at the start not what was altered on the host, which only somebody's order
 * puts right. By itself it is tried again after a while: what failed for a passing reason
 * after 1 s, then after twice as long each time, up to 5 min; what was refused for its content after retry_ms, and when
 * something beside it has changed.
 */
enum job_retry { JOB_RETRY_ORDERED, JOB_RETRY_START };
void job_retry(struct job *j, enum job_retry why);
/* The same for these resources, by their ids. */
void job_retry_these(struct job *j, char *const *ids, size_t n);
/* Whether something refused is still to be tried again. */
bool job_is_retrying(const struct job *j);
/*
 * While it is paused no job begins: what is new is told to be held, nothing is restored, retried or reloaded. A job under
 * way goes on to its end.
 */
void job_pause(struct job *j, bool is_paused);

/*
 * Ends the job under way, if it has not switched; no other begins. A reload is waited for; when it fails, which may be
 * for the same reason for which the agent ends, that is no verdict: the next start tells the receiver anew. done is
 * called from the loop when it is idle.
 */
void job_stop(struct job *j, void (*done)(void *ctx), void *ctx);

bool job_is_busy(const struct job *j);
struct job_stats job_stats(const struct job *j);

#endif
