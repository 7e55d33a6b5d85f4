/*
 * The store: a log of records, and the few other things that must outlive a server.
 *
 * The state of the whole system is a fold over this log, so the log is what must never lie. The store knows
 * nothing of resources: a record is an opaque envelope and the contents that belong to it, an ephemeral item is
 * a key and bytes, a blob is bytes under their hash. Engines: "mem:" (the definition, for tests and simulation), "sqlite:/path". Whatever engine it
 * is, the clauses below hold; tests/store/contract.c runs over every engine and cites them.
 *
 *        floor                           head
 *          |                              |
 *   . k . .[ r  r  r  r  r  r  r  r  r  r ]  <- store_append
 *     |                    |
 *    kept               snapshot: the folded state at a revision; compaction may move the floor up to it
 *
 * Identity
 *   (I1) A store has an id of 16 random bytes, made with it; store_identity_renew gives a restored copy a new one.
 *   (I2) A record is an envelope and its contents; the chain runs over the envelope, which names each content by
 *        hash and length, so that a content can be purged and the chain still holds. The chain of revision r is
 *        SHA-256(chain of r-1, r, length of the request id, length of the envelope, request id, envelope, number
 *        of contents, then hash and length of each), numbers as 8 bytes and the number of contents as 4, big-endian;
 *        the chain of revision 0 is 32 zero bytes. Records that were written before contents lay beside the
 *        envelope have the chain SHA-256(chain of r-1, r, bytes). A log that was rolled back, forked or altered
 *        shows: ERR_CORRUPT.
 *   (I3) The log carries the semantics version of its records. A program that knows only older ones cannot
 *        open it, and can no longer append once another program has raised it: ERR_UNSUPPORTED.
 * Order
 *   (O1) Revisions count 1, 2, 3 ... without holes; n records of one append are n consecutive ones.
 *   (O2) An append happens at the head that its caller expects, or not at all: STORE_CONFLICT.
 *   (O3) When an append answers STORE_CONFLICT or STORE_REPEATED, every watch has been given all records up
 *        to the head that was returned: the caller can check again and retry at once.
 * Durability
 *   (D1) Once an append has returned 0, its records survive the death of the process and a loss of power.
 *   (D2) All n records of an append are in the log, or none is, whatever happens when.
 *   (D3) ERR_TIMEOUT alone means that the outcome is unknown; store_find_request tells it. After every other
 *        negative result nothing was appended, and nothing will turn up later.
 *   (D4) A failed call leaves the store usable: when the cause ends (disk full), the next call succeeds.
 * Requests
 *   (Q1) A request id that is in the log is never appended again: STORE_REPEATED, with the first revision.
 *   (Q2) Ids are remembered for the newest `retain` records (store_opts), over restarts too; older are forgotten.
 * Reading
 *   (R1) store_read gives every record of the range in order, exactly as appended, or STORE_COMPACTED.
 *   (R2) store_read_kept gives what compaction left, in order, with holes.
 *   (R3) Whatever gives a record has verified it first: its place, its chain from the record before, and every
 *        content by its hash. What does not pass is never given: ERR_CORRUPT, and the story names the revision.
 *        A content that was purged is given as its hash, without bytes.
 *   (R4) A reader (store_reader_open) sees the log as it was at one moment, from its first call on until
 *        store_reader_release; what is durable when a moment begins is in it. What compaction removes meanwhile may be
 *        gone from it (STORE_COMPACTED). It never makes the store wait.
 * Watching
 *   (W1) A watch is given every record from its start exactly once and in order: first the old ones, then
 *        each new one, whoever appended it.
 *   (W2) Nothing is given before it is durable.
 *   (W3) Calls come on the store's thread, inside store_watch_open (old records), store_append (its own, and
 *        those of others that it met), store_find_request, store_catch_up and store_poll (those of others).
 *   (W4) A watch whose function does not return 0 has ended; so has one that compaction overtook
 *        (STORE_COMPACTED). `ended` is called once, and nothing after it.
 * Snapshots and compaction
 *   (S1) A snapshot is there whole and with the bytes that were put, or it is not used: one that was never
 *        committed, is torn or was altered is passed over for the one before.
 *   (S2) The newest two whole snapshots are kept; older ones go when a new one is committed.
 *   (C1) The floor never passes the older of the kept snapshots that verify, nor the newest `retain` records;
 *        without a snapshot it does not move. So what is left always suffices to rebuild the state, even
 *        when the newest snapshot turns out to be damaged.
 *   (C2) Records for which the caller's keep function says so survive as kept records until store_forget.
 * Marks
 *   (M1) A mark says in which record that is which somebody counts under a key and a number. Marks are derived from the
 *        log by whoever can read it, and follow behind it: they survive a restart, but one may be missing, and none
 *        proves anything. Whoever goes by a mark looks whether the record is the right one.
 *   (M2) store_marked tells up to where the log was marked; 0 when that is not known.
 * Blobs
 *   (B1) A blob is stored under the SHA-256 of its bytes, which is checked when it is put and when it is got.
 *   (B2) store_blob_put is idempotent; once it returned 0 the blob is durable.
 *   (B3) A collection raises the epoch before it removes anything. An append that names a blob and carries
 *        the epoch that held before the blob was put (or was seen to be there) never succeeds without the
 *        blob: STORE_BLOB_GONE, then put it again and take the new epoch. (It may also be said of a blob
 *        that a running collection is about to remove.)
 * Leases
 *   (L1) A lease lives at least its time to live after it was granted or last kept, by the caller's clock;
 *        the first store_tick past that ends it and removes its ephemeral items.
 *   (L2) Ephemeral items survive a restart. A monotonic clock does not, so on opening every lease starts
 *        its full time again: that can only delay an end, and a late end is safe where an early one
 *        (two holders) is not. Keeping a lease alive therefore writes nothing.
 *        A lease or an item that is damaged in the file counts as ended (store_stats.damaged_items); it is no
 *        reason to keep a server from starting.
 *   (L3) An ephemeral watch is first given the items that are there, then every change in order per key;
 *        changes of one key that are already superseded may be left out.
 * Threads
 *   (T1) Everything is called from one thread, which it may block. Only store_wake may come from any thread, and a
 *        reader, or the pieces of a snapshot, may be another one's business at the same time.
 *   (T2) A callback may call store_head and store_wake; everything else after it has returned.
 *
 * Results are 0, an enum store_outcome where listed, or a negative enum err_code; what a call hands out
 * through ret_ is untouched unless said otherwise. Slices given to callbacks are valid until they return.
 */
