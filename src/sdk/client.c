/*
 * What clients are whatever their values come from: watches, and what becomes of all in a process that was forked. See
 * client.h and the public header.
 */
#include "sdk/client.h"

#include "base/clock.h"

#include <signal.h>

size_t copy_text(struct str text, char *out, size_t size)
{
    if (size) {
        size_t n = MIN(text.len, size - 1);

        if (n)
            memcpy(out, text.data, n);
        out[n] = '\0';
    }
    return text.len;
}

/* ---- telling changes, on the provider's thread ---- */

static void tell(struct sdk_watch *w, const char *name, const struct shm_value *before,
                 const struct shm_value *after, uint64_t revision)
{
    struct trimtab_change change = {name, before ? before->json : NULL,
                                    after ? after->json : NULL, revision};

    if (!before && !after)
        return;
    if (before && after && strcmp(before->json, after->json) == 0)
        return;
    if (str_glob(str_c(w->pattern), str_c(name)))
        w->fn(w->ctx, &change);
}

struct telling {
    struct sdk_watch *watch;
    const struct table *before, *after; /* before NULL: everything is new */
};

static void tell_put(void *ctx, const char *name, const struct shm_value *after)
{
    struct telling *t = ctx;
    struct shm_value before;
    bool was_there = t->before && table_get(t->before, name, &before);

    tell(t->watch, name, was_there ? &before : NULL, after, t->after->revision);
}

static void tell_gone(void *ctx, const char *name, const struct shm_value *before)
{
    struct telling *t = ctx;
    struct shm_value after;

    if (!table_get(t->after, name, &after))
        tell(t->watch, name, before, NULL, t->after->revision);
}

static void tell_watch(struct sdk_watch *w, const struct table *before,
                       const struct table *after)
{
    struct telling t = {w, w->is_new ? NULL : before, after};

    w->is_new = false;
    table_each(after, tell_put, &t);
    if (t.before)
        table_each(t.before, tell_gone, &t);
}

void watches_tell(struct trimtab *t, const struct table *before, const struct table *after)
{
    (void)pthread_mutex_lock(&t->calling);
    for (struct sdk_watch *w = t->watches; w; w = w->next)
        if (after->revision && (w->is_new || before))
            tell_watch(w, before, after);
    (void)pthread_mutex_unlock(&t->calling);
}

int client_thread(pthread_t *thread, void *(*run)(void *), void *arg, struct err *err)
{
    sigset_t all, old;
    int r;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(thread, NULL, run, arg);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return r ? err_set(err, ERR_NOMEM, "cannot start a thread") : 0;
}

/* ---- forks: a child has the forking thread only, and finds every lock free ---- */

static pthread_mutex_t clients_lock = PTHREAD_MUTEX_INITIALIZER;
static struct trimtab *clients;

static void fork_prepare(void)
{
    (void)pthread_mutex_lock(&clients_lock);
    for (struct trimtab *t = clients; t; t = t->next)
        (void)pthread_mutex_lock(&t->values.mutex);
}

static void fork_parent(void)
{
    for (struct trimtab *t = clients; t; t = t->next)
        (void)pthread_mutex_unlock(&t->values.mutex);
    (void)pthread_mutex_unlock(&clients_lock);
}

static void free_watches(struct trimtab *t)
{
    while (t->watches) {
        struct sdk_watch *next = t->watches->next;

        (void)mem_free(t->watches->pattern);
        (void)mem_free(t->watches);
        t->watches = next;
    }
}

/* Watches stay with the parent. The lock may be held by a thread that is not here, or by this one in a callback. */
static void fork_child(void)
{
    values_after_fork();
    for (struct trimtab *t = clients; t; t = t->next) {
        t->is_forked = true;
        (void)pthread_mutex_init(&t->calling, NULL);
        free_watches(t);
        t->provider->after_fork(t);
    }
    fork_parent();
}

void client_enlist(struct trimtab *t)
{
    (void)pthread_mutex_lock(&clients_lock);
    t->next = clients;
    clients = t;
    (void)pthread_mutex_unlock(&clients_lock);
}

static void strike_off(struct trimtab *t)
{
    (void)pthread_mutex_lock(&clients_lock);
    for (struct trimtab **at = &clients; *at; at = &(*at)->next)
        if (*at == t) {
            *at = t->next;
            break;
        }
    (void)pthread_mutex_unlock(&clients_lock);
}

/* ---- beginning and end ---- */

static void prepare_process(void)
{
    uint64_t seed;

    if (random_bytes(&seed, sizeof(seed)) == 0)
        hash_seed(seed);
    (void)pthread_atfork(fork_prepare, fork_parent,
                         fork_child); /* without it forks go wrong, no more */
}

struct trimtab *client_new(void)
{
    static pthread_once_t prepared = PTHREAD_ONCE_INIT;
    struct trimtab *t = NEW(struct trimtab);

    (void)pthread_once(&prepared, prepare_process);
    if (!t || values_init(&t->values))
        return mem_free(t);
    (void)pthread_mutex_init(&t->calling, NULL);
    return t;
}

struct trimtab *client_free(struct trimtab *t)
{
    values_deinit(&t->values);
    free_watches(t);
    (void)pthread_mutex_destroy(&t->calling);
    return mem_free(t);
}

void trimtab_close(struct trimtab *t)
{
    if (!t)
        return;
    strike_off(t);
    t->provider->close(t);
    (void)client_free(t);
}

/* ---- asking and saying ---- */

bool trimtab_wait(struct trimtab *t, unsigned timeout_ms)
{
    return t->provider->wait(t, timeout_ms);
}

/* Reading announces itself: it changes the client, though nothing that its user sees. */
static struct trimtab *reader_of(const struct trimtab *t)
{
    return (struct trimtab *)(uintptr_t)t;
}

bool trimtab_is_connected(const struct trimtab *t)
{
    return t->provider->is_connected(reader_of(t));
}

uint64_t trimtab_revision(const struct trimtab *t)
{
    return t->provider->revision(reader_of(t));
}

size_t trimtab_problem(const struct trimtab *t, char *out, size_t size)
{
    return t->provider->problem(reader_of(t), out, size);
}

bool trimtab_report_health(struct trimtab *t, bool failing, const char *reason)
{
    return t->provider->report_health(t, failing, reason);
}

/* ---- watching ---- */

unsigned trimtab_watch(struct trimtab *t, const char *pattern,
                       void (*fn)(void *ctx, const struct trimtab_change *change), void *ctx)
{
    struct sdk_watch *w = NEW(struct sdk_watch);
    unsigned id;

    if (w)
        w->pattern = mem_dup(pattern, strlen(pattern));
    if (!w || !w->pattern) {
        (void)mem_free(w);
        return 0;
    }
    w->fn = fn;
    w->ctx = ctx;
    w->is_new = true;
    (void)pthread_mutex_lock(&t->calling);
    w->id = ++t->next_watch;
    w->next = t->watches;
    t->watches = w;
    id = w->id;
    (void)pthread_mutex_unlock(&t->calling);
    if (t->provider->watched(t))
        return id;
    trimtab_unwatch(t, id);
    return 0;
}

void trimtab_unwatch(struct trimtab *t, unsigned id)
{
    struct sdk_watch **at, *found = NULL;

    (void)pthread_mutex_lock(&t->calling);
    for (at = &t->watches; *at && !found; at = found ? at : &(*at)->next)
        if ((*at)->id == id) {
            found = *at;
            *at = found->next;
            break;
        }
    (void)pthread_mutex_unlock(&t->calling);
    if (found)
        (void)mem_free(found->pattern);
    (void)mem_free(found);
}
