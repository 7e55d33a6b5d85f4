/*
 * Probes on a loop: commands that end well or not, what is told and when, and the word of a caller in its file.
 */
#include "agent/prober.h"
#include "agent/word.h"
#include "base/file.h"
#include "tap.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
    struct loop loop;
    struct config config;
    struct prober *prober;
    char file[4096], switch_file[4096], command[8192];
    struct sync_judgement told;
    char reason[SYNC_REASON_MAX + 1], source[SYNC_SOURCE_MAX + 1];
    int n_told, n_refusals;
    bool is_busy;
} w;

static bool is_busy(void *ctx)
{
    (void)ctx;
    return w.is_busy;
}

static bool on_tell(void *ctx, const struct sync_judgement *sum)
{
    (void)ctx;
    if (w.n_refusals && w.n_refusals--)
        return false;
    w.n_told++;
    w.told = *sum;
    (void)snprintf(w.reason, sizeof(w.reason), "%s", sum->reason);
    (void)snprintf(w.source, sizeof(w.source), "%s", sum->source);
    return true;
}

static void open_prober(void)
{
    struct prober_opts opts = {.loop = &w.loop,
                               .config = &w.config,
                               .file = w.file,
                               .is_busy = is_busy,
                               .tell = on_tell};

    CHECK_I64(prober_open(&opts, &w.prober, NULL), 0);
}

/* One probe by command: fails while the switch file is there. */
static void open_world(bool has_probe)
{
    struct config_health health = {
        .name = "switch",
        .command = w.command,
        .timeout = 20 * NSEC_PER_S,
        .rules = {.failures = 2, .successes = 1, .every = 1, .retry = 1}};

    memset(&w, 0, sizeof(w));
    (void)snprintf(w.file, sizeof(w.file), "%s/health", tap_tmpdir());
    (void)snprintf(w.switch_file, sizeof(w.switch_file), "%s/bad", tap_tmpdir());
    (void)snprintf(w.command, sizeof(w.command), "echo $TRIMTAB_PROBE; test ! -e %s",
                   w.switch_file);
    if (has_probe)
        CHECK(VEC_PUSH(&w.config.health, health));
    CHECK_I64(loop_open(&w.loop, NULL), 0);
    open_prober();
}

static void close_world(void)
{
    w.prober = prober_close(w.prober);
    loop_close(&w.loop);
    VEC_DEINIT(&w.config.health);
}

static void turn_until_told(int n)
{
    while (w.n_told < n)
        loop_turn(&w.loop, LOOP_WAIT);
}

static uint64_t probes(void)
{
    return prober_at(w.prober, 0).n_probes;
}

static void set_bad(bool bad)
{
    if (bad)
        CHECK_I64(file_replace(w.switch_file, STR("x"), 0600, NULL), 0);
    else
        CHECK_I64(unlink(w.switch_file), 0);
}

TEST("a verdict is told once, and when it changes")
{
    open_world(true);
    prober_applied(w.prober, 7);
    turn_until_told(1);
    CHECK(!w.told.failing);
    CHECK_U64(w.told.revision, 7);
    for (uint64_t n = probes(); probes() < n + 3;)
        loop_turn(&w.loop, LOOP_WAIT);
    CHECK_I64(w.n_told, 1);
    set_bad(true);
    turn_until_told(2);
    CHECK(w.told.failing);
    CHECK_STR(str_c(w.reason), STR("exit status 1: switch"));
    CHECK_STR(str_c(w.source), STR("switch"));
    set_bad(false);
    turn_until_told(3);
    CHECK(!w.told.failing);
    close_world();
}

TEST("after a batch it is told anew, though nothing changed")
{
    open_world(true);
    prober_applied(w.prober, 7);
    turn_until_told(1);
    prober_applied(w.prober, 8);
    turn_until_told(2);
    CHECK_U64(w.told.revision, 8);
    close_world();
}

TEST("nothing is judged while something is applied")
{
    uint64_t n;

    open_world(true);
    set_bad(true);
    w.is_busy = true;
    prober_applied(w.prober, 7);
    for (int i = 0; i < 10; i++)
        loop_turn(&w.loop, LOOP_WAIT);
    CHECK_U64(probes(), 0);
    set_bad(false);
    w.is_busy = false;
    turn_until_told(1);
    CHECK(!w.told.failing);
    n = probes();
    CHECK(n >= 1);
    close_world();
}

TEST("what could not be told is told with the next probe")
{
    open_world(true);
    w.n_refusals = 2;
    prober_applied(w.prober, 7);
    turn_until_told(1);
    CHECK_I64(w.n_refusals, 0);
    CHECK_U64(w.told.revision, 7);
    close_world();
}

TEST("a probe that runs when all ends is ended with it")
{
    open_world(true);
    (void)snprintf(w.command, sizeof(w.command), "sleep 300");
    prober_applied(w.prober, 7);
    for (int i = 0; i < 3; i++)
        loop_turn(&w.loop, LOOP_POLL);
    close_world();
}

TEST("a caller's word is told at once, and outlives the prober")
{
    struct stat st;

    open_world(false);
    prober_applied(w.prober, 7);
    CHECK_I64(w.n_told, 0);
    CHECK_I64(prober_say(w.prober, true, STR("no\nspace"), NULL), 0);
    REQUIRE(w.n_told == 1);
    CHECK(w.told.failing);
    w.prober = prober_close(w.prober);
    CHECK(stat(w.file, &st) == 0 && (st.st_mode & 0777) == 0600);
    open_prober();
    prober_applied(w.prober, 9);
    REQUIRE(w.n_told == 2);
    CHECK(w.told.failing);
    CHECK_U64(w.told.revision, 7);
    CHECK_STR(str_c(w.reason), STR("no\nspace"));
    CHECK_STR(str_c(w.source), STR("caller"));
    CHECK_I64(prober_say(w.prober, false, STR("ignored"), NULL), 0);
    CHECK(!w.told.failing);
    CHECK_U64(w.told.revision, 9);
    close_world();
}

TEST("a word that cannot be kept is not taken")
{
    struct err err = ERR_NULL;

    open_world(false);
    prober_applied(w.prober, 7);
    (void)snprintf(w.file, sizeof(w.file), "%s/none/health", tap_tmpdir());
    CHECK_I64(prober_say(w.prober, true, STR("x"), &err), ERR_IO);
    CHECK_I64(w.n_told, 0);
    CHECK_I64(prober_at(w.prober, 0).verdict->state, VERDICT_NONE);
    close_world();
}

TEST("a file that is not ours says nothing, and does no harm")
{
    static const char *const bad[] = {"",        "failing", "failing x\n",
                                      "bad 1\n", "ok -1\n", "ok 1"};
    struct verdict v;

    open_world(false);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CHECK_I64(file_replace(w.file, str_c(bad[i]), 0600, NULL), 0);
        if (!CHECK_I64(word_read(w.file, &v, NULL), i == 5 ? 0 : ERR_INVALID))
            tap_note("%s", bad[i]);
        w.prober = prober_close(w.prober);
        open_prober();
        prober_applied(w.prober, 1);
    }
    CHECK_I64(w.n_told, 1); /* of the last, which is whole */
    close_world();
}
