/*
 * One thread's event loop on libuv. See loop.h.
 *
 * Timers are a pairing heap of our own under a single uv_timer_t: libuv's timers are handles whose memory must
 * outlive an asynchronous close, ours are plain structs that may go as soon as they are stopped.
 */
#include "net/loop.h"

#include "base/alloc.h"

#include <sys/resource.h>

enum {
    DEFER_ROUNDS = 32,
    DEFER_NS = 5000000,
    POSTS_NS_MIN = 2000000,
    POSTS_NS_MAX = 10000000,
    WORKER_NICENESS = 5
};

/* ---- the heap: the root is due first; children of one parent are a list; prev of the first child is the parent ---- */

static struct timer *heap_meld(struct timer *a, struct timer *b)
{
    if (!a)
        return b;
    if (!b)
        return a;
    if (b->due < a->due) {
        struct timer *swap = a;

        a = b;
        b = swap;
    }
    b->prev = a;
    b->next = a->child;
    if (a->child)
        a->child->prev = b;
    a->child = b;
    return a;
}

/* Melds a list of siblings in pairs, left to right, then the results right to left. */
static struct timer *heap_meld_all(struct timer *first)
{
    struct timer *pairs = NULL, *root = NULL;

    while (first) {
        struct timer *a = first, *b = first->next;

        first = b ? b->next : NULL;
        a->next = a->prev = NULL;
        if (b)
            b->next = b->prev = NULL;
        a = heap_meld(a, b);
        a->next = pairs;
        pairs = a;
    }
    while (pairs) {
        struct timer *rest = pairs->next;

        pairs->next = NULL;
        root = heap_meld(root, pairs);
        pairs = rest;
    }
    return root;
}

static void heap_remove(struct loop *loop, struct timer *t)
{
    struct timer *below = heap_meld_all(t->child);

    t->child = NULL;
    if (loop->timers == t) {
        loop->timers = below;
        return;
    }
    if (t->prev->child == t)
        t->prev->child = t->next;
    else
        t->prev->next = t->next;
    if (t->next)
        t->next->prev = t->prev;
    t->next = t->prev = NULL;
    loop->timers = heap_meld(loop->timers, below);
}

/* ---- timers ---- */

void timer_start(struct timer *t, struct loop *loop, uint64_t after_ms, uint64_t repeat_ms)
{
    uint64_t most_ms = INT64_MAX / (int64_t)NSEC_PER_MS / 2;

    timer_stop(t);
    t->loop = loop;
    /* At least one tick ahead, so that a timer which restarts itself at 0 cannot hold the turn. */
    t->due = loop_now(loop) + MAX(MIN(after_ms, most_ms), 1) * NSEC_PER_MS;
    t->repeat_ms = repeat_ms;
    t->child = t->next = t->prev = NULL;
    loop->timers = heap_meld(loop->timers, t);
}

void timer_stop(struct timer *t)
{
    if (!t->loop)
        return;
    heap_remove(t->loop, t);
    t->loop = NULL;
}

static void run_timers(struct loop *loop)
{
    nsec_t now = loop_now(loop);

    while (loop->timers && loop->timers->due <= now) {
        struct timer *t = loop->timers;
        uint64_t repeat_ms = t->repeat_ms;

        timer_stop(t);
        loop->has_run = true;
        /* Restarted before the call, so that the callback may stop it or free it. */
        if (repeat_ms)
            timer_start(t, loop, repeat_ms, repeat_ms);
        t->fn(t, t->ctx);
    }
}

/* ---- posts and deferred work ---- */

