/*
 * Folders under one inotify instance. See watch.h.
 */
#include "agent/watch.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/str.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <sys/inotify.h>
#include <sys/vfs.h>
#include <unistd.h>

enum {
    MOMENT_MS = 50, /* what changes together is looked at once */
    EVENTS = IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE |
             IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF,
};

struct watch {
    struct loop *loop;
    struct loop_guest guest;
    void (*changed)(void *ctx);
    void *ctx;
    struct timer moment;
    uv_poll_t poll;
    uv_async_t wake; /* a folder is new: what happened in it before is to be looked at */
    unsigned n_open; /* handles */
    _Atomic int newest;
    int fd; /* -1: there is none */
    _Atomic(const char *) blindness;
    char events[65536] __attribute__((aligned(8)));
};

const char *watch_blindness(const struct watch *w)
{
    return atomic_load(&w->blindness);
}

static void go_blind(struct watch *w, const char *why)
{
    const char *before = "";

    if (atomic_compare_exchange_strong(&w->blindness, &before, why))
        LOG(WARN, "watching_by_looking", LOG_C("reason", why));
}

static const char *why_not(int number)
{
    switch (number) {
    case EMFILE: return "no inotify instance is left (fs.inotify.max_user_instances)";
    case ENOSPC: return "no inotify watch is left (fs.inotify.max_user_watches)";
    default: return "inotify cannot watch here";
    }
}

/* Others write there without a word to this kernel. */
static bool has_no_events(int fd)
{
    static const uint32_t types[] = {NFS_SUPER_MAGIC,  SMB_SUPER_MAGIC,  CIFS_SUPER_MAGIC,
                                     SMB2_SUPER_MAGIC, FUSE_SUPER_MAGIC, V9FS_MAGIC,
                                     CEPH_SUPER_MAGIC, AFS_SUPER_MAGIC};
    struct statfs fs;

    if (fstatfs(fd, &fs))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if ((uint32_t)fs.f_type == types[i])
            return true;
    return false;
}

void watch_folder(struct watch *w, int fd)
{
    char path[64];
    int number;

    if (w->fd < 0)
        return;
    if (has_no_events(fd))
        go_blind(w, "files on a network or user file system change without events");
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    number = inotify_add_watch(w->fd, path, EVENTS | IN_ONLYDIR);
    if (number < 0 && errno != ENOENT)
        go_blind(w, why_not(errno));
    if (number > atomic_load(&w->newest)) { /* numbers grow, and one is never used again */
        atomic_store(&w->newest, number);
        if (w->n_open == 2)
            (void)uv_async_send(&w->wake); /* fails only on a closing handle */
    }
}

/* Names of the agent's own work are no news. */
static bool is_ours(struct str name)
{
    return str_starts(name, STR(".trimtab-")) || str_starts(name, STR("..trimtab-")) ||
           str_starts(name, STR("..data_trimtab")) || str_starts(name, STR("..kept_trimtab-"));
}

static void look_soon(struct watch *w)
{
    if (!timer_is_running(&w->moment))
        timer_start(&w->moment, w->loop, MOMENT_MS, 0);
}

static void on_event(uv_poll_t *poll, int status, int events)
{
    struct watch *w = poll->data;
    bool is_news = false;
    ssize_t n = read(w->fd, w->events, sizeof(w->events));

    (void)status;
    (void)events;
    for (ssize_t at = 0; at < n;) {
        const struct inotify_event *e = (const void *)(w->events + at);

        is_news |= !e->len || !is_ours(str_c(e->name));
        at += (ssize_t)(sizeof(*e) + e->len);
    }
    if (is_news)
        look_soon(w);
}

static void on_new_folder(uv_async_t *wake)
{
    look_soon(wake->data);
}

static void on_moment(struct timer *t, void *ctx)
{
    struct watch *w = ctx;

    (void)t;
    w->changed(w->ctx);
}

static void on_closed(uv_handle_t *h)
{
    struct watch *w = h->data;

    if (--w->n_open)
        return;
    loop_leave(&w->guest);
    (void)close(w->fd);
    (void)mem_free(w);
}

static void on_loop_close(struct loop_guest *guest)
{
    (void)watch_close(CONTAINER_OF(guest, struct watch, guest));
}

struct watch *watch_open(struct loop *loop, void (*changed)(void *ctx), void *ctx)
{
    struct watch *w = NEW(struct watch);

    if (!w)
        return NULL;
    w->loop = loop;
    w->changed = changed;
    w->ctx = ctx;
    w->moment = (struct timer){.fn = on_moment, .ctx = w};
    w->poll.data = w->wake.data = w;
    w->guest.on_close = on_loop_close;
    atomic_store(&w->blindness, "");
    w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (w->fd < 0) {
        go_blind(w, why_not(errno));
        return w;
    }
    if (uv_poll_init(loop_uv(loop), &w->poll, w->fd)) {
        (void)close(w->fd);
        w->fd = -1;
        go_blind(w, "the event loop cannot watch");
        return w;
    }
    loop_join(loop, &w->guest);
    w->n_open = 2;
    if (uv_async_init(loop_uv(loop), &w->wake, on_new_folder)) {
        go_blind(w, "the event loop cannot watch");
        w->n_open = 1;
    }
    (void)uv_poll_start(&w->poll, UV_READABLE, on_event); /* fails only on a closing handle */
    return w;
}

struct watch *watch_close(struct watch *w)
{
    if (!w)
        return NULL;
    timer_stop(&w->moment);
    if (w->fd < 0)
        return mem_free(w);
    if (!uv_is_closing((uv_handle_t *)&w->poll))
        uv_close((uv_handle_t *)&w->poll, on_closed);
    if (w->n_open == 2 && !uv_is_closing((uv_handle_t *)&w->wake))
        uv_close((uv_handle_t *)&w->wake, on_closed);
    return NULL;
}
