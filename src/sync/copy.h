/*
 * The local copy: what a subscriber has received, and what it really serves, on disk, so that it starts and runs
 * with no server in reach (I7, V7). One SQLite file, private to one process.
 *
 *   (C1) A batch is one transaction: after a crash the copy is what it was before or what it is after.
 *   (C2) Every row has a proof, and the head has the sum of all proofs, the digest and the count. Nothing of a copy is
 *        used before all of that was found right; a copy that is torn, altered or foreign is set aside, never repaired.
 *   (C3) When copy_store has returned, the main file alone holds the batch: the write-ahead log is copied back at once,
 *        because a log that lost its tail looks like an older copy that is sound.
 *   (C4) A stored batch that was not applied keeps, in the same transaction, what was served before it.
 *   (C5) What is held (sync/hold.h) leaves the items and becomes a row of its own in the transaction of its batch. The
 *        digest of the cursor is that of the items alone.
 *
 * Blocking; all calls from one thread.
 */
#ifndef TRIMTAB_SYNC_COPY_H
#define TRIMTAB_SYNC_COPY_H

#include "sync/sync.h"

struct copy;

enum {
    COPY_INSTANCE_MAX = 128,
    COPY_ASIDE_MAX = 3,
    COPY_PATH_MAX = 4096,
    COPY_MESSAGE_MAX = 4096
};

/*
 * Takes the lock of path (in path.lock) and looks at nothing else. ERR_LOCKED: another process has it,
 * and still has after a second. ERR_IO, ERR_NOMEM.
 */
must_use int copy_open(const char *path, struct copy **ret_copy, struct err *err);
/* Writes what is not written yet. NULL is fine; always returns NULL. */
struct copy *copy_close(struct copy *c);

/* A name whose served version is not the one that was received. */
struct copy_served {
    struct str scope, key;  /* kind NUL name; in SCOPE_REFERRED the key of the item */
    struct version *served; /* NULL: nothing is served under the name */
    uint64_t batch;         /* revision of the batch that changed it */
    uint64_t group;         /* who was refused together; 0: not tried yet */
    struct str code;        /* empty: not refused, only not applied yet */
    struct str message, held_by;
};

/* A file that was delivered, or that may have been. */
struct copy_file {
    struct str sink, path; /* a path that ends in '/' is a folder */
    struct sha256 hash;
    bool is_gone;  /* for copy_update: no longer delivered */
    bool has_attr; /* mode and owner that it had when it was taken over, which it keeps */
    uint32_t mode, owner, group;
};

/* What a copy held. Texts and versions belong to it. */
struct copy_content {
    char instance[COPY_INSTANCE_MAX + 1]; /* "": the copy is new */
    struct sha256 subscription;
    struct sync_cursor cursor;
    uint64_t applied;
    struct sync_change *items;
    size_t n_items;
    struct sync_held *held;
    size_t n_held;
    struct copy_served *served;
    size_t n_served;
    struct copy_file *files;
    size_t n_files;
    struct arena arena; /* keeps the texts */
};

void copy_content_deinit(struct copy_content *content);

/*
 * Opens the file, or makes an empty one, and reads everything, proving it. ERR_CORRUPT with the story: it must be set
 * aside, nothing of it may be used. ERR_IO, ERR_NOMEM: it could not be read, which says nothing against it.
 */
must_use int copy_load(struct copy *c, struct copy_content *ret_content, struct err *err);

/* Renames the file to path.broken-N and leaves nothing in its place; ret_path (COPY_PATH_MAX bytes) gets its name. */
must_use int copy_set_aside(struct copy *c, char *ret_path, struct err *err);

/* Whose copy it is, and of what. */
struct copy_subscription {
    const char *instance;
    struct sha256 hash;       /* of everything that the view depends on */
    const struct str
        *scopes; /* names: rows of others, held or not, are dropped, except SCOPE_REFERRED */
    size_t n_scopes;
};

/*
 * States whose copy it is. When the subscription is another one than before, the items are kept but for those of
 * scopes that are gone, and the cursor's revision becomes 0; content is changed in the same way.
 */
must_use int copy_subscribe(struct copy *c, const struct copy_subscription *s,
                            struct copy_content *content, struct err *err);

/* One batch, one transaction, durable on return (C1, C3, C4). ERR_IO, ERR_NOMEM: the copy is as before. */
must_use int copy_store(struct copy *c, const struct sync_batch *batch, struct err *err);

/* The cursor moved; written with the next transaction or by copy_flush. */
void copy_moved(struct copy *c, const struct sync_cursor *cursor);
must_use int copy_flush(struct copy *c, struct err *err);

/* What became of applying: one transaction. */
struct copy_update {
    bool has_served; /* served replaces all that was noted before */
    const struct copy_served *served;
    size_t n_served;
    const struct copy_file *files; /* changes */
    size_t n_files;
    uint64_t applied; /* 0: as before */
};
must_use int copy_update(struct copy *c, const struct copy_update *u, struct err *err);

/* A random UUID, for an instance that has none yet. ERR_IO. */
enum { COPY_UUID_BYTES = 37 };
must_use int copy_new_instance(char out[COPY_UUID_BYTES]);

#endif