/* Behind those that were left. */
static void take_posts(struct loop *loop)
{
    struct post *newest = atomic_exchange_explicit(&loop->posted, NULL, memory_order_acquire);
    struct post *oldest = NULL;

    while (newest) {
        struct post *next = newest->next;

        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    *loop->overdue_end = oldest;
    while (*loop->overdue_end)
        loop->overdue_end = &(*loop->overdue_end)->next;
}

/*
 * What they do must not keep sockets waiting, nor the sockets them: they get as much of a turn as all else took in the last one,
 * and the rest goes to the next turn, in its order. Counted in time of the processor: a thread that had to wait for it has not
 * had its share.
 */
static void run_posts(struct loop *loop)
{
    nsec_t begin = clock_thread_cpu();
    nsec_t end = begin + MIN(MAX(loop->besides_posts, POSTS_NS_MIN), POSTS_NS_MAX);

    take_posts(loop);
    while (loop->overdue && clock_thread_cpu() < end) {
        struct post *p = loop->overdue;

        loop->overdue = p->next; /* p may be posted again, or freed, by its function */
        if (!loop->overdue)
            loop->overdue_end = &loop->overdue;
        p->fn(p, p->ctx);
    }
    if (loop->overdue)
        (void)uv_async_send(&loop->wake); /* fails only on a handle that is being closed */
    loop->of_posts = clock_thread_cpu() - begin;
}

void loop_post(struct loop *loop, struct post *p)
{
    struct post *head = atomic_load_explicit(&loop->posted, memory_order_relaxed);

    do
        p->next = head;
    while (!atomic_compare_exchange_weak_explicit(&loop->posted, &head, p, memory_order_release,
                                                  memory_order_relaxed));
    /* Only the first of a batch wakes: the loop takes all that are there. */
    if (!head)
        (void)uv_async_send(&loop->wake); /* fails only on a handle that is being closed */
}

void loop_defer(struct loop *loop, struct defer *d)
{
    if (!d->link.next)
        link_init(&d->link);
    if (link_is_alone(&d->link))
        link_before(&loop->deferred, &d->link);
}

void defer_cancel(struct defer *d)
{
    if (d->link.next)
        link_remove(&d->link);
}

static void run_round(struct loop *loop)
{
    struct link round;

    link_init(&round);
    /* The whole list changes heads, so that what is deferred now goes to the next round. */
    link_before(&loop->deferred, &round);
    link_remove(&loop->deferred);
    while (!link_is_alone(&round)) {
        struct defer *d = LINK_OF(round.next, struct defer, link);

        link_remove(&d->link);
        loop->has_run = true;
        d->fn(d, d->ctx);
    }
}

static void nothing(uv_idle_t *idle)
{
    (void)idle; /* an active idle handle keeps the loop from waiting, that is all it is for */
}

/*
 * Work that keeps deferring itself must not keep sockets waiting: after some rounds, or some time, the rest goes to the next turn. And
 * a single turn that has done something already does not wait: what its caller waits for may have happened.
 */
static void run_deferred(struct loop *loop)
{
    nsec_t end = clock_thread_cpu() + DEFER_NS;

    for (int i = 0; i < DEFER_ROUNDS && !link_is_alone(&loop->deferred); i++) {
        run_round(loop);
        if (clock_thread_cpu() > end)
            break;
    }
    if (link_is_alone(&loop->deferred) && !(loop->is_single && loop->has_run))
        (void)uv_idle_stop(&loop->again); /* cannot fail */
    else
        (void)uv_idle_start(&loop->again, nothing); /* cannot fail with a function */
}

/* ---- the phases of a turn ---- */

static void on_wake(uv_async_t *wake)
{
    run_posts(wake->data);
}

static void on_check(uv_check_t *check)
{
    run_deferred(check->data);
}

static void on_alarm(uv_timer_t *alarm)
{
    struct loop *loop = alarm->data;

    loop->alarm_due = 0;
    run_timers(loop);
}

static void set_alarm(struct loop *loop)
{
    nsec_t now = loop_now(loop), due;

    if (!loop->timers) {
        if (loop->alarm_due)
            (void)uv_timer_stop(&loop->alarm); /* cannot fail */
        loop->alarm_due = 0;
        return;
    }
    due = MAX(loop->timers->due, 1);
    if (due == loop->alarm_due)
        return;
    loop->alarm_due = due;
    (void)uv_timer_start(&loop->alarm, on_alarm, due > now ? (due - now) / NSEC_PER_MS : 0,
                         0); /* fails only without a function */
}

/* A turn ends where the next one would wait. The first has no beginning that is known. */
static void count_turn(struct loop *loop)
{
    static const nsec_t steps[LOOP_TURN_STEPS_N] = LOOP_TURN_STEPS;
    nsec_t cpu = clock_thread_cpu(), took = cpu - loop->cpu;
    size_t i = 0;

    if (loop->n_turns++) {
        while (i < LOOP_TURN_STEPS_N && took > steps[i])
            i++;
        loop->turns.n[i]++;
        loop->turns.sum += took;
        loop->turns.longest = MAX(loop->turns.longest, took);
        loop->besides_posts = took - MIN(loop->of_posts, took);
    }
    loop->cpu = cpu;
    loop->of_posts = 0;
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct loop *loop = prepare->data;

    run_deferred(loop);
    set_alarm(loop);
    count_turn(loop);
    if (atomic_exchange_explicit(&loop->must_stop, false, memory_order_acq_rel))
        uv_stop(&loop->uv);
}

/* ---- life ---- */

static int open_handles(struct loop *loop)
{
    int r = uv_async_init(&loop->uv, &loop->wake, on_wake);

    if (r)
        return r;
    /* None of these can fail: they only set fields. */
    (void)uv_prepare_init(&loop->uv, &loop->prepare);
    (void)uv_check_init(&loop->uv, &loop->check);
    (void)uv_timer_init(&loop->uv, &loop->alarm);
    (void)uv_idle_init(&loop->uv, &loop->again);
    loop->wake.data = loop->prepare.data = loop->check.data = loop;
    loop->alarm.data = loop->again.data = loop;
    (void)uv_prepare_start(&loop->prepare, on_prepare);
    (void)uv_check_start(&loop->check, on_check);
    return 0;
}

int loop_open(struct loop *loop, struct err *err)
{
    int r;

    memset(loop, 0, sizeof(*loop));
    link_init(&loop->deferred);
    link_init(&loop->guests);
    loop->overdue_end = &loop->overdue;
    loop->read_buf = mem_alloc(LOOP_READ_BYTES);
    loop->scratch = mem_alloc(LOOP_SCRATCH_BYTES);
    if (!loop->read_buf || !loop->scratch) {
        r = err_set(err, ERR_NOMEM, "no memory for an event loop");
        goto fail_memory;
    }
    r = uv_loop_init(&loop->uv);
    if (r) {
        r = err_set(err, r == UV_ENOMEM ? ERR_NOMEM : ERR_IO, "cannot make an event loop: %s",
                    uv_strerror(r));
        goto fail_memory;
    }
    r = open_handles(loop);
    if (r) {
        r = err_set(err, ERR_IO, "cannot make an event loop: %s", uv_strerror(r));
        (void)uv_loop_close(&loop->uv); /* nothing is on it */
        goto fail_memory;
    }
    return 0;

fail_memory:
    loop->read_buf = mem_free(loop->read_buf);
    loop->scratch = mem_free(loop->scratch);
    return r;
}

void loop_join(struct loop *loop, struct loop_guest *guest)
{
    link_init(&guest->link);
    link_before(&loop->guests, &guest->link);
}

void loop_leave(struct loop_guest *guest)
{
    if (guest->link.next)
        link_remove(&guest->link);
}

static void close_handle(uv_handle_t *handle, void *ctx)
{
    (void)ctx;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

void loop_close(struct loop *loop)
{
    if (!loop->read_buf)
        return;
    do
        run_posts(loop);
    while (loop->overdue);
    run_deferred(loop);
    LIST_EACH (&loop->guests, l) {
        link_remove(l);
        LINK_OF(l, struct loop_guest, link)->on_close(LINK_OF(l, struct loop_guest, link));
    }
    uv_walk(&loop->uv, close_handle, NULL);
    while (uv_run(&loop->uv, UV_RUN_DEFAULT))
        ;
    ASSERT(uv_loop_close(&loop->uv) == 0);
    loop->read_buf = mem_free(loop->read_buf);
    loop->scratch = mem_free(loop->scratch);
}

void loop_run(struct loop *loop)
{
    (void)uv_run(&loop->uv,
                 UV_RUN_DEFAULT); /* says whether handles are left: there always are */
}

void loop_turn(struct loop *loop, enum loop_wait wait)
{
    loop->is_single = true;
    loop->has_run = false;
    (void)uv_run(&loop->uv, wait == LOOP_WAIT ? UV_RUN_ONCE : UV_RUN_NOWAIT);
    loop->is_single = false;
}

void loop_stop(struct loop *loop)
{
    atomic_store_explicit(&loop->must_stop, true, memory_order_release);
    (void)uv_async_send(&loop->wake); /* fails only on a handle that is being closed */
}

/* ---- workers and signals ---- */

/* On Linux a priority is a thread's. */
static _Atomic bool workers_yield;

void loop_workers_yield(void)
{
    atomic_store(&workers_yield, true);
}

static void yield_to_loops(void)
{
    static _Thread_local bool has_yielded;

    if (has_yielded || !atomic_load(&workers_yield))
        return;
    (void)pthread_setname_np(pthread_self(), "worker"); /* fails only for longer names */
    has_yielded = true;                                 /* at worst it does not: */
    (void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + WORKER_NICENESS);
}

static void on_worker(uv_work_t *request)
{
    struct work *w = request->data;

    yield_to_loops();

    w->run(w, w->ctx);
}

static void on_worked(uv_work_t *request, int status)
{
    struct work *w = request->data;

    (void)status; /* nothing here cancels */
    w->done(w, w->ctx);
}

void loop_work(struct loop *loop, struct work *w)
{
    w->request.data = w;
    (void)uv_queue_work(&loop->uv, &w->request, on_worker,
                        on_worked); /* fails only without a function */
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct signal_watch *s = handle->data;

    (void)number;
    s->fn(s, s->ctx);
}

int loop_watch_signal(struct loop *loop, struct signal_watch *s, struct err *err)
{
    int r = uv_signal_init(&loop->uv, &s->handle);

    s->handle.data = s;
    if (!r)
        r = uv_signal_start(&s->handle, on_signal, s->number);
    return r ? err_set(err, ERR_IO, "cannot watch signal %d: %s", s->number, uv_strerror(r))
             : 0;
}
