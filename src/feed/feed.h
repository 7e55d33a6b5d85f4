/*
 * The feed: who wants what, and who is owed what. The server's side of subscriptions, without any I/O.
 *
 * A feed belongs to one thread. It is fed states (feed_publish), frames of its subscribers (feed_session_frame)
 * and time (feed_tick); it says through `ready` that a session has something to send, and its owner pulls
 * frames (feed_session_pull) as fast as the subscriber takes them. What is never pulled is never made.
 *
 *   (F1) A session stores no changes. It knows the revision up to which it was sent everything; what is owed is
 *        the walk over what was touched since. A slow subscriber costs the memory of a fast one (I8), and
 *        superseded versions merge by themselves.
 *   (F2) One batch is in flight. The next is cut, at the newest state, when the subscriber has stored it.
 *   (F3) A batch is cut from one state that it pins, so no commit is ever split (I2).
 *   (F4) A bookmark is sent only when nothing is owed, on the same stream behind all data (cursor rule).
 *   (F5) A batch that keeps more than `pinned_max` superseded bytes from being freed, because its subscriber reads
 *        slowly, goes on from the newest state; what changed meanwhile comes again at its end (I8).
 *   (F6) Subscribers of equal scopes that owe nothing share one encoded frame per commit.
 *   (F7) An order is sent to whom it concerns until it is acknowledged, oldest first, and never again after that.
 *   (F8) Subscribers with other rights are of other classes; what is withheld from a class is in no frame of it (I11).
 *
 *           hello                    all pulled            stored
 *   NEW ----------> CUTTING -------------------> FLIGHT ----------> STEADY
 *           |          ^  ^                        |                  |
 *           |          |  +------ behind ----------+---- change ------+   (a shared frame: straight to FLIGHT)
 *           v          |                           |                  |
 *        ASKING -------+ <------- rejected, or an inventory came -----+
 *       (inventory)  complete
 */
#ifndef TRIMTAB_FEED_FEED_H
#define TRIMTAB_FEED_FEED_H

#include "base/clock.h"
#include "base/segment.h"
#include "feed/mark.h"
#include "model/readable.h"
#include "model/scope_view.h"
#include "presence/presence.h"

#include <trimtab/v1/sync.pb-c.h>

struct feed;
struct feed_session;

enum { FEED_STORE_ID_BYTES = 16, FEED_INVENTORY_MAX = 1000000 };

struct feed_opts {
    unsigned char store_id[FEED_STORE_ID_BYTES];
    unsigned char key[MARK_KEY_BYTES]; /* of the store, for marks */
    nsec_t bookmark_every;
    uint64_t pinned_max; /* bytes; 0: 16 MiB */
    /* A session may have something to send: pull soon, never inside this call. ctx is the session's. */
    void (*ready)(void *ctx);
    /*
     * Something of its standing is another than feed_session_standing gave last: take it soon, never inside this call. Said
     * once until then. May be NULL.
     */
    void (*changed)(void *ctx);
    /*
     * A subscriber has proved that it was sent this revision of this store, which the log does not reach: the server has
     * lost records. ctx is the session's. May be NULL.
     */
    void (*lost)(void *ctx, uint64_t revision);
};

/* A feed that serves the given state. NULL without memory. */
must_use struct feed *feed_new(const struct feed_opts *opts, struct state *state);
/* All sessions must be closed. NULL is fine. */
struct feed *feed_free(struct feed *f);

/* FEED_STORE_ID_BYTES of the store whose states it serves. */
const unsigned char *feed_store_id(const struct feed *f);

/* The state that the feed serves. Borrowed. */
struct state *feed_state(const struct feed *f);

/*
 * Serves a newer state from now on; versions are all that changed since the last one. Computes whose view
 * changed and calls ready for those. Never fails: without memory the sessions concerned are brought up to date
 * one by one instead of by a shared frame.
 */
