/*
 * The ledger: what is served, and what was received but is not served yet, with the reason. Bookkeeping only, without
 * I/O; the sets that it compares are the core's (received and held, called received here) and its own (serving).
 *
 *   (L1) pending holds exactly the names whose served item is not the received one.
 *   (L2) digest is that of the serving set, always.
 *   (L3) Names that changed in one commit, that refer to each other, or that were refused together are served
 *        together or not at all (I2, I6). A drop tells no commit, so it belongs to all that came in its batch.
 */
#ifndef TRIMTAB_AGENT_LEDGER_H
#define TRIMTAB_AGENT_LEDGER_H

#include "base/arena.h"
#include "base/clock.h"
#include "base/map.h"
#include "base/vec.h"
#include "sync/copy.h"

/* A name that waits. The key is scope NUL kind NUL name, or SCOPE_REFERRED NUL the key of the item. */
struct pending {
    uint64_t batch; /* revision of the batch that changed it last */
    uint64_t group; /* with whom it was refused; 0: not tried yet */
    bool is_refused, must_retry;
    unsigned
        n_tries; /* since it came, or anything that matters has changed; for whoever refuses it */
    nsec_t retry_at; /* of the loop's clock; 0: not by itself */
    char code[24];
    char *message, *held_by; /* NULL: empty */
    size_t len;
    char key[];
};

struct ledger {
    const struct sync *sync;
    struct map serving; /* key -> struct binding */
    struct map pending; /* key -> struct pending */
    struct digest digest;
    uint64_t last_group;
    bool must_rescan; /* for want of memory pending may lack names: (L1) does not hold */
};

void ledger_init(struct ledger *l, const struct sync *sync);
void ledger_deinit(struct ledger *l);

/* After sync_load: what the copy says was served. ERR_NOMEM. */
must_use int ledger_load(struct ledger *l, const struct copy_content *content);

/* A batch changed this name. ERR_NOMEM: ledger_rescan is needed. */
must_use int ledger_note(struct ledger *l, const struct sync_change *change, uint64_t batch);
/* Compares everything anew. */
must_use int ledger_rescan(struct ledger *l, uint64_t batch);

struct version *ledger_serving(const struct ledger *l,
                               struct str key); /* borrowed; NULL: nothing */
struct version *ledger_received(const struct ledger *l, struct str key);

/* From now on this is served (NULL: nothing); pending is brought in line. ERR_NOMEM: to be called again. */
must_use int ledger_serve(struct ledger *l, struct str key, struct version *v);

/* One of a group. Belongs to the groups' arena; want is a reference of theirs. */
struct group_member {
    struct str key;
    struct version *want; /* NULL: it is to go */
};

struct group {
    struct group_member *members;
    size_t n;
    bool is_fresh,
        must_retry; /* one of them has not been tried; one of them is to be tried again */
    enum { GROUP_WAITING, GROUP_ACCEPTED, GROUP_REFUSED } verdict;
};

struct groups {
    struct arena arena;
    struct group *at;
    size_t n;
};

/* All groups of what is pending, oldest batch first. Not while a rescan is needed: they might be halves. ERR_NOMEM. */
must_use int ledger_groups(const struct ledger *l, struct groups *ret_groups);
void groups_deinit(struct groups *g);

/* The code of what was altered on the host: it is not served, and not put right by itself. */
#define LEDGER_DRIFTED "DRIFTED"
/* Found to be altered: it is not served any more. ERR_NOMEM: ledger_rescan is needed, or the text is missing. */
must_use int ledger_drift(struct ledger *l, struct str key, struct str message);
/* Found to be as it was delivered after all: it is served again. ERR_NOMEM: to be called again. */
must_use int ledger_undrift(struct ledger *l, struct str key);
bool pending_is_drifted(const struct pending *p);

struct refusal_text {
    const char *code;
    struct str message;
    const char *held_by;
};
/* Notes a refusal of a member, unless something newer has come under its name. ERR_NOMEM: without its texts. */
int ledger_refuse(struct ledger *l, const struct group_member *m, uint64_t group,
                  const struct refusal_text *text);

static inline struct str key_scope(struct str key)
{
    return str_part(key, 0, str_index(key, '\0'));
}
static inline struct str key_tail(struct str key)
{
    return str_from(key, str_index(key, '\0') + 1);
}
/* What the scopes refer to is named by its whole key: it is there for what refers to it, and for no sink. */
static inline bool key_is_referred(struct str key)
{
    return str_eq(key_scope(key), SCOPE_REFERRED);
}
/* kind NUL name, in every scope */
static inline struct str key_short(struct str key)
{
    struct str tail = key_tail(key);

    return key_is_referred(key) ? str_from(tail, str_index(tail, '\0') + 1) : tail;
}
static inline struct str key_kind(struct str key)
{
    struct str name = key_short(key);

    return str_part(name, 0, str_index(name, '\0'));
}
static inline struct str key_path(struct str key)
{
    struct str name = key_short(key);

    return str_from(name, str_index(name, '\0') + 1);
}
/* kind/name, or the id of what is referred to: as refusals name it. */
void key_put_text(struct str key, struct buf *out);

#endif
