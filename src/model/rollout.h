/*
 * Rollouts: candidate versions of one or more resources, going to a growing set of targets, until they are
 * confirmed or taken back.
 *
 * A rollout stands beside the stable versions and never overwrites them. It is a state machine: a rollout is
 * immutable, and a move makes the next one of it, or is refused.
 *
 *              extend, advance, satisfy
 *                    +------+
 *   start            v      |                        confirm
 *   -------------> RUNNING -+---------------------------------------> CONFIRMED
 *                   |   ^                               |
 *             pause |   | resume                        | roll back, expire, override
 *                   v   |                               v
 *                  PAUSED -----------------------> ROLLED_BACK, EXPIRED, OVERRIDDEN
 *                  (extend too)
 *
 * Moves by hand and by the driver are the same moves; each says how many the rollout had made when it was decided on,
 * so that of two at once one is refused.
 */
#ifndef TRIMTAB_MODEL_ROLLOUT_H
#define TRIMTAB_MODEL_ROLLOUT_H

#include "model/target.h"

enum {
    ROLLOUT_STEPS_MAX = 32,
    ROLLOUT_NAME_MAX = 253,
    ROLLOUT_REASON_MAX = 4096,
    ROLLOUT_KEY_BYTES = 8,
};

enum rollout_phase {
    ROLLOUT_RUNNING,
    ROLLOUT_PAUSED,
    ROLLOUT_CONFIRMED,   /* the candidates became stable */
    ROLLOUT_ROLLED_BACK, /* by a person or by a criterion: the reason tells */
    ROLLOUT_EXPIRED,     /* rolled back because its time was over */
    ROLLOUT_OVERRIDDEN,  /* an emergency publish took its place */
};
enum { ROLLOUT_PHASES = ROLLOUT_OVERRIDDEN + 1 };
const char *rollout_phase_name(enum rollout_phase p);

enum rollout_move_kind {
    MOVE_START,
    MOVE_EXTEND,  /* a further step, begun at once */
    MOVE_ADVANCE, /* the next planned step begins */
    MOVE_SATISFY, /* the newest step has met its criteria */
    MOVE_PAUSE,
    MOVE_RESUME,
    MOVE_CONFIRM,
    MOVE_ROLL_BACK,
    MOVE_EXPIRE,
    MOVE_OVERRIDE,
};
enum { ROLLOUT_MOVES = MOVE_OVERRIDE + 1 };
const char *rollout_move_name(enum rollout_move_kind m);

/* When a step has gone well, and when it has gone wrong. Numbers are of instances. */
struct criteria {
    uint32_t max_refused; /* more that refuse a candidate: roll back */
    uint32_t max_failing; /* more that report a failing health: roll back */
    uint32_t max_silent;  /* more that do not answer in time: no advance */
    uint32_t min_applied; /* fewer that have applied it: no advance; 0 counts as 1 */
    uint32_t max_lost;    /* more that had applied it and stay away: roll back */
    bool
        has_max_lost; /* else: none of up to LOST_NONE_UP_TO that applied it, above one in a hundred */
};
enum { LOST_NONE_UP_TO = 100 };

/*
 * How long the criteria of an automatic step must hold when nobody said it. An instance whose host dies without a word is
 * noticed by an unanswered ping after 50 s at most (net/http.h), so a soak of less could end before that.
 */
enum { SOAK_DEFAULT_MS = 60000 };

struct step {
    struct target *targets;
    size_t n_targets;
    uint64_t soak_ms; /* how long the criteria must hold */
    bool has_soak;    /* somebody said so; step_settle */
    struct criteria criteria;
    /* filled in by the moves */
    uint64_t revision; /* of the commit that began it; 0: planned only */
    int64_t began_ms;
    bool is_satisfied;
};

/* What a start asks for. Borrowed. */
struct rollout_plan {
    struct str name; /* for people; may be empty */
    struct str salt; /* of percentages; empty: the id of the rollout */
    struct step *steps;
    size_t n_steps;
    bool is_automatic;  /* steps follow each other when satisfied, bad reports roll back */
    bool auto_confirm;  /* and the last one confirms */
    bool is_declared;   /* by annotations: publishing moves it */
    int64_t expires_ms; /* wall clock; 0: never */
};

