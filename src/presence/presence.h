/*
 * Presence: the one record of what is known of an instance, and the only source of truth about it.
 *
 * A record is immutable and counted, and replaced as a whole when anything changes, so whoever reads it sees one moment.
 * It is made of counted parts, so a change copies little:
 *
 *   presence --+-- introduction  who it is and what it wants: one hello
 *              +-- report        exceptions that it named: refused, held, drifted; NULL: none
 *              +-- health        the last word of whatever judges it; NULL: none
 *              +-- referred      what its view refers to besides its scopes (an immutable tree)
 *              +-- withheld      names that rights withhold from it, and of what is stable (likewise)
 *              +-- standing      numbers and digests of its stream, by value
 *
 * The feed makes the standing from a session, the roster (presence/roster.h) keeps the records, and everything that is
 * said of an instance is read from them: status, lists, waits, events, the driver of rollouts. A record points to no
 * session, stream or server, so it may be handed to other threads.
 *
 *   (E1) What an instance serves is known from a report that was proved by content (presence/proof.h), never from what it
 *        was sent or from the number of a revision (I12).
 *   (E2) A record answers nothing about revisions beyond `complete`, and nothing at all before its stream has said how it stands.
 *   (E3) Bad news needs no proof: an exception counts as soon as it is about what the view wants.
 */
#ifndef TRIMTAB_PRESENCE_PRESENCE_H
#define TRIMTAB_PRESENCE_PRESENCE_H

#include "base/clock.h"
#include "model/closure.h"
#include "presence/proof.h"

#include <trimtab/v1/sync.pb-c.h>

/* ---- parts ---- */

/* Who said hello, and what is wanted. Immutable, counted. */
struct introduction {
    _Atomic uint32_t refs;
    Trimtab__V1__Hello *hello; /* as it was said */
    struct subject *subject;   /* the same for the targets of rollouts */
    struct scope **scopes;     /* its scopes, with labels filled in */
    size_t n_scopes;
    bool takes_rollouts;   /* else it has what is stable */
    char *owner;           /* the credential that it came with */
    bool has_secret;
    struct sha256 secret; /* hash of what the hello had; the copy of the hello has none */
    char *peer;            /* address of the connection */
    const char *transport; /* "grpc", "http", "sse"; static */
};

struct introduction_opts {
    const Trimtab__V1__Hello *hello; /* copied */
    const char *owner, *peer;        /* copied */
    const char *transport;           /* static text */
    bool may_lack_scopes;            /* as it was kept without those that were too large */
    const struct sha256 *secret;     /* hash of one that was kept; NULL: that of the hello, if it has one */
};
/* ERR_INVALID and the like for scopes that are none, ERR_NOMEM. */
must_use int introduction_new(const struct introduction_opts *o, struct introduction **ret,
                              struct err *err);
struct introduction *introduction_ref(struct introduction *g);
struct introduction *introduction_unref(struct introduction *g); /* always NULL; takes NULL */

/* Exceptions of one report. Immutable, counted. */
struct report {
    _Atomic uint32_t refs;
    Trimtab__V1__Ack *ack; /* as it was said; has at least one exception or a reason */
};
/* A copy; NULL without memory. */
must_use struct report *report_new(const Trimtab__V1__Ack *ack);
struct report *report_ref(struct report *r);
struct report *report_unref(struct report *r); /* always NULL; takes NULL */

/* The last word about its health. Immutable, counted. */
struct verdict {
    _Atomic uint32_t refs;
    Trimtab__V1__Health *health; /* texts cut to VERDICT_..._MAX */
};
enum { VERDICT_REASON_MAX = 1024, VERDICT_SOURCE_MAX = 253 }; /* bytes */
must_use struct verdict *verdict_new(const Trimtab__V1__Health *health);
struct verdict *verdict_ref(struct verdict *v);
struct verdict *verdict_unref(struct verdict *v); /* always NULL; takes NULL */

/* ---- the standing of a stream ---- */

/* By value; report, referred and both of withheld are references of their own (standing_deinit). */
struct standing {
    uint64_t complete;  /* E2 */
    uint64_t concerned; /* newest revision that changed its view */
    uint64_t sent;      /* everything up to this revision was sent */
    uint64_t received;  /* stored by the instance, as it said */
    uint64_t applied;   /* revision of its last report, believed or not */
    uint64_t
        proved; /* newest revision whose content it has proved to serve, but for the exceptions; 0: none */
    enum proof proof;       /* how its last report was judged */
    struct digest expected; /* of its view at `complete` */
    uint64_t items;         /* in its view */
    struct digest serving;  /* as it said last */
    bool has_serving;
    bool is_steady;         /* nothing is under way to it */
    nsec_t owes_since;      /* it owes a word since then; 0: it does not */
    Trimtab__V1__Mode mode; /* how the session began */
    uint64_t items_sent, repairs;
    bool takes_orders;    /* else it is sent none */
    uint64_t orders_done; /* revision of the newest order that it has carried out, as it said */
    uint64_t fleet_done;  /* likewise of the fleet: pause or resume */
    struct report *report;
    bool
        is_uncertain; /* memory failed for what its view refers to, and what is withheld from it: */
    struct tree *referred; /* model/closure.h */
    struct tree *withheld; /* likewise; NULL: nothing */
    struct tree *withheld_stable; /* likewise, if no rollout took it */
};
void standing_deinit(struct standing *s);

/* ---- the record ---- */

