/*
 * The check of JSON with comments on any bytes. See syntax.h.
 */
#include "syntax.h"

FUZZ_SYNTAX("application/jsonc")
