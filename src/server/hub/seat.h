/*
 * Seats: the place of a stream at the roster. The stream lives in a lane, the roster in the hub, each on a thread of its own,
 * and a seat is what crosses between them.
 *
 *   lane                                         hub
 *   seat_arrive ------------------------------>  attendance_arrive
 *   ops.taken or ops.refused <-----------------
 *   standings_send, seat_say_health ---------->  attendance_stand, _health, _said_all
 *   ops.leave <--------------------------------  another stream has taken the instance
 *   ops.stand_again <--------------------------  memory failed for its record
 *   seat_depart ------------------------------>  attendance_depart
 *
 * Words of one lane reach the hub in the order in which they were said, which is all that presence/attendance.h asks for.
 */
#ifndef TRIMTAB_SERVER_HUB_SEAT_H
#define TRIMTAB_SERVER_HUB_SEAT_H

#include "server/hub/hub.h"

/* On the lane's thread, and only until seat_depart. */
struct seat_ops {
    void (*taken)(void *stream);
    void (*refused)(void *stream, const struct err *err);
    void (*leave)(void *stream, const char *reason); /* static text */
    void (*stand_again)(void *stream);
};

struct seat {
    _Atomic uint32_t refs; /* the stream's, and the hub's from arrival to departure */
    struct hub *hub;
    struct loop *home;
    const struct seat_ops *ops;
    struct introduction *who; /* immutable */
    void *stream;             /* the lane's; NULL: it has departed */
    struct attendee attendee; /* the hub's */
    struct err *story;         /* of a refusal, on its way to the lane; NULL: taken, or no memory for it */
    int result;
    const char *reason; /* the hub has told the stream to go; NULL: it has not */
    struct post arrival, leaving, again, departure;
    _Atomic bool is_asked_again; /* that post is on its way */
};

/* On the hub: whose stream has the instance; NULL: nobody's. */
static inline struct seat *seat_of(const struct instance *i)
{
    return i->stream ? CONTAINER_OF(i->stream, struct seat, attendee) : NULL;
}

/* Takes a reference of who. NULL without memory. */
must_use struct seat *seat_new(struct hub *hub, size_t lane, struct loop *home,
                               struct introduction *who, const struct seat_ops *ops,
                               void *stream);
struct seat *seat_ref(struct seat *seat);
struct seat *seat_unref(struct seat *seat); /* always NULL; takes NULL */

/* The lane's side. */
void seat_arrive(struct seat *seat);
/* A copy of what its instance says of its health. ERR_NOMEM. */
must_use int seat_say_health(struct seat *seat, const Trimtab__V1__Health *health);
/* The stream has ended. Gives up the stream's reference. */
void seat_depart(struct seat *seat);

/* How streams of a lane stand now, those of which it is new, and the state that this is all of. */
struct standings {
    struct post post;
    struct hub *hub;
    size_t lane;        /* its number */
    struct state *state;
    uint64_t n_lost, lost_revision; /* cursors that proved lost records since the last time, and the highest */
    size_t n;
    struct standing_word {
        struct seat *seat;
        struct standing standing;
        bool is_word; /* it has said something */
    } words[];
};

/* Room for so many. NULL without memory. */
must_use struct standings *standings_new(struct hub *hub, size_t lane, size_t max);
/* Takes over all of it. */
void standings_send(struct standings *s);

#endif
