/*
 * Pid files. See pid_file.h.
 */
#include "agent/pid_file.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    PID_FILE_MAX = 4096, /* some programs write more lines behind the id */
    STAT_MAX = 4096,
    COMM_MAX = 15, /* of the kernel */
    SLACK_S = 2,   /* the kernel's clock of starts is coarse */
};

static int read_id(const char *path, pid_t *ret_pid, time_t *ret_written, struct err *err)
{
    owned(buf) struct buf text = BUF_NULL(PID_FILE_MAX);
    struct stat st;
    struct str line;
    uint64_t pid = 0;
    int r = file_read(path, &text, err);

    if (r == ERR_NOT_FOUND)
        return PID_FILE_NONE;
    if (r)
        return r;
    line = str_trim(str_part(buf_str(&text), 0, str_index(buf_str(&text), '\n')));
    if (!str_u64(line, &pid) || pid <= 1 || pid > INT32_MAX)
        return err_set(err, ERR_INVALID, "the pid file %s holds no process id", path);
    if (stat(path, &st))
        return PID_FILE_NONE; /* it went just now */
    *ret_pid = (pid_t)pid;
    *ret_written = st.st_mtime;
    return 0;
}

static int read_proc(const char *path, struct buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = 0;
    char *room = buf_room(out, STAT_MAX);

    if (fd >= 0 && room)
        n = read(fd, room, STAT_MAX);
    if (fd >= 0)
        (void)close(fd); /* only read */
    if (n <= 0)
        return ERR_IO;
    buf_added(out, (size_t)n);
    return 0;
}

/* When the machine started, in seconds since 1970. */
static bool boot_time(uint64_t *ret_s)
{
    FILE *f = fopen("/proc/stat", "re");
    char line[8192];
    bool found = false;

    while (f && !found && fgets(line, sizeof(line), f))
        found = str_starts(str_c(line), STR("btime ")) &&
                str_u64(str_trim(str_c(line + strlen("btime "))), ret_s);
    if (f)
        (void)fclose(f); /* only read */
    return found;
}

/* When the process started. Its name may hold blanks and brackets: what follows begins behind the last bracket. */
static bool start_time(pid_t pid, uint64_t *ret_s)
{
    owned(buf) struct buf text = BUF_NULL(STAT_MAX);
    enum { FIELD_STATE = 3, FIELD_START = 22 };
    char path[64];
    struct str rest, field = STR_NULL;
    const char *bracket;
    uint64_t ticks, booted;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (read_proc(path, &text))
        return false;
    rest = buf_str(&text);
    bracket = memrchr(rest.data, ')', rest.len);
    rest = bracket ? str_from(rest, (size_t)(bracket - rest.data) + 2) : STR_NULL;
    for (int i = FIELD_STATE; i <= FIELD_START; i++)
        if (!str_next(&rest, ' ', &field))
            return false;
    if (!str_u64(field, &ticks) || !boot_time(&booted))
        return false;
    *ret_s = booted + ticks / (uint64_t)sysconf(_SC_CLK_TCK);
    return true;
}

static bool has_name(pid_t pid, const char *program)
{
    owned(buf) struct buf text = BUF_NULL(STAT_MAX);
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
    return read_proc(path, &text) == 0 &&
           str_eq(str_trim(buf_str(&text)), str_part(str_c(program), 0, COMM_MAX));
}

static int prove(const char *path, pid_t pid, const char *program, time_t written,
                 struct err *err)
{
    uint64_t started;

    if (program) {
        if (has_name(pid, program))
            return 0;
        return err_set(err, ERR_NOT_FOUND, "the pid file %s names process %d, which is not %s",
                       path, (int)pid, program);
    }
    if (start_time(pid, &started) && started <= (uint64_t)written + SLACK_S)
        return 0;
    (void)err_set(err, ERR_NOT_FOUND,
                  "the pid file %s names process %d, which started after it was written", path,
                  (int)pid);
    err_hint(err, "remove it if the program does not run; program = NAME tells by the name");
    return ERR_NOT_FOUND;
}

int pid_file_signal(const char *path, const char *program, int number, struct err *err)
{
    pid_t pid = 0;
    time_t written = 0;
    int r = read_id(path, &pid, &written, err), process;

    if (r)
        return r;
    process = (int)syscall(SYS_pidfd_open, pid, 0);
    if (process < 0) {
        (void)err_set(err, ERR_NOT_FOUND,
                      "the pid file %s names process %d, which does not run", path, (int)pid);
        err_hint(err, "remove it if the program does not run");
        return ERR_NOT_FOUND;
    }
    r = prove(path, pid, program, written, err);
    /* Whoever was looked at by number was the process that the descriptor holds, since that one still takes a signal. */
    if (!r && syscall(SYS_pidfd_send_signal, process, number, NULL, 0))
        r = err_set_errno(err, "cannot send signal %d to process %d of %s", number, (int)pid,
                          path);
    (void)close(process);
    return r;
}
