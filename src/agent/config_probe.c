/*
 * What --check_config proves. See config_probe.h.
 */
#include "agent/config_probe.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { WORD_MAX = 256, FOLDER_MAX = 4096 };

/* Runs /bin/sh -c script argument; its exit status, -1 when it cannot be run. */
static int run_shell(const char *script, const char *argument)
{
    char shell[] = "/bin/sh", flag[] = "-c";
    char *args[] = {shell, flag, (char *)(uintptr_t)script, (char *)(uintptr_t)argument, NULL};
    posix_spawn_file_actions_t quiet;
    int status = 0, r;
    pid_t pid;

    if (posix_spawn_file_actions_init(&quiet))
        return -1;
    (void)posix_spawn_file_actions_addopen(&quiet, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    r = posix_spawn(&pid, shell, &quiet, NULL, args, environ);
    (void)posix_spawn_file_actions_destroy(&quiet);
    if (r || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}

/* The name of what a command begins with; false when only the shell can tell. */
static bool first_word(const char *command, char word[WORD_MAX])
{
    static const char blank[] = " \t";
    size_t len;

    command += strspn(command, blank);
    while (strncmp(command, "exec ", 5) == 0 || strncmp(command, "! ", 2) == 0) {
        command += strcspn(command, blank);
        command += strspn(command, blank);
    }
    len = strcspn(command, " \t;&|<>()");
    if (!len || len >= WORD_MAX || strcspn(command, "=$`'\"{}*?[\\~") < len)
        return false;
    memcpy(word, command, len);
    word[len] = '\0';
    return true;
}

static int probe_command(const char *name, const char *command, struct err *err)
{
    char word[WORD_MAX];

    if (!command)
        return 0;
    if (run_shell("exec /bin/sh -n -c \"$0\"", command))
        return err_set(err, ERR_INVALID, "%s is no command that the shell understands", name);
    if (!first_word(command, word) || run_shell("command -v \"$0\" >/dev/null", word) == 0)
        return 0;
    (void)err_set(err, ERR_NOT_FOUND, "%s begins with %s, which is not there", name, word);
    err_hint(err, "install it, or give its whole path");
    return ERR_NOT_FOUND;
}

/* The target itself is made when it is missing; the folder that it lies in is not a thing to be made by accident. */
static int probe_target(const char *target, struct err *err)
{
    const char *slash = strrchr(target, '/');
    char parent[FOLDER_MAX];
    struct stat st;

    (void)snprintf(parent, sizeof(parent), "%.*s/", (int)(slash - target), target);
    if (stat(target, &st) == 0)
        return S_ISDIR(st.st_mode)
                   ? 0
                   : err_set(err, ERR_INVALID, "target %s is no folder", target);
    if (stat(parent, &st) == 0 && S_ISDIR(st.st_mode))
        return 0;
    return err_set(err, ERR_NOT_FOUND, "target %s lies in a folder that is not there", target);
}

static int probe_files(const struct config_files *f, struct err *err)
{
    int r = probe_target(f->target, err);

    if (!r)
        r = probe_command("check", f->check, err);
    if (!r)
        r = probe_command("reload", f->reload, err);
    if (r)
        err_place(err, "[files \"%.*s\"]", STR_ARG(f->name));
    return r;
}

/* Each {label} of the namespace is one that this instance has. */
static int probe_layer(const struct config *c, struct str layer, struct err *err)
{
    owned(buf) struct buf text = BUF_NULL(ID_BYTES_MAX);

    return layer_expand(layer, c->pairs, c->n_pairs, &text, err);
}

int config_probe(const struct config *config, struct err *err)
{
    int r = 0;

    for (size_t i = 0; i < config->scopes.n && !r; i++) {
        const struct config_scope *s = &config->scopes.at[i];

        for (size_t l = 0; l < s->n_layers && !r; l++)
            r = probe_layer(config, s->layers[l], err);
        if (r)
            err_place(err, "[scope \"%.*s\"]", STR_ARG(s->name));
    }
    for (size_t i = 0; i < config->files.n && !r; i++)
        r = probe_files(&config->files.at[i], err);
    for (size_t i = 0; i < config->health.n && !r; i++) {
        r = probe_command("command", config->health.at[i].command, err);
        if (r)
            err_place(err, "[health \"%s\"]", config->health.at[i].name);
    }
    return r;
}