void feed_publish(struct feed *f, struct state *next, struct version *const *versions,
                  size_t n);

/* Sends the bookmarks that are due. Returns when the next one is, UINT64_MAX for never. */
nsec_t feed_tick(struct feed *f, nsec_t now);

/* ---- sessions ---- */

enum feed_phase { FEED_NEW, FEED_ASKING, FEED_CUTTING, FEED_FLIGHT, FEED_STEADY };

/* Where a session is, for who pumps it and for tests. What the instance proved is in its standing. */
struct feed_status {
    enum feed_phase phase;
    Trimtab__V1__Mode mode;   /* how it began */
    uint64_t sent;            /* everything up to this revision was sent */
    uint64_t changed;         /* the newest revision that changed its view */
    uint64_t stored;          /* acknowledged revision */
    struct digest expected;   /* of its view now */
    uint64_t expected_count;
    uint64_t items_sent, drops_sent, frames_sent;
    uint64_t repairs;     /* inventories because of a wrong digest */
    uint64_t renewals;    /* batches that went on from a newer state */
    nsec_t waiting_since; /* when the batch in flight was complete; 0 when none is */
};

/*
 * Whether a client can answer AskInventory. One that only listens gets everything anew where others are compared, and need not
 * compute digests, so its cursor is taken only if it has the digest of its view now, or no digest: then its owner vouches
 * for it.
 */
enum feed_client { FEED_CLIENT_ANSWERS, FEED_CLIENT_LISTENS };

/* A subscriber without anything yet. ctx is handed to ready. NULL without memory. */
must_use struct feed_session *feed_session_new(struct feed *f, enum feed_client client,
                                               void *ctx);
struct feed_session *feed_session_free(struct feed_session *s); /* always NULL; takes NULL */

/*
 * What its subscriber may read (NULL: everything), before its hello: items that refer to anything else are withheld from it. A
 * reference is taken. When that changes, its owner ends the stream; the cursor with which the subscriber comes back then
 * proves nothing, by its mark, and what it has is compared.
 */
void feed_session_may_read(struct feed_session *s, struct readable *readable);

/*
 * Whether a hello shows a revision that this feed does not serve yet, though one of its server does, whose newest this is:
 * taken now, it would be believed to come from another history. Then it waits for that publication.
 */
bool feed_must_wait(const struct feed *f, const Trimtab__V1__Hello *hello, uint64_t newest);

/*
 * Takes a frame of the subscriber. The frame is borrowed. ERR_INVALID, ERR_LIMIT, ERR_UNSUPPORTED with the
 * story: the stream must end; ERR_NOMEM.
 */
must_use int feed_session_frame(struct feed_session *s, const Trimtab__V1__ClientFrame *frame,
                                nsec_t now, struct err *err);

/* A frame on its way out: one message, made of segments whose owners it references. */
enum { FEED_FRAME_SEGMENTS = 256 };
struct feed_frame {
    struct segment segments[FEED_FRAME_SEGMENTS];
    size_t n;
    bool is_framed; /* one segment that begins with gRPC's prefix */
};
void feed_frame_deinit(struct feed_frame *frame);

enum feed_pulled { FEED_NOTHING = 0, FEED_FRAME = 1 };
/*
 * The next frame, if there is any. FEED_FRAME, FEED_NOTHING, ERR_NOMEM: what was taken for the frame is lost, so the
 * session must end; its subscriber comes again with its cursor.
 */
must_use int feed_session_pull(struct feed_session *s, nsec_t now,
                               struct feed_frame *ret_frame);

/* Asks for a comparison of inventories, as after a wrong digest. */
void feed_session_repair(struct feed_session *s, const char *reason);

struct feed_status feed_session_status(const struct feed_session *s);

/* What its instance is to have and has proved, for its presence. The parts are the caller's (standing_deinit). */
struct standing feed_session_standing(struct feed_session *s);

#endif
