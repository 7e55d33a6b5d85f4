/*
 * The settings of trimtab-agent: the tables and where they are filled from. See config.h.
 */
#include "agent/config_health.h"

#include "base/file.h"
#include "shm/writer.h"

#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <unistd.h>

enum { PATH_BYTES_MAX = 4096 };

#define ROW(field, type, standard, help)                                                       \
    {                                                                                          \
#field, SETTING_##type, offsetof(struct config, field), standard, help                 \
    }

static const struct setting table[] = {
    ROW(servers, TEXT, "127.0.0.1:7700", "addresses of servers, separated by commas"),
    ROW(token_file, TEXT, "", "file with the token, one line"),
    ROW(tls, BOOL, "false", "encrypt; implied by tls_ca and tls_cert"),
    ROW(tls_ca, TEXT, "", "authority of the servers' certificates, PEM; empty: the system's"),
    ROW(tls_cert, TEXT, "", "certificate of this agent, PEM"),
    ROW(tls_key, TEXT, "", "its private key, PEM"),
    ROW(tls_server_name, TEXT, "",
        "name in the servers' certificates, if not that of the address"),
    ROW(data_dir, TEXT, "/var/lib/trimtab-agent", "folder of the local copy"),
    ROW(labels, TEXT, "", "labels of this instance: env:prod,zone:a"),
    ROW(instance_id, TEXT, "", "id of this instance; empty: made once and kept in data_dir"),
    ROW(host, TEXT, "", "name of this host; empty: the system's"),
    ROW(admin_listen, TEXT, "",
        "address for /healthz, /status, /metrics and /v1/health; empty: none"),
    ROW(admin_address_file, TEXT, "",
        "file that gets that address, once it listens (for port 0)"),
    ROW(admin_token_file, TEXT, "",
        "file with the token for POST there; made if missing; empty: data_dir/admin.token"),
    ROW(check_timeout, DURATION, "10s", "how long a check command may take"),
    ROW(reload_timeout, DURATION, "30s", "how long a reload command may take"),
    ROW(verify_interval, DURATION, "1m", "how often what is held is proved anew"),
    ROW(retry_interval, DURATION, "1m",
        "how often what was refused for its content is tried again"),
    ROW(mass_drop_min, TEXT, "",
        "without effect, for files of older versions: nothing is deleted without a cause"),
    ROW(log_level, TEXT, "info", "debug, info, warn or error"),
    ROW(log_format, TEXT, "text", "text or json"),
    ROW(config_file, TEXT, "",
        "file with these settings and the sections [scope], [files], [segment] and [health]"),
    ROW(check_config, BOOL, "false",
        "check the settings, and that what they name is there, and leave"),
    ROW(show_version, BOOL, "false", "also --version: print the version and leave"),
    ROW(show_help, BOOL, "false", "also --help: print this and leave"),
};

/* What is being read. */
struct reading {
    struct config *config;
    struct arena *arena;
    struct settings settings;
};

void config_help(struct buf *out)
{
    struct settings s = {table, ARRAY_LEN(table), NULL, NULL, "TRIMTAB_AGENT"};

    buf_put_c(
        out,
        "usage: trimtab-agent [--setting=value ...]\n"
        "       trimtab-agent [--setting=value ...] health ok\n"
        "       trimtab-agent [--setting=value ...] health failing [-m REASON]\n\n"
        "The Trimtab agent: keeps this host's configuration, and delivers it to files\n"
        "and to segments, which programs read without a network.\n"
        "The second and third form tell the agent that runs here (its admin_listen) whether\n"
        "what it serves does.\n"
        "Each setting can stand in the file of --config_file, in the environment as\n"
        "TRIMTAB_AGENT_SETTING, or here; the later is stronger.\n\n");
    settings_help(&s, out);
    buf_put_c(
        out,
        "\nSections of the file:\n"
        "  [scope \"NAME\"]  namespaces = a/b,c   kinds = file   names = *.conf,conf.d/*\n"
        "  [files \"NAME\"]  scope = NAME   target = /folder   mode = 0644   folder_mode "
        "= 0755\n"
        "                  owner = USER   group = GROUP   layout = plain|symlink\n"
        "                  check = COMMAND with {stage}   check_timeout = 10s\n"
        "                  reload = COMMAND, or reload_signal = HUP and pid_file = FILE\n"
        "                  program = NAME of the program that pid_file is of\n"
        "                  replace_foreign = no|yes   on_edit = restore|report\n"
        "                  modes = 0755, what trimtab/mode may ask for   in_place = yes|no\n"
        "  [segment \"NAME\"] scope = NAME   file = /folder/name   mode = 0640\n"
        "                  owner = USER   group = GROUP   max_bytes = 256MiB\n"
        "  [health \"NAME\"] command = COMMAND, or http = http://HOST:PORT/PATH\n"
        "                  every = 10s   timeout = 5s   failures = 3   successes = 1\n"
        "                  settle = 0s   retry = 1s\n");
}

