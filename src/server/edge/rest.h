/*
 * A request to REST on its way through the front end. Documents are the JSON form of the messages. Which requests there are
 * is in rest_routes.h.
 */
#ifndef TRIMTAB_SERVER_EDGE_REST_H
#define TRIMTAB_SERVER_EDGE_REST_H

#include "base/arena.h"
#include "net/router.h"
#include "server/edge/front.h"
#include "server/edge/precondition.h"
#include "server/use/api.h"

#include <jansson.h>

/* Freed by whoever answers: by answer.h, or through rest_free. */
struct rest {
    struct front *front;
    struct exchange *x;
    struct arena arena;
    const struct route *route;
    struct identity who;
    struct str rest_of_path; /* decoded, what a route's "**" stands for; on the arena */
    struct str body;         /* valid until the answer */
    bool has_precondition;   /* a commit that is overtaken fails it: 412 */
    char etag[ETAG_MAX];     /* of the answer; "": it has none */
    int status;              /* of a failure, instead of that of its code; 0: none */
    char allow[ROUTER_METHODS_MAX]; /* with the status 405 */
};

static inline void rest_free(struct rest *r)
{
    arena_deinit(&r->arena);
    (void)mem_free(r);
}

/* Answers, with a JSON document or an error, and frees r. */
void rest_answer(struct rest *r, int status, const ProtobufCMessage *message);
void rest_fail(struct rest *r, const struct err *err);
/* With rc, and with the story of err if it has one. */
void rest_fail_with(struct rest *r, int rc, struct err *err);

/* First value of a query parameter, decoded, on the arena; data is NULL when it is not there. */
struct str rest_query(struct rest *r, const char *name);

/* A truth value of the query; absent is false, a name alone true. ERR_INVALID. */
must_use int rest_query_flag(struct rest *r, const char *name, protobuf_c_boolean *ret,
                             struct err *err);

/* Percent-decoded, on the arena; no data: a broken escape, a NUL, or no memory. */
struct str rest_decoded(struct rest *r, struct str s);
/* Whether path and query are text. ERR_INVALID, ERR_NOMEM. */
must_use int rest_check_address(struct rest *r, struct err *err);

/* Sets the field of this name in a request, by its type. ERR_INVALID: there is none, or not with this value. */
must_use int rest_set_param(json_t *object, const ProtobufCMessageDescriptor *type,
                            struct str name, struct str value, struct err *err);

/* The query as a JSON object with values typed by the message's fields. ERR_INVALID, ERR_NOMEM. */
must_use int rest_query_json(struct rest *r, const ProtobufCMessageDescriptor *type, json_t *object,
                             struct err *err);

/* The use case of this name. */
const struct api_method *rest_method(const char *name);
/* Runs a use case for who asks; r is freed by done. */
void rest_call(struct rest *r, const struct api_method *method, ProtobufCMessage *request,
               enum api_form form, api_done_fn *done);
/* The response of a use case that is done; NULL: it failed, and r has been answered. */
const ProtobufCMessage *rest_response(struct rest *r, struct api_call *call);
/* The usual done: answers with the response, or fails. */
api_done_fn rest_api_done;

#endif
