/*
 * Driving rollouts: what the server does with one by itself, as a function of what its targets say and of time.
 *
 *   newest step           criteria hold for soak_ms        automatic: next step, or confirmation if asked for
 *   begun  -------------> satisfied ---------------------> advance, confirm
 *      |                                    automatic: more refuse, fail or are lost than may, also while it is paused
 *      +----------------------------------> roll back
 *   any time: expire
 *
 * Every move is a commit that compares the rollout, so whoever drives, none is made twice.
 */
#ifndef TRIMTAB_MODEL_DRIVE_H
#define TRIMTAB_MODEL_DRIVE_H

#include "base/clock.h"
#include "model/rollout.h"

/* How the targets of a rollout stand. Each is in one number, the first that fits. */
struct tally {
    uint64_t refused; /* a candidate itself; not one that is held because of something else */
    uint64_t failing; /* applied it, and are not well */
    uint64_t applied; /* and are well, by a judgement from after that if anything judges them */
    uint64_t unjudged; /* applied it, and their judge has not spoken since */
    uint64_t unproven; /* have answered, but what they serve is not proved */
    uint64_t silent;   /* have not answered in time */
    uint64_t pending;  /* may still answer, or are held back by something else */
    uint64_t away;     /* had applied it, and are offline or silent */
    uint64_t lost;     /* the same for longer than lost_after */
    uint64_t hidden;   /* a stronger layer hides the candidates: no targets in truth */
    struct str
        example; /* what one that refuses, fails or is lost says; empty: nothing. Borrowed */
};

/* All but those from whom the candidates are hidden. */
uint64_t tally_targets(const struct tally *t);

/* For how long the newest step of a rollout has met its criteria. */
struct soak {
    uint64_t step;    /* revision of the step that it is about */
    uint64_t held_ms; /* stands still while they are not met */
    nsec_t seen;      /* when it was last noted; monotonic */
    bool holds;       /* they were met then */
};

/* How many may be lost: as the criteria say, else none of up to LOST_NONE_UP_TO that applied it, one in a hundred above. */
uint64_t drive_max_lost(const struct criteria *c, const struct tally *t);

/* Whether the criteria of the newest step are met now. */
bool drive_meets(const struct rollout *r, const struct tally *t);

/*
 * Goes on to now: time counts between two looks that both found the criteria met. Starts anew with every step. is_sure:
 * who is not heard of is known to be away, else nothing holds.
 */
void soak_note(struct soak *s, const struct rollout *r, const struct tally *t, bool is_sure,
               nsec_t now);

enum { DRIVE_TEXT_MAX = 1024 };

/*
 * Whether the targets speak against making it stable for all: more refuse, fail or are lost than may, or some that had
 * applied it are away. Then text says so, with one of them as an example.
 */
bool drive_objects(const struct rollout *r, const struct tally *t, char text[DRIVE_TEXT_MAX]);

struct decision {
    bool has_move;
    enum rollout_move_kind move;
    char text
        [DRIVE_TEXT_MAX]; /* why; without a move, what is waited for, empty when for people only */
};

/* What is to be done with r now. wall_ms is the wall clock, by which rollouts expire. */
void drive_decide(const struct rollout *r, const struct tally *t, const struct soak *s,
                  int64_t wall_ms, struct decision *ret);

#endif
