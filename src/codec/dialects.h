/*
 * The dialects, for syntax.c: one value per file. Each is given at most SYNTAX_BYTES_MAX, of UTF-8.
 */
#ifndef TRIMTAB_CODEC_DIALECTS_H
#define TRIMTAB_CODEC_DIALECTS_H

#include "base/err.h"
#include "base/str.h"

struct dialect {
    const char *name;
    int (*check)(struct str content, struct err *err); /* as syntax_check */
    bool decodes; /* it finds out the encoding itself: any bytes may come */
};

extern const struct dialect dialect_json;
extern const struct dialect dialect_jsonc; /* JSON with comments */
extern const struct dialect dialect_yaml;
extern const struct dialect dialect_toml;
extern const struct dialect dialect_properties;
extern const struct dialect dialect_ini;
extern const struct dialect dialect_xml;

#endif
