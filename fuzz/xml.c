/*
 * The check of XML on any bytes. See syntax.h.
 */
#include "syntax.h"

FUZZ_SYNTAX("application/xml")
