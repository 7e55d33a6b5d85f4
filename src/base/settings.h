/*
 * Settings of a program: one table gives names, types, defaults and help; a file, the environment and the command
 * line set them, each stronger than the one before.
 *
 *   file         key = value          '#' and ';' begin comments; [section "name"] lines are the program's own
 *   environment  PREFIX_KEY=value     TRIMTABD_LISTEN=...
 *   flags        --key=value, --key value, --flag for booleans; '-' and '_' are the same
 */
#ifndef TRIMTAB_BASE_SETTINGS_H
#define TRIMTAB_BASE_SETTINGS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

enum setting_type {
    SETTING_TEXT,     /* const char * */
    SETTING_BOOL,     /* bool: true, false, yes, no, 1, 0 */
    SETTING_U32,      /* uint32_t */
    SETTING_DURATION, /* uint64_t, nanoseconds: 250ms, 10s, 5m, 2h */
    SETTING_BYTES,    /* uint64_t: 100, 64KiB, 8MiB */
};

struct setting {
    const char *name; /* lower case with '_' */
    enum setting_type type;
    size_t offset; /* of the field in the program's struct */
    const char *standard;
    const char *help;
};

struct settings {
    const struct setting *table;
    size_t n;
    void *object;           /* the program's struct */
    struct arena *arena;    /* texts live here */
    const char *env_prefix; /* "TRIMTABD" */
};

/* Sets every field to its standard value. ERR_NOMEM, ERR_BUG for a standard that is none. */
must_use int settings_standard(const struct settings *s, struct err *err);

/* ERR_NOT_FOUND (no such setting, with the nearest name as hint), ERR_INVALID (the value), ERR_NOMEM. */
must_use int settings_set(const struct settings *s, struct str name, struct str value,
                          struct err *err);

/* Takes what the environment sets. */
must_use int settings_env(const struct settings *s, struct err *err);

/*
 * One line of a file. section is "" before the first section line; label is the quoted word of it. For section "" the
 * program usually calls settings_set.
 */
typedef int settings_line_fn(void *ctx, struct str section, struct str label, struct str key,
                             struct str value, struct err *err);

/*
 * Reads a text of settings; name is for error messages. Also calls fn with an empty key for each section line.
 * ERR_INVALID with place, line and column.
 */
must_use int settings_parse(struct str text, const char *name, settings_line_fn *fn, void *ctx,
                            struct err *err);

/*
 * Takes flags out of argv from *at on, up to the first word that is no flag or after "--". *at is its index. Leaves a
 * flag that the table does not have to the caller: ERR_NOT_FOUND.
 */
must_use int settings_flags(const struct settings *s, int argc, char **argv, int *at,
                            struct err *err);

/* Help lines: "  --name=TYPE (default)  help". */
void settings_help(const struct settings *s, struct buf *out);

#endif
