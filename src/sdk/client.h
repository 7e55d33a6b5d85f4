/*
 * A client: the values that readers see, and the thread that keeps them up to date.
 */
#ifndef TRIMTAB_SDK_CLIENT_H
#define TRIMTAB_SDK_CLIENT_H

#include "sdk/table.h"
#include "sync/link.h"

#include <trimtab/trimtab.h>

struct sdk_watch {
    unsigned id;
    char *pattern;
    void (*fn)(void *ctx, const struct trimtab_change *change);
    void *ctx;
    bool is_new; /* has not been told what is there */
    struct sdk_watch *next;
};

/* What the program said of itself. */
struct sdk_health {
    bool failing;
    uint64_t revision;
    char reason[SYNC_REASON_MAX + 1];
};

struct trimtab {
    struct values values;
    struct arena arena; /* options and messages */
    struct channel_opts channel;
    struct tls *tls;
    Trimtab__V1__Instance instance;
    Trimtab__V1__Scope scope, *scopes[1];
    Trimtab__V1__Selector selector, *selectors[1];
    char *kinds[1];
    pthread_t thread;
    struct loop loop;
    struct sync *sync;
    struct sync_link *link;
    struct post stop, look, say;
    struct timer say_again;
    unsigned char boot_id[16];
    _Atomic bool is_connected;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    bool has_values;
    uint64_t revision;
    struct sdk_health *health; /* not yet told to sync; NULL: nothing */
    bool say_is_posted;
    pthread_mutex_t
        calling; /* held while callbacks run, so that unwatch can wait for them; guards what follows */
    struct sdk_watch *watches;
    unsigned next_watch;
    bool look_is_posted;
};

#endif