const char *config_admin_token_file(const struct config *config, struct arena *a)
{
    owned(buf) struct buf path = BUF_NULL(PATH_BYTES_MAX);

    if (*config->admin_token_file)
        return config->admin_token_file;
    buf_printf(&path, "%s/admin.token", config->data_dir);
    if (buf_status(&path))
        a->failed = true;
    return arena_c(a, buf_str(&path));
}

/* ---- values ---- */

/* The pieces between commas, without spaces around them; empty ones are left out. */
static int take_list(struct arena *a, struct str value, struct str **ret, size_t *ret_n)
{
    size_t n = 1;
    struct str rest = value, piece;

    for (size_t i = 0; i < value.len; i++)
        n += value.data[i] == ',';
    *ret = ARENA_ARRAY(a, struct str, n);
    *ret_n = 0;
    while (*ret && str_next(&rest, ',', &piece)) {
        piece = str_trim(piece);
        if (piece.len)
            (*ret)[(*ret_n)++] = arena_str(a, piece);
    }
    return arena_failed(a) ? ERR_NOMEM : 0;
}

static int wrong(const char *key, struct str value, const char *hint, struct err *err)
{
    (void)err_set(err, ERR_INVALID, "%s cannot be \"%.*s\"", key, STR_ARG(value));
    err_hint(err, "%s", hint);
    return ERR_INVALID;
}

static int take_mode(const char *key, struct str value, mode_t *ret, struct err *err)
{
    mode_t mode = 0;

    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] < '0' || value.data[i] > '7')
            return wrong(key, value, "it takes an octal number such as 0644", err);
        mode = mode * 8 + (mode_t)(value.data[i] - '0');
    }
    if (!value.len || mode > 07777)
        return wrong(key, value, "it takes an octal number such as 0644", err);
    *ret = mode;
    return 0;
}

static int take_signal(struct str value, int *ret, struct err *err)
{
    static const struct {
        struct str name;
        int number;
    } names[] = {{STR("HUP"), SIGHUP}, {STR("USR1"), SIGUSR1}, {STR("USR2"), SIGUSR2},
                 {STR("INT"), SIGINT}, {STR("TERM"), SIGTERM}, {STR("WINCH"), SIGWINCH}};
    struct str bare = str_starts(value, STR("SIG")) ? str_from(value, 3) : value;

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq(names[i].name, bare)) {
            *ret = names[i].number;
            return 0;
        }
    return wrong("reload_signal", value, "it takes HUP, USR1, USR2, INT, TERM or WINCH", err);
}

static int take_yes(const char *key, struct str value, bool *ret, struct err *err)
{
    if (!str_eq(value, STR("yes")) && !str_eq(value, STR("no")))
        return wrong(key, value, "it takes yes or no", err);
    *ret = str_eq(value, STR("yes"));
    return 0;
}

static int take_owner(struct arena *a, struct str value, uid_t *ret, struct err *err)
{
    const struct passwd *p = getpwnam(arena_c(a, value));
    uint64_t number;

    if (!p && !(str_u64(value, &number) && number < UINT32_MAX))
        return wrong("owner", value, "there is no such user", err);
    *ret = p ? p->pw_uid : (uid_t)number;
    return 0;
}

static int take_group(struct arena *a, struct str value, gid_t *ret, struct err *err)
{
    const struct group *g = getgrnam(arena_c(a, value));
    uint64_t number;

    if (!g && !(str_u64(value, &number) && number < UINT32_MAX))
        return wrong("group", value, "there is no such group", err);
    *ret = g ? g->gr_gid : (gid_t)number;
    return 0;
}

/* ---- sections ---- */

