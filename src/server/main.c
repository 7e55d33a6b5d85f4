/*
 * trimtabd: reads its settings, runs the server, and gives back an exit status.
 */
#include "base/log.h"
#include "server/server.h"
#include "server/hub/upkeep.h"

#include <sys/resource.h>
#include <unistd.h>

/*
 * Read by jemalloc at the start: memory that connections gave back goes back to the system within a second, and a
 * thread of its own does it.
 */
extern const char *malloc_conf;
__attribute__((visibility("default"))) const char *malloc_conf =
    "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0";

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

    (void)fprintf(stderr, "trimtabd: %s\n", err_describe(err, line, sizeof(line)));
    return err_info(err->code)->exit_status;
}

/* One file per connection: as many as the system allows, whatever the shell was content with. */
static void raise_file_limit(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files))
        return;
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files); /* the former limit still serves */
}

static int serve(const struct config *config)
{
    static struct server server; /* its loop must not move */
    struct err err = ERR_NULL;
    int status;

    if (server_open(&server, config, &err)) {
        server_close(&server);
        return tell(&err);
    }
    status = server_run(&server);
    server_close(&server);
    return status;
}

typedef int upkeep_fn(const struct config *config, struct buf *out, struct err *err);

static int keep_up(upkeep_fn *fn, const struct config *config)
{
    owned(buf) struct buf text = BUF_NULL(65536);
    struct err err = ERR_NULL;

    if (fn(config, &text, &err))
        return tell(&err);
    (void)fwrite(text.data, 1, text.len, stdout);
    return 0;
}

int main(int argc, char **argv)
{
    owned(arena) struct arena arena = ARENA_NULL;
    struct config config;
    struct err err = ERR_NULL;
    enum log_level level;
    uint64_t seed;

    if (config_load(&config, argc, argv, &arena, &err))
        return tell(&err);
    if (config.show_help)
        return print_help();
    if (config.show_version) {
        puts("trimtabd " TRIMTAB_VERSION);
        return 0;
    }
    if (!log_level_from(str_c(config.log_level), &level)) {
        (void)err_set(&err, ERR_INVALID, "log_level is debug, info, warn or error");
        return tell(&err);
    }
    if (config.check_config)
        return 0;
    log_setup(STDERR_FILENO, level, strcmp(config.log_format, "json") == 0 ? LOG_JSON : LOG_TEXT);
    if (random_bytes(&seed, sizeof(seed)) == 0)
        hash_seed(seed);
    if (config.check)
        return keep_up(upkeep_check, &config);
    if (*config.restore)
        return keep_up(upkeep_restore, &config);
    if (*config.accept_loss)
        return keep_up(upkeep_accept_loss, &config);
    raise_file_limit();
    return serve(&config);
}
