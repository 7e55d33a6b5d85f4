/*
 * The keeper: what must survive a restart of the server of each instance, in ephemeral items of the store.
 *
 * A server that starts knows its offline instances, whose they are, and what they proved last. What is to be written waits
 * in the order in which it came (roster.due) and is written at KEEPER_BYTES_PER_S at most, so a fleet that reconnects
 * does not fill the store's disk; how far that lags behind is a metric. A connected instance's newer proofs are written
 * once a minute. Belongs to the loop's thread; the store is used on the committer's.
 */
#ifndef TRIMTAB_SERVER_HUB_KEEPER_H
#define TRIMTAB_SERVER_HUB_KEEPER_H

#include "base/vec.h"
#include "presence/roster.h"
#include "server/hub/committer.h"

enum { KEEPER_BYTES_PER_S = 256 * 1024, KEEPER_HELLO_MAX = 4096 };

/* One item on its way into the store or out of it. */
struct kept_item {
    struct shared *key, *bytes; /* bytes NULL: it is to be forgotten */
};

struct keeper {
    struct roster *roster;
    struct committer *committer;
    unsigned char store_id[STORE_ID_BYTES];
    bool is_open, has_loaded;
    nsec_t next;               /* when the next second's worth may be written */
    uint64_t n_written;        /* since the start */
    VEC(struct shared *) gone; /* keys to be forgotten */

    struct read_job job; /* below: the committer's thread while busy */
    bool is_busy;
    uint64_t lease;
    VEC(struct kept_item) items;
    VEC(struct shared *) loaded; /* packed KeptPresence */
    bool failed;
};

/* Begins to read what was kept, and to keep. */
void keeper_open(struct keeper *k, struct roster *roster, struct committer *committer);
/* Time passes: once in a while. */
void keeper_tick(struct keeper *k, nsec_t now);
/* Writes all that is due, before the committer is closed. */
void keeper_leave(struct keeper *k);
/* After the committer was closed and the loop has run what it posted. */
void keeper_close(struct keeper *k);

/* Removes what is stored of an id; on the committer's thread. All that store_ephemeral_delete may answer; ERR_NOMEM. */
must_use int keeper_forget(struct store *store, struct str id, struct err *err);

/* For how long the oldest that is due has waited; 0: nothing is due. */
nsec_t keeper_lag(const struct keeper *k, nsec_t now);

#endif
