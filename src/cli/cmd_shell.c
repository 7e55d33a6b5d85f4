/*
 * context, completion: what makes the command line comfortable.
 */
#include "base/file.h"
#include "base/settings.h"
#include "cli/cmd.h"

#include <inttypes.h>
#include <limits.h>

enum { CONTEXTS_FILE_MAX = 1 << 20 };

/* ---- context ---- */

struct rewriting {
    char *current;       /* as the file says, while listing */
    const char *without; /* section to leave out */
    struct buf *out;     /* NULL: list instead */
    bool found;
};

static int visit(void *ctx, struct str section, struct str label, struct str key,
                 struct str value, struct err *err)
{
    struct rewriting *w = ctx;

    (void)err;
    if (!section.len && str_eq(key, STR("current"))) {
        if (w->out)
            return 0;
        (void)mem_free(w->current); /* said twice: the last one counts */
        w->current = mem_dup(value.data, value.len);
        return w->current ? 0 : ERR_NOMEM;
    }
    if (str_eq(section, STR("context")) && !key.len && !w->out)
        (void)printf("%s%.*s\n", w->current && str_eq(label, str_c(w->current)) ? "* " : "  ",
                     STR_ARG(label));
    if (!w->out || (w->without && str_eq(label, str_c(w->without)))) {
        w->found |= w->out != NULL;
        return 0;
    }
    if (key.len)
        buf_printf(w->out, "%.*s = %.*s\n", STR_ARG(key), STR_ARG(value));
    else
        buf_printf(w->out, "\n[%.*s \"%.*s\"]\n", STR_ARG(section), STR_ARG(label));
    return 0;
}

/* Writes the file anew: current first, all contexts but one as they are, then what is added. */
static int rewrite(struct cli *cli, const char *current, const char *without, const char *added,
                   struct err *err)
{
    const char *path = contexts_path(&cli->arena);
    owned(buf) struct buf old = BUF_NULL(CONTEXTS_FILE_MAX);
    owned(buf) struct buf new = BUF_NULL(CONTEXTS_FILE_MAX);
    struct rewriting w = {.without = without, .out = &new};
    char folder[PATH_MAX];
    int r = file_read(path, &old, NULL);

    buf_printf(&new, "current = %s\n", current);
    if (r == 0)
        r = settings_parse(buf_str(&old), path, visit, &w, err);
    else if (r == ERR_NOT_FOUND)
        r = 0;
    buf_put_c(&new, added);
    if (r || buf_status(&new))
        return r ? r : buf_status(&new);
    (void)snprintf(folder, sizeof(folder), "%s", path);
    if (strrchr(folder, '/')) {
        *strrchr(folder, '/') = '\0';
        r = file_make_dirs(folder, 0700, err);
    }
    return r ? r : file_replace(path, buf_str(&new), 0600, err);
}

static int list_contexts(struct cli *cli, struct err *err)
{
    const char *path = contexts_path(&cli->arena);
    owned(buf) struct buf text = BUF_NULL(CONTEXTS_FILE_MAX);
    struct rewriting w = {.out = NULL};
    int r = file_read(path, &text, err);

    if (r == ERR_NOT_FOUND) {
        say(cli, "no contexts yet; make one with: trimtab context set NAME --server ADDRESS "
                 "--token-file FILE\n");
        return 0;
    }
    if (!r)
        r = settings_parse(buf_str(&text), path, visit, &w, err);
    (void)mem_free(w.current); /* its NULL is of no use here */
    return r;
}

static int set_context(struct cli *cli, const char *name, struct err *err)
{
    owned(buf) struct buf section = BUF_NULL(16384);

    buf_printf(&section, "\n[context \"%s\"]\n", name);
    buf_printf(&section, "server = %s\n", cli->server ? cli->server : "127.0.0.1:7700");
    if (cli->token_file)
        buf_printf(&section, "token_file = %s\n", cli->token_file);
    if (cli->ca)
        buf_printf(&section, "ca = %s\n", cli->ca);
    if (cli->cert)
        buf_printf(&section, "cert = %s\n", cli->cert);
    if (cli->key)
        buf_printf(&section, "key = %s\n", cli->key);
    if (!buf_c(&section))
        return ERR_NOMEM;
    return rewrite(cli, name, name, section.data, err);
}

static int run_context(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct words words;
    int r = take_flags(&cmd_context, NULL, 0, argc, argv, &words, err);

    if (r)
        return r;
    if (words.n == 1 && strcmp(words.at[0], "list") == 0)
        return list_contexts(cli, err);
    if (words.n == 2 && strcmp(words.at[0], "set") == 0)
        return set_context(cli, words.at[1], err);
    if (words.n == 2 && strcmp(words.at[0], "use") == 0)
        return rewrite(cli, words.at[1], NULL, "", err);
    if (words.n == 2 && strcmp(words.at[0], "rm") == 0)
        return rewrite(cli, "", words.at[1], "", err);
    return usage(&cmd_context, err, "context takes list, set NAME, use NAME or rm NAME");
}

