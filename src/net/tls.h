/*
 * TLS contexts for both ends: files in, ready-made OpenSSL contexts out, and failures that name the file and say
 * what is wrong with it. TLS 1.2 or newer; ALPN "h2" and "http/1.1"; buffers released while a connection is idle.
 *
 * A context may be shared by all threads; tls_reload swaps what new connections get, open ones keep theirs.
 */
#ifndef TRIMTAB_NET_TLS_H
#define TRIMTAB_NET_TLS_H

#include "base/err.h"
#include "base/str.h"

#include <openssl/ssl.h>

struct tls;

enum tls_client_auth {
    TLS_CLIENT_NONE,     /* client certificates are not asked for */
    TLS_CLIENT_OPTIONAL, /* asked for; one that is sent must verify */
    TLS_CLIENT_REQUIRED,
};

/* Paths are copied. PEM files. */
struct tls_server_opts {
    const char *cert_file; /* certificate, then its chain */
    const char *key_file;
    const char *client_ca_file; /* NULL with TLS_CLIENT_NONE */
    enum tls_client_auth client_auth;
    bool enable_ktls; /* offer the kernel's record layer where the kernel has one */
};

struct tls_client_opts {
    const char *ca_file;   /* NULL: the system's certificates */
    const char *cert_file; /* NULL: none */
    const char *key_file;
    const char *server_name; /* NULL: the host of the address that is dialled */
    bool skip_verify; /* encrypts, trusts anybody; for people at a terminal who ask for it */
};

/* ERR_NOT_FOUND, ERR_INVALID (place: the file), ERR_NOMEM. */
must_use int tls_server_open(const struct tls_server_opts *opts, struct tls **ret_tls,
                             struct err *err);
must_use int tls_client_open(const struct tls_client_opts *opts, struct tls **ret_tls,
                             struct err *err);

/* Reads the files again. On failure the former context stays in use. Any thread. */
must_use int tls_reload(struct tls *tls, struct err *err);

/* Connections that are open keep what they need. NULL is fine. */
void tls_close(struct tls *tls);

/* A new session of this context, for net's own use; host is checked against the certificate by clients. NULL: no memory. */
must_use SSL *tls_session(struct tls *tls, const char *host);

/* The subject's common name of the verified peer, else its whole subject (RFC 2253); empty when there is none. */
enum { TLS_NAME_MAX = 256 };
struct str tls_peer_name(SSL *ssl, char out[TLS_NAME_MAX]);

/* Why the last operation on this session failed, in words that help: "certificate has expired". */
void tls_story(SSL *ssl, struct err *err);

#endif