#ifndef TRIMTAB_STORE_STORE_H
#define TRIMTAB_STORE_STORE_H

#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/shared.h"

struct store;
struct store_watch;
struct store_ephemeral_watch;
struct store_snapshot;
struct store_disk;  /* store/mem.h */
struct store_files; /* store/files.h */

enum {
    STORE_ID_BYTES = 16,
    STORE_KEY_BYTES = 32,
    STORE_REQUEST_MAX = 64, /* bytes of a request id */
    STORE_RECORD_MAX =
        72 * 1024 * 1024, /* bytes of a record with its contents: 64 MiB and the envelope */
    STORE_APPEND_RECORDS_MAX = 4096,           /* records of one append */
    STORE_APPEND_BYTES_MAX = 72 * 1024 * 1024, /* bytes of all records of one append */
    STORE_RECORD_BLOBS_MAX = 10000,            /* blobs that one record names */
    STORE_RECORD_CONTENTS_MAX = 10000,         /* contents of one record */
    STORE_BLOB_MAX = 64 * 1024 * 1024,
    STORE_CHUNK_MAX = 1024 * 1024, /* bytes of one piece of a snapshot */
    STORE_MARK_KEY_MAX = 1024,
    STORE_MARKS_MAX = 4096, /* marks of one store_mark */
    STORE_EPHEMERAL_KEY_MAX = 512,
    STORE_EPHEMERAL_ITEMS_MAX = 64,          /* items of one put or delete */
    STORE_EPHEMERAL_BYTES_MAX = 1024 * 1024, /* keys and bytes of one put or delete */
    STORE_RETAIN_DEFAULT = 16384,
    STORE_GROUP_BUCKETS = 13, /* store_stats: up to 4096 records */
};

enum store_outcome {
    STORE_CONFLICT = 1, /* the head is not the expected one */
    STORE_REPEATED,     /* a request id is in the log already */
    STORE_BLOB_GONE,    /* a blob that a record names is not there */
    STORE_COMPACTED,    /* the range begins below the floor */
    STORE_MORE,         /* a slice of the work is done; call again */
};

