/*
 * trimtab: takes the global flags, finds the command, and turns its failure into words and an exit status.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "cli/cmd.h"
#include "proto/json.h"

#include <stdarg.h>
#include <unistd.h>

const struct command *const commands[] = {
    &cmd_get,     &cmd_put,     &cmd_rm,         &cmd_ls,       &cmd_publish, &cmd_import,
    &cmd_export,  &cmd_diff,    &cmd_history,    &cmd_rollback, &cmd_watch,   &cmd_instances,
    &cmd_running, &cmd_events,  &cmd_status,     &cmd_info,     &cmd_admin,   &cmd_rollout,
    &cmd_fleet,   &cmd_release, &cmd_token,      &cmd_grant,    &cmd_revoke,  &cmd_grants,
    &cmd_who_can, &cmd_context, &cmd_completion, &cmd_complete,
};
const size_t commands_n = ARRAY_LEN(commands);

static void print_help(void)
{
    printf("usage: trimtab [--server ADDRESS] [--token-file FILE] [-o table|json|name] COMMAND "
           "...\n\n");
    for (size_t i = 0; i < commands_n; i++)
        if (commands[i]->help)
            printf("  %-11s %s\n", commands[i]->name, commands[i]->help);
    printf("\nGlobal flags, each also as environment variable and in the contexts file:\n"
           "  --server ADDRESS    TRIMTAB_SERVER      127.0.0.1:7700\n"
           "  --token-file FILE   TRIMTAB_TOKEN_FILE  (or TRIMTAB_TOKEN)\n"
           "  --ca FILE           TRIMTAB_CA          speak TLS, trusting this authority\n"
           "  --cert, --key FILE  TRIMTAB_CERT, _KEY  client certificate\n"
           "  --context NAME      TRIMTAB_CONTEXT     see: trimtab context --help\n"
           "  -o FORMAT           TRIMTAB_OUTPUT      table, json or name\n"
           "  -q, --quiet                             results only\n\n"
           "Exit status: 0 done, 1 other failure or a difference, 2 usage, 3 not found, 4 not "
           "allowed,\n"
           "5 conflict, 6 refused as invalid, 7 refused by instances, 8 timed out, 9 server "
           "not reachable.\n\n"
           "trimtab COMMAND --help tells more.\n");
}

static bool output_from(const char *text, enum output *out)
{
    static const char *const names[] = {"table", "json", "name"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(text, names[i]) == 0) {
            *out = (enum output)i;
            return true;
        }
    return false;
}

struct global {
    const char *name, *env;
    size_t offset;
};

static const struct global globals[] = {
    {"--server", "TRIMTAB_SERVER", offsetof(struct cli, server)},
    {"--token-file", "TRIMTAB_TOKEN_FILE", offsetof(struct cli, token_file)},
    {"--token", "TRIMTAB_TOKEN", offsetof(struct cli, token)},
    {"--ca", "TRIMTAB_CA", offsetof(struct cli, ca)},
    {"--cert", "TRIMTAB_CERT", offsetof(struct cli, cert)},
    {"--key", "TRIMTAB_KEY", offsetof(struct cli, key)},
    {"--context", "TRIMTAB_CONTEXT", offsetof(struct cli, context)},
};

static const char **global_at(struct cli *cli, const struct global *g)
{
    return (const char **)(void *)((char *)cli + g->offset);
}

/* 1 when the word was a global flag; *at is moved over its value. */
static int take_global(struct cli *cli, int argc, char **argv, int *at, struct err *err)
{
    const char *word = argv[*at];
    size_t len = strcspn(word, "=");
    const char *value = word[len] ? word + len + 1 : *at + 1 < argc ? argv[*at + 1] : NULL;

    if (strcmp(word, "-q") == 0 || strcmp(word, "--quiet") == 0) {
        cli->is_quiet = true;
        return 1;
    }
    if (strcmp(word, "-o") == 0 || (len == 8 && strncmp(word, "--output", 8) == 0)) {
        if (!value || !output_from(value, &cli->output))
            return err_set(err, ERR_INVALID, "-o takes table, json or name");
        *at += !word[len];
        return 1;
    }
    for (size_t i = 0; i < ARRAY_LEN(globals); i++) {
        if (strlen(globals[i].name) != len || strncmp(word, globals[i].name, len) != 0)
            continue;
        if (!value)
            return err_set(err, ERR_INVALID, "%s needs a value", globals[i].name);
        *global_at(cli, &globals[i]) = value;
        *at += !word[len];
        return 1;
    }
    return 0;
}

