/*
 * The prober: runs the probes of the [health] sections, keeps the word of whoever calls the agent, and tells what they
 * come to whenever there is a new verdict. The judging is in health.h; this is its I/O.
 *
 * Never blocks, but for the small file in which a caller's word outlives the agent. One loop and its thread.
 */
#ifndef TRIMTAB_AGENT_PROBER_H
#define TRIMTAB_AGENT_PROBER_H

#include "agent/config.h"
#include "agent/health.h"
#include "net/loop.h"

struct prober;

struct prober_opts {
    struct loop *loop;
    const struct config *config; /* borrowed */
    const char *file;            /* of the caller's word; borrowed */
    /* Something is being applied: what probes find now is about neither the old nor the new. */
    bool (*is_busy)(void *ctx);
    /* What they come to. False: it could not be told, ask again. */
    bool (*tell)(void *ctx, const struct sync_judgement *sum);
    void *ctx;
};

/* Reads the caller's word; one that cannot be read is logged and taken for none. ERR_NOMEM. */
must_use int prober_open(const struct prober_opts *opts, struct prober **ret_prober,
                         struct err *err);
/* Ends what is under way; their memory goes with the loop's. */
struct prober *prober_close(struct prober *p); /* always NULL; takes NULL */

/* What is served is of this revision now: all judge anew. */
void prober_applied(struct prober *p, uint64_t revision);

/* A caller's word on what is served now: durable when this returns 0. ERR_IO, ERR_NOMEM: nothing was changed. */
must_use int prober_say(struct prober *p, bool failing, struct str reason, struct err *err);

/* ---- looking ---- */

struct probe_state {
    const char *name, *kind; /* "command", "http", "call" */
    const struct verdict *verdict;
    uint64_t n_probes, n_failed;
};
size_t prober_count(const struct prober *p);
/* i below prober_count; the last one is the caller. */
struct probe_state prober_at(const struct prober *p, size_t i);
/* As health_sum. */
must_use bool prober_sum(const struct prober *p, struct sync_judgement *ret);

#endif