struct store_id {
    unsigned char bytes[STORE_ID_BYTES];
};

struct store_identity {
    struct store_id id;
    uint32_t semantics; /* highest semantics version in the log */
    /* A secret made with the store, for what its server has to recognise later as its own word. It goes along
       into copies and survives store_identity_renew. */
    unsigned char key[STORE_KEY_BYTES];
};

struct store_head {
    uint64_t revision; /* 0: the log is empty */
    struct sha256 chain;
};

/* ---- opening ---- */

enum store_create { STORE_CREATE, STORE_MUST_EXIST };

struct store_opts {
    enum store_create create;
    uint32_t semantics; /* highest version the program knows; a new store begins with it */
    uint32_t retain;    /* Q2, C1; 0: STORE_RETAIN_DEFAULT */
    nsec_t now;         /* the caller's clock, for L1 and L2 */
    struct store_disk *
        disk; /* mem: the simulated disk to use; NULL: a private one that ends with the store */
    const char *sqlite_vfs; /* sqlite: name of a registered VFS, for tests; NULL: the usual one */
    const struct store_files *files; /* likewise, for snapshots; NULL: the system's */
};

/*
 * Opens the store that url names, verifying the newest records against the chain (I2). Closed by store_close.
 *
 * ERR_INVALID (no such engine), ERR_NOT_FOUND (STORE_MUST_EXIST), ERR_LOCKED (another process has it),
 * ERR_UNSUPPORTED (newer schema, or I3), ERR_CORRUPT, ERR_IO, ERR_NOMEM.
 */
must_use int store_open(const char *url, const struct store_opts *opts,
                        struct store **ret_store, struct err *err);

/* Ends all watches without calling them and frees s in any case. The result tells whether the end was orderly. */
int store_close(struct store *s, struct err *err);

/* For owned locals on paths where a failing close changes nothing. */
struct store *store_drop(struct store *s); /* always NULL */
OWNED_BY(store_drop, struct store *, store_drop);

/* As read from the engine when called: the semantics version may have been raised by another program. */
must_use int store_identity(struct store *s, struct store_identity *ret_identity,
                            struct err *err);

/* Gives the store a new id, for a copy that was restored from a backup (I1). */
must_use int store_identity_renew(struct store *s, struct err *err);

/* Raises the semantics version to one that this program knows; lower or equal changes nothing (I3). */
must_use int store_semantics_raise(struct store *s, uint32_t semantics, struct err *err);

/* ---- the log ---- */

/* A record to be appended. Everything is borrowed for the call. */
struct store_record {
    struct str request; /* empty: never looked for */
    struct str bytes;   /* the envelope: at least one */
    const struct hashed *contents;
    size_t n_contents;
    const struct sha256 *blobs;
    size_t n_blobs;
    uint64_t blob_epoch; /* B3; of no meaning without blobs */
};

struct store_append {
    const struct store_record *records;
    size_t n; /* at least 1; their total at most STORE_APPEND_BYTES_MAX */
    uint64_t expected_head;
};

struct store_appended {
    struct store_head
        head;  /* after the call, whatever its outcome; records got expected_head + 1 ... */
    size_t at; /* REPEATED, BLOB_GONE: index of the first such record */
    uint64_t repeated_revision; /* REPEATED: where the first one is */
};

/*
 * Appends all records durably and gives them to all watches, or appends none. ret_appended is filled for 0
 * and for the outcomes.
 *
 *   0                durable (D1, D2)
 *   STORE_CONFLICT   O2, O3
 *   STORE_REPEATED   Q1; looked at before the conflict, so a retry with a stale head learns its result
 *   STORE_BLOB_GONE  B3
 *   ERR_TIMEOUT      unknown outcome (D3)
 *   ERR_INVALID      over a limit, or one request id twice in the call
 *   ERR_IO, ERR_NOMEM, ERR_UNSUPPORTED (I3), ERR_CORRUPT: nothing was appended
 */
must_use int store_append(struct store *s, const struct store_append *op,
                          struct store_appended *ret_appended, struct err *err);

/*
 * The revision of the record with this request id. Settles unknown outcomes first (D3): ERR_NOT_FOUND is
 * final, the record is not in the log and will not turn up. ERR_IO and ERR_TIMEOUT: still unknown.
 */
must_use int store_find_request(struct store *s, struct str request, uint64_t *ret_revision,
                                struct err *err);

