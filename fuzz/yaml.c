/*
 * The check of YAML on any bytes. See syntax.h.
 */
#include "syntax.h"

FUZZ_SYNTAX("application/yaml")
