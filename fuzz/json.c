/*
 * The check of JSON on any bytes. See syntax.h.
 */
#include "syntax.h"

FUZZ_SYNTAX("application/json")
