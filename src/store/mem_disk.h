/*
 * The inside of the simulated disk, for mem.c and mem_lease.c.
 *
 * Whatever lies in a store_disk is durable, except `unsynced`: rows whose append was answered with ERR_TIMEOUT
 * and which the next look at the log makes durable, or a crash forgets.
 */
#ifndef TRIMTAB_STORE_MEM_DISK_H
#define TRIMTAB_STORE_MEM_DISK_H

#include "store/engine.h"
#include "store/mem.h"

#include <pthread.h>

struct mem_row {
    uint64_t revision;
    struct sha256 previous, chain;
    struct shared *request, *bytes, *packed;
};

struct mem_rows {
    struct mem_row *at;
    size_t n, cap;
};

struct mem_mark {
    struct shared *key;
    uint64_t number, revision;
};

struct mem_chunks {
    struct shared **at;
    size_t n, cap;
};

struct mem_snapshot {
    struct store_snapshot_row row;
    struct mem_chunks chunks;
};

struct mem_blob {
    struct sha256 hash;
    uint64_t epoch; /* when it was last put */
    struct shared *bytes;
};

struct mem_lease {
    uint64_t id;
    nsec_t ttl, ends;
};

/* A change of an ephemeral item, until every open store has seen it. */
struct mem_event {
    struct link link;
    uint64_t number;
    struct shared *key, *bytes;
    uint64_t lease; /* 0: gone */
};

struct mem_item {
    struct shared *key, *bytes;
    uint64_t lease;
    struct mem_event *farewell; /* made with the item, so that removing it needs no memory */
};

struct store_disk {
    pthread_mutex_t lock;
    struct rng rng;
    store_fault_fn *fault;
    void *fault_ctx;
    uint64_t crashes; /* stores opened before the last one are dead */
    struct link opened;

    struct store_identity identity;
    bool made;
    struct store_head base;
    struct mem_rows log, unsynced, kept;
    VEC(struct mem_mark) marks;
    uint64_t marked;
    VEC(struct mem_snapshot) snapshots; /* oldest first */
    uint64_t last_snapshot;
    VEC(struct mem_blob) blobs;
    uint64_t blob_epoch;

    nsec_t now;
    VEC(struct mem_lease) leases;
    uint64_t last_lease;
    VEC(struct mem_item) items; /* by key */
    struct link events;
    uint64_t last_event;
};

/* One opened store. */
struct mem {
    struct link link; /* in store_disk.opened */
    struct store *s;
    struct store_disk *disk;
    bool owns_disk;
    uint64_t crashes;         /* of the disk when it was opened */
    uint64_t seen_event;      /* number of the last change that was told */
    struct mem_chunks chunks; /* of the running snapshot */
    struct store_head view;   /* of a reader (R4) */
    bool has_view;
};

/* Locks the disk: 0, or ERR_UNAVAILABLE after a crash, and then it is not locked. */
must_use int mem_enter(struct store *s, struct mem **ret_mem, struct err *err);
void mem_leave(struct mem *m);

/* What shall happen to a write other than an append: 0 or ERR_IO. */
must_use int mem_fault(struct mem *m, enum store_write write, struct err *err);
must_use int mem_no_memory(struct err *err);

/* Wakes the other stores on the disk. */
void mem_wake_others(struct mem *m);

/* mem_lease.c */
void mem_restart_leases(struct store_disk *disk);
void mem_free_items(struct store_disk *disk);
void mem_trim_events(struct store_disk *disk);
int mem_lease_grant(struct store *s, nsec_t ttl, uint64_t *ret_lease, struct err *err);
int mem_lease_keep(struct store *s, uint64_t lease, struct err *err);
int mem_lease_revoke(struct store *s, uint64_t lease, struct err *err);
int mem_ephemeral_put(struct store *s, uint64_t lease, const struct store_ephemeral *items,
                      size_t n, struct err *err);
int mem_ephemeral_delete(struct store *s, const struct str *keys, size_t n, struct err *err);
int mem_ephemeral_list(struct store *s, struct str prefix, store_ephemeral_fn *fn, void *ctx,
                       struct err *err);
int mem_tick(struct store *s, nsec_t *ret_next, struct err *err);
int mem_poll(struct store *s, int timeout_ms, struct err *err);

#endif
