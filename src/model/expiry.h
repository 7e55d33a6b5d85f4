/*
 * Expiry: until when published tokens are good, on a clock that nobody sets.
 *
 * A token names the wall-clock time at which it expires. Wall clocks step, by hand, by NTP or by an attacker, and a step must
 * neither bring an expired token back nor end a good one. So the wall clock is asked once for each token and process, when
 * the token is first seen, and the answer is kept as a deadline on the monotonic clock.
 *
 *   (E1) A deadline stays while its token keeps hash and expiry, whatever the wall clock does.
 *   (E2) A published change of the expiry moves the deadline by as much, without asking the wall clock.
 *   (E3) A new secret, or an expiry where there was none, is a new token: the wall clock is asked.
 *
 * The caller of deadlines_make passes as wall_ms the later of the wall clock and the time of the newest commit, so that a
 * server that starts with a clock in the past believes its log instead.
 */
#ifndef TRIMTAB_MODEL_EXPIRY_H
#define TRIMTAB_MODEL_EXPIRY_H

#include "base/clock.h"
#include "model/rights.h"

struct deadline {
    struct sha256 hash; /* of the token */
    int64_t expires_ms; /* as published */
    int64_t at_ms;      /* of the monotonic clock; negative: before that began */
};

/* Immutable and counted; NULL is that of a record without tokens that expire. */
struct deadlines {
    _Atomic uint32_t refs;
    size_t n;
    struct deadline list[]; /* sorted by hash */
};

struct deadlines *deadlines_ref(struct deadlines *d);   /* takes NULL */
struct deadlines *deadlines_unref(struct deadlines *d); /* always NULL; takes NULL */
OWNED_BY(deadlines_unref, struct deadlines *, deadlines_unref);

/* The deadlines of all tokens of r; `before` (NULL: none) gives those that are known already. ERR_NOMEM. */
must_use int deadlines_make(const struct rights *r, const struct deadlines *before, nsec_t now,
                            int64_t wall_ms, struct deadlines **ret);

/* Whether a token has expired. A token that expires and has no deadline here counts as expired. */
bool deadlines_passed(const struct deadlines *d, const struct token *t, nsec_t now);

#endif
