/*
 * The settings of trimtab-agent: its bootstrap configuration (A3). What it receives is dynamic; what a sink may do on
 * this host (paths, commands, signals, owners) comes from here alone (I11).
 *
 *   servers = a:7700,b:7700            flat settings, also TRIMTAB_AGENT_SERVERS and --servers
 *   [scope "web"]                      what is wanted: namespaces by priority, kinds, names
 *   namespaces = web/edge,shared
 *   [files "nginx"]                    where files of a scope go
 *   scope = web
 *   target = /etc/nginx
 *   [segment "shop"]                   where values of a scope go, for programs of this host
 *   scope = shop
 *   file = /run/trimtab/shop.segment
 *   [health "nginx"]                   what judges whether what is served does
 *   http = http://127.0.0.1/healthz
 */
#ifndef TRIMTAB_AGENT_CONFIG_H
#define TRIMTAB_AGENT_CONFIG_H

#include "agent/health.h"
#include "base/settings.h"
#include "base/vec.h"
#include "model/scope.h"

#include <sys/types.h>

enum {
    CONFIG_SINKS_MAX = 64, /* of all sorts */
    CONFIG_HEALTH_MAX = 16,
    CONFIG_WORDS_MAX = 8,
    CONFIG_FILE_MAX = 1 << 20,
};

struct config_scope {
    struct str name;
    struct str *layers;
    size_t n_layers;
    struct str *kinds, *names;
    size_t n_kinds, n_names;
};

enum files_layout { FILES_PLAIN, FILES_SYMLINK };
/* What is done about files that others altered. */
enum files_on_edit { FILES_RESTORE, FILES_REPORT };

/* A [files] section. */
struct config_files {
    struct str name;
    struct str scope;
    const char *target;
    const char *check, *reload; /* command lines; NULL: none */
    int reload_signal;          /* 0: none */
    const char *pid_file, *program; /* NULL: not known */
    mode_t mode, folder_mode;
    bool has_mode; /* mode was said, so that no file keeps another one */
    mode_t modes;  /* what the annotation trimtab/mode may ask for */
    bool in_place; /* a file that is a mount of its own is written over */
    uid_t owner; /* (uid_t)-1: as the agent */
    gid_t group;
    enum files_layout layout;
    enum files_on_edit on_edit;
    bool replace_foreign;
    uint64_t check_timeout; /* ns; 0: the general one */
};

/* A [segment] section. */
struct config_segment {
    struct str name;
    struct str scope;
    const char *file;
    mode_t mode;
    uid_t owner; /* (uid_t)-1: as the agent */
    gid_t group;
    uint64_t max_bytes;
};

/* A [health] section: one of command and http. */
struct config_health {
    const char *name;
    const char *command, *http; /* NULL: not this one */
    uint64_t timeout;           /* ns, of one probe */
    struct judge_rules rules;
};

struct config {
    const char *servers, *token_file, *tls_ca, *tls_cert, *tls_key, *tls_server_name;
    const char *data_dir, *labels, *instance_id, *host, *admin_listen, *admin_address_file,
        *admin_token_file;
    const char *log_level, *log_format;
    uint64_t check_timeout, reload_timeout, verify_interval, retry_interval; /* ns */
    const char *mass_drop_min; /* taken and not used */
    bool tls;
    bool show_version, show_help, check_config;
    const char *config_file;

    const char *read_from; /* the file that was read; NULL: none */
    struct str text;       /* and what it was */
    const char **addresses;
    size_t n_addresses;
    struct pair *pairs; /* labels */
    size_t n_pairs;
    VEC(struct config_scope) scopes;
    VEC(struct config_files) files;
    VEC(struct config_segment) segments;
    VEC(struct config_health) health;
    const char
        *words[CONFIG_WORDS_MAX]; /* of the command line, besides the settings: a command */
    size_t n_words;
};

/* Reads file, environment and flags; texts live on the arena. ERR_INVALID, ERR_NOT_FOUND with the story. */
must_use int config_load(struct config *config, int argc, char **argv, struct arena *arena,
                         struct err *err);
void config_deinit(struct config *config);
void config_help(struct buf *out);

/* Where the token of the admin listener is; on the arena, which may fail. */
const char *config_admin_token_file(const struct config *config, struct arena *a);

#endif
