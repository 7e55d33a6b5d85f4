/*
 * Owners: which credential an instance id belongs to, and which host among those that share the credential.
 *
 * An id belongs to the credential that used it first, by the name of the credential, so that a new token of the same name
 * keeps it. It does so while the instance is away, too, until it has been away for as long as instances are kept, or somebody
 * forgets it. Hosts that share a credential are told apart by a secret that each makes at its first start; only its SHA-256
 * is kept.
 *
 *     who says hello                                 while connected   while away
 *     nobody had the id                              OWNER_FREE        OWNER_FREE
 *     another credential                             OWNER_FOREIGN     OWNER_FOREIGN
 *     the same secret, or the first one              OWNER_SAME        OWNER_SAME
 *     another secret, or none where there was one    OWNER_BUSY        OWNER_TAKES_OVER
 *
 * An owner outlives the record of its instance: while it is away it is listed, with a record in the roster, or only bound.
 *
 *     CONNECTED ---- leave ---> LISTED ---- unlist ---> BOUND
 *         ^                        |                      |
 *         +------- connect --------+----------------------+
 *
 * Both lists are bounded. At a limit what goes is the oldest one that is away, of the credential that holds most, so nobody
 * pushes others out with ids of his own. What is connected stays. Pure; belongs to one thread.
 */
#ifndef TRIMTAB_PRESENCE_OWNER_H
#define TRIMTAB_PRESENCE_OWNER_H

#include "base/hash.h"
#include "base/list.h"
#include "base/map.h"

enum { OWNERS_MAX = 400000, OWNER_NAME_MAX = 63, OWNER_ID_MAX = 128 };

/* Who wants to be an instance. Slices are borrowed. */
struct claimant {
    struct str credential; /* its name */
    bool has_secret;
    struct sha256 secret; /* hash of it */
};

static inline struct claimant claimant_with(const char *credential, struct str secret)
{
    struct claimant who = {.credential = str_c(credential), .has_secret = secret.len > 0};

    if (who.has_secret)
        who.secret = sha256_of(secret);
    return who;
}

enum claim { OWNER_FREE, OWNER_SAME, OWNER_TAKES_OVER, OWNER_FOREIGN, OWNER_BUSY };

struct owners {
    struct map by_id;       /* id -> struct owner */
    struct map credentials; /* name -> struct credential */
    size_t max;             /* OWNERS_MAX, or less in tests */
};

void owners_init(struct owners *o);
void owners_deinit(struct owners *o);

/* What this claim comes to; changes nothing. */
enum claim owners_claim(const struct owners *o, struct str id, const struct claimant *who);

/*
 * The id is this claimant's, and connected, from now on. Only after a claim that allows it. False without memory, or when
 * the list is full of those that are connected: nothing has changed.
 */
must_use bool owners_connect(struct owners *o, struct str id, const struct claimant *who);
/* It went away, and stays listed. Calls come in the order of time. */
void owners_leave(struct owners *o, struct str id, int64_t now_ms);
/* Its record is forgotten, the owner is not. */
void owners_unlist(struct owners *o, struct str id);

/* As the store had it: listed, and away since then. False without memory, or when the id is there already. */
must_use bool owners_restore(struct owners *o, struct str id, const struct claimant *who, int64_t since_ms);

/* Forgets the owner of an id that is away; false when it is connected, or not known. */
bool owners_forget(struct owners *o, struct str id);
/* Forgets all that have been away for longer. */
void owners_expire(struct owners *o, int64_t now_ms, int64_t keep_ms);

/*
 * The id whose record goes first when room is needed: listed and away for the longest, of the credential with the most
 * records. "" when none is away. Borrowed.
 */
struct str owners_first_to_go(const struct owners *o);

/* Whether the claimant is who has the id, for words that come by another way than its stream. */
must_use bool owners_is(const struct owners *o, struct str id, const struct claimant *who);

#endif
