/*
 * Addresses as people write them: "127.0.0.1:8443", "[::1]:0", ":8080", "example.org:443", "unix:/run/x.sock".
 * Internal to net.
 */
#ifndef TRIMTAB_NET_ADDRESS_H
#define TRIMTAB_NET_ADDRESS_H

#include "base/err.h"
#include "base/str.h"

#include <sys/socket.h>
#include <sys/un.h>

struct address {
    char host[256]; /* empty: any */
    char port[6];
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* not empty: Unix-domain */
};

/* ERR_INVALID, with what is expected. */
must_use int address_parse(const char *text, struct address *ret_address, struct err *err);

/* For a Unix-domain address. */
socklen_t address_unix(const struct address *a, struct sockaddr_un *ret_sockaddr);

/* "10.0.0.7:51234", "[::1]:80", "unix:/path", cut to size. */
void address_format(const struct sockaddr *sa, char *out, size_t size);
uint16_t address_port(const struct sockaddr *sa); /* 0 for others than IP */

/* A listening, non-blocking socket. Looks names up (blocking): for start-up. ERR_INVALID, ERR_IO. */
must_use int address_listen(const struct address *a, int *ret_fd,
                            struct err *err);

#endif
