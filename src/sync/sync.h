/*
 * The subscriber's core, without I/O: says hello, stages batches, proves them, and acknowledges. The link that carries
 * frames, the local copy that keeps what was received, and whoever applies it, stand behind struct sync_ops; each has
 * a simulated counterpart in tests/sim.
 *
 *   (S1) A batch is staged whole and proved (every content hash, the count, the digest) before anything of it is stored.
 *   (S2) What is stored replaces what was received in one step (ops.store); "stored" is said only after that.
 *   (S3) The cursor moves with a stored batch or with a bookmark that proves the same digest, never otherwise.
 *   (S4) A digest that is not the server's is answered with the inventory, so it is mended, not hidden.
 *   (S5) Revisions never go down within one store id (I1): changes or a bookmark behind the cursor are rejected. Only a
 *        server that begins anew with everything (FULL) is believed, for then its log is another one.
 *   (S6) Batches that are rejected one after the other make the link wait, longer and longer: the server offers again
 *        at once, and neither side is served by a race.
 *   (S7) A drop that no recorded change explains leaves what is received and stays in what is to be served (sync/hold.h).
 *
 *              link up        welcome          End proved and stored
 *   OFFLINE ----------> HELLO ---------> SYNCING ------------------> LIVE <---+ next batch, bookmark
 *      ^                  |                 |                          |      |
 *      +------------------+----- link down, silence, server's word ----+------+
 */
#ifndef TRIMTAB_SYNC_SYNC_H
#define TRIMTAB_SYNC_SYNC_H

#include "base/arena.h"
#include "base/clock.h"
#include "model/scope.h"

#include <trimtab/v1/sync.pb-c.h>

struct sync;

enum { SYNC_STORE_ID_BYTES = 16, SYNC_MARK_BYTES = 16 };

/* Where a subscriber stands. */
struct sync_cursor {
    unsigned char store_id[SYNC_STORE_ID_BYTES];
    uint64_t revision; /* 0: nothing was ever received, or for another subscription */
    struct digest digest;
    uint64_t count;
    /* By which the server knows the revision for its own word; not all servers send one. */
    bool has_mark;
    unsigned char mark[SYNC_MARK_BYTES];
};

/* One change of a batch: what is to be served under a name of a scope. item NULL: nothing. Borrowed. */
struct sync_change {
    struct str scope;
    struct str key; /* kind NUL name; in SCOPE_REFERRED the key of the item */
    struct version *item;
    bool is_held; /* it is not received, but held */
};

/* What is served though it is not received any more, because nothing explains that it went. Borrowed. */
struct sync_held {
    struct str scope, key; /* as in changes */
    struct version *item;
    uint64_t since; /* revision of the batch that dropped it */
    bool is_needed; /* only because something held refers to it */
};

/* A whole proved batch. */
struct sync_batch {
    const struct sync_change *changes;
    size_t n;
    struct sync_cursor cursor; /* after it */
    Trimtab__V1__Mode
        mode; /* FULL: names that no change binds are unbound, and listed as such in changes */
    /* Names that begin to be held, or are now needed only, or no more; they are served on as they are. */
    const struct sync_held *held;
    size_t n_held;
};

/* Something to do with what is there. Borrowed. */
struct sync_order {
    uint64_t revision;
    Trimtab__V1__OrderKind kind;
    char *const *resources; /* ids: what it is about; none: everything */
    size_t n_resources;
    const char *reason;
    const unsigned char *store_id; /* of the history that it belongs to; SYNC_STORE_ID_BYTES */
};

struct sync_ops {
    /* Sends a frame to the server; failures show as a link that goes down. */
    void (*send)(void *ctx, const Trimtab__V1__ClientFrame *frame);
    /*
     * Makes the batch durable in one step and returns 0; then sync says so. A failure rejects the batch (it will be
     * offered again) and leaves what was received before.
     */
    int (*store)(void *ctx, const struct sync_batch *batch, struct err *err);
    /* A bookmark moved the cursor; need not be durable at once. May be NULL. */
    void (*moved)(void *ctx, const struct sync_cursor *cursor);
    /*
     * The batch is stored, and sync_find and sync_each show it: apply it, and call sync_applied when that is done, now
     * or later. Versions in it may be referenced.
     */
    void (*apply)(void *ctx, const struct sync_batch *batch);
    /*
     * An order of the server: carry it out, tell what is served (sync_applied), then call sync_order_done, now or later.
     * Comes once, in the order of revisions; another that comes meanwhile may be carried out beside it. NULL: what was
     * ordered before holds no more, because the server has another history; nothing is to be called. May be NULL: this
     * client carries out no orders, and is sent none.
     */
    void (*order)(void *ctx, const struct sync_order *order);
    /* The server asks for the link to be made anew, after this many milliseconds at most. */
    void (*reconnect)(void *ctx, uint32_t after_ms, const char *reason);
};

struct sync_opts {
    const Trimtab__V1__Instance *instance; /* borrowed for the life of the sync */
    Trimtab__V1__Scope **scopes;           /* likewise */
    size_t n_scopes;
    struct str secret; /* of the host, for its hello; likewise; empty: none */
    const struct sync_ops *ops;
    void *ctx;
    bool is_judged; /* something judges each batch: the hello announces the words that follow */
};

/* A subscriber that has nothing yet. NULL without memory. */
must_use struct sync *sync_new(const struct sync_opts *opts);
struct sync *sync_free(struct sync *s); /* always NULL; takes NULL */

