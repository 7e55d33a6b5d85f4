/*
 * A sink: where items of one scope are delivered to. The job (job.c) decides what is to be delivered and whether it
 * stands; how that is done, and where, only the engine behind struct sink_ops knows.
 *
 *   plan       loop     compares what shall be there with what is known to be there; no I/O
 *   stage      worker   prepares all that can fail for want of space or rights; nothing that is in use changes
 *   check      loop     asks the receiver whether it would take it
 *   switch     worker   in place; after a failure it is undone already
 *   reload     loop     tells the receiver
 *   undo       worker   as it was before the switch; nothing when it did not switch; needs no space
 *   finish     worker   what was needed for undoing goes away, and the plan with it
 *
 * Promises that every engine keeps, and one test over all of them holds (tests/agent/sinks.c):
 *   (K1) Before switch and after undo the receiver's content is what it was before the plan.
 *   (K2) After a failure of stage or switch the same holds, nothing is left behind, and the plan tells code and story.
 *   (K3) After switch the content is exactly what was wanted.
 *   (K4) The rows of SINK_INTENT, durable before switch, let a process that starts after a crash at any later step know
 *        all that it may have put there, and that the receiver may not have been told. Only the rows of SINK_FINAL and
 *        SINK_TOLD take that back; until then every plan must tell the receiver, whether anything changes or not.
 */
#ifndef TRIMTAB_AGENT_SINK_H
#define TRIMTAB_AGENT_SINK_H

#include "base/arena.h"
#include "base/vec.h"
#include "sync/copy.h"

struct sink_ops;

/* What all engines have in common; first in their own struct. */
struct sink {
    const struct sink_ops *ops;
    struct str name, scope;
};

/* An item as it shall be. Borrowed for the call of plan. */
struct sink_item {
    struct str key; /* of the ledger */
    struct version *version;
    bool is_served;  /* it was served before; else it is part of what is tried now */
    bool is_altered; /* it was found to be altered on the host, and is not served */
    bool
        is_waiting; /* it is published, and not to be there now: what it was before, if anything, is not served */
};

/* What was found of an item that nothing new is wanted of: it was altered on the host, or it is no more. */
struct sink_drift {
    struct str key;
    bool is_altered;
};

/* What failed, and by whose fault. Borrowed. */
struct sink_fault {
    const char *code;
    bool is_passing;    /* it says nothing of the content: the same may pass soon */
    struct str culprit; /* name of an item of the sink; empty: none in particular */
    struct str text;
};

/* First in the engine's own struct. Of the loop, but while a worker has it. */
struct sink_plan {
    struct sink *sink;
    bool is_changed;  /* there is something to check, to switch and to tell the receiver */
    bool must_tell;   /* the receiver may not know what is there already */
    bool was_told,
        is_untold;    /* kept by the job: a reload was asked for, and it has not passed */
    bool is_switched; /* and not undone */
    uint64_t n_written, n_removed, n_restored;
    struct sink_fault fault; /* of the step that failed; in the plan's own memory */
};

/* The end of a check or a reload, once, from the loop. NULL: it has passed. */
typedef void sink_done_fn(void *ctx, const struct sink_fault *fault);

/* Rows of state for the local copy. */
struct sink_rows {
    struct arena arena;
    VEC(struct copy_file) rows;
};

enum sink_rows_of {
    SINK_INTENT, /* before the switch: what it may put there */
    SINK_VOID,   /* after an undo: what the intent announced did not come to be */
    SINK_FINAL,  /* after the reload: what is there */
    SINK_TOLD    /* after the reload of what was there before: the receiver knows it again */
};

/* How closely plan and stage look at what is there already: whether it was changed since, or at every byte. */
enum sink_look { SINK_LOOK_FOR_CHANGES, SINK_LOOK_AT_BYTES };

/* The outcomes of check and reload. */
enum { SINK_ASKED = 0, SINK_NOTHING_TO_ASK = 1 };

struct sink_ops {
    const char *engine;
    bool (*takes)(const struct sink *s, struct str key); /* of its scope */
    /* On ERR_NOMEM *ret_plan is NULL; on any other failure it is a plan whose fault tells why. */
    int (*plan)(struct sink *s, const struct sink_item *items, size_t n, enum sink_look look,
                struct sink_plan **ret_plan);
    int (*stage)(struct sink_plan *p);
    /* SINK_ASKED: done is called later. A failure could not ask, and the plan's fault tells why. */
    int (*check)(struct sink_plan *p, sink_done_fn *done, void *ctx);
    int (*switch_over)(struct sink_plan *p);
    int (*reload)(struct sink_plan *p, sink_done_fn *done, void *ctx);
    /* Forgets the check or reload under way, whose done is not called then. */
    void (*cancel)(struct sink_plan *p);
    void (*undo)(struct sink_plan *p);
    struct sink_plan *(*finish)(struct sink_plan *p); /* always NULL */
    int (*rows)(const struct sink_plan *p, enum sink_rows_of which, struct sink_rows *out);
    /* The next finding of a staged plan, from *at on, which begins at 0. False: there is none. May be NULL. */
    bool (*drift)(const struct sink_plan *p, size_t *at, struct sink_drift *ret);
    /* The plan's result stands: the engine remembers what it has seen of what is there. May be NULL. */
    void (*settle)(struct sink_plan *p);
    /* What the engine knows to be there follows a row. ERR_NOMEM. */
    int (*note)(struct sink *s, const struct copy_file *row);
    struct sink *(*close)(struct sink *s); /* always NULL */
};

/* hash NULL: the row goes. False without memory. */
must_use bool sink_rows_add(struct sink_rows *r, const struct sink *s, struct str name,
                            const struct sha256 *hash);
void sink_rows_deinit(struct sink_rows *r);

#endif
