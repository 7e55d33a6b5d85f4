/*
 * A program that uses the public header as anybody would: reads, watches, says how it is, and prints what it sees, until its standard
 * input ends. Driven by tests/e2e/30-sdk.t, and with `segment PATH` by 23-agent-segment.t.
 */
#include <trimtab/trimtab.h>

#include <stdio.h>
#include <string.h>

static void on_change(void *ctx, const struct trimtab_change *c)
{
    (void)ctx;
    printf("change %s %s -> %s at %llu\n", c->name, c->before ? c->before : "-",
           c->after ? c->after : "-", (unsigned long long)c->revision);
    (void)fflush(stdout);
}

/* get NAME: prints the value as every type. */
static void get(struct trimtab *t, const char *name)
{
    const struct trimtab_snapshot *s = trimtab_snapshot_acquire(t);

    printf("value %s int %lld float %g bool %d text %s\n", name,
           (long long)trimtab_snapshot_int(s, name, -1), trimtab_snapshot_float(s, name, -1),
           trimtab_snapshot_bool(s, name, false), trimtab_snapshot_string(s, name, "-"));
    trimtab_snapshot_release(s);
    (void)fflush(stdout);
}

/* health ok, health failing REASON */
static void health(struct trimtab *t, const char *line)
{
    bool failing = strncmp(line, "failing", 7) == 0;

    printf("said %d\n", trimtab_report_health(t, failing, failing ? line + 7 : NULL));
    (void)fflush(stdout);
}

/* SERVER TOKEN INSTANCE NAMESPACE..., or segment PATH */
static bool take_options(struct trimtab_options *o, int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "segment") == 0)
        return trimtab_options_segment(o, argv[2]);
    if (argc < 5)
        return false;
    (void)trimtab_options_server(o, argv[1]);
    (void)trimtab_options_token(o, argv[2]);
    (void)trimtab_options_instance(o, argv[3]);
    for (int i = 4; i < argc; i++)
        (void)trimtab_options_namespace(o, argv[i]);
    (void)trimtab_options_label(o, "env", "prod");
    return true;
}

int main(int argc, char **argv)
{
    struct trimtab_options *o = trimtab_options_new();
    struct trimtab *t;
    char line[256];

    if (!take_options(o, argc, argv))
        return 2;
    t = trimtab_open(o);
    trimtab_options_free(o);
    if (!t) {
        printf("failed: %s\n", trimtab_open_error());
        return 1;
    }
    (void)trimtab_watch(t, "*", on_change, NULL);
    printf("%s\n", trimtab_wait(t, 20000) ? "ready" : "late");
    (void)fflush(stdout);
    while (fgets(line, sizeof(line), stdin)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "health ", 7) == 0)
            health(t, line + 7);
        else
            get(t, line);
    }
    trimtab_close(t);
    puts("closed");
    return 0;
}
