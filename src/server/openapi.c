/*
 * The OpenAPI document, embedded from api/openapi.json.
 */
extern const char openapi_begin[], openapi_end[];

__asm__(".section .rodata\n"
        ".global openapi_begin\n"
        ".global openapi_end\n"
        "openapi_begin:\n"
        ".incbin \"" OPENAPI_FILE "\"\n"
        "openapi_end:\n"
        ".byte 0\n"
        ".previous\n");
