/*
 * What the files of the feed share: shared scopes, sessions, and batches that are being cut.
 */
#ifndef TRIMTAB_FEED_INTERNAL_H
#define TRIMTAB_FEED_INTERNAL_H

#include "base/list.h"
#include "base/map.h"
#include "base/vec.h"
#include "feed/encode.h"
#include "feed/feed.h"

/* A scope that one or many sessions have. Its digest is that of the feed's state, always. */
struct feed_scope {
    struct scope *scope;
    char *identity; /* key in feed.scopes */
    size_t identity_len;
    struct link members; /* struct feed_member.in_scope */
    struct link touched; /* in the list of a running publish */
    struct digest digest;
    uint64_t count;
    bool digest_is_stale;    /* memory failed: recompute before the next use */
    struct shared *bookmark; /* framed, for sessions with this scope only */
    uint64_t bookmark_revision;
};

/* One session's share in one scope. */
struct feed_member {
    struct link in_scope;
    struct feed_scope *scope;
    struct feed_session *session;
};

struct feed {
    struct feed_opts opts;
    struct state *state;
    struct map scopes; /* identity -> struct feed_scope */
    struct map layers; /* namespace -> struct feed_layer: whom a change there may concern */
    struct link
        bookmarks; /* struct feed_session.due_link, next one due first: all that have said hello */
    struct link cutting; /* struct feed_session.cutting_link */
    uint64_t superseded; /* bytes that publications have replaced, since the beginning */
    uint64_t n_sessions;
};

/* What the subscriber says it has. */
struct inventory {
    struct map entries; /* scope NUL kind NUL name -> struct inventory_entry */
};

struct inventory_entry {
    struct sha256 hash;
    bool seen;
    size_t scope_len;
    size_t len;
    char key[];
};

/* A batch that is being cut. */
struct cut {
    struct state *state; /* pinned: F3 */
    Trimtab__V1__Mode mode;
    uint64_t since;
    size_t scope;            /* index of the one being walked */
    struct scope_walk *walk; /* over it; NULL: not begun */
    struct version
        *in_parts; /* the last whose content went in parts, perhaps still does; referenced */
    size_t part_at;
    bool has_step;          /* the last step did not fit into the last frame */
    struct scope_step step; /* the last one that the walk gave; borrowed from state */
    uint64_t superseded;    /* what feed.superseded was when the state was pinned */
    uint64_t
        renewed_since; /* not 0: what was touched since this revision comes again at the end */
    bool is_again;     /* that is on its way */
    size_t drops_at;   /* inventory: how many entries have been looked at for drops */
    struct digest digest;
    uint64_t count, uncaused;
};

/*
 * How the view of a session differs from that of its scopes because rollouts take it. While it is in one, even of what a
 * stronger layer hides now, the session has batches of its own instead of shared frames.
 */
struct gray {
    bool is_in;
    struct digest digest; /* to be added to that of the scopes */
    int64_t count;
    struct digest
        last; /* digest of the whole view at the feed's state, to see whether it changes */
};

struct feed_session {
    struct feed *feed;
    void *ctx;
    struct feed_member *members;
    size_t n_members;
    struct feed_status status;
    struct cut *cut;             /* while CUTTING */
    struct inventory *inventory; /* while ASKING, and while it is compared */
    struct shared *pending;      /* shared frame of a whole batch, not pulled yet */
    uint64_t pending_revision;
    uint64_t pending_items, pending_drops; /* in it */
    struct digest flight_digest;           /* of the batch in flight or pending */
    const char *ask_reason;                /* AskInventory is to be sent; static text */
    bool wants_welcome, wants_bookmark, wants_repair;
    const char *welcome_reason;
    struct link due_link;
    struct link cutting_link;
    nsec_t due;
    struct subject *subject; /* NULL: nobody in particular, who has stable */
    struct gray gray;
};

/* scopes.c */
must_use int feed_scope_join(struct feed *f, const struct scope *scope, struct feed_member *m);
void feed_scope_leave(struct feed *f, struct feed_member *m);
must_use int feed_scope_refresh(struct feed *f, struct feed_scope *s); /* a stale digest */
void feed_scopes_touch(struct feed *f, struct name name, struct link *touched);

/* cut.c */
must_use int cut_begin(struct feed_session *s, Trimtab__V1__Mode mode, uint64_t since);
must_use int cut_pull(struct feed_session *s, nsec_t now, struct feed_frame *ret_frame);
void cut_drop(struct feed_session *s);
/* Goes on from the feed's newest state, if the old one keeps too much in memory. */
void cut_renew(struct feed_session *s);

/* inventory.c */
must_use int inventory_add(struct feed_session *s, const Trimtab__V1__Inventory *message,
                           struct err *err);
struct inventory_entry *inventory_find(const struct inventory *inv, struct str scope,
                                       struct str tail);
struct inventory *inventory_free(struct inventory *inv);

/* session.c */
struct digest session_digest(const struct feed_session *s, uint64_t *ret_count);
bool session_is_behind(const struct feed_session *s);
const struct subject *session_subject(
    const struct feed_session *s); /* NULL: nobody in particular */

/* gray.c */
void session_gray(struct feed_session *s); /* computed anew, from the feed's state */
void feed_publish_gray(struct feed *f, const struct state *before);
void session_end_cut(struct feed_session *s, nsec_t now);

#endif
