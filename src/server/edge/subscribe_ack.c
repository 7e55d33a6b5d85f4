/*
 * Acknowledgements over HTTP, in the name of an instance: to whichever session it has, in whichever lane.
 *
 *   lane of the request --> hub: whose the instance is, and its seat --> lane of its session: takes the words --> back
 */
#include "server/edge/subscribe_http.h"

#include "proto/inbound.h"
#include "server/hub/errand.h"
#include "server/lane/subscribe.h"

struct acknowledging {
    struct errand errand;
    struct rest *rest;
    Trimtab__V1__AckRequest *request; /* on the arena of rest */
    struct seat *seat;                /* a reference; NULL: it was not found */
    int result;
    struct err err;
};

/* On the lane of the session. */
static void take_words(struct post *post, void *ctx)
{
    struct acknowledging *a = CONTAINER_OF(ctx, struct acknowledging, errand);
    Trimtab__V1__ClientFrame frame = TRIMTAB__V1__CLIENT_FRAME__INIT;

    (void)post;
    frame.ack = a->request->ack;
    frame.health = a->request->health;
    a->result = a->seat->stream
                    ? subscriber_frame(a->seat->stream, &frame, &a->err)
                    : err_set(&a->err, ERR_NOT_FOUND, "the instance is not connected");
    errand_return(&a->errand);
}

/* On the hub's thread. */
static int find_seat(struct acknowledging *a, const struct roster *roster, struct seat **ret)
{
    const Trimtab__V1__AckRequest *q = a->request;
    const struct instance *i = roster_find(roster, str_c(q->instance));
    struct claimant who = claimant_with(a->rest->who.name, proto_str(q->secret));

    if (!i || !i->stream) {
        (void)err_set(&a->err, ERR_NOT_FOUND, "the instance is not connected");
        err_hint(&a->err, "poll first, and acknowledge within %d s", LINGER_MS / 1000);
        return ERR_NOT_FOUND;
    }
    if (!roster_owns(roster, str_c(q->instance), &who))
        return err_set(&a->err, ERR_DENIED,
                       "the instance belongs to another credential, or secret");
    *ret = seat_of(i);
    return 0;
}

static void find(struct errand *e)
{
    struct acknowledging *a = CONTAINER_OF(e, struct acknowledging, errand);
    struct seat *seat = NULL;

    a->result = find_seat(a, &e->hub->roster, &seat);
    if (a->result) {
        errand_return(e);
        return;
    }
    a->seat = seat_ref(seat);
    errand_go_on(e, seat->home, take_words);
}

static void answer(struct errand *e)
{
    struct acknowledging *a = CONTAINER_OF(e, struct acknowledging, errand);
    Trimtab__V1__AckResponse response = TRIMTAB__V1__ACK_RESPONSE__INIT;

    a->seat = seat_unref(a->seat);
    if (a->result)
        rest_fail_with(a->rest, a->result, &a->err);
    else
        rest_answer(a->rest, 200, &response.base);
}

void subscribe_http_ack(struct rest *r)
{
    struct acknowledging *a = ARENA_NEW(&r->arena, struct acknowledging);
    struct err err = ERR_NULL;
    int rc = a ? inbound_json(r->body, &trimtab__v1__ack_request__descriptor, &r->arena,
                              (ProtobufCMessage **)&a->request, &err)
               : ERR_NOMEM;

    if (!rc && (!*a->request->instance || (!a->request->ack && !a->request->health)))
        rc = err_set(&err, ERR_INVALID, "an acknowledgement needs instance, and ack or health");
    if (rc) {
        rest_fail_with(r, rc, &err);
        return;
    }
    a->rest = r;
    a->errand.run = find;
    a->errand.done = answer;
    errand_send(&a->errand, r->front->lane->hub, r->front->lane->loop);
}
