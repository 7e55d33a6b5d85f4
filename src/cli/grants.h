/*
 * Grants and tokens as documents: reading what is published, and making what is to be.
 */
#ifndef TRIMTAB_CLI_GRANTS_H
#define TRIMTAB_CLI_GRANTS_H

#include "cli/cmd.h"
#include "model/grant.h"
#include "proto/json.h"

/* A published grant of a subject. Texts are on the arena. */
struct held_grant {
    const char *id;
    uint64_t version;
    const struct role *role;
    char **spaces; /* as they are written: "*" is everything */
    size_t n_spaces;
    const char *note;
};

struct held_grants {
    struct held_grant *at;
    size_t n, cap;
};

/* All grants of a subject that the caller may see, by their ids. */
must_use int grants_load(struct cli *cli, const char *subject, struct held_grants *ret,
                         struct err *err);

/*
 * The id of the grant that `trimtab grant` makes: trimtab/grant/KIND-NAME-ROLE. Other bytes of NAME than letters, digits and
 * "._-@" are written %XX, and a name that is too long so is "=" and its SHA-256: no two pairs of subject and role have one id.
 */
const char *grant_id(struct cli *cli, struct str subject, const struct role *role);

/* Adds the change that publishes a grant. version 0: it must not exist. */
must_use int grants_put(struct cli *cli, Trimtab__V1__CommitRequest *q,
                        const struct held_grant *g, const char *subject, struct err *err);
/* Adds a change of a document, based on a version (0: it must not exist). */
must_use int document_put(struct cli *cli, Trimtab__V1__CommitRequest *q, const char *id,
                          uint64_t version, json_t *document, struct err *err);
/* Another hint in place of the server's, which speaks of the flags of put. */
void err_rehint(struct err *err, const char *hint, ...) printf_like(2, 3);
/* Whether a text can be a note. ERR_INVALID. */
must_use int note_check(const char *note, struct err *err);
/* Adds a deletion that is based on a version. */
must_use int document_delete(struct cli *cli, Trimtab__V1__CommitRequest *q, const char *id,
                             uint64_t version, struct err *err);

#endif
