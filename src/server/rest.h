/*
 * The REST front end: routes of api/openapi.json translated to use cases. Documents are the JSON form of the messages.
 */
#ifndef TRIMTAB_SERVER_REST_H
#define TRIMTAB_SERVER_REST_H

#include "base/arena.h"
#include "server/app.h"
#include "server/precondition.h"

#include <jansson.h>

/* Takes over a request that is not gRPC. */
void rest_handle(struct app *app, struct exchange *x);

/* A request on its way through the front end. Freed by whoever answers, through rest_free. */
struct rest {
    struct app *app;
    struct exchange *x;
    struct arena arena;
    const struct route *route;
    struct identity who;
    struct str rest_of_path; /* decoded, what a route's "**" stands for; on the arena */
    struct str body;         /* valid until the answer */
    bool has_precondition;   /* a commit that is overtaken fails it: 412 */
    char etag[ETAG_MAX];     /* of the answer; "": it has none */
    int status;              /* of a failure, instead of that of its code; 0: none */
};

void rest_free(struct rest *r);

/* Answers, with a JSON document or an error, and frees r. */
void rest_answer(struct rest *r, int status, const ProtobufCMessage *message);
void rest_fail(struct rest *r, const struct err *err);

/* First value of a query parameter, decoded, on the arena; data is NULL when it is not there. */
struct str rest_query(struct rest *r, const char *name);

/* The query as a JSON object with values typed by the message's fields. ERR_INVALID, ERR_NOMEM. */
must_use int rest_query_json(struct rest *r, const ProtobufCMessageDescriptor *type, json_t *object,
                             struct err *err);

/* subscribe_http.c */
void subscribe_http_snapshot(struct rest *r);
void subscribe_http_poll(struct rest *r);
void subscribe_http_events(struct rest *r);
void subscribe_http_ack(struct rest *r);

/* metrics.c */
void metrics_answer(struct rest *r);

#endif
