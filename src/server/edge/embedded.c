/*
 * Documents that are part of the program. See embedded.h.
 */
#include "server/edge/embedded.h"

extern const char openapi_begin[], openapi_end[], descriptors_begin[], descriptors_end[];

#define EMBED(name, file)                                                                      \
    __asm__(".section .rodata\n"                                                               \
            ".global " name "_begin\n"                                                         \
            ".global " name "_end\n" name "_begin:\n"                                          \
            ".incbin \"" file "\"\n" name "_end:\n"                                            \
            ".byte 0\n"                                                                        \
            ".previous\n")

EMBED("openapi", OPENAPI_FILE);
EMBED("descriptors", DESCRIPTORS_FILE);

struct str embedded_openapi(void)
{
    return str_of(openapi_begin, (size_t)(openapi_end - openapi_begin));
}

struct str embedded_descriptors(void)
{
    return str_of(descriptors_begin, (size_t)(descriptors_end - descriptors_begin));
}