static int begin_scope(struct reading *r, struct str label, struct err *err)
{
    struct config *c = r->config;

    for (size_t i = 0; i < c->scopes.n; i++)
        if (str_eq(c->scopes.at[i].name, label))
            return err_set(err, ERR_INVALID, "a second [scope \"%.*s\"]", STR_ARG(label));
    return VEC_PUSH(&c->scopes, (struct config_scope){.name = arena_str(r->arena, label)})
               ? 0
               : ERR_NOMEM;
}

/* Sinks of all sorts have names of their own: what is told of one shall be clear. */
static int check_sink_name(const struct config *c, struct str label, struct err *err)
{
    if (c->files.n + c->segments.n >= CONFIG_SINKS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d [files] and [segment] sections",
                       CONFIG_SINKS_MAX);
    for (size_t i = 0; i < c->files.n; i++)
        if (str_eq(c->files.at[i].name, label))
            return err_set(err, ERR_INVALID, "there is a [files \"%.*s\"] already",
                           STR_ARG(label));
    for (size_t i = 0; i < c->segments.n; i++)
        if (str_eq(c->segments.at[i].name, label))
            return err_set(err, ERR_INVALID, "there is a [segment \"%.*s\"] already",
                           STR_ARG(label));
    return 0;
}

static int begin_segment(struct reading *r, struct str label, struct err *err)
{
    struct config *c = r->config;
    struct config_segment s = {.name = arena_str(r->arena, label),
                               .mode = 0640,
                               .owner = (uid_t)-1,
                               .group = (gid_t)-1,
                               .max_bytes = 256 * MIB};
    int result;

    if (!label.len)
        return err_set(err, ERR_INVALID,
                       "a [segment] section needs a name: [segment \"shop\"]");
    result = check_sink_name(c, label, err);
    if (result)
        return result;
    return VEC_PUSH(&c->segments, s) ? 0 : ERR_NOMEM;
}

static int begin_files(struct reading *r, struct str label, struct err *err)
{
    struct config *c = r->config;
    struct config_files f = {.name = arena_str(r->arena, label),
                             .mode = 0644,
                             .modes = 0755,
                             .in_place = true,
                             .folder_mode = 0755,
                             .owner = (uid_t)-1,
                             .group = (gid_t)-1};
    int result;

    if (!label.len)
        return err_set(err, ERR_INVALID, "a [files] section needs a name: [files \"nginx\"]");
    result = check_sink_name(c, label, err);
    if (result)
        return result;
    return VEC_PUSH(&c->files, f) ? 0 : ERR_NOMEM;
}

static int scope_line(struct reading *r, struct str key, struct str value, struct err *err)
{
    struct config_scope *s = &r->config->scopes.at[r->config->scopes.n - 1];

    if (str_eq(key, STR("namespaces")))
        return take_list(r->arena, value, &s->layers, &s->n_layers);
    if (str_eq(key, STR("kinds")))
        return take_list(r->arena, value, &s->kinds, &s->n_kinds);
    if (str_eq(key, STR("names")))
        return take_list(r->arena, value, &s->names, &s->n_names);
    (void)err_set(err, ERR_NOT_FOUND, "a scope has no setting \"%.*s\"", STR_ARG(key));
    err_hint(err, "it has namespaces, kinds and names");
    return ERR_NOT_FOUND;
}

static int files_text(struct reading *r, struct config_files *f, struct str key,
                      struct str value, bool *ret_known)
{
    struct {
        struct str name;
        const char **field;
    } texts[] = {{STR("target"), &f->target},
                 {STR("check"), &f->check},
                 {STR("reload"), &f->reload},
                 {STR("pid_file"), &f->pid_file},
                 {STR("program"), &f->program}};

    *ret_known = true;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (str_eq(texts[i].name, key)) {
            *texts[i].field = value.len ? arena_c(r->arena, value) : NULL;
            return arena_failed(r->arena) ? ERR_NOMEM : 0;
        }
    *ret_known = false;
    return 0;
}

static int files_layout(struct config_files *f, struct str value, struct err *err)
{
    if (!str_eq(value, STR("plain")) && !str_eq(value, STR("symlink")))
        return wrong("layout", value, "it takes plain or symlink", err);
    f->layout = str_eq(value, STR("symlink")) ? FILES_SYMLINK : FILES_PLAIN;
    return 0;
}

static int files_on_edit(struct config_files *f, struct str value, struct err *err)
{
    if (!str_eq(value, STR("restore")) && !str_eq(value, STR("report")))
        return wrong("on_edit", value, "it takes restore or report", err);
    f->on_edit = str_eq(value, STR("report")) ? FILES_REPORT : FILES_RESTORE;
    return 0;
}