/*
 * Gives back what a local copy held, before the first link. Changes bind; the digest is computed from them, and must be
 * the cursor's: ERR_CORRUPT otherwise. ERR_NOMEM.
 */
must_use int sync_load(struct sync *s, const struct sync_change *changes, size_t n,
                       const struct sync_cursor *cursor);

/* After it, what the copy held besides. ERR_CORRUPT: a name that is received, too. ERR_NOMEM. */
must_use int sync_load_held(struct sync *s, const struct sync_held *held, size_t n);
/* After sync_load: the newest orders that were carried out, in the history of the cursor; fleet: pause or resume. */
void sync_load_orders(struct sync *s, uint64_t order, uint64_t fleet);

/* This order, and all of its sort (of the fleet, or not) that came before it, are carried out; write that down first, for the next start. */
void sync_order_done(struct sync *s, uint64_t revision);

/* The link is up: says hello. */
void sync_link_up(struct sync *s, nsec_t now);
void sync_link_down(struct sync *s);

/*
 * Takes a frame of the server (borrowed). ERR_INVALID and the like, with the story, when the stream makes no sense: the
 * link must be made anew. Faults of a batch are answered to the server and are no error here.
 */
must_use int sync_frame(struct sync *s, const Trimtab__V1__ServerFrame *frame, nsec_t now,
                        struct err *err);

/* Something refused, for the acknowledgement. Borrowed until return. */
struct sync_refusal {
    struct str scope, key;         /* kind NUL name */
    const struct sha256 *hash;     /* NULL: a refused drop */
    const struct version *serving; /* NULL: nothing is served */
    const char *code;
    struct str message;
    struct str
        held_by; /* kind/name, or the id of what is referred to; empty: refused by itself */
};

/*
 * What is served now: the result of applying the batch of this revision. refused is everything that differs from what
 * is to be served; what is held is named besides. Also called at the start, for what was served from the local copy (revision of the cursor). Said now if
 * it can be, and after each welcome of the same store from now on.
 *
 * ERR_NOMEM: nothing was said, and until this is called again and succeeds nothing is, of older things neither: what
 * cannot be said whole is not said (I12). A revision that the store does not have yet, because the link has come to
 * another store meanwhile, is passed over: the batch that store sends is applied and said in its turn.
 */
#define SYNC_HELD_DELETION "HELD_DELETION"
must_use int sync_applied(struct sync *s, uint64_t revision, struct digest serving,
                  const struct sync_refusal *refused, size_t n);

/* Whether what is served is well, as something that judges it found. */
struct sync_judgement {
    bool failing;
    uint64_t revision;  /* of the newest batch that was applied when this was found */
    const char *reason; /* of a failure; cut to SYNC_REASON_MAX bytes of UTF-8 */
    const char *source; /* what found it; cut likewise to SYNC_SOURCE_MAX */
};
enum { SYNC_REASON_MAX = 1024, SYNC_SOURCE_MAX = 253 };

/*
 * Tells the server, now if it can be told and after each hello from now on; copied. Judge anew and say it anew after
 * each sync_applied. ERR_NOMEM: what was said before stands.
 */
must_use int sync_health(struct sync *s, const struct sync_judgement *judgement);

/* Time passes. Returns false when the server has been silent for too long: the link is dead. */
must_use bool sync_tick(struct sync *s, nsec_t now);

struct sync_status {
    enum sync_phase { SYNC_OFFLINE, SYNC_HELLO, SYNC_SYNCING, SYNC_LIVE } phase;
    struct sync_cursor cursor;
    uint64_t batches, items, drops, rejected, repairs, parts_bytes;
    Trimtab__V1__Mode mode;     /* how the last session began */
    uint64_t head;              /* as the last welcome said */
    char rejected_because[160]; /* why the newest batch was not taken; "" when it was */
};
struct sync_status sync_status(const struct sync *s);

/*
 * What is to be served, received or held: the version of a name, or NULL; and a walk over all. Borrowed. What is referred
 * to is found in SCOPE_REFERRED by its namespace as kind, and kind NUL name as name.
 */
struct version *sync_find(const struct sync *s, struct str scope, struct str kind,
                          struct str name);
typedef int sync_each_fn(void *ctx, const struct sync_change *binding); /* 0 to go on */
int sync_each(const struct sync *s, sync_each_fn *fn, void *ctx);
/* Of all that: what sync_applied is told when nothing is refused. */
struct digest sync_wanted(const struct sync *s);

/* A walk over what is held. */
typedef int sync_each_held_fn(void *ctx, const struct sync_held *held); /* 0 to go on */
int sync_each_held(const struct sync *s, sync_each_held_fn *fn, void *ctx);
size_t sync_n_held(const struct sync *s);

/* A hold as somebody saw it who lets it go. Borrowed. */
struct sync_release {
    struct str scope, key;
    struct sha256 hash; /* of the item that is held */
};
/*
 * Lets go of what is held under these names, with just these hashes; others are passed over: they have come back, or are
 * not what was looked at. It is stored and applied like a batch, and *ret_n says how many went, those included that were
 * only needed. Failures as those of ops.store, and ERR_NOMEM: all is as before.
 */
must_use int sync_release(struct sync *s, const struct sync_release *names, size_t n,
                          size_t *ret_n, struct err *err);

/*
 * Computes the digest of what is held anew, from the bytes; when it is not that of the cursor the server is asked to
 * mend it. Returns whether it was right.
 */
bool sync_verify(struct sync *s);

#endif
