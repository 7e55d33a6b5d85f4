/*
 * Pid files: tells the program whose id a file holds, and nobody else. A pid file may be older than the process that has
 * its number now; so the process is held by a descriptor, and proved to be the one that is meant: by the name of its
 * program where the configuration gives one, else by having been there when the file was written.
 */
#ifndef TRIMTAB_AGENT_PID_FILE_H
#define TRIMTAB_AGENT_PID_FILE_H

#include "base/err.h"

/* PID_FILE_NONE: there is no such file, so the program does not run, and will read what is there when it starts. */
enum { PID_FILE_TOLD = 0, PID_FILE_NONE = 1 };

/*
 * program NULL: not known. ERR_INVALID: it holds no process id. ERR_NOT_FOUND: no such process, or it is another program.
 * ERR_IO: the signal could not be sent.
 */
must_use int pid_file_signal(const char *path, const char *program, int number,
                             struct err *err);

#endif
