/*
 * Staging: the batch that is on its way, until it is whole.
 */
#ifndef TRIMTAB_SYNC_STAGE_H
#define TRIMTAB_SYNC_STAGE_H

#include "base/map.h"
#include "base/vec.h"
#include "model/scope.h"

#include <trimtab/v1/sync.pb-c.h>

enum { STAGE_BYTES_MAX = 1 << 30, STAGE_CHANGES_MAX = 2000000 };

/* A name and what it comes to. The key in tables is scope NUL kind NUL name; in SCOPE_REFERRED, scope NUL the item's key. */
struct binding {
    struct version *item; /* NULL: unbound by the batch */
    bool is_uncaused;     /* staged drops: no recorded change explains it */
    size_t scope_len;
    size_t len;
    char key[];
};

static inline struct str binding_key(const struct binding *b)
{
    return str_of(b->key, b->len);
}
static inline struct str binding_scope(const struct binding *b)
{
    return str_of(b->key, b->scope_len);
}
static inline struct str binding_tail(const struct binding *b) /* kind NUL name, or the item's key */
{
    return str_of(b->key + b->scope_len + 1, b->len - b->scope_len - 1);
}

/* Takes a reference to item. tail is kind NUL name. NULL without memory. */
must_use struct binding *binding_new(struct str scope, struct str tail, struct version *item);
struct binding *binding_free(struct binding *b); /* always NULL; takes NULL */

struct stage {
    struct map changes; /* key -> struct binding: the last word on each name */
    struct map keep;    /* key -> struct binding without an item: what stays when the batch is_complete */
    bool is_complete;   /* in the scope SCOPE_REFERRED, what the batch does not name is to be unbound */
    size_t n_uncaused;  /* names of drops without a cause, as they were counted by the server */
    struct map parts;   /* content hash -> struct stage_content: put together from parts */
    size_t bytes;
};

void stage_clear(struct stage *s);

/* Adds what a frame brings. ERR_INVALID (a hash that is not that of the bytes, parts out of order), ERR_LIMIT, ERR_NOMEM. */
must_use int stage_part(struct stage *s, const Trimtab__V1__Part *part, struct err *err);
must_use int stage_changes(struct stage *s, const Trimtab__V1__Changes *changes, struct err *err);

/*
 * The version that a received item comes to, with its bytes (referenced). ERR_INVALID when the bytes are not those that
 * the item announces. *ret is a new reference.
 */
must_use int version_received(const Trimtab__V1__Item *item, struct shared *bytes,
                              struct version **ret, struct err *err);

#endif
