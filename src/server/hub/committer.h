/*
 * The committer: the one thread that owns the store. It checks commits against the newest state, appends them in
 * groups, folds what comes back on the store's watch, and hands the new state to the loop before it answers.
 *
 *   loop                              committer's thread
 *   committer_commit(job) ---------> queue: check all against the running state, append as one group (fsync)
 *   on_publish(state, versions) <--- the watch gave the records: folded
 *   job->done(job) <---------------- after the publication, so whoever published reads what it wrote
 *
 * While a group is synced the next one gathers; that is the group commit. State is read on the loop from the last
 * publication, never from the store. History is read on a thread of its own (committer_history).
 */
#ifndef TRIMTAB_SERVER_HUB_COMMITTER_H
#define TRIMTAB_SERVER_HUB_COMMITTER_H

#include "base/arena.h"
#include "base/vec.h"
#include "model/commit.h"
#include "net/loop.h"
#include "proto/record.h"
#include "server/hub/history.h"

struct committer;
struct publication;

/* Given on the loop; p is borrowed until return. */
typedef void committer_publish_fn(void *ctx, struct publication *p);

/*
 * What the log has come to, for the loop and whoever it hands it on to. Immutable once it was given; counted. Versions are all that
 * changed since the one before, oldest first.
 */
struct publication {
    _Atomic uint32_t refs;
    struct state *state;
    VEC(struct version *) versions;
    struct post post; /* the committer's */
    committer_publish_fn *on_publish;
    void *ctx;
    struct publication_way { /* of who receives it, opts.n_ways of them */
        struct post post;
        struct publication *publication;
        void *to;
    } ways[];
};
struct publication *publication_ref(struct publication *p);
struct publication *publication_unref(struct publication *p); /* always NULL; takes NULL */

struct committer_opts {
    const char *store_url;
    struct store_disk
        *disk; /* of the store mem: when it is to outlive the committer; else NULL */
    struct loop *loop;
    committer_publish_fn *on_publish;
    void *ctx;
    size_t n_ways; /* to which a publication may be handed on */
    uint64_t
        snapshot_records; /* a snapshot after that many records at the latest; 0: as the log grows */
    const char *highwater; /* file of the high-water mark; NULL: none */
};

/*
 * Opens the store, loads its state and starts the thread. Everything that store_open may answer; ERR_CORRUPT, too,
 * when the log ends before what the high-water mark says, or is another one. *ret_state is the loaded state, the
 * caller's reference.
 */
must_use int committer_open(const struct committer_opts *opts, struct committer **ret_committer,
                            struct state **ret_state, struct err *err);

/*
 * Finishes what is queued, stops the thread and closes the store. What it has posted to the loop by then still comes
 * there, and nothing after that.
 */
int committer_close(struct committer *c, struct err *err);

struct store_identity committer_identity(const struct committer *c);

/* A commit on its way. Everything is the caller's and stays until done was called, on the loop. */
struct commit_job {
    struct commit commit;
    const struct principal *
        principal; /* who needs the rights to it, by the newest state; NULL: the server itself */
    bool is_dry_run; /* for commit_job_try alone */
    void (*done)(struct commit_job *job);

    /* The result: 0 and what became of each change, or a failure with its story. */
    int result;
    struct err err;
    uint64_t revision; /* of the commit; the head when nothing changed or on a dry run */
    uint64_t
        repeated; /* the revision that this request id had made before; then plans say nothing */
    struct change_plan *plans; /* commit.n; old versions stay referenced by state */
    struct state *state;       /* that it was checked against; the job's reference */
    struct arena arena;        /* of keys and references */

    struct post post; /* the committer's */
    struct commit_job *next;
    struct record_encoded record;
    struct version **versions;
    size_t n_versions;
    struct state *after;
};

void committer_commit(struct committer *c, struct commit_job *job);
/*
 * Any thread: what a dry run comes to on top of a state. done is not called, the result is there on return. A reference to the state
 * is the job's.
 */
void commit_job_try(struct commit_job *job, struct state *state);
/* Frees what the result holds; after done. */
void commit_job_deinit(struct commit_job *job);

/* Reads the log, beside the commits, on a reader of the store. */
void committer_history(struct committer *c, struct read_job *job);
/* The same on the committer's thread with the store itself, for leases and ephemeral items. */
void committer_read(struct committer *c, struct read_job *job);

/*
 * A copy of the store (store_backup_new), made on the committer's thread between groups. done comes on the loop with
 * the result; the file is whole when that is 0 and not there otherwise. One at a time. Caller's memory until then. committer_backup_cancel makes it end soon, with ERR_CANCELLED.
 */
struct backup_job {
    const char *path;
    void (*done)(struct backup_job *job);
    int result;
    struct err err;
    uint64_t revision; /* newest in the copy */
    struct loop *home; /* where done is called; NULL: the committer's */
    _Atomic bool is_cancelled;
    struct post post;
};

void committer_backup(struct committer *c, struct backup_job *job);
void committer_backup_cancel(struct backup_job *job);

/* The record that an entry of the log holds. */
static inline struct record_parts log_parts(const struct store_entry *entry)
{
    return (struct record_parts){entry->bytes, entry->contents, entry->n_contents};
}

/* For metrics; any thread. */
struct committer_stats {
    struct store_stats store;
    uint64_t commits; /* put into the log by this server: no dry runs, no repeated requests */
    uint64_t refused, groups, snapshots;
    /* The scrub: everything that the log holds is read and verified, slowly, again and again. */
    uint64_t scrub_rounds, scrub_records;
    uint64_t damaged; /* records that were damaged in the last round, or so far in this one */
    char damage[160]; /* the first of them; "": none */
};
struct committer_stats committer_stats(struct committer *c);

/* The chain hash of the newest record; any thread. */
struct store_head committer_head(struct committer *c);

#endif
