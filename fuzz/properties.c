/*
 * The check of properties files on any bytes. See syntax.h.
 */
#include "syntax.h"

FUZZ_SYNTAX("text/x-java-properties")
