/*
 * Rights: who may do what where, compiled from all published grants and tokens.
 *
 * The record is immutable and counted; it hangs at the state, and commits that touch no grant and no token share it. A commit
 * that does makes the next record of it, which shares everything else: it costs what it changes, also while a log of
 * thousands of grants is folded.
 *
 *   (G1) A right is held in a namespace when a grant gives it there or in a namespace above, by whole segments.
 *   (G2) In the namespace trimtab only grants on everything count, and of those only the rights admin and view. A change of a
 *        grant, token, kind or protection needs admin in the namespaces that it is about (model/needs.h).
 *   (G3) A right that no grant gives is denied. No grant takes rights away, so the order of grants does not matter.
 *
 * NULL is the record of a store without grants and tokens.
 */
#ifndef TRIMTAB_MODEL_RIGHTS_H
#define TRIMTAB_MODEL_RIGHTS_H

#include "base/vec.h"
#include "model/grant.h"
#include "model/name.h"
#include "model/tree.h"

/* One namespace of one grant. */
struct grant {
    struct tree_item node;           /* its key: subject NUL namespace NUL name */
    struct str subject, space, name; /* inside the key; name is that of the resource */
    const struct role *role;
    char text[];
};

/* A published token. */
struct token {
    struct tree_item node; /* its key: the hash, then the name */
    struct sha256 hash;
    struct str name;      /* its subject is token:NAME */
    int64_t expires_ms;   /* wall clock; 0: never */
    int64_t published_ms; /* when it was published last */
    char text[];
};

struct rights {
    _Atomic uint32_t refs;
    uint64_t revision;   /* of the commit that changed it last */
    struct tree *grants; /* struct grant */
    struct tree *tokens; /* struct token */
};

struct rights *rights_ref(struct rights *r);   /* takes NULL */
struct rights *rights_unref(struct rights *r); /* always NULL; takes NULL */
OWNED_BY(rights_unref, struct rights *, rights_unref);

/* Whether a resource is a grant or a token, by its key. */
bool rights_concern(struct str key);

/*
 * The record after one grant or token (by its key) was published, changed or deleted: before and after are its documents,
 * without content where there is none. Consumes the caller's reference to *r, which is NULL when this fails. A document
 * that cannot be read gives nothing; commits never publish one. ERR_NOMEM.
 */
must_use int rights_step(struct rights **r, struct str key, const struct rights_doc *before,
                         const struct rights_doc *after);

/* ---- questions ---- */

/* Who asks. Borrowed. */
struct principal {
    struct str subject; /* as in grant.h */
    unsigned local;     /* rights on everything that the server's own configuration gives */
};

/* All rights that someone holds in a namespace (SPACE_EVERYTHING: on everything). */
unsigned rights_at(const struct rights *r, const struct principal *p, struct str space);

/*
 * The right that seeing this resource needs in its namespace: to view; to admin for a token, whose hash is one step from the
 * secret of somebody who chose a weak one.
 */
enum right_to right_to_see(struct name name);

static inline bool rights_may(const struct rights *r, const struct principal *p,
                              enum right_to right, struct str space)
{
    return (rights_at(r, p, space) & right) == (unsigned)right;
}

/* 0, or ERR_DENIED: the subject, the missing right, the namespace, and the command that would grant it. */
must_use int rights_require(const struct rights *r, const struct principal *p,
                            enum right_to right, struct str space, struct err *err);
/* The same refusal by itself. */
int rights_deny(const struct principal *p, enum right_to right, struct str space,
                struct err *err);

/* Whether anything at all is granted to a subject. */
bool rights_knows(const struct rights *r, struct str subject);

/* The token of a secret's hash, expired or not; NULL: none. Borrowed. */
const struct token *rights_token(const struct rights *r, const struct sha256 *hash);
/* One of that hash and another name; NULL: none. A commit that was checked leaves none. */
const struct token *rights_token_besides(const struct rights *r, const struct sha256 *hash,
                                         struct str name);
/* By its name. */
const struct token *rights_token_named(const struct rights *r, struct str name);
/* The next token behind one (NULL: the first), in no order that means anything; NULL at the end. */
const struct token *rights_token_next(const struct rights *r, const struct token *behind);

/*
 * Whether a subject that can log in has admin on everything by a grant. Certificates and OIDC subjects are taken to exist; a
 * token must be published and must not have expired at `now_ms`.
 */
bool rights_have_admin(const struct rights *r, int64_t now_ms);

/*
 * The grants by which a right is held in a namespace, in the order of their subjects: while ((g = rights_walk_next(&w))).
 * Borrows the record.
 */
struct rights_walk {
    struct tree_walk grants;
    enum right_to right;
    struct str space;
};
void rights_walk_init(struct rights_walk *w, const struct rights *r, enum right_to right,
                      struct str space);
const struct grant *rights_walk_next(struct rights_walk *w);

/* The grants of one subject, in the order of their namespaces, as above. */
struct subject_walk {
    struct tree_walk grants;
    struct str subject;
};
void subject_walk_init(struct subject_walk *w, const struct rights *r, struct str subject);
const struct grant *subject_walk_next(struct subject_walk *w);

/* ---- differences ---- */

/*
 * The rights that a subject loses and wins in a namespace and in all below it, up to a row of the same subject for a longer
 * namespace. A row without losses and gains says that its namespace keeps its rights.
 */
struct rights_change {
    struct str subject, space;
    unsigned lost, won;
};

/* A token that comes (before NULL), goes (after NULL), or gets another hash or expiry. */
struct token_change {
    const struct token *before, *after;
};

struct rights_diff {
    VEC(struct rights_change) rights; /* by subject, then namespace */
    VEC(struct token_change) tokens;  /* by name */
};

/* Borrows both records. ERR_NOMEM. */
must_use int rights_diff_make(const struct rights *before, const struct rights *after,
                              struct rights_diff *ret);
void rights_diff_deinit(struct rights_diff *d);
/* Whether any subject loses a right or a token: then `trimtab grant` and `revoke` ask before they publish. */
bool rights_diff_takes(const struct rights_diff *d);

#endif
