/*
 * Commands: how they end, what is kept of their output, and that none outlives its time.
 */
#include "tap.h"

#include "agent/child.h"
#include "base/file.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PLENTY_MS = 600000 };

struct outcome {
    bool done;
    enum child_end end;
    char story[128], output[CHILD_OUTPUT_MAX + 1];
    size_t len;
};

static void on_done(void *ctx, const struct child_result *r)
{
    struct outcome *o = ctx;

    o->done = true;
    o->end = r->end;
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
    struct outcome o = run("echo one; echo two >&2; echo three", NULL, PLENTY_MS);

    CHECK_U64(o.end, CHILD_PASSED);
    CHECK_STR(str_c(o.output), STR("one\ntwo\nthree\n"));
}

TEST("a command that fails tells its status and what it said")
{
    struct outcome o = run("echo wrong in line 3; exit 7", NULL, PLENTY_MS);

    CHECK_U64(o.end, CHILD_REFUSED);
    CHECK_STR(str_c(o.story), STR("exit status 7"));
    CHECK_STR(str_c(o.output), STR("wrong in line 3\n"));
}

TEST("the stage is in the environment, and in the command with quotes")
{
    struct outcome o =
        run("echo \"$TRIMTAB_STAGE\" {stage} $TRIMTAB_SINK", "/tmp/it's here", PLENTY_MS);

    CHECK_STR(str_c(o.output), STR("/tmp/it's here /tmp/it's here t\n"));
}

TEST("the stage is one word wherever in a command it stands")
{
    static const char stage[] = "/t/a'b \"c\" $d `e` \\f";
    static const char *const commands[] = {
        "printf %s {stage}",
        "printf %s \"{stage}\"",
        "printf %s '{stage}'",
        "printf %s \"it's \"'\"'\"\\\"\"{stage} | sed \"s/it's [\\\"]*//\"",
        "printf %s \"'\"{stage}\"'\" | tr -d '\\n' | sed \"s/^'//; s/'$//\"",
    };

    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        struct outcome o = run(commands[i], stage, PLENTY_MS);

        if (!CHECK_STR(str_c(o.output), str_c(stage)))
            tap_note("%s", commands[i]);
    }
}

TEST("no more than 4 KiB are kept, and a talker is not stopped by that")
{
    struct outcome o = run("head -c 1000000 /dev/zero | tr '\\0' x", NULL, PLENTY_MS);

    CHECK_U64(o.end, CHILD_PASSED);
    CHECK_U64(o.len, CHILD_OUTPUT_MAX);
}

TEST("output is cut between characters, and what is no text in it is made plain")
{
    struct outcome o = run("printf x; for i in $(seq 3000); do printf '\\303\\274'; done", NULL, 20000);

    CHECK_U64(o.len, CHILD_OUTPUT_MAX - 1); /* an odd number: the last one would have been cut */
    CHECK(str_is_utf8(str_of(o.output, o.len)));
    o = run("printf 'ung\\374ltig \\033[31m \\000 \\377\\n'", NULL, 20000);
    CHECK_STR(str_c(o.output), STR("ung\xef\xbf\xbdltig \xe2\x90\x9b[31m \xe2\x90\x80 \xef\xbf\xbd\n"));
}

/* The kernel takes a process group away some time after it was killed; tests/watch ends who waits for ever. */
static void wait_for_end(pid_t group)
{
    while (kill(-group, 0) == 0)
        (void)usleep(1000);
}

TEST("a command that takes too long is killed with all that it started")
{
    struct outcome o;
    uint64_t pid = 0, timeout_ms = 100;

    do { /* a busy machine may take longer to come to the echo */
        timeout_ms *= 2;
        o = run("echo $$; sleep 1000 & sleep 1000", NULL, timeout_ms);
        CHECK_U64(o.end, CHILD_LATE);
    } while (!str_u64(str_trim(str_c(o.output)), &pid));
    CHECK(strstr(o.story, "no answer in ") == o.story);
    CHECK_U64(strtoull(o.story + strlen("no answer in "), NULL, 10), timeout_ms);
    wait_for_end((pid_t)pid);
}

