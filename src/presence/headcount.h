/*
 * The head count of a rollout: what all its targets have come to, and who of them had applied it and is missed.
 *
 *   begin, then every target that is known, then end: now the counts are of this moment
 *
 * Pure: time comes in as an argument. Belongs to one thread.
 */
#ifndef TRIMTAB_PRESENCE_HEADCOUNT_H
#define TRIMTAB_PRESENCE_HEADCOUNT_H

#include "model/applied.h"
#include "model/drive.h"
#include "presence/target.h"

struct headcount {
    uint64_t counts[TARGET_STATES]; /* of the instances that its rules take */
    struct applied applied;         /* who has applied it, and is missed */
    char example[TARGET_WHY_MAX];   /* what one that refuses, fails or is lost says */
};

void headcount_deinit(struct headcount *h);

/* lost_ms: who is away for longer is lost; 0: nobody ever is. */
void headcount_begin(struct headcount *h, nsec_t now, uint64_t lost_ms);
/* Judges one target by what it says now and by what is remembered of it. ERR_NOMEM. */
must_use int headcount_take(struct headcount *h, const struct target_look *look,
                            enum target_state *ret_state);
/*
 * Of those that had applied it and were not met, `keeps` tells who still counts, as away or lost; no targets any more are
 * forgotten. others_heard: some instance was heard, so that the server itself is not cut off.
 */
void headcount_end(struct headcount *h, bool others_heard,
                   bool (*keeps)(void *ctx, struct str id), void *ctx);

/* The same for a decision. Its example is borrowed from h. Who is offline and never had it, or is too old, is not in it. */
struct tally headcount_tally(const struct headcount *h);

#endif
