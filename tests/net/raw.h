/*
 * A raw client for tests: bytes to a server on the same loop, and everything it answers.
 */
#ifndef TRIMTAB_TESTS_NET_RAW_H
#define TRIMTAB_TESTS_NET_RAW_H

#include "base/buf.h"
#include "net/loop.h"

struct raw {
    struct loop *loop;
    struct buf got;
    int fd;
    bool is_closed; /* by the server */
};

void raw_open(struct raw *raw, struct loop *loop, uint16_t port);
void raw_close(struct raw *raw);
/* Sends all of it, turning the loop while the socket is full; false when the server has closed. */
bool raw_send(struct raw *raw, struct str bytes);
/* Turns the loop until the answer contains this text, or the server has closed. */
bool raw_wait(struct raw *raw, const char *text);
/* Turns the loop until the server closes. */
void raw_wait_close(struct raw *raw);
/* One look, without waiting. */
void raw_poll(struct raw *raw);

#endif