TEST("a daemon that keeps the output open does not hold the end up")
{
    struct outcome o = run("sleep 30 & echo $!; exit 0", NULL, PLENTY_MS);
    uint64_t pid;

    CHECK_U64(o.end, CHILD_PASSED);
    if (CHECK(str_u64(str_trim(str_c(o.output)), &pid)))
        (void)kill((pid_t)pid, SIGKILL);
}

TEST("a command that kills itself has not passed")
{
    struct outcome o = run("kill -9 $$", NULL, PLENTY_MS);

    CHECK_U64(o.end, CHILD_KILLED);
    CHECK_STR(str_c(o.story), STR("killed by signal 9"));
    o = run("sh -c 'kill -15 $$'; exit $?", NULL, PLENTY_MS);
    CHECK_U64(o.end, CHILD_KILLED); /* as a shell tells it of what it ran */
}

TEST("a command that the shell cannot find has said nothing of what it was asked")
{
    struct outcome o = run("/nonexistent/check {stage}", "/tmp", PLENTY_MS);

    CHECK_U64(o.end, CHILD_NOT_RUN);
}

TEST("a daemon that was left behind goes on writing, while the loop runs and after it was "
     "closed")
{
    char file[256], command[1024];
    struct outcome o;
    uint64_t pid = 0;

    (void)snprintf(file, sizeof(file), "%s/wrote", tap_tmpdir());
    /* More than fits into a pipe, then a word that it has lived through that. */
    (void)snprintf(command, sizeof(command),
                   "{ while [ ! -e %s.go ]; do :; done; head -c 1000000 /dev/zero && echo x "
                   ">%s; exec sleep 1000; } & echo $!",
                   file, file);
    o = run(command, NULL, PLENTY_MS);
    CHECK_U64(o.end, CHILD_PASSED);
    REQUIRE(str_u64(str_trim(str_c(o.output)), &pid));
    (void)snprintf(command, sizeof(command), "%s.go", file);
    CHECK(file_replace(command, STR(""), 0600, NULL) == 0);
    while (access(file, R_OK) && kill((pid_t)pid, 0) == 0)
        (void)usleep(1000);
    CHECK(access(file, R_OK) == 0);
    (void)kill((pid_t)pid, SIGKILL);
}

static void run_until_loop_closes(const char *command, bool forget)
{
    char file[256], text[1024];
    struct loop loop;
    struct outcome o = {.done = false};
    struct child_opts opts = {
        .loop = &loop, .command = text, .timeout_ms = PLENTY_MS, .done = on_done, .ctx = &o};
    struct child *c;
    owned(buf) struct buf pid_text = BUF_NULL(64);
    uint64_t pid = 0;

    (void)snprintf(file, sizeof(file), "%s/pid", tap_tmpdir());
    (void)snprintf(text, sizeof(text), "echo $$ >%s.new; mv %s.new %s; %s", file, file, file,
                   command);
    REQUIRE(loop_open(&loop, NULL) == 0);
    REQUIRE(child_start(&opts, &c, NULL) == 0);
    while (access(file, R_OK) != 0)
        loop_turn(&loop, LOOP_POLL);
    if (forget)
        child_forget(c);
    loop_close(&loop);
    CHECK(!o.done);
    REQUIRE(file_read(file, &pid_text, NULL) == 0);
    REQUIRE(str_u64(str_trim(buf_str(&pid_text)), &pid));
    CHECK_I64(waitpid((pid_t)pid, NULL, 0), pid);
    wait_for_end((pid_t)pid);
    (void)unlink(file);
}

TEST("a loop that closes ends the commands on it and leaves nothing of them")
{
    run_until_loop_closes("sleep 1000", true);
    run_until_loop_closes("sleep 1000", false);
    run_until_loop_closes("sleep 1000 & sleep 1000", false);
}
