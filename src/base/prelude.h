/*
 * Prelude: the build puts this in front of every file, so the dialect and the feature macros cannot be
 * forgotten, and so that functions which have no safe use in this tree do not compile.
 */
#ifndef TRIMTAB_BASE_PRELUDE_H
#define TRIMTAB_BASE_PRELUDE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#ifndef __cplusplus
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Calls of these do not link under their own name, and the compiler says which was meant. */
#define BANNED(name) use_of_banned_##name
#undef strcpy
#define strcpy(...) BANNED(strcpy)
#undef strcat
#define strcat(...) BANNED(strcat)
#undef sprintf
#define sprintf(...) BANNED(sprintf)
#undef vsprintf
#define vsprintf(...) BANNED(vsprintf)
#undef strtok
#define strtok(...) BANNED(strtok)
#undef atoi
#define atoi(...) BANNED(atoi)
#undef rand
#define rand(...) BANNED(rand)
#undef gmtime
#define gmtime(...) BANNED(gmtime)
#undef localtime
#define localtime(...) BANNED(localtime)
#endif

#endif
