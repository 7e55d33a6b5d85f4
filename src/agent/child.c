/*
 * Child processes on libuv. See child.h. A child is over when it has ended and its output has: or, since a daemon that
 * it left behind may keep the pipe open, a moment after it has ended. The pipe then goes to a drain, so that the daemon is
 * neither killed by what it writes nor held up.
 */
#include "agent/child.h"

#include "base/alloc.h"
#include "base/text.h"

#include <signal.h>
#include <unistd.h>

extern char **environ;

enum { COMMAND_MAX = 65536, AFTER_END_MS = 200, ENVIRONMENT_MAX = 4096 };

/* What libuv waits for. */
struct running {
    struct link link; /* of all */
    pid_t pid;
};

static struct link all = {&all, &all};

/* A process that reads what nobody wants to have. */
struct drain {
    struct loop_guest guest;
    uv_process_t process;
    struct running running;
};

struct child {
    struct child_opts opts;
    struct running running;
    struct loop_guest guest; /* until the memory goes */
    uv_process_t process;
    uv_pipe_t pipe;
    struct timer limit;
    struct buf output;
    char story[128];
    bool has_process, has_pipe; /* handles that are still open */
    bool has_output_ended;
    bool has_ended, is_forgotten, timed_out;
    int64_t status;
    int signal;
    char chunk[2048];
};

static void begin_running(struct running *r, pid_t pid)
{
    r->pid = pid;
    link_init(&r->link);
    link_before(&all, &r->link);
}

static void end_running(struct running *r)
{
    if (r->pid)
        link_remove(&r->link);
    r->pid = 0;
}

bool child_is_ours(pid_t pid)
{
    LIST_EACH (&all, link)
        if (CONTAINER_OF(link, struct running, link)->pid == pid)
            return true;
    return false;
}

/* ---- the drain ---- */

static void on_drain_closed(uv_handle_t *h)
{
    struct drain *d = h->data;

    loop_leave(&d->guest);
    (void)mem_free(d);
}

static void close_drain(struct drain *d)
{
    end_running(&d->running);
    if (!uv_is_closing((uv_handle_t *)&d->process))
        uv_close((uv_handle_t *)&d->process, on_drain_closed);
}

static void on_drain_exit(uv_process_t *process, int64_t status, int signal_number)
{
    (void)status;
    (void)signal_number;
    close_drain(process->data);
}

/* It goes on without us. */
static void on_drain_loop_close(struct loop_guest *guest)
{
    close_drain(CONTAINER_OF(guest, struct drain, guest));
}

/* Without memory, or a process, the pipe closes; what writes to it then is told so by the system. */
static void drain(struct loop *loop, int fd)
{
    static char shell[] = "/bin/sh", flag[] = "-c", command[] = "exec cat >/dev/null 2>&1";
    char *args[] = {shell, flag, command, NULL};
    uv_stdio_container_t stdio[1] = {{.flags = UV_INHERIT_FD, .data.fd = fd}};
    uv_process_options_t o = {.file = shell,
                              .args = args,
                              .exit_cb = on_drain_exit,
                              .flags = UV_PROCESS_DETACHED,
                              .stdio = stdio,
                              .stdio_count = 1};
    struct drain *d = NEW(struct drain);

    if (!d)
        return;
    d->process.data = d;
    d->guest.on_close = on_drain_loop_close;
    loop_join(loop, &d->guest);
    if (uv_spawn(loop_uv(loop), &d->process, &o))
        close_drain(d);
    else
        begin_running(&d->running, d->process.pid);
}

/* ---- one command ---- */

static void unref(struct child *c)
{
    if (c->has_process || c->has_pipe)
        return;
    loop_leave(&c->guest);
    buf_deinit(&c->output);
    (void)mem_free(c);
}

static void on_process_closed(uv_handle_t *h)
{
    struct child *c = h->data;

    c->has_process = false;
    unref(c);
}

static void on_pipe_closed(uv_handle_t *h)
{
    struct child *c = h->data;

    c->has_pipe = false;
    unref(c);
}

