/*
 * The server as a whole: owns every long-lived object, starts them in order and stops them in reverse.
 *
 * The main thread runs the hub, and the first lane. Every other lane has a thread of its own from server_open on.
 */
#ifndef TRIMTAB_SERVER_SERVER_H
#define TRIMTAB_SERVER_SERVER_H

#include "server/edge/front.h"

struct server;

/* A lane with what it needs to live. */
struct lane_home {
    struct server *server;
    struct loop *loop; /* the main one, or its own */
    struct loop own_loop;
    pthread_t thread;
    bool has_loop, has_thread;
    struct lane lane;
    struct front front;
    struct timer tick;
    struct post drain, drained; /* to the lane; back */
    struct post review;         /* to the lane */
    _Atomic bool is_to_review;  /* that is on its way */
};

struct server {
    struct loop loop; /* the main one */
    bool has_loop;
    struct tls *tls; /* NULL: plain text */
    struct hub hub;
    struct driver driver; /* of rollouts */
    struct events events; /* for who watches */
    struct keeper keeper; /* of the roster over a restart */
    struct desk desk;
    struct lane_home homes[HUB_LANES_MAX];
    size_t n_drained;
    struct fronts fronts;
    struct http_crowd crowd;
    struct timer tick;
    struct signal_watch on_term, on_int, on_hup;
    struct timer drain_limit;
    int exit_status;
};

must_use int server_open(struct server *server, const struct config *config, struct err *err);
/* Runs until a signal; 0 or what went wrong. */
int server_run(struct server *server);
void server_close(struct server *server);

#endif