struct rollout {
    struct tree_item
        node; /* its key is the id, most significant byte first; its revision that of the last move */
    unsigned char key[ROLLOUT_KEY_BYTES];
    struct arena arena; /* of everything below */
    uint64_t id;        /* the revision of the commit that started it */
    uint64_t n_moves;   /* what a decision compares: all but MOVE_SATISFY */
    enum rollout_phase phase;
    struct str name, salt;
    struct str author, reason;      /* of the start */
    struct str moved_by, moved_why; /* of the last move */
    int64_t started_ms, moved_ms, expires_ms;
    bool is_automatic, auto_confirm, is_declared;
    struct step *steps;
    size_t n_steps;
    size_t n_begun; /* of them: the first ones */
    struct version *
        *candidates; /* referenced; sorted by key; without content when it was taken back */
    size_t n_candidates;
};

struct rollout *rollout_ref(struct rollout *r);
struct rollout *rollout_unref(struct rollout *r); /* always NULL; takes NULL */
OWNED_BY(rollout_unref, struct rollout *, rollout_unref);

static inline struct rollout *rollout_of(struct tree_item *item)
{
    return item ? CONTAINER_OF(item, struct rollout, node) : NULL;
}

void rollout_put_key(uint64_t id, unsigned char key[ROLLOUT_KEY_BYTES]);

static inline bool phase_is_live(enum rollout_phase p)
{
    return p == ROLLOUT_RUNNING || p == ROLLOUT_PAUSED;
}
static inline bool rollout_is_live(const struct rollout *r)
{
    return r && phase_is_live(r->phase);
}

/* Whether a move is possible at all in a phase: the table of the state machine. */
bool rollout_allows(enum rollout_phase p, enum rollout_move_kind m);

/* A move: who, when, why, and what it is about. Borrowed. */
struct rollout_move {
    enum rollout_move_kind kind;
    uint64_t id;       /* 0 for a start */
    uint64_t expected; /* how many moves it had made; 0 for a start */
    struct str author, reason;
    int64_t time_ms;
    uint64_t revision;         /* of the commit; 0 while it is only checked */
    struct rollout_plan *plan; /* of a start; compiled by the check */
    struct step *step;         /* of an extension; likewise */
    bool holds; /* of a confirmation: the newest step met its criteria when it was decided on */
    struct str
        force; /* of a confirmation over failing or missing targets: the reason; else empty */
    struct str
        picture; /* of a move that ends it: how its targets stood, for the log only; may be empty */
};

/* Checks a plan, and compiles its targets onto the arena. ERR_INVALID, ERR_LIMIT, ERR_NOMEM. */
must_use int rollout_plan_check(struct rollout_plan *p, struct arena *a, struct err *err);
must_use int step_check(struct step *s, struct arena *a, struct err *err);
/* Gives a step of a request the soak that it has when nobody said one, so that the log says what holds. */
void step_settle(struct step *s, bool is_automatic);

/* Whether a move may be made on r now. ERR_CONFLICT (overtaken, or not possible in this phase), ERR_INVALID. */
must_use int rollout_move_check(const struct rollout *r, const struct rollout_move *m,
                                struct err *err);

/* The rollout that a start gives, with these candidates (referenced). NULL without memory. */
must_use struct rollout *rollout_start(const struct rollout_move *m,
                                       struct version *const *candidates, size_t n);
/* A rollout as a snapshot keeps it; its plan was checked, and its steps tell when they began. Borrowed. */
struct rollout_saved {
    uint64_t id, revision, n_moves;
    enum rollout_phase phase;
    const struct rollout_plan *plan; /* its salt is given */
    size_t n_begun;
    struct str author, reason, moved_by, moved_why;
    int64_t started_ms, moved_ms;
};
must_use struct rollout *rollout_restored(const struct rollout_saved *saved,
                                          struct version *const *candidates, size_t n);
/* What r comes to by a move that was checked. NULL without memory. */
must_use struct rollout *rollout_moved(const struct rollout *r, const struct rollout_move *m);

/* Its candidate for a key, or NULL. A deleted version is the candidate of a deletion. */
struct version *rollout_candidate(const struct rollout *r, struct str key);

/* Whether it is live and the instance is one of its targets now. */
bool rollout_takes(const struct rollout *r, const struct subject *s);
/* The same for an earlier revision of the log, by what the instance is now. */
bool rollout_took(const struct rollout *r, const struct subject *s, uint64_t revision);

#endif