static void close_all(struct child *c)
{
    uv_os_fd_t fd;

    timer_stop(&c->limit);
    if (c->has_pipe && c->has_ended && !c->has_output_ended &&
        !uv_is_closing((uv_handle_t *)&c->pipe) &&
        uv_fileno((uv_handle_t *)&c->pipe, &fd) == 0) {
        (void)uv_read_stop((uv_stream_t *)&c->pipe); /* always 0 */
        drain(c->opts.loop, fd);
    }
    if (c->has_process && !uv_is_closing((uv_handle_t *)&c->process))
        uv_close((uv_handle_t *)&c->process, on_process_closed);
    if (c->has_pipe && !uv_is_closing((uv_handle_t *)&c->pipe))
        uv_close((uv_handle_t *)&c->pipe, on_pipe_closed);
}

static enum child_end end_of(const struct child *c)
{
    static const int killers[] = {SIGHUP, SIGINT, SIGKILL, SIGTERM};

    if (c->timed_out)
        return CHILD_LATE;
    for (size_t i = 0; i < ARRAY_LEN(killers); i++)
        if (c->status == 128 + killers[i])
            return CHILD_KILLED;
    if (c->signal)
        return CHILD_KILLED;
    if (c->status == 126 || c->status == 127)
        return CHILD_NOT_RUN;
    return c->status ? CHILD_REFUSED : CHILD_PASSED;
}

static void finish(struct child *c)
{
    owned(buf) struct buf output = BUF_NULL(CHILD_OUTPUT_MAX);
    struct child_result result = {.end = end_of(c), .story = c->story};

    if (c->timed_out)
        (void)snprintf(c->story, sizeof(c->story), "no answer in %llu ms",
                       (unsigned long long)c->opts.timeout_ms);
    else if (c->signal)
        (void)snprintf(c->story, sizeof(c->story), "killed by signal %d", c->signal);
    else
        (void)snprintf(c->story, sizeof(c->story), "exit status %lld", (long long)c->status);
    timer_stop(&c->limit);
    text_put_plain(&output, str_utf8_whole(buf_str(&c->output)), TEXT_LINES, CHILD_OUTPUT_MAX);
    result.output = buf_str(&output); /* what there was no memory for is left out */
    if (!c->is_forgotten)
        c->opts.done(c->opts.ctx, &result);
    close_all(c);
}

static bool is_over(const struct child *c)
{
    return uv_is_closing((const uv_handle_t *)&c->process);
}

static void kill_group(struct child *c)
{
    if (!c->has_ended)
        (void)kill(-c->process.pid, SIGKILL); /* it leads a group of its own */
}

/* The loop ends: nobody would see the end of the process, so it is not waited for. */
static void on_loop_close(struct loop_guest *guest)
{
    struct child *c = CONTAINER_OF(guest, struct child, guest);

    c->is_forgotten = true;
    kill_group(c);
    end_running(&c->running);
    close_all(c);
}

static void on_limit(struct timer *t, void *ctx)
{
    struct child *c = ctx;

    (void)t;
    if (c->has_ended) { /* only its output is still open */
        finish(c);
        return;
    }
    c->timed_out = true;
    kill_group(c);
}

static void on_exit_of(uv_process_t *process, int64_t status, int signal_number)
{
    struct child *c = process->data;

    end_running(&c->running);
    c->has_ended = true;
    c->status = status;
    c->signal = signal_number;
    if (c->is_forgotten)
        close_all(c);
    else if (!uv_is_active((uv_handle_t *)&c->pipe))
        finish(c);
    else
        timer_start(&c->limit, c->opts.loop, AFTER_END_MS, 0);
}

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *buf)
{
    struct child *c = h->data;

    (void)size;
    *buf = uv_buf_init(c->chunk, sizeof(c->chunk));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct child *c = stream->data;

    if (n > 0) {
        buf_put(&c->output, buf->base, MIN((size_t)n, CHILD_OUTPUT_MAX - c->output.len));
    } else if (n < 0) {
        (void)uv_read_stop(stream); /* always 0 */
        c->has_output_ended = true;
        if (c->has_ended && !is_over(c))
            finish(c);
    }
}

/* Where in a command of the shell a place is. */
enum quoting { BARE, SINGLE, DOUBLE };

/* Past one character of the command; the one behind a backslash goes with it. */
static enum quoting step(enum quoting q, const char **at, struct buf *out)
{
    char c = *(*at)++;

    buf_put_byte(out, (unsigned char)c);
    if (c == '\\' && q != SINGLE && **at)
        buf_put_byte(out, (unsigned char)*(*at)++);
    else if (c == '\'' && q != DOUBLE)
        return q == SINGLE ? BARE : SINGLE;
    else if (c == '"' && q != SINGLE)
        return q == DOUBLE ? BARE : DOUBLE;
    return q;
}

