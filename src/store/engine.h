/*
 * What an engine provides, and what all engines share. Seen by src/store only.
 *
 * An engine keeps rows; store.c does everything that must be the same whoever keeps them: it checks arguments,
 * makes and verifies the chain, remembers request ids, runs the watches of the log, hashes snapshots, and
 * decides how far compaction may go. So an engine can be judged by a short list: it compares the head and
 * appends in one step, and gives back what it was given.
 *
 * A store has observed the log up to s->head: the chain, the request ids and all watches stand there. Records
 * that others appended are met by observing: read from s->head + 1 on, one by one.
 */
#ifndef TRIMTAB_STORE_ENGINE_H
#define TRIMTAB_STORE_ENGINE_H

#include "base/list.h"
#include "base/vec.h"
#include "store/requests.h"
#include "store/store.h"

struct store_engine;

struct store {
    const struct store_engine *engine;
    void *impl; /* the engine's own; NULL before open has finished */
    bool is_reader; /* head is that of the moment that was read last */

    uint32_t semantics; /* highest version this program knows */
    uint32_t retain;
    nsec_t now;             /* the latest time that was told */
    struct store_head head; /* observed up to here */
    struct requests requests;
    VEC(struct sha256) chains; /* of the append that is running */
    VEC(struct str) packed;    /* likewise: the contents of each record as engines keep them */
    char *packing;             /* their bytes */
    VEC(struct hashed) parsed; /* contents of the record that is being given */

    struct link watches;           /* struct store_watch */
    struct link ephemeral_watches; /* struct store_ephemeral_watch */
    struct store_snapshot *snapshot;
    struct store_backup *backup;
    uint64_t backup_revision; /* newest in the copy, once the last record is in it */
    uint64_t verified[2]; /* ids of snapshots that were read back and are whole; 0: none */

    int wake_fd; /* an eventfd: readable once store_wake was called */
    struct store_stats stats;
};

/* An append whose arguments are good and whose chains are made. */
struct store_batch {
    const struct store_record *records;
    const struct sha256 *chains; /* one per record */
    const struct str *packed;    /* likewise: what is to be given back as store_entry.packed */
    size_t n;
    struct store_head before; /* the head that it needs */
};

enum store_rows {
    STORE_ROWS_LOG,      /* from the floor on; STORE_COMPACTED below it */
    STORE_ROWS_REQUESTS, /* the same without the bytes */
    STORE_ROWS_ALL,      /* kept ones too; holes are no outcome */
};

/* A committed snapshot as the engine keeps it. */
struct store_snapshot_row {
    uint64_t id; /* grows; never 0 */
    uint64_t revision;
    uint64_t bytes;
    struct sha256 chain;
    struct sha256 hash; /* store.c's business */
};

typedef int store_snapshot_row_fn(void *ctx, const struct store_snapshot_row *row);

struct store_engine {
    const char *scheme; /* "mem" of "mem:..." */

    /* open sets s->impl last, so that close is for what was opened; close releases in any case */
    int (*open)(struct store *s, const char *place, const struct store_opts *opts,
                struct err *err);
    int (*close)(struct store *s, struct err *err);
    /* R4: sets reader->impl last. Of what follows a reader is asked for head, base, read, marked and mark_find. */
    int (*open_reader)(struct store *reader, struct store *s, struct err *err);
    void (*release)(struct store *reader);

    int (*identity)(struct store *s, struct store_identity *ret_identity, struct err *err);
    int (*set_identity)(struct store *s, const struct store_identity *identity,
                        struct err *err);

    /* The newest record, linearizable; settles what is undecided (D3). */
    int (*head)(struct store *s, struct store_head *ret_head, struct err *err);
    /* The record before the floor: its revision is the floor - 1. */
    int (*base)(struct store *s, struct store_head *ret_base, struct err *err);
    /* D1 D2 O2 B3: 0, STORE_CONFLICT, STORE_BLOB_GONE with *ret_at, or negative as store_append. */
    int (*append)(struct store *s, const struct store_batch *batch, size_t *ret_at,
                  struct err *err);
    /* Rows as they are, unverified; of entry.contents nothing is filled in. */
    int (*read)(struct store *s, enum store_rows rows, const uint64_t range[2],
                store_entry_fn *fn, void *ctx, struct err *err);

    int (*mark)(struct store *s, const struct store_mark *marks, size_t n, uint64_t upto,
                struct err *err);
    int (*marked)(struct store *s, uint64_t *ret_upto, struct err *err);
    int (*mark_find)(struct store *s, struct str key, uint64_t number,
                     struct store_mark *ret_mark, struct err *err);

