/*
 * The roster: every instance that was heard of, connected or not, each with its newest presence.
 *
 * The roster decides who may be which instance, replaces records as a whole, and forgets who has been away for too long. It
 * does no I/O; whoever owns it has the clocks. Belongs to one thread; the records that it hands out may leave it.
 */
#ifndef TRIMTAB_PRESENCE_ROSTER_H
#define TRIMTAB_PRESENCE_ROSTER_H

#include "base/list.h"
#include "base/map.h"
#include "base/sorted.h"
#include "presence/owner.h"
#include "presence/presence.h"

enum {
    INSTANCE_ID_MAX = 128,
    ROSTER_MAX = 200000,
    HELLO_BYTES_MAX = 256 * 1024,
    REPLACED_MAX =
        5, /* by another program, within REPLACED_WITHIN_S: more are two that have one id */
    REPLACED_WITHIN_S = 30,
    KEPT_EVERY_S = 60, /* newer proofs of a connected instance are written so often */
};

/* One place of the roster. */
struct instance {
    struct presence *presence; /* the newest record; never NULL */
    void *stream;              /* whose session it is, opaque here; NULL while offline */
    struct link link;          /* in roster.offline, oldest first by seen_ms */
    unsigned n_replaced;       /* by streams of another program, since then */
    nsec_t replaced_since;
    uint64_t told;    /* what who watches was told of it last, as events sum it up */
    struct link due;  /* in roster.due, if something of it is to be kept over a restart */
    nsec_t due_since; /* then: since when */
    nsec_t kept;      /* when it was written last; 0: never */
    struct sorted_entry by_id; /* in roster.by_id */
    char id[];
};

struct roster {
    struct map instances; /* id -> struct instance */
    struct sorted by_id;  /* the same in order, struct instance.by_id */
    struct owners owners; /* whose each id is; they outlive the records */
    size_t max;           /* records, ROSTER_MAX; less in tests */
    struct link offline;
    struct link due; /* struct instance.due, oldest first */
    void (*forgotten)(void *ctx,
                      struct str id); /* this one is forgotten now; NULL: nobody asks */
    void *ctx;
    uint64_t n_connected;
    uint64_t stamp;        /* raised by every change, so that who waits sees one */
    uint64_t complete;     /* every record says all up to this revision (E2) */
    uint64_t n_unreported; /* words that were lost for lack of memory, since the start */
};

void roster_init(struct roster *r);
void roster_deinit(struct roster *r);

/* Dead instances are forgotten after this many milliseconds. */
void roster_expire(struct roster *r, int64_t now_ms, int64_t keep_ms);

struct instance *roster_find(const struct roster *r, struct str id);
/* The next one of a walk over by_id; NULL at the end. */
struct instance *roster_walk_next(struct sorted_walk *w);

/* What must hold for every id of an instance. ERR_INVALID. */
must_use int instance_id_check(struct str id, struct err *err);

/*
 * Whether who introduces itself so may be the instance that it says; changes nothing. ERR_DENIED: it belongs to another
 * credential (I11). ERR_EXISTS: it is connected with another secret, or two programs keep replacing each other under this id.
 * ERR_INVALID: an id that is none. ERR_LIMIT: a hello that is too large to keep, too many connected instances.
 */
must_use int roster_admit(const struct roster *r, const struct introduction *in, nsec_t now,
                          struct err *err);

/*
 * A stream that was admitted takes its place, made if it is new, for which the oldest offline one of the credential that holds
 * most may have to go; an older stream has lost it. Another start of its program
 * knows nothing of its health. NULL without memory: nothing has changed.
 */
must_use struct instance *roster_connect(struct roster *r, struct introduction *who,
                                         void *stream, nsec_t now, int64_t now_ms);
/* An offline instance as the store had it. False without memory, or when it is there already. */
must_use bool roster_restore(struct roster *r, struct presence *p);
/* Whether words in the name of an instance are its own: of the credential that has the id, with its secret. */
must_use bool roster_owns(const struct roster *r, struct str id, const struct claimant *who);
/* Forgets an instance and whose it is. ERR_NOT_FOUND; ERR_LOCKED: it is connected. */
must_use int roster_forget(struct roster *r, struct str id, struct err *err);
/* Its stream ended; nothing happens when another stream has taken its place. */
void roster_leave(struct roster *r, struct instance *i, const void *stream, nsec_t now,
                  int64_t now_ms);

/*
 * The stream stands so now. Takes over the parts of standing in every case. is_word: it has said something. ERR_NOMEM: the
 * older record stays, and the caller tries again.
 */
must_use int roster_stand(struct roster *r, struct instance *i, struct standing *standing,
                          bool is_word, const struct moment *at);
/* What it says of its health takes the place of what it said before; takes a reference. ERR_NOMEM: what it said before holds. */
must_use int roster_health(struct roster *r, struct instance *i, struct verdict *v,
                           int64_t now_ms);

/* What was due of it has been taken, to be written. */
void roster_kept(struct instance *i, nsec_t now);

/* How many instances are in each state, and how many of the connected ones are failing. */
struct roster_counts {
    uint64_t states[PRESENCE_STATES];
    uint64_t failing;
};
void roster_count(const struct roster *r, const struct moment *at, struct roster_counts *ret);

#endif
