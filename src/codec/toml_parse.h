/*
 * The calls into toml++, which is C++: no exception and no type of it gets out.
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

/*
 * Where a key was before: a key as it is written, bare, quoted or dotted, that stands behind text, which is good so far but
 * for the brackets that `closing` closes. It is looked for in the table that is open there, or from the root (is_header). Of
 * a dotted key the last part that is there counts. 1 when it was found, else 0.
 */
struct toml_key {
    const char *text, *key, *closing;
    size_t text_len, key_len;
    int is_header;
};
int toml_find(const struct toml_key *k, uint32_t *ret_line, uint32_t *ret_column);

#ifdef __cplusplus
}
#endif

#endif
