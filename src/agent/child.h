/*
 * Commands of the agent's own configuration: one child process with a time limit, whose output is kept up to 4 KiB, made
 * plain (base/text.h) and cut between characters.
 * A program that a command leaves running may go on writing: what it writes then is read and dropped by a process of its
 * own, which lives as long as it does, and longer than the agent.
 * Never blocks; one loop and its thread.
 */
#ifndef TRIMTAB_AGENT_CHILD_H
#define TRIMTAB_AGENT_CHILD_H

#include "base/buf.h"
#include "net/loop.h"

enum { CHILD_OUTPUT_MAX = 4096 };

struct child;

/* How a command ended. Only CHILD_REFUSED says something about what it was asked. */
enum child_end {
    CHILD_PASSED,  /* with status 0 */
    CHILD_REFUSED, /* with another status */
    CHILD_NOT_RUN, /* the shell could not find or start it (status 126, 127) */
    CHILD_KILLED,  /* by a signal; or a shell says so of what it ran (status over 128) */
    CHILD_LATE     /* it did not answer in time, and was killed */
};

struct child_result {
    enum child_end end;
    const char *
        story; /* how it ended: "exit status 1", "killed by signal 9", "no answer in 10000 ms" */
    struct str output; /* standard output and error, plain; what is over the limit was dropped */
};

struct child_opts {
    struct loop *loop;
    const char
        *command; /* for /bin/sh -c; {stage} becomes the stage, quoted as its place needs */
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

/* Whether this process was started here and its end has not been seen yet. */
bool child_is_ours(pid_t pid);

/*
 * The command with {stage} filled in: as one word of the shell, also between quotes of either sort. Failure is remembered
 * by the buffer.
 */
void child_command(const char *command, const char *stage, struct buf *out);

#endif
