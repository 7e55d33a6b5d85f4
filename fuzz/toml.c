/*
 * The check of TOML on any bytes. See syntax.h.
 */
#include "syntax.h"

FUZZ_SYNTAX("application/toml")
