/*
 * A lane. See lane.h.
 */
#include "server/lane/lane.h"

#include "server/lane/subscribe.h"

int lane_init(struct lane *lane, struct hub *hub, struct loop *loop, struct tls *tls,
              struct err *err)
{
    struct store_identity identity = committer_identity(hub->committer);
    struct feed_opts feed = {.bookmark_every = hub->config.bookmark_interval,
                             .ready = subscribe_ready,
                             .changed = subscribe_changed,
                             .lost = subscribe_lost};

    *lane = (struct lane){.hub = hub, .loop = loop, .tls = tls};
    link_init(&lane->subscriptions);
    subscribe_init(lane);
    memcpy(feed.store_id, identity.id.bytes, FEED_STORE_ID_BYTES);
    memcpy(feed.key, identity.key, MARK_KEY_BYTES);
    lane->feed = feed_new(&feed, hub->state);
    return lane->feed ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

void lane_deinit(struct lane *lane)
{
    if (!lane->hub) /* it was never there */
        return;
    timer_stop(&lane->presence_late);
    defer_cancel(&lane->presence);
    arena_deinit(&lane->scratch);
    lane->feed = feed_free(lane->feed);
}

int lane_listen(struct lane *lane, http_request_fn *on_request, void *ctx, struct err *err)
{
    struct http_server_opts opts = {.address = lane->hub->config.listen,
                                    .tls = lane->tls,
                                    .limits.max_connections = lane->hub->config.max_connections,
                                    .on_request = on_request,
                                    .ctx = ctx};

    return http_server_open(lane->loop, &opts, &lane->http, err);
}

void lane_publish(struct lane *lane, struct state *state, struct version *const *versions,
                  size_t n)
{
    feed_publish(lane->feed, state, versions, n);
    loop_defer(lane->loop, &lane->presence); /* who is not concerned is complete, too */
}

void lane_tick(struct lane *lane)
{
    (void)feed_tick(lane->feed, loop_now(lane->loop));
    if (!link_is_alone(&lane->restless)) /* memory failed */
        loop_defer(lane->loop, &lane->presence);
}

void lane_drain(struct lane *lane, void (*done)(void *ctx), void *ctx)
{
    lane->is_draining = true;
    http_server_drain(lane->http, done, ctx);
    subscribe_drain(lane);
}
