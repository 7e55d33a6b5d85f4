/*
 * Commands of the agent's own configuration: one child process with a time limit, whose output is kept up to 4 KiB, made
 * plain (base/text.h) and cut between characters.
 * Never blocks; one loop and its thread.
 */
#ifndef TRIMTAB_AGENT_CHILD_H
#define TRIMTAB_AGENT_CHILD_H

#include "base/buf.h"
#include "net/loop.h"

enum { CHILD_OUTPUT_MAX = 4096 };

struct child;

struct child_result {
    bool has_passed; /* it ended by itself, with status 0 */
    const char *
        story; /* how it ended: "exit status 1", "killed by signal 9", "no answer in 10000 ms" */
    struct str output; /* standard output and error, plain; what is over the limit was dropped */
};

struct child_opts {
    struct loop *loop;
    const char *command; /* for /bin/sh -c; {stage} becomes the quoted stage */
    const char *stage;   /* also TRIMTAB_STAGE in its environment; NULL: none */
    const char *sink;    /* TRIMTAB_SINK; NULL: none */
    const char *probe;   /* TRIMTAB_PROBE; NULL: none */
    uint64_t timeout_ms; /* then its whole process group is killed */
    void (*done)(
        void *ctx,
        const struct child_result *result); /* once, from the loop; result until return */
    void *ctx;
};

/* ERR_NOMEM, ERR_IO (it cannot be started): done is not called then. */
must_use int child_start(const struct child_opts *opts, struct child **ret_child,
                         struct err *err);

/*
 * Kills it; done is not called any more. Its memory goes when the loop has seen it end, or closes: that ends a child
 * that nobody has forgotten in the same way.
 */
void child_forget(struct child *c);

/* The command with {stage} filled in, quoted for the shell. Failure is remembered by the buffer. */
void child_command(const char *command, const char *stage, struct buf *out);

#endif
