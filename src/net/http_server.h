/*
 * What the two files of the server itself (http_server.c, http_conn.c) share.
 */
#ifndef TRIMTAB_NET_HTTP_SERVER_H
#define TRIMTAB_NET_HTTP_SERVER_H

#include "net/exchange.h"

#include <sys/socket.h>

/* Makes a connection of an accepted socket, which it takes over. False without memory: the socket is closed. */
must_use bool http_conn_start(struct http_server *server, int fd, const struct sockaddr *peer);

/* Frees the server, from the loop, when its owner has closed it and all connections are gone. */
void http_server_unref(struct http_server *server);

/* A connection has gone: tells an owner that waits for the last. */
void http_server_check_drained(struct http_server *server);

#endif
