/*
 * One server and many subscribers in one process and one thread, from a seed: the real model, store (in memory, with a
 * disk that loses what was not synced), feed, sync and the agent's ledger of what is served; a simulated network, clock and
 * power supply. The server's roster and its driver of rollouts are there too, and judges on the hosts; what they claim is held
 * against a model of its own (judge.h).
 *
 * The server has one lane or four, as the seed says (lanes.h). Subscribers come back to any of them, often while an older stream of
 * theirs still stands in another; what hub and lanes say to each other arrives in order for each lane, and otherwise in every
 * order that the seed chooses. A lane may be far behind, and the hub knows of each only what has arrived.
 */
#ifndef TRIMTAB_TESTS_SIM_SIM_H
#define TRIMTAB_TESTS_SIM_SIM_H

#include <stdbool.h>
#include <stdint.h>

enum sim_fault {
    FAULT_CUT,          /* a connection breaks, with what was on its way */
    FAULT_STUCK,        /* a subscriber stops reading for a while */
    FAULT_SERVER_CRASH, /* and what was not synced is lost */
    FAULT_CLIENT_CRASH,
    FAULT_CLIENT_STORE, /* a local copy cannot be written */
    FAULT_DISK_FAIL,
    FAULT_DISK_LOST,
    FAULT_DISK_DONE,
    FAULT_DISK_UNSYNCED,
    FAULT_CLOCK_JUMP,
    FAULT_REFUSAL,  /* an item that a subscriber refuses */
    FAULT_MEMORY,   /* an allocation fails while a commit is published */
    FAULT_DEAD,     /* a program dies, and the server sees nothing of it for a while */
    FAULT_UNJUDGED, /* what judges a host falls silent for a while */
    FAULT_FAILING,  /* what a host serves is not well */
    FAULT_REPORT,   /* an allocation fails while a report is made or taken */
    FAULT_OLDER,    /* a server comes back with an older log, as if it were the newest */
    FAULT_RESTORED, /* likewise, with a new id */
    FAULT_EMPTIED,  /* a server comes back with nothing */
    FAULT_HOST,     /* a host comes back with nothing */
    FAULT_RIGHTS,   /* what a subscriber may read changes */
    FAULT_EARLY,    /* a subscriber says that it has applied what it is to apply */
    N_FAULTS,
};
extern const char *const sim_fault_names[N_FAULTS];

/* Faults of our own making, which the oracle must see. */
enum sim_defect {
    DEFECT_NONE,
    DEFECT_BOOKMARK_BEFORE_DATA,
    DEFECT_CURSOR_ON_TIMEOUT,
    DEFECT_SPLIT_COMMIT,
    DEFECT_CANDIDATE_FOR_ALL,
    DEFECT_CANDIDATE_STAYS,
    DEFECT_UNCHECKED_GRAPH,
    DEFECT_HELD_ALONE,
    DEFECT_RIGHTS_LINGER,
    DEFECT_LANE_MISSES,
};

struct sim_result {
    uint64_t faults[N_FAULTS];
    uint64_t commits, rollouts, moves, batches, bookmarks, repairs, renewals, checks, referred,
        held, claims, well, hidden, went_on, driven, deletions, withheld, denied, waited,
        several, letters, behind, late, replaced, must_wait, owing, lost;
    char violation[256]; /* empty: none */
};

/* steps: how much happens before everything is healed and must converge. */
struct sim_result sim_run(uint64_t seed, enum sim_defect defect, int clients, int steps);

#endif
