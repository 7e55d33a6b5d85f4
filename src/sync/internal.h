/*
 * What the files of the core share: the subscriber itself, and a change of what it serves on its way into the copy.
 */
#ifndef TRIMTAB_SYNC_INTERNAL_H
#define TRIMTAB_SYNC_INTERNAL_H

#include "sync/hold.h"
#include "sync/stage.h"
#include "sync/sync.h"

struct sync {
    struct sync_opts opts;
    struct sync_status status;
    struct str *scope_names; /* of opts.scopes */
    struct map bindings;     /* struct binding: what is received */
    struct holds holds;      /* what is served besides */
    struct stage stage;
    unsigned char store_id[SYNC_STORE_ID_BYTES]; /* of the server that said welcome last */
    nsec_t heard, silence_max;
    uint64_t serving_revision;
    struct digest serving;
    bool serves_copy;
    unsigned n_rejected;       /* since the last batch that was stored */
    struct shared *
        report; /* the last acknowledgement "applied", packed; NULL: nothing is said of what is served */
    uint64_t stored_revision; /* of the newest batch that was stored */
    struct health *health;    /* as said last; NULL: nobody judges */
    struct order_place {
        uint64_t given, done; /* revisions of the newest */
    } orders, fleet;
};

/* What sync_health was told; the texts stand behind it. */
struct health {
    bool failing;
    uint64_t revision;
    char *reason, *source;
};

/* What a batch, or a release, makes of what is received and held. */
struct changing {
    struct sync *sync;
    const struct map
        *staged; /* struct binding: the words of the batch; their items are taken over */
    const struct map *released; /* names that are let go */
    size_t n_uncaused;          /* staged drops that may begin a hold; 0: there are none */
    struct holds next, before;
    struct sync_batch batch; /* its lists are owned */
};

/*
 * Plans, stores (ops.store) and takes over. The batch may be applied until changing_deinit, which follows in every case.
 * Failures as those of ops.store, and ERR_NOMEM: what is received and held is as before.
 */
must_use int changing_store(struct changing *c, const struct sync_cursor *cursor,
                            Trimtab__V1__Mode mode, struct err *err);
void changing_deinit(struct changing *c);

#endif
