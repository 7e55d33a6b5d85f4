/*
 * The check of INI files on any bytes. See syntax.h.
 */
#include "syntax.h"

FUZZ_SYNTAX("text/x-ini")
