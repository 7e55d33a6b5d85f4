/*
 * The hub. See hub.h.
 */
#include "server/hub/hub.h"

#include "base/log.h"

void hub_init(struct hub *hub, const struct config *config, struct loop *loop)
{
    *hub = (struct hub){.config = *config, .loop = loop, .started_ms = clock_wall_ms()};
    waiters_init(&hub->waiters, loop);
    link_init(&hub->watchers);
    roster_init(&hub->roster);
    attendance_init(&hub->attendance, &hub->roster);
    (void)pthread_mutex_init(&hub->newest_lock, NULL);
}

void hub_deinit(struct hub *hub)
{
    ASSERT(!hub->committer);
    hub->state = state_unref(hub->state);
    hub->newest = state_unref(hub->newest);
    (void)pthread_mutex_destroy(&hub->newest_lock);
    attendance_deinit(&hub->attendance);
    roster_deinit(&hub->roster);
    hub->auth = auth_free(hub->auth);
}

void hub_wait(struct hub *hub, struct waiter *w)
{
    waiters_add(&hub->waiters, w);
    if (hub->is_draining)
        hub_changed(hub);
}

void hub_watch(struct hub *hub, struct hub_watcher *w)
{
    link_before(&hub->watchers, &w->link);
}

void hub_changed(struct hub *hub)
{
    waiters_changed(&hub->waiters);
    LIST_EACH (&hub->watchers, l) {
        struct hub_watcher *w = LINK_OF(l, struct hub_watcher, link);

        w->changed(w);
    }
}

void hub_set_state(struct hub *hub, struct state *state)
{
    ASSERT(!hub->state || state->revision >= hub->state->revision);
    (void)state_unref(hub->state);
    hub->state = state_ref(state);
    (void)pthread_mutex_lock(&hub->newest_lock); /* fails only on misuse, as does unlock */
    (void)state_unref(hub->newest);
    hub->newest = state_ref(state);
    (void)pthread_mutex_unlock(&hub->newest_lock);
}

struct state *hub_newest(struct hub *hub)
{
    struct state *state;

    (void)pthread_mutex_lock(&hub->newest_lock);
    state = state_ref(hub->newest);
    (void)pthread_mutex_unlock(&hub->newest_lock);
    return state;
}

struct state *hub_state_of(const struct hub *hub, const struct instance *i)
{
    return i->stream ? attendance_state(&hub->attendance, i) : hub->state;
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

void hub_note_lost(struct hub *hub, uint64_t n, uint64_t revision)
{
    hub->n_lost += n;
    if (revision <= hub->lost_revision)
        return; /* a fleet says it all at once */
    hub->lost_revision = revision;
    LOG(ERROR, "records_lost", LOG_U64("head", hub->state->revision),
        LOG_U64("cursor", revision));
}
