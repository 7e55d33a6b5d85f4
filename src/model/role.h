/*
 * Rights and roles: what may be done in a namespace, and the names under which rights are given.
 *
 * A right holds in a namespace and in all below it. A role is a fixed set of rights; each right has a role of its own that is
 * the least that gives it, so that a refusal can name the grant that would help.
 */
#ifndef TRIMTAB_MODEL_ROLE_H
#define TRIMTAB_MODEL_ROLE_H

#include "base/str.h"

enum right_to {
    RIGHT_TO_VIEW = 1 << 0,      /* resources, history, rollouts, instances */
    RIGHT_TO_EDIT = 1 << 1,      /* dry runs and previews: to prepare what others publish */
    RIGHT_TO_PUBLISH = 1 << 2,   /* commits, and the candidates of rollouts */
    RIGHT_TO_APPROVE = 1 << 3,   /* what a protection asks approval for */
    RIGHT_TO_REFER = 1 << 4,     /* to name a resource as a reference, from another namespace */
    RIGHT_TO_SUBSCRIBE = 1 << 5, /* to receive it */
    RIGHT_TO_OPERATE = 1 << 6,   /* to move rollouts */
    RIGHT_TO_RETRY = 1 << 7,     /* to order instances to try again what they refused */
    RIGHT_TO_RELEASE = 1 << 8,   /* to let go of deletions that instances hold */
    RIGHT_TO_FORGET = 1 << 9,    /* to set an instance id free */
    RIGHT_TO_STOP = 1 << 10,     /* the stop switch of the fleet */
    RIGHT_TO_METRICS = 1 << 11,  /* counters of the server; held on everything or not at all */
    RIGHT_TO_ADMIN = 1 << 12,    /* grants, and all the others */
};

enum { RIGHTS_NONE = 0, RIGHTS_ALL = (RIGHT_TO_ADMIN << 1) - 1, RIGHTS_COUNT = 13 };

struct role {
    struct str name;
    unsigned rights;   /* of enum right_to */
    const char *about; /* one line for people */
};

/* All roles, weakest first. */
const struct role *roles_all(size_t *ret_n);
/* NULL: there is no role of that name. Both are static. */
const struct role *role_find(struct str name);
/* The least role that gives a right; it has the right's name. */
const struct role *role_for(enum right_to right);
/* The right of a name; false: there is none. */
bool right_find(struct str name, enum right_to *ret_right);

/* The namespace that stands for all of them, as it is written and as it is kept: grants accept both. */
#define SPACE_EVERYTHING_TEXT STR("*")
#define SPACE_EVERYTHING      STR("")
/* A namespace as people write it. */
static inline struct str space_text(struct str space)
{
    return space.len ? space : SPACE_EVERYTHING_TEXT;
}

/* The longest namespace that covers all that a pattern fits: whole segments before its first *. */
static inline struct str space_of_pattern(struct str pattern)
{
    size_t star = str_index(pattern, '*'), end = star;

    if (star == pattern.len)
        return pattern;
    while (end > 0 && pattern.data[end - 1] != '/')
        end--;
    return str_part(pattern, 0, end ? end - 1 : 0);
}

/* Whether `space` is `prefix` or lies below it: by whole segments, so that shop does not cover shopping. */
static inline bool space_covers(struct str prefix, struct str space)
{
    return prefix.len == 0 || (str_starts(space, prefix) &&
                               (space.len == prefix.len || space.data[prefix.len] == '/'));
}

/* The namespace above; that of a namespace of one segment is everything. False for everything itself. */
bool space_parent(struct str space, struct str *ret_parent);

#endif
