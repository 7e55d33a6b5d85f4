/*
 * Applying: brings what was received into service, groups standing or falling together over all sinks.
 *
 *             groups chosen          all sinks staged            passed, all groups tried
 *   IDLE ----------------> STAGING -----------------> CHECKING ---------------------------> SWITCHING
 *     ^                      ^  |  failed                | failed                               |
 *     |                      |  +------------------------+                                      v
 *     |                      +---- halves of what failed, one by one                        RELOADING
 *     |                                                                                         |
 *     +----------------------------- served, noted, told ------------------- passed ------------+
 *     +----------------------------- UNDOING: files as before, reloaded ---- failed ------------+
 *
 * All checks precede any switch. All groups are tried at once; when that fails, halves are tried on top of what has
 * passed, until each group that fails alone is refused. Files are staged and switched on a worker thread; one job
 * at a time, what comes meanwhile waits.
 */
#ifndef TRIMTAB_AGENT_APPLY_H
#define TRIMTAB_AGENT_APPLY_H

#include "agent/child.h"
#include "agent/ledger.h"
#include "agent/sink.h"

/* What was delivered by one [files] section: path -> struct delivered; a path that ends in '/' is a folder. */
struct delivered {
    struct sha256 hash;
    size_t len;
    char path[];
};

struct sink_state {
    const struct config_files *config;
    struct map delivered;
};

struct apply_stats {
    uint64_t jobs, checks, checks_failed, reloads, reloads_failed, files_written, files_removed,
        files_restored;
};

struct apply;

struct apply_opts {
    struct loop *loop;
    const struct config *config;
    struct ledger *ledger;
    struct copy *copy;
    /* A job has ended or there was nothing to do: what is served is final for this revision. */
    void (*applied)(void *ctx, uint64_t revision);
    /* Nothing is to be done, and what is served was told. */
    void (*idle)(void *ctx);
    void *ctx;
};

/* ERR_NOMEM. files is what the copy knows to be delivered. */
must_use int apply_new(const struct apply_opts *opts, const struct copy_content *content,
                       struct apply **ret_apply);
/* Not while a job is under way. Always NULL; takes NULL. */
struct apply *apply_free(struct apply *a);

/* Something may be to be done. */
void apply_kick(struct apply *a);
/* The next job also looks at every file that is there. */
void apply_verify(struct apply *a);
/* What was refused is tried again; only_passing: only what failed for want of space or the like. */
enum apply_retry { APPLY_RETRY_ALL, APPLY_RETRY_PASSING };
void apply_retry(struct apply *a, enum apply_retry which);

/* The same for these resources, by their ids. */
void apply_retry_these(struct apply *a, char *const *ids, size_t n);
/* Whether something refused is still to be tried again. */
bool apply_is_retrying(const struct apply *a);
/*
 * While it is paused no job begins: what is new is told to be held, nothing is restored, retried or reloaded. A job under
 * way goes on to its end.
 */
void apply_pause(struct apply *a, bool is_paused);

/* Ends the job under way, if it has not switched; no other begins. done is called from the loop when it is idle. */
void apply_stop(struct apply *a, void (*done)(void *ctx), void *ctx);

bool apply_is_busy(const struct apply *a);
struct apply_stats apply_stats(const struct apply *a);

#endif
