/*
 * Faults of the system. See faults.h.
 */
#include "faults.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

#define IN_PLACE_OF_THE_SYSTEMS __attribute__((visibility("default")))

static _Atomic bool is_armed, has_failed;
static _Atomic int sort;
static _Atomic uint64_t left;

void faults_arm(enum faults which, uint64_t n)
{
    sort = (int)which;
    left = n;
    has_failed = false;
    is_armed = true;
}

bool faults_disarm(void)
{
    is_armed = false;
    return has_failed;
}

/* Whether this call is to fail. */
static bool fails(bool needs_space)
{
    if (!is_armed || (sort == FAULT_NO_SPACE && !needs_space))
        return false;
    if (left) {
        left--;
        return false;
    }
    if (sort == FAULT_ONCE)
        is_armed = false;
    has_failed = true;
    errno = ENOSPC;
    return true;
}

bool faults_call(void)
{
    return fails(true);
}

#define NEXT(name) ((__typeof__(&(name)))(uintptr_t)dlsym(RTLD_NEXT, #name))

IN_PLACE_OF_THE_SYSTEMS int linkat(int a, const char *from, int b, const char *to, int flags)
{
    return fails(true) ? -1 : NEXT(linkat)(a, from, b, to, flags);
}

IN_PLACE_OF_THE_SYSTEMS int symlinkat(const char *to, int at, const char *path)
{
    return fails(true) ? -1 : NEXT(symlinkat)(to, at, path);
}

IN_PLACE_OF_THE_SYSTEMS int mkdirat(int at, const char *path, mode_t mode)
{
    return fails(true) ? -1 : NEXT(mkdirat)(at, path, mode);
}

IN_PLACE_OF_THE_SYSTEMS int renameat(int a, const char *from, int b, const char *to)
{
    return fails(false) ? -1 : NEXT(renameat)(a, from, b, to);
}

IN_PLACE_OF_THE_SYSTEMS int fchmod(int fd, mode_t mode)
{
    return fails(false) ? -1 : NEXT(fchmod)(fd, mode);
}

IN_PLACE_OF_THE_SYSTEMS int fsync(int fd)
{
    return fails(false) ? -1 : NEXT(fsync)(fd);
}

IN_PLACE_OF_THE_SYSTEMS int openat(int at, const char *path, int flags, ...)
{
    va_list args;
    mode_t mode = 0;

    if (flags & O_CREAT) {
        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);
        if (fails(true))
            return -1;
    }
    return NEXT(openat)(at, path, flags, mode);
}

IN_PLACE_OF_THE_SYSTEMS ssize_t write(int fd, const void *bytes, size_t n)
{
    return fd > 2 && fails(true) ? -1 : NEXT(write)(fd, bytes, n);
}

IN_PLACE_OF_THE_SYSTEMS int posix_fallocate(int fd, off_t at, off_t n)
{
    return fails(true) ? ENOSPC : NEXT(posix_fallocate)(fd, at, n);
}

IN_PLACE_OF_THE_SYSTEMS int fchown(int fd, uid_t owner, gid_t group)
{
    return fails(false) ? -1 : NEXT(fchown)(fd, owner, group);
}
