/*
 * What is said of the content types of files, by flags and by the file .trimtab.json of a folder.
 */
#ifndef TRIMTAB_CLI_TYPING_H
#define TRIMTAB_CLI_TYPING_H

#include "cli/cmd.h"
#include "proto/json.h"

#define TYPING_FILE ".trimtab.json"

/*
 * Flags: --type TYPE or PATTERN=TYPE, of which the last that fits counts, and --as-is. The file of a folder has
 * {"types": {"PATTERN": "TYPE"}}, of which the longest pattern that fits counts; flags are stronger.
 */
struct typing {
    struct texts types;
    bool as_is;
};

#define TYPING_FLAGS(t)                                                                        \
    {"--type",  0,    "TYPE, or 'PATTERN=TYPE' for the files that fit: what they are",         \
     NULL,      NULL, NULL,                                                                    \
     &(t).types},                                                                              \
    {                                                                                          \
        "--as-is", 0, "take as text what is not what its name says, and remember that", NULL,  \
            &(t).as_is, NULL, NULL                                                             \
    }

/* Whether each of the flags is a type. ERR_INVALID. */
must_use int typing_check(const struct typing *t, struct err *err);

/*
 * Reads the types of a folder out of its .trimtab.json. ret_types is NULL where there is none, else freed by json_decref.
 * ERR_INVALID with the place.
 */
must_use int typing_read(struct str content, const char *path, json_t **ret_types,
                         struct err *err);

/* Says of a change what is known of its file. types may be NULL. */
void typing_apply(struct cli *cli, const struct typing *t, json_t *types,
                  Trimtab__V1__Change *change);

#endif
