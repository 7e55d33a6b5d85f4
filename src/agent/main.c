/*
 * trimtab-agent: reads its settings, runs the agent or a command to one, and gives back an exit status.
 */
#include "agent/agent.h"
#include "agent/command.h"
#include "agent/config_probe.h"
#include "base/log.h"

#include <malloc.h>
#include <unistd.h>

static int print_help(void)
{
    owned(buf) struct buf text = BUF_NULL(65536);

    config_help(&text);
    (void)fwrite(text.data, 1, text.len, stdout);
    return 0;
}

static int tell(const struct err *err)
{
    char line[2048];

    (void)fprintf(stderr, "trimtab-agent: %s\n", err_describe(err, line, sizeof(line)));
    return err_info(err->code)->exit_status;
}

static int serve(const struct config *config)
{
    static struct agent agent; /* its loop must not move */
    struct err err = ERR_NULL;

    if (agent_open(&agent, config, &err)) {
        agent_close(&agent);
        return tell(&err);
    }
    agent_run(&agent);
    agent_close(&agent);
    return 0;
}

static int run(const struct config *config)
{
    struct err err = ERR_NULL;
    enum log_level level;
    uint64_t seed;

    if (config->show_help)
        return print_help();
    if (config->show_version) {
        puts("trimtab-agent " TRIMTAB_VERSION);
        return 0;
    }
    if (!log_level_from(str_c(config->log_level), &level)) {
        (void)err_set(&err, ERR_INVALID, "log_level is debug, info, warn or error");
        return tell(&err);
    }
    if (config->check_config)
        return config_probe(config, &err) ? tell(&err) : 0;
    if (config->n_words)
        return command_run(config, &err) ? tell(&err) : 0;
    log_setup(STDERR_FILENO, level,
              strcmp(config->log_format, "json") == 0 ? LOG_JSON : LOG_TEXT);
    if (random_bytes(&seed, sizeof(seed)) == 0)
        hash_seed(seed);
    return serve(config);
}

int main(int argc, char **argv)
{
    owned(arena) struct arena arena = ARENA_NULL;
    struct config config;
    struct err err = ERR_NULL;
    int r;

    (void)mallopt(M_ARENA_MAX,
                  1); /* a few workers that seldom allocate need no heaps of their own */
    r = config_load(&config, argc, argv, &arena, &err);
    if (r && !err.code)
        (void)err_set(&err, r, "out of memory");
    r = r ? tell(&err) : run(&config);
    config_deinit(&config);
    return r;
}
