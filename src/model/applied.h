/*
 * Who has applied the candidates of a rollout, so that one that goes away afterwards is missed: a candidate that takes
 * its host down must not count as one that nobody complains about.
 *
 *              applied                  offline or silent                lost_ms of that
 *   (not in) ----------> HERE ------------------------------> AWAY --------------------------> LOST
 *                         ^                                     |                                |
 *                         +------------- it is back ------------+--------------------------------+
 *
 *   (A1) Time counts as being away only between two looks after the first of which others were heard: when the server is
 *        cut off from everybody, or stands still itself, nobody is lost.
 *   (A2) Who is no target any more is forgotten; who is not known any more is not.
 *   (A3) The list is kept in the store in pieces, so it survives the server. How long somebody has been away does not: it
 *        begins anew, and a late end is safe.
 *
 * Pure: time comes in as an argument. Belongs to one thread.
 */
#ifndef TRIMTAB_MODEL_APPLIED_H
#define TRIMTAB_MODEL_APPLIED_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/map.h"
#include "base/vec.h"

enum {
    APPLIED_ID_MAX = 128,        /* bytes of an instance id */
    APPLIED_MAX = 200000,        /* as many as instances can be known */
    APPLIED_PIECE = 512,         /* ids of one piece */
    APPLIED_LOOK_MAX_MS = 15000, /* more between two looks is the server's own fault (A1) */
};

enum applied_is { APPLIED_NEVER, APPLIED_HERE, APPLIED_AWAY, APPLIED_LOST };

struct applied_member {
    uint64_t away_ms;
    uint64_t look; /* in which it was seen to be a target */
    size_t at;     /* its place in the list */
    bool is_away;
    char id[];
};

struct applied {
    struct map members; /* id -> struct applied_member */
    VEC(struct applied_member *) list;
    VEC(bool) dirty; /* pieces that the store has otherwise */
    uint64_t look;   /* number of the newest one */
    nsec_t looked;   /* when that was */
    uint64_t elapsed_ms, lost_ms;
    bool heard; /* others, at the look before */
};

void applied_deinit(struct applied *a);

/* A look begins: what is asked and told below is about now. lost_ms: after that who is away is lost. */
void applied_begin(struct applied *a, nsec_t now, uint64_t lost_ms);
/* A target has applied the candidates and is here. ERR_NOMEM, ERR_LIMIT (an id that is none, more than APPLIED_MAX). */
must_use int applied_here(struct applied *a, struct str id);
/* A target answers, whatever it has by now. */
void applied_back(struct applied *a, struct str id);
/* A target is offline or silent: what that makes of it. Its time goes on once in a look. */
enum applied_is applied_gone(struct applied *a, struct str id);
/*
 * The look is over. Those that it did not meet are asked for: `keeps` false forgets them, true means that they are away,
 * which is then told to `missed` as APPLIED_AWAY or APPLIED_LOST. others_heard: (A1).
 */
struct applied_rest {
    bool (*keeps)(void *ctx, struct str id);
    void (*missed)(void *ctx, struct str id, enum applied_is is);
    void *ctx;
};
void applied_end(struct applied *a, bool others_heard, const struct applied_rest *rest);

/* How the last look found an instance that is gone; changes nothing. APPLIED_NEVER: it is not in the list. */
enum applied_is applied_find(const struct applied *a, struct str id);
/* Takes an instance out, because people said that it will not be back. */
void applied_forget(struct applied *a, struct str id);

/* ---- in the store ---- */

/* How many pieces there are, and whether the store has another one. */
size_t applied_pieces(const struct applied *a);
bool applied_is_dirty(const struct applied *a, size_t piece);
/* The ids of a piece, one a line; it is no longer dirty. The piece behind the last is empty. */
void applied_put_piece(struct applied *a, size_t piece, struct buf *out);
/* The store could not be told of it. */
void applied_dirty(struct applied *a, size_t piece);
/* Adds the ids of a piece as somebody kept it; nonsense in it is passed over. ERR_NOMEM. */
must_use int applied_take_piece(struct applied *a, struct str bytes);

#endif
