/*
 * Proof by content: whether what an instance says that it serves is what it was to have.
 *
 * A revision number proves nothing: it may be of another history, or be said by a program that applied something else.
 * So a report about revision R is compared with the digest that its own stream announced for R.
 *
 *     serving, as reported
 *   + the elements of what the view wants    } for each exception that the report names:
 *   - the elements of what is served instead } refused, held or drifted items
 *   = the digest that End or Bookmark announced for R, or the report proves nothing
 *
 *   (P1) Only what this stream announced counts, and only the last ANNOUNCED_MAX of it.
 *   (P2) An exception counts only if the view wants exactly what it says was wanted; each name is excepted once.
 *   (P3) Whatever cannot be judged, for lack of memory too, proves nothing.
 *
 * A digest detects errors, not lies: an instance that computes a false report on purpose is believed.
 */
#ifndef TRIMTAB_PRESENCE_PROOF_H
#define TRIMTAB_PRESENCE_PROOF_H

#include "base/hash.h"

#include <trimtab/v1/sync.pb-c.h>

/* ---- what a stream has announced ---- */

enum { ANNOUNCED_MAX = 64 };

/* The digest of a view that was the same at two announcements, and so at all between them. */
struct announcement {
    uint64_t from, to; /* revisions of the first and the last End or Bookmark that said so */
    struct digest digest;
};

/* The newest last. A stream that is nearly up to date needs the places here only. */
enum { ANNOUNCED_HERE = 2 };
struct announced {
    struct announcement here[ANNOUNCED_HERE];
    struct announcement *more; /* NULL: n is at most ANNOUNCED_HERE, and they are here */
    uint32_t n, cap;
};

void announced_deinit(struct announced *a);
/* Without memory the older ones are forgotten: they prove nothing from then on. Revisions never go down. */
void announced_add(struct announced *a, uint64_t revision, struct digest digest);
/* The announcement that covers a revision; NULL: it was not announced, or is forgotten. Borrowed. */
const struct announcement *announced_find(const struct announced *a, uint64_t revision);
/* What is older than the announcement that covers this revision will not be asked for any more. */
void announced_forget(struct announced *a, uint64_t revision);

/* ---- judging ---- */

enum proof {
    PROOF_NONE,        /* nothing was reported on this stream */
    PROOF_HOLDS,       /* it serves what it was to have, but for the exceptions */
    PROOF_OVERTAKEN,   /* the view has changed since; a newer report is due */
    PROOF_UNANNOUNCED, /* of a revision that this stream has not announced, or long ago */
    PROOF_NO_DIGEST,   /* no digest of what is served */
    PROOF_FOREIGN,     /* an exception is about what the view does not want, or named twice */
    PROOF_WRONG,       /* it serves something else */
    PROOF_NO_MEMORY,
};
/* Why a report proves nothing, for people; "" when it proves or when none is there. Static text. */
const char *proof_story(enum proof p);

/*
 * What the view of the instance wants under a name of a scope (kind/name; in SCOPE_REFERRED a full id): the hash, or
 * NULL for nothing. A newer revision than the report's is told through is_newer: the view wants something else since.
 */
typedef const struct sha256 *proof_wanted_fn(void *ctx, struct str scope, struct str key,
                                             uint64_t revision, bool *ret_is_newer);

struct proof_view {
    const struct announced *announced;
    proof_wanted_fn *wanted;
    void *ctx;
};

/*
 * Judges a report of the stage APPLIED. *ret_proved is set when it holds: the newest revision for which what is served was
 * announced.
 */
must_use enum proof proof_judge(const struct proof_view *view, const Trimtab__V1__Ack *report,
                                uint64_t *ret_proved);

#endif
