/*
 * The engine of sinks for tests: items in memory, answers from the loop. It fails where it is told to.
 */
#ifndef TRIMTAB_TESTS_AGENT_SINK_MEM_H
#define TRIMTAB_TESTS_AGENT_SINK_MEM_H

#include "agent/sink.h"
#include "base/map.h"
#include "net/loop.h"

enum { SINK_MEM_ITEMS = 32, SINK_MEM_TEXT = 64 };

struct sink_mem_item {
    char name[SINK_MEM_TEXT], content[SINK_MEM_TEXT];
};

struct sink_mem_items {
    struct sink_mem_item at[SINK_MEM_ITEMS];
    size_t n;
};

/* The steps that can be told to fail. */
enum sink_mem_step {
    SINK_MEM_NONE,
    SINK_MEM_PLAN,
    SINK_MEM_STAGE,
    SINK_MEM_CHECK,
    SINK_MEM_NO_CHECK, /* it cannot even ask */
    SINK_MEM_SWITCH,
    SINK_MEM_RELOAD,
    SINK_MEM_NO_RELOAD,
    SINK_MEM_STEPS
};

struct sink_mem {
    struct sink sink;
    struct loop *loop;
    struct sink_mem_items now;   /* what is there */
    struct sink_mem_items told;  /* what the receiver was last told of with success */
    struct map delivered;        /* name -> a text of its own: what is known to be there */
    enum sink_mem_step fails_at; /* while content that contains "BAD" is wanted, or always: */
    bool fails_always;
    bool is_untold;                        /* by its row */
    bool is_silent;                        /* never answers */
    unsigned n_plans, n_checks, n_reloads; /* plans: those that are not finished */
};

must_use struct sink_mem *sink_mem_open(struct loop *loop, const char *name);
/* NULL: it is not there. */
const char *sink_mem_content(const struct sink_mem_items *items, const char *name);

#endif
