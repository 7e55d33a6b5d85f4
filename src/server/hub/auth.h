/*
 * Who is it, and may they: every handler passes here, and nowhere else is it decided.
 *
 * Tokens are kept as SHA-256 in a file of lines "name role hash" (mode 0600), in the data folder; at the first start
 * one for the role admin is made and written, readable by its owner only, to admin.token beside it. A verified client
 * certificate is a credential too, with the role that the setting tls_client_role gives.
 */
#ifndef TRIMTAB_SERVER_HUB_AUTH_H
#define TRIMTAB_SERVER_HUB_AUTH_H

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"

struct auth;

enum right {
    RIGHT_NONE = 0,          /* for everybody: health, readiness */
    RIGHT_SUBSCRIBE = 1 << 0,
    RIGHT_READ = 1 << 1,     /* resources, history, instances */
    RIGHT_WRITE = 1 << 2,    /* publish, roll back */
    RIGHT_OPERATE = 1 << 3,  /* metrics */
};

enum { AUTH_NAME_MAX = 64, AUTH_TOKEN_BYTES = 32 };

/* A known caller. */
struct identity {
    char name[AUTH_NAME_MAX];
    unsigned rights; /* of enum right */
    bool is_certificate;
    struct sha256 token; /* hash of the token it came with */
};

/* What a request came with. Slices are borrowed. */
struct credentials {
    struct str authorization; /* value of the header, "Bearer ..." */
    struct str tls_name;      /* of a verified client certificate, empty: none */
};

/*
 * Reads the tokens of the data folder, or makes them. *ret_made is whether a first token was made.
 * ERR_IO, ERR_INVALID (file, line), ERR_DENIED (others may read the file), ERR_NOMEM.
 */
must_use int auth_open(const char *data_dir, const char *tls_client_role, struct auth **ret_auth,
                       bool *ret_made, struct err *err);
struct auth *auth_free(struct auth *a);

/* Reads the tokens again; on failure the former ones hold. */
must_use int auth_reload(struct auth *a, struct err *err);

/* 0, ERR_UNAUTHENTICATED or ERR_DENIED with a hint. Comparison takes the same time for every wrong token. */
must_use int auth_check(const struct auth *a, const struct credentials *c, enum right right,
                        struct identity *ret_identity, struct err *err);

/* Whether this caller would still be let in: what lasts longer than a request asks again after auth_reload. */
must_use bool auth_holds(const struct auth *a, const struct identity *id, enum right right);

/* The rights of a role; false when there is no such role. */
must_use bool auth_role(struct str role, unsigned *ret_rights);

#endif
