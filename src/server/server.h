/*
 * The server as a whole: owns every long-lived object, starts them in order and stops them in reverse. Everything
 * here belongs to the main loop's thread.
 */
#ifndef TRIMTAB_SERVER_SERVER_H
#define TRIMTAB_SERVER_SERVER_H

#include "server/edge/front.h"

struct server {
    struct loop loop;
    bool has_loop;
    struct tls *tls; /* NULL: plain text */
    struct hub hub;
    struct driver driver; /* of rollouts */
    struct events events; /* for who watches */
    struct keeper keeper; /* of the roster over a restart */
    struct desk desk;
    struct lane lane;
    struct front front;
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