    /*
     * S1: chunks of the running snapshot. finish makes them durable, read_back gives them as they lie there then; these
     * three may come on another thread. commit makes it visible and removes those that are listed.
     */
    int (*snapshot_begin)(struct store *s, uint64_t revision, uint64_t *ret_id,
                          struct err *err);
    int (*snapshot_chunk)(struct store *s, struct str bytes, struct err *err);
    int (*snapshot_finish)(struct store *s, struct err *err);
    int (*snapshot_read_back)(struct store *s, store_chunk_fn *fn, void *ctx, struct err *err);
    int (*snapshot_commit)(struct store *s, const struct store_snapshot_row *row,
                           uint64_t keep_id,
                           struct err *err); /* all others than this one and keep_id go */
    void (*snapshot_abort)(struct store *s);
    int (*snapshot_each)(struct store *s, store_snapshot_row_fn *fn, void *ctx,
                         struct err *err); /* committed ones, newest first */
    int (*snapshot_chunks)(struct store *s, uint64_t id, store_chunk_fn *fn, void *ctx,
                           struct err *err);

    int (*tidy)(struct store *s, struct err *err); /* also of a reader */

    /* Raises the floor to at most limit, moving kept records (C2). */
    int (*compact)(struct store *s, const struct store_compact *op, uint64_t limit,
                   struct err *err);
    int (*forget)(struct store *s, const uint64_t *revisions, size_t n, struct err *err);

    int (*blob_put)(struct store *s, const struct sha256 *hash, struct str bytes,
                    struct err *err);
    int (*blob_get)(struct store *s, const struct sha256 *hash, struct shared **ret_bytes,
                    struct err *err); /* unverified */
    int (*blob_has)(struct store *s, const struct sha256 *hash, bool *ret_has, struct err *err);
    int (*blob_epoch)(struct store *s, uint64_t *ret_epoch, struct err *err);
    int (*blob_collect)(struct store *s, const struct store_collect *op, uint64_t *ret_removed,
                        struct err *err);

    /* These call store_ephemeral_changed for what they changed, once it is durable. */
    int (*lease_grant)(struct store *s, nsec_t ttl, uint64_t *ret_lease, struct err *err);
    int (*lease_keep)(struct store *s, uint64_t lease, struct err *err);
    int (*lease_revoke)(struct store *s, uint64_t lease, struct err *err);
    int (*ephemeral_put)(struct store *s, uint64_t lease, const struct store_ephemeral *items,
                         size_t n, struct err *err);
    int (*ephemeral_delete)(struct store *s, const struct str *keys, size_t n, struct err *err);
    /* Calls store_ephemeral_changed for what is still due first, so that the list continues the changes. */
    int (*ephemeral_list)(struct store *s, struct str prefix, store_ephemeral_fn *fn, void *ctx,
                          struct err *err);

    int (*tick)(struct store *s, nsec_t *ret_next, struct err *err); /* at s->now */
    /* Waits as store_poll says, tells ephemeral changes of others; store.c then observes. */
    int (*poll)(struct store *s, int timeout_ms, struct err *err);

    int (*check)(struct store *s, struct err *err); /* own structure, blobs, items */
    /* The file is there and empty. step: STORE_MORE, 0 (s->backup_revision is set) or negative; end comes after any of
       them, once. */
    int (*backup_begin)(struct store *s, const char *path, struct err *err);
    int (*backup_step)(struct store *s, size_t bytes, struct err *err);
    int (*backup_end)(struct store *s, struct err *err);
};

extern const struct store_engine store_mem_engine;
extern const struct store_engine store_sqlite_engine;

/* ---- shared by engines ---- */

/* The hash of a snapshot: of none of its pieces, and with one more. */
struct sha256 store_snapshot_hash(uint64_t revision, const struct sha256 *chain);
struct sha256 store_snapshot_hash_next(const struct sha256 *hash, struct str piece);

/* The chain hash of a row (I2). */
struct sha256 store_chain_next(const struct sha256 *previous, const struct store_entry *entry);

/* 0, or ERR_CORRUPT when bytes are not those of the blob. */
must_use int store_blob_check(const struct sha256 *hash, struct str bytes, struct err *err);

/* Gives an ephemeral change to the watches whose prefix it has. */
void store_ephemeral_changed(struct store *s, const struct store_ephemeral *item);

/* Waits for store_wake, for engines that have nothing else to wait for. */
void store_wait_for_wake(struct store *s, int timeout_ms);

#endif
