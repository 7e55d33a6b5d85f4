/*
 * Who drives, and how far its soaks are: kept in the store, so that one of several servers drives and another can go on.
 *
 * The lease only saves work: every move compares the rollout, so that two drivers would be refused, not obeyed twice.
 * Soaks and pieces are ephemeral items under a lease of their own, which outlives a server by a day.
 *
 * Called on the loop; the store is used on the committer's thread, one visit at a time.
 */
#ifndef TRIMTAB_SERVER_ROLLOUT_LEASE_H
#define TRIMTAB_SERVER_ROLLOUT_LEASE_H

#include "base/shared.h"
#include "base/vec.h"
#include "server/hub/committer.h"

enum { SERVER_ID_BYTES = 16 };

/* What is kept of a rollout: its soak, or a piece of who has applied it (model/applied.h). */
struct drive_record {
    uint64_t rollout, step, held_ms;
    uint64_t targets; /* that were connected: whom to wait for after a restart */
    bool has_ended;   /* it is to be forgotten */
    bool is_piece;
    uint64_t piece;     /* its number */
    struct shared *ids; /* in it; a reference */
};
struct drive_records {
    struct drive_record *at;
    size_t n, cap;
};
void drive_records_deinit(struct drive_records *records);

struct driver_lease {
    struct committer *committer;
    char id[2 * SERVER_ID_BYTES + 1]; /* of this server */
    void (*done)(void *ctx);          /* after every visit, on the loop */
    void *ctx;
    bool is_held; /* this server drives */
    bool is_busy; /* a visit is on its way */

    struct read_job job;   /* below: the committer's thread while busy */
    uint64_t lease, soaks; /* ids in the store; 0: none */
    bool has_loaded;
    struct drive_records loaded; /* what was kept when this server began to drive */
    struct drive_records saving;
    bool is_leaving, holds, failed;
};

/* Reads or makes the id of this server, in its data folder. Fails as file_read and file_replace do. */
must_use int driver_lease_open(struct driver_lease *l, const char *data_dir,
                               struct committer *committer, struct err *err);
/* Frees what it holds; no visit may be on its way. */
void driver_lease_close(struct driver_lease *l);

/* Takes or keeps the lease, and saves these. Takes over records, which may be empty. Not while busy. */
void driver_lease_visit(struct driver_lease *l, struct drive_records *records);
/* The last visit: saves, and lets another server drive at once. */
void driver_lease_leave(struct driver_lease *l, struct drive_records *records);

#endif
