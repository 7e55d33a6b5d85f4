/*
 * The agent as a whole: owns the local copy, the core of the subscription, the link, the ledger, the sinks, the prober
 * and the admin listener; starts them in order and stops them in reverse. One loop, one thread.
 *
 * It starts from its copy, without asking anybody: what was served is served again, files that differ are put right;
 * only then it matters whether a server can be reached.
 */
#ifndef TRIMTAB_AGENT_AGENT_H
#define TRIMTAB_AGENT_AGENT_H

#include "agent/config.h"
#include "agent/credentials.h"
#include "agent/job.h"
#include "agent/orders.h"
#include "agent/prober.h"
#include "agent/reaper.h"
#include "agent/watch.h"
#include "net/http.h"
#include "sync/link.h"

struct agent {
    struct config config;
    struct arena arena; /* what lives as long as the agent */
    struct loop loop;
    bool has_loop;
    struct credentials credentials;
    struct defer refresh; /* of them */
    struct copy *copy;
    struct sync *sync;
    struct sync_link *link;
    struct ledger ledger;
    bool has_ledger;
    struct sink *sinks[CONFIG_SINKS_MAX]; /* in the order of the configuration */
    size_t n_sinks;
    struct job *job;
    struct orders orders;
    struct prober *prober;
    struct http_server *admin;
    struct sha256 admin_token;
    Trimtab__V1__Instance *instance;
    struct str secret; /* of this host, on the arena; tells it from others with the same credential */
    Trimtab__V1__Scope **scopes;
    struct watch *watch;
    struct timer verify, look, flush, again;
    struct signal_watch on_term, on_int, on_hup;
    struct reaper reaper;
    char link_story[ERR_TEXT_MAX];                 /* why it is down */
    bool is_connected, is_stopping, knows_nothing; /* the last: no copy, nothing received yet */
    int64_t started_ms, connected_ms;
    uint64_t n_verified, n_drifted;
    uint64_t served_revision; /* what the judges were told of last */
    struct digest served;
    bool has_served;
    bool must_tell;  /* for want of memory it was not told what is served, */
    uint64_t untold; /* since this revision */
};

must_use int agent_open(struct agent *a, const struct config *config, struct err *err);
void agent_run(struct agent *a);
void agent_stop(struct agent *a);
void agent_close(struct agent *a);

/* agent/identity.c: who this instance is. On the agent's arena. */
must_use int agent_identify(struct agent *a, const char *known, struct err *err);
must_use int agent_make_scopes(struct agent *a, struct err *err);
/* Of all that the view depends on. */
struct sha256 agent_subscription_hash(const struct agent *a);

/* agent/admin.c */
must_use int admin_open(struct agent *a, struct err *err);

#endif