/* The newest record that this handle has seen. No I/O. */
struct store_head store_head(const struct store *s);

/*
 * Reads the head as it is at some moment during the call (linearizable) and gives watches everything up to
 * it; afterwards store_head is at least that. ERR_IO, ERR_TIMEOUT, ERR_CORRUPT (I2), ERR_NOMEM.
 */
must_use int store_catch_up(struct store *s, struct err *err);

/* A record that is in the log. */
struct store_entry {
    uint64_t revision;
    struct sha256 chain;
    struct str request;
    struct str bytes; /* the envelope */
    const struct hashed *contents; /* of a purged one the bytes are STR_NULL */
    size_t n_contents;
    /* for engines: the contents as they lie there, without data in a record of the first format; and the chain
       of the record before where a row carries it */
    struct str packed;
    const struct sha256 *previous;
};

/* 0 to go on; anything else ends the reading and is its result. */
typedef int store_entry_fn(void *ctx, const struct store_entry *entry);

/*
 * Gives fn the records from..to, both included; to may lie beyond the head. STORE_COMPACTED (R1; fn was not
 * called), ERR_CORRUPT, ERR_IO, ERR_NOMEM.
 */
must_use int store_read(struct store *s, uint64_t from, uint64_t to, store_entry_fn *fn,
                        void *ctx, struct err *err);

/* The same for what is still there of from..to, kept records included (R2). */
must_use int store_read_kept(struct store *s, uint64_t from, uint64_t to, store_entry_fn *fn,
                             void *ctx, struct err *err);

/* The lowest revision that store_read gives; head + 1 when there is none. */
must_use int store_floor(struct store *s, uint64_t *ret_floor, struct err *err);

/*
 * A handle for reading beside the store, on a thread of its own (R4, T1): of the calls in this header it takes store_read,
 * store_read_kept, store_floor, store_head (of the moment that it read last), store_marked, store_mark_find, store_tidy, and
 * store_close or store_drop, which come before those of the store. Opened on the store's thread. ERR_IO, ERR_NOMEM.
 */
must_use int store_reader_open(struct store *s, struct store **ret_reader, struct err *err);
/* Lets go of the moment: the next call sees what is there then. Soon, because the engine keeps what belongs to it. */
void store_reader_release(struct store *reader);

struct store_watcher {
    store_entry_fn *record;
    void (*ended)(void *ctx,
                  int why); /* W4; may be NULL. why: STORE_COMPACTED or what record returned */
    void *ctx;
};

/*
 * Watches the log from this revision on (W1), which may be head + 1 or later. The old records are given
 * during the call. STORE_COMPACTED; ERR_IO, ERR_CORRUPT, ERR_NOMEM; what the function returned, if not 0.
 * No watch is left behind by a call that does not return 0.
 */
must_use int store_watch_open(struct store *s, uint64_t from,
                              const struct store_watcher *watcher,
                              struct store_watch **ret_watch, struct err *err);
struct store_watch *store_watch_close(
    struct store_watch *w); /* always NULL; also after it ended */

/* ---- marks ---- */

struct store_mark {
    struct str key; /* at least one byte */
    uint64_t number, revision;
};

/*
 * Adds marks, replacing those of the same key and number, and notes that the log is marked up to a revision, all in one
 * transaction; n may be 0. ERR_INVALID (over a limit), ERR_IO, ERR_TIMEOUT, ERR_NOMEM: as much as nothing was noted.
 */
must_use int store_mark(struct store *s, const struct store_mark *marks, size_t n,
                        uint64_t upto, struct err *err);
must_use int store_marked(struct store *s, uint64_t *ret_upto, struct err *err); /* M2 */
/* The mark of this key with the lowest number that is not below `number`; its key is not filled in. ERR_NOT_FOUND. */
must_use int store_mark_find(struct store *s, struct str key, uint64_t number,
                             struct store_mark *ret_mark, struct err *err);

/* ---- snapshots and compaction ---- */

struct store_snapshot_info {
    uint64_t revision;
    struct sha256 chain; /* of that revision */
    uint64_t bytes;
    uint32_t passed_over; /* newer ones that were not whole (S1): worth a warning */
};

/*
 * Begins a snapshot of the state at a revision that is not below the floor's and not above the head. One at a
 * time: ERR_LOCKED. Appends may go on meanwhile: add and finish may come on another thread, and touch nothing that an append
 * waits for. Ended by store_snapshot_free, which throws away what was not committed.
 */
