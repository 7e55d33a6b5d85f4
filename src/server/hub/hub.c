/*
 * The hub. See hub.h.
 */
#include "server/hub/hub.h"

#include "base/log.h"

static void run_waiters(struct defer *d, void *ctx)
{
    struct hub *hub = ctx;

    (void)d;
    LIST_EACH (&hub->waiters, l) {
        struct waiter *w = LINK_OF(l, struct waiter, link);

        (void)w->check(w);
    }
}

void hub_init(struct hub *hub, const struct config *config, struct loop *loop)
{
    *hub = (struct hub){.config = *config, .loop = loop, .started_ms = clock_wall_ms()};
    link_init(&hub->waiters);
    link_init(&hub->watchers);
    roster_init(&hub->roster);
    hub->changed = (struct defer){.fn = run_waiters, .ctx = hub};
}

void hub_deinit(struct hub *hub)
{
    ASSERT(!hub->committer);
    hub->state = state_unref(hub->state);
    roster_deinit(&hub->roster);
    hub->auth = auth_free(hub->auth);
}

void hub_wait(struct hub *hub, struct waiter *w)
{
    link_before(&hub->waiters, &w->link);
    if (hub->is_draining)
        hub_changed(hub);
}

void hub_watch(struct hub *hub, struct hub_watcher *w)
{
    link_before(&hub->watchers, &w->link);
}

void hub_changed(struct hub *hub)
{
    if (!link_is_alone(&hub->waiters))
        loop_defer(hub->loop, &hub->changed);
    LIST_EACH (&hub->watchers, l) {
        struct hub_watcher *w = LINK_OF(l, struct hub_watcher, link);

        w->changed(w);
    }
}

void hub_set_state(struct hub *hub, struct state *state)
{
    ASSERT(state->revision >= hub->state->revision);
    (void)state_unref(hub->state);
    hub->state = state_ref(state);
}

struct moment hub_moment(const struct hub *hub)
{
    return (struct moment){.now = clock_now(),
                           .now_ms = clock_wall_ms(),
                           .complete = hub->roster.complete,
                           .ack_late = hub->config.ack_late,
                           .paused = state_is_paused(hub->state) ? hub->state->fleet : 0,
                           .lost_after = (int64_t)(hub->config.lost_after / NSEC_PER_MS)};
}

void hub_note_lost(struct hub *hub, uint64_t revision)
{
    hub->n_lost++;
    if (revision <= hub->lost_revision)
        return; /* a fleet says it all at once */
    hub->lost_revision = revision;
    LOG(ERROR, "records_lost", LOG_U64("head", hub->state->revision),
        LOG_U64("cursor", revision));
}
