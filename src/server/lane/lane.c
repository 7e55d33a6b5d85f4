/*
 * A lane. See lane.h.
 */
#include "server/lane/lane.h"

#include "server/lane/subscribe.h"

static const nsec_t HEARD_EVERY = NSEC_PER_S;
static const nsec_t RENEWED_EVERY = 2 * NSEC_PER_S;

/* Of all lanes together: bytes that wait for peers, and of requests that are not answered. */
enum { UNSENT_ALL = 512 << 20, REQUESTS_ALL = 256 << 20 };

int lane_init(struct lane *lane, size_t number, struct hub *hub, struct loop *loop,
              struct tls *tls, struct err *err)
{
    struct feed_opts feed = {.bookmark_every = hub->config.bookmark_interval};

    *lane = (struct lane){.hub = hub, .number = number, .loop = loop, .tls = tls};
    waiters_init(&lane->waiters, loop);
    subscribers_init(lane);
    subscribers_feed_opts(&feed);
    memcpy(feed.store_id, hub->identity.id.bytes, FEED_STORE_ID_BYTES);
    memcpy(feed.key, hub->identity.key, MARK_KEY_BYTES);
    lane->feed = feed_new(&feed, hub->state);
    if (!lane->feed)
        return err_set(err, ERR_NOMEM, "out of memory");
    hub->complete[number] = hub->state->revision;
    return 0;
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

int lane_listen(struct lane *lane, struct http_crowd *crowd, http_request_fn *on_request,
                void *ctx, struct err *err)
{
    struct http_server_opts opts = {
        .address = lane->number ? NULL : lane->hub->config.listen,
        .crowd = crowd,
        .tls = lane->tls,
        .limits = {.max_connections = lane->hub->config.max_connections,
                   .unsent_all = UNSENT_ALL / (uint32_t)lane->hub->n_lanes,
                   .requests_all = REQUESTS_ALL / (uint32_t)lane->hub->n_lanes},
        .on_request = on_request,
        .ctx = ctx};
    int r = http_server_open(lane->loop, &opts, &lane->http, err);

    if (!r)
        crowd->servers[crowd->n++] = lane->http;
    return r;
}

void lane_publish(struct lane *lane, struct state *state, struct version *const *versions,
                  size_t n)
{
    feed_publish(lane->feed, state, versions, n);
    loop_defer(lane->loop, &lane->presence); /* who is not concerned is complete, too */
    waiters_changed(&lane->waiters);
}

void lane_tick(struct lane *lane)
{
    (void)feed_tick(lane->feed, loop_now(lane->loop));
    if (loop_now(lane->loop) >= lane->renewed + RENEWED_EVERY) {
        lane->renewed = loop_now(lane->loop);
        subscribers_renew(lane);
    }
    if (!link_is_alone(&lane->restless) || lane->n_lost || /* memory failed */
        loop_now(lane->loop) >=
            lane->heard + HEARD_EVERY) /* or for the hub, for what has gone since */
        loop_defer(lane->loop, &lane->presence);
}

void lane_wait(struct lane *lane, struct waiter *w)
{
    waiters_add(&lane->waiters, w);
    if (lane->is_draining)
        waiters_changed(&lane->waiters);
}

void lane_drain(struct lane *lane, void (*done)(void *ctx), void *ctx)
{
    lane->is_draining = true;
    http_server_drain(lane->http, done, ctx);
    subscribers_drain(lane);
    waiters_changed(&lane->waiters);
}