const struct command cmd_context = {
    "context", "context (list | set NAME [--server ...] | use NAME | rm NAME)",
    "keeps servers and tokens under names", run_context};

/* ---- completion ---- */

static const char bash_stub[] =
    "_trimtab() {\n"
    "    COMPREPLY=($(trimtab __complete \"$COMP_CWORD\" \"${COMP_WORDS[@]}\" 2>/dev/null))\n"
    "    [[ ${COMPREPLY[0]} == */ ]] && compopt -o nospace\n"
    "}\n"
    "complete -o default -F _trimtab trimtab\n";
static const char zsh_stub[] = "_trimtab() { compadd -- $(trimtab __complete $((CURRENT-1)) "
                               "\"${words[@]}\" 2>/dev/null) }\n"
                               "compdef _trimtab trimtab\n";
static const char fish_stub[] =
    "complete -c trimtab -f -a '(trimtab __complete (count (commandline -opc)) (commandline "
    "-opc) (commandline -ct) 2>/dev/null)'\n";

static int run_completion(struct cli *cli, int argc, char **argv, struct err *err)
{
    struct words words;
    int r = take_flags(&cmd_completion, NULL, 0, argc, argv, &words, err);

    (void)cli;
    if (r)
        return r;
    if (words.n == 1 && strcmp(words.at[0], "bash") == 0)
        (void)fputs(bash_stub, stdout);
    else if (words.n == 1 && strcmp(words.at[0], "zsh") == 0)
        (void)fputs(zsh_stub, stdout);
    else if (words.n == 1 && strcmp(words.at[0], "fish") == 0)
        (void)fputs(fish_stub, stdout);
    else
        return usage(&cmd_completion, err, "completion takes bash, zsh or fish");
    return 0;
}

const struct command cmd_completion = {"completion", "completion bash|zsh|fish",
                                       "prints what a shell needs to complete words",
                                       run_completion};

/* Ids and namespaces that begin so; silent when the server does not answer at once. */
static void complete_ids(struct cli *cli, const char *begin)
{
    Trimtab__V1__ListRequest q = TRIMTAB__V1__LIST_REQUEST__INIT;
    Trimtab__V1__ListResponse *m;

    q.limit = 10000;
    if (call(cli, "List", &q.base, &trimtab__v1__list_response__descriptor,
             (ProtobufCMessage **)&m, 300, NULL))
        return;
    for (size_t i = 0; i < m->n_resources; i++)
        if (str_starts(str_c(m->resources[i]->id), str_c(begin)))
            (void)printf("%s\n", m->resources[i]->id);
}

/* The numbers of live rollouts. */
static void complete_rollouts(struct cli *cli, const char *begin)
{
    Trimtab__V1__ListRolloutsRequest q = TRIMTAB__V1__LIST_ROLLOUTS_REQUEST__INIT;
    Trimtab__V1__ListRolloutsResponse *m;

    if (call(cli, "ListRollouts", &q.base, &trimtab__v1__list_rollouts_response__descriptor,
             (ProtobufCMessage **)&m, 300, NULL))
        return;
    for (size_t i = 0; i < m->n_rollouts; i++) {
        char id[24];

        (void)snprintf(id, sizeof(id), "%" PRIu64, m->rollouts[i]->id);
        if (str_starts(str_c(id), str_c(begin)))
            (void)printf("%s\n", id);
    }
}

static void complete_commands(const char *begin)
{
    for (size_t i = 0; i < commands_n; i++)
        if (commands[i]->help && str_starts(str_c(commands[i]->name), str_c(begin)))
            (void)printf("%s\n", commands[i]->name);
}

/* __complete INDEX trimtab WORD... */
static int run_complete(struct cli *cli, int argc, char **argv, struct err *err)
{
    uint64_t index;
    const char *begin;
    bool is_rollout = argc > 3 && strcmp(argv[3], "rollout") == 0;

    (void)err;
    if (argc < 3 || !str_u64(str_c(argv[1]), &index) || index > (uint64_t)argc)
        return 0;
    begin = (int)index + 2 < argc ? argv[index + 2] : "";
    if (index <= 1)
        complete_commands(begin);
    else if (is_rollout && index == 2)
        rollout_complete(begin);
    else if (argc > 3 && strcmp(argv[3], "token") == 0)
        token_complete(index == 2 ? begin : "-");
    else if (begin[0] == '-')
        return 0;
    else if (is_rollout && argc > 4 && strcmp(argv[4], "start") != 0 && strcmp(argv[4], "preview") != 0)
        complete_rollouts(cli, begin);
    else
        complete_ids(cli, begin);
    return 0;
}

const struct command cmd_complete = {"__complete", "__complete", NULL, run_complete};
