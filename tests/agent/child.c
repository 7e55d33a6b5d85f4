/*
 * Commands: how they end, what is kept of their output, and that none outlives its time.
 */
#include "tap.h"

#include "agent/child.h"

#include <signal.h>
#include <unistd.h>

struct outcome {
    bool done, has_passed;
    char story[128], output[CHILD_OUTPUT_MAX + 1];
    size_t len;
};

static void on_done(void *ctx, const struct child_result *r)
{
    struct outcome *o = ctx;

    o->done = true;
    o->has_passed = r->has_passed;
    o->len = r->output.len;
    (void)snprintf(o->story, sizeof(o->story), "%s", r->story);
    (void)snprintf(o->output, sizeof(o->output), "%.*s", STR_ARG(r->output));
}

static struct outcome run(const char *command, const char *stage, uint64_t timeout_ms)
{
    struct loop loop;
    struct outcome o = {.done = false};
    struct child *c;
    struct child_opts opts = {.loop = &loop,
                              .command = command,
                              .stage = stage,
                              .sink = "t",
                              .timeout_ms = timeout_ms,
                              .done = on_done,
                              .ctx = &o};

    if (!CHECK(loop_open(&loop, NULL) == 0))
        return o;
    if (CHECK(child_start(&opts, &c, NULL) == 0))
        while (!o.done)
            loop_turn(&loop, LOOP_WAIT);
    loop_turn(&loop, LOOP_POLL);
    loop_close(&loop);
    return o;
}

TEST("a command that ends well has passed, and its output of both kinds is kept in order")
{
    struct outcome o = run("echo one; echo two >&2; echo three", NULL, 10000);

    CHECK(o.has_passed);
    CHECK_STR(str_c(o.output), STR("one\ntwo\nthree\n"));
}

TEST("a command that fails tells its status and what it said")
{
    struct outcome o = run("echo wrong in line 3; exit 7", NULL, 10000);

    CHECK(!o.has_passed);
    CHECK_STR(str_c(o.story), STR("exit status 7"));
    CHECK_STR(str_c(o.output), STR("wrong in line 3\n"));
}

TEST("the stage is in the environment, and in the command with quotes")
{
    struct outcome o =
        run("echo \"$TRIMTAB_STAGE\" {stage} $TRIMTAB_SINK", "/tmp/it's here", 10000);

    CHECK_STR(str_c(o.output), STR("/tmp/it's here /tmp/it's here t\n"));
}

TEST("no more than 4 KiB are kept, and a talker is not stopped by that")
{
    struct outcome o = run("head -c 1000000 /dev/zero | tr '\\0' x", NULL, 20000);

    CHECK(o.has_passed);
    CHECK_U64(o.len, CHILD_OUTPUT_MAX);
}

TEST("a command that takes too long is killed with all that it started")
{
    struct outcome o = run("echo $$; sleep 1000 & sleep 1000", NULL, 300);
    uint64_t pid = 0;

    CHECK(!o.has_passed);
    CHECK(strstr(o.story, "no answer in 300 ms") != NULL);
    CHECK(str_u64(str_trim(str_c(o.output)), &pid));
    for (int i = 0; pid && i < 500 && kill(-(pid_t)pid, 0) == 0; i++)
        (void)usleep(10000); /* until the kernel has taken the group away */
    CHECK(pid && kill(-(pid_t)pid, 0) != 0);
}

TEST("a daemon that keeps the output open does not hold the end up")
{
    struct outcome o = run("sleep 30 & echo $!; exit 0", NULL, 20000);
    uint64_t pid;

    CHECK(o.has_passed);
    if (CHECK(str_u64(str_trim(str_c(o.output)), &pid)))
        (void)kill((pid_t)pid, SIGKILL);
}

TEST("a command that kills itself has not passed")
{
    struct outcome o = run("kill -9 $$", NULL, 10000);

    CHECK(!o.has_passed);
    CHECK_STR(str_c(o.story), STR("killed by signal 9"));
}
