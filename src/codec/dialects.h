/*
 * The dialects, for syntax.c: one value per file.
 */
#ifndef TRIMTAB_CODEC_DIALECTS_H
#define TRIMTAB_CODEC_DIALECTS_H

#include "base/err.h"
#include "base/str.h"

struct dialect {
    const char *name;
    int (*check)(struct str content, struct err *err); /* as syntax_check */
};

extern const struct dialect dialect_json;

#endif
