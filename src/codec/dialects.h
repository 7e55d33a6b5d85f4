/*
 * The dialects, for syntax.c: one value per file. Each is given UTF-8 of at most SYNTAX_BYTES_MAX.
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
extern const struct dialect dialect_yaml;
extern const struct dialect dialect_toml;
extern const struct dialect dialect_properties;
extern const struct dialect dialect_ini;
extern const struct dialect dialect_xml;

#endif
