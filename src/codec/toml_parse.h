/*
 * The one call into toml++, which is C++: no exception and no type of it gets out.
 */
#ifndef TRIMTAB_CODEC_TOML_PARSE_H
#define TRIMTAB_CODEC_TOML_PARSE_H

#include <stddef.h>
#include <stdint.h>

enum { TOML_GOOD, TOML_BAD, TOML_NO_MEMORY };

struct toml_fault {
    uint32_t line, column; /* as toml++ tells it: often of the character after the fault */
    char text[300];
};

#ifdef __cplusplus
extern "C" {
#endif

/* TOML_GOOD, TOML_BAD with the fault, TOML_NO_MEMORY. text must be UTF-8. */
int toml_parse(const char *text, size_t len, struct toml_fault *ret_fault);

#ifdef __cplusplus
}
#endif

#endif
