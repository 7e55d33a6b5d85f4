/*
 * What the files of the feed share: scopes and subscriptions that sessions share, sessions, and batches that are being
 * cut.
 *
 *   feed_session ---> feed_class ---> feed_member[] ---> feed_scope
 *   (one stream)      (equal lists    (its share in      (equal scopes)
 *                     of scopes)      each scope)
 */
#ifndef TRIMTAB_FEED_INTERNAL_H
#define TRIMTAB_FEED_INTERNAL_H

#include "base/list.h"
#include "base/map.h"
#include "base/vec.h"
#include "feed/encode.h"
#include "feed/feed.h"
#include "model/closure.h"

/* A scope that one or many subscriptions have. Its digest is that of the feed's state, always. */
struct feed_scope {
    struct scope *scope;
    char *identity; /* key in feed.scopes */
    size_t identity_len;
    struct link members; /* struct feed_member.in_scope */
    struct link touched; /* in the list of a running publish */
    struct digest digest;
    uint64_t count;
    uint64_t newest;            /* revision that changed it last, for nobody in particular */
    bool digest_is_stale;       /* memory failed: recompute before the next use */
    struct feed_delta *changes; /* of a running publish; NULL: none, or memory failed */
};

/* One subscription's share in one scope. */
struct feed_member {
    struct link in_scope;
    struct feed_scope *scope;
    struct feed_class *class;
};

/*
 * A list of scopes that one or many sessions have, whose subscribers may read the same, and what these refer to, of the feed's
 * state, for nobody.
 */
struct feed_class {
    char *identity; /* key in feed.classes */
    size_t identity_len;
    struct feed_member *members;
    const struct scope **scopes; /* the same ones */
    size_t n_scopes;
    struct readable *readable; /* what its sessions may read; NULL: everything */
    struct link sessions;  /* struct feed_session.in_class */
    struct link touched;   /* in the list of a running publish */
    struct link referring; /* in feed.referring, while its closure has entries */
    struct closure closure;
    bool closure_is_stale;    /* memory failed: make it anew before the next use */
    uint64_t born;            /* the revision from which its closure was followed */
    uint64_t left;            /* the newest revision at which anything may have left it */
    uint64_t referred_newest; /* revision that changed its closure last */
    struct shared *bookmark;  /* framed */
    uint64_t bookmark_revision;
};

struct feed {
    struct feed_opts opts;
    struct state *state;
    struct map scopes;     /* identity -> struct feed_scope */
    struct map classes;    /* identity -> struct feed_class */
    struct link referring; /* struct feed_class.referring */
    struct map layers;     /* namespace -> struct feed_layer: whom a change there may concern */
    struct link
        bookmarks; /* struct feed_session.due_link, next one due first: all that have said hello */
    struct link cutting; /* struct feed_session.cutting_link */
    uint64_t superseded; /* bytes that publications have replaced, since the beginning */
    uint64_t n_sessions;
};

/* What the subscriber says it has. */
struct inventory {
    struct map
        entries; /* scope NUL kind NUL name (or key, of what is referred to) -> struct inventory_entry */
};

struct inventory_entry {
    struct sha256 hash;
    uint64_t revision; /* of the item; 0: the subscriber does not say */
    bool seen;
    bool is_held; /* it does not receive it any more */
    bool is_ours; /* the name had an item in a state that the batch was cut from */
    size_t scope_len, len, space_len;
    char key[]; /* scope NUL kind NUL name, then the namespace */
};

static inline struct str entry_scope(const struct inventory_entry *e)
{
    return str_of(e->key, e->scope_len);
}
static inline struct str entry_tail(const struct inventory_entry *e)
{
    return str_of(e->key + e->scope_len + 1, e->len - e->scope_len - 1);
}
static inline struct str entry_space(const struct inventory_entry *e)
{
    return str_of(e->key + e->len, e->space_len);
}

