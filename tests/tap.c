/*
 * The TAP runner that every C test program is linked with. See tap.h.
 */
#include "tap.h"

#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <unistd.h>

static struct tap_case *cases, **cases_end = &cases;

static struct {
    const char *name;
    unsigned number;
    bool failed;
    const char *skip;
    char tmpdir[64];
} now;

void tap_register(struct tap_case *c)
{
    *cases_end = c;
    cases_end = &c->next;
}

bool tap_check(bool ok, const char *file, int line, const char *fmt, ...)
{
    va_list ap;

    if (ok)
        return true;
    now.failed = true;
    printf("# %s:%d: ", file, line);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    return false;
}

void tap_skip(const char *reason)
{
    now.skip = reason;
}

void tap_note(const char *fmt, ...)
{
    va_list ap;

    printf("# ");
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
}

bool tap_failed(void)
{
    return now.failed;
}

const char *tap_tmpdir(void)
{
    if (!now.tmpdir[0]) {
        (void)snprintf(now.tmpdir, sizeof(now.tmpdir), "/tmp/trimtab-test-XXXXXX");
        if (!mkdtemp(now.tmpdir)) {
            perror("mkdtemp");
            exit(1);
        }
    }
    return now.tmpdir;
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    (void)remove(path); /* best effort: it is a temporary folder */
    return 0;
}

/* tests/watch gave up waiting for the running case, or somebody else did. */
static void on_end(int signal_number)
{
    char text[512];
    int len = snprintf(text, sizeof(text), "not ok %u - %.300s\n# it was ended by signal %d\n",
                       now.number, now.name ? now.name : "(no case)", signal_number);
    ssize_t n = write(STDOUT_FILENO, text, (size_t)len);

    (void)n;
    _exit(128 + signal_number);
}

static bool run_case(struct tap_case *c, unsigned number)
{
    memset(&now, 0, sizeof(now));
    now.name = c->name;
    now.number = number;
    if (c->within_s)
        tap_note("within %u s", c->within_s);
    c->run();
    (void)mem_fail_after(UINT64_MAX);
    if (now.tmpdir[0])
        (void)nftw(now.tmpdir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    printf("%s %u - %s%s%s\n", now.failed ? "not ok" : "ok", number, c->name,
           now.skip ? " # SKIP " : "", now.skip ? now.skip : "");
    (void)fflush(stdout);
    return !now.failed;
}

int main(int argc, char **argv)
{
    const char *pattern = argc > 1 ? argv[1] : "";
    unsigned number = 0, failed = 0;

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    (void)signal(SIGTERM, on_end);
    (void)signal(SIGINT, on_end);
    (void)signal(SIGPIPE, SIG_IGN);
    if (strcmp(pattern, "-l") == 0) {
        for (struct tap_case *c = cases; c; c = c->next)
            printf("%s\n", c->name);
        return 0;
    }
    for (struct tap_case *c = cases; c; c = c->next)
        if (strstr(c->name, pattern))
            failed += !run_case(c, ++number);
    printf("1..%u\n", number);
    return failed ? 1 : 0;
}
