/*
 * Commits: a set of changes that stands or falls together, and every reason for which one is refused.
 *
 * commit_check decides against one state, without side effects: all refusals happen there, with place and
 * hint. What it lets through, commit_plan describes: which version each change gives, which change nothing.
 */
#ifndef TRIMTAB_MODEL_COMMIT_H
#define TRIMTAB_MODEL_COMMIT_H

#include "model/patch.h"
#include "model/state.h"

enum {
    COMMIT_CHANGES_MAX = 10000,
    CONTENT_BYTES_MAX = 8 << 20,
    COMMIT_BYTES_MAX = 64 << 20,
    CONTENT_TYPE_BYTES_MAX = 127,
    MESSAGE_BYTES_MAX = 4096,
};

/* What syntax_check said of a content as this type. */
struct syntax_verdict {
    struct str type;
    int r;
    struct err err;
};

/* One change as asked for. Slices are borrowed from the request. */

struct change {
    struct str id;
    struct str key; /* filled by commit_check */
    bool delete;
    bool create_only;        /* refuse when the resource exists */
    bool keep_meta;          /* no metadata was given: the old one stays, but for the patch */
    bool is_carried; /* nothing of it is committed: a rollout carries just this already */
    uint64_t based_on;       /* 0: not stated; else the version that must be the newest */
    struct str content_type; /* empty: the old one stays, or it is guessed from the name */
    struct str content;
    struct meta meta;
    struct meta_patch *patch; /* of the old metadata, with keep_meta; NULL: none */
    struct syntax_verdict *verdict; /* commit_check_contents'; NULL: none was made */
};

/*
 * Whether a change gives what v is, as far as it says: metadata and a content type that it does not name are those of
 * v. v NULL or deleted: whether it deletes. Without memory it does not.
 */
bool change_gives(const struct change *c, const struct version *v);

/*
 * A commit changes resources, moves rollouts, or both:
 *   a start         its changes are the candidates of the new rollout, and nothing else moves
 *   a confirmation  its changes are the candidates that become stable, all of them
 *   an override     its changes are published in place of what the rollouts that carry them were trying
 *   other moves     come alone, without changes
 *   an order        comes alone, but for one to try again, which may come with changes
 */
struct commit {
    struct change *changes;
    size_t n;
    struct rollout_move *moves; /* author, time and revision are filled in from the commit */
    size_t n_moves;
    const struct restored *restored; /* that this commit notes, or releases; NULL: none */
    struct order_request *order; /* NULL: none; author, time and revision as of moves */
    bool has_local_admin; /* the server's own tokens give admin on everything to somebody */
    struct str
        override; /* the reason for which protection does not hold this time; empty: it holds */
    struct str author, message, origin, action, request_id;
    int64_t time_ms;
};

enum change_action { CHANGE_CREATED, CHANGE_UPDATED, CHANGE_DELETED, CHANGE_UNCHANGED };
const char *change_action_name(enum change_action a);

/* What one change comes to, against the state that it was checked against. */
struct change_plan {
    enum change_action action;
    struct version *old; /* newest version so far, borrowed from the state; NULL for none */
    uint64_t number; /* of the version that it gives; for unchanged, of the one that stays */
    bool is_candidate;
    struct str content_type;       /* settled */
    struct meta
        meta; /* settled; borrows from the change or from old, lists perhaps on the arena */
    struct references *references; /* on the arena; NULL: none */
};

/*
 * Looks at the contents as what they would be on top of s, and keeps the verdicts, on the arena, for commit_check of this or another
 * state, which asks again only what is not of the same type there. Without memory it asks all again.
 */
void commit_check_contents(const struct state *s, struct commit *c, struct arena *a);

/*
 * Checks a commit against s and says what it comes to: plans has room for c->n. The arena holds the keys and the
 * references afterwards, and must live as long as changes and plans. Whether references resolve is for graph_check,
 * which needs the state that the commit gives.
 * A change that changes nothing is no change: no rollout locks it, no protection refuses it, and its content is not
 * checked anew. Only what it says of the version it was based on must hold.
 * Whether its author may make it is not asked here, but in model/needs.h.
 * ERR_INVALID, ERR_LIMIT, ERR_NOT_FOUND (deleting what is not there, no such rollout), ERR_EXISTS, ERR_CONFLICT,
 * ERR_LOCKED (carried by a rollout, or protected), with the story; ERR_NOMEM.
 */
must_use int commit_check(const struct state *s, struct commit *c, struct change_plan *plans,
                          struct arena *a, struct err *err);

/* What a commit gave: versions in the order of its changes (without those that change nothing), and its moves. */
struct outcome {
    struct version **versions;
    size_t n_versions;
    struct rollout_move *moves;
    size_t n_moves;
    const struct restored *restored;
    const struct order_request *order; /* NULL: none */
};

/*
 * What an outcome comes to in s: rollouts has room for o->n_moves, and holds a reference to each afterwards. The
 * effect borrows versions and rollouts, and owns its order: effect_deinit drops order and rollouts. ERR_NOMEM;
 * ERR_CORRUPT for a move of a rollout that is not there; then there is nothing to drop.
 */
must_use int outcome_effect(const struct state *s, const struct outcome *o,
                            struct rollout **rollouts, struct effect *ret, struct err *err);
void effect_deinit(struct effect *e, struct rollout **rollouts);

/* "application/json" and the like from the ending of a name; "text/plain" or "application/octet-stream" else. */
struct str content_type_guess(struct str kind, struct str name, struct str content);

#endif
