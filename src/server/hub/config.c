/*
 * The settings of trimtabd: the table and where it is filled from. See config.h.
 */
#include "server/hub/config.h"

#include "base/file.h"

enum { CONFIG_FILE_MAX = 1 << 20 };

#define ROW(field, type, standard, help)                                                       \
    {#field, SETTING_##type, offsetof(struct config, field), standard, help}

static const struct setting table[] = {
    ROW(listen, TEXT, "127.0.0.1:7700", "address and port for REST, gRPC and subscriptions"),
    ROW(data_dir, TEXT, "/var/lib/trimtab", "folder of the database and the tokens"),
    ROW(store, TEXT, "", "sqlite:/path or mem:; empty for trimtab.db in the data folder"),
    ROW(address_file, TEXT, "", "file that gets the address, once it listens (for port 0)"),
    ROW(tls_cert, TEXT, "", "certificate chain, PEM"),
    ROW(tls_key, TEXT, "", "its private key, PEM"),
    ROW(tls_client_ca, TEXT, "", "authority of client certificates, PEM"),
    ROW(tls_client_auth, TEXT, "optional", "with tls_client_ca: none, optional or required"),
    ROW(tls_client_role, TEXT, "agent", "role of a client with a certificate and without a token"),
    ROW(allowed_hosts, TEXT, "", "host names by which proxies and browsers may ask, by commas; * for all"),
    ROW(log_level, TEXT, "info", "debug, info, warn or error"),
    ROW(log_format, TEXT, "text", "text or json"),
    ROW(bookmark_interval, DURATION, "5s", "how often an idle subscriber gets a bookmark"),
    ROW(drain_timeout, DURATION, "10s", "how long a stopping server waits for requests"),
    ROW(instance_keep, DURATION, "1d", "how long an offline instance is listed"),
    ROW(ack_late, DURATION, "30s", "after that an instance that has not answered is silent"),
    ROW(lost_after, DURATION, "2m", "after that an instance that is offline is lost"),
    ROW(rollout_settle, DURATION, "60s", "how long rollouts wait for instances after a start"),
    ROW(lanes, U32, "0", "event loops that serve connections, each on a thread; 0: as many as processors"),
    ROW(max_connections, U32, "50000", "open connections at one time"),
    ROW(snapshot_records, U32, "0", "commits between two snapshots at most; 0: as the log grows"),
    ROW(config_file, TEXT, "", "file with these settings, one per line: key = value"),
    ROW(check, BOOL, "false", "prove every record of the database, say what is damaged, and leave"),
    ROW(restore, TEXT, "", "backup file: make the database of it, as another store, and leave"),
    ROW(accept_loss, TEXT, "", "reason: go on with a log that lost records, as another store; leave"),
    ROW(delete_newer, BOOL, "false",
        "with restore or accept_loss: subscribers delete what the log does not know"),
    ROW(check_config, BOOL, "false", "check the settings and leave"),
    ROW(show_version, BOOL, "false", "also --version: print the version and leave"),
    ROW(show_help, BOOL, "false", "also --help: print this and leave"),
};

static struct settings settings_of(struct config *config, struct arena *arena)
{
    return (struct settings){table, ARRAY_LEN(table), config, arena, "TRIMTABD"};
}

void config_help(struct buf *out)
{
    struct settings s = {table, ARRAY_LEN(table), NULL, NULL, "TRIMTABD"};

    buf_put_c(out, "usage: trimtabd [--setting=value ...]\n\n"
                   "The Trimtab server. Each setting can stand in the file of --config_file, in the\n"
                   "environment as TRIMTABD_SETTING, or here; the later is stronger.\n\n");
    settings_help(&s, out);
}

static int take_line(void *ctx, struct str section, struct str label, struct str key,
                     struct str value, struct err *err)
{
    (void)label;
    if (section.len)
        return err_set(err, ERR_INVALID, "there are no sections in this file");
    return settings_set(ctx, key, value, err);
}

static int take_file(const struct settings *s, const char *path, struct err *err)
{
    owned(buf) struct buf text = BUF_NULL(CONFIG_FILE_MAX);
    int r = file_read(path, &text, err);

    return r ? r : settings_parse(buf_str(&text), path, take_line, (void *)(uintptr_t)s, err);
}

/* Where the file is must be known before it is read, and it is weaker than what names it. */
static const char *find_file(int argc, char **argv)
{
    static char version[] = "--show_version", help[] = "--show_help";
    const char *path = getenv("TRIMTABD_CONFIG_FILE");

    for (int i = 1; i < argc; i++) {
        struct str word = str_c(argv[i]);

        if (str_starts(word, STR("--config_file=")) || str_starts(word, STR("--config-file=")))
            path = argv[i] + strlen("--config_file=");
        else if ((str_eq(word, STR("--config_file")) || str_eq(word, STR("--config-file"))) &&
                 i + 1 < argc)
            path = argv[i + 1];
        else if (str_eq(word, STR("--version")))
            argv[i] = version;
        else if (str_eq(word, STR("--help")) || str_eq(word, STR("-h")))
            argv[i] = help;
    }
    return path && *path ? path : NULL;
}

bool config_is_loopback(const char *address)
{
    struct str a = str_c(address);

    return str_starts(a, STR("127.")) || str_starts(a, STR("[::1]")) ||
           str_starts(a, STR("localhost:")) || str_starts(a, STR("unix:"));
}

static bool is_one_of(const char *value, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(value, words[i]) == 0)
            return true;
    return false;
}

static int check(const struct config *c, struct err *err)
{
    static const char *const auth_words[] = {"none", "optional", "required"};
    static const char *const format_words[] = {"text", "json"};

    if (!*c->tls_cert != !*c->tls_key)
        return err_set(err, ERR_INVALID, "tls_cert and tls_key are needed together");
    if (!is_one_of(c->tls_client_auth, auth_words, ARRAY_LEN(auth_words)))
        return err_set(err, ERR_INVALID, "tls_client_auth is none, optional or required");
    if (!is_one_of(c->log_format, format_words, ARRAY_LEN(format_words)))
        return err_set(err, ERR_INVALID, "log_format is text or json");
    if (c->bookmark_interval < 1000000)
        return err_set(err, ERR_INVALID, "bookmark_interval is at least 1ms");
    if (c->lanes > CONFIG_LANES_MAX)
        return err_set(err, ERR_INVALID, "lanes is at most %d", CONFIG_LANES_MAX);
    if (!config_is_loopback(c->listen) && !*c->tls_cert) {
        (void)err_set(err, ERR_DENIED, "will not listen on %s without TLS", c->listen);
        err_hint(err, "give tls_cert and tls_key, or listen on 127.0.0.1");
        return ERR_DENIED;
    }
    return 0;
}

int config_load(struct config *config, int argc, char **argv, struct arena *arena, struct err *err)
{
    struct settings s = settings_of(config, arena);
    const char *path = find_file(argc, argv);
    int at = 1;
    int r = settings_standard(&s, err);

    if (!r && path)
        r = take_file(&s, path, err);
    if (!r)
        r = settings_env(&s, err);
    if (!r)
        r = settings_flags(&s, argc, argv, &at, err);
    if (!r && at < argc)
        r = err_set(err, ERR_INVALID, "unexpected word \"%s\" on the command line", argv[at]);
    if (!r && !*config->store) {
        owned(buf) struct buf url = BUF_NULL(4096);

        buf_printf(&url, "sqlite:%s/trimtab.db", config->data_dir);
        config->store = arena_c(arena, buf_str(&url));
        r = buf_status(&url);
    }
    return r || config->show_help || config->show_version ? r : check(config, err);
}
