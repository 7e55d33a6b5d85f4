/*
 * Guesses of content types: where they come from, and how far they are trusted.
 *
 * A type that nobody declared is guessed from the name, and a content that is not what was guessed is refused: it may be a
 * mistake. A rule trimtab/guess/NAME says otherwise for namespaces:
 *
 *   {"namespaces": ["shop/prod", "bank*"], "policy": "strict"}
 *
 * strict: evidence and as_is count for nothing, only a declared type does. lenient: what is not what was guessed is taken as
 * text. Where several fit, strict is stronger.
 */
#ifndef TRIMTAB_MODEL_GUESS_H
#define TRIMTAB_MODEL_GUESS_H

#include "model/state.h"

#define GUESS_KIND STR("guess")

/* "application/json" and the like from the ending of a name; "text/plain" or "application/octet-stream" else. */
struct str content_type_guess(struct str kind, struct str name, struct str content);
/* What a content is that is not looked into: the last two of these. */
struct str content_type_as_is(struct str content);

enum guess_policy { GUESS_NORMAL, GUESS_LENIENT, GUESS_STRICT };

/* Of a namespace. ERR_NOMEM. */
must_use int guess_policy_of(const struct state *s, struct str space, enum guess_policy *ret);

/* Whether content is a rule. ERR_INVALID with what is wrong, ERR_LIMIT, ERR_NOMEM. */
must_use int guess_check(struct str content, struct err *err);

/* Calls fn for the namespaces that a rule is about, as protection_spaces does. */
typedef int guess_space_fn(void *ctx, struct str space);
must_use int guess_spaces(struct str content, guess_space_fn *fn, void *ctx);

#endif