/* Global flags stand anywhere; what is left is moved to the front of argv. */
static int take_globals(struct cli *cli, int *argc, char **argv, struct err *err)
{
    int kept = 1;

    for (size_t i = 0; i < ARRAY_LEN(globals); i++)
        *global_at(cli, &globals[i]) = getenv(globals[i].env);
    if (getenv("TRIMTAB_OUTPUT") && !output_from(getenv("TRIMTAB_OUTPUT"), &cli->output))
        return err_set(err, ERR_INVALID, "TRIMTAB_OUTPUT is table, json or name");
    for (int i = 1; i < *argc; i++) {
        int r;

        if (strcmp(argv[i], "--") == 0) {
            for (; i < *argc; i++)
                argv[kept++] = argv[i];
            break;
        }
        r = take_global(cli, *argc, argv, &i, err);
        if (r < 0)
            return r;
        if (r == 0)
            argv[kept++] = argv[i];
    }
    *argc = kept;
    return 0;
}

/* With -o json an error is a document too. */
static int fail(struct cli *cli, const struct err *err, bool is_usage)
{
    char line[2048];

    if (cli->output == OUTPUT_JSON) {
        Trimtab__V1__Error e = TRIMTAB__V1__ERROR__INIT;
        owned(buf) struct buf text = BUF_NULL(65536);

        e.code = (char *)(uintptr_t)err_info(err->code)->name; /* protobuf-c has no const */
        e.message = (char *)(uintptr_t)err->text;
        e.place = (char *)(uintptr_t)err->place;
        e.hint = (char *)(uintptr_t)err->hint;
        e.line = err->line;
        e.column = err->column;
        if (proto_to_json_text(&e.base, PROTO_JSON_FULL, &text) == 0)
            (void)fprintf(stderr, "%.*s\n", STR_ARG(buf_str(&text)));
    } else {
        (void)err_describe(err, line, sizeof(line));
        (void)fprintf(stderr, "trimtab: %s\n", one_line(&cli->arena, line));
    }
    return is_usage ? 2 : err_info(err->code)->exit_status;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct err err = ERR_NULL;
    int r = take_globals(cli, &argc, argv, &err);

    if (r)
        return fail(cli, &err, true);
    if (argc < 2 || strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0) {
        print_help();
        return argc < 2 ? 2 : 0;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0) {
        puts("trimtab " TRIMTAB_VERSION);
        return 0;
    }
    for (size_t i = 0; i < commands_n; i++) {
        if (strcmp(commands[i]->name, argv[1]) != 0)
            continue;
        r = commands[i]->run(cli, argc - 1, argv + 1, &err);
        if (r == 0 || r == COMMAND_HELPED)
            return 0;
        if (r == COMMAND_DIFFERS)
            return 1;
        return fail(cli, &err, err.code == ERR_INVALID && strncmp(err.hint, "usage: ", 7) == 0);
    }
    (void)err_set(&err, ERR_INVALID, "there is no command \"%s\"", argv[1]);
    err_hint(&err, "trimtab help lists them");
    return fail(cli, &err, true);
}

int main(int argc, char **argv)
{
    struct cli cli = {.output = OUTPUT_TABLE};
    uint64_t seed;
    int status;

    if (random_bytes(&seed, sizeof(seed)) == 0)
        hash_seed(seed);
    status = run(&cli, argc, argv);
    arena_deinit(&cli.arena);
    if (fflush(stdout) && !status)
        status = 1;
    return status;
}
