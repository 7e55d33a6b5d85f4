/*
 * Who is it, and may they: every handler passes here, and nowhere else is it decided.
 *
 * One immutable, counted record holds all that a decision needs: the server's own tokens, the published rights and tokens
 * (model/rights.h), and the deadlines of these (model/expiry.h). A reload, or a commit that changes rights, makes the next
 * record and swaps it in; readers on any thread hold a reference to the record that they decide by.
 *
 * The server's own tokens are kept as SHA-256 in a file of lines "name role hash" (mode 0600), in the data folder; at the first
 * start one for the role admin is made and written, readable by its owner only, to admin.token beside it. Their roles hold
 * on everything, whatever is published: the first grants are made with them, and a locked-out administrator comes back with
 * them. A verified client certificate is a credential too, with the role of the setting tls_client_role and the grants to
 * cert:NAME.
 */
#ifndef TRIMTAB_SERVER_HUB_AUTH_H
#define TRIMTAB_SERVER_HUB_AUTH_H

#include "base/buf.h"
#include "base/err.h"
#include "model/expiry.h"

struct auth;
struct auth_record;

enum { AUTH_NAME_MAX = 64, AUTH_SUBJECT_MAX = AUTH_NAME_MAX + 6, AUTH_TOKEN_BYTES = 32 };

/* A known caller. */
struct identity {
    char name[AUTH_NAME_MAX];
    char subject[AUTH_SUBJECT_MAX]; /* as grants name it: token:NAME, cert:NAME */
    unsigned
        local; /* rights on everything by the server's own configuration, when it was known last */
    bool is_certificate;
    struct sha256 token; /* hash of the token it came with */
};

/* The same for questions to the model. Borrowed. */
static inline struct principal identity_principal(const struct identity *id)
{
    return (struct principal){str_c(id->subject), id->local};
}

/* What a request came with. Slices are borrowed. */
struct credentials {
    struct str authorization; /* value of the header, "Bearer ..." */
    struct str tls_name;      /* of a verified client certificate, empty: none */
};

/*
 * Reads the tokens of the data folder, or makes them. *ret_made is whether a first token was made.
 * ERR_IO, ERR_INVALID (file, line), ERR_DENIED (others may read the file), ERR_NOMEM.
 */
must_use int auth_open(const char *data_dir, const char *tls_client_role,
                       struct auth **ret_auth, bool *ret_made, struct err *err);
struct auth *auth_free(struct auth *a);

/* Reads the tokens of the file again; on failure the former ones hold. One thread at a time, as auth_take. */
must_use int auth_reload(struct auth *a, struct err *err);

/*
 * Takes over the rights of a newer state (NULL: it has none). wall_ms: expiry.h. ERR_NOMEM: the record before holds, and the
 * caller tries again.
 */
must_use int auth_take(struct auth *a, struct rights *rights, nsec_t now, int64_t wall_ms);

/* ---- by a record, on any thread ---- */

/* A reference to the record that holds now; never NULL. */
struct auth_record *auth_current(struct auth *a);
struct auth_record *auth_record_ref(struct auth_record *r);
struct auth_record *auth_record_unref(struct auth_record *r); /* always NULL; takes NULL */
OWNED_BY(auth_record_unref, struct auth_record *, auth_record_unref);

/* Who it is. 0, or ERR_UNAUTHENTICATED with a hint. The file's tokens are compared in the same time for every wrong one. */
must_use int auth_identify(const struct auth_record *r, const struct credentials *c, nsec_t now,
                           struct identity *ret_identity, struct err *err);

/*
 * Whether this caller would still be let in: its token is there under the same name and has not expired. Brings id->local up
 * to date. Streams ask again for each new record, and by timer, since a token expires without a new record.
 */
must_use bool auth_renew(const struct auth_record *r, struct identity *id, nsec_t now);

/* Whether it has a right in a namespace (SPACE_EVERYTHING: on everything). 0, or ERR_DENIED with the grant that would help. */
must_use int auth_may(const struct auth_record *r, const struct identity *id,
                      enum right_to right, struct str space, struct err *err);

/* Whether it has a right in any namespace: who has it nowhere is refused before anything is read of what he sends. */
must_use bool auth_may_somewhere(const struct auth_record *r, const struct identity *id,
                                 enum right_to right);

/* The published rights of the record. Borrowed; NULL: there are none. */
struct rights *auth_rights(const struct auth_record *r);
/* Whether a token of the file has admin on everything (commit.has_local_admin). */
bool auth_has_local_admin(const struct auth_record *r);
/* A line of the server's own file. Borrows the record. */
struct auth_local {
    struct str name, role;
    unsigned rights; /* on everything */
};
/* The i-th; false behind the last. */
bool auth_local_at(const struct auth_record *r, size_t i, struct auth_local *ret);
/* The rights that every verified certificate has on everything. */
unsigned auth_tls_rights(const struct auth_record *r);
/* Whether a published token of the record has expired. */
bool auth_token_has_expired(const struct auth_record *r, const struct token *t, nsec_t now);
/* When a token was let in last, by auth_identify or auth_renew; 0: not since this server started (last_used.h). */
int64_t auth_last_used(const struct auth_record *r, const struct sha256 *hash);
/* How many tokens of the file have a role other than none: a server warns of them after an upgrade. */
size_t auth_n_local(const struct auth_record *r);

/*
 * The rights (enum right_to) that a role of the server's own configuration gives on everything. It takes all roles of
 * model/role.h, and the older publisher, reader, agent and none. False when there is no such role.
 */
must_use bool auth_role(struct str role, unsigned *ret_rights);

#endif