must_use int store_snapshot_new(struct store *s, uint64_t revision,
                                struct store_snapshot **ret_snapshot, struct err *err);
/* Adds bytes, cut into pieces of at most STORE_CHUNK_MAX inside. After a failure only free is allowed. */
must_use int store_snapshot_add(struct store_snapshot *snapshot, struct str bytes,
                                struct err *err);
/*
 * Makes the bytes durable, reads them back and compares: ERR_CORRUPT when they are not what was added. After it only commit
 * and free are allowed, after a failure only free.
 */
must_use int store_snapshot_finish(struct store_snapshot *snapshot, struct err *err);
/* Makes it the newest (S1, S2), finishing it first when that was not done. After it only free is allowed. */
must_use int store_snapshot_commit(struct store_snapshot *snapshot, struct err *err);
struct store_snapshot *store_snapshot_free(struct store_snapshot *snapshot); /* always NULL */
OWNED_BY(store_snapshot_free, struct store_snapshot *, store_snapshot_free);

/* 0 to go on; anything else ends the reading and is its result. */
typedef int store_chunk_fn(void *ctx, struct str bytes);

/*
 * Gives fn the newest whole snapshot piece by piece; it was verified before the first call. The pieces need
 * not be those of the writer. ret_info is filled before the first call. ERR_NOT_FOUND: there is none.
 */
must_use int store_snapshot_read(struct store *s, store_chunk_fn *fn, void *ctx,
                                 struct store_snapshot_info *ret_info, struct err *err);

/* Removes what snapshots have left behind. On the store, or on a reader, beside the store's work. ERR_IO, ERR_NOMEM. */
must_use int store_tidy(struct store *s, struct err *err);

struct store_compact {
    uint64_t below; /* records under this revision may go, as far as C1 allows */
    bool (*keep)(void *ctx, uint64_t revision); /* C2; NULL: keep none */
    void *ctx;
    uint32_t max_records; /* how many to look at in this call; 0: no limit */
};

/* 0, or STORE_MORE when max_records ended it. ret_floor is filled for both. */
must_use int store_compact(struct store *s, const struct store_compact *op, uint64_t *ret_floor,
                           struct err *err);

/* Removes kept records; revisions that are not kept records are passed over. At most 4096 in a call. */
must_use int store_forget(struct store *s, const uint64_t *revisions, size_t n,
                          struct err *err);

/* ---- blobs ---- */

must_use int store_blob_put(struct store *s, const struct sha256 *hash, struct str bytes,
                            struct err *err); /* ERR_INVALID: not the hash of bytes */
must_use int store_blob_get(
    struct store *s, const struct sha256 *hash, struct shared **ret_bytes,
    struct err *err); /* the caller unrefs; ERR_NOT_FOUND, ERR_CORRUPT */
must_use int store_blob_has(struct store *s, const struct sha256 *hash, bool *ret_has,
                            struct err *err);
must_use int store_blob_epoch(struct store *s, uint64_t *ret_epoch, struct err *err);

struct store_collect {
    /* Whether to keep it. put_epoch: when it was last put, so that young ones can be spared. */
    bool (*keep)(void *ctx, const struct sha256 *hash, uint64_t put_epoch);
    void *ctx;
};

/* Removes all blobs that are not to be kept (B3). */
must_use int store_blob_collect(struct store *s, const struct store_collect *op,
                                uint64_t *ret_removed, struct err *err);

/* ---- leases and ephemeral items ---- */

must_use int store_lease_grant(struct store *s, nsec_t ttl, nsec_t now, uint64_t *ret_lease,
                               struct err *err); /* ids are never used twice */
must_use int store_lease_keep(struct store *s, uint64_t lease, nsec_t now,
                              struct err *err); /* ERR_NOT_FOUND */
must_use int store_lease_revoke(struct store *s, uint64_t lease,
                                struct err *err); /* ERR_NOT_FOUND */

struct store_ephemeral {
    struct str key; /* at least one byte */
    struct str bytes;
    uint64_t
        lease; /* filled in for callbacks; 0 in an event: the item is gone, bytes is empty */
};

/*
 * All n items in one transaction; a key that is there gets the new bytes and the new lease. ERR_NOT_FOUND:
 * there is no such lease.
 */
