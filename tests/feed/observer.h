/*
 * Subscribers with the real core of theirs, and the server that they observe: whole commits, rollouts, and what each of them must
 * have, computed from nothing.
 */
#ifndef TRIMTAB_TESTS_FEED_OBSERVER_H
#define TRIMTAB_TESTS_FEED_OBSERVER_H

#include "base/clock.h"
#include "base/map.h"
#include "feed/feed.h"
#include "model/closure.h"
#include "model/commit.h"
#include "proto/convert.h"
#include "sync/sync.h"
#include "tap.h"

enum {
    CHANGES_MAX = 64,
    LINKS_MAX = 6,
    OBSERVERS_MAX = 10,
    SCOPES = 2,
    LAYERS = 2,
    ID_ROOM = 32
};

/* ---- a server ---- */

struct world {
    struct feed *feed;
    struct state *state;
    nsec_t now;
    struct rng rng;
    uint64_t pinned_max;
    int n_nodes, counter;
    int n_commits, n_missing, n_cycles, n_refused, n_rollouts, n_moves, n_withheld;
};

bool feed_open(struct world *w);
bool world_open(struct world *w);
void world_close(struct world *w);
int commit_failing(struct world *w, struct commit *c, uint64_t fail_after, struct err *err);
int commit(struct world *w, struct commit *c, struct err *err);

/* ---- a subscriber ---- */

struct observer {
    struct world *w;
    struct sync *sync;
    struct feed_session *session;
    Trimtab__V1__Instance instance;
    Trimtab__V1__Scope scopes[SCOPES], *list[SCOPES];
    Trimtab__V1__Selector selector, *selectors[1];
    char id[16], names[SCOPES][24], *namespaces[SCOPES][LAYERS], *patterns[1];
    size_t n_scopes;
    struct subject subject;
    struct readable *readable; /* NULL: it may read everything */
    int n_withheld, n_uncaused; /* names, since forget */
    int n_frames, n_changes, n_puts, n_drops, n_keeps, n_completes; /* since forget */
};

extern char spaces[3][2]; /* the namespaces: a, b, c */

/* scopes: for each its layers, one letter each, a blank between scopes; pattern: of names in the first, NULL for all. */
bool observer_open(struct observer *o, struct world *w, int number, const char *scopes,
                   const char *pattern);
bool observer_start(struct observer *o);
void observer_close(struct observer *o);
/* What it may read from its next link on: namespaces, blanks between them; NULL: everything. */
void observer_may_read(struct observer *o, const char *namespaces);
void link_observer(struct observer *o);
void unlink_observer(struct observer *o);
void forget(struct observer *o);
/* One frame, and I6 when it ended a batch; false: there was none. */
bool pull(struct observer *o);
void settle(struct observer *o);
/* I6: whatever is held refers to what is held. */
bool is_whole(const struct observer *o);
/* What it must have, computed from nothing. */
bool is_true(const struct observer *o);

/* ---- by hand ---- */

struct item {
    const char *id,
        *to; /* ids that it refers to, a blank between them; NULL: none; "-": it is deleted */
};

int publish_items(struct world *w, const struct item *items, size_t n, uint64_t fail_after);
#define PUBLISH(w, ...)                                                                        \
    CHECK_I64(publish_items((w), (struct item[]){__VA_ARGS__},                                 \
                            sizeof((struct item[]){__VA_ARGS__}) / sizeof(struct item),        \
                            UINT64_MAX),                                                       \
              0)
bool has(const struct observer *o, const char *id);
/* A rollout of these resources to one instance. Returns its id. */
uint64_t start(struct world *w, const struct item *items, size_t n, const char *target);
#define START(w, target, ...)                                                                  \
    start((w), (struct item[]){__VA_ARGS__},                                                   \
          sizeof((struct item[]){__VA_ARGS__}) / sizeof(struct item), (target))
void roll_back(struct world *w, uint64_t id);

#endif
