/*
 * Attendance: which stream has which instance of the roster, and up to which revision the records say all (E2). The streams
 * are of several lanes, each of which serves states at its own pace; what they say comes here as messages.
 *
 *   of one stream, in this order: attendance_arrive, then any of _stand and _health, then attendance_depart
 *   of one lane, in the order in which it said them: all words of its streams, and attendance_said_all
 *   of two lanes: in any order
 *
 *   (A1) The newest stream that arrived has the instance. What an older one says afterwards, its departure too, is too late and
 *        changes nothing.
 *   (A2) The records are complete up to the revision that every lane has reached. A lane has not reached what it says so while
 *        memory has failed for the last word of one of its streams.
 *   (A3) A record is looked at together with the state that its lane served when it said how its streams stand: in a newer one
 *        names may come to something else, of which the instance has said nothing.
 *
 * Pure: time comes in as an argument. Belongs to the thread of the roster.
 */
#ifndef TRIMTAB_PRESENCE_ATTENDANCE_H
#define TRIMTAB_PRESENCE_ATTENDANCE_H

#include "presence/roster.h"

enum { ATTENDANCE_LANES_MAX = 64 };

struct attendance {
    struct roster *roster;
    size_t n_lanes;
    struct state *served[ATTENDANCE_LANES_MAX]; /* by each when it spoke last; references */
    uint64_t complete[ATTENDANCE_LANES_MAX];    /* up to which revision each has said all */
    size_t n_owing[ATTENDANCE_LANES_MAX]; /* streams of it for whose last word memory failed */
};

/* One stream here. Who has it fills in who and lane, before it arrives. */
struct attendee {
    struct introduction *who; /* borrowed */
    size_t lane;
    struct instance *instance; /* NULL: refused, or another stream's by now */
    bool is_owing;             /* memory failed for its last word, in which */
    bool spoke;                /* it had said something */
};

void attendance_init(struct attendance *a, struct roster *roster);
void attendance_deinit(struct attendance *a);
/* Another lane, which serves this state to nobody yet. Takes a reference. */
void attendance_add_lane(struct attendance *a, struct state *state);

/*
 * Its stream takes the instance, if it may; *ret_older is the stream that has lost it (NULL: none), which is to end. As
 * roster_admit; ERR_NOMEM.
 */
must_use int attendance_arrive(struct attendance *a, struct attendee *one, nsec_t now,
                               int64_t now_ms, struct attendee **ret_older, struct err *err);
void attendance_depart(struct attendance *a, struct attendee *one, nsec_t now, int64_t now_ms);

/*
 * It stands so now. Takes over the parts of standing in every case. is_word: it has said something. ERR_NOMEM: its lane is to
 * say again how it stands.
 */
must_use int attendance_stand(struct attendance *a, struct attendee *one,
                              struct standing *standing, bool is_word, const struct moment *at);
/* Takes a reference. ERR_NOMEM. */
must_use int attendance_health(struct attendance *a, struct attendee *one, struct verdict *v,
                               int64_t now_ms);

/* A lane has said how all of its streams stand at this state, whose revision does not go down. Takes a reference. */
void attendance_said_all(struct attendance *a, size_t lane, struct state *state);

/*
 * The state with which the record of an instance is looked at (A3), if the instance is connected. NULL: memory has failed for its
 * last word, so nobody knows. Borrowed.
 */
struct state *attendance_state(const struct attendance *a, const struct instance *i);

#endif
