/*
 * Orphans. See reaper.h. At the end of the turn in which the signal came libuv has waited for the commands; what can still
 * be waited for then is an orphan, or a command that ended since and comes with a signal of its own.
 */
#include "agent/reaper.h"

#include "agent/child.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static bool gets_orphans(void)
{
    int is_subreaper = 0;

    return getpid() == 1 ||
           (prctl(PR_GET_CHILD_SUBREAPER, &is_subreaper) == 0 && is_subreaper != 0);
}

static void run_reap(struct defer *d, void *ctx)
{
    (void)d;
    (void)ctx;
    for (;;) {
        siginfo_t info = {.si_pid = 0};

        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid == 0 ||
            child_is_ours(info.si_pid))
            return;
        (void)waitpid(info.si_pid, NULL, WNOHANG);
    }
}

static void on_child(struct signal_watch *s, void *ctx)
{
    struct reaper *r = ctx;

    (void)s;
    loop_defer(r->loop, &r->reap);
}

int reaper_open(struct reaper *r, struct loop *loop, struct err *err)
{
    *r = (struct reaper){.loop = loop};
    r->on_child = (struct signal_watch){.fn = on_child, .ctx = r, .number = SIGCHLD};
    r->reap = (struct defer){.fn = run_reap, .ctx = r};
    return gets_orphans() ? loop_watch_signal(loop, &r->on_child, err) : 0;
}

void reaper_close(struct reaper *r)
{
    defer_cancel(&r->reap);
}
