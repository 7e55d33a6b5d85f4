/*
 * A client: the values that readers see, where they come from, and who is told of changes.
 */
#ifndef TRIMTAB_SDK_CLIENT_H
#define TRIMTAB_SDK_CLIENT_H

#include "sdk/options.h"
#include "sdk/table.h"

#include <pthread.h>

struct sdk_watch {
    unsigned id;
    char *pattern;
    void (*fn)(void *ctx, const struct trimtab_change *change);
    void *ctx;
    bool is_new; /* has not been told what is there */
    struct sdk_watch *next;
};

/*
 * Where values come from. It publishes tables and tells changes (watches_tell). Members are called from any thread, but for
 * close; after_fork in the process that was forked, which has only the calling thread.
 */
struct provider {
    bool (*wait)(struct trimtab *t, unsigned timeout_ms);
    bool (*is_connected)(struct trimtab *t);
    uint64_t (*revision)(struct trimtab *t);
    size_t (*problem)(struct trimtab *t, char *out, size_t size);
    bool (*report_health)(struct trimtab *t, bool failing, const char *reason);
    bool (*watched)(struct trimtab *t); /* a watch is new; false: nobody will call it */
    void (*close)(
        struct trimtab *t); /* stops and frees what is its own; nobody reads any more */
    void (*after_fork)(struct trimtab *t);
};

struct trimtab {
    struct values values;
    const struct provider *provider;
    struct server *server;   /* what the provider keeps: of these two one */
    struct segment *segment; /* NULL: values come in tables of our own memory */
    bool is_forked;          /* opened by the process that this one was forked from */
    pthread_mutex_t
        calling; /* held while callbacks run, so that unwatch can wait for them; guards what follows */
    struct sdk_watch *watches;
    unsigned next_watch;
    struct trimtab *next; /* of all that are open */
};

/* A client without a provider; NULL without memory. One that has its provider is enlisted. */
must_use struct trimtab *client_new(void);
struct trimtab *client_free(struct trimtab *t); /* always NULL */
void client_enlist(struct trimtab *t);

/* The server's stream (provider_server.c), a segment (provider_segment.c): each sets provider and its own member. */
must_use int server_open(struct trimtab *t, const struct trimtab_options *o, struct err *err);
must_use int segment_open(struct trimtab *t, const struct trimtab_options *o, struct err *err);

/*
 * Tells watches what differs between two tables: before NULL only to those that are new, which are told of everything that
 * is there. Neither table stands for a segment.
 */
void watches_tell(struct trimtab *t, const struct table *before, const struct table *after);

/* A thread for a provider: it blocks all signals, so that they go to the program's own threads. */
must_use int client_thread(pthread_t *thread, void *(*run)(void *), void *arg, struct err *err);

/* Copies a text closed by a NUL and cut to size; returns its whole length. */
size_t copy_text(struct str text, char *out, size_t size);

/* ---- what getters ask a segment for (provider_segment.c) ---- */

/* A value with its text; out may be NULL. text_len is of the whole text. */
struct segment_want {
    struct shm_value value; /* without texts */
    uint64_t generation;
    char *out;
    size_t size, text_len;
};

/* 1: there; 0: not there; ERR_CORRUPT; ERR_NOT_FOUND: no segment. */
must_use int segment_get(struct trimtab *t, const char *name, struct segment_want *want);
/* A table with a copy of what is read now, for segment_release. NULL: none, damaged, or without memory. */
const struct table *segment_acquire(struct trimtab *t);
void segment_release(const struct table *table);
/* Looks, now and then, whether the name leads to another file by now. */
void segment_tend(struct trimtab *t);

#endif