/* A batch that is being cut. */
struct cut {
    struct state *state; /* pinned: F3 */
    Trimtab__V1__Mode mode;
    uint64_t since;
    size_t
        scope; /* which is being walked: 0 is what is referred to, then the scopes from 1 on */
    struct scope_walk *walk; /* over it; NULL: not begun */
    struct cut_referred {
        struct closure closure; /* all of it */
        struct tree *news;      /* what of it is to be put, besides what is there already */
        struct tree *gone;      /* what it had when earlier frames were cut, and has no more */
        bool is_complete;       /* what the subscriber has besides is to go */
        enum { CUT_COMPLETE, CUT_KEEP, CUT_GONE, CUT_NEWS } stage;
        struct referred *at; /* the last that was looked at in this stage; referenced */
        bool is_inclusive;   /* once more */
    } referred;
    struct tree *flips;   /* struct withheld: names that were withheld and are not now, or the other way round */
    struct str flip_at;   /* the last of them in this scope, inside the tree; no data: none yet */
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
 * How the view of a session differs from that of its class because rollouts take it. While it is in one, even of what a
 * stronger layer hides now, the session has batches of its own instead of shared frames.
 */
struct gray {
    bool is_in;
    bool is_stale;          /* memory failed: compute anew before the next use */
    struct closure closure; /* while it is in one: what its own view refers to */
    struct digest digest;   /* to be added to that of the class */
    int64_t count;
    struct digest
        last;      /* digest of the whole view at the feed's state, to see whether it changes */
    bool has_last; /* memory did not fail when that was computed */
};

struct feed_session {
    struct feed *feed;
    void *ctx;
    enum feed_client client;
    struct readable *readable; /* what its subscriber may read; NULL: everything */
    struct feed_class *class; /* NULL before the hello */
    struct link in_class;
    struct feed_status status;
    struct cut *cut;             /* while CUTTING */
    struct inventory *inventory; /* while ASKING, and while it is compared */
    struct shared *pending;      /* shared frame of a whole batch, not pulled yet */
    uint64_t pending_revision;
    uint64_t pending_items, pending_drops; /* in it */
    struct digest flight_digest;           /* of the batch in flight or pending */
    struct tree *withheld_sent; /* closure.withheld of what it was sent, as session_withheld says */
    struct announced announced;            /* what its stream was told */
    struct {
        uint64_t applied; /* revision of the newest report */
        uint64_t proved;
        enum proof proof;
        bool has_serving;
        struct digest serving;
        struct report *exceptions; /* NULL: none */
        nsec_t since;              /* something was stored and no report came; 0: none is due */
    } said;
    uint32_t n_announced,
        asked;            /* announcements, and how many there were when it was asked last */
    bool takes_questions; /* its client knows AskReport */
    bool wants_report;    /* its last report proves nothing: AskReport is to be sent */
    bool is_changed;      /* opts.changed was called, and its standing was not taken since */
    bool
        has_claim; /* its hello said what it serves, and the first announcement will judge it */
    const char *ask_reason; /* AskInventory is to be sent; static text */
    bool wants_welcome, wants_bookmark, wants_repair;
    bool has_released; /* it was compared again because a restore was released */
    bool knows_copy;   /* likewise, of the store that this log was restored from */
    uint64_t proved;   /* revision of this store whose view it proved to have; 0: none */
    bool
        is_foreign; /* what it has is of another store, until it has stored a batch of this one */
    const char *welcome_reason;
    struct link due_link;
    struct link cutting_link;
    nsec_t due;
    struct subject *subject; /* NULL: nobody in particular, who has stable */
    struct gray gray;
    struct session_orders {
        bool takes_any;
        uint64_t done; /* revision: acknowledged */
        uint64_t sent; /* all up to this one that concern it were sent, or acknowledged */
        uint64_t fleet_done, fleet_sent; /* likewise of the switch of the fleet */
    } orders;
};

/* scopes.c */
must_use int feed_scope_join(struct feed *f, const struct scope *scope, struct feed_member *m);
void feed_scope_leave(struct feed *f, struct feed_member *m);
must_use int feed_scope_refresh(struct feed *f, struct feed_scope *s); /* a stale digest */
void feed_scopes_touch(struct feed *f, struct name name, struct link *touched);

/* classes.c */
must_use int feed_class_join(struct feed_session *s, const struct scope *scopes, size_t n);
void feed_class_leave(struct feed_session *s);
must_use int feed_class_refresh(struct feed *f, struct feed_class *c); /* what is stale of it */
bool feed_class_is_stale(const struct feed_class *c);
struct closure_view feed_class_view(const struct feed_class *c, const struct state *state,
                                    const struct subject *subject);
/* For nobody in particular. */
struct digest feed_class_digest(const struct feed_class *c, uint64_t *ret_count);

/*
 * What a commit touches, while it is published. Entries of a class's closure that came or changed, and those that left.
 */
struct feed_touched {
    const struct state *before;
    struct str *keys; /* of closure_sort; NULL: nothing refers to anything, or memory failed */
    size_t n;
    struct str *
        referred; /* those of them to which something refers, so that a closure may have them */
    size_t n_referred;
    bool is_referring; /* something refers to something, before or after */
    bool is_gray;      /* a rollout lives, before or after: feed_publish_gray is called */
};
/* Brings the closure to the feed's state. False: nothing is known of what changed, because memory failed. */
bool feed_class_step(struct feed *f, struct feed_class *c, const struct feed_touched *t,
                     struct closure_delta *ret_delta);

/* cut.c */
must_use int cut_begin(struct feed_session *s, Trimtab__V1__Mode mode, uint64_t since);
must_use int cut_pull(struct feed_session *s, nsec_t now, struct feed_frame *ret_frame);
void cut_drop(struct feed_session *s);
/*
 * Remembers which names are withheld from the session's last batch, whose closure is `sent`. While nothing is owed, the newest
 * closure counts instead: the view is the same, but it may withhold names that were absent before, and later commits may give
 * those back without touching them.
 */
void session_withheld(struct feed_session *s, const struct closure *sent);
/* Goes on from the feed's newest state, if the old one keeps too much in memory. */
void cut_renew(struct feed_session *s);

/* inventory.c */
must_use int inventory_add(struct feed_session *s, const Trimtab__V1__Inventory *message,
                           struct err *err);
struct inventory_entry *inventory_find(const struct inventory *inv, struct str scope,
                                       struct str tail);
struct inventory *inventory_free(struct inventory *inv);

/* cause.c */
/*
 * Whether a recorded change explains that what the subscriber names is in its view no more, in this state. scope NULL:
 * it is what others refer to.
 */
bool entry_is_caused(const struct feed_session *s, const struct state *state,
                     const struct scope *scope, const struct inventory_entry *e);

/* view.c */
const struct closure *session_closure(const struct feed_session *s);
struct digest session_digest(const struct feed_session *s, uint64_t *ret_count);
bool session_is_behind(const struct feed_session *s);
/* Whether a change of this resource may concern the session. */
bool session_wants(const struct feed_session *s, struct name name);
/* Its standing is another one. */
void session_changed(struct feed_session *s);

/* What a mark says besides the revision, of a class and what is withheld by a closure. */
enum { MARK_RIGHTS_BYTES = SHA256_BYTES + DIGEST_BYTES };
struct str mark_rights(const struct feed_class *c, const struct closure *closure,
                       unsigned char bytes[MARK_RIGHTS_BYTES]);
void feed_mark_put(const struct feed_class *c, const struct closure *closure, const struct feed *f,
                   uint64_t revision, unsigned char out[MARK_BYTES]);

/* session.c */
/* A restore was released (restored.deletes_newer): who has said that it holds something is compared once more. */
void session_release_restored(struct feed_session *s);

/* gray.c */
void session_gray(struct feed_session *s);
/* Memory failed while it was brought up to date: neither its digest nor its closure tells anything, until a batch is cut. */
bool session_is_uncertain(
    const struct feed_session *s); /* computed anew, from the feed's state */
void session_ungray(struct feed_session *s);
/* Whether a rollout has it now, or had it at a revision since then, by which its view may have differed. */
bool session_was_gray(const struct feed_session *s, uint64_t since);
void feed_publish_gray(struct feed *f, const struct state *before);

/* testimony.c: what the instance says that it serves */
void testimony_hello(struct feed_session *s, const Trimtab__V1__Hello *hello);
void testimony_announced(struct feed_session *s, uint64_t revision, struct digest digest);
void testimony_report(struct feed_session *s, const Trimtab__V1__Ack *ack, nsec_t now);
void testimony_deinit(struct feed_session *s);
/* A batch that brings its view to this revision is complete: what it must come to has been announced. */
void session_take_flight(struct feed_session *s, uint64_t revision, struct digest digest,
                         nsec_t now);

/* orders.c */
void session_orders_hello(struct feed_session *s, const Trimtab__V1__Hello *hello);
/* The next order that is to be sent; NULL: none. */
const struct order *session_next_order(struct feed_session *s);
must_use int session_pull_order(struct feed_session *s, const struct order *o,
                                struct feed_frame *ret_frame);
void session_order_ack(struct feed_session *s, const Trimtab__V1__OrderAck *ack);
/* Calls ready for those whom a new order concerns. */
void feed_publish_orders(struct feed *f, const struct state *before);

#endif
