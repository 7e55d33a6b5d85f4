/*
 * Modes of published files, as the annotation trimtab/mode.
 */
#ifndef TRIMTAB_CLI_MODES_H
#define TRIMTAB_CLI_MODES_H

#include "base/vec.h"
#include "cli/cmd.h"

struct mode_of {
    Trimtab__V1__Change *change;
    unsigned mode;
};
struct modes {
    struct mode_of *at;
    size_t n, cap;
};

/* Fills in the metadata of those changes whose mode is another one than the resource has. */
must_use int modes_set(struct cli *cli, const char *space, const struct modes *modes,
                       struct err *err);

#endif