must_use int store_ephemeral_put(struct store *s, uint64_t lease,
                                 const struct store_ephemeral *items, size_t n,
                                 struct err *err);
must_use int store_ephemeral_delete(
    struct store *s, const struct str *keys, size_t n,
    struct err *err); /* keys that are not there are passed over */

/* 0 to go on; anything else ends the listing or the watch and is its result. */
typedef int store_ephemeral_fn(void *ctx, const struct store_ephemeral *item);

/* Items whose key begins with prefix, in the order of their keys. */
must_use int store_ephemeral_list(struct store *s, struct str prefix, store_ephemeral_fn *fn,
                                  void *ctx, struct err *err);

/* L3. Calls come as W3 says, and inside the ephemeral and lease calls and store_tick. */
must_use int store_ephemeral_watch_open(struct store *s, struct str prefix,
                                        store_ephemeral_fn *fn, void *ctx,
                                        struct store_ephemeral_watch **ret_watch,
                                        struct err *err);
struct store_ephemeral_watch *store_ephemeral_watch_close(
    struct store_ephemeral_watch *w); /* always NULL */

/* ---- time and waiting ---- */

/*
 * Tells the time: ends leases (L1) and does what can wait, such as checkpoints. Call it when idle and at least
 * once a second. ret_next, if given, is when the next lease ends, UINT64_MAX for never. A clock that goes
 * back is taken to stand still.
 */
must_use int store_tick(struct store *s, nsec_t now, nsec_t *ret_next, struct err *err);

/*
 * Gives watches what others have written; waits for it up to timeout_ms (0: not at all, negative: for ever)
 * or until store_wake. 0 also when there was nothing.
 */
must_use int store_poll(struct store *s, int timeout_ms, struct err *err);

/* Ends the store_poll that runs now, or else the next one. Any thread. */
void store_wake(struct store *s);

/* ---- care ---- */

struct store_stats {
    uint64_t appends, records, bytes; /* successful appends, their records and bytes */
    uint64_t conflicts, repeated,
        failed; /* appends that were answered so; failed: a negative result */
    uint64_t groups
        [STORE_GROUP_BUCKETS]; /* appends by number of records: bucket i holds up to 2^i */
    uint64_t syncs;            /* times that the engine waited for the disk */
    uint64_t checkpoints;
    nsec_t append_last, append_max; /* duration of a successful append */
    uint64_t watches, ephemeral_watches, requests_known;
    uint64_t damaged_items; /* leases and ephemeral items that were damaged in the file and are taken to have ended */
};

struct store_stats store_stats(const struct store *s);

/* Verifies the chain over all records from the floor to the head, and each kept record. ERR_CORRUPT. */
must_use int store_verify(struct store *s, struct err *err);

/* All that can be checked: the engine's own structure, the chain, every snapshot, every blob. ERR_CORRUPT. */
must_use int store_check(struct store *s, struct err *err);

/*
 * A copy of the store in a new file of mode 0600, which the same engine can open, made piece by piece while appends go
 * on: it has everything up to one revision, and the snapshots that are whole. One at a time. A server that goes on with the
 * copy calls store_identity_renew first.
 *
 * new: ERR_EXISTS (the file is there), ERR_LOCKED (another copy is being made), ERR_UNSUPPORTED (the engine has no
 * files), ERR_IO, ERR_NOMEM. step copies about so many bytes: STORE_MORE, 0 when the copy is whole and durable, or a
 * failure, after which only free is allowed. free removes a copy that is not whole.
 */
struct store_backup;
must_use int store_backup_new(struct store *s, const char *path, struct store_backup **ret_backup,
                              struct err *err);
must_use int store_backup_step(struct store_backup *backup, size_t bytes, struct err *err);
/* Of one that is whole: the newest in it. */
uint64_t store_backup_revision(const struct store_backup *backup);
struct store_backup *store_backup_free(struct store_backup *backup); /* always NULL; takes NULL */
OWNED_BY(store_backup_free, struct store_backup *, store_backup_free);

/*
 * For the file of an SQLite store that was copied from `from`, which nobody has open: takes the snapshots that lie beside
 * `from` into the copy, so that it is whole by itself. Damaged or missing ones stay out of it. ERR_CORRUPT (the copy is no
 * database), ERR_IO, ERR_NOMEM.
 */
must_use int store_backup_take_along(const char *path, const char *from, struct err *err);

#endif