struct presence {
    _Atomic uint32_t refs;
    struct introduction *introduction;
    struct verdict *health;
    struct standing standing; /* of its stream; the last one while it is offline */
    uint64_t
        whole; /* newest concerning revision that it proved to serve without exception; 0: not known */
    bool is_connected;
    bool
        has_stood; /* its stream has said how it stands; before that the record says nothing of its view */
    bool is_restored;     /* read back after a restart of the server: not heard of since */
    int64_t connected_ms; /* wall clock, since 1970 */
    int64_t taken_ms; /* when a program without its secret took the id over; 0: none did */
    int64_t seen_ms;      /* when it was heard of last; while offline, since when */
};

struct presence *presence_ref(struct presence *p);
struct presence *presence_unref(struct presence *p); /* always NULL; takes NULL */
OWNED_BY(presence_unref, struct presence *, presence_unref);
/* A copy to be changed before it is published, with references of its own to all parts; NULL without memory. */
must_use struct presence *presence_copy(const struct presence *p);
/* The first record of a introduction, offline. NULL without memory. */
must_use struct presence *presence_new(struct introduction *g);

static inline const char *presence_id(const struct presence *p)
{
    return p->introduction->hello->instance->id;
}

/* ---- what it comes to ---- */

/* Whether what its view refers to, and what is withheld from it, is known: else nobody can say what concerns it (E2). */
static inline bool presence_is_certain(const struct presence *p)
{
    return p->has_stood && !p->standing.is_uncertain;
}

enum presence_state {
    PRESENCE_OK,      /* proved to serve its view */
    PRESENCE_PENDING, /* has not answered yet */
    PRESENCE_HELD, /* serves its view, but for what is held: deletions without a cause, or what came in a pause */
    PRESENCE_DRIFTED,  /* serves its view, but for what was altered on its host */
    PRESENCE_ERROR,    /* refuses something */
    PRESENCE_UNPROVEN, /* has answered, but what it serves is not proved */
    PRESENCE_STALE,    /* owes an answer for longer than ack_late */
    PRESENCE_OFFLINE,
    PRESENCE_LOST, /* offline for longer than lost_after */
};
enum { PRESENCE_STATES = PRESENCE_LOST + 1 };
const char *presence_state_name(enum presence_state s);

/* From when records are looked at. */
struct moment {
    nsec_t now;         /* monotonic */
    int64_t now_ms;     /* wall clock, since 1970 */
    uint64_t complete;  /* revision up to which every record says all (E2) */
    nsec_t ack_late;    /* after that an acknowledgement is late */
    int64_t lost_after; /* milliseconds after which an offline instance is lost; 0: never */
    uint64_t paused;    /* revision of the order by which the fleet is paused; 0: it is not */
};
enum presence_state presence_state(const struct presence *p, const struct moment *at);

/* Whether it owes an answer for longer than ack_late. */
bool presence_is_late(const struct presence *p, const struct moment *at);

/*
 * Whether it has proved that it serves everything up to `revision` that concerns it, whatever it excepts: who looks at a
 * single resource looks at its exceptions by itself.
 */
bool presence_has_reached(const struct presence *p, uint64_t revision, const struct moment *at);

/*
 * The newest revision that concerns it and that it has proved to serve as a whole: who excepts something serves an older
 * one. 0: not known.
 */
uint64_t presence_serving_revision(const struct presence *p);

/* Whether an order is for it: it is named, or its view wants one of the resources, or it is for the fleet. */
bool presence_has_order(const struct presence *p, const struct order *o);
/* Whether it takes orders, this one is for it, and it has not said that it carried it out. */
bool presence_owes_order(const struct presence *p, const struct order *o);

/* Whether the fleet is paused and it has said that it holds to that. */
bool presence_is_paused(const struct presence *p, const struct moment *at);

/* Whether it is connected and the last word about its health is that it fails. */
bool presence_is_failing(const struct presence *p);

/* Its exceptions, borrowed. */
Trimtab__V1__Refusal **presence_exceptions(const struct presence *p, size_t *ret_n);

/* What an exception is, by its code. Unknown codes are refusals. */
enum exception {
    EXCEPTION_REFUSED,
    EXCEPTION_HELD, /* a deletion without a cause */
    EXCEPTION_DRIFTED,
    EXCEPTION_PAUSED, /* new, and held while the fleet is paused */
};
enum { EXCEPTIONS = EXCEPTION_PAUSED + 1 };
enum exception exception_kind(const Trimtab__V1__Refusal *f);

/* ---- its view ---- */

/* How a resource shows in the view of an instance. */
enum binding_is {
    BINDING_NONE,     /* the instance does not want it */
    BINDING_HIDDEN,   /* a stronger layer has the name */
    BINDING_WITHHELD, /* it leads to what the instance may not read, or deletes what did */
    BINDING_ACTS,     /* the name comes to it, or to what its absence uncovers */
};

/* One name of the view under which a resource acts. */
struct binding_at {
    enum binding_is is;
    struct str scope; /* borrowed from the introduction */
    const struct version
        *item; /* that the view has there, or that is withheld; NULL: nothing. Borrowed from the state */
    struct str hidden_by; /* the namespace of the stronger layer, if hidden; borrowed */
};

enum { BINDINGS_MAX = SCOPES_MAX + 1 };
/*
 * Under which names a resource acts in the view of the instance at a state: one for each of its scopes that wants it, and
 * one for SCOPE_REFERRED. Fills `at` (BINDINGS_MAX places), returns how many. At another state than that of `complete`
 * what is referred to and what is withheld is that of the record.
 */
size_t presence_bindings(const struct presence *p, const struct state *state, struct str key,
                         struct binding_at *at);

/* Whether a change of this resource may concern the instance: it acts, or is hidden. Cheaper, and without a state. */
bool presence_wants(const struct presence *p, struct name name);

/* The exception of one binding that is about what the view has there now; NULL: none. Borrowed. */
const Trimtab__V1__Refusal *presence_exception_at(const struct presence *p, struct str key,
                                                  const struct binding_at *b);

#endif