static void put_quoted(const char *text, enum quoting q, struct buf *out)
{
    if (q == BARE)
        buf_put_byte(out, '\'');
    for (const char *s = text; *s; s++) {
        if (q == DOUBLE && strchr("\"\\$`", *s))
            buf_put_byte(out, '\\');
        if (q != DOUBLE && *s == '\'')
            buf_put_c(out, "'\\''");
        else
            buf_put_byte(out, (unsigned char)*s);
    }
    if (q == BARE)
        buf_put_byte(out, '\'');
}

void child_command(const char *command, const char *stage, struct buf *out)
{
    static const struct str mark = STR("{stage}");
    enum quoting q = BARE;

    while (*command)
        if (stage && str_starts(str_c(command), mark)) {
            put_quoted(stage, q, out);
            command += mark.len;
        } else {
            q = step(q, &command, out);
        }
}

/* The agent's own environment and what is ours to say. */
static size_t make_environment(const struct child_opts *o, char *words[ENVIRONMENT_MAX],
                               char text[3][4096])
{
    size_t n = 0;

    (void)snprintf(text[0], sizeof(text[0]), "TRIMTAB_STAGE=%s", o->stage ? o->stage : "");
    (void)snprintf(text[1], sizeof(text[1]), "TRIMTAB_SINK=%s", o->sink ? o->sink : "");
    (void)snprintf(text[2], sizeof(text[2]), "TRIMTAB_PROBE=%s", o->probe ? o->probe : "");
    for (char **e = environ; *e && n < ENVIRONMENT_MAX - 4; e++)
        if (strncmp(*e, "TRIMTAB_", 8) != 0)
            words[n++] = *e;
    words[n++] = text[0];
    words[n++] = text[1];
    words[n++] = text[2];
    words[n] = NULL;
    return n;
}

static int spawn(struct child *c, const char *command, struct err *err)
{
    char *words[ENVIRONMENT_MAX], text[3][4096];
    char shell[] = "/bin/sh", flag[] = "-c";
    char *args[] = {shell, flag, (char *)(uintptr_t)command, NULL}; /* libuv has no const */
    uv_stdio_container_t stdio[2] = {{.flags = UV_IGNORE},
                                     {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE}};
    uv_process_options_t o = {.file = shell,
                              .args = args,
                              .env = words,
                              .exit_cb = on_exit_of,
                              .flags = UV_PROCESS_DETACHED,
                              .stdio = stdio,
                              .stdio_count = 2};
    int r;

    (void)make_environment(&c->opts, words, text);
    stdio[1].data.stream = (uv_stream_t *)&c->pipe;
    r = uv_spawn(loop_uv(c->opts.loop), &c->process, &o);
    c->has_process = true; /* to be closed even when it did not start */
    if (r)
        return err_set(err, ERR_IO, "cannot run a command: %s", uv_strerror(r));
    begin_running(&c->running, c->process.pid);
    (void)uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read); /* a fresh pipe */
    return 0;
}

int child_start(const struct child_opts *opts, struct child **ret_child, struct err *err)
{
    owned(buf) struct buf command = BUF_NULL(COMMAND_MAX);
    struct child *c = NEW(struct child);
    const char *text;
    int r;

    buf_put_c(&command, "exec 2>&1; "); /* one pipe for both, in the order of writing */
    child_command(opts->command, opts->stage, &command);
    text = buf_c(&command);
    if (!c || !text) {
        (void)mem_free(c);
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    c->opts = *opts;
    c->output = BUF_NULL(CHILD_OUTPUT_MAX);
    c->process.data = c;
    c->pipe.data = c;
    c->limit = (struct timer){.fn = on_limit, .ctx = c};
    c->guest.on_close = on_loop_close;
    loop_join(opts->loop, &c->guest);
    (void)uv_pipe_init(loop_uv(opts->loop), &c->pipe, 0); /* always 0 */
    c->has_pipe = true;
    r = spawn(c, text, err);
    if (r) {
        c->is_forgotten = true;
        close_all(c);
        return r;
    }
    timer_start(&c->limit, opts->loop, opts->timeout_ms, 0);
    *ret_child = c;
    return 0;
}

void child_forget(struct child *c)
{
    c->is_forgotten = true;
    timer_stop(&c->limit);
    kill_group(c);
    if (c->has_ended)
        close_all(c);
}