static int files_line(struct reading *r, struct str key, struct str value, struct err *err)
{
    struct config_files *f = &r->config->files.at[r->config->files.n - 1];
    bool known;
    int result = files_text(r, f, key, value, &known);

    if (known)
        return result;
    if (str_eq(key, STR("scope"))) {
        f->scope = arena_str(r->arena, value);
        return arena_failed(r->arena) ? ERR_NOMEM : 0;
    }
    if (str_eq(key, STR("mode"))) {
        f->has_mode = true;
        return take_mode("mode", value, &f->mode, err);
    }
    if (str_eq(key, STR("modes")))
        return take_mode("modes", value, &f->modes, err);
    if (str_eq(key, STR("in_place")))
        return take_yes("in_place", value, &f->in_place, err);
    if (str_eq(key, STR("folder_mode")))
        return take_mode("folder_mode", value, &f->folder_mode, err);
    if (str_eq(key, STR("owner")))
        return take_owner(r->arena, value, &f->owner, err);
    if (str_eq(key, STR("group")))
        return take_group(r->arena, value, &f->group, err);
    if (str_eq(key, STR("layout")))
        return files_layout(f, value, err);
    if (str_eq(key, STR("on_edit")))
        return files_on_edit(f, value, err);
    if (str_eq(key, STR("reload_signal")))
        return take_signal(value, &f->reload_signal, err);
    if (str_eq(key, STR("replace_foreign")))
        return take_yes("replace_foreign", value, &f->replace_foreign, err);
    if (str_eq(key, STR("check_timeout")))
        return str_duration(value, &f->check_timeout)
                   ? 0
                   : wrong("check_timeout", value, "it takes a duration such as 10s", err);
    return err_set(err, ERR_NOT_FOUND, "a [files] section has no setting \"%.*s\"",
                   STR_ARG(key));
}

static int segment_line(struct reading *r, struct str key, struct str value, struct err *err)
{
    struct config_segment *s = &r->config->segments.at[r->config->segments.n - 1];

    if (str_eq(key, STR("scope"))) {
        s->scope = arena_str(r->arena, value);
        return arena_failed(r->arena) ? ERR_NOMEM : 0;
    }
    if (str_eq(key, STR("file"))) {
        s->file = arena_c(r->arena, value);
        return arena_failed(r->arena) ? ERR_NOMEM : 0;
    }
    if (str_eq(key, STR("mode")))
        return take_mode("mode", value, &s->mode, err);
    if (str_eq(key, STR("owner")))
        return take_owner(r->arena, value, &s->owner, err);
    if (str_eq(key, STR("group")))
        return take_group(r->arena, value, &s->group, err);
    if (str_eq(key, STR("max_bytes")))
        return str_bytes(value, &s->max_bytes)
                   ? 0
                   : wrong("max_bytes", value, "it takes a size such as 256MiB", err);
    (void)err_set(err, ERR_NOT_FOUND, "a [segment] section has no setting \"%.*s\"",
                  STR_ARG(key));
    err_hint(err, "it has scope, file, mode, owner, group and max_bytes");
    return ERR_NOT_FOUND;
}

static int begin_health(struct reading *r, struct str label, struct err *err)
{
    return config_health_begin(r->config, r->arena, label, err);
}

static int health_line(struct reading *r, struct str key, struct str value, struct err *err)
{
    return config_health_line(r->config, r->arena, key, value, err);
}

static int take_line(void *ctx, struct str section, struct str label, struct str key,
                     struct str value, struct err *err)
{
    static const struct {
        struct str name;
        int (*begin)(struct reading *r, struct str label, struct err *err);
        int (*line)(struct reading *r, struct str key, struct str value, struct err *err);
    } sections[] = {{STR("scope"), begin_scope, scope_line},
                    {STR("files"), begin_files, files_line},
                    {STR("segment"), begin_segment, segment_line},
                    {STR("health"), begin_health, health_line}};
    struct reading *r = ctx;

    if (!section.len)
        return settings_set(&r->settings, key, value, err);
    for (size_t i = 0; i < ARRAY_LEN(sections); i++)
        if (str_eq(sections[i].name, section))
            return key.len ? sections[i].line(r, key, value, err)
                           : sections[i].begin(r, label, err);
    (void)err_set(err, ERR_NOT_FOUND, "there is no section [%.*s]", STR_ARG(section));
    err_hint(err,
             "there are [scope \"name\"], [files \"name\"], [segment \"name\"] and [health "
             "\"name\"]");
    return ERR_NOT_FOUND;
}

