/*
 * A gRPC server and a channel on one loop, for tests.
 */
#ifndef TRIMTAB_TESTS_NET_WORLD_H
#define TRIMTAB_TESTS_NET_WORLD_H

#include "net/grpc_client.h"

struct world {
    struct loop loop;
    struct http_server *server;
    struct channel *channel;
    struct grpc_call *held;   /* of a unary method that answers later */
    struct grpc_call *stream; /* the server's end of the last stream */
    struct shared *pushed;    /* sent again and again by /Push */
    size_t to_push, n_pushed, n_server_messages, server_bytes;
    int n_half_closes, n_server_closes, server_reason;

    /* the client's end */
    int status, n_done, n_closes;
    struct err err;
    struct buf response;
    size_t n_messages, message_bytes;
    struct str last;
    char last_text[64];
    int n_ready, n_failed;
    struct err story;
    bool is_server_closed, is_channel_closed, is_drained;
};

extern const struct grpc_service world_service;
extern const struct rpc_ops world_rpc_ops;

/* server.address is filled in if NULL; client.addresses too. False, with a note, when something fails. */
bool world_open(struct world *w, struct http_server_opts server, struct channel_opts client);
void world_close(struct world *w);

/* Turns the loop while the condition holds. */
#define WHILE(w, cond)                                                                         \
    while (cond)                                                                               \
    loop_turn(&(w)->loop, LOOP_WAIT)

/* A unary call, to its end. */
int world_call(struct world *w, const struct rpc_opts *opts, struct str request);
void world_done(void *ctx, int status, const struct err *err, struct str response);

#endif
