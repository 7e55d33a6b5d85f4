/*
 * The event loop of one thread: libuv's loop, and what we want on top of it. A loop and everything that hangs
 * on it belong to the thread that runs it; only loop_post and loop_stop may be called from others.
 *
 * One turn: (1) posts, sockets and signals, in the order in which they became ready; (2) deferred work, until
 * there is none; (3) timers that are due; (4) deferred work again; then the loop waits. The time is read once
 * per turn. Deferral is how writes are coalesced: a connection defers its flush, so everything that was queued
 * on it in one turn leaves in one system call.
 *
 * All request structs (timer, post, defer) are embedded in their owners, so that none of this can fail.
 */
#ifndef TRIMTAB_NET_LOOP_H
#define TRIMTAB_NET_LOOP_H

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"

#include <stdatomic.h>
#include <uv.h>

struct loop;

/* ---- timers ---- */

/*
 * A timer: zero-initialised is stopped. It may be stopped, restarted or freed (once stopped) at any time, also
 * from inside its own callback.
 */
struct timer {
    void (*fn)(struct timer *t, void *ctx);
    void *ctx;
    struct loop *loop; /* not NULL while it runs */
    nsec_t due;
    uint64_t repeat_ms;
    struct timer *child, *next, *prev; /* pairing heap */
};

/* Runs fn(t, ctx) in after_ms, then every repeat_ms unless 0. A running timer starts anew. t->fn must be set. */
void timer_start(struct timer *t, struct loop *loop, uint64_t after_ms, uint64_t repeat_ms);
void timer_stop(struct timer *t);
static inline bool timer_is_running(const struct timer *t)
{
    return t->loop != NULL;
}

/* ---- work handed to a loop ---- */

/* From any thread. The struct is the poster's until fn is called, and may be posted again from there on. */
struct post {
    void (*fn)(struct post *p, void *ctx);
    void *ctx;
    struct post *next;
};

/* To the end of this turn, from the loop's own thread. Zero-initialised is idle. */
struct defer {
    void (*fn)(struct defer *d, void *ctx);
    void *ctx;
    struct link link; /* {0} or alone while idle */
};

/* Blocking work on libuv's worker pool: run on a worker, then done on the loop. Caller's memory until done. */
struct work {
    void (*run)(struct work *w, void *ctx);
    void (*done)(struct work *w, void *ctx);
    void *ctx;
    uv_work_t request;
};

/*
 * Memory that holds handles of libuv's own on the loop, and may go only when these are closed. Caller's memory, from
 * loop_join to loop_leave. A loop that closes while it is joined calls on_close once: it closes its handles with
 * callbacks of its own, which run before loop_close returns.
 */
struct loop_guest {
    void (*on_close)(struct loop_guest *guest);
    struct link link;
};

/* ---- signals ---- */

/* Memory is the caller's and must stay until loop_close has returned. */
struct signal_watch {
    void (*fn)(struct signal_watch *s, void *ctx);
    void *ctx;
    int number;
    uv_signal_t handle;
};

/* ---- the loop ---- */

enum {
    LOOP_READ_BYTES =
        256 * 1024, /* one read buffer per loop, so that idle connections hold none */
    LOOP_SCRATCH_BYTES =
        64 * 1024, /* heads and frame headers on their way out; TLS plain text */
};

/*
 * What the turns of a loop have taken of a processor, so that what others do on the machine does not count: how many took up to each
 * of LOOP_TURN_STEPS, and longer. For metrics.
 */
#define LOOP_TURN_STEPS                                                                        \
    {                                                                                          \
        1 * NSEC_PER_MS, 5 * NSEC_PER_MS, 20 * NSEC_PER_MS, 100 * NSEC_PER_MS, NSEC_PER_S      \
    }
enum { LOOP_TURN_STEPS_N = 5 };

struct loop_turns {
    uint64_t n[LOOP_TURN_STEPS_N + 1];
    nsec_t sum, longest;
};

struct loop {
    uv_loop_t uv;
    uv_async_t wake;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_timer_t alarm;
    uv_idle_t again;
    nsec_t alarm_due;     /* what alarm is set to; 0 when it is not */
    struct timer *timers; /* root of the heap: the next one due */
    struct link deferred;
    struct link guests;
    _Atomic(struct post *) posted; /* newest first */
    struct post *overdue, **overdue_end; /* those that were taken from it, oldest first */
    _Atomic bool must_stop;
    bool is_single, has_run; /* inside loop_turn; whether it has called anybody */
    char *read_buf;          /* LOOP_READ_BYTES; contents last until the reader returns */
    char *scratch;           /* LOOP_SCRATCH_BYTES; used inside one flush */
    uint64_t n_turns;
    struct loop_turns turns;
    nsec_t cpu; /* what the thread had used when this turn began */
    nsec_t of_posts,
        besides_posts;       /* what posts took in this turn, and all else in the last one */
    uint64_t n_writes;       /* writev, send and SSL_write calls that sent something */
    uint64_t write_bytes;
};

/* Makes a loop at the caller's address (it must not move). ERR_NOMEM, ERR_IO. */
must_use int loop_open(struct loop *loop, struct err *err);

/*
 * Closes every handle that is still on the loop, runs their callbacks and frees what the loop owns. Nobody may
 * post any more. Work on the pool is waited for.
 */
void loop_close(struct loop *loop);

void loop_join(struct loop *loop, struct loop_guest *guest);
void loop_leave(struct loop_guest *guest); /* one that has left, or was never joined, may */

/* Runs until loop_stop. A loop that has nothing to wait for waits. */
void loop_run(struct loop *loop);

/* Runs one turn; waits for events only if asked to and if nothing was due. For tests and for programs that wait for one thing. */
enum loop_wait { LOOP_POLL, LOOP_WAIT };
void loop_turn(struct loop *loop, enum loop_wait wait);

/* Any thread, any time between open and close: loop_run returns after its current turn. */
void loop_stop(struct loop *loop);

/* The time of this turn, in whole milliseconds; on the same clock as clock_now. */
static inline nsec_t loop_now(const struct loop *loop)
{
    return uv_now(&loop->uv) * NSEC_PER_MS;
}

/* Any thread: calls p->fn(p, p->ctx) on the loop's thread, in the order of posting per thread. Never fails. */
void loop_post(struct loop *loop, struct post *p);

/* Calls d->fn(d, d->ctx) at the end of this turn, once, however often it is asked. */
void loop_defer(struct loop *loop, struct defer *d);
void defer_cancel(struct defer *d);

void loop_work(struct loop *loop, struct work *w);
/* Before any work: from now on the workers of this process leave the processor to everybody else first. */
void loop_workers_yield(void);

/* Calls s->fn on the loop's thread when the process gets the signal. s->fn, ctx and number are set by the caller. */
must_use int loop_watch_signal(struct loop *loop, struct signal_watch *s, struct err *err);

/* For child processes and file watches. Handles on it are closed with uv_close before their memory goes. */
static inline uv_loop_t *loop_uv(struct loop *loop)
{
    return &loop->uv;
}

#endif
