/*
 * Watches of the log and of ephemeral items, and the waiting for what they give.
 *
 * A watch stands at the next revision it wants; a store gives it each record that it observes (store.c), so
 * a watch never lags behind its store and needs no queue.
 */
#include "base/alloc.h"
#include "store/core.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

struct store_watch {
    struct link link; /* in store.watches; alone: ended */
    struct store *s;
    struct store_watcher watcher;
    uint64_t next; /* the revision to be given next */
};

struct store_ephemeral_watch {
    struct link link; /* in store.ephemeral_watches; alone: ended */
    struct store *s;
    store_ephemeral_fn *fn;
    void *ctx;
    size_t prefix_len;
    char prefix[];
};

/* ---- of the log ---- */

static void end_watch(struct store_watch *w, int why)
{
    link_remove(&w->link);
    w->s->stats.watches--;
    if (w->watcher.ended)
        w->watcher.ended(w->watcher.ctx, why);
}

void watches_give(struct store *s, const struct store_entry *entry)
{
    LIST_EACH (&s->watches, l) {
        struct store_watch *w = LINK_OF(l, struct store_watch, link);
        int r;

        if (w->next != entry->revision)
            continue; /* it begins later */
        w->next++;
        r = w->watcher.record(w->watcher.ctx, entry);
        if (r)
            end_watch(w, r);
    }
}

void watches_end(struct store *s, int why)
{
    LIST_EACH (&s->watches, l)
        end_watch(LINK_OF(l, struct store_watch, link), why);
}

static int give_old(void *ctx, const struct store_entry *entry)
{
    struct store_watch *w = ctx;
    int r = w->watcher.record(w->watcher.ctx, entry);

    if (!r)
        w->next = entry->revision + 1;
    return r;
}

int store_watch_open(struct store *s, uint64_t from, const struct store_watcher *watcher,
                     struct store_watch **ret_watch, struct err *err)
{
    struct store_watch *w = NEW(struct store_watch);
    int r = 0;

    if (!w)
        return err_set(err, ERR_NOMEM, "out of memory for a watch");
    link_init(&w->link);
    w->s = s;
    w->watcher = *watcher;
    w->next = MAX(from, (uint64_t)1);
    if (w->next <= s->head.revision)
        r = read_verified(s, STORE_ROWS_LOG, (const uint64_t[]){w->next, s->head.revision},
                          give_old, w, err);
    if (r) {
        (void)mem_free(w);
        return r;
    }
    link_before(&s->watches, &w->link);
    s->stats.watches++;
    *ret_watch = w;
    return 0;
}

struct store_watch *store_watch_close(struct store_watch *w)
{
    if (!w)
        return NULL;
    if (!link_is_alone(&w->link)) {
        link_remove(&w->link);
        w->s->stats.watches--;
    }
    return mem_free(w);
}

/* ---- of ephemeral items ---- */

void store_ephemeral_changed(struct store *s, const struct store_ephemeral *item)
{
    LIST_EACH (&s->ephemeral_watches, l) {
        struct store_ephemeral_watch *w = LINK_OF(l, struct store_ephemeral_watch, link);

        if (!str_starts(item->key, str_of(w->prefix, w->prefix_len)))
            continue;
        if (w->fn(w->ctx, item)) {
            link_remove(&w->link);
            s->stats.ephemeral_watches--;
        }
    }
}

int store_ephemeral_watch_open(struct store *s, struct str prefix, store_ephemeral_fn *fn,
                               void *ctx, struct store_ephemeral_watch **ret_watch,
                               struct err *err)
{
    struct store_ephemeral_watch *w = mem_zalloc(size_add(sizeof(*w), prefix.len));
    int r;

    if (!w)
        return err_set(err, ERR_NOMEM, "out of memory for a watch");
    link_init(&w->link);
    w->s = s;
    w->fn = fn;
    w->ctx = ctx;
    w->prefix_len = prefix.len;
    if (prefix.len)
        memcpy(w->prefix, prefix.data, prefix.len);
    r = s->engine->ephemeral_list(s, prefix, fn, ctx, err);
    if (r) {
        (void)mem_free(w);
        return r;
    }
    link_before(&s->ephemeral_watches, &w->link);
    s->stats.ephemeral_watches++;
    *ret_watch = w;
    return 0;
}

struct store_ephemeral_watch *store_ephemeral_watch_close(struct store_ephemeral_watch *w)
{
    if (!w)
        return NULL;
    if (!link_is_alone(&w->link)) {
        link_remove(&w->link);
        w->s->stats.ephemeral_watches--;
    }
    return mem_free(w);
}

/* ---- waiting ---- */

void store_wake(struct store *s)
{
    uint64_t one = 1;
    ssize_t n;

    do
        n = write(s->wake_fd, &one, sizeof(one));
    while (n < 0 && errno == EINTR);
    /* EAGAIN means that the counter is full, so it is readable, which is all that is asked for. */
}

void store_wait_for_wake(struct store *s, int timeout_ms)
{
    struct pollfd wait = {.fd = s->wake_fd, .events = POLLIN};
    uint64_t count;

    /* A signal ends the wait early, which store_poll allows. */
    if (poll(&wait, 1, timeout_ms) > 0 && read(s->wake_fd, &count, sizeof(count)) < 0)
        return; /* nobody else reads it; EAGAIN would only mean that the wake is spent */
}

int store_poll(struct store *s, int timeout_ms, struct err *err)
{
    int r = s->engine->poll(s, timeout_ms, err);

    return r ? r : observe_all(s, err);
}
