/*
 * The settings of trimtabd. docs/operations.md lists them; the table in config.c is their only source.
 */
#ifndef TRIMTAB_SERVER_HUB_CONFIG_H
#define TRIMTAB_SERVER_HUB_CONFIG_H

#include "base/settings.h"
#include "presence/attendance.h"

enum { CONFIG_LANES_MAX = ATTENDANCE_LANES_MAX };

struct config {
    const char *listen;          /* "127.0.0.1:7700", "[::1]:0" */
    const char *data_dir;
    const char *store;           /* "sqlite:/path"; empty: DATA_DIR/trimtab.db */
    const char *address_file;    /* where to write the address that it listens on; empty: nowhere */
    const char *tls_cert, *tls_key, *tls_client_ca;
    const char *tls_client_auth; /* none, optional, required */
    const char *tls_client_role;
    const char *allowed_hosts;   /* besides this machine's: names by which proxies ask, by commas */
    const char *log_level, *log_format;
    uint64_t bookmark_interval;  /* ns */
    uint64_t drain_timeout;      /* ns */
    uint64_t instance_keep;      /* ns */
    uint64_t ack_late;           /* ns */
    uint64_t lost_after;         /* ns */
    uint64_t rollout_settle;     /* ns */
    uint32_t lanes;              /* event loops; 0: as many as processors */
    uint32_t max_connections;
    uint32_t snapshot_records;
    bool show_version, show_help, check_config;
    bool check;                  /* prove the data folder, and leave */
    const char *restore;         /* a backup to make the database of; empty: none */
    bool delete_newer;           /* with restore and accept_loss: what subscribers have from later goes */
    const char *accept_loss;     /* the reason to go on with a log that lost records; empty: no */
    const char *config_file;
};

/*
 * Reads file, environment and flags into *config; texts live on the arena. ERR_INVALID, ERR_NOT_FOUND, ERR_DENIED
 * (not loopback, and no TLS) with the story.
 */
must_use int config_load(struct config *config, int argc, char **argv, struct arena *arena,
                         struct err *err);

void config_help(struct buf *out);

/* Whether an address reaches only this machine. */
bool config_is_loopback(const char *address);

#endif