/* ---- what must hold ---- */

static int check_scopes(const struct config *c, struct err *err)
{
    if (c->scopes.n == 0) {
        (void)err_set(err, ERR_INVALID, "nothing is subscribed to");
        err_hint(err, "the configuration file needs a [scope \"name\"] section");
        return ERR_INVALID;
    }
    for (size_t i = 0; i < c->scopes.n; i++)
        if (!c->scopes.at[i].n_layers)
            return err_set(err, ERR_INVALID, "[scope \"%.*s\"] needs namespaces",
                           STR_ARG(c->scopes.at[i].name));
    return 0;
}

static int check_scope_of(const struct config *c, struct str scope, struct err *err)
{
    bool found = false;

    for (size_t i = 0; i < c->scopes.n; i++)
        found |= str_eq(c->scopes.at[i].name, scope);
    return found ? 0
                 : err_set(err, ERR_INVALID, "there is no [scope \"%.*s\"]", STR_ARG(scope));
}

/* Only root gives files away. */
static int check_owner(uid_t owner, gid_t group, struct err *err)
{
    if ((owner == (uid_t)-1 && group == (gid_t)-1) || geteuid() == 0)
        return 0;
    return err_set(err, ERR_INVALID,
                   "owner and group can only be set by an agent that runs as root");
}

/* Readers refuse a segment that others than its owner may write to, and the writer names of some forms. */
static int check_segment(const struct config *c, const struct config_segment *s,
                         struct err *err)
{
    const char *name = s->file ? strrchr(s->file, '/') : NULL;
    int result = check_scope_of(c, s->scope, err);

    if (result)
        return result;
    if (!name || s->file[0] != '/' || !name[1] || name[1] == '.' || strlen(name) > SHM_NAME_MAX)
        return err_set(
            err, ERR_INVALID,
            "file must be an absolute path, whose name does not begin with \".\" and "
            "has at most %d bytes",
            SHM_NAME_MAX);
    if (s->mode & ~(mode_t)0755)
        return err_set(err, ERR_INVALID,
                       "mode %03o: others than the owner must not write to a segment",
                       (unsigned)s->mode);
    for (size_t i = 0; i < c->segments.n; i++)
        if (&c->segments.at[i] != s && c->segments.at[i].file &&
            strcmp(c->segments.at[i].file, s->file) == 0)
            return err_set(err, ERR_INVALID, "two [segment] sections have the file %s",
                           s->file);
    return check_owner(s->owner, s->group, err);
}

static int check_files(const struct config *c, const struct config_files *f, struct err *err)
{
    int result = check_scope_of(c, f->scope, err);

    if (result)
        return result;
    if (!f->target || f->target[0] != '/' || !f->target[1])
        return err_set(err, ERR_INVALID, "target must be an absolute path");
    if (f->reload && f->reload_signal)
        return err_set(err, ERR_INVALID, "reload or reload_signal, not both");
    if (!f->reload_signal != !f->pid_file)
        return err_set(err, ERR_INVALID, "reload_signal and pid_file are needed together");
    if (f->program && !f->pid_file)
        return err_set(err, ERR_INVALID, "program is the name of what pid_file is of");
    result = check_owner(f->owner, f->group, err);
    if (result)
        return result;
    for (size_t i = 0; i < c->files.n; i++)
        if (&c->files.at[i] != f && c->files.at[i].target &&
            strcmp(c->files.at[i].target, f->target) == 0)
            return err_set(err, ERR_INVALID, "two [files] sections have the target %s",
                           f->target);
    return 0;
}

static int check(const struct config *c, struct err *err)
{
    int r = check_scopes(c, err);

    for (size_t i = 0; i < c->files.n && !r; i++) {
        r = check_files(c, &c->files.at[i], err);
        if (r)
            err_place(err, "[files \"%.*s\"]", STR_ARG(c->files.at[i].name));
    }
    for (size_t i = 0; i < c->segments.n && !r; i++) {
        r = check_segment(c, &c->segments.at[i], err);
        if (r)
            err_place(err, "[segment \"%.*s\"]", STR_ARG(c->segments.at[i].name));
    }
    if (!r)
        r = config_health_check(c, err);
    if (!r && !*c->tls_cert != !*c->tls_key)
        r = err_set(err, ERR_INVALID, "tls_cert and tls_key are needed together");
    if (!r && strcmp(c->log_format, "text") != 0 && strcmp(c->log_format, "json") != 0)
        r = err_set(err, ERR_INVALID, "log_format is text or json");
    if (!r && (c->verify_interval < 1000000 || c->retry_interval < 1000000))
        r = err_set(err, ERR_INVALID, "verify_interval and retry_interval are at least 1ms");
    return r;
}

