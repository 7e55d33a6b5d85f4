/*
 * A feed under test and its subscribers, who keep what they are sent and compute their own digest.
 */
#ifndef TRIMTAB_TESTS_FEED_PEER_H
#define TRIMTAB_TESTS_FEED_PEER_H

#include "base/buf.h"
#include "feed/feed.h"
#include "proto/convert.h"
#include "proto/subject.h"
#include "tap.h"

enum { HELD_MAX = 700, BIG = ITEM_INLINE_MAX * 2 + 77 };

extern char big[BIG];

/* ---- a server ---- */

struct world {
    struct feed *feed;
    struct state *state;
    nsec_t now;
};

enum { PEER_KEY_BYTE = 9 }; /* the key of a world's store is made of these */

struct peer {
    struct world *w;
    struct feed_session *session;
    int n_ready;
    /* what it has */
    struct {
        char key[64]; /* scope, blank, kind/name */
        struct sha256 hash;
        char space[8];
        uint64_t revision;
        bool is_held; /* received no more: named when it is asked for */
    } held[HELD_MAX];
    size_t n_held;
    bool tells; /* inventories name namespace and revision of each item */
    /* what came since peer_forget */
    int puts, drops, uncaused_names, parts, bookmarks, asks, questions, ends, welcomes;
    size_t part_bytes;
    struct shared *framed; /* the last shared frame, borrowed */
    Trimtab__V1__Mode mode;
    uint64_t revision, uncaused;
    struct digest announced;
    unsigned char mark[MARK_BYTES]; /* of the last End or Bookmark */
    uint64_t lost, n_lost;          /* what the feed says of lost records */
    bool is_broken; /* an end whose digest or count is not that of what it has */
};

struct edit {
    const char *id;
    const char *text; /* NULL: deleted */
    size_t len;       /* of it; 0: up to its NUL */
};

/* One commit; fail_after: which allocation of the publication fails, UINT64_MAX for none. */
void publish_failing(struct world *w, const struct edit *edits, size_t n, uint64_t fail_after);

#define PUBLISH(w, ...)                                                                        \
    publish_failing((w), (struct edit[]){__VA_ARGS__},                                         \
                    sizeof((struct edit[]){__VA_ARGS__}) / sizeof(struct edit), UINT64_MAX)

bool world_open(struct world *w);
/* A commit that notes a restore, and changes nothing. */
void world_restore(struct world *w, const struct restored *restored);
bool world_open_pinning(struct world *w, uint64_t pinned_max);
void world_close(struct world *w);

struct greeting {
    const char *scopes; /* one letter each: its name and its namespace */
    const char *layers; /* of all scopes, instead: one letter each, the strongest first */
    const char *id;     /* of the instance; NULL: none */
    bool has_cursor, is_foreign;
    bool is_old;          /* knows nothing of rollouts */
    bool takes_questions; /* it can be asked to say again what it serves */
    uint64_t revision;
    struct str mark;
    struct str digest,
        serving; /* of the cursor, and of what it served of its revision; empty: not said */
    uint32_t protocol;
};

bool peer_open(struct peer *p, struct world *w);
void peer_close(struct peer *p);
int peer_hello(struct peer *p, const struct greeting *g, struct err *err);
struct digest peer_digest(const struct peer *p);
size_t peer_find(const struct peer *p, const char *key);
void peer_take(struct peer *p, struct feed_frame *frame);
/* Everything that is to be had; false when memory failed. */
bool peer_pull(struct peer *p);
void peer_forget(struct peer *p);
int peer_ack(struct peer *p, Trimtab__V1__Stage stage);
int peer_inventory(struct peer *p);
/* Up to date, acknowledged, and nothing is owed. */
bool peer_settle(struct peer *p);
bool peer_is_true(const struct peer *p);

#endif
