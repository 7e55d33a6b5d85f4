/*
 * The registry: every instance that was seen, connected or not, and what it really runs, from its own words only.
 * Belongs to the loop's thread.
 */
#ifndef TRIMTAB_SERVER_REGISTRY_H
#define TRIMTAB_SERVER_REGISTRY_H

#include "base/arena.h"
#include "base/list.h"
#include "base/map.h"
#include "feed/feed.h"
#include "server/auth.h"

#include <trimtab/v1/admin.pb-c.h>

enum {
    INSTANCE_ID_MAX = 128,
    REGISTRY_MAX = 200000,
    ACK_LATE_S = 30, /* unless it is set otherwise */
    HELLO_BYTES_MAX = 256 * 1024,
    REPLACED_MAX = 5, /* by another program, within REPLACED_WITHIN_S: more are two that have one id */
    REPLACED_WITHIN_S = 30,
    HEALTH_REASON_MAX = 1024, /* bytes that are kept of what an instance says of its health */
    HEALTH_SOURCE_MAX = 253,
};

struct instance {
    const struct registry *registry;
    char id[INSTANCE_ID_MAX + 1];
    Trimtab__V1__Hello *hello; /* as said last: who it is and what it wants */
    struct subject *subject;   /* the same for the targets of rollouts */
    Trimtab__V1__Ack *report;  /* as said last about what it runs: refusals; NULL: nothing yet */
    Trimtab__V1__Health *health; /* as said last by this start of its program; NULL: nothing yet */
    struct feed_session *session; /* NULL while offline; borrowed */
    void *stream;                 /* whose session it is; for the replacement of an older one */
    struct feed_status last;      /* when it went offline */
    int64_t connected_ms, seen_ms;
    bool has_reported;    /* applied something in this session, or refused it */
    nsec_t stored_since;  /* it has a batch and has not said what it came to; 0: it owes no word */
    char peer[64], identity[AUTH_NAME_MAX];
    const char *transport; /* "grpc", "http" */
    struct link link;      /* oldest first by seen_ms while offline */
    unsigned n_replaced;   /* by streams of another program, since then */
    nsec_t replaced_since;
    uint64_t told; /* what who watches was told of it last, as events.c sums it up */
};

struct registry {
    struct map instances; /* id -> struct instance */
    struct link offline;
    uint64_t n_connected;
    uint64_t stamp; /* raised by every change, so that who waits sees one */
    nsec_t ack_late; /* after that an acknowledgement is late */
};

void registry_init(struct registry *r);
void registry_deinit(struct registry *r);

/* Dead instances are forgotten after this many milliseconds. */
void registry_expire(struct registry *r, int64_t now_ms, int64_t keep_ms);

struct instance *registry_find(const struct registry *r, struct str id);

/*
 * Whether a caller of this name may be the instance of a hello; changes nothing. ERR_DENIED: it is connected with
 * another credential (I11). ERR_EXISTS: two programs keep replacing each other under this id. ERR_INVALID: an id that
 * is none. ERR_LIMIT: a hello that is too large to keep.
 */
must_use int registry_admit(const struct registry *r, const Trimtab__V1__Hello *hello,
                            const char *identity, nsec_t now, struct err *err);

/*
 * The instance of a hello, made if it is new; its hello is replaced. NULL with the story: an id that is empty or too
 * long, too many instances, no memory.
 */
must_use struct instance *registry_hello(struct registry *r, const Trimtab__V1__Hello *hello,
                                         nsec_t now, struct err *err);

/* It is connected through this session and stream now. */
void registry_connected(struct registry *r, struct instance *i, struct feed_session *session,
                        void *stream, int64_t now_ms);
/* Its stream ended; nothing happens when another stream has taken its place. */
void registry_gone(struct registry *r, struct instance *i, const void *stream, int64_t now_ms);

/* It said what it runs. Keeps a copy. */
void registry_report(struct registry *r, struct instance *i, const Trimtab__V1__Ack *ack,
                     int64_t now_ms);

/*
 * It said how it is. Keeps a copy, of its texts the UTF-8 up to HEALTH_..._MAX; another start of its program knows
 * nothing of it. ERR_NOMEM: what it said before holds.
 */
must_use int registry_health(struct registry *r, struct instance *i,
                             const Trimtab__V1__Health *health, int64_t now_ms);

/* Whether it is connected, and what it runs fails as it says. */
bool instance_is_failing(const struct instance *i);

enum instance_state { INSTANCE_OK, INSTANCE_PENDING, INSTANCE_ERROR, INSTANCE_STALE, INSTANCE_OFFLINE };
const char *instance_state_name(enum instance_state s);

/* Whether it owes an acknowledgement for longer than ack_late. */
bool instance_is_late(const struct instance *i, nsec_t now);
/* From what it reported, never from what it was sent. stale: it is late. */
enum instance_state instance_state(const struct instance *i, nsec_t now);

/* Whether everything up to revision that concerns it is applied, as it said itself. */
bool instance_has_applied(const struct instance *i, uint64_t revision);

/* The same whatever it refused: for who looks at a single resource, whose refusal is looked at by itself. */
bool instance_has_reached(const struct instance *i, uint64_t revision);

/* Fills a message on the arena. */
Trimtab__V1__InstanceInfo *instance_info(const struct instance *i, nsec_t now, struct arena *a);

#endif