/* ---- lists in flat settings ---- */

static int split_servers(struct config *c, struct arena *a, struct err *err)
{
    struct str *list;
    size_t n;
    int r = take_list(a, str_c(c->servers), &list, &n);

    if (r)
        return r;
    if (!n)
        return err_set(err, ERR_INVALID, "servers is empty");
    c->addresses = ARENA_ARRAY(a, const char *, n);
    for (size_t i = 0; i < n && c->addresses; i++)
        c->addresses[c->n_addresses++] = arena_c(a, list[i]);
    return arena_failed(a) ? ERR_NOMEM : 0;
}

static int split_labels(struct config *c, struct arena *a, struct err *err)
{
    struct str *list;
    size_t n;
    int r = take_list(a, str_c(c->labels), &list, &n);

    if (r)
        return r;
    c->pairs = ARENA_ARRAY(a, struct pair, n);
    for (size_t i = 0; i < n && c->pairs; i++) {
        size_t colon = MIN(str_index(list[i], ':'), str_index(list[i], '='));

        if (colon == list[i].len || colon == 0)
            return wrong("labels", list[i], "a label is key:value", err);
        c->pairs[c->n_pairs++] =
            (struct pair){str_part(list[i], 0, colon), str_from(list[i], colon + 1)};
    }
    return arena_failed(a) ? ERR_NOMEM : 0;
}

/* ---- loading ---- */

static int take_file(struct reading *r, const char *path, struct err *err)
{
    owned(buf) struct buf text = BUF_NULL(CONFIG_FILE_MAX);
    int result = file_read(path, &text, err);

    r->config->read_from = arena_c(r->arena, str_c(path));
    r->config->text = arena_str(r->arena, buf_str(&text));
    return result ? result : settings_parse(buf_str(&text), path, take_line, r, err);
}

/* Where the file is must be known before it is read, and it is weaker than what names it. */
static const char *find_file(int argc, char **argv)
{
    static char version[] = "--show_version", help[] = "--show_help";
    const char *path = getenv("TRIMTAB_AGENT_CONFIG_FILE");

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

void config_deinit(struct config *config)
{
    VEC_DEINIT(&config->scopes);
    VEC_DEINIT(&config->files);
    VEC_DEINIT(&config->segments);
    VEC_DEINIT(&config->health);
}

/* Settings may stand before, between and behind the words of a command. */
static int take_flags(struct reading *r, int argc, char **argv, struct err *err)
{
    struct config *c = r->config;
    int at = 1, result = settings_flags(&r->settings, argc, argv, &at, err);

    while (!result && at < argc) {
        if ((c->n_words == 0 && strcmp(argv[at], "health") != 0) ||
            c->n_words == CONFIG_WORDS_MAX)
            return err_set(err, ERR_INVALID, "unexpected word \"%s\" on the command line",
                           argv[at]);
        c->words[c->n_words++] = argv[at++];
        result = settings_flags(&r->settings, argc, argv, &at, err);
    }
    return result;
}

int config_load(struct config *config, int argc, char **argv, struct arena *arena,
                struct err *err)
{
    static const char standard_file[] = "/etc/trimtab/agent.conf";
    struct reading reading = {
        config, arena, {table, ARRAY_LEN(table), config, arena, "TRIMTAB_AGENT"}};
    const char *path = find_file(argc, argv);
    int r;

    *config = (struct config){.servers = NULL};
    r = settings_standard(&reading.settings, err);
    if (!r && !path && access(standard_file, R_OK) == 0)
        path = standard_file;
    if (!r && path)
        r = take_file(&reading, path, err);
    if (!r)
        r = settings_env(&reading.settings, err);
    if (!r)
        r = take_flags(&reading, argc, argv, err);
    if (r || config->show_help || config->show_version)
        return r;
    r = split_servers(config, arena, err);
    if (!r)
        r = split_labels(config, arena, err);
    return r ? r : check(config, err);
}
